//! Producer ids: unique for ever, handed out from blocks.
//!
//! A block is reserved durably before its first id is given, so a crash loses ids but never
//! gives one twice, and brokers that share the metadata store take different blocks. Reserving
//! blocks on the disk, giving an id does not: [`ProducerIds::try_next`] is for async callers,
//! [`ProducerIds::next`] for a thread that may block.
//!
//! Value of the one key: the first id of the next block, decimal ASCII.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::ids::FIRST_CLIENT_PRODUCER_ID;
use crate::store::{Meta, MetaWrite, Transacted};

/// Ids per block, as in Kafka.
const BLOCK_IDS: i64 = 1_000;
const NEXT_BLOCK_KEY: &str = "producer-ids/next-block";

/// The source of producer ids.
pub struct ProducerIds {
    meta: Arc<dyn Meta>,
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// Reserves nothing until the first id is asked for.
    #[must_use]
    pub fn new(meta: Arc<dyn Meta>) -> Self {
        Self { meta, block: Mutex::new(0..0) }
    }

    /// An id of the block at hand; `None` when it is used up.
    #[must_use]
    pub fn try_next(&self) -> Option<i64> {
        self.block.lock().next()
    }

    /// An id, after reserving a block if need be. Blocks on the metadata store.
    ///
    /// # Errors
    /// The store's own, or `InvalidData` if what it holds is no id.
    pub fn next(&self) -> io::Result<i64> {
        loop {
            if let Some(id) = self.try_next() {
                return Ok(id);
            }
            let reserved = reserve(&*self.meta)?;
            let mut block = self.block.lock();
            if block.is_empty() {
                *block = reserved;
            }
        }
    }
}

fn reserve(meta: &dyn Meta) -> io::Result<Range<i64>> {
    loop {
        let stored = meta.get(NEXT_BLOCK_KEY)?;
        let first = match &stored {
            Some(versioned) => parse(&versioned.value)?,
            None => FIRST_CLIENT_PRODUCER_ID,
        };
        let end = first.checked_add(BLOCK_IDS).ok_or_else(|| bad("no producer id is left"))?;
        let expect = [(NEXT_BLOCK_KEY.to_owned(), stored.map(|versioned| versioned.revision))];
        let put = [MetaWrite::Put(NEXT_BLOCK_KEY.to_owned(), end.to_string().into_bytes())];
        match meta.transact(&expect, &put)? {
            Transacted::Done(_) => return Ok(first..end),
            // Somebody else took that block; each round of ours is a success of theirs.
            Transacted::Conflict => {}
        }
    }
}

fn parse(value: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|first| *first >= FIRST_CLIENT_PRODUCER_ID)
        .ok_or_else(|| bad("the stored producer-id block is damaged"))
}

fn bad(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::store::meta::MemoryMeta;

    #[test]
    fn ids_start_at_the_first_client_id_and_rise() {
        let ids = ProducerIds::new(Arc::new(MemoryMeta::default()));
        assert_eq!(ids.try_next(), None, "nothing is reserved without need");
        assert_eq!(ids.next().unwrap(), FIRST_CLIENT_PRODUCER_ID);
        assert_eq!(ids.try_next(), Some(FIRST_CLIENT_PRODUCER_ID + 1));
    }

    #[test]
    fn sources_over_one_store_never_give_the_same_id() {
        let meta: Arc<dyn Meta> = Arc::new(MemoryMeta::default());
        let sources = [0, 1].map(|_| ProducerIds::new(Arc::clone(&meta)));
        let mut given = HashSet::new();
        for round in 0..3 * BLOCK_IDS {
            let source = &sources[usize::from(round % 3 == 0)];
            assert!(given.insert(source.next().unwrap()));
        }
    }

    #[test]
    fn a_restart_skips_the_rest_of_the_block() {
        let meta: Arc<dyn Meta> = Arc::new(MemoryMeta::default());
        let before = ProducerIds::new(Arc::clone(&meta)).next().unwrap();
        let after = ProducerIds::new(meta).next().unwrap();
        assert_eq!(after, before + BLOCK_IDS);
    }

    #[test]
    fn threads_share_a_source() {
        let ids = Arc::new(ProducerIds::new(Arc::new(MemoryMeta::default())));
        let threads = [0; 4].map(|_| {
            let ids = Arc::clone(&ids);
            std::thread::spawn(move || (0..1_500).map(|_| ids.next().unwrap()).collect::<Vec<_>>())
        });
        let given: HashSet<i64> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert_eq!(given.len(), 4 * 1_500);
    }

    #[test]
    fn a_damaged_block_is_an_error_not_a_repeat() {
        let meta = MemoryMeta::default();
        let damage = [MetaWrite::Put(NEXT_BLOCK_KEY.to_owned(), b"-5".to_vec())];
        meta.transact(&[], &damage).unwrap();
        let refused = ProducerIds::new(Arc::new(meta)).next().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}

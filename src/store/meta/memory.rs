//! Metadata in a map, for tests and the simulator. Nothing here survives a drop.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;

use super::super::{Meta, MetaExpect, MetaWrite, Transacted, Versioned};

/// A [`Meta`] in memory.
#[derive(Default)]
pub struct MemoryMeta {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: u64,
    pairs: BTreeMap<String, Versioned>,
}

impl MemoryMeta {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Meta for MemoryMeta {
    fn get(&self, key: &str) -> io::Result<Option<Versioned>> {
        Ok(self.state.lock().pairs.get(key).cloned())
    }

    fn scan(&self, prefix: &str) -> io::Result<Vec<(String, Versioned)>> {
        let state = self.state.lock();
        let from = state.pairs.range(prefix.to_owned()..);
        let pairs = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(pairs.map(|(key, versioned)| (key.clone(), versioned.clone())).collect())
    }

    fn transact(&self, expect: &[MetaExpect], writes: &[MetaWrite]) -> io::Result<Transacted> {
        let mut state = self.state.lock();
        let holds =
            |(key, revision): &MetaExpect| state.pairs.get(key).map(|v| v.revision) == *revision;
        if !expect.iter().all(holds) {
            return Ok(Transacted::Conflict);
        }
        state.revision += 1;
        let revision = state.revision;
        for write in writes {
            match write {
                MetaWrite::Put(key, value) => {
                    let versioned = Versioned { value: value.clone(), revision };
                    state.pairs.insert(key.clone(), versioned);
                }
                MetaWrite::Delete(key) => drop(state.pairs.remove(key)),
            }
        }
        Ok(Transacted::Done(revision))
    }
}

//! Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, so that a
//! request names only changes and a response only news.
//!
//! Pure: time is passed in, nothing waits. A session is locked by the request that uses it; a
//! client has one request per session in flight, because the epoch of the next comes from the
//! answer to the last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::base::fault::Code;
use crate::log::read::ReadHint;

/// A session epoch that asks for a full fetch without a session.
pub const FINAL_EPOCH: i32 = -1;
/// A session epoch that asks for a full fetch and a new session.
pub const INITIAL_EPOCH: i32 = 0;

/// How a request names a topic: by name up to v12, by id from v13 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    Name(Arc<str>),
    Id(Uuid),
}

/// A partition of a session or of a single request.
pub type Key = (TopicRef, i32);

/// What a client asks of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub fetch_offset: i64,
    pub max_bytes: i32,
    /// -1 if the client does not know it.
    pub current_leader_epoch: i32,
    /// -1 if the client does not send it.
    pub last_fetched_epoch: i32,
}

/// What a session keeps of one partition.
#[derive(Clone)]
pub struct Remembered {
    pub wanted: Wanted,
    /// High watermark and log start that the client was last told; `None` before the first answer.
    pub told: Option<(i64, i64)>,
    pub hint: Option<ReadHint>,
}

impl Remembered {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, told: None, hint: None }
    }
}

/// One client's session.
pub struct Session {
    pub id: i32,
    /// The epoch that the next request must carry.
    pub next_epoch: i32,
    /// In the order in which they are served; partitions that had records move to the end, so
    /// that a small `max_bytes` starves none.
    pub partitions: IndexMap<Key, Remembered>,
    by_id: bool,
}

impl Session {
    fn merge(&mut self, wanted: Vec<(Key, Wanted)>, forgotten: &[Key]) {
        for (key, wanted) in wanted {
            match self.partitions.get_mut(&key) {
                Some(known) => known.wanted = wanted,
                None => {
                    self.partitions.insert(key, Remembered::new(wanted));
                }
            }
        }
        for key in forgotten {
            self.partitions.shift_remove(key);
        }
    }

    /// Notes what a partition's answer said; moves it to the end if it had records.
    pub fn told(
        &mut self,
        key: &Key,
        watermarks: Option<(i64, i64)>,
        hint: Option<ReadHint>,
        data: bool,
    ) {
        let Some(index) = self.partitions.get_index_of(key) else { return };
        let (_, known) = self.partitions.get_index_mut(index).expect("the index was just found");
        known.told = watermarks;
        if hint.is_some() {
            known.hint = hint;
        }
        if data {
            let last = self.partitions.len() - 1;
            self.partitions.move_index(index, last);
        }
    }
}

struct Slot {
    session: Arc<Mutex<Session>>,
    used_at: Duration,
    created_at: Duration,
    size: usize,
}

/// All sessions of the broker, bounded by `max.incremental.fetch.session.cache.slots`.
pub struct Sessions {
    slots: Mutex<HashMap<i32, Slot>>,
    limit: usize,
}

/// A session that nobody used for this long gives way to a new one.
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// What a fetch works on.
pub enum Scope {
    /// Without a session: every partition is answered.
    Full(Vec<(Key, Wanted)>),
    /// A new session: every partition is answered, the response carries the session's id.
    Opened(Arc<Mutex<Session>>),
    /// An existing session: only news is answered.
    Incremental(Arc<Mutex<Session>>),
}

/// A request as far as sessions are concerned.
pub struct Asked {
    pub session_id: i32,
    pub session_epoch: i32,
    pub wanted: Vec<(Key, Wanted)>,
    pub forgotten: Vec<Key>,
    /// The request's version names topics by id.
    pub by_id: bool,
}

impl Sessions {
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { slots: Mutex::new(HashMap::new()), limit }
    }

    /// Finds what a request is about. `random` proposes the id of a new session.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, and
    /// `FETCH_SESSION_TOPIC_ID_ERROR` where a session changes between names and ids.
    pub fn resolve(
        &self,
        asked: Asked,
        now: Duration,
        mut random: impl FnMut() -> u64,
    ) -> Result<Scope, Code> {
        if asked.session_epoch == FINAL_EPOCH || asked.session_epoch == INITIAL_EPOCH {
            if asked.session_id != 0 {
                self.slots.lock().remove(&asked.session_id);
            }
            if asked.session_epoch == FINAL_EPOCH {
                return Ok(Scope::Full(asked.wanted));
            }
            return Ok(self.open(asked, now, &mut random));
        }
        self.advance(asked, now)
    }

    fn advance(&self, asked: Asked, now: Duration) -> Result<Scope, Code> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(&asked.session_id).ok_or(Code::FetchSessionIdNotFound)?;
        let shared = Arc::clone(&slot.session);
        let mut session = shared.lock();
        if session.next_epoch != asked.session_epoch {
            return Err(Code::InvalidFetchSessionEpoch);
        }
        if session.by_id != asked.by_id {
            return Err(Code::FetchSessionTopicIdError);
        }
        session.merge(asked.wanted, &asked.forgotten);
        session.next_epoch = next_epoch(session.next_epoch);
        slot.used_at = now;
        slot.size = session.partitions.len();
        drop(session);
        Ok(Scope::Incremental(shared))
    }

    fn open(&self, asked: Asked, now: Duration, random: &mut dyn FnMut() -> u64) -> Scope {
        let mut slots = self.slots.lock();
        if asked.wanted.is_empty() || !make_room(&mut slots, self.limit, now, asked.wanted.len()) {
            return Scope::Full(asked.wanted);
        }
        let id = loop {
            let id = i32::try_from(random() & 0x7fff_ffff).expect("31 bits fit");
            if id != 0 && !slots.contains_key(&id) {
                break id;
            }
        };
        let size = asked.wanted.len();
        let partitions = asked.wanted.into_iter().map(|(k, w)| (k, Remembered::new(w))).collect();
        let session = Session { id, next_epoch: 1, partitions, by_id: asked.by_id };
        let session = Arc::new(Mutex::new(session));
        let slot = Slot { session: Arc::clone(&session), used_at: now, created_at: now, size };
        slots.insert(id, slot);
        Scope::Opened(session)
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.lock().len()
    }
}

/// Epochs wrap to 1: 0 would ask for a new session.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// Makes room for one more session: an idle one goes first, else one that is smaller than the
/// new one and has had its two minutes.
fn make_room(slots: &mut HashMap<i32, Slot>, limit: usize, now: Duration, size: usize) -> bool {
    if slots.len() < limit {
        return true;
    }
    let aged = |since: Duration| now.saturating_sub(since) > EVICTION_AGE;
    let idle = slots.iter().filter(|(_, s)| aged(s.used_at)).min_by_key(|(_, s)| s.used_at);
    let smaller = || {
        let old = slots.iter().filter(|(_, s)| s.size < size && aged(s.created_at));
        old.min_by_key(|(_, s)| s.size)
    };
    let Some(victim) = idle.or_else(smaller).map(|(id, _)| *id) else { return false };
    slots.remove(&victim);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> Key {
        (TopicRef::Name("orders".into()), partition)
    }

    fn wanted(fetch_offset: i64) -> Wanted {
        Wanted { fetch_offset, max_bytes: 1024, current_leader_epoch: -1, last_fetched_epoch: -1 }
    }

    fn asked(session_id: i32, session_epoch: i32, partitions: &[i32]) -> Asked {
        let wanted = partitions.iter().map(|p| (key(*p), wanted(0))).collect();
        Asked { session_id, session_epoch, wanted, forgotten: vec![], by_id: false }
    }

    fn opened(sessions: &Sessions, partitions: &[i32], id: u64) -> Arc<Mutex<Session>> {
        match sessions.resolve(asked(0, INITIAL_EPOCH, partitions), Duration::ZERO, || id) {
            Ok(Scope::Opened(session)) => session,
            _ => panic!("a session opens"),
        }
    }

    fn code(result: Result<Scope, Code>) -> Option<Code> {
        result.err()
    }

    #[test]
    fn a_session_remembers_changes_and_forgets() {
        let sessions = Sessions::new(10);
        opened(&sessions, &[0, 1], 7);
        let mut change = asked(7, 1, &[2]);
        change.forgotten = vec![key(0)];
        let Ok(Scope::Incremental(session)) = sessions.resolve(change, Duration::ZERO, || 1) else {
            panic!("the session goes on")
        };
        let session = session.lock();
        let partitions: Vec<i32> = session.partitions.keys().map(|k| k.1).collect();
        assert_eq!(partitions, [1, 2]);
        assert_eq!(session.next_epoch, 2);
    }

    #[test]
    fn wrong_epochs_ids_and_naming_are_refused() {
        let sessions = Sessions::new(10);
        opened(&sessions, &[0], 7);
        let now = Duration::ZERO;
        let unknown = sessions.resolve(asked(8, 1, &[]), now, || 1);
        assert_eq!(code(unknown), Some(Code::FetchSessionIdNotFound));
        let early = sessions.resolve(asked(7, 2, &[]), now, || 1);
        assert_eq!(code(early), Some(Code::InvalidFetchSessionEpoch));
        let mut by_id = asked(7, 1, &[]);
        by_id.by_id = true;
        let mixed = sessions.resolve(by_id, now, || 1);
        assert_eq!(code(mixed), Some(Code::FetchSessionTopicIdError));
    }

    #[test]
    fn a_full_cache_serves_without_a_session_until_one_is_idle() {
        let sessions = Sessions::new(1);
        opened(&sessions, &[0], 7);
        let soon = Duration::from_secs(1);
        let full = sessions.resolve(asked(0, INITIAL_EPOCH, &[0]), soon, || 9);
        assert!(matches!(full, Ok(Scope::Full(_))));
        let later = Duration::from_secs(121);
        let taken = sessions.resolve(asked(0, INITIAL_EPOCH, &[0]), later, || 9);
        assert!(matches!(taken, Ok(Scope::Opened(_))));
        assert_eq!(sessions.count(), 1);
    }

    #[test]
    fn a_final_epoch_closes_the_session() {
        let sessions = Sessions::new(10);
        opened(&sessions, &[0], 7);
        let last = sessions.resolve(asked(7, FINAL_EPOCH, &[0]), Duration::ZERO, || 1);
        assert!(matches!(last, Ok(Scope::Full(_))));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn partitions_with_records_move_to_the_end() {
        let sessions = Sessions::new(10);
        let session = opened(&sessions, &[0, 1, 2], 7);
        let mut session = session.lock();
        session.told(&key(0), Some((5, 0)), None, true);
        session.told(&key(1), Some((5, 0)), None, false);
        let order: Vec<i32> = session.partitions.keys().map(|k| k.1).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn epochs_wrap_past_zero() {
        assert_eq!(next_epoch(i32::MAX), 1);
    }
}

//! Fetch (key 1).
//!
//! | version | change | here |
//! |---|---|---|
//! | 0-3 | message sets, removed in Kafka 4.0 | not served |
//! | 4 | isolation level, last stable offset | served from here |
//! | 7 | incremental sessions (KIP-227) | [`session`] |
//! | 9 | current leader epoch (KIP-320) | checked with or without a session |
//! | 12 | flexible; last fetched epoch and diverging epoch (KIP-595) | |
//! | 13 | topic ids (KIP-516) | |
//! | 15 | replica state as a tagged field (KIP-903) | a replica's fetch is refused: there are none |
//! | 16 | endpoints of new leaders (KIP-951) | |
//! | 18 | high watermark of the replica (KIP-1166) | ignored from consumers, as Kafka does |
//!
//! A fetch is planned on the connection's thread from what is in memory; only a read that needs
//! the disk to be found moves to the blocking pool. A fetch that has to wait wakes when one of
//! its partitions moves.

pub mod frame;
pub mod plan;
pub mod session;
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::fetch_request::FetchRequest;
use kafka_protocol::protocol::Decodable;
use parking_lot::Mutex;

use super::Services;
use super::connection::Positions;
use super::endpoint::{Cx, Row};
use super::reply::{Ending, Outcome};
use crate::base::fault::Code;
use crate::shard::registry::Partition;
use frame::{Framer, PartitionAnswer};
use plan::{Depth, Item, Looks, look};
use session::{Asked, Key, Scope, Session, TopicRef, Wanted};
use wait::Moved;

/// The row of the API table.
#[must_use]
pub fn row() -> Row {
    Row { key: ApiKey::Fetch, served: 4..=18, advertised: 4..=18, begin, unserved: None }
}

fn begin(cx: &mut Cx<'_>, correlation_id: i32, mut body: Bytes) -> Outcome {
    let version = cx.version;
    let request = match FetchRequest::decode(&mut body, version) {
        Ok(request) => request,
        Err(error) => return Outcome::close(format!("Fetch v{version}: {error}")),
    };
    let replica = request.replica_id.0.max(request.replica_state.replica_id.0);
    if replica >= 0 {
        return Outcome::close(format!("replica {replica} fetches, but there are no replicas"));
    }
    let frame = FrameHead { version, correlation_id };
    let limits = Limits::of(&request, cx.services);
    let scope =
        cx.services.sessions.resolve(asked(request, version), cx.services.env.monotonic(), || {
            cx.services.env.random_u64()
        });
    let scope = match scope {
        Ok(scope) => scope,
        Err(code) => return Outcome::Now(frame.error(code)),
    };
    let mut fetch = Fetch::new(Arc::clone(cx.services), frame, limits, scope);
    fetch.resume(&cx.connection.positions);
    match look(&fetch.items, fetch.limits.max_bytes, Depth::Memory) {
        Some(looks) if fetch.satisfied(&looks) => {
            fetch.note_positions(&looks, &mut cx.connection.positions);
            Outcome::Now(fetch.answer(looks))
        }
        looks => Outcome::Later(Box::pin(fetch.wait(looks))),
    }
}

fn asked(request: FetchRequest, version: i16) -> Asked {
    let by_id = version >= 13;
    let topic_ref = |name: &str, id| {
        if by_id { TopicRef::Id(id) } else { TopicRef::Name(Arc::from(name)) }
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let reference = topic_ref(&topic.topic, topic.topic_id);
        for p in &topic.partitions {
            let ask = Wanted {
                fetch_offset: p.fetch_offset,
                max_bytes: p.partition_max_bytes,
                current_leader_epoch: p.current_leader_epoch,
                last_fetched_epoch: p.last_fetched_epoch,
            };
            wanted.push(((reference.clone(), p.partition), ask));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let reference = topic_ref(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|p| (reference.clone(), *p)));
    }
    // Without sessions (before v7) every request is a full one.
    let session_epoch = if version >= 7 { request.session_epoch } else { session::FINAL_EPOCH };
    Asked { session_id: request.session_id, session_epoch, wanted, forgotten, by_id }
}

#[derive(Clone, Copy)]
struct FrameHead {
    version: i16,
    correlation_id: i32,
}

impl FrameHead {
    fn framer(self, code: i16, session_id: i32, topics: usize) -> Framer {
        Framer::begin(self.version, self.correlation_id, code, session_id, topics)
    }

    fn error(self, code: Code) -> Ending {
        self.framer(code.code(), 0, 0).finish()
    }
}

struct Limits {
    min_bytes: u64,
    max_bytes: u64,
    max_wait: Duration,
    read_committed: bool,
}

impl Limits {
    fn of(request: &FetchRequest, services: &Services) -> Self {
        let asked = u64::try_from(request.max_bytes).unwrap_or(0);
        let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
        Self {
            min_bytes: u64::try_from(request.min_bytes).unwrap_or(0),
            max_bytes: asked.min(services.limits.fetch_max_bytes),
            max_wait: Duration::from_millis(wait_ms),
            read_committed: request.isolation_level == 1,
        }
    }
}

/// One fetch on its way.
struct Fetch {
    services: Arc<Services>,
    frame: FrameHead,
    limits: Limits,
    items: Vec<Item>,
    session: Option<Arc<Mutex<Session>>>,
    session_id: i32,
    /// Only partitions with news are answered.
    incremental: bool,
}

impl Fetch {
    fn new(services: Arc<Services>, frame: FrameHead, limits: Limits, scope: Scope) -> Self {
        let incremental = matches!(scope, Scope::Incremental(_));
        let (items, session) = match scope {
            Scope::Full(wanted) => {
                let item = |(key, wanted)| Item::new(&services, key, wanted, None);
                (wanted.into_iter().map(item).collect(), None)
            }
            Scope::Opened(session) | Scope::Incremental(session) => {
                let items = items_of(&services, &session.lock());
                (items, Some(session))
            }
        };
        let session_id = session.as_ref().map_or(0, |s| s.lock().id);
        Self { services, frame, limits, items, session, session_id, incremental }
    }

    /// Takes up where this connection's last fetch without a session ended.
    fn resume(&mut self, positions: &Positions) {
        for item in self.items.iter_mut().filter(|item| item.hint.is_none()) {
            item.hint = item.target.as_ref().ok().and_then(|p| positions.of(p.tp));
        }
    }

    fn note_positions(&self, looks: &Looks, positions: &mut Positions) {
        if self.session.is_some() {
            return;
        }
        for (item, look) in self.items.iter().zip(&looks.looks) {
            let next = look.slice.as_ref().and_then(|slice| slice.next_hint);
            if let (Ok(partition), Some(next)) = (&item.target, next) {
                positions.note(partition.tp, next);
            }
        }
    }

    /// Whether looks may be answered without waiting any longer.
    fn satisfied(&self, looks: &Looks) -> bool {
        looks.urgent
            || looks.bytes >= self.limits.min_bytes
            || self.limits.max_wait.is_zero()
            || self.items.is_empty() && self.session.is_none()
    }

    async fn wait(self, mut looks: Option<Looks>) -> Ending {
        let deadline = tokio::time::Instant::now() + self.limits.max_wait;
        let mut fetch = self;
        loop {
            let found = match looks.take() {
                Some(found) => found,
                None => match look_on_disk(fetch).await {
                    Ok((back, found)) => {
                        fetch = back;
                        found
                    }
                    Err(reason) => return Ending::Close(reason),
                },
            };
            if fetch.satisfied(&found) || tokio::time::Instant::now() >= deadline {
                return fetch.answer(found);
            }
            let moved = Moved::past(fetch.watched(&found));
            // Whether it moved or the time is up, the next look decides.
            let _ = tokio::time::timeout_at(deadline, moved).await;
            fetch.find_closed_again();
            looks = look(&fetch.items, fetch.limits.max_bytes, Depth::Memory);
        }
    }

    /// A partition that went away while the fetch waited is looked up again, which says what
    /// became of it.
    fn find_closed_again(&mut self) {
        for item in &mut self.items {
            if item.target.as_ref().is_ok_and(|partition| partition.view.is_closed()) {
                let (key, wanted) = (item.key.clone(), item.wanted.clone());
                *item = Item::new(&self.services, key, wanted, None);
            }
        }
    }

    fn watched(&self, looks: &Looks) -> Vec<(Arc<Partition>, i64)> {
        let pairs = self.items.iter().zip(&looks.looks);
        pairs
            .filter_map(|(item, look)| {
                let partition = item.target.as_ref().ok()?;
                Some((Arc::clone(partition), look.watermarks.0))
            })
            .collect()
    }

    fn answer(self, mut looks: Looks) -> Ending {
        let keep = self.news(&looks);
        self.note(&looks, &keep);
        self.count(&looks);
        let groups = groups(&self.items, &keep);
        let mut framer = self.frame.framer(0, self.session_id, groups.len());
        for group in groups {
            framer.topic(&self.items[group[0]].key.0, group.len());
            for index in group {
                let look = &mut looks.looks[index];
                framer.partition(PartitionAnswer {
                    index: self.items[index].key.1,
                    error_code: look.error.map_or(0, |code| code.code()),
                    high_watermark: look.watermarks.0,
                    last_stable_offset: look.watermarks.1,
                    log_start_offset: look.watermarks.2,
                    aborted: self.limits.read_committed || self.items[index].target.is_err(),
                    diverging: look.diverging,
                    records: look.records(),
                });
            }
            framer.end_topic();
        }
        framer.finish()
    }

    fn count(&self, looks: &Looks) {
        let metrics = &self.services.metrics;
        metrics.fetch_bytes.add(looks.bytes);
        for code in looks.looks.iter().filter_map(|look| look.error) {
            metrics.errors.of(code.code()).add(1);
        }
    }

    /// Which items the response names: all, or those with news for this session.
    fn news(&self, looks: &Looks) -> Vec<bool> {
        let Some(session) = self.session.as_ref().filter(|_| self.incremental) else {
            return vec![true; self.items.len()];
        };
        let session = session.lock();
        let has_news = |item: &Item, look: &plan::Look| {
            let now = (look.watermarks.0, look.watermarks.2);
            let told = session.partitions.get(&item.key).and_then(|known| known.told);
            look.len_bytes() > 0
                || look.error.is_some()
                || look.diverging.is_some()
                || told != Some(now)
        };
        self.items.iter().zip(&looks.looks).map(|(i, l)| has_news(i, l)).collect()
    }

    /// Remembers in the session what this response says.
    fn note(&self, looks: &Looks, keep: &[bool]) {
        let Some(session) = &self.session else { return };
        let mut session = session.lock();
        for ((item, look), keep) in self.items.iter().zip(&looks.looks).zip(keep) {
            if !keep {
                continue;
            }
            // After an error the next answer is news in any case.
            let told = look.error.is_none().then_some((look.watermarks.0, look.watermarks.2));
            let next = look.slice.as_ref().and_then(|s| s.next_hint);
            session.told(&item.key, told, next, look.len_bytes() > 0);
        }
    }
}

fn items_of(services: &Services, session: &Session) -> Vec<Item> {
    let item = |(key, known): (&Key, &session::Remembered)| {
        Item::new(services, key.clone(), known.wanted.clone(), known.hint)
    };
    session.partitions.iter().map(item).collect()
}

async fn look_on_disk(fetch: Fetch) -> Result<(Fetch, Looks), String> {
    let work = tokio::task::spawn_blocking(move || {
        let looks = look(&fetch.items, fetch.limits.max_bytes, Depth::MayBlock);
        (fetch, looks.expect("a look that may block finds every position"))
    });
    work.await.map_err(|error| format!("fetch failed: {error}"))
}

/// Runs of items of the same topic, of those that are kept.
fn groups(items: &[Item], keep: &[bool]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in (0..items.len()).filter(|i| keep[*i]) {
        match groups.last_mut() {
            Some(group) if items[group[0]].key.0 == items[index].key.0 => group.push(index),
            _ => groups.push(vec![index]),
        }
    }
    groups
}

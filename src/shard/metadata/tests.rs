//! The worker over a store in memory and a host that keeps a list.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::*;
use crate::base::role::{Role, RoleKind};
use crate::catalog::codec::{STARTS, fence};
use crate::catalog::{Configs, NewPartitions, NewTopic, TopicKey};
use crate::store::meta::MemoryMeta;
use crate::store::{Meta, MetaExpect, MetaWrite, Transacted, Versioned};

/// Partitions that are served, by topic name.
type Served = Arc<Mutex<BTreeSet<(String, i32)>>>;

#[derive(Clone, Default)]
struct ListHost {
    served: Served,
    disk_full: Arc<AtomicBool>,
    removed: Arc<Mutex<Vec<String>>>,
}

impl PartitionHost for ListHost {
    fn open(&self, catalog: &Catalog, openings: &[Opening]) -> Vec<Result<(), Fault>> {
        let one = |opening: &Opening| {
            if self.disk_full.load(Ordering::SeqCst) {
                return Err(Code::KafkaStorageError.into());
            }
            for (topic, partitions) in opening {
                assert_eq!(catalog.topic(&topic.name), Some(topic), "opened from the new catalog");
                let named = partitions.clone().map(|partition| (topic.name.to_string(), partition));
                self.served.lock().extend(named);
            }
            Ok(())
        };
        openings.iter().map(one).collect()
    }

    fn remove(&self, topic: &Topic) -> Result<(), Fault> {
        if self.disk_full.load(Ordering::SeqCst) {
            return Err(Code::KafkaStorageError.into());
        }
        self.served.lock().retain(|(name, _)| **name != *topic.name);
        self.removed.lock().push(topic.name.to_string());
        Ok(())
    }

    fn forget(&self, topics: &[Arc<Topic>]) {
        self.removed.lock().extend(topics.iter().map(|topic| format!("{} forgotten", topic.name)));
    }

    fn configure(&self, _: &Catalog, topic: &Topic) {
        self.removed.lock().push(format!("{} {:?}", topic.name, topic.configs));
    }

    fn reconfigure(&self, _: &Catalog) {}
}

fn policy() -> Policy {
    Policy {
        default_partitions: 1,
        default_replication_factor: 1,
        max_topic_partitions: 100,
        max_partitions: 1000,
        check_topic_configs: Arc::new(|_| Ok(())),
        check_group_configs: Arc::new(|_| Ok(())),
    }
}

fn start(meta: &Arc<dyn Meta>, host: &ListHost) -> (Arc<Metadata>, JoinHandle<io::Result<()>>) {
    let store = Store::open(Arc::clone(meta), 1).expect("a readable store");
    Metadata::start(store, policy(), host.clone(), |_| {}).expect("a thread")
}

fn memory() -> Arc<dyn Meta> {
    Arc::new(MemoryMeta::new())
}

fn wait<T>(pending: Pending<T>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(pending.wait())
}

/// Ends the worker and gives what its thread ended with.
fn stop((metadata, thread): (Arc<Metadata>, JoinHandle<io::Result<()>>)) -> io::Result<()> {
    drop(metadata);
    thread.join().expect("the worker does not panic")
}

fn create(name: &str, partitions: i32) -> Command {
    let id = name.bytes().fold(1, |id: u128, b| id * 257 + u128::from(b));
    let new = NewTopic::with_defaults(name, Uuid::from_u128(id));
    Command::CreateTopic(NewTopic { partitions, ..new })
}

fn delete(name: &str) -> Command {
    Command::DeleteTopic(TopicKey::Name(name.to_owned()))
}

fn grow(name: &str, count: i32) -> Command {
    Command::AddPartitions(NewPartitions { topic: name.to_owned(), count, assignments: None })
}

fn served(host: &ListHost) -> Vec<(String, i32)> {
    host.served.lock().iter().cloned().collect()
}

fn codes(outcomes: Vec<Result<Change, Fault>>) -> Vec<Option<Code>> {
    outcomes.into_iter().map(|outcome| outcome.err().map(|fault| fault.kind())).collect()
}

#[test]
fn a_created_topic_is_served_when_the_answer_comes() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    let outcomes = wait(worker.0.submit(vec![create("a", 2), create("a", 1), create("b", 1)]));
    assert_eq!(codes(outcomes.unwrap()), [None, Some(Code::TopicAlreadyExists), None]);
    assert_eq!(served(&host), [("a".into(), 0), ("a".into(), 1), ("b".into(), 0)]);
    assert_eq!(worker.0.catalog().partition_count(), 3);
    stop(worker).unwrap();
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    wait(worker.0.submit(vec![create("a", 2), create("b", 1), delete("b"), grow("a", 5)])).unwrap();
    let before = Catalog::clone(&worker.0.catalog());
    stop(worker).unwrap();

    let store = Store::open(meta, 1).unwrap();
    let topic = store.catalog().topic("a").expect("kept");
    assert_eq!(topic.partitions, 5);
    assert_eq!(store.catalog().topics().len(), 1);
    assert_eq!(before.leader_epoch(topic), 0);
    assert_eq!(store.catalog().leader_epoch(topic), 1);
}

#[test]
fn partitions_that_cannot_be_opened_are_not_created() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    wait(worker.0.submit(vec![create("a", 1)])).unwrap();
    host.disk_full.store(true, Ordering::SeqCst);
    let outcomes = wait(worker.0.submit(vec![create("b", 1), grow("a", 3)])).unwrap();
    let storage = Some(Code::KafkaStorageError);
    assert_eq!(codes(outcomes), [storage, storage]);
    assert!(worker.0.catalog().topic("b").is_none());
    assert_eq!(worker.0.catalog().topic("a").unwrap().partitions, 1);

    host.disk_full.store(false, Ordering::SeqCst);
    let outcomes = wait(worker.0.submit(vec![create("b", 1), grow("a", 3)])).unwrap();
    assert_eq!(codes(outcomes), [None, None]);
    stop(worker).unwrap();
    assert_eq!(Store::open(meta, 1).unwrap().catalog().partition_count(), 4);
}

#[test]
fn a_topic_and_its_followers_get_partitions_together_or_not_at_all() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    wait(worker.0.submit(vec![create("a", 1)])).unwrap();
    let source = worker.0.catalog().topic("a").unwrap().id;
    let role = Arc::new(Role::of(RoleKind::Retry, "g", "a", source));
    let follower =
        NewTopic { role: Some(role), ..NewTopic::with_defaults("b", Uuid::from_u128(9)) };
    let partitions = || {
        let catalog = worker.0.catalog();
        ["a", "b"].map(|name| catalog.topic(name).map_or(0, |topic| topic.partitions))
    };
    // In one round the follower is made with one partition and grows to two with its source.
    let commands = vec![Command::CreateTopic(follower), grow("a", 2)];
    assert_eq!(codes(wait(worker.0.submit(commands)).unwrap()), [None, None]);
    assert_eq!(partitions(), [2, 2]);
    let expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1)];
    assert_eq!(served(&host), expected.map(|(name, partition)| (name.to_owned(), partition)));

    host.disk_full.store(true, Ordering::SeqCst);
    let storage = Some(Code::KafkaStorageError);
    assert_eq!(codes(wait(worker.0.submit(vec![grow("a", 5)])).unwrap()), [storage]);
    assert_eq!(partitions(), [2, 2]);
    host.disk_full.store(false, Ordering::SeqCst);
    assert_eq!(codes(wait(worker.0.submit(vec![grow("a", 3)])).unwrap()), [None]);
    assert_eq!(partitions(), [3, 3]);
    stop(worker).unwrap();
}

#[test]
fn a_topic_whose_files_remain_is_removed_at_the_next_start() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    wait(worker.0.submit(vec![create("a", 1)])).unwrap();
    host.disk_full.store(true, Ordering::SeqCst);
    assert_eq!(codes(wait(worker.0.submit(vec![delete("a")])).unwrap()), [None]);
    assert!(worker.0.catalog().topic("a").is_none());
    stop(worker).unwrap();

    host.disk_full.store(false, Ordering::SeqCst);
    stop(start(&meta, &host)).unwrap();
    assert_eq!(*host.removed.lock(), ["a forgotten", "a forgotten", "a"]);
    assert_eq!(Store::open(meta, 1).unwrap().catalog().deleted().count(), 0);
}

#[test]
fn a_topic_created_and_deleted_at_once_leaves_nothing() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    let outcomes = wait(worker.0.submit(vec![create("a", 1), delete("a")]));
    assert_eq!(codes(outcomes.unwrap()), [None, None]);
    stop(worker).unwrap();
    assert_eq!(served(&host), []);
    assert_eq!(meta.scan("topics/").unwrap(), []);
    assert_eq!(meta.scan("deleted/").unwrap(), []);
}

#[test]
fn changed_configs_reach_the_host() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    let configs = Configs::from([("retention.ms".to_owned(), "5".to_owned())]);
    let edit = crate::catalog::ConfigEdit::Replace(configs);
    let alter = Command::AlterTopicConfigs { topic: "a".to_owned(), edit };
    wait(worker.0.submit(vec![create("a", 1), alter])).unwrap();
    assert_eq!(*host.removed.lock(), [r#"a {"retention.ms": "5"}"#]);
    stop(worker).unwrap();
}

#[test]
fn log_starts_only_rise_and_go_with_their_topic() {
    let (meta, host) = (memory(), ListHost::default());
    let worker = start(&meta, &host);
    wait(worker.0.submit(vec![create("a", 2)])).unwrap();
    let id = worker.0.catalog().topic("a").unwrap().id;
    let partition = TopicPartition::new(id, 1);
    for offset in [10, 5] {
        wait(worker.0.move_log_starts(vec![(partition, offset)])).unwrap();
    }
    let unknown = TopicPartition::new(Uuid::from_u128(7), 0);
    wait(worker.0.move_log_starts(vec![(unknown, 5)])).unwrap();
    stop(worker).unwrap();
    let store = Store::open(Arc::clone(&meta), 1).unwrap();
    assert_eq!(store.log_starts().iter().collect::<Vec<_>>(), [(&partition, &10)]);

    let worker = start(&meta, &host);
    wait(worker.0.submit(vec![delete("a")])).unwrap();
    stop(worker).unwrap();
    assert_eq!(meta.scan("log-starts/").unwrap(), []);
}

#[test]
fn a_second_writer_is_noticed_and_not_overwritten() {
    let (meta, host) = (memory(), ListHost::default());
    let mut late = Store::open(Arc::clone(&meta), 1).unwrap();
    let worker = start(&meta, &host);
    wait(worker.0.submit(vec![create("a", 1)])).unwrap();

    let stale = late.round();
    assert!(matches!(late.commit(stale), Ok(Transacted::Done(_))), "nothing to write");
    let mut stale = late.round();
    let change = decide(late.catalog(), &policy(), &create("b", 1)).unwrap();
    stale.change(&change, &late);
    assert!(matches!(late.commit(stale), Ok(Transacted::Conflict)));

    // The other way round: the worker meets a foreign write, reads again and goes on.
    assert!(matches!(meta.transact(&[], &[fence()]), Ok(Transacted::Done(_))));
    assert_eq!(
        codes(wait(worker.0.submit(vec![create("a", 1), create("b", 1)])).unwrap()),
        [Some(Code::TopicAlreadyExists), None]
    );
    stop(worker).unwrap();
}

/// A store that fails every write once it is told to.
struct FailingMeta {
    inner: MemoryMeta,
    fail: Mutex<Option<io::ErrorKind>>,
}

impl Meta for FailingMeta {
    fn get(&self, key: &str) -> io::Result<Option<Versioned>> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &str) -> io::Result<Vec<(String, Versioned)>> {
        self.inner.scan(prefix)
    }

    fn transact(&self, expect: &[MetaExpect], writes: &[MetaWrite]) -> io::Result<Transacted> {
        match *self.fail.lock() {
            Some(kind) => Err(kind.into()),
            None => self.inner.transact(expect, writes),
        }
    }
}

#[test]
fn a_full_disk_passes_and_a_failed_store_is_final() {
    let failing = Arc::new(FailingMeta { inner: MemoryMeta::new(), fail: Mutex::new(None) });
    let meta: Arc<dyn Meta> = Arc::<FailingMeta>::clone(&failing);
    let host = ListHost::default();
    let worker = start(&meta, &host);
    let refusal = |command| wait(worker.0.submit(vec![command])).unwrap_err().kind();

    *failing.fail.lock() = Some(io::ErrorKind::StorageFull);
    assert_eq!(refusal(create("a", 1)), Code::KafkaStorageError);
    *failing.fail.lock() = None;
    assert_eq!(codes(wait(worker.0.submit(vec![create("a", 1)])).unwrap()), [None]);

    *failing.fail.lock() = Some(io::ErrorKind::Other);
    assert_eq!(refusal(create("b", 1)), Code::KafkaStorageError);
    assert_eq!(refusal(create("c", 1)), Code::KafkaStorageError);
    assert_eq!(served(&host), [("a".into(), 0)]);
    assert!(stop(worker).is_err());
}

#[test]
fn starts_are_counted_before_anything_is_served() {
    let meta = memory();
    for expected in 1..=3 {
        Store::open(Arc::clone(&meta), 1).unwrap();
        let starts = meta.get(STARTS.key).unwrap().unwrap();
        assert_eq!(STARTS.read(&starts.value).unwrap(), expected);
    }
}

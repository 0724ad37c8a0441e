//! The host over a real log on a disk in memory, with a machine that counts. The test is the
//! committer: nothing is durable before it says so.

use std::path::Path;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::oneshot::{self, Receiver};

use super::*;
use crate::base::env::scripted::{ScriptedClock, env};
use crate::base::ids::Uuid;
use crate::base::settings::BrokerConfig;
use crate::catalog::Catalog;
use crate::coord::machine::LogRecord;
use crate::log::cache::LogStore;
use crate::log::dir::Identity;
use crate::log::partition::PartitionLog;
use crate::log::recover::OpenHint;
use crate::log::settings::LogSettings;
use crate::log::view::End;
use crate::store::memory::MemoryFiles;
use crate::wire::builder::BatchBuilder;

const NOW_MS: i64 = 1_700_000_000_000;

fn tp() -> TopicPartition {
    TopicPartition::new(Uuid::from_u128(7), 0)
}

/// A sum and who waits for a time.
#[derive(Default)]
struct Counter {
    sum: i64,
    parked: Option<(Caller, Duration)>,
}

enum Command {
    Add(i64),
    Get,
    /// Answered when so many milliseconds have passed.
    Park(u64),
    /// Records so many bytes.
    Fill(usize),
}

impl Machine for Counter {
    type Command = Command;
    type Reply = i64;

    fn handle(
        &mut self,
        moment: &Moment<'_>,
        caller: Caller,
        command: Command,
        effects: &mut Effects<i64>,
    ) {
        let mut record = |key: &'static [u8], value: Vec<u8>| {
            let key = Bytes::from_static(key);
            effects.records.push(LogRecord { key, value: Some(value.into()) });
        };
        match command {
            Command::Add(more) => {
                self.sum += more;
                record(b"sum", self.sum.to_be_bytes().to_vec());
            }
            Command::Fill(bytes) => record(b"fill", vec![0; bytes]),
            Command::Get => {}
            Command::Park(ms) => {
                self.parked = Some((caller, moment.now + Duration::from_millis(ms)));
                return;
            }
        }
        effects.reply(caller, self.sum);
    }

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        match key {
            b"sum" => {
                let value = value.and_then(|value| value.first_chunk()).ok_or("not a number")?;
                self.sum = i64::from_be_bytes(*value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn resume(&mut self, _: &Moment<'_>, _: &mut Effects<i64>) {}

    fn wake_at(&self) -> Option<Duration> {
        self.parked.map(|(_, at)| at)
    }

    fn wake(&mut self, moment: &Moment<'_>, effects: &mut Effects<i64>) {
        if let Some((caller, _)) = self.parked.take_if(|(_, at)| *at <= moment.now) {
            effects.reply(caller, self.sum);
        }
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// One partition whose appends become durable when the test says so.
struct OneLog {
    log: PartitionLog,
    undurable: Vec<(End, Held)>,
    batches: usize,
}

impl OneLog {
    fn open(files: &MemoryFiles) -> Self {
        let store = LogStore::new(Arc::new(files.clone()), 8);
        let identity = Identity::below(Path::new("/data"), "counts", tp());
        let settings = LogSettings { segment_bytes: 4 << 20, ..LogSettings::default() };
        let (log, _) =
            PartitionLog::open(&store, identity, settings, OpenHint::default(), 0, NOW_MS)
                .expect("an empty disk");
        log.view().advance(&log.end());
        Self { log, undurable: Vec::new(), batches: 0 }
    }

    fn commit(&mut self) {
        for (end, held) in self.undurable.drain(..) {
            self.log.view().advance(&end);
            held(Ok(()));
        }
    }

    fn fail_commit(&mut self) {
        for (_, held) in self.undurable.drain(..) {
            held(Err(Code::NotCoordinator.into()));
        }
    }
}

impl Logs for OneLog {
    fn view(&self, _: TopicPartition) -> Option<Arc<PartitionView>> {
        Some(Arc::clone(self.log.view()))
    }

    fn append(
        &mut self,
        _: TopicPartition,
        mut batch: ValidBatch,
        held: Held,
    ) -> Result<(), Fault> {
        match self.log.append(&mut batch, NOW_MS) {
            Ok(appended) => {
                self.batches += 1;
                self.undurable.push((appended.end, held));
                Ok(())
            }
            Err(error) => {
                held(Err(Code::NotCoordinator.into()));
                Err(error.into())
            }
        }
    }

    fn when_durable(&mut self, _: TopicPartition, held: Held) {
        if self.undurable.is_empty() {
            return held(Ok(()));
        }
        self.undurable.push((self.log.end(), held));
    }
}

struct Rig {
    files: MemoryFiles,
    clock: Arc<ScriptedClock>,
    host: Host<Counter>,
    logs: OneLog,
}

type Reply = Receiver<Result<i64, Fault>>;

impl Rig {
    /// A host whose machine is ready.
    fn new() -> Self {
        let mut rig = Self::over(MemoryFiles::new());
        rig.round();
        rig
    }

    /// A host that has just taken on its partition.
    fn over(files: MemoryFiles) -> Self {
        let clock = ScriptedClock::at(NOW_MS);
        let catalog = Arc::new(ArcSwap::from_pointee(Catalog::empty(1, 1)));
        let mut host = Host::new(Hosting {
            env: env(Arc::clone(&clock), 1),
            metrics: Arc::default(),
            cluster: Snapshot::of(catalog, Arc::default(), BrokerConfig::default()),
            codec: Codec::None,
            make: Box::new(|_| Counter::default()),
        });
        host.add(tp());
        Self { logs: OneLog::open(&files), files, clock, host }
    }

    fn ask(&mut self, command: Command) -> Reply {
        let (answer, reply) = oneshot::channel();
        self.host.handle(Ask { tp: tp(), command, answer }, &mut self.logs);
        reply
    }

    fn round(&mut self) {
        self.host.round(&mut self.logs);
    }

    /// Asks, ends the round, makes it durable.
    fn done(&mut self, command: Command) -> Result<i64, Code> {
        let mut reply = self.ask(command);
        self.round();
        self.logs.commit();
        answered(&mut reply).expect("durable")
    }
}

fn answered(reply: &mut Reply) -> Option<Result<i64, Code>> {
    match reply.try_recv() {
        Ok(outcome) => Some(outcome.map_err(|fault| fault.kind())),
        Err(oneshot::error::TryRecvError::Empty) => None,
        Err(oneshot::error::TryRecvError::Closed) => panic!("a caller was forgotten"),
    }
}

#[test]
fn decisions_of_a_round_share_a_batch_and_wait_for_it() {
    let mut rig = Rig::new();
    let mut first = rig.ask(Command::Add(2));
    let mut second = rig.ask(Command::Add(3));
    rig.round();
    assert_eq!(rig.logs.batches, 1);
    assert_eq!(rig.logs.log.end().offset, 2);
    assert_eq!((answered(&mut first), answered(&mut second)), (None, None));
    rig.logs.commit();
    assert_eq!((answered(&mut first), answered(&mut second)), (Some(Ok(2)), Some(Ok(5))));
}

#[test]
fn a_reply_without_records_waits_for_what_it_tells_of() {
    let mut rig = Rig::new();
    let added = rig.ask(Command::Add(2));
    rig.round();
    let mut got = rig.ask(Command::Get);
    rig.round();
    assert_eq!(answered(&mut got), None);
    rig.logs.commit();
    assert_eq!(answered(&mut got), Some(Ok(2)));
    drop(added);
    let mut at_once = rig.ask(Command::Get);
    rig.round();
    assert_eq!(answered(&mut at_once), Some(Ok(2)));
}

#[test]
fn a_failed_commit_tells_nobody_of_what_it_undid() {
    let mut rig = Rig::new();
    let mut added = rig.ask(Command::Add(2));
    let mut got = rig.ask(Command::Get);
    rig.round();
    rig.logs.fail_commit();
    assert_eq!(answered(&mut added), Some(Err(Code::NotCoordinator)));
    assert_eq!(answered(&mut got), Some(Err(Code::NotCoordinator)));
}

#[test]
fn a_machine_ahead_of_its_log_is_dropped_and_built_anew() {
    let mut rig = Rig::new();
    assert_eq!(rig.done(Command::Add(2)), Ok(2));
    let mut parked = rig.ask(Command::Park(60_000));
    rig.files.set_room_bytes(Some(0));
    let mut refused = rig.ask(Command::Add(40));
    rig.round();
    assert_eq!(answered(&mut refused), Some(Err(Code::NotCoordinator)));
    assert_eq!(answered(&mut parked), Some(Err(Code::CoordinatorNotAvailable)));
    let mut early = rig.ask(Command::Get);
    assert_eq!(answered(&mut early), Some(Err(Code::CoordinatorNotAvailable)));

    rig.files.set_room_bytes(None);
    rig.clock.advance_ms(1_000);
    rig.round();
    assert_eq!(rig.done(Command::Get), Ok(2), "what was not stored is not remembered");
    assert_eq!(rig.done(Command::Add(1)), Ok(3));
}

#[test]
fn a_machine_built_from_the_log_is_the_one_that_wrote_it() {
    let mut rig = Rig::new();
    for n in 1..=100 {
        rig.done(Command::Add(n)).expect("stored");
    }
    let mut again = Rig::over(rig.files.clone());
    let mut early = again.ask(Command::Get);
    assert_eq!(answered(&mut early), Some(Err(Code::CoordinatorLoadInProgress)));
    again.round();
    assert_eq!(again.done(Command::Get), Ok(5050));
}

#[test]
fn building_waits_for_a_tail_that_is_not_durable() {
    let mut rig = Rig::new();
    drop(rig.ask(Command::Add(2)));
    rig.round();
    rig.files.set_room_bytes(Some(0));
    drop(rig.ask(Command::Add(40)));
    rig.round();
    rig.files.set_room_bytes(None);
    rig.clock.advance_ms(1_000);
    rig.round();
    let mut early = rig.ask(Command::Get);
    assert_eq!(answered(&mut early), Some(Err(Code::CoordinatorLoadInProgress)));
    rig.logs.commit();
    rig.clock.advance_ms(1);
    assert!(rig.host.wake_at().is_some_and(|at| at <= Duration::from_millis(1_001)));
    rig.round();
    assert_eq!(rig.done(Command::Get), Ok(2));
}

#[test]
fn an_unreadable_record_is_skipped() {
    let mut rig = Rig::new();
    assert_eq!(rig.done(Command::Add(2)), Ok(2));
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(NOW_MS, Some(b"sum"), Some(b"short"), std::iter::empty());
    builder.push(NOW_MS, None, Some(b"no key"), std::iter::empty());
    let batch = ValidBatch::own(builder).expect("small");
    rig.logs.append(tp(), batch, Box::new(|_| {})).expect("room");
    rig.logs.commit();
    let mut again = Rig::over(rig.files.clone());
    again.round();
    assert_eq!(again.done(Command::Get), Ok(2));
}

#[test]
fn a_parked_caller_is_answered_when_its_time_has_come() {
    let mut rig = Rig::new();
    assert_eq!(rig.host.wake_at(), None);
    let mut parked = rig.ask(Command::Park(500));
    rig.round();
    let due = rig.host.wake_at().expect("somebody waits");
    rig.clock.advance_ms(499);
    rig.round();
    assert_eq!(answered(&mut parked), None);
    rig.clock.advance_ms(1);
    assert_eq!(due, Duration::from_millis(500));
    rig.round();
    assert_eq!(answered(&mut parked), Some(Ok(0)));
    assert_eq!(rig.host.wake_at(), None);
}

#[test]
fn whoever_waits_is_told_when_the_partition_goes() {
    let mut rig = Rig::new();
    let mut parked = rig.ask(Command::Park(500));
    rig.host.close();
    assert_eq!(answered(&mut parked), Some(Err(Code::NotCoordinator)));
    let mut late = rig.ask(Command::Get);
    assert_eq!(answered(&mut late), Some(Err(Code::NotCoordinator)));
    assert_eq!(rig.host.wake_at(), None);
}

#[test]
fn large_decisions_have_batches_of_their_own_and_too_large_ones_are_refused() {
    let mut rig = Rig::new();
    let replies = [600 << 10, 600 << 10, 2 << 20].map(|bytes| rig.ask(Command::Fill(bytes)));
    rig.round();
    assert_eq!(rig.logs.batches, 3);
    rig.logs.commit();
    for mut reply in replies {
        assert_eq!(answered(&mut reply), Some(Ok(0)));
    }
    assert_eq!(rig.done(Command::Fill(17 << 20)), Err(Code::UnknownServerError));
}

#[test]
fn what_was_due_before_a_command_is_decided_before_it() {
    let mut rig = Rig::new();
    let mut parked = rig.ask(Command::Park(500));
    rig.clock.advance_ms(500);
    let mut added = rig.ask(Command::Add(2));
    rig.round();
    rig.logs.commit();
    assert_eq!(answered(&mut parked), Some(Ok(0)), "the sum as it was when it was due");
    assert_eq!(answered(&mut added), Some(Ok(2)));
}

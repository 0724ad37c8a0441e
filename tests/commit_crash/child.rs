//! The process that is killed: one shard, one committer, one checkpointer, and a workload that
//! never ends. Each acknowledged append is one line on standard output, written at once:
//! `<value>` and then ` <partition>:<offset>` for each partition it went to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use klamm::base::crash_point;
use klamm::base::env::Env;
use klamm::log::commit::{CommitError, Row};
use klamm::log::partition::{Appended, PartitionLog};
use klamm::log::validate::{BatchRules, CompressionRule, ValidBatch, validate};
use klamm::shard::checkpointer::{
    self, Bell, CheckpointSettings, Checkpointer, Collected, Sources,
};
use klamm::shard::committer::{
    self, Committer, CommitterHandle, CommitterSettings, Completion, Submission, Submitted,
};
use klamm::wire::batch::TimestampType;
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;

use super::engine::{Durability, PARTITIONS, recover};

const IN_FLIGHT: usize = 24;

enum Message {
    Committed(Append),
    Collect(Sender<Collected>),
}

/// An append on its way through the committer, and the logs that it went to.
struct Append {
    value: u64,
    places: Vec<(usize, Appended)>,
}

struct ToShard {
    append: Append,
    shard: Sender<Message>,
}

impl Completion for ToShard {
    fn complete(self, outcome: Result<(), &CommitError>) {
        outcome.expect("the disk works");
        drop(self.shard.send(Message::Committed(self.append)));
    }
}

struct Shards(Sender<Message>);

impl Sources for Shards {
    fn collect(&mut self) -> Option<Collected> {
        let (reply, collected) = channel();
        self.0.send(Message::Collect(reply)).ok()?;
        collected.recv().ok()
    }
}

struct Shard {
    env: Env,
    durability: Durability,
    logs: Vec<PartitionLog>,
    commits: CommitterHandle<ToShard>,
    inbox: Receiver<Message>,
    own: Sender<Message>,
    in_flight: usize,
    next_value: u64,
}

/// Recovers the directory and appends until killed.
pub fn run(dir: &Path, durability: Durability) {
    let env = Env::system();
    let recovered = recover(dir, durability, &env);
    let (own, inbox) = channel();
    let bell = Bell::default();
    let press = bell.clone();
    let settings = CommitterSettings { bulk_bytes: 8 << 10, ..CommitterSettings::default() };
    let (committer, commits) =
        Committer::new(recovered.commit_log, settings, env.clone(), move || press.ring());
    let checkpointer = Checkpointer::new(
        recovered.files,
        dir.to_owned(),
        CheckpointSettings { interval: Duration::from_millis(20) },
        Shards(own.clone()),
        commits.clone(),
        recovered.partitions,
    );
    committer::spawn(committer, |reason| panic!("{reason}")).expect("a thread");
    checkpointer::spawn(checkpointer, bell, |reason| panic!("{reason}")).expect("a thread");
    // The clock tells the values of different runs apart. Pairs are odd.
    let next_value = env.wall_ms().unsigned_abs() << 20;
    let logs = recovered.logs;
    let in_flight = 0;
    Shard { env, durability, logs, commits, inbox, own, in_flight, next_value }.serve();
}

impl Shard {
    fn serve(mut self) {
        loop {
            let message = if self.in_flight < IN_FLIGHT {
                self.append();
                self.inbox.try_recv().ok()
            } else {
                Some(self.inbox.recv().expect("it holds a sender itself"))
            };
            match message {
                Some(Message::Committed(append)) => {
                    self.in_flight -= 1;
                    self.committed(append);
                }
                Some(Message::Collect(reply)) => drop(reply.send(self.collect())),
                None => {}
            }
        }
    }

    fn append(&mut self) {
        let dice = self.env.random_u64();
        let value = self.next_value;
        self.next_value += 2;
        let at = usize::try_from(dice % 6).expect("small");
        let size = match (dice >> 8) % 16 {
            0 => 12_000,
            n => 50 * n,
        };
        if (dice >> 16).is_multiple_of(3) {
            self.append_pair(value + 1, at % PARTITIONS, size);
        } else {
            self.append_one(value, at, size);
        }
    }

    /// To a log or a journal.
    fn append_one(&mut self, value: u64, at: usize, size: u64) {
        let mut batch = batch(value, size, self.env.wall_ms());
        let log = &mut self.logs[at];
        let appended = log.append(&mut batch, self.env.wall_ms()).expect("the disk works");
        let row = row(log, &batch);
        self.level(at % PARTITIONS);
        self.submit(vec![row], Append { value, places: vec![(at, appended)] });
    }

    /// To a log and its journal, at one offset.
    fn append_pair(&mut self, value: u64, at: usize, size: u64) {
        let mut rows = Vec::new();
        let mut places = Vec::new();
        let mut batch = batch(value, size, self.env.wall_ms());
        batch.set_paired(true);
        for at in [at, at + PARTITIONS] {
            self.logs[at].ready(&batch).expect("the disk works");
        }
        for at in [at, at + PARTITIONS] {
            let log = &mut self.logs[at];
            let appended = log.append_judged(&mut batch, self.env.wall_ms());
            crash_point::pass("pair-half-written");
            rows.push(row(log, &batch));
            places.push((at, appended.expect("the disk works")));
        }
        self.level(at);
        self.submit(rows, Append { value, places });
    }

    fn level(&mut self, partition: usize) {
        let both = [partition, partition + PARTITIONS];
        let [log, journal] = self.logs.get_disjoint_mut(both).expect("they are two");
        log.level(journal);
    }

    /// Without stable storage it is acknowledged at once.
    fn submit(&mut self, batches: Vec<Submitted>, append: Append) {
        if self.durability == Durability::PageCache {
            return self.committed(append);
        }
        self.in_flight += 1;
        let completion = ToShard { append, shard: self.own.clone() };
        self.commits.submit([Submission { batches: batches.into(), completion }]);
    }

    fn committed(&mut self, append: Append) {
        let Append { value, places } = append;
        let mut offsets = Vec::new();
        for (at, appended) in places {
            self.logs[at].view().advance(&appended.end);
            offsets.push((at, appended.base_offset));
        }
        acknowledge(value, &offsets);
    }

    fn collect(&mut self) -> Collected {
        let mut collected = Collected::default();
        for log in &mut self.logs {
            let (partition, work) = log.checkpoint().expect("no pair is half written");
            collected.changed.push(partition);
            collected.dirty.merge(work);
        }
        collected
    }
}

fn row(log: &PartitionLog, batch: &ValidBatch) -> Submitted {
    let tp = log.view().topic_partition();
    let (header, records) = (*batch.header_bytes(), batch.records().clone());
    Submitted { row: Row { tp, header, records, in_segment: false }, segment: None }
}

fn acknowledge(value: u64, places: &[(usize, i64)]) {
    let mut line = value.to_string();
    for (partition, offset) in places {
        write!(line, " {partition}:{offset}").expect("memory");
    }
    line.push('\n');
    // One write, below the size at which pipes tear. A closed pipe means that the judge is gone.
    let mut out = std::io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// One record: the value, padded.
fn batch(value: u64, size: u64, now_ms: i64) -> ValidBatch {
    let mut payload = value.to_be_bytes().to_vec();
    payload.resize(8 + usize::try_from(size).expect("small"), 0);
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(now_ms, None, Some(&payload), std::iter::empty());
    let bytes = builder.build().expect("it is small");
    let rules = BatchRules {
        max_message_bytes: 1 << 20,
        segment_bytes: 128 << 10,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        compression: CompressionRule::Producer,
        max_decompressed_bytes: 1 << 20,
        open_compressed: true,
    };
    validate(bytes, 9, &rules, now_ms).expect("it is valid")
}

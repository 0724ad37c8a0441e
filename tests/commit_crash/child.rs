//! The process that is killed: one shard, one committer, one checkpointer, and a workload that
//! never ends. Each acknowledged append is one line on standard output, written at once:
//! `<value>` and then ` <partition>:<offset>` for each partition it went to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use klamm::base::crash_point;
use klamm::base::env::Env;
use klamm::log::commit::{CommitError, Row};
use klamm::log::partition::{Appended, PartitionLog, Staged};
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

/// An append on its way through the committer.
enum Append {
    One { value: u64, partition: usize, appended: Appended },
    Two { value: u64, staged: Vec<(usize, Staged)> },
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
    /// Staged batches per partition that are not written yet.
    staged: Vec<usize>,
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
    let staged = recovered.logs.iter().map(|_| 0).collect();
    // The clock tells the values of different runs apart. Appends to two partitions are odd.
    let next_value = env.wall_ms().unsigned_abs() << 20;
    let logs = recovered.logs;
    let in_flight = 0;
    Shard { env, durability, logs, staged, commits, inbox, own, in_flight, next_value }.serve();
}

impl Shard {
    fn serve(mut self) {
        loop {
            while self.in_flight < IN_FLIGHT {
                self.append();
            }
            match self.inbox.recv().expect("it holds a sender itself") {
                Message::Committed(append) => {
                    self.in_flight -= 1;
                    self.committed(append);
                }
                Message::Collect(reply) => drop(reply.send(self.collect())),
            }
        }
    }

    fn append(&mut self) {
        let dice = self.env.random_u64();
        let value = self.next_value;
        self.next_value += 2;
        let partitions = u64::from(PARTITIONS.unsigned_abs());
        let first = usize::try_from(dice % partitions).expect("small");
        let size = match (dice >> 8) % 16 {
            0 => 12_000,
            n => 50 * n,
        };
        if (dice >> 16).is_multiple_of(3) {
            let second = (first + 1) % self.logs.len();
            self.append_two(value + 1, [first, second], size);
        } else {
            self.append_one(value, first, size);
        }
    }

    /// To the segment first. Behind a staged batch, or where stable storage is asked for, it is
    /// acknowledged by its commit.
    fn append_one(&mut self, value: u64, partition: usize, size: u64) {
        let mut batch = batch(value, size, self.env.wall_ms());
        let log = &mut self.logs[partition];
        let appended = log.append(&mut batch, self.env.wall_ms()).expect("the disk works");
        if self.durability == Durability::PageCache && self.staged[partition] == 0 {
            acknowledge(value, &[(partition, appended.base_offset)]);
            return;
        }
        let row = row(log, *batch.header_bytes(), batch.records());
        self.submit(
            vec![Submitted { row, segment: None }],
            Append::One { value, partition, appended },
        );
    }

    /// To the commit log first, in one entry.
    fn append_two(&mut self, value: u64, partitions: [usize; 2], size: u64) {
        let mut batches = Vec::new();
        let mut staged = Vec::new();
        for partition in partitions {
            let mut batch = batch(value, size, self.env.wall_ms());
            let log = &mut self.logs[partition];
            let one = log.stage(&mut batch, self.env.wall_ms()).expect("the disk works");
            let row = row(log, *one.header(), one.records());
            batches.push(Submitted { row, segment: None });
            self.staged[partition] += 1;
            staged.push((partition, one));
        }
        self.submit(batches, Append::Two { value, staged });
    }

    fn submit(&mut self, batches: Vec<Submitted>, append: Append) {
        self.in_flight += 1;
        let completion = ToShard { append, shard: self.own.clone() };
        self.commits.submit([Submission { batches: batches.into(), completion }]);
    }

    fn committed(&mut self, append: Append) {
        match append {
            Append::One { value, partition, appended } => {
                self.logs[partition].view().advance(&appended.end);
                acknowledge(value, &[(partition, appended.base_offset)]);
            }
            Append::Two { value, staged } => {
                let mut places = Vec::new();
                for (partition, one) in staged {
                    let log = &mut self.logs[partition];
                    let appended = log.write_staged(one).expect("the disk works");
                    crash_point::pass("staged-half-written");
                    self.staged[partition] -= 1;
                    log.view().advance(&appended.end);
                    places.push((partition, appended.base_offset));
                }
                acknowledge(value, &places);
            }
        }
    }

    fn collect(&mut self) -> Collected {
        let mut collected = Collected::default();
        for log in &mut self.logs {
            match log.checkpoint() {
                Some((partition, work)) => {
                    collected.changed.push(partition);
                    collected.dirty.merge(work);
                }
                None => collected.dirty.merge(log.take_sync_work()),
            }
        }
        collected
    }
}

fn row(log: &PartitionLog, header: [u8; 61], records: &Bytes) -> Row {
    let tp = log.view().topic_partition();
    Row { tp, header, records: records.clone(), in_segment: false }
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

//! Starts, kills, recovers, and holds what is there against what was acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use klamm::base::env::Env;
use klamm::log::partition::PartitionLog;
use klamm::log::read::Wanted;
use klamm::wire::batch::{BatchHeader, HEADER_BYTES};
use klamm::wire::records::Records;

use super::engine::{Durability, PARTITIONS, recover};

pub const DIR_VARIABLE: &str = "KLAMM_CRASH_DIR";
pub const DURABILITY_VARIABLE: &str = "KLAMM_CRASH_DURABILITY";

/// When the child dies.
pub enum Kill {
    /// By SIGKILL, once this many appends were acknowledged.
    AfterAcks(u64),
    /// By itself, the n-th time it passes a named place.
    #[cfg_attr(not(feature = "crash-points"), expect(dead_code, reason = "needs the feature"))]
    At(&'static str, u64),
    /// The disk loses power once this many appends were acknowledged; what was not synced is gone.
    PowerCut(u64, Disk),
}

/// A disk of `tests/powercut/disk`, mounted.
#[derive(Clone)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    pub fn make(dir: &Path) -> Self {
        let disk = Self { image: dir.join("image"), mount: dir.join("mount") };
        disk.run("make", &[&disk.image, &disk.mount]);
        disk
    }

    pub fn mount(&self) -> &Path {
        &self.mount
    }

    pub fn drop(self) {
        self.run("drop", &[&self.image, &self.mount]);
    }

    fn run(&self, what: &str, paths: &[&Path]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/powercut/disk");
        let status = Command::new(script).arg(what).args(paths).status();
        assert!(status.expect("the script starts").success(), "disk {what} {paths:?}");
    }
}

/// Where an append went: log and offset.
type Places = Vec<(usize, i64)>;

pub struct Judge {
    dir: PathBuf,
    durability: Durability,
    acknowledged: BTreeMap<u64, Places>,
    rounds: u64,
    commits_replayed: u64,
    unacknowledged: usize,
}

impl Judge {
    pub fn new(dir: &Path, durability: Durability) -> Self {
        Self {
            dir: dir.to_owned(),
            durability,
            acknowledged: BTreeMap::new(),
            rounds: 0,
            commits_replayed: 0,
            unacknowledged: 0,
        }
    }

    /// One life of the child and the verdict on what it left.
    pub fn round(&mut self, kill: &Kill) {
        let mut child = self.start(kill);
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut acks = 0;
        for line in output.lines() {
            // What is in the pipe when the child dies was acknowledged too.
            let line = line.expect("the pipe is readable");
            let Some((value, places)) = parse(&line) else { continue };
            let before = self.acknowledged.insert(value, places);
            assert_eq!(before, None, "the child uses a value once");
            acks += 1;
            match kill {
                Kill::AfterAcks(wanted) if acks == *wanted => {
                    child.kill().expect("the child is there");
                }
                Kill::PowerCut(wanted, disk) if acks == *wanted => {
                    disk.run("cut", &[&disk.mount]);
                    child.kill().expect("the child is there");
                }
                _ => {}
            }
        }
        let status = child.wait().expect("the child is there");
        match kill {
            // It may have met the dead disk before it was killed.
            Kill::PowerCut(_, disk) => disk.run("again", &[&disk.image, &disk.mount]),
            _ => assert!(!status.success() && status.code().is_none(), "not killed: {status}"),
        }
        self.rounds += 1;
        self.verdict();
    }

    fn start(&self, kill: &Kill) -> Child {
        let own = std::env::current_exe().expect("a test knows its binary");
        let mut command = Command::new(own);
        command.args(["--ignored", "--exact", "child", "--nocapture"]);
        command.env(DIR_VARIABLE, &self.dir).env(DURABILITY_VARIABLE, self.durability.name());
        if let Kill::At(place, nth) = kill {
            command.env("CRASH_AT", format!("{place}:{nth}"));
        }
        if matches!(kill, Kill::PowerCut(..)) {
            // It complains about its disk before it is killed.
            command.stderr(Stdio::null());
        }
        command.stdout(Stdio::piped()).spawn().expect("the child starts")
    }

    /// Recovers the directory and checks every promise.
    fn verdict(&mut self) {
        let recovered = recover(&self.dir, self.durability, &Env::system());
        self.commits_replayed += recovered.commits_replayed;
        let mut found: BTreeMap<u64, Places> = BTreeMap::new();
        for (partition, log) in recovered.logs.iter().enumerate() {
            for (offset, value) in contents(log) {
                found.entry(value).or_default().push((partition, offset));
            }
        }
        for (value, places) in &self.acknowledged {
            let mut places = places.clone();
            places.sort_unstable();
            assert_eq!(found.get(value), Some(&places), "append {value} was acknowledged");
        }
        no_offset_is_given_twice(&found);
        self.unacknowledged = found.len() - self.acknowledged.len();
        for (value, places) in &found {
            // The child gives odd values to pairs.
            let copies = if value % 2 == 1 { 2 } else { 1 };
            assert_eq!(places.len(), copies, "append {value} is whole: {places:?}");
            assert_eq!(places[0].1, places[copies - 1].1, "a pair has one offset: {places:?}");
        }
    }

    /// Pairs that were acknowledged.
    pub fn pairs(&self) -> usize {
        self.acknowledged.values().filter(|places| places.len() == 2).count()
    }

    pub fn say(&self, what: &str) {
        let told = writeln!(
            std::io::stderr(),
            "{what}, {}: {} rounds, {} appends acknowledged ({} of them pairs), none missing, \
             {} more found, {} commits replayed",
            self.durability.name(),
            self.rounds,
            self.acknowledged.len(),
            self.pairs(),
            self.unacknowledged,
            self.commits_replayed,
        );
        told.expect("standard error is open");
    }
}

/// A log and its journal share their offsets: only the halves of a pair have the same.
fn no_offset_is_given_twice(found: &BTreeMap<u64, Places>) {
    let mut taken = BTreeMap::new();
    for (value, places) in found {
        for (log, offset) in places {
            let other = taken.insert((log % PARTITIONS, *offset), value);
            assert!(other.is_none_or(|other| other == value), "{offset} went to {other:?} too");
        }
    }
}

/// An acknowledgement; `None` for what the test harness prints.
fn parse(line: &str) -> Option<(u64, Places)> {
    let mut words = line.split(' ');
    let value = words.next()?.parse().ok()?;
    let place = |word: &str| {
        let (partition, offset) = word.split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    Some((value, words.map(place).collect::<Option<_>>()?))
}

/// Every record of a log: offset and value, in order.
fn contents(log: &PartitionLog) -> Vec<(i64, u64)> {
    let mut found = Vec::new();
    let mut offset = log.view().log_start();
    let mut hint = None;
    while offset < log.end().offset {
        let wanted = Wanted { offset, max_bytes: 1 << 20, whole_first_batch: true, hint };
        let slice = log.view().read(wanted).expect("the log is readable");
        let Some(file) = slice.file else {
            panic!(
                "nothing to read at {offset}, the log goes from {} to {}, shown to {}",
                log.view().log_start(),
                log.end().offset,
                log.view().high_watermark(),
            );
        };
        let mut bytes = vec![0; usize::try_from(slice.len).expect("bounded")];
        let read = file.read_at(&mut bytes, slice.position).expect("the disk works");
        assert_eq!(read, bytes.len());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).expect("a slice is whole batches");
            let (batch, behind) = rest.split_at(header.total_bytes());
            assert!(header.base_offset >= offset, "offsets rise: {header:?} at {offset}");
            for record in Records::new(&batch[HEADER_BYTES..], header.record_count) {
                let record = record.expect("the record is whole");
                let value = record.value.expect("every record has one");
                let value = value[..8].try_into().expect("eight bytes");
                found.push((
                    header.base_offset + i64::from(record.offset_delta),
                    u64::from_be_bytes(value),
                ));
            }
            offset = header.last_offset() + 1;
            rest = behind;
        }
        hint = slice.next_hint;
    }
    found
}

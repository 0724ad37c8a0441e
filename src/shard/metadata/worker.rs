//! The worker's rounds: take what has gathered, decide it, commit it, carry it out, answer.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rustc_hash::FxHashMap;

use super::store::{Round, Store};
use super::{Answer, Opening, PartitionHost};
use crate::base::fault::{Code, Fault};
use crate::base::ids::{TopicPartition, Uuid};
use crate::catalog::{Change, Command, Policy, Topic, decide};
use crate::store::Transacted;

/// Messages of one round.
const ROUND_MESSAGES: usize = 256;

/// How often a round is decided anew because another writer was faster.
const MAX_CONFLICTS: usize = 8;

/// What can be asked of the worker, what came of it, and where the answer goes.
pub(super) enum Message {
    Commands {
        commands: Vec<Command>,
        outcomes: Vec<Result<Change, Fault>>,
        answer: Answer<Vec<Result<Change, Fault>>>,
    },
    LogStarts {
        starts: Vec<(TopicPartition, i64)>,
        answer: Answer<()>,
    },
}

impl Message {
    /// Decides it as part of a round; again, if the round before could not be committed.
    fn decide(&mut self, round: &mut Round, policy: &Policy, store: &Store) {
        match self {
            Self::Commands { commands, outcomes, .. } => {
                let one = |command| {
                    let change = decide(&round.catalog, policy, command)?;
                    round.change(&change, store);
                    Ok(change)
                };
                *outcomes = commands.iter().map(one).collect();
            }
            Self::LogStarts { starts, .. } => {
                for (partition, offset) in starts {
                    round.move_log_start(*partition, *offset, store);
                }
            }
        }
    }

    fn outcomes(&mut self) -> &mut [Result<Change, Fault>] {
        match self {
            Self::Commands { outcomes, .. } => outcomes,
            Self::LogStarts { .. } => &mut [],
        }
    }

    /// Answers; whoever asked may have gone away with its connection.
    fn answer(self, failed: Option<&Fault>) {
        fn send<T>(answer: Answer<T>, outcome: T, failed: Option<&Fault>) {
            drop(answer.send(failed.map_or(Ok(outcome), |fault| Err(fault.clone()))));
        }
        match self {
            Self::Commands { outcomes, answer, .. } => send(answer, outcomes, failed),
            Self::LogStarts { answer, .. } => send(answer, (), failed),
        }
    }
}

/// New partitions, those of one change together, and which outcomes hang on each opening.
#[derive(Default)]
struct Openings {
    all: Vec<Opening>,
    places: Vec<Vec<usize>>,
    /// The opening that a topic is in.
    of: FxHashMap<Uuid, usize>,
}

impl Openings {
    /// Notes partitions of a topic, as part of the opening `own` if nobody has before.
    fn add(&mut self, own: &mut Option<usize>, topic: &Arc<Topic>, first_new: i32, place: usize) {
        let at = *self.of.entry(topic.id).or_insert_with(|| {
            let at = *own.get_or_insert_with(|| {
                self.all.push(Vec::new());
                self.places.push(Vec::new());
                self.all.len() - 1
            });
            self.all[at].push((Arc::clone(topic), first_new..topic.partitions));
            at
        });
        if self.places[at].last() != Some(&place) {
            self.places[at].push(place);
        }
    }
}

pub(super) struct Worker<H> {
    store: Store,
    policy: Policy,
    host: H,
}

impl<H: PartitionHost> Worker<H> {
    pub(super) fn new(store: Store, policy: Policy, host: H) -> Self {
        Self { store, policy, host }
    }

    /// Works until all handles are gone, or until the store fails.
    pub(super) fn run(mut self, messages: &Receiver<Message>) -> io::Result<()> {
        let left_over = self.store.catalog().deleted().cloned().collect();
        self.remove(left_over)?;
        while let Ok(first) = messages.recv() {
            let more = messages.try_iter().take(ROUND_MESSAGES - 1);
            self.work(std::iter::once(first).chain(more).collect())?;
        }
        Ok(())
    }

    /// One round. An error is the store's and final.
    fn work(&mut self, mut messages: Vec<Message>) -> io::Result<()> {
        if let Err(error) = self.commit(&mut messages) {
            let fault = Fault::with(Code::KafkaStorageError, error.to_string());
            messages.into_iter().for_each(|message| message.answer(Some(&fault)));
            return passing(error);
        }
        let deleted = self.carry_out(messages.iter_mut().flat_map(Message::outcomes).collect())?;
        let removed = self.remove(deleted);
        messages.into_iter().for_each(|message| message.answer(None));
        removed
    }

    /// Decides messages until they are committed without another writer in between.
    fn commit(&mut self, messages: &mut [Message]) -> io::Result<()> {
        for _ in 0..MAX_CONFLICTS {
            let mut round = self.store.round();
            for message in &mut *messages {
                message.decide(&mut round, &self.policy, &self.store);
            }
            if self.store.commit(round)? != Transacted::Conflict {
                return Ok(());
            }
            self.store.reload()?;
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "another writer keeps changing metadata"))
    }

    /// Opens what is new, publishes, applies configs, and gives the topics that are to be
    /// removed. What the host could not open is undone, and its outcome is the host's fault.
    fn carry_out(
        &mut self,
        mut outcomes: Vec<&mut Result<Change, Fault>>,
    ) -> io::Result<Vec<Arc<Topic>>> {
        self.open(&mut outcomes)?;
        let catalog = self.store.publish();
        let mut deleted = Vec::new();
        for change in outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()) {
            match change {
                Change::TopicDeleted(topic) => deleted.push(Arc::clone(topic)),
                Change::TopicConfigured(topic) => self.host.configure(&catalog, topic),
                Change::BrokerConfigured { .. } => self.host.reconfigure(&catalog),
                Change::TopicCreated(_)
                | Change::PartitionsAdded(_)
                | Change::GroupConfigured { .. }
                | Change::TopicSwept(_) => {}
            }
        }
        Ok(deleted)
    }

    /// Opens new partitions, those of one topic together. What fails is undone in the store.
    fn open(&mut self, outcomes: &mut [&mut Result<Change, Fault>]) -> io::Result<()> {
        let Openings { all, places, .. } = self.openings(outcomes);
        if all.is_empty() {
            return Ok(());
        }
        let opened = self.host.open(self.store.catalog(), &all);
        let mut round = self.store.round();
        let mut failed = false;
        for ((opening, places), opened) in all.iter().zip(places).zip(opened) {
            let Err(fault) = opened else { continue };
            failed = true;
            for (topic, new) in opening {
                self.undo(&mut round, topic, new.start);
            }
            for place in places {
                *outcomes[place] = Err(fault.clone());
            }
        }
        // A conflict leaves the topic in the store: it is opened at the next start.
        if failed && self.store.commit(round)? == Transacted::Conflict {
            self.store.reload()?;
        }
        Ok(())
    }

    fn openings(&self, outcomes: &[&mut Result<Change, Fault>]) -> Openings {
        let mut openings = Openings::default();
        for (place, outcome) in outcomes.iter().enumerate() {
            let new: Vec<(Uuid, i32)> = match outcome {
                Ok(Change::TopicCreated(topic)) => vec![(topic.id, 0)],
                Ok(Change::PartitionsAdded(grown)) => {
                    grown.iter().map(|one| (one.topic.id, one.first_new)).collect()
                }
                _ => continue,
            };
            let mut own = None;
            for (id, first_new) in new {
                // Later commands of the round may have changed it again, or deleted it.
                if let Some(topic) = self.store.catalog().topic_by_id(id) {
                    openings.add(&mut own, topic, first_new, place);
                }
            }
        }
        openings
    }

    /// Takes back partitions that could not be opened, and the topic if it has none left.
    fn undo(&self, round: &mut Round, topic: &Arc<Topic>, partitions: i32) {
        if partitions == 0 {
            round.change(&Change::TopicDeleted(Arc::clone(topic)), &self.store);
            round.change(&Change::TopicSwept(topic.id), &self.store);
        } else {
            let kept = Topic { partitions, ..(**topic).clone() };
            round.change(&Change::TopicConfigured(Arc::new(kept)), &self.store);
        }
    }

    /// Removes the files of deleted topics, and forgets the topics whose files are gone.
    fn remove(&mut self, topics: Vec<Arc<Topic>>) -> io::Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        self.host.forget(&topics);
        let mut round = self.store.round();
        for topic in topics {
            match self.host.remove(&topic) {
                Ok(()) => round.change(&Change::TopicSwept(topic.id), &self.store),
                Err(fault) => {
                    tracing::warn!(topic = %topic.name, %fault, "files of a deleted topic remain");
                }
            }
        }
        match self.store.commit(round) {
            Ok(Transacted::Done(_)) => Ok(()),
            Ok(Transacted::Conflict) => self.store.reload(),
            // What is not forgotten now is removed again at the next start.
            Err(error) => passing(error),
        }
    }
}

/// A full disk passes. After any other error what was written may be lost: it is final.
fn passing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::StorageFull { Ok(()) } else { Err(error) }
}

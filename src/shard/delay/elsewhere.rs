//! Commands that mean a record in another partition: cancels and replaces that find nothing in
//! their own are offered to the topic's others, because partitions may have been added since the
//! record came.
//!
//! The command is in its own journal and durable first; then each partition that may be meant is
//! sent an errand, and takes out what it has as it would for an operator. The producer is answered
//! when all have done so and what they did is durable: a crash before that leaves a command that its
//! producer sends again, and a retry runs the errands again. Strict commands are looked up in the
//! other partitions before they are taken ([`Shards::look_elsewhere`]), because a batch is refused
//! as a whole. Rejected: one commit over several partitions, which would wait for other shards in
//! the middle of a round.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::accept::Delayed;
use super::copied::UNREADABLE;
use super::decide::OnDisk;
use super::{Delay, DelayShared};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::delay::decide::Decision;
use crate::delay::query::{Answer, Ask, Named};
use crate::delay::state::{Outcome, State};
use crate::log::validate::Diverted;
use crate::log::validate::divert::{Entry, What};
use crate::shard::Shards;
use crate::shard::control::Control;
use crate::shard::landing::Held;
use crate::shard::registry::{Partition, Registry};
use crate::shard::tally::{Ack, AppendResult, Refused};
use crate::shard::worker::{Message, Shard};

/// How long a connection waits for other partitions before it takes a strict command.
const PATIENCE: Duration = Duration::from_secs(5);

/// What other partitions are to take out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Of the command in its batch.
    delta: i32,
    named: Named,
    /// Only this partition; otherwise wherever it is.
    partition: Option<i32>,
    /// The producer is to be told if nothing is taken out.
    strict: bool,
}

impl Offer {
    /// What a command means in partitions that are not `own`.
    fn of(entry: &Entry, records: &Bytes, own: i32) -> Option<Self> {
        let delta = entry.delta;
        let id_at = |id: &std::ops::Range<u32>| {
            Named::Id(records.slice(id.start as usize..id.end as usize))
        };
        match &entry.what {
            What::CancelId { id, strict } => {
                Some(Self { delta, named: id_at(id), partition: None, strict: *strict })
            }
            What::Put { id, replace: true, .. } => {
                Some(Self { delta, named: id_at(id), partition: None, strict: false })
            }
            What::CancelTicket { partition, offset, strict } => {
                let partition = partition.filter(|named| *named != own)?;
                let named = Named::Ticket(*offset);
                Some(Self { delta, named, partition: Some(partition), strict: *strict })
            }
            What::Put { .. } | What::Nack => None,
        }
    }

    fn is_for(&self, partition: i32) -> bool {
        self.partition.is_none_or(|meant| meant == partition)
    }
}

/// What the commands of a batch did not find in their own partition.
pub(super) fn offers(partition: i32, batch: &Delayed, decisions: &[Decision]) -> Vec<Offer> {
    let diverted = &batch.diverted;
    let unmet = diverted.entries.iter().zip(decisions).filter(|(entry, decision)| match decision {
        Decision::Unknown | Decision::Put => true,
        Decision::TooLate => batch.elsewhere.contains(&entry.delta),
        _ => false,
    });
    unmet.filter_map(|(entry, _)| Offer::of(entry, diverted.batch.records(), partition)).collect()
}

/// As [`offers`], of a batch that is sent again: whether it was told of errands is not known.
pub(super) fn offers_again(
    partition: i32,
    diverted: &Diverted,
    base_offset: i64,
    state: &State,
) -> Vec<Offer> {
    let records = diverted.batch.records();
    let unmet = diverted
        .entries
        .iter()
        .filter(|entry| state.is_unmet(base_offset.saturating_add(i64::from(entry.delta))));
    let offers = unmet.filter_map(|entry| Offer::of(entry, records, partition));
    // What it found the first time is gone by now.
    offers.map(|offer| Offer { strict: false, ..offer }).collect()
}

/// A producer's answer in which other partitions have a say. It is given when nobody holds this
/// any more.
struct Joint {
    ack: Ack,
    result: AppendResult,
    offers: Vec<Offer>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Offers that were taken.
    taken: Vec<usize>,
    /// Why it is not known what became of some.
    unsure: Option<String>,
}

impl Joint {
    fn verdict(&self) -> AppendResult {
        let heard = self.heard.lock();
        if let Some(why) = &heard.unsure {
            // It is in its own journal: producers send it again, and with it the errands.
            return Err(Fault::with(Code::NotEnoughReplicasAfterAppend, why.clone()).into());
        }
        let offers = self.offers.iter().enumerate();
        let missed = offers.filter(|(at, offer)| offer.strict && !heard.taken.contains(at));
        let records: Vec<_> = missed
            .map(|(_, offer)| (offer.delta, "klamm.delay.cancel.strict: just released".to_owned()))
            .collect();
        if records.is_empty() {
            return self.result.clone();
        }
        let why = "the target of a strict cancel was released while the batch was taken";
        Err(Refused { records, ..Refused::from(Fault::with(Code::InvalidRecord, why)) })
    }
}

impl Drop for Joint {
    fn drop(&mut self) {
        self.ack.clone().complete(self.verdict());
    }
}

/// A part in a joint answer. Let go of without a word, it leaves the answer unsure.
struct Share {
    joint: Arc<Joint>,
    is_settled: bool,
}

impl Share {
    fn of(joint: &Arc<Joint>) -> Self {
        Self { joint: Arc::clone(joint), is_settled: false }
    }

    fn settle(mut self) {
        self.is_settled = true;
    }

    /// What became of the offer with this number.
    fn hear(self, at: usize, answer: Answer) {
        match answer {
            Answer::Cancel(Outcome::Cancelled) => self.joint.heard.lock().taken.push(at),
            Answer::Cancel(_) => {}
            Answer::Unavailable(why) => self.joint.heard.lock().unsure = Some(why),
            _ => return,
        }
        self.settle();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.is_settled {
            let mut heard = self.joint.heard.lock();
            heard.unsure.get_or_insert_with(|| "another partition did not answer".to_owned());
        }
    }
}

/// Offers on their way to another partition.
pub struct Errand(Share);

/// What waits for a batch with offers to be durable in its own partition: then they are sent.
pub(super) fn send_when_durable(
    (delay, registry): (&Arc<DelayShared>, &Registry),
    from: TopicPartition,
    offers: Vec<Offer>,
    (ack, result): (Ack, AppendResult),
) -> Held {
    let mut others = others(registry, from);
    others.retain(|other| offers.iter().any(|offer| offer.is_for(other.tp.partition)));
    let joint = Joint { ack, result, offers, heard: Mutex::default() };
    let own = Share::of(&Arc::new(joint));
    let delay = Arc::clone(delay);
    Box::new(move |durable| {
        // What is not durable stays unsure.
        if durable.is_ok() {
            for other in others {
                let errand = Errand(Share::of(&own.joint));
                let control = Control::CancelElsewhere(other.tp, errand);
                delay.send(other.shard, Message::Control(control));
            }
            own.settle();
        }
    })
}

/// The topic's other partitions.
fn others(registry: &Registry, own: TopicPartition) -> Vec<Arc<Partition>> {
    let mut others = registry.all();
    others.retain(|other| other.tp.topic_id == own.topic_id && other.tp != own);
    others
}

impl Shard {
    /// Takes out what commands in another partition mean, if it is here.
    pub(in crate::shard) fn cancel_from_elsewhere(&mut self, tp: TopicPartition, errand: Errand) {
        let Errand(share) = errand;
        let joint = Arc::clone(&share.joint);
        for (at, offer) in joint.offers.iter().enumerate() {
            if !offer.is_for(tp.partition) {
                continue;
            }
            let delay = self.hosted.get(&tp).and_then(|hosted| hosted.delay.as_deref());
            let found = delay.map_or(Ok(None), |delay| delay.find(&offer.named));
            let share = Share::of(&joint);
            match found {
                Ok(Some(ticket)) => {
                    self.cancel_delayed(tp, ticket, move |answer| share.hear(at, answer));
                }
                Ok(None) => share.hear(at, Answer::Cancel(Outcome::Unknown)),
                Err(error) => share.hear(at, Answer::Unavailable(error.to_string())),
            }
        }
        share.settle();
    }
}

impl Delay {
    /// The ticket of the pending record that is meant.
    pub(super) fn find(&self, named: &Named) -> io::Result<Option<i64>> {
        let Some(state) = &self.state else { return Err(io::Error::other(UNREADABLE)) };
        let mut on_disk = OnDisk::of(&self.journal, self.sealed.as_ref());
        Ok(match named {
            Named::Id(id) => state.pending_with_id(id, &mut on_disk)?.map(|taken| taken.key.ticket),
            Named::Ticket(ticket) => match state.decide_cancel(*ticket, &mut on_disk)? {
                Decision::Cancelled(taken) => Some(taken.key.ticket),
                _ => None,
            },
        })
    }
}

impl Shards {
    /// The deltas of strict commands whose target waits in another partition of the topic. Blocks
    /// until those have told, in a runtime with many threads; others don't look.
    ///
    /// # Errors
    /// They did not tell in time.
    pub fn look_elsewhere(
        &self,
        own: TopicPartition,
        diverted: &Diverted,
    ) -> Result<SmallVec<[i32; 2]>, Fault> {
        let records = diverted.batch.records();
        let offers = diverted.entries.iter();
        let offers = offers.filter_map(|entry| Offer::of(entry, records, own.partition));
        let strict: Vec<Offer> = offers.filter(|offer| offer.strict).collect();
        if strict.is_empty() {
            return Ok(SmallVec::new());
        }
        let others = others(&self.registry, own);
        let runtime = Handle::try_current().ok();
        let many = |runtime: &Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
        let Some(runtime) = runtime.filter(many).filter(|_| !others.is_empty()) else {
            return Ok(SmallVec::new());
        };
        let look = async {
            let mut found = SmallVec::new();
            for offer in strict {
                if self.waits_in(&others, &offer).await {
                    found.push(offer.delta);
                }
            }
            found
        };
        block_in_place(|| runtime.block_on(tokio::time::timeout(PATIENCE, look))).map_err(|_| {
            let why = "the topic's other partitions did not tell what waits in them";
            Fault::with(Code::RequestTimedOut, why)
        })
    }

    async fn waits_in(&self, others: &[Arc<Partition>], offer: &Offer) -> bool {
        let meant = others.iter().filter(|other| offer.is_for(other.tp.partition));
        let asked: Vec<_> =
            meant.map(|other| self.ask_delays(other.tp, Ask::Waits(offer.named.clone()))).collect();
        let mut waits = false;
        for reply in asked {
            waits |= matches!(reply.await, Ok(Answer::Waits(true)));
        }
        waits
    }
}

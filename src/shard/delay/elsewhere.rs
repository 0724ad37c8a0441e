//! Cancels and replaces that find nothing in their own partition: offered to the topic's others,
//! because partitions may have been added since the record came that they mean.
//!
//! The command is in its own journal first; a partition that has the entry then cancels it as an
//! operator would. Nobody waits for that, so a crash in between leaves the entry; asking all
//! partitions before each command was rejected, as every plain one would pay for it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::decide::OnDisk;
use crate::base::ids::TopicPartition;
use crate::delay::decide::Decision;
use crate::log::validate::Diverted;
use crate::log::validate::divert::What;
use crate::shard::control::Control;
use crate::shard::worker::{Message, Shard};

/// What another partition is to take out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Wherever it is.
    Id(Bytes),
    Ticket {
        partition: i32,
        ticket: i64,
    },
}

/// What the commands of a batch did not find in this partition.
pub(super) fn offers(partition: i32, diverted: &Diverted, decisions: &[Decision]) -> Vec<Offer> {
    let records = diverted.batch.records();
    let id_at = |id: &std::ops::Range<u32>| records.slice(id.start as usize..id.end as usize);
    let entries = diverted.entries.iter().zip(decisions);
    let offer = |(entry, decision): (&_, &Decision)| {
        let entry: &crate::log::validate::divert::Entry = entry;
        match (&entry.what, decision) {
            (What::CancelId { id, .. }, Decision::Unknown)
            | (What::Put { id, replace: true, .. }, Decision::Put) => Some(Offer::Id(id_at(id))),
            (What::CancelTicket { partition: Some(other), offset, .. }, _)
                if *other != partition =>
            {
                Some(Offer::Ticket { partition: *other, ticket: *offset })
            }
            _ => None,
        }
    };
    entries.filter_map(offer).collect()
}

impl Shard {
    /// Offers to the topic's other partitions what was not found in this one.
    pub(super) fn offer_elsewhere(&self, from: TopicPartition, offers: &[Offer]) {
        if offers.is_empty() {
            return;
        }
        let mut others = self.deps.registry.all();
        others.retain(|other| other.tp.topic_id == from.topic_id && other.tp != from);
        for offer in offers {
            let is_meant = |partition| match offer {
                Offer::Id(_) => true,
                Offer::Ticket { partition: meant, .. } => partition == *meant,
            };
            for other in others.iter().filter(|other| is_meant(other.tp.partition)) {
                let control = Control::CancelElsewhere(other.tp, offer.clone());
                self.deps.delay.send(other.shard, Message::Control(control));
            }
        }
    }

    /// Cancels what another partition's command means, if it is here.
    pub(in crate::shard) fn cancel_from_elsewhere(&mut self, tp: TopicPartition, offer: &Offer) {
        let Some(delay) = self.hosted.get(&tp).and_then(|hosted| hosted.delay.as_ref()) else {
            return;
        };
        let Some(state) = &delay.state else { return };
        let ticket = match offer {
            Offer::Ticket { ticket, .. } => Some(*ticket),
            Offer::Id(id) => {
                let mut on_disk = OnDisk::of(&delay.journal, delay.sealed.as_ref());
                match state.pending_with_id(id, &mut on_disk) {
                    Ok(taken) => taken.map(|taken| taken.key.ticket),
                    Err(error) => {
                        tracing::warn!(partition = ?tp, %error, "a cancel could not look here");
                        None
                    }
                }
            }
        };
        if let Some(ticket) = ticket {
            // Nobody waits for the answer.
            self.cancel_delayed(tp, ticket, oneshot::channel().0);
        }
    }
}

/// The mailboxes of all shards, by number.
pub(super) type Mailboxes = Vec<Arc<crate::shard::mailbox::Mailbox<Message>>>;

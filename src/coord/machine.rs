//! What a coordinator is to its host.
//!
//! A machine changes in two ways. Its durable state changes only by [`Machine::replay`] of a
//! record, on the live path as at start; what it forgets at a restart (parked callers, deadlines)
//! it changes as it likes. Because the host drops a machine whose records could not be appended,
//! a decision may take effect before it is durable: no reply leaves before.

use std::time::Duration;

use bytes::Bytes;

use super::cluster::Cluster;
use crate::base::ids::Uuid;

/// Where new ids come from: unpredictable, each drawn once. Drawing one is a system call, so a
/// decision asks only when it needs one.
pub trait Ids {
    fn fresh(&self) -> Uuid;
}

/// The moment of a decision: everything from outside that it may depend on.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// Time since an arbitrary fixed point; never steps back. Deadlines are on this clock.
    pub now: Duration,
    /// Wall time, milliseconds since the Unix epoch: for what is stored.
    pub wall_ms: i64,
    pub ids: &'a dyn Ids,
    /// Topics and configs as they are now.
    pub cluster: &'a dyn Cluster,
}

/// Whoever waits for a reply; the host's token. A machine may keep it and answer later, and
/// answers every caller once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller(pub u64);

/// A record of the machine's own partition. Without a value it deletes the key (a tombstone).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What a decision brings about, in order. The records of one decision are appended as one batch
/// or not at all.
#[derive(Debug)]
pub struct Effects<R> {
    pub records: Vec<LogRecord>,
    pub replies: Vec<(Caller, R)>,
}

impl<R> Default for Effects<R> {
    fn default() -> Self {
        Self { records: Vec::new(), replies: Vec::new() }
    }
}

impl<R> Effects<R> {
    pub fn reply(&mut self, caller: Caller, reply: impl Into<R>) {
        self.replies.push((caller, reply.into()));
    }
}

/// A coordinator of one internal partition.
pub trait Machine {
    type Command;
    type Reply;

    /// Decides a command. What it records has been replayed into the machine already.
    fn handle(
        &mut self,
        moment: &Moment<'_>,
        caller: Caller,
        command: Self::Command,
        effects: &mut Effects<Self::Reply>,
    );

    /// Takes in one record of the log. Total: what cannot be read is skipped and told of by
    /// `Err`, with a line for the operator.
    ///
    /// # Errors
    /// The record is damaged or from a future version; the machine is unchanged.
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String>;

    /// Called once, when the log has been replayed: starts the clocks of what was found.
    fn resume(&mut self, moment: &Moment<'_>, effects: &mut Effects<Self::Reply>);

    /// When [`Machine::wake`] wants to be called; `None` for never.
    fn wake_at(&self) -> Option<Duration>;

    /// Does what is due by the clock.
    fn wake(&mut self, moment: &Moment<'_>, effects: &mut Effects<Self::Reply>);

    /// Its invariants, for tests and the simulator.
    ///
    /// # Errors
    /// The invariant that does not hold.
    fn check(&self) -> Result<(), String>;
}

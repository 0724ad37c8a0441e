//! The parked answer of one append request: filled by shards and the committer, awaited by the
//! connection.
//!
//! One allocation holds the results of all partitions of a request and the waker of whoever
//! waits, because this is made and dropped once per produce request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::base::fault::{Code, Fault};

/// What became of one partition's batch.
pub type AppendResult = Result<Accepted, Refused>;

/// A batch is in the log (and durable, where that was asked for).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub base_offset: i64,
    /// -1 on topics with `message.timestamp.type=CreateTime`.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
}

/// A batch is not in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub fault: Fault,
    /// Records that are to blame: index in the batch and reason (KIP-467).
    pub records: Vec<(i32, String)>,
    /// The partition's, where the batch itself was at fault; -1 where it never got so far.
    pub log_start_offset: i64,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { fault, records: Vec::new(), log_start_offset: -1 }
    }
}

impl Refused {
    /// Says where the log starts, if the error is one with which Kafka does: not of batches that
    /// are damaged or too large, nor of a failing disk.
    #[must_use]
    pub fn by_log(mut self, log_start_offset: i64) -> Self {
        use Code::{CorruptMessage, KafkaStorageError, MessageTooLarge, RecordListTooLarge};
        let silent = [CorruptMessage, KafkaStorageError, MessageTooLarge, RecordListTooLarge];
        if !silent.contains(&self.fault.kind()) {
            self.log_start_offset = log_start_offset;
        }
        self
    }
}

struct State {
    results: SmallVec<[Option<AppendResult>; 1]>,
    waker: Option<Waker>,
    open: usize,
    pause: Duration,
}

/// Results of one request, one slot per partition.
pub struct Tally {
    state: Mutex<State>,
}

impl Tally {
    /// A tally with `slots` open slots.
    #[must_use]
    pub fn new(slots: usize) -> Arc<Self> {
        let results = std::iter::repeat_with(|| None).take(slots).collect();
        let state = State { results, waker: None, open: slots, pause: Duration::ZERO };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// How long the client is to pause: the longest of what its batches ask for. Complete when all
    /// slots are filled.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.state.lock().pause
    }

    /// Fills a slot; the last one wakes the waiter. A slot is filled once: later results for it
    /// are dropped.
    pub fn complete(&self, slot: usize, result: AppendResult) {
        let waker = {
            let mut state = self.state.lock();
            let Some(place @ None) = state.results.get_mut(slot) else { return };
            *place = Some(result);
            state.open -= 1;
            if state.open == 0 { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until every slot is filled and takes the results, in slot order.
    #[must_use]
    pub fn finished(self: Arc<Self>) -> Finished {
        Finished(self)
    }
}

/// See [`Tally::finished`].
pub struct Finished(Arc<Tally>);

impl Future for Finished {
    type Output = SmallVec<[AppendResult; 1]>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        if state.open == 0 {
            return Poll::Ready(state.results.drain(..).flatten().collect());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// One slot of a tally: what travels with a batch through shard and committer.
#[derive(Clone)]
pub struct Ack {
    tally: Arc<Tally>,
    slot: u32,
}

impl Ack {
    #[must_use]
    pub fn new(tally: Arc<Tally>, slot: u32) -> Self {
        Self { tally, slot }
    }

    /// The client is to pause behind this request, because there is little room left.
    pub fn ask_to_pause(&self, pause: Duration) {
        let mut state = self.tally.state.lock();
        state.pause = state.pause.max(pause);
    }

    pub fn complete(self, result: AppendResult) {
        self.tally.complete(self.slot as usize, result);
    }
}

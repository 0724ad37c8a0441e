//! One client connection: one task that reads frames, begins requests and sends replies.
//!
//! Requests begin in the order of arrival, up to [`MAX_PENDING`] at a time; replies leave in that
//! order, and only the oldest unfinished request is polled. Reading stops while requests, unsent
//! replies or the broker's budget are at their bounds, and TCP carries that to the client. One
//! task rather than a reader and a writer: a small request costs one wake-up and no channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::budget::{Budget, Share};
use super::deadline::{Alarm, Waits};
use super::end::End;
use super::pool::Pool;
use super::reader::{Reader, Received};
use super::registry::{Phase, Slot};
use super::service::Service;
use super::settings::Limits;
use super::writer::Writer;
use crate::api::reply::{Ending, Outcome, ReplyFuture};
use crate::base::metrics::Metrics;
use crate::wire::frame::SIZE_BYTES;

/// Unfinished requests of one connection.
const MAX_PENDING: usize = 64;

/// Room for pending requests that an idle connection keeps.
const KEPT_PENDING: usize = 16;

/// Unsent reply bytes in memory from which on a connection begins no further request.
const UNSENT_BYTES: usize = 1 << 20;

/// What all connections of a server share.
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) limits: Limits,
    pub(super) pool: Arc<Pool>,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) struct Connection<S: Service> {
    shared: Arc<Shared<S>>,
    slot: Slot,
    socket: TcpStream,
    state: S::Connection,
    reader: Reader,
    pending: VecDeque<Pending>,
    /// Frame bytes of the pending requests.
    pending_bytes: usize,
    writer: Writer,
    share: Share,
    waits: Waits,
    alarm: Alarm,
    /// Nothing is read before then, and what wakes the task for it.
    muted: Option<Instant>,
    unmute: Alarm,
    /// Set when no more is to be read; the connection ends so when all begun is answered.
    closing: Option<End>,
}

/// A begun request whose answer is not in the writer yet.
struct Pending {
    state: State,
    frame_bytes: usize,
}

enum State {
    Done(Ending),
    Later(ReplyFuture),
}

impl<S: Service> Connection<S> {
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        state: S::Connection,
        slot: Slot,
        socket: TcpStream,
    ) -> Self {
        Self {
            state,
            reader: Reader::new(shared.limits.request_max_bytes),
            share: shared.budget.share(),
            waits: Waits::start(Instant::now()),
            shared,
            slot,
            socket,
            pending: VecDeque::new(),
            pending_bytes: 0,
            writer: Writer::new(),
            alarm: Alarm::default(),
            muted: None,
            unmute: Alarm::default(),
            closing: None,
        }
    }

    /// Serves until the connection is at its end, and says why. It closes when dropped.
    pub(super) async fn run(&mut self) -> End {
        let mut registered = false;
        std::future::poll_fn(|cx| {
            if !std::mem::replace(&mut registered, true) {
                self.slot.register(cx.waker());
            }
            self.poll(cx)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        match self.slot.phase() {
            Phase::Serving => {}
            Phase::Draining => self.close(End::Stopped, now),
            Phase::Ended => return Poll::Ready(End::Stopped),
        }
        if let Poll::Ready(end) = self.poll_traffic(now, cx) {
            return Poll::Ready(end);
        }
        let busy = !self.pending.is_empty();
        let (deadline, end) = self.waits.deadline(&self.shared.limits, busy);
        self.alarm.poll(deadline, now, cx).map(|()| self.closing.take().unwrap_or(end))
    }

    /// Moves bytes in both directions until neither side can.
    fn poll_traffic(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            self.settle(now, cx);
            // Before replies leave, so that whoever has one finds its request off the books.
            self.share.set(self.reader.held_bytes() + self.pending_bytes);
            match self.poll_send(now, cx) {
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    self.share.leave_queue();
                    self.waits.paused();
                    return Poll::Pending;
                }
            }
            if self.closing.is_some() {
                self.share.leave_queue();
                return match self.pending.is_empty() {
                    true => Poll::Ready(self.closing.take().expect("looked at just above")),
                    false => Poll::Pending,
                };
            }
            if let Err(end) = ready!(self.poll_receive(now, cx)) {
                self.close(end, now);
            }
        }
    }

    /// Hands the answers of finished requests to the writer, oldest first.
    fn settle(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(front) = self.pending.front_mut() {
            if let State::Later(later) = &mut front.state {
                match later.as_mut().poll(cx) {
                    Poll::Ready(ending) => front.state = State::Done(ending),
                    Poll::Pending => return,
                }
            }
            let Some(Pending { state: State::Done(ending), frame_bytes }) =
                self.pending.pop_front()
            else {
                unreachable!("the front is done");
            };
            self.pending_bytes -= frame_bytes;
            self.finish(ending, now);
        }
        if self.pending.capacity() > KEPT_PENDING {
            self.pending = VecDeque::new();
        }
    }

    fn finish(&mut self, ending: Ending, now: Instant) {
        match ending {
            Ending::Reply(reply) => {
                if !reply.pause.is_zero() {
                    self.muted = self.muted.max(Some(now + reply.pause));
                }
                self.writer.push(reply);
            }
            Ending::Silent => {}
            Ending::Close(reason) => {
                self.pending.clear();
                self.pending_bytes = 0;
                self.close(End::Refused(reason), now);
            }
        }
    }

    fn close(&mut self, end: End, now: Instant) {
        if self.closing.is_none() {
            self.closing = Some(end);
            self.waits.closing(now);
        }
    }

    /// Ready when nothing is left to send.
    fn poll_send(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.writer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut sent = 0;
        let polled = self.writer.poll_send(&self.socket, &self.shared.pool, &mut sent, cx);
        self.shared.metrics.sent_bytes.add(sent);
        self.waits.sent(sent, polled.is_pending(), now);
        polled.map_err(End::Lost)
    }

    /// Begins what is left of the last read, or reads once more and begins that.
    fn poll_receive(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.muted.is_some() {
            if self.unmute.poll(self.muted, now, cx).is_pending() {
                self.share.leave_queue();
                self.waits.paused();
                return Poll::Pending;
            }
            self.muted = None;
        }
        if self.begin_frames(now) {
            return Poll::Ready(Ok(()));
        }
        if self.is_full() {
            self.share.leave_queue();
            self.waits.paused();
            return Poll::Pending;
        }
        let readable = self.socket.poll_read_ready(cx).map_err(End::Lost)?;
        if readable.is_ready() && self.share.poll_room(self.pending.is_empty(), cx).is_pending() {
            self.waits.paused();
            return Poll::Pending;
        }
        self.waits.resumed(now);
        ready!(readable);
        match ready!(self.reader.poll_read(&mut self.socket, &self.shared.pool, cx))? {
            Received::End => Poll::Ready(Err(End::Left)),
            Received::Bytes(count) => {
                self.shared.metrics.received_bytes.add(count as u64);
                let begun = self.begin_frames(now);
                self.waits.received(self.reader.part_bytes(), begun, now);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING || self.writer.memory_bytes() >= UNSENT_BYTES
    }

    /// Begins the frames at hand as far as the bounds allow; true if there was one.
    fn begin_frames(&mut self, now: Instant) -> bool {
        let mut begun = false;
        while self.closing.is_none() && !self.is_full() {
            let Some(frame) = self.reader.next_frame() else { break };
            self.begin(frame, now);
            begun = true;
        }
        begun
    }

    fn begin(&mut self, frame: Bytes, now: Instant) {
        let frame_bytes = SIZE_BYTES + frame.len();
        let state = match self.shared.service.begin(&mut self.state, frame) {
            Outcome::Now(ending) if self.pending.is_empty() => return self.finish(ending, now),
            Outcome::Now(ending) => State::Done(ending),
            Outcome::Later(later) => State::Later(later),
        };
        self.pending_bytes += frame_bytes;
        self.pending.push_back(Pending { state, frame_bytes });
    }
}

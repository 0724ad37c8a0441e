//! Who is connected: caps, and the way to reach every connection at a stop.
//!
//! A connection occupies a [`Slot`] from accept to its end. A stop wakes every task through the
//! waker it left here, so an ordinary request pays one relaxed load for it and no channel.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::settings::CapsNow;

/// How far a stop has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    Serving,
    /// Begin nothing new, send what is being answered, then close.
    Draining,
    /// Close now.
    Ended,
}

pub(super) struct Registry {
    caps: CapsNow,
    phase: AtomicU8,
    open: Mutex<Open>,
    /// Told of every one that leaves.
    left: Notify,
}

/// How soon a connection that waits for a place sees that the caps were raised.
const CAPS_LOOK: Duration = Duration::from_secs(1);

enum Entry {
    Admitted(Slot),
    /// So many are connected from its address.
    Refused(usize),
    /// It has to wait.
    Full,
}

#[derive(Default)]
struct Open {
    next_id: u64,
    wakers: FxHashMap<u64, Option<Waker>>,
    by_ip: FxHashMap<IpAddr, usize>,
}

impl Registry {
    pub(super) fn new(caps: CapsNow) -> Arc<Self> {
        Arc::new(Self {
            caps,
            phase: AtomicU8::new(Phase::Serving as u8),
            open: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// A place for a connection from `ip`, as soon as there is one.
    ///
    /// # Errors
    /// The most that may be connected from one address, if as many are from this one.
    pub(super) async fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Slot, usize> {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            match self.enter(ip.to_canonical()) {
                Entry::Admitted(slot) => return Ok(slot),
                Entry::Refused(most) => return Err(most),
                // Either somebody leaves, or the caps are raised.
                Entry::Full => drop(tokio::time::timeout(CAPS_LOOK, left).await),
            }
        }
    }

    /// `ip` is canonical: one client can appear with and without the IPv4-in-IPv6 prefix.
    fn enter(self: &Arc<Self>, ip: IpAddr) -> Entry {
        let caps = (self.caps)();
        let mut open = self.open.lock();
        if open.by_ip.get(&ip).copied().unwrap_or_default() >= caps.per_ip {
            return Entry::Refused(caps.per_ip);
        }
        if open.wakers.len() >= caps.total {
            return Entry::Full;
        }
        *open.by_ip.entry(ip).or_default() += 1;
        let id = open.next_id;
        open.next_id += 1;
        open.wakers.insert(id, None);
        Entry::Admitted(Slot { registry: Arc::clone(self), id, ip })
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.lock().wakers.len()
    }

    /// Moves a stop forward and tells every connection.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        let wakers: Vec<Waker> = self.open.lock().wakers.values().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns when nobody is connected.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.open_count() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// One connection's place, given back when dropped.
pub(super) struct Slot {
    registry: Arc<Registry>,
    id: u64,
    ip: IpAddr,
}

impl Slot {
    /// Leaves the waker of the connection's task, which is the same for its whole life.
    pub(super) fn register(&self, waker: &Waker) {
        self.registry.open.lock().wakers.insert(self.id, Some(waker.clone()));
    }

    pub(super) fn phase(&self) -> Phase {
        match self.registry.phase.load(Ordering::SeqCst) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Ended,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.registry.open.lock();
        open.wakers.remove(&self.id);
        if let Some(count) = open.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
        drop(open);
        self.registry.left.notify_waiters();
    }
}

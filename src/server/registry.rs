//! Who is connected: caps, and the way to reach every connection at a stop.
//!
//! A connection occupies a [`Slot`] from accept to its end. A stop wakes every task through the
//! waker it left here, so an ordinary request pays one relaxed load for it and no channel.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, OwnedSemaphorePermit};

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
    max_per_ip: usize,
    phase: AtomicU8,
    open: Mutex<Open>,
    left: Notify,
}

#[derive(Default)]
struct Open {
    next_id: u64,
    wakers: FxHashMap<u64, Option<Waker>>,
    by_ip: FxHashMap<IpAddr, usize>,
}

impl Registry {
    pub(super) fn new(max_per_ip: usize) -> Arc<Self> {
        Arc::new(Self {
            max_per_ip,
            phase: AtomicU8::new(Phase::Serving as u8),
            open: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// A place for a connection from `ip`, unless that address has used up its own.
    pub(super) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Slot> {
        // One client can appear with and without the IPv4-in-IPv6 prefix.
        let ip = ip.to_canonical();
        let mut open = self.open.lock();
        let from_ip = open.by_ip.entry(ip).or_default();
        if *from_ip >= self.max_per_ip {
            return None;
        }
        *from_ip += 1;
        let id = open.next_id;
        open.next_id += 1;
        open.wakers.insert(id, None);
        Some(Slot { registry: Arc::clone(self), id, ip, _permit: permit })
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
    _permit: OwnedSemaphorePermit,
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
        let empty = open.wakers.is_empty();
        drop(open);
        if empty {
            self.registry.left.notify_waiters();
        }
    }
}

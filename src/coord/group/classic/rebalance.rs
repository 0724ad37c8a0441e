//! A rebalance, from the reason for it to the generation that ends it.
//!
//! ```text
//! Empty ──first member──> PreparingRebalance ──all joined, or time up──> CompletingRebalance
//!   ^                        ^  ^                                              │ leader syncs
//!   └──nobody is left────────┘  └──a member comes, changes, goes──── Stable <──┘
//! ```
//!
//! A group that was empty gathers members for `group.initial.rebalance.delay.ms`, again and again
//! while some come, up to its rebalance time-out (KIP-134). Any other rebalance ends as soon as
//! all have joined.

use std::sync::Arc;
use std::time::Duration;

use super::Timer;
use super::command::Reply;
use super::state::{Gathering, State};
use super::turn::Turn;
use crate::base::fault::Code;

impl Turn<'_, '_> {
    /// The membership has changed: begins a rebalance, or goes on with the one that runs.
    pub(super) fn rebalance(&mut self) {
        if self.group().state.is_preparing() {
            self.maybe_complete_join();
        } else {
            self.prepare_rebalance();
        }
    }

    pub(super) fn prepare_rebalance(&mut self) {
        if self.group().state == State::CompletingRebalance {
            self.group().clear_assignments();
            self.fail_syncs(Code::RebalanceInProgress);
        }
        self.group().forgive_syncs();
        self.cancel_timer(Timer::Sync);
        let timeout = self.group().rebalance_timeout();
        if self.group().state == State::Empty {
            let delay = self.cx.settings.initial_rebalance_delay;
            let remaining = timeout.saturating_sub(delay);
            let gathering = Gathering { delay, remaining, someone_came: false };
            self.enter(State::PreparingRebalance(Some(gathering)));
            self.set_timer(Timer::Join, delay);
            return;
        }
        self.enter(State::PreparingRebalance(None));
        if self.group().all_joined() {
            self.complete_join();
        } else {
            self.set_timer(Timer::Join, timeout);
        }
    }

    /// Completes the join phase if nobody is missing; one that gathers lasts its time.
    pub(super) fn maybe_complete_join(&mut self) {
        let group = self.group();
        if group.state == State::PreparingRebalance(None) && group.all_joined() {
            self.complete_join();
        }
    }

    /// The time of the join phase, or of a step of gathering, is up.
    pub(super) fn join_time_is_up(&mut self) {
        match self.group().state {
            State::PreparingRebalance(Some(gathering)) if gathering.goes_on() => {
                let longest = self.cx.settings.initial_rebalance_delay;
                let delay = longest.min(gathering.remaining);
                let remaining = gathering.remaining.saturating_sub(gathering.delay);
                let next = Gathering { delay, remaining, someone_came: false };
                self.group().state = State::PreparingRebalance(Some(next));
                self.set_timer(Timer::Join, delay);
            }
            State::PreparingRebalance(_) => self.complete_join(),
            State::Empty | State::CompletingRebalance | State::Stable => {}
        }
    }

    /// Ends the join phase with those who came: a new generation begins. Static members that did
    /// not come stay, until their session ends.
    pub(super) fn complete_join(&mut self) {
        self.cancel_timer(Timer::Join);
        for member_id in self.dynamic_absentees() {
            self.drop_member(&member_id);
        }
        if self.group().is_empty() {
            self.begin_empty_generation();
        } else if self.group().elect_leader() {
            self.begin_generation();
        } else {
            // All are static and none came. Their sessions will end, or one comes.
            let timeout = self.group().rebalance_timeout();
            self.set_timer(Timer::Join, timeout);
        }
    }

    fn dynamic_absentees(&mut self) -> Vec<Arc<str>> {
        let group = self.group();
        if group.awaiting_join() == group.len() {
            return Vec::new();
        }
        let absent = group
            .members()
            .filter(|(_, member)| member.wait.join.is_none() && member.instance_id.is_none());
        absent.map(|(id, _)| Arc::clone(id)).collect()
    }

    fn begin_empty_generation(&mut self) {
        let since_ms = self.cx.moment.wall_ms;
        let group = self.group();
        let mut value = group.stored();
        value.generation = next_generation(value.generation);
        value.protocol = None;
        value.leader = None;
        value.state_since_ms = since_ms;
        self.store(value);
    }

    fn begin_generation(&mut self) {
        self.groups.counts.rebalances += 1;
        let group = self.group();
        group.generation = next_generation(group.generation);
        group.protocol = group.elect_protocol();
        self.enter(State::CompletingRebalance);
        for member_id in self.group().ids() {
            let group = self.group();
            let caller = group.waits(&member_id, |wait| {
                wait.is_new = false;
                wait.owes_sync = true;
                wait.join.take()
            });
            if let Some(caller) = caller.flatten() {
                let joined = self.group().joined(&member_id);
                self.reply(caller, Reply::Join(Ok(joined)));
            }
            self.extend_session(&member_id);
        }
        let timeout = self.group().rebalance_timeout();
        self.set_timer(Timer::Sync, timeout);
    }

    /// The time to sync is up: whoever has not is taken out.
    pub(super) fn sync_time_is_up(&mut self) {
        let group = self.group();
        let in_time = !matches!(group.state, State::CompletingRebalance | State::Stable);
        if in_time || group.all_synced() {
            return;
        }
        let late = group.members().filter(|(_, member)| member.wait.owes_sync);
        let late: Vec<_> = late.map(|(id, _)| Arc::clone(id)).collect();
        for member_id in late {
            self.drop_member(&member_id);
        }
        self.prepare_rebalance();
    }

    /// A session has ended, of a member or of one that was to become one.
    pub(super) fn session_is_over(&mut self, member_id: &Arc<str>) {
        if self.group().forget_pending(member_id) {
            self.complete_join_of_the_rest();
            return;
        }
        let Some(member) = self.group().member(member_id) else { return };
        if member.is_excused() {
            return;
        }
        let now = self.cx.moment.now;
        if let Some(end) = self.group().session_end(member_id, now) {
            return self.set_timer(Timer::Session(Arc::clone(member_id)), end.saturating_sub(now));
        }
        self.drop_member(member_id);
        if self.group().state.is_preparing() {
            self.complete_join_of_the_rest();
        } else {
            self.prepare_rebalance();
        }
    }

    /// As Kafka does it when a session ends, and only then: gathering ends too.
    fn complete_join_of_the_rest(&mut self) {
        let group = self.group();
        if group.state.is_preparing() && group.all_joined() {
            self.complete_join();
        }
    }

    /// Answers all who wait for a sync with an error. Their sessions begin anew: while they
    /// waited their ends were passed over.
    pub(super) fn fail_syncs(&mut self, code: Code) {
        for (member_id, caller) in self.group().take_sync_callers() {
            self.reply(caller, Reply::Sync(Err(code)));
            self.extend_session(&member_id);
        }
    }

    /// Answers everyone who waits and takes all deadlines back: the group ends here.
    pub(super) fn give_up(&mut self) {
        self.fail_syncs(Code::RebalanceInProgress);
        for member_id in self.group().ids() {
            let waited = self.group().waits(&member_id, |wait| wait.join.take()).flatten();
            self.cancel_timer(Timer::Session(Arc::clone(&member_id)));
            if let Some(caller) = waited {
                self.refuse_join(caller, Code::RebalanceInProgress, member_id);
            }
        }
        for member_id in self.group().take_pending() {
            self.cancel_timer(Timer::Session(member_id));
        }
        self.cancel_timer(Timer::Join);
        self.cancel_timer(Timer::Sync);
    }

    pub(super) fn enter(&mut self, state: State) {
        let since_ms = self.cx.moment.wall_ms;
        self.group().enter(state, since_ms);
    }
}

impl Gathering {
    fn goes_on(self) -> bool {
        self.someone_came && self.remaining > Duration::ZERO
    }
}

/// Wraps to 1, which no client takes for "none".
fn next_generation(generation: i32) -> i32 {
    generation.checked_add(1).unwrap_or(1)
}

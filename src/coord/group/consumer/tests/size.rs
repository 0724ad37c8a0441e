//! Large groups: how many rounds of heartbeats they need, and what a quiet one costs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::bed::Client;
use crate::base::ids::Uuid;
use crate::base::settings;
use crate::coord::cluster::{Cluster, TopicInfo};
use crate::coord::group::consumer::{Command, MemberEpoch, Reply};
use crate::coord::group::kit::Numbered;
use crate::coord::group::settings::GroupSettings;
use crate::coord::group::{self, Groups};
use crate::coord::machine::{Caller, Effects, Machine, Moment};

const MEMBERS: usize = 1000;

/// A cluster of one topic, which counts what it is asked.
struct Counting(TopicInfo, std::cell::Cell<usize>);

impl Cluster for Counting {
    fn revision(&self) -> u64 {
        1
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.1.set(self.1.get() + 1);
        (*self.0.name == *name).then(|| self.0.clone())
    }

    fn topic_by_id(&self, id: Uuid) -> Option<TopicInfo> {
        self.1.set(self.1.get() + 1);
        (self.0.id == id).then(|| self.0.clone())
    }

    fn each_topic(&self, visit: &mut dyn FnMut(&TopicInfo)) {
        visit(&self.0);
    }

    fn has_failed(&self, _: &str, _: Uuid) -> bool {
        false
    }

    fn each_retry_topic(&self, _: &str, _: &mut dyn FnMut(&TopicInfo)) {}

    fn visible_end(&self, _: Uuid, _: i32) -> Option<i64> {
        None
    }

    fn group_settings(&self, _: &str) -> settings::GroupSettings {
        self.1.set(self.1.get() + 1);
        settings::GroupSettings::resolve(&Default::default(), &Default::default())
    }
}

/// A machine without the checks that a kit makes after every step.
struct Bare {
    groups: Groups,
    cluster: Counting,
    now: Duration,
    records: usize,
    ids: Numbered,
}

impl Bare {
    fn new(settings: GroupSettings) -> Self {
        let partitions = i32::try_from(2 * MEMBERS).unwrap();
        let topic =
            TopicInfo { id: Uuid::from_u128(7), name: Arc::from("a"), partitions, role: None };
        Self {
            groups: Groups::new(Arc::new(settings)),
            cluster: Counting(topic, std::cell::Cell::new(0)),
            now: Duration::from_secs(1000),
            records: 0,
            ids: Numbered::default(),
        }
    }

    fn send(&mut self, client: &mut Client, heartbeat: group::consumer::Heartbeat) {
        let wall_ms = 1_700_000_000_000 + i64::try_from(self.now.as_millis()).unwrap();
        let moment = Moment { now: self.now, wall_ms, ids: &self.ids, cluster: &self.cluster };
        let mut effects = Effects::default();
        let command = Command::Heartbeat(Box::new(heartbeat)).into();
        self.groups.handle(&moment, Caller(1), command, &mut effects);
        self.records += effects.records.len();
        match effects.replies.pop() {
            Some((_, group::Reply::Consumer(Reply::Heartbeat(Ok(beat))))) => client.take(&beat),
            other => panic!("{other:?}"),
        }
    }

    fn join_all(&mut self) -> Vec<Client> {
        let mut clients = Vec::new();
        for n in 0..MEMBERS {
            let mut client = Client::new(&format!("member-{n:04}"));
            client.topics = Some(vec![Arc::from("a")]);
            let join = client.full(MemberEpoch::Join);
            self.send(&mut client, join);
            clients.push(client);
        }
        clients
    }

    /// Everybody reports, after the time that lies between two targets.
    fn round(&mut self, clients: &mut [Client]) {
        self.now += Duration::from_secs(2);
        for client in clients {
            let report = client.report();
            self.send(client, report);
        }
    }
}

#[test]
fn a_thousand_members_share_out_in_three_rounds_of_heartbeats() {
    let mut bare = Bare::new(GroupSettings::default());
    let mut clients = bare.join_all();
    (0..3).for_each(|_| bare.round(&mut clients));
    assert!(clients.iter().all(|client| client.count() == 2));
    let all: BTreeSet<_> = clients.iter().flat_map(|c| c.owned.values().flatten()).collect();
    assert_eq!(all.len(), 2 * MEMBERS);
    bare.groups.check().unwrap();
}

#[test]
fn a_quiet_heartbeat_asks_the_cluster_nothing_and_stores_nothing() {
    let mut bare = Bare::new(GroupSettings::default());
    let mut clients = bare.join_all();
    (0..3).for_each(|_| bare.round(&mut clients));
    let (records, asked) = (bare.records, bare.cluster.1.get());
    bare.round(&mut clients);
    assert_eq!((bare.records, bare.cluster.1.get()), (records, asked));
}

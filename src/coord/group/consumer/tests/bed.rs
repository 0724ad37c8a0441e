//! Members of one group, as a client library would play them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::fault::Code;
use crate::base::ids::Uuid;
use crate::coord::group::consumer::assignor::{Assignor, Partitions};
use crate::coord::group::consumer::{
    Beat, Command, Consumer, Description, Heartbeat, MemberEpoch, Reply,
};
use crate::coord::group::kit::Kit;
use crate::coord::group::settings::GroupSettings;
use crate::coord::group::{self, GroupMap, Kind};

pub(super) const GROUP: &str = "readers";

/// A machine with topics `a` (4 partitions) and `b` (2 partitions).
pub(super) struct Bed {
    pub(super) kit: Kit,
    pub(super) a: Uuid,
    pub(super) b: Uuid,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with(GroupSettings::default())
    }

    /// Makes a target for every change at once, so that a test need not wait.
    pub(super) fn with(settings: GroupSettings) -> Self {
        let mut bed = Self::patient(settings);
        bed.kit.cluster.set_broker_config("group.consumer.assignment.interval.ms", "0");
        bed
    }

    /// Keeps to the interval between two targets.
    pub(super) fn patient(settings: GroupSettings) -> Self {
        let mut kit = Kit::new(settings);
        let a = kit.cluster.set_topic("a", 4);
        let b = kit.cluster.set_topic("b", 2);
        Self { kit, a, b }
    }

    pub(super) fn send(&mut self, beat: Heartbeat) -> Result<Beat, Code> {
        let reply = self.kit.ask(Command::Heartbeat(Box::new(beat)));
        self.kit.assert_durable(durable);
        match reply {
            group::Reply::Consumer(Reply::Heartbeat(beat)) => beat.map_err(|fault| fault.kind()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join(&mut self, id: &str, topics: &[&str]) -> Client {
        let mut client = Client::new(id);
        client.topics = Some(topics.iter().map(|topic| Arc::from(*topic)).collect());
        self.rejoin(&mut client).expect("it may join");
        client
    }

    pub(super) fn join_static(&mut self, id: &str, instance: &str) -> Result<Client, Code> {
        let mut client = Client::new(id);
        client.instance = Some(Arc::from(instance));
        client.topics = Some(vec![Arc::from("a")]);
        self.rejoin(&mut client)?;
        Ok(client)
    }

    /// Joins, or joins again without partitions.
    pub(super) fn rejoin(&mut self, client: &mut Client) -> Result<Beat, Code> {
        client.epoch = 0;
        client.owned = Partitions::new();
        let beat = self.send(client.full(MemberEpoch::Join))?;
        client.take(&beat);
        Ok(beat)
    }

    /// A heartbeat with what the member has, and what it then does as told.
    pub(super) fn beat(&mut self, client: &mut Client) -> Result<Beat, Code> {
        let beat = self.send(client.report())?;
        client.take(&beat);
        Ok(beat)
    }

    pub(super) fn leave(&mut self, client: &Client, epoch: MemberEpoch) -> Result<Beat, Code> {
        self.send(client.bare(epoch))
    }

    /// Everybody reports until nothing changes; how many rounds that took.
    pub(super) fn settle(&mut self, clients: &mut [&mut Client]) -> usize {
        for round in 0..20 {
            let before = self.kit.log().len();
            for client in clients.iter_mut() {
                self.beat(client).expect("it is a member");
            }
            if self.kit.log().len() == before {
                return round;
            }
        }
        panic!("the group does not settle: {:#?}", self.describe());
    }

    pub(super) fn describe(&mut self) -> Description {
        match self.kit.ask(Command::Describe(Arc::from(GROUP))) {
            group::Reply::Consumer(Reply::Describe(described)) => described.expect("a group"),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn group(&self) -> &Consumer {
        match &self.kit.groups().get(GROUP).expect("a group").kind {
            Kind::Consumer(consumer) => consumer,
            other => panic!("{other:?}"),
        }
    }
}

/// What must survive a restart.
pub(super) fn durable(groups: &GroupMap) -> BTreeMap<String, String> {
    let kinds = groups.iter().map(|group| {
        let kind = match &group.kind {
            Kind::Consumer(c) => format!(
                "{:?} {:?} {:?} {:?} {:?}",
                c.epoch,
                c.target_epoch,
                c.members,
                c.targets.iter().collect::<BTreeMap<_, _>>(),
                c.resolved
            ),
            // What of a classic group is durable, its own tests know.
            Kind::Classic(_) => "classic".to_owned(),
            Kind::Simple => "simple".to_owned(),
        };
        (group.id.to_string(), kind)
    });
    kinds.collect()
}

/// What a client library keeps.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: Arc<str>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) epoch: i32,
    pub(super) topics: Option<Vec<Arc<str>>>,
    pub(super) regex: Option<Arc<str>>,
    pub(super) owned: Partitions,
}

impl Client {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: Arc::from(id),
            instance: None,
            epoch: 0,
            topics: None,
            regex: None,
            owned: Partitions::new(),
        }
    }

    pub(super) fn matching(id: &str, regex: &str) -> Self {
        Self { regex: Some(Arc::from(regex)), ..Self::new(id) }
    }

    /// All fields, as a client sends them when it joins or after an error.
    pub(super) fn full(&self, epoch: MemberEpoch) -> Heartbeat {
        Heartbeat {
            rebalance_timeout_ms: Some(60_000),
            topics: self.topics.clone(),
            regex: self.regex.clone(),
            owned: Some(self.owned.clone()),
            ..self.bare(epoch)
        }
    }

    /// No field that says something new.
    pub(super) fn bare(&self, epoch: MemberEpoch) -> Heartbeat {
        Heartbeat {
            group: Arc::from(GROUP),
            member_id: Arc::clone(&self.id),
            epoch,
            client_id: Arc::from("client"),
            client_host: Arc::from("/127.0.0.1"),
            instance_id: self.instance.clone(),
            rack_id: None,
            rebalance_timeout_ms: None,
            topics: None,
            regex: None,
            assignor: None,
            owned: None,
        }
    }

    pub(super) fn report(&self) -> Heartbeat {
        let owned = Some(self.owned.clone());
        Heartbeat { owned, ..self.bare(MemberEpoch::At(self.epoch)) }
    }

    pub(super) fn preferring(&self, assignor: Assignor) -> Heartbeat {
        Heartbeat { assignor: Some(assignor), ..self.report() }
    }

    /// Lets go of what it no longer has and takes what is new.
    pub(super) fn take(&mut self, beat: &Beat) {
        self.epoch = beat.epoch;
        self.id = Arc::clone(&beat.member_id);
        if let Some(assignment) = &beat.assignment {
            self.owned.clone_from(assignment);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.owned.values().map(std::collections::BTreeSet::len).sum()
    }
}

pub(super) fn partitions(topic: Uuid, of: &[i32]) -> Partitions {
    Partitions::from([(topic, of.iter().copied().collect())])
}

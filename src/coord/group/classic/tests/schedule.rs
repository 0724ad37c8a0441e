//! Random schedules of clients that come, go, fall silent and join again, with failovers in
//! between. The kit checks the invariants after every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Join {
        client: usize,
        protocols: usize,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// The client forgets its id: a dynamic one is someone new, a static one restarts.
    Restart {
        client: usize,
    },
    Pass {
        ms: u64,
    },
    Failover,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let client = 0..6_usize;
    let act = prop_oneof![
        6 => (client.clone(), 0..3_usize).prop_map(|(client, protocols)| Act::Join { client, protocols }),
        6 => client.clone().prop_map(|client| Act::Sync { client }),
        3 => client.clone().prop_map(|client| Act::Heartbeat { client }),
        1 => client.clone().prop_map(|client| Act::Leave { client }),
        1 => client.prop_map(|client| Act::Restart { client }),
        4 => (0..15_000_u64).prop_map(|ms| Act::Pass { ms }),
        1 => Just(Act::Failover),
    ];
    prop::collection::vec(act, 1..120)
}

/// What a client knows.
#[derive(Clone, Debug, Default)]
struct Client {
    member_id: String,
    generation: i32,
    waits: Option<Caller>,
    last: Option<Joined>,
    /// Of its last heartbeat.
    pulse: Arc<Pulse>,
}

struct World {
    kit: Kit,
    clients: Vec<Client>,
    /// Who was told by a sync of which generation to hold what.
    told: BTreeMap<(i32, String), String>,
    newest_generation: i32,
}

impl World {
    fn new() -> Self {
        Self {
            kit: kit(),
            clients: vec![Client::default(); 6],
            told: BTreeMap::new(),
            newest_generation: 0,
        }
    }

    fn instance(client: usize) -> Option<String> {
        (client >= 4).then(|| format!("i{client}"))
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Join { client, protocols } => self.join(client, protocols),
            Act::Sync { client } => self.sync(client),
            Act::Heartbeat { client } => self.heartbeat(client),
            Act::Leave { client } => {
                let member =
                    leaver(&self.clients[client].member_id, Self::instance(client).as_deref());
                leave(&mut self.kit, vec![member]);
                self.clients[client].member_id.clear();
            }
            Act::Restart { client } => {
                let waits = self.clients[client].waits;
                self.clients[client] = Client { waits, ..Client::default() };
            }
            Act::Pass { ms } => self.kit.pass(Duration::from_millis(ms)),
            Act::Failover => {
                self.kit.failover();
                self.clients.iter_mut().for_each(|client| client.waits = None);
            }
        }
        self.collect();
        if self.kit.groups().get(GROUP).is_some() && ["Empty", "Stable"].contains(&state(&self.kit))
        {
            self.kit.assert_durable(|groups| durable(groups).len());
        }
    }

    fn join(&mut self, client: usize, offered: usize) {
        let names = [&["a", "b"][..], &["b", "a"], &["a"]][offered];
        let request = Join {
            instance_id: Self::instance(client),
            protocols: protocols(names),
            needs_known_id: client.is_multiple_of(2),
            ..joining(&self.clients[client].member_id)
        };
        let caller = join(&mut self.kit, request);
        self.clients[client].waits = Some(caller);
    }

    fn sync(&mut self, client: usize) {
        let Some(joined) = self.clients[client].last.clone() else { return };
        let ids = joined.members.iter().map(|m| (&*m.member_id, &*m.member_id));
        let request = Sync {
            instance_id: Self::instance(client),
            ..syncing(&joined, &ids.collect::<Vec<_>>())
        };
        let caller = sync(&mut self.kit, request);
        self.clients[client].waits = Some(caller);
    }

    fn heartbeat(&mut self, client: usize) {
        if let Some(joined) = self.clients[client].last.clone() {
            let beats = self.clients[client].pulse.beat(self.kit.now());
            self.clients[client].pulse = Arc::default();
            let alive = heartbeat_with(&mut self.kit, &joined, &self.clients[client].pulse);
            assert!(alive.is_ok() || !beats, "a pulse says what the coordinator would not");
            if alive.is_ok() {
                assert_eq!(joined.generation, classic(&self.kit).generation());
            }
        }
    }

    /// Takes what has been answered.
    fn collect(&mut self) {
        for client in &mut self.clients {
            let answer = client.waits.and_then(|caller| self.kit.answer(caller));
            match answer {
                None => continue,
                Some(GroupReply::Classic(Reply::Join(Ok(joined)))) => {
                    client.member_id = joined.member_id.to_string();
                    client.generation = joined.generation;
                    client.last = Some(joined);
                }
                Some(GroupReply::Classic(Reply::Join(Err(refused)))) => {
                    client.member_id = refused.member_id.to_string();
                }
                Some(GroupReply::Classic(Reply::Sync(Ok(synced)))) => {
                    let assigned = String::from_utf8_lossy(&synced.assignment).into_owned();
                    let key = (client.generation, client.member_id.clone());
                    let before = self.told.insert(key, assigned.clone());
                    assert!(before.is_none_or(|before| before == assigned), "told two things");
                }
                Some(_) => {}
            }
            client.waits = None;
        }
    }

    /// Everyone who is left joins and syncs until the group is stable: no schedule leaves it
    /// stuck, and nobody waits for ever.
    fn settle(&mut self) {
        self.kit.pass(NEW_MEMBER_JOIN_TIMEOUT * 2);
        self.collect();
        assert_eq!(self.kit.waiting(), 0, "time answers everyone");
        // A group that has neither members nor offsets is deleted some time.
        let generation = match self.kit.groups().get(GROUP).map(|group| &group.kind) {
            Some(Kind::Classic(group)) => {
                assert!(group.is_empty(), "and empties the group");
                group.generation()
            }
            _ => 0,
        };
        let members = stable(&mut self.kit, vec![old_joining(), static_joining("i4", "")]);
        assert!(members.iter().all(|m| m.generation > generation));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_breaks_a_group_or_leaves_a_caller_without_an_answer(acts in acts()) {
        let mut world = World::new();
        world.act(&Act::Join { client: 0, protocols: 0 });
        for act in &acts {
            world.act(act);
            if let Some(Kind::Classic(group)) = world.kit.groups().get(GROUP).map(|g| &g.kind) {
                prop_assert!(
                    group.generation() >= world.newest_generation || matches!(act, Act::Failover)
                );
                world.newest_generation = group.generation();
            } else {
                world.newest_generation = 0;
            }
        }
        world.settle();
    }
}

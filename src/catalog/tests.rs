//! Decisions as scripts (command in, change or code out), and the properties that hold for any
//! script: what is decided can be applied, and replay of what is written equals the live catalog.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::codec;
use super::*;
use crate::base::role::RoleKind;
use crate::store::{MetaWrite, Versioned};

const NODE: i32 = 1;

fn policy() -> Policy {
    Policy {
        default_partitions: 1,
        default_replication_factor: 1,
        max_topic_partitions: 100,
        max_partitions: 150,
        check_topic_configs: Arc::new(check_configs),
        check_group_configs: Arc::new(check_configs),
    }
}

/// One key is known, and its values are numbers.
fn check_configs(configs: &Configs) -> Result<(), String> {
    let numbers = ["retention.ms", "retention.bytes"];
    let good = |(key, value): (&String, &String)| {
        numbers.contains(&&**key) && value.parse::<i64>().is_ok()
            || [("cleanup.policy", "delete"), ("delay.enable", "true")].contains(&(key, value))
    };
    if configs.iter().all(good) { Ok(()) } else { Err("a bad config".to_owned()) }
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    let id = name.bytes().fold(1, |id: u128, b| id.wrapping_mul(257).wrapping_add(b.into()));
    NewTopic { partitions, ..NewTopic::with_defaults(name, Uuid::from_u128(id)) }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignments = assignments.iter().map(|(p, replicas)| (*p, replicas.to_vec())).collect();
    NewTopic { assignments, ..topic(name, -1) }
}

fn key_edit<T: Into<String>>(value: Option<T>) -> KeyEdit {
    value.map_or(KeyEdit::Unset, |value| KeyEdit::Set(value.into()))
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> NewTopic {
    let own = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
    NewTopic { configs: configs.iter().map(own).collect(), ..topic(name, 1) }
}

/// A catalog under a script, with the pairs that its changes have written.
struct Script {
    catalog: Catalog,
    pairs: BTreeMap<String, Vec<u8>>,
}

impl Script {
    fn new() -> Self {
        Self { catalog: Catalog::empty(NODE, 1), pairs: BTreeMap::new() }
    }

    fn with(topics: &[(&str, i32)]) -> Self {
        let mut script = Self::new();
        for (name, partitions) in topics {
            script.run(Command::CreateTopic(topic(name, *partitions))).expect("a fresh topic");
        }
        script
    }

    fn run(&mut self, command: Command) -> Result<Change, Fault> {
        let change = decide(&self.catalog, &policy(), &command)?;
        for write in codec::writes(&change) {
            match write {
                MetaWrite::Put(key, value) => self.pairs.insert(key, value),
                MetaWrite::Delete(key) => self.pairs.remove(&key),
            };
        }
        self.catalog.apply(&change);
        Ok(change)
    }

    fn refusal(&mut self, command: Command) -> Code {
        self.run(command).expect_err("refused").kind()
    }

    fn create(&mut self, new: NewTopic) -> Arc<Topic> {
        match self.run(Command::CreateTopic(new)).expect("created") {
            Change::TopicCreated(topic) => topic,
            other => panic!("{other:?}"),
        }
    }

    fn create_refusal(&mut self, new: NewTopic) -> Code {
        self.refusal(Command::CreateTopic(new))
    }

    fn grow(
        &mut self,
        topic: &str,
        count: i32,
        assignments: Option<&[&[i32]]>,
    ) -> Result<Change, Code> {
        let assignments = assignments.map(|a| a.iter().map(|r| r.to_vec()).collect());
        let new = NewPartitions { topic: topic.to_owned(), count, assignments };
        self.run(Command::AddPartitions(new)).map_err(|fault| fault.kind())
    }

    fn replay(&self) -> Catalog {
        let pair = |(key, value): (&String, &Vec<u8>)| {
            (key.clone(), Versioned { value: value.clone(), revision: 1 })
        };
        codec::load(NODE, 1, self.pairs.iter().map(pair)).expect("what was written can be read")
    }
}

#[test]
fn a_topic_is_found_by_name_and_by_id() {
    let mut script = Script::new();
    let created = script.create(topic("orders", 3));
    assert_eq!(script.catalog.topic("orders"), Some(&created));
    assert_eq!(script.catalog.topic_by_id(created.id), Some(&created));
    assert_eq!(script.catalog.partition_count(), 3);
    assert_eq!(created.partitions, 3);
}

#[test]
fn defaults_fill_what_a_request_leaves_open() {
    let created = Script::new().create(topic("orders", -1));
    assert_eq!(created.partitions, 1);
}

#[test]
fn names_follow_kafkas_rules() {
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "ü", &long] {
        assert_eq!(
            Script::new().create_refusal(topic(name, 1)),
            Code::InvalidTopicException,
            "{name}"
        );
    }
    let longest = "x".repeat(249);
    for name in ["a", "...", "A-z_0.9", "__consumer_offsets", &longest] {
        Script::new().create(topic(name, 1));
    }
    assert_eq!(Script::new().create_refusal(topic("__cluster_metadata", 1)), Code::InvalidRequest);
}

#[test]
fn names_that_differ_in_dots_and_underscores_alone_collide() {
    let mut script = Script::with(&[("a.b_c", 1)]);
    assert_eq!(script.create_refusal(topic("a_b.c", 1)), Code::InvalidTopicException);
    assert_eq!(script.create_refusal(topic("a.b_c", 1)), Code::TopicAlreadyExists);
    script.create(topic("a-b-c", 1));
    script.run(Command::DeleteTopic(TopicKey::Name("a.b_c".to_owned()))).expect("deleted");
    script.create(topic("a_b.c", 1));
}

#[test]
fn counts_out_of_range_are_refused() {
    let mut script = Script::new();
    for partitions in [0, -2, i32::MIN] {
        assert_eq!(script.create_refusal(topic("t", partitions)), Code::InvalidPartitions);
    }
    for factor in [0, -2, 2, 3] {
        let new = NewTopic { replication_factor: factor, ..topic("t", 1) };
        assert_eq!(script.create_refusal(new), Code::InvalidReplicationFactor, "{factor}");
    }
    script.create(NewTopic { replication_factor: 1, ..topic("t", 1) });
}

#[test]
fn partitions_are_limited_by_topic_and_in_all() {
    let mut script = Script::new();
    assert_eq!(script.create_refusal(topic("big", 101)), Code::PolicyViolation);
    script.create(topic("big", 100));
    assert_eq!(script.create_refusal(topic("more", 51)), Code::PolicyViolation);
    script.create(topic("more", 49));
    assert_eq!(script.grow("more", 51, None), Err(Code::PolicyViolation));
    assert_eq!(script.grow("big", i32::MAX, None), Err(Code::PolicyViolation));
    script.grow("more", 50, None).expect("within both limits");
}

#[test]
fn assignments_name_this_node_for_consecutive_partitions() {
    let mut script = Script::new();
    assert_eq!(
        script.create(assigned("out-of-order", &[(1, &[NODE]), (0, &[NODE])])).partitions,
        2
    );
    let bad: [&[(i32, &[i32])]; 7] = [
        &[(0, &[])],
        &[(0, &[5])],
        &[(0, &[-1])],
        &[(0, &[NODE, NODE])],
        &[(0, &[NODE]), (0, &[NODE])],
        &[(0, &[NODE]), (2, &[NODE])],
        &[(1, &[NODE])],
    ];
    for assignments in bad {
        let code = script.create_refusal(assigned("bad", assignments));
        assert_eq!(code, Code::InvalidReplicaAssignment, "{assignments:?}");
    }
    let with_count = NewTopic { partitions: 1, ..assigned("bad", &[(0, &[NODE])]) };
    assert_eq!(script.create_refusal(with_count), Code::InvalidRequest);
    let with_factor = NewTopic { replication_factor: 1, ..assigned("bad", &[(0, &[NODE])]) };
    assert_eq!(script.create_refusal(with_factor), Code::InvalidRequest);
}

#[test]
fn configs_are_checked_and_the_last_of_a_key_counts() {
    let mut script = Script::new();
    let twice = [("retention.ms", Some("5")), ("retention.ms", Some("6"))];
    let created = script.create(configured("t", &twice));
    assert_eq!(created.configs, Configs::from([("retention.ms".to_owned(), "6".to_owned())]));
    let bad: [(&str, Option<&str>); 3] =
        [("nope", Some("1")), ("retention.ms", Some("soon")), ("retention.ms", None)];
    for config in bad {
        assert_eq!(
            script.create_refusal(configured("u", &[config])),
            Code::InvalidConfig,
            "{config:?}"
        );
    }
}

#[test]
fn partitions_only_grow() {
    let mut script = Script::with(&[("t", 2)]);
    for count in [2, 1, 0, -1] {
        assert_eq!(script.grow("t", count, None), Err(Code::InvalidPartitions), "{count}");
    }
    assert_eq!(script.grow("nope", 3, None), Err(Code::UnknownTopicOrPartition));
    let bad: [&[&[i32]]; 5] = [&[], &[&[NODE], &[NODE]], &[&[]], &[&[9]], &[&[NODE, NODE]]];
    for assignments in bad {
        let code = script.grow("t", 3, Some(assignments));
        assert_eq!(code, Err(Code::InvalidReplicaAssignment), "{assignments:?}");
    }
    let Ok(Change::PartitionsAdded(grown)) = script.grow("t", 3, Some(&[&[NODE]])) else {
        panic!("a third partition on this node")
    };
    let [Grown { topic, first_new }] = &grown[..] else { panic!("{grown:?}") };
    assert_eq!((topic.partitions, *first_new), (3, 2));
    assert_eq!(script.catalog.topic("t"), Some(topic));
}

fn role(kind: RoleKind, source: &Topic) -> Arc<Role> {
    Arc::new(Role::of(kind, "g", &source.name, source.id))
}

fn for_role(name: &str, role: &Arc<Role>) -> NewTopic {
    NewTopic { role: Some(Arc::clone(role)), ..topic(name, -1) }
}

#[test]
fn a_topic_with_a_role_has_its_sources_partitions_and_keeps_everything() {
    let mut script = Script::with(&[("orders", 3)]);
    let orders = Arc::clone(script.catalog.topic("orders").expect("created"));
    let retry = role(RoleKind::Retry, &orders);
    assert_eq!(
        script.create_refusal(NewTopic { partitions: 2, ..for_role("r", &retry) }),
        Code::InvalidPartitions
    );
    let created = script.create(for_role("r", &retry));
    assert_eq!((created.partitions, created.placed_as()), (3, orders.id));
    let kept = Configs::from(Role::TOPIC_CONFIGS.map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(created.configs, kept);
    assert_eq!(script.catalog.of_role(&retry), Some(&created));
    assert_eq!(script.create_refusal(for_role("r2", &retry)), Code::TopicAlreadyExists);
    let own = NewTopic {
        configs: configured("x", &[("retention.ms", Some("5"))]).configs,
        ..for_role("d", &role(RoleKind::Dlq, &orders))
    };
    assert_eq!(script.create(own).configs["retention.ms"], "5", "who creates it may say");
    let of_a_retry = role(RoleKind::Retry, &created);
    assert_eq!(script.create_refusal(for_role("rr", &of_a_retry)), Code::InvalidRequest);
    let edit = ConfigEdit::Replace(Configs::new());
    script.run(Command::AlterTopicConfigs { topic: "r".to_owned(), edit }).expect("allowed");
    assert_eq!(script.catalog.topic("r").expect("there").role, Some(retry), "no edit takes a role");
    assert_eq!(script.replay(), script.catalog);
}

#[test]
fn topics_grow_with_their_source_and_not_alone() {
    let mut script = Script::with(&[("orders", 2), ("other", 1)]);
    let orders = Arc::clone(script.catalog.topic("orders").expect("created"));
    script.create(for_role("r", &role(RoleKind::Retry, &orders)));
    script.create(for_role("d", &role(RoleKind::Dlq, &orders)));
    assert_eq!(script.grow("r", 3, None), Err(Code::InvalidPartitions));
    assert_eq!(script.grow("orders", 100, None), Err(Code::PolicyViolation), "300 in all");
    let Ok(Change::PartitionsAdded(grown)) = script.grow("orders", 5, None) else {
        panic!("three more of each")
    };
    let grown: Vec<_> = grown.iter().map(|g| (&*g.topic.name, g.first_new)).collect();
    assert_eq!(grown, [("orders", 2), ("r", 2), ("d", 2)]);
    assert!(
        ["orders", "r", "d"].iter().all(|t| script.catalog.topic(t).expect("t").partitions == 5)
    );
    assert_eq!(script.catalog.topic("other").expect("there").partitions, 1);
    assert_eq!(script.replay(), script.catalog);
}

#[test]
fn followers_outlive_their_source_and_are_not_the_next_ones() {
    let mut script = Script::with(&[("orders", 2)]);
    let old = Arc::clone(script.catalog.topic("orders").expect("created"));
    let retry = script.create(for_role("r", &role(RoleKind::Retry, &old)));
    script.run(Command::DeleteTopic(TopicKey::Id(old.id))).expect("deleted");
    assert_eq!(script.catalog.topic("r"), Some(&retry));
    let late = script.create(for_role("d", &role(RoleKind::Dlq, &old)));
    assert_eq!(late.partitions, 2, "as its sibling has");
    let new = script.create(NewTopic { id: Uuid::from_u128(99), ..topic("orders", 7) });
    assert_eq!(script.catalog.of_role(&role(RoleKind::Retry, &new)), None);
    assert_eq!(script.catalog.followers(new.id).count(), 0);
    assert_eq!(script.catalog.followers(old.id).count(), 2);
    for name in ["r", "d"] {
        script.run(Command::DeleteTopic(TopicKey::Name(name.to_owned()))).expect("deleted");
    }
    let nobody = role(RoleKind::Retry, &old);
    assert_eq!(script.create_refusal(for_role("r", &nobody)), Code::UnknownTopicOrPartition);
    assert_eq!(script.replay(), script.catalog);
}

#[test]
fn a_deleted_topic_is_remembered_until_it_is_swept() {
    let mut script = Script::with(&[("t", 2)]);
    let id = script.catalog.topic("t").expect("created").id;
    script.run(Command::DeleteTopic(TopicKey::Id(id))).expect("deleted");
    assert_eq!(script.catalog.topic("t"), None);
    assert_eq!(script.catalog.partition_count(), 0);
    assert_eq!(script.refusal(Command::DeleteTopic(TopicKey::Id(id))), Code::UnknownTopicId);
    let by_name = Command::DeleteTopic(TopicKey::Name("t".to_owned()));
    assert_eq!(script.refusal(by_name), Code::UnknownTopicOrPartition);

    let waiting: Vec<Uuid> = script.replay().deleted().map(|topic| topic.id).collect();
    assert_eq!(waiting, [id]);
    script.create(NewTopic { id: Uuid::from_u128(99), ..topic("t", 1) });
    script.run(Command::SweepTopic(id)).expect("swept");
    assert_eq!(script.replay().deleted().count(), 0);
    assert!(script.catalog.topic("t").is_some());
}

#[test]
fn topic_configs_are_replaced_or_merged() {
    let mut script = Script::new();
    script.create(configured("t", &[("retention.ms", Some("5"))]));
    let mut alter = |edit| {
        script.run(Command::AlterTopicConfigs { topic: "t".to_owned(), edit })?;
        Ok::<_, Fault>(
            script.catalog.topic("t").expect("there").configs.get("retention.ms").cloned(),
        )
    };
    let merge =
        |value: Option<&str>| ConfigEdit::Merge(vec![("retention.ms".to_owned(), key_edit(value))]);
    assert_eq!(alter(merge(Some("7"))), Ok(Some("7".to_owned())));
    assert_eq!(alter(merge(None)), Ok(None));
    assert_eq!(alter(merge(Some("x"))).expect_err("no number").kind(), Code::InvalidConfig);
    assert_eq!(alter(ConfigEdit::Replace(Configs::new())), Ok(None));
}

#[test]
fn groups_need_not_exist_to_have_configs_and_without_any_leave_nothing_behind() {
    let mut script = Script::new();
    let alter = |value: Option<&str>| Command::AlterGroupConfigs {
        group: "pay/ments".to_owned(),
        edit: ConfigEdit::Merge(vec![("retention.ms".to_owned(), key_edit(value))]),
    };
    script.run(alter(Some("7"))).expect("a good value");
    let stored = script.replay();
    let configs = Configs::from([("retention.ms".to_owned(), "7".to_owned())]);
    assert_eq!(stored.group_configs("pay/ments"), Some(&configs));
    assert_eq!(stored.configured_groups().collect::<Vec<_>>(), ["pay/ments"]);
    assert_eq!(script.refusal(alter(Some("x"))), Code::InvalidConfig);
    script.run(alter(None)).expect("back to the default");
    assert_eq!(script.replay().configured_groups().count(), 0);
}

#[test]
fn leader_epochs_count_the_starts_since_creation() {
    let mut script = Script::with(&[("t", 1)]);
    let catalog = codec::load(
        NODE,
        4,
        script
            .pairs
            .clone()
            .into_iter()
            .map(|(key, value)| (key, Versioned { value, revision: 1 })),
    );
    let catalog = catalog.expect("readable");
    assert_eq!(catalog.leader_epoch(catalog.topic("t").expect("kept")), 3);
    let live = script.create(topic("u", 1));
    assert_eq!(script.catalog.leader_epoch(&live), 0);
}

#[test]
fn a_partition_of_another_node_is_not_led_here() {
    let script = Script::with(&[("t", 2)]);
    let topic = Arc::clone(script.catalog.topic("t").expect("created"));
    let moved = TopicPartition::new(topic.id, 1);
    let catalog = script.catalog.with_leader(moved, 7);
    assert_eq!(catalog.leader(moved), 7);
    assert_eq!(catalog.led_here(&topic, 0), Ok(TopicPartition::new(topic.id, 0)));
    let code = |partition| catalog.led_here(&topic, partition).map_err(|fault| fault.kind());
    assert_eq!(code(1), Err(Code::NotLeaderOrFollower));
    assert_eq!(code(2), Err(Code::UnknownTopicOrPartition));
    assert_eq!(code(-1), Err(Code::UnknownTopicOrPartition));

    let broken = catalog.with_leader(moved, NO_LEADER);
    let code = broken.led_here(&topic, 1).map_err(|fault| fault.kind());
    assert_eq!(code, Err(Code::KafkaStorageError));
}

#[test]
fn a_store_that_cannot_be_read_names_the_key() {
    let id = Uuid::from_u128(1);
    let good = r#""name":"t","partitions":1,"created_at_start":1,"configs":{}"#;
    let cases = [
        (format!("topics/{id}"), "not json".to_owned()),
        (format!("topics/{id}"), format!(r#"{{"version":2,{good}}}"#)),
        (format!("topics/{id}"), format!(r#"{{"version":1,{}}}"#, good.replace(":1", ":0"))),
        (
            format!("topics/{id}"),
            format!(r#"{{"version":1,{}}}"#, good.replace("\"t\"", "\"../t\"")),
        ),
        ("topics/x".to_owned(), format!(r#"{{"version":1,{good}}}"#)),
        ("broker-configs/x".to_owned(), r#"{"version":1,"configs":{}}"#.to_owned()),
    ];
    for (key, value) in cases {
        let versioned = Versioned { value: value.clone().into_bytes(), revision: 1 };
        let error = codec::load(NODE, 1, [(key.clone(), versioned)]).expect_err(&value);
        assert!(error.to_string().contains(&key), "{error}");
    }
}

#[test]
fn two_topics_of_one_name_cannot_be_loaded() {
    let mut script = Script::with(&[("t", 1)]);
    let first = script.pairs.clone();
    script.run(Command::DeleteTopic(TopicKey::Name("t".to_owned()))).expect("deleted");
    script.create(NewTopic { id: Uuid::from_u128(99), ..topic("t", 1) });
    script.pairs.extend(first);
    let pairs = script.pairs.into_iter();
    let loaded =
        codec::load(NODE, 1, pairs.map(|(k, value)| (k, Versioned { value, revision: 1 })));
    assert!(loaded.is_err());
}

#[test]
fn the_persisted_form_of_a_topic_is_fixed() {
    let mut script = Script::new();
    let new = configured("orders", &[("retention.ms", Some("5"))]);
    script.create(NewTopic { id: Uuid::from_u128(0xAB), ..new });
    let expected = r#"{"version":1,"name":"orders","partitions":1,"created_at_start":1,"configs":{"retention.ms":"5"}}"#;
    let value = &script.pairs["topics/00000000-0000-0000-0000-0000000000ab"];
    assert_eq!(String::from_utf8_lossy(value), expected);
    let orders = Arc::clone(script.catalog.topic("orders").expect("created"));
    let new = for_role("r", &role(RoleKind::Retry, &orders));
    script.create(NewTopic { id: Uuid::from_u128(0xAC), ..new });
    let value =
        String::from_utf8_lossy(&script.pairs["topics/00000000-0000-0000-0000-0000000000ac"]);
    let role = r#""role":{"kind":"retry","source_id":"00000000-0000-0000-0000-0000000000ab","source":"orders","group":"g"}}"#;
    assert!(value.ends_with(role), "{value}");
}

proptest! {
    #[test]
    fn single_values_and_log_starts_survive_writing(
        starts: u32, text: String, bits: u128, partition in 0..i32::MAX, offset: i64,
    ) {
        fn value(write: MetaWrite) -> (String, Vec<u8>) {
            match write {
                MetaWrite::Put(key, value) => (key, value),
                MetaWrite::Delete(key) => panic!("{key} is written"),
            }
        }
        prop_assert_eq!(codec::STARTS.read(&value(codec::STARTS.write(starts)).1).ok(), Some(starts));
        let written = value(codec::CLUSTER.write(text.clone())).1;
        prop_assert_eq!(codec::CLUSTER.read(&written).ok(), Some(text));
        let tp = TopicPartition::new(Uuid::from_u128(bits), partition);
        let (key, written) = value(codec::log_starts::write(tp, offset));
        prop_assert_eq!(codec::log_starts::read(&key, &written).ok(), Some((tp, offset)));
    }

    #[test]
    fn whatever_is_decided_can_be_applied_and_replayed(commands in prop::collection::vec(command(), 1..60)) {
        let mut script = Script::new();
        for command in commands {
            let before = script.catalog.clone();
            if script.run(command).is_err() {
                prop_assert_eq!(&before, &script.catalog);
            }
            check(&script.catalog);
        }
        prop_assert_eq!(script.replay(), script.catalog);
    }
}

/// Commands over few names and ids, so that they meet.
fn command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "b.c", "b_c", "d-", "__consumer_offsets", "x y"]);
    let id = || (1..8_u128).prop_map(Uuid::from_u128);
    let value = || prop::option::of(prop::sample::select(vec!["1", "-1", "x"]));
    let create = (name(), any::<u128>(), -1..60_i32, value()).prop_map(|(name, id, n, value)| {
        let base = match value {
            None => topic(name, n),
            value => NewTopic { partitions: n, ..configured(name, &[("retention.ms", value)]) },
        };
        Command::CreateTopic(NewTopic { id: Uuid::from_u128(id.max(8)), ..base })
    });
    let grow = (name(), -1..200_i32).prop_map(|(name, count)| {
        Command::AddPartitions(NewPartitions { topic: name.to_owned(), count, assignments: None })
    });
    let edit = || {
        value()
            .prop_map(|value| ConfigEdit::Merge(vec![("retention.ms".to_owned(), key_edit(value))]))
    };
    let scope = prop_oneof![Just(BrokerScope::Cluster), (0..3).prop_map(BrokerScope::Node)];
    prop_oneof![
        4 => create,
        2 => name().prop_map(|name| Command::DeleteTopic(TopicKey::Name(name.to_owned()))),
        1 => id().prop_map(|id| Command::DeleteTopic(TopicKey::Id(id))),
        1 => id().prop_map(Command::SweepTopic),
        2 => grow,
        2 => (name(), edit()).prop_map(|(topic, edit)| {
            Command::AlterTopicConfigs { topic: topic.to_owned(), edit }
        }),
        1 => (scope, edit()).prop_map(|(scope, edit)| Command::AlterBrokerConfigs { scope, edit }),
    ]
}

/// The invariants of a catalog.
fn check(catalog: &Catalog) {
    let mut partitions = 0;
    for topic in catalog.topics() {
        assert!(topic.partitions >= 1);
        assert_eq!(catalog.topic(&topic.name), Some(topic));
        assert_eq!(catalog.topic_by_id(topic.id), Some(topic));
        partitions += u64::from(topic.partitions.unsigned_abs());
    }
    assert_eq!(catalog.topics().len(), catalog.by_id.len());
    assert_eq!(catalog.partition_count(), partitions);
    assert!(partitions <= policy().max_partitions);
}

//! Configs against a catalog in memory: what is described, and what commands wishes become.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use uuid::Uuid;

use super::describe::Describer;
use super::edit::{Editor, Operation, Wish};
use super::*;
use crate::base::settings::{BrokerConfig, Overrides, broker_keys, topic_keys};
use crate::catalog::{Catalog, Change, Command, ConfigEdit, KeyEdit, ListEdit, Topic};

const NODE: i32 = 1;

fn map(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn catalog(configs: &[(&str, &str)]) -> Catalog {
    let mut catalog = Catalog::empty(NODE, 1);
    catalog.apply(&Change::TopicCreated(Arc::new(Topic {
        name: "orders".into(),
        id: Uuid::from_u128(7),
        partitions: 1,
        created_at_start: 1,
        configs: map(configs),
        role: None,
    })));
    catalog
}

fn broker(statics: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig { statics: map(statics), ..BrokerConfig::default() }
}

fn orders() -> Resource {
    Resource::Topic("orders".into())
}

fn this_broker() -> Resource {
    Resource::Broker(BrokerScope::Node(NODE))
}

mod describing {
    use super::*;

    fn describe(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
        let catalog = catalog(&[("retention.ms", "5")]);
        let mut broker = broker(&[("log.segment.bytes", "2097152")]);
        broker.dynamic_default.insert("log.retention.ms".into(), "9".into());
        let request = DescribeConfigsRequest::default()
            .with_include_synonyms(true)
            .with_include_documentation(true);
        let own = |key: &&str| StrBytes::from_string((*key).to_owned());
        let asked = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_string(name.to_owned()))
            .with_configuration_keys(keys.map(|keys| keys.iter().map(own).collect()));
        let request = request.with_resources(vec![asked]);
        Describer::new(&catalog, broker, &request).results(&request).remove(0)
    }

    #[test]
    fn a_resource_is_described_once() {
        let catalog = catalog(&[]);
        let asked = DescribeConfigsResource::default()
            .with_resource_type(kind::TOPIC)
            .with_resource_name(StrBytes::from_static_str("orders"))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![asked; 3]);
        let results = Describer::new(&catalog, broker(&[]), &request).results(&request);
        let sizes: Vec<_> = results.iter().map(|r| (r.error_code, r.configs.len())).collect();
        let twice = (Code::InvalidRequest.code(), 0);
        assert_eq!(sizes, [(0, topic_keys().len()), twice, twice]);
    }

    #[test]
    fn a_topic_has_every_key() {
        for keys in [None, Some(&[][..])] {
            let result = describe(kind::TOPIC, "orders", keys);
            assert_eq!((result.error_code, result.configs.len()), (0, topic_keys().len()));
            assert!(result.configs.iter().all(|c| c.documentation.is_some() && !c.read_only));
        }
    }

    #[test]
    fn values_have_sources_synonyms_and_types() {
        let keys = ["retention.ms", "segment.bytes", "no.such.key"];
        let result = describe(kind::TOPIC, "orders", Some(&keys));
        let [retention, segment] = &result.configs[..] else { panic!("{result:?}") };
        assert_eq!(retention.value.as_deref(), Some("5"));
        assert_eq!((retention.config_source, retention.config_type), (1, 5));
        let synonyms: Vec<_> =
            retention.synonyms.iter().map(|s| (&*s.name, s.value.as_deref(), s.source)).collect();
        // Kafka does not tell of a default in another unit, here of log.retention.hours.
        assert_eq!(synonyms, [("retention.ms", Some("5"), 1), ("log.retention.ms", Some("9"), 3)]);
        assert_eq!((segment.config_source, segment.config_type), (4, 3));
    }

    #[test]
    fn brokers_by_id_and_the_cluster_by_the_empty_name() {
        let result = describe(kind::BROKER, "1", None);
        assert_eq!(result.configs.len(), broker_keys().len());
        let result = describe(kind::BROKER, "", None);
        let [only] = &result.configs[..] else { panic!("{result:?}") };
        assert_eq!((&*only.name, only.config_source), ("log.retention.ms", 3));
    }

    #[test]
    fn what_is_not_there_fails_by_itself() {
        for (kind, name, code) in [
            (kind::TOPIC, "absent", Code::UnknownTopicOrPartition),
            (kind::TOPIC, "not a name", Code::InvalidTopicException),
            (kind::BROKER, "2", Code::InvalidRequest),
            (kind::BROKER, "one", Code::InvalidRequest),
            (kind::GROUP, "", Code::InvalidRequest),
            (7, "x", Code::InvalidRequest),
        ] {
            let result = describe(kind, name, None);
            assert_eq!(result.error_code, code.code(), "{kind} {name}");
            assert!(result.configs.is_empty());
        }
    }
}

mod editing {
    use super::*;

    fn merge(resource: Resource, wishes: &[Wish<'_>]) -> Result<Command, Fault> {
        editor().merge(resource, wishes)
    }

    fn editor() -> Editor {
        let mut broker = broker(&[("log.cleanup.policy", "compact")]);
        broker.dynamic_default.insert("log.cleanup.policy".into(), "delete".into());
        broker.dynamic_broker.insert("log.cleanup.policy".into(), "".into());
        Editor { broker }
    }

    fn refusal(resource: Resource, wish: Wish<'_>) -> (Code, String) {
        let fault = merge(resource, &[wish]).expect_err("is refused");
        (fault.kind(), fault.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn wishes_become_edits() {
        use Operation::{Append, Delete, Set, Subtract};
        let edit = |operation, key: &str, value| {
            let command = merge(orders(), &[Wish::new(key, operation, value)]);
            match command.expect("a good wish") {
                Command::AlterTopicConfigs { edit: ConfigEdit::Merge(mut edits), .. } => {
                    edits.remove(0).1
                }
                other => panic!("{other:?}"),
            }
        };
        let list = ListEdit { entries: "delete".into(), inherited: String::new() };
        assert_eq!(edit(Set, "retention.ms", Some(" 7 ")), KeyEdit::Set("7".into()));
        assert_eq!(edit(Delete, "retention.ms", Some("ignored")), KeyEdit::Unset);
        assert_eq!(edit(Delete, "no.such.key", None), KeyEdit::Unset);
        let policy = "cleanup.policy";
        assert_eq!(edit(Append, policy, Some("delete")), KeyEdit::Append(list.clone()));
        assert_eq!(edit(Subtract, policy, Some("delete")), KeyEdit::Subtract(list));
    }

    #[test]
    fn a_list_inherits_from_what_is_weaker() {
        for (resource, inherited) in [
            (orders(), ""),
            (this_broker(), "delete"),
            (Resource::Broker(BrokerScope::Cluster), "compact"),
        ] {
            let key = if resource == orders() { "cleanup.policy" } else { "log.cleanup.policy" };
            let wish = Wish::new(key, Operation::Append, Some("compact"));
            let edit = ListEdit { entries: "compact".into(), inherited: inherited.into() };
            let edit = ConfigEdit::Merge(vec![(key.into(), KeyEdit::Append(edit))]);
            let command = match resource.clone() {
                Resource::Topic(topic) => Command::AlterTopicConfigs { topic, edit },
                Resource::Broker(scope) => Command::AlterBrokerConfigs { scope, edit },
                Resource::Group(group) => Command::AlterGroupConfigs { group, edit },
            };
            assert_eq!(merge(resource, &[wish]), Ok(command));
        }
    }

    #[test]
    fn refusals_name_the_key() {
        let set = |key, value| Wish::new(key, Operation::Set, value);
        let (code, message) = refusal(orders(), set("retention.ms", None));
        assert_eq!(code, Code::InvalidRequest);
        assert!(message.ends_with("retention.ms"));
        let append = Wish::new("retention.ms", Operation::Append, Some("1"));
        assert_eq!(refusal(orders(), append).0, Code::InvalidConfig);
        let twice = [set("retention.ms", Some("1")), set("retention.ms", Some("2"))];
        assert_eq!(merge(orders(), &twice).unwrap_err().kind(), Code::InvalidRequest);
        for (key, value, code) in [
            ("num.partitions", "3", Code::InvalidRequest),
            ("log.segment.bytes", "3", Code::InvalidRequest),
            ("log.segment.byts", "3", Code::InvalidConfig),
        ] {
            let (refused, message) = refusal(this_broker(), set(key, Some(value)));
            assert_eq!(refused, code, "{message}");
            assert!(message.contains(key), "{message}");
        }
        assert!(Operation::from_number(4).is_err() && Operation::from_number(-1).is_err());
    }

    #[test]
    fn replacing_keeps_nothing_that_is_not_named() {
        let wishes = [Wish::new("segment.bytes", Operation::Set, Some("2000000"))];
        let edit = ConfigEdit::Replace(map(&[("segment.bytes", "2000000")]));
        let command = Command::AlterTopicConfigs { topic: "orders".into(), edit };
        assert_eq!(editor().replace(orders(), &wishes), Ok(command));
    }
}

mod listing {
    use super::super::list::list;
    use super::*;

    #[test]
    fn topics_and_the_broker() {
        let catalog = catalog(&[]);
        let names = |kinds: &[i8]| -> Vec<_> {
            let listed = list(&catalog, kinds).unwrap();
            listed.into_iter().map(|r| (r.resource_type, r.resource_name.to_string())).collect()
        };
        let both = [(kind::BROKER, "1".to_owned()), (kind::TOPIC, "orders".to_owned())];
        assert_eq!(names(&[kind::TOPIC, kind::BROKER, kind::GROUP]), both);
        assert_eq!(names(&[kind::CLIENT_METRICS]), []);
        assert_eq!(list(&catalog, &[kind::TOPIC, 7]).unwrap_err().kind(), Code::UnsupportedVersion);
    }
}

mod served {
    use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    use kafka_protocol::messages::incremental_alter_configs_request::{
        AlterConfigsResource as MergeResource, AlterableConfig as MergeConfig,
    };
    use kafka_protocol::messages::{AlterConfigsRequest, IncrementalAlterConfigsRequest};

    use super::super::alter::{AlterConfigs, IncrementalAlterConfigs};
    use super::super::describe::DescribeConfigs;
    use super::super::list::list;
    use super::*;
    use crate::api::endpoint::Endpoint;
    use crate::api::kit::Kit;
    use crate::api::text;

    fn set(kind: i8, name: &str, key: &str, value: &str) -> MergeResource {
        let config = MergeConfig::default().with_name(text(key)).with_value(Some(text(value)));
        MergeResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(vec![config])
    }

    fn value(kit: &mut Kit, version: i16, kind: i8, name: &str, key: &str) -> String {
        let asked = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(Some(vec![text(key)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
        let response = kit.ask::<DescribeConfigs>(version, &request);
        let [result] = &response.results[..] else { panic!("{response:?}") };
        let [config] = &result.configs[..] else { panic!("{result:?}") };
        config.value.as_ref().unwrap().to_string()
    }

    #[test]
    fn every_version_changes_a_topic_and_shows_it() {
        let mut kit = Kit::with_topics(&[("orders", 1)]);
        for version in IncrementalAlterConfigs::VERSIONS {
            let wanted = (70 + version).to_string();
            let resource = set(kind::TOPIC, "orders", "retention.ms", &wanted);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            let response = kit.ask::<IncrementalAlterConfigs>(version, &request);
            assert_eq!(response.responses[0].error_code, 0);
            for described in DescribeConfigs::VERSIONS {
                let shown = value(&mut kit, described, kind::TOPIC, "orders", "retention.ms");
                assert_eq!(shown, wanted);
            }
        }
        for version in AlterConfigs::VERSIONS {
            let config = AlterableConfig::default()
                .with_name(text("segment.bytes"))
                .with_value(Some(text("2000000")));
            let resource = AlterConfigsResource::default()
                .with_resource_type(kind::TOPIC)
                .with_resource_name(text("orders"))
                .with_configs(vec![config]);
            let request = AlterConfigsRequest::default().with_resources(vec![resource]);
            let response = kit.ask::<AlterConfigs>(version, &request);
            assert_eq!(response.responses[0].error_code, 0);
            assert_eq!(kit.topic("orders").unwrap().configs, map(&[("segment.bytes", "2000000")]));
        }
    }

    #[test]
    fn resources_fail_one_by_one() {
        let mut kit = Kit::with_topics(&[("a", 1), ("b", 1), ("c", 1)]);
        let resources = vec![
            set(kind::TOPIC, "a", "retention.ms", "-2"),
            set(kind::TOPIC, "b", "retention.ms", "9"),
            set(kind::TOPIC, "absent", "retention.ms", "9"),
            set(kind::TOPIC, "c", "retention.ms", "9"),
            set(kind::TOPIC, "c", "retention.ms", "8"),
        ];
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
        let response = kit.ask::<IncrementalAlterConfigs>(1, &request);
        let codes: Vec<_> = response.responses.iter().map(|r| r.error_code).collect();
        let (invalid, unknown) = (Code::InvalidConfig.code(), Code::UnknownTopicOrPartition.code());
        let twice = Code::InvalidRequest.code();
        assert_eq!(codes, [invalid, 0, unknown, twice, twice]);
        let message = response.responses[0].error_message.as_ref().unwrap();
        assert!(message.contains("retention.ms") && message.contains("'-2'"), "{message}");
        assert_eq!(kit.topic("b").unwrap().configs, map(&[("retention.ms", "9")]));
        assert!(kit.topic("c").unwrap().configs.is_empty());
    }

    #[test]
    fn validating_changes_nothing_and_still_judges() {
        let mut kit = Kit::with_topics(&[("orders", 1)]);
        for (value, code) in [("9", 0), ("x", Code::InvalidConfig.code())] {
            let request = IncrementalAlterConfigsRequest::default()
                .with_resources(vec![set(kind::TOPIC, "orders", "retention.ms", value)])
                .with_validate_only(true);
            let response = kit.ask::<IncrementalAlterConfigs>(1, &request);
            assert_eq!(response.responses[0].error_code, code);
        }
        assert!(kit.topic("orders").unwrap().configs.is_empty());
    }

    #[test]
    fn a_group_has_configs_whether_or_not_it_exists() {
        let mut kit = Kit::with_topics(&[]);
        let key = "consumer.session.timeout.ms";
        let alter = |kit: &mut Kit, resource| {
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            kit.ask::<IncrementalAlterConfigs>(1, &request).responses.remove(0)
        };
        let groups = |kit: &Kit| list(&kit.services.metadata.catalog(), &[kind::GROUP]).unwrap();
        assert_eq!(value(&mut kit, 4, kind::GROUP, "payments", key), "45000");
        assert_eq!(alter(&mut kit, set(kind::GROUP, "payments", key, "50000")).error_code, 0);
        assert_eq!(value(&mut kit, 4, kind::GROUP, "payments", key), "50000");
        assert_eq!(value(&mut kit, 4, kind::GROUP, "others", key), "45000");
        let [listed] = &groups(&kit)[..] else { panic!("one group has configs") };
        assert_eq!((listed.resource_type, &*listed.resource_name), (kind::GROUP, "payments"));

        for (key, value) in [(key, "60001"), (key, "x"), ("consumer.sesion.timeout.ms", "50000")] {
            let refused = alter(&mut kit, set(kind::GROUP, "payments", key, value));
            assert_eq!(refused.error_code, Code::InvalidConfig.code(), "{key}={value}");
            assert!(refused.error_message.unwrap().contains(key));
        }
        let mut back = set(kind::GROUP, "payments", key, "");
        back.configs[0].config_operation = 1;
        assert_eq!(alter(&mut kit, back).error_code, 0);
        assert_eq!(value(&mut kit, 4, kind::GROUP, "payments", key), "45000");
        assert!(groups(&kit).is_empty());
    }

    #[test]
    fn what_is_set_for_the_cluster_reaches_topics() {
        let mut kit = Kit::with_topics(&[("orders", 1)]);
        for (name, wanted) in [("", "3000000"), ("1", "4000000")] {
            let resource = set(kind::BROKER, name, "log.segment.bytes", wanted);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            let response = kit.ask::<IncrementalAlterConfigs>(1, &request);
            assert_eq!(response.responses[0].error_code, 0);
            assert_eq!(value(&mut kit, 4, kind::TOPIC, "orders", "segment.bytes"), wanted);
        }
        assert_eq!(value(&mut kit, 4, kind::BROKER, "", "log.segment.bytes"), "3000000");
    }
}

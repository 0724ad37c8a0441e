//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources.

use kafka_protocol::messages::alter_configs_request::{
    AlterConfigsRequest, AlterConfigsResource as Replaced, AlterableConfig as ReplacedKey,
};
use kafka_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::list_config_resources_request::ListConfigResourcesRequest;

use super::{Cases, Draw, create, text};
use crate::talk::Talk;

pub const CASES: Cases = &[
    ("configs: described", described),
    ("configs: changed one by one", changed),
    ("configs: replaced", replaced),
    ("configs: resources listed", listed),
];

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn described(talk: &mut Talk, _: &mut Draw) {
    create(talk, "configs", 1, &[("cleanup.policy", "compact")]);
    for version in 1..=4 {
        let resources = [
            (TOPIC, "configs"),
            (TOPIC, "configs-none"),
            (TOPIC, ""),
            (BROKER, "abc"),
            (BROKER, "2"),
            (GROUP, "configs-group"),
            (GROUP, ""),
            (3, "x"),
            (0, "x"),
        ];
        for (kind, name) in resources {
            for keys in
                [None, Some(vec![text("cleanup.policy"), text("no.such.key")]), Some(Vec::new())]
            {
                for include_synonyms in [true, false] {
                    let resource = DescribeConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(text(name))
                        .with_configuration_keys(keys.clone());
                    let request = DescribeConfigsRequest::default()
                        .with_resources(vec![resource])
                        .with_include_synonyms(include_synonyms);
                    talk.ask(version, &request);
                }
            }
        }
    }
}

/// Describes all configs, after what was changed before has come to every part of the broker.
fn show(talk: &mut Talk, kind: i8, name: &str) {
    let barrier = format!("barrier-{}", talk.steps.len());
    create(talk, &format!("{name}-{barrier}"), 1, &[]);
    let changed = ["retention.ms", "segment.bytes", "cleanup.policy", "compression.type"];
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(changed.map(text).to_vec()));
    talk.ask(4, &DescribeConfigsRequest::default().with_resources(vec![resource]));
}

fn changed(talk: &mut Talk, _: &mut Draw) {
    // Operation: 0 set, 1 delete, 2 append, 3 subtract.
    let changes: [(&str, i8, Option<&str>); 18] = [
        ("retention.ms", 0, Some("5000")),
        ("retention.ms", 0, Some("x")),
        ("retention.ms", 0, None),
        ("retention.ms", 1, None),
        ("retention.ms", 2, Some("5")),
        ("cleanup.policy", 2, Some("compact")),
        ("cleanup.policy", 2, Some("compact")),
        ("cleanup.policy", 3, Some("delete")),
        ("cleanup.policy", 3, Some("absent")),
        ("cleanup.policy", 2, Some("nonsense")),
        ("cleanup.policy", 1, None),
        ("no.such.key", 0, Some("1")),
        ("no.such.key", 1, None),
        ("", 0, Some("1")),
        ("retention.ms", 4, Some("1")),
        ("retention.ms", -1, Some("1")),
        ("segment.bytes", 0, Some("1")),
        ("compression.type", 0, Some("zstd")),
    ];
    for version in 0..=1 {
        for (kind, name) in
            [(TOPIC, format!("changed-{version}")), (TOPIC, "changed-none".to_owned())]
        {
            if name != "changed-none" {
                create(talk, &name, 1, &[]);
            }
            for validate_only in [true, false] {
                for (key, operation, value) in changes {
                    let config = AlterableConfig::default()
                        .with_name(text(key))
                        .with_config_operation(operation)
                        .with_value(value.map(text));
                    let resource = AlterConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(text(&name))
                        .with_configs(vec![config]);
                    let request = IncrementalAlterConfigsRequest::default()
                        .with_resources(vec![resource])
                        .with_validate_only(validate_only);
                    talk.ask(version, &request);
                }
                show(talk, kind, &name);
            }
        }
        let group = format!("changed-group-{version}");
        for (key, value) in [
            ("consumer.session.timeout.ms", "50000"),
            ("consumer.session.timeout.ms", "1"),
            ("consumer.heartbeat.interval.ms", "6000"),
            ("consumer.no.such", "1"),
        ] {
            let config =
                AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
            let resource = AlterConfigsResource::default()
                .with_resource_type(GROUP)
                .with_resource_name(text(&group))
                .with_configs(vec![config]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            talk.ask(version, &request);
        }
    }
}

fn replaced(talk: &mut Talk, _: &mut Draw) {
    for version in 0..=2 {
        let name = format!("replaced-{version}");
        create(talk, &name, 1, &[]);
        let sets: [&[(&str, Option<&str>)]; 6] = [
            &[("retention.ms", Some("7000")), ("segment.bytes", Some("2000000"))],
            &[("retention.ms", Some("8000"))],
            &[("retention.ms", Some("x"))],
            &[("retention.ms", None)],
            &[("no.such.key", Some("1"))],
            &[],
        ];
        for set in sets {
            let configs = set
                .iter()
                .map(|(key, value)| {
                    ReplacedKey::default().with_name(text(key)).with_value(value.map(text))
                })
                .collect();
            let resource = Replaced::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(&name))
                .with_configs(configs);
            talk.ask(version, &AlterConfigsRequest::default().with_resources(vec![resource]));
            show(talk, TOPIC, &name);
        }
    }
}

fn listed(talk: &mut Talk, _: &mut Draw) {
    talk.ask(0, &ListConfigResourcesRequest::default());
    for kinds in [vec![GROUP], vec![16], vec![1], vec![BROKER]] {
        talk.ask(1, &ListConfigResourcesRequest::default().with_resource_types(kinds));
    }
}

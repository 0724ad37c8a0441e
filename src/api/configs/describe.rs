//! DescribeConfigs: every key of a resource with its value, source, synonyms, type and meaning.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{ApiKey, DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::Resource;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::{Code, Fault};
use crate::base::settings::{
    BrokerConfig, Described, Entry, Kind, Source, Spec, describe_broker, describe_dynamic_default,
    describe_group, describe_role, describe_topic_defaults,
};
use crate::catalog::{BrokerScope, Catalog, Configs};

/// v1 source and synonyms instead of a default flag. v2 as v1. v3 type and documentation.
/// v4 flexible.
pub struct DescribeConfigs;

impl Endpoint for DescribeConfigs {
    const KEY: ApiKey = ApiKey::DescribeConfigs;
    const VERSIONS: RangeInclusive<i16> = 1..=4;
    type Request = DescribeConfigsRequest;
    type Response = DescribeConfigsResponse;

    fn begin(cx: &mut Cx<'_>, request: DescribeConfigsRequest) -> Begun<DescribeConfigsResponse> {
        let catalog = cx.services.metadata.catalog();
        let describer = Describer::new(&catalog, cx.services.defaults.current(&catalog), &request);
        let mut results = describer.results(&request);
        if cx.version < 3 {
            // There is no such field to be null.
            let configs = results.iter_mut().flat_map(|result| &mut result.configs);
            configs.for_each(|config| config.documentation = Some(StrBytes::default()));
        }
        Begun::Done(DescribeConfigsResponse::default().with_results(results))
    }
}

/// Describes resources of one catalog snapshot.
pub(super) struct Describer<'a> {
    catalog: &'a Catalog,
    broker: BrokerConfig,
    topic_defaults: Vec<Described>,
    synonyms: bool,
    documentation: bool,
}

impl<'a> Describer<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        broker: BrokerConfig,
        request: &DescribeConfigsRequest,
    ) -> Self {
        Self {
            topic_defaults: describe_topic_defaults(&broker),
            catalog,
            broker,
            synonyms: request.include_synonyms,
            documentation: request.include_documentation,
        }
    }

    /// One result per resource. Kafka describes a resource as often as it is named; here it is
    /// refused the second time, because ten bytes of request would buy ten kilobytes of answer.
    pub(super) fn results(&self, request: &DescribeConfigsRequest) -> Vec<DescribeConfigsResult> {
        let mut seen = BTreeSet::new();
        let one = |asked: &DescribeConfigsResource| {
            let described = match seen.insert((asked.resource_type, asked.resource_name.clone())) {
                true => self.describe(asked),
                false => Err(super::named_twice()),
            };
            self.result(asked, described)
        };
        request.resources.iter().map(one).collect()
    }

    fn result(
        &self,
        asked: &DescribeConfigsResource,
        described: Result<Vec<Described>, Fault>,
    ) -> DescribeConfigsResult {
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        match described {
            Ok(described) => {
                let wanted = |d: &&Described| is_wanted(asked, d.spec.name);
                let configs = described.iter().filter(wanted).map(|d| self.config(d)).collect();
                result.with_error_message(Some(StrBytes::default())).with_configs(configs)
            }
            Err(fault) => result
                .with_error_code(fault.code())
                .with_error_message(Some(text(fault.message().unwrap_or_default()))),
        }
    }

    fn describe(&self, asked: &DescribeConfigsResource) -> Result<Vec<Described>, Fault> {
        let node_id = self.catalog.node_id();
        match Resource::of(asked.resource_type, &asked.resource_name, node_id)? {
            Resource::Topic(name) => {
                let topic = self.catalog.topic(&name).ok_or(Code::UnknownTopicOrPartition)?;
                let own = self.topic_defaults.iter().map(|d| d.of_topic(&topic.configs));
                Ok(own.chain(topic.role.iter().flat_map(|role| describe_role(role))).collect())
            }
            Resource::Group(group) => {
                let none = Configs::new();
                let own = self.catalog.group_configs(&group).unwrap_or(&none);
                Ok(describe_group(&self.broker, own))
            }
            Resource::Broker(BrokerScope::Cluster) => Ok(describe_dynamic_default(&self.broker)),
            Resource::Broker(BrokerScope::Node(_)) => Ok(describe_broker(&self.broker)),
        }
    }

    fn config(&self, described: &Described) -> DescribeConfigsResourceResult {
        let &Described { spec, source, read_only, .. } = described;
        let mut config = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(spec.name))
            .with_value(described.value.as_deref().map(text))
            .with_read_only(read_only)
            .with_config_source(source_number(source))
            .with_is_sensitive(spec.sensitive)
            .with_config_type(type_number(spec));
        if self.synonyms {
            config.synonyms = described.synonyms.iter().map(synonym).collect();
        }
        config.documentation = self.documentation.then(|| StrBytes::from_static_str(spec.doc));
        config
    }
}

/// No list of keys, or an empty one, asks for all.
fn is_wanted(asked: &DescribeConfigsResource, name: &str) -> bool {
    let keys = asked.configuration_keys.as_deref().unwrap_or_default();
    keys.is_empty() || keys.iter().any(|key| **key == *name)
}

fn synonym(entry: &Entry) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_static_str(entry.key))
        .with_value(Some(text(&entry.value)))
        .with_source(source_number(entry.source))
}

/// Source: `DescribeConfigsResponse.ConfigSource`.
pub(in crate::api) const fn source_number(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::Group => 8,
        Source::DynamicBroker => 2,
        Source::DynamicDefaultBroker => 3,
        Source::Static => 4,
        Source::Default => 5,
    }
}

/// Source: `DescribeConfigsResponse.ConfigType`.
const fn type_number(spec: &Spec) -> i8 {
    match spec.kind {
        Kind::Boolean => 1,
        Kind::String | Kind::TopicName | Kind::Enum(_) => 2,
        Kind::Int(_) => 3,
        Kind::Long(_) => 5,
        Kind::Double { .. } => 6,
        Kind::List { .. } | Kind::ThrottledReplicas | Kind::HeaderAliases => 7,
    }
}

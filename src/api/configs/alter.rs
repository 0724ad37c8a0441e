//! AlterConfigs and IncrementalAlterConfigs. Each resource succeeds or fails by itself and whole;
//! what succeeded is durable and in force when the answer leaves.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiKey, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, alter_configs_request, alter_configs_response,
    incremental_alter_configs_request, incremental_alter_configs_response,
};
use kafka_protocol::protocol::StrBytes;

use super::edit::{Editor, Operation, Wish};
use super::{Resource, named_twice};
use crate::api::Services;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::Fault;
use crate::catalog::Command;

/// v1 as v0. v2 flexible.
pub struct AlterConfigs;

impl Endpoint for AlterConfigs {
    const KEY: ApiKey = ApiKey::AlterConfigs;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    type Request = AlterConfigsRequest;
    type Response = AlterConfigsResponse;

    fn begin(cx: &mut Cx<'_>, request: AlterConfigsRequest) -> Begun<AlterConfigsResponse> {
        let named = |r: &alter_configs_request::AlterConfigsResource| Named {
            kind: r.resource_type,
            name: r.resource_name.clone(),
        };
        let plans = plan(cx.services, &request.resources, named, |editor, resource, asked| {
            let configs = asked.configs.iter();
            let wishes: Vec<_> = configs
                .map(|config| Wish::new(&config.name, Operation::Set, config.value.as_deref()))
                .collect();
            editor.replace(resource, &wishes)
        });
        let outcomes = carry_out(cx.services, plans, request.validate_only);
        Begun::later(async move {
            let respond = |(of, fault): (Named, Option<Fault>)| {
                alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(fault.as_ref().map_or(0, Fault::code))
                    .with_error_message(message(fault.as_ref()))
                    .with_resource_type(of.kind)
                    .with_resource_name(of.name)
            };
            let responses = outcomes.await.into_iter().map(respond).collect();
            AlterConfigsResponse::default().with_responses(responses)
        })
    }
}

/// v1 flexible.
pub struct IncrementalAlterConfigs;

impl Endpoint for IncrementalAlterConfigs {
    const KEY: ApiKey = ApiKey::IncrementalAlterConfigs;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    type Request = IncrementalAlterConfigsRequest;
    type Response = IncrementalAlterConfigsResponse;

    fn begin(
        cx: &mut Cx<'_>,
        request: IncrementalAlterConfigsRequest,
    ) -> Begun<IncrementalAlterConfigsResponse> {
        let named = |r: &incremental_alter_configs_request::AlterConfigsResource| Named {
            kind: r.resource_type,
            name: r.resource_name.clone(),
        };
        let plans = plan(cx.services, &request.resources, named, |editor, resource, asked| {
            let wishes: Result<Vec<_>, Fault> = asked
                .configs
                .iter()
                .map(|config| {
                    let operation = Operation::from_number(config.config_operation)?;
                    Ok(Wish::new(&config.name, operation, config.value.as_deref()))
                })
                .collect();
            editor.merge(resource, &wishes?)
        });
        let outcomes = carry_out(cx.services, plans, request.validate_only);
        Begun::later(async move {
            let respond = |(of, fault): (Named, Option<Fault>)| {
                incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(fault.as_ref().map_or(0, Fault::code))
                    .with_error_message(message(fault.as_ref()))
                    .with_resource_type(of.kind)
                    .with_resource_name(of.name)
            };
            let responses = outcomes.await.into_iter().map(respond).collect();
            IncrementalAlterConfigsResponse::default().with_responses(responses)
        })
    }
}

/// A resource as a request names it and its answer repeats it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    kind: i8,
    name: StrBytes,
}

/// What is to be done for one resource, or why nothing is.
type Plan = (Named, Result<Command, Fault>);

fn plan<R>(
    services: &Services,
    resources: &[R],
    named: impl Fn(&R) -> Named,
    command: impl Fn(&Editor, Resource, &R) -> Result<Command, Fault>,
) -> Vec<Plan> {
    let catalog = services.metadata.catalog();
    let editor = Editor { broker: services.defaults.current(&catalog) };
    let mut times = BTreeMap::new();
    for asked in resources {
        *times.entry(named(asked)).or_insert(0) += 1;
    }
    let one = |asked: &R| {
        let of = named(asked);
        if times.get(&of) != Some(&1) {
            return (of, Err(named_twice()));
        }
        let resource = Resource::of(of.kind, &of.name, catalog.node_id());
        let command = resource.and_then(|resource| command(&editor, resource, asked));
        (of, command)
    };
    resources.iter().map(one).collect()
}

/// Starts the work at once, so that requests of one connection take effect in their order; the
/// future only waits.
fn carry_out(
    services: &Services,
    plans: Vec<Plan>,
    validate_only: bool,
) -> impl Future<Output = Vec<(Named, Option<Fault>)>> + Send + 'static {
    let mut commands = Vec::new();
    let mut answers = Vec::with_capacity(plans.len());
    for (of, command) in plans {
        let fault = match command {
            Ok(command) if validate_only => services.metadata.check(&command).err(),
            Ok(command) => {
                commands.push((answers.len(), command));
                None
            }
            Err(fault) => Some(fault),
        };
        answers.push((of, fault));
    }
    let (submitted, commands): (Vec<usize>, Vec<Command>) = commands.into_iter().unzip();
    let pending = (!commands.is_empty()).then(|| services.metadata.submit(commands));
    async move {
        let Some(pending) = pending else { return answers };
        let outcomes = pending.wait().await;
        for (nth, index) in submitted.into_iter().enumerate() {
            answers[index].1 = match &outcomes {
                Ok(outcomes) => outcomes.get(nth).and_then(|outcome| outcome.clone().err()),
                Err(fault) => Some(fault.clone()),
            };
        }
        answers
    }
}

fn message(fault: Option<&Fault>) -> Option<StrBytes> {
    fault.and_then(Fault::message).map(text)
}

//! ListConfigResources: which resources have configs that can be described.

use std::ops::RangeInclusive;

use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ApiKey, ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;

use super::kind;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::{Code, Fault};
use crate::catalog::Catalog;

const KINDS: [i8; 5] =
    [kind::TOPIC, kind::BROKER, kind::BROKER_LOGGER, kind::CLIENT_METRICS, kind::GROUP];

/// v0 client metrics alone. v1 the types that are asked for; none is all.
pub struct ListConfigResources;

impl Endpoint for ListConfigResources {
    const KEY: ApiKey = ApiKey::ListConfigResources;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    type Request = ListConfigResourcesRequest;
    type Response = ListConfigResourcesResponse;

    fn begin(
        cx: &mut Cx<'_>,
        request: ListConfigResourcesRequest,
    ) -> Begun<ListConfigResourcesResponse> {
        let kinds = match cx.version {
            0 => &[kind::CLIENT_METRICS][..],
            _ if request.resource_types.is_empty() => &KINDS,
            _ => &request.resource_types,
        };
        let response = ListConfigResourcesResponse::default();
        Begun::Done(match list(&cx.services.metadata.catalog(), kinds) {
            Ok(resources) => response.with_config_resources(resources),
            Err(fault) => response.with_error_code(fault.code()),
        })
    }
}

/// Resources of these types; of groups those that have configs of their own. Types that have
/// nothing here are known and empty.
pub(super) fn list(catalog: &Catalog, kinds: &[i8]) -> Result<Vec<ConfigResource>, Fault> {
    if kinds.iter().any(|kind| !KINDS.contains(kind)) {
        return Err(Code::UnsupportedVersion.into());
    }
    let resource = |kind: i8, name: StrBytes| {
        ConfigResource::default().with_resource_type(kind).with_resource_name(name)
    };
    let mut resources = Vec::new();
    if kinds.contains(&kind::BROKER) {
        resources.push(resource(kind::BROKER, text(&catalog.node_id().to_string())));
    }
    if kinds.contains(&kind::TOPIC) {
        resources.extend(catalog.topics().map(|topic| resource(kind::TOPIC, text(&topic.name))));
    }
    if kinds.contains(&kind::GROUP) {
        let groups = catalog.configured_groups();
        resources.extend(groups.map(|group| resource(kind::GROUP, text(group))));
    }
    Ok(resources)
}

//! DescribeCluster: the brokers and who controls them, for admin clients.

use std::ops::RangeInclusive;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{ApiKey, BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::endpoint::{Begun, Cx, Endpoint};
use super::metadata::{ALL_CLUSTER_OPERATIONS, UNASKED_OPERATIONS};
use super::text;
use crate::base::fault::{Code, Fault};

/// Endpoint types of the request.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// v1 endpoint type (KIP-919): brokers here, controllers nowhere. v2 fenced brokers (KIP-1073):
/// there are none.
pub struct DescribeCluster;

impl Endpoint for DescribeCluster {
    const KEY: ApiKey = ApiKey::DescribeCluster;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    type Request = DescribeClusterRequest;
    type Response = DescribeClusterResponse;

    fn begin(cx: &mut Cx<'_>, request: DescribeClusterRequest) -> Begun<DescribeClusterResponse> {
        Begun::Done(match check_type(request.endpoint_type) {
            Ok(()) => describe(cx, request.include_cluster_authorized_operations),
            Err(fault) => DescribeClusterResponse::default()
                .with_error_code(fault.code())
                .with_error_message(fault.message().map(text)),
        })
    }
}

fn check_type(endpoint_type: i8) -> Result<(), Fault> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => {
            let message = "This listener belongs to a broker, not to a controller.";
            Err(Fault::with(Code::MismatchedEndpointType, message))
        }
        other => {
            let message = format!("Endpoint type {other} is unknown.");
            Err(Fault::with(Code::UnsupportedEndpointType, message))
        }
    }
}

fn describe(cx: &Cx<'_>, operations: bool) -> DescribeClusterResponse {
    let listener = &cx.connection.listener;
    let node = &cx.services.node;
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(node.node_id))
        .with_host(text(&listener.advertised_host))
        .with_port(i32::from(listener.advertised_port))
        .with_rack(cx.services.settings.broker_rack.as_deref().map(text));
    DescribeClusterResponse::default()
        .with_cluster_id(text(&node.cluster_id))
        .with_controller_id(BrokerId(node.node_id))
        .with_brokers(vec![broker])
        .with_cluster_authorized_operations(if operations {
            ALL_CLUSTER_OPERATIONS
        } else {
            UNASKED_OPERATIONS
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kit::{Kit, NODE};

    #[test]
    fn every_version_tells_the_broker() {
        let mut kit = Kit::with(&[("broker.rack", "r1")]);
        for version in DescribeCluster::VERSIONS {
            let asked = DescribeClusterRequest::default();
            let response = kit.ask::<DescribeCluster>(version, &asked);
            assert_eq!((response.error_code, response.controller_id), (0, NODE));
            assert_eq!(&response.cluster_id[..], "MkU3OEVBNTcwNTJENDM2Qg");
            assert_eq!(response.cluster_authorized_operations, i32::MIN);
            let broker = &response.brokers[0];
            assert_eq!((broker.broker_id, broker.port, broker.is_fenced), (NODE, 9092, false));
            assert_eq!(broker.rack.as_deref(), Some("r1"));
        }
    }

    #[test]
    fn operations_are_told_when_asked_for() {
        let asked =
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let response = Kit::new().ask::<DescribeCluster>(0, &asked);
        assert_eq!(response.cluster_authorized_operations, 8096);
    }

    #[test]
    fn controllers_are_not_found_here() {
        let mut kit = Kit::new();
        for (endpoint_type, code) in
            [(2, Code::MismatchedEndpointType), (3, Code::UnsupportedEndpointType)]
        {
            let asked = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
            let response = kit.ask::<DescribeCluster>(1, &asked);
            assert_eq!(response.error_code, code.code());
            assert_eq!((response.controller_id.0, response.brokers.len()), (-1, 0));
        }
    }
}

//! InitProducerId (key 22): an id for an idempotent producer.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0 | | |
//! | 2 | flexible | |
//! | 3 | producer id and epoch that the producer has (KIP-360) | checked for shape; a new id all the same |
//! | 4 | PRODUCER_FENCED | only ever for transactional ids |
//! | 5 | | |
//! | 6 | two-phase commit (KIP-939), unstable | not served |
//!
//! A producer without a transactional id always gets a fresh id at epoch 0, as in Kafka: it bumps
//! its epoch by itself.

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::endpoint::{Begun, Cx, Endpoint};
use super::topics;
use crate::base::fault::Code;
use crate::base::metrics::Metrics;

/// The API itself.
pub struct InitProducerId;

impl Endpoint for InitProducerId {
    const KEY: ApiKey = ApiKey::InitProducerId;
    const VERSIONS: std::ops::RangeInclusive<i16> = 0..=5;
    type Request = InitProducerIdRequest;
    type Response = InitProducerIdResponse;

    fn begin(cx: &mut Cx<'_>, request: InitProducerIdRequest) -> Begun<InitProducerIdResponse> {
        if let Some(code) = refusal(&cx.services.metrics, &request) {
            return Begun::Done(refused(code));
        }
        let services = Arc::clone(cx.services);
        match services.producer_ids.try_next() {
            Some(id) => Begun::Done(granted(id)),
            None => Begun::blocking(move || match services.producer_ids.next() {
                Ok(id) => granted(id),
                Err(error) => {
                    tracing::error!(%error, "no block of producer ids can be reserved");
                    // The one code on which every producer just asks again.
                    refused(Code::CoordinatorLoadInProgress)
                }
            }),
        }
    }
}

fn refusal(metrics: &Metrics, request: &InitProducerIdRequest) -> Option<Code> {
    let id_is_set = request.producer_id.0 != -1;
    let epoch_is_set = request.producer_epoch != -1;
    match &request.transactional_id {
        _ if id_is_set != epoch_is_set => Some(Code::InvalidRequest),
        Some(id) if id.is_empty() => Some(Code::InvalidRequest),
        Some(id) => Some(topics::refuse_transactional(metrics, id).kind()),
        None => None,
    }
}

fn granted(id: i64) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0)
}

fn refused(code: Code) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TransactionalId;

    use super::*;

    fn request(id: i64, epoch: i16) -> InitProducerIdRequest {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch)
    }

    #[test]
    fn id_and_epoch_come_together_or_not_at_all() {
        assert_eq!(refusal(&Metrics::default(), &request(-1, -1)), None);
        assert_eq!(refusal(&Metrics::default(), &request(5, 0)), None);
        assert_eq!(refusal(&Metrics::default(), &request(5, -1)), Some(Code::InvalidRequest));
        assert_eq!(refusal(&Metrics::default(), &request(-1, 3)), Some(Code::InvalidRequest));
    }

    #[test]
    fn a_transactional_id_is_refused_for_good_and_an_empty_one_as_malformed() {
        let named = |name: &str| {
            request(-1, -1).with_transactional_id(Some(TransactionalId(name.to_owned().into())))
        };
        assert_eq!(
            refusal(&Metrics::default(), &named("t")),
            Some(Code::TransactionalIdAuthorizationFailed)
        );
        assert_eq!(refusal(&Metrics::default(), &named("")), Some(Code::InvalidRequest));
    }
}

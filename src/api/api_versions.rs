//! ApiVersions (key 18): the first frame of every client.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0-1 | throttle time from 1 on | |
//! | 3 | flexible body; client software name and version (KIP-511); features (KIP-584) | |
//! | 4 | supported features may have minimum 0 (KAFKA-17492) | left out below 4 |
//! | 5 | cluster and node id (KIP-1242) | not served: behind a port-forward it would disconnect clients |
//! | above | any | error 35 in a v0 body that names this API alone, so that the client tries again |
//!
//! The keys and ranges are those of the API table: what is not served is not advertised.

use std::sync::LazyLock;

use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use super::endpoint::{Begun, Cx, Endpoint, Row, finish};
use super::reply::Outcome;
use crate::base::fault::Code;

/// The API itself.
pub struct ApiVersions;

impl Endpoint for ApiVersions {
    const KEY: ApiKey = ApiKey::ApiVersions;
    const VERSIONS: std::ops::RangeInclusive<i16> = 0..=4;
    type Request = ApiVersionsRequest;
    type Response = ApiVersionsResponse;

    fn begin(cx: &mut Cx<'_>, request: ApiVersionsRequest) -> Begun<ApiVersionsResponse> {
        let (name, version) = (request.client_software_name, request.client_software_version);
        if cx.version >= 3 {
            if !is_software_token(&name) || !is_software_token(&version) {
                return Begun::Done(refusal(Code::InvalidRequest));
            }
            cx.connection.software_name = name.to_string();
            cx.connection.software_version = version.to_string();
        }
        Begun::Done(answer(cx.version, FEATURES))
    }
}

/// The row of the API table.
#[must_use]
pub fn row() -> Row {
    Row { unserved: Some(answer_unserved), ..Row::of::<ApiVersions>() }
}

/// A cluster feature (KIP-584): the levels this broker supports and the one in force.
struct Feature {
    name: &'static str,
    levels: (i16, i16),
    /// 0: not in force.
    finalized_level: i16,
}

/// `group.version` 1 is the consumer protocol (KIP-848). The one feature that clients read,
/// `transaction.version`, comes with transactions.
const FEATURES: &[Feature] =
    &[Feature { name: "group.version", levels: (0, 1), finalized_level: 1 }];

/// Clients take the finalised features as the newest they have seen by this number; below 0 they
/// ignore the list.
const FEATURES_EPOCH: i64 = 0;

static RANGES: LazyLock<Vec<ApiVersion>> = LazyLock::new(|| {
    let mut rows = super::table();
    rows.sort_by_key(|row| row.key as i16);
    rows.iter().map(range_of).collect()
});

fn range_of(row: &Row) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(row.key as i16)
        .with_min_version(*row.advertised.start())
        .with_max_version(*row.advertised.end())
}

fn answer(version: i16, features: &[Feature]) -> ApiVersionsResponse {
    let response = ApiVersionsResponse::default().with_api_keys(RANGES.clone());
    if version < 3 {
        return response;
    }
    let supported = features.iter().filter(|f| version >= 4 || f.levels.0 > 0).map(|f| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(f.name))
            .with_min_version(f.levels.0)
            .with_max_version(f.levels.1)
    });
    let finalized = features.iter().filter(|f| f.finalized_level > 0).map(|f| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(f.name))
            .with_min_version_level(f.finalized_level)
            .with_max_version_level(f.finalized_level)
    });
    response
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(FEATURES_EPOCH)
}

fn refusal(code: Code) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_error_code(code.code())
}

/// A version that is not served: its body can not be read, and its client understands v0.
fn answer_unserved(_: &mut Cx<'_>, correlation_id: i32) -> Outcome {
    let own = RANGES.iter().find(|range| range.api_key == ApiKey::ApiVersions as i16);
    let response =
        refusal(Code::UnsupportedVersion).with_api_keys(own.cloned().into_iter().collect());
    Outcome::Now(finish(correlation_id, 0, &response))
}

/// KIP-511: letters and digits, with dots and dashes between them.
fn is_software_token(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    inner && edge(text.bytes().next()) && edge(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_tokens_are_letters_digits_dots_and_dashes_inside() {
        for good in ["librdkafka", "2.15.0", "apache-kafka-java", "x"] {
            assert!(is_software_token(good), "{good}");
        }
        for bad in ["", "-x", "x.", "a b", "a_b", "ä"] {
            assert!(!is_software_token(bad), "{bad}");
        }
    }

    #[test]
    fn every_row_is_advertised_once_and_in_key_order() {
        let keys: Vec<i16> = RANGES.iter().map(|range| range.api_key).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        assert!(keys.contains(&18));
    }

    #[test]
    fn features_follow_the_version_of_the_client() {
        let features = [
            Feature { name: "from.zero", levels: (0, 2), finalized_level: 2 },
            Feature { name: "from.one", levels: (1, 2), finalized_level: 0 },
        ];
        let names = |response: &ApiVersionsResponse| -> Vec<String> {
            response.supported_features.iter().map(|f| f.name.to_string()).collect()
        };
        let v3 = answer(3, &features);
        assert_eq!(names(&v3), ["from.one"]);
        assert_eq!(v3.finalized_features.len(), 1, "level 0 is not in force");
        assert_eq!(v3.finalized_features[0].max_version_level, 2);
        assert!(v3.finalized_features_epoch >= 0);
        assert_eq!(names(&answer(4, &features)), ["from.zero", "from.one"]);
        assert!(names(&answer(2, &features)).is_empty());
    }
}

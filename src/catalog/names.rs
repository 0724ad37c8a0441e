//! Names of topics beyond what `base::topic_name` asks of each by itself: which are the brokers'
//! own, and which collide.

use std::sync::Arc;

use crate::base::fault::{Code, Fault};
use crate::base::topic_name::check_topic_name;

/// Topics that brokers alone write to. Source: Kafka 4.3, `Topic`.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// The log of Kafka's controllers: never a topic that a client may create.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Whether a topic of that name is the brokers' own.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// As [`check_topic_name`], for a topic that a client wants to create.
pub(super) fn check_new_topic_name(name: &str) -> Result<(), Fault> {
    if name == CLUSTER_METADATA {
        let message = format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.");
        return Err(Fault::with(Code::InvalidRequest, message));
    }
    check_topic_name(name)
}

/// Two names with one folded form collide in metric names, where `.` becomes `_`. `None` if the
/// name can collide with no other.
pub(super) fn folded(name: &str) -> Option<Arc<str>> {
    name.contains(['.', '_']).then(|| name.replace('.', "_").into())
}

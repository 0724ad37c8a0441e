//! Names of topics beyond what `base::topic_name` says of each by itself: which collide.

use std::sync::Arc;

use crate::base::fault::{Code, Fault};
use crate::base::topic_name::{CLUSTER_METADATA, check_topic_name};

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

//! What a topic may be called, and which names are the brokers' own. A name becomes a directory
//! name, so nothing else may reach a path.

use super::fault::{Code, Fault};

/// Room for `-<partition>` and `.<uuid>-delete` in a file name of 255 bytes is Kafka's reason.
pub const MAX_NAME_BYTES: usize = 249;

/// Topics that brokers alone write to. Source: Kafka 4.3, `Topic`.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// The log of Kafka's controllers: never a topic that a client may create.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Whether a topic of that name is the brokers' own.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Kafka's rules: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION that says which rule is broken.
pub fn check_topic_name(name: &str) -> Result<(), Fault> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > MAX_NAME_BYTES {
        format!("it has {} bytes, the limit is {MAX_NAME_BYTES}", name.len())
    } else if !name.bytes().all(legal) {
        format!("'{name}' has characters other than ASCII letters and digits, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(Fault::with(Code::InvalidTopicException, format!("Topic name is invalid: {why}")))
}

/// Whether [`check_topic_name`] has nothing to say.
#[must_use]
pub fn is_legal(name: &str) -> bool {
    check_topic_name(name).is_ok()
}

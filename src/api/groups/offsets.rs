//! What the requests about committed offsets have in common.

use std::future::Future;
use std::sync::Arc;

use kafka_protocol::messages::TopicName;

use super::Answered;
use crate::api::text;
use crate::base::fault::{Code, Fault};
use crate::coord::group;
use crate::coord::group::offsets::Reply;

/// Waits for an answer about offsets and takes out what was asked for.
///
/// # Errors
/// The coordinator could not be asked.
pub(super) async fn answered<T>(
    answer: impl Future<Output = Answered>,
    wanted: impl FnOnce(Reply) -> Option<T>,
) -> Result<T, Fault> {
    match answer.await? {
        group::Reply::Offsets(reply) => wanted(reply).ok_or(Code::UnknownServerError.into()),
        _ => Err(Code::UnknownServerError.into()),
    }
}

pub(super) fn name(topic: &TopicName) -> Arc<str> {
    Arc::from(&***topic)
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The number on the wire: 0 for no error.
pub(super) fn code(outcome: Result<(), Code>) -> i16 {
    outcome.err().map_or(0, |code| code.code())
}

//! The seam to the broker: which partitions there are, and what they are asked.

use std::future::Future;
use std::pin::Pin;

use crate::base::ids::TopicPartition;
use crate::delay::clock::Reading;
use crate::delay::query::{Answer, Ask};

/// An answer on its way; `None` if the partition has gone.
pub type Asked = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// A partition by its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub topic: String,
    pub tp: TopicPartition,
}

/// The partitions that are served, as this endpoint asks them.
pub trait Delays: Send + Sync {
    /// All partitions, or those of one topic, in no order.
    fn places(&self, topic: Option<&str>) -> Vec<Place>;

    /// Sends a question at once.
    fn ask(&self, tp: TopicPartition, ask: Ask) -> Asked;

    /// The release clock; `None` unless clients are served.
    fn clock(&self) -> Option<Reading>;

    /// Lets the release clock follow wall time at once, and shows it.
    fn adopt_clock(&self) -> Option<Reading>;
}

//! The seam to the broker: what it is asked about dead letters.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::base::ids::Uuid;
use crate::retry::redrive::{Command, Job};
use crate::retry::view::{DeadTopic, Page, PageAsk, RedriveAsk, Refusal, Skipped, Stuck};

/// An answer on its way.
pub type Answered<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// Dead letters and what is done about them, as this endpoint asks. What changes something goes on
/// though nobody waits for the answer any more.
pub trait DeadLetters: Send + Sync {
    fn topics(&self) -> Answered<Vec<DeadTopic>>;
    fn page(&self, topic: String, ask: PageAsk) -> Answered<Page>;
    fn begin(&self, ask: RedriveAsk) -> Answered<Job>;
    fn jobs(&self) -> Answered<Vec<Job>>;
    /// A job: now, or when its state has changed, or after so long.
    fn job(&self, id: Uuid, patience: Duration) -> Answered<Job>;
    fn command(&self, id: Uuid, command: Command, by: String) -> Answered<Job>;
    fn stuck(&self) -> Answered<Vec<Stuck>>;
    /// Dead-letters the record at which a group stands, and moves the group behind it.
    fn skip(&self, group: String, topic: String, partition: i32) -> Answered<Skipped>;
}

//! A broker without dead letters, for tests of the endpoint's other parts.

use std::time::Duration;

use klamm::base::ids::Uuid;
use klamm::ops::dlq::{Answered, DeadLetters};
use klamm::retry::redrive::{Command, Job};
use klamm::retry::view::{DeadTopic, Page, PageAsk, RedriveAsk, Refusal, Skipped, Stuck};

pub struct NoDeadLetters;

fn nothing<T: Send + 'static>() -> Answered<T> {
    Box::pin(async { Err(Refusal::Unavailable("there is nothing here".into())) })
}

impl DeadLetters for NoDeadLetters {
    fn topics(&self) -> Answered<Vec<DeadTopic>> {
        nothing()
    }

    fn page(&self, _: String, _: PageAsk) -> Answered<Page> {
        nothing()
    }

    fn begin(&self, _: RedriveAsk) -> Answered<Job> {
        nothing()
    }

    fn jobs(&self) -> Answered<Vec<Job>> {
        nothing()
    }

    fn job(&self, _: Uuid, _: Duration) -> Answered<Job> {
        nothing()
    }

    fn command(&self, _: Uuid, _: Command, _: String) -> Answered<Job> {
        nothing()
    }

    fn stuck(&self) -> Answered<Vec<Stuck>> {
        nothing()
    }

    fn skip(&self, _: String, _: String, _: i32) -> Answered<Skipped> {
        nothing()
    }
}

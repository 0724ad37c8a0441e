//! `klamm dlq`: dead letters, the jobs that put them back, and records that hold a group up, over
//! the broker's HTTP endpoint.

mod filter;
mod jobs;
mod letters;
mod poison;

use clap::Subcommand;

use super::exit::Exit;
use super::over_http::OverHttp;

#[derive(Subcommand, Debug)]
pub enum DlqCommand {
    /// List dead-letter topics
    ///
    /// Example: klamm dlq list
    List(OverHttp<letters::List>),
    /// Show dead letters: where they are from, and why they died
    ///
    /// Example: klamm dlq show dlq.billing.orders --reason delivery-limit
    Show(OverHttp<letters::Show>),
    /// Put dead letters back, by default into the retry topic of the group that failed
    ///
    /// Example: klamm dlq redrive dlq.billing.orders --since 2026-01-31T08:00:00Z --wait
    Redrive(OverHttp<jobs::Redrive>),
    /// List redrive jobs, or show one
    ///
    /// Example: klamm dlq jobs
    Jobs(OverHttp<jobs::Jobs>),
    /// Hold a redrive job
    Pause(OverHttp<jobs::OneJob>),
    /// Let a redrive job go on
    Resume(OverHttp<jobs::OneJob>),
    /// End a redrive job; what it has put back stays there
    Cancel(OverHttp<jobs::OneJob>),
    /// List records that groups come back to, generation after generation
    ///
    /// Example: klamm dlq poison
    Poison(OverHttp<poison::List>),
    /// Dead-letter the record at which a group stands, and move the group behind it
    ///
    /// Example: klamm dlq skip billing orders 3
    Skip(OverHttp<poison::Skip>),
}

pub fn run(command: &DlqCommand) -> Exit {
    match command {
        DlqCommand::List(over) => over.run(letters::list),
        DlqCommand::Show(over) => over.run(letters::show),
        DlqCommand::Redrive(over) => over.run(jobs::redrive),
        DlqCommand::Jobs(over) => over.run(jobs::list),
        DlqCommand::Pause(over) => over.run(|at, job| jobs::command(at, job, "pause")),
        DlqCommand::Resume(over) => over.run(|at, job| jobs::command(at, job, "resume")),
        DlqCommand::Cancel(over) => over.run(|at, job| jobs::command(at, job, "cancel")),
        DlqCommand::Poison(over) => over.run(poison::list),
        DlqCommand::Skip(over) => over.run(poison::skip),
    }
}

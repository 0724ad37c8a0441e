//! Rank 6: the command line. What is asked for, in words; what is answered, as text or JSON.
//!
//! `klamm` alone is `klamm serve`. A command either runs to its end here, or is a request to
//! serve, which the composition above answers: nothing here starts a broker.

mod args;
mod client;
mod config;
mod delay;
mod dlq;
mod docs;
pub mod exit;
mod group;
mod http;
pub mod output;
mod over_http;
mod pairs;
mod remote;
mod serve;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod topic;

use std::ffi::OsString;

use clap::Parser;

use args::{Arguments, Command};
use exit::Exit;
pub use serve::Start;

/// What is left to do after the command line was read.
pub enum Action {
    Serve(Box<Start>),
    /// The command is over.
    Done(Exit),
}

/// Reads the command line and runs every command but `serve`.
pub fn run(
    arguments: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Action {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return Action::Done(explain(&error)),
    };
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(options) => match serve::prepare(&options, environment) {
            Ok(start) => Action::Serve(Box::new(start)),
            Err(line) => Action::Done(output::fail(&line, Exit::Usage)),
        },
        Command::Topic { command } => Action::Done(topic::run(&command)),
        Command::Group { command } => Action::Done(group::run(&command)),
        Command::Delay { command } => Action::Done(delay::run(&command)),
        Command::Dlq { command } => Action::Done(dlq::run(&command)),
        Command::Config { command } => Action::Done(config::run(&command)),
    }
}

/// Help and version go to standard output and are a success, mistakes to standard error.
fn explain(error: &clap::Error) -> Exit {
    let written = error.print().is_ok();
    match (error.use_stderr(), written) {
        (true, _) => Exit::Usage,
        (false, true) => Exit::Ok,
        (false, false) => Exit::Failed,
    }
}

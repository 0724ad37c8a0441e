//! `klamm delay`: what waits to be delivered, over the broker's HTTP endpoint.

mod http;
mod pending;
mod sums;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exit::Exit;
use super::output;
use super::remote::{Output, address};
use super::table::Answer;
use http::{Endpoint, HttpError};

#[derive(Subcommand, Debug)]
pub enum DelayCommand {
    /// List topics with what is pending in them
    ///
    /// Example: klamm delay list
    List(OverHttp<sums::List>),
    /// Show what is pending in a topic's partitions
    ///
    /// Example: klamm delay show orders
    Show(OverHttp<sums::Show>),
    /// List pending records in order of delivery
    ///
    /// Example: klamm delay pending orders --id order-4711
    Pending(OverHttp<pending::List>),
    /// Count pending records by the time until they are due
    ///
    /// Example: klamm delay histogram orders
    Histogram(OverHttp<sums::HistogramOf>),
    /// Cancel pending records, by ticket or by id
    ///
    /// Example: klamm delay cancel orders --id order-4711
    Cancel(OverHttp<pending::Cancel>),
}

pub fn run(command: &DelayCommand) -> Exit {
    match command {
        DelayCommand::List(over) => over.run(sums::list),
        DelayCommand::Show(over) => over.run(sums::show),
        DelayCommand::Pending(over) => over.run(pending::list),
        DelayCommand::Histogram(over) => over.run(sums::histogram),
        DelayCommand::Cancel(over) => over.run(pending::cancel),
    }
}

/// A command's own arguments, and those of all commands over HTTP.
#[derive(Args, Debug)]
pub struct OverHttp<T: Args> {
    #[command(flatten)]
    asked: T,
    /// The broker's HTTP address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8092")]
    #[arg(value_parser = address)]
    http: String,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// A table for eyes or JSON for scripts
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl<T: Args> OverHttp<T> {
    fn run(&self, command: impl FnOnce(&Endpoint, &T) -> Result<Answer, HttpError>) -> Exit {
        let endpoint = Endpoint::new(self.http.clone(), Duration::from_secs(self.timeout));
        match command(&endpoint, &self.asked) {
            Ok(answer) => output::print(&answer.shown(self.output)),
            Err(error) => output::fail(&error.to_string(), error.exit()),
        }
    }
}

/// Reads an answer as what it must be.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, HttpError> {
    T::deserialize(value).map_err(|error| {
        HttpError::Refused(format!("the answer is not of this version of klamm: {error}"))
    })
}

//! What all commands have that ask a broker over HTTP: where it is, how long to wait, how to
//! answer.

use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exit::Exit;
use super::http::{Endpoint, HttpError};
use super::output;
use super::remote::{Output, address};
use super::table::Answer;

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
    pub fn run(&self, command: impl FnOnce(&Endpoint, &T) -> Result<Answer, HttpError>) -> Exit {
        let endpoint = Endpoint::new(self.http.clone(), Duration::from_secs(self.timeout));
        match command(&endpoint, &self.asked) {
            Ok(answer) => output::print(&answer.shown(self.output)),
            Err(error) => output::fail(&error.to_string(), error.exit()),
        }
    }
}

/// Reads an answer as what it must be.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, HttpError> {
    T::deserialize(value).map_err(|error| {
        HttpError::Refused(format!("the answer is not of this version of klamm: {error}"))
    })
}

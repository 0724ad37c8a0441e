//! What all commands have that ask a broker: where it is, how long to wait, how to answer.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::client::{Client, ClientError};
use super::exit::Exit;
use super::output;
use super::table::Answer;
use crate::base::env::Env;

/// A command's own arguments, and those of all commands.
#[derive(Args, Debug)]
pub struct Remote<T: Args> {
    #[command(flatten)]
    asked: T,
    /// A broker of the cluster; several, separated by commas, are tried in turn
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    #[arg(value_delimiter = ',', value_parser = address)]
    bootstrap_server: Vec<String>,
    /// How long to try before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// A table for eyes or JSON for scripts
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

impl Answer {
    /// As it is printed.
    pub fn shown(self, output: Output) -> String {
        match output {
            Output::Table => self.text,
            Output::Json => format!("{:#}\n", self.json),
        }
    }
}

impl<T: Args> Remote<T> {
    /// Runs a command and prints its answer.
    pub fn run(
        &self,
        command: impl FnOnce(&mut Client, &T) -> Result<Answer, ClientError>,
    ) -> Exit {
        let patience = Duration::from_secs(self.timeout);
        let mut client = Client::new(self.bootstrap_server.clone(), patience, Env::system());
        match command(&mut client, &self.asked) {
            Ok(answer) => output::print(&answer.shown(self.output)),
            Err(error) => output::fail(&error.to_string(), error.exit()),
        }
    }
}

/// Reads `HOST:PORT`.
pub fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(1..)) => Ok(text.to_owned()),
        _ => Err("must be HOST:PORT".to_owned()),
    }
}

//! The shape of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::config::ConfigCommand;
use super::delay::DelayCommand;
use super::dlq::DlqCommand;
use super::group::GroupCommand;
use super::topic::TopicCommand;

/// A message broker that speaks Kafka's protocol.
#[derive(Parser, Debug)]
#[command(name = "klamm", version, args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) serve: ServeOptions,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run the broker; what `klamm` alone does
    Serve(ServeOptions),
    /// Topics and their partitions
    Topic {
        #[command(subcommand)]
        command: TopicCommand,
    },
    /// Consumer groups and their offsets
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Delayed records that wait for their time, over HTTP
    Delay {
        #[command(subcommand)]
        command: DelayCommand,
    },
    /// Dead letters, what puts them back, and records that hold a group up, over HTTP
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Configs of topics, brokers and groups
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

/// Options of `klamm serve`. Each stands for a key of the settings table.
#[derive(Args, Debug, Default)]
pub(super) struct ServeOptions {
    /// A properties file with Kafka's keys
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Set one key; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
    /// Where to serve Kafka's protocol (listeners); port 0 is a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<String>,
    /// Where clients are told to connect to (advertised.listeners)
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) advertise: Option<String>,
    /// Where to serve HTTP (http.listeners); empty for nowhere
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) http: Option<String>,
    /// Where data is kept (log.dirs)
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<String>,
    /// How log lines look: text or json (logging.format)
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
}

/// How a command's answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Markdown,
    Json,
}

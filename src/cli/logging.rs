//! Log lines to standard error, for people or as JSON.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::base::settings::{LogFormat, Settings};

/// Starts logging; once per process, later calls change nothing. Other crates are heard from
/// `warn` up.
pub fn start(settings: &Settings) {
    let filter = EnvFilter::new(format!("warn,klamm={}", settings.logging_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error says that logging was started before.
    let _ = match settings.logging_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

//! Log output on standard error: lines for people, or one JSON object per event.

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;

use crate::base::settings::LogFormat;

/// Starts logging for the whole process. `filter` is a level (`info`) or directives by module
/// (`klamm::server=debug,warn`).
///
/// # Errors
/// A sentence, if the filter can't be read or logging was started before.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| format!("log filter {filter}: {error}"))?;
    let base = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => base.with_ansi(is_terminal()).try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

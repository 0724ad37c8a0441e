//! `klamm serve`: from options, environment and file to settings.

use std::ffi::OsString;

use crate::base::settings::{BrokerConfig, Given, Settings, load};

use super::args::ServeOptions;

/// All that the composition needs to start a broker.
#[derive(Debug)]
pub struct Start {
    pub settings: Settings,
    /// The text values behind the settings, which topics' defaults and `DescribeConfigs` need.
    pub config: BrokerConfig,
    /// To be logged once logging works; one line each.
    pub warnings: Vec<String>,
}

/// Reads every source. An error is one line for the operator.
pub(super) fn prepare(
    options: &ServeOptions,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Start, String> {
    let given = Given {
        flags: flags(options),
        overrides: options.overrides.clone(),
        environment: environment
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        file: read_file(options)?,
    };
    let loaded = load(&given).map_err(|e| e.to_string())?;
    let settings = Settings::resolve(&loaded.config).map_err(|e| e.to_string())?;
    Ok(Start { settings, config: loaded.config, warnings: loaded.warnings })
}

/// The flags that were given, each with the key that it stands for.
fn flags(options: &ServeOptions) -> Vec<(&'static str, &'static str, String)> {
    // Written out, because this is what DescribeConfigs shows.
    let listen = options.listen.as_ref().map(|address| format!("PLAINTEXT://{address}"));
    [
        ("--listen", "listeners", &listen),
        ("--advertise", "advertised.listeners", &options.advertise),
        ("--http", "http.listeners", &options.http),
        ("--data-dir", "log.dirs", &options.data_dir),
        ("--log-format", "logging.format", &options.log_format),
    ]
    .into_iter()
    .filter_map(|(flag, key, value)| Some((flag, key, value.clone()?)))
    .collect()
}

fn read_file(options: &ServeOptions) -> Result<Option<(String, String)>, String> {
    let Some(path) = &options.config else { return Ok(None) };
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((name, text))),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

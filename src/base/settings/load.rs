//! From flags, `--override`, environment and `server.properties` to checked text values.
//!
//! Precedence falls in that order; each source is checked whole, even where a stronger one
//! hides it, because a mistake in a file should show on the day it is made.

use super::layers::{BrokerConfig, Overrides};
use super::properties;
use super::{SettingsError, all_broker_keys, broker_key, closest, foreign, shown};

/// Prefix of the environment variables that set keys.
const PREFIX: &str = "KLAMM_";

/// What the outside gives, unread.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Keys that a flag of their own stands for: flag, key, value.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// `key=value` of each `--override`.
    pub overrides: Vec<String>,
    /// Environment variables; those without `KLAMM_` in front are none of ours.
    pub environment: Vec<(String, String)>,
    /// Name and text of the properties file.
    pub file: Option<(String, String)>,
}

/// Checked values, and what the operator should hear about them.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: BrokerConfig,
    /// One line each.
    pub warnings: Vec<String>,
}

/// Reads every source.
///
/// # Errors
/// The first unknown key or bad value, as one line that says where it stands.
pub fn load(given: &Given) -> Result<Loaded, SettingsError> {
    let mut loaded = Loaded::default();
    let statics = &mut loaded.config.statics;
    if let Some((name, text)) = &given.file {
        loaded.warnings.extend(read_file(statics, name, text)?);
    }
    for (variable, value) in &given.environment {
        if let Some(key) = variable.strip_prefix(PREFIX).filter(|name| !is_injected(name)) {
            set_variable(statics, key, value).map_err(|e| e.at("environment"))?;
        }
    }
    for text in &given.overrides {
        set_override(statics, text).map_err(|e| e.at("--override"))?;
    }
    for (flag, key, value) in &given.flags {
        set(statics, key, value).map_err(|e| e.at(*flag))?;
    }
    Ok(loaded)
}

/// Takes a file's values; returns a warning that lists what was left out.
fn read_file(
    statics: &mut Overrides,
    name: &str,
    text: &str,
) -> Result<Option<String>, SettingsError> {
    let read = properties::parse(text);
    let read = read.map_err(|e| SettingsError::Refused(e.to_string()).at(name))?;
    let mut left_out = Vec::new();
    for property in read {
        let known = broker_key(&property.key).is_some();
        if !known && foreign::is_foreign(&property.key) {
            left_out.push(shown(&property.key));
            continue;
        }
        set(statics, &property.key, &property.value)
            .map_err(|e| e.at(format!("{name}:{}", property.line)))?;
    }
    let warning = || format!("{name}: keys of Kafka without effect here: {}", left_out.join(", "));
    Ok((!left_out.is_empty()).then(warning))
}

fn set_override(statics: &mut Overrides, text: &str) -> Result<(), SettingsError> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(SettingsError::Refused(format!("'{}' is not key=value", shown(text))));
    };
    set(statics, key.trim(), value)
}

fn set_variable(statics: &mut Overrides, name: &str, value: &str) -> Result<(), SettingsError> {
    match all_broker_keys().find(|spec| variable(spec.name) == name) {
        Some(spec) => set(statics, spec.name, value),
        None => {
            let names: Vec<String> = all_broker_keys().map(|spec| variable(spec.name)).collect();
            Err(SettingsError::Unknown {
                what: "variable",
                name: shown(&format!("{PREFIX}{name}")),
                value: shown(value),
                closest: format!("{PREFIX}{}", closest(name, names.iter().map(String::as_str))),
            })
        }
    }
}

fn set(statics: &mut Overrides, key: &str, value: &str) -> Result<(), SettingsError> {
    let Some(spec) = broker_key(key) else {
        if foreign::is_protective(key) {
            let message = format!("{key} is not served: take it out to run without access control");
            return Err(SettingsError::Refused(message));
        }
        return Err(SettingsError::unknown_broker_key(key, value));
    };
    spec.check(value)?;
    statics.insert(spec.name.to_owned(), value.trim().to_owned());
    Ok(())
}

/// A key as the rest of a variable's name.
fn variable(key: &str) -> String {
    key.replace('.', "_").to_ascii_uppercase()
}

/// Variables that container platforms set for a service that happens to be called klamm.
fn is_injected(name: &str) -> bool {
    name == "PORT" || ["SERVICE_", "PORT_"].iter().any(|start| name.starts_with(start))
}

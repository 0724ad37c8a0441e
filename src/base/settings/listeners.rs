//! Addresses: `HOST:PORT`, and Kafka's `NAME://HOST:PORT` lists.
//!
//! Files written for a Kafka node of combined roles name a controller listener too; such names
//! are left out. Only the protocol PLAINTEXT is served, and asking for another one is refused
//! rather than ignored: a listener that was meant to be encrypted must not come up open.

use std::collections::BTreeMap;
use std::fmt;

use super::layers::Reader;
use super::{SettingsError, shown};

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// A host name or address with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Without brackets; empty is every interface.
    pub host: String,
    /// 0 is one that the system chooses.
    pub port: u16,
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            Some(host) => host,
            None if host.contains([':', '[', ']', '/']) => return None,
            None => host,
        };
        Some(Self { host: host.into(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// An address that Kafka's protocol is served on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, unique.
    pub name: String,
    pub bind: Address,
    /// What clients are told; `None`: where it is bound. Port 0 is the bound port.
    pub advertised: Option<Address>,
}

/// The Kafka listeners, at least one.
pub(super) fn kafka(read: &Reader) -> Result<Vec<Listener>, SettingsError> {
    let controllers = read.list("controller.listener.names");
    let is_served = |name: &str| !controllers.iter().any(|c| c.eq_ignore_ascii_case(name));
    let mut listeners: Vec<Listener> = Vec::new();
    for entry in read.list("listeners") {
        let (name, bind) = named("listeners", &entry, "PLAINTEXT")?;
        if !is_served(&name) {
            continue;
        }
        if listeners.iter().any(|l| l.name == name) {
            return Err(refuse("listeners", &entry, "names must differ"));
        }
        require_plaintext(&name, &protocols(read)?)?;
        listeners.push(Listener { name, bind, advertised: None });
    }
    let Some(first) = listeners.first().map(|l| l.name.clone()) else {
        return Err(SettingsError::Refused("listeners: at least one must be served".into()));
    };
    for entry in read.list("advertised.listeners") {
        let (name, address) = named("advertised.listeners", &entry, &first)?;
        let of_name = listeners.iter_mut().find(|l| l.name == name);
        match of_name {
            _ if ["", "0.0.0.0", "::"].contains(&address.host.as_str()) => {
                let why = "clients need a host that they can connect to";
                return Err(refuse("advertised.listeners", &entry, why));
            }
            Some(listener) => listener.advertised = Some(address),
            None if is_served(&name) => {
                let why = "no such name among listeners";
                return Err(refuse("advertised.listeners", &entry, why));
            }
            None => {}
        }
    }
    Ok(listeners)
}

/// The addresses of the HTTP server; may be none.
pub(super) fn http(read: &Reader) -> Result<Vec<Address>, SettingsError> {
    let parse = |entry: &String| {
        let address = entry.strip_prefix("http://").unwrap_or(entry);
        Address::parse(address).ok_or_else(|| refuse("http.listeners", entry, "must be HOST:PORT"))
    };
    read.list("http.listeners").iter().map(parse).collect()
}

/// `NAME://HOST:PORT`, or `HOST:PORT` for the given name.
fn named(key: &str, entry: &str, otherwise: &str) -> Result<(String, Address), SettingsError> {
    let (name, address) = entry.split_once("://").unwrap_or((otherwise, entry));
    match Address::parse(address) {
        Some(address) if !name.is_empty() => Ok((name.to_ascii_uppercase(), address)),
        _ => Err(refuse(key, entry, "must be NAME://HOST:PORT")),
    }
}

fn protocols(read: &Reader) -> Result<BTreeMap<String, String>, SettingsError> {
    let key = "listener.security.protocol.map";
    let text = read.text(key);
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parse = |entry: &str| match entry.split_once(':') {
        Some((name, protocol)) => Ok((name.to_ascii_uppercase(), protocol.to_ascii_uppercase())),
        None => Err(refuse(key, entry, "must be NAME:PROTOCOL")),
    };
    entries.map(parse).collect()
}

fn require_plaintext(name: &str, map: &BTreeMap<String, String>) -> Result<(), SettingsError> {
    let own = PROTOCOLS.contains(&name).then_some(name);
    match map.get(name).map(String::as_str).or(own) {
        Some("PLAINTEXT") => Ok(()),
        Some(other) => Err(SettingsError::Refused(format!(
            "listeners: {} asks for {}, but only PLAINTEXT is served",
            shown(name),
            shown(other)
        ))),
        None => Err(SettingsError::Refused(format!(
            "listeners: {} has no protocol in listener.security.protocol.map",
            shown(name)
        ))),
    }
}

fn refuse(key: &str, value: &str, why: &str) -> SettingsError {
    SettingsError::Refused(format!("invalid entry '{}' of {key}: {why}", shown(value)))
}

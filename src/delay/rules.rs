//! What a topic's configs ask of the command headers on its records.

use super::headers::{self, Name};
use crate::base::settings::DelaySettings;
use crate::wire::records::Header;

/// Rules of reading commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayRules {
    /// `delay.enable`. Without it every command is refused.
    pub enabled: bool,
    /// `delay.max.ms`: how far a due time may lie ahead.
    pub max_ms: i64,
    /// `delay.unknown.headers=reject`
    pub refuse_unknown: bool,
    /// `delay.header.aliases`: foreign names and what they stand for.
    pub aliases: Vec<(Box<[u8]>, Name)>,
}

impl DelayRules {
    #[must_use]
    pub fn of(settings: &DelaySettings) -> Self {
        let alias = |(foreign, canonical): &(String, String)| {
            let name = headers::name(canonical.as_bytes())?;
            Some((foreign.as_bytes().into(), name))
        };
        Self {
            enabled: settings.enable,
            max_ms: settings.max_ms,
            refuse_unknown: !settings.ignore_unknown_headers,
            aliases: settings.header_aliases.iter().filter_map(alias).collect(),
        }
    }

    /// Whether a header of a produced record is none of the application's own.
    #[inline]
    #[must_use]
    pub fn concerns(&self, key: &[u8]) -> bool {
        headers::is_member(key) || !self.aliases.is_empty() && self.is_alias(key)
    }

    /// What a header of a produced record is, or nothing if it is the application's own.
    #[must_use]
    pub fn name(&self, key: &[u8]) -> Option<Name> {
        headers::name(key).or_else(|| self.alias(key))
    }

    /// Whether a foreign header stands for one of the family.
    #[must_use]
    pub fn is_alias(&self, key: &[u8]) -> bool {
        self.alias(key).is_some()
    }

    /// The header under the family's own name, if its name is an alias.
    #[must_use]
    pub fn canonical<'a>(&self, header: Header<'a>) -> Header<'a> {
        let named = |name| headers::KNOWN.iter().find(|(_, known)| *known == name);
        match self.alias(header.key).and_then(named) {
            Some((canonical, _)) => Header { key: canonical.as_bytes(), ..header },
            None => header,
        }
    }

    fn alias(&self, key: &[u8]) -> Option<Name> {
        self.aliases.iter().find(|(foreign, _)| **foreign == *key).map(|(_, name)| *name)
    }
}

//! Jobs in the metadata store.
//!
//! | key | value, version 1 |
//! |---|---|
//! | `redrives/<job id>` | JSON: `version`, then the fields of a job as [`Job`] names them |
//!
//! Ids are lower-case hyphenated UUIDs. A reader refuses versions above its own.

use serde::{Deserialize, Serialize};

use super::Job;
use crate::base::ids::Uuid;

/// Prefix of all keys.
pub const PREFIX: &str = "redrives/";

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    job: &'a Job,
}

/// A job that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("written by a newer release (version {0}, known are {VERSION})")]
    Newer(u32),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[must_use]
pub fn key(id: Uuid) -> String {
    format!("{PREFIX}{id}")
}

#[must_use]
pub fn encode(job: &Job) -> Vec<u8> {
    serde_json::to_vec(&Written { version: VERSION, job })
        .expect("string keys and plain values are JSON")
}

/// # Errors
/// See [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Job, Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let Head { version } = serde_json::from_slice(value)?;
    if version > VERSION {
        return Err(Unreadable::Newer(version));
    }
    Ok(serde_json::from_slice(value)?)
}

/// Ids as text.
pub mod id_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::ids::Uuid;

    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    /// # Errors
    /// If it is no id.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::try_parse(&text).map_err(D::Error::custom)
    }
}

//! One row of the settings table: what a key is, and the check of its values.
//!
//! A row is data. Whatever needs to know about a key (parsing, `DescribeConfigs`, the docs page,
//! the typed structs) asks its row, so that no fact about a key is written down twice.

use super::shown;
use super::value::{self, BadValue, Value};

/// Values a number may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub min: i64,
    pub max: i64,
    /// One value outside `min..=max` with a meaning of its own, such as -1 for "the codec's own".
    pub or: Option<i64>,
}

/// Type of a value together with what it may be. Names of types are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Boolean,
    /// 32 bits.
    Int(Range),
    /// 64 bits.
    Long(Range),
    Double {
        min: f64,
        max: f64,
    },
    String,
    /// A string that is empty, or a legal name of a topic that is not the brokers' own.
    TopicName,
    /// Comma-separated; an empty `allowed` admits any entry.
    List {
        allowed: &'static [&'static str],
    },
    /// One of a few words; a string for Kafka.
    Enum(&'static [&'static str]),
    /// `*`, or a comma-separated list of `partition:broker`.
    ThrottledReplicas,
    /// A comma-separated list of `foreign=klamm.name`: names of headers and what they stand for.
    HeaderAliases,
}

/// How much a key matters to an operator, by Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

impl Importance {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// How a broker key may change while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only by a restart.
    ReadOnly,
    /// For one broker or for all of them, through `IncrementalAlterConfigs`.
    ClusterWide,
}

impl Update {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

/// A weaker key that fills in for one that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub key: &'static str,
    /// What one unit of that key is worth in this key's unit (hours to milliseconds: 3,600,000).
    /// Negative values mean "none" in either and become -1.
    pub factor: i64,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub name: &'static str,
    pub kind: Kind,
    /// `None`: unset unless somebody sets it (Kafka: null).
    pub default: Option<&'static str>,
    pub importance: Importance,
    pub update: Update,
    /// Never shown: neither in `DescribeConfigs` nor in an error.
    pub sensitive: bool,
    pub doc: &'static str,
    /// Asked in this order when the key itself is not set.
    pub synonyms: &'static [Synonym],
}

impl Spec {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            importance: Importance::Medium,
            update: Update::ReadOnly,
            sensitive: false,
            doc,
            synonyms: &[],
        }
    }

    pub(super) const fn boolean(
        name: &'static str,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, Kind::Boolean, Some(default), doc)
    }

    /// An `int` of at least `min`.
    pub(super) const fn int(
        name: &'static str,
        min: i32,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        let range = Range { min: min as i64, max: i32::MAX as i64, or: None };
        Self::new(name, Kind::Int(range), Some(default), doc)
    }

    /// A `long` of at least `min`.
    pub(super) const fn long(
        name: &'static str,
        min: i64,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, Kind::Long(Range { min, max: i64::MAX, or: None }), Some(default), doc)
    }

    pub(super) const fn ratio(
        name: &'static str,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, Kind::Double { min: 0.0, max: 1.0 }, Some(default), doc)
    }

    /// A `double` of at least `min`.
    pub(super) const fn double(
        name: &'static str,
        min: f64,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, Kind::Double { min, max: f64::MAX }, Some(default), doc)
    }

    pub(super) const fn string(
        name: &'static str,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, Kind::String, Some(default), doc)
    }

    pub(super) const fn topic_name(
        name: &'static str,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, Kind::TopicName, Some(default), doc)
    }

    pub(super) const fn list(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, Kind::List { allowed: &[] }, Some(default), doc)
    }

    pub(super) const fn words(
        name: &'static str,
        allowed: &'static [&'static str],
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, Kind::Enum(allowed), Some(default), doc)
    }

    pub(super) const fn throttle(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, Kind::ThrottledReplicas, Some(""), doc)
    }

    pub(super) const fn aliases(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, Kind::HeaderAliases, Some(""), doc)
    }

    pub(super) const fn entries_of(mut self, allowed: &'static [&'static str]) -> Self {
        self.kind = Kind::List { allowed };
        self
    }

    pub(super) const fn at_most(mut self, max: i64) -> Self {
        match &mut self.kind {
            Kind::Int(range) | Kind::Long(range) => range.max = max,
            _ => panic!("only numbers have a greatest value"),
        }
        self
    }

    pub(super) const fn or(mut self, value: i64) -> Self {
        match &mut self.kind {
            Kind::Int(range) | Kind::Long(range) => range.or = Some(value),
            _ => panic!("only numbers have a special value"),
        }
        self
    }

    pub(super) const fn unset(mut self) -> Self {
        self.default = None;
        self
    }

    pub(super) const fn high(mut self) -> Self {
        self.importance = Importance::High;
        self
    }

    pub(super) const fn low(mut self) -> Self {
        self.importance = Importance::Low;
        self
    }

    pub(super) const fn dynamic(mut self) -> Self {
        self.update = Update::ClusterWide;
        self
    }

    pub(super) const fn from(mut self, synonyms: &'static [Synonym]) -> Self {
        self.synonyms = synonyms;
        self
    }

    /// Reads a value as this key's type and checks it against this key's limits.
    ///
    /// # Errors
    /// One line that names the key, the value and the limit.
    pub fn check(&self, text: &str) -> Result<Value, BadValue> {
        value::parse(self.kind, text).map_err(|expected| BadValue {
            key: self.name,
            value: if self.sensitive { "[hidden]".into() } else { shown(text) },
            expected,
        })
    }

    /// What a value may be, for people: `int, 1 or more`.
    #[must_use]
    pub fn allowed(&self) -> String {
        value::expectation(self.kind)
    }

    /// Whether `APPEND` and `SUBTRACT` make sense.
    #[must_use]
    pub const fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List { .. } | Kind::ThrottledReplicas | Kind::HeaderAliases)
    }

    /// Kafka's name of the type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Boolean => "boolean",
            Kind::Int(_) => "int",
            Kind::Long(_) => "long",
            Kind::Double { .. } => "double",
            Kind::String | Kind::TopicName | Kind::Enum(_) => "string",
            Kind::List { .. } | Kind::ThrottledReplicas | Kind::HeaderAliases => "list",
        }
    }
}

/// A synonym in the same unit.
pub(super) const fn same(key: &'static str) -> Synonym {
    Synonym { key, factor: 1 }
}

/// A synonym in a larger unit.
pub(super) const fn times(key: &'static str, factor: i64) -> Synonym {
    Synonym { key, factor }
}

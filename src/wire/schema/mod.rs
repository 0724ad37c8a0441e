//! The shape of every request the broker reads, as data: field types, version ranges, which may
//! be null, which are tagged. One table per API; [`crate::wire::bounds`] walks it over a request
//! before anything is decoded, so an API that is missing here can not be served.
//!
//! To add an API: write its table in the file of its area and list it in [`APIS`]. The ranges are
//! Kafka 4.3's, cut at what the kafka-protocol crate decodes. A test generates requests from
//! these tables and asks that crate whether it reads the same fields.
//!
//! Source: the message definitions of Kafka 4.3 (`clients`, `common/message/*Request.json`).

mod admin;
mod groups;
mod log;
mod metadata;
mod offsets;

/// One request type: its key, the versions in this table, and its fields.
#[derive(Debug)]
pub struct Api {
    pub key: i16,
    pub name: &'static str,
    /// First and last version, both served.
    pub versions: (i16, i16),
    /// From this version on: compact lengths, tagged fields, request header v2.
    pub flexible_since: i16,
    pub fields: &'static [Field],
}

impl Api {
    #[must_use]
    pub const fn serves(&self, version: i16) -> bool {
        self.versions.0 <= version && version <= self.versions.1
    }

    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_since
    }
}

/// One field of a request or of a struct in it.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub since: i16,
    pub until: i16,
    /// First version in which the field may be null.
    pub nullable_since: i16,
    /// The tag, for a field that stands among the tagged fields at the end of its struct.
    pub tag: Option<u32>,
}

/// The type of a field.
#[derive(Debug)]
pub enum Kind {
    /// A scalar of this many bytes: bool, integers, UUID.
    Fixed(usize),
    String,
    /// Opaque bytes, record batches among them.
    Bytes,
    Array(Element),
    Struct(&'static [Field]),
}

/// What an array holds, and the bytes that one element is counted with: at least what it takes
/// decoded, beside what it refers to inside the request's own buffer.
#[derive(Debug)]
pub struct Element {
    pub kind: ElementKind,
    pub memory_bytes: usize,
}

/// The type of an array's element.
#[derive(Debug)]
pub enum ElementKind {
    Fixed(usize),
    String,
    Struct(&'static [Field]),
}

impl Field {
    /// Whether the field stands in the body of its struct, outside the tagged fields.
    #[must_use]
    pub const fn is_plain(&self, version: i16) -> bool {
        self.tag.is_none() && self.exists(version)
    }

    #[must_use]
    pub const fn exists(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }

    #[must_use]
    pub const fn may_be_null(&self, version: i16) -> bool {
        version >= self.nullable_since
    }

    const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }

    const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }

    const fn nullable(self) -> Self {
        self.nullable_since(0)
    }

    const fn nullable_since(mut self, version: i16) -> Self {
        self.nullable_since = version;
        self
    }

    const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, nullable_since: i16::MAX, tag: None }
}

const BOOL: Kind = Kind::Fixed(1);
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
const STRING: Kind = Kind::String;
const BYTES: Kind = Kind::Bytes;
const INT8S: Kind = scalars(1);
const INT32S: Kind = scalars(4);
/// Partition indexes or broker ids by the million are as cheap to ask as dear to answer.
const SCALAR_COUNTED_BYTES: usize = 32;
const STRINGS: Kind = Kind::Array(Element {
    kind: ElementKind::String,
    memory_bytes: size_of::<kafka_protocol::protocol::StrBytes>(),
});

const fn scalars(width_bytes: usize) -> Kind {
    let kind = ElementKind::Fixed(width_bytes);
    Kind::Array(Element { kind, memory_bytes: SCALAR_COUNTED_BYTES })
}

/// An array of structs that are decoded into values of type `T`.
const fn array<T>(fields: &'static [Field]) -> Kind {
    Kind::Array(Element { kind: ElementKind::Struct(fields), memory_bytes: size_of::<T>() })
}

/// Every API in the table, the busiest first.
pub static APIS: [&Api; 32] = [
    &log::PRODUCE,
    &log::FETCH,
    &log::LIST_OFFSETS,
    &metadata::METADATA,
    &metadata::API_VERSIONS,
    &groups::HEARTBEAT,
    &offsets::OFFSET_COMMIT,
    &offsets::OFFSET_FETCH,
    &groups::CONSUMER_GROUP_HEARTBEAT,
    &groups::FIND_COORDINATOR,
    &offsets::OFFSET_DELETE,
    &offsets::DELETE_GROUPS,
    &groups::JOIN_GROUP,
    &groups::SYNC_GROUP,
    &groups::LEAVE_GROUP,
    &groups::DESCRIBE_GROUPS,
    &groups::CONSUMER_GROUP_DESCRIBE,
    &groups::LIST_GROUPS,
    &log::INIT_PRODUCER_ID,
    &log::OFFSET_FOR_LEADER_EPOCH,
    &log::DELETE_RECORDS,
    &log::DESCRIBE_PRODUCERS,
    &metadata::DESCRIBE_CLUSTER,
    &metadata::DESCRIBE_TOPIC_PARTITIONS,
    &admin::CREATE_TOPICS,
    &admin::DELETE_TOPICS,
    &admin::CREATE_PARTITIONS,
    &admin::DESCRIBE_CONFIGS,
    &admin::ALTER_CONFIGS,
    &admin::INCREMENTAL_ALTER_CONFIGS,
    &admin::LIST_CONFIG_RESOURCES,
    &admin::DESCRIBE_LOG_DIRS,
];

/// The table of an API key, if there is one.
#[must_use]
pub fn api(key: i16) -> Option<&'static Api> {
    APIS.iter().copied().find(|api| api.key == key)
}

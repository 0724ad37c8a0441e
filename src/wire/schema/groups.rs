//! Requests of consumer groups.

use super::{Api, INT8, STRING, STRINGS, field};

pub(super) static FIND_COORDINATOR: Api = Api {
    key: 10,
    name: "FindCoordinator",
    versions: (0, 6),
    flexible_since: 3,
    fields: &[
        field("Key", STRING).until(3),
        field("KeyType", INT8).since(1),
        field("CoordinatorKeys", STRINGS).since(4),
    ],
};

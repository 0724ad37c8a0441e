//! Topic configs that the broker alone sets: they tell a topic's role, and clients can only read them.

use super::spec::Spec;
use crate::base::role::Role;

pub(super) const ROLE_KEYS: &[Spec] = &[
    Spec::string(
        Role::GROUP_CONFIG,
        "",
        "The consumer group whose retries or dead letters the topic holds. Set by the broker.",
    )
    .unset(),
    Spec::string(
        Role::KIND_CONFIG,
        "",
        "What the topic is for its source topic: `retry` or `dlq`. Set by the broker.",
    )
    .unset(),
    Spec::string(
        Role::SOURCE_CONFIG,
        "",
        "The topic whose records failed, as `<name>:<topic id>`. Set by the broker.",
    )
    .unset(),
];

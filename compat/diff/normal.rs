//! Makes two brokers' answers comparable: what each of them draws or is given for itself (ids,
//! times, addresses) is replaced by a word. That something is there, or is not, stays visible.

use std::net::SocketAddr;

use crate::fields::Tree;

/// Fields that hold something drawn by the broker or read from its clock, by the last part of
/// their path, and the word that stands for it.
const DRAWN: [(&str, &str); 11] = [
    ("cluster_id", "<cluster>"),
    ("commit_timestamp", "<time>"),
    ("leader", "<member>"),
    ("log_append_time_ms", "<time>"),
    ("log_dir", "<directory>"),
    ("member_id", "<member>"),
    ("producer_id", "<producer>"),
    ("session_id", "<session>"),
    ("topic_id", "<id>"),
    ("total_bytes", "<bytes>"),
    ("usable_bytes", "<bytes>"),
];
/// Values that stand for "none", and stay as they are.
const NONE: [&str; 5] = ["-1", "0", "\"\"", "None", "00000000-0000-0000-0000-000000000000"];

/// Beginnings of configs that are left out of every list, and why.
const LEFT_OUT: [(&str, &str); 7] = [
    ("delay.", "Klamm's own"),
    ("errors.deadletterqueue.", "Klamm's retries read them; Kafka has some for share groups"),
    ("klamm.", "Klamm's own"),
    ("min.insync.replicas", "Kafka 4 sets it for the cluster when it is formatted, and says so"),
    ("retry.", "Klamm's own"),
    ("share.", "there are no share groups"),
    ("streams.", "there are no streams groups"),
];

fn is_left_out(item: &Tree) -> bool {
    let Tree::Struct(fields) = item else { return false };
    let left_out = |value: &Tree| match value {
        Tree::Leaf(text) => {
            LEFT_OUT.iter().any(|(begin, _)| text.trim_matches('"').starts_with(begin))
        }
        _ => false,
    };
    fields.iter().any(|(name, value)| name == "name" && left_out(value))
}

/// Whether a field holds something. Kafka's producer ids begin at 0.
fn is_drawn(field: &str, text: &str) -> bool {
    !NONE.contains(&text) || field == "producer_id" && text == "0"
}

/// Replaces what is one broker's own, and orders lists.
pub fn normalise(tree: &mut Tree, address: SocketAddr) {
    let port = address.port().to_string();
    tree.map_leaves("", &mut |path, text| {
        let field = path.rsplit('.').next().unwrap_or(path);
        let drawn = DRAWN.iter().find(|(name, _)| *name == field);
        if field == "port" && *text == port {
            "<port>".clone_into(text);
        } else if let Some((_, word)) = drawn.filter(|(name, _)| is_drawn(name, text)) {
            (*word).clone_into(text);
        }
    });
    tree.retain(&|item| !is_left_out(item));
    tree.sort_lists();
}

//! `klamm config docs`: the settings table for people, for a docs page, and for scripts.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::base::settings::{Spec, broker_keys, group_key, group_keys, role_keys, topic_keys};

use super::args::Format;

/// Width of a line of prose, indentation not counted.
const TEXT_COLUMNS: usize = 92;

/// The table in one of its forms, ending with a line end.
pub(super) fn render(format: Format) -> String {
    match format {
        Format::Text => sections(text),
        Format::Markdown => sections(markdown),
        Format::Json => {
            let topic: Vec<Value> = topic().map(json).collect();
            let broker: Vec<Value> = broker_keys().into_iter().map(json).collect();
            let group: Vec<Value> = group_keys().iter().map(json).collect();
            format!("{:#}\n", json!({ "broker": broker, "topic": topic, "group": group }))
        }
    }
}

fn sections(section: fn(&str, &[&Spec]) -> String) -> String {
    let topic: Vec<&Spec> = topic().collect();
    let group: Vec<&Spec> = group_keys().iter().collect();
    [("Broker keys", broker_keys()), ("Topic keys", topic), ("Group keys", group)]
        .map(|(title, keys)| section(title, &keys))
        .join("\n")
}

/// What a topic may have, and what the broker tells of it.
fn topic() -> impl Iterator<Item = &'static Spec> {
    topic_keys().iter().chain(role_keys())
}

fn text(title: &str, keys: &[&Spec]) -> String {
    let mut out = format!("{}\n", title.to_uppercase());
    for spec in keys {
        let default = match (spec.default, spec.synonyms) {
            (_, [_, ..]) => format!("default: that of {}", synonyms(spec, ", ")),
            (Some(""), _) => "default: empty".to_owned(),
            (Some(default), _) => format!("default: {default}"),
            (None, _) => "default: unset".to_owned(),
        };
        let update = update(spec);
        let importance = spec.importance.name();
        writeln!(out, "\n{} ({update}, importance {importance})", spec.name)
            .expect("a String takes all text");
        for line in wrapped(&format!("{}; {default}", spec.allowed())).chain(wrapped(spec.doc)) {
            writeln!(out, "    {line}").expect("a String takes all text");
        }
    }
    out
}

/// Lines of at most [`TEXT_COLUMNS`], unless a word is longer.
fn wrapped(text: &str) -> impl Iterator<Item = String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.len() + 1 + word.len() > TEXT_COLUMNS {
            lines.push(word.to_owned());
        } else {
            let gap = if line.is_empty() { "" } else { " " };
            *line += &format!("{gap}{word}");
        }
    }
    lines.into_iter()
}

fn markdown(title: &str, keys: &[&Spec]) -> String {
    let mut out = format!("## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for spec in keys {
        let default = match (spec.default, spec.synonyms) {
            (_, [_, ..]) => format!("`{}`", synonyms(spec, "`, `")),
            (Some(""), _) => "empty".into(),
            (Some(default), _) => format!("`{default}`"),
            (None, _) => "unset".into(),
        };
        writeln!(out, "| `{}` | {} | {default} | {} |", spec.name, spec.allowed(), spec.doc)
            .expect("a String takes all text");
    }
    out
}

fn json(spec: &Spec) -> Value {
    let synonyms: Vec<&str> = spec.synonyms.iter().map(|synonym| synonym.key).collect();
    json!({
        "name": spec.name,
        "type": spec.type_name(),
        "allowed": spec.allowed(),
        "default": spec.default,
        "importance": spec.importance.name(),
        "update": update(spec),
        "synonyms": synonyms,
        "doc": spec.doc,
    })
}

/// How the key may change: as a broker key says, or at run time for one topic or group.
fn update(spec: &Spec) -> &'static str {
    match spec.synonyms {
        [] => spec.update.name(),
        _ if group_key(spec.name).is_some() => "group",
        _ => "topic",
    }
}

fn synonyms(spec: &Spec, separator: &str) -> String {
    let names: Vec<&str> = spec.synonyms.iter().map(|synonym| synonym.key).collect();
    names.join(separator)
}

//! Folders of `src/` are ranked, and a folder imports only from lower ranks: one crate will not
//! keep its layers by itself. What may reach the outside (runtime, file system) is listed too.
//!
//! A new folder needs a rank here before it can be imported.

mod source;

use source::{Source, rust_files};

/// Folders and root files by rank. Those of one rank do not import each other.
const RANKS: [&[&str]; 8] = [
    &["base"],
    &["wire", "store"],
    &["catalog", "coord", "delay", "retry", "access"],
    &["log"],
    &["shard"],
    &["api"],
    &["server", "ops", "cli"],
    &["broker", "main", "sim"],
];

/// Crates and modules that only some folders may name.
const DOORS: [(&str, &[&str]); 3] = [
    ("tokio::", &["server", "ops", "cli", "shard", "api", "broker", "main", "sim"]),
    ("std::fs", &["store", "ops", "cli", "broker", "main"]),
    ("thread::Builder", &["store", "shard", "server", "ops", "cli", "broker", "main", "sim"]),
];

fn rank(folder: &str) -> Option<usize> {
    RANKS.iter().position(|folders| folders.contains(&folder))
}

/// The folder, or the root file, that a source file belongs to.
fn folder(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// Top-level modules that the text after a `crate::` names: one, or several in braces.
fn named_modules(rest: &str) -> Vec<&str> {
    let word = |text: &'_ str| text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let Some(group) = rest.strip_prefix('{') else {
        return vec![&rest[..word(rest).unwrap_or(rest.len())]];
    };
    let mut depth = 0;
    let mut modules = Vec::new();
    let mut expect_name = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expect_name = true,
            c if expect_name && !c.is_whitespace() => {
                modules.push(&group[at..at + word(&group[at..]).unwrap_or(group.len() - at)]);
                expect_name = false;
            }
            _ => {}
        }
    }
    modules
}

/// What a file breaks, one line each.
fn violations(file: &Source) -> Vec<String> {
    let from = folder(&file.path);
    if from == "lib" {
        return Vec::new();
    }
    let Some(own) = rank(from) else {
        return vec![format!("{}: folder {from} has no rank in tests/layers.rs", file.path)];
    };
    let code: Vec<(usize, &str)> = file.code().collect();
    let mut found = Vec::new();
    for (at, (number, line)) in code.iter().enumerate() {
        let place = format!("{}:{number}: {}", file.path, line.trim());
        for (start, prefix) in line.match_indices("crate::") {
            // A group may go on over the next lines.
            let tail: Vec<&str> = code[at + 1..].iter().take(30).map(|(_, line)| *line).collect();
            let rest = format!("{}\n{}", &line[start + prefix.len()..], tail.join("\n"));
            for module in named_modules(&rest) {
                match rank(module) {
                    Some(other) if module == from || other < own => {}
                    Some(_) => found.push(format!("{place}\n    {from} may not use {module}")),
                    None => found.push(format!("{place}\n    {module} has no rank")),
                }
            }
        }
        for (door, allowed) in DOORS {
            if line.contains(door) && !allowed.contains(&from) && !in_tests(file, *number) {
                found.push(format!("{place}\n    {from} may not use {door}"));
            }
        }
    }
    found
}

fn in_tests(file: &Source, line: usize) -> bool {
    line > file.production_lines()
}

#[test]
fn folders_import_only_from_lower_ranks() {
    let files = rust_files(&["src"]);
    assert!(files.len() > 10, "the sources are found");
    let broken: Vec<String> = files.iter().flat_map(violations).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn what_breaks_the_layers_is_seen() {
    let broken = |path: &str, text: &str| {
        violations(&Source { path: path.to_owned(), text: text.to_owned() }).len()
    };
    assert_eq!(broken("src/log/a.rs", "use crate::base::ids;\nuse crate::log::b;"), 0);
    assert_eq!(broken("src/log/a.rs", "use crate::shard::Shards;"), 1);
    assert_eq!(broken("src/wire/a.rs", "use crate::store::Files;"), 1);
    assert_eq!(broken("src/log/a.rs", "use crate::{base::ids, api::{Api, log}, shard};"), 2);
    assert_eq!(broken("src/log/a.rs", "use crate::{\n    base::ids,\n    api::Api,\n};"), 1);
    assert_eq!(broken("src/log/a.rs", "fn f() { crate::api::begin() }"), 1);
    assert_eq!(broken("src/log/a.rs", "// use crate::api::Api;"), 0);
    assert_eq!(broken("src/new/a.rs", ""), 1);
    assert_eq!(broken("src/catalog/a.rs", "use tokio::sync::mpsc;"), 1);
    assert_eq!(broken("src/catalog/a.rs", "use std::fs;\nmod tests {\nuse std::fs;\n}"), 1);
    assert_eq!(broken("src/main.rs", "use crate::broker::Broker;\nuse tokio::runtime;"), 1);
}

//! Replies on disk: a case's name in brackets, then one line per step and one per field.
//!
//! Fields that a reply shares with the API's reply before are left out, which makes the file a
//! tenth of the size and a change of it readable.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use kafka_protocol::messages::ApiKey;

use crate::talk::Step;

pub fn write(path: &Path, cases: &[(String, Vec<Step>)]) {
    let mut text = String::new();
    let none = BTreeMap::new();
    let mut last: BTreeMap<i16, &BTreeMap<String, String>> = BTreeMap::new();
    for (name, steps) in cases {
        writeln!(text, "[{name}]").unwrap();
        for step in steps {
            writeln!(text, "> {} {}", step.api as i16, step.version).unwrap();
            let before = last.insert(step.api as i16, &step.fields).unwrap_or(&none);
            for (field, value) in &step.fields {
                if before.get(field) != Some(value) {
                    writeln!(text, "{field} = {value}").unwrap();
                }
            }
            for field in before.keys().filter(|field| !step.fields.contains_key(*field)) {
                writeln!(text, "- {field}").unwrap();
            }
        }
    }
    std::fs::write(path, text).expect("the recording can be written");
}

pub fn read(path: &Path) -> Vec<(String, Vec<Step>)> {
    let text = std::fs::read_to_string(path).expect("the recording is there");
    let mut cases: Vec<(String, Vec<Step>)> = Vec::new();
    let mut last: BTreeMap<i16, BTreeMap<String, String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            note(&mut last, cases.last().and_then(|(_, steps)| steps.last()));
            cases.push((name.to_owned(), Vec::new()));
            continue;
        }
        let (_, steps) = cases.last_mut().expect("a case comes first");
        if let Some(head) = line.strip_prefix("> ") {
            note(&mut last, steps.last());
            let (key, version) = head.split_once(' ').expect("key and version");
            let key = key.parse::<i16>().unwrap();
            let api = ApiKey::try_from(key).expect("an API");
            let fields = last.get(&key).cloned().unwrap_or_default();
            steps.push(Step { api, version: version.parse().unwrap(), fields });
            continue;
        }
        let fields = &mut steps.last_mut().expect("a step comes first").fields;
        if let Some(field) = line.strip_prefix("- ") {
            fields.remove(field);
        } else {
            let (field, value) = line.split_once(" = ").expect("field = value");
            fields.insert(field.to_owned(), value.to_owned());
        }
    }
    cases
}

/// Keeps a reply that has been read whole, for the API's next one.
fn note(last: &mut BTreeMap<i16, BTreeMap<String, String>>, step: Option<&Step>) {
    if let Some(step) = step {
        last.insert(step.api as i16, step.fields.clone());
    }
}

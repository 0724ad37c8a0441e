use std::ffi::OsString;

use super::*;
use crate::base::settings::{LogFormat, broker_keys, group_keys, topic_keys};

fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Action {
    let arguments = ["klamm"].iter().chain(arguments).map(OsString::from);
    let environment = environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    run(arguments, environment)
}

fn started(arguments: &[&str], environment: &[(&str, &str)]) -> Start {
    match run_with(arguments, environment) {
        Action::Serve(start) => *start,
        Action::Done(exit) => panic!("{arguments:?} ended with {exit:?}"),
    }
}

fn ended(arguments: &[&str]) -> Exit {
    match run_with(arguments, &[]) {
        Action::Serve(_) => panic!("{arguments:?} serves"),
        Action::Done(exit) => exit,
    }
}

#[test]
fn klamm_alone_serves() {
    assert_eq!(started(&[], &[]).settings, started(&["serve"], &[]).settings);
}

#[test]
fn every_flag_reaches_its_key() {
    let arguments = [
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--advertise",
        "broker:9092",
        "--http",
        "[::1]:8",
        "--data-dir",
        "elsewhere",
        "--log-format",
        "json",
        "--override",
        "num.partitions=3",
        "--override",
        "node.id=5",
    ];
    for arguments in [&arguments[..], &arguments[1..]] {
        let settings = started(arguments, &[("KLAMM_NODE_ID", "4")]).settings;
        let [listener] = &settings.listeners[..] else { panic!("{:?}", settings.listeners) };
        assert_eq!(listener.bind.to_string(), "0.0.0.0:0");
        assert_eq!(listener.advertised.as_ref().unwrap().to_string(), "broker:9092");
        assert_eq!(settings.http_listeners[0].to_string(), "[::1]:8");
        assert_eq!(settings.data_dir.to_str(), Some("elsewhere"));
        assert_eq!(settings.logging_format, LogFormat::Json);
        assert_eq!((settings.num_partitions, settings.node_id), (3, 5));
    }
}

#[test]
fn mistakes_are_usage_errors() {
    for arguments in [
        &["--override", "num.partitons=3"][..],
        &["--listen", "9092"],
        &["--log-format", "xml"],
        &["--config", "no-such-file.properties"],
        &["serv"],
        &["serve", "--no-such-flag"],
        &["--listen", ":0", "config", "docs"],
    ] {
        assert_eq!(ended(arguments), Exit::Usage, "{arguments:?}");
    }
}

#[test]
fn the_docs_name_every_key_in_every_form() {
    for format in [args::Format::Text, args::Format::Markdown, args::Format::Json] {
        let docs = docs::render(format);
        assert!(docs.ends_with('\n'));
        let docs = docs.split_whitespace().collect::<Vec<_>>().join(" ");
        for spec in broker_keys().into_iter().chain(topic_keys()).chain(group_keys()) {
            assert!(docs.contains(spec.name) && docs.contains(&*spec.allowed()), "{}", spec.name);
        }
    }
}

#[test]
fn the_docs_as_json_are_json() {
    let docs: serde_json::Value = serde_json::from_str(&docs::render(args::Format::Json)).unwrap();
    let broker = docs["broker"].as_array().unwrap();
    assert_eq!(broker.len(), broker_keys().len());
    assert!(broker.iter().all(|key| key["type"].is_string() && key["doc"].is_string()));
}

#[test]
fn the_docs_fit_a_terminal() {
    let docs = docs::render(args::Format::Text);
    assert!(docs.lines().all(|line| line.len() <= 100));
}

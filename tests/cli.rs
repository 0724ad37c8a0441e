//! The binary as an operator and a script meet it: exit codes, and one readable line for a
//! mistake.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn klamm(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command.args(arguments).env_clear().output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

#[test]
fn a_mistake_in_the_settings_is_one_line_and_exit_code_2() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("server.properties");
    std::fs::write(&file, "node.id=1\n# retention\nlog.retention.houres=3\n").unwrap();
    let name = file.to_str().unwrap();
    for (arguments, expected) in [
        (&["--config", name][..], format!("klamm: {name}:3: unknown key 'log.retention.houres'")),
        (&["--override", "shards=-1"], "klamm: --override: invalid value '-1' for shards".into()),
        (&["--data-dir", "a,b"], "klamm: log.dirs has 2 entries ('a,b')".into()),
        (&["--config", "absent.properties"], "klamm: absent.properties: ".into()),
    ] {
        let output = klamm(arguments);
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.starts_with(&expected), "{complaint}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let output = klamm(&["serve", "--lisen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--listen"), "the closest flag is named");
}

#[test]
fn version_and_docs_go_to_standard_output() {
    let version = klamm(&["--version"]);
    assert_eq!(text(&version.stdout), format!("klamm {}\n", env!("CARGO_PKG_VERSION")));
    let docs = klamm(&["config", "docs"]);
    assert!(docs.status.success() && docs.stderr.is_empty());
    assert!(text(&docs.stdout).contains("log.retention.ms"));
}

/// A started broker and the line with which it said that it is ready.
fn started(arguments: &[&str], environment: &[(&str, &str)]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).find(|line| line.starts_with("klamm ready "));
    let ready = ready.unwrap_or_else(|| panic!("no ready line: {}", complaint(&mut child)));
    (child, ready)
}

fn complaint(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_file_written_for_kafka_starts_a_broker_that_stops_cleanly() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("server.properties");
    let text = "process.roles=broker,controller\nnode.id=1\nnum.network.threads=3\n\
        controller.quorum.bootstrap.servers=localhost:9093\n\
        listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:9093\n\
        controller.listener.names=CONTROLLER\nlog.retention.hours=168\n";
    std::fs::write(&file, text).unwrap();
    let data = scratch.path().join("data");
    let environment = [("KLAMM_HTTP_LISTENERS", "127.0.0.1:0")];
    let arguments = ["--config", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let (mut child, ready) = started(&arguments, &environment);
    assert!(
        ready.starts_with("klamm ready kafka=127.0.0.1:") && ready.contains(" http=127.0.0.1:")
    );
    assert!(!ready.contains(":0 ") && !ready.ends_with(":0"), "{ready}");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let log = complaint(&mut child);
    let warning = "without effect here: process.roles, num.network.threads, controller.quorum";
    assert!(log.contains(warning), "{log}");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_exit_code_4() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("data");
    std::fs::write(&file, "a file").unwrap();
    let output = klamm(&["--data-dir", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let complaint = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{complaint}");
    assert!(complaint.lines().last().unwrap().starts_with("klamm: "), "{complaint}");
}

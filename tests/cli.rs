//! The binary as an operator and a script meet it: exit codes, and one readable line for a
//! mistake.

use std::process::{Command, Output};

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

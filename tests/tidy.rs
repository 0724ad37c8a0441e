//! House rules that compiler and clippy do not know: what a file must begin with, how long it may
//! grow, and words that have no place in finished code. Every finding is one line.

mod source;

use source::{Source, rust_files};

/// Production lines of a file; above this it has a second reason to exist.
const MAX_FILE_LINES: usize = 600;
/// Lines of a file of tests.
const MAX_TEST_FILE_LINES: usize = 800;
/// Lines of a function, signature and braces included.
const MAX_FUNCTION_LINES: usize = 100;

/// Text that no Rust line may hold, comments included, and what to do instead. Each is written in
/// two parts, or this table would find itself. A line that gives its `reason = ` is heard.
const BANNED: [((&str, &str), &str); 9] = [
    (("TO", "DO"), "do it, or open an issue"),
    (("FIX", "ME"), "fix it, or open an issue"),
    (("XX", "X:"), "say it in a sentence"),
    (("todo", "!("), "write it"),
    (("unimplemented", "!("), "write it"),
    (("dbg", "!("), "remove it"),
    (("thread::sl", "eep("), "wait on a condition"),
    (("time::sl", "eep("), "wait on a condition, or pass the clock in"),
    (("#[al", "low("), "give its reason, or use #[expect]"),
];

/// First folders of absolute paths that a string may name: routes of the HTTP server, the
/// kernel's own, and the root of file systems in memory. Any other belongs to one machine.
const PATH_ROOTS: [&str; 10] =
    ["health", "metrics", "api", "orders", "proc", "sys", "dev", "etc", "data", "unknown"];

fn files() -> Vec<Source> {
    let files = rust_files(&["src", "tests", "benches"]);
    assert!(files.len() > 10, "the sources are found");
    files
}

fn report(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    // Unit tests in a file of their own are headed by the module beside them, and a shim of a few
    // lines by what it calls.
    let exempt = |file: &Source| {
        file.path.starts_with("src/") && file.is_test() || file.text.lines().count() < 10
    };
    let headless = |file: &&Source| !exempt(file) && !file.text.starts_with("//! ");
    report(files().iter().filter(headless).map(|file| format!("{}:1", file.path)).collect());
}

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for file in files() {
        let (lines, limit) = if file.is_test() {
            (file.text.lines().count(), MAX_TEST_FILE_LINES)
        } else {
            (file.production_lines(), MAX_FILE_LINES)
        };
        if lines > limit {
            found.push(format!("{}: {lines} lines, at most {limit}", file.path));
        }
    }
    report(found);
}

#[test]
fn functions_fit_a_screen() {
    report(files().iter().flat_map(long_functions).collect());
}

/// Functions above the limit. rustfmt indents a function's closing brace as its signature.
fn long_functions(file: &Source) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let signature = line.trim_start();
        let words = signature.split(' ').take_while(|word| !word.contains('('));
        let is_function = signature.starts_with("fn ")
            || (signature.starts_with("pub") || signature.starts_with("async fn "))
                && words.into_iter().any(|word| word == "fn");
        // A trait's method without a body ends with its signature.
        let ending = lines[at..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if !is_function || ending.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - signature.len()]);
        let length = lines[at..].iter().position(|line| *line == end).map_or(1, |n| n + 1);
        if length > MAX_FUNCTION_LINES {
            found.push(format!("{}:{}: {length} lines: {signature}", file.path, at + 1));
        }
    }
    found
}

#[test]
fn no_banned_text() {
    report(files().iter().flat_map(banned_text).collect());
}

fn banned_text(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for ((head, tail), instead) in BANNED {
            if line.contains(&format!("{head}{tail}")) && !line.contains("reason = ") {
                found.push(format!("{}:{}: {head}{tail}: {instead}", file.path, number + 1));
            }
        }
    }
    found
}

#[test]
fn no_path_of_one_machine() {
    report(files().iter().flat_map(machine_paths).collect());
}

fn machine_paths(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in file.code() {
        for (at, opening) in line.match_indices("\"/") {
            let rest = &line[at + opening.len()..];
            let root: &str = &rest[..rest.find(['/', '"']).unwrap_or(rest.len())];
            let named = root.len() > 1 && root.bytes().all(|b| b.is_ascii_alphanumeric());
            // A path from the project's root is at home everywhere.
            let of_project = line.contains("CARGO_MANIFEST_DIR");
            if named && !of_project && !PATH_ROOTS.contains(&root) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    found
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = include_str!("../Cargo.toml");
    let mut section = "";
    let mut above = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && line.contains(" = ")
            && !above.starts_with("# ")
        {
            found.push(format!("Cargo.toml: {line}"));
        }
        above = line;
    }
    report(found);
}

#[test]
fn what_is_untidy_is_seen() {
    let file = |text: String| Source { path: "src/base/a.rs".to_owned(), text };
    let long = |body: usize| format!("    pub fn f() {{\n{}    }}\n", "x;\n".repeat(body));
    assert_eq!(long_functions(&file(long(MAX_FUNCTION_LINES - 2))).len(), 0);
    assert_eq!(long_functions(&file(long(MAX_FUNCTION_LINES - 1))).len(), 1);
    let banned: String = BANNED.iter().map(|((a, b), _)| format!("{a}{b}\n")).collect();
    assert_eq!(banned_text(&file(banned)).len(), BANNED.len());
    let paths = ["home/x", "health/live", "", "proc/self"].map(|path| format!("f(\"/{path}\");\n"));
    assert_eq!(machine_paths(&file(paths.concat())).len(), 1);
    let tests = "a\n#[cfg(test)]\nmod tests {\nb\n}\n".to_owned();
    assert_eq!(file(tests).production_lines(), 2);
}

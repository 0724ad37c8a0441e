//! The project's own source files as text, for tests about the source.

use std::fs;
use std::path::{Path, PathBuf};

/// One file, by its path from the project's root.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// Lines with their 1-based numbers and without `//` comments; comment lines are empty.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, without_comment(line)))
    }

    /// Lines before the unit tests at the file's end; none of a file of unit tests.
    pub fn production_lines(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        let lines = || self.text.lines();
        lines().position(|line| line == "mod tests {").unwrap_or_else(|| lines().count())
    }

    pub fn is_test(&self) -> bool {
        !self.path.starts_with("src/")
            || self.path.ends_with("/tests.rs")
            || self.path.split('/').any(|folder| folder == "tests")
    }
}

/// Cuts a line at its `//`, unless that stands in a string, as in a URL.
fn without_comment(line: &str) -> &str {
    let outside_string = |at: &usize| line[..*at].matches('"').count().is_multiple_of(2);
    let comment = line.match_indices("//").map(|(at, _)| at).find(outside_string);
    comment.map_or(line, |at| &line[..at])
}

/// All Rust files below some of the project's folders, sorted by path.
pub fn rust_files(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut found);
    }
    found.sort();
    let source = |path: PathBuf| Source {
        text: fs::read_to_string(&path).expect("sources are UTF-8"),
        path: path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned(),
    };
    found.into_iter().map(source).collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

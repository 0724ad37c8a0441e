//! Answers of commands in both of their forms: aligned text for eyes, JSON for scripts.
//!
//! Both come from the same rows, so that neither can tell what the other does not. Names that
//! clients chose freely (groups, members) are shown with control characters escaped: a terminal
//! obeys those.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

/// A column's title. Numbers are aligned to the right.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
}

pub const fn words(title: &'static str) -> Column {
    Column { title, right: false }
}

pub const fn number(title: &'static str) -> Column {
    Column { title, right: true }
}

/// What is listed, one line each.
pub trait Row: Serialize {
    const COLUMNS: &'static [Column];
    /// One cell per column.
    fn cells(&self) -> Vec<String>;
}

/// What a command says when it has done its work.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub text: String,
    pub json: Value,
}

impl Answer {
    /// One sentence, and the facts in it.
    pub fn sentence(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into() + "\n", json }
    }

    /// A table; an array in JSON.
    pub fn rows<R: Row>(rows: &[R]) -> Self {
        Self { text: table(rows), json: json!(rows) }
    }
}

/// A value that may be missing.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A text table with a line of titles.
pub fn table<R: Row>(rows: &[R]) -> String {
    let titles = R::COLUMNS.iter().map(|column| column.title.to_owned()).collect();
    let cells = rows.iter().map(|row| row.cells().iter().map(|cell| shown(cell)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(titles).chain(cells).collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..R::COLUMNS.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for ((cell, column), width) in line.iter().zip(R::COLUMNS).zip(&widths) {
            let pad = " ".repeat(width - cell.chars().count());
            let (before, after) = if column.right { (&*pad, "") } else { ("", &*pad) };
            write!(text, "{before}{cell}{after}  ").expect("a String takes all text");
        }
        writeln!(out, "{}", text.trim_end()).expect("a String takes all text");
    }
    out
}

/// Names and values, one line each, the values aligned.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        format!("{name:width$}  {}", shown(value)).trim_end().to_owned() + "\n"
    };
    facts.iter().map(line).collect()
}

fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Topic {
        name: &'static str,
        records: Option<u32>,
        note: &'static str,
    }

    impl Row for Topic {
        const COLUMNS: &'static [Column] = &[words("TOPIC"), number("RECORDS"), words("NOTE")];

        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), or_dash(self.records), self.note.to_owned()]
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            Topic { name: "orders", records: Some(7), note: "" },
            Topic { name: "å", records: None, note: "two words" },
        ];
        let expected = "\
TOPIC   RECORDS  NOTE
orders        7
å             -  two words
";
        assert_eq!(table(&rows), expected);
        assert_eq!(table::<Topic>(&[]), "TOPIC  RECORDS  NOTE\n");
        let json = json!([
            { "name": "orders", "records": 7, "note": "" },
            { "name": "å", "records": null, "note": "two words" },
        ]);
        assert_eq!(Answer::rows(&rows).json, json);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let rows = [Topic { name: "\u{1b}[2J", records: None, note: "a\nb" }];
        assert!(table(&rows).ends_with("\\u{1b}[2J        -  a\\nb\n"), "{}", table(&rows));
        assert_eq!(facts(&[("group", "a\tb".into()), ("id", String::new())]), "group  a\\tb\nid\n");
    }
}

//! Text from outside on its way into a log line.

use std::fmt::{self, Write};

/// Characters of a client's string that are logged.
const SHOWN_CHARS: usize = 256;

/// Shows a string on one line: control characters escaped, cut at 256 characters.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(SHOWN_CHARS) {
            match c {
                // Also what changes the direction or breaks the line in a terminal.
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    write!(f, "{}", c.escape_unicode())?;
                }
                c if c.is_control() || c == '\\' => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        match self.0.chars().nth(SHOWN_CHARS) {
            Some(_) => f.write_str("..."),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_forge_a_log_line() {
        let shown = Escaped("a\nb\r\x1b[31m\u{202e}c\\").to_string();
        assert_eq!(shown, r"a\nb\r\u{1b}[31m\u{202e}c\\");
    }

    #[test]
    fn long_strings_are_cut() {
        let shown = Escaped(&"ä".repeat(1_000_000)).to_string();
        assert_eq!(shown.chars().count(), 256 + 3);
        assert_eq!(Escaped(&"x".repeat(256)).to_string().len(), 256);
    }
}

//! Java's properties syntax, as `server.properties` files are written.
//!
//! Comments (`#`, `!`), continued lines, `key=value`, `key:value` and `key value`, and escapes
//! are read as Java reads them. Text is UTF-8, where Java would take Latin-1. Source: the class
//! documentation of `java.util.Properties`.

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// 1-based line on which it begins.
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// An escape that has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: a \\u escape needs four hexadecimal digits of a Unicode character")]
pub struct BadEscape {
    pub line: usize,
}

/// Every property of a file, in its order; a key may occur more than once.
pub fn parse(text: &str) -> Result<Vec<Property>, BadEscape> {
    let mut properties = Vec::new();
    let mut lines = natural_lines(text).enumerate();
    while let Some((index, first)) = lines.next() {
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next),
                None => break,
            }
        }
        properties.push(property(&logical, index + 1)?);
    }
    Ok(properties)
}

/// Lines without their ends and leading blanks. CR, LF and CR LF end a line.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let ends_in = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + ends_in..]);
        Some(&text[..end])
    })
    .map(|line| line.trim_start_matches(is_blank))
}

/// Whether a line ends with a backslash that is not itself escaped.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn property(logical: &str, line: usize) -> Result<Property, BadEscape> {
    let key_end = end_of_key(logical);
    let (key, rest) = logical.split_at(key_end);
    let rest = rest.trim_start_matches(is_blank);
    let value = match rest.strip_prefix(['=', ':']) {
        Some(after) => after.trim_start_matches(is_blank),
        None => rest,
    };
    let unescape = |text| unescape(text).ok_or(BadEscape { line });
    Ok(Property { line, key: unescape(key)?, value: unescape(value)? })
}

fn end_of_key(logical: &str) -> usize {
    let mut escaped = false;
    for (at, c) in logical.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return at,
            c if is_blank(c) => return at,
            _ => {}
        }
    }
    logical.len()
}

/// Text with its escapes resolved; by UTF-16 units, since `\u` names those.
fn unescape(text: &str) -> Option<String> {
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    units.push(unit(&mut chars)?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

fn unit(chars: &mut std::str::Chars) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next()?.to_digit(16)?;
        unit = unit << 4 | u16::try_from(digit).ok()?;
    }
    Some(unit)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let properties = parse(text).expect("well-formed");
        properties.into_iter().map(|p| (p.key, p.value)).collect()
    }

    fn pair(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.into(), value.into())]
    }

    #[test]
    fn separators_and_blanks() {
        for text in ["k=v", "k:v", "k v", "  k = v", "k\t:\tv", "k   v", "\u{c}k=v"] {
            assert_eq!(pairs(text), pair("k", "v"), "{text:?}");
        }
        assert_eq!(pairs("k"), pair("k", ""));
        assert_eq!(pairs("k="), pair("k", ""));
        assert_eq!(pairs("k==v"), pair("k", "=v"));
        assert_eq!(pairs("listeners=PLAINTEXT://:9092 "), pair("listeners", "PLAINTEXT://:9092 "));
    }

    #[test]
    fn comments_and_blank_lines_are_left_out() {
        assert_eq!(
            pairs("# a=b\n ! c=d\n\n \t\r\nk=v # not a comment"),
            pair("k", "v # not a comment")
        );
        assert_eq!(pairs("# a comment does not go on \\\nk=v"), pair("k", "v"));
    }

    #[test]
    fn a_backslash_at_the_end_continues_the_line() {
        assert_eq!(pairs("k=a,\\\n   b,\\\r\n\tc"), pair("k", "a,b,c"));
        assert_eq!(pairs("k=a\\\n#b"), pair("k", "a#b"));
        assert_eq!(pairs("k=a\\\\\nl=b").len(), 2);
        assert_eq!(pairs("k=a\\"), pair("k", "a"));
    }

    #[test]
    fn escapes() {
        assert_eq!(pairs(r"a\=b\:c\ d=v\tw\qx\u0041"), pair("a=b:c d", "v\twqxA"));
        assert_eq!(pairs(r"k=\uD83D\uDE00"), pair("k", "😀"));
        for text in [r"k=\u12", r"k=\u12G4", "x=1\nk=\\uD83D"] {
            let line = text.lines().count();
            assert_eq!(parse(text), Err(BadEscape { line }), "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_from_one_through_continuations() {
        let lines: Vec<_> =
            parse("#\na=\\\n1\rb=2").unwrap().into_iter().map(|p| (p.key, p.line)).collect();
        assert_eq!(lines, [("a".to_owned(), 2), ("b".to_owned(), 4)]);
    }

    /// Writes a text so that it reads back unchanged.
    fn escape(text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                ' ' | '\t' | '\u{c}' | '=' | ':' | '#' | '!' | '\\' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_back(written in prop::collection::vec((".{1,20}", "(?s).{0,40}"), 0..8)) {
            let text: String =
                written.iter().map(|(k, v)| format!("{} = {}\n", escape(k), escape(v))).collect();
            prop_assert_eq!(pairs(&text), written);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(?s)[a-z=:#! \\\\\\r\\n\\tu0-9]{0,200}") {
            if let Ok(properties) = parse(&text) {
                let lines = natural_lines(&text).count();
                prop_assert!(properties.windows(2).all(|w| w[0].line < w[1].line));
                prop_assert!(properties.iter().all(|p| p.line <= lines));
            }
        }
    }
}

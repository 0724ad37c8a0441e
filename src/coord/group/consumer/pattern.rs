//! Topic patterns of subscriptions, matched by the broker (KIP-848).
//!
//! The syntax is RE2's, as Kafka has it through RE2/J: linear time whatever the pattern, so a
//! client cannot stall the coordinator. A pattern stands for the topics whose whole name it
//! matches.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::coord::cluster::Cluster;

/// Bytes that a compiled pattern may take: generous for names of at most 249 characters.
const COMPILED_MAX_BYTES: usize = 1 << 20;

/// Compiles a pattern for whole names.
///
/// # Errors
/// What is wrong with it, for the client.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let pattern = unquote(pattern);
    // On its own first: `a)(b` must not become whole by what is put around it.
    build(&pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

fn build(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(COMPILED_MAX_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("it compiles to more than {limit} bytes"),
        // The last line says what is wrong, those before show the pattern.
        error => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
    })
}

/// RE2 reads what stands between `\Q` and `\E` as plain text, which this crate does not.
fn unquote(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        if let Some(quoted) = escape.strip_prefix(r"\Q") {
            let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(text));
            rest = after;
        } else {
            let escaped = escape.chars().nth(1).map_or(1, |c| 1 + c.len_utf8());
            out.push_str(&escape[..escaped]);
            rest = &escape[escaped..];
        }
    }
    out.push_str(rest);
    out
}

/// The topics that each pattern stands for now, in order of names. A pattern that does not
/// compile, which no member could have brought, stands for none.
#[must_use]
pub fn resolve<'a>(
    patterns: impl Iterator<Item = &'a Arc<str>>,
    cluster: &dyn Cluster,
) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    let compiled: Vec<_> = patterns.map(|pattern| (pattern, compile(pattern).ok())).collect();
    let mut resolved: BTreeMap<Arc<str>, Vec<Arc<str>>> =
        compiled.iter().map(|(pattern, _)| (Arc::clone(pattern), Vec::new())).collect();
    cluster.each_topic(&mut |topic| {
        for (pattern, regex) in &compiled {
            if regex.as_ref().is_some_and(|regex| regex.is_match(&topic.name)) {
                resolved.entry(Arc::clone(pattern)).or_default().push(Arc::clone(&topic.name));
            }
        }
    });
    resolved.values_mut().for_each(|topics| topics.sort_unstable());
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        compile(pattern).expect("a pattern").is_match(name)
    }

    #[test]
    fn the_whole_name_must_match() {
        assert!(matches("a|ab", "ab"), "not the first alternative alone");
        assert!(matches("orders.*", "orders-eu") && matches("^orders$", "orders"));
        assert!(!matches("orders", "orders-eu") && !matches("orders", "my-orders"));
        assert!(matches("", ""));
    }

    #[test]
    fn quoted_text_is_plain() {
        assert!(matches(r"\Qa.b\E.*", "a.bc") && !matches(r"\Qa.b\E.*", "axbc"));
        assert!(matches(r"\Qa+", "a+"), "to the end");
        assert!(!matches(r"\\Qa+", "a+"), "an escaped backslash opens no quote");
        assert!(matches(r"x\d\\?", "x7"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["a)(b", "(", "[", "*", r"\", "a(?=b)", r"(a)\1", "(?x)a #", "x{1000}{1000}"] {
            let error = compile(bad).expect_err(bad);
            assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        }
    }
}

//! Prometheus' text format.

use std::fmt::Write as _;

/// Name, help and type of a metric.
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: &'static str,
}

/// Prometheus' text format 0.0.4, as it is being written.
#[derive(Default)]
pub struct Text(String);

impl Text {
    pub fn header(&mut self, family: &Family) {
        let Family { name, help, kind } = family;
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    /// A family with a single sample.
    pub fn single(
        &mut self,
        family: &Family,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.header(family);
        self.sample(family.name, labels, value);
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

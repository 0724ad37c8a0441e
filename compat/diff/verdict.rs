//! What differs between two brokers' replies, and what of it is meant.

use std::fmt;

use kafka_protocol::messages::ApiKey;

use crate::talk::Step;

/// Fields that are not compared: API (`None` for all), last part of the path, reason.
const IGNORED: &[(Option<ApiKey>, &str, &str)] = &[
    (None, "error_message", "the words are ours; codes are compared"),
    (None, "batch_index_error_message", "the words are ours; indexes are compared"),
    (None, "throttle_time_ms", "there are no quotas"),
    (None, "host", "both are told 127.0.0.1 or localhost"),
];

/// Differences that are meant: beginning of the case, part of the field's path, reason.
const MEANT: &[(&str, &str, &str)] = &[
    (
        "producers: sequences",
        "log_append_time_ms",
        "a retry gets the answer of the first try; Kafka names the batch's own time",
    ),
    (
        "consumer groups: a change of topics",
        "heartbeat_interval_ms",
        "who waits for a target is asked back sooner, so that large groups form soon",
    ),
    ("produce", "log_start_offset", "Kafka says it only of batches that it refuses late"),
];

/// Kafka's UNKNOWN_SERVER_ERROR: it did not foresee the request either, so that any answer is as
/// good. The whole reply is not compared.
const UNFORESEEN: &str = "-1";

pub fn is_unforeseen(kafka: &Step) -> bool {
    let is_code = |field: &str| field.ends_with("error_code");
    kafka.fields.iter().any(|(field, value)| is_code(field) && value == UNFORESEEN)
}

/// A reply's field that differs.
#[derive(Debug)]
pub struct Difference {
    case: String,
    step: usize,
    api: ApiKey,
    version: i16,
    fields: Vec<(String, String, String)>,
}

/// The outcome of a comparison.
#[derive(Debug, Default)]
pub struct Report {
    pub differences: Vec<Difference>,
    replies: usize,
    fields: usize,
    meant: usize,
    unforeseen: usize,
}

impl Report {
    pub fn summary(&self) -> String {
        let Self { differences, replies, fields, meant, unforeseen } = self;
        let differ = differences.len();
        format!(
            "{replies} replies, {fields} fields compared; {meant} fields meant to differ, \
             {unforeseen} replies that Kafka did not foresee, {differ} replies differ"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            let Difference { case, step, api, version, fields } = difference;
            writeln!(f, "{case}, step {step}: {api:?} v{version}")?;
            for (field, kafka, klamm) in fields.iter().take(8) {
                writeln!(f, "    {field}: Kafka {kafka}, Klamm {klamm}")?;
            }
        }
        writeln!(f, "{}", self.summary())
    }
}

/// Whether a field of an API is held against the other broker's.
pub fn is_compared(api: ApiKey, field: &str) -> bool {
    let last = field.rsplit('.').next().unwrap_or(field);
    !IGNORED.iter().any(|(of, name, _)| *name == last && of.is_none_or(|of| of == api))
}

/// Compares what was said in each case.
pub fn compare(kafka: &[(String, Vec<Step>)], klamm: &[(String, Vec<Step>)]) -> Report {
    let mut report = Report::default();
    let names =
        |side: &[(String, Vec<Step>)]| side.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(kafka), names(klamm), "both had the same conversation: record it again");
    for ((case, theirs), (_, ours)) in kafka.iter().zip(klamm) {
        assert_eq!(theirs.len(), ours.len(), "{case}: as many replies from both");
        for (step, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
            compare_step(&mut report, case, step, theirs, ours);
        }
    }
    report
}

fn compare_step(report: &mut Report, case: &str, step: usize, theirs: &Step, ours: &Step) {
    let (api, version) = (theirs.api, theirs.version);
    assert_eq!((api, version), (ours.api, ours.version), "{case}: the same request to both");
    report.replies += 1;
    if is_unforeseen(theirs) {
        report.unforeseen += 1;
        return;
    }
    let absent = "absent".to_owned();
    let all =
        theirs.fields.keys().chain(ours.fields.keys().filter(|f| !theirs.fields.contains_key(*f)));
    let mut fields = Vec::new();
    for field in all.filter(|field| is_compared(api, field)) {
        report.fields += 1;
        let of = |side: &Step| side.fields.get(field).unwrap_or(&absent).clone();
        let (theirs, ours) = (of(theirs), of(ours));
        if theirs == ours {
            continue;
        }
        if MEANT.iter().any(|(of, part, _)| case.starts_with(of) && field.contains(part)) {
            report.meant += 1;
        } else {
            fields.push((field.clone(), theirs, ours));
        }
    }
    if !fields.is_empty() {
        report.differences.push(Difference { case: case.to_owned(), step, api, version, fields });
    }
}

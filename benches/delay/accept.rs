//! What taking delayed records costs: beside plain produce, when they are cancelled, and when a
//! great many are pending.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::produce::{Send, pipelined};
use crate::wire::{self, Kind};
use crate::{Options, TOPICS, cpu, now_us};

const HOUR_MS: i64 = 3_600_000;
/// Rounds of `accept`: each ratio is of one round.
const ROUNDS: u64 = 3;
/// INVALID_RECORD
const REFUSED: i16 = 87;

/// Records of one leg, and what the broker's processor and the clock had to say.
struct Leg {
    per_second: f64,
    cpu_s_per_100k: Option<f64>,
}

fn leg(
    options: &Options,
    fill: impl FnOnce(&Options, &mut Send<'_>) -> io::Result<()>,
) -> io::Result<Leg> {
    let cpu_before = options.pid.and_then(cpu::cpu_seconds);
    let seconds = pipelined(&options.target, |send| fill(options, send))?;
    let cpu_s = cpu_before.zip(options.pid.and_then(cpu::cpu_seconds)).map(|(a, b)| b - a);
    let count = options.count as f64;
    Ok(Leg { per_second: count / seconds, cpu_s_per_100k: cpu_s.map(|cpu| cpu * 1e5 / count) })
}

/// `count` records from `first` on, one batch after the other to each partition in turn.
fn records(
    options: &Options,
    kind: Kind,
    first: u64,
    due_ms: impl Fn(u64) -> i64,
    send: &mut Send<'_>,
) -> io::Result<()> {
    let topic = TOPICS[usize::from(kind == Kind::Live)];
    for (turn, begin) in (0_i64..).zip((0..options.count).step_by(options.batch_records)) {
        let end = options.count.min(begin + options.batch_records as u64);
        let due: Vec<i64> = (first + begin..first + end).map(&due_ms).collect();
        let batch = wire::batch(&due, first + begin, options.record_bytes, kind);
        let partition = i32::try_from(turn % i64::from(options.partitions)).expect("a partition");
        send(topic, partition, &batch)?;
    }
    Ok(())
}

/// Plain produce, delayed records, and delayed records with ids, in turn.
pub fn against_plain(options: &Options) -> io::Result<Value> {
    let due_ms = now_us() / 1_000 + HOUR_MS;
    let mut legs: [Vec<Leg>; 3] = Default::default();
    for round in 0..ROUNDS {
        for (kind, legs) in [Kind::Live, Kind::Delayed, Kind::WithId].into_iter().zip(&mut legs) {
            let first = (round * 3 + kind as u64) * options.count;
            let fill = |options: &Options, send: &mut Send<'_>| {
                records(options, kind, first, |_| due_ms, send)
            };
            legs.push(leg(options, fill)?);
        }
    }
    let [plain, delayed, with_id] = &legs;
    let ratio = |legs: &[Leg]| {
        median(legs.iter().zip(plain).map(|(leg, plain)| leg.per_second / plain.per_second))
    };
    Ok(json!({
        "plain_per_second": median(plain.iter().map(|leg| leg.per_second)),
        "delayed_per_second": median(delayed.iter().map(|leg| leg.per_second)),
        "with_id_per_second": median(with_id.iter().map(|leg| leg.per_second)),
        "delayed_to_plain": ratio(delayed), "with_id_to_plain": ratio(with_id),
        "plain_cpu_s_per_100k": median(plain.iter().filter_map(|leg| leg.cpu_s_per_100k)),
        "delayed_cpu_s_per_100k": median(delayed.iter().filter_map(|leg| leg.cpu_s_per_100k)),
        "with_id_cpu_s_per_100k": median(with_id.iter().filter_map(|leg| leg.cpu_s_per_100k)),
    }))
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Records with ids, which are then all cancelled by id, in the order in which they came.
pub fn cancels(options: &Options) -> io::Result<Value> {
    let now_ms = now_us() / 1_000;
    // Ids of a run of its own, so that a directory can be used again.
    let first = now_ms.unsigned_abs() << 20;
    leg(options, |options, send| {
        records(options, Kind::WithId, first, |_| now_ms + HOUR_MS, send)
    })?;
    let cancelled =
        leg(options, |options, send| records(options, Kind::Cancel, first, |_| 0, send))?;
    let left = wire::batch(&[0], first, 0, Kind::StrictCancel);
    let mut stream = wire::connect(&options.target)?;
    io::Write::write_all(&mut stream, &wire::produce(TOPICS[0], 0, &left))?;
    let code = wire::produced(&wire::answer(&mut stream)?);
    if code != REFUSED {
        return Err(io::Error::other(format!("a record was not cancelled: error code {code}")));
    }
    Ok(json!({
        "cancels_per_second": cancelled.per_second,
        "cancel_cpu_s_per_100k": cancelled.cpu_s_per_100k,
    }))
}

/// Records that are due between an hour and thirty days from now, in no order; with the broker's
/// memory behind them.
pub fn pending(options: &Options) -> io::Result<Value> {
    const SPREAD_MS: u64 = 30 * 86_400_000;
    let from_ms = now_us() / 1_000 + HOUR_MS;
    let due_ms = |number: u64| {
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
        from_ms + i64::try_from(spread % SPREAD_MS).expect("a month")
    };
    let filled = leg(options, |options, send| records(options, Kind::Delayed, 0, due_ms, send))?;
    let memory = options.pid.map(memory_mib).transpose()?;
    Ok(json!({
        "accepted_per_second": filled.per_second, "cpu_s_per_100k": filled.cpu_s_per_100k,
        "rss_mib": memory.map(|(now, _)| now), "peak_rss_mib": memory.map(|(_, peak)| peak),
    }))
}

/// Resident memory of a process, now and at its highest.
fn memory_mib(pid: u32) -> io::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = field("VmRSS:").zip(field("VmHWM:"));
    kib.map(|(now, peak)| (now >> 10, peak >> 10)).ok_or(io::ErrorKind::InvalidData.into())
}

/// Prints figures as lines, or as JSON.
pub fn report(options: &Options, mut figures: Value, took: Duration) -> io::Result<()> {
    figures["records"] = json!(options.count);
    figures["seconds"] = json!(took.as_secs_f64());
    crate::print(options, &figures)
}

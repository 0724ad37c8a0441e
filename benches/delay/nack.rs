//! A flood of nacks: each of `--count` records fails once, in batches of `--batch-records`, beside
//! a probe of live records that is also asked in a quiet time before.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::produce::{Send, pipelined, probe};
use crate::wire::{self, Kind, Nacked};
use crate::{Options, cpu, now_us, sleep_until};

const TOPIC: &str = "delay-bench-nacked";
const GROUP: &str = "delay-bench";
const QUIET_US: i64 = 5_000_000;
/// Back-off of the nacks: none comes back during the run.
const BACK_OFF: &str = "1h";

/// Plain records, then a nack of each. With `dead` they become dead letters.
pub fn flood(options: &Options) -> io::Result<Value> {
    wire::create_topic(&options.target, TOPIC, options.partitions)?;
    let plain_s = pipelined(&options.target, |send| {
        batches(options, send, |first, count| {
            wire::batch(&vec![0; count], first.unsigned_abs(), options.record_bytes, Kind::Live)
        })
    })?;
    wire::commit(&options.target, GROUP, TOPIC)?;
    let quiet = probing(options, || {
        sleep_until(now_us() + QUIET_US);
        Ok(0.0)
    })?;
    let cpu_before = options.pid.and_then(cpu::cpu_seconds);
    let flood = probing(options, || {
        pipelined(&options.target, |send| {
            batches(options, send, |first, count| {
                let as_what = if options.dead { Nacked::Dead } else { Nacked::Delayed(BACK_OFF) };
                wire::nacks(GROUP, first, count, as_what)
            })
        })
    })?;
    let cpu_s = cpu_before.zip(options.pid.and_then(cpu::cpu_seconds)).map(|(a, b)| b - a);
    let count = options.count as f64;
    let p99 = |histogram: &Histogram<u64>| histogram.value_at_percentile(99.0);
    Ok(json!({
        "plain_per_second": count / plain_s, "nacks_per_second": count / flood.1,
        "nack_to_plain": plain_s / flood.1,
        "live_p99_us_quiet": p99(&quiet.0), "live_p99_us_beside": p99(&flood.0),
        "cpu_s_per_100k": cpu_s.map(|cpu| cpu * 1e5 / count),
    }))
}

/// What the probe saw while `work` ran, and what that returned.
fn probing(
    options: &Options,
    work: impl FnOnce() -> io::Result<f64>,
) -> io::Result<(Histogram<u64>, f64)> {
    let done = Arc::new(AtomicBool::new(false));
    let (target, probed) = (options.target.clone(), done.clone());
    let prober = thread::spawn(move || probe(&target, 0, &probed));
    let outcome = work();
    done.store(true, Ordering::Release);
    let histogram = prober.join().expect("the probe does not panic")?;
    Ok((histogram, outcome?))
}

/// Sends a batch for every `batch_records` offsets, to each partition in turn.
fn batches(
    options: &Options,
    send: &mut Send<'_>,
    make: impl Fn(i64, usize) -> bytes::Bytes,
) -> io::Result<()> {
    let each = options.batch_records;
    let turns = options.count.div_ceil(each as u64);
    for turn in 0..i64::try_from(turns).expect("few batches") {
        let partitions = i64::from(options.partitions);
        let first = turn / partitions * i64::try_from(each).expect("a batch is small");
        let partition = i32::try_from(turn % partitions).expect("a partition");
        send(TOPIC, partition, &make(first, each))?;
    }
    Ok(())
}

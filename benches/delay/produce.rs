//! What is sent: the delayed records, live traffic beside them, and the probe.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use hdrhistogram::Histogram;

use crate::wire::Kind;
use crate::{Options, TOPICS, Work, histogram, now_us, sleep_until, wire};

/// One batch each so many microseconds, of `late`.
const TICK_US: i64 = 5_000;
/// Requests on the way, so that acceptance is pipelined as clients do it.
const IN_FLIGHT: usize = 20;
const STORM_BATCH: u64 = 500;

/// Sends a batch to a partition of a topic.
pub type Send<'a> = dyn FnMut(&'static str, i32, &[u8]) -> io::Result<()> + 'a;

/// Sends all delayed records; returns the seconds until the last was acknowledged.
pub fn delayed(options: &Options) -> io::Result<f64> {
    let started_us = now_us();
    pipelined(&options.target, |send| match options.work {
        Work::Storm => at_once(options, started_us, send),
        _ => evenly(options, started_us, send),
    })
}

/// Sends batches with many on the way; returns the seconds until the last was acknowledged.
pub fn pipelined(
    target: &str,
    fill: impl FnOnce(&mut Send<'_>) -> io::Result<()>,
) -> io::Result<f64> {
    let mut stream = wire::connect(target)?;
    let mut answers = stream.try_clone()?;
    let (sent, to_answer) = mpsc::sync_channel::<()>(IN_FLIGHT);
    let reader = thread::spawn(move || -> io::Result<()> {
        for () in to_answer {
            let code = wire::produced(&wire::answer(&mut answers)?);
            if code != 0 {
                return Err(io::Error::other(format!("produce: error code {code}")));
            }
        }
        Ok(())
    });
    let started_us = now_us();
    let filled = fill(&mut |topic, partition, batch| {
        sent.send(()).map_err(|_| io::Error::other("an answer was an error"))?;
        stream.write_all(&wire::produce(topic, partition, batch))
    });
    drop(sent);
    // An answer that was an error says more than that there was one.
    reader.join().expect("the reader does not panic")?;
    filled?;
    Ok((now_us() - started_us) as f64 / 1e6)
}

fn evenly(options: &Options, started_us: i64, send: &mut Send<'_>) -> io::Result<()> {
    let records = options.rate * options.seconds;
    let step_us = 1e6 / options.rate as f64;
    let mut next = 0_u64;
    let mut tick = 0_i64;
    while next < records {
        let moment_us = started_us + tick * TICK_US;
        sleep_until(moment_us);
        let until = ((tick + 1) * TICK_US) as f64 / step_us;
        let until = (until as u64).min(records);
        if until > next {
            let due = |number: u64| started_us + (number as f64 * step_us) as i64;
            let due: Vec<i64> = (next..until).map(|n| due(n) / 1_000 + options.delay_ms).collect();
            let batch = wire::batch(&due, next, options.record_bytes, Kind::Delayed);
            let partition = tick % i64::from(options.partitions);
            send(TOPICS[0], i32::try_from(partition).expect("below the partitions"), &batch)?;
            next = until;
        }
        tick += 1;
    }
    Ok(())
}

fn at_once(options: &Options, started_us: i64, send: &mut Send<'_>) -> io::Result<()> {
    let due = [started_us / 1_000 + options.delay_ms; STORM_BATCH as usize];
    for (turn, first) in (0_i64..).zip((0..options.count).step_by(STORM_BATCH as usize)) {
        let count = STORM_BATCH.min(options.count - first);
        let count = usize::try_from(count).expect("a batch is small");
        let batch = wire::batch(&due[..count], first, options.record_bytes, Kind::Delayed);
        let partition = turn % i64::from(options.partitions);
        send(TOPICS[0], i32::try_from(partition).expect("below the partitions"), &batch)?;
    }
    Ok(())
}

/// Single live records, one at a time, until `done`: how long each took to be acknowledged, of those
/// from a moment on.
pub fn probe(target: &str, from_us: i64, done: &AtomicBool) -> io::Result<Histogram<u64>> {
    const EVERY_US: i64 = 2_000;
    let mut stream = wire::connect(target)?;
    let mut latency_us = histogram();
    while !done.load(Ordering::Acquire) {
        let began_us = now_us();
        let batch = wire::batch(&[0], 0, 100, Kind::Live);
        stream.write_all(&wire::produce(TOPICS[1], 0, &batch))?;
        if wire::produced(&wire::answer(&mut stream)?) != 0 {
            return Err(io::Error::other("the probe's record was refused"));
        }
        if began_us >= from_us {
            latency_us.saturating_record((now_us() - began_us).unsigned_abs().max(1));
        }
        sleep_until(began_us + EVERY_US);
    }
    Ok(latency_us)
}

/// Live traffic at a fixed rate until `done`; returns the bytes that were acknowledged.
pub fn beside(options: &Options, done: &AtomicBool) -> io::Result<u64> {
    let mut bytes = 0;
    if options.beside_mb_per_s == 0 {
        return Ok(bytes);
    }
    let batch = wire::batch(&[0; 64], 0, 1_000, Kind::Live);
    let mut stream = wire::connect(&options.target)?;
    let every_us = batch.len() as i64 / i64::try_from(options.beside_mb_per_s).unwrap_or(1);
    let mut next_us = now_us();
    for turn in 0_i32.. {
        if done.load(Ordering::Acquire) {
            break;
        }
        sleep_until(next_us);
        next_us += every_us;
        stream.write_all(&wire::produce(TOPICS[1], turn % options.partitions, &batch))?;
        if wire::produced(&wire::answer(&mut stream)?) == 0 {
            bytes += batch.len() as u64;
        }
    }
    Ok(bytes)
}

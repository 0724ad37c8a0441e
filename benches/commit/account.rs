//! What a run cost.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// CPU time so far: this process by the scheduler's account, the machine by /proc/stat.
pub struct Usage {
    process: Duration,
    machine: Duration,
}

impl Usage {
    pub fn now() -> Self {
        let own = std::fs::read_dir("/proc/self/task").expect("proc is mounted");
        let nanos = own.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        let process = Duration::from_nanos(nanos.sum());
        let stat = std::fs::read_to_string("/proc/stat").expect("proc is mounted");
        let line = stat.lines().next().unwrap_or_default();
        let ticks = line.split_whitespace().skip(1).filter_map(|ticks| ticks.parse::<u64>().ok());
        // user nice system (idle iowait) irq softirq steal
        let busy = ticks.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
        let machine = Duration::from_millis(10 * busy.map(|(_, ticks)| ticks).sum::<u64>());
        Self { process, machine }
    }
}

/// Figures of one run.
pub struct Report {
    request_bytes: usize,
    pub commits: u64,
    latency_micros: Histogram<u64>,
    wall: Duration,
    process: Duration,
    machine: Duration,
}

impl Report {
    pub fn new(request_bytes: usize) -> Self {
        let latency_micros =
            Histogram::new_with_max(60_000_000, 3).expect("the bounds are in order");
        let zero = Duration::ZERO;
        Self { request_bytes, commits: 0, latency_micros, wall: zero, process: zero, machine: zero }
    }

    pub fn completed(&mut self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.saturating_record(micros);
    }

    pub fn end(&mut self, wall: Duration, begun: &Usage) {
        let now = Usage::now();
        self.wall = wall;
        self.process = now.process.saturating_sub(begun.process);
        self.machine = now.machine.saturating_sub(begun.machine);
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "figures for eyes")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.latency_micros.len() as f64;
        let seconds = self.wall.as_secs_f64();
        let gb = requests * self.request_bytes as f64 / 1e9;
        let micros = |spent: Duration, per: f64| spent.as_secs_f64() * 1e6 / per.max(1.0);
        write!(
            f,
            "{:>7.0} req/s {:>5.2} GB/s  p50 {:>6} p99 {:>6} max {:>6} us  per request {:>6.1} us \
             (machine {:>6.1})  per GB {:>5.2} s ({:>5.2})  {:>6.1} us per commit of {:>5.1}",
            requests / seconds,
            gb / seconds,
            self.latency_micros.value_at_percentile(50.0),
            self.latency_micros.value_at_percentile(99.0),
            self.latency_micros.max(),
            micros(self.process, requests),
            micros(self.machine, requests),
            self.process.as_secs_f64() / gb,
            self.machine.as_secs_f64() / gb,
            micros(self.process, self.commits as f64),
            requests / (self.commits as f64).max(1.0),
        )
    }
}

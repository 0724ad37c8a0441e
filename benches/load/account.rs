//! What a run cost: the broker's CPU time and memory as the kernel accounts them, and the report.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Peak resident memory of a process.
pub fn peak_rss_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Figures of one run.
pub struct Report {
    pub requests: u64,
    pub records: u64,
    pub bytes: u64,
    pub wall: Duration,
    pub latency_us: Histogram<u64>,
    pub broker_cpu_seconds: Option<f64>,
    pub broker_peak_rss_bytes: Option<u64>,
}

impl Report {
    fn percentile_us(&self, percentile: f64) -> u64 {
        self.latency_us.value_at_percentile(percentile)
    }

    fn per_gb(&self) -> Option<f64> {
        Some(self.broker_cpu_seconds? / (self.bytes as f64 / 1e9))
    }

    fn us_per_request(&self) -> Option<f64> {
        Some(self.broker_cpu_seconds? * 1e6 / self.requests as f64)
    }

    fn per_million_records(&self) -> Option<f64> {
        Some(self.broker_cpu_seconds? * 1e6 / self.records as f64)
    }

    pub fn json(&self) -> serde_json::Value {
        let seconds = self.wall.as_secs_f64();
        serde_json::json!({
            "requests": self.requests, "records": self.records, "bytes": self.bytes,
            "seconds": seconds, "requests_per_second": self.requests as f64 / seconds,
            "gb_per_second": self.bytes as f64 / 1e9 / seconds,
            "p50_us": self.percentile_us(50.0), "p99_us": self.percentile_us(99.0),
            "p999_us": self.percentile_us(99.9), "max_us": self.latency_us.max(),
            "cpu_seconds": self.broker_cpu_seconds, "cpu_s_per_gb": self.per_gb(),
            "cpu_us_per_request": self.us_per_request(),
            "cpu_s_per_million_records": self.per_million_records(),
            "peak_rss_bytes": self.broker_peak_rss_bytes,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.wall.as_secs_f64();
        writeln!(
            f,
            "{} requests, {:.3} GB in {seconds:.2} s: {:.0} requests/s, {:.3} GB/s",
            self.requests,
            self.bytes as f64 / 1e9,
            self.requests as f64 / seconds,
            self.bytes as f64 / 1e9 / seconds,
        )?;
        write!(f, "latency us:")?;
        for percentile in [50.0, 90.0, 99.0, 99.9, 99.99] {
            write!(f, " p{percentile} {}", self.percentile_us(percentile))?;
        }
        write!(f, " max {}", self.latency_us.max())?;
        if let (Some(gb), Some(us), Some(million)) =
            (self.per_gb(), self.us_per_request(), self.per_million_records())
        {
            write!(f, "\nbroker CPU: {gb:.3} s/GB, {us:.1} us/request, {million:.2} s/M records")?;
        }
        if let Some(rss) = self.broker_peak_rss_bytes {
            write!(f, "; peak RSS {:.1} MiB", rss as f64 / 1_048_576.0)?;
        }
        Ok(())
    }
}

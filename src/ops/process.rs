//! The process: its descriptor limit, and its numbers for the metrics.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::base::metrics::{Text, sampled};

/// Raises the soft limit of open files to the hard one. Returns the limit in force; `None` stands
/// for no limit. A connection takes one descriptor, an active partition a few.
pub fn raise_open_file_limit() -> Option<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Resources the process uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub resident_bytes: u64,
    pub cpu: Duration,
    pub open_files: u64,
}

impl Usage {
    /// Reads procfs; what can't be read is zero.
    #[must_use]
    pub fn now() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let pages: u64 =
            statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
        Self {
            resident_bytes: pages * rustix::param::page_size() as u64,
            cpu: cpu_time(&stat),
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        }
    }

    pub fn render(&self, text: &mut Text) {
        text.single(&sampled::PROCESS_RESIDENT_BYTES, &[], self.resident_bytes);
        text.single(&sampled::PROCESS_CPU_SECONDS, &[], self.cpu.as_secs_f64());
        text.single(&sampled::PROCESS_OPEN_FILES, &[], self.open_files);
    }
}

/// User and system time, fields 14 and 15 of `/proc/<pid>/stat` (proc(5)), in clock ticks. Counted
/// from behind the program's name, which may itself hold spaces and parentheses.
fn cpu_time(stat: &str) -> Duration {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_this_process_are_plausible() {
        let usage = Usage::now();
        assert!(usage.resident_bytes > 1 << 20);
        assert!(usage.open_files >= 3);
    }

    #[test]
    fn a_program_s_name_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 300 200 0 0 20";
        let tick = Duration::from_secs(1)
            / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
        assert_eq!(cpu_time(stat), tick * 500);
        assert_eq!(cpu_time("nonsense"), Duration::ZERO);
    }

    #[test]
    fn the_limit_of_open_files_is_at_its_hard_bound() {
        let raised = raise_open_file_limit();
        assert_eq!(raised, rustix::process::getrlimit(Resource::Nofile).current);
    }
}

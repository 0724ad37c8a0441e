//! CPU time of another process, as the kernel accounts it.

/// Kernel clock ticks per second in /proc; fixed at 100 on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds (user and system) of a process so far.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces; fields are counted from behind its closing bracket.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    // Scheduler run time is exact where the kernel gives it for the whole thread group.
    Some(exact_seconds(pid).unwrap_or(ticks / TICKS_PER_SECOND))
}

/// Sum of the run times of all threads, in nanoseconds resolution.
fn exact_seconds(pid: u32) -> Option<f64> {
    let mut total = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(total / 1e9)
}

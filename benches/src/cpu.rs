//! CPU time and memory of this process.

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU time that this process has used since it began, µs.
#[derive(Debug, Clone, Copy)]
pub struct CpuTime {
    /// In its own code.
    pub user_us: f64,
    /// In the kernel on its behalf.
    pub system_us: f64,
}

/// Now.
pub fn used() -> Result<CpuTime> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    Ok(CpuTime { user_us: micros(usage.user_time()), system_us: micros(usage.system_time()) })
}

fn micros(time: TimeVal) -> f64 {
    time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64
}

/// CPU time that another process has used since it began, µs.
pub fn used_by(pid: u32) -> Result<f64> {
    let mut nanos = 0;
    // Per thread, in ns: what /proc/PID/stat says is in ticks of 10 ms.
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("/proc/PID/task")? {
        let path = task?.path().join("schedstat");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        nanos += text.split_whitespace().next().context("schedstat")?.parse::<u64>().context("schedstat")?;
    }
    Ok(nanos as f64 / 1e3)
}

/// Resident memory of this process, KiB.
pub fn resident_kib() -> Result<u64> {
    resident_kib_of(std::process::id())
}

/// Resident memory of a process, KiB.
pub fn resident_kib_of(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("/proc/PID/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let number = line.split_whitespace().next().context("VmRSS without a number")?;
    number.parse().context("VmRSS")
}

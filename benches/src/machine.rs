//! Where it was measured.

use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

/// What a reader needs to judge the figures.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// CPUs that this process may use.
    pub cores: usize,
    /// Their model.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// memcached's version, and how it is started.
    pub memcached: String,
    /// Load averages of 1, 5 and 15 minutes before the run; well above 0 means that others used the machine.
    pub load_before: String,
}

impl Machine {
    /// This one, now.
    pub fn describe() -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name.trim());
        let version = Command::new("memcached").arg("--version").output().context("memcached --version")?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        let load = read("/proc/loadavg")?;
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu.to_owned(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            memcached: format!("{version}, {}", crate::server::ARGUMENTS.join(" ")),
            load_before: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        })
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        format!(
            "- CPU: {} cores, {}\n- kernel: {}\n- memcached: {}\n- load averages before the run: {}\n",
            self.cores, self.cpu, self.kernel, self.memcached, self.load_before
        )
    }
}

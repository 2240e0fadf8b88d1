//! Who a process is, so that a later one with the same pid is not taken for it.
#![allow(clippy::disallowed_methods, reason = "the kernel's own files are no registry files")]

use std::fs;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub host: String,
    pub boot_id: String,
    /// The pid namespace: pids of another one say nothing.
    pub namespace: String,
    pub pid: u32,
    pub start_ticks: u64,
}

impl Identity {
    pub fn of_this_process() -> Self {
        let pid = std::process::id();
        Self {
            host: host_name(),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            namespace: namespace(),
            pid,
            start_ticks: start_ticks(pid).unwrap_or(0),
        }
    }

    /// Whether pids of `other` can be judged from here.
    pub fn shares_pids_with(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id && self.namespace == other.namespace
    }
}

pub fn host_name() -> String {
    text("/proc/sys/kernel/hostname")
}

/// Whether the process that had `pid` and started at `ticks` still runs.
pub fn is_alive(pid: u32, ticks: u64) -> bool {
    start_ticks(pid).is_some_and(|found| found == ticks)
}

/// Field 22 of `/proc/PID/stat`; none for a process that is gone or a zombie.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // The command's name stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    match *fields.first()? {
        "Z" | "X" => None,
        _ => fields.get(19)?.parse().ok(),
    }
}

fn namespace() -> String {
    fs::read_link("/proc/self/ns/pid")
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

//! Whether the kernel killed for want of memory: the counter of this process's memory cgroup.
#![allow(clippy::disallowed_methods, reason = "the kernel's own files are no registry files")]

use std::fs;
use std::path::{Path, PathBuf};

/// The counter, and what it was at the last look.
pub(crate) struct OomCounter {
    file: Option<PathBuf>,
    seen: u64,
}

impl OomCounter {
    pub(crate) fn of_this_process() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let file = candidates(&groups, Path::new("/sys/fs/cgroup"))
            .into_iter()
            .find(|file| count(file).is_some());
        let seen = file.as_deref().and_then(count).unwrap_or(0);
        Self { file, seen }
    }

    /// Whether it rose since the last look.
    pub(crate) fn rose(&mut self) -> bool {
        let now = self.file.as_deref().and_then(count).unwrap_or(self.seen);
        let rose = now > self.seen;
        self.seen = now;
        rose
    }
}

/// Files that may hold the counter, the most specific first. In a container the path of the
/// group may not be visible; its own group is then mounted as the root.
fn candidates(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let below = path.trim_start_matches('/');
        if controllers.split(',').any(|c| c == "memory") {
            let v1 = mount.join("memory");
            files.push(v1.join(below).join("memory.oom_control"));
            files.push(v1.join("memory.oom_control"));
        } else if controllers.is_empty() {
            files.push(mount.join(below).join("memory.events"));
            files.push(mount.join("memory.events"));
        }
    }
    files
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_found() {
        let files = candidates("4:memory:/a/b\n3:cpu:/\n0::/c\n", Path::new("/m"));
        let names: Vec<&str> = files.iter().filter_map(|f| f.to_str()).collect();
        assert_eq!(
            names,
            [
                "/m/memory/a/b/memory.oom_control",
                "/m/memory/memory.oom_control",
                "/m/c/memory.events",
                "/m/memory.events",
            ]
        );
    }
}

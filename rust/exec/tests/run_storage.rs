//! File systems that are full or may not be written. Needs the right to mount; else it is said.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]
#![allow(clippy::print_stderr, reason = "tests say what they could not try")]

mod run_support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use run_support::{Case, case};

/// The runs folder on a small file system of its own, gone with this value.
struct Small {
    at: String,
}

impl Small {
    fn below(case: &Case, size: &str) -> Option<Self> {
        let at = case.layout.runs();
        std::fs::create_dir_all(&at).unwrap();
        let at = at.to_string_lossy().into_owned();
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none", &at])
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("not tried: this user may not mount");
            return None;
        }
        Some(Self { at })
    }

    fn grow(&self) {
        let done =
            Command::new("mount").args(["-o", "remount,size=64m", &self.at]).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

const PRINTED: &str = "def fun(x):\n    return 'r' * 3000\nrows = [(i,) for i in range(400)]";

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let case = case(PRINTED, |_| {});
    let Some(small) = Small::below(&case, "256k") else { return };
    let mut child = case.spawn();
    std::thread::sleep(Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    let before = case.read_whole(0, 0).ended.len();
    assert!(before < 400);
    small.grow();
    let status = child.wait().unwrap();
    assert!(status.success());
    let ran = case.read_whole(0, 0);
    assert_eq!(ran.ended.len(), 400);
    assert!(case.layout.run(case.id(0, 0), 1).exists());
    assert_eq!(ran.kinds.last(), Some(&"closed"));
}

#[test]
fn a_disk_that_stays_full_is_given_up_in_time() {
    let case = case(PRINTED, |limits| limits.walltime = Some(5.0));
    let Some(_small) = Small::below(&case, "256k") else { return };
    let output = case.run();
    assert_eq!(output.status.code(), Some(74));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("results are lost"), "{said}");
    assert!(said.contains("No space left") && said.contains(&small_path(&case)), "{said}");
}

fn small_path(case: &Case) -> String {
    case.runs_folder().to_string_lossy().into_owned()
}

#[test]
fn an_unwritable_folder_is_said_before_any_job() {
    let case = case("def fun(x): pass\nrows = [(1,)]", |_| {});
    std::fs::create_dir_all(case.layout.runs()).unwrap();
    let marked = Command::new("chattr").args(["+i"]).arg(case.layout.runs()).output();
    if !marked.is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: this user may not make a folder immutable");
        return;
    }
    let output = case.run();
    Command::new("chattr").args(["-i"]).arg(case.layout.runs()).status().unwrap();
    assert_eq!(output.status.code(), Some(73));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("as user 0") && said.contains("mode 0"), "{said}");
}

/// A memory cgroup around executor and workers, if one can be made.
fn memory_group() -> Option<String> {
    let group = format!("/sys/fs/cgroup/memory/batchwright-test-{}", std::process::id());
    std::fs::create_dir(&group).ok()?;
    let limited = std::fs::write(Path::new(&group).join("memory.limit_in_bytes"), "300M").is_ok();
    let _no_swap = std::fs::write(Path::new(&group).join("memory.memsw.limit_in_bytes"), "300M");
    limited.then_some(group)
}

#[test]
fn want_of_memory_that_kills_is_named() {
    let Some(group) = memory_group() else {
        eprintln!("not tried: no memory cgroup can be made");
        return;
    };
    let script = "def fun(x):\n    b = bytearray(x)\n    for i in range(0, x, 4096): b[i] = 1\n    \
                  return len(b)\nrows = [(10,), (900 << 20,), (20,)]";
    let case = case(script, |_| {});
    let enter = format!("echo $$ > {group}/cgroup.procs; exec \"$0\" \"$@\"");
    let plain = case.command();
    let output = Command::new("sh")
        .arg("-c")
        .arg(enter)
        .arg(plain.get_program())
        .args(plain.get_args())
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    let _gone = std::fs::remove_dir(&group);
    assert!(output.status.success());
    let ran = case.read(0, 0);
    let causes: Vec<_> = ran.ended.values().map(|e| e.cause).collect();
    assert_eq!(causes, [None, Some(batchwright_core::run::Cause::Oom), None]);
    assert!(ran.ended[&2].failure.message.contains("out of memory"));
}

//! Runs that end early, and runs after them.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]

mod run_support;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use batchwright_core::run::Cause;
use run_support::{Case, case, case_of_tasks};

const SLEEPERS: &str = "import time\ndef fun(x):\n    if x: time.sleep(x)\n    return x\n\
                        rows = [(0,), (0,), (60,), (60,), (0,), (0,)]";

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits until the first run holds a start of that job.
fn wait_for_start(case: &Case, run: u32, job: u32) {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if case.layout.run(case.id(0, run), 0).exists() && case.read(0, run).started.contains(&job)
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("job {job} did not start");
}

fn wait(mut child: Child, seconds: u64) -> i32 {
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it did not end within {seconds} s");
}

#[test]
fn signals_stop_running_jobs_and_give_the_rest_back() {
    for name in ["TERM", "USR1", "INT", "XCPU"] {
        let case = case(SLEEPERS, |_| {});
        let child = case.spawn();
        wait_for_start(&case, 0, 3);
        signal(&child, name);
        assert_eq!(wait(child, 5), 0);
        let ran = case.read(0, 0);
        let causes: Vec<_> = ran.ended.iter().map(|(job, e)| (*job, e.cause)).collect();
        assert_eq!(causes, [(1, None), (2, None), (3, Some(Cause::Stopped))]);
        let closed = ran.closed.unwrap();
        assert_eq!(closed.cause, Some(Cause::NotStarted));
        assert_eq!(closed.message, format!("stopped by SIG{name}"));
    }
}

#[test]
fn a_later_run_skips_what_has_ended() {
    let script = r#"
import time, os
def fun(x):
    if x == 5: raise ValueError(x)
    if x == 3 and not os.path.exists("second"): time.sleep(60)
    with open(f"ran-{x}", "a") as file: file.write("x")
    return x
rows = [(1,), (5,), (3,), (4,)]
"#;
    let case = case(script, |_| {});
    let child = case.spawn();
    wait_for_start(&case, 0, 3);
    signal(&child, "TERM");
    wait(child, 5);
    std::fs::write(case.folder.path().join("work/second"), b"").unwrap();
    assert!(case.run().status.success());
    let second = case.read(0, 1);
    assert_eq!(second.ended.keys().copied().collect::<Vec<_>>(), [3, 4]);
    let times = std::fs::read(case.folder.path().join("work/ran-1")).unwrap();
    assert_eq!(times, b"x");
}

#[test]
fn a_killed_executor_takes_its_workers_along_and_keeps_what_it_wrote() {
    let case = case(SLEEPERS, |_| {});
    let mut child = case.spawn();
    wait_for_start(&case, 0, 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(case.read(0, 0).ended.len(), 2);
    std::thread::sleep(Duration::from_millis(200));
    let mine = format!("BATCHWRIGHT_CHUNK={}", case.chunk);
    let environments = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok());
    let left = environments.filter(|e| e.windows(mine.len()).any(|w| w == mine.as_bytes()));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_void_ends_it_before_any_job() {
    let case = case(SLEEPERS, |_| {});
    case.publish_void(0);
    let output = case.run();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1);
    assert!(said.contains("taken back by the owner: killed"), "{said}");
    assert_eq!(case.read(0, 0).kinds, ["void"]);
    assert!(!case.layout.run(case.id(0, 1), 0).exists());
}

#[test]
fn a_void_of_the_next_run_stops_this_one() {
    let case = case(SLEEPERS, |_| {});
    let child = case.command().args(["--beat", "0.2"]).spawn().unwrap();
    wait_for_start(&case, 0, 3);
    case.publish_void(1);
    assert_eq!(wait(child, 5), 0);
    let ran = case.read(0, 0);
    assert_eq!(ran.ended.len(), 2);
    assert_eq!(ran.closed.unwrap().cause, Some(Cause::Killed));
}

#[test]
fn a_superseded_run_finishes_its_job_and_takes_no_other() {
    let script = "import time\ndef fun(x):\n    time.sleep(x)\n    return x\n\
                  rows = [(2,), (0,), (0,)]";
    let case = case(script, |_| {});
    let child = case.command().args(["--beat", "0.2"]).spawn().unwrap();
    wait_for_start(&case, 0, 1);
    assert!(case.run().status.success());
    assert_eq!(wait(child, 10), 0);
    let first = case.read(0, 0);
    assert_eq!(first.ended.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(first.closed.unwrap().message, "superseded");
    assert_eq!(case.read(0, 1).ended.len(), 3);
}

#[test]
fn walltime_ends_it_before_the_scheduler_does() {
    let case = case(SLEEPERS, |limits| limits.walltime = Some(3.0));
    let begun = Instant::now();
    let ran = case.ran();
    let took = begun.elapsed().as_secs_f64();
    assert!((2.5..5.5).contains(&took), "{took}");
    assert_eq!(ran.ended[&3].cause, Some(Cause::Walltime));
    assert_eq!(ran.ended.len(), 3);
    assert_eq!(ran.closed.unwrap().cause, Some(Cause::NotStarted));
}

#[test]
fn no_job_is_begun_that_will_not_fit() {
    let script = "import time\ndef fun(x):\n    time.sleep(1)\nrows = [(i,) for i in range(9)]";
    let case = case(script, |limits| limits.walltime = Some(4.0));
    let begun = Instant::now();
    let ran = case.ran();
    assert!(begun.elapsed().as_secs_f64() < 4.0);
    assert!(ran.ended.values().all(|e| e.cause.is_none()), "{:?}", ran.ended);
    assert!((2..4).contains(&ran.ended.len()), "{}", ran.ended.len());
    assert_eq!(ran.closed.unwrap().cause, Some(Cause::NotStarted));
}

#[test]
fn array_tasks_run_their_own_rows() {
    let case =
        case_of_tasks("def fun(x):\n    return x\nrows = [(i,) for i in range(6)]", 3, |_| {});
    let mut command = case.command();
    assert!(command.env("SLURM_ARRAY_TASK_ID", "2").output().unwrap().status.success());
    let ended: Vec<u32> = case.read(2, 0).ended.keys().copied().collect();
    assert_eq!(ended, [2, 5]);
    let nameless = case.command().output().unwrap();
    assert_eq!(nameless.status.code(), Some(64));
}

#[test]
fn signs_of_life_are_written_while_nothing_happens() {
    let case = case("import time\ndef fun(x): time.sleep(2)\nrows = [(1,)]", |_| {});
    let child = case.command().args(["--beat", "0.3"]).spawn().unwrap();
    assert_eq!(wait(child, 10), 0);
    let marks = case.read(0, 0).kinds.iter().filter(|k| **k == "mark").count();
    assert!(marks >= 4, "{marks}");
}

#[test]
fn inspect_prints_json_lines() {
    let case = case(SLEEPERS.replace("60", "0").as_str(), |_| {});
    case.ran();
    for file in [case.layout.run(case.id(0, 0), 0), case.layout.collection(case.chunk)] {
        let output = Command::new(env!("CARGO_BIN_EXE_batchwright-exec"))
            .arg("inspect")
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success());
        let lines = String::from_utf8(output.stdout).unwrap();
        let parsed = lines.lines().map(serde_json::from_str::<serde_json::Value>);
        assert!(parsed.flatten().count() >= 7, "{lines}");
    }
}

#[test]
fn inspect_prints_files_without_frames_too() {
    let folder = std::env::temp_dir().join(format!("inspect-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes, first, count) in [
        ("registry.json", &b"{\n \"a\": 1}"[..], r#"{"content":"json","length":10}"#, 2),
        ("a.log", b"one\ntwo\n", r#"{"content":"text","length":8}"#, 3),
        ("a.pkl", b"\x80\x05N.", r#"{"content":"pickle","length":4}"#, 1),
        ("a.other", b"\x00\xff", r#"{"content":"binary","length":2}"#, 1),
    ] {
        let file = folder.join(name);
        std::fs::write(&file, bytes).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_batchwright-exec"))
            .arg("inspect")
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.lines().next(), Some(first));
        assert_eq!(lines.lines().count(), count, "{lines}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

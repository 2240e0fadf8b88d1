//! Jobs that succeed, fail and crash, as one executor reports them.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]

mod run_support;

use batchwright_core::run::Cause;
use run_support::case;

#[test]
fn results_come_back_in_one_run_file() {
    let case = case("def fun(x):\n    return x * 2\nrows = [(i,) for i in range(50)]", |_| {});
    let ran = case.ran();
    assert_eq!(ran.ended.len(), 50);
    assert_eq!(case.evaluate(&ran.ended[&50], "r"), "98");
    assert!(ran.ended.values().all(|e| e.cause.is_none() && e.tries == 1));
    assert_eq!(ran.kinds.first(), Some(&"claim"));
    assert_eq!(ran.kinds.last(), Some(&"closed"));
    let closed = ran.closed.unwrap();
    assert_eq!((closed.cause, closed.message.as_str()), (None, ""));
}

const CRASHES: &str = r"
import os, signal, sys, time
def fun(x):
    if x == 3: os.kill(os.getpid(), signal.SIGKILL)
    if x == 5: os._exit(7)
    if x == 8: time.sleep(60)
    return x
rows = [(i,) for i in range(1, 11)]
";

#[test]
fn crashes_cost_only_their_own_jobs() {
    for parallel in [1, 2] {
        let case = case(CRASHES, |limits| {
            limits.parallel = parallel;
            limits.timeout = Some(2.0);
        });
        let ran = case.ran();
        let done = ran.ended.values().filter(|e| e.cause.is_none()).count();
        assert_eq!((ran.ended.len(), done), (10, 7));
        let failed = |job: u32| (ran.ended[&job].cause, ran.ended[&job].failure.message.clone());
        assert_eq!(failed(3), (Some(Cause::Crashed), "killed by SIGKILL".into()));
        assert_eq!(failed(5), (Some(Cause::Crashed), "exited with code 7".into()));
        assert_eq!(failed(8).0, Some(Cause::Timeout));
        assert!(failed(8).1.contains("timeout of 2 s"), "{:?}", failed(8));
        assert!((1.9..4.0).contains(&ran.ended[&8].seconds));
        assert_eq!(ran.closed.unwrap().cause, None);
    }
}

#[test]
fn an_exception_is_an_error_with_its_traceback() {
    let script = "def fun(x):\n    raise ValueError(f'bad {x}')\nrows = [(1,)]";
    let ran = case(script, |_| {}).ran();
    let failure = &ran.ended[&1].failure;
    assert_eq!(ran.ended[&1].cause, Some(Cause::Error));
    assert_eq!((failure.type_name.as_str(), failure.message.as_str()), ("ValueError", "bad 1"));
    assert!(failure.traceback.contains("in fun"), "{}", failure.traceback);
    assert!(!failure.traceback.contains("collection.py"), "{}", failure.traceback);
    assert!(ran.logs[&1].contains("ValueError: bad 1"));
}

#[test]
fn a_segmentation_fault_is_named() {
    let script = "def fun(x):\n    import ctypes\n    if x: ctypes.string_at(0)\n    return x\n\
                  rows = [(0,), (1,), (0,)]";
    let ran = case(script, |_| {}).ran();
    assert_eq!(ran.ended[&2].failure.message, "killed by SIGSEGV");
    assert_eq!(ran.ended.values().filter(|e| e.cause.is_none()).count(), 2);
}

#[test]
fn only_the_last_try_is_reported() {
    let script = r#"
import os
def fun(x):
    with open(f"tries-{x}", "a+") as file:
        file.write("x")
        tries = file.tell()
    if x == 1 and tries < 3: raise RuntimeError("not yet")
    if x == 2: raise RuntimeError("never")
    if x == 3 and tries < 2: os._exit(1)
    return tries
rows = [(1,), (2,), (3,), (4,)]
"#;
    let case = case(script, |limits| limits.retries = 2);
    let ran = case.ran();
    let tries: Vec<u16> = ran.ended.values().map(|e| e.tries).collect();
    assert_eq!(tries, [3, 3, 2, 1]);
    let causes: Vec<_> = ran.ended.values().map(|e| e.cause).collect();
    assert_eq!(causes, [None, Some(Cause::Error), None, None]);
    assert_eq!(case.evaluate(&ran.ended[&1], "r"), "3");
}

#[test]
fn workers_are_replaced() {
    let script = "import os\ndef fun(x):\n    return os.getpid()\nrows = [(i,) for i in range(10)]";
    let case = case(script, |limits| limits.jobs_per_worker = Some(4));
    let ran = case.ran();
    let mut pids: Vec<String> = ran.ended.values().map(|e| case.evaluate(e, "r")).collect();
    assert_eq!(pids.len(), 10);
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

#[test]
fn a_long_job_holds_up_no_other() {
    // The long job comes when many are handed out ahead.
    let script = "import time\ndef fun(x):\n    time.sleep(2 if x == 300 else 0.0005)\n    \
                  return time.time()\nrows = [(i,) for i in range(1000)]";
    let case = case(script, |limits| limits.parallel = 2);
    let begun = std::time::Instant::now();
    let ran = case.ran();
    assert_eq!(ran.ended.len(), 1000);
    let took = begun.elapsed().as_secs_f64();
    assert!(took < 2.9, "{took}");
}

#[test]
fn seeds_depend_on_the_job_alone() {
    let script = r"
import random
def fun(x):
    first = random.random()
    import numpy
    return first, float(numpy.random.random())
rows = [(i,) for i in range(6)]
";
    let random = |parallel: u32, worn: Option<u32>| {
        let case = case(script, |limits| {
            limits.parallel = parallel;
            limits.jobs_per_worker = worn;
        });
        let ran = case.ran();
        ran.ended.values().map(|e| case.evaluate(e, "r")).collect::<Vec<_>>()
    };
    let expected = random(1, None);
    assert_eq!(random(2, Some(1)), expected);
    assert_ne!(expected[0], expected[1]);
}

#[test]
fn memory_and_time_are_measured_per_job() {
    let script = r"
import time
def fun(x):
    if x == 1:
        b = bytearray(300 << 20)
        return len(b)
    if x == 2:
        end = time.process_time() + 0.3
        while time.process_time() < end: pass
rows = [(0,), (1,), (2,), (3,)]
";
    let ran = case(script, |_| {}).ran();
    let peak = |job: u32| ran.ended[&job].peak_kib / 1024;
    assert!(peak(2) >= 300, "{}", peak(2));
    assert!(peak(1) < 100 && peak(4) < 100, "{} {}", peak(1), peak(4));
    assert!((280_000..900_000).contains(&ran.ended[&3].cpu_us), "{}", ran.ended[&3].cpu_us);
    assert!(ran.ended[&4].cpu_us < 50_000);
}

#[test]
fn children_of_a_dead_worker_are_gone() {
    let script = r#"
import os, subprocess, signal
def fun(x):
    same = subprocess.Popen(["sleep", "1000"])
    other = subprocess.Popen(["setsid", "-f", "sleep", "1001"])
    with open("pids", "w") as file: file.write(f"{same.pid}")
    os.kill(os.getpid(), signal.SIGKILL)
rows = [(1,)]
"#;
    let case = case(script, |_| {});
    case.ran();
    let pid = std::fs::read_to_string(case.folder.path().join("work/pids")).unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} lives");
    let left = std::process::Command::new("pgrep").args(["-f", "sleep 100[1]"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn exports_and_shared_arguments_are_fresh_for_each_job() {
    let script = r#"
def helper(): return len(shared)
def fun(x, more, job):
    shared.append(x); more.append(x)
    return helper(), len(more), job.exports["shared"] is shared, job.id, job.attempt, job.pars
names = ["x"]; job = True
more_args = {"more": [0]}
exports = {"shared": [1, 2]}
rows = [(i,) for i in range(3)]
"#;
    let case = case(script, |_| {});
    let ran = case.ran();
    assert_eq!(case.evaluate(&ran.ended[&3], "r"), "(3, 2, True, 3, 1, {'x': 2, 'more': [0]})");
}

#[test]
fn large_parameters_are_read_from_the_collection() {
    let script = "def fun(x):\n    return len(x), x[:2], x[-2:]\n\
                  rows = [(b'a' * 100 + b'z',), (b'a' * 3_000_000 + b'z',), (b'q' * 33000,)]";
    let case = case(script, |_| {});
    let ran = case.ran();
    assert_eq!(case.evaluate(&ran.ended[&2], "r"), "(3000001, b'aa', b'az')");
    assert_eq!(case.evaluate(&ran.ended[&3], "r"), "(33000, b'qq', b'qq')");
}

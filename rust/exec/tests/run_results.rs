//! Results of all sizes.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]

mod run_support;

use batchwright_core::run::Cause;
use run_support::case;

#[test]
fn large_results_lie_in_the_workers_file() {
    let script = r#"
def fun(x):
    import numpy
    if x == 1: return bytes(64 << 20)
    if x == 2: return {"a": numpy.arange(5_000_000), "b": [1] * 10}
    return "s" * (4000 if x == 3 else 5000)
rows = [(i,) for i in range(1, 5)]
"#;
    let case = case(script, |_| {});
    let ran = case.ran();
    assert!(ran.ended.values().all(|e| e.cause.is_none()));
    assert_eq!(case.evaluate(&ran.ended[&1], "len(r)"), (64 << 20).to_string());
    assert_eq!(case.evaluate(&ran.ended[&2], "int(r['a'].sum())"), "12499997500000");
    assert!(ran.ended[&3].stored.is_none() && ran.ended[&4].stored.is_some());
    let (worker, offset, length, crc32) = ran.ended[&4].stored.unwrap();
    let file = std::fs::read(case.layout.results(case.id(0, 0), worker)).unwrap();
    let bytes = &file[offset as usize..(offset + length) as usize];
    assert_eq!(bytes.len() as u64, length);
    assert!(bytes.ends_with(b"s\x94."));
    let code = "import sys, zlib; print(zlib.crc32(sys.stdin.buffer.read()))";
    let mut child = std::process::Command::new(run_support::python())
        .args(["-c", code])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes).unwrap();
    let said = child.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&said).trim(), crc32.to_string());
}

#[test]
fn objects_of_main_come_back() {
    let script = r"
class Point:
    def __init__(self, x): self.x = x
def fun(x):
    return Point(x)
rows = [(7,)]
";
    let case = case(script, |_| {});
    let ran = case.ran();
    assert_eq!(case.evaluate(&ran.ended[&1], "(r.x, type(r).__name__)"), "(7, 'Point')");
}

#[test]
fn a_result_that_cannot_be_pickled_is_that_jobs_error() {
    let script = "import threading\ndef fun(x):\n    return threading.Lock() if x else x\n\
                  rows = [(0,), (1,), (0,)]";
    let ran = case(script, |_| {}).ran();
    assert_eq!(ran.ended[&2].cause, Some(Cause::Error));
    assert_eq!(ran.ended[&2].failure.type_name, "TypeError");
    assert!(ran.ended[&2].failure.message.contains("pickle"));
    assert!(ran.ended[&1].cause.is_none() && ran.ended[&3].cause.is_none());
}

#[test]
fn want_of_memory_is_an_ordinary_error() {
    let script = "def fun(x):\n    return len(bytearray(x))\nrows = [(10,), (1 << 60,)]";
    let ran = case(script, |_| {}).ran();
    assert_eq!(ran.ended[&2].failure.type_name, "MemoryError");
    assert!(ran.ended[&1].cause.is_none());
}

#[test]
fn a_result_that_cannot_be_stored_is_tried_again() {
    // The file that worker 0 would make is in its way.
    let script = "def fun(x):\n    return 's' * 10000\nrows = [(1,)]";
    let case = case(script, |_| {});
    std::fs::create_dir_all(case.runs_folder()).unwrap();
    std::fs::write(case.layout.results(case.id(0, 0), 0), b"").unwrap();
    let ran = case.ran();
    assert_eq!(ran.ended[&1].cause, None);
    assert_eq!(ran.ended[&1].stored.unwrap().0, 1);
    // In the way of both.
    let other = run_support::case(script, |_| {});
    std::fs::create_dir_all(other.runs_folder()).unwrap();
    for worker in 0..2 {
        std::fs::write(other.layout.results(other.id(0, 0), worker), b"").unwrap();
    }
    let ran = other.ran();
    assert_eq!(ran.ended[&1].cause, Some(Cause::Storage));
}

//! What jobs print, and whose log it is in.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]

mod run_support;

use run_support::case;

#[test]
fn each_job_has_its_own_log() {
    let script = r#"
import os, sys
def fun(x):
    print("out", x)
    print("err", x, file=sys.stderr)
    os.write(1, f"raw {x}\n".encode())
    if x == 2: os.system("echo child 2")
    if x == 3:
        import ctypes
        ctypes.CDLL(None).puts(b"from C 3")
    if x == 4: print("no newline", end="")
rows = [(i,) for i in range(1, 40)]
"#;
    for parallel in [1, 2] {
        let ran = case(script, |limits| limits.parallel = parallel).ran();
        for job in 1..40 {
            let log = &ran.logs[&job];
            let expected = format!("out {job}\nerr {job}\nraw {job}\n");
            assert!(log.starts_with(&expected), "{job}: {log}");
            assert_eq!(log.matches("out").count(), 1);
        }
        assert!(ran.logs[&2].ends_with("child 2\n"));
        assert!(ran.logs[&3].ends_with("from C 3\n"), "{}", ran.logs[&3]);
        assert!(ran.logs[&4].ends_with("no newline"));
    }
}

#[test]
fn what_a_crashed_job_printed_is_kept() {
    let script = "import os\ndef fun(x):\n    print('last words', x)\n    if x: os._exit(1)\n\
                  rows = [(0,), (1,), (0,)]";
    let ran = case(script, |_| {}).ran();
    assert_eq!(ran.logs[&2], "last words 1\n");
    assert_eq!(ran.logs[&3], "last words 0\n");
}

#[test]
fn head_and_tail_of_a_long_log_are_kept() {
    let script = "def fun(x):\n    for i in range(200000): print(f'line {i:06}')\nrows = [(1,)]";
    let case = case(script, |limits| limits.log_limit = 20_000);
    let ran = case.ran();
    let log = &ran.logs[&1];
    assert!(log.len() < 20_100, "{}", log.len());
    assert!(log.starts_with("line 000000\n") && log.ends_with("line 199999\n"));
    assert!(log.contains("bytes cut by log_limit]"));
}

#[test]
fn set_up_output_belongs_to_the_first_job() {
    let script = r#"
def before(jc): print("preparing")
def fun(x): pass
hooks = {"pre_do_collection": before}
rows = [(1,), (2,)]
"#;
    let ran = case(script, |_| {}).ran();
    assert_eq!(ran.logs[&1], "preparing\n");
    assert!(!ran.logs.contains_key(&2));
}

#[test]
fn silent_jobs_make_no_log_file() {
    let case = case("def fun(x): pass\nrows = [(1,)]", |_| {});
    let ran = case.ran();
    assert!(ran.logs.is_empty() && !case.layout.log(case.id(0, 0)).exists());
}

#[test]
fn a_job_that_closes_its_output_still_ends() {
    let script = "import os, sys\ndef fun(x):\n    if x == 1: os.close(1); os.close(2)\n    \
                  return x\nrows = [(0,), (1,), (2,)]";
    let ran = case(script, |_| {}).ran();
    assert!(ran.ended.values().all(|e| e.cause.is_none()), "{:?}", ran.ended);
}

//! Collections that cannot run here: every job ends as that, at once.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]

mod run_support;

use std::time::Instant;

use batchwright_core::run::Cause;
use run_support::{Ran, case};

const PLAIN: &str = "def fun(x):\n    return x\nrows = [(1,), (2,)]\n";

fn all_setup(ran: &Ran, message: &str) {
    assert_eq!(ran.ended.len(), 2);
    for ended in ran.ended.values() {
        assert_eq!(ended.cause, Some(Cause::Setup));
        assert!(ended.failure.message.contains(message), "{}", ended.failure.message);
    }
}

#[test]
fn another_python_is_named() {
    let script = format!("{PLAIN}version = [2, 7]");
    all_setup(&case(&script, |_| {}).ran(), "defined with Python 2.7, the node runs 3.");
}

#[test]
fn a_missing_module_is_named() {
    let script = format!("{PLAIN}header = {{'imports': ['nowhere_to_be_found']}}");
    let ran = case(&script, |limits| limits.parallel = 2).ran();
    all_setup(&ran, "nowhere_to_be_found");
    assert_eq!(ran.ended[&1].failure.type_name, "ModuleNotFoundError");
}

#[test]
fn a_missing_working_folder_is_named() {
    let ran = case(PLAIN, |limits| {
        limits.env.insert("TEST_WORK_DIR".into(), "/no/such/folder".into());
    })
    .ran();
    all_setup(&ran, "`/no/such/folder`");
}

#[test]
fn a_function_that_cannot_be_unpickled_fails_once() {
    let script = "fun = b'not a pickle'\nrows = [(1,), (2,)]\n";
    let begun = Instant::now();
    all_setup(&case(script, |_| {}).ran(), "");
    assert!(begun.elapsed().as_secs() < 5);
}

#[test]
fn a_missing_interpreter_is_named() {
    let ran = case(PLAIN, |limits| limits.python = vec!["/no/such/python".into()]).ran();
    all_setup(&ran, "/no/such/python");
}

#[test]
fn a_prefix_that_fails_is_shown() {
    let wrap = "echo container image missing >&2; exit 125";
    let ran = case(PLAIN, |limits| {
        limits.wrap = vec!["sh".into(), "-c".into(), wrap.into()];
    })
    .ran();
    all_setup(&ran, "exited with code 125");
    assert!(ran.ended[&1].failure.traceback.contains("container image missing"));
}

#[test]
fn a_prefix_that_passes_on_works() {
    let ran = case(PLAIN, |limits| {
        limits.wrap = vec!["env".into(), "BY_WRAP=1".into()];
    })
    .ran();
    assert!(ran.ended.values().all(|e| e.cause.is_none()));
}

#[test]
fn variables_are_set_before_python_starts() {
    let script = "import os\ndef fun(x):\n    return os.environ['ANSWER']\nrows = [(1,)]";
    let case = case(script, |limits| {
        limits.env.insert("ANSWER".into(), "42".into());
    });
    let ran = case.ran();
    assert_eq!(case.evaluate(&ran.ended[&1], "r"), "42");
}

#[test]
fn a_file_that_is_no_collection_is_refused() {
    let case = case(PLAIN, |_| {});
    let path = case.layout.collection(case.chunk);
    std::fs::write(&path, vec![7; 200]).unwrap();
    let output = case.run();
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("it is no job collection"), "{said}");
}

#[test]
fn source_and_load_define_globals_and_hooks_run_once() {
    let script = r#"
import pickle
from pathlib import Path
base = root.parent / "work"
(base / "defs.py").write_text("class Shape: pass\ndef area(x): return x * factor\nfactor = 3\n")
(base / "extra.pkl").write_bytes(pickle.dumps({"offset": 10}))
def fun(x):
    return area(x) + offset
def before(jc):
    open("before", "a").write("b")
def after(jc):
    open("after", "a").write("a")
hooks = {"pre_do_collection": before, "post_do_collection": after}
header = {"source": [str(base / "defs.py")], "load": [str(base / "extra.pkl")]}
rows = [(i,) for i in range(4)]
"#;
    let case = case(script, |limits| limits.parallel = 2);
    let ran = case.ran();
    assert_eq!(case.evaluate(&ran.ended[&4], "r"), "19");
    let read = |name| std::fs::read_to_string(case.folder.path().join("work").join(name)).unwrap();
    assert_eq!((read("before"), read("after")), ("b".into(), "a".into()));
}

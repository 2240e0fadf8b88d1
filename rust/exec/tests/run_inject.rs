//! System calls of the executor that fail, one after the other: whatever fails, no result is lost
//! without being said, and none is reported that is not there. Needs strace; else it is said.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for reading")]

mod run_support;

use std::process::Command;

use run_support::{Case, case};

const JOBS: &str = "def fun(x):\n    print('job', x)\n    \
                    return 'r' * (5000 if x % 5 == 0 else 10)\n\
                    rows = [(i,) for i in range(1, 21)]";

fn run_with(case: &Case, inject: &str) -> std::process::Output {
    let plain = case.command();
    Command::new("strace")
        .args(["-o", "/dev/null", "-e", inject])
        .arg(plain.get_program())
        .args(plain.get_args())
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .expect("strace runs")
}

#[test]
fn whatever_fails_nothing_is_lost_in_silence() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("not tried: strace is missing");
        return;
    }
    let most = if std::env::var_os("BATCHWRIGHT_SOAK").is_some() { 60 } else { 8 };
    let (mut tried, mut failed) = (0, 0);
    for call in ["fsync", "fdatasync", "pwrite64", "link", "unlink"] {
        for error in ["EIO", "ENOSPC"] {
            for when in 1..=most {
                let case = case(JOBS, |limits| {
                    limits.sync_interval = 0.0;
                    limits.walltime = Some(20.0);
                });
                let inject = format!("inject={call}:error={error}:when={when}");
                let output = run_with(&case, &inject);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                tried += 1;
                match output.status.code() {
                    Some(0) => {
                        let ran = case.read_whole(0, 0);
                        assert_eq!(ran.ended.len(), 20, "{inject}: {said}");
                        assert!(ran.ended.values().all(|e| e.cause.is_none()), "{inject}");
                        assert_eq!(case.evaluate(&ran.ended[&1], "len(r)"), "10");
                    }
                    Some(73 | 74) => {
                        failed += 1;
                        assert!(said.contains("registry"), "{inject}: {said}");
                    }
                    other => panic!("{inject}: {other:?}: {said}"),
                }
            }
        }
    }
    println!("{tried} calls failed, {failed} ended the run before a job; 0 results lost");
    assert!(failed < tried / 2);
}

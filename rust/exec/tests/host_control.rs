//! Listing, killing and refusing from outside the host process.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "tests, which print figures")]

mod host_support;

use std::time::Instant;

use batchwright_exec::host::{State, listing};
use host_support::{Bench, chunk, code, request, signal, text};
use serde_json::{Value, json};

#[test]
fn the_list_tells_what_waits_runs_and_has_ended() {
    let bench = Bench::new(2000);
    let [failing, running, queued, voided] = std::array::from_fn(|_| chunk());
    bench.void(&voided);
    let all = [&failing, &voided, &running, &queued];
    let requests: Vec<_> = all.iter().map(|chunk| request(chunk, 1, 1)).collect();
    bench.owner(1).append(&requests).expect("appended");
    bench.tell(format!("fail-{failing}"));
    bench.tell(format!("go-{failing}"));
    bench.start();
    bench.wait("the second runs", || bench.entry(&running)["state"] == "running");
    let entry = bench.entry(&failing);
    assert_eq!((&entry["state"], &entry["code"]), (&json!("exited"), &json!(7)));
    assert_eq!(entry["message"], "no such interpreter");
    let entry = bench.entry(&queued);
    assert_eq!((&entry["state"], &entry["pid"]), (&json!("queued"), &Value::Null));
    assert_eq!(bench.entry(&voided), Value::Null);
    assert!(bench.entry(&running)["pid"].is_number());
    let status = bench.status();
    assert_eq!((&status["queued"], &status["running"]), (&json!(1), &json!(1)));
    assert_eq!((&status["cores"], &status["alive"]), (&json!(1), &json!(true)));
    bench.tell("go");
    bench.wait("all end", || bench.in_state("exited").len() == 3);
    assert!(!bench.started().contains(&voided), "a chunk ran that was taken back");
}

#[test]
fn kill_ends_what_runs_and_nothing_else() {
    let bench = Bench::new(2000);
    let [polite, stubborn, queued] = std::array::from_fn(|_| chunk());
    bench.tell(format!("stubborn-{stubborn}"));
    let requests = [&polite, &stubborn, &queued].map(|chunk| request(chunk, 1, 2));
    bench.owner(1).append(&requests).expect("appended");
    bench.start();
    bench.wait("two run", || bench.status()["running"] == 2);
    bench.wait_started(2);
    let unknown = chunk();
    let killed = bench.run("kill", &[&queued, &unknown, &polite]);
    let killed: Vec<&Value> = killed.iter().map(|line| &line["killed"]).collect();
    assert_eq!(killed, [&json!(false), &json!(false), &json!(true)]);
    bench.wait("its end is written", || bench.entry(&polite)["signal"] == 15);
    bench.wait_started(3);
    assert_eq!(bench.run("kill", &[&stubborn])[0]["killed"], true);
    bench.wait("its end is written", || bench.entry(&stubborn)["signal"] == 9);
}

#[test]
fn kill_needs_no_host() {
    let bench = Bench::new(2000);
    let chunk = chunk();
    bench.owner(1).append(&[request(&chunk, 1, 1)]).expect("appended");
    let host = bench.start();
    bench.wait("it runs", || bench.entry(&chunk)["state"] == "running");
    signal(host, "KILL");
    bench.wait_gone();
    assert_eq!(bench.run("kill", &[&chunk])[0]["killed"], true);
    let entry = bench.entry(&chunk);
    assert_eq!((&entry["state"], &entry["code"]), (&json!("exited"), &Value::Null));
    assert_eq!(bench.run("kill", &[&chunk])[0]["killed"], false);
}

#[test]
fn a_program_that_cannot_be_started_is_told() {
    let bench = Bench::new(100);
    let chunk = chunk();
    bench.owner(1).append(&[request(&chunk, 1, 1)]).expect("appended");
    let missing = bench.root().join("missing");
    let started = bench.command("start", &[]).env("BATCHWRIGHT_EXEC", missing).output();
    assert!(started.expect("the program runs").status.success());
    bench.wait("it ends", || bench.entry(&chunk)["code"] == 127);
    let message = bench.entry(&chunk)["message"].as_str().expect("text").to_owned();
    assert!(message.contains("cannot start"), "{message}");
}

#[test]
fn nonsense_is_refused() {
    let bench = Bench::new(100);
    let refused = |verb: &str, more: &[&str]| {
        let output = bench.command(verb, more).output().expect("the program runs");
        assert_eq!(code(&output), 2, "host {verb} {more:?}: {}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(refused("kill", &["../../etc"]).contains("no chunk id"));
    assert!(refused("start", &["--cores", "0"]).contains("--cores"));
    assert!(refused("dance", &[]).contains("unknown"));
    std::fs::write(bench.layout.identity(), "[1, 2]").expect("written");
    assert!(refused("list", &[]).contains("registry.json"));
    std::fs::remove_file(bench.layout.identity()).expect("removed");
    assert!(refused("start", &[]).contains("no registry"));
}

#[test]
fn a_thousand_chunks_are_listed_in_milliseconds() {
    let bench = Bench::new(100);
    let chunks: Vec<String> = (0..1000).map(|_| chunk()).collect();
    let requests: Vec<_> = chunks.iter().map(|chunk| request(chunk, 1, 2)).collect();
    let began = Instant::now();
    bench.owner(1).append(&requests).expect("appended");
    let appended = began.elapsed();
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let found = listing(&bench.fs, &bench.layout, &bench.host).expect("listed");
        times.push(began.elapsed());
        assert_eq!(found.len(), 1000);
        assert!(found.iter().all(|entry| entry.state == State::Queued));
    }
    times.sort_unstable();
    println!("1,000 chunks: appended in {appended:.1?}, listed in {:.1?}", times[2]);
    assert!(times[2].as_millis() < 500);
}

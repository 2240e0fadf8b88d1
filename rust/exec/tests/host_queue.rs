//! The host process takes chunks in order, within its cores, and no request waits for ever.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "tests, which print figures")]

mod host_support;

use std::thread;
use std::time::{Duration, Instant};

use host_support::{Bench, PATIENCE, chunk, number, request, signal};

#[test]
fn chunks_run_in_order_and_within_the_cores() {
    let bench = Bench::new(100);
    let chunks: Vec<String> = (0..6).map(|_| chunk()).collect();
    let cores = [1, 1, 2, 1, 3, 1];
    let requests: Vec<_> =
        chunks.iter().zip(cores).map(|(chunk, cores)| request(chunk, cores, 2)).collect();
    bench.owner(1).append(&requests).expect("appended");
    bench.start();
    bench.wait("two start", || bench.in_state("running").len() == 2);
    assert_eq!(bench.in_state("running"), chunks[..2]);
    assert_eq!(bench.in_state("queued"), chunks[2..]);
    bench.tell(format!("go-{}", chunks[0]));
    bench.wait("the first ends", || bench.entry(&chunks[0])["state"] == "exited");
    assert_eq!(bench.in_state("queued"), chunks[2..], "narrow chunks overtook a wide one");
    bench.tell("go");
    bench.wait("all end", || bench.in_state("exited").len() == 6);
    assert_eq!(bench.launched(), chunks);
    assert_eq!(bench.started().len(), 6);
    let mut occupied = 0;
    for (what, chunk) in bench.log() {
        let wide = cores[chunks.iter().position(|known| *known == chunk).expect("known")];
        occupied = if what == "start" { occupied + wide } else { occupied - wide };
        assert!(occupied <= 2 || occupied == 3 && wide == 3, "{occupied} cores in use");
    }
}

#[test]
fn the_newest_request_throttles() {
    let bench = Bench::new(100);
    let chunks: Vec<String> = (0..3).map(|_| chunk()).collect();
    let requests: Vec<_> = chunks
        .iter()
        .map(|chunk| batchwright_core::queue::Request { max_concurrent: 1, ..request(chunk, 1, 8) })
        .collect();
    bench.owner(1).append(&requests).expect("appended");
    bench.start();
    bench.tell("go");
    bench.wait("all end", || bench.in_state("exited").len() == 3);
    let kinds: Vec<String> = bench.log().into_iter().map(|(what, _)| what).collect();
    assert_eq!(kinds, ["start", "end"].repeat(3));
}

#[test]
fn an_idle_host_leaves_and_a_later_start_serves_again() {
    let bench = Bench::new(30);
    bench.tell("go");
    let mut owner = bench.owner(1);
    for round in 1..=2 {
        let chunk = chunk();
        owner.append(&[request(&chunk, 1, 2)]).expect("appended");
        bench.start();
        bench.wait("it ends", || bench.entry(&chunk)["code"] == 0);
        bench.wait_gone();
        assert_eq!(bench.started().len(), round);
        let chunk = batchwright_core::layout::ChunkId::parse(&chunk).expect("a chunk");
        assert!(!bench.layout.output(chunk).exists(), "an empty output file stays");
    }
    assert_eq!(bench.host_files(), 2);
}

#[test]
fn no_request_is_lost_while_the_host_leaves() {
    hammer(0, 40);
    hammer(8, 30);
}

fn hammer(delay_ms: u32, rounds: u64) {
    let mut bench = Bench::new(1);
    bench.delay_ms = delay_ms;
    bench.tell("go");
    let began = Instant::now();
    thread::scope(|scope| {
        for epoch in 1..=2u64 {
            let bench = &bench;
            scope.spawn(move || {
                let mut owner = bench.owner(epoch);
                for round in 0..rounds {
                    let chunk = chunk();
                    // Hits all phases of a host that is about to leave.
                    thread::sleep(Duration::from_micros(round * 777 * epoch));
                    owner.append(&[request(&chunk, 1, 2)]).expect("appended");
                    bench.start();
                    bench.wait("each request is served", || bench.started().contains(&chunk));
                }
            });
        }
    });
    assert_eq!(bench.started().len(), 2 * usize::try_from(rounds).expect("few"));
    let hosts = bench.host_files();
    println!("{} requests, {hosts} hosts, {:.1?}", 2 * rounds, began.elapsed());
    assert!(hosts > 5, "the host never left, so nothing was tried");
}

#[test]
fn many_starts_make_one_host() {
    let bench = Bench::new(2000);
    bench.tell("go");
    let pids: Vec<u32> = thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| bench.start())).collect();
        starts.into_iter().map(|start| start.join().expect("started")).collect()
    });
    assert!(pids.windows(2).all(|pair| pair[0] == pair[1]), "{pids:?}");
    assert_eq!(bench.host_files(), 1);
    let again = Instant::now();
    assert_eq!(bench.start(), pids[0]);
    println!("start with a host there: {:.1?}", again.elapsed());
}

#[test]
fn executors_survive_a_killed_host_and_the_next_one_adopts_them() {
    let bench = Bench::new(100);
    let chunks: Vec<String> = (0..4).map(|_| chunk()).collect();
    let requests: Vec<_> = chunks.iter().map(|chunk| request(chunk, 1, 2)).collect();
    bench.owner(1).append(&requests).expect("appended");
    let first = bench.start();
    bench.wait_started(2);
    bench.wait("both are written down", || bench.status()["running"] == 2);
    signal(first, "KILL");
    bench.wait_gone();
    assert_eq!(bench.in_state("running"), chunks[..2], "executors die with their host");
    let second = bench.start();
    assert_ne!(first, second);
    bench.wait("both are adopted", || bench.status()["occupied"] == 2);
    bench.tell(format!("go-{}", chunks[1]));
    bench.wait_started(3);
    assert_eq!(bench.entry(&chunks[1])["code"], serde_json::Value::Null);
    bench.tell("go");
    bench.wait("all end", || bench.in_state("exited").len() == 4);
    assert_eq!(bench.launched(), chunks);
    assert_eq!(bench.started().len(), 4, "an executor was launched twice");
    assert_eq!(bench.entry(&chunks[3])["code"], 0);
}

#[test]
fn executors_that_a_killed_host_did_not_write_down_are_found() {
    let bench = Bench::new(100);
    let chunk = chunk();
    bench.owner(1).append(&[request(&chunk, 1, 1)]).expect("appended");
    let first = bench.start();
    bench.wait_started(1);
    signal(first, "KILL");
    bench.wait_gone();
    // The file of a host that was killed between the launch and its record.
    let file = bench.layout.host(&bench.host, 0);
    let host = batchwright_core::queue::read_records(&bench.fs, &file).expect("read").remove(0);
    let lost = bench.layout.host(&bench.host, 1);
    let written = batchwright_core::queue::QueueFile::publish(&bench.fs, &lost, &[host]);
    assert!(written.expect("published").is_some());
    std::fs::remove_file(file).expect("removed");
    assert_eq!(bench.entry(&chunk)["state"], "queued");
    bench.start();
    bench.wait("it is found", || bench.entry(&chunk)["state"] == "running");
    bench.tell("go");
    bench.wait("it ends", || bench.entry(&chunk)["state"] == "exited");
    assert_eq!(bench.started(), [chunk]);
}

#[test]
fn a_host_survives_a_hangup_and_leaves_on_sigterm_with_its_executors() {
    let bench = Bench::new(2000);
    let chunks: Vec<String> = (0..2).map(|_| chunk()).collect();
    let requests: Vec<_> = chunks.iter().map(|chunk| request(chunk, 1, 1)).collect();
    bench.owner(1).append(&requests).expect("appended");
    let host = bench.start();
    bench.wait_started(1);
    signal(host, "HUP");
    bench.wait("it is written down", || bench.entry(&chunks[0])["state"] == "running");
    assert_eq!(bench.status()["pid"], host);
    signal(host, "TERM");
    bench.wait_gone();
    assert_eq!(bench.entry(&chunks[0])["signal"], 15);
    assert_eq!(bench.in_state("queued"), chunks[1..]);
    bench.tell("go");
    bench.start();
    bench.wait("the other ends", || bench.entry(&chunks[1])["code"] == 0);
}

#[test]
fn starting_is_quick() {
    let bench = Bench::new(1);
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let began = Instant::now();
            let pid = number(&bench.run("start", &[])[0]["pid"]);
            let took = began.elapsed();
            bench.wait("it leaves", || bench.status()["pid"] != pid);
            took
        })
        .collect();
    times.sort_unstable();
    println!("start: median {:.1?}, slowest {:.1?}", times[4], times[8]);
    assert!(times[4] < PATIENCE / 30);
}

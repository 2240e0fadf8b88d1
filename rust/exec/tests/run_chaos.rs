//! Random kills of workers while thousands of jobs run: every job ends, and only what was running
//! is charged. `BATCHWRIGHT_SOAK=minutes` stretches it.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk themselves")]
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod run_support;

use std::process::Command;
use std::time::{Duration, Instant};

use batchwright_core::run::Cause;
use run_support::case;

const JOBS: &str = "
import os, time
def fun(x):
    fd = os.open('began', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b'%d\\n' % x)
    os.close(fd)
    print('job', x)
    end = time.perf_counter() + 0.0007
    while time.perf_counter() < end: pass
    return x
rows = [(i,) for i in range(1, 4001)]";

fn workers_of(executor: u32) -> Vec<u32> {
    let path = format!("/proc/{executor}/task/{executor}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn round(round: u64) -> (usize, usize) {
    let case = case(JOBS, |limits| {
        limits.parallel = 3;
        limits.jobs_per_worker = round.is_multiple_of(2).then_some(500);
    });
    let mut child = case.spawn();
    let mut kills = 0;
    let mut seed = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while child.try_wait().unwrap().is_none() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(80_000 + (seed >> 33) % 120_000));
        let workers = workers_of(child.id());
        if let Some(worker) = workers.get(seed as usize % workers.len().max(1)) {
            let name = if seed & 1 << 40 == 0 { "KILL" } else { "SEGV" };
            let sent = Command::new("kill").args(["-s", name, &worker.to_string()]).output();
            kills += usize::from(sent.is_ok_and(|output| output.status.success()));
        }
    }
    let ran = case.read(0, 0);
    assert_eq!(ran.ended.len(), 4000);
    let crashed: Vec<u32> = ran
        .ended
        .iter()
        .filter(|(_, e)| e.cause == Some(Cause::Crashed))
        .map(|(job, _)| *job)
        .collect();
    let setup = ran.ended.values().filter(|e| e.cause == Some(Cause::Setup)).count();
    assert_eq!(setup, 0);
    assert!(crashed.len() <= kills, "{} charged, {kills} kills", crashed.len());
    let began = std::fs::read_to_string(case.folder.path().join("work/began")).unwrap();
    let mut times = vec![0; 4001];
    began.lines().for_each(|line| times[line.parse::<usize>().unwrap()] += 1);
    for job in 1..=4000 {
        let is_charged = crashed.contains(&job);
        // A job may be killed before its first line; whatever began is done or charged, once.
        assert!(times[job as usize] == 1 || (is_charged && times[job as usize] == 0), "{job}");
        if !is_charged {
            assert_eq!(ran.logs[&job], format!("job {job}\n"));
        }
    }
    (kills, crashed.len())
}

#[test]
fn killed_workers_cost_only_the_jobs_that_they_ran() {
    let minutes: f64 =
        std::env::var("BATCHWRIGHT_SOAK").ok().and_then(|m| m.parse().ok()).unwrap_or(0.0);
    let until = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let (mut rounds, mut kills, mut charged) = (0, 0, 0);
    while rounds < 2 || Instant::now() < until {
        rounds += 1;
        let (k, c) = round(rounds);
        kills += k;
        charged += c;
    }
    assert!(kills > 0);
    println!("{rounds} rounds, {kills} kills, {charged} jobs charged, 0 lost, 0 run twice");
}

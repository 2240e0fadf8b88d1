//! Figures, printed and not judged:
//! `cargo test --release --test run_speed -- --ignored --nocapture`.
#![allow(clippy::print_stdout, reason = "figures are for reading")]

mod run_support;

use std::process::Command;
use std::time::Instant;

use run_support::{Case, case};

const TRIVIAL: &str = "def fun(x):\n    return x\nrows = [(i,) for i in range(20000)]";

fn seconds(case: &Case) -> f64 {
    let begun = Instant::now();
    assert!(case.run().status.success());
    begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "prints figures"]
fn throughput() {
    let printing = TRIVIAL.replace("return x", "print('job', x)\n    return x");
    let numpy = format!("import numpy\n{TRIVIAL}").replace("return x", "return float(numpy.pi)");
    for (name, script) in [("trivial", TRIVIAL), ("printing", &printing), ("numpy", &numpy)] {
        for parallel in [1, 2, 3] {
            let case = case(script, |limits| limits.parallel = parallel);
            let took = seconds(&case);
            let rate = f64::from(case.jobs) / took;
            println!("{name}, parallel {parallel}: {rate:.0} jobs/s, {took:.3} s in all");
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn start() {
    for (name, script) in [
        ("by value", "def fun(x):\n    return x\nrows = [(1,)]"),
        ("by reference", "import math\nfun = math.sqrt\nrows = [(1,)]"),
    ] {
        let mut first: Vec<f64> = (0..9)
            .map(|_| {
                let case = case(script, |_| {});
                let begun = std::time::SystemTime::now();
                case.run();
                let ended = case.ended_at(1);
                ended - begun.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
            })
            .collect();
        first.sort_by(f64::total_cmp);
        println!("first job, function {name}: {:.1} ms (median of 9)", first[4] * 1e3);
    }
    let mut version: Vec<f64> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            Command::new(env!("CARGO_BIN_EXE_batchwright-exec")).arg("--version").output().unwrap();
            begun.elapsed().as_secs_f64()
        })
        .collect();
    version.sort_by(f64::total_cmp);
    println!("--version: {:.2} ms", version[4] * 1e3);
}

#[test]
#[ignore = "needs 7 GB of memory and 3 GB on disk"]
fn three_gigabytes() {
    let script = "def fun(x):\n    return bytes(x)\nrows = [(3 * 10**9,)]";
    let case = case(script, |_| {});
    let took = seconds(&case);
    let ran = case.read(0, 0);
    println!("3 GB: {took:.1} s, peak {} KiB, {:?}", ran.ended[&1].peak_kib, ran.ended[&1].stored);
}

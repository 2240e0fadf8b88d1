//! Pickles that the core writes are what Python reads.
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use batchwright_core::pickle::{OutOfRange, Plain, tuple};

/// Values, and the Python expression that each must be.
fn cases() -> Vec<(Plain<'static>, String)> {
    let mut cases = vec![
        (Plain::None, "None".into()),
        (Plain::Bool(true), "True".into()),
        (Plain::Bool(false), "False".into()),
        (Plain::Float(f64::NAN), "float('nan')".into()),
        (Plain::Float(f64::INFINITY), "float('inf')".into()),
        (Plain::Float(-0.0), "-0.0".into()),
        (Plain::Float(5e-324), "5e-324".into()),
        (Plain::Float(f64::MAX), "1.7976931348623157e308".into()),
        (Plain::List(vec![]), "[]".into()),
        (
            Plain::List(vec![Plain::List(vec![Plain::None]), Plain::Text("ü")]),
            "[[None], 'ü']".into(),
        ),
    ];
    for bits in [0u32, 7, 8, 9, 15, 16, 17, 31, 32, 33, 62] {
        for off in [-1i64, 0, 1] {
            let value = (1i64 << bits) + off;
            cases.push((Plain::Int(value), value.to_string()));
            cases.push((Plain::Int(-value), (-value).to_string()));
        }
    }
    cases.push((Plain::Int(i64::MAX), i64::MAX.to_string()));
    cases.push((Plain::Int(i64::MIN), i64::MIN.to_string()));
    for length in [0, 1, 255, 256, 70_000] {
        let text: &'static str = "é".repeat(length).leak();
        cases.push((Plain::Text(text), format!("'é' * {length}")));
        cases.push((Plain::Bytes(text.as_bytes()), format!("('é' * {length}).encode()")));
    }
    let first = -719_162; // 0001-01-01
    let last = 2_932_896; // 9999-12-31
    for days in (first..=last).step_by(24_989).chain([first, last, 0, -1, 59, 60, 11_016]) {
        cases.push((
            Plain::Date(days),
            format!("datetime.date(1970, 1, 1) + datetime.timedelta({days})"),
        ));
        let micros = i64::from(days) * 86_400_000_000 + 86_399_999_999;
        cases.push((
            Plain::DateTime(micros),
            format!("datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds={micros})"),
        ));
    }
    for micros in [0, 1, -1, 86_400_000_000, -86_400_000_001, i64::MAX, i64::MIN] {
        cases
            .push((Plain::TimeDelta(micros), format!("datetime.timedelta(microseconds={micros})")));
    }
    cases
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string grows");
        text
    })
}

#[test]
fn python_reads_what_was_written() {
    let cases = cases();
    let mut program = String::from(
        "import datetime, pickle, sys\n\
         def same(a, b):\n\
         \x20   return type(a) is type(b) and repr(a) == repr(b)\n\
         wrong = 0\n\
         def check(text, expected):\n\
         \x20   global wrong\n\
         \x20   value, = found = pickle.loads(bytes.fromhex(text))\n\
         \x20   if not same(value, expected) or type(found) is not tuple:\n\
         \x20       wrong += 1\n\
         \x20       print('expected', repr(expected)[:80], 'found', repr(value)[:80])\n",
    );
    for (value, expected) in &cases {
        let bytes = tuple(std::iter::once(value.clone())).expect("in range");
        program.push_str("check('");
        program.push_str(&hex(&bytes));
        writeln!(program, "', {expected})").expect("a string grows");
    }
    let all = tuple(cases.iter().map(|(value, _)| value.clone())).expect("in range");
    program.push_str("assert len(pickle.loads(bytes.fromhex('");
    program.push_str(&hex(&all));
    writeln!(program, "'))) == {}\nassert pickle.loads(bytes.fromhex('{}')) == ()", cases.len(), {
        let none = tuple(std::iter::empty()).expect("in range");
        hex(&none)
    })
    .expect("a string grows");
    program.push_str("sys.exit(wrong != 0)\n");
    let mut python = Command::new("python3")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python is there");
    python.stdin.take().expect("piped").write_all(program.as_bytes()).expect("read by Python");
    let output = python.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    println!("values {}; wrong 0", cases.len());
}

#[test]
fn what_datetime_cannot_hold_is_refused() {
    for days in [-719_163, 2_932_897, i32::MIN, i32::MAX] {
        let refused = tuple(std::iter::once(Plain::Date(days)));
        assert_eq!(refused, Err(OutOfRange(i64::from(days))));
    }
    for micros in [i64::MIN, i64::MAX] {
        assert!(tuple(std::iter::once(Plain::DateTime(micros))).is_err());
    }
}

//! Jobs that succeed, fail and crash, as one executor reports them.

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

const CRASHES: &str = r#"
import os, signal, sys, time
def fun(x):
    if x == 3: os.kill(os.getpid(), signal.SIGKILL)
    if x == 5: os._exit(7)
    if x == 8: time.sleep(60)
    return x
rows = [(i,) for i in range(1, 11)]
"#;

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

//! The one way from Python into calls that take longer than a millisecond.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::errors::Failure;

/// Long enough to cost nothing, short enough that Ctrl-C feels immediate.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Tells a long call that the user pressed Ctrl-C.
///
/// The core gets `&|| interrupt.is_set()` and asks between pieces of work, at least every 100 ms.
/// Asking is one clock reading; only every 50 ms does it attach to the interpreter and run the
/// pending signal handlers. No thread of our own is involved, so nothing is lost in a fork.
/// Helper threads may ask too: they see the flag, and the calling thread sets it.
pub(crate) struct Interrupt {
    caller: ThreadId,
    start: Instant,
    next_look_ms: AtomicU64,
    set: AtomicBool,
    raised: Mutex<Option<PyErr>>,
}

impl Interrupt {
    fn new() -> Self {
        Self {
            caller: thread::current().id(),
            start: Instant::now(),
            next_look_ms: AtomicU64::new(LOOK_EVERY.as_millis() as u64),
            set: AtomicBool::new(false),
            raised: Mutex::new(None),
        }
    }

    /// Whether to stop now. A call that stops leaves its tables as they were.
    pub(crate) fn is_set(&self) -> bool {
        if self.set.load(Ordering::Relaxed) {
            return true;
        }
        let now_ms = self.start.elapsed().as_millis() as u64;
        if now_ms < self.next_look_ms.load(Ordering::Relaxed)
            || thread::current().id() != self.caller
        {
            return false;
        }
        self.next_look_ms.store(now_ms + LOOK_EVERY.as_millis() as u64, Ordering::Relaxed);
        let Some(error) = Python::attach(|py| py.check_signals().err()) else {
            return false;
        };
        if let Ok(mut raised) = self.raised.lock() {
            *raised = Some(error);
        }
        self.set.store(true, Ordering::Relaxed);
        true
    }
}

/// Runs `call` detached from the interpreter and maps its error.
///
/// Locks of the core are taken inside `call` only: a thread that waits for one while attached
/// would stop the thread that holds it from running signal handlers. An exception raised by a
/// signal handler wins over what `call` returns, for Python would otherwise never see it.
pub(crate) fn enter<T, E>(
    py: Python<'_>,
    call: impl FnOnce(&Interrupt) -> Result<T, E> + Send,
) -> PyResult<T>
where
    T: Send,
    E: Into<Failure> + Send,
{
    let interrupt = Interrupt::new();
    let result = py.detach(|| call(&interrupt));
    match interrupt.raised.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => result.map_err(|error| PyErr::from(error.into())),
    }
}

/// Works for `seconds` unless interrupted, so that the tests can see Ctrl-C arrive.
#[pyfunction]
pub(crate) fn wait_for_interrupt(py: Python<'_>, seconds: f64) -> PyResult<()> {
    enter(py, |interrupt| {
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < seconds && !interrupt.is_set() {
            thread::sleep(Duration::from_millis(5));
        }
        Ok::<(), Failure>(())
    })
}

//! The clock seam. Durations and silence are measured on clocks of this process; wall time is
//! only ever written down.

/// Microseconds since 1970, UTC.
pub type Micros = i64;

pub trait Clock: Send + Sync {
    /// Wall time, for records.
    fn now(&self) -> Micros;
    /// Seconds that stop while the machine sleeps: how long another process was silent.
    fn monotonic(&self) -> f64;
    /// Seconds that count suspend: how old the own lease is.
    fn boottime(&self) -> f64;
    /// Waits between two looks.
    fn sleep(&self, seconds: f64) {
        std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> f64 {
        seconds(libc::CLOCK_MONOTONIC)
    }

    fn boottime(&self) -> f64 {
        seconds(libc::CLOCK_BOOTTIME)
    }
}

#[expect(unsafe_code, reason = "the standard library has no CLOCK_BOOTTIME")]
fn seconds(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

//! How long the chunk's jobs take, and what follows: how many to hand out ahead, and which no
//! longer fit.

use batchwright_core::clock::Micros;

/// Seconds of work that a worker holds ahead of need, and the most jobs.
const AHEAD: f64 = 0.01;
const MOST_AHEAD: usize = 256;
/// What a job costs besides its own time.
const OVERHEAD: f64 = 20e-6;

#[derive(Default)]
pub(crate) struct Pace {
    ended: u64,
    /// Follows changes within some ten jobs.
    recent: f64,
    /// Welford's running mean and sum of squares.
    mean: f64,
    squares: f64,
}

impl Pace {
    pub(crate) fn ended_after(&mut self, duration: Micros) {
        let seconds = duration.max(0) as f64 * 1e-6;
        self.ended += 1;
        let weight = if self.ended == 1 { 1.0 } else { 0.1 };
        self.recent += weight * (seconds - self.recent);
        let before = seconds - self.mean;
        self.mean += before / self.ended as f64;
        self.squares += before * (seconds - self.mean);
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Seconds that jobs took of late.
    pub(crate) fn recent(&self) -> f64 {
        self.recent
    }

    /// Jobs in one worker's hands, the running one included.
    pub(crate) fn depth(&self) -> usize {
        if self.ended == 0 {
            return 2;
        }
        ((AHEAD / (self.recent + OVERHEAD)) as usize).clamp(1, MOST_AHEAD) + 1
    }

    /// Seconds that few jobs exceed; 0 before any has ended.
    pub(crate) fn longest_likely(&self) -> f64 {
        if self.ended == 0 {
            return 0.0;
        }
        self.mean + 2.0 * (self.squares / self.ended as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_jobs_are_handed_out_far_ahead_and_long_ones_are_not() {
        let mut pace = Pace::default();
        assert_eq!(pace.depth(), 2);
        pace.ended_after(20);
        assert!(pace.depth() > 100);
        for _ in 0..50 {
            pace.ended_after(2_000_000);
        }
        assert_eq!(pace.depth(), 2);
        assert!(pace.longest_likely() >= 2.0);
    }
}

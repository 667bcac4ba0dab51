//! Between a failure that may pass and the next beginning.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(15);

/// Each pause is twice the one before, up to 15 s.
pub struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: SHORTEST }
    }
}

impl Pauses {
    /// After what has lasted so long: for half a minute and more, and the first pause is the shortest again.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        let pause = if lasted > LONGEST * 2 { SHORTEST } else { self.next };
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

/// Until the pause is over, or `stop`.
pub fn wait(stop: &CancellationToken, pause: Duration) {
    let until = Instant::now() + pause;
    while !stop.is_cancelled() && Instant::now() < until {
        std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_something_has_gone_well_for_a_while() {
        let mut pauses = Pauses::default();
        let taken: Vec<u128> = (0..7).map(|_| pauses.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(taken, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        assert_eq!([31, 1].map(|seconds| pauses.after(Duration::from_secs(seconds)).as_millis()), [500, 1_000]);
    }

    #[test]
    fn a_stop_ends_a_pause() {
        let stop = CancellationToken::new();
        stop.cancel();
        let began = Instant::now();
        wait(&stop, Duration::from_secs(3_600));
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

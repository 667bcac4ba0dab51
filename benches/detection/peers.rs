//! What ours is compared with, each written as plainly as its source allows. All see the same windows of ten minutes, moved
//! by one; a higher score is more of a surge.

use statrs::distribution::{DiscreteCDF, Poisson};

use crate::streams::{DAY, LEARN, LENGTH, WINDOW};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The count itself.
    FixedThreshold,
    /// (x − mean) / standard deviation of the windows of the last day.
    RollingZ,
    /// Roberts 1959, λ = 0.3, of the rolling z-score by the last week.
    Ewma,
    /// Hutwagner et al. 2003: mean and standard deviation at this time on seven days that end two days ago.
    EarsC2,
    /// The sum of C2 beyond 1 over this window and the two before it.
    EarsC3,
    /// −log P(X ≥ x) for a Poisson count with the mean of the last week.
    PoissonTail,
    /// Page 1954: sum of z − ½, at least 0, by the week that ends two days ago.
    Cusum,
}

impl Peer {
    pub const ALL: [Self; 7] =
        [Self::FixedThreshold, Self::RollingZ, Self::Ewma, Self::EarsC2, Self::EarsC3, Self::PoissonTail, Self::Cusum];

    pub fn name(self) -> &'static str {
        match self {
            Self::FixedThreshold => "fixed threshold",
            Self::RollingZ => "rolling z-score",
            Self::Ewma => "EWMA",
            Self::EarsC2 => "EARS C2",
            Self::EarsC3 => "EARS C3",
            Self::PoissonTail => "Poisson tail",
            Self::Cusum => "CUSUM",
        }
    }

    /// Scores of the windows that end with each minute from `LEARN` on.
    pub fn scores(self, windows: &Windows) -> Vec<f32> {
        let z = |minute: usize, from: usize, to: usize| {
            let (mean, deviation) = windows.moments(minute - from, minute - to);
            (windows.count(minute) - mean) / deviation
        };
        let mut scores = Vec::with_capacity(LENGTH - LEARN);
        // EWMA and CUSUM step once per window; ten of them run, one for each minute's grid.
        let mut states = [0.0f64; WINDOW];
        let c2: Vec<f64> = match self {
            Self::EarsC2 | Self::EarsC3 => (LEARN - 2 * WINDOW..LENGTH).map(|minute| windows.ears(minute)).collect(),
            _ => Vec::new(),
        };
        for minute in LEARN..LENGTH {
            let state = &mut states[minute % WINDOW];
            let score = match self {
                Self::FixedThreshold => windows.count(minute),
                Self::RollingZ => z(minute, DAY, WINDOW),
                Self::Ewma => {
                    *state = 0.3 * z(minute, 7 * DAY, WINDOW) + 0.7 * *state;
                    *state
                }
                Self::EarsC2 => c2[minute - LEARN + 2 * WINDOW],
                Self::EarsC3 => (0..3).map(|back| (c2[minute - LEARN + (2 - back) * WINDOW] - 1.0).max(0.0)).sum(),
                Self::PoissonTail => {
                    let (mean, _) = windows.moments(minute - 7 * DAY, minute - WINDOW);
                    let count = windows.count(minute);
                    let tail = Poisson::new(mean.max(1e-3)).expect("a mean above 0");
                    if count == 0.0 { 0.0 } else { -tail.sf(count as u64 - 1).max(1e-300).ln() }
                }
                Self::Cusum => {
                    *state = (*state + z(minute, 9 * DAY, 2 * DAY) - 0.5).max(0.0);
                    *state
                }
            };
            scores.push(score as f32);
        }
        scores
    }
}

/// Counts per minute, summed so that any window costs the same.
pub struct Windows {
    sums: Vec<u64>,
    /// Sums of squared window counts, by minute.
    squares: Vec<u64>,
}

impl Windows {
    pub fn new(counts: &[u32]) -> Self {
        let mut sums = vec![0; counts.len() + 1];
        for (minute, &count) in counts.iter().enumerate() {
            sums[minute + 1] = sums[minute] + u64::from(count);
        }
        let mut squares = vec![0; counts.len() + 1];
        for minute in 0..counts.len() {
            let window = sums[minute + 1] - sums[(minute + 1).saturating_sub(WINDOW)];
            squares[minute + 1] = squares[minute] + window * window;
        }
        Self { sums, squares }
    }

    /// In the window that ends with `minute`.
    pub fn count(&self, minute: usize) -> f64 {
        (self.sums[minute + 1] - self.sums[minute + 1 - WINDOW]) as f64
    }

    /// Mean and standard deviation (at least half an item) of the windows within minutes `[from, to)`.
    fn moments(&self, from: usize, to: usize) -> (f64, f64) {
        let length = (to - from) as f64;
        let mean = (self.sums[to] - self.sums[from]) as f64 / length * WINDOW as f64;
        let square = (self.squares[to] - self.squares[from]) as f64 / length;
        (mean, (square - mean * mean).max(0.25).sqrt())
    }

    /// The hour around this time on seven days, the last of them three days ago: more than the seven values of the
    /// original, and kinder to it.
    fn ears(&self, minute: usize) -> f64 {
        let (mut sum, mut squares) = (0.0, 0.0);
        for day in 3..10 {
            let from = minute - day * DAY - 30;
            let (mean, deviation) = self.moments(from, from + 60);
            sum += mean;
            squares += deviation * deviation + mean * mean;
        }
        let mean = sum / 7.0;
        (self.count(minute) - mean) / (squares / 7.0 - mean * mean).max(0.25).sqrt()
    }
}

//! Streams of negative items, minute by minute, and surges planted in them. Every one is a function of its seed.

/// Minutes of one stream: four weeks to learn from, four weeks to be judged.
pub const LEARN: usize = 28 * DAY;
pub const LENGTH: usize = 2 * LEARN;
pub const DAY: usize = 1440;
/// Minutes of a window.
pub const WINDOW: usize = 10;

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.uniform() * limit as f64) as usize
    }

    /// Box and Muller 1958.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Knuth's product below 30, halves above.
    pub fn poisson(&mut self, mean: f64) -> u32 {
        if mean > 30.0 {
            // A sum of Poisson counts is one.
            return self.poisson(mean / 2.0) + self.poisson(mean / 2.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    /// Mean 1 (Marsaglia and Tsang 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.uniform().max(1e-300).powf(1.0 / shape);
            return self.gamma(shape + 1.0) * (shape + 1.0) * boost / shape;
        }
        let (d, c) = (shape - 1.0 / 3.0, 1.0 / (9.0 * (shape - 1.0 / 3.0)).sqrt());
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().max(1e-300).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v / shape;
            }
        }
    }
}

/// How a stream behaves when nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Poisson, one rate.
    Stationary,
    /// Poisson, a day's course with a ratio of 1 to 8.
    Daily,
    /// As `Daily`, a third of it at weekends, and a busy hour on Mondays.
    Weekly,
    /// Poisson; the level drifts to four times or a quarter over the eight weeks, with a day's course.
    Trending,
    /// The rate of every ten minutes is Gamma distributed with shape 3.
    Overdispersed,
    /// Stories: each draws further items, two on average, over half an hour or so (Neyman and Scott 1958), in a day's course.
    Bursty,
    /// A day's course, and hours at random in which nothing comes at all.
    ZeroInflated,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Stationary, Self::Daily, Self::Weekly, Self::Trending, Self::Overdispersed, Self::Bursty, Self::ZeroInflated];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stationary => "stationary",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Trending => "trending",
            Self::Overdispersed => "over-dispersed",
            Self::Bursty => "bursty",
            Self::ZeroInflated => "zero-inflated",
        }
    }
}

/// Mean negative items per window; subjects of a kind are spread over them.
pub const RATES: [f64; 5] = [0.05, 0.3, 2.0, 12.0, 80.0];

/// A day's course, mean about 1: quiet nights, a morning peak, a lower one in the afternoon.
fn day_course(minute: usize) -> f64 {
    let hour = (minute % DAY) as f64 / 60.0;
    let peak = |at: f64, width: f64| (-((hour - at) / width).powi(2) / 2.0).exp();
    0.32 + 1.9 * peak(9.0, 2.2) + 1.3 * peak(15.5, 2.5)
}

/// Minute 0 is a Monday's.
fn week_course(minute: usize) -> f64 {
    let day = minute / DAY % 7;
    let monday = day == 0 && minute % DAY / 60 == 8;
    (if day >= 5 { 0.4 } else { 1.24 }) * day_course(minute) * if monday { 2.5 } else { 1.0 }
}

/// A surge planted at minute `start`.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    pub shape: Shape,
    /// Place in [`SIZES`].
    pub size: usize,
    pub start: usize,
}

/// Extra items per window at the peak of a surge, in units of √μ + 1, where μ is the usual number of the days before. A
/// slow rise has a fifth of it.
pub const SIZES: [f64; 4] = [2.0, 4.0, 8.0, 16.0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Ten minutes.
    Pulse,
    /// At once, for three hours.
    Step,
    /// Rising for two hours, then as high for one.
    Ramp,
    /// Rising for a day, then as high for half of one.
    Slow,
}

impl Shape {
    pub const ALL: [Self; 4] = [Self::Pulse, Self::Step, Self::Ramp, Self::Slow];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pulse => "pulse",
            Self::Step => "step",
            Self::Ramp => "ramp",
            Self::Slow => "slow rise",
        }
    }

    pub fn length(self) -> usize {
        match self {
            Self::Pulse => 10,
            Self::Step | Self::Ramp => 180,
            Self::Slow => 36 * 60,
        }
    }

    /// Part of the peak, 0 to 1, `after` minutes from the start.
    fn height(self, after: usize) -> f64 {
        match self {
            Self::Pulse | Self::Step => 1.0,
            Self::Ramp => (after as f64 / 120.0).min(1.0),
            Self::Slow => (after as f64 / DAY as f64).min(1.0),
        }
    }
}

/// Counts per minute of a stream with `rate` negative items per window on average.
pub fn stream(kind: Kind, rate: f64, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let base = rate / WINDOW as f64;
    let trend = if random.uniform() < 0.5 { 4.0f64 } else { 0.25 };
    let mut counts = vec![0u32; LENGTH];
    let (mut factor, mut silent) = (1.0, 0usize);
    for minute in 0..LENGTH {
        let rate = base
            * match kind {
                Kind::Stationary | Kind::Overdispersed => 1.0,
                Kind::Daily | Kind::Bursty | Kind::ZeroInflated => day_course(minute),
                Kind::Weekly => week_course(minute),
                Kind::Trending => day_course(minute) * trend.powf(minute as f64 / LENGTH as f64 - 0.75),
            };
        match kind {
            Kind::Overdispersed => {
                if minute % WINDOW == 0 {
                    factor = random.gamma(3.0);
                }
                counts[minute] = random.poisson(rate * factor);
            }
            Kind::Bursty => {
                for _ in 0..random.poisson(rate / 3.0) {
                    counts[minute] += 1;
                    // Geometric with mean 2.
                    while random.uniform() < 2.0 / 3.0 {
                        let later = minute + (-30.0 * (1.0 - random.uniform()).ln()) as usize;
                        if later < LENGTH {
                            counts[later] += 1;
                        }
                    }
                }
            }
            Kind::ZeroInflated => {
                if silent > 0 {
                    silent -= 1;
                } else if random.uniform() < 1.0 / (8.0 * 60.0) {
                    silent = 60 + random.below(240);
                }
                counts[minute] = if silent > 0 { 0 } else { random.poisson(rate) };
            }
            _ => counts[minute] = random.poisson(rate),
        }
    }
    counts
}

/// A surge every three and a half days of the judged half, shapes and sizes in turn, and the counts with them.
pub fn plant(counts: &[u32], seed: u64) -> (Vec<u32>, Vec<Planted>) {
    let mut random = Random::new(seed ^ 0x5155_5247);
    let mut counts = counts.to_vec();
    let first = random.below(Shape::ALL.len() * SIZES.len());
    let surges: Vec<Planted> = (0..7)
        .map(|number| {
            let place = first + 5 * number;
            let start = LEARN + number * 4 * DAY + random.below(DAY);
            Planted { shape: Shape::ALL[place % 4], size: place / 4 % 4, start }
        })
        .collect();
    for &Planted { shape, size, start } in &surges {
        let week: u32 = counts[start - 7 * DAY..start].iter().sum();
        let usual = f64::from(week) / (7 * DAY / WINDOW) as f64;
        let part = if shape == Shape::Slow { 0.2 } else { 1.0 };
        let peak = part * SIZES[size] * (usual.sqrt() + 1.0) / WINDOW as f64;
        for after in 0..shape.length() {
            counts[start + after] += random.poisson(peak * shape.height(after));
        }
    }
    (counts, surges)
}

//! Surges in any regular series, row by row: counts by the monitor's own tests, other values by robust residuals.
//!
//! Strictly online: what is said of a row depends on it and on earlier rows only. Memory does not grow with the series.

use super::baseline::{Baseline, Reach};
use crate::news::{EventTime, Subject};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: f64 = 86_400_000.0;
const HOURS: usize = 168;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    Up,
    Down,
    Both,
}

/// What is said of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// 1 / (1 + f), where f is how often chance would bring as much, per month: 0.5 at once a month.
    pub score: f64,
    /// Whether an alert would be open.
    pub alert: bool,
}

/// Rows before anything is said.
const WARM_UP: u64 = 96;
/// An open alert stays open while chance would bring as much at most this many times as often as opens it.
const HYSTERESIS: f64 = 100.0;

pub struct Series {
    direction: Direction,
    budget: f64,
    clock: Clock,
    values: Values,
    /// While every value has been a whole number, 0 or more.
    counts: Option<Counts>,
    open: bool,
}

/// The rows' pace.
#[derive(Debug, Default)]
struct Clock {
    rows: u64,
    first: i64,
    now: i64,
}

impl Clock {
    fn tick(&mut self, at: EventTime) {
        if self.rows == 0 {
            (self.first, self.now) = (at.0, at.0);
        }
        self.rows += 1;
        // A clock that is set back stands still.
        self.now = self.now.max(at.0);
    }

    /// Mean interval in milliseconds, at least one.
    fn interval(&self) -> f64 {
        ((self.now - self.first) as f64 / (self.rows.max(2) - 1) as f64).max(1.0)
    }
}

impl Series {
    /// `budget`: expected false alarms per month of 30 days.
    pub fn new(direction: Direction, budget: f64) -> Self {
        let counts = (direction != Direction::Down).then(Counts::default);
        Self { direction, budget, clock: Clock::default(), values: Values::default(), counts, open: false }
    }

    pub fn push(&mut self, at: EventTime, value: f64) -> Answer {
        self.clock.tick(at);
        let interval = self.clock.interval();
        let (down, up) = self.values.push(self.clock.now, value, interval, self.clock.rows);
        if value < 0.0 || value.fract() != 0.0 || value > f64::from(u32::MAX) {
            self.counts = None;
        }
        let up = self.counts.as_mut().and_then(|counts| counts.push(EventTime(self.clock.now), value as u64, &self.clock)).unwrap_or(up);
        let per_month = match self.direction {
            Direction::Up => up,
            Direction::Down => down,
            Direction::Both => 2.0 * up.min(down),
        };
        let per_month = if self.clock.rows <= WARM_UP { f64::INFINITY } else { per_month };
        self.open = per_month <= self.budget || (self.open && per_month <= self.budget * HYSTERESIS);
        Answer { score: 1.0 / (1.0 + per_month), alert: self.open }
    }
}

/// The monitor's tests, a window being one interval.
#[derive(Default)]
struct Counts {
    /// Rows until the interval is known.
    waiting: Vec<(EventTime, u64)>,
    baseline: Option<(Baseline, i64)>,
}

impl Counts {
    /// False alarms per month; `None` before enough was seen.
    fn push(&mut self, at: EventTime, count: u64, clock: &Clock) -> Option<f64> {
        let subject = Subject::market();
        let Some((baseline, interval)) = &mut self.baseline else {
            self.waiting.push((at, count));
            if clock.rows >= WARM_UP {
                self.start(clock.interval());
            }
            return None;
        };
        let start = at.floor(*interval);
        baseline.push(&subject, start, count);
        let usual = baseline.usual(&subject, start)?;
        let surge = usual.judge(count, *interval, *interval);
        if clock.rows.is_multiple_of(1024) {
            baseline.forget_before(start);
        }
        let rising = usual.rise.is_some_and(|rise| rise.is_rising);
        Some(if rising { surge.false_alarms_per_month() } else { surge.window })
    }

    fn start(&mut self, interval: f64) {
        // Rows may share their times. Shorter windows would make so many of an hour that a row took a second.
        let interval = (interval.round() as i64).max(1_000);
        // To a whole number of hours, minutes or seconds where it is near one: rows must not fall into two windows.
        let near =
            |whole: i64| Some((interval + whole / 2) / whole * whole).filter(|near| *near > 0 && (near - interval).abs() * 50 <= interval);
        let interval = [HOUR_MS, 60_000, 1_000].into_iter().find_map(near).unwrap_or(interval);
        let slice = interval * (HOUR_MS as u64).div_ceil(interval as u64) as i64;
        let rows = (slice / interval).max(1);
        let reach = Reach {
            window_ms: interval,
            history_ms: 672 * slice,
            min_history_ms: WARM_UP as i64 * interval,
            rise_ms: 48 * slice,
            // For speed, but no longer than a day.
            refit: (96 / rows).clamp(1, (24 * HOUR_MS / slice).max(1)),
        };
        let mut baseline = Baseline::new(reach, 4.0);
        let subject = Subject::market();
        self.waiting.drain(..).for_each(|(at, count)| baseline.push(&subject, at.floor(interval), count));
        self.baseline = Some((baseline, interval));
    }
}

/// Exponentially weighted mean of absolute values; one that is far out counts only as four times the mean.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    mean: f64,
    weight: f64,
}

impl Spread {
    fn add(&mut self, value: f64, memory: f64) {
        let value = if self.weight > 8.0 { value.min(4.0 * self.mean) } else { value };
        self.weight = (self.weight + 1.0).min(memory);
        self.mean += (value - self.mean) / self.weight;
    }
}

/// The upper tail of a statistic: its 98% quantile by stochastic approximation (Robbins and Monro 1951), and beyond it a
/// generalised Pareto tail of shape 0.1 (Pickands 1975; Siffer et al. 2017, *Anomaly Detection in Streams with Extreme
/// Value Theory*), whose scale is the mean excess.
#[derive(Debug, Clone, Copy)]
struct Extremes {
    quantile: f64,
    excess: f64,
    seen: f64,
    rows: f64,
}

const BEYOND: f64 = 0.02;
const TAIL_SHAPE: f64 = 0.1;

impl Extremes {
    /// `quantile` and mean excess beyond it as for standardised residuals that are normal.
    const NORMAL: Self = Self { quantile: 2.9, excess: 0.5, seen: 10.0, rows: 0.0 };

    fn tail(&self, value: f64) -> f64 {
        match value <= self.quantile {
            true => BEYOND.powf((value / self.quantile).max(0.0)),
            false => BEYOND * (1.0 + TAIL_SHAPE * (value - self.quantile) / self.excess).powf(-1.0 / TAIL_SHAPE),
        }
    }

    fn add(&mut self, value: f64) {
        self.rows += 1.0;
        let gain = (20.0 / (self.rows + 50.0)).max(0.02);
        if value > self.quantile {
            // A surge must not make the series deaf.
            let excess = (value - self.quantile).min(4.0 * self.excess);
            self.seen = (self.seen + 1.0).min(200.0);
            self.excess += (excess - self.excess) / self.seen;
            self.quantile *= 1.0 + gain * (1.0 - BEYOND);
        } else {
            self.quantile *= 1.0 - gain * BEYOND;
        }
        self.quantile = self.quantile.max(1e-3);
        self.excess = self.excess.max(0.05 * self.quantile);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    mean: f64,
    weight: f64,
}

/// A level, a season by hour of the day and of the week, an autoregression of what is left, and its spread.
struct Values {
    level: f64,
    clipped: f64,
    days: [Cell; 24],
    weeks: [Cell; HOURS],
    /// Mean absolute residuals without and with the season: it is used as far as it helps.
    flat: Spread,
    seasonal: Spread,
    residual: Spread,
    innovation: Spread,
    innovations_by_hour: [Spread; 24],
    /// Lag-1 covariance and variance of residuals.
    covariance: f64,
    variance: f64,
    last_residual: f64,
    smoothed: f64,
    smoothed_spread: Spread,
    /// Mean absolute innovation of the last rows.
    recent: f64,
    magnitude: Spread,
    /// Of residual, innovation and smoothed residual downwards and upwards, and of the change in variability.
    extremes: [[Extremes; 3]; 2],
    busier: Extremes,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            level: 0.0,
            clipped: 0.0,
            days: [Cell::default(); 24],
            weeks: [Cell::default(); HOURS],
            flat: Spread::default(),
            seasonal: Spread::default(),
            residual: Spread::default(),
            innovation: Spread::default(),
            innovations_by_hour: [Spread::default(); 24],
            covariance: 0.0,
            variance: 0.0,
            last_residual: 0.0,
            smoothed: 0.0,
            smoothed_spread: Spread::default(),
            recent: 0.0,
            magnitude: Spread::default(),
            extremes: [[Extremes::NORMAL; 3]; 2],
            busier: Extremes::NORMAL,
        }
    }
}

/// Rows over which residuals are smoothed for slow rises and falls.
const SMOOTHING: f64 = 12.0;

impl Values {
    /// False alarms per month of values as far down and as far up.
    fn push(&mut self, now: i64, value: f64, interval: f64, rows: u64) -> (f64, f64) {
        let a_day = (DAY_MS / interval).clamp(24.0, 1440.0);
        let hour = (now.div_euclid(HOUR_MS) + 72).rem_euclid(HOURS as i64) as usize;
        if rows == 1 {
            self.level = value;
        }
        self.magnitude.add(value.abs(), 10.0 * a_day);
        let (day, week) = (self.days[hour % 24], self.weeks[hour]);
        let per_hour = (HOUR_MS as f64 / interval).max(1.0);
        let credible = |cell: Cell, hours: f64| cell.weight / (cell.weight + hours * per_hour);
        let season = credible(day, 2.0) * day.mean + credible(week, 3.0) * week.mean;
        let helps = (2.0 * (1.0 - self.seasonal.mean / self.flat.mean.max(1e-300))).clamp(0.0, 1.0);
        let flat = value - self.level;
        let residual = flat - helps * season;

        let persistence = if self.variance > 0.0 { (self.covariance / self.variance).clamp(0.0, 0.98) } else { 0.0 };
        let innovation = residual - persistence * self.last_residual;
        self.smoothed += (residual - self.smoothed) / SMOOTHING;
        // A change in the last digit is no surge, in a series that stood still least of all.
        let least = 1e-3 * self.magnitude.mean + 1e-12;
        let by_hour = self.innovations_by_hour[hour % 24];
        let spread =
            (by_hour.weight * by_hour.mean + 4.0 * per_hour.max(8.0) * self.innovation.mean) / (by_hour.weight + 4.0 * per_hour.max(8.0));
        let statistics = [
            residual / self.residual.mean.max(least),
            innovation / spread.max(least),
            self.smoothed / self.smoothed_spread.mean.max(0.3 * least),
        ];
        self.recent += (innovation.abs().min(20.0 * self.innovation.mean.max(least)) - self.recent) / (2.0 * SMOOTHING);
        let busier = self.recent / self.innovation.mean.max(least);

        let per_month = 30.0 * DAY_MS / interval;
        let [down, up] = [-1.0, 1.0].map(|sign| {
            let side = usize::from(sign > 0.0);
            let tails = statistics.iter().zip(&self.extremes[side]).map(|(&statistic, extremes)| extremes.tail(sign * statistic));
            let least = tails.fold(self.busier.tail(busier), f64::min);
            4.0 * least * per_month
        });

        for (side, sign) in [-1.0, 1.0].into_iter().enumerate() {
            for (extremes, &statistic) in self.extremes[side].iter_mut().zip(&statistics) {
                extremes.add(sign * statistic);
            }
        }
        self.busier.add(busier);
        self.learn(hour, flat, residual, innovation, season, a_day, rows, least);
        (down, up)
    }

    fn learn(&mut self, hour: usize, flat: f64, residual: f64, innovation: f64, season: f64, a_day: f64, rows: u64, least: f64) {
        // What is far out moves level and season only as far as it is near, until it has stayed for some hours.
        let patience = (a_day / 6.0).max(6.0);
        let limit = (6.0 * self.residual.mean + least) / (1.0 - self.clipped);
        let is_far = residual.abs() > limit && rows > WARM_UP / 2;
        self.clipped += (f64::from(u8::from(is_far)) * 0.999 - self.clipped) / patience;
        let near = if is_far { residual.clamp(-limit, limit) } else { residual };
        self.level += near / (rows as f64).min(a_day).max(1.0);
        let memory = 14.0 * (a_day / 24.0).max(1.0);
        let (far, day) = (flat - residual, &mut self.days[hour % 24]);
        let target = near + far;
        day.weight = (day.weight + 1.0).min(memory);
        day.mean += (target - day.mean) / day.weight;
        let rest = target - day.mean;
        let week = &mut self.weeks[hour];
        week.weight = (week.weight + 1.0).min(memory / 3.0);
        week.mean += (rest - week.mean) / week.weight;
        self.flat.add(flat.abs(), 3.0 * a_day);
        self.seasonal.add((flat - season).abs(), 3.0 * a_day);
        self.residual.add(residual.abs(), 3.0 * a_day);
        self.innovation.add(innovation.abs(), 3.0 * a_day);
        self.innovations_by_hour[hour % 24].add(innovation.abs(), memory);
        self.smoothed_spread.add(self.smoothed.abs(), 3.0 * a_day);
        let bounded = 5.0 * self.residual.mean;
        let (now, last) = (residual.clamp(-bounded, bounded), self.last_residual.clamp(-bounded, bounded));
        let weight = (rows as f64).min(3.0 * a_day);
        self.covariance += (now * last - self.covariance) / weight;
        self.variance += (last * last - self.variance) / weight;
        self.last_residual = residual;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn answers(direction: Direction, rows: impl IntoIterator<Item = (i64, f64)>) -> Vec<Answer> {
        let mut series = Series::new(direction, 1.0);
        rows.into_iter().map(|(at, value)| series.push(EventTime(at), value)).collect()
    }

    /// Uniform noise around a day's course, the same in every run.
    fn course(row: i64, minutes: i64) -> f64 {
        let noise = ((row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64;
        50.0 + 20.0 * (row as f64 * minutes as f64 / 1440.0 * std::f64::consts::TAU).sin() + 4.0 * (noise - 0.5)
    }

    /// Found by the fuzz target `series`: with windows of a millisecond this took minutes.
    #[test]
    fn rows_that_share_their_times_are_judged_as_quickly_as_others() {
        let mut series = Series::new(Direction::Both, 1.0);
        let times = (0..120).map(|_| 0).chain((0..200).map(|row| if row % 2 == 0 { 60_500_000 } else { 0 }));
        let scores: Vec<f64> = times.map(|at| series.push(EventTime(at), 2.0).score).collect();
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    }

    #[test]
    fn a_jump_is_found_at_once_in_either_direction_and_calm_is_left_alone() {
        for (direction, jump) in [(Direction::Both, 30.0), (Direction::Both, -30.0), (Direction::Up, 30.0), (Direction::Down, -30.0)] {
            let rows = (0..4000).map(|row| (row * 5 * MINUTE_MS, course(row, 5) + if row >= 3500 { jump } else { 0.0 }));
            let answers = answers(direction, rows);
            assert!(answers[3500].alert && answers[3500].score > 0.5, "{direction:?} {jump}: {:?}", answers[3500]);
            let false_alarms = answers[..3500].windows(2).filter(|pair| pair[1].alert && !pair[0].alert).count();
            assert!(false_alarms <= 1, "{false_alarms} false alarms in 12 days");
        }
    }

    #[test]
    fn the_other_direction_is_not_looked_at() {
        let rows = (0..4000).map(|row| (row * 5 * MINUTE_MS, course(row, 5) - if row >= 3500 { 30.0 } else { 0.0 }));
        assert!(answers(Direction::Up, rows)[3490..3520].iter().all(|answer| !answer.alert));
    }

    #[test]
    fn any_regular_interval_will_do() {
        for interval in [2_500, 90_000, 5_400_000, 86_400_000] {
            let usual = |row: i64| f64::from(((row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 62) as u8);
            let rows = (0..4000).map(|row| (row * interval, if row == 3900 { 30.0 } else { usual(row) }));
            let answers = answers(Direction::Up, rows);
            assert!(answers[3900].alert && answers[3900].score > 0.999, "{interval} ms: {:?}", answers[3900]);
            let alarms = answers[..3900].windows(2).filter(|pair| pair[1].alert && !pair[0].alert).count();
            let months = 3900.0 * interval as f64 / (30.0 * 86_400_000.0);
            assert!(alarms as f64 <= 3.0 * months + 3.0, "{interval} ms: {alarms} false alarms in {months:.1} months");
        }
    }

    #[test]
    fn counts_are_judged_as_the_monitor_judges_them() {
        let usual = |row: i64| f64::from(((row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 62) as u8);
        let rows = (0..4000).map(|row| (row * 10 * MINUTE_MS, if row == 3900 { 25.0 } else { usual(row) }));
        let answers = answers(Direction::Up, rows);
        assert!(answers[3900].alert && !answers[3899].alert);
        assert!(answers[..3900].windows(2).filter(|pair| pair[1].alert && !pair[0].alert).count() <= 1);
    }

    #[test]
    fn a_series_that_stands_still_is_calm_until_it_moves() {
        let answers = answers(Direction::Both, (0..500).map(|row| (row * 1000, if row < 400 { 7.5 } else { 9.5 })));
        assert!(answers[..400].iter().all(|answer| !answer.alert));
        assert!(answers[400].alert);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_prefix_gives_the_prefix_of_the_answers(
            values in prop::collection::vec(prop_oneof![0.0..9.0f64, (0u8..9).prop_map(f64::from), Just(-3.5)], 150..400),
            cut in 0usize..400,
            minutes in prop_oneof![Just(1i64), Just(60), Just(1440)],
        ) {
            let rows: Vec<(i64, f64)> = values.iter().enumerate().map(|(row, &value)| (row as i64 * minutes * MINUTE_MS, value)).collect();
            let all = answers(Direction::Both, rows.clone());
            prop_assert!(all.iter().all(|answer| (0.0..=1.0).contains(&answer.score)));
            let cut = cut.min(rows.len());
            prop_assert_eq!(answers(Direction::Both, rows[..cut].to_vec()), &all[..cut]);
        }
    }
}

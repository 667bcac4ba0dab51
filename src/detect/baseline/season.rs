//! Factors by hour of the day and of the week, and the trend from week to week.

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const HOURS: usize = 168;
/// Hour of the day, on weekdays and at weekends.
const DAY_CELLS: usize = 48;

/// Monday 00:00 UTC is 0; the epoch was a Thursday.
pub(super) fn hour_of_week(slice: i64, slice_ms: i64) -> usize {
    ((slice * slice_ms).div_euclid(HOUR_MS) + 72).rem_euclid(HOURS as i64) as usize
}

/// Hour of the day, 24 later at weekends.
fn day_cell(hour_of_week: usize) -> usize {
    hour_of_week % 24 + if hour_of_week >= 120 { 24 } else { 0 }
}

/// By hour of the day, what is cut from a slice's count: a spike of the past must not become part of what is usual. 3 more
/// than twice the third largest of that hour (of all, within the first days).
pub(super) fn caps(slices: impl Iterator<Item = (usize, f64)>, days: usize) -> [f64; 24] {
    let mut largest = [[0.0f64; 3]; 24];
    let mut overall = [0.0f64; 3];
    let insert = |list: &mut [f64; 3], value: f64| {
        if value > list[2] {
            list[2] = value;
            if list[2] > list[1] {
                list.swap(1, 2);
            }
            if list[1] > list[0] {
                list.swap(0, 1);
            }
        }
    };
    for (hour, count) in slices {
        insert(&mut largest[hour % 24], count);
        insert(&mut overall, count);
    }
    largest.map(|largest| 3.0 + 2.0 * if days >= 7 { largest[2] } else { overall[days.min(2)] })
}

pub(super) fn winsorise(counts: &mut [f64], hours: &[usize]) {
    let caps = caps(hours.iter().copied().zip(counts.iter().copied()), counts.len() / 24);
    for (count, &hour) in counts.iter_mut().zip(hours) {
        *count = count.min(caps[hour % 24]);
    }
}

/// Mean count of the week that a slice lies in, counted back from the end: a trend must not look like a season.
fn week_means(counts: &[f64], hours: &[usize], season: &[(f64, f64)]) -> Vec<f64> {
    let n = counts.len();
    let mut means = vec![0.0; n];
    let mut end = n;
    while end > 0 {
        // A rest of less than half a week goes with the week after it.
        let start = if end < HOURS + HOURS / 2 { 0 } else { end - HOURS };
        let items: f64 = counts[start..end].iter().sum();
        let exposure: f64 = hours[start..end].iter().map(|&hour| season[hour].0).sum();
        means[start..end].fill(items / exposure);
        end = start;
    }
    means
}

/// ln of the growth per slice from week to week, shrunk towards none: a tenth a week is much.
pub(super) fn growth(counts: &[f64], hours: &[usize], season: &[(f64, f64)]) -> f64 {
    const USUAL_PER_WEEK: f64 = 0.1;
    let n = counts.len();
    let weeks = (n / HOURS).min(4);
    if weeks < 2 {
        return 0.0;
    }
    // Least squares over the logarithms of the weeks' levels.
    let (mut slope, mut norm, mut noise) = (0.0, 0.0, 0.0);
    for week in 0..weeks {
        let range = n - (week + 1) * HOURS..n - week * HOURS;
        let items: f64 = counts[range.clone()].iter().sum::<f64>() + 0.5;
        let exposure: f64 = hours[range].iter().map(|&hour| season[hour].0).sum();
        let place = (weeks - 1) as f64 / 2.0 - week as f64;
        slope += place * (items / exposure).ln();
        norm += place * place;
        // Weeks vary by more than their counts do.
        noise += place * place * (1.0 / items + 0.002);
    }
    let (slope, noise) = (slope / norm, noise / (norm * norm));
    let prior = USUAL_PER_WEEK * USUAL_PER_WEEK;
    slope * prior / (prior + noise) / HOURS as f64
}

/// Credibility-weighted factors of `cells` groups of hours on top of `season`, with the variance of each: Bühlmann and Straub
/// 1970, *Glaubwürdigkeit für Schadensätze*. The variance between cells is estimated from them, too, from `between` on.
fn factors(
    season: &[(f64, f64)],
    counts: &[f64],
    hours: &[usize],
    means: &[f64],
    cells: usize,
    cell: impl Fn(usize) -> usize,
    between: f64,
    variation: f64,
) -> Vec<(f64, f64)> {
    /// Precision at which the cells themselves tell as much of the variance between them as what was thought before.
    const PRIOR: f64 = 50.0;
    let (mut items, mut expected, mut slices) = (vec![0.0; cells], vec![0.0; cells], vec![0.0; cells]);
    for ((&count, &hour), &mean) in counts.iter().zip(hours).zip(means) {
        items[cell(hour)] += count;
        expected[cell(hour)] += mean * season[hour].0;
        slices[cell(hour)] += 1.0;
    }
    let precision = |cell: usize| if expected[cell] > 0.0 { slices[cell] / (slices[cell] / expected[cell] + variation) } else { 0.0 };
    let (mut total, mut squares, mut scatter, mut seen) = (0.0, 0.0, 0.0, 0.0);
    for cell in (0..cells).filter(|&cell| expected[cell] > 0.0) {
        let precision = precision(cell);
        total += precision;
        squares += precision * precision;
        scatter += precision * (items[cell] / expected[cell] - 1.0).powi(2) - 1.0;
        seen += 1.0;
    }
    let weight = if seen > 1.0 { total - squares / total } else { 0.0 };
    let between = (((scatter + 1.0) * f64::from(u8::from(seen > 1.0)) + PRIOR * between) / (weight + PRIOR)).clamp(5e-4, 2.0);
    (0..cells)
        .map(|cell| {
            let credibility = precision(cell) * between / (precision(cell) * between + 1.0);
            let own = if expected[cell] > 0.0 { items[cell] / expected[cell] } else { 1.0 };
            (credibility * own + (1.0 - credibility), between * (1.0 - credibility))
        })
        .collect()
}

/// Squared coefficient of variation of the rate of a slice by moments, at least a little.
fn variation_between(counts: &[f64], hours: &[usize], means: &[f64], season: &[(f64, f64)]) -> f64 {
    let (mut excess, mut weight) = (0.0, 0.0);
    for ((&count, &hour), &mean) in counts.iter().zip(hours).zip(means) {
        let expected = mean * season[hour].0;
        excess += (count - expected).powi(2) - count;
        weight += expected * expected;
    }
    if weight > 0.0 { (excess / weight).max(0.0005) } else { 1.0 }
}

/// Corrects `season` by hour of the day, then by hour of the week; `between` are the variances expected between factors.
pub(super) fn refine(season: &mut [(f64, f64)], counts: &[f64], hours: &[usize], between: [f64; 2]) {
    let mut correct = |cells: usize, cell: fn(usize) -> usize, between: f64| {
        let means = week_means(counts, hours, season);
        let variation = variation_between(counts, hours, &means, season);
        let factors = factors(season, counts, hours, &means, cells, cell, between, variation);
        for (hour, (factor, uncertain)) in season.iter_mut().enumerate() {
            let (correction, variance) = factors[cell(hour)];
            (*factor, *uncertain) = (*factor * correction, *uncertain + variance);
        }
    };
    correct(DAY_CELLS, day_cell, between[0]);
    correct(HOURS, |hour| hour, between[1]);
}

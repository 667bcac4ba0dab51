//! Pictures as inline SVG. Colours are classes of `report.css`, so that one picture serves light, dark and paper.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::escape;
use crate::backtest::events::Event;
use crate::backtest::summary::Episode;
use crate::config::WindowConfig;
use crate::news::{EventTime, Subject};
use crate::window::PaneTable;
use crate::window::index::decayed;
use crate::window::table::PaneRow;

/// Width of every picture in its own units; the page scales it.
const WIDTH: f64 = 1120.0;
const MOST_BINS: i64 = 480;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A slice of the time axis.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bin {
    pub count: u64,
    pub negative: u64,
    /// At the end of the slice; `None` before the subject's first item.
    pub index: Option<f64>,
}

/// A subject's panes in equal slices.
pub struct Series {
    pub start: EventTime,
    pub step_ms: i64,
    pub bins: Vec<Bin>,
}

impl Series {
    /// Slices of `[start, end)`, as fine as the picture can show and no finer than a pane.
    pub fn of(panes: &PaneTable, subject: &Subject, start: EventTime, end: EventTime, window: &WindowConfig) -> Self {
        let step_ms = step(end.0 - start.0, MOST_BINS).max(window.pane.ms());
        Self::with_step(panes, subject, start, end, window, step_ms)
    }

    fn with_step(panes: &PaneTable, subject: &Subject, start: EventTime, end: EventTime, window: &WindowConfig, step_ms: i64) -> Self {
        let start = start.floor(step_ms);
        let count = ((end.0 - start.0) as u64).div_ceil(step_ms as u64).max(1) as usize;
        let mut bins = vec![Bin::default(); count];
        let mut latest: Vec<Option<&PaneRow>> = vec![None; count];
        let mut before = None;
        for pane in panes.of(subject) {
            let place = (pane.start.0 - start.0).div_euclid(step_ms);
            if place < 0 {
                before = Some(pane);
                continue;
            }
            let Some(bin) = bins.get_mut(place as usize) else { continue };
            bin.count += pane.count;
            bin.negative += pane.negative;
            latest[place as usize] = Some(pane);
        }
        for (number, bin) in bins.iter_mut().enumerate() {
            before = latest[number].or(before);
            let end = start.0 + (number as i64 + 1) * step_ms;
            bin.index = before.map(|pane| decayed(pane.index, pane.index_weight, end - pane.end.0, window.index_half_life.ms()).0);
        }
        Self { start, step_ms, bins }
    }

    fn at(&self, number: usize) -> EventTime {
        self.start.plus(number as i64 * self.step_ms)
    }

    fn end(&self) -> EventTime {
        self.at(self.bins.len())
    }
}

/// The finest usual length with at most `most` slices of `span`.
fn step(span: i64, most: i64) -> i64 {
    const MINUTES: [i64; 15] = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7 * 1440, 28 * 1440];
    let usual = MINUTES.map(|minutes| minutes * MINUTE);
    usual.into_iter().find(|step| span / step <= most).unwrap_or(span / most + 1)
}

/// Maps event time to the x of a picture.
#[derive(Debug, Clone, Copy)]
struct Scale {
    start: EventTime,
    end: EventTime,
    left: f64,
}

impl Scale {
    fn x(&self, at: EventTime) -> f64 {
        let share = (at.0 - self.start.0) as f64 / (self.end.0 - self.start.0).max(1) as f64;
        self.left + share.clamp(0.0, 1.0) * (WIDTH - self.left - 8.0)
    }
}

pub fn format_time(at: EventTime, format: &str) -> String {
    DateTime::<Utc>::from_timestamp_millis(at.0).map_or_else(|| at.to_string(), |at| at.format(format).to_string())
}

/// Vertical lines with their labels: midnights, or hours where the span is short.
fn time_axis(scale: Scale, top: f64, bottom: f64, out: &mut String) {
    const HOURS: [i64; 12] = [1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 672, 2016];
    let span = scale.end.0 - scale.start.0;
    let minutes = [5, 10, 15, 30].map(|minutes| minutes * MINUTE);
    let every = minutes.into_iter().chain(HOURS.map(|hours| hours * HOUR)).find(|every| span / every <= 12).unwrap_or(span / 12 + 1);
    let mut at = scale.start.floor(every);
    while at <= scale.end {
        if at >= scale.start {
            let x = scale.x(at);
            let label = if every >= DAY || at.0.rem_euclid(DAY) == 0 { format_time(at, "%-d %b") } else { at.clock() };
            let _ = write!(out, "<path class='grid' d='M{x:.1} {top:.1}V{bottom:.1}'/>");
            let _ = write!(out, "<text class='tick' x='{x:.1}' y='{:.1}' text-anchor='middle'>{label}</text>", bottom + 14.0);
        }
        at = at.plus(every);
    }
}

/// Steps of the height of `value`, from the base line up; nothing where it is 0.
fn steps(series: &Series, scale: Scale, base: f64, height: f64, most: f64, value: impl Fn(&Bin) -> u64) -> String {
    let mut path = String::new();
    let mut open = false;
    for (number, bin) in series.bins.iter().enumerate() {
        let value = value(bin) as f64;
        if value == 0.0 {
            if open {
                let _ = write!(path, "V{base:.1}Z");
                open = false;
            }
            continue;
        }
        let (x, next) = (scale.x(series.at(number)), scale.x(series.at(number + 1)));
        let y = base - (value / most * height).min(height);
        if !open {
            let _ = write!(path, "M{x:.1} {base:.1}");
            open = true;
        }
        let _ = write!(path, "V{y:.1}H{next:.1}");
    }
    if open {
        let _ = write!(path, "V{base:.1}Z");
    }
    path
}

fn bands(episodes: &[(usize, &Episode)], end: EventTime, scale: Scale, top: f64, bottom: f64, out: &mut String) {
    for (_, episode) in episodes {
        let (from, to) = episode.interval(end);
        let (x, width) = (scale.x(from), (scale.x(to) - scale.x(from)).max(1.5));
        let severity = episode.severity.as_str();
        let _ = write!(out, "<rect class='band {severity}' x='{x:.1}' y='{top:.1}' width='{width:.1}' height='{:.1}'/>", bottom - top);
        let _ = write!(out, "<rect class='cap {severity}' x='{x:.1}' y='{top:.1}' width='{width:.1}' height='3'/>");
    }
}

fn event_bands(events: &[&Event], scale: Scale, top: f64, bottom: f64, out: &mut String) {
    for event in events {
        let (x, width) = (scale.x(event.start), (scale.x(event.end) - scale.x(event.start)).max(2.0));
        let name = event.name.as_deref().unwrap_or("known event");
        let _ = write!(
            out,
            "<rect class='event' x='{x:.1}' y='{top:.1}' width='{width:.1}' height='{:.1}'><title>{}</title></rect>",
            bottom - top,
            escape(name)
        );
    }
}

/// Numbered marks where alerts fired, linked to their cards.
fn marks(episodes: &[(usize, &Episode)], scale: Scale, y: f64, out: &mut String) {
    let mut last = f64::NEG_INFINITY;
    let mut row = 0.0;
    for (number, episode) in episodes {
        let x = scale.x(episode.fired_at);
        // Side by side marks share the space above each other.
        row = if x - last < 17.0 { (row + 1.0) % 2.0 } else { 0.0 };
        last = x;
        let y = y - row * 15.0;
        let severity = episode.severity.as_str();
        let _ = write!(
            out,
            "<a href='#alert-{number}'><title>{}</title><circle class='mark {severity}' cx='{x:.1}' cy='{y:.1}' r='7.5'/>\
             <text class='mark-number {severity}' x='{x:.1}' y='{:.1}' text-anchor='middle'>{number}</text></a>",
            escape(&format!("{} {}", format_time(episode.fired_at, "%-d %b %H:%M"), episode.rule)),
            y + 3.6
        );
    }
}

/// Index around zero, volume below, alerts and events behind, numbers of the alerts above.
pub fn subject(series: &Series, episodes: &[(usize, &Episode)], events: &[&Event], end: EventTime, id: &str) -> String {
    let crowded = episodes.windows(2).any(|pair| {
        let scale = Scale { start: series.start, end: series.end(), left: 44.0 };
        scale.x(pair[1].1.fired_at) - scale.x(pair[0].1.fired_at) < 17.0
    });
    let head = if episodes.is_empty() { 8.0 } else { 22.0 } + if crowded { 15.0 } else { 0.0 };
    let (index_top, index_height, volume_height) = (head, 130.0, 56.0);
    let index_bottom = index_top + index_height;
    let (volume_top, volume_bottom) = (index_bottom + 12.0, index_bottom + 12.0 + volume_height);
    let height = volume_bottom + 20.0;
    let scale = Scale { start: series.start, end: series.end(), left: 44.0 };
    let mut out = String::new();
    let extreme = series.bins.iter().filter_map(|bin| bin.index).fold(0.25_f64, |most, value| most.max(value.abs()));
    let extreme = (extreme * 4.0).ceil() / 4.0;
    let zero = index_top + index_height / 2.0;
    let y = |value: f64| zero - value / extreme * index_height / 2.0;
    let most = series.bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(4) as f64;

    let _ = write!(
        out,
        "<svg class='chart' viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label='Sentiment index and number of items over time'"
    );
    let _ = write!(out, " data-left='44' data-right='8' data-start='{}' data-step='{}'", series.start.0, series.step_ms);
    let list = |value: &dyn Fn(&Bin) -> String| series.bins.iter().map(value).collect::<Vec<_>>().join(" ");
    let index = list(&|bin| bin.index.map_or_else(|| "-".to_owned(), |index| format!("{index:.2}")));
    let _ = write!(
        out,
        " data-index='{index}' data-count='{}' data-negative='{}'>",
        list(&|bin| bin.count.to_string()),
        list(&|bin| bin.negative.to_string())
    );
    let _ = write!(
        out,
        "<clipPath id='above-{id}'><rect x='0' y='0' width='{WIDTH}' height='{zero:.1}'/></clipPath>\
         <clipPath id='below-{id}'><rect x='0' y='{zero:.1}' width='{WIDTH}' height='{:.1}'/></clipPath>",
        height - zero
    );
    event_bands(events, scale, index_top, volume_bottom, &mut out);
    bands(episodes, end, scale, index_top, volume_bottom, &mut out);
    time_axis(scale, index_top, volume_bottom, &mut out);
    for value in [extreme, 0.0, -extreme] {
        let label = if value == 0.0 { "0".to_owned() } else { format!("{}{:.2}", if value < 0.0 { "−" } else { "+" }, value.abs()) };
        let _ = write!(out, "<text class='tick' x='38' y='{:.1}' text-anchor='end'>{label}</text>", y(value) + 3.5);
    }
    let _ = write!(out, "<path class='zero' d='M44 {zero:.1}H{:.1}'/>", WIDTH - 8.0);
    let mut line = String::new();
    let (mut first, mut last) = (None, 0.0);
    for (number, bin) in series.bins.iter().enumerate() {
        let Some(index) = bin.index else { continue };
        let x = scale.x(series.at(number + 1));
        let _ = write!(line, "{}{x:.1} {:.1}", if first.is_none() { "M" } else { "L" }, y(index));
        first.get_or_insert(x);
        last = x;
    }
    if let Some(first) = first {
        for (half, sign) in [("above", "positive"), ("below", "negative")] {
            let _ = write!(
                out,
                "<g clip-path='url(#{half}-{id})'><path class='area {sign}' d='{line}L{last:.1} {zero:.1}L{first:.1} {zero:.1}Z'/><path class='line {sign}' d='{line}'/></g>"
            );
        }
    }
    let _ = write!(out, "<text class='tick' x='38' y='{:.1}' text-anchor='end'>{}</text>", volume_top + 8.0, most);
    let _ = write!(out, "<path class='volume' d='{}'/>", steps(series, scale, volume_bottom, volume_height, most, |bin| bin.count));
    let _ =
        write!(out, "<path class='volume negative' d='{}'/>", steps(series, scale, volume_bottom, volume_height, most, |bin| bin.negative));
    let _ = write!(out, "<path class='base' d='M44 {volume_bottom:.1}H{:.1}'/>", WIDTH - 8.0);
    marks(episodes, scale, index_top - 11.0, &mut out);
    let _ = write!(out, "<path class='cursor' d='M0 {index_top:.1}V{volume_bottom:.1}'/></svg>");
    out
}

/// One row of the overview.
pub struct Lane<'run> {
    pub name: String,
    pub link: String,
    pub episodes: Vec<(usize, &'run Episode)>,
    /// Of the configuration it is held against.
    pub against: Vec<&'run Episode>,
    pub events: Vec<&'run Event>,
}

/// The market's volume above, a row for each subject with its alerts below.
pub fn overview(market: &Series, lanes: &[Lane<'_>], end: EventTime, compared: bool) -> String {
    let scale = Scale { start: market.start, end: market.end(), left: 190.0 };
    let (top, volume_height, lane) = (6.0, 46.0, if compared { 30.0 } else { 22.0 });
    let base = top + volume_height;
    let lanes_top = base + 8.0;
    let bottom = lanes_top + lane * lanes.len() as f64 + 4.0;
    let mut out = format!(
        "<svg class='overview' viewBox='0 0 {WIDTH} {:.0}' role='img' aria-label='All alerts over time, one row a subject'>",
        bottom + 20.0
    );
    time_axis(scale, top, bottom, &mut out);
    let most = market.bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(4) as f64;
    let _ = write!(out, "<text class='lane-name' x='0' y='{:.1}'>All news</text>", base - 4.0);
    let _ = write!(out, "<path class='volume' d='{}'/>", steps(market, scale, base, volume_height, most, |bin| bin.count));
    let _ = write!(out, "<path class='volume negative' d='{}'/>", steps(market, scale, base, volume_height, most, |bin| bin.negative));
    for (row, Lane { name, link, episodes, against, events }) in lanes.iter().enumerate() {
        let y = lanes_top + row as f64 * lane;
        let _ = write!(out, "<path class='lane' d='M0 {:.1}H{WIDTH}'/>", y + lane);
        event_bands(events, scale, y + 2.0, y + lane - 2.0, &mut out);
        let short: String = if name.chars().count() > 29 { name.chars().take(28).chain(['…']).collect() } else { name.clone() };
        let _ = write!(
            out,
            "<a href='#{link}'><title>{}</title><text class='lane-name' x='0' y='{:.1}'>{}</text></a>",
            escape(name),
            y + lane / 2.0 + 4.0,
            escape(&short)
        );
        let mut bar = |episode: &Episode, number: Option<usize>, top: f64, height: f64, side: &str| {
            let (from, to) = episode.interval(end);
            let (x, width) = (scale.x(from), (scale.x(to) - scale.x(from)).max(5.0));
            let text = format!("{} {}", format_time(from, "%-d %b %H:%M"), episode.rule);
            let rect = format!(
                "<rect class='bar {} {side}' x='{x:.1}' y='{top:.1}' width='{width:.1}' height='{height:.1}' rx='2'><title>{}</title></rect>",
                episode.severity.as_str(),
                escape(&text)
            );
            match number {
                Some(number) => drop(write!(out, "<a href='#alert-{number}'>{rect}</a>")),
                None => out.push_str(&rect),
            }
        };
        let height = if compared { 10.0 } else { 12.0 };
        episodes.iter().for_each(|(number, episode)| bar(episode, Some(*number), y + 4.0 + if compared { 0.0 } else { 1.0 }, height, ""));
        against.iter().for_each(|episode| bar(episode, None, y + 16.0, height, "other"));
    }
    out.push_str("</svg>");
    out
}

/// Around one alert: what came, slice by slice, the window judged, and the transitions.
pub fn close_up(panes: &PaneTable, episode: &Episode, end: EventTime, config: &WindowConfig) -> String {
    let window = &episode.first().window;
    let pane_ms = config.pane.ms();
    let length = window.end.0 - window.start.0;
    let rise = episode.first().baseline.as_ref().and_then(|baseline| baseline.rise.as_ref()).map(|rise| rise.since);
    let from = rise.map_or(window.end.plus(-4 * length), |since| since.plus((since.0 - window.end.0) / 8));
    let open_until = episode.interval(end).1;
    let shown = (window.end.0 - from.0).max(4 * length);
    let to = open_until.min(window.end.plus(2 * shown)).max(window.end.plus(shown / 2));
    let fine = (length / 12).max((to.0 - from.0) / MOST_BINS);
    let step_ms = (fine.div_euclid(pane_ms) + 1) * pane_ms;
    let series = Series::with_step(panes, &episode.subject, from, to, config, step_ms);
    let scale = Scale { start: series.start, end: series.end(), left: 44.0 };
    let (top, height) = (20.0, 70.0);
    let base = top + height;
    let most = series.bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(3) as f64;
    let mut out = format!("<svg class='close-up' viewBox='0 0 {WIDTH} {:.0}' role='img' aria-label='Items around the alert'>", base + 20.0);
    // What was judged: the window, or the rise up to its end.
    let (x, width) = (scale.x(rise.unwrap_or(window.start)), scale.x(window.end) - scale.x(rise.unwrap_or(window.start)));
    let _ = write!(out, "<rect class='window' x='{x:.1}' y='{top:.1}' width='{width:.1}' height='{height:.1}'/>");
    time_axis(scale, top, base, &mut out);
    let _ = write!(out, "<text class='tick' x='38' y='{:.1}' text-anchor='end'>{most}</text>", top + 8.0);
    let _ = write!(out, "<path class='volume' d='{}'/>", steps(&series, scale, base, height - 4.0, most, |bin| bin.count));
    let _ = write!(out, "<path class='volume negative' d='{}'/>", steps(&series, scale, base, height - 4.0, most, |bin| bin.negative));
    let _ = write!(out, "<path class='base' d='M44 {base:.1}H{:.1}'/>", WIDTH - 8.0);
    let mut free_from = f64::NEG_INFINITY;
    for record in episode.records.iter().filter(|record| record.at <= series.end()) {
        let x = scale.x(record.at);
        let kind = if record.transition.as_str() == "resolved" { "resolved" } else { record.severity.as_str() };
        let label = format!("{} {}", record.transition.as_str(), record.at.clock());
        let _ = write!(out, "<path class='moment {kind}' d='M{x:.1} {:.1}V{base:.1}'/>", top - 4.0);
        // A label that would lie on the one before it is left to the table.
        if x >= free_from {
            let (anchor, text_x) = if x > WIDTH - 130.0 { ("end", x - 4.0) } else { ("start", x + 4.0) };
            let _ =
                write!(out, "<text class='moment-name {kind}' x='{text_x:.1}' y='{:.1}' text-anchor='{anchor}'>{label}</text>", top - 6.0);
            free_from = x + 104.0;
        }
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_fine_as_the_picture_can_show() {
        assert_eq!(step(40 * DAY, 480), 2 * HOUR);
        assert_eq!(step(6 * HOUR, 480), MINUTE);
        assert!(5000 * DAY / step(5000 * DAY, 480) <= 480);
    }

    #[test]
    fn empty_slices_leave_gaps_in_the_steps() {
        let bin = |count| Bin { count, ..Bin::default() };
        let series = Series { start: EventTime(0), step_ms: 10, bins: vec![bin(1), bin(0), bin(2)] };
        let scale = Scale { start: EventTime(0), end: EventTime(30), left: 0.0 };
        let path = steps(&series, scale, 100.0, 50.0, 2.0, |bin| bin.count);
        assert_eq!(path, "M0.0 100.0V75.0H370.7V100.0ZM741.3 100.0V50.0H1112.0V100.0Z");
    }
}

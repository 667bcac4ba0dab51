//! `bellwether trace`: how an alert came about, from the Kafka topics alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::config::Config;
use crate::detect::AlertRecord;
use crate::kafka::reader::Reader;
use crate::kafka::topics;
use crate::news::{EventTime, ItemObservation, Observation, Scored};
use crate::window::PaneRecord;

/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(60);
/// Items that the text shows; JSON has all.
const SHOWN: usize = 20;

#[derive(clap::Args)]
#[command(
    after_help = "Reads sentiment.alerts, sentiment.windows, news.observations and news.scored, and writes to none of them. What their retention \
                        has taken away is missing, and is said to be."
)]
pub struct Arguments {
    /// The alert's id, as in sentiment.alerts and on the page
    alert: String,
    #[command(flatten)]
    config: ConfigArgument,
    /// Everything as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(arguments.config.config.as_deref())?;
    super::start_logging(&config.log);
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    topics::check(&config.kafka, |_| "Read")?;
    let reader = Reader::new(&config.kafka, "trace", PATIENCE, stop)?;
    let trace = Trace::read(&reader, &config, &arguments.alert)?;
    match arguments.json {
        true => writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&trace)?)?,
        false => write!(std::io::stdout(), "{}", trace.text(&config))?,
    }
    Ok(())
}

/// An alert and what it was made of.
#[derive(Debug, Serialize)]
struct Trace {
    /// In their order. The topic is compacted: earlier ones may be gone.
    transitions: Vec<AlertRecord>,
    /// Panes of the subject in the window of the first transition.
    panes: Vec<PaneRecord>,
    /// Items of the subject in that window, in order of event time, each once a pane.
    items: Vec<ItemObservation>,
    /// The same items in `news.scored`, by their id.
    scored: BTreeMap<String, Value>,
}

impl Trace {
    fn read(reader: &Reader, config: &Config, id: &str) -> Result<Self, Failure> {
        let names = &config.kafka.topics;
        let all = |topic: &str, since: Option<EventTime>| -> Result<Vec<(i32, Option<EventTime>)>, Failure> {
            Ok((0..reader.partition_count(topic)?).map(|partition| (partition, since)).collect())
        };
        let (mut transitions, mut others) = (BTreeMap::new(), BTreeSet::new());
        reader.read(&names.alerts, &all(&names.alerts, None)?, |record| {
            if let Ok(alert) = serde_json::from_slice::<AlertRecord>(record.payload) {
                match alert.id == id {
                    true => drop(transitions.insert(alert.sequence, alert)),
                    false => drop(others.insert((alert.at, alert.id))),
                }
            }
        })?;
        let transitions: Vec<AlertRecord> = transitions.into_values().collect();
        let Some(first) = transitions.first() else { return Err(unknown(&names.alerts, id, &others)) };
        let (subject, span) = (first.subject.clone(), Span::of(first));

        // No record is older than what it says by more than an item may be dated ahead.
        let since = Some(span.start.plus(-config.decode.max_ahead.ms()));
        let mut panes = BTreeMap::new();
        let mut partition = None;
        reader.read(&names.windows, &all(&names.windows, since)?, |record| {
            if let Ok(pane) = serde_json::from_slice::<PaneRecord>(record.payload)
                && pane.subject == subject
                && span.holds(pane.pane_start)
            {
                partition = Some(record.partition);
                panes.insert(pane.pane_start, pane);
            }
        })?;
        let observed = match partition {
            Some(partition) => vec![(partition, since)],
            None => all(&names.observations, since)?,
        };
        let mut items = BTreeMap::new();
        let pane_ms = config.window.pane.ms();
        reader.read(&names.observations, &observed, |record| {
            if let Ok(Observation::Item(item)) = serde_json::from_slice(record.payload)
                && item.subject == subject
                && span.holds(EventTime(item.event_time_ms))
            {
                items.entry((EventTime(item.event_time_ms).floor(pane_ms), item.id.clone())).or_insert(item);
            }
        })?;
        let mut items: Vec<ItemObservation> = items.into_values().collect();
        items.sort_by(|one, other| (one.event_time_ms, &one.id).cmp(&(other.event_time_ms, &other.id)));
        let wanted: BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
        let mut scored = BTreeMap::new();
        reader.read(&names.scored, &all(&names.scored, since)?, |record| {
            if let Ok(item) = serde_json::from_slice::<Scored>(record.payload)
                && wanted.contains(item.id.as_str())
            {
                scored.insert(item.id.clone(), json!(item));
            }
        })?;
        Ok(Self { transitions, panes: panes.into_values().collect(), items, scored })
    }

    fn text(&self, config: &Config) -> String {
        let mut text = String::new();
        let first = &self.transitions[0];
        let mut line = |title: &str, what: String| {
            let _ = writeln!(text, "{title:<12}{what}");
        };
        line("alert", first.id.clone());
        for gone in 0..first.sequence {
            line("", format!("transition {gone} is not on the topic any more: it is compacted, and the last one stays"));
        }
        for alert in &self.transitions {
            line("", format!("{} {}, {}: {}", alert.at, alert.transition.as_str(), alert.severity.as_str(), alert.why));
        }
        let rule = match (config.rules.get(&first.rule), config.version() == first.config_version) {
            (Some(_), true) => "as in the configuration in force".to_owned(),
            (Some(_), false) => format!("another configuration than the one in force, {}", config.version()),
            (None, _) => "the configuration in force has no such rule".to_owned(),
        };
        line("rule", format!("{}, configuration {}: {rule}", first.rule, first.config_version));
        line("", judged(first));
        let window = &first.window;
        line(
            "window",
            format!(
                "{} to {}: {} items, {} negative ({} of them new), {} neutral, {} positive, of {} sources",
                window.start,
                window.end,
                window.count,
                window.negative,
                window.novel_negative,
                window.neutral,
                window.positive,
                window.sources
            ),
        );
        line("", self.panes_compared());
        line("models", self.models());
        let negative = self.items.iter().filter(|item| item.score.0 < 0).count();
        line("items", format!("{} on news.observations, {negative} with a score below 0{}", self.items.len(), self.items_compared()));
        let evidence: BTreeSet<&str> = first.evidence.iter().map(|item| item.id.as_str()).collect();
        let mut shown: Vec<&ItemObservation> = self.items.iter().filter(|item| item.score.0 < 0).collect();
        shown.sort_by_key(|item| (!evidence.contains(item.id.as_str()), item.score, item.event_time_ms));
        for item in shown.iter().take(SHOWN) {
            let place = self.scored.get(&item.id).map_or_else(
                || "not on news.scored any more".to_owned(),
                |scored| format!("news.raw partition {} offset {}", scored["raw"]["partition"], scored["raw"]["offset"]),
            );
            let mark = if evidence.contains(item.id.as_str()) { "*" } else { " " };
            let title = item.title.as_deref().unwrap_or("(without a headline)");
            let source = item.source.as_deref().unwrap_or("unknown");
            line(
                "",
                format!("{mark} {} {:+.2} {title} ({source}; {}; {place})", EventTime(item.event_time_ms), item.score.to_f64(), item.id),
            );
        }
        if shown.len() > SHOWN {
            line("", format!("  and {} more: --json has them", shown.len() - SHOWN));
        }
        if shown.iter().any(|item| evidence.contains(item.id.as_str())) {
            line("", "* evidence of the alert".to_owned());
        }
        text
    }

    /// Whether the panes on the topic are what the alert says of its window.
    fn panes_compared(&self) -> String {
        let window = &self.transitions[0].window;
        let inside = self.panes.iter().filter(|pane| pane.pane_start >= window.start && pane.pane_start < window.end);
        let (panes, count, negative) =
            inside.fold((0, 0, 0), |(panes, count, negative), pane| (panes + 1, count + pane.count, negative + pane.negative));
        match (panes, (count, negative) == (window.count, window.negative)) {
            (0, _) => "no pane of it is on sentiment.windows any more".to_owned(),
            (_, true) => format!("{panes} panes on sentiment.windows add up to it"),
            (_, false) => format!("{panes} panes on sentiment.windows add up to {count} items, {negative} negative: the others are gone"),
        }
    }

    fn items_compared(&self) -> &'static str {
        let window = &self.transitions[0].window;
        let inside = self.items.iter().filter(|item| item.event_time_ms >= window.start.0).count() as u64;
        match inside.cmp(&window.count) {
            std::cmp::Ordering::Less => "; the others are gone",
            std::cmp::Ordering::Equal => "",
            std::cmp::Ordering::Greater => "; those that came too late are not in the window",
        }
    }

    fn models(&self) -> String {
        let named: Vec<String> = self.transitions[0].models.iter().map(|model| format!("{} {}", model.name, model.version)).collect();
        if named.is_empty() { "none: scores came with the items".to_owned() } else { named.join(", ") }
    }
}

/// The event times that an alert was judged by: its window, and a slow rise before it.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: EventTime,
    end: EventTime,
}

impl Span {
    fn of(alert: &AlertRecord) -> Self {
        let rise = alert.baseline.as_ref().and_then(|baseline| baseline.rise.as_ref()).map(|rise| rise.since);
        Self { start: rise.unwrap_or(alert.window.start).min(alert.window.start), end: alert.window.end }
    }

    fn holds(self, at: EventTime) -> bool {
        at >= self.start && at < self.end
    }
}

/// What was compared with what.
fn judged(alert: &AlertRecord) -> String {
    let limit = format!("{} against {} = {}", alert.condition.as_str(), alert.threshold.name, alert.threshold.value);
    match (&alert.baseline, alert.p_value, alert.false_alarms_per_month) {
        (Some(baseline), Some(p_value), Some(alarms)) => {
            let rise = baseline.rise.as_ref().map_or_else(String::new, |rise| {
                format!("; a slow rise since {}: {} negative, {} expected", rise.since, rise.negative, rise.expected_negative)
            });
            format!(
                "{limit}: {} negative expected by {} hours of the past, p = {p_value:.2e}, chance alone would alarm {alarms:.2e} times a month{rise}",
                baseline.expected_negative, baseline.history_hours
            )
        }
        _ => match &alert.interval {
            Some(interval) => format!(
                "{limit}: {} (between {} and {} at confidence {})",
                interval.estimate, interval.lower, interval.upper, interval.confidence
            ),
            None => limit,
        },
    }
}

/// Names the ids that are most like the one asked for.
fn unknown(topic: &str, id: &str, others: &BTreeSet<(EventTime, String)>) -> Failure {
    let mut ids: Vec<&str> = others.iter().rev().map(|(_, id)| id.as_str()).collect();
    ids.sort_by_key(|other| strsim::levenshtein(id, other));
    ids.truncate(3);
    let near = if ids.is_empty() { format!("{topic} is empty") } else { format!("the nearest on {topic}: {}", ids.join(", ")) };
    Failure::usage(anyhow::anyhow!("no alert has the id {id:?}; {near}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::alert;
    use crate::detect::life::Transition;

    #[test]
    fn a_slow_rise_is_followed_to_its_beginning() {
        let mut slow = alert("entity:harbour-bank", 1_000_000, 1_000_000, Transition::Firing);
        let window = slow.window.start;
        assert_eq!(Span::of(&slow).start, window);
        let rise = crate::detect::AlertRise { since: window.plus(-3_600_000), negative: 40, expected_negative: 12.0 };
        slow.baseline.as_mut().unwrap().rise = Some(rise);
        assert_eq!(Span::of(&slow).start, window.plus(-3_600_000));
        assert!(Span::of(&slow).holds(window) && !Span::of(&slow).holds(slow.window.end));
    }

    #[test]
    fn an_id_that_nobody_has_is_answered_with_its_neighbours() {
        let others = ["surge/entity:a/1", "surge/entity:b/1", "share/market/2"].map(|id| (EventTime(0), id.to_owned()));
        let Failure { error, code } = unknown("sentiment.alerts", "surge/entity:c/1", &others.into());
        assert!(error.to_string().starts_with("no alert has the id \"surge/entity:c/1\"; the nearest on sentiment.alerts: surge/entity:"));
        assert_eq!(code, super::super::USAGE);
    }
}

//! The monitor without Kafka: the same core over an observation log in memory, for back-tests and tests.
//!
//! [`EventLog`] writes the log that the classifier would write had every item come at its own event time, on one raw
//! partition; [`OfflineMonitor`] reads a log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::partition::{Counted, Output, PartitionMonitor};
use crate::config::Config;
use crate::detect::tally::RuleTally;
use crate::enrich::Watchlist;
use crate::news::{EventTime, ItemObservation, Observation, Subject};
use crate::window::{MarketTally, PartitionClock};

/// The monitors of all partitions of one observation log.
pub struct OfflineMonitor {
    /// With the next offset of each partition.
    partitions: Vec<(PartitionMonitor, i64)>,
}

impl OfflineMonitor {
    pub fn new(config: &Arc<Config>, watchlist: &Arc<Watchlist>, partitions: usize) -> Self {
        let monitor = || (PartitionMonitor::new(config.clone(), watchlist.clone(), 0), 0);
        Self { partitions: std::iter::repeat_with(monitor).take(partitions).collect() }
    }

    /// Reads the next record of a partition.
    pub fn observe(&mut self, partition: usize, observation: &Observation) -> (Option<Counted>, Vec<Output>) {
        let (monitor, offset) = &mut self.partitions[partition];
        let read = monitor.observe(observation, *offset);
        *offset += 1;
        read
    }

    /// What became of the windows that a partition judged, by rule.
    pub fn tallies(&self, partition: usize) -> &BTreeMap<String, RuleTally> {
        self.partitions[partition].0.tallies()
    }
}

/// Observations in order of event time, with the watermarks that belong between them.
pub struct EventLog {
    config: Config,
    /// `None` before the first item.
    clock: Option<PartitionClock>,
    /// What the items since the last watermark add to the market.
    tally: MarketTally,
    pane_ms: i64,
    /// Where the clock, which is event time, stands.
    now: EventTime,
    /// How long it must be silent at the end until every hop that the last item is in has been judged.
    settle_ms: i64,
}

impl EventLog {
    pub fn new(config: &Config) -> Self {
        let longest_hop = config.rules.values().map(|rule| rule.hop.ms()).fold(config.window.hop.ms(), i64::max);
        let watermark = &config.watermark;
        let reach = watermark.disorder.ms() + config.window.allowed_lateness.ms() + longest_hop;
        let settle_ms = watermark.idle_after.ms().max(reach) + watermark.interval.ms();
        let (tally, pane_ms) = (MarketTally::default(), config.window.pane.ms());
        Self { config: config.clone(), clock: None, tally, pane_ms, now: EventTime(i64::MIN), settle_ms }
    }

    /// What is written when an item comes that was published at `at`: the watermark of the silence before it, the item
    /// as each of its subjects sees it, the watermark behind it.
    ///
    /// # Panics
    /// Where `at` lies before the item before.
    pub fn append(&mut self, at: EventTime, item: impl IntoIterator<Item = ItemObservation>) -> Vec<Observation> {
        assert!(at >= self.now, "items come in order of event time");
        let mut records: Vec<Observation> = self.silence(at).into_iter().collect();
        for observation in item {
            if observation.subject == Subject::market() {
                self.tally.count(at, observation.sentiment, observation.score, self.pane_ms);
            }
            records.push(Observation::Item(observation));
        }
        self.now = at;
        let clock = self.clock.get_or_insert_with(|| PartitionClock::new(at.0));
        clock.record(Some(at), at, at.0);
        records.extend(self.announce());
        records
    }

    /// The silence behind the last item.
    pub fn close(&mut self) -> Option<Observation> {
        self.silence(self.now.plus(self.settle_ms))
    }

    /// While nothing comes the classifier looks at the clock once an interval. Without an item between them only the
    /// last of these watermarks counts.
    fn silence(&mut self, until: EventTime) -> Option<Observation> {
        let clock = self.clock.as_mut()?;
        let interval = self.config.watermark.interval.ms();
        let ticks = (until.0 - self.now.0) / interval;
        if ticks == 0 {
            return None;
        }
        self.now = self.now.plus(ticks * interval);
        clock.reached_end();
        self.announce()
    }

    fn announce(&mut self) -> Option<Observation> {
        let mut watermark = self.clock.as_mut()?.announce(0, 1, &self.config, self.now.0)?;
        while !self.tally.is_empty() {
            watermark.market.extend(self.tally.take());
        }
        Some(Observation::Watermark(watermark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Sentiment;
    use crate::window::panes::tests::item;

    const RULES: &str = "[window]\npane='1m'\nsize='10m'\nhop='1m'\n[rules.share]\ngroup_by='market'\ncondition='share'\nmin_count=3\nconfidence=0.5\n\
                         warning=0.6\ncritical=0.9\nresolve=0.4";

    fn log(config: &Config, seconds: impl Iterator<Item = i64>) -> Vec<Observation> {
        let mut log = EventLog::new(config);
        let mut records = Vec::new();
        for second in seconds {
            let sentiment = if second % 3 == 0 { Sentiment::Positive } else { Sentiment::Negative };
            records.extend(log.append(EventTime(second * 1000), [item("market", &second.to_string(), second * 1000, sentiment)]));
        }
        records.extend(log.close());
        records
    }

    #[test]
    fn every_item_is_counted_on_time_and_every_pane_closes() {
        let config = Arc::new(Config::from_toml(RULES, &[], None).unwrap());
        // Bursts and silences: shorter than the disorder, than idleness, and far longer.
        let seconds: Vec<i64> = (0..400).map(|number| number * 2 + (number / 20) * 90 + (number / 100) * 7200).collect();
        let mut monitor = OfflineMonitor::new(&config, &Arc::new(Watchlist::empty()), 1);
        let (mut counted, mut paned) = (0, 0);
        for record in log(&config, seconds.iter().copied()) {
            let (outcome, outputs) = monitor.observe(0, &record);
            assert!(matches!(outcome, None | Some(Counted::Yes)), "{outcome:?}");
            counted += u64::from(outcome.is_some());
            paned += outputs.iter().map(|output| if let Output::Pane(pane) = output { pane.count } else { 0 }).sum::<u64>();
        }
        assert_eq!((counted, paned), (400, 400));
    }

    /// The classifier looks at the clock every interval; the log here holds only what counts of that.
    #[test]
    fn the_log_decides_as_one_with_a_watermark_at_every_interval() {
        let config = Arc::new(Config::from_toml(RULES, &[], None).unwrap());
        let seconds: Vec<i64> = (0..300).map(|number| number + (number / 15) * 47 + (number / 75) * 4000).collect();
        let mut every_tick = Vec::new();
        let mut clock = PartitionClock::new(0);
        let mut next = 0;
        for now in (0..(seconds.last().unwrap() + 120) * 1000).step_by(500) {
            clock.reached_end();
            while next < seconds.len() && seconds[next] * 1000 <= now {
                let at = seconds[next] * 1000;
                let sentiment = if seconds[next] % 3 == 0 { Sentiment::Positive } else { Sentiment::Negative };
                every_tick.push(Observation::Item(item("market", &seconds[next].to_string(), at, sentiment)));
                clock.record(Some(EventTime(at)), EventTime(at), now);
                next += 1;
            }
            every_tick.extend(clock.announce(0, 1, &config, now).map(Observation::Watermark));
        }
        let outputs = |log: &[Observation]| {
            let mut monitor = OfflineMonitor::new(&config, &Arc::new(Watchlist::empty()), 1);
            let outputs: Vec<Output> = log.iter().flat_map(|record| monitor.observe(0, record).1).collect();
            outputs.into_iter().filter(|output| !matches!(output, Output::View(_))).collect::<Vec<_>>()
        };
        let sparse = log(&config, seconds.iter().copied());
        assert!(sparse.len() < every_tick.len(), "{} and {}", sparse.len(), every_tick.len());
        let (one, two) = (outputs(&sparse), outputs(&every_tick));
        assert!(one.iter().any(|output| matches!(output, Output::Alert(_))));
        assert_eq!(one, two);
    }

    #[test]
    fn an_empty_log_has_nothing_to_close() {
        assert_eq!(EventLog::new(&Config::default()).close(), None);
    }
}

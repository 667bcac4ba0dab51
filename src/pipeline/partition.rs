//! The monitor's order of stages, for one partition of `news.observations`. Pure: a function of the observation log.
//!
//! late? ▶ dedupe ▶ open panes ▶ (watermark passes) ▶ closed panes ▶ rolling windows ▶ rules ▶ transitions.
//! Every partition is alone: its subjects, its watermark, its alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{Config, RuleConfig};
use crate::detect::life::Life;
use crate::detect::tally::RuleTally;
use crate::detect::{AlertRecord, Detector, Seen, Standing, UsualCount};
use crate::enrich::Watchlist;
use crate::news::{EventTime, ItemObservation, Observation, Subject, SubjectKind, WatermarkObservation};
use crate::novelty::Novelty;
use crate::window::{History, MarketPanes, OpenPanes, PaneRecord, SentimentIndex, WatermarkMerge, WindowCounts};

/// What reading one observation led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Yes,
    /// Its pane was closed already.
    Late,
    /// Its pane has counted that id for that subject.
    Duplicate,
}

/// What leaves the monitor when the watermark moves, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Pane(PaneRecord),
    Alert(Box<AlertRecord>),
    /// The rolling windows of the subjects that page and metrics show.
    View(View),
}

#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub end: EventTime,
    /// Subjects with items in the window; more than are shown, it may be.
    pub subjects: usize,
    pub windows: BTreeMap<Subject, WindowCounts>,
    /// Of the same subjects.
    pub moods: BTreeMap<Subject, Mood>,
    /// How its alerts stand that publish nothing at the moment.
    pub standing: Standing,
}

/// How a subject is spoken of now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mood {
    /// The sentiment index, −1 to 1.
    pub index: f64,
    /// Items in the window as a multiple of what is usual; `None` before the past can tell.
    pub buzz: Option<f64>,
    /// New negative items that are usual in such a window; `None` before the past can tell.
    pub usual: Option<UsualCount>,
}

/// What is committed with the offset: enough to replay from there without emitting anything twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Panes and alerts up to here are published.
    pub closed_until: EventTime,
    /// Next offset to be read; records before it are read again only for what open panes and evidence need.
    pub position: i64,
    pub watermarks: WatermarkMerge,
    /// Since when the baseline has seen panes.
    pub since: Option<EventTime>,
    /// Market-wide alerts by their rule: only one partition publishes them, and all must know.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub market: BTreeMap<String, Life>,
    /// True where the market's items are on this partition.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub owns_market: bool,
}

pub struct PartitionMonitor {
    config: Arc<Config>,
    watermarks: WatermarkMerge,
    panes: OpenPanes,
    history: History,
    index: SentimentIndex,
    /// The market's counts, where a rule asks for them.
    market: MarketPanes,
    watches_market: bool,
    owns_market: bool,
    detector: Detector,
    closed_until: Option<EventTime>,
    /// Next offset to be read.
    position: i64,
    /// Watermarks at offsets before this were taken in before a restart.
    live_from: i64,
    /// First offset of each pane that a restart would have to read again.
    first_offsets: BTreeMap<EventTime, i64>,
}

impl PartitionMonitor {
    pub fn new(config: Arc<Config>, watchlist: Arc<Watchlist>, position: i64) -> Self {
        Self {
            watermarks: WatermarkMerge::default(),
            panes: match OpenPanes::new(config.window.pane.ms()) {
                panes if config.novelty.horizon.ms() > 0 => panes.with_novelty(Novelty::new(config.novelty)),
                every_item_is_new => every_item_is_new,
            },
            history: History::new(config.window_sizes_ms()),
            index: SentimentIndex::new(config.window.index_half_life.ms()),
            market: MarketPanes::new(config.window.pane.ms()),
            watches_market: config.watches_market(),
            owns_market: false,
            detector: Detector::new(config.clone(), watchlist),
            closed_until: None,
            position,
            live_from: position,
            first_offsets: BTreeMap::new(),
            config,
        }
    }

    /// The state after `checkpoint`, from what was published. Panes and transitions beyond it are left out: the replay
    /// gives them again, the same. `panes` in order of their start, `alerts` in order of publication.
    pub fn restore(
        config: Arc<Config>,
        watchlist: Arc<Watchlist>,
        checkpoint: &Checkpoint,
        mut panes: Vec<PaneRecord>,
        alerts: &[AlertRecord],
        replay_from: i64,
    ) -> Self {
        let mut monitor = Self::new(config, watchlist, replay_from);
        let pane = monitor.config.window.pane.ms();
        // Every pane read back has the configured length; where there is none, this end may lie within one.
        let until = checkpoint.closed_until.floor(pane);
        panes.truncate(panes.partition_point(|pane| pane.pane_end <= until));
        let market_counts = Subject::market_counts();
        let (market, published): (Vec<PaneRecord>, Vec<PaneRecord>) = panes.into_iter().partition(|pane| pane.subject == market_counts);
        monitor.market.restore(&market);
        monitor.panes.restore(&published);
        monitor.index.restore(&published);
        monitor.detector.learn(&published);
        monitor.detector.restore_since(checkpoint.since);
        monitor.detector.restore_market_lives(&checkpoint.market);
        monitor.owns_market = checkpoint.owns_market;
        for alert in alerts.iter().filter(|alert| alert.at <= until) {
            monitor.detector.restore(alert);
        }
        let needed_from = until.plus(-Self::retention_ms(&monitor.config));
        monitor.history.push(&published[published.partition_point(|pane| pane.pane_start < needed_from)..]);
        let mut end = until.plus(-Self::memory_ms(&monitor.config));
        while end < until {
            end = end.plus(pane);
            monitor.history.advance(end);
            let seen = Seen { history: &monitor.history, market: &monitor.market, novelty: monitor.panes.novelty() };
            monitor.detector.recall(end, &seen);
        }
        monitor.forget_before(until);
        monitor.watermarks = checkpoint.watermarks.clone();
        monitor.closed_until = Some(until);
        monitor.live_from = checkpoint.position;
        monitor
    }

    /// How long the rules look back beyond a window to know since when a condition holds: a hop more than they wait,
    /// because what they wait for began at the end of a hop.
    fn memory_ms(config: &Config) -> i64 {
        let longest = |rule: &RuleConfig| rule.hold_for.max(rule.keep_firing_for).ms() + rule.hop.ms();
        let all = config.rules.values().flat_map(|rule| rule.overridden().into_values().map(|own| longest(&own)).chain([longest(rule)]));
        all.max().unwrap_or(0)
    }

    /// How far back of `closed_until` windows reach, those judged again included.
    pub fn retention_ms(config: &Config) -> i64 {
        config.longest_window_ms() + Self::memory_ms(config)
    }

    /// How far back of `closed_until` panes must be read to restore: windows, memory, the baseline, novelty and the index.
    pub fn restore_horizon_ms(config: &Config) -> i64 {
        let index = SentimentIndex::horizon_ms(config.window.index_half_life.ms());
        let past = config.look_back_ms().max(config.novelty.horizon.ms()).max(index);
        Self::retention_ms(config) + past
    }

    /// Reads one observation at `offset`. Outputs follow only from watermarks. What was taken in before a restart is told as
    /// nothing.
    pub fn observe(&mut self, observation: &Observation, offset: i64) -> (Option<Counted>, Vec<Output>) {
        self.position = offset + 1;
        match observation {
            Observation::Item(item) => {
                let counted = self.count(item, offset);
                ((offset >= self.live_from).then_some(counted), Vec::new())
            }
            Observation::Watermark(watermark) => {
                self.count_market(watermark, offset);
                // A watermark before `live_from` was taken in before the restart.
                (None, if offset >= self.live_from { self.advance(watermark) } else { Vec::new() })
            }
        }
    }

    /// Passes over a record that is no observation.
    pub fn skip(&mut self, offset: i64) {
        self.position = offset + 1;
    }

    /// Takes in what a watermark says of the market, but for panes that are closed.
    fn count_market(&mut self, watermark: &WatermarkObservation, offset: i64) {
        for counts in watermark.market.iter().filter(|_| self.watches_market) {
            let pane = self.market.pane_of(counts);
            if self.closed_until.is_none_or(|until| pane.plus(self.config.window.pane.ms()) > until) {
                self.first_offsets.entry(pane).or_insert(offset);
                self.market.count(counts);
            }
        }
    }

    fn count(&mut self, item: &ItemObservation, offset: i64) -> Counted {
        self.owns_market |= item.subject == Subject::market();
        let pane = EventTime(item.event_time_ms).floor(self.config.window.pane.ms());
        let pane_end = pane.plus(self.config.window.pane.ms());
        // Needed again after a restart while its pane is open or within reach of an alert's evidence.
        let needed = self.closed_until.is_none_or(|until| pane_end > until.plus(-self.config.longest_window_ms()));
        if needed {
            self.first_offsets.entry(pane).or_insert(offset);
            self.detector.evidence_mut().consider(item);
        }
        if self.closed_until.is_some_and(|until| pane_end <= until) {
            return Counted::Late;
        }
        if self.panes.count(item) { Counted::Yes } else { Counted::Duplicate }
    }

    fn advance(&mut self, watermark: &WatermarkObservation) -> Vec<Output> {
        let Some(watermark) = self.watermarks.merge(watermark) else { return Vec::new() };
        let pane = self.config.window.pane.ms();
        let target = watermark.plus(-self.config.window.allowed_lateness.ms()).floor(pane);
        let mut closed = match self.closed_until {
            Some(closed) => closed,
            None => self.earliest_open().map_or(target, |earliest| earliest.min(target)),
        };
        let mut outputs = Vec::new();
        while closed < target {
            let mut end = closed.plus(pane);
            let newest = self.history.newest().max(self.market.newest());
            if newest.is_none_or(|newest| newest < end.plus(-self.config.longest_window_ms())) {
                // Nothing in any window: on to the next pane that holds something, and no condition holds meanwhile.
                self.detector.no_data(end);
                let next = self.earliest_open().map_or(target, |earliest| earliest.plus(pane).min(target));
                end = end.max(next);
            }
            self.close(end, &mut outputs);
            closed = end;
        }
        self.closed_until = Some(closed.max(target));
        let reach = closed.plus(-self.config.longest_window_ms() - pane);
        self.first_offsets = self.first_offsets.split_off(&reach);
        outputs
    }

    fn earliest_open(&self) -> Option<EventTime> {
        self.panes.earliest().into_iter().chain(self.market.earliest()).min()
    }

    fn forget_before(&mut self, end: EventTime) {
        let start = end.plus(-Self::retention_ms(&self.config));
        self.history.forget_before(start);
        self.market.forget_before(start);
    }

    fn close(&mut self, end: EventTime, outputs: &mut Vec<Output>) {
        let mut records = self.panes.close(end);
        self.index.update(&mut records);
        self.history.push(&records);
        self.history.advance(end);
        self.detector.learn(&records);
        let windows = self.history.windows(self.config.window.size.ms());
        for record in &mut records {
            record.buzz = windows.get(&record.subject).and_then(|counts| self.detector.buzz(&record.subject, end, counts));
        }
        outputs.extend(records.into_iter().chain(self.market.close(end)).map(Output::Pane));
        let seen = Seen { history: &self.history, market: &self.market, novelty: self.panes.novelty() };
        let alerts = self.detector.evaluate(end, &seen, self.owns_market);
        outputs.extend(alerts.into_iter().map(|alert| Output::Alert(Box::new(alert))));
        if end.0.rem_euclid(self.config.window.hop.ms()) == 0 {
            outputs.push(Output::View(self.view(end)));
        }
        self.forget_before(end);
    }

    /// Of the subjects with an open alert, and then of those with most items, as many as are shown.
    fn view(&mut self, end: EventTime) -> View {
        let windows = self.history.windows(self.config.window.size.ms());
        let (subjects, most) = (windows.len(), self.config.http.subjects);
        let mut shown: Vec<(&Subject, &WindowCounts)> = windows.iter().collect();
        if subjects > most {
            let alerting = self.detector.alerting();
            shown.select_nth_unstable_by_key(most, |&(subject, counts)| {
                (!alerting.contains(subject), subject.kind() == SubjectKind::Entity, std::cmp::Reverse(counts.count), subject)
            });
            shown.truncate(most);
        }
        let windows: BTreeMap<Subject, WindowCounts> = shown.into_iter().map(|(subject, counts)| (subject.clone(), *counts)).collect();
        let mood = |(subject, counts): (&Subject, &WindowCounts)| {
            let index = self.index.at(subject, end).unwrap_or_default();
            let (buzz, usual) = (self.detector.buzz(subject, end, counts), self.detector.usual_negatives(subject, end));
            (subject.clone(), Mood { index, buzz, usual })
        };
        let moods = windows.iter().map(mood).collect();
        View { end, subjects, windows, moods, standing: self.detector.standing(self.owns_market) }
    }

    /// Offset to commit and what goes with it; `None` before the first watermark.
    pub fn checkpoint(&self) -> Option<(i64, Checkpoint)> {
        let closed_until = self.closed_until?;
        let replay_from = self.first_offsets.values().min().copied().unwrap_or(self.position).min(self.position);
        // While a replay is under way the old position stands: what lies before it is published.
        let position = self.position.max(self.live_from);
        let checkpoint = Checkpoint {
            closed_until,
            position,
            watermarks: self.watermarks.clone(),
            since: self.detector.since(),
            market: self.detector.market_lives().clone(),
            owns_market: self.owns_market,
        };
        Some((replay_from, checkpoint))
    }

    /// What became of the windows judged so far, by rule.
    pub fn tallies(&self) -> &BTreeMap<String, RuleTally> {
        self.detector.tallies()
    }

    /// Records before this offset were taken in before a restart: they are read again, and counted by nobody.
    pub fn live_from(&self) -> i64 {
        self.live_from
    }

    /// Offsets between the read position and [`Self::live_from`].
    pub fn replay_left(&self) -> i64 {
        (self.live_from - self.position).max(0)
    }

    pub fn watermark(&self) -> Option<EventTime> {
        self.watermarks.current()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::{MarketCounts, Sentiment};
    use crate::window::MarketTally;
    use crate::window::panes::tests::item;

    fn config() -> Arc<Config> {
        let text = "[window]\npane='10s'\nsize='2m'\nhop='10s'\n[detect]\nmin_history='20m'\n[novelty]\nhorizon='15m'\n\
                    [rule_defaults]\nconfidence=0.5\n\
                    [rules.share]\ngroup_by='market'\ncondition='share'\nmin_count=5\nwarning=0.6\ncritical=0.9\nresolve=0.4\nkeep_firing_for='30s'\ncooldown='1m'\n\
                    [rules.mood]\ngroup_by='market'\ncondition='level'\nmin_count=5\ninhibits=true\nconfidence=0.9\nwarning=-0.3\ncritical=-0.7\nresolve=0.0\nkeep_firing_for='30s'\ncooldown='1m'\n\
                    [rules.mood.overrides.market]\nfor='20s'\n\
                    [rules.surge]\ngroup_by='topic'\ncondition='surge'\nmin_count=5\nfor='20s'\nyields=false\nquiet_hours=['01:09-01:13']\nfalse_alarms_per_month={warning=1.0,critical=0.001}\n\
                    [rules.relative]\ngroup_by='entity'\ncondition='relative'\nmin_count=3\nwarning=0.2\ncritical=0.9\nresolve=0.1\nfor='30s'\n\
                    [rules.relative.overrides.'entity:two']\nwarning=0.3\nfor='50s'\nyields=false";
        Arc::new(Config::from_toml(text, &[], None).unwrap())
    }

    fn watermark(ms: i64) -> Observation {
        watermark_with(ms, Vec::new())
    }

    fn watermark_with(ms: i64, market: Vec<MarketCounts>) -> Observation {
        let watermark_ms = Some(ms);
        Observation::Watermark(WatermarkObservation { schema: 1, raw_partition: 0, raw_partitions: 1, watermark_ms, idle: false, market })
    }

    /// Two hours of items and watermarks with three bad spells, one of them of two companies only, as a log.
    fn log() -> Vec<Observation> {
        let (mut log, mut tally) = (Vec::new(), MarketTally::default());
        for second in (0..7200).step_by(3) {
            let company = ["entity:one", "entity:two", "entity:three"][second as usize / 3 % 3];
            let bad = (4200..4500).contains(&second)
                || (6000..6100).contains(&second)
                || ((6600..7000).contains(&second) && company != "entity:three");
            let sentiment = if bad || second % 81 == 0 { Sentiment::Negative } else { Sentiment::Positive };
            // A little disorder, every tenth item delivered twice, every third story told again by another source.
            let at = (second + (second * 7) % 11) * 1000;
            let mut first = item("market", &second.to_string(), at, sentiment);
            if second % 9 == 0 {
                first.title = Some(format!("Headline {}", second - 30));
                first.source = Some("ledger.example".into());
            }
            tally.count(EventTime(at), sentiment, first.score, 10_000);
            for subject in ["market", "topic:Macro", company] {
                let mut item = ItemObservation { subject: Subject(subject.into()), ..first.clone() };
                if subject == "market" {
                    item.subjects = vec![Subject::topic("Macro"), Subject(company.into())];
                }
                let observation = Observation::Item(item);
                log.push(observation.clone());
                if second % 30 == 0 {
                    log.push(observation);
                }
            }
            if second % 6 == 0 {
                log.push(watermark_with((second - 12) * 1000, tally.take()));
            }
        }
        log
    }

    fn run(monitor: &mut PartitionMonitor, log: &[Observation], from: usize) -> Vec<Output> {
        log.iter().enumerate().skip(from).flat_map(|(offset, record)| monitor.observe(record, offset as i64).1).collect()
    }

    fn fresh() -> PartitionMonitor {
        PartitionMonitor::new(config(), Arc::new(Watchlist::empty()), 0)
    }

    fn published(outputs: &[Output]) -> (Vec<PaneRecord>, Vec<AlertRecord>) {
        let panes = outputs.iter().filter_map(|output| if let Output::Pane(pane) = output { Some(pane.clone()) } else { None });
        let alerts = outputs.iter().filter_map(|output| if let Output::Alert(alert) = output { Some((**alert).clone()) } else { None });
        (panes.collect(), alerts.collect())
    }

    #[test]
    fn without_a_horizon_every_item_is_new() {
        let novel = |horizon: &str| {
            let config =
                Config::from_toml(&format!("[window]\npane='10s'\nsize='2m'\nhop='10s'\n[novelty]\nhorizon='{horizon}'"), &[], None);
            let mut monitor = PartitionMonitor::new(Arc::new(config.unwrap()), Arc::new(Watchlist::empty()), 0);
            let told = |id: &str| {
                let title = Some("Harbour Bank halts withdrawals after a run on its deposits".into());
                Observation::Item(ItemObservation { title, ..item("market", id, 1_000, Sentiment::Negative) })
            };
            let (panes, _) = published(&run(&mut monitor, &[told("one"), told("two"), watermark(60_000)], 0));
            panes[0].novel_negative
        };
        assert_eq!((novel("24h"), novel("0s")), (1, 2));
    }

    #[test]
    fn of_more_subjects_than_are_shown_those_with_an_alert_come_first() {
        let text = "[window]\npane='10s'\nsize='2m'\nhop='10s'\n[http]\nsubjects=3\n[rules.mood]\ngroup_by='entity'\ncondition='level'\n\
                    min_count=3\nconfidence=0.9\nwarning=-0.3\ncritical=-0.9\nresolve=0.0";
        let mut monitor = PartitionMonitor::new(Arc::new(Config::from_toml(text, &[], None).unwrap()), Arc::new(Watchlist::empty()), 0);
        let told = |subject: &str, items: usize, sentiment: Sentiment| {
            (0..items).map(|number| Observation::Item(item(subject, &number.to_string(), 1_000, sentiment))).collect::<Vec<_>>()
        };
        let log = [
            told("entity:loud", 9, Sentiment::Positive),
            told("entity:louder", 12, Sentiment::Positive),
            told("entity:bad", 6, Sentiment::Negative),
            told("topic:Macro", 1, Sentiment::Neutral),
            vec![watermark(60_000)],
        ];
        let outputs = run(&mut monitor, &log.concat(), 0);
        let views = outputs.iter().filter_map(|output| if let Output::View(view) = output { Some(view) } else { None });
        let shown: Vec<Vec<&str>> = views.map(|view| view.windows.keys().map(Subject::as_str).collect()).collect();
        assert!(!shown.is_empty() && shown.iter().all(|shown| *shown == ["entity:bad", "entity:louder", "topic:Macro"]), "{shown:?}");
    }

    #[test]
    fn alerts_fire_and_resolve_over_the_log() {
        let outputs = run(&mut fresh(), &log(), 0);
        let (panes, alerts) = published(&outputs);
        let steps: Vec<(&str, &str)> = alerts.iter().map(|alert| (alert.rule.as_str(), alert.transition.as_str())).collect();
        for step in [
            ("share", "firing"),
            ("surge", "firing"),
            ("share", "resolved"),
            ("mood", "firing"),
            ("mood", "resolved"),
            ("relative", "firing"),
        ] {
            assert!(steps.contains(&step), "{step:?} is not in {steps:?}");
        }
        let novel: u64 = panes.iter().map(|pane| pane.novel_negative).sum();
        let negative: u64 = panes.iter().filter(|pane| !pane.sources.is_empty()).map(|pane| pane.negative).sum();
        assert!(novel * 4 > negative && novel * 20 < negative * 19, "{novel} of {negative} are novel");
        let (market, panes): (Vec<_>, Vec<_>) = panes.into_iter().partition(|pane| pane.subject == Subject::market_counts());
        let of_items = panes.iter().filter(|pane| pane.subject == Subject::market());
        for (known, counted) in of_items.zip(&market) {
            let sums =
                |pane: &PaneRecord| (pane.pane_start, pane.count, pane.negative, pane.neutral, pane.score_sum, pane.score_square_sum);
            assert_eq!(sums(known), sums(counted), "the market by its items and by what the watermarks say");
        }
        let counted: u64 = panes.iter().map(|pane| pane.count).sum();
        let closed: u64 =
            panes.iter().map(|pane| (pane.subject.as_str(), pane.pane_start)).collect::<std::collections::BTreeSet<_>>().len() as u64;
        assert_eq!(closed, panes.len() as u64, "a pane is published once");
        let until = panes.last().unwrap().pane_end.0;
        let expected = (0..7200).step_by(3).filter(|second| (second + (second * 7) % 11) * 1000 < until).count() as u64;
        assert_eq!(counted, 3 * expected);
    }

    #[test]
    fn the_order_of_items_between_two_watermarks_changes_nothing() {
        let mut reordered = log();
        let straight = run(&mut fresh(), &reordered, 0);
        reordered.chunk_by_mut(|one, other| matches!((one, other), (Observation::Item(_), Observation::Item(_)))).for_each(<[_]>::reverse);
        assert_eq!(run(&mut fresh(), &reordered, 0), straight);
    }

    #[test]
    fn a_restart_anywhere_publishes_the_same_and_nothing_twice() {
        let log = log();
        let straight = run(&mut fresh(), &log, 0);
        for stop in (100..log.len()).step_by(331) {
            let mut first = fresh();
            let mut outputs = run(&mut first, &log[..stop], 0);
            let Some((offset, checkpoint)) = first.checkpoint() else { continue };
            let (panes, alerts) = published(&outputs);
            let mut second = PartitionMonitor::restore(config(), Arc::new(Watchlist::empty()), &checkpoint, panes, &alerts, offset);
            outputs.extend(run(&mut second, &log, offset as usize));
            assert_eq!(outputs, straight, "stopped before record {stop}, replayed from {offset}");
        }
    }

    #[test]
    fn a_crash_after_publishing_and_before_committing_repeats_the_same_records() {
        let log = log();
        let mut first = fresh();
        let mut outputs = run(&mut first, &log[..2000], 0);
        let (offset, checkpoint) = first.checkpoint().unwrap();
        let uncommitted: Vec<Output> =
            log[2000..2600].iter().enumerate().flat_map(|(at, record)| first.observe(record, 2000 + at as i64).1).collect();
        outputs.extend(uncommitted.clone());
        let (panes, alerts) = published(&outputs);
        let mut second = PartitionMonitor::restore(config(), Arc::new(Watchlist::empty()), &checkpoint, panes, &alerts, offset);
        let again = run(&mut second, &log[..2600], offset as usize);
        assert_eq!(again, uncommitted);
    }

    #[test]
    fn late_items_are_kept_out_of_closed_panes() {
        let mut monitor = fresh();
        let early = Observation::Item(item("market", "a", 5_000, Sentiment::Negative));
        assert_eq!(monitor.observe(&early, 0).0, Some(Counted::Yes));
        assert_eq!(monitor.observe(&early, 1).0, Some(Counted::Duplicate));
        let outputs = monitor.observe(&watermark(10_000), 2).1;
        assert!(matches!(&outputs[0], Output::Pane(pane) if pane.count == 1));
        assert_eq!(monitor.observe(&Observation::Item(item("market", "b", 5_000, Sentiment::Negative)), 3).0, Some(Counted::Late));
        assert!(monitor.observe(&watermark(20_000), 4).1.iter().all(|output| !matches!(output, Output::Pane(_))));
    }

    #[test]
    fn a_long_silence_is_crossed_in_one_step() {
        let mut monitor = fresh();
        monitor.observe(&Observation::Item(item("market", "a", 5_000, Sentiment::Negative)), 0);
        monitor.observe(&watermark(10_000), 1);
        let outputs = monitor.observe(&watermark(10_000 + 365 * 86_400_000), 2).1;
        assert!(outputs.len() < 40, "{}", outputs.len());
        let (offset, checkpoint) = monitor.checkpoint().unwrap();
        assert_eq!((offset, checkpoint.position), (3, 3));
        assert_eq!(checkpoint.closed_until, EventTime(10_000 + 365 * 86_400_000));
    }

    /// Twenty companies and the market on three partitions; for ten minutes all news is bad, and of `stubborn` companies
    /// it stays so.
    fn shock(stubborn: usize, yields: bool) -> Vec<(usize, AlertRecord)> {
        let text = "[window]\npane='10s'\nsize='2m'\nhop='10s'\n\
                    [rules.shock]\ngroup_by='market'\ncondition='share'\nmin_count=20\ninhibits=true\nwarning=0.5\ncritical=0.95\nresolve=0.3\nkeep_firing_for='30s'\n\
                    [rules.company]\ngroup_by='entity'\ncondition='share'\nmin_count=4\nconfidence=0.8\nwarning=0.6\ncritical=0.9\nresolve=0.4\nfor='30s'";
        let text = format!("{text}\nyields={yields}");
        let config = Arc::new(Config::from_toml(&text, &[], None).unwrap());
        let mut monitors: Vec<_> = (0..3).map(|_| PartitionMonitor::new(config.clone(), Arc::new(Watchlist::empty()), 0)).collect();
        let mut tally = MarketTally::default();
        let mut alerts = Vec::new();
        for second in 0..3600_i64 {
            let company = second as usize % 20;
            let bad = (1200..1800).contains(&second) || (second >= 1200 && company < stubborn) || second % 11 == 0;
            let entity = Subject::entity(&format!("company-{company}"));
            let sentiment = if bad { Sentiment::Negative } else { Sentiment::Neutral };
            let mut about_market = item("market", &second.to_string(), second * 1000, sentiment);
            about_market.source = Some(format!("source-{}", second % 7));
            about_market.subjects = vec![entity.clone()];
            tally.count(EventTime(second * 1000), sentiment, about_market.score, 10_000);
            let about_company = ItemObservation { subject: entity, subjects: Vec::new(), ..about_market.clone() };
            monitors[0].observe(&Observation::Item(about_market), second * 2);
            monitors[company % 3].observe(&Observation::Item(about_company), second * 2 + 1);
            if second % 10 == 9 {
                let record = watermark_with((second - 1) * 1000, tally.take());
                for (place, monitor) in monitors.iter_mut().enumerate() {
                    let (_, outputs) = monitor.observe(&record, second * 2 + 2);
                    alerts.extend(published(&outputs).1.into_iter().map(|alert| (place, alert)));
                }
            }
        }
        alerts
    }

    #[test]
    fn a_market_wide_shock_is_one_alert_with_members() {
        let companies = shock(0, false).iter().filter(|(_, alert)| alert.rule == "company" && alert.sequence == 0).count();
        assert_eq!(companies, 20, "what it would be without");
        let alerts = shock(0, true);
        let steps: Vec<_> = alerts.iter().map(|(place, alert)| (*place, alert.rule.as_str(), alert.transition.as_str())).collect();
        assert_eq!(steps, [(0, "shock", "firing"), (0, "shock", "escalated"), (0, "shock", "resolved")]);
        let first = &alerts[0].1;
        assert_eq!((first.members.len(), first.single_source, first.subject.as_str()), (10, false, "market"));
        assert!(first.members.iter().all(|member| member.subject.kind() == crate::news::SubjectKind::Entity));
        assert!(first.members.is_sorted_by_key(|member| std::cmp::Reverse(member.novel_negative)));
        assert!(first.interval.as_ref().unwrap().lower >= 0.5 && first.window.novel_negative > 0);
        let sources: std::collections::BTreeSet<_> = first.evidence.iter().map(|item| &item.source).collect();
        assert_eq!(sources.len(), first.evidence.len(), "a digest from distinct sources");
    }

    #[test]
    fn a_member_fires_when_the_market_is_calm_and_it_is_not() {
        let alerts = shock(4, true);
        let calm = alerts.iter().find(|(_, alert)| alert.rule == "shock" && alert.transition.as_str() == "resolved").unwrap().1.at;
        let fired: Vec<_> = alerts.iter().filter(|(_, alert)| alert.rule == "company" && alert.transition.as_str() == "firing").collect();
        let names: std::collections::BTreeSet<_> = fired.iter().map(|(_, alert)| alert.subject.as_str()).collect();
        assert_eq!(names, ["entity:company-0", "entity:company-1", "entity:company-2", "entity:company-3"].into());
        assert!(fired.iter().all(|(_, alert)| alert.at >= calm), "not before {calm}");
        assert!(fired.iter().any(|(_, alert)| alert.at == calm), "and at once");
    }

    #[test]
    fn an_open_alert_without_data_is_shown_and_not_resolved() {
        let mut monitor = fresh();
        for second in 0..100 {
            monitor.observe(&Observation::Item(item("market", &second.to_string(), second * 1000, Sentiment::Negative)), second);
        }
        let (_, alerts) = published(&monitor.observe(&watermark(100_000), 100).1);
        assert_eq!(alerts.iter().map(|alert| alert.transition.as_str()).collect::<Vec<_>>(), ["firing"]);
        let outputs = monitor.observe(&watermark(3_600_000), 101).1;
        assert_eq!(published(&outputs).1, []);
        let Some(Output::View(view)) = outputs.last() else { panic!("the page is told of every hop") };
        assert_eq!(
            view.standing.silent,
            [(alerts[0].id.clone(), EventTime(220_000))].into(),
            "its last window with an item ended at 03:30"
        );
    }
}

//! Rules over windows → alert transitions. Pure and deterministic: evaluated when the watermark passes a hop.
//!
//! [`mod@judge`] says how bad a window is, [`life`] turns a series of judgements into firing, escalated and resolved,
//! [`baseline`] knows what is usual, [`surge`] how often chance would bring more, [`interval`] how sure a share or a mean
//! is, [`evidence`] which headlines stand behind it, [`sources`] who told them.

mod alert;
pub mod baseline;
pub mod evidence;
pub mod interval;
pub mod judge;
pub mod life;
pub mod series;
pub mod sources;
pub mod surge;
pub mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{Condition, Config, RuleConfig};
use crate::enrich::Watchlist;
use crate::news::{EventTime, SCHEMA_VERSION, Subject, SubjectKind};
use crate::novelty::Novelty;
use crate::window::{History, MarketPanes, PaneRecord, WindowCounts};
use baseline::Baseline;
use evidence::Evidence;
use judge::{Judgement, judge};
use life::{Life, Transition, Waits};
use sources::Sources;
use tally::{RuleTally, Tallies};

pub use alert::{AlertBaseline, AlertInterval, AlertRecord, AlertRise, AlertWindow, Member, RestOfMarket, Threshold};
pub use judge::Severity;

/// Members named in an alert of the market.
const MEMBERS: usize = 10;

/// What windows are made of.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub history: &'a History,
    pub market: &'a MarketPanes,
    pub novelty: Option<&'a Novelty>,
}

/// An open alert or one that waits, for page and metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Open alerts whose windows have been empty, and since when, by alert id.
    pub silent: BTreeMap<String, EventTime>,
    /// Alerts that would have fired by now, by what keeps them back.
    pub waiting: BTreeMap<Waits, u64>,
}

/// A number of items in a window as the past has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsualCount {
    /// The mean.
    pub expected: f64,
    /// No more than so many, but in one window of twenty.
    pub most: u64,
}

impl UsualCount {
    const BEYOND: f64 = 0.05;
}

/// Life by rule, then subject; only where there is something to remember.
type Lives = BTreeMap<String, BTreeMap<Subject, Life>>;

/// All rules over the subjects of one monitor partition.
pub struct Detector {
    config: Arc<Config>,
    watchlist: Arc<Watchlist>,
    config_version: String,
    /// By length of window in milliseconds: one for each that a surge rule has.
    baselines: BTreeMap<i64, Baseline>,
    /// All items in a window of `window.size`, for the buzz.
    volume: Baseline,
    evidence: Evidence,
    /// For rises, which are longer than a window.
    sources: Sources,
    lives: Lives,
    /// Market-wide alerts: judged on every partition, published by the one that has the market's items.
    market_lives: BTreeMap<String, Life>,
    /// Rules as they stand for subjects with settings of their own.
    overridden: BTreeMap<String, BTreeMap<Subject, RuleConfig>>,
    tallies: Tallies,
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn ends_at(rule: &RuleConfig, end: EventTime) -> bool {
    end.0.rem_euclid(rule.hop.ms()) == 0
}

impl Detector {
    pub fn new(config: Arc<Config>, watchlist: Arc<Watchlist>) -> Self {
        let config_version = config.version();
        let surges = config.rules.values().filter(|rule| rule.condition == Condition::Surge).map(|rule| rule.window.ms());
        let baselines: BTreeMap<i64, Baseline> =
            surges.map(|window_ms| (window_ms, Baseline::new(config.reach(window_ms), config.detect.dispersion))).collect();
        let volume = Baseline::of_means(config.reach(config.window.size.ms()), config.detect.dispersion);
        let evidence = Evidence::new(config.window.pane.ms(), config.window.evidence);
        let bucket_ms = baselines.keys().next().copied().unwrap_or(config.window.size.ms());
        let sources = Sources::new(bucket_ms, config.detect.rise.ms() + config.longest_window_ms());
        let with_overrides = config.rules.iter().filter(|(_, rule)| !rule.overrides.is_empty());
        let overridden = with_overrides.map(|(name, rule)| (name.clone(), rule.overridden())).collect();
        let (lives, market_lives) = (BTreeMap::new(), BTreeMap::new());
        let tallies = Tallies::default();
        Self { config, watchlist, config_version, baselines, volume, evidence, sources, lives, market_lives, overridden, tallies }
    }

    /// Start of what the baseline has seen; part of a checkpoint, because the panes alone do not tell how long it was quiet before them.
    pub fn since(&self) -> Option<EventTime> {
        self.volume.since()
    }

    /// As [`Detector::since`], read back.
    pub fn restore_since(&mut self, since: Option<EventTime>) {
        self.baselines.values_mut().chain([&mut self.volume]).for_each(|baseline| baseline.restore_since(since));
    }

    /// Market-wide alerts as they stand; part of a checkpoint, because other partitions publish nothing of them.
    pub fn market_lives(&self) -> &BTreeMap<String, Life> {
        &self.market_lives
    }

    /// As [`Detector::market_lives`], read back.
    pub fn restore_market_lives(&mut self, lives: &BTreeMap<String, Life>) {
        let inhibits = |name: &str| self.config.rules.get(name).is_some_and(|rule| rule.inhibits);
        self.market_lives = lives.iter().filter(|(name, _)| inhibits(name)).map(|(name, life)| (name.clone(), life.clone())).collect();
    }

    pub fn evidence_mut(&mut self) -> &mut Evidence {
        &mut self.evidence
    }

    /// Learns from closed panes; call before [`Detector::evaluate`] for the hop that they end at.
    pub fn learn(&mut self, records: &[PaneRecord]) {
        for baseline in self.baselines.values_mut() {
            records.iter().for_each(|record| baseline.push(&record.subject, record.pane_start, record.novel_negative));
        }
        records.iter().for_each(|record| self.volume.push(&record.subject, record.pane_start, record.count));
        if !self.baselines.is_empty() {
            records.iter().for_each(|record| self.sources.learn(record));
        }
    }

    /// Items in the window of `window.size` that ends at `end`, as a multiple of what is usual for the subject at that hour
    /// of the week; `None` before the past can tell.
    pub fn buzz(&mut self, subject: &Subject, end: EventTime, counts: &WindowCounts) -> Option<f64> {
        let expected = self.volume.expected(subject, end.plus(-self.config.window.size.ms()))?;
        Some(rounded(counts.count as f64 / expected))
    }

    /// How many new negative items are usual in the window of `window.size` that ends at `end`; `None` where no surge rule has such
    /// a window, and before the past can tell.
    pub fn usual_negatives(&mut self, subject: &Subject, end: EventTime) -> Option<UsualCount> {
        let window_ms = self.config.window.size.ms();
        let distribution = self.baselines.get_mut(&window_ms)?.distribution(subject, end.plus(-window_ms))?;
        Some(UsualCount { expected: distribution.mean, most: distribution.exceeded_by(UsualCount::BEYOND) })
    }

    /// What became of the windows judged so far, by rule; a restart begins anew.
    pub fn tallies(&self) -> &BTreeMap<String, RuleTally> {
        self.tallies.get()
    }

    /// Judges all rules whose hop ends at `end`; the transitions are in order of rule and subject, those of market-wide
    /// rules first. `owns_market`: transitions of these are this partition's to publish.
    pub fn evaluate(&mut self, end: EventTime, seen: &Seen, owns_market: bool) -> Vec<AlertRecord> {
        let config = self.config.clone();
        let mut records = self.judge_market(&config, end, seen);
        if !owns_market {
            records.clear();
        }
        let market_turned = self.market_lives.values().any(Life::is_open);
        let market_wide = records.len();
        let act = |detector: &mut Self, rule: &RuleConfig, name: &str, subject: &Subject, counts: &WindowCounts, judgement: Judgement| {
            let inhibited = market_turned && rule.yields && subject.kind() != SubjectKind::Market;
            let stepped = detector.life(name, subject, &judgement).map(|life| (life.step(end, &judgement, rule, inhibited), life.clone()));
            let (transition, life) = stepped.map_or((None, None), |(transition, life)| (transition, Some(life)));
            detector.tallies.note(name, rule, &judgement, life.as_ref(), transition);
            if let Some((transition, life)) = transition.zip(life) {
                records.push(detector.record(rule, name, subject, counts, &judgement, transition, &life, end, seen));
            }
        };
        self.each_judgement(&config, end, seen, act, |detector, name, windows| detector.tallies.note_quiet(name, windows));
        records[market_wide..].sort_unstable_by(|one, other| (&one.rule, &one.subject).cmp(&(&other.rule, &other.subject)));
        self.baselines.values_mut().chain([&mut self.volume]).for_each(|baseline| baseline.forget_before(end));
        self.evidence.forget_before(end.plus(-config.longest_window_ms()));
        self.sources.forget_before(end);
        self.lives.values_mut().for_each(|lives| lives.retain(|_, life| !life.is_spent(end)));
        self.market_lives.retain(|_, life| !life.is_spent(end));
        records
    }

    /// Judges again a hop whose transitions were published before a restart, only to recover since when conditions hold.
    pub fn recall(&mut self, end: EventTime, seen: &Seen) {
        let config = self.config.clone();
        let act = |detector: &mut Self, _: &RuleConfig, name: &str, subject: &Subject, _: &WindowCounts, judgement: Judgement| {
            if let Some(life) = detector.life(name, subject, &judgement) {
                life.recall(end, &judgement);
            }
        };
        self.each_judgement(&config, end, seen, act, |_, _, _| {});
    }

    /// Event time crosses a silence in which every window is empty; `at`: where it begins.
    pub fn no_data(&mut self, at: EventTime) {
        let lives = self.lives.values_mut().flat_map(BTreeMap::values_mut);
        lives.chain(self.market_lives.values_mut()).for_each(|life| life.no_data(at));
    }

    /// Takes back a transition that was published before a restart. Call in the order of their publication.
    pub fn restore(&mut self, record: &AlertRecord) {
        let Some(rule) = self.config.rules.get(&record.rule).filter(|rule| !rule.inhibits) else { return };
        let rule = self.overridden.get(&record.rule).and_then(|subjects| subjects.get(&record.subject)).unwrap_or(rule);
        self.lives.entry(record.rule.clone()).or_default().insert(record.subject.clone(), Life::restored(record, rule));
    }

    /// Subjects with an open alert of their own.
    pub fn alerting(&self) -> BTreeSet<&Subject> {
        self.lives.values().flatten().filter(|(_, life)| life.is_open()).map(|(subject, _)| subject).collect()
    }

    /// How alerts stand that publish nothing at the moment.
    pub fn standing(&self, owns_market: bool) -> Standing {
        let mut standing = Standing::default();
        for (name, life) in self.market_lives.iter().filter(|_| owns_market) {
            standing.silent.extend(life.silent_since().map(|since| (alert_id(name, &Subject::market(), life), since)));
        }
        for (name, subject, life) in
            self.lives.iter().flat_map(|(name, lives)| lives.iter().map(move |(subject, life)| (name, subject, life)))
        {
            if let Some(waits) = life.waits() {
                *standing.waiting.entry(waits).or_default() += 1;
            }
            if let Some(since) = life.silent_since() {
                standing.silent.insert(alert_id(name, subject, life), since);
            }
        }
        standing
    }

    /// The life of a rule on a subject; a new one only where the judgement gives it something to remember.
    fn life(&mut self, rule: &str, subject: &Subject, judgement: &Judgement) -> Option<&mut Life> {
        if judgement.severity.is_none() {
            return self.lives.get_mut(rule)?.get_mut(subject);
        }
        if !self.lives.contains_key(rule) {
            self.lives.insert(rule.to_owned(), BTreeMap::new());
        }
        Some(self.lives.get_mut(rule).expect("inserted just now").entry(subject.clone()).or_default())
    }

    /// Judges the market-wide rules by the counts that every partition has.
    fn judge_market(&mut self, config: &Config, end: EventTime, seen: &Seen) -> Vec<AlertRecord> {
        let mut records = Vec::new();
        for (name, rule) in config.rules.iter().filter(|(_, rule)| rule.inhibits && ends_at(rule, end)) {
            let rule = self.overridden.get(name).and_then(|subjects| subjects.get(&Subject::market())).unwrap_or(rule).clone();
            let counts = seen.market.window(end.plus(-rule.window.ms()), end);
            if counts.count == 0 {
                self.market_lives.entry(name.clone()).or_default().no_data(end);
                continue;
            }
            let judgement = judge(&rule, &counts, None, None, |_| usize::MAX);
            let life = self.market_lives.entry(name.clone()).or_default();
            let transition = life.step(end, &judgement, &rule, false);
            self.tallies.note(name, &rule, &judgement, Some(life), transition);
            if let Some(transition) = transition {
                let life = life.clone();
                records.push(self.record(&rule, name, &Subject::market(), &counts, &judgement, transition, &life, end, seen));
            }
        }
        records
    }

    /// Judges all windows that end at `end`; of those in which nothing can surge only the number is told.
    fn each_judgement(
        &mut self,
        config: &Config,
        end: EventTime,
        seen: &Seen,
        mut act: impl FnMut(&mut Self, &RuleConfig, &str, &Subject, &WindowCounts, Judgement),
        quiet_windows: impl Fn(&mut Self, &str, u64),
    ) {
        let history = seen.history;
        // Taken out, so that `act` may have the rest.
        let overridden = std::mem::take(&mut self.overridden);
        for (name, rule) in config.rules.iter().filter(|(_, rule)| !rule.inhibits && ends_at(rule, end)) {
            let size = rule.window.ms();
            let start = end.plus(-size);
            let windows = history.windows(size);
            for (subject, life) in self.lives.get_mut(name).into_iter().flatten() {
                if windows.get(subject).is_none() {
                    life.no_data(end);
                }
            }
            let market = (rule.condition == Condition::Relative).then(|| seen.market.window(start, end));
            // A subject that is not in the window is "no data": its alert neither fires nor resolves.
            let mut quiet = 0;
            for (subject, counts) in windows.iter().filter(|(subject, _)| rule.covers(subject)) {
                // Nothing surges without a new negative item. Most subjects are so most of the time.
                if rule.condition == Condition::Surge
                    && counts.novel_negative == 0
                    && !self.lives.get(name).is_some_and(|lives| lives.contains_key(subject))
                {
                    quiet += 1;
                    continue;
                }
                let rule = overridden.get(name).and_then(|subjects| subjects.get(subject)).unwrap_or(rule);
                let baseline = self.baselines.get_mut(&size).filter(|_| rule.condition == Condition::Surge);
                let usual = baseline.and_then(|baseline| baseline.usual(subject, start));
                let rest = market.map(|market| market.without(counts));
                let sources = |rise_since: Option<EventTime>| match rise_since {
                    Some(since) => self.sources.since(subject, since).len(),
                    None => history.novel_sources(subject, start, end).len(),
                };
                let judgement = judge(rule, counts, usual, rest, sources);
                act(self, rule, name, subject, counts, judgement);
            }
            if quiet > 0 && self.baselines.get(&size).is_some_and(|baseline| baseline.is_mature(start)) {
                quiet_windows(self, name, quiet);
            }
        }
        self.overridden = overridden;
    }

    fn record(
        &self,
        rule: &RuleConfig,
        name: &str,
        subject: &Subject,
        counts: &WindowCounts,
        judgement: &Judgement,
        transition: Transition,
        life: &Life,
        end: EventTime,
        seen: &Seen,
    ) -> AlertRecord {
        let start = end.plus(-rule.window.ms());
        let subject_name = self.watchlist.name_of(subject);
        let phrase = if subject.kind() == SubjectKind::Market { "the market" } else { &subject_name };
        let novel_sources = seen.history.novel_sources(subject, start, end);
        let rise = judgement.rise.filter(|_| transition != Transition::Resolved);
        // The counts of a market-wide rule know no novelty; the partition that publishes it does.
        let novel_negative = match rule.inhibits {
            true => seen.history.windows(rule.window.ms()).get(subject).map_or(0, |known| known.novel_negative),
            false => counts.novel_negative,
        };
        let window = AlertWindow {
            start,
            end,
            count: counts.count,
            negative: counts.negative,
            neutral: counts.neutral,
            positive: counts.positive,
            negative_share: Some(rounded(counts.negative_share())),
            mean_score: Some(rounded(counts.mean_score())),
            sources: seen.history.distinct_sources(subject, start, end),
            novel_negative,
            novel_sources: novel_sources.len(),
        };
        let limits = rule.thresholds();
        let value = match (transition, life.severity()) {
            (Transition::Resolved, _) => limits.resolve,
            (_, Severity::Warning) => limits.warning,
            (_, Severity::Critical) => limits.critical,
        };
        let threshold_name = match rule.condition {
            Condition::Surge => "false_alarms_per_month",
            Condition::Share => "negative_share",
            Condition::Level => "mean_score",
            Condition::Relative => "share_difference",
        };
        AlertRecord {
            schema: SCHEMA_VERSION,
            id: alert_id(name, subject, life),
            rule: name.to_owned(),
            condition: rule.condition,
            subject: subject.clone(),
            transition,
            severity: life.severity(),
            sequence: life.sequence(),
            started_at: life.started_at(),
            at: end,
            why: judgement.why(rule, counts, phrase, end, transition),
            evidence: self.evidence.top(subject, start, end, seen.novelty),
            models: self.evidence.models(subject, start, end),
            window,
            baseline: judgement.surge.map(|(usual, _)| AlertBaseline {
                expected_negative: rounded(usual.expected),
                history_hours: rounded(usual.history_ms as f64 / 3_600_000.0),
                prior: usual.prior,
                rise: rise.map(|rise| AlertRise { since: rise.since, negative: rise.negative, expected_negative: rounded(rise.expected) }),
            }),
            p_value: judgement.surge.map(|(_, surge)| surge.p_value),
            false_alarms_per_month: judgement.false_alarms_per_month,
            interval: judgement.interval.map(|interval| AlertInterval {
                lower: rounded(interval.lower),
                estimate: rounded(interval.estimate),
                upper: rounded(interval.upper),
                confidence: rule.confidence,
            }),
            rest_of_market: judgement.rest.filter(|rest| rest.count > 0).map(|rest| RestOfMarket {
                count: rest.count,
                negative: rest.negative,
                negative_share: rounded(rest.negative_share()),
            }),
            threshold: Threshold { name: threshold_name.into(), value },
            single_source: is_dominated(&rise.map_or(novel_sources, |rise| self.sources.since(subject, rise.since))),
            members: if subject.kind() == SubjectKind::Market { self.members(start, end, seen.history) } else { Vec::new() },
            config_version: self.config_version.clone(),
            subject_name,
        }
    }

    /// Subjects by their share in the market's bad news, the most first.
    fn members(&self, start: EventTime, end: EventTime, history: &History) -> Vec<Member> {
        let mut members: Vec<(&Subject, u64)> = history.members(start, end).into_iter().collect();
        members.sort_by(|(one, items), (other, more)| more.cmp(items).then_with(|| one.cmp(other)));
        members.truncate(MEMBERS);
        let member = |(subject, novel_negative): (&Subject, u64)| Member {
            subject: subject.clone(),
            subject_name: self.watchlist.name_of(subject),
            novel_negative,
        };
        members.into_iter().map(member).collect()
    }
}

/// What part of the novel negative items one source may have before it speaks alone: a flood of its own comes on top of what
/// the others say as usual.
const SINGLE_SOURCE: f64 = 0.75;

/// Whoever names no source may be many.
fn is_dominated(sources: &BTreeMap<&str, u64>) -> bool {
    let most = sources.iter().filter(|(source, _)| **source != "unknown").map(|(_, items)| *items).max().unwrap_or(0);
    most > 0 && most as f64 >= SINGLE_SOURCE * sources.values().sum::<u64>() as f64
}

fn alert_id(rule: &str, subject: &Subject, life: &Life) -> String {
    format!("{rule}/{subject}/{}", life.started_at())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Sentiment;
    use crate::window::OpenPanes;
    use crate::window::panes::tests::item;

    const RULE: &str = "[window]\npane='1m'\nsize='5m'\nhop='1m'\n[rules.bank]\ngroup_by='group'\ncondition='share'\nmin_count=4\n\
                        confidence=0.5\nwarning=0.6\ncritical=0.9\nresolve=0.4\nkeep_firing_for='2m'\ncooldown='10m'";

    fn minutes(count: i64) -> i64 {
        count * 60_000
    }

    /// A detector of one subject, minute by minute.
    struct Desk {
        detector: Detector,
        panes: OpenPanes,
        history: History,
        market: MarketPanes,
        told: usize,
        minute: i64,
    }

    impl Desk {
        fn new(config: &str) -> Self {
            let config = Arc::new(Config::from_toml(config, &[], None).unwrap());
            let pane = config.window.pane.ms();
            let history = History::new(config.window_sizes_ms());
            let detector = Detector::new(config, Arc::new(Watchlist::empty()));
            Self { detector, panes: OpenPanes::new(pane), history, market: MarketPanes::new(pane), told: 0, minute: 0 }
        }

        /// So many items of the next minute, of these sources in turn, with titles by their number.
        fn tell(
            &mut self,
            (negative, neutral): (usize, usize),
            sources: &[Option<&str>],
            title: &dyn Fn(usize) -> Option<String>,
        ) -> Vec<AlertRecord> {
            for index in 0..negative + neutral {
                let sentiment = if index < negative { Sentiment::Negative } else { Sentiment::Neutral };
                let mut item = item("group:banks", &format!("{}-{index}", self.minute), minutes(self.minute) + 1, sentiment);
                item.source = sources[self.told % sources.len()].map(str::to_owned);
                item.title = title(self.told);
                self.told += 1;
                self.detector.evidence_mut().consider(&item);
                self.panes.count(&item);
            }
            self.minute += 1;
            let end = EventTime(minutes(self.minute));
            let closed = self.panes.close(end);
            self.history.push(&closed);
            self.history.advance(end);
            self.detector.learn(&closed);
            let seen = Seen { history: &self.history, market: &self.market, novelty: self.panes.novelty() };
            self.detector.evaluate(end, &seen, true)
        }
    }

    /// Feeds `per_minute[m]` = (negative, neutral) items of minute `m`, of these sources in turn.
    fn records(config: &str, per_minute: &[(usize, usize)], sources: &[Option<&str>]) -> Vec<AlertRecord> {
        let mut desk = Desk::new(config);
        per_minute.iter().flat_map(|&items| desk.tell(items, sources, &|number| Some(format!("Headline {number}")))).collect()
    }

    /// As [`records`], as (minute, transition, severity).
    fn run(config: &str, per_minute: &[(usize, usize)]) -> Vec<(i64, Transition, Severity)> {
        let records = records(config, per_minute, &[Some("wire.example")]);
        records.into_iter().map(|record| (record.at.0 / 60_000 - 1, record.transition, record.severity)).collect()
    }

    #[test]
    fn in_quiet_hours_warnings_wait_and_criticals_fire() {
        let config = format!("{RULE}\nquiet_hours=['00:00-00:04']");
        assert_eq!(run(&config, &[(3, 1); 6]), [(3, Transition::Firing, Severity::Warning)]);
        assert_eq!(run(RULE, &[(3, 1); 6]), [(0, Transition::Firing, Severity::Warning)]);
        assert_eq!(run(&config, &[(4, 0); 6]), [(0, Transition::Firing, Severity::Critical)]);
        let passing = [vec![(3, 1); 2], vec![(0, 9); 8]].concat();
        assert_eq!(run(&config, &passing), [], "over before anybody was to be told");
    }

    #[test]
    fn a_subject_can_have_thresholds_of_its_own() {
        let own = |text: &str| format!("{RULE}\n[rules.bank.overrides.'group:banks']\n{text}");
        assert_eq!(run(&own("warning=0.8"), &[(3, 1); 6]), []);
        assert_eq!(run(&own("min_count=9"), &[(3, 1); 6])[0].0, 2);
        assert_eq!(run(&own("for='2m'"), &[(3, 1); 6])[0].0, 2);
    }

    #[test]
    fn the_more_confidence_is_asked_for_the_more_items_it_takes() {
        let first = |confidence: f64| {
            let config = RULE.replace("confidence=0.5", &format!("confidence={confidence}"));
            run(&config, &[(4, 1); 30]).first().map(|step| step.0)
        };
        assert_eq!((first(0.5), first(0.95)), (Some(0), Some(3)));
        assert_eq!(first(0.999), None, "25 items in the window are never enough");
    }

    #[test]
    fn an_alert_of_one_source_is_marked() {
        let single = |sources: &[Option<&str>]| {
            let record = records(RULE, &[(5, 0); 2], sources).remove(0);
            (record.single_source, record.window.novel_sources, record.window.novel_negative)
        };
        assert_eq!(single(&[Some("wire.example")]), (true, 1, 5));
        assert_eq!(single(&[Some("wire.example"), Some("daily.example")]), (false, 2, 5));
        let [wire, daily] = [Some("wire.example"), Some("daily.example")];
        assert_eq!(single(&[wire, wire, wire, wire, daily]), (true, 2, 5), "what the others say as usual does not hide a flood");
        assert_eq!(single(&[wire, wire, wire, daily, daily]), (false, 2, 5));
        assert_eq!(single(&[None]), (false, 1, 5), "who names no source may be many");
    }

    #[test]
    fn a_share_rule_fires_escalates_and_resolves() {
        let mut minutes = vec![(0, 2), (4, 0), (6, 0), (8, 0), (9, 0), (9, 0)];
        minutes.extend([(0, 9); 8]);
        let seen = run(RULE, &minutes);
        assert_eq!(seen[0], (1, Transition::Firing, Severity::Warning));
        assert_eq!(seen[1], (3, Transition::Escalated, Severity::Critical));
        // 18 of 45 in the window of minute 8 still hold; two minutes later that is long enough ago.
        assert_eq!(seen[2], (10, Transition::Resolved, Severity::Critical));
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn an_empty_window_is_no_data_and_resolves_nothing() {
        let mut minutes = vec![(5, 0); 3];
        minutes.extend([(0, 0); 60]);
        assert_eq!(run(RULE, &minutes).len(), 1);
    }

    #[test]
    fn cooldown_keeps_an_alert_from_firing_again_at_once() {
        let mut minutes = vec![(5, 0); 2];
        minutes.extend([(0, 9); 8]);
        minutes.extend([(90, 0); 3]);
        let resolved = run(RULE, &minutes);
        assert_eq!(resolved.iter().map(|step| step.1).collect::<Vec<_>>(), [Transition::Firing, Transition::Resolved]);
        minutes.extend([(90, 0); 12]);
        assert_eq!(run(RULE, &minutes).last().unwrap().1, Transition::Firing);
    }

    #[test]
    fn a_condition_must_hold_as_long_as_the_rule_says() {
        let config = format!("{RULE}\nfor='3m'");
        assert_eq!(run(&config, &[(5, 0), (5, 0), (0, 90), (0, 9)]), []);
        assert_eq!(run(&config, &[(5, 0); 5])[0].0, 3);
    }

    const SURGE: &str = "[window]\npane='1m'\nsize='10m'\nhop='1m'\n[detect]\nmin_history='30m'\n[rules.bank]\ngroup_by='group'\n\
                         condition='surge'\nmin_count=4\nfalse_alarms_per_month={warning=1.0,critical=0.001}";

    #[test]
    fn a_surge_fires_on_what_the_past_does_not_explain_and_only_then() {
        let quiet: Vec<(usize, usize)> = (0..240).map(|minute| (usize::from(minute % 20 == 0), 2)).collect();
        assert_eq!(run(SURGE, &quiet), []);
        let mut burst = quiet.clone();
        burst.extend([(4, 2); 6]);
        let seen = run(SURGE, &burst);
        assert_eq!(seen[0].1, Transition::Firing);
        assert!((240..244).contains(&seen[0].0), "{seen:?}");
        assert_eq!(seen[1].2, Severity::Critical);
    }

    #[test]
    fn a_subject_that_is_always_negative_does_not_surge() {
        let always: Vec<(usize, usize)> = vec![(4, 2); 300];
        assert_eq!(run(SURGE, &always), []);
    }

    /// Titles that have next to nothing in common.
    fn story(number: usize) -> Option<String> {
        let mut state = number as u64 + 1;
        let letter = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + ((state >> 33) % 26) as u8)
        };
        let letters: Vec<char> = (0..48).map(letter).collect();
        Some(letters.chunks(6).map(|word| word.iter().collect::<String>()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn copies_of_a_story_are_no_surge_and_stories_are() {
        let after_a_quiet_past = |title: &dyn Fn(usize) -> Option<String>| {
            let mut desk = Desk::new(SURGE);
            desk.panes = OpenPanes::new(minutes(1)).with_novelty(Novelty::new(Config::default().novelty));
            for minute in 0..240 {
                desk.tell((usize::from(minute % 20 == 0), 2), &[Some("wire.example")], &story);
            }
            let sources = [Some("wire.example"), Some("daily.example")];
            (0..4).flat_map(|_| desk.tell((5, 0), &sources, title)).collect::<Vec<_>>()
        };
        assert_eq!(after_a_quiet_past(&|_| story(1_000_000)), []);
        let alerts = after_a_quiet_past(&story);
        assert_eq!(alerts[0].transition, Transition::Firing);
        assert!(alerts[0].window.novel_negative >= 4, "{:?}", alerts[0].window);
    }

    #[test]
    fn evidence_says_how_far_a_story_has_come_and_puts_new_ones_first() {
        let sources = [Some("wire.example"), Some("daily.example"), Some("city.example")];
        // An old story, told once before and three times in the window, and two new ones, three times each.
        let evidence = |headlines: usize| {
            let mut desk = Desk::new(&RULE.replace("size='5m'", &format!("size='5m'\nevidence={headlines}")));
            desk.panes = OpenPanes::new(minutes(1)).with_novelty(Novelty::new(Config::default().novelty));
            // Too few for an alert; by the next there is a window without it.
            assert_eq!(desk.tell((1, 3), &sources, &|_| story(7)), []);
            (0..8).for_each(|_| drop(desk.tell((0, 1), &sources, &story)));
            let mut alerts = desk.tell((9, 0), &sources, &|number| if number % 3 == 0 { story(7) } else { story(number % 3) });
            alerts.remove(0).evidence
        };
        let (two, now) = (evidence(2), EventTime(minutes(9) + 1));
        assert!(two.len() == 2 && two.iter().all(|item| item.title != story(7)), "the old story has to give way: {two:?}");
        assert!(two.iter().all(|item| (item.copies, item.first_seen) == (2, now)), "{two:?}");
        let three = evidence(3);
        let old = three.iter().find(|item| item.title == story(7)).expect("there is room for it");
        assert_eq!((old.first_seen, old.copies), (EventTime(1), 3), "one, and three that tell it again");
    }

    #[test]
    fn a_slow_rise_goes_by_the_sources_since_it_began() {
        let config = format!("{SURGE}\nmin_sources=3");
        let mut feed: Vec<(usize, usize)> = (0..3 * 1440).map(|minute| (usize::from(minute % 480 == 0), 1)).collect();
        feed.extend((0..720).map(|minute| (usize::from(minute % 30 == 0), 1)));
        let quiet = |minute: usize| minute < 3 * 1440;
        let run = |sources: &[Option<&str>]| {
            let mut desk = Desk::new(&config);
            let mut turn = 0;
            let mut alerts = Vec::new();
            for (minute, &items) in feed.iter().enumerate() {
                turn += items.0;
                let source = [sources[if quiet(minute) { 0 } else { turn % sources.len() }]];
                alerts.extend(desk.tell(items, &source, &story));
            }
            alerts
        };
        let alerts = run(&[Some("wire.example"), Some("daily.example"), Some("city.example")]);
        let first = &alerts[0];
        assert!(first.transition == Transition::Firing && first.baseline.as_ref().unwrap().rise.is_some(), "{first:?}");
        assert_eq!((first.window.novel_sources, first.single_source), (1, false), "of the window, and of the rise");
        assert_eq!(run(&[Some("wire.example")]), [], "one source is not three, however long it goes on");
    }

    #[test]
    fn buzz_is_a_multiple_of_what_is_usual() {
        let mut desk = Desk::new(SURGE);
        let buzz = |desk: &mut Desk, items: usize| {
            (0..10).for_each(|_| drop(desk.tell((0, items), &[None], &|_| None)));
            let end = EventTime(minutes(desk.minute));
            let banks = Subject("group:banks".into());
            let counts = *desk.history.windows(minutes(10)).get(&banks).unwrap();
            desk.detector.buzz(&banks, end, &counts).unwrap()
        };
        (0..2880).for_each(|_| drop(desk.tell((0, 2), &[None], &|_| None)));
        let (usual, threefold) = (buzz(&mut desk, 2), buzz(&mut desk, 6));
        assert!((0.9..1.1).contains(&usual) && (2.7..3.3).contains(&threefold), "{usual}, {threefold}");
    }

    #[test]
    fn what_is_usual_on_the_page_is_what_the_surge_rule_goes_by() {
        let mut desk = Desk::new(SURGE);
        let banks = Subject("group:banks".into());
        let usual = |desk: &mut Desk| desk.detector.usual_negatives(&banks, EventTime(minutes(desk.minute)));
        (0..20).for_each(|_| drop(desk.tell((1, 2), &[None], &|_| None)));
        assert_eq!(usual(&mut desk), None, "too young to tell");
        (0..2880).for_each(|_| drop(desk.tell((1, 2), &[None], &|_| None)));
        let told = usual(&mut desk).unwrap();
        let start = EventTime(minutes(desk.minute)).plus(-minutes(10));
        let judged = desk.detector.baselines.get_mut(&minutes(10)).unwrap().usual(&banks, start).unwrap();
        assert_eq!(told.expected, judged.expected);
        assert!((9.0..11.0).contains(&told.expected) && (11..30).contains(&told.most), "{told:?}");
    }

    #[test]
    fn a_surge_says_nothing_before_it_has_seen_enough() {
        assert_eq!(run(SURGE, &[(9, 0); 20]), []);
    }
}

//! Back-tests: news files through the live code at full speed, in event time, without Kafka.
//!
//! [`Feed`] decodes as the classifier does, [`scores`] keeps what the model said, [`run`] drives the core, [`summary`]
//! says what came out, [`events`] scores it against what is known, [`report`] draws it.

pub mod compare;
pub mod events;
pub mod report;
pub mod scores;
pub mod summary;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::classify::Classify;
use crate::config::Config;
use crate::decode::decode;
use crate::detect::AlertRecord;
use crate::detect::evidence::EvidenceItem;
use crate::detect::life::Transition;
use crate::detect::tally::RuleTally;
use crate::enrich::{Mentions, Watchlist, subjects};
use crate::news::{EventTime, ModelIdentity, NewsItem, Observation, Sentiment, Subject, SubjectKind};
use crate::pipeline::observe::{Headline, Judged, Ready, observe};
use crate::pipeline::offline::{EventLog, OfflineMonitor};
use crate::pipeline::partition::{Counted, Output};
use crate::replay;
use crate::window::PaneTable;
use scores::{ScoreCache, Scores, TextKey};

/// A month has 30 days here.
const MONTH_MS: f64 = 30.0 * 86_400_000.0;
/// Rejected records that the summary names one by one.
const REJECTIONS_NAMED: usize = 20;
/// Items shown with an alert on a slow rise.
const RISE_ITEMS: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("nothing to test: {0}")]
    Nothing(String),
    #[error(transparent)]
    Read(#[from] replay::Error),
    #[error(transparent)]
    Classify(#[from] crate::classify::Error),
}

impl Error {
    fn file(path: &Path, what: impl Display) -> Self {
        Self::File { path: path.to_owned(), what: what.to_string() }
    }
}

/// How much was watched: subjects times months.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubjectMonths(f64);

impl SubjectMonths {
    pub fn of(subjects: usize, span_ms: i64) -> Self {
        Self(subjects as f64 * span_ms as f64 / MONTH_MS)
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// So many in each month of each subject; 0 where nothing was watched.
    pub fn rate(self, count: usize) -> f64 {
        if self.0 > 0.0 { count as f64 / self.0 } else { 0.0 }
    }
}

/// One configuration and its watchlist.
#[derive(Clone)]
pub struct Setup {
    /// For people: the configuration file.
    pub name: String,
    pub config: Arc<Config>,
    pub watchlist: Arc<Watchlist>,
}

/// What became of the records of the files.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ItemCounts {
    pub read: u64,
    /// By reason, as on the dead letter topic; `no_time` where an item does not say when it was published.
    pub rejected: BTreeMap<&'static str, u64>,
    /// In a window once for the market, and for each other subject.
    pub counted: u64,
    /// Their pane had counted their id.
    pub duplicate: u64,
    pub late: u64,
    /// Stood behind a later item in the files, and were put in order.
    pub out_of_order: u64,
    pub scored_by_model: u64,
    pub scored_before: u64,
    pub scored_in_the_files: u64,
}

/// A record that was not an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    pub file: String,
    pub row: u64,
    pub reason: &'static str,
    pub detail: String,
}

enum Verdict {
    /// The file says it, as a record of `news.scored`.
    Given(Scores),
    Of(TextKey),
}

impl Verdict {
    /// # Panics
    /// Where the text has no result.
    fn scores<'scores>(&'scores self, cache: Option<&'scores ScoreCache>) -> &'scores Scores {
        match self {
            Self::Given(scores) => scores,
            Self::Of(key) => cache.and_then(|cache| cache.get(key)).expect("texts are classified before a run"),
        }
    }
}

struct FeedItem {
    /// Without its body, which nothing behind the model looks at.
    item: NewsItem,
    mentions: Mentions,
    verdict: Verdict,
}

/// Decoded items in order of event time.
pub struct Feed {
    items: Vec<FeedItem>,
    /// Distinct texts that no file has a result for.
    texts: Vec<(TextKey, String)>,
    pub counts: ItemCounts,
    /// The first of them.
    pub rejected: Vec<Rejected>,
}

impl Feed {
    /// Reads the files as `setup` would, each record as if it had come when it was published. `tick` is called for each record.
    ///
    /// # Errors
    /// A file that cannot be read, and files without a single item. Records that are no items are counted, not errors.
    pub fn read(files: &[PathBuf], newest: EventTime, setup: &Setup, mut tick: impl FnMut()) -> Result<Self, Error> {
        let mut feed = Self { items: Vec::new(), texts: Vec::new(), counts: ItemCounts::default(), rejected: Vec::new() };
        let mut known = HashSet::new();
        for path in files {
            for record in replay::open(path)? {
                let record = record?;
                tick();
                feed.counts.read += 1;
                let decoded = decode(&record.payload, newest, &setup.config.decode);
                let rejection = match decoded {
                    Ok(item) if record.at.is_some() => {
                        let scores = given_scores(&record.payload);
                        feed.keep(Ready::new(item, &setup.config, &setup.watchlist), scores, &mut known);
                        continue;
                    }
                    Ok(_) => ("no_time", "no published_at: a back-test cannot tell when it came".to_owned()),
                    Err(rejection) => (rejection.reason.as_str(), rejection.detail),
                };
                *feed.counts.rejected.entry(rejection.0).or_default() += 1;
                if feed.rejected.len() < REJECTIONS_NAMED {
                    let file = path.display().to_string();
                    feed.rejected.push(Rejected { file, row: record.row, reason: rejection.0, detail: rejection.1 });
                }
            }
        }
        if feed.items.is_empty() {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            let first = feed.rejected.first().map_or_else(String::new, |first| {
                format!(
                    "; the first of {} that were refused, {} line {}: {} ({})",
                    feed.counts.read, first.file, first.row, first.detail, first.reason
                )
            });
            return Err(Error::Nothing(format!("{} has no news item{first}", names.join(", "))));
        }
        feed.sort();
        Ok(feed)
    }

    fn keep(&mut self, ready: Ready, given: Option<Scores>, known: &mut HashSet<TextKey>) {
        let Ready { mut item, mentions, .. } = ready;
        let verdict = match given {
            Some(scores) => {
                self.counts.scored_in_the_files += 1;
                Verdict::Given(scores)
            }
            None => {
                let text = item.text();
                let key = TextKey::of(&text);
                if known.insert(key.clone()) {
                    self.texts.push((key.clone(), text));
                }
                Verdict::Of(key)
            }
        };
        item.body = None;
        item.extra = serde_json::Map::new();
        self.items.push(FeedItem { item, mentions, verdict });
    }

    fn sort(&mut self) {
        let mut newest = EventTime(i64::MIN);
        for item in &self.items {
            self.counts.out_of_order += u64::from(item.item.published_at < newest);
            newest = newest.max(item.item.published_at);
        }
        // Stable: items of one time stay in the order of the files.
        self.items.sort_by_key(|item| item.item.published_at);
    }

    /// The most negative items about a subject from `since` to before `until`, each headline once.
    fn negatives(&self, subject: &Subject, since: EventTime, until: EventTime, cache: Option<&ScoreCache>) -> Vec<EvidenceItem> {
        let place = |at: EventTime| self.items.partition_point(|item| item.item.published_at < at);
        let mut found: Vec<EvidenceItem> = Vec::new();
        for FeedItem { item, mentions, verdict } in &self.items[place(since)..place(until)] {
            let scores = verdict.scores(cache);
            let about = scores.sentiment == Sentiment::Negative && subjects(&scores.topic, mentions).contains(subject);
            if about && !found.iter().any(|other| other.title.is_some() && other.title == item.title) {
                found.push(EvidenceItem {
                    id: item.id.clone(),
                    title: item.title.clone(),
                    source: item.source.clone(),
                    url: item.url.clone(),
                    published_at: item.published_at,
                    score: scores.score,
                    explanation: None,
                    first_seen: item.published_at,
                    copies: 0,
                    sources: 1,
                });
            }
        }
        found.sort_by(|one, two| (one.score, one.published_at, &one.id).cmp(&(two.score, two.published_at, &two.id)));
        found.truncate(RISE_ITEMS);
        found
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Event times of the first and the last item.
    pub fn span(&self) -> (EventTime, EventTime) {
        let at = |item: Option<&FeedItem>| item.map_or(EventTime(0), |item| item.item.published_at);
        (at(self.items.first()), at(self.items.last()))
    }

    /// Distinct texts without a result: only for them is the model needed.
    pub fn texts_without(&self, cache: &ScoreCache) -> usize {
        self.texts.iter().filter(|(key, _)| cache.get(key).is_none()).count()
    }

    pub fn has_texts(&self) -> bool {
        !self.texts.is_empty()
    }

    /// Notes how many texts the model was asked for; the other items had their result already.
    pub fn count_scored(&mut self, by_model: usize) {
        self.counts.scored_by_model = by_model as u64;
        let of_texts = self.items.iter().filter(|item| matches!(item.verdict, Verdict::Of(_))).count();
        self.counts.scored_before = (of_texts - by_model) as u64;
    }

    /// Classifies the texts that the cache does not have, and keeps the results in it. `tick` is called for each text.
    ///
    /// # Errors
    /// The model's, and those of writing the cache. What was classified until then is kept.
    pub fn classify(
        &self,
        classifier: &dyn Classify,
        slab_texts: usize,
        cache: &mut ScoreCache,
        mut tick: impl FnMut(),
    ) -> Result<(), Error> {
        let (keys, texts): (Vec<&TextKey>, Vec<String>) =
            self.texts.iter().filter(|(key, _)| cache.get(key).is_none()).map(|(key, text)| (key, text.clone())).unzip();
        let mut keys = keys.into_iter().enumerate();
        let mut written = Ok(());
        crate::classify::classify_each(classifier, texts, slab_texts, |result| {
            let (number, key) = keys.next().expect("a result for each text");
            let kept = cache.insert(key.clone(), Scores::from(&result));
            let kept = if number % slab_texts == 0 { kept.and_then(|()| cache.flush()) } else { kept };
            if written.is_ok() {
                written = kept;
            }
            tick();
        })?;
        written?;
        cache.flush()
    }
}

/// The newest event time of the files that is not in the future, and how many records they have: what dates are
/// measured from, so that one date in the future moves nothing.
pub fn survey(files: &[PathBuf], now: EventTime) -> Result<(EventTime, u64), Error> {
    let (mut newest, mut count) = (EventTime(0), 0);
    for path in files {
        for record in replay::open(path)? {
            let at = record?.at.filter(|&at| at <= now);
            newest = newest.max(at.unwrap_or(newest));
            count += 1;
        }
    }
    Ok((newest, count))
}

/// The result in a record of `news.scored`; `None` for any other.
fn given_scores(payload: &[u8]) -> Option<Scores> {
    let fields: Value = serde_json::from_slice(payload).ok()?;
    let sentiment = &fields["sentiment"];
    Some(Scores {
        topic: fields["topic"]["label"].as_str()?.to_owned(),
        sentiment: serde_json::from_value(sentiment["label"].clone()).ok()?,
        score: serde_json::from_value(sentiment["score"].clone()).ok()?,
    })
}

/// All that one configuration made of the feed.
pub struct Outcome {
    pub setup: Setup,
    /// `None` where every item came with its result.
    pub model: Option<ModelIdentity>,
    pub counts: ItemCounts,
    pub rejected: Vec<Rejected>,
    pub observations: u64,
    pub panes: PaneTable,
    /// Transitions in order of publication.
    pub alerts: Vec<AlertRecord>,
    /// By id of an alert on a slow rise: its most negative items since the rise began. The record has those of the window.
    pub rises: BTreeMap<String, Vec<EvidenceItem>>,
    /// What became of the windows judged, by rule.
    pub tallies: BTreeMap<String, RuleTally>,
    pub first: EventTime,
    pub last: EventTime,
    /// Where event time stood at the end.
    pub end: EventTime,
}

impl Outcome {
    /// Subjects that some rule could have judged.
    pub fn watched(&self) -> Vec<&Subject> {
        let rules = &self.setup.config.rules;
        self.panes.subjects().iter().filter(|subject| rules.values().any(|rule| rule.covers(subject))).collect()
    }

    pub fn subject_months(&self) -> SubjectMonths {
        SubjectMonths::of(self.watched().len(), self.last.0 - self.first.0)
    }
}

/// Drives the core over the feed. `record` sees every record of the observation log, `tick` is called for each item.
///
/// # Panics
/// Where a text has no result: call [`Feed::classify`] first.
pub fn run(
    feed: &Feed,
    setup: &Setup,
    cache: Option<&ScoreCache>,
    model: Option<ModelIdentity>,
    mut record: impl FnMut(&Observation),
    mut tick: impl FnMut(),
) -> Outcome {
    let (first, last) = feed.span();
    let mut outcome = Outcome {
        setup: setup.clone(),
        model,
        counts: feed.counts.clone(),
        rejected: feed.rejected.clone(),
        observations: 0,
        panes: PaneTable::default(),
        alerts: Vec::new(),
        rises: BTreeMap::new(),
        tallies: BTreeMap::new(),
        first,
        last,
        end: first,
    };
    let mut monitor = OfflineMonitor::new(&setup.config, &setup.watchlist, 1);
    let mut log = EventLog::new(&setup.config);
    let mut read = |observations: &mut dyn Iterator<Item = Observation>| {
        for observation in observations {
            record(&observation);
            let (counted, outputs) = monitor.observe(0, &observation);
            outcome.take(&observation, counted, outputs);
        }
    };
    for FeedItem { item, mentions, verdict } in &feed.items {
        let scores = verdict.scores(cache);
        let subjects = subjects(&scores.topic, mentions);
        let judged = Judged { topic: &scores.topic, sentiment: scores.sentiment, score: scores.score, model: None };
        let headline = Headline::open(item.title.as_deref());
        let seen = observe(item, &headline, &subjects, judged);
        read(&mut log.append(item.published_at, seen).into_iter());
        tick();
    }
    read(&mut log.close().into_iter());
    outcome.tallies = monitor.tallies(0).clone();
    let fired = outcome.alerts.iter().filter(|alert| alert.transition == Transition::Firing);
    let rises = fired.filter_map(|alert| Some((alert, alert.baseline.as_ref()?.rise.as_ref()?.since)));
    outcome.rises = rises.map(|(alert, since)| (alert.id.clone(), feed.negatives(&alert.subject, since, alert.at, cache))).collect();
    outcome
}

impl Outcome {
    fn take(&mut self, observation: &Observation, counted: Option<Counted>, outputs: Vec<Output>) {
        match observation {
            Observation::Watermark(watermark) => {
                self.end = watermark.watermark_ms.map_or(self.end, |at| self.end.max(EventTime(at)));
            }
            Observation::Item(item) => {
                self.observations += 1;
                // Every item is an observation of the market, once.
                if item.subject.kind() == SubjectKind::Market {
                    match counted {
                        Some(Counted::Late) => self.counts.late += 1,
                        Some(Counted::Duplicate) => self.counts.duplicate += 1,
                        _ => self.counts.counted += 1,
                    }
                }
            }
        }
        for output in outputs {
            match output {
                // What every partition keeps of the market is no subject of its own.
                Output::Pane(pane) if pane.subject == Subject::market_counts() => {}
                Output::Pane(pane) => self.panes.push(&pane),
                Output::Alert(alert) => self.alerts.push(*alert),
                Output::View(_) => {}
            }
        }
    }
}

/// Distinct subjects of the alerts.
pub fn alerted(alerts: &[AlertRecord]) -> BTreeSet<&Subject> {
    alerts.iter().map(|alert| &alert.subject).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A transition of the alert on that subject that fired at `started`.
    pub fn alert(subject: &str, started: i64, at: i64, transition: Transition) -> AlertRecord {
        let schema: Value = serde_json::from_str(include_str!("../../schemas/sentiment.alerts.json")).unwrap();
        let example: AlertRecord = serde_json::from_value(schema["examples"][0].clone()).unwrap();
        AlertRecord {
            id: format!("{}/{subject}/{}", example.rule, EventTime(started)),
            subject: Subject(subject.into()),
            transition,
            sequence: u32::from(transition != Transition::Firing),
            started_at: EventTime(started),
            at: EventTime(at),
            ..example
        }
    }

    fn written(text: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("news.jsonl");
        std::fs::write(&path, text).unwrap();
        (folder, vec![path])
    }

    fn setup() -> Setup {
        Setup { name: "test".into(), config: Arc::new(Config::default()), watchlist: Arc::new(Watchlist::empty()) }
    }

    fn feed(text: &str) -> Result<Feed, Error> {
        let (_folder, files) = written(text);
        let (newest, _) = survey(&files, EventTime(2_000_000_000_000)).unwrap();
        Feed::read(&files, newest, &setup(), || ())
    }

    #[test]
    fn what_is_no_item_is_counted_by_its_reason_and_named() {
        let feed = feed(
            "{\"title\":\"b\",\"published_at\":\"2023-03-10T00:00:01Z\"}\n\nnot json\n{\"title\":\"no time\"}\n\
             {\"title\":\"a\",\"published_at\":\" 2023-03-10T00:00:00Z \"}\n{\"title\":\"later\",\"published_at\":\"2999-01-01T00:00:00Z\"}\n\
             {\"title\":\"seconds\",\"published_at\":1678406400}\n",
        )
        .unwrap();
        assert_eq!(feed.counts.rejected, [("invalid_json", 1), ("no_time", 1), ("date_out_of_range", 2)].into());
        assert_eq!((feed.counts.read, feed.len(), feed.counts.out_of_order), (6, 2, 1));
        assert_eq!(feed.rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [3, 4, 6, 7]);
        let (first, last) = feed.span();
        assert_eq!(last.0 - first.0, 1000, "in order of event time");
    }

    #[test]
    fn files_without_an_item_are_an_error_that_says_why() {
        let error = feed("{\"title\":\"\",\"published_at\":\"2023-03-10T00:00:01Z\"}\n").err().unwrap().to_string();
        assert!(error.contains("line 1: neither title nor body has text (no_text)"), "{error}");
    }

    #[test]
    fn a_record_of_news_scored_brings_its_result_along() {
        let schema: Value = serde_json::from_str(include_str!("../../schemas/news.scored.json")).unwrap();
        let record = &schema["examples"][0];
        let scores = given_scores(record.to_string().as_bytes()).unwrap();
        assert_eq!(scores.topic, record["topic"]["label"].as_str().unwrap());
        assert_eq!(scores.score.to_f64(), record["sentiment"]["score"].as_f64().unwrap());
        // Labels of an evaluation file are no scores.
        assert_eq!(given_scores(br#"{"title":"t","topic":"Macro","sentiment":"negative"}"#), None);
        let feed = feed(&format!("{record}\n")).unwrap();
        assert!(!feed.has_texts());
        assert_eq!(feed.counts.scored_in_the_files, 1);
    }

    #[test]
    fn subject_months_are_subjects_times_thirty_days() {
        let watched = SubjectMonths::of(4, 15 * 86_400_000);
        assert_eq!((watched.get(), watched.rate(1)), (2.0, 0.5));
        assert_eq!(SubjectMonths::of(0, 1).rate(1), 0.0);
    }
}

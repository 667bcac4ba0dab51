//! Plain types that cross between modules: a news item, its classification, what it says about a subject.
//!
//! Nothing here knows Kafka, ONNX or polars. JSON shapes are those of `schemas/`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::novelty::Sketch;

/// Version of the JSON shapes this build writes.
pub const SCHEMA_VERSION: u32 = 1;

/// When something happened, in milliseconds since the Unix epoch, UTC. JSON: RFC 3339 with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// `None` where the text is not RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_millis()))
    }

    /// The start of the half-open slice `[start, start + size_ms)` that holds this time.
    pub fn floor(self, size_ms: i64) -> Self {
        Self(self.0.div_euclid(size_ms) * size_ms)
    }

    pub fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    pub fn now() -> Self {
        Self(Utc::now().timestamp_millis())
    }

    /// `16:40`, for sentences.
    pub fn clock(self) -> String {
        DateTime::<Utc>::from_timestamp_millis(self.0).map_or_else(|| self.0.to_string(), |at| at.format("%H:%M").to_string())
    }

    /// `16:40`, or `8 March 16:40` where that is not the UTC day of `now`.
    pub fn clock_seen_from(self, now: Self) -> String {
        const DAY_MS: i64 = 86_400_000;
        let day = DateTime::<Utc>::from_timestamp_millis(self.0).filter(|_| self.floor(DAY_MS) != now.floor(DAY_MS));
        day.map_or_else(|| self.clock(), |day| format!("{} {}", day.format("%-d %B"), self.clock()))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(at) => formatter.write_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(formatter, "{} ms", self.0),
        }
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?.0;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

/// Text that need not be copied where the input holds it as it is.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One decoded item of `news.raw`. At least one of `title` and `body` has text.
#[derive(Debug, Clone, PartialEq)]
pub struct NewsItem {
    pub id: String,
    pub published_at: EventTime,
    pub title: Option<String>,
    pub body: Option<String>,
    pub source: Option<String>,
    pub url: Option<String>,
    pub symbols: Vec<String>,
    pub lang: Option<String>,
    /// Input fields this build does not know; they pass through.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl NewsItem {
    /// The text the model reads: title and body as one passage. Training joins them the same way.
    pub fn text(&self) -> String {
        match (&self.title, &self.body) {
            (Some(title), Some(body)) => passage(title, body),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => String::new(),
        }
    }
}

/// Title and body as one passage, with a full stop between them unless the title has its own.
pub fn passage(title: &str, body: &str) -> String {
    let stop = if title.ends_with(['.', '!', '?', ':', '…']) { " " } else { ". " };
    format!("{title}{stop}{body}")
}

/// The id of an item that brings none: the first 128 bits of SHA-256 over its text, as hex.
pub fn text_id(title: Option<&str>, body: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(title.unwrap_or_default());
    hash.update([0]);
    hash.update(body.unwrap_or_default());
    hex(&hash.finalize()[..16])
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sentiment {
    Negative,
    Neutral,
    Positive,
}

impl Sentiment {
    pub const ALL: [Self; 3] = [Self::Negative, Self::Neutral, Self::Positive];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Negative => "negative",
            Self::Neutral => "neutral",
            Self::Positive => "positive",
        }
    }

    /// Its place in [`Sentiment::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Understands the label names common among sentiment models; `None` for others.
    pub fn from_label(label: &str) -> Option<Self> {
        match label.to_ascii_lowercase().as_str() {
            "negative" | "neg" | "bearish" => Some(Self::Negative),
            "neutral" | "neu" => Some(Self::Neutral),
            "positive" | "pos" | "bullish" => Some(Self::Positive),
            _ => None,
        }
    }
}

/// Normalised outputs of the sentiment head; they sum to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SentimentProbabilities {
    pub negative: f64,
    pub neutral: f64,
    pub positive: f64,
}

impl SentimentProbabilities {
    /// P(positive) − P(negative), −1 to 1, rounded to 10⁻⁶ so that sums over panes are exact in integers.
    pub fn score(&self) -> Score {
        Score::from_f64(self.positive - self.negative)
    }

    /// The probability of the label: how sure the model is.
    pub fn top(&self) -> f64 {
        self.negative.max(self.neutral).max(self.positive)
    }

    pub fn label(&self) -> Sentiment {
        if self.negative >= self.neutral && self.negative >= self.positive {
            Sentiment::Negative
        } else if self.positive > self.neutral {
            Sentiment::Positive
        } else {
            Sentiment::Neutral
        }
    }
}

/// A sentiment score (or a sum of scores) in millionths, so that addition is exact and its order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Score(pub i64);

impl Score {
    pub fn from_f64(value: f64) -> Self {
        Self((value * 1e6).round() as i64)
    }

    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Rounded to millionths, too, so that sums of it are exact.
    pub fn squared(self) -> Self {
        Self((self.0 * self.0 + 500_000) / 1_000_000)
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_f64())
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::from_f64)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicResult {
    pub label: String,
    pub probability: f64,
    pub probabilities: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentimentResult {
    pub label: Sentiment,
    pub score: Score,
    pub probabilities: SentimentProbabilities,
}

/// The model's raw outputs for one text, in the order of its labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logits {
    pub topic: Vec<f32>,
    pub sentiment: Vec<f32>,
}

/// What the model said of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    pub topic: TopicResult,
    pub sentiment: SentimentResult,
    pub logits: Logits,
    /// The text was longer than the model reads; its end was not seen.
    pub truncated: bool,
    /// Tokens that the model's vocabulary does not have, among all of the text, 0 to 1. For [`crate::classify::drift`];
    /// not published.
    pub unknown_share: f64,
}

/// Which model, exactly. `version` is the first 12 hex digits of a SHA-256 over the model's files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelIdentity {
    pub name: String,
    pub version: String,
}

/// Record after record names the same model: the one before serves again, and nothing is copied.
fn same_model<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<ModelIdentity>>, D::Error> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        version: Cow<'a, str>,
    }
    thread_local! {
        static LAST: RefCell<Option<Arc<ModelIdentity>>> = const { RefCell::new(None) };
    }
    let Some(Named { name, version }) = Option::<Named<'_>>::deserialize(deserializer)? else { return Ok(None) };
    Ok(LAST.with_borrow_mut(|last| {
        if last.as_ref().is_none_or(|last| last.name != name || last.version != version) {
            *last = Some(Arc::new(ModelIdentity { name: name.into_owned(), version: version.into_owned() }));
        }
        last.clone()
    }))
}

/// The place of a record in `news.raw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RawPlace {
    pub partition: i32,
    pub offset: i64,
}

/// One record of `news.scored`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scored {
    pub schema: u32,
    pub id: String,
    pub published_at: EventTime,
    pub source: Option<String>,
    pub url: Option<String>,
    pub symbols: Vec<String>,
    pub lang: Option<String>,
    pub title: Option<String>,
    pub body: Option<String>,
    pub extra: serde_json::Map<String, serde_json::Value>,
    pub topic: TopicResult,
    pub sentiment: SentimentResult,
    pub entities: Vec<String>,
    pub groups: Vec<String>,
    pub subjects: Vec<Subject>,
    pub truncated: bool,
    /// How many pieces of personal data were replaced, by kind.
    pub masked: BTreeMap<String, u32>,
    pub model: Arc<ModelIdentity>,
    pub config_version: Arc<str>,
    pub raw: RawPlace,
    pub scored_at: EventTime,
}

/// What a window is about: `market`, `topic:<label>`, `entity:<id>` or `group:<id>`.
/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(pub Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    Market,
    Topic,
    Entity,
    Group,
}

impl Subject {
    pub fn market() -> Self {
        static MARKET: LazyLock<Subject> = LazyLock::new(|| Subject("market".into()));
        MARKET.clone()
    }

    /// The market as the watermarks count it: panes of it are published on every partition.
    pub fn market_counts() -> Self {
        static COUNTS: LazyLock<Subject> = LazyLock::new(|| Subject("market-counts".into()));
        COUNTS.clone()
    }

    pub fn topic(label: &str) -> Self {
        Self(format!("topic:{label}").into())
    }

    pub fn entity(id: &str) -> Self {
        Self(format!("entity:{id}").into())
    }

    pub fn group(id: &str) -> Self {
        Self(format!("group:{id}").into())
    }

    /// `None` where the text is no subject, or has control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let is_subject = match text.split_once(':') {
            Some(("topic" | "entity" | "group", local)) => !local.is_empty(),
            _ => text == "market",
        };
        (is_subject && !text.contains(char::is_control)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn kind(&self) -> SubjectKind {
        match self.0.split_once(':').map(|(kind, _)| kind) {
            Some("topic") => SubjectKind::Topic,
            Some("entity") => SubjectKind::Entity,
            Some("group") => SubjectKind::Group,
            _ => SubjectKind::Market,
        }
    }

    /// The part after the kind: the label or id; `market` for the market.
    pub fn local(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(_, local)| local)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One record of `news.observations`: an item as seen by one subject, or a watermark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "AnyObservation")]
pub enum Observation {
    Item(ItemObservation),
    Watermark(WatermarkObservation),
}

/// The fields of both kinds. Read in one go: a tagged enum would first be kept whole, in a form of serde's own.
#[derive(Deserialize)]
struct AnyObservation {
    kind: ObservationKind,
    schema: u32,
    subject: Option<Subject>,
    id: Option<String>,
    event_time_ms: Option<i64>,
    topic: Option<String>,
    sentiment: Option<Sentiment>,
    score: Option<Score>,
    source: Option<String>,
    title: Option<String>,
    sketch: Option<Sketch>,
    url: Option<String>,
    #[serde(default, deserialize_with = "same_model")]
    model: Option<Arc<ModelIdentity>>,
    #[serde(default)]
    subjects: Vec<Subject>,
    raw_partition: Option<i32>,
    raw_partitions: Option<i32>,
    watermark_ms: Option<i64>,
    idle: Option<bool>,
    #[serde(default)]
    market: Vec<MarketCounts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ObservationKind {
    Item,
    Watermark,
}

impl TryFrom<AnyObservation> for Observation {
    type Error = &'static str;

    fn try_from(any: AnyObservation) -> Result<Self, Self::Error> {
        Ok(match any.kind {
            ObservationKind::Item => Self::Item(ItemObservation {
                schema: any.schema,
                subject: any.subject.ok_or("missing field `subject`")?,
                id: any.id.ok_or("missing field `id`")?,
                event_time_ms: any.event_time_ms.ok_or("missing field `event_time_ms`")?,
                topic: any.topic.ok_or("missing field `topic`")?,
                sentiment: any.sentiment.ok_or("missing field `sentiment`")?,
                score: any.score.ok_or("missing field `score`")?,
                source: any.source,
                title: any.title,
                sketch: any.sketch,
                url: any.url,
                model: any.model,
                subjects: any.subjects,
            }),
            ObservationKind::Watermark => Self::Watermark(WatermarkObservation {
                schema: any.schema,
                raw_partition: any.raw_partition.ok_or("missing field `raw_partition`")?,
                raw_partitions: any.raw_partitions.ok_or("missing field `raw_partitions`")?,
                watermark_ms: any.watermark_ms,
                idle: any.idle.ok_or("missing field `idle`")?,
                market: any.market,
            }),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemObservation {
    pub schema: u32,
    pub subject: Subject,
    pub id: String,
    pub event_time_ms: i64,
    pub topic: String,
    pub sentiment: Sentiment,
    pub score: Score,
    pub source: Option<String>,
    pub title: Option<String>,
    /// What the headline says, for telling copies by, where `title` is encrypted or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sketch: Option<Sketch>,
    pub url: Option<String>,
    /// Which model scored it; `None` where its score came with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<ModelIdentity>>,
    /// Of the market's items: what else the item is about.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub subjects: Vec<Subject>,
}

impl ItemObservation {
    /// What copies of its headline are told by; `None` where it has none.
    pub fn sketch(&self) -> Option<Sketch> {
        self.sketch.clone().or_else(|| self.title.as_deref().and_then(Sketch::of))
    }
}

/// How far one raw partition is complete in event time. `watermark_ms` is `None` before its first item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkObservation {
    pub schema: u32,
    pub raw_partition: i32,
    pub raw_partitions: i32,
    pub watermark_ms: Option<i64>,
    pub idle: bool,
    /// What that partition's items since its last watermark add to the market, so that every monitor knows the market.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub market: Vec<MarketCounts>,
}

/// Items of one pane, whatever they are about. JSON: `[pane_start_ms, count, negative, positive, score_sum,
/// score_square_sum]`, the sums in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(i64, u64, u64, u64, i64, i64)", from = "(i64, u64, u64, u64, i64, i64)")]
pub struct MarketCounts {
    pub pane_start: EventTime,
    pub count: u64,
    pub negative: u64,
    pub positive: u64,
    pub score_sum: Score,
    pub score_square_sum: Score,
}

impl From<MarketCounts> for (i64, u64, u64, u64, i64, i64) {
    fn from(counts: MarketCounts) -> Self {
        let MarketCounts { pane_start, count, negative, positive, score_sum, score_square_sum } = counts;
        (pane_start.0, count, negative, positive, score_sum.0, score_square_sum.0)
    }
}

impl From<(i64, u64, u64, u64, i64, i64)> for MarketCounts {
    fn from((start, count, negative, positive, score_sum, square_sum): (i64, u64, u64, u64, i64, i64)) -> Self {
        let (score_sum, score_square_sum) = (Score(score_sum), Score(square_sum));
        Self { pane_start: EventTime(start), count, negative, positive, score_sum, score_square_sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_time_prints_and_reads_rfc_3339_with_milliseconds() {
        let at = EventTime::parse("2023-03-10T16:35:00+01:00").unwrap();
        assert_eq!(at.to_string(), "2023-03-10T15:35:00.000Z");
        assert_eq!(EventTime::parse(&at.to_string()), Some(at));
    }

    #[test]
    fn floor_is_half_open_and_works_before_1970() {
        assert_eq!(EventTime(10_000).floor(10_000), EventTime(10_000));
        assert_eq!(EventTime(9_999).floor(10_000), EventTime(0));
        assert_eq!(EventTime(-1).floor(10_000), EventTime(-10_000));
    }

    #[test]
    fn a_sentiment_knows_its_place_among_all() {
        assert_eq!(Sentiment::ALL.map(Sentiment::index), [0, 1, 2]);
    }

    #[test]
    fn a_label_tie_goes_to_the_negative_side() {
        let even = SentimentProbabilities { negative: 0.4, neutral: 0.2, positive: 0.4 };
        assert_eq!(even.label(), Sentiment::Negative);
        assert_eq!(even.score(), Score(0));
    }

    #[test]
    fn subjects_know_their_kind_and_local_part() {
        assert_eq!(Subject::topic("Fed | Central Banks").kind(), SubjectKind::Topic);
        assert_eq!(Subject::topic("a:b").local(), "a:b");
        assert_eq!(Subject::market().kind(), SubjectKind::Market);
    }

    #[test]
    fn observations_carry_their_kind_in_json() {
        let watermark = Observation::Watermark(WatermarkObservation {
            schema: SCHEMA_VERSION,
            raw_partition: 1,
            raw_partitions: 3,
            watermark_ms: None,
            idle: true,
            market: Vec::new(),
        });
        let json = serde_json::to_value(&watermark).unwrap();
        assert_eq!(json["kind"], "watermark");
        assert_eq!(serde_json::from_value::<Observation>(json).unwrap(), watermark);
    }

    #[test]
    fn observations_of_one_model_share_its_name() {
        let read = |model: &str| {
            let json = format!(
                r#"{{"kind":"item","schema":1,"subject":"market","id":"a","event_time_ms":5,"topic":"Macro","sentiment":"neutral","score":0.05{model}}}"#
            );
            let Observation::Item(item) = serde_json::from_str(&json).unwrap() else { panic!("an item") };
            item.model
        };
        let (one, other) = (r#","model":{"name":"a","version":"1"}"#, r#","model":{"name":"a","version":"2"}"#);
        let (first, second, third) = (read(one).unwrap(), read(one).unwrap(), read(other).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((first.version.as_str(), third.version.as_str()), ("1", "2"));
        assert_eq!((read(""), read(r#","model":null"#)), (None, None));
    }

    #[test]
    fn an_observation_without_a_field_of_its_kind_is_none() {
        let item = r#"{"kind":"item","schema":1,"subject":"market","id":"a","event_time_ms":5,"topic":"Macro","sentiment":"neutral","score":0.05}"#;
        assert!(matches!(serde_json::from_str(item).unwrap(), Observation::Item(ItemObservation { event_time_ms: 5, source: None, .. })));
        for (whole, part) in [(item, r#""id":"a","#), (item, r#","score":0.05"#), (item, r#""kind":"item","#)] {
            let error = serde_json::from_str::<Observation>(&whole.replace(part, "")).unwrap_err().to_string();
            assert!(error.starts_with("missing field `"), "{error}");
        }
        assert!(serde_json::from_str::<Observation>(&item.replace("\"item\"", "\"watermark\"")).is_err());
    }
}

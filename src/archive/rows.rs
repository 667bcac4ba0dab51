//! What is in an archive: three datasets, and the columns of each.

use serde::Deserialize;

use crate::config::TopicNames;
use crate::detect::AlertRecord;
use crate::news::{EventTime, Scored, Subject};
use crate::window::parquet::{Columns, Frame};
use crate::window::{PaneRecord, PaneTable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dataset {
    Scored,
    Windows,
    Alerts,
}

impl Dataset {
    pub const ALL: [Self; 3] = [Self::Scored, Self::Windows, Self::Alerts];

    /// Its folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Windows => "windows",
            Self::Alerts => "alerts",
        }
    }

    pub fn topic(self, names: &TopicNames) -> &str {
        match self {
            Self::Scored => &names.scored,
            Self::Windows => &names.windows,
            Self::Alerts => &names.alerts,
        }
    }

    /// `None` where it is not one of them.
    pub fn read(self, payload: &[u8]) -> Option<Record> {
        fn from<'json, Json: Deserialize<'json>>(payload: &'json [u8]) -> Option<Json> {
            serde_json::from_slice(payload).ok()
        }
        Some(match self {
            Self::Scored => Record::Scored(Box::new(from(payload)?)),
            Self::Windows => Record::Window(Box::new(from(payload)?)),
            Self::Alerts => Record::Alert(Box::new(from(payload)?)),
        })
    }

    pub fn rows(self) -> Rows {
        match self {
            Self::Scored => Rows::Scored(Vec::new()),
            Self::Windows => Rows::Windows(PaneTable::default()),
            Self::Alerts => Rows::Alerts(Vec::new()),
        }
    }
}

pub enum Record {
    Scored(Box<Scored>),
    Window(Box<PaneRecord>),
    Alert(Box<AlertRecord>),
}

impl Record {
    /// The event time that decides whether it is in a range, and on which day: of a window its start.
    pub fn at(&self) -> EventTime {
        match self {
            Self::Scored(item) => item.published_at,
            Self::Window(pane) => pane.pane_start,
            Self::Alert(alert) => alert.at,
        }
    }

    /// A record that comes later with the same key says the same, or better. Every scored item stays.
    pub fn key(&self) -> Option<(&str, i64)> {
        match self {
            Self::Scored(_) => None,
            Self::Window(pane) => Some((pane.subject.as_str(), pane.pane_start.0)),
            Self::Alert(alert) => Some((&alert.id, alert.sequence.into())),
        }
    }

    /// A copy of the market that monitors tell each other: who sums up windows would count it twice.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Window(pane) if pane.subject == Subject::market_counts())
    }
}

/// Records of one dataset, for one row group.
pub enum Rows {
    Scored(Vec<Scored>),
    Windows(PaneTable),
    Alerts(Vec<AlertRecord>),
}

impl Rows {
    pub fn push(&mut self, record: Record) {
        match (self, record) {
            (Self::Scored(rows), Record::Scored(item)) => rows.push(*item),
            (Self::Windows(rows), Record::Window(pane)) => rows.push(&pane),
            (Self::Alerts(rows), Record::Alert(alert)) => rows.push(*alert),
            _ => unreachable!("a dataset reads its own records"),
        }
    }

    pub fn frame(&self) -> Frame {
        match self {
            Self::Scored(rows) => scored(rows),
            Self::Windows(rows) => rows.frame(),
            Self::Alerts(rows) => alerts(rows),
        }
    }
}

fn scored(rows: &[Scored]) -> Frame {
    Columns::of(rows)
        .text("id", |item| &item.id)
        .time("published_at", |item| item.published_at)
        .some_text("source", |item| item.source.as_deref())
        .some_text("url", |item| item.url.as_deref())
        .texts("symbols", |item| item.symbols.iter().map(String::as_str))
        .some_text("lang", |item| item.lang.as_deref())
        .some_text("title", |item| item.title.as_deref())
        .some_text("body", |item| item.body.as_deref())
        .text("topic", |item| &item.topic.label)
        .number("topic_probability", |item| item.topic.probability)
        .json("topic_probabilities", |item| &item.topic.probabilities)
        .text("sentiment", |item| item.sentiment.label.as_str())
        .number("score", |item| item.sentiment.score.to_f64())
        .number("p_negative", |item| item.sentiment.probabilities.negative)
        .number("p_neutral", |item| item.sentiment.probabilities.neutral)
        .number("p_positive", |item| item.sentiment.probabilities.positive)
        .texts("entities", |item| item.entities.iter().map(String::as_str))
        .texts("groups", |item| item.groups.iter().map(String::as_str))
        .texts("subjects", |item| item.subjects.iter().map(Subject::as_str))
        .flag("truncated", |item| item.truncated)
        .json("masked", |item| &item.masked)
        .json("extra", |item| &item.extra)
        .text("model", |item| &item.model.name)
        .text("model_version", |item| &item.model.version)
        .text("config_version", |item| &item.config_version)
        .whole("raw_partition", |item| item.raw.partition.into())
        .whole("raw_offset", |item| item.raw.offset)
        .time("scored_at", |item| item.scored_at)
        .frame()
}

fn alerts(rows: &[AlertRecord]) -> Frame {
    Columns::of(rows)
        .text("id", |alert| &alert.id)
        .whole("sequence", |alert| alert.sequence.into())
        .text("transition", |alert| alert.transition.as_str())
        .text("severity", |alert| alert.severity.as_str())
        .text("rule", |alert| &alert.rule)
        .text("condition", |alert| alert.condition.as_str())
        .text("subject", |alert| alert.subject.as_str())
        .text("subject_name", |alert| &alert.subject_name)
        .time("started_at", |alert| alert.started_at)
        .time("at", |alert| alert.at)
        .time("window_start", |alert| alert.window.start)
        .time("window_end", |alert| alert.window.end)
        .whole("count", |alert| alert.window.count as i64)
        .whole("negative", |alert| alert.window.negative as i64)
        .whole("neutral", |alert| alert.window.neutral as i64)
        .whole("positive", |alert| alert.window.positive as i64)
        .some_number("negative_share", |alert| alert.window.negative_share)
        .some_number("mean_score", |alert| alert.window.mean_score)
        .whole("sources", |alert| alert.window.sources as i64)
        .whole("novel_negative", |alert| alert.window.novel_negative as i64)
        .whole("novel_sources", |alert| alert.window.novel_sources as i64)
        .some_number("expected_negative", |alert| alert.baseline.as_ref().map(|baseline| baseline.expected_negative))
        .some_number("p_value", |alert| alert.p_value)
        .some_number("false_alarms_per_month", |alert| alert.false_alarms_per_month)
        .text("threshold", |alert| &alert.threshold.name)
        .number("threshold_value", |alert| alert.threshold.value)
        .flag("single_source", |alert| alert.single_source)
        .text("why", |alert| &alert.why)
        .json("baseline", |alert| &alert.baseline)
        .json("interval", |alert| &alert.interval)
        .json("rest_of_market", |alert| &alert.rest_of_market)
        .json("evidence", |alert| &alert.evidence)
        .json("members", |alert| &alert.members)
        .json("models", |alert| &alert.models)
        .text("config_version", |alert| &alert.config_version)
        .frame()
}

//! Who told of a subject's novel bad news lately, as far back as a rise may reach. Memory is bounded by subjects × buckets.

use std::collections::{BTreeMap, VecDeque};

use crate::news::{EventTime, Subject};
use crate::window::{PaneRecord, SourceCounts, SubjectMap};

pub struct Sources {
    bucket_ms: i64,
    reach_ms: i64,
    /// Negative items that repeat no story, by source.
    buckets: SubjectMap<VecDeque<(EventTime, SourceCounts)>>,
    swept_at: EventTime,
}

impl Sources {
    /// Keeps `reach_ms`, in buckets.
    pub fn new(bucket_ms: i64, reach_ms: i64) -> Self {
        Self { bucket_ms, reach_ms, buckets: SubjectMap::default(), swept_at: EventTime(i64::MIN) }
    }

    /// Takes in a closed pane; panes come in the order of their start.
    pub fn learn(&mut self, pane: &PaneRecord) {
        if pane.novel_sources.is_empty() {
            return;
        }
        let buckets = self.buckets.entry(pane.subject.clone()).or_default();
        let start = pane.pane_start.floor(self.bucket_ms);
        while buckets.front().is_some_and(|(bucket, _)| bucket.0 < start.0 - self.reach_ms) {
            buckets.pop_front();
        }
        if buckets.back().is_none_or(|(bucket, _)| *bucket != start) {
            buckets.push_back((start, SourceCounts::default()));
        }
        let (_, counts) = buckets.back_mut().expect("there is one now");
        pane.novel_sources.iter().for_each(|(source, items)| counts.add(source, items));
    }

    /// Of a subject's novel negative items since the bucket in which `start` lies.
    pub fn since(&self, subject: &Subject, start: EventTime) -> BTreeMap<&str, u64> {
        let start = start.floor(self.bucket_ms);
        let mut sources = BTreeMap::new();
        for (_, counts) in self.buckets.get(subject).into_iter().flatten().filter(|(bucket, _)| *bucket >= start) {
            for (source, items) in counts.iter() {
                *sources.entry(source.as_ref()).or_default() += items;
            }
        }
        sources
    }

    /// Drops what no rise that goes on at `end` can reach.
    pub fn forget_before(&mut self, end: EventTime) {
        // Within a bucket nothing becomes old.
        let bucket = end.floor(self.bucket_ms);
        if std::mem::replace(&mut self.swept_at, bucket) == bucket {
            return;
        }
        let from = end.0 - self.reach_ms - self.bucket_ms;
        self.buckets.retain(|_, buckets| {
            while buckets.front().is_some_and(|(bucket, _)| bucket.0 < from) {
                buckets.pop_front();
            }
            !buckets.is_empty()
        });
    }
}

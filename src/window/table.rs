//! Closed panes as a table: many of them in little memory, and a Parquet file of them.

use std::collections::HashMap;
use std::path::Path;

use super::PaneRecord;
use super::parquet::{Columns, Frame, ParquetFile};
use crate::news::{EventTime, Score, Subject};

/// One row of the table, the subject apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaneRow {
    pub start: EventTime,
    pub end: EventTime,
    pub count: u64,
    pub negative: u64,
    pub neutral: u64,
    pub positive: u64,
    pub score_sum: Score,
    pub score_square_sum: Score,
    /// Distinct ones.
    pub sources: u64,
    pub novel_negative: u64,
    /// Distinct sources of these.
    pub novel_sources: u64,
    pub index: Score,
    pub index_weight: Score,
    pub buzz: Option<f64>,
}

/// Panes in the order in which they closed.
#[derive(Debug, Default)]
pub struct PaneTable {
    subjects: Vec<Subject>,
    index: HashMap<Subject, u32>,
    rows: Vec<(u32, PaneRow)>,
}

impl PaneTable {
    pub fn push(&mut self, pane: &PaneRecord) {
        let subject = match self.index.get(&pane.subject) {
            Some(&known) => known,
            None => {
                let new = self.subjects.len() as u32;
                self.subjects.push(pane.subject.clone());
                self.index.insert(pane.subject.clone(), new);
                new
            }
        };
        let row = PaneRow {
            start: pane.pane_start,
            end: pane.pane_end,
            count: pane.count,
            negative: pane.negative,
            neutral: pane.neutral,
            positive: pane.positive,
            score_sum: pane.score_sum,
            score_square_sum: pane.score_square_sum,
            sources: pane.sources.len() as u64,
            novel_negative: pane.novel_negative,
            novel_sources: pane.novel_sources.len() as u64,
            index: pane.index,
            index_weight: pane.index_weight,
            buzz: pane.buzz,
        };
        self.rows.push((subject, row));
    }

    /// In order of their first pane.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The panes of one subject.
    pub fn of<'table>(&'table self, subject: &Subject) -> impl Iterator<Item = &'table PaneRow> {
        let wanted = self.index.get(subject).copied();
        self.rows.iter().filter(move |(subject, _)| Some(*subject) == wanted).map(|(_, row)| row)
    }

    /// # Errors
    /// Where the file cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<(), String> {
        ParquetFile::create(path, &self.frame())?.finish()
    }

    /// A row for each pane, in the order in which they closed.
    pub fn frame(&self) -> Frame {
        Columns::of(&self.rows)
            .text("subject", |(subject, _)| self.subjects[*subject as usize].as_str())
            .time("pane_start", |(_, row)| row.start)
            .time("pane_end", |(_, row)| row.end)
            .whole("count", |(_, row)| row.count as i64)
            .whole("negative", |(_, row)| row.negative as i64)
            .whole("neutral", |(_, row)| row.neutral as i64)
            .whole("positive", |(_, row)| row.positive as i64)
            .number("score_sum", |(_, row)| row.score_sum.to_f64())
            .number("score_square_sum", |(_, row)| row.score_square_sum.to_f64())
            .whole("sources", |(_, row)| row.sources as i64)
            .whole("novel_negative", |(_, row)| row.novel_negative as i64)
            .whole("novel_sources", |(_, row)| row.novel_sources as i64)
            .number("index", |(_, row)| row.index.to_f64())
            .number("index_weight", |(_, row)| row.index_weight.to_f64())
            .some_number("buzz", |(_, row)| row.buzz)
            .frame()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Sentiment;
    use crate::window::OpenPanes;
    use crate::window::panes::tests::item;

    #[test]
    fn the_parquet_file_reads_back_as_the_panes() {
        let mut panes = OpenPanes::new(1000);
        for (subject, id, at) in [("market", "a", 100), ("market", "b", 200), ("topic:Macro", "a", 100), ("market", "c", 2100)] {
            panes.count(&item(subject, id, at, Sentiment::Negative));
        }
        let closed = panes.close(EventTime(5000));
        let mut table = PaneTable::default();
        closed.iter().for_each(|pane| table.push(pane));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("windows.parquet");
        table.write_parquet(&path).unwrap();
        let rows: Vec<serde_json::Value> =
            crate::replay::open(&path).unwrap().map(|row| serde_json::from_slice(&row.unwrap().payload).unwrap()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows[0],
            serde_json::json!({"subject": "market", "pane_start": 0, "pane_end": 1000, "count": 2, "negative": 2, "neutral": 0,
                               "positive": 0, "score_sum": -1.6, "score_square_sum": 1.28, "sources": 1, "novel_negative": 2,
                               "novel_sources": 1, "index": 0.0, "index_weight": 0.0})
        );
        assert_eq!(rows[2]["pane_start"], 2000);
        assert_eq!(table.of(&Subject::market()).map(|row| row.count).collect::<Vec<_>>(), [2, 1]);
    }
}

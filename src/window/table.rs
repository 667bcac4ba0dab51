//! Closed panes as a table: many of them in little memory, and a Parquet file of them.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use polars::prelude::{Column, DataFrame, DataType, PolarsResult, TimeUnit};
use polars_io::parquet::write::ParquetWriter;

use super::PaneRecord;
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
    /// Distinct ones.
    pub sources: u64,
    pub novel_negative: u64,
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
            sources: pane.sources.len() as u64,
            novel_negative: pane.novel_negative,
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
        let file = File::create(path).map_err(|error| error.to_string())?;
        let mut frame = self.frame().map_err(|error| error.to_string())?;
        ParquetWriter::new(file).finish(&mut frame).map(drop).map_err(|error| error.to_string())
    }

    fn frame(&self) -> PolarsResult<DataFrame> {
        let whole = |name: &str, value: fn(&PaneRow) -> u64| {
            Column::new(name.into(), self.rows.iter().map(|(_, row)| value(row) as i64).collect::<Vec<_>>())
        };
        let time = |name: &str, value: fn(&PaneRow) -> EventTime| {
            let column = Column::new(name.into(), self.rows.iter().map(|(_, row)| value(row).0).collect::<Vec<_>>());
            column.cast(&DataType::Datetime(TimeUnit::Milliseconds, None))
        };
        let number = |name: &str, value: fn(&PaneRow) -> f64| {
            Column::new(name.into(), self.rows.iter().map(|(_, row)| value(row)).collect::<Vec<_>>())
        };
        let subjects: Vec<&str> = self.rows.iter().map(|(subject, _)| self.subjects[*subject as usize].as_str()).collect();
        DataFrame::new(
            self.rows.len(),
            vec![
                Column::new("subject".into(), subjects),
                time("pane_start", |row| row.start)?,
                time("pane_end", |row| row.end)?,
                whole("count", |row| row.count),
                whole("negative", |row| row.negative),
                whole("neutral", |row| row.neutral),
                whole("positive", |row| row.positive),
                number("score_sum", |row| row.score_sum.to_f64()),
                whole("sources", |row| row.sources),
                whole("novel_negative", |row| row.novel_negative),
                number("index", |row| row.index.to_f64()),
                Column::new("buzz".into(), self.rows.iter().map(|(_, row)| row.buzz).collect::<Vec<_>>()),
            ],
        )
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
                               "positive": 0, "score_sum": -1.6, "sources": 1, "novel_negative": 2, "index": 0.0})
        );
        assert_eq!(rows[2]["pane_start"], 2000);
        assert_eq!(table.of(&Subject::market()).map(|row| row.count).collect::<Vec<_>>(), [2, 1]);
    }
}

//! Rows as Parquet files: columns made of them, and files that are written row group after row group.

use std::fs::File;
use std::path::Path;

use polars::prelude::{
    Column, CompatLevel, DataFrame, Int64Chunked, IntoColumn, IntoSeries, ListBuilderTrait, ListStringChunkedBuilder, NewChunkedArray,
    SchemaExt, TimeUnit, TimeZone,
};
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;
use polars_io::parquet::write::{BatchedWriter, KeyValueMetadata, ParquetWriter};
use polars_parquet::write::schema_to_metadata_key;

use crate::news::EventTime;

/// Rows that a reader takes at once, at most.
const ROW_GROUP: usize = 1 << 18;

/// The same number of values in every column.
pub struct Frame(DataFrame);

/// Columns in the order in which they are named, a value of each for every row.
pub struct Columns<'rows, Row> {
    rows: &'rows [Row],
    columns: Vec<Column>,
}

impl<'rows, Row> Columns<'rows, Row> {
    pub fn of(rows: &'rows [Row]) -> Self {
        Self { rows, columns: Vec::new() }
    }

    pub fn text(self, name: &str, value: impl Fn(&'rows Row) -> &'rows str) -> Self {
        let values: Vec<&str> = self.rows.iter().map(value).collect();
        self.with(Column::new(name.into(), values))
    }

    pub fn some_text(self, name: &str, value: impl Fn(&'rows Row) -> Option<&'rows str>) -> Self {
        let values: Vec<Option<&str>> = self.rows.iter().map(value).collect();
        self.with(Column::new(name.into(), values))
    }

    /// What has no columns of its own, as text.
    pub fn json<Value: serde::Serialize + 'rows>(self, name: &str, value: impl Fn(&'rows Row) -> &'rows Value) -> Self {
        let json = |row| serde_json::to_string(value(row)).expect("what came as JSON goes as JSON");
        let values: Vec<String> = self.rows.iter().map(json).collect();
        self.with(Column::new(name.into(), values))
    }

    pub fn texts<'text, Values>(self, name: &str, values: impl Fn(&'rows Row) -> Values) -> Self
    where
        Values: Iterator<Item = &'text str>,
    {
        let mut lists = ListStringChunkedBuilder::new(name.into(), self.rows.len(), self.rows.len());
        self.rows.iter().for_each(|row| lists.append_values_iter(values(row)));
        self.with(lists.finish().into_series().into_column())
    }

    pub fn whole(self, name: &str, value: impl Fn(&Row) -> i64) -> Self {
        let values: Vec<i64> = self.rows.iter().map(value).collect();
        self.with(Column::new(name.into(), values))
    }

    pub fn number(self, name: &str, value: impl Fn(&Row) -> f64) -> Self {
        let values: Vec<f64> = self.rows.iter().map(value).collect();
        self.with(Column::new(name.into(), values))
    }

    pub fn some_number(self, name: &str, value: impl Fn(&Row) -> Option<f64>) -> Self {
        let values: Vec<Option<f64>> = self.rows.iter().map(value).collect();
        self.with(Column::new(name.into(), values))
    }

    pub fn flag(self, name: &str, value: impl Fn(&Row) -> bool) -> Self {
        let values: Vec<bool> = self.rows.iter().map(value).collect();
        self.with(Column::new(name.into(), values))
    }

    /// Milliseconds, in UTC.
    pub fn time(self, name: &str, value: impl Fn(&Row) -> EventTime) -> Self {
        let values = Int64Chunked::from_iter_values(name.into(), self.rows.iter().map(|row| value(row).0));
        // Not by a cast: without the feature for all time zones that would forget UTC, too.
        self.with(values.into_datetime(TimeUnit::Milliseconds, Some(TimeZone::UTC)).into_series().into_column())
    }

    pub fn frame(self) -> Frame {
        Frame(DataFrame::new(self.rows.len(), self.columns).expect("each column has a name of its own and a value for every row"))
    }

    fn with(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }
}

/// A file that is readable once it is finished.
pub struct ParquetFile(BatchedWriter<File>);

impl ParquetFile {
    /// With the columns of `first`, which becomes its first row group.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn create(path: &Path, first: &Frame) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| error.to_string())?;
        let schema = first.0.schema();
        // In the types that polars has within, pandas cannot read a list of texts.
        let told = schema_to_metadata_key(&schema.to_arrow(CompatLevel::oldest()));
        let told = KeyValueMetadata::from_static(vec![(told.key, told.value.unwrap_or_default())]);
        let writer = ParquetWriter::new(file).set_parallel(false).with_key_value_metadata(Some(told)).batched(schema);
        let mut file = Self(writer.map_err(|error| error.to_string())?);
        file.write(first)?;
        Ok(file)
    }

    /// One more row group; several, where there are very many rows.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&mut self, frame: &Frame) -> Result<(), String> {
        for start in (0..frame.0.height()).step_by(ROW_GROUP) {
            self.0.write_batch(&frame.0.slice(start as i64, ROW_GROUP)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// # Errors
    /// As [`Self::write`].
    pub fn finish(self) -> Result<(), String> {
        self.0.finish().map(drop).map_err(|error| error.to_string())
    }
}

/// # Errors
/// Where it is no Parquet file, or not a whole one.
pub fn count_rows(path: &Path) -> Result<usize, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    ParquetReader::new(file).num_rows().map_err(|error| error.to_string())
}

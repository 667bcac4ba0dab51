//! Lines of texts as `classify` and `evaluate` read them: plain, or JSON with `title` and `body` or with `text`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value};

use super::Failure;

/// One line that is not empty.
pub(super) struct Line {
    /// File and number, for messages.
    pub place: String,
    /// What the model reads.
    pub text: String,
    /// All fields of a JSON line; `None` for a plain one.
    pub fields: Option<Map<String, Value>>,
}

/// The lines of a file, in its order. A line that cannot be read is an error that names it.
pub(super) struct Lines {
    file: PathBuf,
    lines: std::iter::Enumerate<std::io::Split<Box<dyn BufRead>>>,
}

impl Lines {
    /// Lines that the program has within itself.
    pub fn within(name: &str, text: &'static str) -> Self {
        Self::of(PathBuf::from(name), Box::new(text.as_bytes()))
    }

    fn of(file: PathBuf, input: Box<dyn BufRead>) -> Self {
        Self { file, lines: input.split(b'\n').enumerate() }
    }

    /// "-" is standard input.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(file: &Path) -> Result<Self, Failure> {
        let input: Box<dyn BufRead> = match file.as_os_str() == "-" {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(BufReader::new(
                File::open(file).with_context(|| format!("{} cannot be read", file.display())).map_err(Failure::usage)?,
            )),
        };
        Ok(Self::of(file.to_owned(), input))
    }
}

impl Iterator for Lines {
    type Item = Result<Line, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, line) = self.lines.find(|(_, line)| !line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty()))?;
        let place = format!("{}, line {}", self.file.display(), number + 1);
        let read = line.map_err(anyhow::Error::from).and_then(|line| read(&line));
        Some(match read {
            Ok((text, fields)) => Ok(Line { place, text, fields }),
            Err(error) => Err(Failure::usage(error.context(place))),
        })
    }
}

fn read(line: &[u8]) -> anyhow::Result<(String, Option<Map<String, Value>>)> {
    let line = std::str::from_utf8(line).context("not UTF-8")?.trim();
    if !line.starts_with('{') {
        return Ok((line.to_owned(), None));
    }
    let fields: Map<String, Value> = serde_json::from_str(line).context("not a JSON object")?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let text = match (text("text"), text("title"), text("body")) {
        (Some(text), ..) => text.to_owned(),
        (None, Some(title), Some(body)) => crate::news::passage(title, body),
        (None, Some(one), None) | (None, None, Some(one)) => one.to_owned(),
        (None, None, None) => anyhow::bail!("neither text, title nor body has text"),
    };
    Ok((text, Some(fields)))
}

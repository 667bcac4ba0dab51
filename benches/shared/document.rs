//! What the benches have in common: repeated runs, the machine they ran on, and documents filled with their figures.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Median and extremes of repeated runs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// To three decimals.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { median: rounded(median), least: rounded(values[0]), most: rounded(values[values.len() - 1]) }
    }
}

/// Processes that wanted a core in the minute before, by the kernel's load average: what else ran.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// Cores and memory of this machine.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let model = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".into());
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let gib = memory.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1048576.0;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {model}, {gib:.0} GiB")
}

/// What stands below a table: how, when and where it was measured.
pub fn origin(command: &str, date: &str, machine: &str, load_before: f64) -> String {
    format!("\n`{command}`, {date}, {machine}, load before {load_before:.1}.\n")
}

/// The document with all blocks between `<!-- figures: NAME -->` and `<!-- end -->` made anew; `None` was not measured.
///
/// # Panics
/// Where a block of `parts` is missing or does not end.
pub fn fill(document: &str, parts: &[&str], text: impl Fn(&str) -> Option<String>) -> String {
    let mut document = document.to_owned();
    for name in parts {
        let begin = format!("<!-- figures: {name} -->\n");
        let from = document.find(&begin).unwrap_or_else(|| panic!("the document has no {begin}")) + begin.len();
        let length = document[from..].find("<!-- end -->").unwrap_or_else(|| panic!("the block {name} has no end"));
        let text = text(name).unwrap_or_else(|| "Not measured yet.\n".to_owned());
        document.replace_range(from..from + length, &format!("\n{text}\n"));
    }
    document
}

pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("writing to memory does not fail");
    }
    text
}

/// With commas between thousands.
pub fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or_default().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

//! What was measured → `docs/detection.json`, two pictures, and the tables of `docs/detection.md` between their markers.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::stories::FeedResult;
use crate::streams::{Planted, RATES, SIZES, Shape};
use crate::{Found, KindResult};

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

impl Found {
    fn chosen(&self, of: impl Fn(usize, &Planted) -> bool) -> impl Iterator<Item = (&Planted, Option<usize>)> {
        self.surges.iter().filter(move |(rate, surge, _)| of(*rate, surge)).map(|(_, surge, delay)| (surge, *delay))
    }

    /// Part of the surges that were found, 0 to 1.
    fn rate(&self, of: impl Fn(usize, &Planted) -> bool) -> f64 {
        let delays: Vec<Option<usize>> = self.chosen(of).map(|(_, delay)| delay).collect();
        delays.iter().flatten().count() as f64 / delays.len().max(1) as f64
    }

    /// Mean delay as a part of the surge's length, 1 where it was not found: the restricted mean.
    fn delay(&self) -> f64 {
        let parts: Vec<f64> = self
            .chosen(|_, _| true)
            .map(|(surge, delay)| delay.map_or(1.0, |delay| (delay as f64 / surge.shape.length() as f64).min(1.0)))
            .collect();
        parts.iter().sum::<f64>() / parts.len().max(1) as f64
    }
}

fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

fn as_json(result: &KindResult) -> Value {
    let budgets: Vec<Value> = result
        .budgets
        .iter()
        .map(|(budget, observed, rates)| {
            let rates: Vec<Value> = rates.iter().copied().map(rounded).collect();
            json!({"budget": budget, "observed": rounded(*observed), "observed_by_rate": rates})
        })
        .collect();
    let tests: Vec<Value> = result
        .found
        .iter()
        .map(|found| {
            let by_shape: Vec<Value> = Shape::ALL.map(|shape| rounded(found.rate(|_, surge| surge.shape == shape))).into();
            let by_size: Vec<Value> = (0..SIZES.len()).map(|size| rounded(found.rate(|_, surge| surge.size == size))).collect();
            let by_rate: Vec<Value> = (0..RATES.len()).map(|rate| rounded(found.rate(|of, _| of == rate))).collect();
            json!({
                "test": found.name, "false_alarms_per_month": rounded(found.false_alarms), "surges": found.surges.len(),
                "found": rounded(found.rate(|_, _| true)), "delay": rounded(found.delay()),
                "found_by_shape": by_shape, "found_by_size": by_size, "found_by_rate": by_rate,
            })
        })
        .collect();
    json!({"kind": result.kind.name(), "subject_windows": result.subject_windows, "budgets": budgets, "tests": tests})
}

fn budget_table(results: &[KindResult]) -> String {
    let mut table = "| kind of stream |".to_owned();
    let budgets: Vec<f64> = results[0].budgets.iter().map(|(budget, ..)| *budget).collect();
    budgets.iter().for_each(|budget| write!(table, " budget {budget} |").expect("text grows"));
    for rate in RATES {
        write!(table, " {rate} a window |").expect("text grows");
    }
    table.push_str(&format!("\n|---|{}\n", "---|".repeat(budgets.len() + RATES.len())));
    for result in results {
        write!(table, "| {} |", result.kind.name()).expect("text grows");
        result.budgets.iter().for_each(|(_, observed, _)| write!(table, " {observed:.2} |").expect("text grows"));
        let (.., rates) = result.budgets.iter().find(|(budget, ..)| *budget == 1.0).expect("a budget of 1 is measured");
        rates.iter().for_each(|observed| write!(table, " {observed:.2} |").expect("text grows"));
        table.push('\n');
    }
    table
}

fn found_table(results: &[KindResult]) -> String {
    let names: Vec<&str> = results[0].found.iter().map(|found| found.name).collect();
    let mut table = format!("| kind of stream | false alarms | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for result in results {
        write!(table, "| {} | {:.2} |", result.kind.name(), result.found[0].false_alarms).expect("text grows");
        let best = |value: &dyn Fn(&Found) -> f64| result.found.iter().map(value).fold(f64::MIN, f64::max);
        let (most, soonest) = (best(&|found| found.rate(|_, _| true)), best(&|found| -found.delay()));
        for found in &result.found {
            let (rate, delay) = (found.rate(|_, _| true), found.delay());
            let mark = |text: String, is_best: bool| if is_best { format!("**{text}**") } else { text };
            write!(table, " {}, {} |", mark(format!("{:.0}%", rate * 100.0), rate >= most), mark(format!("{delay:.2}"), -delay >= soonest))
                .expect("text grows");
        }
        table.push('\n');
    }
    table
}

fn shape_table(results: &[KindResult]) -> String {
    let mut table = "| surge |".to_owned();
    SIZES.iter().for_each(|size| write!(table, " size {size} |").expect("text grows"));
    table.push_str(&format!("\n|---|{}\n", "---|".repeat(SIZES.len())));
    for shape in Shape::ALL {
        write!(table, "| {} |", shape.name()).expect("text grows");
        for size in 0..SIZES.len() {
            let ours = results.iter().flat_map(|result| result.found[0].chosen(|_, surge| surge.shape == shape && surge.size == size));
            let delays: Vec<Option<usize>> = ours.map(|(_, delay)| delay).collect();
            let mut found: Vec<usize> = delays.iter().flatten().copied().collect();
            found.sort_unstable();
            let median = found.get(found.len() / 2).map_or_else(|| "–".into(), |minutes| format!("{minutes} min"));
            write!(table, " {:.0}%, {median} |", found.len() as f64 / delays.len().max(1) as f64 * 100.0).expect("text grows");
        }
        table.push('\n');
    }
    table
}

fn feed_as_json(result: &FeedResult) -> Value {
    json!({
        "feed": result.feed.name(), "items": result.items, "alerts_per_subject_month": result.alerts.map(rounded),
        "marked_single_source": rounded(result.marked), "told": result.told.map(|told| told.map(rounded)),
    })
}

fn feed_table(feeds: &[FeedResult]) -> String {
    let mut table = "| added | alerts a subject and month | marked `single_source` | told of | alerts with `min_sources = 3` | told of |\n|---|---|---|---|---|---|\n".to_owned();
    for result in feeds {
        let told = |rule: usize| result.told.map_or("–".to_owned(), |told| format!("{:.0}%", 100.0 * told[rule]));
        writeln!(
            table,
            "| {} | {:.2} | {:.0}% | {} | {:.2} | {} |",
            result.feed.name(),
            result.alerts[0],
            100.0 * result.marked,
            told(0),
            result.alerts[1],
            told(1)
        )
        .expect("text grows");
    }
    table
}

const INK: &str = "#57606a";
const OURS: &str = "#0969da";

fn svg(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" \
         fill=\"{INK}\"><rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>{body}</svg>\n"
    )
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>").expect("text grows");
}

/// Observed over budgeted false alarms, on a logarithmic scale, the factor of two as a band.
fn budget_picture(results: &[KindResult]) -> String {
    let (left, right, row, top) = (130.0, 560.0, 30.0, 46.0);
    let height = top + row * results.len() as f64 + 44.0;
    let x = |factor: f64| left + (right - left) * ((factor.clamp(0.1, 10.0)).log10() + 1.0) / 2.0;
    let bottom = top + row * results.len() as f64;
    let mut body = String::new();
    let (low, high) = (x(0.5), x(2.0));
    writeln!(body, "<rect x=\"{low:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#ddf4ff\"/>", high - low, bottom - top)
        .expect("text grows");
    for (factor, label) in [(0.1, "a tenth"), (0.5, "half"), (1.0, "as budgeted"), (2.0, "twice"), (10.0, "ten times")] {
        let at = x(factor);
        writeln!(body, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"#d0d7de\"/>").expect("text grows");
        text(&mut body, at, bottom + 18.0, "middle", label);
    }
    text(&mut body, left, 20.0, "start", "Observed false alarms against the budget; filled: 1 a month, hollow: 0.1 a month");
    for (index, result) in results.iter().enumerate() {
        let y = top + row * (index as f64 + 0.5);
        text(&mut body, left - 10.0, y + 4.0, "end", result.kind.name());
        for (budget, observed, _) in result.budgets.iter().filter(|(budget, ..)| *budget <= 1.0) {
            let fill = if *budget == 1.0 { OURS } else { "#ffffff" };
            writeln!(
                body,
                "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"{fill}\" stroke=\"{OURS}\" stroke-width=\"2\"/>",
                x(observed / budget)
            )
            .expect("text grows");
        }
    }
    svg(620.0, height, &body)
}

/// Surges found at equal false alarms: ours filled, the others hollow, the best of them named.
fn found_picture(results: &[KindResult]) -> String {
    let (left, right, row, top) = (130.0, 560.0, 34.0, 46.0);
    let bottom = top + row * results.len() as f64;
    let x = |part: f64| left + (right - left) * part;
    let mut body = String::new();
    for percent in [0, 25, 50, 75, 100] {
        let at = x(f64::from(percent) / 100.0);
        writeln!(body, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"#d0d7de\"/>").expect("text grows");
        text(&mut body, at, bottom + 18.0, "middle", &format!("{percent}%"));
    }
    text(&mut body, left, 20.0, "start", "Planted surges found at equal false alarms; filled: Bellwether, hollow: the others");
    for (index, result) in results.iter().enumerate() {
        let y = top + row * (index as f64 + 0.5);
        text(&mut body, left - 10.0, y + 4.0, "end", result.kind.name());
        for found in result.found.iter().skip(1) {
            let at = x(found.rate(|_, _| true));
            writeln!(body, "<circle cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"none\" stroke=\"#8c959f\" stroke-width=\"1.5\"><title>{}</title></circle>", found.name)
                .expect("text grows");
        }
        let at = x(result.found[0].rate(|_, _| true));
        writeln!(body, "<circle cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"6.5\" fill=\"{OURS}\"/>").expect("text grows");
        let peers = result.found.iter().skip(1);
        if let Some(best) = peers.max_by(|one, other| one.rate(|_, _| true).total_cmp(&other.rate(|_, _| true))) {
            text(&mut body, right + 8.0, y + 4.0, "start", &format!("best other: {}", best.name));
        }
    }
    svg(740.0, bottom + 44.0, &body)
}

/// Puts `content` between `<!-- NAME -->` and `<!-- end -->`.
fn put(page: &str, name: &str, content: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), "<!-- end -->");
    let start = page.find(&open).unwrap_or_else(|| panic!("docs/detection.md has no marker {name}")) + open.len();
    let end = start + page[start..].find(close).unwrap_or_else(|| panic!("marker {name} of docs/detection.md has no end"));
    format!("{}{content}{}", &page[..start], &page[end..])
}

/// # Panics
/// Where `docs/` cannot be written or lacks a marker.
pub fn write(results: &[KindResult], feeds: &[FeedResult], subjects: usize) {
    let all: Vec<Value> = results.iter().map(as_json).collect();
    let report = json!({
        "subjects_of_each_kind": subjects, "rates": RATES, "sizes": SIZES, "shapes": Shape::ALL.map(Shape::name), "kinds": all,
        "feeds": feeds.iter().map(feed_as_json).collect::<Vec<_>>(),
    });
    let write = |name: &str, text: &str| std::fs::write(docs(name), text).unwrap_or_else(|error| panic!("docs/{name}: {error}"));
    write("detection.json", &format!("{report:#}\n"));
    write("detection-budget.svg", &budget_picture(results));
    write("detection-found.svg", &found_picture(results));
    let page = std::fs::read_to_string(docs("detection.md")).expect("docs/detection.md");
    let page = put(&page, "false alarms", &budget_table(results));
    let page = put(&page, "found", &found_table(results));
    let page = put(&page, "shapes", &shape_table(results));
    write("detection.md", &put(&page, "feeds", &feed_table(feeds)));
    println!("{}\n{}\n{}\n{}", budget_table(results), found_table(results), shape_table(results), feed_table(feeds));
}

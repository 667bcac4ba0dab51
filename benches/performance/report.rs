//! `docs/performance.json` → the tables of `docs/performance.md` between their markers, and pictures beside it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::document::{self, Spread, grouped, table};
use crate::picture::{Axis, Line, Plot, picture};

/// In the order of the document.
pub const PARTS: [&str; 12] =
    ["classifier", "sessions", "plumbing", "monitor", "windows", "subjects", "horizon", "past", "memory", "allocator", "start", "build"];

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

pub fn read() -> Value {
    match std::fs::read_to_string(docs("performance.json")) {
        Ok(text) => serde_json::from_str(&text).expect("docs/performance.json is JSON"),
        Err(_) => Value::Object(Default::default()),
    }
}

pub fn write(all: &Value) {
    let text = serde_json::to_string_pretty(all).expect("plain values") + "\n";
    std::fs::write(docs("performance.json"), text).expect("docs is a folder");
    let path = docs("performance.md");
    let document = std::fs::read_to_string(&path).expect("docs/performance.md is there");
    std::fs::write(path, fill(&document, all)).expect("docs is a folder");
    if let (Some(subjects), Some(horizon)) = (all.get("subjects"), all.get("horizon")) {
        std::fs::write(docs("hop.svg"), hop_picture(&subjects["figures"], &horizon["figures"])).expect("docs is a folder");
    }
}

/// The document with the blocks of all [`PARTS`] made anew.
pub fn fill(document: &str, all: &Value) -> String {
    document::fill(document, &PARTS, |name| all.get(name).map(|part| text(name, part)))
}

pub fn text(name: &str, part: &Value) -> String {
    let figures = &part["figures"];
    let tables = match name {
        "monitor" => table(
            ["subjects", "observations a second and core", "of it counting", "hop p50", "hop p99", "panes", "memory", "runs"],
            each(figures, |row| {
                [
                    thousands(&row["load"]["subjects"]),
                    whole(&row["observations_per_second"]),
                    percent(&row["item_microseconds"], &row["microseconds"]),
                    milliseconds(&row["hop_p50_ms"]),
                    milliseconds(&row["hop_p99_ms"]),
                    thousands(&row["panes"]),
                    mebibytes(&row["memory_mib"]),
                    row["runs"].to_string(),
                ]
            }),
        ),
        "subjects" => {
            let hops = |figures: &Value| {
                each(figures, |row| {
                    let touched = row["load"]["per_second"].as_f64().unwrap_or_default() * 10.0;
                    [
                        thousands(&row["load"]["subjects"]),
                        grouped(touched as u64),
                        milliseconds(&row["hop_p50_ms"]),
                        milliseconds(&row["hop_most_ms"]),
                    ]
                })
            };
            let rows = [hops(&figures["all"]), hops(&figures["thousand"])].concat();
            table(["subjects known", "items in a pane", "hop p50", "longest hop"], rows)
        }
        "horizon" => {
            let hops = |figures: &Value| {
                each(figures, |row| {
                    let per_pane = row["load"]["per_second"].as_f64().unwrap_or_default() * 60.0;
                    let minutes = row["load"]["window_minutes"].as_u64().unwrap_or_default();
                    [
                        if minutes < 1440 { format!("{} h", minutes / 60) } else { format!("{} d", minutes / 1440) },
                        grouped(per_pane.round() as u64),
                        grouped((per_pane * minutes as f64).round() as u64),
                        milliseconds(&row["hop_p50_ms"]),
                        milliseconds(&row["hop_p99_ms"]),
                        mebibytes(&row["memory_mib"]),
                    ]
                })
            };
            let rows = [hops(&figures["some"]), hops(&figures["all"])].concat();
            table(["window", "subjects in a pane", "rows in the window", "hop p50", "hop p99", "memory"], rows)
        }
        "past" => table(
            ["past", "hop p50", "hop p99", "longest hop of an hour", "observations a second and core", "memory"],
            each(figures, |row| {
                [
                    format!("{} d", row["load"]["past_days"]),
                    milliseconds(&row["hop_p50_ms"]),
                    milliseconds(&row["hop_p99_ms"]),
                    milliseconds(&row["hop_most_ms"]),
                    whole(&row["observations_per_second"]),
                    mebibytes(&row["memory_mib"]),
                ]
            }),
        ),
        "memory" => {
            let row = &figures[0];
            let course = row["memory_course"].as_array().into_iter().flatten();
            table(
                ["event time", "memory"],
                course.map(|point| {
                    [format!("{:.0} h", point[0].as_f64().unwrap_or(0.0)), format!("{:.0} MiB", point[1].as_f64().unwrap_or(0.0))]
                }),
            )
        }
        "classifier" => {
            let row = &figures[0];
            let line = |name: String, rate: &str, [ratio, by_cpu]: [&str; 2]| {
                let times_of = |key: &str| row.get(key).map_or(String::new(), times);
                [name, whole(&row[rate]), times_of(ratio), times_of(by_cpu)]
            };
            table(
                ["", "texts a second", "Bellwether is", "by CPU time"],
                [
                    line(format!("Bellwether, {} × {} (sessions × threads)", row["sessions"], row["threads"]), "ours", ["", ""]),
                    line("ONNX Runtime alone".to_owned(), "bare", ["of_bare", "of_bare_by_cpu"]),
                    line("Python pipeline".to_owned(), "python", ["of_python", ""]),
                ],
            )
        }
        "sessions" => sessions(figures),
        "start" => {
            let Spread { median, least, most } = spread(&figures[0]["ready_seconds"]);
            let runs = figures[0]["runs"].to_string();
            table(["start to ready", "runs"], [[format!("{median:.1} s ({least:.1} to {most:.1})"), runs]])
        }
        "build" => {
            let row = &figures[0];
            let number = |key: &str| row[key].as_f64().unwrap_or_default();
            let longest = row["longest"].as_array().into_iter().flatten();
            let longest = longest
                .map(|entry| format!("{} {:.0}%", entry[0].as_str().unwrap_or_default(), 100.0 * entry[1].as_f64().unwrap_or_default()));
            table(
                ["", ""],
                [
                    ["CPU time".to_owned(), format!("{:.0} s", number("cpu_seconds"))],
                    ["time".to_owned(), format!("{:.0} s", number("seconds"))],
                    ["crates".to_owned(), row["crates"].to_string()],
                    ["program".to_owned(), format!("{:.1} MiB", number("program_mib"))],
                    ["most of the time".to_owned(), longest.collect::<Vec<_>>().join(", ")],
                ],
            )
        }
        "plumbing" => {
            let row = &figures[0];
            table(
                ["", "items a second of CPU", "the classifier without a model is"],
                [
                    ["librdkafka's consumer".to_owned(), whole(&row["consumer_per_cpu_second"]), times(&row["ratio"])],
                    ["librdkafka's producer".to_owned(), whole(&row["producer_per_cpu_second"]), times(&row["of_producer"])],
                    ["both".to_owned(), whole(&row["both_per_cpu_second"]), times(&row["of_both"])],
                    ["the classifier without a model".to_owned(), whole(&row["classifier_per_cpu_second"]), String::new()],
                ],
            )
        }
        "windows" => table(
            ["", "records a second", "of CPU", "the monitor is"],
            each(figures, |row| {
                let name = match row["what"].as_str().unwrap_or_default() {
                    "monitor" => "Bellwether's monitor, all rules",
                    "streams" => "Kafka Streams, counts alone",
                    _ => "polars `group_by_dynamic`, counts alone, from a file",
                };
                let or_nothing = |key: &str, text: fn(&Value) -> String| row.get(key).map_or(String::new(), text);
                [name.to_owned(), or_nothing("records_per_second", whole), whole(&row["per_cpu_second"]), or_nothing("monitor_is", times)]
            }),
        ),
        "allocator" => table(
            ["allocator", "observations a second and core", "hop p50", "hop p99", "memory", "runs"],
            each(figures, |row| {
                [
                    row["allocator"].as_str().unwrap_or_default().to_owned(),
                    whole(&row["observations_per_second"]),
                    milliseconds(&row["hop_p50_ms"]),
                    milliseconds(&row["hop_p99_ms"]),
                    mebibytes(&row["memory_mib"]),
                    row["runs"].to_string(),
                ]
            }),
        ),
        _ => unreachable!("main lets only parts through"),
    };
    let said = |key: &str| part[key].as_str().unwrap_or_default();
    let load_before = part["load_before"].as_f64().unwrap_or_default();
    tables + &document::origin(said("command"), said("date"), said("machine"), load_before)
}

fn each<const N: usize>(rows: &Value, row: impl Fn(&Value) -> [String; N]) -> Vec<[String; N]> {
    rows.as_array().into_iter().flatten().map(row).collect()
}

fn spread(value: &Value) -> Spread {
    serde_json::from_value(value.clone()).unwrap_or(Spread { median: f64::NAN, least: f64::NAN, most: f64::NAN })
}

/// What bench-device has found, a row for each budget and the bare session.
fn sessions(device: &Value) -> String {
    let number = |value: &Value, key: &str| value[key].as_f64().unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for setting in list(&device["settings"]) {
        let name = format!("{} × {}", setting["sessions"], setting["threads_per_session"]);
        let mut row = |what: String, rate: &Value, ratio: String| {
            let share = format!("{:.0}%", 100.0 * number(rate, "share_of_peak"));
            let padding = format!("{:.1}%", 100.0 * number(rate, "padding_share"));
            rows.push([name.clone(), what, format!("{:.0}", number(rate, "texts_per_second")), ratio, padding, share]);
        };
        row(format!("ONNX Runtime alone, {} texts", setting["bare"]["batch_texts"]), &setting["bare"], String::new());
        for budget in list(&setting["classifier"]) {
            let [low, high] = [0, 1].map(|place| budget["ratio_range"][place].as_f64().unwrap_or_default());
            let ratio = format!("{:.2} × ({low:.2} to {high:.2})", number(&budget, "ratio_to_bare"));
            row(format!("the classifier, {} texts", budget["batch_texts"]), &budget, ratio);
        }
        let peak = number(&setting["peak"], "operations_per_second") / 1e9;
        rows.push([
            name,
            format!("{} alone", setting["peak"]["product"].as_str().unwrap_or_default()),
            format!("{peak:.0} billion operations/s"),
            String::new(),
            String::new(),
            "100%".to_owned(),
        ]);
    }
    table(["sessions × threads", "texts in a batch at most", "texts a second", "of ONNX Runtime alone", "padding", "of the peak"], rows)
}

fn whole(value: &Value) -> String {
    let Spread { median, least, most } = spread(value);
    format!("{} ({} to {})", grouped(median as u64), grouped(least as u64), grouped(most as u64))
}

fn milliseconds(value: &Value) -> String {
    let median = spread(value).median;
    if median < 10.0 { format!("{median:.2} ms") } else { format!("{median:.0} ms") }
}

fn times(value: &Value) -> String {
    let Spread { median, least, most } = spread(value);
    format!("{median:.2} × ({least:.2} to {most:.2})")
}

fn mebibytes(value: &Value) -> String {
    format!("{} MiB", grouped(spread(value).median as u64))
}

fn percent(part: &Value, of: &Value) -> String {
    format!("{:.0}%", 100.0 * spread(part).median / spread(of).median)
}

fn thousands(value: &Value) -> String {
    grouped(value.as_u64().unwrap_or_default())
}

fn points(rows: &Value, at: &str) -> Vec<(f64, f64)> {
    let row = |row: &Value| (row["load"][at].as_f64().unwrap_or_default(), spread(&row["hop_p50_ms"]).median);
    rows.as_array().into_iter().flatten().map(row).collect()
}

fn hop_picture(subjects: &Value, horizon: &Value) -> String {
    const TIMES: [(f64, &str); 7] =
        [(0.01, "10 µs"), (0.1, "0.1 ms"), (1.0, "1 ms"), (10.0, "10 ms"), (100.0, "0.1 s"), (1000.0, "1 s"), (10_000.0, "10 s")];
    let plot = |title, ticks, lines| Plot {
        title,
        x: Axis { ticks, logarithmic: true },
        y: Axis { ticks: &TIMES, logarithmic: true },
        limits: &[(50.0, "50 ms")],
        lines,
    };
    picture(&[
        plot(
            "Time per hop by subjects",
            &[(1e2, "100"), (1e3, "1,000"), (1e4, "10,000"), (1e5, "100,000"), (1e6, "a million")],
            vec![
                Line { name: "all of them in every pane", points: points(&subjects["all"], "subjects") },
                Line { name: "a thousand items in every pane", points: points(&subjects["thousand"], "subjects") },
            ],
        ),
        plot(
            "by length of the window, 10,000 subjects",
            &[(60.0, "1 h"), (360.0, "6 h"), (1440.0, "1 d"), (10_080.0, "7 d"), (40_320.0, "28 d")],
            vec![
                Line { name: "250 of them in every pane of a minute", points: points(&horizon["some"], "window_minutes") },
                Line { name: "all of them in every pane", points: points(&horizon["all"], "window_minutes") },
            ],
        ),
    ])
}

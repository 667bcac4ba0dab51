//! The pure core, piece by piece, on one thread; the bench `performance` has the whole monitor. `make bench-core`; Criterion
//! compares with the last run on the same machine.

use std::hint::black_box;
use std::path::Path;

use bellwether::config::Config;
use bellwether::decode::decode;
use bellwether::detect::series::{Direction, Series};
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, Subject};
use bellwether::novelty::{NegativeItem, Novelty, Sketch};
use bellwether::privacy::mask;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ITEM: &str = r#"{"id":"n-1","title":"Harbour Bank shares plunge 31% after it limits withdrawals","body":"The lender said deposits fell by $4.2 billion in two days, and named a new chief risk officer.","source":"wire.example","symbols":["HBLN"],"lang":"en"}"#;

fn intake(criterion: &mut Criterion) {
    let config = Config::default();
    let watchlist = Watchlist::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/watchlist.toml")).expect("shipped and tested");
    let mut group = criterion.benchmark_group("intake");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode, mentions, mask", |bencher| {
        bencher.iter(|| {
            let mut item = decode(black_box(ITEM.as_bytes()), EventTime(0), &config.decode).expect("a good item");
            let mentions = watchlist.mentions(&item);
            black_box((mask(&mut item), mentions))
        });
    });
    group.finish();
}

/// Headlines of a day: names, events and figures, every third a copy.
fn headlines(count: usize) -> Vec<String> {
    let names = ["Harbourline", "Fenmoor", "Saltmere", "Quarrystone", "Larkhollow", "Dunmarrow", "Orrin Energy", "Kestrel Pharma"];
    let events = ["halts withdrawals after run on deposits", "cuts its dividend as losses mount", "is sued over hidden bond losses"];
    let reasons =
        ["regulators say", "as savers queue", "in second blow this week", "after audit", "on rate fears", "in early trade", "again"];
    let headline = |index: usize| {
        let name = names[index % names.len()];
        let (event, reason) = (events[index / 8 % events.len()], reasons[index / 24 % reasons.len()]);
        format!("{name} {event} {reason}, shares fall {}%", index / 168)
    };
    (0..count).map(|index| headline(if index % 3 == 2 { index - 1 } else { index })).collect()
}

fn novelty(criterion: &mut Criterion) {
    let headlines = headlines(6_000);
    let mut group = criterion.benchmark_group("novelty, negative items");
    group.throughput(Throughput::Elements(headlines.len() as u64));
    group.bench_function("sketch", |bencher| {
        bencher.iter(|| headlines.iter().filter(|headline| Sketch::of(black_box(headline)).is_some()).count());
    });
    let items: Vec<NegativeItem> = headlines
        .iter()
        .enumerate()
        .map(|(index, headline)| NegativeItem {
            at: EventTime(index as i64 * 100),
            id: index as u64,
            sketch: Sketch::of(headline),
            source: "wire.example".into(),
            subjects: Vec::new(),
        })
        .collect();
    let (config, market) = (Config::default().novelty, Subject::market());
    group.bench_function("judge, with 2,000 stories remembered", |bencher| {
        bencher.iter(|| {
            let mut novelty = Novelty::new(config);
            items.chunks(100).map(|pane| novelty.judge(&market, pane[0].at.floor(10_000), pane.to_vec()).items).sum::<u64>()
        });
    });
    group.finish();
}

/// Counts and values of a series, a row a minute; what only warms up is in it.
fn series(criterion: &mut Criterion) {
    const ROWS: usize = 100_000;
    let mut group = criterion.benchmark_group("series, rows");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    for (name, scale) in [("counts", 1.0), ("values", 0.37)] {
        let value =
            |row: usize| scale * (20.0 + 15.0 * (row as f64 * std::f64::consts::TAU / 1440.0).sin() + (row * 7919 % 11) as f64).round();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut series = Series::new(Direction::Both, 1.0);
                (0..ROWS).filter(|&row| series.push(EventTime(row as i64 * 60_000), value(row)).alert).count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, intake, novelty, series);
criterion_main!(benches);

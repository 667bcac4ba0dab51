//! `bellwether demo`: a bank run among invented companies, on an embedded Kafka, in about a minute.
//!
//! Everything is the real thing but the broker: the news goes through Kafka topics, the shipped model reads it, the
//! alerts shown here are read back from the alert topic.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::run::Service;
use crate::config::{Config, KafkaConfig};
use crate::detect::AlertRecord;
use crate::detect::life::Transition;
use crate::enrich::Watchlist;
use crate::kafka::embedded::EmbeddedBroker;
use crate::kafka::producer::{Outgoing, Publisher};
use crate::kafka::reader::{Followed, follow};
use crate::kafka::topics::max_record_bytes;
use crate::metrics::Metrics;
use crate::news::EventTime;
use crate::pipeline::Roles;
use crate::replay::{Pacer, Speed};

const CONFIG: &str = include_str!("../../config/demo.toml");
const WATCHLIST: &str = include_str!("../../config/demo-watchlist.toml");
const SCENARIO: &str = include_str!("../../config/scenario/bank-run.jsonl");
/// Items sent and not yet classified: the embedded broker's partitions are small rings.
const MAX_AHEAD: usize = 300;
/// How long the end may take after the last item was sent.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub struct Arguments {
    /// End after the scenario with a summary; exit code 0 only if an alert fired and every item is accounted for
    #[arg(long)]
    once: bool,
    /// How fast event time runs: 60x, 360x, …, or max
    #[arg(long, default_value = "360x")]
    speed: Speed,
    /// Where the page is served; port 0 takes any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: std::net::SocketAddr,
}

/// What has come out on the topics so far.
#[derive(Default)]
struct Seen {
    scored: Mutex<HashSet<String>>,
    dead: AtomicUsize,
    alerts: Mutex<Vec<AlertRecord>>,
}

impl Seen {
    fn accounted(&self) -> usize {
        self.scored.lock().expect("no holder of this lock panics").len() + self.dead.load(Ordering::SeqCst)
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = Config::from_toml(CONFIG, &environment(), None)?;
    config.log.level = "warn".into();
    config.http.listen = arguments.listen.to_string();
    // One address for everything.
    config.http.metrics_listen = String::new();
    super::start_logging(&config.log);
    let watchlist = Arc::new(Watchlist::parse(WATCHLIST).map_err(crate::config::Problems)?);
    watchlist.check_subjects(&config)?;

    let partitions = config.kafka.create.partitions;
    let names = &config.kafka.topics;
    let names = names.of_roles().into_iter().map(|(_, name)| name).chain([names.actions.as_str()]);
    let topics: Vec<(String, i32)> = names.map(|name| (name.to_owned(), partitions)).collect();
    let broker = EmbeddedBroker::start(&topics)?;
    config.kafka.transactions = false;
    config.kafka.brokers = broker.address().to_owned();
    let config = Arc::new(config);
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    let service = Service::start(config.clone(), watchlist, Roles::Both, stop.clone())?;

    let page = service.page.clone().unwrap_or_default();
    println!("Bellwether demo: a bank run among invented companies, six hours of news at {}", speed_text(arguments.speed));
    println!("  page     {page}");
    println!("  broker   {}   (try: kcat -b {} -t {} -C -o beginning)", broker.address(), broker.address(), config.kafka.topics.alerts);
    println!("  end      {}", if arguments.once { "after the scenario" } else { "Ctrl-C" });
    println!();

    let scenario = scenario()?;
    let bar = progress_bar(scenario.len());
    let seen = Arc::new(Seen::default());
    let watching = Arc::new(AtomicBool::new(true));
    let watchers = watch(&config.kafka, partitions, &seen, &bar, &watching)?;

    wait_until_ready(&service, &stop);
    let started = Instant::now();
    let last_event = send(&config, &scenario, arguments.speed, &seen, &bar, &stop)?;
    let complete = wait_for_the_end(&service, &config, scenario.len(), last_event, &seen, &stop);
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let fired = summary(&seen, scenario.len(), seconds, &page, arguments.once);
    if arguments.once {
        stop.cancel();
    }
    service.running.wait()?;
    watching.store(false, Ordering::SeqCst);
    watchers.into_iter().for_each(|watcher| drop(watcher.join()));
    if arguments.once && !(fired && complete) {
        let why = if complete { "no alert fired" } else { "not every item is accounted for" };
        return Err(anyhow::anyhow!("the demo did not end as it should: {why}").into());
    }
    Ok(())
}

/// The user's overrides work here too, but for what makes it a demo.
fn environment() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("BELLWETHER_MODEL__") || name.starts_with("BELLWETHER_LOG__")).collect()
}

fn speed_text(speed: Speed) -> String {
    match speed {
        Speed::Times(factor) => format!("{factor} times the clock (about {:.0} s)", 6.0 * 3600.0 / factor),
        Speed::Max => "full speed".into(),
    }
}

/// The scenario's items with their event times: it ends now, so that page and Kafka timestamps agree.
fn scenario() -> Result<Vec<(EventTime, String, Vec<u8>)>, Failure> {
    let lines: Vec<(f64, Map<String, Value>)> = SCENARIO
        .lines()
        .map(|line| {
            let mut fields: Map<String, Value> = serde_json::from_str(line)?;
            let offset = fields.remove("offset_seconds").and_then(|offset| offset.as_f64()).unwrap_or(0.0);
            Ok((offset, fields))
        })
        .collect::<anyhow::Result<_>>()?;
    let length = lines.last().map_or(0.0, |(offset, _)| *offset);
    let start = EventTime::now().plus(-(length * 1000.0) as i64);
    Ok(lines
        .into_iter()
        .map(|(offset, mut fields)| {
            let at = start.plus((offset * 1000.0) as i64);
            fields.insert("published_at".into(), Value::from(at.to_string()));
            let id = fields.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            (at, id, Value::Object(fields).to_string().into_bytes())
        })
        .collect())
}

fn progress_bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if !std::io::stdout().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("  {bar:30} {pos}/{len} items  {per_sec}  {msg}").expect("a constant template");
    bar.with_style(style)
}

/// Prints above the progress bar, or plainly where there is no terminal.
fn say(bar: &ProgressBar, text: &str) {
    if bar.is_hidden() { println!("{text}") } else { bar.println(text) }
}

/// Subscribes to what comes out, as any user of the topics would.
fn watch(
    kafka: &KafkaConfig,
    partitions: i32,
    seen: &Arc<Seen>,
    bar: &ProgressBar,
    watching: &Arc<AtomicBool>,
) -> Result<Vec<JoinHandle<()>>, Failure> {
    let watch_one = |topic: &String| {
        let (kafka, topic, seen, bar, watching) = (kafka.clone(), topic.clone(), seen.clone(), bar.clone(), watching.clone());
        let body = move || {
            let names = &kafka.topics;
            let each = |followed: Followed<'_>| {
                let Followed::Record { payload, .. } = followed else { return };
                if topic == names.dead {
                    seen.dead.fetch_add(1, Ordering::SeqCst);
                } else if topic == names.scored {
                    if let Ok(Value::Object(fields)) = serde_json::from_slice(payload)
                        && let Some(id) = fields.get("id").and_then(Value::as_str)
                    {
                        seen.scored.lock().expect("no holder of this lock panics").insert(id.to_owned());
                    }
                } else if let Ok(alert) = serde_json::from_slice::<AlertRecord>(payload) {
                    say(&bar, &alert_text(&alert));
                    seen.alerts.lock().expect("no holder of this lock panics").push(alert);
                }
            };
            if let Err(error) = follow(&kafka, &topic, partitions, || watching.load(Ordering::SeqCst), each) {
                eprintln!("{topic} cannot be watched: {error}");
            }
        };
        Ok(std::thread::Builder::new().name("demo-watch".into()).spawn(body)?)
    };
    [&kafka.topics.scored, &kafka.topics.dead, &kafka.topics.alerts].into_iter().map(watch_one).collect()
}

fn alert_text(alert: &AlertRecord) -> String {
    let sign = match alert.transition {
        Transition::Firing => "▲ FIRING   ",
        Transition::Escalated => "▲ ESCALATED",
        Transition::Resolved => "▼ resolved ",
    };
    let mut text = format!("{sign} {:8} {} — {}", alert.severity.as_str(), alert.subject_name, alert.why);
    if alert.transition != Transition::Resolved {
        for item in alert.evidence.iter().take(3) {
            let (title, source) = (item.title.as_deref().unwrap_or(&item.id), item.source.as_deref().unwrap_or("unknown"));
            let copies = if item.copies > 0 { format!(", and {} by {} sources", copies(item.copies), item.sources) } else { String::new() };
            text.push_str(&format!("\n              {:+.2}  {title}  ({source}{copies})", item.score.to_f64()));
        }
        if !alert.members.is_empty() {
            let members = alert.members.iter().take(5).map(|member| format!("{} ({})", member.subject_name, member.novel_negative));
            text.push_str(&format!("\n              members: {}", members.collect::<Vec<_>>().join(", ")));
        }
    }
    text
}

fn copies(count: u64) -> String {
    format!("{count} {}", if count == 1 { "copy" } else { "copies" })
}

fn wait_until_ready(service: &Service, stop: &CancellationToken) {
    while !stop.is_cancelled() && !service.board.not_ready().is_empty() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends the scenario at its pace, never far ahead of the classifier. Gives the last item's event time.
fn send(
    config: &Config,
    scenario: &[(EventTime, String, Vec<u8>)],
    speed: Speed,
    seen: &Seen,
    bar: &ProgressBar,
    stop: &CancellationToken,
) -> Result<EventTime, Failure> {
    let publisher = Publisher::new(&config.kafka, "replay", max_record_bytes(config), Arc::new(Metrics::new()))?;
    let mut pacer = Pacer::new(speed);
    let mut last = EventTime(i64::MIN);
    for (index, (at, id, payload)) in scenario.iter().enumerate() {
        std::thread::sleep(pacer.wait(Some(*at), Instant::now()));
        while !stop.is_cancelled() && index - seen.accounted().min(index) > MAX_AHEAD {
            std::thread::sleep(Duration::from_millis(5));
        }
        if stop.is_cancelled() {
            break;
        }
        publisher.send(Outgoing { topic: &config.kafka.topics.raw, key: Some(id.as_bytes()), payload, ..Outgoing::default() })?;
        last = *at;
        bar.set_position(index as u64 + 1);
        bar.set_message(format!("{} UTC", at.clock()));
        if bar.is_hidden() && (index + 1) % (scenario.len() / 10) == 0 {
            println!(
                "  {:3.0}%  {} of {} items, event time {} UTC",
                100.0 * (index + 1) as f64 / scenario.len() as f64,
                index + 1,
                scenario.len(),
                at.clock()
            );
        }
    }
    publisher.flush(Duration::from_secs(30))?;
    Ok(last)
}

/// Waits until every item has come out and the watermark has passed the last one. False if stopped or out of patience.
fn wait_for_the_end(service: &Service, config: &Config, items: usize, last: EventTime, seen: &Seen, stop: &CancellationToken) -> bool {
    let judged = last.plus(-config.watermark.disorder.ms() - 1000);
    let started = Instant::now();
    while !stop.is_cancelled() && started.elapsed() < PATIENCE {
        let watermark = service.board.event_time();
        if seen.accounted() >= items && watermark.is_some_and(|watermark| watermark >= judged) {
            // The last hop's records are on their way to the watcher.
            std::thread::sleep(Duration::from_millis(500));
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Prints what happened, on one screen; true if an alert fired.
fn summary(seen: &Seen, items: usize, seconds: f64, page: &str, once: bool) -> bool {
    let alerts = seen.alerts.lock().expect("no holder of this lock panics");
    let count = |transition| alerts.iter().filter(|alert| alert.transition == transition).count();
    let (accounted, dead) = (seen.accounted(), seen.dead.load(Ordering::SeqCst));
    println!();
    println!("Summary");
    println!("  items         {accounted} of {items} accounted for ({} scored, {dead} dead letters)", accounted - dead);
    println!("  time          {seconds:.1} s, {:.0} items/s", accounted as f64 / seconds);
    println!(
        "  alerts        {} fired, {} escalated, {} resolved",
        count(Transition::Firing),
        count(Transition::Escalated),
        count(Transition::Resolved)
    );
    for alert in alerts.iter().filter(|alert| alert.transition == Transition::Firing) {
        println!("                {} UTC  {:8} {}", alert.at.clock(), alert.severity.as_str(), alert.subject_name);
    }
    if !once {
        println!("\nThe page stays up at {page}; Ctrl-C ends.");
    }
    count(Transition::Firing) > 0
}

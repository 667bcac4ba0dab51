//! Every metric, once: one struct of typed handles that is passed in. No metric is named anywhere else.
//!
//! Labels come from closed sets: reasons, outcomes, roles, the model's topics, the watchlist's subjects. Never news text.

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::detect::life::Waits;

/// Typed handles of all metrics, registered in a registry of their own.
pub struct Metrics {
    registry: Registry,
    pub items: IntCounterVec,
    pub dead_letters: IntCounterVec,
    pub items_truncated: IntCounter,
    pub masked: IntCounterVec,
    pub explanations: IntCounterVec,
    pub reloads: IntCounterVec,
    pub sentiment_items: IntCounterVec,
    pub topic_items: IntCounterVec,
    pub confidence: HistogramVec,
    pub unknown_tokens: Histogram,
    pub news_age: Histogram,
    pub tokens: IntCounterVec,
    pub texts: IntCounterVec,
    pub tokenize_seconds: Counter,
    pub batch_texts: Histogram,
    pub inference_duration: Histogram,
    pub model_sessions: IntGauge,
    pub device_nodes: IntGaugeVec,
    pub model_info: IntGaugeVec,
    pub drift_psi: GaugeVec,
    pub drift_items: IntGauge,
    pub observations: IntCounterVec,
    pub panes_published: IntCounter,
    pub hops: IntCounter,
    pub hop_duration: Histogram,
    pub subjects: IntGauge,
    pub subject_score: GaugeVec,
    pub subject_negative_ratio: GaugeVec,
    pub subject_items: GaugeVec,
    pub subject_index: GaugeVec,
    pub subject_buzz: GaugeVec,
    pub subject_alerts: IntGaugeVec,
    pub watermark_lag: Gauge,
    pub alert_transitions: IntCounterVec,
    pub open_alerts: IntGaugeVec,
    pub silent_alerts: IntGauge,
    pub waiting_alerts: IntGaugeVec,
    pub negative_observations: IntCounterVec,
    pub delay: HistogramVec,
    pub records: IntCounterVec,
    pub records_in_flight: IntGauge,
    pub consumer_lag: IntGaugeVec,
    pub partitions_assigned: IntGaugeVec,
    pub partitions_paused: IntGaugeVec,
    pub rebalances: IntCounterVec,
    pub commits: IntCounterVec,
    pub commit_duration: HistogramVec,
    pub generations: IntCounterVec,
    pub kafka_errors: IntCounterVec,
    pub restored_panes: IntCounter,
    pub restored_observations: IntCounter,
    pub restore_remaining: IntGaugeVec,
    pub restore_duration: Gauge,
    pub webhook_deliveries: IntCounterVec,
    pub webhook_failures: IntCounterVec,
    pub webhook_delay: GaugeVec,
    pub ready: IntGauge,
    pub http_requests_rejected: IntCounterVec,
    pub feed_items: IntCounterVec,
    pub feed_fetches: IntCounterVec,
    pub feeds_failing: IntGauge,
    pub feed_last_success: Gauge,
    resident_memory: Gauge,
    cpu_seconds: Counter,
}

/// Registers metrics with the `bellwether_` prefix.
struct Maker(Registry);

impl Maker {
    fn add<C: Collector + Clone + 'static>(&self, collector: Result<C, prometheus::Error>) -> C {
        let collector = collector.expect("names and labels are constants that the tests register");
        self.0.register(Box::new(collector.clone())).expect("every name is registered once");
        collector
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("bellwether_{name}"), help)
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(Self::opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Self::opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(Self::opts(name, help)))
    }

    fn whole_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(Self::opts(name, help)))
    }

    fn whole_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Self::opts(name, help), labels))
    }

    fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(format!("bellwether_{name}"), help).buckets(buckets.to_vec())
    }
}

impl Metrics {
    pub fn new() -> Self {
        let make = Maker(Registry::new());
        let durations = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
        let delays = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
        let build = make.whole_gauges("build_info", "1, with the version as a label", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let start = make.add(Gauge::new("process_start_time_seconds", "Start of the process, seconds since the Unix epoch"));
        start.set(chrono::Utc::now().timestamp_millis() as f64 / 1e3);
        let metrics = Self {
            items: make.counters("items_total", "News items that left the classifier, by outcome", &["outcome"]),
            dead_letters: make.counters("dead_letters_total", "Records sent to the dead letter topic, by reason", &["reason"]),
            items_truncated: make.counter("items_truncated_total", "Items longer than the model reads"),
            masked: make.counters("masked_total", "Pieces of personal data masked, by kind", &["kind"]),
            reloads: make.counters("reloads_total", "Reloads that were asked for, by outcome", &["outcome"]),
            explanations: make.counters("explanations_total", "Headlines of alerts, by whether their words were found in time", &["outcome"]),
            sentiment_items: make.counters("sentiment_items_total", "Items by predicted sentiment", &["sentiment"]),
            topic_items: make.counters("topic_items_total", "Items by predicted topic", &["topic"]),
            confidence: make.add(HistogramVec::new(
                Maker::histogram_opts(
                    "confidence_ratio",
                    "Probability that the model gave the label it chose, by head",
                    &[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0],
                ),
                &["head"],
            )),
            unknown_tokens: make.add(Histogram::with_opts(Maker::histogram_opts(
                "unknown_tokens_ratio",
                "An item's share of tokens that the model's vocabulary does not have",
                &[0.0, 0.02, 0.05, 0.1, 0.2, 1.0],
            ))),
            news_age: make.add(Histogram::with_opts(Maker::histogram_opts(
                "news_age_seconds",
                "Seconds from an item's event time to its Kafka timestamp: how old news is when it comes",
                &[1.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0],
            ))),
            tokens: make.counters("tokens_total", "Tokens sent through the model: real ones and padding", &["kind"]),
            texts: make.counters("texts_total", "Texts by where their result came from: the model, or the cache of copies", &["from"]),
            tokenize_seconds: make.add(Counter::with_opts(Maker::opts("tokenize_seconds_total", "Seconds spent tokenising"))),
            batch_texts: make.add(Histogram::with_opts(Maker::histogram_opts(
                "batch_texts",
                "Texts in a batch",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
            ))),
            inference_duration: make.add(Histogram::with_opts(Maker::histogram_opts(
                "inference_duration_seconds",
                "Seconds a batch takes in ONNX Runtime",
                &durations,
            ))),
            model_sessions: make.whole_gauge("model_sessions", "Sessions that run batches side by side"),
            device_nodes: make.whole_gauges(
                "device_nodes",
                "Nodes of the model's graph, by the execution provider they were placed on",
                &["device"],
            ),
            model_info: make.whole_gauges("model_info", "1, with the model in use as labels", &["name", "version", "device"]),
            drift_psi: make.gauges(
                "drift_psi",
                "Population stability index between the model's reference and its last results: how far their mix has moved",
                &["feature"],
            ),
            drift_items: make.whole_gauge("drift_items", "Results that the drift indices rest on; 0 where drift is not watched"),
            observations: make.counters("observations_total", "Observations read by the monitor, by outcome", &["outcome"]),
            panes_published: make.counter("panes_published_total", "Closed, non-empty panes published"),
            hops: make.counter("hops_total", "Hops evaluated"),
            hop_duration: make.add(Histogram::with_opts(Maker::histogram_opts(
                "hop_duration_seconds",
                "Seconds from a watermark that moves to its published outcome: closing panes, windows, rules",
                &durations,
            ))),
            subjects: make.whole_gauge("subjects", "Subjects with items in the rolling window"),
            subject_score: make.gauges("subject_score", "Mean score in the rolling window, -1 to 1", &["subject"]),
            subject_negative_ratio: make.gauges("subject_negative_ratio", "Share of negative items in the rolling window", &["subject"]),
            subject_items: make.gauges("subject_items", "Items in the rolling window", &["subject"]),
            subject_index: make.gauges("subject_index", "Sentiment index, -1 to 1", &["subject"]),
            subject_buzz: make.gauges(
                "subject_buzz_ratio",
                "Items in the rolling window against what is usual at that hour",
                &["subject"],
            ),
            subject_alerts: make.whole_gauges(
                "subject_open_alerts",
                "Alerts now open on a subject; away once there is none",
                &["subject", "rule", "severity"],
            ),
            watermark_lag: make.gauge("watermark_lag_seconds", "Seconds the slowest partition's watermark is behind the clock"),
            alert_transitions: make.counters("alert_transitions_total", "Alert transitions published", &["transition", "severity"]),
            open_alerts: make.whole_gauges("open_alerts", "Alerts now open", &["severity"]),
            silent_alerts: make.whole_gauge("silent_alerts", "Open alerts whose windows are empty: no data, hence not resolved"),
            waiting_alerts: make.whole_gauges("waiting_alerts", "Alerts that would have fired by now, by what keeps them back", &["reason"]),
            negative_observations: make.counters(
                "negative_observations_total",
                "Negative items in published panes, counted for each subject, by whether they repeat a story",
                &["novelty"],
            ),
            delay: make.add(HistogramVec::new(
                Maker::histogram_opts("delay_seconds", "Seconds to an acknowledged output: scored, from the raw record's Kafka timestamp; alerted, from that of the watermark that closed the hop", &delays),
                &["stage"],
            )),
            records_in_flight: make.whole_gauge("records_in_flight", "Records handed to the model and not yet published"),
            records: make.counters("records_total", "Records finished", &["role"]),
            consumer_lag: make.whole_gauges("consumer_lag_records", "Records between what the role was handed and the log end offset", &["role"]),
            partitions_assigned: make.whole_gauges("partitions_assigned", "Partitions this process reads", &["role"]),
            partitions_paused: make.whole_gauges("partitions_paused", "Partitions paused because the next stage is full", &["role"]),
            rebalances: make.counters("rebalances_total", "Rebalances of the consumer group seen", &["role", "event"]),
            commits: make.counters("commits_total", "Commits of outputs and offsets, by outcome", &["role", "outcome"]),
            commit_duration: make.add(HistogramVec::new(
                Maker::histogram_opts("commit_duration_seconds", "Seconds a commit takes: until the brokers have all outputs and offsets of it", &delays),
                &["role"],
            )),
            generations: make.counters("generations_failed_total", "Times a role gave up what it had and began anew from what is committed", &["role"]),
            kafka_errors: make.counters("kafka_errors_total", "Errors that the Kafka client reported", &["role"]),
            restored_panes: make.counter("restored_panes_total", "Panes read back at an assignment"),
            restored_observations: make.counter("restored_observations_total", "Observations read again after an assignment"),
            restore_remaining: make.whole_gauges("restore_remaining_records", "Records that the restore under way has still to read", &["what"]),
            restore_duration: make.gauge("restore_duration_seconds", "Seconds the last restore took, the replay of observations included"),
            webhook_deliveries: make.counters("webhook_deliveries_total", "Transitions of alerts, by webhook and what became of them", &["webhook", "outcome"]),
            webhook_failures: make.counters("webhook_failures_total", "Attempts that failed and are made again, by webhook", &["webhook"]),
            webhook_delay: make.gauges("webhook_delay_seconds", "Since when the oldest transition waits for a webhook", &["webhook"]),
            ready: make.whole_gauge("ready", "1 once partitions are assigned, state is restored and the model is warm"),
            http_requests_rejected: make.counters("http_requests_rejected_total", "HTTP requests turned away, by reason", &["reason"]),
            feed_items: make.counters("feed_items_total", "New entries of feeds, by whether they became items of news.raw", &["outcome"]),
            feed_fetches: make.counters("feed_fetches_total", "Requests for feeds, by outcome", &["outcome"]),
            feeds_failing: make.whole_gauge("feeds_failing", "Feeds whose last request brought nothing that can be read"),
            feed_last_success: make.gauge("feed_last_success_timestamp_seconds", "When a feed was last read, seconds since the Unix epoch"),
            resident_memory: make.add(Gauge::new("process_resident_memory_bytes", "Resident memory")),
            cpu_seconds: make.add(Counter::new("process_cpu_seconds_total", "User and system CPU time")),
            registry: make.0,
        };
        metrics.start_at_zero();
        metrics
    }

    /// Counters of a closed set stand at 0 before their first event: otherwise a rate would miss it.
    fn start_at_zero(&self) {
        let roles = ["classifier", "monitor"];
        let (severities, transitions) = (["warning", "critical"], ["firing", "escalated", "resolved"]);
        let all = |counter: &IntCounterVec, values: &[&str]| values.iter().for_each(|value| drop(counter.with_label_values(&[*value])));
        let pairs = |counter: &IntCounterVec, ones: &[&str], others: &[&str]| {
            ones.iter().for_each(|one| others.iter().for_each(|other| drop(counter.with_label_values(&[*one, *other]))));
        };
        all(&self.items, &["scored", "dead"]);
        all(&self.dead_letters, &crate::decode::Reason::ALL.map(crate::decode::Reason::as_str));
        all(&self.masked, &crate::privacy::KINDS);
        all(&self.reloads, &["ok", "refused"]);
        all(&self.explanations, &["told", "left_out"]);
        all(&self.sentiment_items, &crate::news::Sentiment::ALL.map(crate::news::Sentiment::as_str));
        all(&self.tokens, &["real", "padding"]);
        all(&self.observations, &["counted", "late", "duplicate"]);
        all(&self.negative_observations, &["novel", "copy"]);
        all(&self.kafka_errors, &roles);
        all(&self.http_requests_rejected, &crate::http::rejected::Reason::ALL.map(crate::http::rejected::Reason::as_str));
        all(&self.feed_items, &["published", "refused"]);
        all(&self.feed_fetches, &crate::ingest::Outcome::ALL.map(crate::ingest::Outcome::as_str));
        pairs(&self.alert_transitions, &transitions, &severities);
        pairs(&self.rebalances, &roles, &["assigned", "revoked", "lost"]);
        pairs(&self.commits, &roles, &["ok", "error"]);
        for counter in [&self.generations, &self.records] {
            roles.iter().for_each(|role| drop(counter.with_label_values(&[role])));
        }
        roles.iter().for_each(|role| drop(self.commit_duration.with_label_values(&[*role])));
        ["sentiment", "topic"].iter().for_each(|head| drop(self.confidence.with_label_values(&[*head])));
        for gauge in [&self.consumer_lag, &self.partitions_assigned, &self.partitions_paused] {
            roles.iter().for_each(|role| gauge.with_label_values(&[*role]).set(0));
        }
        ["panes", "observations"].iter().for_each(|what| self.restore_remaining.with_label_values(&[*what]).set(0));
        severities.iter().for_each(|severity| self.open_alerts.with_label_values(&[*severity]).set(0));
        Waits::ALL.iter().for_each(|waits| self.waiting_alerts.with_label_values(&[waits.as_str()]).set(0));
        ["scored", "alerted"].iter().for_each(|stage| drop(self.delay.with_label_values(&[*stage])));
    }

    /// The same for the webhooks of the configuration.
    pub fn start_webhook_at_zero(&self, name: &str) {
        for outcome in ["delivered", "given_up"] {
            self.webhook_deliveries.with_label_values(&[name, outcome]);
        }
        self.webhook_failures.with_label_values(&[name]);
        self.webhook_delay.with_label_values(&[name]).set(0.0);
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        self.read_process();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }

    /// Reads `/proc`; where there is none the two process metrics stay at zero.
    fn read_process(&self) {
        if let Ok(memory) = std::fs::read_to_string("/proc/self/statm")
            && let Some(pages) = memory.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok())
        {
            self.resident_memory.set(pages * 4096.0);
        }
        if let Some(seconds) = process_cpu_seconds() {
            let grown = seconds - self.cpu_seconds.get();
            if grown > 0.0 {
                self.cpu_seconds.inc_by(grown);
            }
        }
    }
}

/// User and system time of this process so far, in steps of 1/100 s; `None` where there is no `/proc`.
pub fn process_cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    // Fields 14 and 15 of proc(5): user and system time in ticks of 1/100 s.
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Some(ticks / 100.0)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_sets_start_at_zero() {
        let text = Metrics::new().render();
        for line in [
            "bellwether_open_alerts{severity=\"critical\"} 0",
            "bellwether_alert_transitions_total{severity=\"warning\",transition=\"firing\"} 0",
            "bellwether_dead_letters_total{reason=\"no_text\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn metrics_render_with_their_prefix_and_the_process() {
        let metrics = Metrics::new();
        metrics.items.with_label_values(&["scored"]).inc();
        let text = metrics.render();
        assert!(text.contains("bellwether_items_total{outcome=\"scored\"} 1"), "{text}");
        let memory = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
        assert!(memory.parse::<f64>().unwrap() > 1e6);
    }
}

//! Whether the model's results are still distributed as on the news it was measured on. Pure and deterministic.
//!
//! Each feature has bins, and an index that says how far the last results have moved from the model's reference. It says
//! that the mix changed, never why: a crisis moves it as a broken feed does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::Labels;
use crate::config::DriftConfig;
use crate::news::{Classification, Sentiment};

/// What is compared, in the order of all arrays here.
pub const FEATURES: [&str; 4] = ["sentiment", "topic", "confidence", "unknown_tokens"];

/// Of three probabilities the top one is at least 1/3.
const CONFIDENCE_EDGES: [f64; 6] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/// The first one stands for "none at all": no text is long enough for a smaller share.
const UNKNOWN_EDGES: [f64; 5] = [0.0001, 0.02, 0.05, 0.1, 0.2];
/// How far shares may be from a sum of 1: files are written by hand and by other programs, too, and are rounded.
const SUM_TOLERANCE: f64 = 0.01;

/// How the results of `rows` texts are distributed: the key `reference` of a model's `metrics.json`.
///
/// ```json
/// {"rows": 5000,
///  "sentiment": {"negative": 0.3, "neutral": 0.5, "positive": 0.2},
///  "topic": {"Macro": 0.1, …},
///  "confidence": {"edges": [0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "shares": [0.0, …]},
///  "unknown_tokens": {"edges": [0.0001, 0.02, 0.05, 0.1, 0.2], "shares": [0.9, …]}}
/// ```
///
/// `sentiment` and `topic` have a share for every label of the model, also those of 0. `confidence` is the top
/// sentiment probability, `unknown_tokens` a text's share of tokens that the vocabulary does not have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub rows: u64,
    pub sentiment: BTreeMap<String, f64>,
    pub topic: BTreeMap<String, f64>,
    pub confidence: Histogram,
    pub unknown_tokens: Histogram,
}

/// Shares of the values below the first edge, from each edge (included) to the next (excluded), and from the last on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub edges: Vec<f64>,
    pub shares: Vec<f64>,
}

impl Reference {
    /// Holds the reference to the labels of the model it comes with.
    ///
    /// # Errors
    /// The first thing that does not fit, beginning with the key.
    pub fn check(&self, labels: &Labels) -> Result<(), String> {
        if self.rows == 0 {
            return Err("rows = 0 must be at least 1".into());
        }
        check_labels("sentiment", &self.sentiment, Sentiment::ALL.iter().map(|label| label.as_str()))?;
        check_labels("topic", &self.topic, labels.topics.iter().map(String::as_str))?;
        for (feature, Histogram { edges, shares }) in [("confidence", &self.confidence), ("unknown_tokens", &self.unknown_tokens)] {
            if !edges.is_sorted_by(|one, next| one < next) {
                return Err(format!("{feature}.edges = {edges:?} must ascend"));
            }
            if shares.len() != edges.len() + 1 {
                return Err(format!(
                    "{feature} has {} edges and {} shares, and must have one share more than edges",
                    edges.len(),
                    shares.len()
                ));
            }
        }
        for (feature, shares) in FEATURES.into_iter().zip(self.shares()) {
            let sum: f64 = shares.iter().sum();
            if shares.iter().any(|share| *share < 0.0) || (sum - 1.0).abs() > SUM_TOLERANCE {
                return Err(format!("{feature}: its shares add up to {sum}, and must be 0 or more and add up to 1"));
            }
        }
        Ok(())
    }

    fn shares(&self) -> [Vec<f64>; FEATURES.len()] {
        let by_label = |name: &Sentiment| self.sentiment.get(name.as_str()).copied().unwrap_or(0.0);
        [
            Sentiment::ALL.iter().map(by_label).collect(),
            self.topic.values().copied().collect(),
            self.confidence.shares.clone(),
            self.unknown_tokens.shares.clone(),
        ]
    }

    fn bins(&self) -> Bins {
        Bins {
            topics: self.topic.keys().cloned().collect(),
            confidence_edges: self.confidence.edges.clone(),
            unknown_edges: self.unknown_tokens.edges.clone(),
        }
    }
}

fn check_labels<'label>(feature: &str, shares: &BTreeMap<String, f64>, of_model: impl Iterator<Item = &'label str>) -> Result<(), String> {
    let of_model: BTreeSet<&str> = of_model.collect();
    if let Some(label) = shares.keys().find(|label| !of_model.contains(label.as_str())) {
        return Err(format!("{feature} has {label:?}, which is not a label of this model"));
    }
    match of_model.iter().find(|label| !shares.contains_key(**label)) {
        Some(label) => Err(format!("{feature} lacks {label:?}, which is a label of this model")),
        None => Ok(()),
    }
}

/// Where a result is counted.
#[derive(Debug, Clone)]
struct Bins {
    topics: Vec<String>,
    confidence_edges: Vec<f64>,
    unknown_edges: Vec<f64>,
}

type Places = [usize; FEATURES.len()];

impl Bins {
    fn none_counted(&self) -> [Vec<u64>; FEATURES.len()] {
        [Sentiment::ALL.len(), self.topics.len(), self.confidence_edges.len() + 1, self.unknown_edges.len() + 1].map(|bins| vec![0; bins])
    }

    fn places(&self, result: &Classification) -> Places {
        let at = |edges: &[f64], value: f64| edges.partition_point(|edge| *edge <= value);
        let topic = self.topics.iter().position(|label| *label == result.topic.label);
        [
            result.sentiment.label.index(),
            topic.expect("the labels were checked to be those of the model that gives the results"),
            at(&self.confidence_edges, result.sentiment.probabilities.top()),
            at(&self.unknown_edges, result.unknown_share),
        ]
    }
}

/// Counts results for a [`Reference`].
pub struct Tally {
    bins: Bins,
    counts: [Vec<u64>; FEATURES.len()],
    rows: u64,
}

impl Tally {
    pub fn new(labels: &Labels) -> Self {
        let (confidence_edges, unknown_edges) = (CONFIDENCE_EDGES.to_vec(), UNKNOWN_EDGES.to_vec());
        let bins = Bins { topics: labels.topics.clone(), confidence_edges, unknown_edges };
        Self { counts: bins.none_counted(), bins, rows: 0 }
    }

    pub fn record(&mut self, result: &Classification) {
        self.rows += 1;
        for (counts, place) in self.counts.iter_mut().zip(self.bins.places(result)) {
            counts[place] += 1;
        }
    }

    /// `None` before the first result.
    pub fn reference(&self) -> Option<Reference> {
        let rows = (self.rows > 0).then_some(self.rows)?;
        let [sentiment, topic, confidence, unknown_tokens] =
            self.counts.each_ref().map(|counts| counts.iter().map(|&count| count as f64 / rows as f64).collect::<Vec<f64>>());
        Some(Reference {
            rows,
            sentiment: Sentiment::ALL.iter().map(|label| label.as_str().to_owned()).zip(sentiment).collect(),
            topic: self.bins.topics.iter().cloned().zip(topic).collect(),
            confidence: Histogram { edges: self.bins.confidence_edges.clone(), shares: confidence },
            unknown_tokens: Histogram { edges: self.bins.unknown_edges.clone(), shares: unknown_tokens },
        })
    }
}

/// Compares the last results with a reference.
pub struct DriftMonitor {
    bins: Bins,
    /// Smoothed shares of the reference.
    expected: [Vec<f64>; FEATURES.len()],
    /// Of the results in `last`.
    counts: [Vec<u64>; FEATURES.len()],
    /// Where each of the last results was counted, oldest first: at most `config.items`.
    last: VecDeque<Places>,
    config: DriftConfig,
}

impl DriftMonitor {
    /// `reference` fits the model whose results will come: see [`Reference::check`].
    pub fn new(reference: &Reference, config: DriftConfig) -> Self {
        let bins = reference.bins();
        let rows = reference.rows as f64;
        let expected = reference.shares().map(|shares| smoothed_shares(shares.iter().map(|share| share * rows)));
        Self { counts: bins.none_counted(), bins, expected, last: VecDeque::with_capacity(config.items), config }
    }

    /// Counts a result; the oldest one is forgotten when there are more than `drift.items`.
    pub fn record(&mut self, result: &Classification) {
        if self.last.len() >= self.config.items
            && let Some(oldest) = self.last.pop_front()
        {
            self.counts.iter_mut().zip(oldest).for_each(|(counts, place)| counts[place] -= 1);
        }
        let places = self.bins.places(result);
        self.counts.iter_mut().zip(places).for_each(|(counts, place)| counts[place] += 1);
        self.last.push_back(places);
    }

    /// Results that the comparison rests on.
    pub fn items(&self) -> usize {
        self.last.len()
    }

    /// The population stability index of each feature; `None` before `drift.min_items` results.
    pub fn stability_indices(&self) -> Option<[(&'static str, f64); FEATURES.len()]> {
        let index = |feature: usize| {
            let actual = smoothed_shares(self.counts[feature].iter().map(|&count| count as f64));
            (FEATURES[feature], stability_index(&self.expected[feature], &actual))
        };
        (self.items() >= self.config.min_items).then(|| std::array::from_fn(index))
    }
}

/// Shares of counts, each counted half a time more than it was: an empty bin must not make the index infinite.
fn smoothed_shares(counts: impl Iterator<Item = f64>) -> Vec<f64> {
    let counts: Vec<f64> = counts.map(|count| count + 0.5).collect();
    let sum: f64 = counts.iter().sum();
    counts.iter().map(|count| count / sum).collect()
}

/// Sum over the bins of (p − q) · ln(p / q), 0 or more, the same both ways. Siddiqi 2006, *Credit Risk Scorecards*,
/// whose usual reading is: below 0.1 stable, up to 0.25 moved, above it shifted.
///
/// Chance alone gives about (bins − 1) · (1/n + 1/m) for n and m rows (Yurdakul 2018, *Statistical Properties of
/// Population Stability Index*): 0.04 for 20 topics and 500 results.
fn stability_index(expected: &[f64], actual: &[f64]) -> f64 {
    expected.iter().zip(actual).map(|(p, q)| (p - q) * (p / q).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Logits;

    fn labels() -> Labels {
        Labels::new(vec!["Macro".into(), "Earnings".into()], Sentiment::ALL.to_vec())
    }

    /// A result by topic, probabilities of the three sentiments, and share of unknown tokens.
    fn result(topic: usize, sentiment: [f64; 3], unknown_share: f64) -> Classification {
        let probabilities = if topic == 0 { [0.9, 0.1] } else { [0.1, 0.9] };
        labels().classification(&probabilities, topic, &sentiment, Logits::default(), false, unknown_share)
    }

    const BAD: [f64; 3] = [0.95, 0.03, 0.02];
    const EVEN: [f64; 3] = [0.35, 0.45, 0.2];
    const GOOD: [f64; 3] = [0.1, 0.1, 0.8];

    /// Half about the economy; a quarter bad, a quarter good.
    fn usual(index: usize) -> Classification {
        result(index % 2, [BAD, EVEN, EVEN, GOOD][index % 4], 0.0)
    }

    fn reference() -> Reference {
        let mut tally = Tally::new(&labels());
        (0..400).for_each(|index| tally.record(&usual(index)));
        tally.reference().unwrap()
    }

    fn monitor(items: usize, min_items: usize) -> DriftMonitor {
        DriftMonitor::new(&reference(), DriftConfig { items, min_items })
    }

    fn index(monitor: &DriftMonitor, feature: &str) -> f64 {
        monitor.stability_indices().unwrap().into_iter().find(|(name, _)| *name == feature).unwrap().1
    }

    #[test]
    fn a_reference_holds_the_share_of_every_label_and_bin() {
        let reference = reference();
        assert_eq!((reference.rows, reference.topic["Macro"], reference.sentiment["neutral"]), (400, 0.5, 0.5));
        // 0.45 lies in [0.4, 0.5), 0.8 in [0.8, 0.9), 0.95 beyond the last edge.
        assert_eq!(reference.confidence.shares, [0.0, 0.5, 0.0, 0.0, 0.0, 0.25, 0.25]);
        assert_eq!(reference.unknown_tokens.shares, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let text = serde_json::to_string(&reference).unwrap();
        assert_eq!(serde_json::from_str::<Reference>(&text).unwrap(), reference);
        assert!(Tally::new(&labels()).reference().is_none());
    }

    #[test]
    fn the_index_is_that_of_the_formula() {
        // (0.5 − 0.25) ln 2 + (0.5 − 0.75) ln (2/3) = 0.25 · ln 3
        assert!((stability_index(&[0.5, 0.5], &[0.25, 0.75]) - 0.25 * 3f64.ln()).abs() < 1e-12);
        assert_eq!(smoothed_shares([0.0, 1.0, 2.0].into_iter()), [0.5 / 4.5, 1.5 / 4.5, 2.5 / 4.5]);
    }

    #[test]
    fn the_same_mix_has_an_index_near_0() {
        let mut monitor = monitor(200, 100);
        (0..200).for_each(|index| monitor.record(&usual(index)));
        for (feature, index) in monitor.stability_indices().unwrap() {
            assert!((0.0..0.01).contains(&index), "{feature}: {index}");
        }
    }

    #[test]
    fn each_feature_shifts_by_itself() {
        let shifted = [
            // Good and bad news change places for even news: the topics stay.
            ("sentiment", result(0, BAD, 0.0), result(1, BAD, 0.0)),
            ("topic", result(0, BAD, 0.0), result(0, EVEN, 0.0)),
            ("confidence", result(0, [0.5, 0.3, 0.2], 0.0), result(1, [0.5, 0.3, 0.2], 0.0)),
            ("unknown_tokens", result(0, BAD, 0.3), result(1, EVEN, 0.3)),
        ];
        for (feature, even, odd) in shifted {
            let mut monitor = monitor(200, 100);
            (0..100).for_each(|_| [&even, &odd].into_iter().for_each(|result| monitor.record(result)));
            assert!(index(&monitor, feature) > 0.25, "{feature}: {}", index(&monitor, feature));
            assert!(index(&monitor, feature).is_finite());
        }
        let mut topics_alone = monitor(200, 100);
        (0..200).for_each(|index| topics_alone.record(&result(0, [BAD, EVEN, EVEN, GOOD][index % 4], 0.0)));
        assert!(index(&topics_alone, "topic") > 0.25 && index(&topics_alone, "sentiment") < 0.01);
    }

    #[test]
    fn nothing_is_said_before_the_least_number_of_items() {
        let mut monitor = monitor(200, 100);
        (0..99).for_each(|index| monitor.record(&usual(index)));
        assert!(monitor.stability_indices().is_none() && monitor.items() == 99);
        monitor.record(&usual(99));
        assert!(monitor.stability_indices().is_some());
    }

    #[test]
    fn the_window_forgets() {
        let mut monitor = monitor(200, 100);
        (0..1000).for_each(|_| monitor.record(&result(0, BAD, 0.5)));
        assert!(index(&monitor, "sentiment") > 0.25 && monitor.items() == 200);
        (0..200).for_each(|index| monitor.record(&usual(index)));
        assert!(index(&monitor, "sentiment") < 0.01 && index(&monitor, "unknown_tokens") < 0.01);
        assert_eq!((monitor.items(), monitor.counts[0].iter().sum::<u64>()), (200, 200));
    }

    #[test]
    fn a_reference_of_another_model_or_of_nothing_is_refused() {
        let refused = |change: fn(&mut Reference)| {
            let mut reference = reference();
            change(&mut reference);
            reference.check(&labels()).unwrap_err()
        };
        assert_eq!(reference().check(&labels()), Ok(()));
        assert_eq!(refused(|reference| reference.rows = 0), "rows = 0 must be at least 1");
        let unknown = refused(|reference| {
            reference.topic.insert("Weather".into(), 0.0);
        });
        assert_eq!(unknown, "topic has \"Weather\", which is not a label of this model");
        let missing = refused(|reference| {
            reference.sentiment.remove("neutral");
        });
        assert_eq!(missing, "sentiment lacks \"neutral\", which is a label of this model");
        let shares = refused(|reference| {
            reference.confidence.shares.pop();
        });
        assert_eq!(shares, "confidence has 6 edges and 6 shares, and must have one share more than edges");
        let order = refused(|reference| reference.unknown_tokens.edges.swap(0, 1));
        assert!(order.starts_with("unknown_tokens.edges = [0.02, 0.0001"), "{order}");
        let sum = refused(|reference| {
            reference.topic.insert("Macro".into(), 0.9);
        });
        assert!(sum.starts_with("topic: its shares add up to 1.4"), "{sum}");
    }
}

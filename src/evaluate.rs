//! How good predictions are, measured on labels. Pure: predictions and labels in, numbers out, always the same ones.
//!
//! Each number is one that the literature defines, so that it can be compared with what others publish; a bare accuracy
//! on a few hundred rows would hide how uncertain it is, and an average over all rows where the model fails.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::news::{ModelIdentity, Sentiment};

/// Resamples of a bootstrap interval.
const RESAMPLES: usize = 1000;
/// The same labels and predictions must give the same interval in every run.
const SEED: u64 = 20_230_310;
/// Equal-width bins of the calibration error.
const CALIBRATION_BINS: usize = 15;
/// The least precisions for which the recall of `negative` is looked for.
const LEAST_PRECISIONS: [f64; 2] = [0.8, 0.75];
/// A slice with fewer rows stands behind the others: one row more or less right would move it by 10 points or more.
const FULL_SLICE_ROWS: usize = 10;

/// A text as it stands in the file: its labels, and what it is sliced by.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Index of the label among the model's topics.
    pub topic: Option<usize>,
    /// Index of the label in [`Sentiment::ALL`].
    pub sentiment: Option<usize>,
    pub source: Option<String>,
    pub kind: Option<String>,
    pub shape: Shape,
}

/// What the model said of a text; indices as in [`Case`].
#[derive(Debug, Clone, Copy)]
pub struct Prediction {
    pub topic: usize,
    pub topic_probability: f64,
    pub sentiment: usize,
    /// Of the predicted sentiment.
    pub sentiment_probability: f64,
    pub negative_probability: f64,
}

/// What can be seen of a text without understanding it, and models are known to stumble over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    pub words: usize,
    pub has_figures: bool,
    pub has_negation: bool,
}

impl Shape {
    pub fn of(text: &str) -> Self {
        let mut words = text.split(|character: char| !character.is_alphanumeric() && !matches!(character, '\'' | '’'));
        Self {
            words: text.split_whitespace().count(),
            has_figures: text.chars().any(char::is_numeric),
            has_negation: words.any(is_negation),
        }
    }
}

fn is_negation(word: &str) -> bool {
    let words = ["no", "not", "never", "none", "nor", "neither", "nobody", "nothing", "nowhere", "without", "cannot"];
    let word = word.replace('’', "'").to_lowercase();
    words.contains(&word.trim_matches('\'')) || word.ends_with("n't")
}

/// All that `bellwether evaluate` finds out; with `--json` it is written as it stands here.
///
/// ```json
/// {"model": {"name": "…", "version": "…"}, "device": "cpu", "files": ["labelled.jsonl"],
///  "rows": 1000, "unlabelled_rows": 0,
///  "sentiment": {
///    "rows": 1000, "accuracy": 0.88, "accuracy_interval_95": [0.86, 0.9], "macro_f1": 0.84,
///    "expected_calibration_error": 0.02,
///    "classes": [{"label": "negative", "precision": 0.8, "recall": 0.8, "f1": 0.8, "support": 300}, …],
///    "confusion": {"labels": ["negative", …], "counts": [[240, …], …]},
///    "negative": {"precision": 0.8, "recall": 0.8,
///      "recall_at_precision": [{"least_precision": 0.8, "recall": 0.8, "precision": 0.8, "threshold": 0.41}, …]}},
///  "topic": {…},
///  "slices": [{"by": "source", "value": "wire.example", "rows": 120,
///    "sentiment": {"rows": 120, "accuracy": 0.7}, "topic": null}, …],
///  "throughput": {"texts": 1000, "wall_seconds": 2.0, "cpu_seconds": 3.9, "texts_per_second": 500.0,
///    "texts_per_cpu_second": 256.4}}
/// ```
///
/// Every key is always there. `null` stands for what cannot be said: a head without labels, the precision of a class
/// that is never predicted, the recall of one that never occurs, an operating point that no threshold reaches. Rows of
/// `counts` are the truth, columns the prediction. All ratios lie between 0 and 1.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub model: ModelIdentity,
    pub device: String,
    pub files: Vec<String>,
    /// All rows, with and without a label.
    pub rows: usize,
    /// Rows with neither label.
    pub unlabelled_rows: usize,
    #[serde(flatten)]
    pub accuracy: Accuracy,
    pub throughput: Throughput,
}

/// How good both heads are, as a whole and in parts.
#[derive(Debug, Clone, Serialize)]
pub struct Accuracy {
    pub sentiment: Option<SentimentReport>,
    pub topic: Option<HeadReport>,
    /// Worst first; slices of fewer than 10 rows behind all others.
    pub slices: Vec<Slice>,
}

/// One head on the rows that have its label.
#[derive(Debug, Clone, Serialize)]
pub struct HeadReport {
    pub rows: usize,
    pub accuracy: f64,
    /// Lower and upper end, by the bootstrap.
    pub accuracy_interval_95: [f64; 2],
    /// Mean F1 of the classes that occur among the labels.
    pub macro_f1: f64,
    /// How far the top probability is from being right as often as it says.
    pub expected_calibration_error: f64,
    /// All of the model's labels, in its order.
    pub classes: Vec<ClassReport>,
    pub confusion: Confusion,
}

#[derive(Debug, Clone, Serialize)]
pub struct SentimentReport {
    #[serde(flatten)]
    pub head: HeadReport,
    pub negative: NegativeReport,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassReport {
    pub label: String,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// 2 · precision · recall / (precision + recall), that is 2 · hits / (predicted + support).
    pub f1: Option<f64>,
    /// Rows that have this label.
    pub support: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    pub labels: Vec<String>,
    pub counts: Vec<Vec<usize>>,
}

/// How well bad news is found: what alerts are made of.
#[derive(Debug, Clone, Serialize)]
pub struct NegativeReport {
    /// Of the label as it is predicted.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub recall_at_precision: Vec<OperatingPoint>,
}

/// The largest recall of `negative` at which its precision still is `least_precision`, if one called negative all that
/// has at least `threshold` of P(negative).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OperatingPoint {
    pub least_precision: f64,
    pub recall: Option<f64>,
    pub precision: Option<f64>,
    pub threshold: Option<f64>,
}

/// Rows that have something in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slice {
    /// `source`, `kind`, `length`, `figures` or `negation`.
    pub by: &'static str,
    pub value: String,
    /// Rows with at least one label.
    pub rows: usize,
    pub sentiment: Option<SliceAccuracy>,
    pub topic: Option<SliceAccuracy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SliceAccuracy {
    pub rows: usize,
    pub accuracy: f64,
}

/// How fast the texts were classified, tokenising included, loading the model not.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Throughput {
    pub texts: usize,
    pub wall_seconds: f64,
    /// Of all threads of the process; `None` where it cannot be told, or is too short to be.
    pub cpu_seconds: Option<f64>,
    pub texts_per_second: f64,
    pub texts_per_cpu_second: Option<f64>,
}

impl Throughput {
    pub fn new(texts: usize, wall_seconds: f64, cpu_seconds: Option<f64>) -> Self {
        let cpu_seconds = cpu_seconds.filter(|seconds| *seconds > 0.0);
        Self {
            texts,
            wall_seconds,
            cpu_seconds,
            texts_per_second: texts as f64 / wall_seconds.max(f64::MIN_POSITIVE),
            texts_per_cpu_second: cpu_seconds.map(|seconds| texts as f64 / seconds),
        }
    }
}

/// One prediction beside its label.
#[derive(Debug, Clone, Copy)]
struct Answer {
    truth: usize,
    predicted: usize,
    /// Of what was predicted.
    probability: f64,
}

impl Answer {
    fn is_right(&self) -> bool {
        self.truth == self.predicted
    }
}

fn sentiment_answer((case, prediction): (&Case, &Prediction)) -> Option<Answer> {
    let Prediction { sentiment: predicted, sentiment_probability: probability, .. } = *prediction;
    case.sentiment.map(|truth| Answer { truth, predicted, probability })
}

fn topic_answer((case, prediction): (&Case, &Prediction)) -> Option<Answer> {
    let Prediction { topic: predicted, topic_probability: probability, .. } = *prediction;
    case.topic.map(|truth| Answer { truth, predicted, probability })
}

impl Accuracy {
    /// `predictions` are those of `cases`, in their order; `topics` are the model's labels.
    pub fn of(cases: &[Case], predictions: &[Prediction], topics: &[String]) -> Self {
        let both = || cases.iter().zip(predictions);
        let sentiments: Vec<Answer> = both().filter_map(sentiment_answer).collect();
        let of_topics: Vec<Answer> = both().filter_map(topic_answer).collect();
        let sentiment = HeadReport::of(&sentiments, &Sentiment::ALL.map(Sentiment::as_str)).map(|head| {
            let negative = Sentiment::Negative.index();
            let ClassReport { precision, recall, .. } = head.classes[negative];
            let scored: Vec<(f64, bool)> =
                both().filter_map(|(case, prediction)| Some((prediction.negative_probability, case.sentiment? == negative))).collect();
            let recall_at_precision = LEAST_PRECISIONS.map(|least| recall_at_precision(&scored, least)).to_vec();
            SentimentReport { head, negative: NegativeReport { precision, recall, recall_at_precision } }
        });
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        Self { sentiment, topic: HeadReport::of(&of_topics, &names), slices: slices(cases, predictions) }
    }
}

impl HeadReport {
    /// `None` where no row has a label.
    fn of(answers: &[Answer], labels: &[&str]) -> Option<Self> {
        let accuracy = SliceAccuracy::of(answers.iter().copied())?.accuracy;
        let mut counts = vec![vec![0; labels.len()]; labels.len()];
        for answer in answers {
            counts[answer.truth][answer.predicted] += 1;
        }
        let classes: Vec<ClassReport> = labels.iter().enumerate().map(|(index, label)| ClassReport::of(label, index, &counts)).collect();
        let occurring: Vec<f64> = classes.iter().filter(|class| class.support > 0).filter_map(|class| class.f1).collect();
        Some(Self {
            rows: answers.len(),
            accuracy,
            accuracy_interval_95: bootstrap_interval(answers.iter().filter(|answer| answer.is_right()).count(), answers.len()),
            macro_f1: occurring.iter().sum::<f64>() / occurring.len() as f64,
            expected_calibration_error: expected_calibration_error(answers),
            classes,
            confusion: Confusion { labels: labels.iter().map(|label| (*label).to_owned()).collect(), counts },
        })
    }
}

impl ClassReport {
    /// Of the class at `index` of a confusion matrix, rows truth and columns prediction.
    fn of(label: &str, index: usize, counts: &[Vec<usize>]) -> Self {
        let hits = counts[index][index];
        let support: usize = counts[index].iter().sum();
        let predicted: usize = counts.iter().map(|row| row[index]).sum();
        let ratio = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        Self {
            label: label.to_owned(),
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, predicted + support),
            support,
        }
    }
}

impl SliceAccuracy {
    fn of(answers: impl Iterator<Item = Answer>) -> Option<Self> {
        let (rows, right) = answers.fold((0_usize, 0_usize), |(rows, right), answer| (rows + 1, right + usize::from(answer.is_right())));
        (rows > 0).then(|| Self { rows, accuracy: right as f64 / rows as f64 })
    }
}

/// The 95% percentile interval of a share `right` / `rows` by the bootstrap: rows drawn with replacement, 1,000 times.
/// Efron 1979, *Bootstrap Methods: Another Look at the Jackknife*.
fn bootstrap_interval(right: usize, rows: usize) -> [f64; 2] {
    let mut generator = SplitMix64(SEED);
    // Which of the rows were right does not matter to their share: the first ones stand for them.
    let mut resample = || (0..rows).filter(|_| generator.below(rows) < right).count();
    let mut shares: Vec<usize> = (0..RESAMPLES).map(|_| resample()).collect();
    shares.sort_unstable();
    // 2.5% of the resamples lie below, and as many above.
    let beyond = RESAMPLES / 40;
    [shares[beyond], shares[RESAMPLES - 1 - beyond]].map(|right| right as f64 / rows as f64)
}

/// Steele, Lea and Flood 2014, *Fast Splittable Pseudorandom Number Generators*, figure 10: enough for resampling, and
/// the same numbers on every machine.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `bound` − 1. The bias, `bound` in 2⁶⁴, is far below what a resample can show.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// How far the top probability is from being right as often as it says: the mean over rows of |accuracy − mean
/// probability| of their bin, with 15 bins of equal width, each with its upper end. Guo et al. 2017, *On Calibration of
/// Modern Neural Networks*, section 2.
fn expected_calibration_error(answers: &[Answer]) -> f64 {
    // Per bin: right answers less the sum of probabilities, which is rows · (accuracy − mean probability).
    let mut gaps = [0.0; CALIBRATION_BINS];
    for answer in answers {
        let bin = (answer.probability * CALIBRATION_BINS as f64).ceil() as usize;
        gaps[bin.clamp(1, CALIBRATION_BINS) - 1] += f64::from(u8::from(answer.is_right())) - answer.probability;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / answers.len() as f64
}

/// Over all thresholds on the first field; the second says whether the row is negative. Rows of equal probability
/// cannot be told apart by a threshold, so they come in together.
fn recall_at_precision(scored: &[(f64, bool)], least_precision: f64) -> OperatingPoint {
    let negatives = scored.iter().filter(|(_, negative)| *negative).count();
    let mut ordered = scored.to_vec();
    ordered.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let mut best = OperatingPoint { least_precision, recall: None, precision: None, threshold: None };
    let (mut taken, mut hits) = (0, 0);
    for level in ordered.chunk_by(|(one, _), (other, _)| one == other) {
        taken += level.len();
        hits += level.iter().filter(|(_, negative)| *negative).count();
        let precision = hits as f64 / taken as f64;
        if hits == 0 || precision < least_precision {
            continue;
        }
        // Of equal recalls the first: its threshold is higher and its precision better.
        let recall = hits as f64 / negatives as f64;
        if best.recall.is_none_or(|best| recall > best) {
            best = OperatingPoint { least_precision, recall: Some(recall), precision: Some(precision), threshold: Some(level[0].0) };
        }
    }
    best
}

/// Words of the three lengths of text.
const LENGTHS: [(&str, Range<usize>); 3] = [("short", 0..10), ("medium", 10..25), ("long", 25..usize::MAX)];

/// The slices that a row is in.
fn places(case: &Case) -> impl Iterator<Item = (&'static str, String)> + '_ {
    let Shape { words, has_figures, has_negation } = case.shape;
    let length = LENGTHS.iter().find(|(_, range)| range.contains(&words)).map(|(name, _)| *name);
    let with = |has: bool| Some(if has { "with" } else { "without" });
    let named = [
        ("source", case.source.as_deref()),
        ("kind", case.kind.as_deref()),
        ("length", length),
        ("figures", with(has_figures)),
        ("negation", with(has_negation)),
    ];
    named.into_iter().filter_map(|(by, value)| Some((by, value?.to_owned())))
}

fn slices(cases: &[Case], predictions: &[Prediction]) -> Vec<Slice> {
    let mut members: BTreeMap<(&'static str, String), Vec<usize>> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate().filter(|(_, case)| case.sentiment.is_some() || case.topic.is_some()) {
        for place in places(case) {
            members.entry(place).or_default().push(index);
        }
    }
    let slice = |((by, value), members): ((&'static str, String), Vec<usize>)| {
        let both = || members.iter().map(|&index| (&cases[index], &predictions[index]));
        let sentiment = SliceAccuracy::of(both().filter_map(sentiment_answer));
        let topic = SliceAccuracy::of(both().filter_map(topic_answer));
        Slice { by, value, rows: members.len(), sentiment, topic }
    };
    let mut slices: Vec<Slice> = members.into_iter().map(slice).collect();
    let worst = |slice: &Slice| {
        let accuracies = [slice.sentiment, slice.topic].into_iter().flatten().map(|head| head.accuracy);
        accuracies.fold(f64::INFINITY, f64::min)
    };
    // Stable, so equally good slices stay in the order of their names.
    slices.sort_by(|one, other| {
        let few = |slice: &Slice| slice.rows < FULL_SLICE_ROWS;
        few(one).cmp(&few(other)).then(worst(one).total_cmp(&worst(other)))
    });
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(rows: &[(usize, usize, f64)]) -> Vec<Answer> {
        rows.iter().map(|&(truth, predicted, probability)| Answer { truth, predicted, probability }).collect()
    }

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn a_head_is_scored_as_by_hand() {
        // Truth and prediction: a a, a a, a b, b b, b c, and nothing of class d at all.
        let rows = answers(&[(0, 0, 0.9), (0, 0, 0.8), (0, 1, 0.6), (1, 1, 0.7), (1, 2, 0.5)]);
        let head = HeadReport::of(&rows, &["a", "b", "c", "d"]).unwrap();
        assert_eq!((head.rows, head.accuracy), (5, 0.6));
        assert_eq!(head.confusion.counts, [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]);
        let class = |label: &str, precision, recall, f1, support| ClassReport { label: label.into(), precision, recall, f1, support };
        assert_eq!(head.classes[0], class("a", Some(1.0), Some(2.0 / 3.0), Some(0.8), 3));
        assert_eq!(head.classes[1], class("b", Some(0.5), Some(0.5), Some(0.5), 2));
        // Predicted and never true: no recall. Neither: nothing can be said.
        assert_eq!(head.classes[2], class("c", Some(0.0), None, Some(0.0), 0));
        assert_eq!(head.classes[3], class("d", None, None, None, 0));
        assert_near(head.macro_f1, (0.8 + 0.5) / 2.0);
    }

    #[test]
    fn a_class_that_occurs_and_is_never_predicted_counts_as_0_in_the_macro_f1() {
        let head = HeadReport::of(&answers(&[(0, 0, 1.0), (1, 0, 1.0)]), &["a", "b"]).unwrap();
        assert_eq!((head.classes[1].precision, head.classes[1].recall, head.classes[1].f1), (None, Some(0.0), Some(0.0)));
        assert_near(head.macro_f1, (2.0 / 3.0) / 2.0);
        assert!(HeadReport::of(&[], &["a", "b"]).is_none());
    }

    #[test]
    fn the_calibration_error_is_the_weighted_gap_of_the_bins() {
        // Two rows in (14/15, 1], one of them right: |1 − 1.96| of 4. Two in (7/15, 8/15], both right: |2 − 1.0| of 4.
        let rows = answers(&[(0, 0, 0.98), (0, 1, 0.98), (1, 1, 0.5), (1, 1, 0.5)]);
        assert_near(expected_calibration_error(&rows), (0.96 + 1.0) / 4.0);
        // Neighbouring bins do not cancel each other out, rows of one bin do.
        assert_near(expected_calibration_error(&answers(&[(0, 0, 0.5), (0, 1, 0.5)])), 0.0);
        assert_near(expected_calibration_error(&answers(&[(0, 0, 0.55), (0, 1, 0.45)])), 0.45);
        assert_near(expected_calibration_error(&answers(&[(0, 0, 1.0)])), 0.0);
    }

    #[test]
    fn splitmix_gives_the_published_numbers() {
        let mut generator = SplitMix64(0);
        assert_eq!(
            [generator.next(), generator.next(), generator.next()],
            [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]
        );
    }

    #[test]
    fn the_bootstrap_interval_is_as_wide_as_the_binomial_and_always_the_same() {
        let [low, high] = bootstrap_interval(800, 1000);
        // 1.96 · √(0.8 · 0.2 / 1000) = 0.0248
        assert!((low - 0.7752).abs() < 0.004 && (high - 0.8248).abs() < 0.004, "{low} to {high}");
        assert_eq!(bootstrap_interval(800, 1000), [low, high]);
        assert_eq!((bootstrap_interval(7, 7), bootstrap_interval(0, 7)), ([1.0, 1.0], [0.0, 0.0]));
    }

    #[test]
    fn recall_at_a_precision_looks_at_all_thresholds() {
        // From the top: hit, hit, miss, hit, hit, miss, miss, hit. Precisions: 1, 1, 2/3, 3/4, 4/5, 4/6, 4/7, 5/8.
        let scored: Vec<(f64, bool)> =
            [(0.9, true), (0.8, true), (0.7, false), (0.6, true), (0.5, true), (0.4, false), (0.3, false), (0.2, true)].to_vec();
        let point = recall_at_precision(&scored, 0.8);
        assert_eq!((point.recall, point.precision, point.threshold), (Some(0.8), Some(0.8), Some(0.5)));
        let strict = recall_at_precision(&scored, 0.9);
        assert_eq!((strict.recall, strict.precision, strict.threshold), (Some(0.4), Some(1.0), Some(0.8)));
        let all = recall_at_precision(&scored, 0.6);
        assert_eq!((all.recall, all.precision, all.threshold), (Some(1.0), Some(0.625), Some(0.2)));
    }

    #[test]
    fn rows_of_equal_probability_come_in_together() {
        let tied = [(0.9, true), (0.9, false), (0.9, false), (0.4, true)];
        assert_eq!(recall_at_precision(&tied, 0.75).recall, None);
        assert_eq!(recall_at_precision(&tied, 0.5).recall, Some(1.0));
        // The same rows untied reach it; without negatives nothing does.
        assert_eq!(recall_at_precision(&[(0.9, true), (0.8, false), (0.4, true)], 0.75).recall, Some(0.5));
        assert_eq!(recall_at_precision(&[(0.9, false)], 0.0).recall, None);
        assert_eq!(recall_at_precision(&[], 0.8).threshold, None);
    }

    #[test]
    fn words_figures_and_negations_are_seen() {
        let shape = |words, has_figures, has_negation| Shape { words, has_figures, has_negation };
        assert_eq!(Shape::of("Bank won’t pay a dividend"), shape(5, false, true));
        assert_eq!(Shape::of("Profit up 3%, not down"), shape(5, true, true));
        assert_eq!(Shape::of("'No' says Norway; notable, nonetheless"), shape(5, false, true));
        assert_eq!(Shape::of("Notable cannon in Norway"), shape(4, false, false));
        assert_eq!(Shape::of(""), shape(0, false, false));
    }

    fn case(topic: Option<usize>, sentiment: Option<usize>, source: &str, text: &str) -> Case {
        Case { topic, sentiment, source: Some(source.into()), kind: None, shape: Shape::of(text) }
    }

    fn prediction(topic: usize, sentiment: usize) -> Prediction {
        Prediction { topic, topic_probability: 0.9, sentiment, sentiment_probability: 0.8, negative_probability: 0.1 }
    }

    #[test]
    fn slices_stand_worst_first_and_small_ones_last() {
        let mut cases = vec![case(Some(0), None, "tiny", "one two")];
        let mut predictions = vec![prediction(1, 0)];
        for index in 0..40 {
            // "good" is always right, "bad" in its topics every other time.
            let source = if index % 2 == 0 { "good" } else { "bad" };
            cases.push(case(Some(0), Some(2), source, &"word ".repeat(12)));
            predictions.push(prediction(usize::from(index % 4 == 1), 2));
        }
        cases.push(Case { source: Some("unlabelled".into()), ..Case::default() });
        predictions.push(prediction(0, 0));
        let accuracy = Accuracy::of(&cases, &predictions, &["a".into(), "b".into()]);
        let of = |slice: &Slice| (slice.by, slice.value.clone(), slice.rows);
        let order: Vec<_> = accuracy.slices.iter().map(of).collect();
        let expected = [
            ("source", "bad", 20),
            ("figures", "without", 41),
            ("negation", "without", 41),
            ("length", "medium", 40),
            ("source", "good", 20),
            ("length", "short", 1),
            ("source", "tiny", 1),
        ];
        assert_eq!(order, expected.map(|(by, value, rows)| (by, value.to_owned(), rows)));
        let bad = &accuracy.slices[0];
        assert_eq!((bad.sentiment.unwrap().accuracy, bad.topic.unwrap().accuracy), (1.0, 0.5));
        assert_eq!(accuracy.slices[6].sentiment, None);
        assert_eq!((accuracy.sentiment.unwrap().head.rows, accuracy.topic.unwrap().rows), (40, 41));
    }

    #[test]
    fn without_labels_there_is_nothing_but_the_speed() {
        let accuracy = Accuracy::of(&[Case::default()], &[prediction(0, 0)], &["a".into()]);
        assert!(accuracy.sentiment.is_none() && accuracy.topic.is_none() && accuracy.slices.is_empty());
        let throughput = Throughput::new(100, 4.0, Some(8.0));
        assert_eq!((throughput.texts_per_second, throughput.texts_per_cpu_second), (25.0, Some(12.5)));
        assert_eq!(Throughput::new(100, 4.0, Some(0.0)).texts_per_cpu_second, None);
    }
}

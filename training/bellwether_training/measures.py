"""What is measured of predictions: the same definitions as `src/evaluate.rs`, so that both print the same tables."""

import re
import unicodedata

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_curve, precision_recall_fscore_support

from .onnx_model import softmax

BINS = 15
RESAMPLES = 1000
_WORDS = re.compile(r"(?:[^\W_]|['’])+")
_NEGATIONS = frozenset("no not never none nor neither nobody nothing nowhere without cannot".split())


def measure(probabilities: np.ndarray, truth: np.ndarray, labels: list[str], sentiment: bool) -> dict:
    """Accuracy with a bootstrap interval (Efron 1979), macro-F1 over the classes that occur, per-class figures, confusion
    (rows: truth), expected calibration error (Guo et al. 2017, 15 bins); of sentiment also how well negative is found.

    `probabilities`: [rows, labels]; `truth`: label indices [rows].
    """
    predicted = probabilities.argmax(-1)
    right = predicted == truth
    present = sorted(set(truth.tolist()))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=0)
    low, high = interval(right)
    result = {
        "rows": len(truth),
        "accuracy": float(right.mean()),
        "accuracy_interval": [low, high],
        "macro_f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "calibration_error": calibration_error(probabilities, truth),
        "classes": {
            label: {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "rows": int(support[i])}
            for i, label in enumerate(labels)
        },
        "confusion": confusion_matrix(truth, predicted, labels=range(len(labels))).tolist(),
    }
    if sentiment:
        negative = labels.index("negative")
        for least in (0.75, 0.8):
            result[f"negative_recall_at_precision_{least}"] = recall_at(probabilities[:, negative], truth == negative, least)
    return result


def interval(right: np.ndarray, resamples: int = RESAMPLES, seed: int = 1) -> tuple[float, float]:
    """Percentile bootstrap 95% interval of a share."""
    # A resample's number of hits is binomial: no need to draw its rows.
    shares = np.random.default_rng(seed).binomial(len(right), right.mean(), resamples) / len(right)
    return tuple(float(x) for x in np.percentile(shares, (2.5, 97.5)))


def calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of the top probability, weighted by rows.

    A bin has its upper end, not its lower one (Guo et al. 2017, section 2).
    """
    top = probabilities.max(-1)
    right = probabilities.argmax(-1) == truth
    bins = np.ceil(top * BINS).astype(int)
    return float(sum(abs(top[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)))


def recall_at(score: np.ndarray, positive: np.ndarray, least_precision: float) -> dict:
    """The best recall over all thresholds whose precision is at least that, with the highest threshold that has it."""
    if not positive.any():
        return {"recall": 0.0, "threshold": 1.0}
    precision, recall, threshold = precision_recall_curve(positive, score)
    good = precision[:-1] >= least_precision
    if not good.any():
        return {"recall": 0.0, "threshold": 1.0}
    best = np.flatnonzero(good & (recall[:-1] == recall[:-1][good].max()))[-1]
    return {"recall": float(recall[best]), "threshold": float(threshold[best])}


def temperature(logits: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> float:
    """The temperature of least log loss (Guo et al. 2017, section 4.2), each group of rows (source) weighing alike."""
    weights = np.zeros(len(truth))
    for group in np.unique(groups):
        weights[groups == group] = 1 / (groups == group).sum()

    def loss(value: float) -> float:
        chosen = softmax(logits / value)[np.arange(len(truth)), truth]
        return float(-(weights * np.log(np.maximum(chosen, 1e-12))).sum())

    return float(minimize_scalar(loss, bounds=(0.3, 5.0), method="bounded").x)


def slices(texts: list[str], sources: list[str]) -> dict[str, np.ndarray]:
    """Named masks over rows: source, length in words, figures, negation."""
    words = np.array([len(text.split()) for text in texts])
    figures = np.array([any(unicodedata.category(character).startswith("N") for character in text) for text in texts])
    negation = np.array([any(map(_negates, _WORDS.findall(text))) for text in texts])
    found = {f"source {name}": np.array(sources) == name for name in sorted(set(sources))}
    return found | {
        "short: under 10 words": words < 10,
        "medium: 10 to 24 words": (words >= 10) & (words < 25),
        "long: 25 words or more": words >= 25,
        "with figures": figures,
        "without figures": ~figures,
        "with a negation": negation,
        "without a negation": ~negation,
    }


def _negates(word: str) -> bool:
    word = word.replace("’", "'").lower()
    return word.strip("'") in _NEGATIONS or word.endswith("n't")

"""What is measured is what was computed by hand."""

import numpy as np
import pytest

from bellwether_training import measures
from bellwether_training.onnx_model import softmax

LABELS = ["negative", "neutral", "positive"]


def test_accuracy_f1_and_confusion_are_those_computed_by_hand():
    # Truth: three negative, one neutral; predicted: negative, negative, neutral, neutral. Positive does not occur.
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]])
    found = measures.measure(probabilities, np.array([0, 0, 0, 1]), LABELS, sentiment=True)
    assert (found["rows"], found["accuracy"]) == (4, 0.75)
    assert found["classes"]["negative"] == pytest.approx({"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "rows": 3})
    assert found["classes"]["neutral"] == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "rows": 1})
    assert found["classes"]["positive"]["rows"] == 0
    # Over the classes that occur: with the third it would be a third less.
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["accuracy_interval"][0] < 0.75 < found["accuracy_interval"][1]
    assert "negative_recall_at_precision_0.75" in found


def test_calibration_error_is_the_gap_of_each_bin_weighed_by_its_rows():
    # Bin of 0.95: three rows, two right, gap 0.95 - 2/3. Bin of 0.55: one row, right, gap 0.45.
    probabilities = np.array([[0.95, 0.05]] * 3 + [[0.55, 0.45]])
    expected = 0.75 * (0.95 - 2 / 3) + 0.25 * 0.45
    assert measures.calibration_error(probabilities, np.array([0, 0, 1, 0])) == pytest.approx(expected)


def test_a_probability_on_the_edge_of_two_bins_is_in_the_lower_one():
    # 0.6 ends the 9th of 15 bins; 0.58 is in it, too: one bin with half right and a mean of 0.59.
    probabilities = np.array([[0.6, 0.4], [0.58, 0.42]])
    assert measures.calibration_error(probabilities, np.array([0, 1])) == pytest.approx(0.09)


def test_a_certain_and_right_model_has_no_calibration_error():
    assert measures.calibration_error(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 0


SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
NEGATIVE = np.array([True, False, True, True, False])


@pytest.mark.parametrize(
    "least, recall, threshold",
    [
        (0.75, 1.0, 0.6),  # 3 of 4 from 0.6 on
        (0.8, 1 / 3, 0.9),  # 2 of 3 and 3 of 4 are too few: only the first alone
        (0.5, 1.0, 0.6),  # all of them also from 0.1 on, at a worse precision
    ],
)
def test_recall_at_a_precision_is_the_best_over_all_thresholds(least, recall, threshold):
    assert measures.recall_at(SCORE, NEGATIVE, least) == pytest.approx({"recall": recall, "threshold": threshold})


def test_a_precision_that_no_threshold_reaches_has_no_recall():
    assert measures.recall_at(np.array([0.9, 0.1]), np.array([False, True]), 0.75)["recall"] == 0
    assert measures.recall_at(np.array([0.9, 0.1]), np.array([False, False]), 0.75)["recall"] == 0


def scaled(factor: float, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too large by `factor`, and labels drawn from the probabilities of the right ones."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(0, 1.5, (rows, 3))
    truth = (softmax(logits).cumsum(-1) > chance.random((rows, 1))).argmax(-1)
    return logits * factor, truth


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_recovers_a_known_scaling(factor):
    logits, truth = scaled(factor, 20_000, seed=1)
    # The standard error of the estimate is about 1% at so many rows.
    assert measures.temperature(logits, truth, np.zeros(len(truth))) == pytest.approx(factor, rel=0.05)


def test_the_temperature_lowers_the_calibration_error():
    logits, truth = scaled(2.5, 5000, seed=2)
    fitted = measures.temperature(logits, truth, np.zeros(len(truth)))
    assert measures.calibration_error(softmax(logits / fitted), truth) < measures.calibration_error(softmax(logits), truth) / 2


def test_a_source_of_many_rows_has_no_more_say_in_the_temperature():
    one, two = scaled(1.0, 800, seed=3), scaled(3.0, 800, seed=4)

    def fitted(times: int) -> float:
        parts = [one] * times + [two]
        groups = np.repeat(["one"] * times + ["two"], 800)
        return measures.temperature(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), groups)

    assert fitted(9) == pytest.approx(fitted(1), abs=1e-3)


def test_the_interval_covers_the_true_share_as_often_as_it_says():
    chance, covered = np.random.default_rng(5), 0
    for number in range(400):
        low, high = measures.interval(chance.random(300) < 0.8, seed=number)
        covered += low <= 0.8 <= high
    # 95% ± three standard deviations of 400 draws.
    assert 0.917 <= covered / 400 <= 0.983


def test_the_interval_of_a_share_of_one_is_a_point():
    assert measures.interval(np.ones(50, dtype=bool)) == (1.0, 1.0)


def test_slices_are_those_of_the_production_binary():
    texts = ["No gain", "Profit didn’t rise 3%", "Half of it: ½", "one two three four five six seven eight nine ten", "not " * 25, "Noah nothings around"]
    found = measures.slices(texts, ["wire", "desk", "desk", "wire", "wire", "wire"])
    masks = {name: np.flatnonzero(mask).tolist() for name, mask in found.items()}
    assert masks["source desk"] == [1, 2]
    assert (masks["short: under 10 words"], masks["medium: 10 to 24 words"], masks["long: 25 words or more"]) == ([0, 1, 2, 5], [3], [4])
    assert (masks["with figures"], masks["without figures"]) == ([1, 2], [0, 3, 4, 5])
    assert (masks["with a negation"], masks["without a negation"]) == ([0, 1, 4], [2, 3, 5])

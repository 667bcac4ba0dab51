"""The table of variants: costs and accuracies are those of the answers, a cascade asks again where it says, and the picture shows all."""

import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bellwether_training import variants
from bellwether_training.evaluate import Labelled
from bellwether_training.onnx_model import OnnxModel

LABELS = {"topic": ["Earnings", "Macro"], "sentiment": ["negative", "neutral", "positive"]}


@pytest.fixture
def everything() -> dict[str, Labelled]:
    return {"set": Labelled(["a", "b", "c", "d"], ["s"] * 4, {"topic": ["Macro", None, "Earnings", "Macro"], "sentiment": ["negative", "neutral", None, "positive"]})}


def logits(topics: list[int], sentiments: list[int]) -> dict[str, dict[str, np.ndarray]]:
    """Sure of these labels."""
    return {"set": {"topic": 9 * np.eye(2)[topics], "sentiment": 9 * np.eye(3)[sentiments]}}


def test_only_labelled_texts_are_judged(everything):
    found = variants.score(logits([1, 1, 1, 1], [0, 1, 1, 1]), everything, LABELS, {"topic": 1.0, "sentiment": 1.0})
    assert {name: (entry["rows"], round(entry["accuracy"], 3)) for name, entry in found.items()} == {"set · topic": (3, 0.667), "set · sentiment": (3, 0.667)}
    assert found["set · sentiment"]["negative"] == {"precision": 1.0, "recall": 1.0}


def test_a_cascade_asks_again_where_the_small_model_sees_a_chance_of_negative(everything):
    small, full = logits([0, 0, 0, 0], [0, 1, 2, 0]), logits([1, 1, 1, 1], [2, 2, 2, 2])
    joined, share = variants.cascade(small, full, 0, 0.5)
    assert share == 0.5
    assert joined["set"]["sentiment"].argmax(-1).tolist() == [2, 1, 2, 2] and joined["set"]["topic"].argmax(-1).tolist() == [1, 0, 0, 1]
    assert variants.cascade(small, full, 0, 0.0)[1] == 1 and variants.cascade(small, full, 0, 1.1)[1] == 0


def test_sets_below_the_interval_are_named():
    base = {"one": {"accuracy": 0.9, "accuracy_interval": [0.88, 0.92]}, "two": {"accuracy": 0.8, "accuracy_interval": [0.75, 0.85]}}
    assert variants.beaten({"one": {"accuracy": 0.87}, "two": {"accuracy": 0.75}}, base) == ["one"]


def test_twice_the_work_is_half_as_fast(built, monkeypatch):
    """Told by a clock that advances by what each model costs."""
    clock = [0.0]

    class Costly:
        def __init__(self, seconds: float):
            self.seconds = seconds

        def logits(self, texts, batch=16):
            clock[0] += self.seconds * len(texts)

    monkeypatch.setattr(variants.time, "process_time", lambda: clock[0])
    found = variants.pace({"base": Costly(0.01), "slow": Costly(0.02)}, ["text"] * 8)
    assert found["base"]["times_as_fast"] == 1 and found["slow"] == {"texts_per_cpu_second": 50.0, "times_as_fast": 0.5, "extremes": [0.5, 0.5]}


def test_the_forms_of_a_model_are_measured_written_and_drawn(built, tmp_path):
    forms = variants.forms(built.model, tmp_path / "forms", ["Shares fall", "Rates rise"])
    small = OnnxModel(tmp_path / "forms", "fused.onnx", threads=1)
    everything = variants.evaluate.sets(built.config, built.splits, built.training)
    found = variants.run(forms | {"pupil": variants.Variant(small, "a stand-in", pupil=True)}, everything, tmp_path / "answers", rounds=1)
    entries = found["variants"]
    assert len(entries) == len(forms) + 1 + len(variants.DOUBTS)
    assert entries["rows-64"]["times_as_fast"] == 1 and not entries["rows-64"]["below_the_interval"]
    assert all(entry["moved_by_batch_mates"] < 0.01 for name, entry in entries.items() if name in forms)
    earlier = {"variants": {"measured before": next(iter(entries.values()))}}
    (tmp_path / "variants.json").write_text(json.dumps(earlier))
    (tmp_path / "variants.md").write_text("Before.\n\n<!-- table -->\nold\n<!-- end -->\n\nAfter.\n")
    variants.write(found, tmp_path)
    page, picture = (tmp_path / "variants.md").read_text(), (tmp_path / "variants.svg").read_text()
    assert page.startswith("Before.") and page.endswith("After.\n") and "old" not in page
    assert json.loads((tmp_path / "variants.json").read_text())["variants"] == {**entries, **earlier["variants"]}
    for name in (*entries, "measured before"):
        assert f"| {name} |" in page and f"<!-- {name} -->" in picture


def test_names_without_room_are_in_the_picture_all_the_same():
    axes = FigureCanvasAgg(Figure()).figure.add_subplot()
    names = [f"variant {place}" for place in range(4)]
    variants._name(axes, [(name, 1.0, 90.0) for name in names], reach=4)
    assert [text.get_text() for text in axes.texts] == names

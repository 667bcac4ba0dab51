"""Measures a model directory on everything that was set aside: tables and pictures, and `metrics.json` beside the model."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import measures, prepare
from .config import Config
from .onnx_model import OnnxModel, softmax

HEADS = ("topic", "sentiment")


@dataclass
class Labelled:
    """A set to judge by. `labels[head]` holds a label or None for every text."""

    texts: list[str]
    sources: list[str]
    labels: dict[str, list[str | None]]


def sets(config: Config, splits: Path, training: Path) -> dict[str, Labelled]:
    """Test rows by source, the judging sets that have labels, and the sample of live news."""
    found: dict[str, Labelled] = {}

    def add(name: str, text: str, source: str, topic: str | None, sentiment: str | None) -> None:
        entry = found.setdefault(name, Labelled([], [], {head: [] for head in HEADS}))
        entry.texts.append(text)
        entry.sources.append(source)
        entry.labels["topic"].append(topic)
        entry.labels["sentiment"].append(sentiment)

    for row in prepare.load(splits, "test"):
        add(row.source, row.text, row.source, row.topic, row.sentiment)
    sample_file = training / "news_sample.jsonl"
    sample = {entry["id"]: entry for entry in map(json.loads, open(sample_file))} if sample_file.exists() else {}
    for row in prepare.load(splits, "judge"):
        if row.id in sample:
            add(f"{row.source}-sample", row.text, row.source, sample[row.id]["topic"], sample[row.id]["sentiment"])
        elif row.topic or row.sentiment:
            add(row.source, row.text, row.source, row.topic, row.sentiment)
    return found


def run(config: Config, splits: Path, training: Path, directory: Path, figures: Path | None = None, progress=lambda items, _: items) -> dict:
    """Measures `model.int8.onnx` (and fp32 where it lies beside it), writes `metrics.json`, and pictures below `figures`."""
    model = OnnxModel(directory)
    float_model = OnnxModel(directory, "model.onnx") if (directory / "model.onnx").exists() else None
    result: dict = {"model": model.config["name"], "file": "model.int8.onnx", "sha256": _fingerprint(directory), "temperatures": model.temperatures,
                    "sets": {}, "slices": []}
    everything = sets(config, splits, training)
    for name, labelled in progress(list(everything.items()), "evaluating"):
        logits = model.logits(labelled.texts)
        float_logits = float_model.logits(labelled.texts) if float_model else None
        calibrated = model.probabilities(logits)
        entry = result["sets"].setdefault(name, {})
        masks = measures.slices(labelled.texts, labelled.sources)
        for head in HEADS:
            known = np.array([i for i, label in enumerate(labelled.labels[head]) if label], dtype=int)
            if not len(known):
                continue
            labels = model.labels[head]
            truth = np.array([labels.index(labelled.labels[head][i]) for i in known])
            measured = measures.measure(calibrated[head][known], truth, labels, head == "sentiment")
            measured["calibration_error_before"] = measures.calibration_error(softmax(logits[head][known]), truth)
            if float_logits is not None:
                expected = float_logits[head][known].argmax(-1)
                measured["fp32"] = {
                    "accuracy": float((expected == truth).mean()),
                    "same_label": float((expected == calibrated[head][known].argmax(-1)).mean()),
                }
            entry[head] = measured
            right = calibrated[head][known].argmax(-1) == truth
            for what, mask in masks.items():
                if mask[known].sum() >= 30:
                    result["slices"].append({"set": name, "head": head, "slice": what, "rows": int(mask[known].sum()),
                                             "accuracy": float(right[mask[known]].mean())})
            if figures:
                _draw(figures, name, head, labels, measured, calibrated[head][known], softmax(logits[head][known]), truth)
    result["slices"].sort(key=lambda entry: entry["accuracy"])
    result["behaviour"] = behaviour(model, training / "behaviour.jsonl")
    texts = [text for labelled in everything.values() for text in labelled.texts][:1000]
    result["texts_per_cpu_second"] = round(model.texts_per_cpu_second(texts), 1)
    path = directory / "metrics.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    # What the binary measured (its own tables, the reference of the drift monitor) is kept while the model is the same.
    kept = [key for key in ("reference", "binary") if key in before and before.get("sha256") == result["sha256"]]
    path.write_text(json.dumps({**{key: before[key] for key in kept}, **result}, indent=1) + "\n")
    return result


def _fingerprint(directory: Path) -> str:
    """Of what decides the probabilities: weights, tokenizer, temperatures."""
    return hashlib.sha256(b"".join((directory / name).read_bytes() for name in ("model.int8.onnx", "tokenizer.json", "config.json"))).hexdigest()


def behaviour(model: OnnxModel, path: Path) -> dict:
    """Share of the behaviour cases that are read right, by kind."""
    cases = [json.loads(line) for line in open(path)]
    predicted = model.logits([case["text"] for case in cases])["sentiment"].argmax(-1)
    right = [model.labels["sentiment"][choice] == case["sentiment"] for choice, case in zip(predicted, cases)]
    kinds = {kind: [ok for ok, case in zip(right, cases) if case["kind"] == kind] for kind in sorted({case["kind"] for case in cases})}
    return {"cases": len(cases), "passed": float(np.mean(right)), "kinds": {kind: float(np.mean(oks)) for kind, oks in kinds.items()}}


def _draw(folder: Path, name: str, head: str, labels, measured: dict, after: np.ndarray, before: np.ndarray, truth: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    confusion = np.array(measured["confusion"])
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    size = 3.4 if len(labels) < 6 else 9
    figure, axes = pyplot.subplots(figsize=(size + 1.2, size), constrained_layout=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=60 if len(labels) > 6 else 0, ha="right" if len(labels) > 6 else "center")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    for row in range(len(labels)):
        for column in range(len(labels)):
            if confusion[row, column]:
                axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=8 if len(labels) > 6 else 10,
                          color="white" if shares[row, column] > 0.55 else "black")
    axes.set_title(f"{name}: {head}, accuracy {measured['accuracy']:.3f} of {measured['rows']}")
    figure.savefig(folder / f"{name}.{head}.confusion.png", dpi=80)
    pyplot.close(figure)

    figure, axes = pyplot.subplots(figsize=(4.2, 4), constrained_layout=True)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    for what, probabilities, style in (("before", before, ":"), ("after", after, "-")):
        top, right = probabilities.max(-1), probabilities.argmax(-1) == truth
        bins = np.minimum((top * 10).astype(int), 9)
        used = [b for b in range(10) if (bins == b).sum() >= 5]
        axes.plot([top[bins == b].mean() for b in used], [right[bins == b].mean() for b in used], style, marker="o", color="#1f4e79",
                  label=f"{what} temperature scaling: {measures.calibration_error(probabilities, truth):.3f}")
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(title="calibration error", loc="lower right", fontsize=8)
    axes.set_title(f"{name}: {head}")
    figure.savefig(folder / f"{name}.{head}.reliability.png", dpi=80)
    pyplot.close(figure)


def tables(result: dict) -> str:
    """The figures as text, for the terminal."""
    lines = []
    for name, heads in result["sets"].items():
        for head, measured in heads.items():
            low, high = measured["accuracy_interval"]
            lines.append(f"{name} · {head}: accuracy {measured['accuracy']:.3f} [{low:.3f}, {high:.3f}] of {measured['rows']}, macro-F1 "
                         f"{measured['macro_f1']:.3f}, calibration error {measured['calibration_error_before']:.3f} → {measured['calibration_error']:.3f}"
                         + (f", fp32 {measured['fp32']['accuracy']:.3f}" if "fp32" in measured else ""))
            if head == "sentiment":
                negative = measured["classes"]["negative"]
                lines.append(f"    negative: precision {negative['precision']:.3f}, recall {negative['recall']:.3f}; recall at precision 0.75 "
                             f"{measured['negative_recall_at_precision_0.75']['recall']:.3f}, at 0.8 {measured['negative_recall_at_precision_0.8']['recall']:.3f}")
    lines.append("worst slices: " + "; ".join(f"{s['set']} {s['head']} {s['slice']} {s['accuracy']:.3f} of {s['rows']}" for s in result["slices"][:8]))
    kinds = ", ".join(f"{kind} {share:.2f}" for kind, share in result["behaviour"]["kinds"].items())
    lines.append(f"behaviour: {result['behaviour']['passed']:.3f} of {result['behaviour']['cases']} ({kinds})")
    lines.append(f"{result['texts_per_cpu_second']} texts per CPU-second")
    return "\n".join(lines)

"""Accuracy against cost of every form that the shipped model was tried in: other graphs and roundings of its weights, pupils of fewer
layers, and cascades. Writes `variants.json`, `variants.svg` and the table of `variants.md`; costs are ratios of alternating runs."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import evaluate, measures, quantize
from .evaluate import HEADS, Labelled
from .onnx_model import OnnxModel, softmax

# What all are compared with: weights in blocks of 64, attention and norms as the export has them.
BASE = "rows-64"
ROUNDS = 5
# Texts a round: enough that a round is longer than a change of the machine's clock, short enough to alternate.
TIMED = 160
# A cascade asks the full model where the small one gives negative at least this.
DOUBTS = (0.02, 0.05, 0.1, 0.2)
ALONE = 64


@dataclass
class Variant:
    """A model and what it is; `pupil` where its weights are not the shipped ones."""

    model: OnnxModel
    what: str
    pupil: bool = False


def forms(directory: Path, folder: Path, calibration: list[str]) -> dict[str, Variant]:
    """The weights of `directory`'s `model.onnx`, written in other ways into `folder`; one thread each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((directory / name).read_bytes())
    quantize.make("rows-64", directory, folder / "rows-64.onnx", [])
    quantize.make("fused", directory, folder / "fused-plain.onnx", [])
    quantize.make("fused", directory, folder / "fused.onnx", calibration)
    made = {"rows-64.onnx": (BASE, "weights in blocks of 64"), "fused-plain.onnx": ("fused, columns as they are", "graph by hand, whole products"),
            "fused.onnx": ("fused", "the same, columns of activations evened out")}
    return {name: Variant(OnnxModel(folder, file, threads=1), what) for file, (name, what) in made.items()}


def pace(models: dict[str, OnnxModel], texts: list[str], rounds: int = ROUNDS, batch: int = 16) -> dict[str, dict]:
    """CPU time a text of one thread: median over `rounds` of the ratio to the first model in the same round, and its extremes."""
    cost = {name: [] for name in models}
    for model in models.values():
        model.logits(texts[:32], batch)
    for _ in range(rounds):
        for name, model in models.items():
            started = time.process_time()
            model.logits(texts, batch)
            cost[name].append((time.process_time() - started) / len(texts))
    base = np.array(cost[next(iter(models))])
    ratios = {name: base / np.array(values) for name, values in cost.items()}
    return {name: {"texts_per_cpu_second": round(float(1 / np.median(cost[name])), 1), "times_as_fast": round(float(np.median(ratio)), 3),
                   "extremes": [round(float(ratio.min()), 3), round(float(ratio.max()), 3)]} for name, ratio in ratios.items()}


def score(logits: dict[str, dict[str, np.ndarray]], everything: dict[str, Labelled], labels: dict[str, list[str]], temperatures: dict) -> dict:
    """`logits[set][head]` → by set and head accuracy with its interval, of sentiments also precision and recall of negative."""
    result: dict = {}
    for name, labelled in everything.items():
        for head in HEADS:
            known = np.array([i for i, label in enumerate(labelled.labels[head]) if label], dtype=int)
            if not len(known):
                continue
            truth = np.array([labels[head].index(labelled.labels[head][i]) for i in known])
            measured = measures.measure(softmax(logits[name][head][known] / temperatures[head]), truth, labels[head], head == "sentiment")
            entry = {key: measured[key] for key in ("rows", "accuracy", "accuracy_interval", "macro_f1", "calibration_error")}
            if head == "sentiment":
                entry["negative"] = {key: measured["classes"]["negative"][key] for key in ("precision", "recall")}
            result[f"{name} · {head}"] = entry
    return result


def cascade(small: dict, full: dict, negative: int, doubt: float) -> tuple[dict, float]:
    """The small model's logits, and the full model's for texts to which the small one gives negative `doubt` or more; their share."""
    asked, total, result = 0, 0, {}
    for name, heads in small.items():
        again = softmax(heads["sentiment"])[:, negative] >= doubt
        asked, total = asked + int(again.sum()), total + len(again)
        result[name] = {head: np.where(again[:, None], full[name][head], values) for head, values in heads.items()}
    return result, asked / total


def mean(scores: dict) -> float:
    """Of the accuracies, every set and head alike."""
    return float(np.mean([entry["accuracy"] for entry in scores.values()]))


def beaten(one: dict, shipped: dict) -> list[str]:
    """Sets on which the accuracy lies below the shipped model's interval."""
    return [name for name, entry in one.items() if entry["accuracy"] < shipped[name]["accuracy_interval"][0]]


def entry(variant: Variant, speed: dict, texts: list[str], scores: dict) -> dict:
    """A line of the table."""
    few = texts[:ALONE]
    alone, mates = variant.model.logits(few, batch=1), variant.model.logits(few, batch=len(few))
    moved = max(float(np.abs(alone[head] - mates[head]).max()) for head in HEADS)
    return {"what": variant.what, **speed, "moved_by_batch_mates": moved, "mean_accuracy": mean(scores), "sets": scores}


def run(variants: dict[str, Variant], everything: dict[str, Labelled], cache: Path, base: str = BASE, rounds: int = ROUNDS) -> dict:
    """Measures all variants, and cascades of every pupil before the fastest that is no pupil. Answers are kept in `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    texts = [text for labelled in everything.values() for text in labelled.texts[:: max(1, len(labelled.texts) // 40)]][:TIMED]
    speed = pace({base: variants[base].model} | {name: variant.model for name, variant in variants.items()}, texts, rounds)
    labels, answers, result = variants[base].model.labels, {}, {}
    for name, variant in variants.items():
        file = cache / f"{name.replace(', ', '-').replace(' ', '-')}.npz"
        if not file.exists():
            made = {set_: variant.model.logits(labelled.texts) for set_, labelled in everything.items()}
            np.savez(file, **{f"{set_}/{head}": values for set_, heads in made.items() for head, values in heads.items()})
        with np.load(file) as stored:
            answers[name] = {set_: {head: stored[f"{set_}/{head}"] for head in HEADS} for set_ in everything}
        result[name] = entry(variant, speed[name], texts, score(answers[name], everything, labels, variant.model.temperatures))
    whole = max((name for name, variant in variants.items() if not variant.pupil), key=lambda name: speed[name]["times_as_fast"])
    for name, variant in variants.items():
        for doubt in DOUBTS if variant.pupil else ():
            joined, share = cascade(answers[name], answers[whole], labels["sentiment"].index("negative"), doubt)
            scores = score(joined, everything, labels, variants[whole].model.temperatures)
            cost = 1 / speed[name]["times_as_fast"] + share / speed[whole]["times_as_fast"]
            result[f"{name}, then {whole} from {doubt:g}"] = {
                "what": f"{whole} where {name} gives negative {doubt:g} or more", "asked_again": round(share, 4),
                "times_as_fast": round(1 / cost, 3), "mean_accuracy": mean(scores), "sets": scores}
    for line in result.values():
        line["below_the_interval"] = beaten(line["sets"], result[base]["sets"])
    return {"variants": result}


def draw(found: dict, target: Path) -> None:
    """Mean accuracy against speed, a labelled point for every variant."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "variants"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), constrained_layout=True)
    places = sorted(found["variants"].items(), key=lambda item: item[1]["mean_accuracy"])
    for _, entry in places:
        held = not entry["below_the_interval"]
        axes.plot(entry["times_as_fast"], 100 * entry["mean_accuracy"], "o" if held else "x", color="#1f4e79" if held else "#b03a2e")
    axes.set_xlabel("texts a CPU-second, as a multiple of rows-64")
    axes.set_ylabel("mean accuracy over all sets and heads, %")
    axes.set_title("dots: within the 95% interval of rows-64 on every set; crosses: below it on some")
    axes.margins(x=0.2)
    axes.grid(alpha=0.3)
    _name(axes, [(name, entry["times_as_fast"], 100 * entry["mean_accuracy"]) for name, entry in places])
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def _name(axes, places: list[tuple[str, float, float]], reach: int = 200) -> None:
    """Writes each name beside its point, or as near as there is room, with a line to the point then; over others where there is none within `reach` points."""
    from matplotlib.transforms import Bbox

    axes.figure.canvas.draw()
    renderer = axes.figure.canvas.get_renderer()
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in (axes.transData.transform(place[1:]) for place in places)]
    for name, x, y in places:
        for away in (away for distance in range(0, reach, 4) for up in (distance, -distance) for away in ((6, up), (-6, up))):
            far = abs(away[1]) > 8
            label = axes.annotate(name, (x, y), fontsize=7, xytext=away, textcoords="offset points", ha="left" if away[0] > 0 else "right", va="center",
                                  arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "#8a949e"} if far else None)
            box = label.get_window_extent(renderer)
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()
        else:
            axes.annotate(name, (x, y), fontsize=7, xytext=(6, 0), textcoords="offset points", va="center")


def table(found: dict) -> str:
    """The variants as a table in Markdown."""
    sets = list(next(iter(found["variants"].values()))["sets"])
    lines = ["| variant | times as fast | moved by batch mates | " + " | ".join(sets) + " | mean |", "|---|---|---|" + "---|" * (len(sets) + 1)]
    for name, entry in found["variants"].items():
        moved = f"{entry['moved_by_batch_mates']:.1g}" if "moved_by_batch_mates" in entry else ""
        accuracies = [f"{entry['sets'][key]['accuracy']:.3f}" for key in sets]
        lines.append(f"| {name} | {entry['times_as_fast']:.2f} | {moved} | " + " | ".join(accuracies) + f" | {entry['mean_accuracy']:.4f} |")
    lines += ["", "Recall of negative:", "", "| variant | " + " | ".join(key for key in sets if key.endswith("sentiment")) + " |"]
    lines.append("|---|" + "---|" * sum(key.endswith("sentiment") for key in sets))
    for name, entry in found["variants"].items():
        lines.append(f"| {name} | " + " | ".join(f"{entry['sets'][key]['negative']['recall']:.3f}" for key in sets if key.endswith("sentiment")) + " |")
    return "\n".join(lines) + "\n"


def write(found: dict, docs: Path) -> None:
    """`variants.json`, `variants.svg` and `variants.md`, whose text outside of the table stays, and so do variants measured before."""
    file = docs / "variants.json"
    before = json.loads(file.read_text())["variants"] if file.exists() else {}
    found = {"variants": {**found["variants"], **{name: entry for name, entry in before.items() if name not in found["variants"]}}}
    file.write_text(json.dumps(found, indent=1) + "\n")
    draw(found, docs / "variants.svg")
    page, begin, end = docs / "variants.md", "<!-- table -->\n", "<!-- end -->"
    before = page.read_text() if page.exists() else f"{begin}{end}\n"
    head, rest = before.split(begin)
    page.write_text(f"{head}{begin}\n{table(found)}\n{end}{rest.split(end)[1]}")

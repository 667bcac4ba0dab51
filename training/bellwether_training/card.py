"""Writes MODEL_CARD.md from what was measured, has the production binary measure too, and lists checksums."""

import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

from . import evaluate
from .config import Config

SHIPPED = ("model.int8.onnx", "tokenizer.json", "config.json", "metrics.json")


def run(config: Config, splits: Path, training: Path, directory: Path, binary: Path | None) -> None:
    """Raises CalledProcessError when the binary fails on one of the sets."""
    if binary:
        measure_with(binary, config, splits, training, directory)
    metrics = json.loads((directory / "metrics.json").read_text())
    report = json.loads((splits / "report.json").read_text())
    quantized = json.loads((directory / "quantize.json").read_text())
    # What a cased tokenizer does to casing is for its own card to say.
    normalizer = json.loads((directory / "tokenizer.json").read_text()).get("normalizer") or {}
    (directory / "MODEL_CARD.md").write_text(_card(config, metrics, report, quantized, bool(normalizer.get("lowercase"))), encoding="utf-8")
    checksum(directory)


def checksum(directory: Path) -> None:
    """SHA256SUMS over every file that is loaded in production; `bellwether` refuses a directory that does not agree with it."""
    files = [directory / name for name in SHIPPED if (directory / name).exists()] + sorted(
        file for file in directory.glob("*.onnx") if file.name not in SHIPPED
    )
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (directory / "SHA256SUMS").write_text("".join(lines))


def measure_with(binary: Path, config: Config, splits: Path, training: Path, directory: Path) -> None:
    """`bellwether evaluate` on every set, into `metrics.json` under "binary"; and the drift monitor's "reference".

    The reference is what the model says of the unlabelled judging set (live news), or of the test rows where there is none.
    """
    checksum(directory)
    found: dict = {}
    with tempfile.TemporaryDirectory() as temporary:
        rows, output = Path(temporary) / "rows.jsonl", Path(temporary) / "out.json"

        def call(*options: str) -> dict:
            subprocess.run([str(binary), "evaluate", "--device", "cpu", "--model", str(directory), "--data", str(rows), *options],
                           check=True, stdout=subprocess.DEVNULL)
            return json.loads(output.read_text())

        everything = evaluate.sets(config, splits, training)
        cases = [json.loads(line) for line in open(training / "behaviour.jsonl")]
        everything["behaviour"] = evaluate.Labelled(
            [case["text"] for case in cases], [case["kind"] for case in cases],
            {"topic": [None] * len(cases), "sentiment": [case["sentiment"] for case in cases]},
        )
        for name, labelled in everything.items():
            with open(rows, "w") as file:
                for text, source, topic, sentiment in zip(labelled.texts, labelled.sources, *labelled.labels.values()):
                    labels = {key: value for key, value in (("topic", topic), ("sentiment", sentiment)) if value}
                    file.write(json.dumps({"text": text, "source": source, **labels}) + "\n")
            found[name] = call("--json", str(output))
            # A path of this machine, and one that is gone by then.
            found[name].pop("files", None)
        from . import prepare

        live = [row for row in prepare.load(splits, "judge") if not row.sentiment] or prepare.load(splits, "test")
        rows.write_text("".join(json.dumps({"text": row.text}) + "\n" for row in live))
        reference = call("--reference", str(output))
    path = directory / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["binary"], metrics["reference"] = found, reference
    path.write_text(json.dumps(metrics, indent=1) + "\n")


def _share(value: float) -> str:
    return f"{value:.3f}"


def _interval(measured: dict) -> str:
    low, high = measured["accuracy_interval"]
    return f"{measured['accuracy']:.3f} [{low:.3f}, {high:.3f}]"


def _card(config: Config, metrics: dict, report: dict, quantized: dict, uncased: bool) -> str:
    settings = config.training
    shipped = config.name.startswith("finnews")
    lines = [
        f"# {config.name}",
        "",
        f"Topic ({len(config.labels.topic)} labels) and sentiment (negative, neutral, positive) of financial news in {config.encoder.languages}, from one encoder with two "
        f"heads. Made from `{config.encoder.base_model}` ({config.encoder.license}) by `training/` of this repository with "
        + ("the configuration of this name; `training/LABELS.md` says what the labels mean, `training/LOG.md` what else was tried." if shipped
           else "a configuration of your own."),
        "",
        "## Use",
        "",
        "For counting how news about a topic, a company or a market turns, item by item in a stream, as Bellwether does; not for judging a single item "
        f"without a reader, not for trading on its own word, not for other languages than {config.encoder.languages}, and not for texts about private persons.",
        "Texts are cleaned as in `training/bellwether_training/text.py` (HTML entities undone twice, URLs removed, white space collapsed); a title and its "
        f"summary are joined by a full stop; what is longer than {config.encoder.max_length} tokens is cut."
        + (" The tokenizer is uncased: casing changes nothing." if uncased else ""),
        "",
        "## How good it is",
        "",
        "int8 as shipped; accuracy with its bootstrap 95% interval. No row of these sets, nor a near duplicate of one, was trained on.",
        "",
        "| set | head | rows | accuracy | macro-F1 | calibration error before → after | fp32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, heads in metrics["sets"].items():
        for head, m in heads.items():
            whole = _share(m["fp32"]["accuracy"]) if "fp32" in m else ""
            lines.append(f"| {name} | {head} | {m['rows']} | {_interval(m)} | {_share(m['macro_f1'])} | "
                         f"{_share(m['calibration_error_before'])} → {_share(m['calibration_error'])} | {whole} |")
    lines += ["", "How well *negative* is found, the class that matters:", "",
              "| set | precision | recall | recall at precision 0.75 | recall at precision 0.80 |", "|---|---|---|---|---|"]
    for name, heads in metrics["sets"].items():
        if "sentiment" in heads:
            m, negative = heads["sentiment"], heads["sentiment"]["classes"]["negative"]
            lines.append(f"| {name} | {_share(negative['precision'])} | {_share(negative['recall'])} | "
                         f"{_share(m['negative_recall_at_precision_0.75']['recall'])} | {_share(m['negative_recall_at_precision_0.8']['recall'])} |")
    behaviour = metrics["behaviour"]
    lines += ["", f"Behaviour cases (`training/behaviour.jsonl`): {behaviour['passed']:.3f} of {behaviour['cases']}; "
              + ", ".join(f"{kind} {share:.2f}" for kind, share in behaviour["kinds"].items()) + ".", "",
              "The worst slices of thirty rows or more:", "", "| set | head | slice | rows | accuracy |", "|---|---|---|---|---|"]
    lines += [f"| {s['set']} | {s['head']} | {s['slice']} | {s['rows']} | {_share(s['accuracy'])} |" for s in metrics["slices"][:10]]
    if "binary" in metrics:
        lines += ["", "The same sets by `bellwether evaluate`, the program that runs in production:", "", "| set | head | rows | accuracy |", "|---|---|---|---|"]
        for name, entry in metrics["binary"].items():
            for head in evaluate.HEADS:
                if entry.get("heads", entry).get(head):
                    m = entry.get("heads", entry)[head]
                    lines.append(f"| {name} | {head} | {m['rows']} | {_share(m['accuracy'])} |")
    lines += ["", "Confusion matrices and reliability diagrams are drawn into `figures/` beside the model by `evaluate`.", "",
              "## What it was trained on", "", "| source | training rows | licence | origin |", "|---|---|---|---|"]
    rows = report["splits"]["train"]["by source"]
    lines += [f"| {s.name} | {rows.get(s.name, 0)} | {s.license} | {s.origin} |" for s in config.source if s.role == "train"]
    lines += ["", "Only to be judged by: " + "; ".join(f"{s.name} ({s.license}; {s.origin})" for s in config.source if s.role == "evaluate") + ".",
              "", f"{settings.epochs:g} epochs, batches of {settings.batch_size}, AdamW with learning rate {settings.learning_rate:g}"
              + (f", {settings.layer_decay:g} times that for each layer further down" if settings.layer_decay < 1 else "")
              + f", label smoothing {settings.label_smoothing:g}"
              + (f", running average of the weights (decay {settings.ema:g})" if settings.ema else "")
              + (", word embeddings left as they were" if settings.freeze_embeddings else "") + f", seed {config.seed}.",
              "", "## int8", "", "| variant | MB | texts per CPU-second | topic | sentiment | same label alone as batched | largest move of a probability by batch mates |",
              "|---|---|---|---|---|---|---|"]
    for name, v in quantized["variants"].items():
        lines.append(f"| {name}{' (shipped)' if name == quantized['chosen'] else ''} | {v['megabytes']} | {v['texts_per_cpu_second']} | "
                     f"{v['topic']['accuracy']:.4f} | {v['sentiment']['accuracy']:.4f} | "
                     f"{min(v['topic']['alone_as_batched'], v['sentiment']['alone_as_batched']):.4f} | "
                     f"{max(v['topic']['largest_move_by_batch_mates'], v['sentiment']['largest_move_by_batch_mates']):.2g} |")
    lines += ["", f"On {quantized['rows']} development rows, one process. With activations rounded over a whole batch a text's answer depends on what it is batched "
              "with: a replay would not repeat a run." + (" The shipped form rounds every row by itself." if quantized["chosen"].startswith(("rows", "fused")) else ""), "",
              "## Limits", ""]
    if shipped:
        lines += [
            "- Most training texts are tweets of 2019 to 2022 and Indian headlines; the news texts were written for this model, by language models under a label guide, not "
            "taken from papers. Their labels and those of the news sample come from the same kind of annotator: agreement with a desk of your own may be lower.",
            "- Three sources of sentiment, three habits: the tweets' labels call more neutral than the headlines' do.",
            "- Few rows for Gold | Metals | Materials, IPO and Currencies. \"Financials\" means a company's figures, not banks.",
        ]
    lines += ["- A headline is read as it stands: no knowledge of the day, no irony, no pictures. One sentiment a text, also where two companies fare differently.",
              ""]
    return "\n".join(lines)

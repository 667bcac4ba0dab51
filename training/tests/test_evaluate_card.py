"""From labelled files to a directory that production loads, by the command line; and what is told of it is true."""

import hashlib
import json
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import toys
from conftest import REPOSITORY
from typer.testing import CliRunner

from bellwether_training import card, cli, evaluate, prepare, quantize
from bellwether_training.config import Config, load
from bellwether_training.onnx_model import OnnxModel

# Python and Rust run the same file, yet round probabilities at other places.
SAME_MEASURE = 1e-3


def toml(config: Config) -> str:
    """TOML and JSON write these values alike."""
    sections = config.model_dump(exclude={"source", "name", "seed"}, exclude_defaults=True)
    lines = [f"name = {json.dumps(config.name)}", f"seed = {config.seed}"]
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    for source in config.source:
        lines += ["[[source]]", *(f"{key} = {json.dumps(value)}" for key, value in source.model_dump(exclude_defaults=True).items())]
    return "\n".join(lines) + "\n"


@dataclass
class Made:
    """What one call of the command line made of labelled files."""

    config: Config
    training: Path
    build: Path
    model: Path
    output: str

    @property
    def splits(self) -> Path:
        return self.build / "splits"

    def metrics(self) -> dict:
        return json.loads((self.model / "metrics.json").read_text())


@pytest.fixture(scope="module")
def made(encoder, bellwether, tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    training, build = folder / "training", folder / "build"
    config = toys.config(encoder, toys.write_sources(training), quantize={"variants": ["rows-64"]}, epochs=9)
    (folder / "toy.toml").write_text(toml(config))
    arguments = ["--config", folder / "toy.toml", "--data", folder, "--build", build, "--set", "training.epochs=3", "all", "--binary", bellwether.path]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cli, "TRAINING", training)
        # From there the program finds ONNX Runtime by itself.
        patched.chdir(REPOSITORY)
        for name in ("BELLWETHER_CONFIG", "BELLWETHER_SHARED_DATA"):
            patched.delenv(name, raising=False)
        result = CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Made(load(folder / "toy.toml", {"training.epochs": 3}), training, build, build / "model", result.output)


def test_an_override_of_the_command_line_reaches_the_training(made):
    log = json.loads((made.build / "run" / "log.json").read_text())
    assert log["config"]["training"]["epochs"] == 3 and log["history"][-1]["epoch"] == 3


def test_everything_that_is_shipped_comes_out(made):
    names = {file.name for file in made.model.iterdir()}
    assert names >= {*card.SHIPPED, "model.onnx", "model.fp16.onnx", "MODEL_CARD.md", "SHA256SUMS"}


def test_the_checksums_are_those_of_the_files(made):
    listed = dict(reversed(line.split("  ")) for line in (made.model / "SHA256SUMS").read_text().splitlines())
    assert listed.keys() >= {*card.SHIPPED, "model.onnx", "model.fp16.onnx"}
    assert listed == {name: hashlib.sha256((made.model / name).read_bytes()).hexdigest() for name in listed}


def test_production_loads_the_directory_and_gives_its_labels(made, bellwether):
    rows = prepare.load(made.splits, "test")
    toys.write_lines(made.build / "test-texts.jsonl", [{"text": row.text} for row in rows])
    answers = bellwether.classify(made.model, made.build / "test-texts.jsonl")
    model = OnnxModel(made.model)
    for head, choices in model.logits([row.text for row in rows]).items():
        assert [answer[head]["label"] for answer in answers] == [model.labels[head][choice] for choice in choices.argmax(-1)]


def test_production_refuses_the_directory_once_a_file_has_changed(made, bellwether, tmp_path):
    copied = Path(shutil.copytree(made.model, tmp_path / "model"))
    settings = json.loads((copied / "config.json").read_text())
    settings["heads"]["topic"]["temperature"] = 2.0
    (copied / "config.json").write_text(json.dumps(settings))
    (tmp_path / "texts").write_text(toys.text(random.Random(1), topic="Energy | Oil") + "\n")
    done = bellwether.run("classify", "--device", "cpu", "--model", copied, tmp_path / "texts")
    assert done.returncode == 69 and "SHA256SUMS" in done.stderr
    card.checksum(copied)
    assert bellwether.classify(copied, tmp_path / "texts")[0]["topic"]["label"] == "Energy | Oil"


def test_every_set_that_was_set_aside_is_measured(made):
    metrics, report = made.metrics(), json.loads((made.splits / "report.json").read_text())
    assert metrics["sets"].keys() == {"topics", "sentiments", "judged", "news-sample"}
    for name, split in (("topics", "test"), ("sentiments", "test"), ("judged", "judge")):
        for measured in metrics["sets"][name].values():
            assert measured["rows"] == report["splits"][split]["by source"][name] == np.sum(measured["confusion"])
            assert measured["accuracy"] == pytest.approx(np.trace(measured["confusion"]) / measured["rows"])
            # The task is learned; of the judged rows every fifth is labelled neutral, whatever it is.
            assert measured["fp32"]["same_label"] > 0.95 and (0.75 < measured["accuracy"] < 0.95 if name == "judged" else measured["accuracy"] > 0.9)
            low, high = measured["accuracy_interval"]
            assert low <= measured["accuracy"] <= high
    assert metrics["sets"]["news-sample"]["topic"]["rows"] == 20
    assert metrics["sets"]["news-sample"]["topic"]["confusion"][0] == [0, 0, 0, 0]  # all of the sample is labelled Macro


def test_the_behaviour_cases_are_counted_by_kind(made):
    behaviour, cases = made.metrics()["behaviour"], [json.loads(line) for line in open(made.training / "behaviour.jsonl")]
    predicted = OnnxModel(made.model).logits([case["text"] for case in cases])["sentiment"].argmax(-1)
    right = [list(toys.SENTIMENT_WORDS)[choice] == case["sentiment"] for choice, case in zip(predicted, cases)]
    assert (behaviour["cases"], behaviour["passed"]) == (12, pytest.approx(np.mean(right)))
    assert behaviour["kinds"] == pytest.approx({kind: np.mean([ok for ok, case in zip(right, cases) if case["kind"] == kind]) for kind in ("odd", "plain")})


def test_slices_are_listed_from_the_worst_and_have_thirty_rows(made):
    slices = made.metrics()["slices"]
    assert slices and all(entry["rows"] >= 30 for entry in slices)
    assert [entry["accuracy"] for entry in slices] == sorted(entry["accuracy"] for entry in slices)


def test_every_measured_head_has_its_pictures(made):
    expected = {f"{name}.{head}.{kind}.png" for name, heads in made.metrics()["sets"].items() for head in heads for kind in ("confusion", "reliability")}
    found = {file.name: file.read_bytes() for file in (made.model / "figures").iterdir()}
    assert found.keys() == expected
    assert all(content.startswith(b"\x89PNG") and len(content) > 2000 for content in found.values())


def test_python_and_the_production_binary_measure_the_same(made):
    metrics = made.metrics()
    assert metrics["binary"].keys() == {*metrics["sets"], "behaviour"}
    for name, heads in metrics["sets"].items():
        for head, measured in heads.items():
            other = metrics["binary"][name][head]
            assert (measured["rows"], measured["accuracy"]) == (other["rows"], pytest.approx(other["accuracy"], abs=1e-9))
            assert measured["confusion"] == other["confusion"]["counts"]
            assert measured["macro_f1"] == pytest.approx(other["macro_f1"], abs=1e-9)
            assert measured["calibration_error"] == pytest.approx(other["expected_calibration_error"], abs=SAME_MEASURE)
            # Two bootstraps of 1,000 resamples each.
            assert measured["accuracy_interval"] == pytest.approx(other["accuracy_interval_95"], abs=0.05)
    for name in ("sentiments", "judged"):
        for point in metrics["binary"][name]["sentiment"]["negative"]["recall_at_precision"]:
            measured = metrics["sets"][name]["sentiment"][f"negative_recall_at_precision_{point['least_precision']}"]
            assert measured == pytest.approx({"recall": point["recall"], "threshold": point["threshold"]}, abs=SAME_MEASURE)
    assert metrics["binary"]["behaviour"]["sentiment"]["accuracy"] == pytest.approx(metrics["behaviour"]["passed"])


def test_the_reference_for_drift_is_what_the_model_says_of_live_news(made):
    reference = made.metrics()["reference"]
    assert reference["rows"] == 60  # the news, which have no labels
    assert sum(reference["topic"].values()) == pytest.approx(1)


def test_no_path_of_this_machine_is_shipped(made):
    for name in ("metrics.json", "config.json", "MODEL_CARD.md", "SHA256SUMS"):
        text = (made.model / name).read_text()
        assert not re.search(r"/tmp|/root|/home|/work", text) and str(made.build) not in text, name


def test_the_card_says_what_was_measured(made):
    text, metrics = (made.model / "MODEL_CARD.md").read_text(), made.metrics()
    for name, heads in metrics["sets"].items():
        for head, measured in heads.items():
            assert f"| {name} | {head} | {measured['rows']} | {measured['accuracy']:.3f} [" in text
            assert f"| {name} | {head} | {measured['rows']} | {metrics['binary'][name][head]['accuracy']:.3f} |" in text
    assert f"{metrics['behaviour']['passed']:.3f} of 12" in text
    rows = json.loads((made.splits / "report.json").read_text())["splits"]["train"]["by source"]
    assert f"| topics | {rows['topics']} | CC0 | toys |" in text and f"| sentiments | {rows['sentiments']} | CC0 | toys |" in text
    assert "rows-64 (shipped)" in text and "Topic (4 labels)" in text and "3 epochs" in text


def test_a_card_of_another_model_tells_nothing_that_is_true_of_the_shipped_one_alone(made):
    text = (made.model / "MODEL_CARD.md").read_text()
    assert "tweets" not in text and "finnews" not in text


def test_the_card_names_the_languages_of_its_encoder(made, tmp_path):
    assert "financial news in English," in (made.model / "MODEL_CARD.md").read_text()
    copied = Path(shutil.copytree(made.model, tmp_path / "model"))
    config = made.config.model_copy(update={"encoder": made.config.encoder.model_copy(update={"languages": "Frisian"})})
    card.run(config, made.splits, made.training, copied, None)
    text = (copied / "MODEL_CARD.md").read_text()
    assert text.count("Frisian") == 2 and "English" not in text


def test_the_tables_of_the_terminal_have_every_set(made):
    for name, heads in made.metrics()["sets"].items():
        for head, measured in heads.items():
            assert f"{name} · {head}: accuracy {measured['accuracy']:.3f}" in made.output


def test_a_second_evaluation_keeps_what_the_binary_measured_of_the_same_model_alone(made, tmp_path):
    copied = Path(shutil.copytree(made.model, tmp_path / "model"))
    evaluate.run(made.config, made.splits, made.training, copied)
    again = json.loads((copied / "metrics.json").read_text())
    assert (again["binary"], again["reference"]) == (made.metrics()["binary"], made.metrics()["reference"])
    quantize.make("rows-128", copied, copied / "model.int8.onnx", [])
    evaluate.run(made.config, made.splits, made.training, copied)
    other = json.loads((copied / "metrics.json").read_text())
    assert "binary" not in other and "reference" not in other and "sets" in other


def test_a_model_without_an_fp32_file_beside_it_is_measured_all_the_same(made, tmp_path):
    for name in ("model.int8.onnx", "tokenizer.json", "config.json"):
        shutil.copy(made.model / name, tmp_path)
    result = evaluate.run(made.config, made.splits, made.training, tmp_path)
    assert "fp32" not in result["sets"]["topics"]["topic"]
    assert result["sets"]["topics"]["topic"]["accuracy"] == made.metrics()["sets"]["topics"]["topic"]["accuracy"]

"""What README.md shows can be copied."""

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest

from bellwether_training import cli, prepare
from bellwether_training.config import Config, load

TRAINING = Path(__file__).resolve().parent.parent
README = (TRAINING / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_example_of_ones_own_news_is_read_as_it_is_told(tmp_path):
    [table] = blocks("csv")
    [example] = [block for block in blocks("toml") if "[[source]]" in block]
    (tmp_path / "desk.csv").write_text(table)
    shutil.copy(TRAINING / "finnews.toml", tmp_path)
    (tmp_path / "desk.toml").write_text(example)
    desk = load(tmp_path / "desk.toml")
    config = desk.model_copy(update={"source": [desk.source[-1].model_copy(update={"test_share": 0.0, "development_share": 0.0})]})
    prepare.run(config, tmp_path, tmp_path, tmp_path / "splits")
    assert [(row.text, row.topic, row.sentiment, row.weight) for row in prepare.load(tmp_path / "splits", "train")] == [
        ("Harbour Bank halts withdrawals. Queues form at its branches.", "Company | Product News", "negative", 2.0),
        ("Lumen to list in May", "IPO", "neutral", 2.0),
        ("Cup final ends in a draw", None, "neutral", 2.0),
    ]


def test_the_example_of_another_encoder_is_a_configuration():
    [example] = [block for block in blocks("toml") if "[encoder]" in block]
    raw = tomllib.loads((TRAINING / "finnews.toml").read_text(encoding="utf-8"))
    assert Config.model_validate({**raw, **tomllib.loads(example)}).encoder.layers == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("setting", re.findall(r"--set (\S+?=[^\s`']+)", README))
def test_every_override_that_is_shown_is_accepted(setting):
    key, value = setting.split("=")
    assert load(TRAINING / "finnews.toml", {key: float(value)})


def test_every_step_is_described_and_every_step_that_is_described_exists():
    steps = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == steps - {"all"}
    called = {shlex.split(line)[-1] for block in blocks("sh") for line in re.findall(r"trainer [^#\n&]*", block)}
    assert {"train", "prepare", "export", "quantize", "evaluate"} <= called


def test_every_file_that_is_linked_is_there():
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert linked and all((TRAINING / path).exists() for path in linked)

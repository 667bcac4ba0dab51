"""Whoever mistypes is told so in a line, and never by a stack of calls."""

import subprocess
import sys
from pathlib import Path

import pytest

from bellwether_training import cli

TRAINING = Path(__file__).resolve().parent.parent


@pytest.fixture
def ended(monkeypatch, capsys):
    """`python -m bellwether_training ARGUMENTS` → exit code and all that it said."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bellwether-training", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        said = capsys.readouterr()
        return exit.value.code, said.out + said.err

    return run


@pytest.mark.parametrize("arguments", [["--nope"], ["train", "--nope"], ["trian"], []])
def test_a_wrong_option_ends_with_2_and_no_stack(ended, arguments):
    code, said = ended(*arguments)
    assert code == 2 and "Usage" in said and "Traceback" not in said


@pytest.mark.parametrize("override", ["training.epochs=many", "training.epoch=3", "name.first=x", "training.epochs"])
def test_a_wrong_override_ends_with_64_and_names_key_and_file(ended, override):
    code, said = ended("--set", override, "prepare")
    assert code == 64 and override.partition("=")[0] in said and "finnews.toml" in said and "Traceback" not in said


def test_brackets_of_a_message_are_shown_as_they_are(ended, tmp_path):
    (tmp_path / "odd[red].toml").write_text("name = 1\n")
    code, said = ended("--config", tmp_path / "odd[red].toml", "prepare")
    assert code == 64 and "odd[red].toml" in said


def test_a_missing_file_of_data_is_named(ended, tmp_path):
    code, said = ended("--data", tmp_path, "--build", tmp_path / "build", "prepare")
    assert code == 64 and "topic.jsonl is missing" in said


def test_every_step_is_a_subcommand(ended):
    code, said = ended("--help")
    assert code == 0 and all(step in said for step in ("prepare", "train", "export", "quantize", "evaluate", "card", "all"))


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "bellwether_training", "--help"], cwd=TRAINING, capture_output=True, text=True)
    assert done.returncode == 0 and "quantize" in done.stdout

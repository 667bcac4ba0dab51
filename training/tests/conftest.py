"""What several tests share: the toy encoder, a model directory made of it by every step, and the program that runs in production."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import toys

from bellwether_training import export, prepare, quantize, train
from bellwether_training.config import Config

TRAINING = Path(__file__).resolve().parent.parent
REPOSITORY = TRAINING.parent

# One thread adds in one order: what is compared bit for bit must not depend on the number of cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    """A folder that `encoder.source` can name."""
    return toys.save_encoder(tmp_path_factory.mktemp("toy") / "encoder")


@pytest.fixture(scope="session")
def splits(tmp_path_factory) -> Path:
    """Splits in which every row has a label for one head alone."""
    return toys.write_splits(tmp_path_factory.mktemp("splits"))


@dataclass
class Built:
    """Where the steps up to `quantize` left what they made."""

    config: Config
    training: Path
    splits: Path
    run: Path
    model: Path
    quantized: dict


@pytest.fixture(scope="session")
def built(encoder, tmp_path_factory) -> Built:
    """A toy model that has learned its task, as it would be shipped. Tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("built")
    sources = toys.write_sources(folder / "training")
    config = toys.config(encoder, sources, quantize={"variants": ["rows-64", "rows-128"]})
    prepare.run(config, folder / "data", folder / "training", folder / "splits")
    train.run(config, folder / "splits", folder / "run", folder / "cache")
    export.run(config, folder / "run", folder / "model")
    result = quantize.run(config, folder / "splits", folder / "model")
    return Built(config, folder / "training", folder / "splits", folder / "run", folder / "model", result)


class Bellwether:
    """The program that runs in production."""

    def __init__(self, path: Path):
        self.path = path

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """It finds ONNX Runtime by ORT_DYLIB_PATH, or in the repository's `.runtime`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BELLWETHER_")}
        return subprocess.run([self.path, *map(str, arguments)], cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    def classify(self, model: Path, file: Path) -> list[dict]:
        """One record a line of the file, raw outputs included."""
        done = self.run("classify", "--device", "cpu", "--logits", "--model", model, file)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def bellwether() -> Bellwether:
    """Not skipped where it is missing: then nothing would hold training and production together."""
    release = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target") / "release"
    path = Path(os.environ.get("BELLWETHER") or release / "bellwether").absolute()
    if not path.is_file():
        pytest.fail(f"{path} is missing: run `make build` in the root of the repository, or name the program in BELLWETHER", pytrace=False)
    return Bellwether(path)

"""The command line: one subcommand per step, and `all` for every step in order."""

import json
import random
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table

from .config import Config, ConfigError, load

TRAINING = Path(__file__).resolve().parent.parent
console = Console(stderr=True)
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_show_locals=False)


class State:
    """What every step needs; made from the options of the command line."""

    config: Config
    data: Path
    build: Path
    model: Path

    @property
    def splits(self) -> Path:
        return self.build / "splits"

    @property
    def run(self) -> Path:
        return self.build / "run"


state = State()


@app.callback()
def options(
    config: Annotated[Path, typer.Option(help="what to make")] = TRAINING / "finnews.toml",
    data: Annotated[Path, typer.Option(help="folder of the sources' files", envvar="DATA")] = Path("../shared/data"),
    build: Annotated[Optional[Path], typer.Option(help="where intermediate files go [default: training/build/NAME]")] = None,
    model: Annotated[Optional[Path], typer.Option(help="the model directory to write [default: BUILD/model]")] = None,
    override: Annotated[Optional[list[str]], typer.Option("--set", help="key=value over the file, such as training.epochs=1")] = None,
) -> None:
    overrides = {}
    for entry in override or []:
        key, _, value = entry.partition("=")
        try:
            overrides[key] = json.loads(value)
        except json.JSONDecodeError:
            overrides[key] = value
    state.config = load(config, overrides)
    state.data = data
    state.build = build or TRAINING / "build" / state.config.name
    state.model = model or state.build / "model"


def _bar(items, what: str):
    return track(list(items), description=f"{what:<16}", console=console)


@app.command()
def prepare() -> None:
    """Read, clean, deduplicate and split the sources."""
    from . import prepare as step

    report = step.run(state.config, state.data, TRAINING, state.splits, _bar)
    table = Table("split", "rows", "topics", "sentiments")
    for split, entry in report["splits"].items():
        sentiment = ", ".join(f"{label} {count}" for label, count in entry["sentiment"].items())
        table.add_row(split, str(entry["rows"]), str(sum(entry["topic"].values())), sentiment)
    console.print(table)
    for reason, count in report["removed"].items():
        console.print(f"removed {count}: {reason}")
    console.print(f"{len(report['conflicts'])} texts had labels that contradict each other; everything is in {state.splits / 'report.json'}")


@app.command()
def train(search: Annotated[bool, typer.Option("--search", help="draw and compare settings on few rows instead")] = False) -> None:
    """Train encoder and heads; started again, it goes on where it was."""
    from . import train as step

    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, console=console) as progress:

        def begin(total: int, at: int):
            task = progress.add_task("training", total=total, completed=at, loss=0.0)
            return lambda step, loss: progress.update(task, completed=step, loss=loss)

        cache = state.build.parent / "encoders"
        if search:
            trials = step.search(state.config, state.splits, state.build / "search", cache, begin)
        else:
            best = step.run(state.config, state.splits, state.run, cache, begin)
    if search:
        for trial in trials:
            console.print(f"{trial['score']:.4f}  {trial['drawn']}")
    else:
        console.print(f"best development scores, at epoch {best['epoch']:.1f}: {_scores(best)}")


def _scores(entry: dict) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in entry.items() if "/" in name or name == "score")


@app.command()
def export() -> None:
    """Write the ONNX files and compare them with PyTorch."""
    from . import export as step

    for file, difference in step.run(state.config, state.run, state.model).items():
        console.print(f"{file}: logits differ from PyTorch by {difference:.2g} at most")


@app.command()
def half() -> None:
    """Write model.fp16.onnx for GPUs, from model.onnx or else from the weights of model.int8.onnx, and list it in SHA256SUMS."""
    from . import card
    from . import export as step

    step.half(state.model)
    card.checksum(state.model)
    console.print(f"{state.model / 'model.fp16.onnx'} is written")


@app.command()
def quantize() -> None:
    """Choose the int8 form by accuracy, steadiness and speed; fit the temperatures."""
    from . import quantize as step

    result = step.run(state.config, state.splits, state.model, _bar)
    table = Table("variant", "MB", "texts/CPU-s", "topic", "sentiment", "alone as batched", "kept")
    for name, entry in result["variants"].items():
        steady = min(entry["topic"]["alone_as_batched"], entry["sentiment"]["alone_as_batched"])
        table.add_row(name, str(entry["megabytes"]), str(entry["texts_per_cpu_second"]), f"{entry['topic']['accuracy']:.4f}",
                      f"{entry['sentiment']['accuracy']:.4f}", f"{steady:.4f}", {True: "yes", False: "no"}.get(entry.get("kept"), ""))
    console.print(table)
    console.print(f"chosen: {result['chosen']}; temperatures {result['temperatures']}")


@app.command()
def evaluate() -> None:
    """Measure on everything that was set aside."""
    from . import evaluate as step

    print(step.tables(step.run(state.config, state.splits, TRAINING, state.model, state.model / "figures", _bar)))


@app.command()
def variants(
    pupil: Annotated[Optional[list[str]], typer.Option(help="NAME=DIRECTORY of a smaller model, tried alone and before the full one")] = None,
    docs: Annotated[Path, typer.Option(help="where variants.json, .svg and .md go")] = TRAINING.parent / "docs",
) -> None:
    """Measure what other forms of the model cost, and how good they are."""
    from . import evaluate, prepare
    from . import variants as step
    from .onnx_model import OnnxModel

    calibration = [row.text for row in prepare.load(state.splits, "development")]
    random.Random(state.config.seed).shuffle(calibration)
    found = step.forms(state.model, state.build / "variants", calibration[: state.config.quantize.calibration_rows])
    for name, _, folder in (entry.partition("=") for entry in pupil or []):
        found[name] = step.Variant(OnnxModel(Path(folder), threads=1), "fewer layers", pupil=True)
    everything = evaluate.sets(state.config, state.splits, TRAINING)
    result = step.run(found, everything, state.build / "variants" / "answers")
    step.write(result, docs)
    print(step.table(result))


@app.command()
def card(binary: Annotated[Optional[Path], typer.Option(help="bellwether's binary, to measure what runs in production too")] = None) -> None:
    """Write MODEL_CARD.md and SHA256SUMS."""
    from . import card as step

    step.run(state.config, state.splits, TRAINING, state.model, binary)
    console.print(f"{state.model / 'MODEL_CARD.md'} is written")


@app.command()
def all(binary: Annotated[Optional[Path], typer.Option(help="bellwether's binary, for the card")] = None) -> None:
    """Every step in order."""
    prepare()
    train(search=False)
    export()
    quantize()
    evaluate()
    card(binary)


def main() -> None:
    """Runs the command line; a configuration that is wrong ends it with its message alone."""
    try:
        app()
    except ConfigError as error:
        # Messages quote keys and values: no mark-up of the terminal's is in them.
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(64) from None

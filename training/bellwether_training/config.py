"""The one TOML file that says everything: labels, sources, encoder, hyper-parameters. Unknown keys are errors."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ConfigError(Exception):
    """A configuration that cannot be used; the message names every key that is wrong."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Labels(_Section):
    """Both heads' labels, in the order of their logits."""

    topic: list[str]
    sentiment: list[Literal["negative", "neutral", "positive"]]


class Source(_Section):
    """One file of labelled texts: CSV, JSON lines or Parquet."""

    name: str
    file: str = Field(description="below the data folder, or below training/ when it begins with './'")
    role: Literal["train", "evaluate", "unlabelled"] = "train"
    license: str = Field("", description="for the model card")
    origin: str = Field("", description="for the model card")
    text: str | None = Field(None, description="the column of the text; leave out when there are title and body")
    title: str | None = None
    body: str | None = None
    topic: str | None = Field(None, description="the column of the topic label")
    sentiment: str | None = Field(None, description="the column of the sentiment label")
    entities: str | None = Field(None, description="a column that maps entities to sentiments; used where all agree")
    split: str | None = Field(None, description="the column of the official split; 'validation' and 'test' are for testing")
    part: str | None = Field(None, description="a column, such as the language, whose every value is judged by itself as NAME-VALUE")
    test_share: float = Field(0.0, ge=0, lt=1, description="without an official split: the share of rows set aside for testing")
    development_share: float = Field(0.06, ge=0, lt=1, description="the share of training rows set aside for choosing")
    topic_labels: dict[str, str] = Field(default_factory=dict, description="the source's label → ours; '' drops the label")
    sentiment_labels: dict[str, str] = Field(default_factory=dict)
    weight: float = Field(1.0, gt=0, description="of a row in the loss")
    single_entity_test: bool = Field(False, description="test rows are those with exactly one entity")

    @model_validator(mode="after")
    def _has_text(self) -> "Source":
        if bool(self.text) == bool(self.title or self.body):
            raise ValueError(f"source {self.name!r} needs either text, or title and body")
        return self

    @model_validator(mode="after")
    def _is_judged_in_parts(self) -> "Source":
        if self.part and self.role != "evaluate":
            raise ValueError(f"source {self.name!r} has parts, which are for role = 'evaluate'")
        return self


class Encoder(_Section):
    """Where the pre-trained encoder comes from."""

    source: str = Field(description="a hub name, a folder, 'pypi:NAME==VERSION' or 'maven:GROUP:ARTIFACT:VERSION'")
    sha256: str = Field("", description="of the archive, for pypi: and maven:")
    license: str
    base_model: str = Field(description="the name by which the model card calls it")
    languages: str = Field("English", description="for the model card")
    max_length: int = Field(256, ge=8, le=512, description="tokens in production")
    layers: list[int] = Field(default_factory=list, description="keep only these layers; empty keeps all")


class Distill(_Section):
    """Soft labels of a teacher for every row, both heads."""

    teachers: list[str] = Field(default_factory=list, description="run folders or model directories whose averaged probabilities teach")
    born_again: bool = Field(False, description="train a teacher by the same settings first, which teaches, too")
    recipes: list[str] = Field(default_factory=list, description="files like this one, beside it: train a teacher by each first")
    share: float = Field(0.5, ge=0, le=1, description="of the loss on labelled heads; heads without a label are taught alone")
    temperature: float = Field(1.0, gt=0)


class Training(_Section):
    """Hyper-parameters. AdamW (Loshchilov and Hutter 2019), linear warm-up, linear decay to zero."""

    epochs: float = Field(4, gt=0)
    batch_size: int = Field(32, ge=1)
    max_tokens: int = Field(96, ge=8, description="tokens at which training texts are cut")
    learning_rate: float = Field(1e-4, gt=0)
    head_rate: float = Field(10.0, description="the heads' learning rate, as a multiple")
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of each layer below the top, as a multiple of the one above")
    weight_decay: float = 0.01
    warmup: float = Field(0.06, ge=0, le=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    focal_gamma: float = Field(0.0, description="Lin et al. 2017; 0 is cross-entropy")
    class_weight_power: float = Field(0.0, description="loss weight of a class: (mean frequency / its frequency) to this power")
    r_drop: float = Field(0.0, description="Liang et al. 2021: weight of the symmetric KL between two dropout passes")
    adversarial: float = Field(0.0, description="FGM (Miyato et al. 2017): norm of the step on word embeddings; 0 is off")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the running average of weights; 0 is off")
    freeze_embeddings: bool = False
    topic_weight: float = 1.0
    body_dropout: float = Field(0.1, description="how often a row's summary is left out")
    cashtag_dropout: float = Field(0.1, description="how often a leading cashtag is left out")
    patience: int = Field(4, ge=1, description="evaluations without a better development score before it stops")
    evaluations_per_epoch: int = Field(1, ge=1)
    rows: int = Field(0, description="train on so many rows only (experiments); 0 is all")
    held_out_rows: int = Field(0, description="with `rows`: so many of the rows left out sharpen the development scores (experiments)")
    pseudo_rows: int = Field(0, description="unlabelled rows taught by the teachers (experiments)")
    distill: Distill = Distill()

    @model_validator(mode="after")
    def _can_disturb(self) -> "Training":
        if self.adversarial and self.freeze_embeddings:
            raise ValueError("adversarial follows the gradient of the word embeddings: it cannot go with freeze_embeddings")
        return self


class Search(_Section):
    """A small random search: each trial draws one value a key and trains on few rows."""

    trials: int = Field(8, ge=1)
    rows: int = 8000
    held_out_rows: int = 5000
    epochs: float = 2
    values: dict[str, list] = Field(default_factory=dict, description="keys of [training] → values to draw from")


class Quantize(_Section):
    """Which int8 variants are tried, and what they must keep."""

    variants: list[str] = ["rows-64", "rows-128", "dynamic-channel", "dynamic-tensor", "static-channel"]
    calibration_rows: int = 512
    largest_loss: float = Field(0.005, description="accuracy that int8 may lose against fp32, on development rows")
    largest_megabytes: float = Field(0.0, ge=0, description="size that the int8 file may have; 0 is any")
    least_agreement: float = Field(0.995, description="share of texts labelled alike alone and in a batch")


class Config(_Section):
    """All of it."""

    name: str
    seed: int = 7
    labels: Labels
    encoder: Encoder
    training: Training = Training()
    search: Search = Search()
    quantize: Quantize = Quantize()
    source: list[Source]

    @model_validator(mode="after")
    def _has_one_source_a_name(self) -> "Config":
        twice = sorted({source.name for source in self.source if [other.name for other in self.source].count(source.name) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(map(repr, twice))}: rows are told apart by the name")
        return self


def load(path: Path, overrides: dict[str, object] | None = None) -> Config:
    """Reads and checks the file; `overrides` maps dotted keys such as `training.epochs` to values.

    A file with `extends = "other.toml"` has all that the other one has but its name: sections are laid over the other's key by key,
    [[source]]s come after the other's.
    """
    raw = _read(path)
    for key, value in (overrides or {}).items():
        section = raw
        *outer, last = key.split(".")
        for part in outer:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{path}: {key} cannot be set: {part} is not a section")
        section[last] = value
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError(f"{path}:\n" + "\n".join(lines)) from error


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict:
    if path.resolve() in above:
        raise ConfigError(f"{path} extends itself")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    distill = raw.get("training", {}).get("distill", {})
    if "recipes" in distill:
        distill["recipes"] = [str(path.parent / recipe) for recipe in distill["recipes"]]
    if "extends" not in raw:
        return raw
    lower = _read(path.parent / str(raw.pop("extends")), (*above, path.resolve()))
    lower.pop("name", None)
    return _laid_over(raw, lower)


def _laid_over(upper: dict, lower: dict) -> dict:
    result = {**lower, **upper}
    for key in upper.keys() & lower.keys():
        match lower[key], upper[key]:
            case dict(one), dict(two):
                result[key] = _laid_over(two, one)
            case [{}, *_] as one, [{}, *_] as two:
                result[key] = one + two
    return result

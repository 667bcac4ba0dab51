"""What is wrong in a configuration is told with the file and the key."""

from pathlib import Path

import pytest

from bellwether_training.config import ConfigError, load

TRAINING = Path(__file__).resolve().parent.parent
WHOLE = """
name = "toy"
[labels]
topic = ["Macro", "Markets"]
sentiment = ["negative", "neutral", "positive"]
[encoder]
source = "some/encoder"
license = "MIT"
base_model = "encoder"
[training]
epochs = 2
[[source]]
name = "news"
file = "news.csv"
text = "text"
"""


def refusal(folder: Path, text: str, overrides: dict | None = None) -> str:
    path = folder / "toy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path, overrides)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_the_shipped_configuration_is_right():
    config = load(TRAINING / "finnews.toml")
    assert len(config.labels.topic) == 20
    assert {source.role for source in config.source} >= {"train", "evaluate"}


def test_the_multilingual_configuration_is_the_shipped_one_with_another_encoder():
    shipped, multilingual = load(TRAINING / "finnews.toml"), load(TRAINING / "multilingual.toml")
    assert multilingual.name != shipped.name and multilingual.encoder.source != shipped.encoder.source
    assert (multilingual.labels, multilingual.training) == (shipped.labels, shipped.training)
    assert multilingual.source[:-1] == shipped.source
    assert (multilingual.source[-1].role, multilingual.source[-1].part) == ("evaluate", "language")


def test_the_taught_configuration_names_teachers_that_are_there():
    shipped, taught = load(TRAINING / "finnews.toml"), load(TRAINING / "taught.toml")
    assert (taught.labels, taught.encoder, taught.source) == (shipped.labels, shipped.encoder, shipped.source)
    assert [load(Path(recipe)).labels for recipe in taught.training.distill.recipes] == [shipped.labels]


def test_what_extends_a_file_is_laid_over_it_key_by_key_and_its_sources_are_added(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "toy.toml").write_text(WHOLE)
    more = """
extends = "below/toy.toml"
name = "desk"
seed = 11
[labels]
topic = ["Macro"]
[encoder]
source = "other/encoder"
[[source]]
name = "desk"
file = "desk.csv"
text = "text"
"""
    (tmp_path / "desk.toml").write_text(more)
    config = load(tmp_path / "desk.toml", {"training.batch_size": 8})
    assert (config.name, config.seed, config.labels.topic, len(config.labels.sentiment)) == ("desk", 11, ["Macro"], 3)
    assert (config.encoder.source, config.encoder.license, config.training.epochs, config.training.batch_size) == ("other/encoder", "MIT", 2, 8)
    assert [source.name for source in config.source] == ["news", "desk"]
    (tmp_path / "third.toml").write_text('extends = "desk.toml"\nname = "third"\n')
    assert load(tmp_path / "third.toml") == load(tmp_path / "desk.toml").model_copy(update={"name": "third"})


def test_what_extends_a_file_has_a_name_of_its_own(tmp_path):
    (tmp_path / "base.toml").write_text(WHOLE)
    assert "name:" in refusal(tmp_path, 'extends = "base.toml"\n')


@pytest.mark.parametrize("other, said", [("absent.toml", "absent.toml"), ("toy.toml", "toy.toml extends itself"), ("../{}/toy.toml", "toy.toml extends itself")])
def test_a_file_that_cannot_be_extended_is_named(tmp_path, other, said):
    (tmp_path / "toy.toml").write_text(f'extends = "{other.format(tmp_path.name)}"\nname = "toy"\n')
    with pytest.raises(ConfigError, match=said):
        load(tmp_path / "toy.toml")


def test_what_is_left_out_keeps_its_default(tmp_path):
    (tmp_path / "toy.toml").write_text(WHOLE)
    config = load(tmp_path / "toy.toml")
    assert (config.training.epochs, config.training.batch_size, config.source[0].role) == (2, 32, "train")


def test_an_unknown_key_is_named(tmp_path):
    assert "training.epoch:" in refusal(tmp_path, WHOLE.replace("epochs", "epoch"))


def test_an_unknown_key_of_a_source_is_named(tmp_path):
    assert "source.0.titel:" in refusal(tmp_path, WHOLE + 'titel = "headline"\n')


def test_every_wrong_value_is_named_at_once(tmp_path):
    message = refusal(tmp_path, WHOLE.replace("epochs = 2", 'epochs = "two"\nbatch_size = 0\nlayer_decay = 1.5\npatience = 0'))
    assert all(f"training.{key}:" in message for key in ("epochs", "batch_size", "layer_decay", "patience"))


def test_a_sentiment_that_bellwether_does_not_know_is_refused(tmp_path):
    assert "labels.sentiment.0:" in refusal(tmp_path, WHOLE.replace('"negative"', '"bearish"'))


def test_a_missing_key_is_named(tmp_path):
    assert "encoder.license:" in refusal(tmp_path, WHOLE.replace('license = "MIT"', ""))


@pytest.mark.parametrize("columns", ['text = "text"\ntitle = "title"', ""])
def test_a_source_has_either_text_or_title_and_body(tmp_path, columns):
    message = refusal(tmp_path, WHOLE.replace('text = "text"', columns))
    assert "source.0" in message and "'news'" in message


def test_parts_are_for_a_source_that_is_only_judged_by(tmp_path):
    parts = WHOLE + 'part = "language"\n'
    assert "'news'" in refusal(tmp_path, parts)
    (tmp_path / "toy.toml").write_text(parts + 'role = "evaluate"\n')
    assert load(tmp_path / "toy.toml").source[0].part == "language"


def test_two_sources_of_one_name_are_refused(tmp_path):
    again = WHOLE[WHOLE.index("[[source]]"):]
    assert "'news'" in refusal(tmp_path, WHOLE + again)


def test_adversarial_steps_on_frozen_embeddings_are_refused(tmp_path):
    assert "freeze_embeddings" in refusal(tmp_path, WHOLE.replace("epochs = 2", "adversarial = 1.0\nfreeze_embeddings = true"))


def test_a_file_that_is_no_toml_or_is_not_there_is_named(tmp_path):
    assert "line 1" in refusal(tmp_path, "name = \n")
    with pytest.raises(ConfigError, match="absent.toml"):
        load(tmp_path / "absent.toml")


def test_an_override_lies_over_the_file(tmp_path):
    (tmp_path / "toy.toml").write_text(WHOLE)
    config = load(tmp_path / "toy.toml", {"training.epochs": 3, "training.distill.share": 0.25, "seed": 11})
    assert (config.training.epochs, config.training.distill.share, config.seed) == (3, 0.25, 11)


@pytest.mark.parametrize("key, value", [("training.epoch", 3), ("training.epochs", "many"), ("name.first", "x"), ("source.0.weight", 2)])
def test_an_override_that_cannot_be_is_named(tmp_path, key, value):
    assert key in refusal(tmp_path, WHOLE, {key: value})

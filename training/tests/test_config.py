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

"""One text, one answer: PyTorch, the three ONNX files and the program that runs in production agree on the same texts."""

import json

import numpy as np
import pytest
import toys

from bellwether_training import export
from bellwether_training.model import load, pad
from bellwether_training.onnx_model import OnnxModel, softmax
from bellwether_training.text import clean, passage

# Largest differences of a logit; those of the toy model reach 4.7. What was measured is in brackets, and each has about ten times that.
# The same arithmetic in fp32, its sums in another order (10⁻⁶).
FP32 = 1e-5
# fp16 keeps 11 bits: 5 · 10⁻⁴ of each value, over two layers (0.001).
FP16 = 0.01
# Weights and activations of 8 bits, in blocks of 64, the embeddings in blocks of 32 (0.018).
INT8 = 0.1
# The same int8 file in the same runtime (0). Other batches, threads and processors may add in another order, which can move
# an activation that lies between two of its 255 steps to the other one.
ROUNDING = 0.005
# Production rounds probabilities to 10⁻⁶ (5 · 10⁻⁷). ROUNDING at the least temperature, 0.3, moves one by a quarter of 0.005 / 0.3.
PROBABILITY = 0.005

ITEMS = [
    *({"title": record["text"]} for record in toys.records(24, 31, "topic", "sentiment")),
    {"title": "Oil prices jump", "body": "Traders meet in the northern port city."},
    {"title": "Do jobs return?", "body": "The report says so early on Friday."},
    {"title": "Bank S&amp;amp;P &#8217;s margins slump &notify https://t.example/a?b=c www.bank.example"},
    {"title": "  ÉNERGIE —\n gas\u00a0soars 3.5% …  "},
    {"title": "石油 price"},
    {"title": "a"},
    # More tokens than the model reads.
    {"title": "Inflation", "body": " ".join(toys.FILLERS * 4)},
]
TEXTS = [passage(item["title"], item.get("body")) for item in ITEMS]


@pytest.fixture(scope="module")
def pytorch(built) -> dict[str, np.ndarray]:
    """Logits of the trained weights in fp32, each text by itself."""
    import torch

    model, tokenizer = load(built.config, built.run / "best")
    outputs = []
    with torch.no_grad():
        for text in TEXTS:
            ids = tokenizer(clean(text), truncation=True, max_length=toys.MAX_LENGTH)["input_ids"]
            outputs.append(model(*pad([ids], tokenizer.pad_token_id)))
    return {head: torch.cat([output[number] for output in outputs]).numpy() for number, head in enumerate(("topic", "sentiment"))}


@pytest.fixture(scope="module")
def answers(built, bellwether, tmp_path_factory) -> list[dict]:
    """What production says of the items, `model.int8.onnx` in use."""
    file = tmp_path_factory.mktemp("items") / "items.jsonl"
    toys.write_lines(file, ITEMS)
    return bellwether.classify(built.model, file)


def furthest(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(one[head] - two[head]).max()) for head in one)


@pytest.mark.parametrize("file, tolerance", [("model.onnx", FP32), ("model.fp16.onnx", FP16), ("model.int8.onnx", INT8)])
def test_every_file_says_what_the_trained_weights_say(built, pytorch, file, tolerance):
    assert furthest(OnnxModel(built.model, file).logits(TEXTS), pytorch) < tolerance


@pytest.mark.parametrize("file, tolerance", [("model.onnx", FP32), ("model.fp16.onnx", FP16), ("model.int8.onnx", ROUNDING)])
def test_padding_moves_no_answer(built, file, tolerance):
    model = OnnxModel(built.model, file)
    assert furthest(model.logits(TEXTS, batch=1), model.logits(TEXTS, batch=len(TEXTS))) < tolerance


def test_production_says_what_the_int8_file_says(built, answers):
    model = OnnxModel(built.model)
    logits = model.logits(TEXTS)
    assert furthest({head: np.array([answer["logits"][head] for answer in answers]) for head in logits}, logits) < ROUNDING
    probabilities = model.probabilities(logits)
    sentiments = np.array([[answer["sentiment"]["probabilities"][label] for label in model.labels["sentiment"]] for answer in answers])
    assert np.abs(sentiments - probabilities["sentiment"]).max() < PROBABILITY
    topics = [answer["topic"]["label"] for answer in answers]
    assert topics == [model.labels["topic"][choice] for choice in logits["topic"].argmax(-1)]


def test_production_says_what_the_fp32_file_says_where_there_is_no_int8_file(built, bellwether, pytorch, tmp_path):
    for name in ("model.onnx", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((built.model / name).read_bytes())
    toys.write_lines(tmp_path / "items.jsonl", ITEMS)
    answers = bellwether.classify(tmp_path, tmp_path / "items.jsonl")
    assert furthest({head: np.array([answer["logits"][head] for answer in answers]) for head in pytorch}, pytorch) < FP32


def test_production_cuts_the_text_that_is_too_long_and_no_other(answers):
    assert [answer["truncated"] for answer in answers] == [False] * (len(ITEMS) - 1) + [True]


def test_the_texts_can_tell_the_files_apart(built, pytorch):
    """Otherwise the comparisons above would hold for any model."""
    logits = OnnxModel(built.model).logits(TEXTS)
    assert len(set(logits["topic"].argmax(-1))) == len(toys.TOPIC_WORDS) and len(set(logits["sentiment"].argmax(-1))) == 3
    assert furthest({head: np.roll(values, 1, 0) for head, values in logits.items()}, pytorch) > 10 * INT8


def test_the_directory_says_what_the_model_is(built):
    settings = json.loads((built.model / "config.json").read_text())
    assert (settings["name"], settings["max_length"], settings["num_hidden_layers"], settings["inputs"]) == ("toy", 64, 2, ["input_ids", "attention_mask"])
    assert list(settings["heads"]["topic"]["id2label"].values()) == built.config.labels.topic
    assert settings["heads"]["sentiment"]["output"] == "sentiment_logits"


def test_the_tokenizer_is_left_without_padding_and_truncation_of_its_own(built):
    tokenizer = json.loads((built.model / "tokenizer.json").read_text())
    assert (tokenizer["padding"], tokenizer["truncation"]) == (None, None)


def test_a_new_export_leaves_no_int8_file_of_other_weights(built, tmp_path):
    (tmp_path / "model.int8.onnx").write_bytes((built.model / "model.int8.onnx").read_bytes())
    differences = export.run(built.config, built.run, tmp_path)
    assert differences.keys() == {"model.onnx", "model.fp16.onnx"}
    assert differences["model.onnx"] < FP32
    assert not (tmp_path / "model.int8.onnx").exists()


def test_an_export_that_differs_from_the_weights_is_refused(built, tmp_path):
    import torch

    for file in built.model.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    model, tokenizer = load(built.config, built.run / "best")
    with torch.no_grad():
        model.topic.bias += 10 * export.TOLERANCE
    with pytest.raises(RuntimeError, match="model.onnx differs"):
        export.check(model, tokenizer, tmp_path)


def test_softmax_of_large_logits_is_a_distribution():
    assert softmax(np.array([[1000.0, 1000.0, -1000.0]])).tolist() == [[0.5, 0.5, 0.0]]

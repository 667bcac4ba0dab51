"""A language of some seventy words in which topic and sentiment are one word each, an encoder of random weights that can
learn it in seconds, and configurations that name both."""

import json
import random
import string
from dataclasses import asdict
from pathlib import Path

from transformers import BertConfig, BertModel, BertTokenizerFast

from bellwether_training.config import Config
from bellwether_training.prepare import Row

TOPIC_WORDS = {
    "Earnings": ["earnings", "revenue", "margins"],
    "Energy | Oil": ["oil", "gas", "pipelines"],
    "Macro": ["inflation", "jobs", "exports"],
    "Markets": ["indices", "futures", "traders"],
}
SENTIMENT_WORDS = {
    "negative": ["plunge", "collapse", "slump"],
    "neutral": ["hold", "meet", "return"],
    "positive": ["soar", "rally", "jump"],
}
FILLERS = """northern southern eastern western group bank company firm late early monday tuesday friday quarter month week year
house street desk report data plan board chief office region city port plant branch client partner season summer winter""".split()
MAX_LENGTH = 64
# Above it a table of embeddings is rounded to int8 as well.
VOCABULARY = 1100


def text(chance: random.Random, topic: str | None = None, sentiment: str | None = None) -> str:
    """Ten words in random order, with a word of the topic and one of the sentiment among them."""
    words = chance.sample(FILLERS, 8)
    words[4:4] = [chance.choice(TOPIC_WORDS[topic or chance.choice(list(TOPIC_WORDS))])]
    words[7:7] = [chance.choice(SENTIMENT_WORDS[sentiment or chance.choice(list(SENTIMENT_WORDS))])]
    return " ".join(words).capitalize()


def records(count: int, seed: int, *heads: str) -> list[dict]:
    """Labelled texts; labels only of the heads that are named."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        topic = list(TOPIC_WORDS)[number % len(TOPIC_WORDS)] if "topic" in heads else None
        sentiment = list(SENTIMENT_WORDS)[number % len(SENTIMENT_WORDS)] if "sentiment" in heads else None
        labels = {head: label for head, label in (("topic", topic), ("sentiment", sentiment)) if label}
        made.append({"text": text(chance, topic, sentiment), **labels})
    return made


def rows(split: str, count: int, seed: int) -> list[Row]:
    """As many rows with a topic alone as with a sentiment alone."""
    made = []
    for source, head in (("topics", "topic"), ("sentiments", "sentiment")):
        for number, record in enumerate(records(count, seed + len(made), head)):
            made.append(Row(f"{split}-{source}-{number}", source, split, record.pop("text"), None, **record))
    return made


def write_lines(path: Path, values: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")


def write_splits(folder: Path, train: int = 320, development: int = 40) -> Path:
    """Splits as `prepare` writes them, with so many rows for each head."""
    for split, count, seed in (("train", train, 1), ("development", development, 2), ("test", development, 3)):
        write_lines(folder / f"{split}.jsonl", [asdict(row) for row in rows(split, count, seed)])
    unlabelled = [Row(f"unlabelled-{number}", "unlabelled", "unlabelled", record["text"], None) for number, record in enumerate(records(60, 4))]
    write_lines(folder / "unlabelled.jsonl", [asdict(row) for row in unlabelled])
    return folder


def save_encoder(folder: Path) -> Path:
    """A BERT of two layers with random weights, and an uncased WordPiece tokenizer that knows every letter."""
    import torch

    folder.mkdir(parents=True)
    characters = string.ascii_lowercase + string.digits
    words = [*FILLERS, *sum(TOPIC_WORDS.values(), []), *sum(SENTIMENT_WORDS.values(), [])]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{character}" for character in characters),
              *string.punctuation, *"€£’“”–—…", *words]
    tokens = list(dict.fromkeys(tokens))
    tokens += [f"[unused{number}]" for number in range(VOCABULARY - len(tokens))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True, model_max_length=MAX_LENGTH).save_pretrained(folder)
    torch.manual_seed(5)
    settings = BertConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
                          max_position_embeddings=MAX_LENGTH)
    BertModel(settings, add_pooling_layer=False).save_pretrained(folder)
    return folder


def config(encoder: Path, sources: list[dict] | None = None, quantize: dict | None = None, search: dict | None = None, **training) -> Config:
    """A configuration for the toy language; `training` lays over settings that learn it."""
    return Config.model_validate({
        "name": "toy",
        "labels": {"topic": list(TOPIC_WORDS), "sentiment": list(SENTIMENT_WORDS)},
        "encoder": {"source": str(encoder), "license": "none", "base_model": "random weights", "max_length": MAX_LENGTH},
        "training": {"epochs": 6, "batch_size": 16, "max_tokens": 32, "learning_rate": 2e-3, "head_rate": 3, **training},
        "quantize": {"calibration_rows": 64, **(quantize or {})},
        "search": search or {},
        "source": sources or [{"name": "unused", "file": "unused.jsonl", "text": "text"}],
    })


def as_toml(config: Config) -> str:
    """The file that `config` could have been read from."""
    lines: list[str] = []

    def table(name: str, values: dict) -> None:
        lines.append(name)
        plain = {key: value for key, value in values.items() if not isinstance(value, dict) and value is not None}
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict) and value:
                table(f"[{name.strip('[]')}.{key}]", value)

    whole = config.model_dump(exclude_defaults=True)
    sources = whole.pop("source")
    lines += [f"{key} = {json.dumps(value)}" for key, value in whole.items() if not isinstance(value, dict)]
    for section, values in whole.items():
        if isinstance(values, dict):
            table(f"[{section}]", values)
    for source in sources:
        table("[[source]]", source)
    return "\n".join(lines) + "\n"


def write_sources(training: Path) -> list[dict]:
    """Files as they lie below `training/`, behaviour cases and a labelled sample of live news among them, and their [[source]]s."""
    for name, count, seed, heads in (("topics", 500, 11, ["topic"]), ("sentiments", 500, 12, ["sentiment"]), ("news", 60, 13, []),
                                     ("judged", 60, 14, ["sentiment"])):
        made = [{"id": f"{name}-{number}", **record} for number, record in enumerate(records(count, seed, *heads))]
        for record in made[::5] if name == "judged" else []:
            record["sentiment"] = "neutral"  # mostly wrong: figures that are all 1 would agree by themselves
        write_lines(training / f"{name}.jsonl", made)
    sample = [{"id": f"news-{number}", "topic": "Macro", "sentiment": "neutral", "reason": "made up"} for number in range(20)]
    write_lines(training / "news_sample.jsonl", sample)
    behaviour = [{"id": f"case-{number}", "kind": ("plain", "odd")[number % 2], **record} for number, record in enumerate(records(12, 15, "sentiment"))]
    write_lines(training / "behaviour.jsonl", behaviour)
    shares = {"test_share": 0.2, "development_share": 0.2}
    return [
        {"name": "topics", "file": "./topics.jsonl", "text": "text", "topic": "topic", "license": "CC0", "origin": "toys", **shares},
        {"name": "sentiments", "file": "./sentiments.jsonl", "text": "text", "sentiment": "sentiment", "license": "CC0", "origin": "toys", **shares},
        {"name": "news", "file": "./news.jsonl", "text": "text", "role": "evaluate"},
        {"name": "judged", "file": "./judged.jsonl", "text": "text", "sentiment": "sentiment", "role": "evaluate"},
    ]

"""Reads the sources, cleans them, removes duplicates within and across splits, and writes fixed splits with a report."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet

from .config import Config, ConfigError, Source
from .text import clean, normalised, passage

# In this order a split keeps a text that stands in several: an official validation row that also stands in training is no test.
SPLITS = ("train", "development", "test")
# Jaccard overlap of word pairs from which on two texts are near duplicates.
NEAR = 0.8
PERMUTATIONS = 64


@dataclass
class Row:
    """One text with what is known of it. `topic` and `sentiment` are labels, or None."""

    id: str
    source: str
    split: str
    title: str | None
    body: str | None
    topic: str | None = None
    sentiment: str | None = None
    weight: float = 1.0
    also: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the model reads."""
        return passage(self.title, self.body)


def run(config: Config, data: Path, training: Path, out: Path, progress=lambda items, _: items) -> dict:
    """Writes `out/{train,development,test,judge,unlabelled}.jsonl` and `report.json`; returns the report.

    Raises ConfigError when a file is missing, a column is absent or a label is not known.
    """
    report: dict = {"sources": {}, "removed": Counter(), "conflicts": []}
    rows: list[Row] = []
    for source in progress(config.source, "reading"):
        rows += _read(source, config, data, training, report)
    rows = _merge(rows, report)
    rows = _drop_near(rows, report, progress)
    out.mkdir(parents=True, exist_ok=True)
    report["removed"] = dict(report["removed"])
    report["splits"] = {}
    for split in (*SPLITS, "judge", "unlabelled"):
        chosen = [row for row in rows if row.split == split]
        with open(out / f"{split}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in chosen)
        report["splits"][split] = {
            "rows": len(chosen),
            "by source": dict(Counter(row.source for row in chosen)),
            "topic": dict(Counter(row.topic for row in chosen if row.topic)),
            "sentiment": dict(Counter(row.sentiment for row in chosen if row.sentiment)),
        }
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    return report


def load(folder: Path, split: str) -> list[Row]:
    """The rows of one split as `run` wrote them."""
    path = folder / f"{split}.jsonl"
    if not path.exists():
        raise ConfigError(f"{path} is missing: run `prepare` first")
    with open(path, encoding="utf-8") as file:
        return [Row(**json.loads(line)) for line in file]


def _records(path: Path) -> list[dict]:
    if not path.exists():
        raise ConfigError(f"{path} is missing")
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        if path.suffix == ".csv":
            # Summaries have line breaks.
            return pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ConfigError(f"{path}: {error}") from error
    if path.suffix in (".jsonl", ".json"):
        with open(path, encoding="utf-8") as file:
            return [_json(line, path, number) for number, line in enumerate(file) if line.strip()]
    raise ConfigError(f"{path}: a source is .csv, .jsonl or .parquet")


def _json(text: str, path: Path, number: int) -> dict:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, row {number + 1}: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}, row {number + 1}: not a JSON object")
    return value


def _read(source: Source, config: Config, data: Path, training: Path, report: dict) -> list[Row]:
    path = training / source.file if source.file.startswith("./") else data / source.file
    records = _records(path)
    for column in filter(None, (source.text, source.title, source.body, source.topic, source.sentiment, source.entities, source.split, source.part)):
        if records and not any(column in record for record in records):
            raise ConfigError(f"{path} has no column {column!r}, which source {source.name!r} names")
    rows, empty, mixed = [], 0, 0
    for number, record in enumerate(records):
        title = clean(str(record.get(source.text or source.title) or ""))
        body = clean(str(record.get(source.body) or "")) if source.body else ""
        if not title and not body:
            empty += 1
            continue
        topic = _label(record.get(source.topic), source.topic_labels, config.labels.topic, source, path, number) if source.topic else None
        sentiment, entities = None, 0
        if source.sentiment:
            sentiment = _label(record.get(source.sentiment), source.sentiment_labels, config.labels.sentiment, source, path, number)
        elif source.entities:
            found = record.get(source.entities) or {}
            found = _json(found, path, number) if isinstance(found, str) else found
            # Parquet gives a map as pairs, and a struct with every key of the column.
            found = {entity: label for entity, label in dict(found).items() if label is not None}
            entities = len(found)
            values = {_label(value, source.sentiment_labels, config.labels.sentiment, source, path, number) for value in found.values()}
            values.discard(None)
            if len(values) > 1:
                mixed += 1
                continue
            sentiment = next(iter(values), None)
        if source.role == "train" and topic is None and sentiment is None:
            empty += 1
            continue
        normal = normalised(passage(title, body))
        rows.append(Row(
            id=str(record.get("id") or hashlib.sha256(normal.encode()).hexdigest()[:16]),
            source=f"{source.name}-{record.get(source.part)}" if source.part else source.name,
            split=_split(source, record, normal, entities),
            title=title or None,
            body=body or None,
            topic=topic,
            sentiment=sentiment,
            weight=source.weight,
        ))
    report["sources"][source.name] = {"rows": len(records), "read": len(rows), "without text or label": empty, "of two minds": mixed}
    return rows


def _label(value, mapping: dict[str, str], known: list[str], source: Source, path: Path, number: int) -> str | None:
    if value is None or value == "":
        return None
    label = mapping.get(str(value), str(value))
    if label == "":
        return None
    if label not in known:
        raise ConfigError(f"{path}, row {number + 1}: {label!r} is not a label; map it under source {source.name!r}, or to '' to drop it")
    return label


def _share(text: str, salt: str) -> float:
    """A number in [0, 1) that depends on the text alone, so that splits never change."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{text}".encode()).digest()[:8], "big") / 2**64


def _split(source: Source, record: dict, normal: str, entities: int) -> str:
    if source.role != "train":
        return {"evaluate": "judge", "unlabelled": "unlabelled"}[source.role]
    if source.split and str(record.get(source.split)) in ("validation", "valid", "dev", "test"):
        return "test"
    eligible = not source.single_entity_test or entities == 1
    if eligible and _share(normal, "test") < source.test_share:
        return "test"
    return "development" if eligible and _share(normal, "development") < source.development_share else "train"


def _merge(rows: list[Row], report: dict) -> list[Row]:
    """Exact duplicates become one row. Training keeps it, unless it is judged by; labels are voted on, ties drop the label."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[normalised(row.text)].append(row)
    merged = []
    for group in groups.values():
        judged = [row for row in group if row.split == "judge"]
        if judged:
            report["removed"]["also in a judging set"] += sum(row.split != "judge" for row in group)
            report["removed"]["repeated in a judging set"] += len(judged) - len({row.source for row in judged})
            merged += {row.source: row for row in judged}.values()
            continue
        for split in (*SPLITS, "unlabelled"):
            kept = [row for row in group if row.split == split]
            if kept:
                break
        report["removed"][f"repeated within {split}"] += len(kept) - 1
        report["removed"][f"in another split than {split}, which has it too"] += len(group) - len(kept)
        row = kept[0]
        row.also = sorted({other.source for other in kept} - {row.source})
        for head in ("topic", "sentiment"):
            votes = Counter(getattr(other, head) for other in kept if getattr(other, head)).most_common()
            if len(votes) > 1:
                report["conflicts"].append({"id": row.id, "head": head, "votes": dict(votes)})
            tied = len(votes) > 1 and votes[0][1] == votes[1][1]
            setattr(row, head, votes[0][0] if votes and not tied else None)
        if row.topic or row.sentiment or split == "unlabelled":
            merged.append(row)
        else:
            report["removed"]["labels contradict"] += 1
    return merged


def _shingles(text: str) -> set[str]:
    words = normalised(text).split()
    return {" ".join(words[i : i + 2]) for i in range(max(1, len(words) - 1))}


def _drop_near(rows: list[Row], report: dict, progress) -> list[Row]:
    """Removes texts whose word pairs overlap by `NEAR` (Jaccard) or more with a text of a split that takes precedence.

    MinHash with locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998) finds candidates, the sets decide.
    Two texts in different figures alone are different news within one split, yet the same text to learn by heart.
    """
    from datasketch import MinHash, MinHashLSH

    precedence = {"judge": 0, "train": 1, "development": 2, "test": 3, "unlabelled": 4}
    order = sorted(rows, key=lambda row: precedence[row.split])
    shingles = [_shingles(row.text) for row in order]
    index = MinHashLSH(threshold=NEAR - 0.1, num_perm=PERMUTATIONS)
    kept = []
    hashes = MinHash.generator([[word.encode() for word in shingle] for shingle in shingles], num_perm=PERMUTATIONS, seed=1)
    for number, (row, sketch) in enumerate(progress(list(zip(order, hashes)), "near duplicates")):
        twin = next((other for other in index.query(sketch) if _overlap(shingles[number], shingles[other]) >= NEAR), None)
        if twin is not None and row.split != "judge":
            where = "its own split" if order[twin].split == row.split else order[twin].split
            report["removed"][f"near duplicate: {row.split} of {where}"] += 1
            continue
        index.insert(number, sketch)
        kept.append(row)
    return kept


def _overlap(one: set[str], two: set[str]) -> float:
    return len(one & two) / len(one | two)

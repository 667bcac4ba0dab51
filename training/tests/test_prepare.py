"""Splits are read right, keep to themselves, and never change."""

import csv
import json
import random
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import toys

from bellwether_training import prepare
from bellwether_training.config import ConfigError

EVERYTHING = (*prepare.SPLITS, "judge", "unlabelled")


def write(path: Path, records: list[dict]) -> None:
    if path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    else:
        toys.write_lines(path, records)


class Workplace:
    """Sources, each with its records, and what `prepare` makes of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.sources: list[dict] = []
        self.report: dict = {}

    def add(self, file: str, records: list[dict], **source) -> "Workplace":
        write(self.folder / file, records)
        defaults = {"name": file.partition(".")[0], "file": file, "text": "text", "development_share": 0.0}
        self.sources.append({**defaults, **source})
        return self

    def prepare(self) -> dict[str, list[prepare.Row]]:
        config = toys.config(self.folder, self.sources)
        self.report = prepare.run(config, self.folder, self.folder, self.folder / "splits")
        return {split: prepare.load(self.folder / "splits", split) for split in EVERYTHING}

    def texts(self) -> dict[str, list[str]]:
        return {split: [row.text for row in rows] for split, rows in self.prepare().items()}


@pytest.fixture
def workplace(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def labelled(*pairs: tuple[str, str], head: str = "sentiment") -> list[dict]:
    return [{"text": text, head: label} for text, label in pairs]


# --- reading


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(workplace, suffix):
    records = [
        {"headline": "Bank &amp; Co fails", "summary": "Queues,\nlong ones, form.", "mood": "-1", "theme": "macro"},
        {"headline": "Nothing moves?", "summary": "", "mood": "0", "theme": "macro"},
    ]
    workplace.add(f"news.{suffix}", records, text=None, title="headline", body="summary", topic="theme", sentiment="mood",
                  topic_labels={"macro": "Macro"}, sentiment_labels={"-1": "negative", "0": "neutral"})
    found = [(row.title, row.body, row.text, row.topic, row.sentiment) for row in workplace.prepare()["train"]]
    assert found == [
        ("Bank & Co fails", "Queues, long ones, form.", "Bank & Co fails. Queues, long ones, form.", "Macro", "negative"),
        ("Nothing moves?", None, "Nothing moves?", "Macro", "neutral"),
    ]


def test_an_empty_label_drops_the_label_and_keeps_the_row_for_the_other_head(workplace):
    records = [{"text": "Traders wait for exports", "topic": "Macro", "sentiment": "unsure"}, {"text": "Harbour plant opens again", "sentiment": "unsure"}]
    workplace.add("news.jsonl", records, topic="topic", sentiment="sentiment", sentiment_labels={"unsure": ""})
    assert [(row.topic, row.sentiment) for row in workplace.prepare()["train"]] == [("Macro", None)]
    assert workplace.report["sources"]["news"]["without text or label"] == 1


def test_the_parts_of_a_judging_set_are_told_apart_by_the_source(workplace):
    records = [{"text": "油价暴跌", "sentiment": "negative", "language": "zh"}, {"text": "Ölpreis stürzt ab", "sentiment": "negative", "language": "de"}]
    workplace.add("world.jsonl", records, sentiment="sentiment", role="evaluate", part="language")
    assert [(row.source, row.text) for row in workplace.prepare()["judge"]] == [("world-zh", "油价暴跌"), ("world-de", "Ölpreis stürzt ab")]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_unknown_label_is_refused_with_file_and_row(workplace, suffix):
    workplace.add(f"news.{suffix}", labelled(("one", "negative"), ("two", "gloomy")), sentiment="sentiment")
    with pytest.raises(ConfigError, match=rf"news\.{suffix}, row 2: 'gloomy' .*'news'"):
        workplace.prepare()


def test_a_line_that_is_no_json_is_refused_with_file_and_row(workplace):
    workplace.add("news.jsonl", labelled(("one", "negative")), sentiment="sentiment")
    with open(workplace.folder / "news.jsonl", "a") as file:
        file.write('{"text": \n')
    with pytest.raises(ConfigError, match=r"news\.jsonl, row 2"):
        workplace.prepare()


@pytest.mark.parametrize("key", ["text", "sentiment", "topic", "split", "entities"])
def test_a_column_that_is_not_there_is_refused(workplace, key):
    workplace.add("news.jsonl", labelled(("one", "negative")), **{"sentiment": "sentiment", key: "absent"})
    with pytest.raises(ConfigError, match="'absent'.*'news'"):
        workplace.prepare()


def test_a_column_of_summaries_that_is_not_there_is_refused(workplace):
    workplace.add("news.jsonl", labelled(("one", "negative")), text=None, title="text", body="summry", sentiment="sentiment")
    with pytest.raises(ConfigError, match="'summry'"):
        workplace.prepare()


def test_a_file_that_is_missing_or_of_another_kind_is_refused(workplace):
    workplace.add("news.jsonl", labelled(("one", "negative")), sentiment="sentiment")
    (workplace.folder / "news.jsonl").rename(workplace.folder / "news.txt")
    with pytest.raises(ConfigError, match=r"news\.jsonl is missing"):
        workplace.prepare()
    workplace.sources[0]["file"] = "news.txt"
    with pytest.raises(ConfigError, match=r"\.csv, \.jsonl or \.parquet"):
        workplace.prepare()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_entities_that_disagree_are_left_out(workplace, suffix):
    moods = [{"Harbour": "negative", "Lumen": "negative"}, {"Harbour": "negative", "Lumen": "positive"}, {"Orchard": "neutral"}]
    # As each format has them: a text of JSON, an object, a struct with every entity of the column.
    records = [{"text": text, "moods": json.dumps(mood) if suffix == "csv" else mood} for text, mood in zip(("both fall", "one each", "one holds"), moods)]
    workplace.add(f"news.{suffix}", records, entities="moods")
    assert [(row.text, row.sentiment) for row in workplace.prepare()["train"]] == [("both fall", "negative"), ("one holds", "neutral")]
    assert workplace.report["sources"]["news"]["of two minds"] == 1


def test_an_entity_whose_label_is_dropped_has_no_say(workplace):
    workplace.add("news.jsonl", [{"text": "one falls", "moods": {"Harbour": "negative", "Lumen": "mixed"}}], entities="moods", sentiment_labels={"mixed": ""})
    assert [row.sentiment for row in workplace.prepare()["train"]] == ["negative"]


def test_only_headlines_with_one_entity_are_tested_on_where_that_is_asked_for(workplace):
    chance = random.Random(1)
    records = [{"text": toys.text(chance), "moods": dict.fromkeys(("Harbour", "Lumen")[: 1 + number % 2], "neutral")} for number in range(80)]
    workplace.add("news.jsonl", records, entities="moods", test_share=0.5, development_share=0.5, single_entity_test=True)
    single = {record["text"] for record in records if len(record["moods"]) == 1}
    found = workplace.texts()
    assert found["test"] and found["development"] and set(found["test"] + found["development"]) <= single


def test_the_official_validation_rows_are_the_test(workplace):
    records = [{**record, "split": ("train", "validation")[number % 2]} for number, record in enumerate(toys.records(20, 1, "topic"))]
    workplace.add("news.jsonl", records, topic="topic", split="split")
    found = workplace.texts()
    assert set(found["test"]) == {record["text"] for record in records if record["split"] == "validation"}
    assert set(found["train"]) == {record["text"] for record in records if record["split"] == "train"}


# --- duplicates


LONG = "the northern bank said on monday that its branch in the harbour city would close early this winter after a weak season"


def test_an_exact_duplicate_within_a_split_becomes_one_row_that_says_where_else_it_stood(workplace):
    workplace.add("one.jsonl", labelled(("Oil climbs 3%", "Markets"), head="topic"), topic="topic")
    workplace.add("two.jsonl", labelled(("OIL climbs, 3%!", "positive")), sentiment="sentiment")
    [row] = workplace.prepare()["train"]
    assert (row.source, row.also, row.topic, row.sentiment) == ("one", ["two"], "Markets", "positive")


def test_a_test_row_that_also_stands_in_training_is_no_test(workplace):
    records = [{"text": "Oil climbs", "sentiment": "positive", "split": "train"}, {"text": "oil climbs!", "sentiment": "positive", "split": "test"}]
    workplace.add("news.jsonl", records, sentiment="sentiment", split="split")
    found = workplace.texts()
    assert (found["train"], found["test"]) == (["Oil climbs"], [])


@pytest.mark.parametrize("twin", ["Oil climbs, 3%", "oil &amp;climbs 3% https://t.example/x"])
def test_nothing_that_stands_in_a_judging_set_is_trained_on(workplace, twin):
    workplace.add("news.jsonl", labelled((twin, "positive"), ("Gas drops", "negative")), sentiment="sentiment")
    workplace.add("judge.jsonl", [{"text": "Oil climbs 3%"}], role="evaluate")
    found = workplace.texts()
    assert (found["train"], found["judge"]) == (["Gas drops"], ["Oil climbs 3%"])


@pytest.mark.parametrize("role, split", [("train", "train"), ("train", "test"), ("evaluate", "judge")])
def test_a_near_duplicate_goes_from_the_split_that_must_yield(workplace, role, split):
    near = LONG.replace("weak season", "weak summer")
    workplace.add("first.jsonl", [{"text": LONG, "sentiment": "negative", "split": split}], sentiment="sentiment", split="split", role=role)
    workplace.add("second.jsonl", labelled((near, "negative"), ("Gas drops", "negative")), sentiment="sentiment")
    found = workplace.texts()
    kept = {"train": ([LONG, "Gas drops"], [], []), "test": ([near, "Gas drops"], [], []), "judge": (["Gas drops"], [], [LONG])}[split]
    assert (found["train"], found["test"], found["judge"]) == kept


def test_texts_that_share_half_of_their_word_pairs_both_stay(workplace):
    words = LONG.split()
    other = " ".join(words[:11] + toys.FILLERS[:11])
    workplace.add("news.jsonl", labelled((LONG, "negative"), (other, "negative")), sentiment="sentiment")
    assert workplace.texts()["train"] == [LONG, other]


def test_judging_sets_are_left_whole_and_keep_to_their_sources(workplace):
    near = LONG.replace("weak season", "weak summer")
    workplace.add("one.jsonl", [{"id": "a", "text": LONG}, {"id": "b", "text": near}], role="evaluate")
    workplace.add("two.jsonl", [{"id": "c", "text": LONG}], role="evaluate")
    assert sorted(row.id for row in workplace.prepare()["judge"]) == ["a", "b", "c"]


# --- labels of repeated texts


def test_repeated_texts_vote_on_their_label(workplace):
    workplace.add("news.jsonl", labelled(("Oil climbs", "positive"), ("oil climbs", "neutral"), ("Oil climbs.", "positive")), sentiment="sentiment")
    assert [row.sentiment for row in workplace.prepare()["train"]] == ["positive"]
    assert workplace.report["conflicts"][0]["votes"] == {"positive": 2, "neutral": 1}


def test_a_tie_drops_the_label_and_without_another_label_the_row(workplace):
    tied = [{"text": "Oil climbs", "sentiment": "positive", "topic": "Markets"}, {"text": "oil climbs", "sentiment": "neutral"},
            {"text": "Gas drops", "sentiment": "positive"}, {"text": "gas drops", "sentiment": "negative"}]
    workplace.add("news.jsonl", tied, sentiment="sentiment", topic="topic")
    assert [(row.text, row.topic, row.sentiment) for row in workplace.prepare()["train"]] == [("Oil climbs", "Markets", None)]
    assert workplace.report["removed"]["labels contradict"] == 1


# --- splits


def split_of_each(workplace: Workplace) -> dict[str, str]:
    return {text: split for split, texts in workplace.texts().items() for text in texts}


@pytest.fixture(scope="module")
def many() -> list[dict]:
    return toys.records(400, 21, "topic", "sentiment")


def placed(folder: Path, records: list[dict]) -> dict[str, str]:
    folder.mkdir()
    return split_of_each(Workplace(folder).add("news.jsonl", records, topic="topic", sentiment="sentiment", test_share=0.25, development_share=0.25))


def test_shares_are_about_what_is_asked_for(tmp_path, many):
    counts = Counter(placed(tmp_path / "all", many).values())
    # Of 400 rows a share of 0.25 has a standard deviation of under 9 rows; development has its share of what is left.
    assert abs(counts["test"] - 100) < 36 and abs(counts["development"] - 75) < 32 and sum(counts.values()) == 400


def test_splits_do_not_change_when_rows_are_shuffled(tmp_path, many):
    shuffled = random.Random(3).sample(many, len(many))
    assert placed(tmp_path / "shuffled", shuffled) == placed(tmp_path / "all", many)


def test_splits_do_not_change_when_rows_are_added(tmp_path, many):
    few, all_of_them = placed(tmp_path / "few", many[:250]), placed(tmp_path / "all", many)
    assert len(few) == 250 and few.items() <= all_of_them.items()


def test_the_report_counts_what_was_written(workplace):
    workplace.add("news.jsonl", toys.records(60, 5, "topic", "sentiment"), topic="topic", sentiment="sentiment", test_share=0.3)
    written = workplace.prepare()
    report = json.loads((workplace.folder / "splits" / "report.json").read_text(encoding="utf-8"))
    for split, entry in report["splits"].items():
        assert entry["rows"] == len(written[split])
        assert entry["topic"] == Counter(row.topic for row in written[split])
    assert sum(entry["rows"] for entry in report["splits"].values()) == 60


def test_a_split_that_was_not_prepared_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="prepare"):
        prepare.load(tmp_path, "train")

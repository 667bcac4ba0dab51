"""The texts and labels that are part of this repository keep to the label guide and to themselves."""

import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from bellwether_training import prepare
from bellwether_training.config import load
from bellwether_training.text import clean, normalised, passage

TRAINING = Path(__file__).resolve().parent.parent
CONFIG = load(TRAINING / "finnews.toml")
OWN = ("domain/hand.jsonl", "domain/grammar.jsonl", "domain/figures.jsonl")
LABELLED = (*OWN, "behaviour.jsonl", "news_sample.jsonl", "multilingual.jsonl")
# The model is judged, and the demo and the back-test run, on the weeks in which these fell.
FORBIDDEN = re.compile(r"\b(?:silicon valley bank|svb|sivb|signature bank|sbny|silvergate|first republic|credit suisse)\b", re.IGNORECASE)


def read(name: str, folder: Path = TRAINING) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def text_of(entry: dict) -> str:
    return clean(entry.get("text") or passage(entry.get("title"), entry.get("body")))


@pytest.fixture(scope="module")
def shared() -> Path:
    """The folder of the sources that are not part of this repository."""
    folder = os.environ.get("BELLWETHER_SHARED_DATA")
    if not folder and os.environ.get("CI"):
        pytest.fail("in CI this test must run: set BELLWETHER_SHARED_DATA to the folder of the labelled news", pytrace=False)
    if not folder:
        pytest.skip("the labelled news are not here: set BELLWETHER_SHARED_DATA to their folder")
    return Path(folder)


@pytest.mark.parametrize("name", LABELLED)
def test_every_label_is_one_of_the_models(name):
    wrong = [entry for entry in read(name) if entry["sentiment"] not in CONFIG.labels.sentiment or
             (name != "behaviour.jsonl" and entry["topic"] not in CONFIG.labels.topic)]
    assert wrong == []


def test_the_label_guide_describes_the_labels_of_the_model():
    rows = re.findall(r"^\| (.+?) \| ", (TRAINING / "LABELS.md").read_text(encoding="utf-8").replace("\\|", "¦"), re.MULTILINE)
    described = [row.replace("¦", "|") for row in rows if row != "label"]
    assert sorted(described) == sorted(CONFIG.labels.topic)


@pytest.mark.parametrize("name", [*OWN, "behaviour.jsonl", "multilingual.jsonl"])
def test_no_text_stands_twice(name):
    counts = Counter(normalised(text_of(entry)) for entry in read(name))
    assert [text for text, count in counts.items() if count > 1 or not text] == []


@pytest.mark.parametrize("name", ["behaviour.jsonl", "news_sample.jsonl"])
def test_every_id_is_used_once(name):
    counts = Counter(entry["id"] for entry in read(name))
    assert [id for id, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", OWN)
def test_every_text_of_our_own_is_clean_and_has_a_title(name):
    assert [entry for entry in read(name) if not entry["title"] or any((entry.get(part) or "") != clean(entry.get(part) or "") for part in ("title", "body"))] == []


def test_there_are_enough_texts_of_our_own_and_all_labels_among_them():
    own = [entry for name in OWN for entry in read(name)]
    assert len(own) >= 3000
    assert {entry["topic"] for entry in own} == set(CONFIG.labels.topic)
    assert {entry["sentiment"] for entry in own} == set(CONFIG.labels.sentiment)


def test_the_sample_of_news_has_labels_and_reasons_but_no_text():
    for entry in read("news_sample.jsonl"):
        assert entry.keys() == {"id", "topic", "sentiment", "reason"} and re.fullmatch("[0-9a-f]{16}", entry["id"])


def test_the_sample_of_news_is_of_the_set_that_the_model_is_judged_by_and_quotes_none_of_it(shared):
    news = {entry["id"]: entry for entry in read("news-2023-svb.jsonl", shared)}
    for entry in read("news_sample.jsonl"):
        assert entry["id"] in news
        title = normalised(news[entry["id"]]["title"])
        assert title not in normalised(entry["reason"]), entry["id"]


@pytest.mark.parametrize("name", [*OWN, "behaviour.jsonl", "multilingual.jsonl"])
def test_nothing_names_what_the_model_is_judged_on(name):
    assert [entry for entry in read(name) if FORBIDDEN.search(text_of(entry))] == []


def near(cases: list[str], texts: list[str]) -> list[tuple[str, str]]:
    """Pairs that `prepare` calls near duplicates, found by comparing all that share a pair of words."""
    shingles, holders = [prepare._shingles(case) for case in cases], defaultdict(set)
    for number, shingle in enumerate(shingles):
        for pair in shingle:
            holders[pair].add(number)
    found = []
    for text in texts:
        own = prepare._shingles(text)
        shared = Counter(number for pair in own for number in holders.get(pair, ()))
        found += [(cases[number], text) for number in shared if prepare._overlap(own, shingles[number]) >= prepare.NEAR]
    return found


def test_near_duplicates_are_found():
    case = "Shipping group Aldersund no longer expects a loss this year after all"
    assert near([case, "Something else"], ["Oil climbs", case.lower() + "!"]) == [(case, case.lower() + "!")]


def test_no_behaviour_case_nor_text_in_another_language_nor_a_near_duplicate_of_it_is_among_the_texts_of_our_own():
    cases = [text_of(entry) for name in ("behaviour.jsonl", "multilingual.jsonl") for entry in read(name)]
    own = [entry for name in OWN for entry in read(name)]
    # Training leaves out summaries now and then, so a title by itself is a text, too.
    assert near(cases, [text_of(entry) for entry in own] + [clean(entry["title"]) for entry in own]) == []


def test_no_behaviour_case_nor_text_in_another_language_nor_a_near_duplicate_of_it_is_trained_on_at_all(shared):
    cases = [text_of(entry) for name in ("behaviour.jsonl", "multilingual.jsonl") for entry in read(name)]
    texts = []
    for source in CONFIG.source:
        if source.role == "train" and not source.file.startswith("./"):
            texts += [clean(entry[source.text]) for entry in read(source.file, shared)]
    assert len(texts) > 30_000
    assert near(cases, texts) == []


def test_the_behaviour_cases_are_many_of_every_kind_and_of_every_sentiment():
    cases = read("behaviour.jsonl")
    kinds = Counter(case["kind"] for case in cases)
    assert len(kinds) >= 8 and min(kinds.values()) >= 20
    assert min(Counter(case["sentiment"] for case in cases).values()) >= 60


def test_the_texts_in_other_languages_are_clean_and_have_all_labels_in_every_language():
    entries = read("multilingual.jsonl")
    assert [entry for entry in entries if entry["text"] != clean(entry["text"])] == []
    assert Counter(entry["language"] for entry in entries) == {"zh": 120, "de": 60, "es": 60, "fr": 60, "pt": 30, "ja": 30}
    for language in ("zh", "de", "es", "fr"):
        there = Counter((entry["topic"], entry["sentiment"]) for entry in entries if entry["language"] == language)
        assert len(there) == len(CONFIG.labels.topic) * len(CONFIG.labels.sentiment), language
    for language in ("pt", "ja"):
        there = [entry for entry in entries if entry["language"] == language]
        assert {entry["topic"] for entry in there} == set(CONFIG.labels.topic), language
        assert {entry["sentiment"] for entry in there} == set(CONFIG.labels.sentiment), language


def test_the_texts_in_other_languages_are_in_the_language_that_they_name():
    for entry in read("multilingual.jsonl"):
        kana, han = (re.search(letters, entry["text"]) for letters in ("[\u3040-\u30ff]", "[\u4e00-\u9fff]"))
        assert (bool(kana), bool(han)) == {"zh": (False, True), "ja": (True, True)}.get(entry["language"], (False, False)), entry

"""The texts decided by their figures: labels recomputed here from the printed figures, with no help from the generator."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from test_data import near, read, text_of
from test_grammar import CODES

from bellwether_training.figures import generate
from bellwether_training.grammar import Row

FILE = Path(__file__).resolve().parent.parent / "domain/figures.jsonl"
OPPOSITE = {"positive": "negative", "negative": "positive"}
SCALES = {"k": 1e3, "m": 1e6, "mn": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "billion": 1e9, "t": 1e12, "tn": 1e12, "trillion": 1e12}
# Sign before or after the currency, number, scale; a figure counts as pence or cents by its tail.
FIGURE = re.compile(
    rf"(?P<sign>\bloss of |\bminus |(?<![\w.)])-)?(?:\b(?:{CODES}|rs) |[a-z]{{0,2}}[$€£¥₹])?(?<![\w.])(?P<number>\d(?:[\d,]*\d)?(?:\.\d+)?)"
    r"(?: ?(?P<scale>million|billion|trillion|bn|mn|tn|k|m|b|t)\b)?(?P<hundredth>c\b|p\b| cents| pence)?"
)
UNIT = (
    r"(?:%| ?(?:percent|per cent|pct|x|times|tonnes|barrels a day|crore|[a-z]+(?= a (?:share|tonne|ounce)))(?: a share)?)?"
    r"(?: (?:euros|dollars|pounds|yen|won|yuan|rand|pesos|kroner|kronor|zlotys|lira|dirhams|riyals))?"
)
# The older or expected figure stands first in these, after the newer one in all others.
OLD_FIRST = re.compile(
    r"^(?:after|where|a year ago|compared|having|while|est @|the bar|last time|opening|with the street|with a consensus|@ was the forecast|from @|from a)"
    r"|^at [^@]*, a|(?:went|go|goes) from|in the year before|consensus for|forecast @ /|assumed|had seen|looked for .* @; the|had on average|analysts' median"
    r"|had itself|had a range|first estimate|last stood|: prior-quarter|the q\d report of|: (?:[a-z]+|q\d) @, (?!consensus)(?:[a-z]+|q\d) @|: @ in \d{4}, @ in \d{4}"
    r"|\d{4} and \d{4}: @, @|(?:was|were) @ in the \w+ and @|ebit @ in q\d, @ in q\d|stock: \w+ @, \w+ @|a year ago @, today"
)
MORE_IS_BAD = re.compile(
    r"net loss|operating loss|pretax loss|loss before|cash burn|net debt|net borrowings|impairments|charges|provisions|writedowns|leverage|cost[/-]|loan ratio"
    r"|npl|arrears|combined ratio|expense ratio|churn|staff turnover|vacancy|scrap|reject|cancellation|complaints|overdue|unsold|accidents|delayed|warranty"
    r"|unemployment|jobless|inflation|cpi|deficit|fiscal gap|public debt|insolvencies|bankruptcies|repossessions|delinquency|default|job cuts|home repossessions|settles|puts cost"
)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return generate(4000, 20)


def whole(row: Row) -> str:
    return f"{row['title']} // {row.get('body') or ''}".lower()


def figures(row: Row) -> list[float]:
    """Signed values; a swing's loss of so much is negative, cents and pence are hundredths."""
    found = []
    for match in FIGURE.finditer(whole(row)):
        value = float(match["number"].replace(",", "")) * SCALES.get(match["scale"] or "", 1)
        found.append((-1 if match["sign"] and (row["kind"] == "swing" or match["sign"] != "loss of ") else 1) * value / (100 if match["hundredth"] else 1))
    return found


def pairs(rows: list[Row]) -> list[tuple[Row, Row]]:
    """Directional rows with their mirrors, which stand side by side."""
    directional = [row for row in rows if row["sentiment"] != "neutral"]
    return list(zip(directional[::2], directional[1::2], strict=True))


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z]+", re.sub(r"\d[\d,.]*|\b(?:million|billion|trillion|bn|mn|tn|k|m|b|t|cents|pence|c|p)\b", " ", text)))


def test_every_directional_text_has_a_mirror_with_its_words_its_figures_exchanged_and_the_other_label(rows: list[Row]) -> None:
    for one, other in pairs(rows):
        assert (one["kind"], one["topic"]) == (other["kind"], other["topic"])
        assert one["sentiment"] == OPPOSITE[other["sentiment"]]
        left, right = figures(one), figures(other)
        assert left != right and sorted(left) == sorted(right), (one, other)
        moved = [place for place, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
        assert len(moved) in (2, 4), (one, other)


@pytest.mark.parametrize("kind", ["year", "previous", "estimate", "forecast", "prior", "swing", "quote", "outlook"])
def test_the_label_follows_from_the_printed_figures(rows: list[Row], kind: str) -> None:
    checked = 0
    for one, other in pairs(rows):
        if one["kind"] != kind:
            continue
        left, right = figures(one), figures(other)
        moved = [place for place, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
        if len(moved) != 2:
            continue
        text, spans = whole(one), [match.span() for match in FIGURE.finditer(whole(one))]
        (start, end), (start2, end2) = (spans[place] for place in moved)
        shaped = re.sub("@" + UNIT, "@", f"{text[:start]}@{text[end:start2]}@{text[end2:]}")
        shaped = re.sub(r"\b(?:plus |minus )(?=@)|(?<![^ ])[+-](?=@)", "", shaped)
        first, second = (left[place] for place in moved)
        new, old = (second, first) if OLD_FIRST.search(re.sub(r"^[^@]* // (?=in the year)", "", shaped)) else (first, second)
        said = "positive" if (new > old) != (kind != "swing" and bool(MORE_IS_BAD.search(text))) else "negative"
        assert one["sentiment"] == said, shaped
        checked += 1
    assert checked >= 30, checked


def test_words_decide_nothing(rows: list[Row]) -> None:
    """Every word of the directional texts stands as often in the positive ones as in the negative ones."""
    count = {label: sum((words(whole(row)) for row in rows if row["sentiment"] == label), Counter()) for label in OPPOSITE}
    assert count["positive"] == count["negative"]


def test_neutral_texts_compare_equal_figures_or_mixed_ones_or_nothing(rows: list[Row]) -> None:
    kinds = Counter(row["kind"] for row in rows if row["sentiment"] == "neutral")
    assert kinds["alone"] >= 100 and kinds["double"] >= 20
    for row in rows:
        if row["sentiment"] == "neutral" and row["kind"] not in ("alone", "double"):
            assert any(count > 1 for count in Counter(figures(row)).values()), row
        assert (row["kind"] != "alone") or row["sentiment"] == "neutral"


def test_the_larger_figure_is_often_the_one_that_looks_smaller(rows: list[Row]) -> None:
    """As 980m beside 1.2bn or 9.8 beside 12.1, where the leading digit misleads."""
    misleading = 0
    for row in (one for one, _ in pairs(rows)):
        found = [(value, match["number"][0]) for value, match in zip(figures(row), FIGURE.finditer(whole(row)), strict=True)]
        top = sorted(found, key=lambda pair: pair[0])
        misleading += len(found) >= 2 and top[-1][1] < top[0][1]
    assert misleading >= 0.05 * len(pairs(rows))


def test_shares_of_sentiments_topics_and_bodies(rows: list[Row]) -> None:
    shares = {name: count / len(rows) for name, count in Counter(row["sentiment"] for row in rows).items()}
    assert shares["positive"] == shares["negative"]
    assert shares["neutral"] == pytest.approx(0.13, abs=0.025)
    assert sum(row["body"] is not None for row in rows) / len(rows) == pytest.approx(0.25, abs=0.05)
    assert {"Financials", "Macro", "Stock Movement", "Markets", "Dividend", "Analyst Update"} <= {row["topic"] for row in rows}


def test_texts_are_clean_and_none_stands_twice(rows: list[Row]) -> None:
    texts = [text_of(dict(row)) for row in rows]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert not re.search(r"[{}<>\[\]@^|]|  | [,.;:)](?:\s|$)|s's\b|\b-0\.0+\b|\d,\d{1,2}\b(?!,)", text), text
        assert text == text.strip() and not text[0].islower(), text


def test_same_seed_same_rows() -> None:
    assert generate(200, 7) == generate(200, 7) != generate(200, 8)


def test_the_file_is_what_the_module_makes() -> None:
    kept = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert kept == [{name: value for name, value in row.items() if value} for row in generate(2000, 1)]


def test_prepare_keeps_every_text_and_its_mirror() -> None:
    texts = [text_of(row) for row in read("domain/figures.jsonl")]
    assert [pair for pair in near(texts, texts) if pair[0] != pair[1]] == []


def test_no_behaviour_case_is_met_even_when_all_figures_are_taken_for_the_same() -> None:
    def leveled(texts: list[str]) -> list[str]:
        return [re.sub(r"\d[\d.,]*", "0", text) for text in texts]

    cases = [text_of(entry) for entry in read("behaviour.jsonl")]
    own = read("domain/figures.jsonl")
    assert near(leveled(cases), leveled([text_of(entry) for entry in own] + [entry["title"] for entry in own])) == []

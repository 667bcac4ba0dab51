"""The generated texts against what their own words and figures say, read here with no help from the generator."""

import re
from collections import Counter

import pytest

from bellwether_training.grammar import Row, generate

TOPICS = {
    "Analyst Update", "Dividend", "IPO", "M&A | Investments", "Personnel Change", "Financials", "Earnings",
    "Stock Movement", "Markets", "Stock Commentary", "Gold | Metals | Materials", "Energy | Oil", "Currencies",
    "Treasuries | Corporate Debt", "Fed | Central Banks", "Legal | Regulation", "Macro", "Company | Product News",
    "Politics", "General News | Opinion",
}  # fmt: skip
FORBIDDEN = ["silicon valley bank", "svb", "signature bank", "silvergate", "first republic", "credit suisse"]
CODES = "eur|usd|gbp|inr|jpy|krw|cny|twd|hkd|sgd|aud|nzd|cad|zar|brl|mxn|sek|nok|dkk|chf|pln|try|aed|sar"
NUMBER = r"\d[\d,]*(?:\.\d+)?"
SCALE = r"(?: ?(?:mn|bn|million|billion|crore|m)\b)?"
WORDS = r"(?:euros|yen|won|yuan|rand|pesos|kronor|zlotys|lira|dirhams|riyals)"
MONEY = re.compile(
    rf"\b(?:{CODES}) ?{NUMBER}{SCALE}|[a-z]{{0,2}}[$€£¥₹]{NUMBER}{SCALE}|\brs {NUMBER}{SCALE}|{NUMBER}{SCALE} {WORDS}"
)
RATE = re.compile(rf"{NUMBER} per dollar|\${NUMBER}")
LEVEL = re.compile(r"(?<=at )\d[\d,.]*\d|(?<=from )\d[\d,.]*\d|(?<=with )\d[\d,.]*\d")
PERCENT = re.compile(rf"({NUMBER}) ?(?:%|percent|per cent|pct)")
# The older, expected or planned figure stands first in these, after the newer one in all others.
OLD_FIRST = re.compile(
    r"^(?:\S+: )?compared with|expected .*@.*(?:it made|it earned|the figure was).*@|loss of @.*(?:grew|shrank) to @"
    r"|consensus of @ (?:beaten|missed)|a loss of @ into a profit of @|from @ to @"
)
NEW_FIRST = re.compile(
    r"@.*\b(?:from|against|compared (?:with|to)|previously|vs|versus|consensus|est|when it was|rather than the|was|of"
    r"|short of the|tops the|guided to|forecast|loss)\b.*@|@[^@]*\([^@]*@"
)
LADDERS = [
    "aaa aa+ aa aa- a+ a a- bbb+ bbb bbb- bb+ bb bb- b+ b b- ccc+ ccc",
    "aaa aa1 aa2 aa3 a1 a2 a3 baa1 baa2 baa3 ba1 ba2 ba3 b1 b2 b3 caa1 caa2",
]
RANK = {grade: place for ladder in LADDERS for place, grade in enumerate(ladder.split())}
UP = "rose|rises?|up|increased|climbs|jumps?|gains?|gained|adds|pops|rallies|swells"
DOWN = "fell|falls?|down|decreased|slides|drops?|loses?|lost|sheds|sinks|shrinks"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return generate(9000, 20)


def lowered(row: Row) -> str:
    return re.sub(r"^(?:breaking: |\*|\$\w+(?: -|:) (?=.*\w))", "", row["title"].lower())


def value(text: str) -> float:
    found = re.search(NUMBER, text)
    assert found
    return float(found[0].replace(",", ""))


def compared(text: str, figures: re.Pattern[str]) -> tuple[float, float] | None:
    """The newer and the older figure, where the text has these two."""
    found = [value(match[0]) for match in figures.finditer(text)]
    if len(found) != 2:
        return None
    shape = figures.sub("@", text)
    if re.search(r"revenue by @: @", shape):
        return None
    if re.search(OLD_FIRST, shape):
        return found[1], found[0]
    assert re.search(NEW_FIRST, shape), text
    return found[0], found[1]


def direction(new: float, old: float) -> str:
    return "neutral" if new == old else "positive" if new > old else "negative"


OPPOSITE = {"positive": "negative", "negative": "positive", "neutral": "neutral"}
FIGURES = {
    "profit": MONEY, "loss": MONEY, "orders": MONEY, "consensus": MONEY, "guidance": MONEY, "shares": MONEY,
    "cashtag": MONEY, "analyst": MONEY, "dividend": MONEY, "deals": MONEY, "deposits": MONEY, "contrast": MONEY,
    "capex": MONEY, "metals": MONEY, "currencies": RATE, "index": LEVEL,
}  # fmt: skip
INVERSE = {"loss", "capex"}


@pytest.mark.parametrize("kind", FIGURES)
def test_the_label_follows_from_the_two_figures(rows: list[Row], kind: str) -> None:
    checked = 0
    for row in rows:
        text = lowered(row)
        pair = compared(text, FIGURES[kind]) if row["kind"] == kind else None
        if pair is None:
            continue
        checked += 1
        if kind == "loss" and "profit" in text:
            now_profit = re.search(r"returns to profit|profit totalled|into a profit", text)
            said = "positive" if now_profit else "negative"
        else:
            said = direction(*pair)
            if kind in INVERSE or "per dollar" in text:
                said = OPPOSITE[said]
        assert row["sentiment"] == said, row["title"]
        share = PERCENT.search(text)
        if share and kind not in ("contrast", "deals"):
            assert float(share[1]) == pytest.approx(abs(pair[0] - pair[1]) / pair[1] * 100, abs=0.051), row["title"]
    assert checked >= (15 if kind in ("deals", "shares", "cashtag") else 30), checked


@pytest.mark.parametrize("kind", ["prices", "activity"])
def test_macro_figures_against_their_forecast(rows: list[Row], kind: str) -> None:
    checked = 0
    for row in rows:
        text = lowered(row)
        found = [float(number) for number in re.findall(r"\d+\.\d", text)] if row["kind"] == kind else []
        if len(found) != 2:
            continue
        shape = re.sub(r"\d+\.\d", "@", text)
        old_first = re.search(r"economists expected|consensus of @", shape)
        said = direction(*(reversed(found) if old_first else found))
        assert row["sentiment"] == (OPPOSITE[said] if kind == "prices" else said), row["title"]
        checked += 1
    assert checked >= 60


def test_ratings_move_as_labelled(rows: list[Row]) -> None:
    checked = 0
    for row in rows:
        found = re.search(r"(?:to|rated) (\S+?),? (?:from|previously) (\S+)", lowered(row))
        if row["kind"] == "rating" and found:
            assert row["sentiment"] == direction(RANK[found[2]], RANK[found[1]]), row["title"]
            checked += 1
    assert checked >= 30


def test_signs_and_verbs_beside_percentages(rows: list[Row]) -> None:
    """Where a text has but one figure, a percentage, the sign or verb next to it gives the direction."""
    checked: Counter[str] = Counter()
    for row in rows:
        text = lowered(row)
        if row["kind"] not in ("cashtag", "shares", "index", "metals", "currencies", "profit", "loss", "orders"):
            continue
        sign = re.search(r"([+-])\d[\d.]*%", text)
        verb = re.search(rf"\b({UP}|{DOWN})\b (?:by )?{NUMBER} ?(?:%|pe?r? ?ce?n?t)", text)
        if not (sign or verb):
            continue
        rising = sign[1] == "+" if sign else bool(verb and re.fullmatch(UP, verb[1]))
        good = rising != (row["kind"] == "loss")
        assert row["sentiment"] == ("positive" if good else "negative"), row["title"]
        checked[row["kind"]] += 1
    assert len(checked) == 8 and min(checked.values()) >= 10, checked


def test_same_seed_same_rows() -> None:
    assert generate(300, 7) == generate(300, 7)
    assert generate(300, 7) != generate(300, 8)


def test_labels_are_legal_and_kinds_are_spread(rows: list[Row]) -> None:
    assert {row["topic"] for row in rows} <= TOPICS
    assert {row["sentiment"] for row in rows} == {"negative", "neutral", "positive"}
    kinds = Counter(row["kind"] for row in rows)
    assert len(kinds) >= 25
    assert min(kinds.values()) >= 0.95 * max(kinds.values())
    assert {row["kind"] for row in generate(2 * len(kinds), 3)} == set(kinds)


def test_no_text_twice() -> None:
    made = generate(3000, 1)
    assert len(made) == 3000
    assert len({row["title"].lower() for row in made}) == 3000


def test_shares_of_sentiments_and_bodies(rows: list[Row]) -> None:
    shares = {name: count / len(rows) for name, count in Counter(row["sentiment"] for row in rows).items()}
    assert shares == pytest.approx({"negative": 0.35, "neutral": 0.33, "positive": 0.32}, abs=0.025)
    assert sum(row["body"] is not None for row in rows) / len(rows) == pytest.approx(0.35, abs=0.03)


def test_texts_are_clean(rows: list[Row]) -> None:
    for row in rows:
        for text in filter(None, (row["title"], row["body"])):
            assert not re.search(r"[{}<>\[\]]|  |\(n\)|;;|#\d| [,.;:?!](?:\s|$)", text), text
            assert text == text.strip() and not text[0].islower(), text
            assert not re.search(r"s's\b|(?:\ba|^A) (?:[aeio]\w|8|11 |18 )|(?:\ba|^A)n [bcdfgjklmpqtvwxz]", text), text
            assert not any(name in text.lower() for name in FORBIDDEN), text
            assert not re.search(r"\d,\d{1,2}\b(?!,)", text), text

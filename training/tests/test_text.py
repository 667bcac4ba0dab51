"""Training reads a text as production does: the cases are those of the Rust tests, read out of their source."""

import ast
import re
from pathlib import Path

import pytest

from bellwether_training import text as module
from bellwether_training.text import clean, normalised, passage

SOURCES = Path(__file__).resolve().parents[2] / "src"
LITERAL = r'"(?:[^"\\]|\\.)*"'


def cases_of_clean() -> list[tuple[str, str]]:
    pattern = re.compile(rf"assert_eq!\(prepare\(({LITERAL})\), ({LITERAL})\)")
    return [tuple(map(ast.literal_eval, pair)) for pair in pattern.findall((SOURCES / "classify/text.rs").read_text(encoding="utf-8"))]


def test_the_rust_cases_are_found():
    assert cases_of_clean()


@pytest.mark.parametrize("raw, expected", cases_of_clean())
def test_a_text_is_cleaned_as_the_rust_tests_say(raw, expected):
    assert clean(raw) == expected


@pytest.mark.parametrize(
    "raw, expected",
    [
        ("profit &amp;lt; forecast", "profit < forecast"),
        ("Harbour&#8217;s &#x2014; gain", "Harbour’s — gain"),
        # Without a semicolon it is no reference in production.
        ("R&D &notify AT&T &copy 2026", "R&D &notify AT&T &copy 2026"),
        # Neither is what stands for no character of a document.
        ("&#0; &#55296; &#1114112; &#99999999999; &unknown;", "&#0; &#55296; &#1114112; &#99999999999; &unknown;"),
        ("see http://t.example/x,y and www.bank.example.", "see and"),
        ("\u00a0wide\u2003\tspaces\r\n", "wide spaces"),
        ("  ", ""),
    ],
)
def test_entities_urls_and_white_space_go_as_in_production(raw, expected):
    assert clean(raw) == expected


def test_the_stops_of_a_title_are_those_of_news_rs():
    [listed] = re.findall(r"title\.ends_with\(\[(.*?)\]\)", (SOURCES / "news.rs").read_text(encoding="utf-8"))
    assert set(module._STOPS) == {ast.literal_eval(stop) for stop in listed.split(", ")}


@pytest.mark.parametrize(
    "title, body, expected",
    [
        ("Bank fails", "Depositors queue.", "Bank fails. Depositors queue."),
        ("Bank fails?", "No.", "Bank fails? No."),
        ("Bank fails…", "Again.", "Bank fails… Again."),
        ("Bank fails", None, "Bank fails"),
        (None, "Depositors queue.", "Depositors queue."),
        ("", "", ""),
    ],
)
def test_title_and_body_become_one_passage(title, body, expected):
    assert passage(title, body) == expected


def test_case_and_punctuation_make_no_other_text():
    assert normalised("Oil UP 3%: traders' cheer!") == normalised("oil up 3%  traders cheer")
    assert normalised("Oil up 3%") != normalised("Oil up 4%")

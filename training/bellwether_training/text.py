"""What is done to a text before it is tokenised; `src/classify/text.rs` and `news::passage` do the same in production."""

import re
from html.entities import html5

# Only whole references, `;` included, as production reads them: `html.unescape` would also make "¬ify" of "&notify".
_ENTITY = re.compile(r"&(?:#0*([0-9]{1,7})|#[xX]0*([0-9a-fA-F]{1,6})|(\w+));", re.ASCII)
_URL = re.compile(r"(?:https?://|www\.)\S+")
_STOPS = (".", "!", "?", ":", "…")


def _character(reference: re.Match) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        return html5.get(f"{name};", reference[0])
    number = int(decimal) if decimal else int(hexadecimal, 16)
    surrogate, control = 0xD800 <= number < 0xE000, number < 0x20 and number not in b"\t\n\f\r"
    return reference[0] if surrogate or control or number > 0x10FFFF else chr(number)


def clean(text: str) -> str:
    """HTML entities undone twice (feeds escape twice), URLs removed, white space collapsed."""
    bare = _ENTITY.sub(_character, _ENTITY.sub(_character, text))
    return " ".join(_URL.sub(" ", bare).split())


def passage(title: str | None, body: str | None) -> str:
    """Title and body as one text, with a full stop between them unless the title has its own."""
    if not title or not body:
        return title or body or ""
    return f"{title}{' ' if title.endswith(_STOPS) else '. '}{body}"


def normalised(text: str) -> str:
    """Lower-case words and figures alone: two texts with the same normal form are exact duplicates."""
    return " ".join(re.findall(r"[\w$%]+", clean(text).lower()))

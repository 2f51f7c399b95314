"""What the languages share that read numbers and signs out: clean characters, rules in their order, numbers as people write them.

Every rule needs a digit, a sign or a capital letter to begin: `only_words` leaves none of these, and so a normal form is its own
normal form. In the end no decimal digit is left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Rule = tuple[re.Pattern[str], "str | Callable[[re.Match[str]], str]"]

FRACTION_SLASH = "\u2044"
# 1.234.567,8 or 1.234 or 12,5 or 12.5; digits that are grouped with commas at least twice: 1,234,567.8
NUMBER = r"(?:\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d{1,3}(?:,\d{3}){2,}(?:\.\d+)?|\d+[.,]\d+|\d+)"
# The same where the comma groups and the point is decimal.
NUMBER_EN = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+|\d+)"
_DIGIT = re.compile(r"\d")
_MINUS = str.maketrans({"\u2212": "-", "\u2012": "–", "\u2014": "–", "\u2010": "-", "\u2011": "-", "\u2032": "'", "\u00ba": "°"})
_SPACES = re.compile(r"[^\S ]|\u200b")


def plain_characters(text: str) -> str:
    """NFC; any script's digits as 0 to 9, ½ as a space and 1⁄2, ² as 2, Ⅳ as IV; one minus, one kind of dash and of space."""
    text = unicodedata.normalize("NFC", text).translate(_MINUS)
    if text.isascii():
        return _SPACES.sub(" ", text)
    pieces = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Nd":
            pieces.append(str(unicodedata.decimal(character)))
        elif category[0] == "N":
            plain = unicodedata.normalize("NFKC", character)
            pieces.append(f" {plain}" if FRACTION_SLASH in plain else plain)
        else:
            pieces.append(character)
    return _SPACES.sub(" ", unicodedata.normalize("NFC", "".join(pieces)))


def rules(*pairs: tuple[str, str | Callable[[re.Match[str]], str]]) -> list[Rule]:
    return [(re.compile(pattern), replacement) for pattern, replacement in pairs]


def apply(text: str, chain: Iterable[Rule]) -> str:
    for pattern, replacement in chain:
        text = pattern.sub(replacement, text)
    return text


def has_digit(text: str) -> bool:
    return _DIGIT.search(text) is not None


@dataclass(frozen=True)
class Written:
    """A number as it was written. `whole` and `fraction` are digits; `point` is the sign between them."""

    whole: str
    fraction: str = ""
    point: str = ""


def parse(text: str, group: str = ".", point: str = ",") -> Written:
    """1.234.567,8 → 1234567 and 8. A single group of three after the decimal sign of the language is a fraction."""
    if re.fullmatch(rf"\d{{1,3}}(?:{re.escape(group)}\d{{3}})+(?:{re.escape(point)}\d+)?", text):
        whole, sign, fraction = text.replace(group, "").partition(point)
        return Written(whole, fraction, sign)
    if text.count(point) > 1:
        whole, sign, fraction = text.replace(point, "").partition(group)
        return Written(whole, fraction, sign)
    sign = next((sign for sign in (point, group) if sign in text), "")
    whole, _, fraction = text.partition(sign) if sign else (text, "", "")
    return Written(whole, fraction, sign)


def one_by_one(digits: str, names: Sequence[str]) -> str:
    """Digits by their names; what is no digit is left out."""
    return " ".join(names[int(digit)] for digit in digits if digit.isdecimal())


def roman(text: str) -> int | None:
    """I to XXXIX, written as they should be; else None."""
    match = re.fullmatch(r"(X{0,3})(IX|IV|V?I{0,3})", text)
    if not text or match is None:
        return None
    units = {"": 0, "I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9}
    return 10 * len(match[1]) + units[match[2]]


def is_date(day: str | int, month: str | int) -> bool:
    return 1 <= int(day) <= 31 and 1 <= int(month) <= 12

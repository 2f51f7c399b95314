"""Words of letters, marks and digits, of any language: what every normal form of ours ends as."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_APOSTROPHES = "'\u2019\u02bc\uff07"
_KEPT_INSIDE_WORDS = "'"
_JOINERS = "\u200c\u200d"  # they shape a word from inside
# Soft hyphen, direction marks, word joiner, byte order mark, and variation selectors (the second half of ❤️): no sound, no space.
VANISHING = frozenset(map(chr, (0xAD, 0x61C, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))

EXAMPLES = (
    ("Bây giờ là bảy giờ, ba mươi lăm phút.", "bây giờ là bảy giờ ba mươi lăm phút"),
    ("Don\u2019t   STOP — it's “me”!", "don't stop it's me"),
    ("RUBOUT  G M E F THREE NINE", "rubout g m e f three nine"),
    ("e\u0301te\u0301", "été"),
    ("'quoted' 7.31%", "quoted 7 31"),
    ("co\u00adoperate \u2764\ufe0f", "cooperate"),
    ("…?!", ""),
)


def basic(text: str) -> str:
    """Lower case, NFC, words of letters, marks and digits; an apostrophe inside a word stays; everything else is a space.

    Language-blind: combining marks (tones, vowel signs) are kept, digits are not read out.
    """
    return only_words(text, str.casefold)


def only_words(text: str, small: Callable[[str], str]) -> str:
    """What `basic` does, with small letters as a language makes them: `str.lower` keeps the ß that `str.casefold` spells out."""
    composed = small(unicodedata.normalize("NFC", text))
    characters = []
    for character in unicodedata.normalize("NFC", composed):  # casefold can decompose (İ)
        if character in _APOSTROPHES:
            characters.append(_KEPT_INSIDE_WORDS)
        elif unicodedata.category(character)[0] in "LMN" or character in _JOINERS:
            characters.append("" if character in VANISHING else character)
        elif character not in VANISHING:
            characters.append(" ")
    words = (word.strip(_KEPT_INSIDE_WORDS + _JOINERS) for word in "".join(characters).split())
    return unicodedata.normalize("NFC", " ".join(word for word in words if _is_spoken(word)))


def _is_spoken(word: str) -> bool:
    return any(unicodedata.category(character)[0] in "LN" for character in word)

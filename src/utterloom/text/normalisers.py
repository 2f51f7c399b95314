"""Named, versioned normal forms of text, the same in preparation, scoring and serving. Raw text is always kept beside.

Each is one function and its example pairs, which run as tests. Adding one: docs/add/normaliser.md.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from utterloom.core.errors import ConfigError, did_you_mean

_APOSTROPHES = "'\u2019\u02bc\uff07"
_KEPT_INSIDE_WORDS = "'"
_JOINERS = "\u200c\u200d"  # they shape a word from inside
# Soft hyphen, direction marks, word joiner, byte order mark, and variation selectors (the second half of ❤️): no sound, no space.
_VANISHING = frozenset(map(chr, (0xAD, 0x61C, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))


@dataclass(frozen=True)
class Normaliser:
    """`view` is the name that corpora, models and reports carry: a change of behaviour is a new version."""

    name: str
    version: int
    rewrite: Callable[[str], str]
    examples: tuple[tuple[str, str], ...]

    @property
    def view(self) -> str:
        return f"{self.name}@{self.version}"

    def __call__(self, text: str) -> str:
        return self.rewrite(text)


def basic(text: str) -> str:
    """Lower case, NFC, words of letters, marks and digits; an apostrophe inside a word stays; everything else is a space.

    Language-blind: combining marks (tones, vowel signs) are kept, digits are not read out.
    """
    composed = unicodedata.normalize("NFC", text).casefold()
    characters = []
    for character in unicodedata.normalize("NFC", composed):  # casefold can decompose (İ)
        if character in _APOSTROPHES:
            characters.append(_KEPT_INSIDE_WORDS)
        elif unicodedata.category(character)[0] in "LMN" or character in _JOINERS:
            characters.append("" if character in _VANISHING else character)
        elif character not in _VANISHING:
            characters.append(" ")
    words = (word.strip(_KEPT_INSIDE_WORDS + _JOINERS) for word in "".join(characters).split())
    return unicodedata.normalize("NFC", " ".join(word for word in words if _is_spoken(word)))


def _is_spoken(word: str) -> bool:
    return any(unicodedata.category(character)[0] in "LN" for character in word)


NORMALISERS = {
    "basic": Normaliser("basic", 1, basic, (
        ("Bây giờ là bảy giờ, ba mươi lăm phút.", "bây giờ là bảy giờ ba mươi lăm phút"),
        ("Don\u2019t   STOP — it's “me”!", "don't stop it's me"),
        ("RUBOUT  G M E F THREE NINE", "rubout g m e f three nine"),
        ("e\u0301te\u0301", "été"),
        ("'quoted' 7.31%", "quoted 7 31"),
        ("co\u00adoperate \u2764\ufe0f", "cooperate"),
        ("…?!", ""),
    )),
}


def normaliser(name: str) -> Normaliser:
    """By name (`basic`) or by view (`basic@1`). Raises ConfigError for an unknown one or a version that is gone."""
    short, _, version = name.partition("@")
    found = NORMALISERS.get(short)
    if found is None:
        raise ConfigError(f"there is no text view {name!r}", did_you_mean(short, NORMALISERS))
    if version and version != str(found.version):
        raise ConfigError(f"text view {name!r} is not in this utterloom, which has {found.view!r}",
                          "use the version of utterloom that made it, or make it again")
    return found

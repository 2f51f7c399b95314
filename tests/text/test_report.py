"""The report of what a view changed: nothing that was lost stays unnamed."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from utterloom.text.normalisers import normaliser
from utterloom.text.report import CharacterChange, ViewReport, view_report


def report(view: str, *texts: str) -> ViewReport:
    form = normaliser(view)
    return view_report((f"u{number}", text, form(text)) for number, text in enumerate(texts))


def rows(found: ViewReport) -> dict[str, tuple[int, int, str, str]]:
    return {change.character: (change.count, change.kept, change.replaced_by, change.example) for change in found.changes}


def test_what_was_removed_replaced_and_kept_is_counted() -> None:
    """E-P16: dashes and quotes stayed in, a Cyrillic letter too, and 7.31 % became 731; nobody was told."""
    found = report("hr", "„Dobar dan” – rekao je.", "K\u04e7ln, ja, da", "porast od 7.31%")
    assert rows(found) == {
        ",": (2, 0, "", "u1"), "„": (1, 0, "", "u0"), "”": (1, 0, "", "u0"), "–": (1, 0, "", "u0"), "\u04e7": (1, 0, "ö", "u1"),
        "7": (1, 0, "sedam zarez trideset i jedan posto", "u2"), "3": (1, 0, "sedam zarez trideset i jedan posto", "u2"),
        "1": (1, 0, "sedam zarez trideset i jedan posto", "u2"), "%": (1, 0, "sedam zarez trideset i jedan posto", "u2"),
        ".": (2, 0, "", "u0")}
    assert (found.num_texts, found.num_changed, found.num_capitals, found.num_recomposed) == (3, 3, 2, 0)
    assert found.changes[0] == CharacterChange(",", "COMMA", 2, 0, "", 1, "u1")


def test_capitals_and_composition_are_no_changes() -> None:
    found = report("basic", "TIẾNG việt", "e\u0301te\u0301")
    assert found == ViewReport(2, 0, 5, 1, ())


def test_a_character_that_is_sometimes_kept_says_so() -> None:
    found = report("basic", "don't", "'quoted'", "rock 'n' roll")
    assert rows(found) == {"'": (4, 1, "", "u1")}


def test_letters_that_become_two_are_named() -> None:
    assert rows(report("basic", "Straße, Straße")) == {"ß": (2, 0, "ss", "u0"), ",": (1, 0, "", "u0")}


def test_an_empty_corpus_and_an_empty_view() -> None:
    assert view_report([]) == ViewReport(0, 0, 0, 0, ())
    assert rows(report("basic", "", "…?!")) == {"!": (1, 0, "", "u1"), "?": (1, 0, "", "u1"), "…": (1, 0, "", "u1")}


@given(texts=st.lists(st.text(alphabet="aàÀbB1½%.,-'’ ßж\u0301\u200d❤\ufe0f", max_size=12), max_size=5))
def test_every_character_is_kept_or_named(texts: list[str]) -> None:
    form = normaliser("basic")
    views = [form(text) for text in texts]
    found = view_report((str(number), raw, view) for number, (raw, view) in enumerate(zip(texts, views, strict=True)))
    printable = set(string.printable)
    in_views = Counter("".join(views))
    for change in found.changes:
        assert change.count > 0 <= change.kept and change.ways >= 1
        assert texts[int(change.example)] and change.character not in (" ", change.replaced_by)
    named = {change.character for change in found.changes}
    lost = {character for text in texts for character in unicodedata.normalize("NFC", text) if character in printable}
    assert {character for character in lost - {" "} if character.lower() not in in_views} <= named
    assert found.num_changed <= found.num_texts == len(texts)

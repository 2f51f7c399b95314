"""Vietnamese numbers and the view `vi`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.text.normalisers import normaliser
from utterloom.text.vietnamese import TOO_LARGE, vietnamese_number

VIVOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "vivos_spk01" / "transcripts.tsv"


@given(number=st.integers(0, TOO_LARGE - 1))
def test_numbers_are_those_of_cldr_but_for_the_northern_linh(number: int) -> None:
    engine = pytest.importorskip("unicode_rbnf", reason="unicode-rbnf is not installed").RbnfEngine.for_language("vi")
    if number % 10**6 and number // 10**6 % 1000 == 0 and number >= 10**9:
        return  # CLDR names the empty millions, this form does not
    theirs = engine.format_number(number, ruleset_names=["spellout-cardinal"]).text
    ours = vietnamese_number(number)
    if "không trăm" not in ours:  # before thousands CLDR says "lẻ" where the standard says "không trăm linh"
        assert ours == theirs.replace("lẻ", "linh")


@pytest.mark.parametrize("number", [-1, TOO_LARGE])
def test_what_has_no_words_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="outside of"):
        vietnamese_number(number)


@given(number=st.integers(0, TOO_LARGE - 1))
def test_numbers_read_the_same_with_and_without_groups(number: int) -> None:
    form = normaliser("vi")
    assert form(f"{number:,}".replace(",", ".")) == form(str(number)) == vietnamese_number(number)


def test_nothing_is_lost_of_b_p24() -> None:
    """B-P24: f, j, w and z were unknown, fillers that are words were removed, abbreviations with a dot stayed, 2018 was digits."""
    form = normaliser("vi")
    assert set("fjwz") <= set(form("wifi Zalo jazz Facebook"))
    assert form("thì này à") == "thì này à"
    assert form("PGS. TS. Hà, v.v.") == "phó giáo sư tiến sĩ hà vân vân"
    assert form("2018") == "hai nghìn không trăm mười tám"


@pytest.mark.skipif(not VIVOS.is_file(), reason="the shared corpus vivos_spk01 is not beside the checkout")
def test_read_speech_that_is_in_words_stays_as_it_is() -> None:
    with VIVOS.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    assert len(texts) == 60 and [normaliser("vi")(text) for text in texts] == texts

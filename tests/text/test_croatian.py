"""The view `hr`: what agrees with what."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.text.normalisers import normaliser
from utterloom.text.normalisers.hr import hr
from utterloom.text.normalisers.south_slavic import DIGITS


@pytest.mark.parametrize(("number", "words"), [
    ("1000", "tisuću"), ("2000", "dvije tisuće"), ("22000", "dvadeset i dvije tisuće"), ("41000", "četrdeset i jedna tisuća"),
    ("112000", "sto dvanaest tisuća"), ("3001002", "tri milijuna tisuću dva"), ("21000000", "dvadeset i jedan milijun"),
    ("2000000000", "dvije milijarde"), ("5000000000", "pet milijardi")])
def test_thousands_agree_with_what_is_before_them(number: str, words: str) -> None:
    """CLDR has "dvadeset i dvije tisuća"."""
    assert hr.cardinal(number) == words


@pytest.mark.parametrize(("number", "case", "words"), [
    ("1", "fn", "prva"), ("3", "mg", "trećeg"), ("3", "fn", "treća"), ("23", "nn", "dvadeset treće"), ("7", "ml", "sedmom"),
    ("100", "fn", "stota"), ("200", "mn", "dvjestoti"), ("1000", "fg", "tisućite"),
    ("1991", "fg", "tisuću devetsto devedeset prve"),
    ("2000", "fl", "dvijetisućitoj"), ("40", "pg", "četrdesetih"), ("0", "mn", "nulti")])
def test_ordinals(number: str, case: str, words: str) -> None:
    """CLDR has "st prvi" and "tisućui"."""
    assert hr.ordinal(number, case) == words


@given(number=st.integers(0, 10**13))
def test_numbers_read_the_same_with_and_without_groups(number: int) -> None:
    form = normaliser("hr")
    words = form(str(number))
    assert form(f"{number:,}".replace(",", ".")) == words
    assert not any(character.isdigit() for character in words) and (number > 9 or words == DIGITS[number])


def test_it_says_which_package_it_needs() -> None:
    """A corpus in words needs no package; numbers do."""
    script = ("import sys; sys.modules['unicode_rbnf'] = None\n"
              "from utterloom.text.normalisers import normaliser\n"
              "print(normaliser('hr')('Dobar dan'))\n"
              "try:\n    normaliser('hr')('5 dana')\n"
              "except Exception as error:\n    print(type(error).__name__, error)\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dobar dan\nMissingPackageError") and "utterloom[text]" in done.stdout

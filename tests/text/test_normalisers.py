"""Normal forms of text: their examples hold, and what is normal stays as it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.errors import ConfigError
from utterloom.text.normalisers import NORMALISERS, Normaliser, normaliser

# A copy of a published form keeps its quirks; what is ours keeps these promises.
OURS = pytest.mark.parametrize("form", [form for form in NORMALISERS.values() if not form.published], ids=lambda form: form.view)
# Text as it is: letters, marks, digits, punctuation, emoji, joiners, direction marks.
TEXT = st.text() | st.text(alphabet="aéờêßŉİıſΣς'’ʼ-–.,%½²٣ \t\u200b\u200c\u200d\u00ad\u0301\ufe0f\u2060❤️👍🏽क्ष")


@pytest.mark.parametrize(("view", "raw", "normal"), [
    (form.view, raw, normal) for form in NORMALISERS.values() for raw, normal in form.examples])
def test_examples_hold(view: str, raw: str, normal: str) -> None:
    form = normaliser(view)
    assert form(raw) == normal
    if not form.published:
        assert form(normal) == normal


# What the rules of the languages look for, in any order.
PIECES = st.lists(st.sampled_from([
    "1", "2", "21", "7.31", "1.000", "1,5", "05", "2018", "2018.", "0912345678", "12/3/2018", "2/3", "½", "²", "٣", "15.", ". ",
    ", ", " ", " ", " ", "-", "–", "%", "€", "$", "kn", "km", "km/h", "h", ":", "30", "'", "/", "+", "=", "°C", "mil.", "mlrd.",
    "II.", "XX", "I.", "TP.", "Q.", "v.v.", "thứ", "tháng", "ngày", "thế kỷ", "godine", "svibnja", "maja", "članka", "u",
    "npr.", "dr.", "st", "th", "Mai", "May", "Uhr", "a.m.", "No.", "Mr.", "Nr.", "z.B.", "ž", "Ж", "љ", "ß", "x", "A", "i",
    "1990-ih", "ӧ"]), max_size=8).map("".join)


@OURS
@given(text=TEXT | PIECES)
def test_what_is_normal_stays_as_it_is(form: Normaliser, text: str) -> None:
    assert form(form(text)) == form(text)


@OURS
@given(text=PIECES | TEXT)
def test_a_normal_text_is_composed_words_with_one_space_between(form: Normaliser, text: str) -> None:
    normal = form(text)
    assert unicodedata.is_normalized("NFC", normal)
    words = normal.split(" ") if normal else []
    assert words == normal.split()
    assert all(any(unicodedata.category(character)[0] in "LN" for character in word) for word in words)


@OURS
@given(text=TEXT)
def test_composed_and_decomposed_text_have_one_normal_form(form: Normaliser, text: str) -> None:
    assert form(unicodedata.normalize("NFD", text)) == form(unicodedata.normalize("NFC", text))


READ_OUT = [form for form in NORMALISERS.values() if not form.published and form.name != "basic"]


@pytest.mark.parametrize("form", READ_OUT, ids=lambda form: form.view)
@given(text=PIECES | TEXT)
def test_no_digit_is_left_where_numbers_are_read_out(form: Normaliser, text: str) -> None:
    """E-P16, E-P17: "2/3" became "23", and numerals were learnt by half."""
    assert not any(character.isdecimal() for character in form(text))


@pytest.mark.parametrize("form", READ_OUT, ids=lambda form: form.view)
def test_numbers_of_any_length_are_read(form: Normaliser) -> None:
    for length in (12, 13, 15, 16, 40, 5000):
        words = form("9" * length).split()
        assert len(words) >= (length if length > 15 else 1) and form(f"{'9' * length}/{'8' * length}") and form("0" * length)


@pytest.mark.parametrize("form", READ_OUT, ids=lambda form: form.view)
def test_the_pairs_are_many_and_each_is_there_once(form: Normaliser) -> None:
    raw = [raw for raw, _ in form.examples]
    assert len(raw) == len(set(raw)) >= (200 if form.name in ("vi", "hr") else 60)


@pytest.mark.parametrize(("raw", "normal"), [
    ("TIẾNG VIỆT", "tiếng việt"), ("rock 'n' roll", "rock n roll"), ("l'été d’or", "l'été d'or"), ("– “quoted” —", "quoted"),
    ("a\u00a0b\u200bc\ufeff", "a b c"), ("2/3, ¾", "2 3 ¾"), ("Straße", "strasse"), ("❤️👍🏽", ""), ("ok ❤️", "ok"), ("\u0301", ""),
    ("נָעִים", "נָעִים"), ("क्\u200dष", "क्\u200dष"), ("می\u200cخواهم", "می\u200cخواهم")])
def test_what_basic_makes_of_the_worlds_writing(raw: str, normal: str) -> None:
    assert normaliser("basic")(raw) == unicodedata.normalize("NFC", normal)


def test_a_view_is_found_by_name_and_by_version() -> None:
    """K2: every text of record is a view with a name, the same for training and scoring."""
    assert normaliser("basic") is normaliser("basic@1")
    for name, word in (("basik", "no text view"), ("basic@9", "not in this utterloom")):
        with pytest.raises(ConfigError, match=word):
            normaliser(name)

"""Words as written beside words as said: nothing is lost, and every written word has its own part of what is said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.extract.alignment.text import Script, script_of
from utterloom.text.normalisers import normaliser


def said_of(script: Script) -> list[tuple[str, str]]:
    return [(" ".join(word.text for word in script.written[group.first:group.stop]),
             " ".join(script.spoken[group.first_spoken:group.stop_spoken])) for group in script.groups]


def test_a_word_is_said_as_one_or_as_several() -> None:
    pytest.importorskip("unicode_rbnf")
    script = script_of("Dr. Smith paid $5.20 for 23 eggs – today", normaliser("en").rewrite)
    said = dict(said_of(script))
    assert said["23"] == "twenty three"
    assert said["eggs"] == "eggs"
    assert said["–"] == ""
    assert "five dollars" in " ".join(said.values())


def test_a_sign_before_a_number_is_said_after_it() -> None:
    """Word by word `$ 5` is said otherwise than together: the two words are then one."""
    said = said_of(script_of("pay $ 5 now", lambda text: text.replace("$ 5", "five dollars")))
    assert said == [("pay", "pay"), ("$ 5", "five dollars"), ("now", "now")]


def test_words_know_their_characters() -> None:
    text = "  Hello,\n\nworld \t again"
    script = script_of(text, str.lower)
    assert [text[word.first_char:word.stop_char] for word in script.written] == ["Hello,", "world", "again"]


def test_nothing_to_say() -> None:
    assert script_of(" \n ", str.lower) == Script([], [], [])
    assert said_of(script_of("– !", lambda text: "")) == [("–", ""), ("!", "")]


TEXTS = st.text(st.sampled_from("ab1$%,. -–\n€é½ế中"), max_size=40)


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(["basic", "vi", "en", "de"]))
def test_groups_partition_what_is_written_and_what_is_said(text: str, view: str) -> None:
    pytest.importorskip("unicode_rbnf")
    rewrite = normaliser(view).rewrite
    script = script_of(text, rewrite)
    assert [word.text for word in script.written] == text.split()
    assert script.spoken == [word for line in text.splitlines() for word in rewrite(line).split()]
    for left, right, total in (("first", "stop", len(script.written)), ("first_spoken", "stop_spoken", len(script.spoken))):
        ends = [0, *(getattr(group, right) for group in script.groups)]
        assert [getattr(group, left) for group in script.groups] == ends[:-1]
        assert ends[-1] == total
    assert all(group.first < group.stop for group in script.groups)

"""Names: an id becomes a tar member and comes back; what cannot be a name is told in words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.errors import SourceError
from utterloom.shards import layout

IDS = st.text(alphabet=st.characters(exclude_categories=("Cs",)))
REAL_IDS = ["hash_123.4-135.4", "a/../b", "../../etc/passwd", "/abs/path", "giọng nữ/câu 1", "x..y", ".hidden", "a b  c", "100%",
            "~home", "%2E", "a\\b", "__meta__", "CON", "é", "e\u0301", "id:1=2[3]", "…"]


@given(IDS)
def test_any_id_comes_back_from_its_member_name(utterance_id: str) -> None:
    assert layout.unescape_id(layout.escape_id(utterance_id)) == utterance_id


@given(IDS)
def test_a_member_name_holds_no_dot_no_slash_and_no_space(utterance_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_%-]*", layout.escape_id(utterance_id))


@given(IDS, IDS)
def test_two_ids_have_two_member_names(one: str, other: str) -> None:
    assert (layout.escape_id(one) == layout.escape_id(other)) == (one == other)


@pytest.mark.parametrize("utterance_id", REAL_IDS)
def test_ids_as_they_are_in_the_field_are_fine(utterance_id: str) -> None:
    assert layout.id_complaint(utterance_id) is None
    assert layout.unescape_id(layout.escape_id(utterance_id)) == utterance_id


@pytest.mark.parametrize(("utterance_id", "word"), [
    ("", "empty"), ("  ", "empty"), (" a", "space"), ("a\n", "space"), ("a\tb", "control"), ("a\0b", "control"),
    ("a\udcffb", "control"), ("x" * 201, "longer")])
def test_what_cannot_be_an_id_is_told_why(utterance_id: str, word: str) -> None:
    assert word in (layout.id_complaint(utterance_id) or "")


@given(split=st.from_regex(r"[a-z0-9_]{1,10}(\.[a-z0-9_]{1,10})?", fullmatch=True), number=st.integers(0, 10**7))
def test_a_shard_knows_its_split(split: str, number: int) -> None:
    assert layout.split_complaint(split) is None
    assert layout.split_of(layout.shard_name(split, number)) == split


@pytest.mark.parametrize("split", ["", "Train", "train-clean", "a/b", "../x", "a.", ".a", "a..b", "dev ", "x" * 41, "tập"])
def test_what_cannot_be_a_split_is_told(split: str) -> None:
    assert layout.split_complaint(split)


@pytest.mark.parametrize("name", ["train", "train-1", "../train-00000", "a/b-00000", "Train-00000", "train-0000x", "-00000"])
def test_what_is_no_shard_is_refused(name: str) -> None:
    with pytest.raises(SourceError):
        layout.split_of(name)

from __future__ import annotations

import unicodedata

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.metrics.error_rates import Edit, ErrorCounts, align, char_errors, word_errors

# Few letters, so that random texts share words; Vietnamese ones, since those are what NFC is about.
words = st.text("abếđ", min_size=1, max_size=3)
texts = st.lists(words, max_size=8).map(" ".join)
spoken = st.lists(words, min_size=1, max_size=8).map(" ".join)  # jiwer refuses empty references


@given(spoken, texts)
def test_totals_equal_those_of_jiwer(ref: str, hyp: str) -> None:
    theirs, ours = jiwer.process_words(ref, hyp), word_errors(ref, hyp)
    assert ours.errors == theirs.substitutions + theirs.deletions + theirs.insertions
    assert ours.rate == pytest.approx(theirs.wer)
    theirs_chars, ours_chars = jiwer.process_characters(ref, hyp), char_errors(ref, hyp)
    assert ours_chars.errors == theirs_chars.substitutions + theirs_chars.deletions + theirs_chars.insertions
    assert ours_chars.rate == pytest.approx(theirs_chars.cer)
    assert char_errors(ref, hyp, keep_spaces=False).rate == pytest.approx(
        jiwer.cer(ref.replace(" ", ""), hyp.replace(" ", ""))
    )


def edit_distance(ref: list[str], hyp: list[str]) -> int:
    """The textbook recurrence, as an oracle without rapidfuzz."""
    row = list(range(len(hyp) + 1))
    for i, ref_token in enumerate(ref, start=1):
        diagonal, row[0] = row[0], i
        for j, hyp_token in enumerate(hyp, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (ref_token != hyp_token))
    return row[-1]


@given(st.lists(words, max_size=8), st.lists(words, max_size=8))
def test_an_alignment_spells_both_sides_and_is_cheapest(ref: list[str], hyp: list[str]) -> None:
    edits = align(ref, hyp)
    assert [edit.ref for edit in edits if edit.op != "insert"] == ref
    assert [edit.hyp for edit in edits if edit.op != "delete"] == hyp
    for op, ref_token, hyp_token in edits:
        assert (op == "insert") == (ref_token is None)
        assert (op == "delete") == (hyp_token is None)
        assert (op == "equal") == (ref_token == hyp_token)
    counts = ErrorCounts.of(edits)
    assert counts.errors == edit_distance(ref, hyp)
    assert counts.reference_length == len(ref)


@given(texts, texts)
def test_unicode_form_and_spacing_do_not_matter(ref: str, hyp: str) -> None:
    decomposed = unicodedata.normalize("NFD", ref).replace(" ", " \u00a0\t")
    assert word_errors(decomposed, hyp) == word_errors(ref, hyp)
    assert char_errors(decomposed, hyp) == char_errors(ref, hyp)


def test_align_names_each_edit() -> None:
    assert align(["the", "cat", "sat", "down"], ["a", "cat", "sat", "so"]) == [
        Edit("substitute", "the", "a"),
        Edit("equal", "cat", "cat"),
        Edit("equal", "sat", "sat"),
        Edit("substitute", "down", "so"),
    ]
    assert align(["a"], ["a", "b"])[1] == Edit("insert", None, "b")
    assert align(["a", "b"], ["a"])[1] == Edit("delete", "b", None)


def test_insertions_on_an_empty_reference_count_and_have_no_rate() -> None:
    counts = word_errors("", "thank you for watching")
    assert counts == ErrorCounts(insertions=4)
    assert counts.rate is None
    assert (counts + word_errors("a b", "a b")).rate == 2.0


def test_cer_counts_spaces_unless_told_otherwise() -> None:
    assert char_errors("ăn cơm", "ăncơm") == ErrorCounts(deletions=1, correct=5)
    assert char_errors("ăn cơm", "ăncơm", keep_spaces=False) == ErrorCounts(correct=5)
    assert char_errors("ế", "e").reference_length == 1


def test_counts_add_up_to_the_pooled_rate() -> None:
    total = sum([word_errors("a b c", "a x c"), word_errors("d", "")], ErrorCounts())
    assert total == ErrorCounts(substitutions=1, deletions=1, correct=2)
    assert (total.errors, total.reference_length, total.rate) == (2, 4, 0.5)
    assert ErrorCounts().rate is None

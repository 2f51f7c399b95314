"""Named predicates: what they keep, what they drop, and that none of them is a no-op."""

from __future__ import annotations

import inspect

import pytest

from utterloom.core.records import Span, Utterance
from utterloom.prepare import filters
from utterloom.prepare.filters import Filter

RATE_HZ = 16_000


def utterance(name: str = "a", text: str | None = "một", seconds: float = 1.0, **more: object) -> Utterance:
    views = {"basic": text.strip("…").lower()} if text is not None else {}
    return Utterance(name, text, (Span("x.wav", 0, round(seconds * RATE_HZ), RATE_HZ, 1),), views=views).with_(**more)


KEPT_AND_DROPPED: list[tuple[Filter, Utterance, Utterance]] = [
    (filters.bad_id(), utterance("a/../b"), utterance("a\tb")),
    (filters.bad_characters(), utterance(text="ờ"), utterance(text="\ud800")),
    (filters.bad_characters(), utterance(), utterance(spans=(Span("\udcff.wav", 0, 16, RATE_HZ, 1),))),
    (filters.bad_characters(), utterance(attributes={"a": "b"}), utterance(attributes={"a\ud800": "b"})),
    (filters.bad_split(), utterance(split="train.clean"), utterance(split="Train/Clean")),
    (filters.bad_split(), utterance(split=None), utterance(split="a b")),
    (filters.no_text(keep_unlabelled=False), utterance(), utterance(text=None)),
    (filters.empty_view(), utterance(), utterance(text="…")),
    (filters.empty_view(), utterance(text=None), utterance(text="")),
    (filters.too_short(0.1), utterance(seconds=0.1), utterance(seconds=0.0999)),
]


def conforms(step: Filter, kept: Utterance, dropped: Utterance) -> bool:
    """It keeps the one, and drops the other saying why."""
    return step.judge(kept) is None and bool(step.judge(dropped))


@pytest.mark.parametrize(("step", "kept", "dropped"), KEPT_AND_DROPPED, ids=lambda item: getattr(item, "reason", ""))
def test_a_filter_keeps_the_one_and_drops_the_other_saying_why(step: Filter, kept: Utterance, dropped: Utterance) -> None:
    assert conforms(step, kept, dropped)


def test_every_filter_is_tested() -> None:
    made = {name for name, value in vars(filters).items() if inspect.isfunction(value) and value.__module__ == filters.__name__}
    assert len({step.reason for step, _, _ in KEPT_AND_DROPPED} | {filters.duplicate_id().reason}) == len(made)


def test_the_first_of_several_keeps_the_id() -> None:
    step = filters.duplicate_id()
    assert [step.judge(utterance(name)) is None for name in "abab"] == [True, True, False, False]


def test_unlabelled_utterances_stay_when_they_are_wanted() -> None:
    assert filters.no_text(keep_unlabelled=True).judge(utterance(text=None)) is None


def similarity_filter_as_published() -> Filter:
    """SYSTEMS §0 item 3 (E-P9): `|` binds tighter than `<`, so it asks whether true is less than 0.8, and drops nothing."""
    def judge(one: Utterance) -> str | None:
        was_in_samples, similarity = False, float(one.attributes["similarity"])
        return "low similarity" if (was_in_samples | bool(similarity)) < 0.8 else None

    return Filter("low similarity", judge)


def test_the_filter_that_drops_nothing_is_caught() -> None:
    assert not conforms(similarity_filter_as_published(), utterance(attributes={"similarity": "0.95"}),
                        utterance(attributes={"similarity": "0.3"}))

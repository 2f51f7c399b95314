"""What is held out shares nothing with what is trained on; joining uses each utterance exactly once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.errors import ConfigError, SourceError
from utterloom.core.ledger import check_unique
from utterloom.core.records import Span, Utterance
from utterloom.prepare.joining import join_utterances
from utterloom.prepare.splits import (
    connected_groups,
    group_values,
    hold_out,
    hold_out_listed,
    listed_ids,
    overlaps,
)

RATE_HZ = 16_000
KEYS = ("speaker", "session", "recording")


def utterance(
    name: str, speaker: str | None, session: str | None, recording: str, seconds: float = 1.0, split: str = "train"
) -> Utterance:
    span = Span(recording, 0, int(seconds * RATE_HZ), RATE_HZ, 1)
    return Utterance(name, f"text {name}", (span,), speaker, session, None, split, {"basic": f"text {name}"})


def names(prefix: str, most: int) -> st.SearchStrategy[str | None]:
    return st.none() | st.integers(0, most).map(lambda number: f"{prefix}{number}")


CORPORA = st.lists(st.tuples(names("s", 6), names("x", 6), st.integers(0, 20), st.floats(0.1, 20)), min_size=1, max_size=40).map(
    lambda rows: [utterance(str(number), speaker, session, f"r{recording}", seconds)
                  for number, (speaker, session, recording, seconds) in enumerate(rows)])


@given(corpus=CORPORA, keys=st.sets(st.sampled_from(KEYS)), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_dev_and_train_share_nothing_of_the_keys_and_both_are_there(
    corpus: list[Utterance], keys: set[str], fraction: float, seed: int
) -> None:
    try:
        done = hold_out(corpus, {"dev": fraction}, sorted(keys), seed)
    except ConfigError:
        assert len(connected_groups(corpus, sorted(keys))) < 2
        return
    assert [u.id for u in done] == [u.id for u in corpus]
    assert {u.split for u in done} == {"train", "dev"}
    train, dev = ({value for u in done if u.split == split for value in group_values(u, sorted(keys))}
                  for split in ("train", "dev"))
    assert not train & dev
    assert done == hold_out(corpus, {"dev": fraction}, sorted(keys), seed)


@given(corpus=CORPORA, keys=st.sets(st.sampled_from(KEYS), min_size=1))
def test_groups_are_a_partition_into_what_hangs_together(corpus: list[Utterance], keys: set[str]) -> None:
    groups = connected_groups(corpus, sorted(keys))
    assert sorted(u.id for group in groups for u in group) == sorted(u.id for u in corpus)
    values = [{value for u in group for value in group_values(u, sorted(keys))} for group in groups]
    assert all(not values[one] & values[other] for one in range(len(groups)) for other in range(one))


def test_the_fraction_is_of_seconds_not_of_utterances() -> None:
    corpus = [utterance(str(number), f"s{number}", None, f"r{number}", seconds=1 + number % 10) for number in range(400)]
    done = hold_out(corpus, {"dev": 0.1}, KEYS, 0)
    held_s = sum(u.duration_s for u in done if u.split == "dev")
    assert held_s / sum(u.duration_s for u in corpus) == pytest.approx(0.1, rel=0.15)


def test_test_and_dev_utterances_stay_what_they_are() -> None:
    corpus = [utterance(str(number), f"s{number}", None, f"r{number}", 1.0, "test" if number < 5 else "train")
              for number in range(20)]
    assert all(u.split == "test" for u in hold_out(corpus, {"dev": 0.3}, KEYS, 0)[:5])


@pytest.mark.parametrize(("num_utterances", "word"), [(1, "held out of 1 training"), (5, "hang together by speaker")])
def test_what_cannot_be_split_says_why_and_what_to_do(num_utterances: int, word: str) -> None:
    corpus = [utterance(str(number), "s", None, f"r{number}") for number in range(num_utterances)]
    with pytest.raises(ConfigError, match=word) as caught:
        hold_out(corpus, {"dev": 0.1}, ["speaker"], 0)
    assert "dev=0 holds out none" in (caught.value.hint or "")


def test_a_list_moves_its_utterances_and_tells_of_strangers(tmp_path: Path) -> None:
    corpus = [utterance(str(number), None, None, "r") for number in range(4)]
    done, unknown = hold_out_listed(corpus, ["1", "3", "9"])
    assert [u.split for u in done] == ["train", "dev", "train", "dev"] and unknown == ["9"]
    path = tmp_path / "dev.txt"
    path.write_text("\ufeff# a comment\n1  # the first\n\n id#3 \n", encoding="utf-8")
    assert listed_ids(str(path)) == ["1", "id#3"]
    assert len(listed_ids("an4-dev")) > 50


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "dev.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError):
        listed_ids(str(path))


def test_overlaps_are_counted_by_pair_of_splits() -> None:
    corpus = [utterance("a", "s0", "x", "r0"), utterance("b", "s0", None, "r1", split="dev"),
              utterance("a", "s1", "x", "r0", split="test")]
    assert overlaps(corpus, "basic") == {
        "dev/test": {"speaker": 0, "session": 0, "recording": 0, "text": 0},
        "dev/train": {"speaker": 1, "session": 0, "recording": 0, "text": 0},
        "test/train": {"speaker": 0, "session": 1, "recording": 1, "text": 1}}


# --------------------------------------------------------------------------------------------------- joining


@given(corpus=CORPORA, shortest=st.integers(1, 4), more=st.integers(0, 4), copies=st.integers(1, 3), seed=st.integers(0, 3))
def test_joining_uses_every_utterance_once_a_copy(
    corpus: list[Utterance], shortest: int, more: int, copies: int, seed: int
) -> None:
    corpus = [u.with_(split=("train", "dev")[number % 2], spans=(Span(u.id, 0, u.spans[0].stop_sample, RATE_HZ, 1),))
              for number, u in enumerate(corpus)]
    joined = join_utterances(corpus, shortest, shortest + more, copies, seed, max_s=30.0)
    used = {split: Counter(span.path for u in joined if u.split == split for span in u.spans) for split in ("train", "dev")}
    assert used["train"] == {u.id: copies for u in corpus if u.split == "train"}
    assert used["dev"] == {u.id: 1 for u in corpus if u.split == "dev"}
    assert len({u.id for u in joined}) == len(joined)
    by_id = {u.id: u for u in corpus}
    for one in joined:
        parts = [by_id[span.path] for span in one.spans]
        assert {part.speaker for part in parts} == {one.speaker}
        assert one.text == " ".join(part.text or "" for part in parts)
        assert len(parts) <= shortest + more
        assert one.duration_s <= 30.0
    assert joined == join_utterances(corpus, shortest, shortest + more, copies, seed, max_s=30.0)


def test_no_group_is_too_small_but_a_speakers_last() -> None:
    corpus = [utterance(str(number), f"s{number % 3}", None, f"r{number}") for number in range(100)]
    sizes: dict[str, list[int]] = {}
    for one in join_utterances(corpus, 3, 7, 1, 0):
        sizes.setdefault(one.speaker or "", []).append(len(one.spans))
    assert all(3 <= size <= 7 for group in sizes.values() for size in group[:-1])


def test_an_unlabelled_part_makes_the_whole_unlabelled() -> None:
    one, two = utterance("a", "s", None, "r0"), utterance("b", "s", None, "r1").with_(text=None, views={})
    (joined,) = join_utterances([one, two], 2, 2, 1, 0)
    assert joined.text is None and joined.views == {}


# --------------------------------------------------------------------------------------------------- known failures


def round_robin_as_published(segments: list[tuple[str, int]], wanted: int) -> list[tuple[str, int]]:
    """SYSTEMS §0 item 1 (E-P10): only the last speaker's row leaves after each round, so the others give the same one again."""
    left, chosen = list(segments), []
    while left and len(chosen) < wanted:
        for speaker in dict.fromkeys(name for name, _ in left):
            picked = next(row for row in left if row[0] == speaker)
            chosen.append(picked)
        left.remove(picked)  # this line sits outside of the loop
    return chosen


def test_the_sampler_that_repeats_itself_is_caught() -> None:
    segments = [(f"s{speaker}", number) for speaker in range(20) for number in range(30)]
    chosen = round_robin_as_published(segments, 500)
    ids = [f"{speaker}-{number}" for speaker, number in chosen]
    assert len(set(ids)) < 100
    with pytest.raises(SourceError, match="more than once"):
        check_unique(ids, "the training split")

"""`prepare quality.…`: limits that are asked for, and only these; counted, plotted, inclusive; nothing vanishes by accident."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.prepare.test_splits import utterance
from tests.tones import RATE_HZ, prepared, speech, write_table
from utterloom.core.config import compose
from utterloom.core.errors import ConfigError, SourceError
from utterloom.core.ledger import read_drops
from utterloom.core.records import Span, Utterance
from utterloom.prepare.config import PrepareConfig, QualityConfig
from utterloom.prepare.quality import sift, similarity, unlike_hypothesis
from utterloom.prepare.selection import select
from utterloom.prepare.statistics import totals, unique_s, vocabulary


def heard(name: str, text: str, hypothesis: str | None, split: str = "train") -> Utterance:
    attributes = {"hypothesis": hypothesis} if hypothesis is not None else {}
    return utterance(name, "s", None, f"r{name}", 1.0, split).with_(text=text, views={"basic": text}, attributes=attributes)


def test_counts_that_do_not_add_up_stop_the_work() -> None:
    """E-P9: asserted at every predicate, so that a filter cannot quietly do nothing or too much."""
    corpus = [heard("a", "x", "y"), heard("b", "x", "x")]
    sifted = sift(corpus, [unlike_hypothesis("basic", 0.8)])
    sifted.check(2)
    sifted.kept.append(corpus[0])
    with pytest.raises(AssertionError, match="2 kept of 1, 1 drops"):
        sifted.check(2)
    with pytest.raises(AssertionError, match="3 came"):
        sifted.check(3)


# ------------------------------------------------------------------------------------------------------------- properties


PAIRS = st.lists(st.tuples(st.text("abc é", max_size=8), st.none() | st.text("abc é", max_size=8),
                           st.sampled_from(["train", "dev", "test"])), min_size=1, max_size=30)


@given(pairs=PAIRS, limit=st.floats(0, 1), wer=st.none() | st.floats(0, 2), failing=st.sampled_from(["drop", "hard"]))
def test_in_is_out_plus_failed_at_every_limit_and_the_unknown_stay(
    pairs: list[tuple[str, str | None, str]], limit: float, wer: float | None, failing: Any
) -> None:
    corpus = [heard(str(number), text, hypothesis, split) for number, (text, hypothesis, split) in enumerate(pairs)]
    config = QualityConfig(similarity=limit, wer=wer, failing=failing)
    try:
        selected = select(corpus, config, "basic", {})
    except ConfigError as error:
        assert "no utterance has this column" in error.message and not any(hypothesis is not None for _, hypothesis, _ in pairs)
        return
    rows = selected.rows()
    assert rows[0]["in"] == len(corpus)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        assert row["in"] == row["out"] + row["failed"] and row["failed"] == sum(row["failed_by_split"].values())
        assert following is None or following["in"] == row["out"]
    failed = {u.id for u in corpus} - {u.id for u in selected.kept if u.split != "hard"}
    assert len(failed) == sum(row["failed"] for row in rows)
    assert all(u.attributes.get("hypothesis") is not None for u in corpus if u.id in failed)
    if failing == "hard":  # K4: a set of faults is called that, and is neither trained on nor called a test
        assert [u.id for u in selected.kept] == [u.id for u in corpus] and not selected.drops
        assert {u.id for u in selected.kept if u.split == "hard"} == failed
        assert all("hard" in u.attributes for u in selected.kept if u.split == "hard")
    else:
        assert {drop.id for drop in selected.drops} == failed


@given(left=st.text(max_size=12), right=st.text(max_size=12))
def test_similarity_is_between_nothing_and_all_and_the_same_both_ways(left: str, right: str) -> None:
    """E-P11: −0.82 for texts of very different lengths, and a division by zero for two empty ones."""
    assert 0 <= similarity(left, right) == similarity(right, left) <= 1
    assert (similarity(left, right) == 1) == (left == right)


# ------------------------------------------------------------------------------------------------------------ through prepare


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Ten utterances: one clipped, one silent, one doubled, one with silence at its ends, one with a wrong hypothesis."""
    rows = []
    for number in range(10):
        text = ["một hai ba", "bốn năm", "sáu bảy tám một", "hai hai ba bốn"][number % 4]
        samples = speech(text, number)
        if number == 3:
            samples = np.clip(12 * samples, -1, 1)
        if number == 4:
            samples = np.zeros(RATE_HZ)
        if number == 6:
            samples = speech(["một hai ba", "bốn năm", "sáu bảy tám một", "hai hai ba bốn"][5 % 4], 5)
        if number == 7:
            samples = np.concatenate([np.zeros(RATE_HZ), samples, np.zeros(RATE_HZ)])
        soundfile.write(tmp_path / f"u{number}.wav", samples, RATE_HZ)
        rows.append({"id": f"u{number}", "path": f"u{number}.wav", "text": text, "speaker": f"s{number % 5}",
                     "split": "dev" if number in (3, 8) else "train", "asr": "tám tám tám" if number == 9 else text.upper()})
    return write_table(tmp_path / "table.tsv", rows)


def test_limits_on_the_audio_name_what_they_took_and_of_which_split(corpus: Path, tmp_path: Path) -> None:
    card = prepared(corpus, tmp_path / "m", quality=QualityConfig(speech_s=0.1, clipped=0.001, duplicates=True))
    taken = {drop.id: drop.reason for drop in read_drops(tmp_path / "m")}
    assert taken == {"u3": "clipped", "u4": "no speech", "u6": "duplicate audio"}
    rows = {row["reason"]: row for row in card["quality"]}
    assert rows["clipped"]["failed_by_split"] == {"dev": 1} and rows["recording not readable"]["failed"] == 0
    assert card["ledger"]["in"] == 10 and card["utterances"] == 7
    page = (tmp_path / "m" / "quality" / "quality.html").read_text(encoding="utf-8")
    assert "7 of 10 utterances" in page and "share of samples at full scale" in page
    from utterloom.prepare.stage import explain

    assert any("took 1 of dev" in line for line in explain(card))


def test_likeness_to_a_hypothesis_in_the_same_view(corpus: Path, tmp_path: Path) -> None:
    card = prepared(corpus, tmp_path / "m", quality=QualityConfig(hypothesis="asr", similarity=0.8, wer=0.5))
    (drop,) = read_drops(tmp_path / "m")
    assert (drop.id, drop.reason) == ("u9", "text unlike the hypothesis")
    rows = pq.read_table(tmp_path / "m" / "utterances.parquet").to_pylist()
    assert all(dict(row["attributes"])["similarity"] == "1.0000" and dict(row["attributes"])["wer"] == "0.0000" for row in rows)
    assert [row["out"] for row in card["quality"]] == [9, 9]


def test_a_hypothesis_that_is_not_there_names_the_columns_there_are(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prepared(corpus, tmp_path / "m", quality=QualityConfig(hypothesis="asrr", similarity=0.8))
    assert "quality.hypothesis=asrr" in caught.value.message and "asr" in (caught.value.hint or "")
    assert not (tmp_path / "m").exists()


def test_silence_is_trimmed_by_integer_samples(corpus: Path, tmp_path: Path) -> None:
    card = prepared(corpus, tmp_path / "m", trim_s=0.1)
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "m" / "utterances.parquet").to_pylist()}
    (span,) = rows["u7"]["spans"]
    assert span["start_sample"] == pytest.approx(0.9 * RATE_HZ, abs=0.03 * RATE_HZ)
    assert rows["u7"]["duration_s"] == pytest.approx(4 * 0.12 + 0.2, abs=0.06)
    assert any(note.startswith("silence was cut off the ends of") for note in card["notes"])


def test_who_was_heard_and_found_good_is_not_asked() -> None:
    """A person who listened knows more than a recogniser: neither dropped nor made hard."""
    corpus = [heard(f"a{number}", "một", "ba").with_(attributes={"hypothesis": "ba", "reviewed": word})
              for number, word in enumerate(("good", "fix", "unsure"))] + [heard("b", "một", "ba")]
    for failing in ("drop", "hard"):
        selected = select(corpus, QualityConfig(similarity=0.8, failing=failing), "basic", {})
        assert [u.id for u in selected.kept if u.split != "hard"] == ["a0", "a1"] and selected.num_heard == 2
        assert selected.rows()[0]["in"] == 2


def test_doubled_quotes_inside_of_a_text_are_a_tables() -> None:
    from utterloom.prepare.quality import broken_quoting

    judge = broken_quoting().judge
    assert judge(heard("a", 'ông nói ""thế"" 7.31%', None)) and judge(heard("b", '"con ""mèo"" đen"', None))
    assert not judge(heard("c", '"con mèo" đen', None)) and not judge(heard("d", 'con "mèo"', None))


def test_long_utterances_by_policy(tmp_path: Path) -> None:
    """K1, E-P18: exactly the limit stays; drop, error, split and stream say what they did."""
    pause, words = np.zeros(RATE_HZ), speech("một hai ba bốn năm sáu bảy tám" * 1)
    soundfile.write(tmp_path / "long.wav", np.concatenate([words, pause, words, pause, words]), RATE_HZ)
    soundfile.write(tmp_path / "exact.wav", np.tile(words, 3)[:2 * RATE_HZ], RATE_HZ)
    table = write_table(tmp_path / "table.tsv", [{"id": "long", "path": "long.wav", "text": ""},
                                                 {"id": "exact", "path": "exact.wav", "text": ""}])
    common = {"unlabelled": "keep", "max_s": 2.0}
    assert prepared(table, tmp_path / "drop", **common)["utterances"] == 1
    assert [(drop.id, drop.reason) for drop in read_drops(tmp_path / "drop")] == [("long", "too long")]
    with pytest.raises(SourceError, match=r"1 of 2 utterances are longer than 2 s; the longest is 'long'"):
        prepared(table, tmp_path / "error", too_long="error", **common)
    assert prepared(table, tmp_path / "stream", too_long="stream", **common)["utterances"] == 2
    card = prepared(table, tmp_path / "split", too_long="split", **common)
    rows = pq.read_table(tmp_path / "split" / "utterances.parquet").to_pylist()
    pieces = [row["spans"][0] for row in rows if row["id"].startswith("long-")]
    assert [row["id"] for row in rows] == ["long-000", "long-001", "long-002", "exact"]
    assert pieces[0]["start_sample"] == 0 and pieces[-1]["stop_sample"] == len(words) * 3 + 2 * RATE_HZ
    assert all(left["stop_sample"] == right["start_sample"] for left, right in pairwise(pieces))
    assert card["hours_unique"] == card["hours"]


def test_a_prepare_that_asks_for_nothing_decodes_nothing(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from utterloom.prepare.audit import results

    monkeypatch.setattr(results, "measure_all", lambda *_: pytest.fail("it decoded"))
    card = prepared(corpus, tmp_path / "m", quality=QualityConfig(characters_per_s=(0.5, 60), text_copies=3))
    assert card["quality"][0]["reason"] == "duplicate text" and not (tmp_path / "m" / "quality" / "measured.parquet").exists()


def test_limits_on_the_command_line() -> None:
    config = compose(PrepareConfig, [
        "quality.similarity=0.8", "quality.characters_per_s=[4,25]", "quality.failing=hard", "test=0.1"])
    assert config.quality == QualityConfig(similarity=0.8, characters_per_s=(4, 25), failing="hard") and config.test == 0.1
    with pytest.raises(ConfigError, match=r"quality\.similarity"):
        compose(PrepareConfig, ["quality.similarity=80"])
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        compose(PrepareConfig, ["dev=0.6", "test=0.5"])


# ---------------------------------------------------------------------------------------------------------------- statistics


@given(pairs=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(1, 20)), max_size=20))
def test_unique_seconds_are_the_union_of_all_spans(pairs: list[tuple[int, int, int]]) -> None:
    """E-P10, against counting every sample in a set."""
    corpus = [Utterance(str(number), None, (Span(f"r{recording}", start, start + length, 10, 1),))
              for number, (recording, start, length) in enumerate(pairs)]
    samples = {(recording, sample) for recording, start, length in pairs for sample in range(start, start + length)}
    assert unique_s(corpus) == pytest.approx(len(samples) / 10)


def test_two_channels_of_a_recording_are_different_audio() -> None:
    left, right = (Utterance(str(channel), None, (Span("call.wav", 0, 100, 10, 2, channel),)) for channel in (0, 1))
    assert unique_s([left, right]) == 20 and totals([left, right])["hours_unique"] == totals([left, right])["hours"]


def test_words_of_dev_that_train_does_not_have() -> None:
    corpus = [heard("a", "một hai ba", None), heard("b", "hai bốn bốn năm", None, "dev"), heard("c", "", None, "test")]
    words = vocabulary(corpus, "basic")
    assert words["train"] == {"words": 3, "different_words": 3}
    assert words["dev"] == {"words": 4, "different_words": 3, "oov_rate": 0.75, "oov_words": 3, "oov_different_words": 2,
                            "oov_examples": ["bốn", "năm"]}
    assert words["test"] == {"words": 0, "different_words": 0}

"""The audit: what is measured on real and broken sound, resuming, the page, and a corpus of planted faults."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.pages import Page
from tests.prepare import planted
from tests.prepare.planted import KINDS, MAKING_HZ, NEEDS_A_RECOGNISER, REASONS, Planted, Voice, made_up_speech, plant
from tests.tones import RATE_HZ, hash_of_folder
from utterloom.audio.resample import resample
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Span, Utterance
from utterloom.prepare.audit import acoustics, results, trigrams, whole_corpus
from utterloom.prepare.audit import measure as measuring
from utterloom.prepare.audit.acoustics import (
    FINGERPRINT_BYTES,
    FRAMES_PER_S,
    fingerprint_distance,
    near_pairs,
    voice_activity,
    worst_stretch,
)
from utterloom.prepare.audit.findings import Limits, audit, checks, explain
from utterloom.prepare.audit.measure import Measured, measure, measure_recording
from utterloom.prepare.audit.results import TABLE_FILE, claimed_s, measure_all, read_measured
from utterloom.prepare.audit.whole_corpus import MAD_TO_DEVIATION, MIN_TO_JUDGE, near_duplicate_audio, swapped_text, unusual_text
from utterloom.prepare.quality import HYPOTHESIS, SCRIPTS, USUAL_SHARE, script_of, sift, similarity, wrong_script
from utterloom.prepare.readers.table import TableReader
from utterloom.text.normalisers import normaliser

TEXT = "Hôm nay trời có mưa không?"


def said(text: str = TEXT, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """float32 [samples] of made-up speech."""
    made = made_up_speech(text, Voice(130, 1.0, 1.0, 0.5), np.random.default_rng(seed))
    return resample(made, MAKING_HZ, rate_hz)


def written(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ, **how: str) -> Measured:
    soundfile.write(path, samples, rate_hz, **how)
    return measure(Span(str(path)))


def spans_of(folder: Path, num_clips: int) -> list[Utterance]:
    soundfile.write(folder / "long.wav", np.concatenate([said(seed=number)[:RATE_HZ] for number in range(num_clips)]), RATE_HZ)
    return [Utterance(f"u{number}", TEXT, (Span(str(folder / "long.wav"), number * RATE_HZ, (number + 1) * RATE_HZ, RATE_HZ, 1),))
            for number in range(num_clips)]


# --- what is measured -------------------------------------------------------------------------------------------------


def test_silence_and_speech_are_where_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    speech = said()[int(0.45 * RATE_HZ):-int(0.45 * RATE_HZ)]
    room = 0.001 * rng.standard_normal(int(2 * RATE_HZ) + len(speech))
    room[int(0.5 * RATE_HZ):int(0.5 * RATE_HZ) + len(speech)] += speech
    one = written(tmp_path / "x.wav", room)
    assert one.error is None and one.duration_s == pytest.approx(len(room) / RATE_HZ)
    assert one.leading_silence_s == pytest.approx(0.5, abs=0.05) and one.trailing_silence_s == pytest.approx(1.5, abs=0.1)
    assert one.noise_dbfs == pytest.approx(-60, abs=1.5) and one.active_s == pytest.approx(len(speech) / RATE_HZ, rel=0.15)
    assert one.active_spans_s[0] == one.leading_silence_s and len(one.active_spans_s) % 2 == 0


@pytest.mark.parametrize("noise_db", [-120, -80, -50, -20])
def test_steady_noise_and_silence_are_no_speech(noise_db: int) -> None:
    rng = np.random.default_rng(0)
    level_db_f = (noise_db + rng.normal(0, 0.6, 3 * FRAMES_PER_S)).astype(np.float32)
    assert not voice_activity(level_db_f).any()


def test_speech_that_starts_late_in_a_long_recording_is_found() -> None:
    """The floor adapts: it is the one of the stretch, not of the loudest or of all."""
    level_db_f = np.full(60 * FRAMES_PER_S, -60, np.float32)
    level_db_f[30 * FRAMES_PER_S:] += 6  # somebody switches a fan on
    level_db_f[40 * FRAMES_PER_S:42 * FRAMES_PER_S] = -25
    is_active = voice_activity(level_db_f)
    assert is_active[40 * FRAMES_PER_S:42 * FRAMES_PER_S].all() and is_active.sum() == 2 * FRAMES_PER_S


@pytest.mark.parametrize("block_samples", [997, 16_000])
def test_the_size_of_the_blocks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_samples: int) -> None:
    clip = np.clip(12 * np.concatenate([said(seed=1), said(seed=2)]), -1, 1)
    whole = written(tmp_path / "x.wav", clip)
    monkeypatch.setattr(measuring, "BLOCK_SAMPLES", block_samples)
    pieces = measure(Span(str(tmp_path / "x.wav")))
    for field in dataclasses.fields(Measured):
        left, right = getattr(whole, field.name), getattr(pieces, field.name)
        assert left == (pytest.approx(right, abs=1e-5) if isinstance(right, float) else right), field.name
    assert (whole.num_clipped_samples or 0) > 100


def test_a_span_is_measured_as_if_it_were_alone(tmp_path: Path) -> None:
    left, right = said(seed=1), said(seed=2)
    left, right = (np.round(samples * 32767).astype(np.int16) for samples in (left, right))  # float is rounded by each format
    soundfile.write(tmp_path / "both.flac", np.concatenate([left, right]), RATE_HZ)
    alone = written(tmp_path / "right.wav", right)
    (span,) = measure_recording(str(tmp_path / "both.flac"), [(Span("", len(left), len(left) + len(right), RATE_HZ), None)])
    assert (span.content_hash, span.fingerprint) == (alone.content_hash, alone.fingerprint)
    assert span.active_spans_s == alone.active_spans_s
    by_seconds = measure(Span(str(tmp_path / "both.flac"), start_s=len(left) / RATE_HZ, stop_s=(len(left) + len(right)) / RATE_HZ))
    assert by_seconds.content_hash == alone.content_hash


def test_what_cannot_be_decoded_says_why(tmp_path: Path) -> None:
    """Zero length, cut in half, no audio, NaN, not there: each is told from the others, and none raises."""
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.mp3").write_text("this is no sound")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE_HZ)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan, 0.1, np.inf] * 1000), RATE_HZ, subtype="FLOAT")
    for suffix in ("wav", "flac", "mp3"):
        soundfile.write(tmp_path / f"cut.{suffix}", said(), RATE_HZ)
        data = (tmp_path / f"cut.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(data[:len(data) // 2])
    wanted = {"empty.wav": "0 bytes", "text.mp3": "not a known audio format", "none.wav": "no samples",
              "nan.wav": "NaN or infinite", "cut.wav": "cut short", "cut.flac": "cut short|damaged", "cut.mp3": "cut short",
              "missing.wav": "cannot be opened"}
    for name, words in wanted.items():
        one = measure(Span(str(tmp_path / name)), claimed_s=1.5)
        assert re.search(words, one.error or ""), (name, one.error)
        assert one.duration_s is None and one.content_hash is None and one.claimed_s == 1.5
    beyond = measure(Span(str(tmp_path / "nan.wav"), 100, 5000, RATE_HZ))
    assert beyond.error and measure(Span(str(tmp_path / "cut.wav"), 10, 10, RATE_HZ)).error


def test_clipping_is_counted_to_the_sample(tmp_path: Path) -> None:
    samples = 0.2 * np.sin(np.arange(RATE_HZ) / 9)
    samples[100:103], samples[200:250], samples[300:302] = 1.0, -1.0, 1.0  # three, fifty, and two that are no clipping
    one = written(tmp_path / "x.wav", samples)
    assert (one.num_clipped_samples, one.longest_clip_samples) == (53, 50)


def test_clipping_is_seen_after_it_was_made_quieter(tmp_path: Path) -> None:
    clipped = np.clip(6 * said(), -1, 1)
    assert (written(tmp_path / "loud.wav", clipped).num_clipped_samples or 0) > 500
    quiet = written(tmp_path / "quiet.wav", 0.3 * clipped)
    assert quiet.num_clipped_samples == 0 and (quiet.num_flat_tops or 0) > 50
    assert (written(tmp_path / "fine.wav", said()).num_flat_tops or 0) <= 2


def test_offset_and_channels_that_cancel(tmp_path: Path) -> None:
    speech = said()
    assert written(tmp_path / "dc.wav", speech * 0.5 + 0.1).dc_offset == pytest.approx(0.1, abs=0.005)
    turned = written(tmp_path / "turned.wav", np.stack([speech, -speech], axis=1))
    assert (turned.mono_loss_db or 0) > 40 and written(tmp_path / "same.wav", np.stack([speech] * 2, axis=1)).mono_loss_db == 0


@pytest.mark.parametrize(("rate_hz", "container"), [(16_000, "wav"), (44_100, "flac"), (48_000, "mp3")])
def test_a_rate_that_lies_shows_in_the_bandwidth(tmp_path: Path, rate_hz: int, container: str) -> None:
    telephone = resample(said(rate_hz=8000), 8000, rate_hz)
    assert 3000 < (written(tmp_path / f"narrow.{container}", telephone, rate_hz).bandwidth_hz or 0) < 4500
    assert (written(tmp_path / f"wide.{container}", said(rate_hz=rate_hz), rate_hz).bandwidth_hz or 0) > 7000
    quiet = written(tmp_path / "quiet.wav", 0.01 * telephone, rate_hz)  # the noise of 16 bits is no sound
    assert (quiet.bandwidth_hz or 0) < 4500


def test_the_same_samples_have_the_same_hash_in_every_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.round(said() * 32767).astype(np.int16)
    hashes = {written(tmp_path / f"x.{suffix}", samples).content_hash for suffix in ("wav", "flac", "aiff", "au")}
    hashes.add(written(tmp_path / "stereo.wav", np.stack([samples] * 2, axis=1)).content_hash)
    hashes.add(written(tmp_path / "deep.wav", samples.astype(np.int32) << 16, subtype="PCM_24").content_hash)
    assert len(hashes) == 1
    late = np.stack([samples] * 2, axis=1)
    late[-5, 1] += 1  # channels that differ in the last block only
    in_one = written(tmp_path / "late.wav", late).content_hash
    monkeypatch.setattr(measuring, "BLOCK_SAMPLES", 4096)
    assert measure(Span(str(tmp_path / "late.wav"))).content_hash == in_one not in hashes
    samples[5000] += 1
    assert written(tmp_path / "other.wav", samples).content_hash not in hashes


def test_a_fingerprint_knows_a_clip_again_and_no_other(tmp_path: Path) -> None:
    texts = ["Bật đèn phòng khách lên giúp tôi.", "Ngày mai ở Huế trời có nắng không?", "Gọi cho chị Lan lúc bảy giờ tối."]
    first = [written(tmp_path / f"{number}.wav", said(text, number)) for number, text in enumerate(texts)]
    for number, text in enumerate(texts):
        louder = written(tmp_path / "l.mp3", np.stack([0.4 * resample(said(text, number), RATE_HZ, 48_000)] * 2, axis=1), 48_000)
        called = written(tmp_path / "c.flac", 0.7 * resample(said(text, number), RATE_HZ, 8_000), 8_000)
        cut = written(tmp_path / "e.wav", np.concatenate([np.zeros(RATE_HZ // 2), said(text, number), np.zeros(RATE_HZ // 3)]))
        for copy in (louder, called, cut):
            distances = [fingerprint_distance(copy.fingerprint or b"", one.fingerprint or b"") for one in first]
            assert distances[number] < 0.05 and min(distances[:number] + distances[number + 1:]) > 0.3, distances
    assert written(tmp_path / "short.wav", said()[:4000]).fingerprint is None
    assert written(tmp_path / "silent.wav", np.zeros(RATE_HZ)).fingerprint is None


def test_a_stretch_that_differs_is_told_from_noise_that_is_spread() -> None:
    rng = np.random.default_rng(0)
    signs, sure = rng.integers(0, 256, FINGERPRINT_BYTES, dtype=np.uint8), b"\xff" * FINGERPRINT_BYTES
    spread, word = signs.copy(), signs.copy()
    spread[::4] ^= 0b1001
    word[10:14] ^= 0b1001_1001
    whole, other_word, noisy = (one.tobytes() + sure for one in (signs, word, spread))
    assert fingerprint_distance(whole, noisy) == fingerprint_distance(whole, other_word) == 16 / 256
    assert worst_stretch(whole, noisy) < 0.1 < 0.3 < worst_stretch(whole, other_word)
    assert worst_stretch(whole, whole) == 0 and worst_stretch(whole, bytes(2 * FINGERPRINT_BYTES)) == 1


def test_two_takes_of_nearly_one_sentence_are_no_copies() -> None:
    sure = b"\xff" * FINGERPRINT_BYTES
    one, copy, take = (signs + sure for signs in (bytes(32), bytes(31) + b"\x01", bytes(28) + b"\x99" * 4))
    measured = {name: Measured(name, content_hash=name, fingerprint=signs, active_s=1.0, words_s=1.0)
                for name, signs in (("a", one), ("b", copy), ("c", take), ("d", take))}
    texts = {"a": "ba mươi độ", "b": "bốn mươi độ", "c": "năm mươi độ", "d": "ba mươi độ"}
    utterances = [Utterance(name, text, (Span(name),), views={"basic": text}) for name, text in texts.items()]
    step = near_duplicate_audio(utterances, measured, 0.15, "basic")
    assert [u.id for u in utterances if step.judge(u)] == ["b", "d"]  # b is a, whatever is written there; d has the text of a
    step = near_duplicate_audio(utterances, measured, 0.15)
    assert [u.id for u in utterances if step.judge(u)] == ["b", "c", "d"]


def test_a_large_corpus_is_not_compared_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer keys find the copies too, and a clip that is there very often is compared with those just before it."""
    monkeypatch.setattr(acoustics, "MANY_CLIPS", 100)
    monkeypatch.setattr(acoustics, "MOST_BEFORE", 3)
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 256, (300, FINGERPRINT_BYTES), dtype=np.uint8)
    bits[200:] = bits[0]  # a jingle
    bits[150:200] = bits[50:100]
    bits[150:200, ::8] ^= 1
    pairs = near_pairs([row.tobytes() + b"\xff" * FINGERPRINT_BYTES for row in bits], [1.0] * 300, 0.15)
    assert {right for _, right, _ in pairs} == set(range(150, 300)) and len(pairs) < 100 * 4 + 50


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_near_pairs_are_those_that_comparing_all_finds(seed: int, num_clips: int) -> None:
    rng = np.random.default_rng(seed)
    size = FINGERPRINT_BYTES
    bits = rng.integers(0, 256, (num_clips, size), dtype=np.uint8)
    for number in range(1, num_clips, 3):  # copies of the one before, with up to a twentieth of the bits changed
        bits[number] = bits[number - 1]
        for place in rng.integers(0, 8 * size, rng.integers(0, 12)).tolist():
            bits[number, place // 8] ^= 1 << place % 8
    prints = [row.tobytes() + b"\xff" * size for row in bits]
    lengths = [float(length) for length in rng.choice([1.0, 1.05, 1.09, 1.3], num_clips)]
    wanted = [(left, right) for left in range(num_clips) for right in range(left + 1, num_clips)
              if fingerprint_distance(prints[left], prints[right]) <= 0.1 and abs(lengths[left] - lengths[right]) <= 0.1]
    assert [pair[:2] for pair in near_pairs(prints, lengths, 0.1)] == wanted


def test_what_a_table_claims(tmp_path: Path) -> None:
    span = (Span("x.wav"),)
    assert claimed_s(Utterance("a", None, span, attributes={"duration[ms]": "1500"})) == 1.5
    assert claimed_s(Utterance("a", None, span, attributes={"Duration": "2.5"})) == 2.5
    assert claimed_s(Utterance("a", None, span, attributes={"duration": "long"})) is None
    assert claimed_s(Utterance("a", None, span, attributes={"duration": "nan"})) is None


# --- text against the whole corpus: the same as plain Python gives ----------------------------------------------------


def plain_bits_a_character(texts: Sequence[str]) -> list[float]:
    """The definition, one text after the other and one character after the other."""
    def count(text: str) -> list[Counter[str]]:
        return [Counter(text[end - order:end] for end in range(3, len(text) + 1)) for order in (1, 2, 3)]

    marked = [f"\x02\x02{text}\x03" for text in texts]
    corpus = [Counter[str]() for _ in range(3)]
    for text in marked:
        for order, counts in enumerate(count(text)):
            corpus[order].update(counts)
    bits = []
    for text in marked:
        ones, twos, threes = ({gram: corpus[order][gram] - own[gram] for gram in {*own, *("" if order else text), text[:2]}}
                              for order, own in enumerate(count(text)))
        num_others = corpus[0].total() - (len(text) - 2)
        total = 0.0
        for end in range(3, len(text) + 1):
            single, pair, before = text[end - 1], text[end - 2:end], text[end - 3:end - 1]
            parts = ((0.6, threes[text[end - 3:end]], twos[before]), (0.25, twos[pair], ones[before[1]]),
                     (0.15, ones[single], num_others))
            share = sum(weight * min(1.0, part / whole) for weight, part, whole in parts if whole > 0)
            total -= math.log2(share + 2**-trigrams.BACKGROUND_BITS)
        bits.append(total / (len(text) - 2))
    return bits


SOME_TEXT = st.text(st.sampled_from("aaab \x02\x03ệ水😀\ud800"), min_size=1, max_size=12)


@settings(max_examples=60)
@given(st.lists(SOME_TEXT, max_size=4) | st.lists(SOME_TEXT, min_size=MIN_TO_JUDGE - 1, max_size=30),
       st.sampled_from([1, 7, 40, 2**20]))
def test_bits_a_character_are_those_of_the_definition(texts: list[str], characters_at_once: int) -> None:
    """Also across batches, with texts that are there twice, and with the marks that are put around texts inside of them."""
    distinct = list(dict.fromkeys(texts))
    bits = dict(zip(distinct, plain_bits_a_character(distinct), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trigrams, "CHARACTERS_AT_ONCE", characters_at_once)
        assert trigrams.bits_a_character(distinct).tolist() == pytest.approx(list(bits.values()), abs=1e-9)
        utterances = [Utterance(str(number), text, (Span("x"),), views={"basic": text}) for number, text in enumerate(texts)]
        found = list(map(unusual_text(utterances, "basic", 6.0).value, [*utterances, Utterance("other", "a", ())]))
    if len(texts) < MIN_TO_JUDGE:
        assert found == [None] * (len(texts) + 1)
        return
    centre = statistics.median(bits[text] for text in texts)
    above = [(bits[text] - centre) * math.sqrt(len(text) + 1) for text in texts]
    spread = MAD_TO_DEVIATION * statistics.median(map(abs, above))
    assert found[:-1] == pytest.approx([one / max(spread, 0.5) for one in above], abs=1e-7) and found[-1] is None


def test_bits_a_character_of_very_many_characters() -> None:
    """So many that a trigram and a text's number do not fit into 63 bits together, were all texts counted at once."""
    num_sentences, num_letters = 2500, 60
    sentences = ["".join(map(chr, range(first, first + num_letters)))
                 for first in range(0x10000, 0x10000 + num_sentences * num_letters, num_letters)]
    texts = [sentence + last for sentence in sentences for last in "ab"]
    assert len(texts) * (num_sentences * num_letters) ** 3 > 2**63 and len(texts) * num_letters < trigrams.CHARACTERS_AT_ONCE
    by_itself = 0.15 / ((len(texts) - 1) * (num_letters + 2))  # a character's share for each time that others have it
    in_sentence = [by_itself, *[0.85 + by_itself] * (num_letters - 1)]
    shares = [*in_sentence, (num_sentences - 1) * by_itself, 0.25 + (len(texts) - 1) * by_itself]
    bits = statistics.fmean(-math.log2(share + 2**-trigrams.BACKGROUND_BITS) for share in shares)
    assert trigrams.bits_a_character(texts).tolist() == pytest.approx([bits] * len(texts), abs=1e-9)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["vi", "sr-Latn", "xx", None]), st.text("abжщ水に1 ệ゙ー", max_size=12)), max_size=12))
def test_letters_of_another_script_are_those_that_counting_each_finds(rows: list[tuple[str | None, str]]) -> None:
    utterances = [Utterance(str(number), text, (), language=language) for number, (language, text) in enumerate(rows)]
    predicate = wrong_script(utterances, 0.3)
    for utterance in utterances:
        of_language = [script for other in utterances if other.language == utterance.language
                       for script in map(script_of, other.text or "") if script]
        own = SCRIPTS.get((utterance.language or "").split("-")[0]) or {
            script for script in of_language if of_language.count(script) >= USUAL_SHARE * len(of_language)}
        scripts = [script for script in map(script_of, utterance.text or "") if script]
        wanted = sum(script not in own for script in scripts) / len(scripts) if scripts else None
        assert predicate.value(utterance) == wanted


FEW_TEXTS = st.sampled_from(["", "một", "mười", "mươi", "một hai", "một ba", "ba một hai", "bốn năm"])


@settings(max_examples=60)
@given(st.lists(st.tuples(FEW_TEXTS, FEW_TEXTS), max_size=9),
       st.sampled_from([1, 4, 100]), st.sampled_from([0.01, 0.3, 0.5, 0.7, 1.0]))
def test_swapped_texts_are_those_that_comparing_all_finds(rows: list[tuple[str, str]], rows_at_once: int, is_like: float) -> None:
    utterances = [Utterance(str(number), text, (), views={"basic": text}, attributes={HYPOTHESIS: heard})
                  for number, (text, heard) in enumerate(rows)]
    suspects = [(number, text, heard) for number, (text, heard) in enumerate(rows)
                if text and heard and similarity(text, heard) < 0.5]
    wanted: dict[int, int] = {}
    for one, text, heard in suspects:
        for other, other_text, other_heard in suspects:
            if one < other and similarity(heard, other_text) >= is_like and similarity(other_heard, text) >= is_like:
                wanted[one], wanted[other] = other, one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_corpus, "ROWS_AT_ONCE", rows_at_once)
        step = swapped_text(utterances, "basic", is_like=is_like)
    assert [step.judge(utterance) for utterance in utterances] == [
        f"its text is that of {wanted[number]}" if number in wanted else None for number in range(len(rows))]


# --- a corpus, in parallel, interrupted -------------------------------------------------------------------------------


def test_an_interrupted_audit_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-P8: item-level checkpoints; and what changed meanwhile is measured again."""
    utterances = spans_of(tmp_path, 6)
    soundfile.write(tmp_path / "other.wav", said(), RATE_HZ)
    utterances.append(Utterance("other", TEXT, (Span(str(tmp_path / "other.wav")),)))
    monkeypatch.setattr(results, "SPANS_PER_TASK", 2)
    whole = measure_all(utterances, tmp_path / "whole")
    real, calls = results.measure_task, []

    def measured_until(limit: int) -> None:
        def stop(works: list[results.Work]) -> list[Measured]:
            calls.append(works)
            if len(calls) > limit:
                raise KeyboardInterrupt
            return real(works)

        monkeypatch.setattr(results, "measure_task", stop)

    measured_until(2)
    with pytest.raises(KeyboardInterrupt):
        measure_all(utterances, tmp_path / "a")
    next((tmp_path / "a" / results.PARTS_FOLDER).glob("*.parquet")).write_bytes(b"PAR1")  # a disk that forgets
    calls.clear()
    measured_until(99)
    assert measure_all(utterances, tmp_path / "a") == whole and len(calls) == 3  # of four tasks
    assert hash_of_folder(tmp_path / "a") == hash_of_folder(tmp_path / "whole")

    calls.clear()
    measured_until(3)
    with pytest.raises(KeyboardInterrupt):
        measure_all(utterances, tmp_path / "b")
    soundfile.write(tmp_path / "long.wav", np.concatenate([said(seed=9)] * 6)[:6 * RATE_HZ], RATE_HZ)
    measured_until(99)
    assert measure_all(utterances, tmp_path / "b")["u0"].content_hash != whole["u0"].content_hash


def test_workers_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = spans_of(tmp_path, 10)
    monkeypatch.setattr(results, "SPANS_PER_TASK", 1)
    for workers in (0, 2):
        measure_all(utterances, tmp_path / str(workers), workers)
    assert hash_of_folder(tmp_path / "0") == hash_of_folder(tmp_path / "2")
    assert list(read_measured(tmp_path / "0" / TABLE_FILE)) == [utterance.id for utterance in utterances]


def test_measurements_come_back_as_they_were(tmp_path: Path) -> None:
    utterances = [*spans_of(tmp_path, 2), Utterance("gone", None, (Span(str(tmp_path / "gone.wav")),))]
    assert read_measured(tmp_path / TABLE_FILE if (measured := measure_all(utterances, tmp_path)) else tmp_path) == measured
    with pytest.raises(SourceError, match="no measurements"):
        read_measured(tmp_path / "none.parquet")
    (tmp_path / TABLE_FILE).write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="is damaged"):
        read_measured(tmp_path / TABLE_FILE)


def test_what_cannot_be_audited_is_refused(tmp_path: Path) -> None:
    one, two = spans_of(tmp_path, 2)
    with pytest.raises(SourceError, match="more than once"):
        measure_all([one, one], tmp_path / "a")
    with pytest.raises(SourceError, match="several spans"):
        measure_all([one.with_(spans=one.spans + two.spans)], tmp_path / "a")


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_holds_everything_and_nothing_breaks_out_of_it(tmp_path: Path) -> None:
    utterances = [utterance.with_(views={"basic": normaliser("basic")(TEXT)}, speaker="<b>s</b>", split="train")
                  for utterance in spans_of(tmp_path, 4)]
    hostile = '</style><script>alert(1)</script>\n"'
    utterances.append(Utterance(hostile, hostile, (Span(str(tmp_path / "gone.wav")),), views={"basic": "x"}))
    drops = [Drop("d", "prepare", "recording missing", "there is no file d.wav", None)]
    result = audit(utterances, tmp_path / "audit", title="<i>Mine</i> & yours", drops=drops)
    source = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    page = Page(source)
    assert "<i>Mine</i> & yours" in page.texts and hostile.split()[0] in page.text and not page.scripts and not page.all("script")
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", source) and "url(" not in source and "@import" not in source
    assert page.all("svg") and all(attributes.get("aria-label") for attributes in page.all("svg"))
    assert "recording missing" in page.texts and "prefers-color-scheme: dark" in source
    told = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert told["utterances"] == 5 and {row["reason"] for row in told["findings"]} >= {"recording not readable", "broken quoting"}
    lines = explain(result)
    assert lines[0].startswith("5 utterances") and any("recording not readable" in line for line in lines)


def test_an_empty_corpus_has_a_page_too(tmp_path: Path) -> None:
    result = audit([], tmp_path)
    assert explain(result)[-1].startswith("  nothing found") and "Nothing, by any of" in (tmp_path / "audit.html").read_text()


# --- planted faults ---------------------------------------------------------------------------------------------------


class Score:
    """How many of each kind were named for a reason of their own, and how much of what was named is a fault."""

    def __init__(self, corpus: Planted, measured: dict[str, Measured], with_recogniser: bool) -> None:
        utterances = corpus.utterances if with_recogniser else [
            u.with_(attributes={key: value for key, value in u.attributes.items() if key != HYPOTHESIS}) for u in corpus.utterances]
        named: dict[str, set[str]] = defaultdict(set)
        for step in checks(utterances, measured, "basic", Limits()):
            for utterance in utterances:
                if step.judge(utterance) is not None:
                    named[utterance.id].add(step.reason)
        originals = {corpus.partners[name]: name for name, kind in corpus.faults.items() if kind == "near duplicate"}
        self.found: Counter[str] = Counter()
        self.planted = Counter(corpus.faults.values())
        self.missed: list[str] = []
        for name, kind in corpus.faults.items():
            names = named[name] | (named[corpus.partners[name]] if kind == "near duplicate" else set())
            self.found[kind] += bool(names & REASONS[kind])
            self.missed += [] if names & REASONS[kind] else [f"{kind}: {name}"]
        # The first of two copies stays, whichever of them was planted.
        faulty = [name for name in named if named[name] and (name in corpus.faults or name in originals)]
        self.wrong = {name: reasons for name, reasons in named.items() if reasons and name not in faulty}
        self.precision = len(faulty) / max(1, len(faulty) + len(self.wrong))
        pairs = [(reason, reason in REASONS[corpus.faults[name]] if name in corpus.faults else name in originals
                  and reason in REASONS["near duplicate"]) for name, reasons in named.items() for reason in reasons]
        self.precision_of = {reason: sum(right for one, right in pairs if one == reason) / sum(one == reason for one, _ in pairs)
                             for reason in sorted({one for one, _ in pairs})}

    def recall(self, kinds: list[str]) -> float:
        return sum(self.found[kind] for kind in kinds) / sum(self.planted[kind] for kind in kinds)


SEEN = [kind for kind in KINDS if kind not in NEEDS_A_RECOGNISER]


def check_planted(folder: Path, num_clips: int, seed: int, voice: str = "synthetic") -> tuple[Score, Score]:
    corpus = plant(folder / "corpus", num_clips, seed, voice=voice)
    measured = measure_all(corpus.utterances, folder / "audit", workers=0)
    deaf, hearing = (Score(corpus, measured, with_recogniser) for with_recogniser in (False, True))
    for name, score in (("alone", deaf), ("with a recogniser", hearing)):
        print(f"\n{voice}, {num_clips} clips, seed {seed}, {name}: precision {score.precision:.4f}, "
              f"missed {score.missed}, wrong {score.wrong}")
        print({kind: f"{score.found[kind]}/{score.planted[kind]}" for kind in KINDS}, score.precision_of)
    return deaf, hearing


def assert_good(deaf: Score, hearing: Score) -> None:
    assert deaf.recall(SEEN) >= 0.99, deaf.missed
    assert hearing.recall(list(KINDS)) >= 0.99, hearing.missed
    assert min(deaf.precision, hearing.precision) >= 0.98, (deaf.wrong, hearing.wrong)


def test_planted_faults_are_found_and_named(tmp_path: Path) -> None:
    """Must show 7, small: two of each of twelve kinds. The limits were set on seed 1; this is another draw."""
    assert_good(*check_planted(tmp_path, 100, seed=2))


@pytest.mark.slow
@pytest.mark.parametrize("voice", ["synthetic", "espeak"])
def test_two_thousand_clips_with_planted_faults(tmp_path: Path, voice: str) -> None:
    """Must show 7: 2,000 clips, twelve kinds at 1 % each. The limits were set on seed 1; this is another draw."""
    if voice == "espeak" and importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("espeakng-loader is not installed")
    assert_good(*check_planted(tmp_path, 2000, seed=3, voice=voice))


def test_sifting_by_the_audit_drops_what_it_found(tmp_path: Path) -> None:
    """E-P9: in = out + dropped at every predicate, and together."""
    corpus = plant(tmp_path / "corpus", 30, seed=4)
    result = audit(corpus.utterances, tmp_path / "audit")
    sifted = sift(corpus.utterances, result.chain)
    assert {drop.id for drop in sifted.drops} == {finding.id for finding in result.findings}
    assert len(sifted.kept) + len(sifted.drops) == 30 and not {u.id for u in sifted.kept} & {drop.id for drop in sifted.drops}


def test_a_planted_corpus_is_a_function_of_its_seed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plant(tmp_path / name, 26, seed=5)
    assert hash_of_folder(tmp_path / "a") == hash_of_folder(tmp_path / "b")
    assert set(planted.REASONS) == set(KINDS)


# --- real recordings --------------------------------------------------------------------------------------------------


def test_real_corpora_are_mostly_sound(shared: Path, tmp_path: Path) -> None:
    """A careful corpus of read speech: nearly nothing is wrong with it, and what is said of it is believable."""
    table = shared / "data" / "an4" / "transcripts.tsv"
    utterances = [item for item in TableReader().read(table) if isinstance(item, Utterance)][::12]
    view = normaliser("basic")
    utterances = [u.with_(views={"basic": view(u.text or "")}) for u in utterances]
    result = audit(utterances, tmp_path)
    named = {finding.id for finding in result.findings}
    assert len(named) <= 0.1 * len(utterances), result.findings
    assert not any(one.error for one in result.measured.values())
    assert 0.4 < sum(one.active_s or 0 for one in result.measured.values()) / result.seconds([u.id for u in utterances]) < 0.95


def test_broken_files_of_the_wild_are_named(shared: Path) -> None:
    folder = shared / "data" / "ingest_formats" / "broken"
    for path in sorted(folder.iterdir()):
        assert measure(Span(str(path))).error, path.name

"""Tokenizers give back what they were given (E-P14), and say what they do not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utterloom.core.errors import ConfigError, SourceError, TrainingError
from utterloom.text.decoding import greedy_ctc
from utterloom.text.tokenizers import BLANK_ID, KINDS, UNKNOWN_ID, CTCTokenizer, ctc_frames_needed

TEXTS = ["một hai ba bốn năm", "xin chào việt nam", "don't stop", "e\u0323 7 <unk> <blank>", "一二 三"]
ALPHABET = sorted({character for text in TEXTS for character in text if character != " "})
WORDS = sorted({word for text in TEXTS for word in text.split()})
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="▁")
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> CTCTokenizer:
    return CTCTokenizer.train(TEXTS, request.param, vocab_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(alphabet=ALPHABET, min_size=1, max_size=6), max_size=6))
@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
def test_any_text_of_its_characters_comes_back(kind: str, words: list[str]) -> None:
    text = " ".join(words)
    tokenizer = trained(kind)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert BLANK_ID not in ids and UNKNOWN_ID not in ids


@given(words=st.lists(st.sampled_from(WORDS), max_size=8))
def test_any_text_of_its_words_comes_back(words: list[str]) -> None:
    for kind in KINDS:
        assert trained(kind).decode(trained(kind).encode(" ".join(words))) == " ".join(words)


TRAINED: dict[str, CTCTokenizer] = {}


def trained(kind: str) -> CTCTokenizer:
    if kind not in TRAINED:
        TRAINED[kind] = CTCTokenizer.train(TEXTS, kind, vocab_size=60)
    return TRAINED[kind]


@settings(max_examples=60)
@given(texts=st.lists(st.text(CHARACTERS, min_size=1, max_size=9), min_size=1, max_size=5))
@EVERY_KIND
def test_whatever_it_was_trained_on_comes_back(kind: str, texts: list[str]) -> None:
    tokenizer = CTCTokenizer.train(texts, kind, vocab_size=30)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == texts
    assert tokenizer.check_round_trip(texts) == 0.0


def test_what_is_unknown_is_shown_and_counted(tokenizer: CTCTokenizer) -> None:
    assert "⁇" in tokenizer.decode(tokenizer.encode("một zzz"))
    with pytest.raises(TrainingError, match="unknown to the tokenizer"):
        tokenizer.check_round_trip(["zzz"], limit=0.4)
    assert tokenizer.check_round_trip(["một zzz"], limit=1.0) > 0


@pytest.mark.parametrize(("kind", "text", "shown"), [
    ("word", "một zzz ba", "một ⁇ ba"), ("word", "zzz zzz", "⁇ ⁇"), ("word", "mộtx", "⁇"), ("char", "một zz ba", "một ⁇⁇ ba"),
    ("char", "mộzt", "mộ⁇t"), ("bpe", "một z ba", "một ⁇ ba"), ("bpe", "zmột", "⁇một"), ("unigram", "một z ba", "một ⁇ ba"),
    ("unigram", "zmột", "⁇một")])
def test_unknowns_stand_where_they_were_said(kind: str, text: str, shown: str) -> None:
    assert trained(kind).decode(trained(kind).encode(text)) == shown


def test_blank_and_unknown_have_their_ids_and_blanks_are_silent(tokenizer: CTCTokenizer) -> None:
    ids = tokenizer.encode("một hai")
    assert tokenizer.decode([BLANK_ID, *ids, BLANK_ID]) == "một hai"
    assert tokenizer.decode([]) == "" and tokenizer.encode("") == []
    assert min(ids) > UNKNOWN_ID and max(ids) < tokenizer.vocab_size


def test_it_comes_back_from_its_file_and_opens_with_hugging_face(tokenizer: CTCTokenizer, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer.save(tmp_path)
    again = CTCTokenizer.load(tmp_path)
    assert again.to_json() == tokenizer.to_json() == CTCTokenizer.from_json(tokenizer.to_json()).to_json()
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("một hai").ids == tokenizer.encode("một hai")
    with pytest.raises(SourceError, match=r"has no tokenizer\.json"):
        CTCTokenizer.load(tmp_path / "nowhere")


@EVERY_KIND
def test_the_same_text_makes_the_same_tokenizer_in_any_process(kind: str) -> None:
    script = (f"from utterloom.text.tokenizers import CTCTokenizer; import hashlib\n"
              f"print(hashlib.sha256(CTCTokenizer.train({TEXTS!r} * 20, {kind!r}, 60).to_json().encode()).hexdigest())")
    said = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(said) == 1


def test_the_vocabulary_has_a_limit_for_bpe_and_covers_every_character() -> None:
    assert CTCTokenizer.train(TEXTS * 50, "bpe", 80).vocab_size <= 80
    assert CTCTokenizer.train(TEXTS, "bpe", 4).check_round_trip(TEXTS) == 0.0


@pytest.mark.parametrize("text", ["▅", "\ue000 \ue001", "⁇", "a", "<s> </s> <pad>", "x" * 20_000, "a\u0301 \U0001f600", "0" * 99])
def test_no_text_is_too_odd_for_unigram(text: str) -> None:
    assert CTCTokenizer.train([text], "unigram", 40).check_round_trip([text]) == 0.0


def test_coverage_says_what_a_vocabulary_lacks() -> None:
    """B-P24: f, j, w and z were unknown, and nobody saw it."""
    coverage = CTCTokenizer.train(["một hai ba", "năm"], "char").coverage(["một hai", "wifi zalo ba", "ba wz"])
    assert (coverage.num_words, coverage.num_words_unknown, coverage.example) == (7, 3, "wifi zalo ba")
    assert coverage.unknown_characters == {"w": 2, "z": 2, "f": 1, "l": 1, "o": 1}
    assert coverage.num_unknown == 7 and coverage.unknown_rate == pytest.approx(7 / coverage.num_tokens)
    assert coverage.word_coverage == pytest.approx(4 / 7) and coverage.num_used <= coverage.vocab_size
    nothing = CTCTokenizer.train(["a"], "word").coverage([])
    assert (nothing.unknown_rate, nothing.word_coverage, nothing.example) == (0.0, 1.0, None)


def test_the_first_text_that_does_not_come_back_is_named(tokenizer: CTCTokenizer) -> None:
    """E-P14, at start-up."""
    with pytest.raises(TrainingError, match=r"first in 'zzz một'"):
        tokenizer.check_round_trip(["một hai", "zzz một", "zzz"], limit=0.1)
    with pytest.raises(TrainingError, match="does not give back its own text: 'một▁hai'"):
        trained("char").check_round_trip(["một hai", "một▁hai"])


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_an_error(texts: list[str]) -> None:
    with pytest.raises(TrainingError, match="no text"):
        CTCTokenizer.train(texts)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="'wordpiece' does not exist"):
        CTCTokenizer.train(TEXTS, "wordpiece")


def test_a_tokenizer_that_does_not_give_back_its_text_is_caught() -> None:
    """E-P14: the word delimiter of the vocabulary was not that of the text; two days were lost."""
    broken = CTCTokenizer.from_json(trained("char").to_json().replace('"▁"', '"|"'))
    with pytest.raises(TrainingError):
        broken.check_round_trip(TEXTS)


# --------------------------------------------------------------------------------------------------- frames


@given(ids=st.lists(st.integers(1, 4), max_size=10), repeats=st.data())
def test_greedy_decoding_gives_back_ids_that_were_spread_over_frames(ids: list[int], repeats: st.DataObject) -> None:
    frames: list[int] = []
    for position, token in enumerate(ids):
        is_doubled = position > 0 and ids[position - 1] == token
        frames += [BLANK_ID] * repeats.draw(st.integers(int(is_doubled), 2)) + [token] * repeats.draw(st.integers(1, 3))
    frames += [BLANK_ID] * repeats.draw(st.integers(0, 2))
    assert greedy_ctc(np.array(frames, dtype=np.int64)) == ids
    assert len(frames) >= ctc_frames_needed(ids)


@pytest.mark.parametrize(("ids", "frames"), [([], 0), ([3], 1), ([3, 4], 2), ([3, 3], 3), ([3, 3, 3, 4], 6)])
def test_equal_neighbours_need_a_blank_between_them(ids: list[int], frames: int) -> None:
    assert ctc_frames_needed(ids) == frames

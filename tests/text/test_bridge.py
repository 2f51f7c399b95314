"""Tokens have the time of the words that they stand on, and none where they stand on none (Must show 4 of the layers)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from utterloom.core.timing import FrameGrid
from utterloom.text.bridge import (
    Span,
    TimedWord,
    places_of,
    read_tokens,
    states_on_grid,
    token_characters,
    token_windows,
    windows_s,
    words_in,
)

LINES = {
    "latin": "xin chào thế giới tiếng Việt rất đẹp Đường phố naïve CAFÉ don't well-known Straße ﬁnd İstanbul",
    "cyrillic": "привет мир Это ёлка Њујорк й",
    "greek": "γειά σου Κόσμε ΐ Ὀδυσσεύς",
    "arabic": "مرحبا بالعالم اللُّغَةُ العَرَبِيَّة",
    "devanagari": "नमस्ते दुनिया हिन्दी क्षेत्र",
    "han": "你好世界 我们 学习 中文 機器",
    "others": "こんにちは ヴァイオリン สวัสดี น้ำ 안녕하세요",
}
ODD = ["3", "2024", "$5", "½", "٣", "😀", "👩‍🚀", "🇻🇳", "…", "--", ",", "?!", "<s>", "</s>", "[UNK]", "\u200d", "▁", "«да»", "(a)"]
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>"]


def training_lines() -> list[str]:
    return [line for text in LINES.values() for line in (text, unicodedata.normalize("NFD", text))] + [" ".join(ODD)]


def byte_level(trim: bool, add_space: bool, normalizer: Any = None, words: bool | str = True) -> Tokenizer:
    """Byte-level BPE, as GPT-2 has it; as Llama 3 and Qwen, with a pattern of `words`; with `words=False` tokens may span words."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_space, use_regex=words is True)
    if isinstance(words, str):
        inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), inner.pre_tokenizer])
    if normalizer is not None:
        inner.normalizer = normalizer
    inner.train_from_iterator(training_lines() * 3, trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIAL, show_progress=False))
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=add_space)
    return inner


def unigram(words: bool = True) -> Tokenizer:
    """As sentencepiece has it: spaces become marks, letters are composed and made compatible."""
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(split=words)
    inner.train_from_iterator(training_lines() * 3, trainers.UnigramTrainer(
        vocab_size=400, unk_token="<unk>", special_tokens=SPECIAL, show_progress=False))
    inner.decoder = decoders.Metaspace()
    return inner


def unigram_and_bytes() -> Tokenizer:
    """One that knows small letters, and spells the rest in bytes."""
    letters = ["▁", "▁xin", *"abcdefghijklmnopqrstuvwxyzάώпривет"]
    vocabulary = [(token, 0.0) for token in SPECIAL] + [(letter, -5.0) for letter in letters]
    vocabulary += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    inner = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=True))
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return inner


def word_piece() -> Tokenizer:
    """As BERT has it: small letters without accents, so that the normal form's places are not the text's."""
    inner = Tokenizer(models.WordPiece(unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.train_from_iterator(training_lines() * 3, trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=SPECIAL, show_progress=False))
    inner.decoder = decoders.WordPiece()
    return inner


TOKENIZERS = {
    "bpe": lambda: byte_level(trim=False, add_space=False),
    "bpe-trimmed": lambda: byte_level(trim=True, add_space=False),
    "bpe-space": lambda: byte_level(trim=False, add_space=True),
    "bpe-nfc": lambda: byte_level(trim=False, add_space=False, normalizer=normalizers.NFC(), words=" ?\\p{L}+| ?[^\\s\\p{L}]|\\s+"),
    "bpe-over-words": lambda: byte_level(trim=False, add_space=False, words=False),
    "unigram": unigram,
    "unigram-over-words": lambda: unigram(words=False),
    "unigram-bytes": unigram_and_bytes,
    "wordpiece": word_piece,
}
EVERY_TOKENIZER = pytest.mark.parametrize("name", TOKENIZERS)


@cache
def tokenizer(name: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    inner = TOKENIZERS[name]()
    first, last = (inner.token_to_id(token) for token in ("<s>", "</s>"))
    around = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", first), ("</s>", last)])
    inner.post_processor = processors.Sequence([inner.post_processor, around]) if inner.post_processor else around
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def words_of(line: str) -> st.SearchStrategy[str]:
    """Words of a script, and any string of its letters and marks, composed or not."""
    letters = sorted({letter for letter in line + unicodedata.normalize("NFD", line) if not letter.isspace()})
    return st.one_of(st.sampled_from(line.split()), st.text(st.sampled_from(letters), min_size=1, max_size=6))


@st.composite
def texts(draw: st.DrawFn) -> str:
    word = st.one_of(*(words_of(line) for line in LINES.values()), st.sampled_from(ODD))
    parts = draw(st.lists(st.tuples(word, st.sampled_from([" ", " ", " ", "", "  ", "\u00a0", "\t", ", ", ". "])), max_size=8))
    text = draw(st.sampled_from(["", " ", "  "])) + "".join(word + space for word, space in parts)
    return unicodedata.normalize(form, text) if (form := draw(st.sampled_from([None, "NFC", "NFD"]))) else text


@st.composite
def timed_texts(draw: st.DrawFn) -> tuple[str, list[TimedWord]]:
    """A text, and its words, of which some have no time; now and then silence lies between two."""
    text = draw(texts())
    words = []
    now = draw(st.integers(0, 50))
    for first, stop in words_in(text):
        if draw(st.sampled_from([True, True, False])):
            length = draw(st.integers(1, 5000))
            words.append(TimedWord(first, stop, now, now + length))
            now += length + draw(st.sampled_from([0, 0, 160, 8000]))
        else:
            words.append(TimedWord(first, stop))
    return text, words


# --- must show 4 ------------------------------------------------------------------------------------------------------


@EVERY_TOKENIZER
@settings(max_examples=40, deadline=None)
@given(case=timed_texts())
def test_a_token_has_the_time_of_its_words(name: str, case: tuple[str, list[TimedWord]]) -> None:
    """A11, A-P1, A-P18: within its words' windows, never back in time, null without a timed word, and no timed word lost."""
    text, words = case
    tokens = read_tokens(tokenizer(name), text)
    shared, split = (token_windows(tokens.characters, words, way) for way in ("share", "split"))
    assert tokens.is_special[0] and tokens.is_special[-1] and len(shared) == len(split) == len(tokens.ids)
    covered = set()
    for characters, is_special, window, part in zip(tokens.characters, tokens.is_special, shared, split, strict=True):
        held = set() if characters is None else set(range(*characters))
        standing = [word for word in words if held & set(range(word.first_char, word.stop_char)) and word.window]
        assert not (is_special and characters)
        if not standing:
            assert window is None and part is None
            continue
        assert window == (standing[0].start_sample, standing[-1].stop_sample) and window[0] < window[1]
        assert part is not None and window[0] <= part[0] <= part[1] <= window[1]
        covered.update(standing)
    for windows in (shared, split):
        timed = [window for window in windows if window is not None]
        assert all(left[0] <= right[0] and left[1] <= right[1] for left, right in pairwise(timed))
    for word in words:
        if word.window and any(character.isalnum() for character in text[word.first_char:word.stop_char]):
            assert word in covered, f"{text[word.first_char:word.stop_char]!r} is lost"


@EVERY_TOKENIZER
@settings(max_examples=20, deadline=None)
@given(case=timed_texts())
def test_parts_of_a_word_are_all_of_it(name: str, case: tuple[str, list[TimedWord]]) -> None:
    """Tokens that split a word partition its window: the last of one word ends it, and the next of the same word goes on there."""
    text, words = case
    characters = read_tokens(tokenizer(name), text).characters
    windows = token_windows(characters, words, "split")
    for word in words:
        held = set(range(word.first_char, word.stop_char))
        spans = [span for span in characters if span and held & set(range(*span))]
        standing = [window for span, window in zip(characters, windows, strict=True) if span in spans and window]
        if word.window is None or not standing:
            continue
        assert standing[0][0] <= word.window[0] and standing[-1][1] >= word.window[1]
        if any(left == right and not held >= set(range(*left)) for left, right in pairwise(spans)):
            continue  # several tokens that each stand for all of several words: nobody knows which for which
        assert all(left[1] == right[0] for left, right in pairwise(standing))


@EVERY_TOKENIZER
@settings(max_examples=20, deadline=None)
@given(case=timed_texts(), more=st.integers(0, 5))
def test_padding_has_no_time_on_either_side(name: str, case: tuple[str, list[TimedWord]], more: int) -> None:
    """A-P12: whatever stands before or behind, the text's own tokens have the same windows, and padding has none."""
    text, words = case
    alone = read_tokens(tokenizer(name), text)
    wanted = token_windows(alone.characters, words)
    length = len(alone.ids) + more
    for side in ("left", "right"):
        read = tokenizer(name)(text, padding="max_length", max_length=length, padding_side=side, return_offsets_mapping=True,
                               return_special_tokens_mask=True, split_special_tokens=True)
        pieces = [tokenizer(name).decode([number]) for number in read["input_ids"]]
        spans = token_characters(text, read["offset_mapping"], pieces, read["special_tokens_mask"])
        windows = token_windows(spans, words)
        is_text = np.array(read["attention_mask"], bool)
        assert [window for window, is_kept in zip(windows, is_text, strict=True) if is_kept] == wanted
        assert not any(window for window, is_kept in zip(windows, is_text, strict=True) if not is_kept)


@settings(max_examples=40, deadline=None)
@given(text=texts())
def test_places_are_those_of_the_text_as_it_was_given(text: str) -> None:
    """Byte-level pieces give their characters back; WordPiece's are the text's own behind small letters without accents."""
    for name in ("bpe", "bpe-space", "bpe-trimmed", "bpe-over-words"):
        tokens = read_tokens(tokenizer(name), text)
        for number, span in zip(tokens.ids, tokens.characters, strict=True):
            piece = tokenizer(name).decode([number])
            if span is not None and "\ufffd" not in piece:
                assert text[slice(*span)].strip(" ") == piece.strip(" ")
    tokens = read_tokens(tokenizer("wordpiece"), text)
    pieces = tokenizer("wordpiece").convert_ids_to_tokens(tokens.ids)
    for piece, span in zip(pieces, tokens.characters, strict=True):
        if span is not None and piece != "<unk>":
            plain = "".join(letter for letter in unicodedata.normalize("NFD", text[slice(*span)]).lower()
                            if unicodedata.category(letter) not in ("Mn", "Cf", "Cc"))
            assert piece.removeprefix("##") in plain  # in: a Hangul syllable is several pieces


@settings(max_examples=100, deadline=None)
@given(text=texts())
def test_words_are_all_of_the_text_but_its_spaces(text: str) -> None:
    words = words_in(text)
    assert "".join(text[slice(*word)] for word in words) == "".join(text.split())
    assert all(left[1] <= right[0] for left, right in pairwise(words)) and all(first < stop for first, stop in words)
    assert places_of([text[slice(*word)] for word in words], text) == words
    assert not any(letter.isspace() for word in words for letter in text[slice(*word)])


# --- single cases -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "words"), [
    ("", []), ("  ", []), ("hello,  world !", ["hello,", "world", "!"]), ("well-known don't", ["well-known", "don't"]),
    ("你好，世界。", ["你", "好，", "世", "界。"]), ("他说：「你好」", ["他", "说：", "「你", "好」"]),
    ("iPhone手机2024年", ["iPhone", "手", "机", "2024", "年"]), ("น้ำ", ["น้ำ"]), ("ดีเ", ["ดี", "เ"]),
    ("か\u3099き", ["か\u3099", "き"]), ("안녕 세상", ["안녕", "세상"]), ("😀 ok", ["😀", "ok"]),
    ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"])])
def test_known_words(text: str, words: list[str]) -> None:
    assert [text[slice(*span)] for span in words_in(text)] == words


def test_a_token_over_two_words_has_both_windows() -> None:
    """A-P18: it had only the first word's."""
    words = [TimedWord(0, 2, 100, 200), TimedWord(3, 6, 300, 600)]
    assert token_windows([(0, 4), (4, 6)], words) == [(100, 600), (300, 600)]
    assert token_windows([(0, 4), (4, 6)], words, "split") == [(100, 400), (400, 600)]


def test_pieces_of_a_character_split_it() -> None:
    """A-P18: three bytes of 世 and then 界 as one token; a budget of characters went astray here."""
    words = [TimedWord(0, 1, 0, 300), TimedWord(1, 2, 300, 500)]
    tokens: list[Span | None] = [(0, 1), (0, 1), (0, 1), (1, 2)]
    assert token_windows(tokens, words) == [(0, 300), (0, 300), (0, 300), (300, 500)]
    assert token_windows(tokens, words, "split") == [(0, 100), (100, 200), (200, 300), (300, 500)]


@pytest.mark.parametrize("text", ["ヴァイオリン", "ve\u0323\u0302ヴ", "ﾊﾞｲｵ", "ヴ\u1112\u1161\u11abヴ"])
def test_bytes_of_unknown_characters_are_each_ones_own(text: str) -> None:
    """A tokenizer that falls back to bytes gives those of a whole unknown stretch one span."""
    tokens = read_tokens(tokenizer("unigram-bytes"), text)
    spans = [span for span in tokens.characters if span]
    assert len(set(spans)) > 1 and spans[0][0] == 0 and spans[-1][1] == len(text)
    assert all(left == right or left[1] == right[0] for left, right in pairwise(spans))


def test_what_stands_on_no_timed_word_has_no_time() -> None:
    """A-P1: null, not zero. Token by token: a special one, a word without time, a space, a mark alone, a word."""
    words = [TimedWord(0, 2), TimedWord(3, 4), TimedWord(5, 8, 1600, 3200)]
    windows = token_windows([None, (0, 2), (2, 3), (3, 4), (4, 8)], words)
    assert windows == [None, None, None, None, (1600, 3200)]
    times_s = windows_s(windows, 16_000)
    assert np.isnan(times_s[:4]).all() and times_s[4].tolist() == [0.1, 0.2] and times_s.shape == (5, 2)
    assert windows_s([], 16_000).shape == (0, 2)
    assert token_windows([(0, 2), None], []) == [None, None]


def test_words_of_one_number_are_one_word() -> None:
    """"$5" is read "five dollars": both words stand on it, crossing; "23" has two words on the same characters."""
    words = [TimedWord(1, 2, 0, 100), TimedWord(0, 1, 120, 300), TimedWord(3, 5, 300, 400), TimedWord(3, 5, 400, 500),
             TimedWord(6, 9)]
    assert token_windows([(0, 1), (1, 2), (3, 5), (6, 9)], words) == [(0, 300), (0, 300), (300, 500), None]
    assert token_windows([(0, 1), (1, 2)], words, "split") == [(0, 150), (150, 300)]


def test_a_space_put_before_the_text_stands_for_nothing() -> None:
    """Though a tokenizer gives it the place of the first letter, it has no share of the first word."""
    for name in ("bpe-space", "unigram"):
        tokens = read_tokens(tokenizer(name), "zebra")
        assert tokenizer(name).convert_ids_to_tokens(tokens.ids)[1] in ("Ġ", "▁") and tokens.characters[1] is None
        assert token_windows(tokens.characters, [TimedWord(0, 5, 0, 500)], "split")[1:3] == [None, (0, 100)]


def test_pieces_that_a_library_leaves_without_a_place_have_their_characters() -> None:
    broken = "\ufffd"
    assert token_characters("a 世", [(0, 1), (1, 3), (3, 3), (3, 3)], ["a", f" {broken}", broken, broken], [False] * 4) == [
        (0, 1), (1, 3), (2, 3), (2, 3)]
    assert token_characters("a 世", [(0, 1), (2, 2), (2, 3)], ["a", broken, broken], [False] * 3) == [(0, 1), (2, 3), (2, 3)]
    assert token_characters("世", [(0, 9), (1, 1), (1, 1)], ["世", "", "</x>"], [False] * 3) == [(0, 1), None, None]


def test_special_tokens_spelt_in_a_text_are_text() -> None:
    tokens = read_tokens(tokenizer("bpe"), "say </s> now")
    assert tokens.is_special == [True, *[False] * (len(tokens.ids) - 2), True]
    assert places_of(["say", "</s>", "now"], "say </s> now") == [(0, 3), (4, 8), (9, 12)]


@pytest.mark.parametrize(("words", "text"), [(["a"], "a b"), (["a", "b"], "a"), (["b"], "a"), ([""], "a"), (["ab"], "a b")])
def test_words_of_another_text_have_no_places(words: list[str], text: str) -> None:
    """A-P2."""
    assert places_of(words, text) is None


@pytest.mark.parametrize("words", [
    [TimedWord(0, 1, 100, 50)], [TimedWord(0, 1, 100, 200), TimedWord(2, 3, 50, 300)],
    [TimedWord(0, 1, 0, 200), TimedWord(2, 3, 50, 100)], [TimedWord(0, 1, -1, 5)],
    [TimedWord(1, 1, 0, 5)], [TimedWord(0, 1, 3, None)]])
def test_words_that_go_back_are_refused(words: list[TimedWord]) -> None:
    with pytest.raises(ValueError, match=r"is no word|a word is spoken in"):
        token_windows([(0, 1)], words)


def test_tokens_that_go_back_are_refused() -> None:
    words = [TimedWord(0, 1, 0, 10), TimedWord(2, 3, 10, 20)]
    with pytest.raises(ValueError, match="not in the order"):
        token_windows([(2, 3), (0, 1)], words)


def test_a_tokenizer_that_knows_no_places_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="Slow is no fast tokenizer"):
        read_tokens(Slow(), "a")


# --- states on frames -------------------------------------------------------------------------------------------------

MIMI = FrameGrid(24_000, 1920)


def on_grid_slowly(states: np.ndarray, windows: Sequence[Span | None], rate_hz: int, grid: FrameGrid, num_frames: int,
                   rule: str) -> np.ndarray:
    """The mean as it is defined, frame by frame."""
    found = np.full((num_frames, states.shape[1]), np.nan)
    for frame in range(num_frames):
        start, stop = (at / grid.rate * rate_hz for at in (frame, frame + 1))
        weights = []
        for window in windows:
            if window is None:
                weights.append(0.0)
            elif rule == "mean":
                weights.append(float(max(0, min(stop, window[1]) - max(start, window[0]))))
            else:
                weights.append(float(window[0] <= (start + stop) / 2 < window[1]))
        if sum(weights):
            found[frame] = np.average(states, axis=0, weights=weights)
    return found


@settings(deadline=None)
@given(words=st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 9000), st.integers(1, 3), st.booleans()), max_size=8),
       rate=st.sampled_from([8_000, 16_000, 22_050, 44_100]), grid=st.sampled_from([MIMI, FrameGrid(16_000, 320)]),
       num_frames=st.integers(0, 60), rule=st.sampled_from(["mean", "centre"]))
def test_states_on_frames_are_means(words: list[tuple[int, int, int, bool]], rate: int, grid: FrameGrid, num_frames: int,
                                    rule: Any) -> None:
    """A13, by prefix sums as by definition; a frame without a token is a gap (A-P16)."""
    windows: list[Span | None] = []
    now = 0
    for gap, length, tokens, has_time in words:
        windows += [(now + gap, now + gap + length) if has_time else None] * tokens
        now += gap + length
    states = np.random.default_rng(len(windows)).normal(size=(len(windows), 4)).astype(np.float16)
    found, has_state = states_on_grid(states, windows, rate, grid, num_frames, rule)
    np.testing.assert_allclose(found, on_grid_slowly(states, windows, rate, grid, num_frames, rule), rtol=1e-4, atol=1e-5)
    assert (has_state == ~np.isnan(found).any(axis=1)).all() and found.dtype == np.float32


def test_silence_is_a_gap_between_states() -> None:
    states = np.array([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]])
    windows: list[Span | None] = [(0, 1280), (1280, 1920), None]
    found, has_state = states_on_grid(states, windows, 16_000, MIMI, 4)
    assert found[:2].tolist() == [[1, 2], [3, 6]] and has_state.tolist() == [True, True, False, False] and np.isnan(found[2:]).all()
    found, has_state = states_on_grid(states, windows, 16_000, MIMI, 4, "centre")
    assert found[:1].tolist() == [[1, 2]] and has_state.tolist() == [True, False, False, False]


def test_the_end_of_an_hour_is_as_exact_as_its_start() -> None:
    """Prefix sums lose nothing that fp16 would show."""
    windows: list[Span | None] = [(number * 4800, number * 4800 + 4000) for number in range(12_000)]
    states = np.random.default_rng(0).normal(size=(12_000, 2)) * np.array([1.0, 1e4])
    found, _ = states_on_grid(states, windows, 16_000, MIMI, 45_000)
    minute: list[Span | None] = [(number * 4800, number * 4800 + 4000) for number in range(200)]
    np.testing.assert_allclose(found[-750:], on_grid_slowly(states[-200:], minute, 16_000, MIMI, 750, "mean"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("states", "windows", "message"), [
    (np.ones((2, 3)), [(0, 5)], "2 states, but 1 windows"), (np.array([[np.inf]]), [(0, 5)], "not finite"),
    (np.array([[np.nan]]), [(0, 5)], "not finite")])
def test_states_that_cannot_be_right_are_refused(states: np.ndarray, windows: list[Span | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        states_on_grid(states, windows, 16_000, MIMI, 3)

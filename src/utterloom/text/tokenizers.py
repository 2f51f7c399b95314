"""Tokenizers for CTC: Hugging Face `tokenizers` files, with id 0 for the blank and id 1 for the unknown.

Words are marked by "▁" at their start, so that text comes back exactly from its tokens.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from utterloom.core.errors import ConfigError, MissingPackageError, SourceError, TrainingError

BLANK, UNKNOWN = "<blank>", "<unk>"
WORD_START = "▁"
BLANK_ID, UNKNOWN_ID = 0, 1
KINDS = ("bpe", "unigram", "char", "word")
FILE_NAME = "tokenizer.json"
NEVER_CHOSEN = -10_000.0  # the score of <blank> and <unk> in a unigram model: spelling them out is always likelier


@dataclass(frozen=True)
class Coverage:
    """What a vocabulary knows of some texts. Rates are fractions, and 0 where there is nothing to count."""

    num_tokens: int
    num_unknown: int
    num_words: int
    num_words_unknown: int
    """words with an unknown in them"""
    num_used: int
    """different tokens that occur, of `vocab_size`"""
    vocab_size: int
    unknown_characters: dict[str, int]
    """characters that the vocabulary has no token for, the most frequent first"""
    example: str | None
    """the first text with an unknown"""

    @property
    def unknown_rate(self) -> float:
        return self.num_unknown / self.num_tokens if self.num_tokens else 0.0

    @property
    def word_coverage(self) -> float:
        return 1 - self.num_words_unknown / self.num_words if self.num_words else 1.0


class CTCTokenizer:
    """Text ↔ ids. Wraps one `tokenizers.Tokenizer`, whose file opens with any Hugging Face tool."""

    def __init__(self, inner: object) -> None:
        from tokenizers import Tokenizer

        assert isinstance(inner, Tokenizer)
        self._inner = inner
        # Where "▁" is no token of its own, every token is a word, and so is what is unknown.
        self._unknown = "⁇" if inner.token_to_id(WORD_START) is not None else f"{WORD_START}⁇"

    @classmethod
    def train(cls, texts: Iterable[str], kind: str = "bpe", vocab_size: int = 160) -> CTCTokenizer:
        """From normalised texts. `vocab_size` is an upper limit for `bpe` and `unigram`; `char` and `word` take what is there.

        `bpe` is byte-pair encoding over characters (Sennrich et al., 2016), `unigram` the likeliest split under a unigram language
        model (Kudo, 2018). Raises ConfigError for an unknown kind, TrainingError without text,
        and MissingPackageError when sentencepiece is not there for `unigram`.
        """
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        texts = list(texts)
        if kind not in KINDS:
            raise ConfigError(f"tokenizer kind {kind!r} does not exist", f"choose from: {', '.join(KINDS)}")
        if not any(texts):
            raise TrainingError("no text to make a tokenizer from: every utterance of the training split is without text")
        if kind == "bpe":
            inner = Tokenizer(models.BPE(unk_token=UNKNOWN))
            inner.pre_tokenizer = pre_tokenizers.Metaspace()
            characters = len({character for text in texts for character in text}) + 3
            inner.train_from_iterator(texts, trainers.BpeTrainer(
                vocab_size=max(vocab_size, characters), special_tokens=[BLANK, UNKNOWN], show_progress=False))
            # They keep their ids 0 and 1; but a transcript that says "<blank>" is text.
            inner = Tokenizer.from_str(json.dumps({**json.loads(inner.to_str()), "added_tokens": []}))
        elif kind == "unigram":
            inner = _unigram(texts, vocab_size)
        else:
            pieces = Counter(piece for text in texts for word in text.split()
                             for piece in ([f"{WORD_START}{word}"] if kind == "word" else [WORD_START, *word]))
            vocabulary = [BLANK, UNKNOWN, *sorted(pieces)]
            inner = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(vocabulary)}, unk_token=UNKNOWN))
            split = pre_tokenizers.Metaspace()
            inner.pre_tokenizer = split if kind == "word" else pre_tokenizers.Sequence(
                [split, pre_tokenizers.Split("", "isolated")])
        inner.decoder = decoders.Metaspace()
        return cls(inner)

    @classmethod
    def load(cls, folder: Path) -> CTCTokenizer:
        from tokenizers import Tokenizer

        path = folder / FILE_NAME
        if not path.is_file():
            raise SourceError(f"{folder} has no {FILE_NAME}", "is it a model folder that utterloom trained?")
        return cls(Tokenizer.from_file(str(path)))

    def save(self, folder: Path) -> None:
        self._inner.save(str(folder / FILE_NAME))

    def to_json(self) -> str:
        return self._inner.to_str()

    @classmethod
    def from_json(cls, text: str) -> CTCTokenizer:
        from tokenizers import Tokenizer

        return cls(Tokenizer.from_str(text))

    @property
    def vocab_size(self) -> int:
        return self._inner.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids without blanks → text. Unknowns are shown as ⁇, never left out in silence."""
        pieces = [self._unknown if number == UNKNOWN_ID else self._inner.id_to_token(number) or "" for number in ids
                  if number != BLANK_ID]
        return "".join(pieces).replace(WORD_START, " ").strip()

    def check_round_trip(self, texts: Iterable[str], limit: float = 0.0) -> float:
        """The share of tokens that are unknown. Raises TrainingError, naming the text, for the first that does not come back, or
        when more than `limit` is unknown (E-P14)."""
        unknown = total = 0
        example = None
        for text in texts:
            ids = self.encode(text)
            total += len(ids)
            unknown += ids.count(UNKNOWN_ID)
            if UNKNOWN_ID in ids:
                example = text if example is None else example
            elif (back := self.decode(ids)) != text:
                raise TrainingError(f"the tokenizer does not give back its own text: {text!r} → {back!r}",
                                    "this is a fault of the tokenizer, not of the data; training on it would be worthless")
        rate = unknown / total if total else 0.0
        if rate > limit:
            raise TrainingError(f"{100 * rate:.2f} % of the tokens are unknown to the tokenizer, more than {100 * limit:.2f} %, "
                                f"first in {example!r} → {self.decode(self.encode(example or ''))!r}",
                                "was it made from another corpus or another text view?")
        return rate

    def coverage(self, texts: Iterable[str]) -> Coverage:
        """What the vocabulary knows of `texts`: unknown rate, words without an unknown, characters that it lacks (B-P24)."""
        used: set[int] = set()
        counts: Counter[str] = Counter()
        num_tokens = num_unknown = 0
        example = None
        for text in texts:
            counts.update(text.split())
            ids = self.encode(text)
            num_tokens += len(ids)
            num_unknown += ids.count(UNKNOWN_ID)
            used.update(ids)
            if example is None and UNKNOWN_ID in ids:
                example = text
        unknown_words = {word: count for word, count in counts.items() if UNKNOWN_ID in self.encode(word)}
        characters: Counter[str] = Counter()
        for word, count in unknown_words.items():
            for character in word:
                characters[character] += count
        lacking = {character: count for character, count in characters.most_common()
                   if self._inner.token_to_id(character) is None and UNKNOWN_ID in self.encode(character)}
        return Coverage(num_tokens, num_unknown, counts.total(), sum(unknown_words.values()), len(used - {UNKNOWN_ID}),
                        self.vocab_size, dict(sorted(lacking.items(), key=lambda item: (-item[1], item[0]))), example)


def _unigram(texts: list[str], vocab_size: int) -> Any:
    """Trained by sentencepiece, which gives the same pieces for the same texts; the trainer in `tokenizers` does not."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = _unigram_pieces(texts, vocab_size)
    inner = Tokenizer(models.Unigram([(BLANK, NEVER_CHOSEN), (UNKNOWN, NEVER_CHOSEN), *pieces], UNKNOWN_ID, False))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return inner


def _unigram_pieces(texts: list[str], vocab_size: int) -> list[tuple[str, float]]:
    """Pieces and their log probabilities, best first; every character of the texts is one."""
    try:
        import sentencepiece
    except ImportError:
        raise MissingPackageError("sentencepiece", "text", "a unigram tokenizer") from None
    characters = sorted({character for text in texts for character in text if character != " "} | {WORD_START})
    usable = [text for text in texts if "▅" not in text and text.strip()]  # sentencepiece marks its own borders with it
    if not usable:
        return [(character, -1.0) for character in characters]
    free = next(sign for sign in map(chr, range(0xE000, 0xF900)) if sign not in characters)  # its name for the unknown
    model = io.BytesIO()
    # One thread and no subsampling: the sums are then in one order. No control symbols, no normalisation: texts are normalised.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(usable), model_writer=model, model_type="unigram", character_coverage=1.0, hard_vocab_limit=False,
        vocab_size=max(vocab_size, len(characters) + 2) - 1, normalization_rule_name="identity", remove_extra_whitespaces=False,
        num_threads=1, max_sentence_length=1 << 24, bos_id=-1, eos_id=-1, pad_id=-1, unk_id=0, unk_piece=free, minloglevel=3)
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    scores = {trained.id_to_piece(number): trained.get_score(number) for number in range(1, trained.get_piece_size())}
    worst = min(scores.values(), default=0.0)
    scores = {piece: score for piece, score in scores.items() if piece not in (BLANK, UNKNOWN)}
    scores |= {character: worst - 1.0 for character in characters if character not in scores}
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def ctc_frames_needed(ids: Sequence[int]) -> int:
    """The fewest encoder frames that can carry these ids: one each, and a blank between equal neighbours."""
    return len(ids) + sum(1 for left, right in pairwise(ids) if left == right)

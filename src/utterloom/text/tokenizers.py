"""Tokenizers for CTC: Hugging Face `tokenizers` files, with id 0 for the blank and id 1 for the unknown.

Words are marked by "▁" at their start, so that text comes back exactly from its tokens.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from utterloom.core.errors import ConfigError, SourceError, TrainingError

BLANK, UNKNOWN = "<blank>", "<unk>"
WORD_START = "▁"
BLANK_ID, UNKNOWN_ID = 0, 1
KINDS = ("bpe", "char", "word")
FILE_NAME = "tokenizer.json"


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
        """From normalised texts. `vocab_size` is an upper limit for `bpe`; `char` and `word` take what is there."""
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
        """The share of characters that became unknown. Raises TrainingError when a text does not come back (E-P14)."""
        unknown = total = 0
        for text in texts:
            ids = self.encode(text)
            total += len(ids)
            unknown += ids.count(UNKNOWN_ID)
            if UNKNOWN_ID not in ids and (back := self.decode(ids)) != text:
                raise TrainingError(f"the tokenizer does not give back its own text: {text!r} → {back!r}",
                                    "this is a fault of the tokenizer, not of the data; training on it would be worthless")
        rate = unknown / total if total else 0.0
        if rate > limit:
            raise TrainingError(f"{100 * rate:.2f} % of the tokens are unknown to the tokenizer, more than {100 * limit:.2f} %",
                                "was it made from another corpus or another text view?")
        return rate


def ctc_frames_needed(ids: Sequence[int]) -> int:
    """The fewest encoder frames that can carry these ids: one each, and a blank between equal neighbours."""
    return len(ids) + sum(1 for left, right in pairwise(ids) if left == right)

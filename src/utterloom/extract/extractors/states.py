"""Hidden states of a causal language model for the text of each utterance, and when each token was spoken.

The text that is fed is the text that is timed (A-P2): word times come from a layer whose words know their characters in it, and
tokens take the time of the characters that they stand for (`text.bridge`). A token's states are the same alone and in any batch,
on whichever side it is padded (A-P12): padding is ours, masked, and never written into the text's own tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any, Literal, cast

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from utterloom.core.artifact import fingerprint
from utterloom.core.errors import ConfigError, CorpusError, SourceError, did_you_mean
from utterloom.extract.config import StatesConfig
from utterloom.extract.contract import Item, Plan
from utterloom.extract.extractors.device import device_for
from utterloom.models.hub import ModelFiles, load_config, load_whole, model_files, quiet_transformers, refuse_random
from utterloom.shards.layers import EMPTY, OK, Layer, LayerRow, LayerSpec
from utterloom.shards.reader import Corpus
from utterloom.text.bridge import Span, TimedWord, Tokens, places_of, read_tokens, token_windows

RAW = "raw"
DEFAULT_TOKENS = 4096
TEXTS_REMEMBERED = 1 << 15


class LanguageModel:
    """One hidden state of a causal language model of transformers. `layer` is counted from 0, the embedding; `dim` is its size."""

    def __init__(self, network: Any, tokenizer: Any, layer: int) -> None:
        """`layer` as transformers counts hidden states. Layers of the network above it are dropped. Raises ValueError where there
        is no such hidden state."""
        config = network.config.get_text_config()
        self.layer = hidden_state_of(config.num_hidden_layers, layer)
        self.dim = int(config.hidden_size)
        self.vocab_size = int(network.get_input_embeddings().num_embeddings)
        self.longest: int | None = getattr(config, "max_position_embeddings", None)
        """tokens that fit into its context; None: any number"""
        self.network, self.tokenizer = network.eval(), tokenizer
        self._takes_positions = "position_ids" in signature(network.forward).parameters
        _drop_layers(network, config.num_hidden_layers, self.layer + 1)

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self.network.device)

    def read(self, text: str) -> Tokens:
        """The tokens that a text is fed as."""
        return read_tokens(self.tokenizer, text)

    @torch.inference_mode()
    def states(self, batch: Sequence[Sequence[int]], padding_side: Literal["left", "right"] | None = None) -> list[np.ndarray]:
        """Ids of some texts, each of one token or more → as many float32 [tokens, dim]: equal alone and in any batch.

        The padding is on the tokenizer's own side unless another is asked for. Raises ValueError for ids that do not fit into the
        context, which is never cut.
        """
        if not batch:
            return []
        longest = max(len(ids) for ids in batch)
        if self.longest is not None and longest > self.longest:
            raise ValueError(f"{longest} tokens, but the context of the model has {self.longest}")
        side = padding_side or getattr(self.tokenizer, "padding_side", "right")
        # Where padding stands is masked, so it may be any id; one is needed only to have a number there.
        ids_bt = np.zeros((len(batch), longest), np.int64)
        is_text_bt = np.zeros((len(batch), longest), bool)
        for row, ids in enumerate(batch):
            where = slice(longest - len(ids), None) if side == "left" else slice(len(ids))
            ids_bt[row, where], is_text_bt[row, where] = ids, True
        inputs = {"input_ids": torch.from_numpy(ids_bt), "attention_mask": torch.from_numpy(is_text_bt.astype(np.int64))}
        if side == "left" and self._takes_positions:
            inputs["position_ids"] = torch.from_numpy(np.maximum(np.cumsum(is_text_bt, axis=1) - 1, 0))
        output = self.network(**{name: value.to(self.device) for name, value in inputs.items()}, output_hidden_states=True,
                              use_cache=False)
        states_btd = output.hidden_states[self.layer].float().cpu().numpy()
        return [states[is_text] for states, is_text in zip(states_btd, is_text_bt, strict=True)]


def hidden_state_of(num_layers: int, layer: int) -> int:
    """Which hidden state is meant, counted from 0. Raises ValueError naming those there are."""
    if not -num_layers - 1 <= layer <= num_layers:
        raise ValueError(f"hidden states are 0 to {num_layers}, which are also {-num_layers - 1} to -1")
    return layer % (num_layers + 1)


def _drop_layers(network: torch.nn.Module, num_layers: int, kept: int) -> None:
    """Leave out what lies above the hidden state that is wanted. One layer more is kept than it needs, since what comes out of the
    last has been through the final norm. Nothing is dropped where it is not plain which modules are the layers."""
    stacks = [module for module in network.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == num_layers]
    if len(stacks) == 1 and kept < num_layers:
        del stacks[0][kept:]


class StatesExtractor:
    """Utterances → a state and a time for each token of their text."""

    SCHEMA = StatesConfig
    sample_rate_hz: int | None = None
    default_batch: float = DEFAULT_TOKENS

    def __init__(self, model: LanguageModel, config: StatesConfig, producer: Mapping[str, Any]) -> None:
        self.model, self.config = model, config
        self.layers: Sequence[str] = [config.words] if config.words else []
        self.spec = LayerSpec("states", producer, dtype=config.dtype, dim=model.dim)
        self._read = lru_cache(TEXTS_REMEMBERED)(model.read)  # a text is read to know its length, and again to be fed

    @classmethod
    def plan(cls, config: StatesConfig, corpus: Corpus) -> Plan:
        """Raises ConfigError for a hidden state, text or layer of words that is not there, SourceError for such a model."""
        _check_text(config, corpus)
        identity = {"words_fingerprint": _word_times(config, corpus)}
        files = model_files(config.model, config.revision)
        tokenizer = _tokenizer(files, is_fetched=False)
        layer = _checked_layer(files, config.layer)
        return Plan(f"{files.short_name.lower()}.{layer}", {
            **identity, "model_fingerprint": files.fingerprint(), "tokenizer_fingerprint": _fingerprint_of(tokenizer)})

    @classmethod
    def open(cls, config: StatesConfig, corpus: Corpus) -> StatesExtractor:
        """Raises SourceError where the model cannot be opened or lacks weights."""
        files = model_files(config.model, config.revision, is_fetched=True)
        layer = _checked_layer(files, config.layer)
        network, missing = load_whole(AutoModel, files, dtype=getattr(torch, config.compute))
        model = LanguageModel(network, _tokenizer(files, is_fetched=True), layer)
        refuse_random(files, missing, {name for name, _ in network.named_parameters()})
        network.to(device_for(config.device))
        return cls(model, config, {
            "model": files.name, "commit": files.commit, "layer": layer, "text": config.text, "words": config.words,
            "within_word": config.within_word, "compute": config.compute})

    def size(self, item: Item) -> float:
        """Tokens of its text."""
        text = self._text(item)
        return float(len(self._read(text).ids)) if text and text.strip() else 0.0

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        """`ok` rows hold a state for each token that is fed; those without a time have null, and where none has one, `reason` says
        why. Texts that do not fit into the model's context are `failed`: nothing is cut."""
        rows: list[LayerRow | None] = [self._refusal(item) for item in items]
        kept = [number for number, row in enumerate(rows) if row is None]
        tokens = {number: self._read(self._text(items[number]) or "") for number in kept}
        for number, states in zip(kept, self.model.states([tokens[number].ids for number in kept]), strict=True):
            rows[number] = self._row(items[number], tokens[number], states)
        return [cast(LayerRow, row) for row in rows]

    def _text(self, item: Item) -> str | None:
        return item.text if self.config.text == RAW else item.view

    def _refusal(self, item: Item) -> LayerRow | None:
        """Why this utterance has no states; None where it has."""
        text = self._text(item)
        if text is None or not text.strip():
            return LayerRow(EMPTY, "no text")
        tokens, longest = self._read(text), self.model.longest
        num_tokens = len(tokens.ids)
        if all(tokens.is_special):
            return LayerRow(EMPTY, f"no token: the tokenizer leaves nothing of {text[:40]!r}")
        if max(tokens.ids) >= self.model.vocab_size:
            return LayerRow.failed(f"a token that the model does not know: {max(tokens.ids)}, where it has {self.model.vocab_size}")
        if longest is not None and num_tokens > longest:
            return LayerRow.failed(f"text longer than the model's context: {num_tokens} tokens, {longest} fit")
        return None

    def _row(self, item: Item, tokens: Tokens, states: np.ndarray) -> LayerRow:
        if not np.isfinite(states).all():
            return LayerRow.failed(f"states that are not finite: the model reckons in {self.config.compute}; try compute=float32")
        with np.errstate(over="ignore"):
            stored = states.astype(self.config.dtype)
        if not np.isfinite(stored).all():
            return LayerRow.failed(f"states too large for {self.config.dtype}: {np.abs(states).max():.0f}; set dtype=float32")
        windows: list[Span | None] = [None] * len(tokens.ids)
        reason = None
        if self.config.words is not None:
            try:
                words = self._words(item)
                windows = token_windows(tokens.characters, words, self.config.within_word)
                reason = None if any(windows) else "no token times: no token stands on a word that has one"
            except ValueError as error:
                reason = f"no token times: {error}"
        columns = {"token_ids": tokens.ids, "first_char": [span and span[0] for span in tokens.characters],
                   "stop_char": [span and span[1] for span in tokens.characters],
                   "start_sample": [window and window[0] for window in windows],
                   "stop_sample": [window and window[1] for window in windows]}
        return LayerRow(OK, reason, len(tokens.ids), columns, stored)

    def _words(self, item: Item) -> list[TimedWord]:
        """The words of the text that is fed, timed. Raises ValueError that says why there are none."""
        (row,) = item.layers.values()
        words = row.get("words") or []
        if row["status"] != OK or not words:
            raise ValueError(f"the words have none: {row['reason'] or row['status']}")
        if self.config.text == RAW:
            places: list[Span | None] = [None if word["first_char"] is None or word["stop_char"] is None
                                         else (word["first_char"], word["stop_char"]) for word in words]
        else:
            places = list(places_of([word["word"] for word in words], self._text(item) or "") or [])
        timed = [TimedWord(*place, word["start_sample"], word["stop_sample"])
                 for place, word in zip(places or [None] * len(words), words, strict=True) if place is not None]
        if not timed:
            raise ValueError("the words are of another text than the one that is fed")
        if any((word.stop_sample or 0) > item.num_samples or word.stop_char > len(self._text(item) or "") for word in timed):
            raise ValueError("the words go on after the utterance's end")
        return timed


def _check_text(config: StatesConfig, corpus: Corpus) -> None:
    known = [RAW, *corpus.views[:1]]
    if config.text not in known:
        raise ConfigError(f"text={config.text!r}: {corpus.url} has no such text", did_you_mean(config.text, known))


def _word_times(config: StatesConfig, corpus: Corpus) -> str | None:
    """The fingerprint of the layer of word times. Raises ConfigError where it is not there or holds something else."""
    if config.words is None:
        return None
    try:
        layer = Layer.of(corpus, config.words)
    except CorpusError as error:
        raise ConfigError(f"the times of tokens come from those of words: {error.message}",
                          f"{error.hint}, or words=null for states without times") from None
    if layer.spec.kind != "words":
        raise ConfigError(f"words={config.words}: that layer holds {layer.spec.kind}, not words")
    return str(layer.card["fingerprint"])


def _checked_layer(files: ModelFiles, layer: int) -> int:
    config = load_config(files)
    if config.is_encoder_decoder:
        raise ConfigError(f"model {files.name} ({config.model_type}) has an encoder and a decoder",
                          "states are those of a causal language model, such as Qwen/Qwen3-1.7B")
    try:
        return hidden_state_of(config.get_text_config().num_hidden_layers, layer)
    except AttributeError:
        raise SourceError(f"model {files.name} ({config.model_type}) does not say how many layers it has") from None
    except ValueError as error:
        raise ConfigError(f"layer={layer}: of {files.name}, {error}") from None


def _tokenizer(files: ModelFiles, is_fetched: bool) -> Any:
    """Of the model, fetched from the Hub where it has to be. Raises SourceError where there is none that knows its characters."""
    with quiet_transformers():
        try:
            if files.commit is None or is_fetched:
                tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
            else:
                tokenizer = AutoTokenizer.from_pretrained(files.name, revision=files.commit)
        except (OSError, ValueError, KeyError, ImportError) as error:
            said = " ".join(str(error).split())[:300]
            raise SourceError(f"the tokenizer of model {files.name} cannot be opened: {said}") from None
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # what transformers makes up where there are no files
        raise SourceError(f"model {files.name} has no tokenizer: {files.folder} has no tokenizer.json",
                          "save it there with save_pretrained")
    if not tokenizer.is_fast:
        raise SourceError(f"model {files.name} has no fast tokenizer, which alone knows the characters of its tokens",
                          "choose a model with a tokenizer.json")
    return tokenizer


def _fingerprint_of(tokenizer: Any) -> str:
    return fingerprint([tokenizer.backend_tokenizer.to_str(), tokenizer.padding_side])

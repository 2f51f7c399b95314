"""States of a language model: the same alone and in any batch, padded on either side, and timed by the words of the same text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.conftest import Spoken
from utterloom.core.artifact import building, load_card
from utterloom.core.errors import ConfigError, SourceError, UtterloomError
from utterloom.extract.config import StatesConfig
from utterloom.extract.contract import Item
from utterloom.extract.extractors.states import LanguageModel, StatesExtractor
from utterloom.extract.stage import extract
from utterloom.shards.layers import KIND, Layer, LayerRow, LayerSpec, shard_lines, write_layer_shard
from utterloom.shards.reader import Corpus
from utterloom.text.bridge import words_in

TEXTS = ["một hai ba bốn", "Chào!", "你好世界 hello", "a much longer line, with 23 words or so, one after the other", "x"]
LAYERS = 4
CONTEXT = 96
SIZES: dict[str, Any] = {"vocab_size": 300, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "hidden_size": 32}
CONFIGS = {
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8, intermediate_size=64, max_position_embeddings=CONTEXT),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2, intermediate_size=64, max_position_embeddings=CONTEXT),
    "gpt2": GPT2Config(vocab_size=300, n_layer=LAYERS, n_head=4, n_embd=32, n_positions=CONTEXT),
    "bloom": BloomConfig(vocab_size=300, n_layer=LAYERS, n_head=4, hidden_size=32),
}
EVERY_MODEL = pytest.mark.parametrize("kind", CONFIGS)
CORPUS_RATE_HZ = 16_000


def make_tokenizer(has_pad: bool = False, **options: Any) -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts <s> before a text; no token for padding unless asked."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))])
    pad = {"pad_token": "<pad>"} if has_pad else {}
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", **pad, **options)


def make_network(kind: str) -> Any:
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(CONFIGS[kind])
    with torch.no_grad():  # untied from the start that training would give: else states are all but the embedding
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def make_model(kind: str, layer: int = -2, **options: Any) -> LanguageModel:
    return LanguageModel(make_network(kind).base_model, make_tokenizer(**options), layer)


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


# --- the model --------------------------------------------------------------------------------------------------------


@EVERY_MODEL
@pytest.mark.parametrize("layer", [0, 1, -2, -1])
def test_a_state_is_the_hidden_state_of_the_whole_model(kind: str, layer: int) -> None:
    """A5: index -2 of what transformers gives, alone and without padding, though layers above it are left out."""
    model, whole = make_model(kind, layer), make_network(kind).eval()
    ids = model.read(TEXTS[3]).ids
    with torch.inference_mode():
        wanted = whole(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0].numpy()
    found = model.states([ids])[0]
    assert found.shape == (len(ids), 32) and found.dtype == np.float32 and model.layer == layer % (LAYERS + 1)
    assert relative(found, wanted) < 1e-5


def test_layers_above_the_state_are_left_out() -> None:
    assert [len(make_model("qwen3", layer).network.layers) for layer in (0, 1, -2, -1)] == [1, 2, LAYERS, LAYERS]


@EVERY_MODEL
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_text_has_the_same_states_alone_and_in_any_batch(kind: str, side: Any) -> None:
    """A-P12, truth 2: both padding sides, with a tokenizer that has no token to pad with."""
    model = make_model(kind, padding_side=side)
    assert model.tokenizer.pad_token is None and model.tokenizer.padding_side == side
    batch = [model.read(text).ids for text in TEXTS]
    alone = [model.states([ids])[0] for ids in batch]
    for order in (batch, batch[::-1]):
        together = model.states(order)
        for found, wanted in zip(together if order is batch else together[::-1], alone, strict=True):
            assert found.shape == wanted.shape and relative(found, wanted) < 1e-4
    assert relative(model.states(batch, "left" if side == "right" else "right")[1], alone[1]) < 1e-4


@pytest.mark.slow
def test_two_thousand_texts_in_three_compositions() -> None:
    """Must show 3: 2,000 utterances, three batch compositions, both padding sides: within 1e-4 of what each is alone."""
    random = np.random.default_rng(0)
    model = make_model("qwen3")
    texts = [random.integers(3, 300, random.integers(1, 25)).tolist() for _ in range(2000)]
    alone = [model.states([ids])[0] for ids in texts]
    by_length = sorted(range(2000), key=lambda number: len(texts[number]))
    for order, size in ((range(2000), 32), (random.permutation(2000), 77), (by_length, 250)):
        for side in ("left", "right"):
            for first in range(0, 2000, size):
                members = list(order[first:first + size])
                found = model.states([texts[member] for member in members], side)  # type: ignore[arg-type]
                assert all(relative(states, alone[member]) < 1e-4 for member, states in zip(members, found, strict=True))


def test_padding_that_were_taken_for_the_text_would_be_seen() -> None:
    """A-P12: the first n of a text that is padded on the left are not its states."""
    model = make_model("qwen3")
    short, long = (model.read(text).ids for text in (TEXTS[0], TEXTS[3]))
    ids = torch.tensor([[0] * (len(long) - len(short)) + short])
    with torch.inference_mode():
        states = model.network(input_ids=ids, output_hidden_states=True).hidden_states[model.layer][0].numpy()
    assert relative(states[:len(short)], model.states([short])[0]) > 0.1


def test_the_end_of_a_text_stays_where_padding_is_the_same_token() -> None:
    """A-P12: pad = eos hid true ends. Ids are the tokenizer's own, whatever pads them."""
    model = make_model("llama", has_pad=False)
    model.tokenizer.pad_token = model.tokenizer.eos_token
    end = model.tokenizer.eos_token_id
    ids = [*model.read("một").ids, end]
    together = model.states([ids, model.read(TEXTS[3]).ids])[0]
    assert len(together) == len(ids) and relative(together, model.states([ids])[0]) < 1e-4


def test_a_text_that_does_not_fit_is_refused_and_never_cut() -> None:
    model = make_model("gpt2")
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} tokens, but the context of the model has {CONTEXT}"):
        model.states([[5] * (CONTEXT + 1)])
    assert len(model.states([[5] * CONTEXT])[0]) == CONTEXT and model.states([]) == []


@pytest.mark.parametrize("layer", [LAYERS + 1, -LAYERS - 2])
def test_a_hidden_state_that_is_not_there_is_refused(layer: int) -> None:
    with pytest.raises(ValueError, match=f"hidden states are 0 to {LAYERS}"):
        make_model("qwen3", layer)


# --- rows -------------------------------------------------------------------------------------------------------------


def timed_words(text: str, view: str | None = None, has_times: Sequence[bool] | None = None) -> dict[str, Any]:
    """A row of a layer of words: 100 samples each, with a gap of 20 after it."""
    spans = words_in(text)
    words = [{"word": text[slice(*span)], "first_char": span[0], "stop_char": span[1], "start_sample": 1000 + 120 * number,
              "stop_sample": 1100 + 120 * number, "score": -0.1, "kind": "aligned", "chars": None}
             for number, span in enumerate(spans)]
    for word, has_time in zip(words, has_times or [True] * len(words), strict=True):
        if not has_time:
            word["start_sample"] = word["stop_sample"] = None
    return {"status": "ok", "reason": None, "text": view or text, "words": words}


def item(text: str | None, view: str | None = None, words: dict[str, Any] | None = None, num_samples: int = 16_000) -> Item:
    return Item("u", num_samples, CORPUS_RATE_HZ, None, text, view, {} if words is None else {"words": words})


def extractor(kind: str = "qwen3", **settings: Any) -> StatesExtractor:
    return StatesExtractor(make_model(kind), StatesConfig(**settings), {})


def test_each_token_has_a_state_and_a_time() -> None:
    """A5, A6, A-P1: <s> and the word without a time have null, and nothing is zero."""
    text = "một hai bốn"
    row = extractor().extract([item(text, words=timed_words(text, has_times=[True, False, True]))])[0]
    columns = row.columns
    assert row.status == "ok" and row.reason is None and row.array is not None
    assert row.array.shape == (row.num_frames, 32) and row.array.dtype == np.float16
    assert {len(column) for column in columns.values()} == {row.num_frames}
    assert columns["first_char"][0] is None and columns["start_sample"][0] is None
    for first, stop, start, end in zip(*(columns[name][1:] for name in ("first_char", "stop_char", "start_sample", "stop_sample")),
                                       strict=True):
        word = next((number for number, span in enumerate(words_in(text)) if max(first, span[0]) < min(stop, span[1])), None)
        assert (start, end) == {0: (1000, 1100), 1: (None, None), 2: (1240, 1340), None: (None, None)}[word]


def test_rows_are_the_same_alone_and_in_a_batch() -> None:
    model = extractor()
    items = [item(text, words=timed_words(text)) for text in TEXTS]
    items.insert(2, item(None))
    together = model.extract(items)
    for one, row in zip(items, together, strict=True):
        alone = model.extract([one])[0]
        assert (alone.status, alone.num_frames, alone.columns) == (row.status, row.num_frames, row.columns)
        if row.array is not None and alone.array is not None:
            assert relative(row.array.astype(np.float32), alone.array.astype(np.float32)) < 1e-3  # a step of fp16
    assert [row.status for row in together] == ["ok", "ok", "empty", "ok", "ok", "ok"]


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_text_is_empty(text: str | None) -> None:
    model = extractor()
    row = model.extract([item(text)])[0]
    assert (row.status, row.reason) == ("empty", "no text") and row.array is None and model.size(item(text)) == 0


def test_a_text_longer_than_the_context_fails_alone() -> None:
    model = extractor()
    long = "words " * CONTEXT
    rows = model.extract([item("a", words=timed_words("a")), item(long, words=timed_words(long))])
    assert rows[0].status == "ok" and rows[1].status == "failed" and rows[1].array is None
    assert str(rows[1].reason).startswith("text longer than the model's context: ") and model.size(item(long)) > CONTEXT


@pytest.mark.parametrize(("words", "reason"), [
    ({"status": "failed", "reason": "no sound", "words": None}, "the words have none: no sound"),
    ({"status": "empty", "reason": None, "words": []}, "the words have none: empty"),
    (timed_words("một hai", has_times=[False, False]), "no token stands on a word that has one"),
    ({**timed_words("một hai"), "words": [{**word, "first_char": None} for word in timed_words("một hai")["words"]]},
     "the words are of another text"),
    (timed_words("một hai ba"), "the words go on after the utterance's end"),
    ({**timed_words("một hai"), "words": timed_words("một hai")["words"][::-1]}, "a word is spoken in"),
])
def test_without_word_times_tokens_have_none_and_a_reason(words: dict[str, Any], reason: str) -> None:
    """A-P1, A-P2: states stay, times are null, and the row says why."""
    row = extractor().extract([item("một hai", words=words)])[0]
    assert row.status == "ok" and str(row.reason).startswith("no token times: ") and reason in str(row.reason)
    assert set(row.columns["start_sample"]) == set(row.columns["stop_sample"]) == {None} and row.array is not None


def test_words_of_the_view_time_the_view() -> None:
    """A-P2: what is fed is what is timed. Words of "twenty three" have no place in "23", but they do in the view."""
    view = "twenty three"
    words = timed_words(view)
    row = extractor(text="basic@1").extract([item("23", view, words)])[0]
    assert row.reason is None and {None, 1000, 1120} == set(row.columns["start_sample"])
    row = extractor(text="basic@1").extract([item("23", "another view", words)])[0]
    assert "the words are of another text" in str(row.reason)


def test_tokens_can_split_a_word() -> None:
    text = "zebra"
    row = extractor(within_word="split").extract([item(text, words=timed_words(text))])[0]
    starts, stops = row.columns["start_sample"][1:], row.columns["stop_sample"][1:]
    assert starts[0] == 1000 and stops[-1] == 1100 and starts[1:] == stops[:-1] and len(set(starts)) > 1


def test_a_token_that_the_model_lacks_fails_alone() -> None:
    """A tokenizer that has grown past its model would read past the embedding."""
    model = extractor(words=None)
    model.model.tokenizer.add_tokens(["zebra"])
    rows = model.extract([item("one zebra"), item("one")])
    assert [row.status for row in rows] == ["failed", "ok"] and "a token that the model does not know: 300" in str(rows[0].reason)


def test_states_that_float16_cannot_hold_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Massive activations of large models: infinity is no state."""
    model = extractor(words=None)
    monkeypatch.setattr(model.model, "states", lambda batch: [np.full((len(ids), 32), 1e5, np.float32) for ids in batch])
    row = model.extract([item("a")])[0]
    assert (row.status, row.reason) == ("failed", "states too large for float16: 100000; set dtype=float32")
    monkeypatch.setattr(model.model, "states", lambda batch: [np.full((len(ids), 32), np.nan, np.float32) for ids in batch])
    assert str(model.extract([item("a")])[0].reason).startswith("states that are not finite")


def test_no_words_are_no_reason_where_none_were_asked_for() -> None:
    row = extractor(words=None).extract([item("a")])[0]
    assert row.status == "ok" and row.reason is None and set(row.columns["start_sample"]) == {None}


# --- the whole way ----------------------------------------------------------------------------------------------------


def save_model(folder: Path, kind: str = "qwen3", **options: Any) -> Path:
    make_network(kind).save_pretrained(folder)
    make_tokenizer(**options).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("lm") / "Tiny-LM")


def make_words(corpus_path: Path, folder: Path) -> Path:
    """A layer of words that lie evenly in each utterance."""
    corpus = Corpus(corpus_path)
    spec = LayerSpec("words", {"source": "test"})
    with building(folder, KIND, {"name": folder.name}) as artifact:
        for shard in corpus.shards:
            table = corpus.table(shard.name)
            rows = []
            for row in range(len(table)):
                spans = words_in(table.text(row) or "")
                each = table.num_samples[row] // max(1, len(spans))
                words = [{"word": (table.text(row) or "")[slice(*span)], "start_sample": number * each,
                          "stop_sample": (number + 1) * each, "score": 0.0, "kind": "aligned", "first_char": span[0],
                          "stop_char": span[1], "chars": None} for number, span in enumerate(spans)]
                rows.append((row, LayerRow("ok", columns={"text": table.text(row), "words": words})))
            write_layer_shard(folder, shard.name, spec, [table.id(row) for row in range(len(table))], rows, shard.utterances_sha256)
        artifact.commit({"spec": spec.to_json(), "shards": shard_lines(folder, corpus)})
    return folder


def test_from_a_corpus_to_a_layer(spoken: Spoken, folder: Path, tmp_path: Path) -> None:
    """The command's own way: plan, batches, disk; what lies there is what the model says of each text alone."""
    words = make_words(spoken.corpus, tmp_path / "words")
    config = StatesConfig(model=str(folder), words=str(words), out=str(tmp_path / "states"), workers=0, batch=200, device="cpu")
    card = extract("states", spoken.corpus, config)
    corpus = Corpus(spoken.corpus)
    assert card["name"] == f"tiny-lm.{LAYERS - 1}" and card["ledger"]["ok"] == card["ledger"]["in"] == 48
    layer = Layer.of(corpus, tmp_path / "states")
    model = LanguageModel(make_network("qwen3").base_model, make_tokenizer(), -2)
    for shard in corpus.shards:
        table, found = corpus.table(shard.name), layer.table(shard.name)
        for row, states in layer.arrays(shard.name):
            tokens = model.read(table.text(row) or "")
            assert found.value(row, "token_ids") == tokens.ids and found.num_frames[row] == len(states) == len(tokens.ids)
            assert relative(states.astype(np.float32), model.states([tokens.ids])[0]) < 1e-3
            starts, stops = found.value(row, "start_sample"), found.value(row, "stop_sample")
            assert starts[0] is None and starts[1] == 0 and stops[-1] <= table.num_samples[row]
    before = (tmp_path / "states" / f"{corpus.shards[0].name}.tar").read_bytes()
    assert load_card(tmp_path / "states", KIND) == extract("states", spoken.corpus, config)
    assert (tmp_path / "states" / f"{corpus.shards[0].name}.tar").read_bytes() == before


@pytest.mark.parametrize(("settings", "message"), [
    ({"layer": 9}, "layer=9: of .*Tiny-LM, hidden states are 0 to 4, which are also -5 to -1"),
    ({"text": "bassic@1"}, "text='bassic@1'.*has no such text"),
    ({"words": "word"}, "the times of tokens come from those of words: corpus .* has no layer 'word'"),
    ({"model": "/nowhere/at-all"}, "there is no model in a folder"),
])
def test_what_is_not_there_is_said_before_the_start(spoken: Spoken, folder: Path, settings: dict[str, Any], message: str) -> None:
    config = StatesConfig(**{"model": str(folder), "words": None, **settings})
    with pytest.raises(UtterloomError, match=message):
        StatesExtractor.plan(config, Corpus(spoken.corpus))


def test_what_is_no_language_model_with_its_tokenizer_is_refused(spoken: Spoken, folder: Path, tmp_path: Path) -> None:
    corpus = Corpus(spoken.corpus)
    make_network("gpt2").save_pretrained(tmp_path / "bare")
    with pytest.raises(SourceError, match=r"model .*bare has no tokenizer"):
        StatesExtractor.plan(StatesConfig(model=str(tmp_path / "bare"), words=None), corpus)
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8))
    t5.save_pretrained(tmp_path / "t5")
    make_tokenizer().save_pretrained(tmp_path / "t5")
    with pytest.raises(ConfigError, match="has an encoder and a decoder"):
        StatesExtractor.plan(StatesConfig(model=str(tmp_path / "t5"), words=None), corpus)


def test_identity_is_what_the_numbers_depend_on(spoken: Spoken, folder: Path, tmp_path: Path) -> None:
    corpus = Corpus(spoken.corpus)
    plan = StatesExtractor.plan(StatesConfig(model=str(folder), words=None), corpus)
    other = save_model(tmp_path / "Tiny-LM", padding_side="left")
    network = make_network("qwen3")
    with torch.no_grad():
        network.base_model.norm.weight[0] += 1
    network.save_pretrained(other)
    changed = StatesExtractor.plan(StatesConfig(model=str(other), words=None), corpus)
    assert plan.name == changed.name and plan.identity["model_fingerprint"] != changed.identity["model_fingerprint"]
    assert plan.identity["words_fingerprint"] is None


def test_random_weights_are_no_states(spoken: Spoken, folder: Path, tmp_path: Path) -> None:
    """A file that lacks a layer's weights would give random states: refused."""
    from safetensors.torch import load_file, save_file

    broken = save_model(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    save_file({name: value for name, value in weights.items() if ".layers.1." not in name}, broken / "model.safetensors",
              metadata={"format": "pt"})
    with pytest.raises(SourceError, match="of the weights that are needed are not in its files"):
        StatesExtractor.open(StatesConfig(model=str(broken), words=None, device="cpu"), Corpus(spoken.corpus))
    StatesExtractor.open(StatesConfig(model=str(broken), words=None, device="cpu", layer=0), Corpus(spoken.corpus))

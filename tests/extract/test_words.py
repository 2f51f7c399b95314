"""`extract words` and `words`: every utterance has its row, reference and hypothesis are never mixed, files go in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("numba")
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2ForCTC, WavLMForCTC

from tests.models.test_parakeet import save_tiny
from tests.models.tiny_encoders import WAVEFORM, save_tiny_encoder
from utterloom import pipeline
from utterloom.annotations import read_words
from utterloom.core.errors import ConfigError, SourceError
from utterloom.shards.layers import Layer
from utterloom.shards.reader import Corpus

RATE_HZ = 16_000
TEXTS = {"plain": "one two three", "signs": "– Two, three!", "digits": "room 42 is free", "one": "a", "nothing": "",
         "long": "this text is far too long for so short a sound as this one is"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in six lengths, and a table of what somebody says is said in it."""
    folder = tmp_path_factory.mktemp("words")
    generator = np.random.default_rng(0)
    lines = ["id\tpath\ttext\tsplit"]
    for number, (name, text) in enumerate(TEXTS.items()):
        samples = generator.normal(scale=0.1, size=round((0.35 if name == "long" else 1.5 + 0.3 * number) * RATE_HZ))
        soundfile.write(folder / f"{name}.wav", samples, RATE_HZ)
        lines.append(f"{name}\t{name}.wav\t{text}\ttrain")
    (folder / "table.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pipeline.prepare("table", folder / "table.tsv", folder / "manifest",
                     ["language=en", "unlabelled=keep", "min_s=0.2", "group_by=[]", "dev=0"])
    pipeline.pack(folder / "manifest", folder / "corpus", ["sample_rate_hz=8000"])
    return folder / "corpus"


def save_ctc(folder: Path, kind: str = "wav2vec2-base") -> Path:
    """A random model of the Hub's shape, with the vocabulary of wav2vec 2.0: capital letters and `|`."""
    _, config, _ = WAVEFORM[kind]
    save_tiny_encoder(kind, folder)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    config = type(config)(**{**config.to_dict(), "vocab_size": len(letters), "pad_token_id": 0})
    torch.manual_seed(1)
    (WavLMForCTC if kind.startswith("wavlm") else Wav2Vec2ForCTC)(config).save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ctc(tmp_path_factory.mktemp("ctc") / "model")


def rows_of(corpus: Path, name: str) -> dict[str, dict[str, Any]]:
    found = {}
    layer = Layer.of(Corpus(corpus), name)
    for shard in layer.shards:
        for row in range(len(layer.table(shard))):
            values = layer.table(shard).row(row)
            found[values["id"]] = values
    return found


def test_every_utterance_has_a_row_and_every_word_its_characters(corpus: Path, model: Path) -> None:
    card, _ = pipeline.extract("words", corpus, [f"model={model}", "least_score=0", "longest_word_s=100"])
    rows = rows_of(corpus, "words")
    assert rows.keys() == TEXTS.keys()
    assert card["ledger"]["in"] == len(TEXTS) == card["ledger"]["ok"] + card["ledger"]["empty"] + card["ledger"]["failed"]
    assert rows["nothing"]["status"] == "empty" and "no text" in rows["nothing"]["reason"]
    assert rows["long"]["status"] == "failed" and "tokens need" in rows["long"]["reason"]
    for name in ("plain", "signs", "digits", "one"):
        assert rows[name]["text"] == TEXTS[name]
        assert [word["word"] for word in rows[name]["words"]] == TEXTS[name].split()
        assert [TEXTS[name][word["first_char"]:word["stop_char"]] for word in rows[name]["words"]] == TEXTS[name].split()
    assert [word["kind"] for word in rows["signs"]["words"]] == ["unplaced", "aligned", "aligned"]
    assert rows["signs"]["words"][0]["start_sample"] is None
    assert rows["digits"]["words"][1]["kind"] in ("estimated", "unplaced")


def test_numbers_have_the_time_of_what_is_said_for_them(corpus: Path, model: Path) -> None:
    pytest.importorskip("unicode_rbnf")
    pipeline.extract("words", corpus, [f"model={model}", "view=en", "name=said", "least_score=0", "longest_word_s=100"])
    word = rows_of(corpus, "said")["digits"]["words"][1]
    assert word["word"] == "42" and word["kind"] == "aligned"
    assert "".join(char["char"] for char in word["chars"]) == "fortytwo"


def test_batches_and_workers_change_nothing(corpus: Path, model: Path) -> None:
    names = []
    for number, settings in enumerate((["batch=1"], ["batch=1000"], ["workers=2"])):
        names.append(f"again{number}")
        pipeline.extract("words", corpus, [f"model={model}", f"name={names[-1]}", *settings])
    times = [{name: [(word["start_sample"], word["stop_sample"], word["kind"]) for word in row["words"] or []]
              for name, row in rows_of(corpus, layer).items()} for layer in names]
    assert times[0] == times[1] == times[2]


def test_what_is_doubtful_is_flagged(corpus: Path, model: Path) -> None:
    card, lines = pipeline.extract("words", corpus, [f"model={model}", "name=strict", "least_score=1"])
    row = rows_of(corpus, "strict")["plain"]
    assert {word["kind"] for word in row["words"]} == {"implausible"}
    assert row["flag"] == row["reason"] and "3 of 3 words" in row["flag"]
    assert any("implausible" in line for line in lines)
    assert any(told["reason"] == "implausible" for told in card["ledger"]["reasons"])


def test_words_go_out_and_come_back(corpus: Path, model: Path, tmp_path: Path) -> None:
    pipeline.extract("words", corpus, [f"model={model}", "name=out", "least_score=0", "longest_word_s=100"])
    told, lines = pipeline.words(corpus / "out", tmp_path / "words.ctm")
    assert told["counts"]["utterances not ok"] == 2
    assert told["counts"]["words without a time"] >= 1
    assert any("utterances not ok" in line for line in lines)
    back = read_words(tmp_path / "words.ctm")
    assert not back.faults
    assert [word.word for word in back.by_id["plain"]] == ["one", "two", "three"]
    pipeline.extract("words", corpus, ["source=import", f"files={tmp_path / 'words.ctm'}", "name=back"])
    ours, theirs = rows_of(corpus, "out")["plain"]["words"], rows_of(corpus, "back")["plain"]["words"]
    assert [(word["start_sample"], word["stop_sample"]) for word in ours] == [
        (word["start_sample"], word["stop_sample"]) for word in theirs]
    assert [(word["first_char"], word["stop_char"]) for word in theirs] == [(0, 3), (4, 7), (8, 13)]
    assert {word["kind"] for word in theirs} == {"imported"}
    told, _ = pipeline.words(corpus / "out", tmp_path / "grids.TextGrid")
    assert sorted(path.stem for path in (tmp_path / "grids.TextGrid").iterdir()) == ["digits", "one", "plain", "signs"]


def test_times_that_cannot_be_are_not_imported(corpus: Path, tmp_path: Path) -> None:
    """A-P17: `end = -1` as "until the end", words after the end, words that go back in time."""
    (tmp_path / "words.json").write_text(json.dumps({
        "plain": [{"word": "one", "start": 0.0, "end": 0.2}, {"word": "two", "start": 0.2, "end": -1}],
        "signs": [{"word": "two", "start": 5.0, "end": 6.0}], "one": [{"word": "a", "start": 0.1, "end": 0.3}]}), encoding="utf-8")
    pipeline.extract("words", corpus, ["source=import", f"files={tmp_path / 'words.json'}", "name=bad"])
    rows = rows_of(corpus, "bad")
    assert [word["word"] for word in rows["plain"]["words"]] == ["one"] and "1 words are left out" in rows["plain"]["flag"]
    assert rows["signs"]["status"] == "failed" and "ends at 6 s" in rows["signs"]["reason"]
    assert rows["one"]["words"][0]["start_sample"] == 800
    assert rows["digits"]["status"] == "empty"


def test_what_a_model_hears_is_kept_apart_from_the_reference(corpus: Path, tmp_path: Path) -> None:
    save_tiny("tdt", tmp_path / "parakeet-tdt")
    card, _ = pipeline.extract("words", corpus, [f"model={tmp_path / 'parakeet-tdt'}", "source=asr"])
    assert card["name"] == "words.parakeet-tdt"
    assert card["spec"]["producer"]["source"] == "heard"
    for name, row in rows_of(corpus, card["name"]).items():
        if row["status"] == "ok":
            assert row["text"] != TEXTS[name]
            assert {word["kind"] for word in row["words"]} == {"heard"}
            assert all(word["first_char"] is None for word in row["words"])


@pytest.mark.parametrize(("settings", "error", "said"), [
    ([], ConfigError, "needs model="),
    (["source=import"], ConfigError, "needs files="),
    (["source=import", "files=nowhere.ctm"], ConfigError, "nowhere.ctm"),
    (["model=/nowhere"], SourceError, "/nowhere"),
    (["source=asr", "model={model}"], SourceError, "does not time what it hears"),
    (["model={model}", "view=klingon"], ConfigError, "no text view 'klingon'"),
    (["model={model}", "modle=x"], ConfigError, "did you mean 'model'"),
])
def test_what_is_wrong_is_said(corpus: Path, model: Path, settings: list[str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        pipeline.extract("words", corpus, [text.format(model=model) for text in [*settings, "name=wrong"]])
    assert not (corpus / "wrong").exists()


def test_an_encoder_without_a_head_is_no_ctc_model(corpus: Path, tmp_path: Path) -> None:
    save_tiny_encoder("wav2vec2-base", tmp_path / "encoder")
    with pytest.raises(SourceError, match=r"not in its files|CTC"):
        pipeline.extract("words", corpus, [f"model={tmp_path / 'encoder'}", "name=wrong", "workers=0"])


def test_emissions_are_the_models_own(tmp_path: Path) -> None:
    """The encoder and the head apart give what transformers gives of both together."""
    from utterloom.models.emissions import CTCEmitter

    for kind in ("wav2vec2-base", "wav2vec2-large", "wavlm-large"):
        folder = save_ctc(tmp_path / kind, kind)
        emitter = CTCEmitter.open(str(folder))
        samples = np.random.default_rng(2).normal(size=20_000).astype(np.float32)
        whole = (WavLMForCTC if kind.startswith("wavlm") else Wav2Vec2ForCTC).from_pretrained(folder).eval()
        inputs = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        with torch.inference_mode():
            wanted = whole(torch.from_numpy(inputs)[None]).logits[0].log_softmax(-1).numpy()
        np.testing.assert_allclose(emitter.emissions([samples])[0], wanted, atol=2e-4)
        assert emitter.blank == 0 and emitter.spelling.between == 4
        assert emitter.spelling.spell("o'K7").ids == (8, 27, 26)

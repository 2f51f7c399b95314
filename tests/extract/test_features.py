"""Features: one row an utterance, its own frames and nobody's padding, stored as numbers that are what the model gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.tiny_encoders import RATE_HZ, save_tiny_encoder, speech_like
from tests.tones import hash_of_folder, make_speech, packed, prepared
from utterloom.core.errors import ConfigError, SourceError
from utterloom.core.timing import FrameGrid
from utterloom.extract.config import FeaturesConfig
from utterloom.extract.contract import Item
from utterloom.extract.extractors.features import FeaturesExtractor, pooled, pooled_grid
from utterloom.extract.stage import extract
from utterloom.models.fronts import Front
from utterloom.shards.layers import Layer, LayerRow, LayerSpec, arrays_path, layer_path, write_layer_shard
from utterloom.shards.reader import Corpus

torch.set_num_threads(1)


def item(samples: np.ndarray, name: str = "a") -> Item:
    return Item(name, len(samples), RATE_HZ, samples, "text", None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "wavlm-tiny"
    save_tiny_encoder("wavlm-large", folder)
    return folder


def config(model: Path, **settings: object) -> FeaturesConfig:
    return FeaturesConfig(**{"model": str(model), "chunk_s": 4.0, "overlap_s": 1.0, "device": "cpu", **settings})  # type: ignore[arg-type]


def extractor(model: Path, **settings: object) -> FeaturesExtractor:
    return FeaturesExtractor.open(config(model, **settings), None)  # type: ignore[arg-type]


def test_rows_are_the_same_alone_and_in_any_batch(model: Path) -> None:
    """Must show 3, truth 2; a row of 6 s among them goes through in pieces."""
    opened = extractor(model, dtype="float32")
    items = [item(speech_like(length, seed)) for seed, length in enumerate((16_000, 3_210, 96_000, 40_000, 25_001))]
    alone = [opened.extract([one])[0] for one in items]
    assert [row.num_frames for row in alone] == [49, 9, 299, 124, 77]
    for order in ([0, 1, 2, 3, 4], [4, 1], [2, 0, 3]):
        for number, row in zip(order, opened.extract([items[number] for number in order]), strict=True):
            assert row.status == "ok" and row.array is not None and alone[number].array is not None
            largest = np.abs(alone[number].array).max()
            assert np.abs(row.array - alone[number].array).max() <= 1e-4 * largest


def test_what_has_no_frame_is_empty_and_says_why(model: Path) -> None:
    """A-P15: a row all the same, and its neighbours lose nothing."""
    nothing, short, fine = extractor(model).extract([item(np.zeros(0, np.float32)), item(np.zeros(399, np.float32)),
                                                     item(speech_like(400))])
    assert (nothing.status, short.status, fine.status, fine.num_frames) == ("empty", "empty", "ok", 1)
    assert short.reason == "too short: 399 samples at 16000 Hz, where a frame needs 400" and short.array is None
    pooled_away = extractor(model, target_hz=12.5).extract([item(speech_like(500))])[0]
    assert (pooled_away.status, pooled_away.reason) == ("empty", "too short: no frame at 12.5 Hz")


def test_what_does_not_fit_is_a_failure_and_never_infinite(model: Path, tmp_path: Path) -> None:
    weights = load_file(model / "model.safetensors")
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file({name: value * 1e6 if name == "encoder.layer_norm.weight" else value for name, value in weights.items()},
              tmp_path / "model.safetensors", metadata={"format": "pt"})
    row = extractor(tmp_path).extract([item(speech_like(8_000))])[0]
    assert row.status == "failed" and "beyond what float16 holds" in str(row.reason) and row.array is None
    kept = extractor(tmp_path, dtype="float32").extract([item(speech_like(8_000))])[0]
    assert kept.status == "ok" and kept.array is not None and np.abs(kept.array).max() > 65_504
    hurt = speech_like(8_000)
    hurt[5_000] = np.nan
    rows = extractor(model).extract([item(hurt), item(speech_like(8_000))])
    assert [row.status for row in rows] == ["failed", "ok"] and "not finite" in str(rows[0].reason)
    assert extractor(model, target_hz=10.0).extract([item(hurt)])[0].status == "failed"


def test_frames_of_padding_are_caught(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-P9: states cut by the sum of a mask that counts samples keep the padding, 499 frames for 1 s beside 10 s."""
    def sliced_by_samples(self: Front, inputs: list[np.ndarray], statistics: object) -> list[np.ndarray]:
        lengths = [len(one) for one in inputs]
        padded = np.stack([np.pad(one, (0, max(lengths) - len(one))) for one in inputs])
        hidden = self.forward(torch.from_numpy(padded), torch.tensor(lengths))
        return [frames[:length].numpy() for frames, length in zip(hidden, lengths, strict=True)]

    monkeypatch.setattr(Front, "run", sliced_by_samples)
    opened = extractor(model, chunk_s=20.0)
    with pytest.raises(SourceError, match="gave 499 frames where its length function says 49"):
        opened.extract([item(speech_like(16_000)), item(speech_like(160_000))])
    # A-P8: a frame for every 320 samples, which is one too many
    monkeypatch.setattr(Front, "run", lambda self, inputs, _: [np.zeros((len(one) // 320, 24), np.float32) for one in inputs])
    with pytest.raises(SourceError, match="gave 50 frames where its length function says 49"):
        opened.extract([item(speech_like(16_000))])


def test_frames_are_pooled_by_overlap(model: Path) -> None:
    """A13: 50 Hz → 12.5 Hz are the means of four; a rate that is no whole number of hops weighs what it overlaps."""
    samples = speech_like(32_000)
    whole = extractor(model, dtype="float32").extract([item(samples)])[0].array
    opened = extractor(model, dtype="float32", target_hz=12.5)
    found = opened.extract([item(samples)])[0].array
    assert whole is not None and found is not None and opened.spec.grid == FrameGrid(16_000, 1_280)
    assert found.shape == (25, 24) and np.allclose(found[:24], whole[:96].reshape(24, 4, 24).mean(1), atol=1e-5)
    assert np.allclose(found[24], whole[96:].mean(0), atol=1e-5)  # 99 frames: the last hears three
    odd = extractor(model, dtype="float32", target_hz=30.0)
    assert odd.spec.grid == FrameGrid(30, 1)
    row = odd.extract([item(samples)])[0]
    assert row.num_frames == 60 and row.array is not None and np.isfinite(row.array).all()
    faster = pooled(np.ones((49, 3), np.float32), FrameGrid(16_000, 320), FrameGrid(16_000, 160), 16_000)
    assert faster.shape == (98, 3) and np.isfinite(faster).all()  # where the source has ended there is no frame
    with pytest.raises(ConfigError, match="more than the 16000 samples"):
        pooled_grid(FrameGrid(16_000, 320), 20_000)


def test_a_plan_names_the_layer_and_the_model_it_is_of(model: Path, tmp_path: Path) -> None:
    plan = FeaturesExtractor.plan(config(model), None)  # type: ignore[arg-type]
    assert plan.name == "wavlm-tiny.3" and plan.identity["layer"] == 3
    assert FeaturesExtractor.plan(config(model, layer=1, target_hz=12.5), None).name == "wavlm-tiny.1@12.5hz"  # type: ignore[arg-type]
    other = tmp_path / "wavlm-tiny"
    save_tiny_encoder("wavlm-large", other, seed=1)
    assert FeaturesExtractor.plan(config(other), None).identity != plan.identity  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="chunk_s must be more than twice"):
        FeaturesExtractor.plan(config(model, chunk_s=2.0), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="hidden states 0 to 3"):
        FeaturesExtractor.plan(config(model, layer=9), None)  # type: ignore[arg-type]


def test_a_corpus_has_features_of_every_utterance(model: Path, tmp_path: Path) -> None:
    """The whole way: decoded, resampled, stored, read by byte range; and the same bytes whatever the batches."""
    make_speech(tmp_path / "source", 9)
    prepared(tmp_path / "source" / "table.tsv", tmp_path / "manifest")
    packed(tmp_path / "manifest", tmp_path / "corpus")
    card = extract("features", tmp_path / "corpus", config(model, layer=2))
    assert card["ledger"]["in"] == 9 == card["ledger"]["ok"] and card["spec"]["producer"]["layer"] == 2
    corpus = Corpus(tmp_path / "corpus")
    layer = Layer.of(corpus, "wavlm-tiny.2")
    opened = extractor(model, layer=2)
    for shard in corpus.shards:
        table, rows = corpus.table(shard.name), layer.table(shard.name)
        for row in range(len(table)):
            array = layer.array(shard.name, row)
            assert array is not None and array.dtype == np.float16
            spoken_16k = round(int(table.num_samples[row]) * RATE_HZ / corpus.sample_rate_hz)
            assert len(array) == rows.num_frames[row] == opened._encoder.num_frames(spoken_16k)
    before = hash_of_folder(tmp_path / "corpus" / "wavlm-tiny.2")
    assert extract("features", tmp_path / "corpus", config(model, layer=2))["ledger"] == card["ledger"]
    assert hash_of_folder(tmp_path / "corpus" / "wavlm-tiny.2") == before


def test_an_hour_takes_what_it_must(tmp_path: Path) -> None:
    """Must show 6: 1,024 half-precision numbers 50 times a second are 368.6 MB an hour; tar and index add less than 2 %.

    Six minutes in utterances of 6 s, as spoken corpora have them."""
    rows = ((number, LayerRow("ok", None, 299, array=np.random.default_rng(number).standard_normal((299, 1024)).astype(np.float16)))
            for number in range(60))
    spec = LayerSpec("features", {}, FrameGrid(16_000, 320), "float16", 1024)
    write_layer_shard(tmp_path, "train-00000", spec, [f"speaker-{number:06d}" for number in range(60)], rows, "0")
    num_bytes = sum((tmp_path / name).stat().st_size for name in (layer_path("train-00000"), arrays_path("train-00000")))
    megabytes = num_bytes * 10 / 1e6
    print(f"{megabytes:.1f} MB an hour")
    assert megabytes == pytest.approx(368.6, rel=0.02)
    assert json.loads(json.dumps(spec.to_json()))["dtype"] == "float16"

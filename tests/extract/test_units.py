"""Units: labels of the utterance alone whatever the batch, exactly as many as the model has frames, and no other codebook's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from transformers import MimiConfig, MimiModel

from tests.models.tiny_encoders import RATE_HZ, save_tiny_encoder, speech_like
from tests.tones import make_speech, packed, prepared
from utterloom.core.errors import ConfigError, MissingPackageError, SourceError
from utterloom.core.timing import FrameGrid
from utterloom.extract.config import FeaturesConfig, UnitsConfig
from utterloom.extract.contract import Item
from utterloom.extract.extractors.features import FeaturesExtractor
from utterloom.extract.extractors.units import CodebookUnits, UnitsExtractor
from utterloom.extract.stage import extract
from utterloom.models.codecs import MimiCodec, SpeechTokenizerCodec
from utterloom.models.encoder import SpeechEncoder
from utterloom.models.kmeans import Codebook
from utterloom.shards.layers import Layer, LayerRow
from utterloom.shards.reader import Corpus
from utterloom.shards.units import UnitStream

torch.set_num_threads(1)
UNITS = 50


def item(samples: np.ndarray, rate_hz: int = RATE_HZ) -> Item:
    return Item("a", len(samples), rate_hz, samples, "text", None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "hubert-tiny"
    save_tiny_encoder("hubert-base", folder)
    return folder


@pytest.fixture(scope="module")
def encoder(model: Path) -> SpeechEncoder:
    return SpeechEncoder.open(str(model), layer=2, chunk_s=4.0, overlap_s=1.0)


def a_codebook(encoder: SpeechEncoder, **more: object) -> Codebook:
    """Centroids that are frames of the encoder, so that units are many and near each other."""
    frames = np.concatenate(encoder.encode([speech_like(50_000, 100 + seed) for seed in range(3)]))
    chosen = np.random.default_rng(0).choice(len(frames), UNITS, replace=False)
    return Codebook(frames[chosen], {**encoder.producer, "target_hz": None, **more}, encoder.grid)


@pytest.fixture(scope="module")
def codebook(encoder: SpeechEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codebooks") / "km"
    a_codebook(encoder).save(folder)
    return folder


def labels_of(row: LayerRow) -> np.ndarray:
    assert row.status == "ok", row
    return np.repeat(row.columns["units"], row.columns["runs"])


def compositions(count: int, seed: int) -> list[list[int]]:
    """Batches of 1 to 24, the utterances in an order of their own."""
    generator = np.random.default_rng(seed)
    order, batches = generator.permutation(count).tolist(), []
    while order:
        size = int(generator.integers(1, 25))
        batches.append(order[:size])
        order = order[size:]
    return batches


@pytest.mark.parametrize("count", [40, pytest.param(2_000, marks=pytest.mark.slow)])
def test_no_unit_depends_on_the_batch(count: int, encoder: SpeechEncoder) -> None:
    """Must show 3: 0 differing units, over 2,000 utterances in 3 compositions of batches."""
    generator = np.random.default_rng(1)
    audio = [speech_like(int(generator.integers(1_000, 24_000)), seed) for seed in range(count)]
    source = CodebookUnits(encoder, a_codebook(encoder))
    extractor = UnitsExtractor(source, UnitsConfig().margin)
    alone = [labels_of(extractor.extract([item(samples)])[0]) for samples in audio]
    differing, undecided, margins_of_flips = 0, 0, []
    for seed in range(3):
        for batch in compositions(count, seed):
            found = extractor.extract([item(audio[number]) for number in batch])
            differing += sum(int((labels_of(row) != alone[number]).sum()) for number, row in zip(batch, found, strict=True))
            for number, (labels, margins) in zip(batch, source.labels([audio[number] for number in batch]), strict=True):
                assert margins is not None
                margins_of_flips += margins[labels != alone[number]].tolist()
                undecided += int((margins < UnitsConfig().margin).any())
    frames = 3 * sum(len(labels) for labels in alone)
    print(f"{differing} of {frames} units differ; without the second look {len(margins_of_flips)}, the widest margin of those "
          f"{max(margins_of_flips, default=0):.1e}; {extractor.num_again} of {3 * count} utterances went through again")
    assert differing == 0
    assert max(margins_of_flips, default=0) < UnitsConfig().margin / 10
    assert extractor.num_again <= undecided


def test_what_lies_between_two_units_is_decided_by_the_utterance_alone(encoder: SpeechEncoder) -> None:
    """A codebook with two centroids that differ by less than a batch does: rounding would decide, and the second look does not."""
    audio = [speech_like(9_000, seed) for seed in range(6)]
    frame = encoder.encode([audio[0]])[0][4]
    away = np.random.default_rng(0).standard_normal(frame.shape).astype(np.float32)
    codebook = Codebook(np.stack([frame + away, frame - away, frame + 9]))
    extractor = UnitsExtractor(CodebookUnits(encoder, codebook), 1e-4)
    alone = [labels_of(extractor.extract([item(samples)])[0]) for samples in audio]
    assert extractor.num_again == 0
    together = [labels_of(row) for row in extractor.extract([item(samples) for samples in audio])]
    assert extractor.num_again >= 1
    assert all(np.array_equal(left, right) for left, right in zip(alone, together, strict=True))


def test_long_recordings_go_through_in_pieces_and_half_precision_alone(encoder: SpeechEncoder, model: Path) -> None:
    samples = speech_like(9 * RATE_HZ)
    codebook = a_codebook(encoder)
    extractor = UnitsExtractor(CodebookUnits(encoder, codebook), 1e-4)
    found = labels_of(extractor.extract([item(speech_like(5_000)), item(samples)])[1])
    assert np.array_equal(found, codebook.assign(encoder.encode([samples])[0])[0])
    assert len(found) == encoder.num_frames(len(samples))
    half = SpeechEncoder.open(str(model), layer=2, compute="bfloat16", overlap_s=1.0)
    source = CodebookUnits(half, codebook, is_exact=False)
    batch = [speech_like(9_000, seed) for seed in range(3)]
    for samples, (labels, margins) in zip(batch, source.labels(batch), strict=True):
        assert margins is None and np.array_equal(labels, source.labels([samples])[0][0])


def test_pooled_features_have_pooled_units(encoder: SpeechEncoder) -> None:
    codebook = a_codebook(encoder, target_hz=12.5)
    codebook.grid = FrameGrid(16_000, 1_280)
    row = UnitsExtractor(CodebookUnits(encoder, codebook, 12.5), 1e-4).extract([item(speech_like(32_000))])[0]
    assert row.num_frames == 25


def test_a_codebook_of_something_else_is_refused(encoder: SpeechEncoder, codebook: Path, model: Path, tmp_path: Path) -> None:
    """D-P1: another rate or width, other weights, or nothing known of the model."""
    with pytest.raises(SourceError, match=r"the codebook has 7 dimensions, and layer 2 .* 24"):
        CodebookUnits(encoder, Codebook(np.zeros((3, 7), np.float32)))
    with pytest.raises(SourceError, match=r"of 12\.5 frames a second, and layer 2 .* has 50"):
        CodebookUnits(encoder, Codebook(np.zeros((3, 24), np.float32), grid=FrameGrid(24_000, 1_920)))
    Codebook(np.zeros((3, 24), np.float32)).save(tmp_path / "bare")
    with pytest.raises(SourceError, match="does not say which model"):
        UnitsExtractor.plan(UnitsConfig(codebook=str(tmp_path / "bare")), None)  # type: ignore[arg-type]
    save_tiny_encoder("hubert-base", tmp_path / "other", seed=1)
    with pytest.raises(SourceError, match=r"the weights of .*other are others"):
        UnitsExtractor.plan(UnitsConfig(codebook=str(codebook), model=str(tmp_path / "other")), None)  # type: ignore[arg-type]
    assert UnitsExtractor.plan(UnitsConfig(codebook=str(codebook)), None).name == f"hubert-tiny.2.km{UNITS}"  # type: ignore[arg-type]
    for wrong in (UnitsConfig(), UnitsConfig(codebook="a", codec="b")):
        with pytest.raises(ConfigError, match="of a codebook or of a codec"):
            UnitsExtractor.plan(wrong, None)  # type: ignore[arg-type]


def test_a_corpus_has_units_of_every_utterance(codebook: Path, model: Path, tmp_path: Path) -> None:
    """From a layer of features, which says what a codebook must know, to units that are the same as those features'."""
    make_speech(tmp_path / "source", 8)
    prepared(tmp_path / "source" / "table.tsv", tmp_path / "manifest")
    packed(tmp_path / "manifest", tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    extract("features", tmp_path / "corpus", FeaturesConfig(model=str(model), layer=2, dtype="float32", device="cpu"))
    features = Layer.of(corpus, "hubert-tiny.2")
    frames = np.concatenate([array for shard in corpus.shards for _, array in features.arrays(shard.name)])
    fitted = Codebook(frames[:: len(frames) // UNITS][:UNITS], features.spec.producer, features.spec.grid)
    fitted.save(tmp_path / "km")
    card = extract("units", tmp_path / "corpus", UnitsConfig(codebook=str(tmp_path / "km"), device="cpu"))
    assert card["ledger"]["ok"] == 8 and card["spec"]["codebook_size"] == UNITS
    layer = Layer.of(corpus, f"hubert-tiny.2.km{UNITS}")
    stream = UnitStream.of(layer)
    assert stream.fingerprint == card["spec"]["producer"]["fingerprint"] and stream.grid == FrameGrid(16_000, 320)
    for shard in corpus.shards:
        table = corpus.table(shard.name)
        for row in range(len(table)):
            units = stream.units(layer.table(shard.name).row(row))
            units.check(int(table.num_samples[row]), corpus.sample_rate_hz)
            array = features.array(shard.name, row)
            assert array is not None and np.array_equal(units.expanded(), fitted.assign(array)[0])
    assert not list(layer.damages())


# --- codecs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mimi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mimi's shape and clock (24 kHz, 1,920 samples a frame), small and random."""
    torch.manual_seed(0)
    network = MimiModel(MimiConfig(
        num_filters=4, hidden_size=32, vector_quantization_hidden_dimension=16, codebook_dim=16, codebook_size=64, num_quantizers=4,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, head_dim=8, intermediate_size=40, sliding_window=20,
        upsample_groups=32))
    quantizer = network.quantizer
    for part in (quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer):
        for layer in part.layers:
            layer.codebook.embed_sum.copy_(0.3 * torch.randn_like(layer.codebook.embed_sum))
    folder = tmp_path_factory.mktemp("mimi") / "mimi-tiny"
    network.save_pretrained(folder)
    return folder


def test_mimi_is_the_same_alone_in_any_batch_and_streamed(mimi: Path) -> None:
    """Its last frame too, which holds less than 80 ms: padded with silence to a whole one."""
    codec = MimiCodec(str(mimi), None, "cpu", chunk_s=60.0)
    extractor = UnitsExtractor(codec, 1e-4)
    assert (codec.grid.rate_hz, codec.codebook_size, codec.sample_rate_hz) == (12.5, 64, 24_000)
    audio = [speech_like(length, seed) for seed, length in enumerate((24_000, 1, 70_123, 1_920, 1_921, 200_000, 48_001))]
    alone = [labels_of(extractor.extract([item(samples, 24_000)])[0]) for samples in audio]
    assert [len(labels) for labels in alone] == [13, 1, 37, 1, 2, 105, 26] == [codec.num_frames(len(one)) for one in audio]
    for batch in ([0, 1, 2, 3, 4, 5, 6], [6, 3, 0], [5, 4]):
        for number, row in zip(batch, extractor.extract([item(audio[number], 24_000) for number in batch]), strict=True):
            assert np.array_equal(labels_of(row), alone[number])
    streamed = UnitsExtractor(MimiCodec(str(mimi), None, "cpu", chunk_s=1.6), 1e-4)
    for samples, labels in zip(audio, alone, strict=True):
        assert np.array_equal(labels_of(streamed.extract([item(samples, 24_000)])[0]), labels)
    assert extractor.extract([item(np.zeros(0, np.float32), 24_000)])[0].status == "empty"


def test_mimis_units_and_counts_are_transformers_own(mimi: Path) -> None:
    network = MimiModel.from_pretrained(mimi).eval()
    codec = MimiCodec(str(mimi), None, "cpu", chunk_s=60.0)
    for length in (1, 1_919, 1_920, 1_921, 3_840, 50_000, 96_000):
        samples = speech_like(length)
        whole = torch.zeros(1, 1, -(-length // 1_920) * 1_920)
        whole[0, 0, :length] = torch.from_numpy(samples)
        with torch.inference_mode():
            codes = network.encode(whole).audio_codes[0, 0]
            assert network.encode(torch.from_numpy(samples)[None, None]).audio_codes.shape[2] == codec.num_frames(length)
        assert np.array_equal(codec.labels([samples])[0][0], codes.numpy())


def test_what_is_no_mimi_is_refused(model: Path, mimi: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="architecture 'hubert', not 'mimi'"):
        MimiCodec(str(model), None, "cpu", chunk_s=60.0)
    with pytest.raises(SourceError, match="architecture 'hubert', not 'mimi'"):
        UnitsExtractor.plan(UnitsConfig(codec=str(model)), None)  # type: ignore[arg-type]
    assert UnitsExtractor.plan(UnitsConfig(codec=str(mimi)), None).name == "mimi-tiny"  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["speechtokenizer:folder", "focalcodec:lucadellalib/focalcodec_50hz"])
def test_a_package_that_is_missing_is_named(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = codec.partition(":")[0]
    if package in sys.modules:
        pytest.skip(f"{package} is installed")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("utterloom.models.codecs.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=rf"needs the package '{package}'.*\n.*pip install {package}"):
        UnitsExtractor.plan(UnitsConfig(codec=codec), None)  # type: ignore[arg-type]


class PaddingHeard(torch.nn.Module):
    """What SpeechTokenizer's package gives: codes of a network that hears all of its input at once."""

    sample_rate = 16_000

    def __init__(self) -> None:
        super().__init__()
        self.quantizer = torch.nn.Module()
        self.quantizer.bins = 1_024  # type: ignore[assignment]

    @classmethod
    def load_from_checkpoint(cls, config: str, weights: str) -> PaddingHeard:
        assert Path(config).is_file() and Path(weights).is_file()
        return cls()

    def encode(self, x: torch.Tensor, n_q: int) -> torch.Tensor:
        assert x.shape[:2] == (1, 1) and n_q == 1
        frames = torch.nn.functional.pad(x[0, 0], (0, -x.shape[2] % 320)).view(-1, 320)
        return ((frames.abs().sum(1) * 1e4).long() % 1_024)[None, None]


def test_codecs_that_hear_padding_go_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package replaced by its interface, its clock read off what it gives (D-P1): 50 Hz, and never 75. Long ones in pieces."""
    package = ModuleType("speechtokenizer")
    package.SpeechTokenizer = PaddingHeard  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "speechtokenizer", package)
    monkeypatch.setattr("utterloom.models.codecs.find_spec", lambda _: package)
    for wrong in (lambda: SpeechTokenizerCodec(str(tmp_path), "cpu", 60.0, 10.0),
                  lambda: UnitsExtractor.plan(UnitsConfig(codec=f"speechtokenizer:{tmp_path}"), None)):  # type: ignore[arg-type]
        with pytest.raises(SourceError, match=r"there is no .*config\.json\n.*fnlp/SpeechTokenizer"):
            wrong()
    for name in ("config.json", "SpeechTokenizer.pt"):
        (tmp_path / name).write_bytes(b"x")
    codec = SpeechTokenizerCodec(str(tmp_path), "cpu", 60.0, 10.0)
    assert (codec.grid, codec.codebook_size, codec.sample_rate_hz) == (FrameGrid(16_000, 320), 1_024, 16_000)
    samples = speech_like(150_001)
    rows = UnitsExtractor(codec, 1e-4).extract([item(samples), item(samples[:999]), item(samples[:0])])
    assert [row.num_frames for row in rows] == [469, 4, 0] and rows[2].status == "empty"
    pieces = SpeechTokenizerCodec(str(tmp_path), "cpu", 3.0, 1.0)
    assert np.array_equal(pieces.labels([samples])[0][0], labels_of(rows[0]))


def test_features_say_what_a_codebook_must_know(model: Path) -> None:
    spec = FeaturesExtractor.open(FeaturesConfig(model=str(model), layer=2, device="cpu"), None).spec  # type: ignore[arg-type]
    assert {"model", "commit", "layer", "weights", "target_hz"} <= set(spec.producer)

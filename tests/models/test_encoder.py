"""Encoders of speech: the same numbers alone and in any batch, exactly as many frames as the model gives, and no random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from tests.models.tiny_encoders import ARCHITECTURES, LAYERS, RATE_HZ, WAVEFORM, save_tiny_encoder, speech_like
from utterloom.core.errors import ConfigError, SourceError
from utterloom.models import hub
from utterloom.models.encoder import SpeechEncoder, plan_pieces

torch.set_num_threads(1)

LENGTHS = (16_000, 7_777, 20_123, 800, 12_345)  # 1 s, odd ones, and one that is hardly a frame


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of an architecture, made once."""
    root = tmp_path_factory.mktemp("encoders")

    def folder_of(name: str) -> Path:
        if not (root / name).exists():
            save_tiny_encoder(name, root / name)
        return root / name

    return folder_of


def opened(folder: Path, layer: int = -1, **settings: float) -> SpeechEncoder:
    return SpeechEncoder.open(str(folder), layer=layer, **{"overlap_s": 0.5, **settings})


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """The largest, relative to the largest value."""
    assert left.shape == right.shape
    return float(np.abs(left - right).max(initial=0) / max(np.abs(right).max(initial=0), 1e-30))


# --- truth 2: alone and in any batch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_utterance_is_the_same_alone_and_in_any_batch(name: str, saved: Callable[[str], Path]) -> None:
    """Must show 3, A-P8, A-P9: within 1e-4 relative is promised; here, in float32, it is within 1e-5."""
    audio = [speech_like(length, seed) for seed, length in enumerate(LENGTHS)]
    encoder = opened(saved(name))
    alone = [encoder.encode([samples])[0] for samples in audio]
    for batch in ([0, 1, 2, 3, 4], [3, 1], [4, 2, 0]):
        together = encoder.encode([audio[number] for number in batch])
        for number, found in zip(batch, together, strict=True):
            assert len(found) == encoder.num_frames(LENGTHS[number])
            assert difference(found, alone[number]) < 1e-5, (name, batch, number)


@pytest.mark.parametrize("name", ["hubert-base", "wavlm-base", "wav2vec2-base", "data2vec-audio"])
def test_transformers_itself_is_not_batch_invariant(name: str, saved: Callable[[str], Path]) -> None:
    """What the masked group norm and the masked positional convolutions are for: with the mask given, padding is still heard."""
    network = save_tiny_encoder(name, saved(name).parent / f"{name}-again")
    audio = torch.from_numpy(speech_like(8_000))
    padded, mask = torch.zeros(2, 16_000), torch.zeros(2, 16_000, dtype=torch.long)
    padded[0, :8_000], padded[1], mask[0, :8_000], mask[1] = audio, torch.from_numpy(speech_like(16_000, 1)), 1, 1
    with torch.no_grad():
        alone = network(audio[None]).last_hidden_state[0]
        together = network(padded, attention_mask=mask).last_hidden_state[0, :len(alone)]
    assert difference(together.numpy(), alone.numpy()) > 1e-3


@pytest.mark.parametrize("layer", range(LAYERS + 1))
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_hidden_state_is_the_networks_own(name: str, layer: int, saved: Callable[[str], Path]) -> None:
    """State k is what layer k gives, 0 what the first reads, the last the output: taken from the whole network by hooks."""
    encoder, samples = opened(saved(name), layer), speech_like(9_000)
    if name == "conformer":
        from transformers import AutoModel

        network = AutoModel.from_pretrained(saved(name)).eval()
        layers = network.layers
    else:
        whole = save_tiny_encoder(name, saved(name).parent / f"{name}-whole")
        network = whole.get_encoder() if name == "whisper" else whole
        layers = network.layers if name == "whisper" else network.encoder.layers
    seen: dict[int, torch.Tensor] = {}

    def keep(number: int, value: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        seen[number] = value[0] if isinstance(value, tuple) else value

    layers[0].register_forward_pre_hook(lambda _, inputs: keep(0, inputs))
    for number, one in enumerate(layers, start=1):
        one.register_forward_hook(lambda _, __, output, number=number: keep(number, output))
    with torch.no_grad():
        inputs = torch.from_numpy(encoder._front.inputs(samples))[None]
        if name == "whisper":
            mels = encoder._front.extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt")["input_features"]
            last = network(mels).last_hidden_state
        elif name == "conformer":
            last = network(inputs, torch.tensor([inputs.shape[1]]))[0]
        else:
            last = network(inputs).last_hidden_state
    wanted = (last if layer == LAYERS else seen[layer])[0, :encoder.num_frames(len(samples))].numpy()
    assert difference(encoder.encode([samples])[0], wanted) < 1e-5


def test_only_the_layers_that_are_needed_are_kept(saved: Callable[[str], Path]) -> None:
    assert len(opened(saved("wavlm-large"), 1)._front.network.encoder.layers) == 1
    assert len(opened(saved("whisper"), 0)._front.network.layers) == 0


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["hubert-base", "wavlm-large", "wav2vec2-bert", "whisper", "conformer"])
def test_half_precision_gives_about_the_same(name: str, compute: str, saved: Callable[[str], Path]) -> None:
    samples = speech_like(8_000)
    exact = opened(saved(name), 1).encode([samples])[0]
    half = SpeechEncoder.open(str(saved(name)), layer=1, compute=compute, overlap_s=0.5).encode([samples, samples[:5_000]])[0]
    assert half.dtype == np.float32 and difference(half, exact) < 0.15


# --- truth 3: exactly as many frames as the model gives ---------------------------------------------------------------

SOME = sorted({*range(1, 2_001), *np.random.default_rng(0).integers(2_000, 200_001, 25).tolist()})


@pytest.mark.parametrize(("name", "lengths"), [
    ("hubert-base", SOME), *((name, SOME[::17]) for name in WAVEFORM if name != "hubert-base"),
    *(pytest.param(name, SOME, marks=pytest.mark.slow) for name in WAVEFORM if name != "hubert-base")])
def test_frames_of_every_length_are_those_of_the_convolutions(name: str, lengths: list[int], saved: Callable[[str], Path]) -> None:
    """100 % of lengths, against the shape of a real pass and against the model's own function where it is defined."""
    encoder = opened(saved(name), 0)
    convolutions, own = encoder._front.network.feature_extractor, encoder._front.network._get_feat_extract_output_lengths
    for layer in convolutions.conv_layers:
        layer.layer_norm = layer.activation = torch.nn.Identity()  # neither changes a shape
    with torch.inference_mode():
        for length in lengths:
            try:
                frames = convolutions(torch.zeros(1, length)).shape[2]
            except RuntimeError:  # shorter than a kernel
                frames = 0
            assert encoder.num_frames(length) == frames, length
            if frames:
                assert frames == int(own(torch.tensor(length)))


def test_one_second_is_49_frames(saved: Callable[[str], Path]) -> None:
    """A-P8: a length divided by 320 says 50."""
    encoder = opened(saved("wavlm-large"))
    assert [encoder.num_frames(seconds * RATE_HZ) for seconds in (1, 20)] == [49, 999]
    assert encoder.grid.rate_hz == 50


def test_frames_of_every_length_are_those_of_the_filterbank(saved: Callable[[str], Path]) -> None:
    encoder = opened(saved("wav2vec2-bert"), 0)
    for length in SOME[::7]:
        if length < 400:
            assert encoder.num_frames(length) == 0
        elif length >= 800:  # two frames of log-mel, of which the extractor makes one
            assert encoder.num_frames(length) == len(encoder._front.inputs(np.zeros(length, np.float32) + 0.1)), length


def test_frames_of_every_length_are_those_of_whispers_mask(saved: Callable[[str], Path]) -> None:
    encoder = opened(saved("whisper"), 0)
    extractor, network = encoder._front.extractor, encoder._front.network
    for length in [length for length in SOME if length <= 2 * RATE_HZ][::7]:
        mask = extractor(np.zeros(length, np.float32), sampling_rate=RATE_HZ, return_attention_mask=True)["attention_mask"]
        assert encoder.num_frames(length) == int(network._get_feat_extract_output_lengths(np.sum(mask))), length


def test_frames_of_every_length_are_those_of_our_conformer(saved: Callable[[str], Path]) -> None:
    encoder = opened(saved("conformer"), 0)
    for length in SOME[::7]:
        assert encoder.num_frames(length) == len(encoder.encode([np.zeros(length, np.float32)])[0]), length


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_too_short_has_no_frames_and_harms_nobody(name: str, saved: Callable[[str], Path]) -> None:
    encoder = opened(saved(name), 1)
    audio = speech_like(4_000)
    nothing, beside, short = encoder.encode([np.zeros(0, np.float32), audio, np.ones(3, np.float32)])
    assert nothing.shape == (0, encoder.dim) and len(short) == encoder.num_frames(3)
    assert difference(beside, encoder.encode([audio])[0]) < 1e-5


# --- long recordings --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(num_frames=st.integers(1, 5_000), longest=st.integers(1, 700), overlap=st.integers(0, 300))
def test_pieces_cover_a_recording_once(num_frames: int, longest: int, overlap: int) -> None:
    if longest <= 2 * overlap:
        with pytest.raises(ValueError):
            plan_pieces(num_frames, longest, overlap)
        return
    pieces = plan_pieces(num_frames, longest, overlap)
    assert [frame for piece in pieces for frame in range(piece.first, piece.last)] == list(range(num_frames))
    for before, after in pairwise(pieces):
        assert before.stop - after.start >= 2 * overlap
        assert before.stop - before.last >= overlap and after.first - after.start >= overlap
        # every frame lies at least as far from an edge as it would in the neighbour
        assert before.stop - before.last >= (before.last - 1) - after.start
        assert after.first - after.start + 1 >= before.stop - after.first
    for piece in pieces:
        assert 0 <= piece.start <= piece.first < piece.last <= piece.stop <= num_frames
        assert piece.stop - piece.start == min(longest, num_frames)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "whisper"])
def test_pieces_of_what_looks_no_farther_than_the_overlap_are_the_whole(name: str, saved: Callable[[str], Path]) -> None:
    """Layer 0 hears convolutions and normalisation alone: group norm's statistics and the waveform's are of the whole utterance."""
    samples = speech_like(7 * RATE_HZ + 123)
    encoder = opened(saved(name), 0, chunk_s=5.0, overlap_s=1.6)
    whole = opened(saved(name), 0).encode([samples])[0]
    pieces = list(encoder.pieces(samples))
    assert len(pieces) > 1 and encoder.is_long(len(samples)) and len(whole) == encoder.num_frames(len(samples))
    assert difference(np.concatenate(pieces), whole) < 1e-5
    assert np.array_equal(encoder.encode([samples, samples[:16_000]])[0], np.concatenate(pieces))


@pytest.mark.parametrize(("name", "most"), [("hubert-base", 2e-3), ("wavlm-large", 5e-3), ("wav2vec2-bert", 5e-3)])
def test_attention_is_all_that_pieces_change(name: str, most: float, saved: Callable[[str], Path]) -> None:
    """Two layers up, pieces of 3 s that overlap by more than positional convolutions hear differ from the whole by what attention
    heard beyond them: 0.04 % to 0.15 % of the features' size here. Without overlap it is a hundred times that for the first two."""
    samples = speech_like(8 * RATE_HZ)
    whole = opened(saved(name), 2).encode([samples])[0]
    errors = []
    for overlap_s in (1.4, 0.02):
        pieces = opened(saved(name), 2, chunk_s=3.0, overlap_s=overlap_s).encode([samples])[0]
        errors.append(float(np.sqrt(np.mean((pieces - whole) ** 2) / np.mean(whole ** 2))))
    assert errors[0] < most
    if name != "wav2vec2-bert":
        assert errors[1] > 10 * errors[0]


def test_whisper_hears_a_long_recording_in_windows(saved: Callable[[str], Path]) -> None:
    """Windows of 2 s here (30 s in life), padded to that by design: each frame is what its own window gives."""
    encoder = opened(saved("whisper"), overlap_s=0.4)
    samples = speech_like(5 * RATE_HZ + 77)
    found = encoder.encode([samples])[0]
    assert len(found) == encoder.num_frames(len(samples)) == 251
    window = encoder.encode([samples[:2 * RATE_HZ]])[0]
    assert np.array_equal(found[:75], window[:75])  # as far as the middle of what the first two windows share
    assert encoder.heard_s(len(samples)) == 8.0 and encoder.heard_s(100) == 2.0


# --- opening ----------------------------------------------------------------------------------------------------------


def without(folder: Path, into: Path, part: str) -> Path:
    """A copy of a model whose files lack the weights with `part` in their names."""
    into.mkdir()
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            weights = load_file(path)
            kept = {name: value for name, value in weights.items() if part not in name}
            assert len(kept) < len(weights)
            save_file(kept, into / path.name, metadata={"format": "pt"})
        else:
            (into / path.name).write_bytes(path.read_bytes())
    return into


def test_weights_that_are_missing_are_an_error(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """Truth 12: transformers would make them up and warn."""
    torn = without(saved("hubert-base"), tmp_path / "torn", "layers.2.attention.k_proj")
    with pytest.raises(SourceError, match=r"2 of the weights that are needed.*layers\.2\.attention\.k_proj") as error:
        opened(torn)
    assert "random" in str(error.value)
    opened(torn, 2)  # the layer that is hurt is not needed


def test_a_vector_that_only_training_needs_may_be_missing(saved: Callable[[str], Path], tmp_path: Path) -> None:
    torn = without(saved("wavlm-base"), tmp_path / "torn", "masked_spec_embed")
    samples = speech_like(5_000)
    assert np.array_equal(opened(torn).encode([samples])[0], opened(saved("wavlm-base")).encode([samples])[0])


def test_what_is_wrong_with_a_model_is_said(saved: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hidden states 0 to 3"):
        opened(saved("wavlm-large"), 4)
    with pytest.raises(ConfigError, match="chunk_s must be more than twice"):
        opened(saved("wavlm-large"), chunk_s=1.0, overlap_s=0.5)
    BertModel(BertConfig(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12)).save_pretrained(
        tmp_path / "bert")
    with pytest.raises(SourceError, match=r"architecture 'bert'.*\n.*wav2vec2-bert, wavlm, whisper"):
        opened(tmp_path / "bert")
    with pytest.raises(SourceError, match="has no config"):
        (tmp_path / "empty").mkdir()
        opened(tmp_path / "empty")
    with pytest.raises(SourceError, match="there is no model in a folder"):
        opened(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    save_tiny_encoder("wavlm-large", bare)
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(SourceError, match="how its audio is prepared"):
        opened(bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(SourceError, match="no weights"):
        opened(bare)


def test_weights_of_other_sizes_are_an_error(saved: Callable[[str], Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_tiny_encoder("wavlm-large", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"hidden_size": 30}))
    with pytest.raises(SourceError, match="cannot be opened"):
        opened(other)


def test_the_hub_is_asked_for_what_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a network: an error with the next step, or what an earlier run has left in the cache."""
    import huggingface_hub

    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SourceError, match=r"not on this machine.*Name or service not known\n.*hf download owner/tiny"):
        opened(Path("owner/tiny"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "models--owner--tiny"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    save_tiny_encoder("hubert-base", cache / "snapshots" / commit)
    files = hub.model_files("owner/tiny")
    assert (files.commit, files.short_name) == (commit, "tiny") and hub.model_files("owner/tiny", is_fetched=True) == files
    assert SpeechEncoder.open("owner/tiny", layer=1, overlap_s=0.5).layer == 1


def test_of_the_hub_only_what_is_needed_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Once: weights in one format, configurations, and what a tokenizer is kept in; at the commit that the name stands for now."""
    import huggingface_hub

    there = ["config.json", "vocab.json", "merges.txt", "spiece.model", "model-00001-of-00002.safetensors",
             "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    others = ["pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "README.md", "onnx/model.safetensors", "onnx/config.json"]
    asked: dict[str, object] = {}

    def model_info(_: object, name: str, revision: str | None) -> object:
        siblings = [type("File", (), {"rfilename": file}) for file in there + others]
        return type("Info", (), {"sha": "c" * 40, "siblings": siblings})

    def snapshot_download(name: str, **options: object) -> str:
        asked.update(options)
        save_tiny_encoder("hubert-base", tmp_path)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert hub.model_files("owner/tiny").commit == "c" * 40
    assert asked == {"revision": "c" * 40, "allow_patterns": sorted(there)}


def test_a_fingerprint_is_of_the_weights_and_of_how_audio_is_prepared(saved: Callable[[str], Path], tmp_path: Path) -> None:
    one, again, other = (tmp_path / name for name in ("one", "again", "other"))
    save_tiny_encoder("hubert-base", one)
    save_tiny_encoder("hubert-base", again)
    save_tiny_encoder("hubert-base", other, seed=1)
    prints = [hub.model_files(str(folder)).fingerprint() for folder in (one, again, other)]
    assert prints[0] == prints[1] != prints[2]
    prepared = json.loads((again / "preprocessor_config.json").read_text())
    (again / "preprocessor_config.json").write_text(json.dumps(prepared | {"do_normalize": False}))
    assert hub.model_files(str(again)).fingerprint() != prints[0]

"""Parakeet: its encoder as one of `SpeechEncoder`, and the words that its TDT models hear, each with its time.

The models are small and random, saved and opened as published ones are; truth is a search that is written out plainly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCTC,
    ParakeetCTCConfig,
    ParakeetEncoder,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetForRNNT,
    ParakeetForTDT,
    ParakeetProcessor,
    ParakeetRNNTConfig,
    ParakeetTDTConfig,
    ParakeetTokenizer,
)

from tests.models.tiny_encoders import RATE_HZ, shake, speech_like
from utterloom.core.errors import SourceError
from utterloom.models import parakeet
from utterloom.models.encoder import SpeechEncoder, open_config
from utterloom.models.hub import model_files
from utterloom.models.parakeet import Emitted, Heard, ParakeetFront, ParakeetTdt, Pieces, is_tdt, words_of

torch.set_num_threads(1)

LAYERS, DIM, MELS = 2, 24, 16
ENCODER: dict[str, Any] = {"hidden_size": DIM, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 40,
                           "conv_kernel_size": 9, "subsampling_conv_channels": 8, "num_mel_bins": MELS}
SPECIAL = ("<unk>", "<|endoftext|>", "<pad>")
TEXT = ("▁ba", "▁ko", "▁sa", "▁ri", "▁mo", "▁tu", "▁la", "▁d", "▁", "ti", "mu", "on", "t", "'", ".", ",", "%", "▁¿", "▁-", "▁é",
        "ß", "7")
PIECES = (*SPECIAL, *TEXT)
BLANK = len(PIECES)
LENGTHS = (16_000, 7_777, 20_123, 1_000, 12_345)
FRAME_S = 0.08
TDT: dict[str, Any] = {"vocab_size": BLANK + 1, "blank_token_id": BLANK, "decoder_hidden_size": 16, "pad_token_id": 2,
                       "encoder_config": ENCODER}


def save_tokenizer(folder: Path) -> None:
    """SentencePiece's pieces as a tokenizer.json, with a processor around it, as Parakeet is published."""
    inner = Tokenizer(models.Unigram([(piece, -float(number)) for number, piece in enumerate(PIECES)], unk_id=0))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    inner.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in SPECIAL])
    tokenizer = ParakeetTokenizer(tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>")
    ParakeetProcessor(ParakeetFeatureExtractor(feature_size=MELS), tokenizer).save_pretrained(folder)


def stir(network: Any) -> None:
    """Weights with which sounds still differ at the end: those that transformers begins with let next to nothing through."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5)


@torch.no_grad()
def spread(model: Any, duration_biases: Sequence[float]) -> None:
    """Choices that vary with the audio and with what was said: the joint network's mean is taken off and its deviation made 3, over
    some audio and some text; then blanks are made likelier, as are the durations that are to be."""
    prepared = ParakeetFeatureExtractor(feature_size=MELS)(speech_like(160_000, 99), sampling_rate=RATE_HZ)
    model.eval()
    for layer in (model.decoder.lstm.weight_hh_l0, model.decoder.lstm.weight_ih_l0, model.decoder.lstm.weight_ih_l1):
        layer.mul_(2)
    model.decoder.embedding.weight.normal_()
    frames, said = model.encoder(**prepared).last_hidden_state[0], torch.randint(len(SPECIAL), BLANK, (1, 40))
    for part, inputs in ((model.encoder_projector, frames), (model.decoder.decoder_projector, model.decoder.lstm(
            model.decoder.embedding(said))[0][0])):
        part.weight.div_(part(inputs).std(0).mean())
        part.bias.sub_(part(inputs).mean(0))
    head = model.joint.head
    head.bias.zero_()
    joint = torch.relu(model.encoder_projector(frames)[:, None] + model.decoder(said)).flatten(0, 1)
    head.weight.mul_(3 / head(joint).std(0)[:, None])
    head.bias.sub_(head(joint).mean(0))
    head.bias[:len(SPECIAL)] -= 9.0
    head.bias[BLANK] += 3.5
    head.bias[BLANK + 1:] += torch.tensor(duration_biases)


def settle(model: Any) -> None:
    """Batch norm's statistics as a training would have left them: not 0 and 1, so that training mode would be noticed."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(0.1 * torch.randn_like(buffer))
        elif name.endswith("running_var"):
            buffer.mul_(torch.rand_like(buffer) + 0.5)


def save_tiny(kind: str, folder: Path, seed: int = 1) -> Any:
    """Write a small model into `folder`: an encoder, ctc, rnnt, or one of the TDT variants. Returns the network that was saved."""
    torch.manual_seed(seed)
    if kind == "encoder":
        model: Any = ParakeetEncoder(ParakeetEncoderConfig(**ENCODER))
    elif kind == "ctc":
        model = ParakeetForCTC(ParakeetCTCConfig(vocab_size=BLANK + 1, pad_token_id=BLANK, encoder_config=ENCODER))
    elif kind == "rnnt":
        model = ParakeetForRNNT(ParakeetRNNTConfig(**TDT))
    elif kind == "tdt-odd":  # durations that are not their places in the list
        model = ParakeetForTDT(ParakeetTDTConfig(**TDT, durations=[0, 1, 3, 5], max_symbols_per_step=4))
    else:
        model = ParakeetForTDT(ParakeetTDTConfig(**TDT, max_symbols_per_step=3 if kind == "tdt-stuck" else 10))
    stir(model)
    shake(model)
    settle(model)
    if kind.startswith("tdt"):
        spread(model, {"tdt": (-2., 1., 0., 0., 0.), "tdt-stuck": (90., 0., 0., 0., 0.), "tdt-odd": (0., 0., 0., 0.)}[kind])
        model.generation_config.decoder_start_token_id = BLANK
        model.generation_config.suppress_tokens = list(range(BLANK + 1, BLANK + 1 + len(model.config.durations)))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model.eval()


Saved = Callable[[str], Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The folder of a tiny model, made once."""
    root = tmp_path_factory.mktemp("parakeets")

    def folder_of(kind: str) -> Path:
        if not (root / kind).exists():
            save_tiny(kind, root / kind)
        return root / kind

    return folder_of


def opened(folder: Path, layer: int = LAYERS, compute: str = "float32", chunk_s: float = 60.0,
           overlap_s: float = 10.0) -> SpeechEncoder:
    files = model_files(str(folder))
    return SpeechEncoder(ParakeetFront(files, layer, getattr(torch, compute), torch.device("cpu")), files, layer, LAYERS, chunk_s,
                         overlap_s)


def audio_of(lengths: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    return [speech_like(length, seed + number) for number, length in enumerate(lengths)]


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """The largest, relative to the largest value."""
    assert left.shape == right.shape
    return float(np.abs(left - right).max(initial=0) / max(np.abs(right).max(initial=0), 1e-30))


# --- the encoder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["encoder", "ctc", "rnnt", "tdt"])
def test_the_encoder_opens_as_any_other(kind: str, saved: Saved) -> None:
    encoder = SpeechEncoder.open(str(saved(kind)))
    samples = speech_like(9_999)
    assert (encoder.layer, encoder.dim, encoder.grid.frame_s, encoder.sample_rate_hz) == (LAYERS, DIM, FRAME_S, RATE_HZ)
    assert np.array_equal(encoder.encode([samples])[0], opened(saved(kind)).encode([samples])[0])


def test_an_utterance_is_the_same_alone_and_in_any_batch(saved: Saved) -> None:
    """Must show 3 (A-P8, A-P9): within 1e-4 relative is promised; here, in float32, it is within 1e-5."""
    audio = audio_of(LENGTHS)
    for layer in range(LAYERS + 1):
        encoder = opened(saved("ctc"), layer)
        alone = [encoder.encode([samples])[0] for samples in audio]
        for batch in ([0, 1, 2, 3, 4], [3, 1], [4, 2, 0]):
            for number, found in zip(batch, encoder.encode([audio[number] for number in batch]), strict=True):
                assert len(found) == encoder.num_frames(LENGTHS[number])
                assert difference(found, alone[number]) < 1e-5, (layer, batch, number)


@pytest.mark.parametrize("kind", ["encoder", "ctc", "tdt"])
def test_frames_are_those_of_transformers(kind: str, saved: Saved) -> None:
    """The extractor's features and the model's own forward pass, for one utterance, against ours."""
    network = save_tiny(kind, saved(kind).parent / f"{kind}-again")
    encoder = opened(saved(kind))
    for samples in audio_of(LENGTHS):
        prepared = ParakeetFeatureExtractor(feature_size=MELS)(samples, sampling_rate=RATE_HZ)
        with torch.no_grad():
            frames = getattr(network, "encoder", network)(**prepared)
        truth = frames.last_hidden_state[0, :int(frames.attention_mask.sum())].numpy()
        assert difference(encoder.encode([samples])[0], truth) < 1e-5


def test_hidden_states_are_what_layers_give(saved: Saved) -> None:
    network = save_tiny("encoder", saved("encoder").parent / "encoder-states")
    samples = speech_like(15_360)
    seen: list[torch.Tensor] = []
    network.layers[0].register_forward_pre_hook(lambda _block, inputs: seen.append(inputs[0][0]))
    for block in network.layers:
        block.register_forward_hook(lambda _block, _inputs, output: seen.append(output[0]))
    prepared = ParakeetFeatureExtractor(feature_size=MELS)(samples, sampling_rate=RATE_HZ)
    with torch.no_grad():
        network(**prepared)
    assert len(seen) == LAYERS + 1
    for layer, truth in enumerate(seen):
        found = opened(saved("encoder"), layer).encode([samples])[0]
        assert difference(found, truth[:len(found)].numpy()) < 1e-5, layer


def test_the_head_on_our_frames_gives_the_logits_of_parakeet_for_ctc(saved: Saved) -> None:
    """What CTC emissions are made of: the last hidden state, mapped by `ctc_head`, a convolution one frame wide."""
    model = save_tiny("ctc", saved("ctc").parent / "ctc-logits")
    head, samples = model.ctc_head, speech_like(20_123)
    with torch.no_grad():
        truth = model(**ParakeetFeatureExtractor(feature_size=MELS)(samples, sampling_rate=RATE_HZ)).logits[0].numpy()
    frames = opened(saved("ctc")).encode([samples])[0]
    found = frames @ head.weight[:, :, 0].detach().numpy().T + head.bias.detach().numpy()
    assert difference(found, truth[:len(found)]) < 1e-5
    alone, missing = AutoModelForCTC.from_pretrained(saved("ctc"), output_loading_info=True)
    assert not missing["missing_keys"] and torch.equal(alone.ctc_head.weight, head.weight)


def test_as_many_frames_as_the_models_own_length_function_says(saved: Saved) -> None:
    """Must show 3: for every length; an utterance with a single frame of log-mel, which has no deviation, has none."""
    encoder = opened(saved("ctc"))
    with torch.device("meta"):
        model = ParakeetEncoder(ParakeetEncoderConfig(**ENCODER))
    lengths = model._get_subsampling_output_length(torch.arange(2_000)).tolist()
    lengths[:2] = 0, 0
    for num_samples in (*range(0, 2_000), *range(2_000, 319_999, 79)):
        assert encoder.num_frames(num_samples) == lengths[num_samples // 160]
    for num_samples in (0, 1, 319, 320, 1_279, 1_280, 1_439, 1_440, 2_719, 2_720, 20_000):
        (frames,) = encoder.encode([speech_like(num_samples)])
        assert frames.shape == (lengths[num_samples // 160], DIM) and np.isfinite(frames).all()


@pytest.mark.parametrize("compute", ["float16", "bfloat16"])
def test_half_precision_keeps_positions(compute: str, saved: Saved) -> None:
    """Their frequencies would be rounded too: 40 s away, a position would be another one. Published models may lie in bfloat16."""
    folder = saved("ctc").parent / f"ctc-{compute}"
    save_tiny("ctc", folder).to(getattr(torch, compute)).save_pretrained(folder)
    front = ParakeetFront(model_files(str(folder)), LAYERS, getattr(torch, compute), torch.device("cpu"))
    whole = ParakeetFront(model_files(str(saved("ctc"))), LAYERS, torch.float32, torch.device("cpu"))
    found, truth = (one.network.encode_positions(torch.zeros(1, 500, DIM)) for one in (front, whole))
    assert float((found - truth).abs().max()) < 1e-5
    audio = audio_of((160_000, 8_000))
    encoder = opened(folder, compute=compute)
    for frames, samples in zip(encoder.encode(audio), audio, strict=True):
        alone = encoder.encode([samples])[0]
        assert np.isfinite(frames).all() and np.sqrt(np.mean((frames - alone) ** 2) / np.mean(alone ** 2)) < 0.02


# --- long audio -------------------------------------------------------------------------------------------------------


def test_log_mel_of_a_long_recording_is_the_feature_extractors(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    files = model_files(str(saved("encoder")))
    front = ParakeetFront(files, LAYERS, torch.float32, torch.device("cpu"))
    for length in (96_001, 64_160, 40_239):
        samples = speech_like(length)
        whole = front.inputs(samples)
        with monkeypatch.context() as patch:
            patch.setattr(parakeet, "MOST_MEL_FRAMES", 100)
            assert difference(front.inputs(samples), whole) < 1e-4


def test_hearing_no_further_than_the_overlap_pieces_are_the_whole(saved: Saved, tmp_path: Path) -> None:
    """Without attention, a frame hears some 0.9 s to either side, which pieces that overlap by 1.5 s have."""
    deaf = without_attention(saved("tdt"), tmp_path / "deaf")
    for seconds in (7.03, 20.61):
        samples = speech_like(int(seconds * RATE_HZ))
        whole = opened(deaf).encode([samples])[0]
        pieces = opened(deaf, chunk_s=4.0, overlap_s=1.52).encode([samples])[0]
        assert difference(pieces, whole) < 1e-5


def without_attention(folder: Path, into: Path) -> Path:
    """A copy of a model whose attention says nothing."""
    into.mkdir()
    for path in folder.iterdir():
        (into / path.name).write_bytes(path.read_bytes())
    weights = load_file(into / "model.safetensors")
    changed = {name: torch.zeros_like(value) if ".o_proj." in name else value for name, value in weights.items()}
    save_file(changed, into / "model.safetensors", metadata={"format": "pt"})
    return into


def test_no_word_is_heard_twice_or_lost_where_pieces_meet(saved: Saved, tmp_path: Path) -> None:
    """One search over all of the frames: with the frames of the whole it hears what it hears in the whole."""
    deaf = without_attention(saved("tdt"), tmp_path / "deaf")
    whole = ParakeetTdt.open(str(deaf))
    pieces = ParakeetTdt.open(str(deaf), chunk_s=4.0, overlap_s=1.52)
    for seed, seconds in enumerate((20.61, 16.0)):
        samples = speech_like(int(seconds * RATE_HZ), seed)
        assert pieces.encoder.is_long(len(samples)) and not whole.encoder.is_long(len(samples))
        (expected,), (found,) = whole.hear([samples]), pieces.hear([samples])
        assert len(expected.words) > 10 and same(found, expected)
        assert all(before.end_s <= after.start_s for before, after in zip(found.words, found.words[1:], strict=False))


@pytest.mark.parametrize("kind", ["tdt", "tdt-stuck", "tdt-odd"])
def test_a_search_goes_on_where_it_stood(kind: str, saved: Saved) -> None:
    """Frames given a few at a time are frames given at once: memory, durations that reach over, and tokens without duration."""
    heard = ParakeetTdt.open(str(saved(kind)))
    frames = heard.encoder.encode([speech_like(10 * RATE_HZ)])[0]
    (whole,), _ = heard._search.search([frames], heard._search.start(1))
    for cuts in ([1, 2, 3, 50, 124], [60], [5, 6, 100]):
        state, tokens = heard._search.start(1), []
        for first, stop in zip([0, *cuts], [*cuts, len(frames)], strict=True):
            (some,), _ = heard._search.search([frames[first:stop]], state)
            tokens += [token._replace(frame=token.frame + first) for token in some]
        assert [token[:3] for token in tokens] == [token[:3] for token in whole]


# --- the search -------------------------------------------------------------------------------------------------------


def plain_search(model: Any, frames: np.ndarray) -> list[Emitted]:
    """Greedy TDT in the plainest way: the prediction network reads all that was said again for every choice."""
    config, said, frame, symbols = model.config, [model.config.blank_token_id], 0, 0
    emitted: list[Emitted] = []
    with torch.no_grad():
        while frame < len(frames):
            predicted = model.decoder(torch.tensor([said]))[0, -1]
            logits = model.joint(decoder_hidden_states=predicted, encoder_hidden_states=model.encoder_projector(
                torch.from_numpy(frames[frame])))
            token_logits, duration_logits = logits[:config.vocab_size], logits[config.vocab_size:]
            token, duration = int(token_logits.argmax()), config.durations[int(duration_logits.argmax())]
            if token == config.blank_token_id:
                frame, symbols = frame + max(1, duration), 0
                continue
            emitted.append(Emitted(token, frame, duration, float(token_logits.log_softmax(0)[token])))
            said.append(token)
            symbols = symbols + 1 if duration == 0 else 0
            frame += duration
            if symbols == config.max_symbols_per_step:
                frame, symbols = frame + 1, 0
    return emitted


@pytest.mark.parametrize("kind", ["tdt", "tdt-stuck", "tdt-odd"])
def test_the_search_is_greedy_tdt(kind: str, saved: Saved) -> None:
    """Against the plain one, for a batch of several lengths; and the models do vary as they must for that to say anything."""
    model = save_tiny(kind, saved(kind).parent / f"{kind}-plain")
    heard = ParakeetTdt.open(str(saved(kind)))
    frames = heard.encoder.encode(audio_of((80_000, 31_000, 64_000, 1_000, 48_000)))
    found, _ = heard._search.search(frames, heard._search.start(len(frames)))
    durations, most = set(), 0
    for ours, one in zip(found, frames, strict=True):
        truth = plain_search(model, one)
        assert [token[:3] for token in ours] == [token[:3] for token in truth]
        assert np.allclose([token.log_prob for token in ours], [token.log_prob for token in truth], atol=1e-3)
        durations |= {token.duration for token in ours}
        at_once = [sum(token.frame == frame for token in ours) for frame in range(len(one))]
        most = max(most, *at_once)
    num_tokens = sum(map(len, found))
    assert num_tokens > 30 and len({token.token for one in found for token in one}) > 6, num_tokens
    assert durations == {"tdt": {0, 1, 2, 3, 4}, "tdt-stuck": {0}, "tdt-odd": {0, 1, 3, 5}}[kind]
    limit = model.config.max_symbols_per_step
    assert most == limit if kind == "tdt-stuck" else most <= limit


def test_where_transformers_is_right_it_says_the_same(saved: Saved) -> None:
    """Durations that are their own places in the list, no frame with too many tokens, one utterance at a time."""
    model = save_tiny("tdt", saved("tdt").parent / "tdt-generate")
    heard = ParakeetTdt.open(str(saved("tdt")))
    for samples in audio_of((80_000, 31_000, 48_000)):
        told = model.generate(**ParakeetFeatureExtractor(feature_size=MELS)(samples, sampling_rate=RATE_HZ),
                              return_dict_in_generate=True)
        ids, durations = told.sequences[0, 1:].tolist(), told.durations[0, 1:].tolist()
        starts = np.cumsum([0, *durations])
        truth = [(token, start, duration) for token, start, duration in zip(ids, starts, durations, strict=False) if token != BLANK]
        (ours,), _ = heard._search.search(heard.encoder.encode([samples]), heard._search.start(1))
        assert [token[:3] for token in ours] == truth and len(truth) > 5


def test_transformers_itself_leaves_a_frame_too_late(saved: Saved) -> None:
    """Why the search is ours: a model that gives token after token no duration is cut off by it, whatever is still to come."""
    model = save_tiny("tdt-stuck", saved("tdt-stuck").parent / "tdt-stuck-generate")
    samples = speech_like(48_000)
    told = model.generate(**ParakeetFeatureExtractor(feature_size=MELS)(samples, sampling_rate=RATE_HZ),
                          return_dict_in_generate=True)
    num_frames = ParakeetTdt.open(str(saved("tdt-stuck"))).encoder.num_frames(len(samples))
    assert int(told.durations.sum()) < num_frames


# --- hearing ----------------------------------------------------------------------------------------------------------


def same(left: Heard, right: Heard) -> bool:
    """The same words at the same times, scores up to rounding."""
    return (left.text, left.failed, [word[:3] for word in left.words]) == (
        right.text, right.failed, [word[:3] for word in right.words]) and np.allclose(
        [word.score for word in left.words], [word.score for word in right.words], rtol=1e-3)


@pytest.mark.parametrize("kind", ["tdt", "tdt-odd", "tdt-stuck"])
def test_the_same_is_heard_alone_and_in_any_batch(kind: str, saved: Saved) -> None:
    heard = ParakeetTdt.open(str(saved(kind)), chunk_s=6.0, overlap_s=1.0)
    audio = audio_of((80_000, 31_000, 160_000, 1_000, 48_000, 200))
    alone = [heard.hear([samples])[0] for samples in audio]
    assert sum(len(one.words) for one in alone) > 20
    for batch in ([0, 1, 2, 3, 4, 5], [3, 1], [4, 2, 0, 5, 1]):
        together = heard.hear([audio[number] for number in batch])
        for number, found in zip(batch, together, strict=True):
            assert same(found, alone[number]), (batch, number)
    assert alone[5] == Heard() and heard.hear([]) == []


def test_what_rounding_could_change_is_heard_alone(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a threshold that takes every choice for a tie, all of a batch is heard alone, bit for bit."""
    heard = ParakeetTdt.open(str(saved("tdt")))
    audio = audio_of((80_000, 31_000, 48_000))
    alone = [heard.hear([samples])[0] for samples in audio]
    monkeypatch.setattr(parakeet, "TIE", 1e9)
    assert heard.hear(audio) == alone


def test_one_that_cannot_be_heard_is_only_its_own_failure(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = ParakeetTdt.open(str(saved("tdt")), chunk_s=6.0, overlap_s=1.0)
    audio = audio_of((80_000, 31_000, 48_000, 160_000))
    broken = [audio[0], audio[1].copy(), audio[2], audio[3].copy()]
    broken[1][500] = np.nan
    broken[3][500] = np.inf
    found = heard.hear(broken)
    assert [one.failed is None for one in found] == [True, False, True, False] and "finite" in str(found[1].failed)
    assert same(found[0], heard.hear([audio[0]])[0]) and same(found[2], heard.hear([audio[2]])[0])
    encode = SpeechEncoder.encode

    def overflow(self: SpeechEncoder, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [frames * np.float32(np.nan if len(samples) == 31_000 else 1)
                for samples, frames in zip(batch, encode(self, batch), strict=True)]

    monkeypatch.setattr(SpeechEncoder, "encode", overflow)
    found = heard.hear(audio[:3])
    assert [one.failed is None for one in found] == [True, False, True] and "float32" in str(found[1].failed)


def test_words_lie_in_the_audio_in_order(saved: Saved) -> None:
    heard = ParakeetTdt.open(str(saved("tdt-stuck")))
    for samples in audio_of(range(1_000, 12_000, 777)):
        words = heard.hear([samples])[0].words
        times = [time for word in words for time in (word.start_s, word.end_s)]
        assert times == sorted(times) and all(word.start_s < word.end_s for word in words)
        assert not words or (times[0] >= 0 and times[-1] <= len(samples) / RATE_HZ)
        assert all(0 < word.score <= 1 for word in words)


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pieces(saved: Saved) -> Pieces:
    return Pieces(model_files(str(saved("tdt"))))


def emitted(*said: tuple[str, int, int]) -> list[Emitted]:
    """(piece, frame, duration) each, one as likely as another."""
    return [Emitted(PIECES.index(piece), frame, duration, log(0.5)) for piece, frame, duration in said]


def in_frames(found: Sequence[parakeet.HeardWord]) -> list[tuple[str, float, float]]:
    return [(word.word, round(word.start_s / FRAME_S, 6), round(word.end_s / FRAME_S, 6)) for word in found]


def test_pieces_make_words(pieces: Pieces) -> None:
    """A mark belongs to the word before it and lets it last no longer; between words, gaps stay."""
    tokens = emitted(("▁ba", 1, 2), ("ti", 3, 1), (",", 4, 4), ("▁ko", 10, 1), ("mu", 12, 3), (".", 15, 4))
    assert in_frames(words_of(tokens, pieces, FRAME_S, 10.0)) == [("bati,", 1, 4), ("komu.", 10, 15)]
    assert pieces.text([token.token for token in tokens]) == "bati, komu."


def test_marks_inside_before_and_alone(pieces: Pieces) -> None:
    tokens = emitted(("▁¿", 0, 2), ("on", 2, 1), ("▁-", 4, 1), ("▁d", 6, 1), ("on", 7, 1), ("'", 8, 0), ("t", 8, 1), ("▁", 10, 2),
                     ("7", 12, 1), ("%", 13, 3))
    assert in_frames(words_of(tokens, pieces, FRAME_S, 10.0)) == [("¿on-", 2, 3), ("don't", 6, 9), ("7%", 12, 16)]
    opening = emitted(("▁-", 0, 1), ("▁ba", 3, 1))
    assert in_frames(words_of(opening, pieces, FRAME_S, 10.0)) == [("-ba", 3, 4)]
    assert words_of(emitted(("▁-", 0, 1), (".", 1, 1)), pieces, FRAME_S, 10.0) == ()


def test_tokens_without_duration_have_time(pieces: Pieces) -> None:
    """A piece lasts one frame at least; words that begin at one frame share it, and nothing overlaps."""
    tokens = emitted(("▁ba", 1, 0), ("▁ko", 1, 0), ("▁sa", 1, 0), ("ti", 1, 3), ("▁d", 4, 0), ("on", 5, 0))
    assert in_frames(words_of(tokens, pieces, FRAME_S, 10.0)) == [
        ("ba", 1, round(4 / 3, 6)), ("ko", round(4 / 3, 6), round(5 / 3, 6)), ("sati", round(5 / 3, 6), 4), ("don", 4, 6)]
    assert in_frames(words_of(emitted(("▁ba", 1, 4), ("▁ko", 2, 1)), pieces, FRAME_S, 10.0)) == [("ba", 1, 2), ("ko", 2, 3)]


def test_the_last_word_ends_with_the_audio(pieces: Pieces) -> None:
    tokens = emitted(("▁ba", 1, 1), ("▁ko", 2, 0), ("▁sa", 2, 4))
    found = words_of(tokens, pieces, FRAME_S, 0.17)
    assert [(word.word, word.start_s, word.end_s) for word in found] == [
        ("ba", 0.08, 0.16), ("ko", 0.16, pytest.approx(0.165)), ("sa", pytest.approx(0.165), 0.17)]


def test_what_is_no_text_is_in_no_word(pieces: Pieces) -> None:
    tokens = emitted(("<|endoftext|>", 0, 1), ("▁ba", 1, 1), ("<unk>", 2, 1), ("ti", 3, 1), ("<pad>", 5, 1))
    assert in_frames(words_of(tokens, pieces, FRAME_S, 10.0)) == [("bati", 1, 4)]


def test_repeated_pieces_stay_and_scores_are_geometric_means(pieces: Pieces) -> None:
    """A tokenizer of Parakeet takes two equal tokens for one, as CTC must; TDT said both."""
    ids = [PIECES.index(piece) for piece in ("▁ba", "ti", "ti", ".")]
    scores = (0.8, 0.1, 0.1, 0.01)
    tokens = [Emitted(token, frame, 1, log(score)) for frame, (token, score) in enumerate(zip(ids, scores, strict=True))]
    (word,) = words_of(tokens, pieces, FRAME_S, 10.0)
    assert word.word == "batiti." and word.score == pytest.approx(0.008 ** (1 / 3)) and pieces.text(ids) == "batiti."


@settings(deadline=None)
@given(said=st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 4), st.integers(0, 3)), max_size=30),
       rest=st.floats(0.01, 0.5))
def test_words_never_overlap_and_lose_no_piece(pieces: Pieces, said: list[tuple[str, int, int]], rest: float) -> None:
    frame, tokens = 0, []
    for piece, duration, blanks in said:
        tokens.append(Emitted(PIECES.index(piece), frame, duration, -0.1))
        frame += duration + blanks
    duration_s = ((tokens[-1].frame if tokens else 0) + rest) * FRAME_S
    words = words_of(tokens, pieces, FRAME_S, duration_s)
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and all(word.start_s < word.end_s <= duration_s for word in words)
    text = "".join(piece for piece, _, _ in said if piece in TEXT).replace("▁", "")
    if any(pieces.is_said(token.token) for token in tokens if pieces.is_text(token.token)):
        assert "".join(word.word for word in words) == text
    assert all(word.score == pytest.approx(exp(-0.1)) for word in words)


# --- opening ----------------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_model_is_said(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a parakeet_ctc, which does not time"):
        ParakeetTdt.open(str(saved("ctc")))
    assert is_tdt(open_config(model_files(str(saved("tdt"))))) and not is_tdt(open_config(model_files(str(saved("rnnt")))))

    def copy(name: str) -> Path:
        save_tiny("tdt", tmp_path / name)
        return tmp_path / name

    torn = copy("torn")
    weights = load_file(torn / "model.safetensors")
    save_file({name: value for name, value in weights.items() if not name.startswith("joint.head")}, torn / "model.safetensors",
              metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"2 of the weights that are needed.*joint\.head"):
        ParakeetTdt.open(str(torn))
    opened(torn)  # the encoder is whole
    silent = copy("silent")
    (silent / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match="token"):
        ParakeetTdt.open(str(silent))
    other = copy("other")
    ParakeetFeatureExtractor(feature_size=24).save_pretrained(other)
    (other / "processor_config.json").unlink(missing_ok=True)
    with pytest.raises(SourceError, match=r"24 bins .* and 16"):
        opened(other)

"""Encoders of every architecture, small and random, saved as the Hub has them: what a test opens is opened as users open theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    UniSpeechConfig,
    UniSpeechModel,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from utterloom.audio.logmel import LogMelParameters
from utterloom.models.contract import Contract
from utterloom.models.ctc import ConformerCTCConfig, ConformerForCTC

RATE_HZ = 16_000
LAYERS = 3
SIZES: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": LAYERS, "num_attention_heads": 3, "intermediate_size": 40,
                         "num_conv_pos_embedding_groups": 4}
CONVOLUTIONS: dict[str, Any] = {"conv_dim": (16,) * 7, "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}
# The published shapes of a network: base models have group norm in front and norms behind, large ones layer norms before.
BASE: dict[str, Any] = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
LARGE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SMALL = {**SIZES, **CONVOLUTIONS}

WAVEFORM: dict[str, tuple[Any, Any, bool]] = {  # the model, its configuration, whether its waveform is normalised
    "wav2vec2-base": (Wav2Vec2Model, Wav2Vec2Config(**SMALL, **BASE), True),
    "wav2vec2-large": (Wav2Vec2Model, Wav2Vec2Config(**SMALL, **LARGE), True),
    "hubert-base": (HubertModel, HubertConfig(**SMALL, **BASE), True),
    "hubert-large": (HubertModel, HubertConfig(**SMALL, **LARGE), True),
    "wavlm-base": (WavLMModel, WavLMConfig(**SMALL, **BASE, num_buckets=32, max_bucket_distance=80), False),
    "wavlm-large": (WavLMModel, WavLMConfig(**SMALL, **LARGE, num_buckets=32, max_bucket_distance=80), True),
    "data2vec-audio": (Data2VecAudioModel, Data2VecAudioConfig(**SMALL, num_conv_pos_embeddings=3, conv_pos_kernel_size=9), True),
    "unispeech": (UniSpeechModel, UniSpeechConfig(**SMALL, **LARGE), True),
    "unispeech-sat": (UniSpeechSatModel, UniSpeechSatConfig(**SMALL, **BASE), True),
}
OTHERS = ("wav2vec2-bert", "whisper", "conformer")
ARCHITECTURES = (*WAVEFORM, *OTHERS)


def save_tiny_encoder(name: str, folder: Path, seed: int = 0) -> Any:
    """Write a model of that architecture into `folder` and return the network that was saved."""
    torch.manual_seed(seed)
    if name in WAVEFORM:
        kind, config, is_normalised = WAVEFORM[name]
        network = kind(config)
        Wav2Vec2FeatureExtractor(do_normalize=is_normalised).save_pretrained(folder)
    elif name == "wav2vec2-bert":
        network = Wav2Vec2BertModel(Wav2Vec2BertConfig(**SIZES, feature_projection_input_dim=40, conv_depthwise_kernel_size=5,
                                                       left_max_position_embeddings=8, right_max_position_embeddings=2))
        SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20).save_pretrained(folder)
    elif name == "whisper":  # windows of 2 s instead of 30
        network = WhisperModel(WhisperConfig(
            vocab_size=20, num_mel_bins=20, encoder_layers=LAYERS, encoder_attention_heads=3, decoder_layers=1,
            decoder_attention_heads=3, encoder_ffn_dim=40, decoder_ffn_dim=40, d_model=24, max_source_positions=100,
            max_target_positions=10, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1))
        WhisperFeatureExtractor(feature_size=20, chunk_length=2).save_pretrained(folder)
    else:
        network = ConformerForCTC(ConformerCTCConfig(vocab_size=20, hidden_size=24, num_hidden_layers=LAYERS, num_attention_heads=2,
                                                     intermediate_size=40, subsampling=4, subsampling_channels=4, conv_kernel=5))
        folder.mkdir(parents=True, exist_ok=True)
        Contract("ctc", "basic@1", LogMelParameters(), {}, {}).save(folder)
    shake(network)
    network.save_pretrained(folder)
    return network.eval()


def shake(network: Any) -> None:
    """Norms and biases that are not 1 and 0, so that one which is forgotten is noticed, and attention that looks somewhere."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif any(part in name for part in ("q_proj", "k_proj", "linear_q", "linear_k", "qkv", "rel_attn_embed")):
                parameter.mul_(8)


def speech_like(num_samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour change a few times a second, off centre: float32 [samples]."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(num_samples + 64)
    coloured = np.convolve(noise, generator.standard_normal(33), "same")[:num_samples]
    loudness = np.interp(np.arange(num_samples), np.arange(0, num_samples + 8000, 4000),
                         generator.uniform(0.01, 0.2, len(np.arange(0, num_samples + 8000, 4000))))
    return (coloured * loudness * 0.2 + 0.01).astype(np.float32)

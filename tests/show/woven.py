"""A corpus of tones with layers whose truth is known: words with gaps between them, units, tokens and features of one audio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.tones import RATE_HZ, chirp, packed, prepared, write_table
from utterloom.core.artifact import building
from utterloom.core.timing import FrameGrid
from utterloom.shards.layers import KIND, OK, STATUSES, LayerRow, LayerSpec, shard_lines, write_layer_shard
from utterloom.shards.reader import Corpus

GRID = FrameGrid(16_000, 320)  # 50 Hz
KINDS = ("aligned", "estimated", "implausible", "unplaced")
WORD_S, GAP_S, DIM, CODEBOOK = 0.3, 0.1, 12, 50
TEXTS = {"u0": "một hai ba bốn", "u1": "năm sáu", "u2": "bảy tám một", "u3": "hai", "u4": "ba bốn năm sáu bảy", "u5": "tám một"}


def start_of(word: int) -> int:
    """The sample at which word `word` of any utterance begins: each has a gap before it."""
    return round((GAP_S + word * (WORD_S + GAP_S)) * RATE_HZ)


def make_corpus(folder: Path, texts: Mapping[str, str] = TEXTS) -> Path:
    """A corpus of two shards, train and dev."""
    (folder / "source").mkdir(parents=True)
    gap = np.zeros(round(GAP_S * RATE_HZ))
    rows = []
    for number, (name, text) in enumerate(texts.items()):
        parts = [gap]
        for word in text.split():
            parts += [chirp(word, number, seconds=WORD_S), gap]
        soundfile.write(folder / "source" / f"{name}.wav", np.concatenate(parts), RATE_HZ)
        rows.append({"id": name, "path": f"{name}.wav", "text": text, "speaker": f"s{number % 2}",
                     "split": "dev" if number % 3 == 2 else "train"})
    prepared(write_table(folder / "source" / "table.tsv", rows), folder / "manifest")
    packed(folder / "manifest", folder / "corpus")
    return folder / "corpus"


def word_row(text: str, stop: int | None = None) -> LayerRow:
    """Words where they are; the second is estimated, the third implausible, those after it have no time."""
    words, place = [], 0
    for number, word in enumerate(text.split()):
        start, end = start_of(number), start_of(number) + round(WORD_S * RATE_HZ)
        has_time = not (number >= 3)
        step = (end - start) // len(word)
        chars = [{"char": char, "start_sample": start + at * step, "stop_sample": start + (at + 1) * step}
                 for at, char in enumerate(word)] if has_time else []
        words.append({"word": word, "start_sample": start if has_time else None, "stop_sample": end if has_time else None,
                      "score": 0.9 - 0.3 * number if has_time else None, "kind": KINDS[min(number, 3)],
                      "first_char": place, "stop_char": place + len(word), "chars": chars})
        place += len(word) + 1
    flag = "1 word too long" if len(words) > 2 else None
    return LayerRow(OK, num_frames=len(words), columns={"text": text, "score": 0.61, "flag": flag, "words": words})


def unit_row(num_samples: int, seed: int) -> LayerRow:
    rng, frames = np.random.default_rng(seed), GRID.num_frames(num_samples, RATE_HZ)
    units: list[int] = []
    runs: list[int] = []
    while sum(runs) < frames:
        units.append(int(rng.integers(CODEBOOK)))
        runs.append(int(min(rng.integers(1, 7), frames - sum(runs))))
    return LayerRow(OK, num_frames=frames, columns={"units": units, "runs": runs})


def token_row(text: str) -> LayerRow:
    """Each word in two tokens that share its time; the last word of four or more has none."""
    names = ("token_ids", "first_char", "stop_char", "start_sample", "stop_sample")
    columns: dict[str, list[int | None]] = {name: [] for name in names}
    place = 0
    for number, word in enumerate(text.split()):
        for first, stop in ((0, 1), (1, len(word))):
            start = start_of(number) if number < 3 else None
            for name, value in zip(columns, (1000 + len(columns["token_ids"]), place + first, place + stop, start,
                                             None if start is None else start + round(WORD_S * RATE_HZ)), strict=True):
                columns[name].append(value)
        place += len(word) + 1
    return LayerRow(OK, num_frames=len(columns["token_ids"]), columns=columns,
                    array=np.zeros((len(columns["token_ids"]), 4), np.float16))


def feature_row(num_samples: int, seed: int) -> LayerRow:
    frames = GRID.num_frames(num_samples, RATE_HZ)
    wave = np.sin(np.arange(frames)[:, None] / (3 + np.arange(DIM)) + seed)
    return LayerRow(OK, num_frames=frames, array=wave.astype(np.float16))


SPECS = {
    "words": LayerSpec("words", {"model": "runs/align"}),
    "hubert-50": LayerSpec("units", {"model": "hubert"}, GRID, codebook_size=CODEBOOK),
    "qwen": LayerSpec("states", {"model": "qwen"}, dtype="float16", dim=4),
    "wavlm": LayerSpec("features", {"model": "wavlm"}, GRID, "float16", DIM),
}
EXTRACTS = {"words": "words", "hubert-50": "units", "qwen": "states", "wavlm": "features"}
CONFIGS: dict[str, dict[str, Any]] = {
    "words": {"model": "runs/align"}, "hubert-50": {"codebook": "books/50"}, "qwen": {"text": "raw"},
    "wavlm": {"model": "wavlm", "layer": -1}}


def row_of(name: str, text: str, num_samples: int, seed: int) -> LayerRow:
    """What the layer of that name has of an utterance; `u3` fails, everywhere but in `words`."""
    return {"words": lambda: word_row(text), "hubert-50": lambda: unit_row(num_samples, seed), "qwen": lambda: token_row(text),
            "wavlm": lambda: feature_row(num_samples, seed)}[name]()


def add_layers(corpus_path: Path, names: Iterable[str] = SPECS, shards: int | None = None) -> None:
    """Layers as `extract` writes them; with `shards` only so many of each, as if it had been killed."""
    corpus = Corpus(corpus_path)
    for name in names:
        spec = SPECS[name]
        identity = {"name": name, "extracts": EXTRACTS[name], "config": CONFIGS[name]}
        with building(corpus_path / name, KIND, identity) as artifact:
            for shard in corpus.shards[:shards]:
                table = corpus.table(shard.name)
                ids = [table.id(row) for row in range(len(table))]
                rows = ((row, row_of(name, table.text(row) or "", int(table.num_samples[row]), row)
                         if (ids[row] != "u3" or name == "words") else LayerRow.failed("too short for the model: 0.5 s"))
                        for row in range(len(table)))
                write_layer_shard(corpus_path / name, shard.name, spec, ids, rows, shard.utterances_sha256)
            if shards is None:
                artifact.commit(card_of(corpus_path / name, corpus, spec))


def card_of(folder: Path, corpus: Corpus, spec: LayerSpec) -> dict[str, Any]:
    """As `extract` writes it."""
    lines = shard_lines(folder, corpus)
    counts = {status: sum(line[status] for line in lines) for status in STATUSES}
    num_bytes, hours = sum(line["bytes"] + (line["tar_bytes"] or 0) for line in lines), sum(s.seconds for s in corpus.shards) / 3600
    failed = [{"status": "failed", "reason": "too short for the model", "utterances": counts["failed"], "example": "u3: too short"}]
    return {"spec": spec.to_json(), "corpus": corpus.fingerprint, "utterances": sum(counts.values()), "hours": round(hours, 6),
            "bytes": num_bytes, "bytes_per_hour": round(num_bytes / hours), "frames": sum(line["frames"] for line in lines),
            "shards": lines, "ledger": {"in": sum(counts.values()), **counts, "reasons": failed if counts["failed"] else []}}

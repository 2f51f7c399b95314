"""Audio to discrete units, end to end: `extract units` beside the paths of slamkit and textlesslib.

    python benchmarks/encoding.py                        16 utterances of read speech, three rounds, a few minutes
    python benchmarks/encoding.py --utterances 64 --rounds 5
    python benchmarks/encoding.py --json                 for machines

HuBERT-base in shape, with random weights; layer 9 (as slamkit has it), 500 units whose centroids are frames of it. Each takes the
same utterances in FLAC at 16 kHz and leaves units on disk, with one thread; models are open. CPU-seconds, in turns.

- utterloom: a packed corpus, decoded, checked, batched by length; nine of the twelve layers; the layer written as `extract` does.
- slamkit's path: files sorted by length, padded into batches of 8, all twelve layers without a mask, scikit-learn's `predict`,
  lines of JSON. (Its padding is heard: the units are not those of the utterance alone; how many differ is said.)
- textlesslib's path: one utterance at a time, nine layers, scikit-learn's `predict`, lines of JSON with run lengths.
- floor: the network alone, nine layers, one utterance at a time.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
from board import circumstances, deliver, markdown_table, note, say_circumstances

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
RATE_HZ, LAYER, UNITS, BATCH = 16_000, 9, 500, 8
PACKAGES = ["utterloom", "numpy", "numba", "torch", "transformers", "scikit-learn", "soundfile"]
OURS, SLAMKIT, TEXTLESS, FLOOR = "utterloom", "slamkit's path", "textlesslib's path", "floor: the network alone"
Units = dict[str, np.ndarray]


def material(folder: Path, count: int) -> list[Path]:
    """FLAC files of 16 kHz speech in `folder`, and their corpus in folder/corpus. Raises SystemExit without recordings."""
    from utterloom import pipeline
    from utterloom.audio.decode import decode, to_mono
    from utterloom.audio.resample import resample

    found = sorted((SHARED / "ljspeech_lj001" / "audio").glob("LJ001-00[0-9][0-9].flac"))
    found += sorted((SHARED / "an4").rglob("*.flac"))
    if len(found) < count:
        raise SystemExit(f"there are {len(found)} recordings under {SHARED}, not {count}")
    paths, lines = [], ["id\tpath\ttext\tsplit"]
    for path in found[:count]:
        samples, rate_hz = decode(path)
        paths.append(folder / f"{path.stem}.flac")
        soundfile.write(paths[-1], resample(to_mono(samples), rate_hz, RATE_HZ), RATE_HZ, subtype="PCM_16")
        lines.append(f"{path.stem}\t{paths[-1].name}\t\ttrain")
    (folder / "table.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pipeline.prepare("table", folder / "table.tsv", folder / "manifest", ["unlabelled=keep", "group_by=[]", "dev=0", "language=en"])
    pipeline.pack(folder / "manifest", folder / "corpus", ["workers=0"])
    return paths


class Contenders:
    """Models open; each method takes every utterance to units on disk."""

    def __init__(self, folder: Path, paths: list[Path]) -> None:
        import torch
        from sklearn.cluster import KMeans
        from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

        from utterloom.models.encoder import SpeechEncoder
        from utterloom.models.kmeans import Codebook

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.folder, self.paths, self.torch = folder, paths, torch
        model = folder / "hubert-base"
        self.network = HubertModel(HubertConfig()).eval()
        self.network.save_pretrained(model)
        Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=False).save_pretrained(model)
        encoder = SpeechEncoder.open(str(model), layer=LAYER)
        frames = np.concatenate(encoder.encode([soundfile.read(path, dtype="float32")[0] for path in paths[:4]]))
        chosen = np.random.default_rng(0).choice(len(frames), UNITS, replace=False)
        Codebook(frames[chosen], {**encoder.producer, "target_hz": None}, encoder.grid).save(folder / "codebook")
        self.kmeans = KMeans(UNITS, n_init=1, max_iter=1).fit(frames[chosen])
        self.kmeans.cluster_centers_ = frames[chosen].astype(np.float32)
        self.kmeans.predict(frames[:10])
        self.nine = HubertModel(HubertConfig()).eval()
        self.nine.load_state_dict(self.network.state_dict())
        self.nine.encoder.layers = self.nine.encoder.layers[:LAYER]
        self.turn = 0

    def ours(self) -> Units:
        from utterloom.extract.config import UnitsConfig
        from utterloom.extract.stage import ExtractTask, extract_shard
        from utterloom.shards.layers import layer_path
        from utterloom.shards.reader import Corpus

        corpus = Corpus(self.folder / "corpus")
        out = self.folder / f"layer{self.turn}"
        out.mkdir(exist_ok=True)
        self.turn += 1
        config = UnitsConfig(codebook=str(self.folder / "codebook"), device="cpu")
        for shard in corpus.shards:
            extract_shard(ExtractTask("units", config, str(self.folder / "corpus"), str(out), shard.name))
        return self._read([out / layer_path(shard.name) for shard in corpus.shards])

    @staticmethod
    def _read(files: list[Path]) -> Units:
        import pyarrow.parquet as pq

        return {row["id"]: np.repeat(row["units"], row["runs"]) for path in files for row in pq.read_table(path).to_pylist()}

    def slamkit(self) -> Units:
        torch, found = self.torch, {}
        files = sorted(self.paths, key=lambda path: -soundfile.info(path).frames)
        with (self.folder / "slamkit.jsonl").open("w") as out, torch.inference_mode():
            for start in range(0, len(files), BATCH):
                names = files[start:start + BATCH]
                wavs = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in names]
                lengths = torch.tensor([len(wav) for wav in wavs])
                padded = torch.nn.functional.pad(torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True), (40, 40))
                states = self.network(padded, output_hidden_states=True).hidden_states[LAYER].numpy()
                labels = self.kmeans.predict(states.reshape(-1, states.shape[-1])).reshape(states.shape[:2])
                kept = torch.ceil(lengths / padded.shape[1] * labels.shape[1]).int().tolist()
                for path, row, size in zip(names, labels, kept, strict=True):
                    found[path.stem] = row[:size]
                    out.write(json.dumps({"file_name": str(path), "units": row[:size].tolist()}) + "\n")
        return found

    def textless(self) -> Units:
        torch, found = self.torch, {}
        with (self.folder / "textless.jsonl").open("w") as out, torch.inference_mode():
            for path in self.paths:
                wav = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
                labels = self.kmeans.predict(self.nine(wav[None]).last_hidden_state[0].numpy())
                found[path.stem] = labels
                runs = [(int(unit), len(list(run))) for unit, run in groupby(labels)]
                out.write(json.dumps({"audio": str(path), "units": [unit for unit, _ in runs], "durations": [n for _, n in runs]}))
        return found

    def floor(self) -> Units:
        torch = self.torch
        with torch.inference_mode():
            for path in self.paths:
                self.nine(torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None])
        return {}

    def all(self) -> dict[str, Callable[[], Units]]:
        return {OURS: self.ours, SLAMKIT: self.slamkit, TEXTLESS: self.textless, FLOOR: self.floor}


def equal_share(left: Units, right: Units) -> float | None:
    """Of the frames that both have, how many have the same unit."""
    if not right:
        return None
    same = total = 0
    for name, units in left.items():
        size = min(len(units), len(right[name]))
        same, total = same + int((units[:size] == right[name][:size]).sum()), total + size
    return same / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path)
    asked = parser.parse_args()
    result = circumstances(PACKAGES)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = material(folder, asked.utterances)
        seconds = sum(soundfile.info(path).duration for path in paths)
        contenders = Contenders(folder, paths)
        units = {name: run() for name, run in contenders.all().items()}  # warm, and compared
        rounds: list[dict[str, float]] = []
        for number in range(asked.rounds):
            note(f"round {number + 1} of {asked.rounds}")
            taken = {}
            for name, run in contenders.all().items():
                started = time.process_time()
                run()
                taken[name] = time.process_time() - started
            rounds.append(taken)
    rows = []
    for name in units:
        ratios = [taken[name] / taken[OURS] for taken in rounds]
        rows.append({"name": name, "cpu_s": median(taken[name] for taken in rounds), "ours_over_it": median(ratios),
                     "worst": min(ratios), "best": max(ratios), "equal_units": equal_share(units[OURS], units[name])})
    result |= {"rows": rows, "utterances": len(paths), "seconds": seconds, "rounds": asked.rounds}
    table = [["path", "CPU-s", "× real time", "utterloom over it", "worst", "best", "units as ours"]]
    table += [[row["name"], f"{row['cpu_s']:.2f}", f"{seconds / row['cpu_s']:.1f}",
               *(f"{row[key]:.2f}" for key in ("ours_over_it", "worst", "best")),
               "–" if row["equal_units"] is None else f"{100 * row['equal_units']:.2f} %"] for row in rows]
    text = f"{markdown_table(table)}\n\n{len(paths)} utterances, {seconds:.0f} s; {say_circumstances(result)}"
    deliver(result, asked.json, text, asked.save)


if __name__ == "__main__":
    main()

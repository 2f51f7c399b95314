"""Discrete units: assigning them with a codebook of k-means and fitting one, beside scikit-learn (slamkit, textlesslib) and torch.

    python benchmarks/units.py assign                      HuBERT-shaped features, blobs and noise; 500 and 2,000 units
    python benchmarks/units.py assign --features FILE.npy  features of your own, float16 or float32 [frames, dim]
    python benchmarks/units.py fit                         inertia beside scikit-learn, on frames that fit in memory
    python benchmarks/units.py fit --frames 50000000       memory, over a folder of that many frames (6.4 GB at 64 dimensions)

`assign`: in a round all take turns over the same 50,000 frames of 768 dimensions, in one process with one thread; CPU-seconds.
Labels of each are compared with those of float64 first. `hubert`: what the fourth layer of a HuBERT-base of random weights makes
of the recordings beside the checkout; `blobs`: Gaussian, 600 centres in all 768 directions; `noise`: uniform.

scikit-learn's is `KMeans.predict`, which slamkit and textlesslib call through joblib; `torch` is the other way that they have:
squared distances by one product, and `argmin`.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from board import circumstances, deliver, markdown_table, note, peak_rss_bytes, plain_table, ratio, say_circumstances

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
DIM = 768
PACKAGES = ["utterloom", "numpy", "numba", "scikit-learn", "torch", "transformers"]
Assign = Callable[[np.ndarray], np.ndarray]


# --- frames -----------------------------------------------------------------------------------------------------------


def hubert(num: int) -> np.ndarray:
    """Layer 4 of a HuBERT-base of random weights over real speech, float32 [num, 768]; kept in /tmp, since it takes minutes."""
    cached = Path(tempfile.gettempdir()) / f"utterloom-hubert-{num}.npy"
    if cached.is_file():
        return np.load(cached).astype(np.float32)
    import soundfile
    import torch
    from transformers import HubertConfig, HubertModel

    paths = [path for folder in ("an4", "ljspeech_lj001", "vivos_spk01") for path in sorted((SHARED / folder).rglob("*"))
             if path.suffix in (".wav", ".flac")]
    if not paths:
        raise SystemExit(f"there are no recordings under {SHARED}: give features of your own with --features")
    np.random.default_rng(0).shuffle(paths)  # type: ignore[arg-type]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, found, total = HubertModel(HubertConfig(num_hidden_layers=4)).eval(), [], 0
    with torch.inference_mode():
        for path in paths:
            samples, rate_hz = soundfile.read(path, dtype="float32")
            if rate_hz != 16_000 or samples.ndim != 1 or len(samples) < 8_000:
                continue
            samples = samples[:20 * rate_hz]
            inputs = torch.from_numpy((samples - samples.mean()) / (samples.std() + 1e-5))[None]
            found.append(model(inputs).last_hidden_state[0].numpy().astype(np.float16))
            total += len(found[-1])
            if total >= num:
                break
    np.save(cached, np.concatenate(found)[:num])
    return np.load(cached).astype(np.float32)


def blobs(num: int) -> np.ndarray:
    """600 Gaussian centres that differ in all directions, float32 [num, 768]."""
    draws = np.random.default_rng(0)
    centres = 0.7 * draws.standard_normal((600, DIM), np.float32)
    return centres[draws.integers(600, size=num)] + draws.standard_normal((num, DIM), np.float32)


def noise(num: int) -> np.ndarray:
    """Uniform, float32 [num, 768]: nothing to find, the worst there is."""
    return np.random.default_rng(0).random((num, DIM), np.float32)


MATERIALS = {"hubert": hubert, "blobs": blobs, "noise": noise}


# --- assigning --------------------------------------------------------------------------------------------------------


def contenders(centroids: np.ndarray) -> dict[str, Assign]:
    """Those that are installed."""
    from utterloom.models.kmeans import Codebook

    book = Codebook(centroids)
    found: dict[str, Assign] = {"utterloom": lambda frames: book.assign(frames)[0]}
    try:
        from sklearn.cluster import KMeans

        theirs = KMeans(len(centroids), n_init=1, max_iter=1, init=centroids).fit(centroids)
        theirs.cluster_centers_ = centroids
        found["scikit-learn (slamkit, textlesslib)"] = theirs.predict
    except ImportError:
        note("scikit-learn is not installed: pip install scikit-learn")
    try:
        import torch

        torch.set_num_threads(1)
        columns = torch.from_numpy(centroids).T.contiguous()
        squares = (columns**2).sum(0, keepdim=True)

        def by_torch(frames: np.ndarray) -> np.ndarray:
            values = torch.from_numpy(frames)
            distances = values.pow(2).sum(1, keepdim=True) - 2 * values @ columns + squares
            return distances.argmin(dim=1).numpy()

        found["torch, argmin of a product"] = by_torch
    except ImportError:
        note("torch is not installed")
    return found


def true_labels(frames: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """By float64: products first, then the differences of those that are near."""
    wide = centroids.astype(np.float64)
    squares, labels = (wide**2).sum(axis=1), np.empty(len(frames), np.int64)
    for start in range(0, len(frames), 1024):
        block = frames[start:start + 1024].astype(np.float64)
        scores = squares - 2 * block @ wide.T
        best = scores.min(axis=1, keepdims=True)
        for row, column in enumerate(scores.argmin(axis=1)):
            near = np.flatnonzero(scores[row] <= best[row] + 1e-6 * (np.abs(best[row]) + (block[row]**2).sum()))
            labels[start + row] = near[((block[row] - wide[near])**2).sum(axis=1).argmin()] if len(near) > 1 else column
    return labels


def codebook_of(frames: np.ndarray, clusters: int) -> np.ndarray:
    """A few passes over the frames, float32 [clusters, dim]."""
    from utterloom.models.kmeans_fit import fit_kmeans

    return fit_kmeans(_InMemory(frames), clusters, seed=0, passes=3, sample_frames=5 * clusters, starts=1).centroids


class _InMemory:
    """Frames as a source to fit on."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames, self.parts, self.counts, self.dim = frames, ["frames"], [len(frames)], frames.shape[1]

    def read(self, part: int) -> Any:
        yield self.frames


def measure_assign(name: str, frames: np.ndarray, clusters: int, num_rounds: int) -> list[dict[str, Any]]:
    """One row for each contender: CPU-seconds of every round, and how many times as fast ours is."""
    note(f"{name}: {len(frames):,} frames, {clusters:,} units")
    centroids = codebook_of(frames, clusters)
    forms, wanted = contenders(centroids), true_labels(frames, centroids)
    equal = {form: float((assign(frames) == wanted).mean()) for form, assign in forms.items()}
    spent_s: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(num_rounds):
        for form, assign in forms.items():
            started = time.process_time()
            assign(frames)
            spent_s[form].append(time.process_time() - started)
    ours = [1 / seconds for seconds in spent_s["utterloom"]]
    return [{"material": name, "units": clusters, "form": form, "frames_per_cpu_s": len(frames) / median(spent_s[form]),
             "rounds_s": spent_s[form], "equal_to_float64": equal[form],
             "ours_over_it": ratio(ours, [1 / seconds for seconds in spent_s[form]])} for form in forms]


def assign_table(result: dict[str, Any]) -> list[list[str]]:
    rows = [["frames, units", "assigned by", "frames / CPU-s", "labels equal to float64", "utterloom over it", "worst round"]]
    for row in result["rows"]:
        rows.append([f"{row['material']}, {row['units']:,}", row["form"], f"{row['frames_per_cpu_s']:,.0f}",
                     f"{row['equal_to_float64']:.5%}", f"{row['ours_over_it']['median']:.2f}", f"{row['ours_over_it']['min']:.2f}"])
    return rows


def run_assign(options: argparse.Namespace) -> dict[str, Any]:
    result = circumstances(PACKAGES)
    materials = ({options.features.stem: lambda num: np.load(options.features)[:num].astype(np.float32)} if options.features else
                 {name: MATERIALS[name] for name in options.materials})
    result["rows"] = [row for name, make in materials.items() for clusters in options.units
                      for row in measure_assign(name, make(options.frames or 50_000), clusters, options.rounds)]
    result["table"] = assign_table(result)
    return result


# --- fitting ----------------------------------------------------------------------------------------------------------


def measure_inertia(num_seeds: int) -> list[dict[str, Any]]:
    """Of features that fit in memory: ours, once, beside scikit-learn's best and worst of some starts."""
    from sklearn.cluster import KMeans

    rows = []
    for name, clusters in (("hubert", 100), ("blobs", 500)):
        frames = MATERIALS[name](20_000 if name == "blobs" else 50_000)[:20_000]
        from utterloom.models.kmeans_fit import fit_kmeans

        note(f"{name}: {len(frames):,} frames, {clusters} clusters")
        started = time.process_time()
        ours = fit_kmeans(_InMemory(frames), clusters, seed=0, passes=50, sample_frames=len(frames) // 2).inertia[-1]
        middle = time.process_time()
        theirs = [float(KMeans(clusters, n_init=1, random_state=seed).fit(frames).inertia_) for seed in range(num_seeds)]
        rows.append({"material": name, "frames": len(frames), "clusters": clusters, "inertia": ours, "scikit_learn": theirs,
                     "ours_over_best": ours / min(theirs), "cpu_s": middle - started,
                     "scikit_learn_cpu_s": (time.process_time() - middle) / num_seeds})
    return rows


def write_frames(folder: Path, num: int, dim: int) -> None:
    """float16 .npy files of a million frames each, around 2,000 centres."""
    folder.mkdir(parents=True)
    centres = np.random.default_rng(0).standard_normal((2_000, dim), np.float32)
    for number, start in enumerate(range(0, num, 1_000_000)):
        draws, count = np.random.default_rng([1, number]), min(1_000_000, num - start)
        frames = np.lib.format.open_memmap(folder / f"{number:04d}.npy", "w+", np.float16, (count, dim))
        for first in range(0, count, 50_000):
            few = min(50_000, count - first)
            frames[first:first + few] = centres[draws.integers(2_000, size=few)] + draws.standard_normal((few, dim), np.float32)
        del frames


def measure_memory(num: int, dim: int, clusters: int, passes: int) -> dict[str, Any]:
    """Peak memory of a process that fits on so many frames."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        note(f"writing {num:,} frames of {dim} dimensions, {num * dim * 2 / 1e9:.1f} GB")
        write_frames(folder / "frames", num, dim)
        note("fitting on them")
        done = subprocess.run([sys.executable, __file__, "fit-one", folder / "frames", folder / "book", str(clusters), str(passes)],
                              stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"frames": num, "dim": dim, "clusters": clusters, **found}


def fit_one(features: Path, out: Path, clusters: int, passes: int) -> None:
    """What the measured process does."""
    from utterloom.core.log import set_up
    from utterloom.extract.fit import FitConfig, fit_units

    set_up()
    started, wall = time.process_time(), time.perf_counter()
    card = fit_units(features, out, FitConfig(clusters=clusters, passes=passes, tolerance=0.0, starts=1))
    print(json.dumps({"peak_mb": round(peak_rss_bytes() / 1e6, 1), "passes": card["fit"]["passes"],
                      "mean_squared_distance": [value / card["fit"]["frames"] for value in card["fit"]["inertia"]],
                      "cpu_s": round(time.process_time() - started, 1), "wall_s": round(time.perf_counter() - wall, 1)}))


def run_fit(options: argparse.Namespace) -> dict[str, Any]:
    result = circumstances(PACKAGES)
    if options.frames:
        found = measure_memory(options.frames, options.dim, options.units[0], options.passes)
        result["memory"] = found
        result["table"] = [["fit", "peak MB", "passes", "CPU-s", "wall s", "mean squared distance"],
                           [f"{found['frames']:,} × {found['dim']}, {found['clusters']} clusters", f"{found['peak_mb']:,.0f}",
                            str(found["passes"]), f"{found['cpu_s']:,.0f}", f"{found['wall_s']:,.0f}",
                            " → ".join(f"{value:.4f}" for value in found["mean_squared_distance"])]]
        return result
    result["rows"] = measure_inertia(options.rounds)
    result["table"] = [["frames, clusters", "inertia", "scikit-learn, best", "worst", "ours over best", "CPU-s",
                        "theirs, one start"]]
    for row in result["rows"]:
        theirs = row["scikit_learn"]
        result["table"].append([f"{row['frames']:,} {row['material']}, {row['clusters']}", f"{row['inertia']:.6g}",
                                f"{min(theirs):.6g}", f"{max(theirs):.6g}", f"{row['ours_over_best']:.4f}", f"{row['cpu_s']:.1f}",
                                f"{row['scikit_learn_cpu_s']:.1f}"])
    return result


def main() -> None:
    if sys.argv[1:2] == ["fit-one"]:
        fit_one(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["assign", "fit"])
    parser.add_argument("--features", type=Path, help="assign: frames of your own, a .npy file")
    parser.add_argument("--materials", nargs="+", choices=list(MATERIALS), default=list(MATERIALS), help="assign")
    parser.add_argument("--units", nargs="+", type=int, default=[500, 2_000])
    parser.add_argument("--frames", type=int, help="assign: how many, by default 50,000; fit: memory over that many on disk")
    parser.add_argument("--dim", type=int, default=64, help="fit: of the frames on disk")
    parser.add_argument("--passes", type=int, default=3, help="fit: over the frames on disk")
    parser.add_argument("--rounds", type=int, default=5, help="assign: turns; fit: scikit-learn's starts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    result = {"assign": run_assign, "fit": run_fit}[options.what](options)
    table = result.pop("table")
    text = markdown_table(table) if options.markdown else plain_table(table)
    deliver(result, options.json, f"{text}\n\n{say_circumstances(result)}", options.save)


if __name__ == "__main__":
    main()

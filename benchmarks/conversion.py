"""What does it cost to turn MP3 (48 kHz, stereo) into FLAC (16 kHz, mono)? CPU-seconds, ours and six peers.

    python benchmarks/conversion.py                            clips cut from ../shared/data, ten minutes
    python benchmarks/conversion.py --recordings ~/recordings  from recordings of your own
    python benchmarks/conversion.py --clips 24 --rounds 2      a short look
    python benchmarks/conversion.py --json --save board.json   for machines
    python benchmarks/conversion.py --markdown                 the block for README.md

One run, one machine, the same files: before it is timed, every converter's FLAC is compared with ours, in length and in sound.
In a round each converts the same clips, in turns that begin with another one every time; every round has clips of its own. What
is claimed are ratios inside a round. CPU time is that of this process and of every process that it started.

Three things are measured besides: a whole `pack` against the bare loop over all clips (what checks, hashes and ledgers cost); how
much of tones above 8 kHz comes out as noise below it; and one long MP3 cut into utterances, opened once or anew for each.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import argparse
import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import board
import clips
import numpy as np
from converters import (
    BARE,
    CONVERTERS,
    MODES,
    OURS,
    TO_FLAC,
    TO_SAMPLES,
    Converter,
    Opened,
    delivered,
    difference,
    say_settings,
)

HEADINGS = {TO_FLAC: "MP3 to FLAC files", TO_SAMPLES: "MP3 to samples in memory"}
HEADER = ["converter", "CPU-ms / audio-s", "× real time", "utterloom over it"]
FLAC_HEADER = [*HEADER, "gain", "like utterloom, dB", "7 kHz, dB", "aliases, dB"]
PACKAGES = ["utterloom", "numpy", "soundfile", "soxr", "pyarrow", "torch", "torchcodec", "lhotse", "scipy", "datasets", "pydub"]
MOST_SAMPLES_APART = 2
LEAST_SNR_DB = 25.0  # what filters of other steepness leave alike
WHOLE_ROUNDS = 3
SPAN_S = 15.0

Found = dict[tuple[str, str], list[float]]  # CPU-seconds by converter and mode, round by round


def cpu_s_of(work: Callable[[], object]) -> float:
    started = board.cpu_s()
    work()
    return board.cpu_s() - started


def into(work: Callable[[Path], object], folder: Path) -> float:
    """CPU-seconds of work that fills a fresh folder, which is removed."""
    folder.mkdir()
    took_s = cpu_s_of(lambda: work(folder))
    shutil.rmtree(folder)
    return took_s


def complaint(converter: Converter, without_peers: bool) -> str | None:
    """Why it cannot be measured."""
    if converter.peer and without_peers:
        return "peers were not asked for"
    missing = [name for name in converter.packages if find_spec(name) is None]
    missing += [f"the command {name}" for name in converter.commands if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed" if missing else None


# --------------------------------------------------------------------------------------------------------- the same sound


def prove(opened: dict[str, Opened], paths: list[Path], folder: Path) -> dict[str, dict[str, float]]:
    """Everyone converts the same clips: medians of how they differ from ours. Ends the run where it is another sound."""
    flac: dict[str, dict[str, bytes]] = {}
    for name, converter in opened.items():
        if converter.flac:
            (folder / name).mkdir(parents=True)
            converter.flac(paths, folder / name)
            flac[name] = delivered(folder / name)
            shutil.rmtree(folder / name)
    proofs = {}
    for name, contents in flac.items():
        if sorted(contents) != sorted(path.stem for path in paths):
            raise SystemExit(f"{name} made {len(contents)} files of {len(paths)}")
        found = [difference(contents[stem], flac[OURS][stem]) for stem in contents]
        proofs[name] = {key: median(entry[key] for entry in found) for key in ("gain", "snr_db")}
        proofs[name] |= {"samples_apart": max(abs(entry["samples"]) for entry in found),
                         "bytes": sum(map(len, contents.values())) / sum(map(len, flac[OURS].values()))}
        if proofs[name]["samples_apart"] > MOST_SAMPLES_APART or proofs[name]["snr_db"] < LEAST_SNR_DB:
            raise SystemExit(f"{name} does not make what utterloom makes: {proofs[name]}")
    return proofs


def filters(opened: dict[str, Opened], folder: Path) -> dict[str, dict[str, float]]:
    """What is left of tones, in dB against 1 kHz: the highest that should stay, and the loudest of those that should go."""
    import io

    import soundfile

    folder.mkdir()
    tones = {hz: clips.make_tone(folder / f"{hz}.mp3", hz) for hz in (*clips.PASSED_HZ, *clips.ALIASED_HZ)}
    found = {}
    for name, converter in opened.items():
        if name in (OURS, BARE) or not converter.flac:  # the bare loop is ours in this; a shard wants clips of the manifest
            continue
        (out := folder / "out").mkdir()
        converter.flac(list(tones.values()), out)
        found[name] = {int(stem): float(np.sqrt(np.mean(soundfile.read(io.BytesIO(content))[0][4000:-4000] ** 2)))
                       for stem, content in delivered(out).items()}
        shutil.rmtree(out)
    found[OURS] = {hz: float(np.sqrt(np.mean(_ours(path)[4000:-4000] ** 2))) for hz, path in tones.items()}
    return {name: {"passed_db": _db(levels[clips.PASSED_HZ[-1]] / levels[1000]),
                   "aliased_db": _db(max(levels[hz] for hz in clips.ALIASED_HZ) / levels[1000])} for name, levels in found.items()}


def _ours(path: Path) -> np.ndarray:
    from converters import RATE_HZ

    from utterloom.audio.decode import decode, to_mono
    from utterloom.audio.encode import quantise_int16
    from utterloom.audio.resample import resample

    samples_sc, rate_hz = decode(path)
    return quantise_int16(resample(to_mono(samples_sc), rate_hz, RATE_HZ))[0] / 32768


def _db(ratio: float) -> float:
    return float(20 * np.log10(max(ratio, 1e-6)))


# ------------------------------------------------------------------------------------------------------------ the clock


def measure(opened: dict[str, Opened], slices: list[list[Path]], folder: Path) -> Found:
    """Every converter in every mode that it has, on each slice of the clips in its turn."""
    seats = [(name, mode) for name, converter in opened.items() for mode in MODES if getattr(converter, mode)]
    found: Found = {seat: [] for seat in seats}
    for number, paths in enumerate(slices):
        board.note(f"round {number + 1} of {len(slices)}")
        first = number * 5 % len(seats)
        for name, mode in seats[first:] + seats[:first]:
            converter = opened[name]
            if mode == TO_FLAC:
                found[name, mode].append(into(lambda out, flac=converter.flac, paths=paths: flac(paths, out), folder / "out"))
            else:
                found[name, mode].append(cpu_s_of(lambda convert=converter.samples, paths=paths: [convert(p) for p in paths]))
    return found


def whole(bare: Opened, paths: list[Path], manifest: Path, folder: Path) -> dict[str, Any]:
    """The command `pack` with all that it does (estimate, shards, card), in this process, and the bare loop; by turns."""
    from utterloom.pack.stage import PackConfig, pack

    taken: dict[str, list[float]] = {"pack": [], "bare": []}
    for number in range(WHOLE_ROUNDS):
        board.note(f"all clips, {number + 1} of {WHOLE_ROUNDS}")
        taken["bare"].append(into(lambda out: bare.flac(paths, out) if bare.flac else None, folder / "bare"))
        taken["pack"].append(into(lambda out: pack(manifest, out / "corpus", PackConfig(workers=0)), folder / "pack"))
    return {"pack_s": median(taken["pack"]), "bare_s": median(taken["bare"]),
            "overhead": extra(taken["pack"], taken["bare"])}


def extra(taken: list[float], bare: list[float]) -> dict[str, float]:
    """How much more, as a part of the bare: of the median round, the best and the worst."""
    return {key: value - 1 for key, value in board.ratio(taken, bare).items()}


def spans_of_one(recording: Path) -> dict[str, Any]:
    """A long MP3 cut into utterances: opened once, and anew for each; the same samples are checked for."""
    from converters import RATE_HZ

    from utterloom.audio.probe import probe
    from utterloom.audio.spans import SpanReader

    rate_hz, seconds = clips.RATE_HZ, probe(recording).duration_s
    num = int(seconds // SPAN_S)
    rows = [{"path": str(recording), "start_sample": int(n * SPAN_S * rate_hz), "stop_sample": int((n + 1) * SPAN_S * rate_hz),
             "sample_rate_hz": rate_hz, "num_channels": 2, "channel": None} for n in range(num)]
    once: list[np.ndarray] = []
    anew: list[np.ndarray] = []

    def cut_once() -> None:
        with SpanReader() as sources:
            once.extend(sources.load([row], RATE_HZ) for row in rows)

    def cut_anew() -> None:
        for row in rows:
            with SpanReader() as sources:
                anew.append(sources.load([row], RATE_HZ))

    once_s, anew_s = cpu_s_of(cut_once), cpu_s_of(cut_anew)
    apart = max(float(np.abs(a - b).max()) for a, b in zip(once, anew, strict=True))
    if apart > 1e-3:
        raise SystemExit(f"a span of {recording} depends on what was read before it: samples differ by {apart}")
    return {"seconds": seconds, "spans": num, "once_s": once_s, "anew_s": anew_s, "times": anew_s / once_s}


# ------------------------------------------------------------------------------------------------------------ the result


def rows_of(found: Found, slices_s: list[float], proofs: dict[str, Any], heard: dict[str, Any]) -> list[dict[str, Any]]:
    rates = {seat: [audio_s / cpu_s for audio_s, cpu_s in zip(slices_s, taken, strict=True)] for seat, taken in found.items()}
    rows = []
    for converter in CONVERTERS:
        for mode in (TO_FLAC, TO_SAMPLES):
            seat = converter.id, mode
            if seat in found:
                rows.append({
                    "id": converter.id, "label": converter.label, "mode": mode, "peer": converter.peer,
                    "settings": converter.settings,
                    "cpu_ms_per_audio_s": 1000 / median(rates[seat]), "real_time": median(rates[seat]),
                    "ours_over_it": board.ratio(rates[OURS, mode], rates[seat]), "rounds": found[seat],
                    **(proofs.get(converter.id, {}) | heard.get(converter.id, {}) if mode == TO_FLAC else {})})
    return rows


def claims_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ours over each peer's better setting."""
    claims = []
    for mode in (TO_FLAC, TO_SAMPLES):
        for peer in dict.fromkeys(row["peer"] for row in rows if row["peer"]):
            candidates = [row for row in rows if row["mode"] == mode and row["peer"] == peer]
            if candidates:
                best = max(candidates, key=lambda row: row["real_time"])
                claims.append({"mode": mode, "over": best["label"], **best["ours_over_it"]})
    return claims


def say(result: dict[str, Any], markdown: bool) -> str:
    parts = []
    for mode in (TO_FLAC, TO_SAMPLES):
        table = [FLAC_HEADER if mode == TO_FLAC else HEADER, *(_cells(row) for row in result["rows"] if row["mode"] == mode)]
        parts.append(f"**{HEADINGS[mode]}**\n\n{board.markdown_table(table)}" if markdown
                     else f"{HEADINGS[mode]}\n{board.plain_table(table)}")
    parts.append("\n".join(["utterloom is", *([""] if markdown else []), *(
        f"- {HEADINGS[claim['mode']]}: {claim['median']:.2f} × {claim['over']} (worst round {claim['min']:.2f}, "
        f"best {claim['max']:.2f})" for claim in result["claims"])]))
    audio, whole, spans = result["audio"], result["whole"], result["spans"]
    parts.append(
        f"Checks, hashes, ledger, tar and Parquet of a shard: {_cost(result['bookkeeping'])} over the bare loop on the same clips. "
        f"A whole `pack` of all clips, its estimate included: {_cost(whole['overhead'])}.")
    parts.append(
        f"One MP3 of {spans['seconds'] / 60:.0f} minutes cut into {spans['spans']} utterances: {spans['once_s']:.1f} CPU-s opened "
        f"once, {spans['anew_s']:.1f} CPU-s opened anew for each, {spans['times']:.2f} × as long.")
    parts.append(
        f"{audio['clips']} clips of speech, {audio['minutes']:.1f} minutes, {audio['mean_s']:.1f} s in the mean ({clips.MIN_S:g} "
        f"to {audio['longest_s']:g} s), MP3 of {audio['kbps']:.0f} kbit/s, 48 kHz stereo, page cache warm; medians of "
        f"{audio['rounds']} rounds, each over {audio['clips_in_a_round']} clips of its own. {board.say_circumstances(result)}")
    if result["skipped"]:
        parts.append("Left out: " + "; ".join(f"{entry['label']}: {entry['why']}" for entry in result["skipped"]) + ".")
    return "\n\n".join([*parts, f"How each is set:\n\n{say_settings()}"] if markdown else parts)


def _cost(overhead: dict[str, float]) -> str:
    return f"{overhead['median']:+.1%} (worst round {overhead['max']:+.1%}, best {overhead['min']:+.1%})"


def _cells(row: dict[str, Any]) -> list[str]:
    cells = [row["label"], f"{row['cpu_ms_per_audio_s']:.2f}", f"{row['real_time']:,.0f}", f"{row['ours_over_it']['median']:.2f}"]
    if row["mode"] == TO_FLAC:
        is_ours = row["id"] == OURS
        cells += [f"{row['gain']:.2f}", "–" if is_ours else f"{row['snr_db']:.0f}"]
        cells += [f"{row['passed_db']:.1f}", f"{row['aliased_db']:.0f}"] if "passed_db" in row else ["as utterloom"] * 2
    return cells


def main() -> None:
    import soundfile

    from utterloom import pipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, default=clips.RECORDINGS, help="a folder of them; by default ../shared/data")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--longest-s", type=float, default=clips.MAX_S, help="clips are as long as this at most")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--long-s", type=float, default=3600.0, help="length of the recording that is cut into utterances")
    parser.add_argument("--without-peers", action="store_true", help="only utterloom and the floors")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--markdown", action="store_true", help="the block for README.md")
    parser.add_argument("--save", type=Path, help="write the JSON to this file too")
    arguments = parser.parse_args()
    if not 1 <= arguments.rounds <= arguments.clips:
        parser.error(f"there are 1 to {arguments.clips} rounds (--clips), not {arguments.rounds}")
    if not arguments.recordings.is_dir():
        parser.error(f"there is no folder {arguments.recordings}: name one of speech recordings by --recordings")
    with tempfile.TemporaryDirectory(prefix="utterloom-benchmark-") as name:
        folder = Path(name)
        result = {"benchmark": "conversion", **board.circumstances(PACKAGES)}
        board.note("making clips")
        paths = clips.make_clips(folder / "clips", arguments.recordings, arguments.clips, arguments.longest_s)
        pipeline.prepare("table", clips.write_table(folder / "clips.tsv", paths), folder / "manifest", ["dev=0", "workers=0"])
        skipped = {converter.id: why for converter in CONVERTERS if (why := complaint(converter, arguments.without_peers))}
        opened = {converter.id: converter.open(folder / "manifest") for converter in CONVERTERS if converter.id not in skipped}
        count = len(paths) // arguments.rounds
        slices = [paths[number * count:(number + 1) * count] for number in range(arguments.rounds)]
        durations = {path: soundfile.info(path).duration for path in paths}
        slices_s = [sum(durations[path] for path in paths) for paths in slices]
        board.note("comparing")
        proofs = prove(opened, slices[0], folder / "proofs")
        heard = filters(opened, folder / "tones")
        found = measure(opened, slices, folder)
        whole_cost = whole(opened[BARE], paths, folder / "manifest", folder)
        board.note("a long recording")
        long = clips.make_long(folder / "long.mp3", arguments.recordings, arguments.long_s)
        total_s, num_bytes = sum(durations.values()), sum(path.stat().st_size for path in paths)
        result.update(
            audio={"clips": len(paths), "minutes": total_s / 60, "mean_s": total_s / len(paths), "rounds": len(slices),
                   "clips_in_a_round": count, "longest_s": arguments.longest_s, "kbps": num_bytes * 8 / total_s / 1000},
            rows=(rows := rows_of(found, slices_s, proofs, heard)), claims=claims_of(rows), whole=whole_cost,
            bookkeeping=extra(found[OURS, TO_FLAC], found[BARE, TO_FLAC]), spans=spans_of_one(long),
            skipped=[{"id": converter.id, "label": converter.label, "why": skipped[converter.id]} for converter in CONVERTERS
                     if converter.id in skipped])
    board.deliver(result, arguments.json, say(result, arguments.markdown), arguments.save)


if __name__ == "__main__":
    main()

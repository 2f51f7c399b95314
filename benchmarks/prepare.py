"""How large a manifest a small machine decides about, and what repairing names costs.

    python benchmarks/prepare.py                          1,000,000 utterances; 400,000 references to 742 recordings
    python benchmarks/prepare.py --utterances 50000       fewer
    python benchmarks/prepare.py --json                   for machines

A manifest of so many utterances over 742 recordings is written first (not measured). Then, each in a process of its own:
opening it; and `prepare manifest`: reading, filtering, holding out a dev split, sampling, describing and writing the rest.

Repair: references whose names went through another system (spaces doubled, capitals, decomposed accents), over the real
files of a folder; against the scan that compares each reference with every file name, measured on a part of the references
and said so.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import Any

import board

RECORDINGS = 742  # as in a parliament's corpus that was prepared by hand (system E)
NAIVE_REFERENCES = 4000  # the scan takes minutes for all
PACKAGES = ["utterloom", "numpy", "pyarrow"]
WORDS = [
    "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín", "mười", "giờ", "phút", "sáng", "trưa", "chiều", "tối", "bật",
    "tắt", "đèn", "quạt", "cửa", "phòng", "khách", "ngủ", "bếp"]


def recordings(folder: Path) -> list[Path]:
    """Empty files with names such as a parliament gives them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"Sjednica {number:03d} - Točka {number % 7}, zasjedanje Ž.wav" for number in range(RECORDINGS)]
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def make(folder: Path, num_utterances: int) -> None:
    """A manifest as `prepare` leaves it, written directly: its audio does not matter here."""
    from utterloom.core.artifact import building, sha256_of
    from utterloom.core.records import Span, Utterance
    from utterloom.shards import layout
    from utterloom.shards.manifest import write
    from utterloom.text.normalisers import normaliser

    files, draw, view = recordings(folder / "audio"), random.Random(0), normaliser("basic")

    def utterance(number: int) -> Utterance:
        start = 16_000 * 20 * (number // RECORDINGS)
        text = " ".join(draw.choices(WORDS, k=draw.randint(3, 18)))
        return Utterance(
            id=f"parliament/{number % RECORDINGS:03d}-{number // RECORDINGS:06d}", text=text.capitalize() + ".",
            spans=(Span(str(files[number % RECORDINGS]), start, start + draw.randint(1_000, 560_000), 16_000, 1),),
            speaker=f"speaker-{number % RECORDINGS % 305:03d}", split="train", language="vi", views={"basic": text})

    identity = {"config": {}, "reader": "made", "source": "made", "view": view.view, "inputs": {}}
    with building(folder / "manifest", "manifest", identity) as artifact:
        write(folder / "manifest" / layout.MANIFEST_FILE, [utterance(number) for number in range(num_utterances)], "basic")
        artifact.commit({"utterances_sha256": sha256_of(folder / "manifest" / layout.MANIFEST_FILE)})


def opened(folder: Path) -> int:
    import pyarrow.parquet as pq

    from utterloom.core.artifact import load_card
    from utterloom.shards import layout

    load_card(folder / "manifest", "manifest")
    return int(pq.ParquetFile(folder / "manifest" / layout.MANIFEST_FILE).metadata.num_rows)


def decided(folder: Path) -> dict[str, Any]:
    from utterloom.prepare.stage import PrepareConfig, SampleConfig, prepare

    config = PrepareConfig(min_s=0.5, dev=0.02, sample=SampleConfig(hours=200), workers=0)
    return prepare("manifest", folder / "manifest", folder / "less", config)


def references(files: list[Path], num: int) -> list[str]:
    """The files' names as other systems hand them on."""
    draw = random.Random(1)
    spellings = (
        lambda name: name, lambda name: name.replace(" ", "  "), str.upper, lambda name: unicodedata.normalize("NFD", name),
        lambda name: name.replace(" - ", " -  ").lower())
    return [str(path.parent / draw.choice(spellings)(path.name)) for path in draw.choices(files, k=num)]


def repaired(folder: Path, num: int) -> dict[str, float]:
    """Seconds for all references with ours; for a part with the scan, and what all would take it."""
    from utterloom.prepare.recordings import Finder, plain

    files = recordings(folder / "audio")
    wanted = references(files, num)
    started = time.perf_counter()
    finder = Finder()
    found = {name: finder.find(name) for name in dict.fromkeys(wanted)}
    ours = [found[name] for name in wanted]
    ours_s = time.perf_counter() - started
    few = wanted[:NAIVE_REFERENCES]
    started = time.perf_counter()
    theirs = [next((str(file) for file in files if plain(file.name) == plain(Path(name).name)), None) for name in few]
    naive_s = time.perf_counter() - started
    assert None not in ours and [Path(name or "").name for name in ours[:len(few)]] == [Path(name or "").name for name in theirs]
    return {"references": num, "ours_s": ours_s, "naive_references": len(few), "naive_s": naive_s,
            "naive_for_all_s": naive_s * num / len(few)}


def do(what: str, folder: Path, num: int) -> dict[str, Any]:
    """One of the above, with its time and memory. Runs in a process of its own."""
    started, cpu_s = time.perf_counter(), board.cpu_s()
    result: Any = {"make": lambda: make(folder, num), "open": lambda: opened(folder), "decide": lambda: decided(folder),
                   "repair": lambda: repaired(folder, num)}[what]()
    measured = {"wall_s": time.perf_counter() - started, "cpu_s": board.cpu_s() - cpu_s,
                "peak_rss_mb": board.peak_rss_bytes() / 1e6}
    if what == "decide":
        measured["kept"], measured["in"] = result["utterances"], result["ledger"]["in"]
    return {**measured, **(result if what == "repair" else {})}


def in_a_process(what: str, folder: Path, num: int) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--do", what, "--folder", folder, "--utterances", str(num)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--references", type=int, default=400_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--do", choices=("make", "open", "decide", "repair"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.do:
        print(json.dumps(do(arguments.do, arguments.folder, arguments.utterances)))
        return
    result = {"benchmark": "prepare", **board.circumstances(PACKAGES), "utterances": arguments.utterances}
    with tempfile.TemporaryDirectory(prefix="utterloom-benchmark-") as name:
        folder = Path(name)
        board.note("writing a manifest")
        in_a_process("make", folder, arguments.utterances)
        for what in ("open", "decide"):
            board.note(what)
            result[what] = in_a_process(what, folder, arguments.utterances)
        board.note("repair")
        result["repair"] = in_a_process("repair", folder, arguments.references)
    board.deliver(result, arguments.json, say(result, arguments.markdown), arguments.save)


def say(result: dict[str, Any], markdown: bool) -> str:
    rows = [["", "wall, s", "CPU, s", "peak RSS, MB"]]
    for key, label in (("open", "open the manifest, imports included"), ("decide", "read, filter, split, sample, describe, write")):
        row = result[key]
        rows.append([label, f"{row['wall_s']:.2f}", f"{row['cpu_s']:.2f}", f"{row['peak_rss_mb']:,.0f}"])
    repair = result["repair"]
    table = board.markdown_table(rows) if markdown else board.plain_table(rows)
    return "\n\n".join([
        f"{result['utterances']:,} utterances of {RECORDINGS} recordings; {result['decide']['kept']:,} are left",
        table,
        f"Repair of {repair['references']:,} references: {repair['ours_s']:.2f} s; comparing each with every name took "
        f"{repair['naive_s']:.1f} s for {repair['naive_references']:,} of them, so {repair['naive_for_all_s']:,.0f} s for all: "
        f"{repair['naive_for_all_s'] / repair['ours_s']:,.0f} × as long.",
        board.say_circumstances(result)])


if __name__ == "__main__":
    main()

"""How fast are loaders? Utterances per CPU-second, bytes only and decoded in padded batches, ours and three peers.

    python benchmarks/loader.py                            the table; AN4 from ../shared where it is, else synthetic audio
    python benchmarks/loader.py --corpus corpora/mine      the same on any packed corpus
    python benchmarks/loader.py --json --save board.json   for machines
    python benchmarks/loader.py --markdown                 the block for README.md

One run, one machine, the same audio for everyone: before it is timed, each loader delivers one epoch that is compared bit by
bit with the others'. Each lives in a process of its own for the whole run. In a round each reads whole epochs, in slices of a tenth
of a second by turns, so that a noisy neighbour hits all alike. What is claimed are ratios inside a round, never times.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import argparse
import math
import multiprocessing
import shutil
import tempfile
import time
import traceback
from collections.abc import Generator
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import board
from contenders import CONTENDERS, FLOORS, MODES, OURS, Contender, Epoch, proof, say_settings
from material import Material, prepare_material

SLICE_S = 0.1
LOOK_EVERY = 16  # batches, at the memory of workers
HEADINGS = {"bytes": "Bytes only", "decoded": "Decoded, in padded batches"}
HEADER = ["loader", "utterances / CPU-s", "of the floor", "utterloom over it", "peak RSS, MB"]
PACKAGES = ["utterloom", "numpy", "soundfile", "pyarrow", "isal", "webdataset", "datasets", "torch"]

Seat = tuple[str, str]  # a contender in a mode
Found = dict[Seat, list[dict[str, float]]]  # its measurements, round by round


# ---------------------------------------------------------------------------------------------- in the measured processes


def start_group(module: str, material: Material, batch: int, seats: dict[Seat, Connection]) -> None:
    """Import once, then give each seat a process of its own."""
    import_module(module)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=sit, args=(seat, material, batch, seats)) for seat in seats]
    for child in children:
        child.start()
    for connection in seats.values():
        connection.close()
    for child in children:
        child.join()


def sit(seat: Seat, material: Material, batch: int, seats: dict[Seat, Connection]) -> None:
    """Wait for orders: open and prove, then slice by slice how long a round is; the end of the orders is the end."""
    connection = seats.pop(seat)
    for other in seats.values():  # who dies is noticed when nobody else holds the line
        other.close()
    name, mode = seat
    contender = next(contender for contender in CONTENDERS if contender.id == name)
    try:
        connection.recv()
        with contender.open(material, mode, batch) as epoch:
            connection.send(proof(epoch(0), mode))
            rounds = _rounds(epoch, SLICE_S if contender.num_workers == 0 else math.inf)
            next(rounds)
            while True:
                connection.send(rounds.send(connection.recv()))
    except EOFError:  # the other end was stopped
        return
    except Exception:
        connection.send(traceback.format_exc())


def _rounds(epoch: Epoch, slice_s: float) -> Generator[dict[str, float] | None, float, None]:
    """Sent how many CPU-seconds a round takes at least, yields None after each slice and at the end of a round what it measured.

    A round is whole epochs, so that filling buffers and starting workers counts for those who do it.
    """
    epochs = count(1)
    seconds = yield None
    while True:
        utterances, workers_bytes, spent_s, wall_s = 0, 0, 0.0, 0.0
        while spent_s < seconds:
            before_s, wall_before_s = board.cpu_s(), time.perf_counter()
            slice_ends_s = time.process_time() + slice_s
            for batch, (number, _) in enumerate(epoch(next(epochs))):
                utterances += number
                if batch % LOOK_EVERY == 0:
                    workers_bytes = max(workers_bytes, board.workers_rss_bytes())
                if time.process_time() >= slice_ends_s:
                    spent_s, wall_s = spent_s + board.cpu_s() - before_s, wall_s + time.perf_counter() - wall_before_s
                    yield None
                    before_s, wall_before_s = board.cpu_s(), time.perf_counter()
                    slice_ends_s = time.process_time() + slice_s
            spent_s, wall_s = spent_s + board.cpu_s() - before_s, wall_s + time.perf_counter() - wall_before_s
        seconds = yield {"rate": utterances / spent_s, "cpu_s": spent_s, "wall_rate": utterances / wall_s,
                         "rss_bytes": board.peak_rss_bytes() + workers_bytes}


# ------------------------------------------------------------------------------------------------------------ the rounds


def measure(material: Material, batch: int, seconds: float, rounds: int, left_out: set[str]) -> Found:
    able = [contender for contender in CONTENDERS if contender.id not in left_out]
    seats = [(contender, mode) for mode in MODES for contender in able if mode in contender.modes]
    spawn = multiprocessing.get_context("spawn")
    ours: dict[Seat, Connection] = {}
    theirs: dict[str, dict[Seat, Connection]] = {}
    for contender, mode in seats:
        ours[contender.id, mode], theirs.setdefault(contender.imports, {})[contender.id, mode] = spawn.Pipe()
    groups = [spawn.Process(target=start_group, args=(module, material, batch, connections))
              for module, connections in theirs.items()]
    for group in groups:
        group.start()
    for connection in chain.from_iterable(connections.values() for connections in theirs.values()):
        connection.close()
    try:
        _prove(ours)
        found: Found = {seat: [] for seat in ours}
        order = list(ours)
        for number in range(rounds):
            board.note(f"round {number + 1} of {rounds}")
            first = number * len(order) // rounds
            under_way = order[first:] + order[:first]
            while under_way:  # a slice each, until all have ended their round
                answers = {seat: _ask(ours[seat], seat, seconds) for seat in under_way}
                for seat in [seat for seat, answer in answers.items() if answer is not None]:
                    found[seat].append(answers[seat])
                    under_way.remove(seat)
    finally:
        for connection in ours.values():
            connection.close()
        for group in groups:
            group.join()
    return found


def _prove(connections: dict[Seat, Connection]) -> None:
    """Everyone opens, and delivers the same audio."""
    for mode in MODES:
        proofs = {}
        for seat in [seat for seat in connections if seat[1] == mode]:
            board.note(f"opening {seat[0]}, {mode}")
            proofs[seat[0]] = _ask(connections[seat], seat, "open")
        for name, found in proofs.items():
            if found is not None and found != proofs[OURS]:
                raise SystemExit(f"{name} does not deliver what utterloom delivers: {found}, not {proofs[OURS]}")


def _ask(connection: Connection, seat: Seat, order: Any) -> Any:
    try:
        connection.send(order)
        answer = connection.recv()
    except (EOFError, OSError):
        raise SystemExit(f"{seat[0]} died") from None
    if isinstance(answer, str):
        raise SystemExit(f"{seat[0]} failed:\n{answer}")
    return answer


def complaint(contender: Contender, without_peers: bool) -> str | None:
    """Why it cannot be measured."""
    if contender.peer and without_peers:
        return "peers were not asked for"
    missing = [package for package in contender.packages if find_spec(package) is None]
    if missing:
        return f"{', '.join(missing)} not installed (extra: bench or dev)"
    if contender.id == "floor-tar" and shutil.which("tar") is None:
        return "there is no tar command"
    return None


# ------------------------------------------------------------------------------------------------------------ the result


def rows_of(found: Found) -> list[dict[str, Any]]:
    rates = {seat: [entry["rate"] for entry in entries] for seat, entries in found.items()}
    rows = []
    for contender in CONTENDERS:
        for mode in MODES:
            seat = contender.id, mode
            if seat not in found:
                continue
            rows.append({
                "id": contender.id, "label": contender.label, "mode": mode, "settings": contender.settings,
                "utterances_per_cpu_s": median(rates[seat]), "of_floor": board.ratio(rates[seat], rates[FLOORS[mode], mode]),
                "ours_over_it": board.ratio(rates[OURS, mode], rates[seat]),
                "utterances_per_wall_s": median(entry["wall_rate"] for entry in found[seat]),
                "cpu_s": sum(entry["cpu_s"] for entry in found[seat]),
                "peak_rss_mb": max(entry["rss_bytes"] for entry in found[seat]) / 1e6, "rounds": rates[seat]})
    return rows


def claims_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ratios only: ours over each peer's better setting, and over the floor of decoding."""
    peer_of = {contender.id: contender.peer for contender in CONTENDERS}
    claims = []
    for mode in MODES:
        for peer in dict.fromkeys(filter(None, peer_of.values())):
            candidates = [row for row in rows if row["mode"] == mode and peer_of[row["id"]] == peer]
            if candidates:
                best = max(candidates, key=lambda row: row["utterances_per_cpu_s"])
                claims.append({"mode": mode, "over": best["label"], **best["ours_over_it"]})
        ours = next(row for row in rows if row["mode"] == mode and row["id"] == OURS)
        floor = next(contender.label for contender in CONTENDERS if contender.id == FLOORS[mode])
        claims.append({"mode": mode, "over": floor, **ours["of_floor"]})
    return claims


def say(result: dict[str, Any], markdown: bool) -> str:
    parts = []
    for mode in MODES:
        table = [HEADER, *(_cells(row) for row in result["rows"] if row["mode"] == mode)]
        parts.append(f"**{HEADINGS[mode]}**\n\n{board.markdown_table(table)}" if markdown
                     else f"{HEADINGS[mode]}\n{board.plain_table(table)}")
    parts.append("\n".join(["utterloom is", *([""] if markdown else []), *(
        f"- {HEADINGS[claim['mode']].lower()}: {claim['median']:.2f} × {claim['over']} (worst round {claim['min']:.2f}, "
        f"best {claim['max']:.2f})" for claim in result["claims"])]))
    audio, settings = result["audio"], result["settings"]
    parts.append(f"{audio['name']}: {audio['utterances']:,} utterances, {audio['hours']:.2f} h, {audio['tar_mb']:,.1f} MB in "
                 f"{audio['shards']} shards, page cache warm; batches of {settings['batch']}; median of {settings['rounds']} "
                 f"interleaved rounds of at least {settings['seconds']:g} CPU-seconds. {board.say_circumstances(result)}")
    if result["skipped"]:
        parts.append("Left out: " + "; ".join(f"{entry['id']}: {entry['why']}" for entry in result["skipped"]))
    return "\n\n".join([*parts, say_settings()] if markdown else parts)


def _cells(row: dict[str, Any]) -> list[str]:
    return [row["label"], f"{row['utterances_per_cpu_s']:,.0f}", f"{row['of_floor']['median']:.2f}",
            f"{row['ours_over_it']['median']:.2f}", f"{row['peak_rss_mb']:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a packed corpus; by default AN4 from ../shared, else synthetic")
    parser.add_argument("--split", default="train")
    parser.add_argument("--utterances", type=int, default=2000, help="use the first shards that hold so many")
    parser.add_argument("--synthetic", type=int, metavar="N", help="N synthetic utterances even where AN4 is")
    parser.add_argument("--batch", type=int, default=32, help="utterances in a batch")
    parser.add_argument("--seconds", type=float, default=0.7, help="CPU-seconds at least of one loader in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-peers", action="store_true", help="only utterloom and the floors")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--markdown", action="store_true", help="the block for README.md")
    parser.add_argument("--save", type=Path, help="write the JSON to this file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="utterloom-benchmark-") as folder:
        result = {"benchmark": "loader", **board.circumstances(PACKAGES)}
        material = prepare_material(Path(folder), arguments.corpus, arguments.split, arguments.utterances, arguments.synthetic)
        skipped = [{"id": contender.id, "why": why} for contender in CONTENDERS
                   if (why := complaint(contender, arguments.without_peers))]
        rows = rows_of(measure(material, arguments.batch, arguments.seconds, arguments.rounds, {entry["id"] for entry in skipped}))
        settings = {name: getattr(arguments, name) for name in ("batch", "seconds", "rounds")}
        result.update(audio=material.describe(), settings=settings, rows=rows, claims=claims_of(rows), skipped=skipped)
    board.deliver(result, arguments.json, say(result, arguments.markdown), arguments.save)


if __name__ == "__main__":
    main()

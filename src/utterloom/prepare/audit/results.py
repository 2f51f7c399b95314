"""Measuring a corpus: in parallel over recordings, with progress, and kept as Parquet so that an interrupted audit goes on."""

from __future__ import annotations

import hashlib
import shutil
import types
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from utterloom.core.artifact import TEMPORARY, atomic_write, output_errors
from utterloom.core.errors import SourceError
from utterloom.core.interrupt import interrupt_held
from utterloom.core.ledger import check_unique
from utterloom.core.progress import progress
from utterloom.core.records import Span, Utterance
from utterloom.prepare.audit.measure import Measured, measure_recording
from utterloom.runners import LocalRunner

PARTS_FOLDER = "measuring"
TABLE_FILE = "measured.parquet"
SPANS_PER_TASK = 128
TASKS_FOR_A_WORKER = 4  # starting a process takes as long as measuring a few hundred short clips
CLAIMS = ("duration_s", "duration", "duration_ms", "duration[ms]", "audio_duration")  # columns that tables use for it

Work = tuple[str, tuple[tuple[Span, float | None], ...]]  # a recording and its spans with what is claimed of them


def claimed_s(utterance: Utterance) -> float | None:
    """The duration that the source states for an utterance, if it does: its own column, in seconds or milliseconds."""
    lowered = {name.strip().lower(): value for name, value in utterance.attributes.items()}
    for name in CLAIMS:
        try:
            value = float(lowered[name]) / (1000 if "ms" in name else 1)
        except (KeyError, ValueError):
            continue
        if 0 <= value < 1e7:
            return value
    return None


def measure_all(utterances: Sequence[Utterance], folder: Path, workers: int = 0) -> dict[str, Measured]:
    """{id: what was measured}, in the order of `utterances`, and `folder/measured.parquet` with the same.

    What an interrupted call had measured is taken over where the recording has kept its size and time of change. Raises
    SourceError for two utterances of one id and for an utterance of several spans (audit before joining), OutputError where
    `folder` cannot be written.
    """
    check_unique((u.id for u in utterances), "what is to be audited")
    joined = [u.id for u in utterances if len(u.spans) != 1]
    if joined:
        raise SourceError(f"{len(joined)} utterances are of several spans, such as {joined[0]!r}",
                          "audit them before they are joined")
    wanted = {u.id: (u.spans[0], claimed_s(u)) for u in utterances}
    stamps = {path: _stamp(path) for path in {span.path for span, _ in wanted.values()}}
    with output_errors(folder):
        (folder / PARTS_FOLDER).mkdir(parents=True, exist_ok=True)
    done = _read_parts(folder / PARTS_FOLDER)
    keys = {utterance_id: _key(span, claim, stamps[span.path]) for utterance_id, (span, claim) in wanted.items()}
    found = {keys[name]: done[keys[name]] for name in wanted if keys[name] in done}
    rest = [(keys[name], *wanted[name]) for name in wanted if keys[name] not in found]
    _measure_rest(rest, found, folder / PARTS_FOLDER, workers)
    measured = {name: found[keys[name]] for name in wanted}
    write_measured(folder / TABLE_FILE, measured)
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)
    return measured


def _measure_rest(rest: Sequence[tuple[str, Span, float | None]], found: dict[str, Measured], parts: Path, workers: int) -> None:
    by_recording: dict[str, dict[str, tuple[Span, float | None]]] = defaultdict(dict)
    for key, span, claim in rest:
        by_recording[span.path][key] = (span, claim)
    tasks: list[list[Work]] = [[]]
    keys_of_tasks: list[list[str]] = [[]]
    for path, members in by_recording.items():
        ordered = sorted(members, key=lambda key: (members[key][0].start_s or 0, members[key][0].start_sample))
        for start in range(0, len(ordered), SPANS_PER_TASK):
            keys = ordered[start:start + SPANS_PER_TASK]
            if keys_of_tasks[-1] and len(keys_of_tasks[-1]) + len(keys) > SPANS_PER_TASK:
                tasks.append([])
                keys_of_tasks.append([])
            tasks[-1].append((path, tuple(members[key] for key in keys)))
            keys_of_tasks[-1].extend(keys)
    if not tasks[0]:
        return
    runner = LocalRunner(workers if len(tasks) > TASKS_FOR_A_WORKER * workers else 0)
    with progress("measuring", len(rest), "utterances") as report:
        num_done = 0
        for number, results in runner.run(measure_task, tasks):
            new = dict(zip(keys_of_tasks[number], results, strict=True))
            found.update(new)
            name = hashlib.blake2b("".join(new).encode(), digest_size=8).hexdigest()
            write_measured(parts / f"{name}.parquet", new)
            num_done += len(new)
            report(num_done)


def measure_task(works: Sequence[Work]) -> list[Measured]:
    """Some recordings' spans, in order. Runs in a worker."""
    results: list[Measured] = []
    for path, spans in works:
        with interrupt_held():
            results += measure_recording(path, spans)
    return results


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _key(span: Span, claim: float | None, stamp: tuple[int, int] | None) -> str:
    """Names a measurement: the same span of the same bytes."""
    said = (span.path, span.start_sample, span.stop_sample, span.start_s, span.stop_s, claim, stamp)
    return hashlib.blake2b(repr(said).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def _read_parts(parts: Path) -> dict[str, Measured]:
    for temporary in parts.glob(f"{TEMPORARY}*"):
        temporary.unlink(missing_ok=True)
    found: dict[str, Measured] = {}
    for part in sorted(parts.glob("*.parquet")):
        try:
            found.update(read_measured(part))
        except SourceError:  # of another version, or damaged: it is measured again
            part.unlink(missing_ok=True)
    return found


# ------------------------------------------------------------------------------------------------------------- Parquet


def _schema() -> Any:
    import pyarrow as pa

    types_of = {str: pa.string(), int: pa.int64(), float: pa.float64(), bytes: pa.binary()}
    hints = get_type_hints(Measured)
    columns = [("id", pa.string())]
    for field in fields(Measured):
        hint = hints[field.name]
        plain = next(part for part in get_args(hint) if part is not type(None)) if isinstance(hint, types.UnionType) else hint
        columns.append((field.name, types_of.get(plain, pa.list_(pa.float64()))))
    return pa.schema(columns)


def write_measured(path: Path, measured: Mapping[str, Measured]) -> None:
    """Parquet, one row an utterance. The same measurements give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def row(name: str, one: Measured) -> dict[str, Any]:
        return {key: _spelled(value) if isinstance(value, str) else value for key, value in [("id", name), *asdict(one).items()]}

    rows = [row(name, one) for name, one in measured.items()]
    with atomic_write(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), file, compression="zstd")


def read_measured(path: Path) -> dict[str, Measured]:
    """What `write_measured` wrote. Raises SourceError where there is no such table, or it is damaged or of another version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise SourceError(f"there are no measurements at {path}", "run the audit again") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path} is damaged: {error}", "delete it and run the audit again") from None
    if table.schema.names != _schema().names:
        raise SourceError(f"{path} was measured by another version of utterloom", "delete it and run the audit again")
    return {row.pop("id"): Measured(**{**row, "active_spans_s": tuple(row["active_spans_s"])}) for row in _rows(table)}


def _rows(table: Any) -> Iterable[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def _spelled(text: str) -> str:
    """What UTF-8 cannot say (half a character, from a file name that is not UTF-8) as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()

"""`prepare segment MANIFEST OUT`: every utterance of a manifest as an audio file of its own, for other toolkits and for people.

    OUT/audio/<name>.flac    names of a template that can be read back (`names.py`)
    OUT/transcripts.tsv      as `prepare table` reads it: id, path, text, speaker, session, language, split, the recording and
                             samples that the file was cut from, and every attribute
    OUT/dropped/             what could not be cut, and what prepare had dropped
    OUT/segments.json        the card, written last

Cuts are integer samples. Each file is renamed into place when it is whole, which is how a second run knows what is there. An
utterance of several spans (`join=…`) is cut joined, and its file is called after its id.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from os.path import commonpath
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from utterloom.audio.encode import MAX_FLAC_RATE_HZ, quantise_int16
from utterloom.audio.resample import resampled_length
from utterloom.audio.spans import SpanReader
from utterloom.core.artifact import atomic_write, building, load_card, output_errors, sha256_of
from utterloom.core.config import Config
from utterloom.core.errors import AudioError, MissingPackageError, OutputError, SourceError
from utterloom.core.forecast import check_room, forecast, format_size
from utterloom.core.interrupt import interrupt_held
from utterloom.core.ledger import DROPS_FOLDER, summarise, write_drops
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.records import Drop
from utterloom.core.timing import format_duration
from utterloom.prepare.exports.names import CHANNEL, NameRefused, Template, check_file_name, escape, looks
from utterloom.runners import LocalRunner
from utterloom.runners.local import usable_cores
from utterloom.shards import layout
from utterloom.shards.manifest import checked_card, rows

STAGE = "segment"
KIND = "segments"
AUDIO = "audio"
TRANSCRIPTS = "transcripts.tsv"
TEXTS = ("text", "speaker", "session", "language", "split")
ORIGIN = ("recording", "start_sample", "end_sample", "recording_rate_hz", "recording_channel", "num_samples", "sample_rate_hz")
FEWEST_ROWS, MOST_ROWS = 64, 256  # of a task: short recordings together, an hour of utterances in parts
BLOCK_BYTES = 4096  # of a disk: a file takes whole ones
MAX_FLAC_CHANNELS = 8


class SegmentConfig(Config):
    name: str = "{recording}_{start_s}-{end_s}"
    """names of the files, of the fields recording, id, speaker, session, language, split, start_s, end_s, start_sample …"""
    format: Literal["flac", "wav"] = "flac"
    """of the files: 16 bits"""
    sample_rate_hz: int | Literal["source"] = Field(16_000)
    """rate of the files, or `source` for each recording's own"""
    channels: Literal["mono", "source"] = "mono"
    """one channel, mixed, or as many as the recording has"""
    workers: int | None = Field(None, ge=0)
    """processes; by default one a core"""

    @field_validator("name")
    @classmethod
    def _readable(cls, value: str) -> str:
        return Template(value).text

    @field_validator("sample_rate_hz", mode="before")
    @classmethod
    def _believable(cls, value: Any) -> Any:
        rate = int(value) if re.fullmatch(r"\d{1,9}", str(value)) else value
        if rate != "source" and not (isinstance(rate, int) and 4_000 <= rate <= 192_000):
            raise ValueError("a rate is 4000 to 192000, in Hz, or source")
        return rate


SCHEMA = SegmentConfig


class Naming(NamedTuple):
    """How files are called. `root` is the folder that names of recordings begin below; None where their file names suffice.

    Names that look like one of `strict` (hashes) are equal to another but for capitals; they are written without any.
    """

    template: str
    suffix: str
    root: str | None
    strict: frozenset[int]


@dataclass(frozen=True)
class CutTask:
    """Rows [start, stop) of the manifest: all that a worker needs to know."""

    manifest: str
    out: str
    start: int
    stop: int
    naming: Naming
    config: SegmentConfig


class Shape(NamedTuple):
    """What a file has to be: known before it is cut."""

    sample_rate_hz: int
    num_channels: int
    num_samples: int


# ------------------------------------------------------------------------------------------------------------ the stage


def export(manifest: Path, out: Path, config: SegmentConfig) -> dict[str, Any]:
    """Cut every utterance of a manifest into `out`, or go on where it stopped; returns the card.

    Raises SourceError where it is no manifest or nothing can be cut, NameRefused for names that are not unique or not possible,
    DamagedError for a damaged manifest, OutputError for an output that cannot be.
    """
    prepared = checked_card(manifest)
    identity = {"config": config.model_dump(mode="json", exclude={"workers"}), "manifest": prepared["fingerprint"],
                "manifest_sha256": prepared["utterances_sha256"]}
    with building(out, KIND, identity) as artifact:
        if artifact.finished:
            log.info(f"{out} is there already, cut from the same manifest with the same configuration")
            return load_card(out, KIND)
        naming = _naming(manifest, config)
        tasks, seconds = _plan(manifest, out, naming, config)
        workers = config.workers if config.workers is not None else usable_cores()
        _say_what_it_takes(tasks, seconds, workers)
        drops: list[Drop] = []
        with progress("cutting", float(seconds.sum()), "s of speech") as report:
            done_s = 0.0
            for number, failed in LocalRunner(workers if len(tasks) > 1 else 0).run(cut_rows, tasks):
                drops += failed
                done_s += float(seconds[tasks[number].start:tasks[number].stop].sum())
                report(done_s, f"{len(drops):,} dropped" if drops else "")
        artifact.commit(_committed(manifest, out, naming, config, prepared, {drop.id: drop for drop in drops}))
    return load_card(out, KIND)


def _plan(manifest: Path, out: Path, naming: Naming, config: SegmentConfig) -> tuple[list[CutTask], np.ndarray]:
    """Consecutive rows of one recording, or of several short ones; and the seconds of every row."""
    bounds, last, seconds = [0], None, []
    for number, row in enumerate(rows(manifest, columns=["spans", "duration_s"])):
        path, held = row["spans"][0]["path"], number - bounds[-1]
        if held >= MOST_ROWS or (held >= FEWEST_ROWS and path != last):
            bounds.append(number)
        last = path
        seconds.append(row["duration_s"])
    bounds.append(len(seconds))
    tasks = [CutTask(str(manifest), str(out), first, end, naming, config) for first, end in pairwise(bounds)]
    return tasks, np.array(seconds)


def _say_what_it_takes(tasks: list[CutTask], seconds: np.ndarray, workers: int) -> None:
    """Cut a few for the measure, say what the rest will take, and refuse to fill the disk (E-P2, E-P4)."""
    manifest, out = Path(tasks[0].manifest), Path(tasks[0].out)
    there = sum(1 for path in (out / AUDIO).rglob("*") if path.is_file()) if (out / AUDIO).is_dir() else 0
    if there:
        log.info(f"{there:,} of {len(seconds):,} files are there already")
    left_s = float(seconds.sum()) * max(0.0, 1 - there / len(seconds))

    def try_row(index: int) -> tuple[float, int] | None:
        row = next(rows(manifest, index, index + 1))
        with SpanReader() as sources:
            content = cut(row, tasks[0].config, sources)
        return None if isinstance(content, Drop) else (row["duration_s"], -(-len(content) // BLOCK_BYTES) * BLOCK_BYTES)

    reckoned = forecast(len(seconds), left_s, try_row)
    if reckoned is None:
        log.info(f"cutting {format_duration(left_s)} of speech: none of the utterances that were tried could be read")
        return
    log.info(f"cutting {format_duration(left_s)} of speech into {len(seconds) - there:,} files: about "
             f"{format_size(reckoned.num_bytes)}, about "
             f"{format_duration(reckoned.seconds / max(1, min(workers, len(tasks))))} with {workers} workers")
    check_room(out, reckoned.num_bytes, "lower sample_rate_hz, or cut to mono FLAC")


def explain(card: dict[str, Any]) -> list[str]:
    """What a person wants to know of cut recordings, as lines."""
    audio = card["audio"]
    rate = "the recordings' own rates" if audio["sample_rate_hz"] == "source" else f"{audio['sample_rate_hz']:,} Hz"
    channels = "mono" if audio["channels"] == "mono" else "the recordings' own channels"
    lines = [f"{card['utterances']:,} files, {format_duration(card['hours'] * 3600)}, {audio['format'].upper()}, {channels}, "
             f"{rate}, {format_size(card['audio_bytes'])}, cut from {card['recordings']:,} recordings"]
    lines += [f"  {name:<6} {split['utterances']:>7,} utterances  {format_duration(split['hours'] * 3600):>14}"
              for name, split in card["splits"].items()]
    lines.append(f"  names {card['config']['name']}" + (f", recordings called after their path below {card['names_below']}"
                                                       if card["names_below"] else ""))
    if card["joined"]:
        lines.append(f"  {card['joined']:,} of several spans, cut as joined and called after their id")
    if card["respaced"]:
        lines.append(f"  {card['respaced']:,} cells had tabs or line ends, which are spaces in {TRANSCRIPTS}")
    for stage in card["ledger"]:
        lines += [f"  dropped by {row['stage']} {row['utterances']:,}: {row['reason']}, for example {row['example']}"
                  for row in stage["reasons"]]
    return lines


# -------------------------------------------------------------------------------------------------------------- one file


def cut_rows(task: CutTask) -> list[Drop]:
    """Every file of a task that is not there yet; what could not be cut. Runs in a worker."""
    drops = []
    members = list(rows(Path(task.manifest), task.start, task.stop))
    with SpanReader() as sources:
        for row in sorted(members, key=lambda row: [(span["path"], span["start_sample"]) for span in row["spans"]]):
            path = Path(task.out) / AUDIO / file_name(row, task.naming)
            if _is_whole(path, shape_of(row, task.config)):
                continue
            content = cut(row, task.config, sources)
            if isinstance(content, Drop):
                drops.append(content)
                path.unlink(missing_ok=True)
                continue
            with output_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(content)
    return drops


def cut(row: dict[str, Any], config: SegmentConfig, sources: SpanReader) -> bytes | Drop:
    """A manifest row → the bytes of its file, whose length has been verified, or why there are none."""
    wanted = shape_of(row, config)
    try:
        with interrupt_held():
            samples_sc = _load(row, wanted, sources)
            if len(samples_sc) != wanted.num_samples:
                raise AudioError(f"{len(samples_sc)} samples came where {wanted.num_samples} were planned: the recording has "
                                 "changed since it was prepared, or does not have what its header says")
            content = _encoded(samples_sc, wanted.sample_rate_hz, config.format)
            if (made := _shape_in(io.BytesIO(content))) != wanted:
                raise AudioError(f"the {config.format} file would be {made}, not {wanted}")
    except (MissingPackageError, AudioError, OSError) as error:
        reason = "needs a package" if isinstance(error, MissingPackageError) else "not decodable"
        detail = str(error.strerror) if isinstance(error, OSError) else \
            f"{error.message} ({error.hint})" if error.hint else error.message
        return Drop(row["id"], STAGE, reason, detail, row["duration_s"], row["spans"][0]["path"])
    return content


def shape_of(row: dict[str, Any], config: SegmentConfig) -> Shape:
    """Rate, channels and length that the file of a row will have. Joined spans have the rate of the first; where they differ in
    channels, they are mixed."""
    spans = row["spans"]
    rate = spans[0]["sample_rate_hz"] if config.sample_rate_hz == "source" else int(config.sample_rate_hz)
    counts = {1 if span["channel"] is not None else span["num_channels"] for span in spans}
    num_channels = counts.pop() if config.channels == "source" and len(counts) == 1 else 1
    num_samples = sum(resampled_length(span["stop_sample"] - span["start_sample"], span["sample_rate_hz"], rate) for span in spans)
    return Shape(rate, num_channels, num_samples)


def _load(row: dict[str, Any], wanted: Shape, sources: SpanReader) -> np.ndarray:
    """float32 [samples, channels]."""
    spans = row["spans"]
    if wanted.num_channels == 1:
        return sources.load(spans, wanted.sample_rate_hz)[:, None]
    return np.stack([sources.load([{**span, "channel": channel} for span in spans], wanted.sample_rate_hz)
                     for channel in range(wanted.num_channels)], axis=1)


def _encoded(samples_sc: np.ndarray, sample_rate_hz: int, format: str) -> bytes:
    """16 bits. Raises AudioError for what the format cannot hold."""
    import soundfile

    if not len(samples_sc):
        raise AudioError("no samples are left after resampling")
    if format == "flac" and (samples_sc.shape[1] > MAX_FLAC_CHANNELS or sample_rate_hz > MAX_FLAC_RATE_HZ):
        raise AudioError(f"FLAC holds {MAX_FLAC_CHANNELS} channels and {MAX_FLAC_RATE_HZ} Hz at most, not {samples_sc.shape[1]} "
                         f"and {sample_rate_hz}", "format=wav holds more")
    quantised, _ = quantise_int16(samples_sc)
    buffer = io.BytesIO()
    soundfile.write(buffer, quantised, sample_rate_hz, format=format.upper(), subtype="PCM_16")
    return buffer.getvalue()


def _is_whole(path: Path, wanted: Shape) -> bool:
    """A file is renamed into place when all of it is written; its header says that it is the one that is wanted."""
    try:
        return path.is_file() and _shape_in(path) == wanted
    except RuntimeError:  # libsndfile's errors: somebody else wrote there
        return False


def _shape_in(file: Path | io.BytesIO) -> Shape:
    import soundfile

    info = soundfile.info(file)
    return Shape(info.samplerate, info.channels, info.frames)


# ----------------------------------------------------------------------------------------------------------------- names


def file_name(row: dict[str, Any], naming: Naming) -> str:
    """The path of a row's file below audio/. Raises NameRefused."""
    name = _stem(row, naming, is_strict=False)
    return (_stem(row, naming, is_strict=True) if naming.strict and _hash(name) in naming.strict else name) + naming.suffix


def _stem(row: dict[str, Any], naming: Naming, is_strict: bool) -> str:
    template, spans = _template(naming.template), row["spans"]
    if len(spans) > 1 and set(template.fields) & {"recording", "start_s", "end_s", "start_sample", "end_sample", CHANNEL}:
        name = escape(row["id"], is_strict)
        check_file_name(name, row["id"])
        return name
    span = spans[0]
    values = {**{key: row.get(key) for key in ("id", *TEXTS[1:])}, "recording": recording_name(span["path"], naming.root),
              "start_sample": span["start_sample"], "end_sample": span["stop_sample"], CHANNEL: span["channel"]}
    return template.name(values, span["sample_rate_hz"], is_strict)


@cache
def _template(text: str) -> Template:
    return Template(text)


def recording_name(path: str, root: str | None) -> str:
    """The name of a recording's file without suffix, or its path below `root`."""
    inside = Path(path).name if root is None else str(Path(path).relative_to(root))
    return re.sub(r"(?<=[^/])\.[A-Za-z0-9]{1,5}$", "", inside)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(looks(name).encode(), digest_size=8).digest(), "little")


def _naming(manifest: Path, config: SegmentConfig) -> Naming:
    """Decided from the whole manifest, eight bytes an utterance. Raises NameRefused for two utterances of one name, naming both."""
    columns = ["id", *TEXTS[1:], "spans"]
    naming = Naming(config.name, f".{config.format}", _root(_recordings(manifest)), frozenset())
    hashes = np.fromiter((_hash(_stem(row, naming, False)) for row in rows(manifest, columns=columns)), np.uint64)
    values, counts = np.unique(hashes, return_counts=True)
    strict = frozenset(int(value) for value in values[counts > 1])
    if strict:
        naming = naming._replace(strict=strict)
        hard = ((_hash(_stem(row, naming, True)) if _hash(_stem(row, naming, False)) in strict else int(number))
                for row, number in zip(rows(manifest, columns=columns), hashes, strict=True))
        values, counts = np.unique(np.fromiter(hard, np.uint64), return_counts=True)
        if (counts > 1).any():
            _refuse_equal(manifest, naming, columns, {int(value) for value in values[counts > 1]})
    return naming


def _refuse_equal(manifest: Path, naming: Naming, columns: list[str], hashes: set[int]) -> None:
    first: dict[str, str] = {}
    num_equal, example = 0, ""
    for row in rows(manifest, columns=columns):
        name = file_name(row, naming)
        if _hash(name.removesuffix(naming.suffix)) in hashes:
            other = first.setdefault(looks(name), row["id"])
            num_equal += other != row["id"]
            example = example or (f"{other!r} and {row['id']!r} would both be {name!r}" if other != row["id"] else "")
    more = f"; {num_equal:,} utterances have a name that another has already" if num_equal > 1 else ""
    raise NameRefused(f"name={naming.template}: {example}{more}", "add a field that tells them apart, such as {id} or {channel}")


def _recordings(manifest: Path) -> list[str]:
    """Every recording once. Raises SourceError for a manifest without utterances."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    spans = pq.read_table(manifest / layout.MANIFEST_FILE, columns=["spans"]).column("spans")
    if not len(spans):
        raise SourceError(f"{manifest} has no utterances")
    found: list[str] = pc.unique(pc.struct_field(pc.list_flatten(spans), "path")).to_pylist()
    return found


def _root(paths: list[str]) -> str | None:
    """None where no two recordings have one file name, else the folder that all of them lie in."""
    if max(Counter(looks(recording_name(path, None)) for path in paths).values()) == 1:
        return None
    return commonpath([str(Path(path).parent) for path in paths])


# ---------------------------------------------------------------------------------------------------------------- commit


def _committed(
    manifest: Path, out: Path, naming: Naming, config: SegmentConfig, prepared: dict[str, Any], drops: dict[str, Drop]
) -> dict[str, Any]:
    """Write the transcripts and the drops; the card. Raises SourceError where nothing was cut, OutputError for a lost file."""
    if len(drops) == prepared["utterances"]:
        reasons = "; ".join(f"{row['utterances']} {row['reason']} ({row['example']})" for row in summarise(drops.values())[:3])
        raise SourceError(f"nothing could be cut: {reasons}")
    splits: dict[str, dict[str, Any]] = {}
    total = Counter[str]()
    recordings: set[str] = set()
    languages: set[str] = set()
    seconds = 0.0
    table = _Table(manifest)
    with atomic_write(out / TRANSCRIPTS, "w") as file:
        file.write(table.header)
        for row in rows(manifest):
            if row["id"] in drops:
                continue
            name, wanted = file_name(row, naming), shape_of(row, config)
            try:
                total["bytes"] += (out / AUDIO / name).stat().st_size
            except OSError as error:
                raise OutputError(f"{out / AUDIO / name} is gone: {error.strerror}", "run the same command again") from None
            file.write(table.line(row, f"{AUDIO}/{name}", wanted))
            length_s = wanted.num_samples / wanted.sample_rate_hz
            split = splits.setdefault(row["split"] or "train", {"utterances": 0, "seconds": 0.0})
            split["utterances"] += 1
            split["seconds"] += length_s
            seconds += length_s
            recordings.update(span["path"] for span in row["spans"])
            languages.update([row["language"]] if row["language"] else [])
            total["utterances"] += 1
            total["joined"] += len(row["spans"]) > 1
    ordered = sorted(drops.values(), key=lambda drop: drop.id)
    write_drops(out / DROPS_FOLDER / f"{STAGE}-00000.parquet", ordered)
    for path in sorted((manifest / DROPS_FOLDER).glob("*.parquet")):
        with atomic_write(out / DROPS_FOLDER / path.name) as copy:
            copy.write(path.read_bytes())
    own = {"stage": STAGE, "in": prepared["utterances"], "ok": total["utterances"], "dropped": len(ordered),
           "seconds_ok": round(seconds, 3), "reasons": summarise(ordered)}
    return {
        "utterances": total["utterances"], "hours": round(seconds / 3600, 6), "recordings": len(recordings),
        "languages": sorted(languages), "joined": total["joined"], "respaced": table.num_respaced, "names_below": naming.root,
        "audio_bytes": total["bytes"], "transcripts_sha256": sha256_of(out / TRANSCRIPTS), "ledger": [prepared["ledger"], own],
        "audio": {"format": config.format, "bits": 16, "sample_rate_hz": config.sample_rate_hz, "channels": config.channels},
        "splits": {name: {"utterances": split["utterances"], "hours": round(split["seconds"] / 3600, 6)}
                   for name, split in splits.items()}}


class _Table:
    """Lines of transcripts.tsv: tab-separated, nothing quoted, so that tabs and line ends inside of cells become spaces."""

    def __init__(self, manifest: Path) -> None:
        self.num_respaced = 0
        taken = {"id", "path", "start", "end", "duration", *TEXTS, *ORIGIN}
        self._columns: dict[str, str] = {}
        for key in sorted({key for row in rows(manifest, columns=["attributes"]) for key, _ in row["attributes"]}):
            column = " ".join(key.split()) or "attribute"
            while column.lower() in taken:  # columns are told apart without capitals
                column = f"attribute_{column}"
            taken.add(column.lower())
            self._columns[key] = column
        self.header = "\t".join(["id", "path", *TEXTS, *ORIGIN, *self._columns.values()]) + "\n"

    def line(self, row: dict[str, Any], path: str, shape: Shape) -> str:
        spans, attributes = row["spans"], dict(row["attributes"])
        origin = [*(_each(span[key] for span in spans) for key in ("path", "start_sample", "stop_sample", "sample_rate_hz")),
                  _each("" if span["channel"] is None else span["channel"] + 1 for span in spans),
                  shape.num_samples, shape.sample_rate_hz]
        cells = [row["id"], path, *(row[key] for key in TEXTS), *origin, *(attributes.get(key) for key in self._columns)]
        return "\t".join(self._cell(cell) for cell in cells) + "\n"

    def _cell(self, value: object) -> str:
        text = "" if value is None else str(value)
        plain = re.sub(r"[\t\n\r\0]", " ", text)
        self.num_respaced += plain != text
        return plain


def _each(values: Iterable[Any]) -> str:
    """Of one span its value; of several all of them, one after the other."""
    return " ".join(str(value) for value in values)

"""`prepare sample`: some utterances of a manifest for people to judge, with their audio, as a page and as a spreadsheet.

Chosen utterances are reserved in a record beside the manifests before anything is written, and sent once everything is, so
that no two samples hold the same one, whoever is killed and when. `items.json` is the choice; a sample that was stopped
goes on with it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from utterloom.audio.encode import encode_flac
from utterloom.audio.spans import SpanReader
from utterloom.core.artifact import (
    Artifact,
    atomic_write,
    building,
    fingerprint,
    load_card,
    output_errors,
    read_json,
    sha256_of,
    write_json,
)
from utterloom.core.config import Config
from utterloom.core.errors import AudioError, ConfigError, OutputError, SourceError, did_you_mean
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.records import Utterance, canonical_split
from utterloom.core.timing import format_duration
from utterloom.prepare import sampling
from utterloom.prepare.readers import reader
from utterloom.prepare.review import Item
from utterloom.prepare.review.page import PAGE_FILE, SAVED_FILE, page_bytes
from utterloom.prepare.review.sent import SENT_FILE, Record, key, places, record
from utterloom.prepare.review.sheet import SHEET_FILE, sheet_bytes

KIND = "sample"
AUDIO_FOLDER, ITEMS_FILE = "audio", "items.json"
NUM_UTTERANCES = 100
NAMED_CHARACTERS = 60


class SampleConfig(Config):
    utterances: int | None = Field(None, ge=1)
    """how many; 100 unless hours are given"""
    hours: float | None = Field(None, gt=0)
    """at most so many hours"""
    split: str | None = None
    """of this split only; by default of all"""
    by: str | None = None
    """attribute that order=lowest and order=highest go by, such as similarity"""
    order: Literal["speakers", "random", "lowest", "highest"] = Field("speakers", validate_default=True)
    """drawn by chance, each speaker as often or each utterance alike; or those with the lowest or highest value of `by`"""
    seed: int = 0
    """of the choice"""
    exclude_sent: bool = True
    """leave out what was in samples before"""
    exclude: list[str] = Field(default_factory=list)
    """folders of samples to leave out as well, such as some made on another machine"""
    sent: str | None = None
    """file that remembers what was sent; sent.jsonl beside the manifest"""

    @field_validator("split")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        return canonical_split(value) if value is not None else None

    @field_validator("order")
    @classmethod
    def _goes_by(cls, value: str, info: ValidationInfo) -> str:
        by = info.data.get("by")
        if by is None and value in ("lowest", "highest"):
            raise ValueError("it goes by an attribute: give by=similarity, for example")
        if by is not None and value not in ("lowest", "highest"):
            raise ValueError(f"by={by} is for order=lowest and order=highest")
        return value


SCHEMA = SampleConfig


def export(manifest: Path, out: Path, config: SampleConfig) -> dict[str, Any]:
    """Write the sample's folder, or go on where it stopped; returns its card.

    Raises SourceError where fewer utterances are left than asked for, and for what is no manifest; OutputError where `out` or the
    record of what was sent cannot be written; MissingPackageError without xlsxwriter.
    """
    source = load_card(manifest, "manifest")
    identity = {"config": config.model_dump(mode="json"), "manifest": source["fingerprint"],
                "inputs": {"utterances": source["utterances_sha256"]}}
    order = f"{config.order} {config.by}" if config.by else config.order
    with building(out, KIND, identity) as artifact:
        if artifact.finished:
            log.info(f"{out} is there already, made from the same manifest with the same configuration")
            return load_card(out, KIND)
        sheet_bytes([], "", "")  # the package is missed now and not after the audio
        utterances = [item for item in reader("manifest").read(manifest) if isinstance(item, Utterance)]
        memory = Path(config.sent) if config.sent is not None else manifest.resolve().parent / SENT_FILE
        chosen = _choice(artifact, utterances, config, memory)
        by_id = {utterance.id: utterance for utterance in utterances}
        items, left_out = _cut([(row["number"], by_id[row["id"]]) for row in chosen["items"]], out)
        if not items:
            raise SourceError(f"none of the {len(left_out)} chosen recordings can be read: {left_out[0]['reason']}",
                              "put the recordings back and run the same command again; or remove the folder to choose others")
        name = _name(identity, chosen)
        with atomic_write(out / PAGE_FILE) as file:
            file.write(page_bytes(items, name, order, f"{manifest.resolve().name}: {out.resolve().name}"))
        with atomic_write(out / SHEET_FILE) as file:
            file.write(sheet_bytes(items, name, order))
        with record(memory) as before:
            before.send({key(item.id, places(by_id[item.id])) for item in items}, name, out.resolve())
            before.save()
        seconds = math.fsum(item.duration_s for item in items)
        artifact.commit({
            "sample": name, "order": order, "utterances": len(items), "hours": round(seconds / 3600, 6),
            "speakers": len({item.speaker for item in items if item.speaker}) or None, "left_out": left_out,
            "sent_before": chosen["sent_before"], "left": chosen["left"], "items_sha256": sha256_of(out / ITEMS_FILE)})
    return load_card(out, KIND)


def explain(card: dict[str, Any]) -> list[str]:
    """What is in the sample, and what to do with it."""
    speakers = f" of {card['speakers']:,} speaker{'s' if card['speakers'] != 1 else ''}" if card["speakers"] else ""
    drawn = {"speakers": "drawn by chance, each speaker as often", "random": "drawn by chance"}
    before = f"{card['sent_before']:,} were in samples before and were left out; " if card["sent_before"] else ""
    lines = [f"{card['utterances']:,} utterances{speakers}, {format_duration(card['hours'] * 3600)}, "
             f"{drawn.get(card['order'], 'those of ' + card['order'])}",
             f"  {before}{card['left']:,} are left for other samples"]
    for row in card["left_out"][:4]:
        lines.append(f"  left out: {row['id']}, {row['reason']}")
    if len(card["left_out"]) > 4:
        lines.append(f"  left out: {len(card['left_out']) - 4:,} more, in sample.json")
    return [*lines, f"  judge them: open {PAGE_FILE} in a browser and put the {SAVED_FILE} that it saves into this folder; "
            f"or fill in {SHEET_FILE}",
            "  then: utterloom prepare manifest MANIFEST NEW verdicts=[this folder]"]


# --- choosing ---------------------------------------------------------------------------------------------------------


def _choice(artifact: Artifact, utterances: list[Utterance], config: SampleConfig, memory: Path) -> dict[str, Any]:
    """What `items.json` says; made, and reserved in the record, where it is not there yet."""
    folder, path = artifact.folder.resolve(), artifact.folder / ITEMS_FILE
    with record(memory) as before:
        if path.exists():
            chosen = read_json(path)
            name, wanted = _name(artifact.identity, chosen), [(row["id"], row["spans"]) for row in chosen["items"]]
            others = {key: row for key, row in before.taken().items() if row.sample != name}
            twice = [row for pair in wanted if (row := others.get(key(*pair))) is not None]
            if config.exclude_sent and twice:  # it was moved while unfinished, so that its utterances were free
                raise OutputError(f"{len(twice)} utterances of {folder}, such as {twice[0].id!r}, are in {twice[0].folder} by now",
                                  "remove this folder and run the same command again: it chooses others")
        else:
            before.release(folder)
            chosen = _chosen(utterances, config, before)
            name, wanted = _name(artifact.identity, chosen), [(row["id"], row["spans"]) for row in chosen["items"]]
        before.reserve(wanted, name, folder)
        before.save()
        # Killed between the two, the reserved utterances are of a folder without a choice, and free.
        if not path.exists():
            write_json(path, chosen)
    return chosen


def _name(identity: dict[str, Any], chosen: dict[str, Any]) -> str:
    """Of a sample: two with the same settings hold other utterances, since the second leaves out the first."""
    return fingerprint([identity["inputs"]["utterances"], [row["id"] for row in chosen["items"]]])


def _chosen(utterances: list[Utterance], config: SampleConfig, before: Record) -> dict[str, Any]:
    there = _asked_for(utterances, config)
    sent = {row.key: row.id for row in before.rows} if config.exclude_sent else {}
    for folder in config.exclude:
        load_card(Path(folder), KIND)
        sent |= {key(row["id"], row["spans"]): row["id"] for row in read_json(Path(folder) / ITEMS_FILE)["items"]}
    names = set(sent.values())  # of a million utterances, only these have to be looked at more closely
    free = [one for one in there if one.id not in names or key(one.id, places(one)) not in sent]
    most = config.utterances if config.utterances is not None or config.hours is not None else NUM_UTTERANCES
    _check_enough(free, len(there) - len(free), most, config, before.path)
    taken = _drawn(free, config, most)
    return {"sent_before": len(there) - len(free), "left": len(free) - len(taken),
            "items": [{"number": number, "id": utterance.id, "spans": places(utterance)}
                      for number, utterance in enumerate(taken, 1)]}


def _asked_for(utterances: list[Utterance], config: SampleConfig) -> list[Utterance]:
    """Those of the split that have the attribute which the order goes by."""
    there = [u for u in utterances if config.split is None or u.split == config.split]
    if not there:
        raise SourceError(f"split={config.split}: no utterance is in this split",
                          f"there are: {', '.join(sorted({u.split or 'none' for u in utterances}))}")
    if config.by is None:
        return there
    valued = [u for u in there if _value(u, config.by) is not None]
    if not valued:
        names = sorted({name for u in there for name, value in u.attributes.items() if _number(value) is not None})
        scored = "similarity and wer are there once asked for: prepare manifest … quality.similarity=0.8 quality.failing=hard"
        raise ConfigError(f"by={config.by}: no utterance has this attribute as a number",
                          did_you_mean(config.by, names) if names else scored)
    if len(valued) < len(there):
        log.info(f"{len(there) - len(valued):,} of {len(there):,} utterances have no {config.by} and are not chosen from")
    return valued


def _value(utterance: Utterance, name: str) -> float | None:
    return _number(utterance.attributes.get(name))


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_enough(free: Sequence[Utterance], num_sent: int, most: int | None, config: SampleConfig, memory: Path) -> None:
    """Asking for more than is left is an error: a sample that is smaller than it says would be taken for what was asked."""
    seconds = math.fsum(utterance.duration_s for utterance in free)
    known = f"{memory}{' and exclude=' if config.exclude else ''}"
    were = f": {num_sent:,} were in samples before, as {known} says" if num_sent else ""
    again = ", or exclude_sent=false to send some again" if num_sent and config.exclude_sent else ""
    if most is not None and most > len(free):
        raise SourceError(f"utterances={most} is more than the {len(free):,} that are left{were}",
                          f"ask for fewer: utterances={len(free)}{again}" if free else f"prepare more{again}")
    if config.hours is not None and 3600 * config.hours > seconds + 1:
        raise SourceError(f"hours={config.hours:g} is more than the {format_duration(seconds)} that are left{were}",
                          f"ask for fewer: hours={math.floor(seconds / 3.6) / 1000:g}{again}" if free else f"prepare more{again}")


def _drawn(free: list[Utterance], config: SampleConfig, most: int | None) -> list[Utterance]:
    """In the order in which they are judged: by chance, so that whoever stops half-way has judged a sample, too."""
    def place(utterance: Utterance) -> bytes:
        return hashlib.blake2b(f"judged {config.seed}\0{utterance.id}".encode(), digest_size=8).digest()

    if config.order == "speakers":
        return sorted(sampling.take(free, config.seed, config.hours, most), key=place)
    ordered = sorted(free, key=place)
    if config.by is not None:
        by, sign = config.by, 1 if config.order == "lowest" else -1
        ordered.sort(key=lambda utterance: sign * (_value(utterance, by) or 0.0))
    return _first(ordered, most, config.hours)


def _first(ordered: Iterable[Utterance], most: int | None, hours: float | None) -> list[Utterance]:
    taken: list[Utterance] = []
    seconds, budget_s = 0.0, 3600 * hours if hours is not None else math.inf
    for utterance in ordered:
        if most is not None and len(taken) == most:
            break
        if seconds + utterance.duration_s <= budget_s:
            taken.append(utterance)
            seconds += utterance.duration_s
    if not taken:
        raise ConfigError("nothing fits the sample", f"hours={hours:g} is less than any utterance lasts")
    return taken


# --- audio ------------------------------------------------------------------------------------------------------------


def _cut(chosen: list[tuple[int, Utterance]], out: Path) -> tuple[list[Item], list[dict[str, str]]]:
    """An audio file each, those that are there already left alone; and what cannot be read, with the reason."""
    digits = max(4, len(str(len(chosen))))
    names = {number: f"{AUDIO_FOLDER}/{number:0{digits}d}_{_file_name(utterance.id)}.flac" for number, utterance in chosen}
    with output_errors(out):
        (out / AUDIO_FOLDER).mkdir(exist_ok=True)
    failed: dict[int, dict[str, str]] = {}
    in_recordings = sorted(chosen, key=lambda pair: (pair[1].spans[0].path, pair[1].spans[0].start_sample))
    with progress("cutting", len(chosen), "utterances") as report, SpanReader() as spans:
        for done, (number, utterance) in enumerate(in_recordings, 1):
            path = out / names[number]
            if not path.exists():
                try:
                    audio = _audio(utterance, spans)
                except (AudioError, OSError) as error:
                    reason = error.message if isinstance(error, AudioError) else str(error)
                    failed[number] = {"id": utterance.id, "reason": reason}
                else:
                    with atomic_write(path) as file:
                        file.write(audio)
            report(done)
    items = [Item(number, u.id, names[number], round(u.duration_s, 3), u.speaker, u.split, u.language, u.text)
             for number, u in chosen if number not in failed]
    return items, [failed[number] for number in sorted(failed)]


def _audio(utterance: Utterance, spans: SpanReader) -> bytes:
    """Exactly what the utterance spans, mono, at the rate of its recording (of the first, where there are several)."""
    rate_hz = utterance.spans[0].sample_rate_hz
    if rate_hz is None:
        raise AudioError(f"{utterance.spans[0].path} has not been probed")
    rows = [{"path": span.path, "start_sample": span.start_sample, "stop_sample": span.stop_sample,
             "sample_rate_hz": span.sample_rate_hz, "channel": span.channel} for span in utterance.spans]
    return encode_flac(spans.load(rows, rate_hz), rate_hz)


def _file_name(utterance_id: str) -> str:
    """What all file systems and all spreadsheets' links take; the number before it makes it unlike the others."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", utterance_id)[:NAMED_CHARACTERS]

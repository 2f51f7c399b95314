"""`prepare`: any corpus as it comes → a manifest of utterances that are decided, probed, normalised, filtered and split."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from utterloom.audio.probe import AudioInfo, probe
from utterloom.core.artifact import atomic_write, building, sha256_of
from utterloom.core.config import Config
from utterloom.core.errors import AudioError, MissingPackageError, SourceError
from utterloom.core.ledger import DROPS_FOLDER, Ledger, check_unique, summarise, write_drops
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.records import SPLITS, Drop, Span, Utterance, canonical_split
from utterloom.core.timing import format_duration, seconds_to_samples
from utterloom.prepare import filters, sampling, splits
from utterloom.prepare.readers import reader
from utterloom.prepare.recordings import Finder
from utterloom.runners import LocalRunner
from utterloom.runners.local import usable_cores
from utterloom.shards import layout
from utterloom.text.normalisers import normaliser
from utterloom.text.report import view_report

if TYPE_CHECKING:
    from utterloom.prepare.audit.findings import Audit

STAGE = "prepare"
AUDIT_FOLDER = "audit"
PROBED_AT_ONCE = 64
ROW_GROUP_ROWS = 1024
REPORTED_TEXTS = 10_000
REPORTED_CHARACTERS = 8
ROWS_AT_ONCE = 32 * ROW_GROUP_ROWS


class JoinConfig(Config):
    """Make connected speech of isolated words."""

    min: int = Field(3, ge=1)
    """fewest utterances that are joined into one"""
    max: int = Field(7, ge=1)
    """most utterances that are joined into one"""
    copies: int = Field(1, ge=1)
    """how often each training utterance is used, in different company"""

    @model_validator(mode="after")
    def _in_order(self) -> JoinConfig:
        if self.max < self.min:
            raise ValueError(f"join.max={self.max} is less than join.min={self.min}")
        return self


class SampleConfig(Config):
    """Take a part of a split, spread over its speakers."""

    split: str = "train"
    """split that is made smaller"""
    hours: float | None = Field(None, gt=0)
    """at most so many hours"""
    utterances: int | None = Field(None, ge=1)
    """at most so many utterances"""
    gigabytes: float | None = Field(None, gt=0)
    """at most what should fit so many gigabytes, packed as 16 kHz FLAC (reckoned, with a margin of a third)"""

    @field_validator("split")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return canonical_split(value)

    @model_validator(mode="after")
    def _limited(self) -> SampleConfig:
        if self.hours is None and self.utterances is None and self.gigabytes is None:
            raise ValueError("a sample needs sample.hours, sample.utterances or sample.gigabytes")
        return self


class PrepareConfig(Config):
    view: str = "basic"
    """text view that models are trained on and scored with"""
    language: str | None = None
    """language of utterances that do not say theirs"""
    dev: float | str = 0.1
    """without a dev split: the fraction of training seconds to hold out, or a list of ids (a file, or a packaged name)"""
    group_by: list[Literal["speaker", "session", "recording"]] = Field(["speaker", "session", "recording"])
    """nothing of these is on both sides of a split that prepare makes"""
    seed: int = 0
    """of the held-out choice and of joins"""
    min_s: float = Field(0.1, ge=0)
    """shorter utterances are dropped"""
    max_s: float = Field(30.0, gt=0)
    """longer utterances are dropped (exactly this long stays)"""
    unlabelled: Literal["drop", "keep"] = "drop"
    """utterances without transcript"""
    audio: str | None = None
    """folder for audio that the source keeps in no files of its own (huggingface: inside of tables, on the Hub)"""
    sample: SampleConfig | None = None
    """take a part only"""
    join: JoinConfig | None = None
    """join a speaker's utterances into connected speech"""
    workers: int | None = Field(None, ge=0)
    """processes; by default one a core"""

    @field_validator("view")
    @classmethod
    def _short(cls, value: str) -> str:
        return normaliser(value).name

    @field_validator("dev")
    @classmethod
    def _fraction_or_list(cls, value: float | str) -> float | str:
        try:
            fraction = float(value)
        except ValueError:
            return value
        if not 0 <= fraction < 1:
            raise ValueError("a fraction of the training split is at least 0 and less than 1")
        return fraction


@contextlib.contextmanager
def _without_cycle_search() -> Iterator[None]:
    """Python's search for cycles goes over all objects again and again: about a sixth of the time with a million records, which
    have none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_without_cycle_search()
def prepare(reader_name: str, source: Path, manifest: Path, config: PrepareConfig) -> dict[str, Any]:
    """Write the manifest folder; returns its card. Raises SourceError when nothing usable is left."""
    view = normaliser(config.view)
    corpus_reader = reader(reader_name, Path(config.audio) if config.audio else None)
    is_name = getattr(corpus_reader, "takes_names", False) and not source.exists()
    place = source if is_name else source.resolve()
    listed = splits.listed_ids(config.dev) if isinstance(config.dev, str) else None
    identity = {
        "config": config.model_dump(mode="json", exclude={"workers"}), "reader": reader_name, "source": str(place),
        "view": view.view, "inputs": {"source": corpus_reader.fingerprint(source), "dev_list": listed}}
    with building(manifest, "manifest", identity) as artifact:
        if artifact.finished:
            log.info(f"{manifest} is there already, made from the same source with the same configuration")
            return _card(manifest)
        ledger = Ledger(STAGE)
        drafts = []
        for item in corpus_reader.read(place):
            if isinstance(item, Drop):
                ledger.drop(item)
            else:
                drafts.append(item)
        labelled = _normalised(drafts, config)
        del drafts
        labelled, missing, respelled = _located(labelled)
        probed = _probed(labelled, missing, config.workers if config.workers is not None else usable_cores())
        kept = _filtered(probed, ledger, config)
        ledger.check()
        if not kept:
            reasons = "; ".join(f"{row['utterances']} {row['reason']} ({row['example']})" for row in summarise(ledger.drops)[:4])
            raise SourceError(f"nothing usable in {source}: {reasons or 'it holds no utterances'}")
        kept, notes = _split(kept, config, listed)
        if respelled:
            wanted, found = next(iter(respelled.items()))
            were = "1 recording was" if len(respelled) == 1 else f"{len(respelled)} recordings were"
            notes.append(f"{were} found under a name of another spelling, such as {Path(found).name!r} for {Path(wanted).name!r}")
        sampled = None
        if config.sample is not None:
            kept, sampled = _sampled(kept, config.sample, config.seed)
        card = _describe(kept, ledger, config, notes)
        card["sampled"] = sampled
        if config.join is not None:
            num_used = sum(config.join.copies if u.split == "train" else 1 for u in kept)
            kept = splits.join_utterances(kept, config.join.min, config.join.max, config.join.copies, config.seed, config.max_s)
            card["joined"] = {"from": ledger.num_ok, "used": num_used, "to": len(kept)}
            card.update(_totals(kept))
        check_unique((u.id for u in kept), f"{manifest}")
        order = {name: number for number, name in enumerate(SPLITS)}
        kept.sort(key=lambda u: (order.get(u.split or "", len(order)), u.split or ""))  # stable: source order inside a split
        _write(manifest / layout.MANIFEST_FILE, kept, config.view)
        write_drops(manifest / DROPS_FOLDER / f"{STAGE}-00000.parquet", ledger.drops)
        artifact.commit({**card, "utterances_sha256": sha256_of(manifest / layout.MANIFEST_FILE)})
    return _card(manifest)


def audit(manifest: Path, config: PrepareConfig) -> Audit:
    """Decode every utterance of a manifest once and say what is wrong with which; writes a folder beside its rows.

    Nothing is dropped. Raises DamagedError for a manifest that cannot be read.
    """
    from utterloom.core.ledger import read_drops
    from utterloom.prepare.audit.findings import audit

    utterances = [item for item in reader("manifest").read(manifest) if isinstance(item, Utterance)]
    workers = config.workers if config.workers is not None else usable_cores()
    return audit(_normalised(utterances, config), manifest / AUDIT_FOLDER, view=config.view, workers=workers,
                 drops=read_drops(manifest), title=f"Audit of {manifest.name}")


def _card(manifest: Path) -> dict[str, Any]:
    from utterloom.core.artifact import load_card

    return load_card(manifest, "manifest")


def _normalised(utterances: Iterable[Utterance], config: PrepareConfig) -> list[Utterance]:
    view = normaliser(config.view)

    def views(utterance: Utterance) -> dict[str, str]:
        if utterance.text is None:
            return {}
        ready = utterance.views.get(config.view)  # from a reader that has this very view (manifest)
        return {config.view: view(utterance.text) if ready is None else ready}

    def normalised(utterance: Utterance) -> Utterance:
        now, language = views(utterance), utterance.language or config.language
        is_so = now == utterance.views and language == utterance.language  # a million copies are a gigabyte
        return utterance if is_so else utterance.with_(views=now, language=language)

    return [normalised(u) for u in utterances]


def _located(utterances: list[Utterance]) -> tuple[list[Utterance], dict[str, str], dict[str, str]]:
    """Utterances with the names that their recordings have on disk; {path: complaint} of those that are not there; and
    {as written: as found} of those that were found under another spelling."""
    finder = Finder()
    found = {path: finder.find(path) for path in dict.fromkeys(span.path for u in utterances for span in u.spans)}
    respelled = {wanted: path for wanted, path in found.items() if path is not None and path != wanted}
    if respelled:
        utterances = [u.with_(spans=tuple(replace(span, path=respelled.get(span.path, span.path)) for span in u.spans))
                      for u in utterances]
    return utterances, {path: finder.complaint(path) for path, there in found.items() if there is None}, respelled


def _probed(utterances: list[Utterance], missing: dict[str, str], num_workers: int) -> Iterator[Utterance | Drop]:
    """Every recording is opened once, in parallel; spans get integer samples. What cannot be opened is a Drop."""
    found: dict[str, AudioInfo | str] = {path: f"missing\0{complaint}" for path, complaint in missing.items()}
    unknown = dict.fromkeys(span.path for u in utterances for span in u.spans if span.sample_rate_hz is None)
    paths = [path for path in unknown if path not in found]
    chunks = [paths[start:start + PROBED_AT_ONCE] for start in range(0, len(paths), PROBED_AT_ONCE)]
    # Starting processes takes longer than reading a few hundred headers.
    runner = LocalRunner(num_workers if len(chunks) > 8 * num_workers else 0)
    with progress("probing", len(paths), "recordings") as report:
        num_probed = 0
        for number, infos in runner.run(probe_all, chunks):
            found.update(zip(chunks[number], infos, strict=True))
            num_probed += len(infos)
            report(num_probed)
    for utterance in utterances:
        yield _with_samples(utterance, found)


def probe_all(paths: Sequence[str]) -> list[AudioInfo | str]:
    """Headers of some recordings, or why one cannot be read. Runs in a worker."""
    results: list[AudioInfo | str] = []
    for path in paths:
        try:
            results.append(probe(Path(path)))
        except MissingPackageError as error:
            results.append(f"needs a package\0{error.message} ({error.hint})")
        except (AudioError, OSError) as error:
            results.append(f"not readable\0{error.message if isinstance(error, AudioError) else error.strerror}")
    return results


def _with_samples(utterance: Utterance, found: dict[str, AudioInfo | str]) -> Utterance | Drop:
    if all(span.sample_rate_hz is not None and span.path not in found for span in utterance.spans):
        return utterance
    spans = []
    for span in utterance.spans:
        if span.sample_rate_hz is not None and span.path not in found:
            spans.append(span)
            continue
        info = found[span.path]
        if isinstance(info, str):
            reason, _, detail = info.partition("\0")
            return Drop(utterance.id, STAGE, f"recording {reason}", detail, None, span.path)
        rate = info.sample_rate_hz
        start = seconds_to_samples(span.start_s, rate) if span.start_s is not None else 0
        stop = seconds_to_samples(span.stop_s, rate) if span.stop_s is not None else info.num_samples
        complaint = None
        if start >= stop:
            complaint = f"it starts at {start / rate:.3f} s and ends at {stop / rate:.3f} s"
        elif start >= info.num_samples or stop > info.num_samples + rate // 100:  # a hundredth of a second of rounding is forgiven
            complaint = f"it lasts from {start / rate:.3f} s to {stop / rate:.3f} s, the recording {info.duration_s:.3f} s"
        if complaint:
            return Drop(utterance.id, STAGE, "span outside the recording", complaint, None, span.path)
        if span.channel is not None and not 0 <= span.channel < info.num_channels:
            channels = "1 channel" if info.num_channels == 1 else f"{info.num_channels} channels"
            return Drop(utterance.id, STAGE, "channel not in the recording", f"channel {span.channel + 1} is wanted and the "
                        f"recording has {channels}", (stop - start) / rate, span.path)
        spans.append(Span(span.path, start, min(stop, info.num_samples), rate, info.num_channels, span.channel))
    return utterance.with_(spans=tuple(spans))


def _filtered(items: Iterable[Utterance | Drop], ledger: Ledger, config: PrepareConfig) -> list[Utterance]:
    chain = [filters.bad_characters(), filters.bad_id(), filters.duplicate_id(), filters.bad_split(),
             filters.no_text(config.unlabelled == "keep"), filters.empty_view(),
             filters.too_short(config.min_s), filters.too_long(config.max_s)]
    kept = []
    for item in items:
        if isinstance(item, Drop):
            ledger.drop(item)
            continue
        for step in chain:
            detail = step.judge(item)
            if detail is not None:
                ledger.drop(Drop(item.id, STAGE, step.reason, detail, item.duration_s, item.spans[0].path))
                break
        else:
            ledger.ok(item.duration_s)
            kept.append(item)
    return kept


def _split(utterances: list[Utterance], config: PrepareConfig, listed: list[str] | None) -> tuple[list[Utterance], list[str]]:
    """Splits for all, and what is to be said of how."""
    notes: list[str] = []
    utterances = [u if u.split else u.with_(split="train") for u in utterances]
    if any(u.split == "dev" for u in utterances):
        notes.append("the dev split is the source's own")
        return utterances, notes
    if listed is not None:
        utterances, unknown = splits.hold_out_listed(utterances, listed)
        if unknown:
            notes.append(f"{len(unknown)} of the {len(listed)} listed dev utterances are not here, such as {unknown[0]!r}")
        if not any(u.split == "dev" for u in utterances):
            raise SourceError(f"none of the {len(listed)} utterances that dev={config.dev} lists is here")
        notes.append(f"the dev split is the list {config.dev}")
    elif config.dev and any(u.split == "train" for u in utterances):
        utterances = splits.hold_out_fraction(utterances, float(config.dev), config.group_by, config.seed)
        by = f"disjoint by {', '.join(config.group_by)}" if config.group_by else "random utterances, not disjoint by speaker"
        notes.append(f"the dev split was held out of train, {by}")
    return utterances, notes


def _sampled(utterances: list[Utterance], sample: SampleConfig, seed: int) -> tuple[list[Utterance], dict[str, Any]]:
    """The utterances without those that the sample leaves out, and how many it took of how many."""
    there = [u for u in utterances if u.split == sample.split]
    if not there:
        names = sorted({u.split or "train" for u in utterances})
        raise SourceError(f"sample.split={sample.split}: no utterance is in this split", f"there are: {', '.join(names)}")
    taken = {u.id for u in sampling.take(there, seed, sample.hours, sample.utterances, sample.gigabytes)}
    told = {"split": sample.split, "from": len(there), "to": len(taken),
            "hours_from": round(sum(u.duration_s for u in there) / 3600, 4)}
    return [u for u in utterances if u.split != sample.split or u.id in taken], told


def _totals(utterances: list[Utterance]) -> dict[str, Any]:
    table: dict[str, dict[str, Any]] = {}
    for name in sorted({u.split or "train" for u in utterances}, key=lambda name: (name != "train", name != "dev", name)):
        members = [u for u in utterances if u.split == name]
        table[name] = {"utterances": len(members), "hours": round(sum(u.duration_s for u in members) / 3600, 4),
                       "speakers": len({u.speaker for u in members if u.speaker}) or None}
    return {"utterances": len(utterances), "hours": round(sum(u.duration_s for u in utterances) / 3600, 4), "splits": table}


def _describe(utterances: list[Utterance], ledger: Ledger, config: PrepareConfig, notes: list[str]) -> dict[str, Any]:
    formats: dict[str, int] = {}
    for utterance in utterances:
        span = utterance.spans[0]
        label = f"{Path(span.path).suffix.lstrip('.').lower()} {span.sample_rate_hz} Hz {span.num_channels} ch"
        formats[label] = formats.get(label, 0) + 1
    characters: Counter[str] = Counter()
    for utterance in utterances:
        characters.update(utterance.views.get(config.view, ""))
    return {
        **_totals(utterances), "ledger": ledger.summary(), "notes": notes,
        "languages": sorted({u.language for u in utterances if u.language}),
        "formats": dict(sorted(formats.items(), key=lambda item: (-item[1], item[0]))),
        "characters": dict(sorted(characters.items(), key=lambda item: (-item[1], item[0]))),
        "view_report": _view_report(utterances, config.view),
        "overlaps": splits.overlaps(utterances, config.view)}


def _view_report(utterances: Sequence[Utterance], view: str) -> dict[str, Any]:
    """What the view changed and removed (E-P16); of a large corpus, in texts spread over all of it."""
    spread = utterances[:: -(-len(utterances) // REPORTED_TEXTS)]
    report = view_report((u.id, u.text, u.views[view]) for u in spread if u.text is not None and view in u.views)
    return report.as_dict()


def _write(path: Path, utterances: list[Utterance], view: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = layout.manifest_schema([view])
    with atomic_write(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(utterances), ROWS_AT_ONCE):
            # by columns: a million rows as dictionaries take minutes
            columns = _columns(utterances[start:start + ROWS_AT_ONCE], view, schema)
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROW_GROUP_ROWS)


def _columns(utterances: list[Utterance], view: str, schema: Any) -> list[Any]:
    import pyarrow as pa

    spans = [span for u in utterances for span in u.spans]
    struct = schema.field("spans").type.value_type
    flat = pa.StructArray.from_arrays(
        [pa.array([getattr(span, field.name) for span in spans], field.type) for field in struct], fields=list(struct))
    ends = accumulate((len(u.spans) for u in utterances), initial=0)
    columns: dict[str, Any] = {
        name: [getattr(u, name) for u in utterances]
        for name in ("id", "text", "speaker", "session", "language", "split", "duration_s")}
    columns[layout.view_column(view)] = [u.views.get(view) for u in utterances]
    columns["attributes"] = [list(u.attributes.items()) for u in utterances]
    columns["spans"] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    return [columns[field.name].cast(field.type) if field.name == "spans" else pa.array(columns[field.name], field.type)
            for field in schema]


def explain(card: dict[str, Any]) -> list[str]:
    """What a person wants to know of a manifest, as lines."""
    lines = [f"{card['utterances']:,} utterances, {format_duration(card['hours'] * 3600)}"]
    for name, split in card["splits"].items():
        speakers = f", {split['speakers']} speakers" if split["speakers"] else ""
        lines.append(f"  {name:<6} {split['utterances']:>7,} utterances  {format_duration(split['hours'] * 3600):>14}{speakers}")
    lines += [f"  {note}" for note in card["notes"]]
    if sampled := card.get("sampled"):
        lines.append(f"  sampled {sampled['to']:,} of {sampled['from']:,} {sampled['split']} utterances "
                     f"({format_duration(sampled['hours_from'] * 3600)}), spread over the speakers")
    if changes := card.get("view_report", {}).get("changes"):
        told = ", ".join(f"{change['character']} {'→ ' + change['replaced_by'] if change['replaced_by'] else 'removed'} "
                         f"{change['count']:,} times" for change in changes[:REPORTED_CHARACTERS])
        more = f"; {len(changes) - REPORTED_CHARACTERS} more characters" if len(changes) > REPORTED_CHARACTERS else ""
        lines.append(f"  text view: {told}{more}")
    for row in card["ledger"]["reasons"]:
        lines.append(f"  dropped {row['utterances']:,}: {row['reason']}, for example {row['example']}")
    for pair, shared in card["overlaps"].items():
        named = [f"{count:,} {key}{'s' if count != 1 else ''}" for key, count in shared.items() if count]
        if named:
            lines.append(f"  {pair} share {', '.join(named)}")
    return lines

"""`prepare`: any corpus as it comes → a manifest of utterances that are decided, probed, normalised, filtered and split."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utterloom.core.artifact import atomic_write, building, fingerprint, output_errors, sha256_of
from utterloom.core.errors import SourceError
from utterloom.core.ledger import DROPS_FOLDER, Ledger, check_unique, summarise, write_drops
from utterloom.core.log import log
from utterloom.core.records import SPLITS, Drop, Utterance
from utterloom.core.timing import format_duration
from utterloom.prepare import filters, joining, quality, sampling, selection, splits, statistics
from utterloom.prepare.config import JoinConfig, PrepareConfig, SampleConfig
from utterloom.prepare.probing import located, probed
from utterloom.prepare.readers import reader
from utterloom.prepare.review import verdicts
from utterloom.runners.local import usable_cores
from utterloom.shards import layout
from utterloom.shards.manifest import write
from utterloom.text.normalisers import normaliser

if TYPE_CHECKING:
    from utterloom.prepare.audit.findings import Audit
    from utterloom.prepare.audit.measure import Measured

__all__ = ["JoinConfig", "PrepareConfig", "SampleConfig", "audit", "explain", "prepare"]

STAGE = "prepare"
AUDIT_FOLDER, QUALITY_FOLDER, QUALITY_PAGE, PROOF_FILE = "audit", "quality", "quality.html", "splits.parquet"
PROVEN_KEYS = ("speaker", "session", "recording")
REPORTED_CHARACTERS = 8


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
    corpus_reader = reader(reader_name, Path(config.audio) if config.audio else None, config.audio_root)
    is_name = getattr(corpus_reader, "takes_names", False) and not source.exists()
    place = source if is_name else source.resolve()
    listed = splits.listed_ids(config.dev) if isinstance(config.dev, str) else None
    overruled = splits.listed_splits(Path(config.splits)) if config.splits not in (None, splits.FORGET) else None
    said = verdicts.read_verdicts(*map(Path, config.verdicts)) if config.verdicts else {}
    identity = {
        "config": config.model_dump(mode="json", exclude={"workers"}), "reader": reader_name, "source": str(place),
        "view": view.view, "inputs": {"source": corpus_reader.fingerprint(source), "dev_list": listed,
                                      "splits": fingerprint(overruled) if overruled else None,
                                      "verdicts": verdicts.fingerprint_of(said) if said else None}}
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
        _check_expected(drafts, ledger, config.expect)
        labelled = _normalised(drafts, config)
        del drafts
        labelled, missing, respelled = located(labelled)
        items = probed(labelled, missing, config.workers if config.workers is not None else usable_cores())
        decided = _decided(items, ledger, config, said, overruled, manifest)
        kept = decided.kept
        if not kept:
            reasons = "; ".join(f"{row['utterances']} {row['reason']} ({row['example']})" for row in summarise(ledger.drops)[:4])
            raise SourceError(f"nothing usable in {source}: {reasons or 'it holds no utterances'}")
        kept, notes = _split(kept, config, listed)
        notes = [*decided.notes, *notes]
        if respelled:
            wanted, found = next(iter(respelled.items()))
            were = "1 recording was" if len(respelled) == 1 else f"{len(respelled)} recordings were"
            notes.append(f"{were} found under a name of another spelling, such as {Path(found).name!r} for {Path(wanted).name!r}")
        sampled = None
        if config.sample is not None:
            kept, sampled = _sampled(kept, config.sample, config.seed)
        card = _describe(kept, ledger, config, notes)
        card |= {"sampled": sampled, "quality": decided.quality, "review": decided.review}
        if config.join is not None:
            num_used = sum(config.join.copies if u.split == "train" else 1 for u in kept)
            kept = joining.join_utterances(kept, config.join.min, config.join.max, config.join.copies, config.seed, config.max_s)
            card["joined"] = {"from": ledger.num_ok, "used": num_used, "to": len(kept)}
            card.update(statistics.totals(kept))
        check_unique((u.id for u in kept), f"{manifest}")
        order = {name: number for number, name in enumerate(SPLITS)}
        kept.sort(key=lambda u: (order.get(u.split or "", len(order)), u.split or ""))  # stable: source order inside a split
        write(manifest / layout.MANIFEST_FILE, kept, config.view)
        card["proof"] = _prove(manifest / PROOF_FILE, kept, config)
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


@dataclass
class _Decided:
    """Utterances that stay, before dev and test are held out of them."""

    kept: list[Utterance]
    notes: list[str] = field(default_factory=list)
    quality: list[dict[str, Any]] | None = None
    review: dict[str, Any] | None = None


def _decided(items: Iterable[Utterance | Drop], ledger: Ledger, config: PrepareConfig, said: dict[str, verdicts.Verdict],
             overruled: dict[str, str] | None, manifest: Path) -> _Decided:
    """Every utterance through every filter; the ledger gets what stays and what leaves."""
    whole: list[Utterance] = []
    for item in items:
        if isinstance(item, Drop):
            ledger.drop(item)
        else:
            whole.append(item)
    rejected, review = [], None
    if said:
        whole, rejected, review = verdicts.apply_verdicts(whole, said, STAGE)
        whole = _normalised(whole, config)  # of texts that were corrected
    sifted = quality.sift(whole, [
        filters.bad_characters(), filters.bad_id(), filters.duplicate_id(), filters.bad_split(),
        filters.no_text(config.unlabelled == "keep"), filters.empty_view(), filters.too_short(config.min_s)], STAGE)
    del whole
    decided, drops = _Decided(sifted.kept, review=review), rejected + sifted.drops
    if config.splits == splits.FORGET:
        decided.kept = [u if u.split is None else u.with_(split=None) for u in decided.kept]
        decided.notes.append("the source's own splits were forgotten (splits=none)")
    if overruled is not None:
        decided.kept, unknown = splits.overrule(decided.kept, overruled)
        num_listed = len(overruled) - len(unknown)
        rest = len(decided.kept) - num_listed
        decided.notes.append(f"the splits of {num_listed:,} utterances are those of {config.splits}"
                             + (f"; the other {rest:,} have the source's" if rest else ""))
        if unknown:
            decided.notes.append(f"{len(unknown):,} of its {len(overruled):,} ids are not here, such as {unknown[0]!r}")
    if config.too_long in ("drop", "error") and config.trim_s is None:  # before hours of decoding
        decided.kept, too_long = quality.apply_duration_policy(decided.kept, config.too_long, config.max_s)
        drops += too_long
    measured = _measured(decided.kept, config, manifest)
    if config.quality is not None:
        selected = selection.select(decided.kept, config.quality, config.view, measured)
        _plot(selected, manifest)
        decided.kept, decided.quality = selected.kept, selected.rows()
        drops += selected.drops
        if selected.num_heard:
            decided.notes.append(f"{selected.num_heard:,} utterances that somebody heard and found good were not asked for "
                                 "quality limits")
        if selected.num_hard:
            decided.notes.append(f"{selected.num_hard:,} utterances that fail a quality limit are the split {selection.HARD!r}: "
                                 "what it measures are faults of the corpus as much as of a model")
    if config.trim_s is not None:
        trimmed = selection.trimmed(decided.kept, measured, config.trim_s)
        decided.kept, measured = trimmed.utterances, trimmed.measured
        decided.notes.append(f"silence was cut off the ends of {trimmed.num_cut:,} utterances, {format_duration(trimmed.seconds)} "
                             f"in all (all but {config.trim_s:g} s)")
    num_before = len(decided.kept)
    decided.kept, too_long = quality.apply_duration_policy(decided.kept, config.too_long, config.max_s, measured)
    num_pieces = len(decided.kept) + len(too_long) - num_before
    if num_pieces:
        decided.notes.append(f"what is longer than {config.max_s:g} s was cut in its pauses, into {num_pieces:,} utterances more")
    for drop in drops + too_long:
        ledger.drop(drop)
    for utterance in decided.kept:
        ledger.ok(utterance.duration_s)
    ledger.check()
    return decided


def _measured(utterances: list[Utterance], config: PrepareConfig, manifest: Path) -> dict[str, Measured]:
    """What their audio is like, where something that is asked for needs it; kept in the manifest's folder."""
    needs_audio = config.quality is not None and config.quality.needs_audio
    if not (needs_audio or config.trim_s is not None or config.too_long == "split") or not utterances:
        return {}
    from utterloom.prepare.audit.results import measure_all

    workers = config.workers if config.workers is not None else usable_cores()
    return measure_all(utterances, manifest / QUALITY_FOLDER, workers)


def _plot(selected: selection.Selected, manifest: Path) -> None:
    """A page of where the limits lie among the numbers."""
    from utterloom.prepare.thresholds import write_thresholds

    with output_errors(manifest):
        (manifest / QUALITY_FOLDER).mkdir(exist_ok=True)
    write_thresholds(selected.plots, selected.rows(), manifest / QUALITY_FOLDER / QUALITY_PAGE, manifest.name)


def _check_expected(drafts: Sequence[Utterance], ledger: Ledger, expect: dict[str, int] | int | None) -> None:
    """E-P24: published counts differed by one between versions, and nobody saw it. Raises SourceError that says both."""
    if expect is None:
        return
    found = Counter(u.split or "train" for u in drafts)
    unread = f", and {len(ledger.drops)} rows could not be understood" if ledger.drops else ""
    if isinstance(expect, int):
        wrong = [] if len(drafts) == expect else [f"{len(drafts):,} utterances, not {expect:,}"]
    else:
        wrong = [f"{found[name]:,} of {name}, not {count:,}" for name, count in expect.items() if found[name] != count]
    if wrong:
        raise SourceError(f"the source does not hold what expect says: {'; '.join(wrong)}{unread}",
                          "is it the same version of the corpus, and has all of it arrived?")


def _split(utterances: list[Utterance], config: PrepareConfig, listed: list[str] | None) -> tuple[list[Utterance], list[str]]:
    """Splits for all, and what is to be said of how."""
    notes: list[str] = []
    utterances = [u if u.split else u.with_(split="train") for u in utterances]
    there = {u.split for u in utterances}
    fractions: dict[str, float] = {}
    if "dev" in there:
        is_wanted_anew = config.model_fields_set & {"dev", "group_by"}
        notes.append("the dev split is the source's own" + ("; splits=none makes a new one by dev= and group_by=" if is_wanted_anew
                                                             else ""))
    elif listed is not None:
        utterances, unknown = splits.hold_out_listed(utterances, listed)
        if unknown:
            notes.append(f"{len(unknown)} of the {len(listed)} listed dev utterances are not here, such as {unknown[0]!r}")
        if not any(u.split == "dev" for u in utterances):
            raise SourceError(f"none of the {len(listed)} utterances that dev={config.dev} lists is here")
        notes.append(f"the dev split is the list {config.dev}")
    elif config.dev:
        fractions["dev"] = float(config.dev)
    if config.test and "test" not in there:
        fractions["test"] = config.test
    if fractions and "train" in there:
        utterances = splits.hold_out(utterances, fractions, config.group_by, config.seed, config.view)
        by = f"disjoint by {', '.join(config.group_by)}" if config.group_by else "random utterances, not disjoint by speaker"
        what = f"{' and '.join(fractions)} split{'s were' if len(fractions) > 1 else ' was'}"
        notes.append(f"the {what} held out of train, {by}")
    return utterances, notes


def _prove(path: Path, utterances: list[Utterance], config: PrepareConfig) -> dict[str, Any]:
    """Writes what the splits consist of, for others to check; returns what it comes to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = tuple(config.group_by) or PROVEN_KEYS
    lines = splits.proof(utterances, keys, config.view)
    names = ("key", "value", "split", "utterances", "seconds")
    columns = zip(*lines, strict=True) if lines else ((),) * len(names)
    with atomic_write(path) as file:
        pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), file, compression="zstd")
    return {"file": path.name, "sha256": sha256_of(path), "keys": splits.judged(lines, keys)}


def _sampled(utterances: list[Utterance], sample: SampleConfig, seed: int) -> tuple[list[Utterance], dict[str, Any]]:
    """The utterances without those that the sample leaves out, and how many it took of how many."""
    there = [u for u in utterances if u.split == sample.split]
    if not there:
        names = sorted({u.split or "train" for u in utterances})
        raise SourceError(f"sample.split={sample.split}: no utterance is in this split", f"there are: {', '.join(names)}")
    taken = {u.id for u in sampling.take(there, seed, sample.hours, sample.utterances, sample.gigabytes)}
    told = {"split": sample.split, "from": len(there), "to": len(taken),
            "hours_from": round(sum(u.duration_s for u in there) / 3600, 6)}
    return [u for u in utterances if u.split != sample.split or u.id in taken], told


def _describe(utterances: list[Utterance], ledger: Ledger, config: PrepareConfig, notes: list[str]) -> dict[str, Any]:
    return {
        **statistics.totals(utterances), "ledger": ledger.summary(), "notes": notes,
        "languages": sorted({u.language for u in utterances if u.language}),
        "formats": statistics.formats(utterances), "characters": statistics.characters(utterances, config.view),
        "vocabulary": statistics.vocabulary(utterances, config.view),
        "view_report": statistics.what_the_view_changed(utterances, config.view),
        "overlaps": splits.overlaps(utterances, config.view)}


def explain(card: dict[str, Any]) -> list[str]:
    """What a person wants to know of a manifest, as lines."""
    lines = [f"{card['utterances']:,} utterances, {format_duration(card['hours'] * 3600)}{_repeated(card)}"]
    for name, split in card["splits"].items():
        speakers = f", {split['speakers']} speaker{'s' if split['speakers'] != 1 else ''}" if split["speakers"] else ""
        lines.append(f"  {name:<6} {split['utterances']:>7,} utterances  {format_duration(split['hours'] * 3600):>14}{speakers}"
                     f"{_unknown_words(card['vocabulary'].get(name, {}))}")
    lines += [f"  {note}" for note in card["notes"]]
    lines += [f"  {line}" for line in _proven(card)]
    if sampled := card.get("sampled"):
        lines.append(f"  sampled {sampled['to']:,} of {sampled['from']:,} {sampled['split']} utterances "
                     f"({format_duration(sampled['hours_from'] * 3600)}), spread over the speakers")
    if changes := card.get("view_report", {}).get("changes"):
        told = ", ".join(f"{change['character']} {'→ ' + change['replaced_by'] if change['replaced_by'] else 'removed'} "
                         f"{change['count']:,} times" for change in changes[:REPORTED_CHARACTERS])
        more = f"; {len(changes) - REPORTED_CHARACTERS} more characters" if len(changes) > REPORTED_CHARACTERS else ""
        lines.append(f"  text view: {told}{more}")
    if card.get("review"):
        lines += [f"  {line}" for line in verdicts.explain_verdicts(card["review"])]
    for row in card["ledger"]["reasons"]:
        lines.append(f"  dropped {row['utterances']:,}: {row['reason']}, for example {row['example']}")
    if limits := card.get("quality"):
        lines.append(f"  quality limits: {limits[0]['in']:,} in, {limits[-1]['out']:,} within all of them; where they lie: "
                     f"{QUALITY_FOLDER}/{QUALITY_PAGE} in this folder")
    lost: Counter[str] = Counter()
    for row in card.get("quality") or []:
        lost.update({name: count for name, count in row["failed_by_split"].items() if name != "train"})
    if lost:
        told = " and ".join(f"{count:,} of {name}" for name, count in sorted(lost.items()))
        lines.append(f"  the quality limits took {told}: a score on what is left is of cleaner speech")
    for pair, shared in card["overlaps"].items():
        named = [f"{count:,} {key}{'s' if count != 1 else ''}" for key, count in shared.items() if count]
        if named:
            lines.append(f"  {pair} share {', '.join(named)}")
    return lines


def _repeated(card: dict[str, Any]) -> str:
    """Where the same stretches of audio are in several utterances."""
    unique_s = card["hours_unique"] * 3600
    return "" if unique_s > 0.999 * card["hours"] * 3600 else f", of which {format_duration(unique_s)} are different audio"


def _unknown_words(words: dict[str, Any]) -> str:
    rate = words.get("oov_rate")
    return f", {100 * rate:.1f} % of its words not in train" if rate else ""


def _proven(card: dict[str, Any]) -> list[str]:
    """What keeps the splits apart, where there are several."""
    if len(card["splits"]) < 2:
        return []
    keys = card["proof"]["keys"]
    apart = [f"{key} ({told['values']:,})" for key, told in keys.items() if told["values"] and not told["in_several_splits"]]
    lines = [f"no value in two splits: {', '.join(apart)}; every one is listed in {card['proof']['file']}"] if apart else []
    silent = [f"{told['utterances_without']:,} name no {key}" for key, told in keys.items()
              if told["utterances_without"] and told["values"]]
    return [*lines, f"{', '.join(silent)}: of these nothing is proven"] if silent else lines

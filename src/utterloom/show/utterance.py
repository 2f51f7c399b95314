"""One utterance: its text, where it came from, where its bytes lie, what it looks like, what a model heard; or why it is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len

from utterloom.audio.decode import decode, to_mono
from utterloom.core.artifact import load_card
from utterloom.core.errors import AudioError, CorpusError, DamagedError, SourceError, UtterloomError
from utterloom.core.ledger import read_drops
from utterloom.core.progress import progress
from utterloom.core.records import Drop
from utterloom.core.timing import format_duration
from utterloom.metrics.error_rates import ErrorCounts, align, words_of
from utterloom.metrics.scoring import read_hypotheses
from utterloom.shards import layout
from utterloom.shards.reader import Corpus, ShardTable
from utterloom.show import layers, listing
from utterloom.show.artifacts import manifest_of
from utterloom.show.lines import INDENT, Rows, Verbatim, amount, columns, command, labelled
from utterloom.show.picture import Levels
from utterloom.show.place import Place
from utterloom.show.recording import level_in_words, levels_of, picture
from utterloom.show.run import config_of, corpus_of
from utterloom.show.timeline import layers_of, open_layers
from utterloom.store.members import is_there

NUM_NEAREST = 4
GAP = "·"
SAID, HEARD = "  said   ", "  heard  "

Explained = tuple[dict[str, Any], list[str]]
# What is added to the JSON object, to the labelled lines, and below them.
Added = tuple[dict[str, Any], Rows, list[str]]


def explain_utterance(place: Place, utterance: str) -> Explained:
    """An utterance of a manifest, a corpus, or the corpus behind a run or report.

    Raises CorpusError with the nearest ids when nobody has heard of it, SourceError when the place has no utterances.
    """
    if place.kind == "manifest":
        return _of_manifest(place.path, utterance)
    if place.kind == "corpus":
        return _of_corpus(Corpus(place.path), None, utterance)
    if place.kind == "layer":
        return _of_corpus(*corpus_behind(place, utterance), utterance)
    if place.kind in ("run", "report"):
        return _of_scored(place, utterance)
    raise _knows_none(place)


def corpus_behind(place: Place, utterance: str = "…") -> tuple[Corpus, list[str] | None]:
    """The corpus that a corpus, layer, run or report is of, and which layers are meant: None for all.

    Raises SourceError for what has none, and where it cannot be found.
    """
    if place.kind == "corpus":
        return Corpus(place.path), None
    if place.kind == "layer":
        corpus = layers.corpus_of(place.path, place.card().get("corpus"))
        if corpus is None:
            raise SourceError(f"the corpus of layer {place.path} is not near it",
                              f"name both: utterloom show CORPUS --layer {place.path}")
        return corpus, [str(place.path.absolute())]
    if place.kind in ("run", "report"):
        return Corpus(_scored_corpus(place, utterance).folder), None
    if place.kind == "manifest":
        raise SourceError(f"{place.path} is a manifest: it has no layers, and nothing to be drawn",
                          f"pack it first: utterloom pack {place.path} CORPUS")
    raise _knows_none(place)


def locate(corpus: Corpus, utterance: str) -> tuple[ShardTable, int]:
    """Its shard and row. Raises CorpusError that says why it was dropped, or which ids are near."""
    table, index, ids, hurt = _find(corpus, utterance)
    if table is not None:
        return table, index
    dropped, source = _dropped(corpus, utterance)
    if dropped:
        raise CorpusError(f"utterance {utterance} is not in corpus {corpus.url}: {dropped[0].stage} dropped it "
                          f"({dropped[0].reason}: {dropped[0].detail})")
    raise _unknown(f"corpus {corpus.url}", utterance, ids, _where_else(corpus, source, hurt))


def _knows_none(place: Place) -> SourceError:
    what = "folder of artifacts" if place.kind == "shelf" else place.kind
    return SourceError(f"{place.path} is a {what}: it knows no utterances",
                       "--id is for a manifest, a corpus, a layer, a run or a report")


# --- where it is looked for -------------------------------------------------------------------------------------------


def _of_manifest(folder: Path, utterance: str) -> Explained:
    import pyarrow.parquet as pq

    load_card(folder, "manifest")
    path = folder / layout.MANIFEST_FILE
    rows = pq.read_table(path, filters=[("id", "=", utterance)]).to_pylist()
    dropped = [drop for drop in read_drops(folder) if drop.id == utterance]
    if not rows:
        if dropped:
            return _gone(f"manifest {folder}", dropped)
        raise _unknown(f"manifest {folder}", utterance, pq.read_table(path, columns=["id"]).column("id").to_pylist())
    row = rows[0]
    try:
        levels = levels_of(row["spans"])
    except UtterloomError as error:
        levels, sound = Levels(), f"cannot be read: {error.message}"
    else:
        sound = level_in_words(levels)
    value = {"kind": "utterance", "path": str(folder), **_described(row), "level": levels.numbers()}
    return value, [f"utterance {utterance} of manifest {folder}", *labelled([
        *_rows(value), ("level", sound), *_doubles(dropped)]), *_pictured(levels)]


def _of_corpus(corpus: Corpus, names: list[str] | None, utterance: str,
               adding: Callable[[ShardTable, int], Added] | None = None) -> Explained:
    """`names` are those of the layers to tell of, None for all; `adding` says what a run or report knows besides, of a row that is
    there."""
    table, index, ids, hurt = _find(corpus, utterance)
    dropped = [drop for drop in read_drops(Path(corpus.url)) if drop.id == utterance]
    if table is None:
        dropped, source = _dropped(corpus, utterance)
        if dropped:
            return _gone(f"corpus {corpus.url}", dropped)
        raise _unknown(f"corpus {corpus.url}", utterance, ids, _where_else(corpus, source, hurt))
    extra, rows, more = adding(table, index) if adding else ({}, [], [])
    row = corpus.row(table, index)
    audio, levels = _audio(corpus, table, index, row)
    row["split"] = corpus.split_of(table.name, index)
    found, layered = listing.layers_in_words(layers_of(corpus, table, index, open_layers(corpus, names)), corpus.sample_rate_hz)
    value = {"kind": "utterance", "path": str(corpus.url), **_described(row), "audio": audio, "level": levels.numbers(),
             "layers": found, **extra}
    listen = command("tar", "-xOf", Path(corpus.url) / audio["file"], audio["member"], ">", audio["member"])
    listen = Verbatim(listen.replace("'>'", ">"))
    stop = audio["offset"] + audio["bytes"]
    return value, [f"utterance {utterance} of corpus {corpus.url}", *labelled([
        *_rows(value),
        ("bytes", f"{audio['offset']:,} to {stop:,} of {audio['file']} ({audio['bytes']:,}), "
                  f"CRC-32 {audio['crc32']:08x}: {audio['checksum']}"),
        ("level", level_in_words(levels) if levels.duration_s else None), *rows, *_doubles(dropped),
        ("listen", listen if audio["checksum"] == "ok" else None)]), *more, *layered, *_pictured(levels)]


@dataclass(frozen=True)
class _Scored:
    """What a run or report was made of: the corpus's folder, what is to be said of it, and where hypotheses are."""

    folder: Path
    complaint: str | None
    config: dict[str, Any]
    reports: list[Path]


def _scored_corpus(place: Place, utterance: str) -> _Scored:
    """Raises SourceError where the corpus cannot be found."""
    card = place.card()
    if place.kind == "run":
        config, content = config_of(place.path), card.get("corpus")
        reports = sorted(path.parent for path in place.path.glob("evaluations/*/report.json"))
    else:
        config, content = {"corpus": load_card(place.path, "report")["provenance"]["corpus"]}, card["corpus"]
        reports = [place.path]
    folder, complaint = corpus_of(place.path, config, content)
    if folder is None:
        raise SourceError(f"the corpus of {place.path} is not at {config.get('corpus')}: {complaint}",
                          f"name it yourself: utterloom show CORPUS --id {utterance}")
    return _Scored(folder, complaint, config, reports)


def _of_scored(place: Place, utterance: str) -> Explained:
    """The corpus behind a run or a report, and what a model heard in it."""
    scored, card = _scored_corpus(place, utterance), place.card()
    heard = {str(report): hypothesis for report in scored.reports
             if (hypothesis := read_hypotheses(report / "hypotheses.jsonl").get(utterance)) is not None}
    corpus = Corpus(scored.folder)

    def adding(table: ShardTable, index: int) -> Added:
        extra: dict[str, Any] = {"heard": heard}
        rows: Rows = [("caution", scored.complaint)]
        if place.kind == "run":
            extra["use"] = _use(place, card, scored.config, corpus.split_of(table.name, index), utterance)
            rows.append(("this run", extra["use"]))
        reference = table.text(index, next(iter(corpus.views))) or ""
        return extra, rows, [line for report, text in heard.items() for line in _comparison(report, reference, text)]

    return _of_corpus(corpus, None, utterance, adding)


def _use(place: Place, card: dict[str, Any], config: dict[str, Any], split: str, utterance: str) -> str:
    """What a run did with an utterance of its corpus."""
    for drop in read_drops(place.path):
        if drop.id == utterance:
            return f"left it out: {drop.reason} ({drop.detail})"
    if utterance in card.get("damaged", {}):
        return f"left it out as hurt: {card['damaged'][utterance]}"
    if utterance in card.get("guilty", {}):
        return f"trained on it, but {card['guilty'][utterance]}"
    return {config.get("train_split"): "trained on it", config.get("dev_split"): "validated on it"}.get(split, "never read it")


def _find(corpus: Corpus, utterance: str) -> tuple[ShardTable | None, int, list[str], list[str]]:
    """Its shard and row, or all the ids there are; and the shards that could not be looked into."""
    ids: list[str] = []
    hurt: list[str] = []
    with progress("looking", len(corpus.shards), "shards") as report:
        for number, shard in enumerate(corpus.shards):
            try:
                names = corpus.column(shard.name, "id")
                found = np.flatnonzero(names == utterance)
                if len(found):
                    return corpus.table(shard.name), int(found[0]), [], hurt
                ids += names.tolist()
            except DamagedError as error:
                hurt.append(error.message)
            report(number + 1)
    return None, -1, ids, hurt


# --- what is said of it -----------------------------------------------------------------------------------------------


def _described(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a manifest or corpus, in the words of the JSON object."""
    spans = []
    for span in row["spans"]:
        rate = span["sample_rate_hz"]
        spans.append({**span, "start_s": span["start_sample"] / rate, "stop_s": span["stop_sample"] / rate,
                      "is_there": is_there(span["path"])})
    views = {key.removeprefix(layout.VIEW_COLUMN): value for key, value in row.items() if key.startswith(layout.VIEW_COLUMN)}
    kept = {key: row[key] for key in ("id", "text", "speaker", "session", "language", "split", "duration_s")}
    return {**kept, "views": views, "attributes": dict(row["attributes"] or []), "num_samples": row.get("num_samples"),
            "sample_rate_hz": row.get("sample_rate_hz"), "recordings": spans}


def _rows(value: dict[str, Any]) -> Rows:
    packed = f" ({value['num_samples']:,} samples at {value['sample_rate_hz']:,} Hz)" if value["num_samples"] is not None else ""
    rows: Rows = [("text", value["text"] if value["text"] is not None else "– (no transcript)")]
    rows += [(name, text) for name, text in value["views"].items()]
    rows += [(key, value[key]) for key in ("speaker", "session", "language", "split")]
    rows += list(value["attributes"].items())
    rows.append(("length", f"{value['duration_s']:.3f} s{packed}"))
    at_s = 0.0
    for number, span in enumerate(value["recordings"]):
        length_s = span["stop_s"] - span["start_s"]
        joined = f", here {at_s:.3f} to {at_s + length_s:.3f} s" if len(value["recordings"]) > 1 else ""
        rows.append(("from" if number == 0 else "", Verbatim(span["path"] + ("" if span["is_there"] else " (no longer there)"))))
        rows.append(("", f"{span['start_s']:.3f} to {span['stop_s']:.3f} s{joined}: samples {span['start_sample']:,} to "
                         f"{span['stop_sample']:,} at {span['sample_rate_hz']:,} Hz, {_channels(span)}"))
        at_s += length_s
    return rows


def _channels(span: dict[str, Any]) -> str:
    of = amount(span["num_channels"], "channel")
    return of if span["channel"] is None else f"channel {span['channel'] + 1} of {of}"


def _audio(corpus: Corpus, table: ShardTable, index: int, row: dict[str, Any]) -> tuple[dict[str, Any], Levels]:
    """Where the bytes lie and whether they are what they were, and the level of what they hold."""
    levels, checksum = Levels(), "ok"
    try:
        samples_sc, rate = decode(corpus.flac(table, index))
        levels.add(to_mono(samples_sc), rate)
        if len(samples_sc) != row["num_samples"]:
            checksum = f"ok, but it holds {len(samples_sc):,} samples"
    except DamagedError as error:
        checksum = error.message.split(": ", 1)[-1]
    except AudioError as error:
        checksum = f"ok, but {error.message}"
    return {"shard": table.name, "file": layout.audio_path(table.name),
            "member": f"{layout.escape_id(row['id'])}.{layout.AUDIO_SUFFIX}", "offset": row["audio_offset"],
            "bytes": row["audio_bytes"], "crc32": row["audio_crc32"], "checksum": checksum}, levels


def _pictured(levels: Levels) -> list[str]:
    drawn = picture(levels)
    return ["", *drawn] if drawn else []


def _comparison(report: str, reference: str, heard: str) -> list[str]:
    """What was said over what was heard, word beneath word; what was heard wrongly is in brackets."""
    edits = align(words_of(reference), words_of(heard))
    counts = ErrorCounts.of(edits)
    errors = amount(counts.errors, "error") if counts.errors else "no errors"
    lines = ["", f"{INDENT}heard, with {errors} in {amount(counts.reference_length, 'word')} ({report}):"]
    said, read, width = SAID, HEARD, 0
    for edit in edits:
        ref, hyp = edit.ref or GAP, edit.hyp or GAP
        if edit.op != "equal":
            hyp = f"[{hyp}]"
        cells = max(cell_len(ref), cell_len(hyp))
        if width and len(SAID) + width + cells > columns():
            lines += [said.rstrip(), read.rstrip()]
            said, read, width = SAID, HEARD, 0
        said += ref + " " * (cells - cell_len(ref) + 1)
        read += hyp + " " * (cells - cell_len(hyp) + 1)
        width += cells + 1
    return [*lines, said.rstrip(), read.rstrip()] if edits else lines


# --- what is not there ------------------------------------------------------------------------------------------------


def _dropped(corpus: Corpus, utterance: str) -> tuple[list[Drop], Path | None]:
    """What pack and prepare say of an id that is not there, and the manifest, if it still lies near."""
    source = manifest_of(Path(corpus.url), corpus.card["manifest"])
    return [drop for folder in (Path(corpus.url), source) if folder for drop in read_drops(folder) if drop.id == utterance], source


def _gone(where: str, dropped: list[Drop]) -> Explained:
    """An utterance that left the path, and why."""
    drop = dropped[0]
    seconds = "not known" if drop.seconds is None else format_duration(drop.seconds)
    value = {"kind": "dropped", "id": drop.id, "drops": [asdict(entry) for entry in dropped]}
    return value, [f"utterance {drop.id} is not in {where}: {drop.stage} dropped it", *labelled([
        ("reason", drop.reason), ("detail", drop.detail), ("length", seconds),
        ("from", Verbatim(drop.path) if drop.path else None), *_doubles(dropped[1:])])]


def _doubles(dropped: list[Drop]) -> Rows:
    """Rows of the source that had the same id."""
    return [("also", f"{drop.stage} dropped another of this id: {drop.reason} ({drop.detail})") for drop in dropped]


def _where_else(corpus: Corpus, source: Path | None, hurt: list[str]) -> str | None:
    if hurt:
        return f"{amount(len(hurt), 'shard')} could not be looked into: {hurt[0]}"
    prepared = corpus.card["ledger"][0]
    if prepared["dropped"] and source is None:
        return (f"prepare dropped {amount(prepared['dropped'], 'utterance')}, which only its manifest lists: "
                "utterloom show MANIFEST --id …")
    return None


def _unknown(where: str, utterance: str, ids: list[str], elsewhere: str | None = None) -> CorpusError:
    from rapidfuzz import process

    near = [found for found, score, _ in process.extract(utterance, ids, limit=NUM_NEAREST) if score >= 60]
    hint = f"did you mean {' or '.join(near)}?" if near else f"its {len(ids):,} ids are like {', '.join(ids[:NUM_NEAREST])}"
    return CorpusError(f"{where} has no utterance {utterance!r}", f"{hint}\n    {elsewhere}" if elsewhere else hint)

"""What manifests, corpora, reports, model folders, and folders of these are, and what a stopped one still lacks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.core.artifact import TEMPORARY, load_card, read_json
from utterloom.core.config import validate
from utterloom.core.errors import SourceError
from utterloom.core.timing import format_duration
from utterloom.shards import layout
from utterloom.show.layers import layers_in
from utterloom.show.lines import Rows, Verbatim, amount, columns, command, labelled, parameters, percent, settings, wrapped
from utterloom.show.picture import distribution
from utterloom.show.place import CHECKPOINTS, CONTRACT, Place, artifacts_in

MAX_SHARDS_READ = 256  # for the distribution of durations
MAX_SHELF_LINES = 40
MAX_FOLDERS_SEARCHED = 200
NUM_RARE = 12

Explained = tuple[dict[str, Any], list[str]]


# --- manifest ---------------------------------------------------------------------------------------------------------


def manifest(place: Place) -> Explained:
    """Where it comes from, what is in it, what was dropped."""
    from utterloom.prepare.stage import PrepareConfig, explain

    card = place.card()
    config = settings(card["config"], validate(PrepareConfig, {}).model_dump(mode="json"))
    again = command("utterloom", "prepare", card["reader"], card["source"], place.path, *config)
    if place.state != "finished":
        return {**card, "go_on": again}, [f"manifest {place.path}, {_unfinished(place)}", *labelled([
            ("from", Verbatim(f"{card['reader']} {card['source']}")),
            ("so far", "prepare writes all of it at its end: going on begins anew"),
            ("go on", again)])]
    card = load_card(place.path, "manifest")
    seconds, example = _durations([place.path / layout.MANIFEST_FILE])
    return card, [f"manifest {place.path}", *wrapped(explain(card)), *labelled([
        ("from", Verbatim(f"{card['reader']} {card['source']}" + ("" if Path(card["source"]).exists() else " (no longer there)"))),
        ("settings", " ".join(config) or "all as by default"),
        ("text view", f"{card['view']}, {_characters(card['characters'])}"),
        ("recorded as", _formats(card["formats"])),
        ("durations", _spread(seconds)),
        ("one of them", _one_of_them(place, example)), ("audit", _audited(place.path)),
        ("next", command("utterloom", "pack", place.path, "CORPUS"))])]


def _audited(manifest: Path) -> str | None:
    """What an audit of it said, and where."""
    from utterloom.prepare.audit.findings import PAGE_FILE, SUMMARY_FILE
    from utterloom.prepare.stage import AUDIT_FOLDER

    path = manifest / AUDIT_FOLDER / SUMMARY_FILE
    if not path.is_file():
        return None
    told = read_json(path)
    worst = ", ".join(f"{row['utterances']:,} {row['reason']}" for row in told["findings"][:4])
    return f"{told['named']:,} of {told['utterances']:,} with something to look at{f' ({worst})' if worst else ''}: " \
           f"{path.with_name(PAGE_FILE)}"


def _characters(counts: dict[str, int]) -> str:
    rare = sorted(counts.items(), key=lambda item: (item[1], item[0]))[:NUM_RARE]
    shown = " ".join(f"{character if character.strip() else repr(character)}×{count:,}" for character, count in rare)
    return f"{len(counts)} characters, the rarest: {shown}"


def _formats(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}".replace(" ", "\u00a0") for name, count in counts.items())


# --- corpus -----------------------------------------------------------------------------------------------------------


def corpus(place: Place) -> Explained:
    """What is packed, what was dropped on the way, and whether its files are there."""
    from utterloom.pack.stage import PackConfig, explain

    card = place.card()
    source = manifest_of(place.path, card["manifest"])
    if place.state != "finished":
        config = settings(card["config"], validate(PackConfig, {}).model_dump(mode="json"))
        again = command("utterloom", "pack", source or "MANIFEST", place.path, *config)
        value, rows = _shards_so_far(place.path, source, card)
        return {**card, **value, "go_on": again}, [
            f"corpus {place.path}, {_unfinished(place)}", *labelled([*rows, ("go on", again)])]
    card = load_card(place.path, "corpus")
    prepared, wrong = card["prepared"], _wrong_files(place.path, card["shards"])
    tables = [place.path / layout.utterances_path(shard["name"]) for shard in card["shards"]]
    seconds, example = _durations(tables) if len(tables) <= MAX_SHARDS_READ else (None, None)
    layers = ", ".join(f"{name} ({layer['format']}, {layer['rate_hz']:,} Hz, {layer['bits']} bit)"
                       for name, layer in card["layers"].items())
    extracted = layers_in(place.path)
    return {**card, "wrong_files": wrong, "extracted": extracted}, [f"corpus {place.path}", *wrapped(explain(card)), *labelled([
        ("this part", _about_shard(place.inside, card["shards"]) if place.inside else None),
        ("from", Verbatim(f"manifest {source or card['manifest']}")),
        ("recorded as", _formats(prepared["formats"])),
        ("text views", ", ".join(card["views"].values())),
        ("languages", ", ".join(card["languages"]) or None),
        ("layers", layers),
        *[("", f"{found['name']}: {found['summary']}") for found in extracted],
        ("durations", _spread(seconds) if seconds is not None else None),
        *[("note", note) for note in prepared["notes"]],
        ("files", f"wrong: {'; '.join(wrong[:4])}{' …' if len(wrong) > 4 else ''}" if wrong else "all there, of the right size"),
        ("check them", command("utterloom", "verify", place.path)),
        ("one of them", _one_of_them(place, example)),
        ("look at it", command("utterloom", "show", place.path, "--page", f"{place.path.name}.html") if extracted else None),
        ("next", command("utterloom", "train", "RECIPE", f"corpus={place.path}", "out=…"))])]


def _about_shard(inside: Path, shards: list[dict[str, Any]]) -> str | None:
    for shard in shards:
        if inside.stem == shard["name"]:
            return (f"{inside.name}, of shard {shard['name']}: {amount(shard['utterances'], 'utterance')}, "
                    f"{format_duration(shard['seconds'])}, {shard['audio_bytes']:,} bytes of audio")
    return None


def _wrong_files(folder: Path, shards: list[dict[str, Any]]) -> list[str]:
    """What can be seen without reading: files that are missing or have another size."""
    wrong = []
    for shard in shards:
        rows, audio = layout.utterances_path(shard["name"]), layout.audio_path(shard["name"])
        for name, wanted in ((rows, None), (audio, shard["audio_bytes"])):
            path = folder / name
            found = path.stat().st_size if path.is_file() else None
            if found is None:
                wrong.append(f"{name} is missing")
            elif found == 0 or wanted not in (None, found):
                wrong.append(f"{name} has {found:,} bytes{f' of {wanted:,}' if wanted else ''}")
    return wrong


def _shards_so_far(folder: Path, source: Path | None, identity: dict[str, Any]) -> tuple[dict[str, Any], Rows]:
    """The shards of a corpus under construction: which are there, of how many, and which one is being written."""
    from utterloom.shards.writer import is_whole, shard_facts

    parquets = sorted((folder / layout.UTTERANCES).glob(f"[!{TEMPORARY[0]}]*.parquet"))
    there = {path.stem: shard_facts(path) for path in parquets if is_whole(folder, path.stem)}
    begun = sorted({path.name.removeprefix(TEMPORARY).rsplit(".", 2)[0] for path in (folder / layout.AUDIO).glob(f"{TEMPORARY}*")})
    planned = _planned(source, folder, identity) if source else None
    names, facts = list(there), list(there.values())
    of = f" of {len(planned)}" if planned else ""
    value = {"shards_there": names, "shards_planned": planned, "shards_begun": begun}
    return value, [
        ("from", f"manifest {source}" if source else f"the manifest {identity['manifest']}, which is not near here"),
        ("shards", f"{len(names)}{of} there{': ' + _listed(names) if names else ''}"),
        ("begun", _listed(begun) if begun else None),
        ("holding", f"{amount(sum(entry['utterances'] for entry in facts), 'utterance')}, "
                    f"{format_duration(sum(entry['seconds'] for entry in facts))}, "
                    f"{sum(entry['dropped'] for entry in facts):,} dropped" if facts else None)]


def _planned(source: Path, folder: Path, identity: dict[str, Any]) -> list[str]:
    from utterloom.pack.stage import PackConfig, plan

    tasks = plan(source, folder, validate(PackConfig, identity["config"]), next(iter(identity["views"])))
    return [task.name for task in tasks]


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most - 1])} … {names[-1]}"


def manifest_of(corpus_folder: Path, fingerprint: str) -> Path | None:
    """The manifest that a corpus was packed from, if it still lies somewhere beside it: a corpus knows only its fingerprint."""
    home = corpus_folder.absolute().parent
    for base in (home, home.parent):
        for path in islice((*sorted(base.glob("*/manifest.json")), *sorted(base.glob("*/*/manifest.json"))), MAX_FOLDERS_SEARCHED):
            try:
                if read_json(path).get("fingerprint") == fingerprint:
                    return _nearby(path.parent)
            except (SourceError, OSError):
                continue
    return None


def _nearby(path: Path) -> Path:
    """As one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# --- segments ---------------------------------------------------------------------------------------------------------


def segments(place: Place) -> Explained:
    """Cut recordings: how they are called, what was dropped, and how they are read again."""
    from utterloom.prepare.exports.segment import AUDIO, TRANSCRIPTS, SegmentConfig, explain

    card = place.card()
    config = settings(card["config"], validate(SegmentConfig, {}).model_dump(mode="json"))
    source = manifest_of(place.path, card["manifest"])
    if place.state != "finished":
        there = sum(1 for path in (place.path / AUDIO).rglob(f"[!{TEMPORARY[0]}]*") if path.is_file())
        again = command("utterloom", "prepare", "segment", source or "MANIFEST", place.path, *config)
        return {**card, "files_there": there, "go_on": again}, [f"segments {place.path}, {_unfinished(place)}", *labelled([
            ("so far", amount(there, "file")), ("go on", again)])]
    card = load_card(place.path, "segments")
    return card, [f"segments {place.path}", *wrapped(explain(card)), *labelled([
        ("from", Verbatim(f"manifest {source or card['manifest']}")),
        ("settings", " ".join(config) or "all as by default"),
        ("next", command("utterloom", "prepare", "table", place.path / TRANSCRIPTS, "MANIFEST"))])]


# --- durations and examples -------------------------------------------------------------------------------------------


def _durations(tables: list[Path]) -> tuple[np.ndarray | None, str | None]:
    """Seconds of every utterance in some Parquet files, and the id of one of middling length; None where nothing can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parts = [pq.read_table(path, columns=["id", "duration_s"]) for path in tables]
    except (pa.ArrowInvalid, OSError):
        return None, None
    both = pa.concat_tables(parts)
    seconds = both.column("duration_s").to_numpy()
    if not len(seconds):
        return None, None
    middling = int(np.argsort(seconds, kind="stable")[len(seconds) // 2])
    return seconds, str(both.column("id")[middling].as_py())


def _spread(seconds: np.ndarray | None) -> str | None:
    if seconds is None:
        return None
    low, high = float(seconds.min()), float(seconds.max())
    if low == high:
        return f"all {format_duration(low)}"
    picture = distribution(seconds, min(24, columns() // 4)).replace(" ", "\u00a0")  # blanks that no wrapping takes away
    half = format_duration(float(np.median(seconds)))
    return f"{format_duration(low)} {picture} {format_duration(high)}, half of them up to {half}"


def _one_of_them(place: Place, utterance: str | None) -> Verbatim | None:
    return command("utterloom", "show", place.path, "--id", utterance) if utterance is not None else None


def _unfinished(place: Place) -> str:
    return f"being made by {place.writer}" if place.writer else "not finished, and nobody is working on it"


# --- report -----------------------------------------------------------------------------------------------------------


def report(place: Place) -> Explained:
    """What was scored, how well, and where the page is."""
    from utterloom.evaluate.explain import explain

    card = place.card()
    if place.state != "finished":
        model = place.path.parent.parent if place.path.absolute().parent.name == "evaluations" else "MODEL"
        again = command("utterloom", "evaluate", model, "CORPUS", "--split", card["split"])
        return {**card, "go_on": again}, [f"report {place.path}, {_unfinished(place)}", *labelled([
            ("so far", "evaluate writes all of it at its end: going on begins anew"), ("go on", again)])]
    card = load_card(place.path, "report")
    made, speed = card["provenance"], ""
    if made.get("transcribe_s") and card["hours"]:
        speed = (f", transcribed in {format_duration(made['transcribe_s'])} "
                 f"({card['hours'] * 3600 / made['transcribe_s']:,.0f} × real time)")
    page = place.path / "report.html"
    worst = next((row["id"] for row in card["worst"] if row["errors"]), None)
    return card, [f"report {place.path}", *wrapped(explain(card)), *labelled([
        ("model", Verbatim(made["model"] + (f", step {made['step']:,}" if made.get("step") is not None else ""))),
        ("corpus", Verbatim(f"{made['corpus']}, split {made['split']}")),
        ("decoder", f"{made['decoder']}{speed}"),
        ("text view", card["normaliser"]),
        ("hurt audio", f"{amount(made['damaged'], 'utterance')} left out" if made.get("damaged") else None),
        ("page", Verbatim(page if page.is_file() else f"{page} is missing")),
        ("the worst", _one_of_them(place, worst))])]


# --- model ------------------------------------------------------------------------------------------------------------


def model(place: Place) -> Explained:
    """What a model folder is fed and gives back, how large it is, and where it came from."""
    config = read_json(place.path / "config.json") if (place.path / "config.json").is_file() else {}
    name = (config.get("architectures") or [config.get("model_type", "unknown architecture")])[0]
    weights = sorted(place.path.glob("*.safetensors"))
    num_parameters = sum(_num_parameters(path) for path in weights)
    size = f"{parameters(num_parameters)}, {sum(path.stat().st_size for path in weights) / 1e6:,.1f} MB"
    shape = [f"{config[key]:,} {words}" for key, words in (("num_hidden_layers", "layers"), ("hidden_size", "wide"),
                                                           ("vocab_size", "tokens")) if isinstance(config.get(key), int)]
    value: dict[str, Any] = {"architecture": name, "parameters": num_parameters, "config": config, "contract": None}
    rows: Rows = [("network", f"{name}{': ' if shape else ''}{', '.join(shape)}"),
                  ("size", size if weights else "no weights are there")]
    if not (place.path / CONTRACT).is_file():
        return value, [f"model {place.path}", *labelled([
            *rows, ("contract", f"none: without {CONTRACT} utterloom does not know what to feed it")])]
    contract = value["contract"] = read_json(place.path / CONTRACT)
    features, parents, best = contract["features"], contract["parents"], contract["metrics"].get("best_dev_wer")
    rate = features["sample_rate_hz"]
    is_checkpoint = place.path.absolute().parent.name == CHECKPOINTS
    rows += [
        ("hears", f"{rate:,} Hz, {features['num_mels']} mel bands every {1000 * features['hop_samples'] / rate:g} ms"),
        ("writes", f"text view {contract['text_view']}, trained with {contract['objective']}"),
        ("from", f"run {parents.get('run')}, step {parents.get('step', 0):,}, on corpus {parents.get('corpus')}"),
        ("dev WER", f"{percent(best)}, the best of its run up to then" if best is not None else None),
        ("its run", command("utterloom", "show", place.path.parent.parent) if is_checkpoint else None),
        ("next", command("utterloom", "transcribe", place.path, "FILE…"))]
    return value, [f"model {place.path}", *labelled(rows)]


def _num_parameters(path: Path) -> int:
    """From the header of a safetensors file: 8 bytes of length, then JSON of name → dtype, shape, place."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


# --- shelf ------------------------------------------------------------------------------------------------------------


def shelf(place: Place) -> Explained:
    """A folder that is no artifact itself and holds some: one line each."""
    found = artifacts_in(place.path)
    rows = [{"path": str(inner.path), "kind": inner.kind, "state": inner.state, "summary": summary}
            for inner, summary in _summaries(found)]
    width = max(len(str(inner.path)) for inner in found)
    lines = [f"{place.path} is no artifact itself; it holds {amount(len(found), 'artifact')}:"]
    lines += [f"  {row['path']:<{width}}  {row['kind']:<8}  {row['summary']}" for row in rows[:MAX_SHELF_LINES]]
    lines += [f"  … and {len(rows) - MAX_SHELF_LINES} more"] if len(rows) > MAX_SHELF_LINES else []
    return {"artifacts": rows}, lines


def _summaries(places: list[Place]) -> Iterator[tuple[Place, str]]:
    for place in places:
        try:
            card = place.card() if place.kind != "model" else {}
        except SourceError as error:  # one broken card must not hide the others
            yield place, error.message
            continue
        if place.state != "finished":
            yield place, _unfinished(place)
        elif place.kind in ("manifest", "corpus", "segments", "sample"):
            yield place, f"{card['utterances']:,} utterances, {format_duration(card['hours'] * 3600)}"
        elif place.kind == "layer":
            yield place, f"{card['spec']['kind']} of {card['utterances']:,} utterances"
        elif place.kind == "run":
            yield place, f"best dev WER {percent(card['best_dev_wer'])}, {card['steps']:,} steps"
        elif place.kind == "report":
            yield place, f"WER {percent(card['wer'])} on {card['utterances']:,} utterances of {card['provenance']['split']}"
        else:
            yield place, "model folder"

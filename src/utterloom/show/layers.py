"""What a layer of a corpus is, whether its files are there, which shards it lacks, and with which command it goes on."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from utterloom.core.artifact import load_card, read_json
from utterloom.core.config import validate
from utterloom.core.errors import ConfigError, SourceError, UtterloomError
from utterloom.core.forecast import format_size
from utterloom.shards.layers import KIND, OK, STATUSES, arrays_path, is_layer_shard_whole, layer_facts, layer_path
from utterloom.shards.reader import Corpus
from utterloom.show.lines import Verbatim, amount, command, labelled, settings, wrapped
from utterloom.show.place import Place, artifact_at

MAX_FOLDERS_SEARCHED = 200
MOST_LISTED = 4

Explained = tuple[dict[str, Any], list[str]]


def layer(place: Place) -> Explained:
    """A finished layer, or one under way: what it holds, of which corpus, and what it lacks of it."""
    card = place.card()
    corpus = corpus_of(place.path, card.get("corpus"))
    again = go_on(place.path, card, corpus)
    if place.state != "finished":
        there, planned = _shards_there(place.path, corpus)
        value = {**card, "shards_there": there, "shards_planned": planned, "go_on": again}
        of = f" of {len(planned)}" if planned else ""
        doing = f"being made by {place.writer}" if place.writer else "not finished, and nobody is working on it"
        return value, [f"layer {place.path}, {doing}", *labelled([
            ("extracts", str(card.get("extracts", "not known"))),
            ("corpus", _where(corpus, None)),
            ("shards", f"{len(there)}{of} there{': ' + _listed(there) if there else ''}"),
            ("holding", _holding(place.path, there)),
            ("go on", again)])]
    from utterloom.extract.stage import explain

    card = load_card(place.path, KIND)
    lacking, wrong = _lacking(card, corpus), wrong_files(place.path, card)
    value = {**card, "corpus_path": str(corpus.url) if corpus else None, "wrong_files": wrong, "shards_lacking": lacking,
             "go_on": again if lacking or wrong else None}
    example = _example(place.path, card)
    look = Path(corpus.url) if corpus else None
    return value, [f"layer {place.path}", *wrapped(explain(card)), *labelled([
        ("this part", _about_shard(place.inside, card) if place.inside else None),
        ("corpus", _where(corpus, card["corpus"])),
        ("settings", " ".join(_settings(card)) or "all as by default"),
        ("shards", _shards_in_words(card, corpus, lacking)),
        ("files", f"wrong: {'; '.join(wrong[:MOST_LISTED])}{' …' if len(wrong) > MOST_LISTED else ''}" if wrong
         else "all there, of the right size"),
        ("go on", value["go_on"]),
        ("check them", command("utterloom", "verify", place.path)),
        ("one of them", command("utterloom", "show", look, "--id", example) if look and example is not None else None),
        ("look at it", command("utterloom", "show", place.path, "--page", f"{place.path.name}.html") if look else None)])]


def layers_in(corpus_folder: Path) -> list[dict[str, Any]]:
    """The layers in a corpus's folder, finished or not: name, kind, state, a summary in words, and of finished ones the counts."""
    found: list[dict[str, Any]] = []
    for folder in sorted(entry for entry in corpus_folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        try:
            place = artifact_at(folder)
            if place is None or place.kind != KIND:
                continue
            found.append({"name": folder.name, "state": place.state, **_summary(place, corpus_folder)})
        except UtterloomError as error:  # one broken card must not hide the others
            found.append({"name": folder.name, "state": "broken", "summary": error.message})
    return found


def _summary(place: Place, corpus_folder: Path) -> dict[str, Any]:
    card = place.card()
    if place.state != "finished":
        corpus = Corpus(corpus_folder)
        there, planned = _shards_there(place.path, corpus)
        doing = f"being made by {place.writer}" if place.writer else "not finished"
        return {"summary": f"{doing}, {len(there)} of {amount(len(planned), 'shard')} there: utterloom show {place.path} says how "
                           "it goes on", "shards_there": len(there), "shards_planned": len(planned)}
    card = load_card(place.path, KIND)
    spec, ledger = card["spec"], card["ledger"]
    others = [f"{ledger[status]:,} {status}" for status in STATUSES if status != OK and ledger[status]]
    per_hour = f", {format_size(card['bytes_per_hour'])} an hour" if card["bytes_per_hour"] else ""
    lacks = len(_lacking(card, Corpus(corpus_folder)))
    later = f"; lacks {amount(lacks, 'shard')} of the corpus" if lacks else ""
    return {"kind": spec["kind"], "counts": {status: ledger[status] for status in STATUSES}, "bytes": card["bytes"],
            "summary": f"{spec['kind']}, {', '.join([f'{ledger[OK]:,} ok', *others])}{per_hour}{later}"}


def corpus_of(folder: Path, content: str | None) -> Corpus | None:
    """The corpus of a layer: the one whose folder it lies in, else one beside it with that fingerprint; None where none is near."""
    home = folder.absolute().parent
    if (home / "corpus.json").is_file():
        return Corpus(folder.parent if folder.parent.parts else home)
    if content is None:
        return None
    for path in islice((*sorted(home.glob("*/corpus.json")), *sorted(home.parent.glob("*/corpus.json"))), MAX_FOLDERS_SEARCHED):
        try:
            if read_json(path).get("content") == content:
                return Corpus(path.parent)
        except (UtterloomError, OSError):
            continue
    return None


def go_on(folder: Path, card: dict[str, Any], corpus: Corpus | None) -> Verbatim:
    """The command that makes a layer, goes on with it, or adds the shards that have joined the corpus."""
    where = Path(corpus.url) if corpus else Path("CORPUS")
    place = f"name={folder.name}" if corpus and folder.absolute().parent == where.absolute() else f"out={folder}"
    return command("utterloom", "extract", card.get("extracts", "LAYER"), where, *_settings(card), place)


def wrong_files(folder: Path, card: dict[str, Any]) -> list[str]:
    """What can be seen without reading: files of a finished layer that are missing or have another size."""
    wrong = []
    for shard in card["shards"]:
        for name, wanted in ((layer_path(shard["name"]), shard["bytes"]), (arrays_path(shard["name"]), shard["tar_bytes"])):
            path = folder / name
            if wanted is None:
                continue
            if not path.is_file():
                wrong.append(f"{name} is missing")
            elif path.stat().st_size != wanted:
                wrong.append(f"{name} has {path.stat().st_size:,} bytes of {wanted:,}")
    return wrong


def _settings(card: dict[str, Any]) -> list[str]:
    from utterloom.extract.extractors import extractor_schema

    config = card.get("config", {})
    try:
        defaults = validate(extractor_schema(card["extracts"]), {}).model_dump(mode="json")
    except (ConfigError, KeyError, ImportError):  # of an extractor that another package brought, and that is gone
        defaults = {}
    return settings(config, defaults)


def _shards_there(folder: Path, corpus: Corpus | None) -> tuple[list[str], list[str]]:
    """Names of the shards that are whole, and of all that there will be; without its corpus, those that lie there."""
    if corpus is None:
        return sorted(path.stem for path in folder.glob("[!.]*.parquet")), []
    there = [shard.name for shard in corpus.shards if is_layer_shard_whole(folder, shard.name, shard.utterances_sha256)]
    return there, [shard.name for shard in corpus.shards]


def _holding(folder: Path, there: list[str]) -> str | None:
    if not there:
        return None
    facts = [layer_facts(folder / layer_path(name)) for name in there]
    return ", ".join(f"{status} {sum(fact[status] for fact in facts):,}" for status in STATUSES)


def _lacking(card: dict[str, Any], corpus: Corpus | None) -> list[str]:
    """Shards of the corpus that the layer does not have, or has of other utterances."""
    made = {line["name"]: line["utterances_sha256"] for line in card["shards"]}
    return [shard.name for shard in corpus.shards if made.get(shard.name) != shard.utterances_sha256] if corpus else []


def _shards_in_words(card: dict[str, Any], corpus: Corpus | None, lacking: list[str]) -> str:
    if corpus is None:
        return f"{len(card['shards']):,}"
    if not lacking:
        return f"{len(card['shards']):,}, all of the corpus"
    return f"{len(corpus.shards) - len(lacking):,} of {len(corpus.shards):,}; joined or changed since: {_listed(lacking)}"


def _where(corpus: Corpus | None, content: str | None) -> Verbatim:
    if corpus is not None:
        return Verbatim(corpus.url)
    return Verbatim("not near here" if content is None else f"{content}, which is not near here")


def _about_shard(inside: Path, card: dict[str, Any]) -> str | None:
    for line in card["shards"]:
        if inside.stem == line["name"]:
            counts = ", ".join(f"{status} {line[status]:,}" for status in STATUSES)
            return f"{inside.name}, of shard {line['name']}: {counts}, {amount(line['frames'], 'frame')}"
    return None


def _example(folder: Path, card: dict[str, Any]) -> str | None:
    """The id of an utterance that has something; None where the rows cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for line in card["shards"]:
        if line[OK]:
            try:
                table = pq.read_table(folder / layer_path(line["name"]), columns=["id", "status"]).to_pydict()
            except (pa.ArrowException, OSError):
                continue
            return next((str(name) for name, status in zip(table["id"], table["status"], strict=True) if status == OK), None)
    return None


def _listed(names: list[str], most: int = MOST_LISTED) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most - 1])} … {names[-1]}"


def no_layers(place: Place) -> SourceError:
    """The error for a path that has no utterances with layers."""
    return SourceError(f"{place.path} is a {place.kind}: it has no layers", "name a corpus, or CORPUS/LAYER")

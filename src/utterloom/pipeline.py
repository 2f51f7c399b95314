"""The verbs, one after the other: with the command line, and `show`, the only module that knows them all.

Each function does one verb from raw arguments and returns (a JSON object for machines, lines for people).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from utterloom.core.config import Config, compose
from utterloom.core.errors import ConfigError, UtterloomError, did_you_mean

Said = tuple[dict[str, Any], list[str]]


def schema(command: str) -> type[Config]:
    """The settings of a verb. Raises ConfigError naming the verbs that have some."""
    if command == "prepare":
        from utterloom.prepare.stage import PrepareConfig
        return PrepareConfig
    from utterloom.prepare.exports import EXPORTS, export
    if command in EXPORTS:
        return export(command).SCHEMA
    if command == "pack":
        from utterloom.pack.stage import PackConfig
        return PackConfig
    from utterloom.extract.extractors import extractor_names, extractor_schema
    if command in extractor_names():
        return extractor_schema(command)
    if command == "units-fit":
        from utterloom.extract.fit import FitConfig
        return FitConfig
    if command == "align":
        from utterloom.extract.align import AlignConfig
        return AlignConfig
    if command == "train":
        from utterloom.train.config import TrainConfig
        return TrainConfig
    if command == "evaluate":
        from utterloom.evaluate.config import EvaluateConfig
        return EvaluateConfig
    known = ["prepare", *EXPORTS, "pack", *extractor_names(), "units-fit", "align", "train", "evaluate"]
    raise ConfigError(f"{command!r} has no settings", did_you_mean(command, known))


def prepare(reader: str, source: Path, manifest: Path, overrides: list[str], audit: bool = False) -> Said:
    """A source → a manifest, and on request what is wrong with its audio and texts; or a manifest → what EXPORTS makes of it."""
    from utterloom.prepare import stage
    from utterloom.prepare.exports import EXPORTS, export

    if reader in EXPORTS:
        made = export(reader)
        card = made.export(source, manifest, compose(made.SCHEMA, overrides))
        return {reader: str(manifest), **card}, [f"{reader} {manifest}", *made.explain(card)]
    config = compose(stage.PrepareConfig, overrides)
    card = stage.prepare(reader, source, manifest, config)
    lines = [f"manifest {manifest}", *stage.explain(card)]
    if not audit:
        return {"manifest": str(manifest), **card}, lines
    from utterloom.prepare.audit import findings

    found = stage.audit(manifest, config)
    page = manifest / stage.AUDIT_FOLDER / findings.PAGE_FILE
    told = {key: value for key, value in findings.summary(found).items() if key != "plots"}
    return {"manifest": str(manifest), **card, "audit": {**told, "page": str(page)}}, [
        *lines, "audit:", *(f"  {line}" for line in findings.explain(found)), f"  the page: {page}"]


def pack(manifest: Path, corpus: Path, overrides: list[str]) -> Said:
    """A manifest → a corpus."""
    from utterloom.pack import stage

    card = stage.pack(manifest, corpus, compose(stage.PackConfig, overrides))
    return {"corpus": str(corpus), **card}, [f"corpus {corpus}", *stage.explain(card)]


def extract(layer: str, corpus: Path, overrides: list[str]) -> Said:
    """A corpus → one more layer of it."""
    from utterloom.extract import stage
    from utterloom.extract.extractors import extractor_schema

    config = compose(extractor_schema(layer), overrides)
    if getattr(config, "source", None) != "import":
        _needs_torch("extracting", "extract")
    card = stage.extract(layer, corpus, config)
    folder = Path(config.out) if config.out else corpus / card["name"]
    return {"layer": str(folder), **card}, [f"layer {folder}", *stage.explain(card)]


def fit_units(features: Path, out: Path, overrides: list[str]) -> Said:
    """Frames → a codebook."""
    from utterloom.core.artifact import kind_of
    from utterloom.extract import fit
    from utterloom.shards.layers import KIND

    config = compose(fit.FitConfig, overrides)
    source, layer = (features.parent, features.name) if kind_of(features) == KIND else (features, None)
    card = fit.fit_units(source, out, config, layer)
    return {fit.KIND: str(out), **card}, [f"{fit.KIND} {out}", *fit.explain(card),
                                          f"  next: utterloom extract units CORPUS codebook={out}"]


def align(audio: Path, text: Path, model: str, out: Path, overrides: list[str], words: bool = False) -> Said:
    """A recording and its whole text → utterances, or words."""
    from utterloom.extract.align import AlignConfig
    from utterloom.extract.align import align as aligned

    config = compose(AlignConfig, overrides)
    _needs_torch("aligning", "extract")
    return aligned(audio, text, model, out, config, words)


def words(layer: Path, out: Path) -> Said:
    """The word times of a layer → files that other tools read."""
    from utterloom.extract.export import export_words

    return export_words(layer, out)


def train(recipe: str, overrides: list[str], config_dir: Path | None = None) -> Said:
    """A recipe and a corpus → a run."""
    from utterloom.train.config import TrainConfig

    config = compose(TrainConfig, overrides, recipe, config_dir)
    _needs_torch("training")
    from utterloom.train import stage

    card = stage.train(config, overrides)
    if not card:  # another rank says it
        return {}, []
    return {"run": config.out, **card}, [f"run {config.out}", *stage.explain(card),
                                         f"  next: utterloom evaluate {config.out} {config.corpus}"]


def evaluate(model: Path, corpus: str, overrides: list[str]) -> Said:
    """A model and a corpus → hypotheses and a report."""
    from utterloom.evaluate.config import EvaluateConfig

    config = compose(EvaluateConfig, overrides)
    _needs_torch("evaluating")
    from utterloom.evaluate import stage
    from utterloom.evaluate.explain import explain

    report = stage.evaluate(model, corpus, config)
    out = stage.report_folder(model, corpus, config)
    return {"report": str(out), **report}, [*explain(report), f"  page: {out / stage.PAGE}"]


def transcribe(model: Path, files: list[Path]) -> Iterator[Any]:
    """Transcripts of some files, each as soon as it is known."""
    _needs_torch("transcribing")
    from utterloom.evaluate.transcribe import transcribe as each

    yield from each(model, files)


def _needs_torch(purpose: str, extra: str = "train") -> None:
    from importlib.util import find_spec

    from utterloom.core.errors import MissingPackageError

    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise MissingPackageError(package, extra, purpose)


def verify(artifact: Path) -> Said:
    """Every file and row of a corpus, and of its layers, against its checksum; `damages` of the JSON object is empty when all is
    whole. A layer may be named by itself."""
    from utterloom.core.artifact import kind_of
    from utterloom.core.progress import progress
    from utterloom.shards.layers import CARD, KIND, Layer, layer_names
    from utterloom.shards.reader import Corpus, Damage
    from utterloom.shards.reader import verify as look

    value: dict[str, Any]
    if kind_of(artifact) == KIND:
        kind, layers = KIND, [Layer(artifact)]
        value = {KIND: str(artifact), "shards": len(layers[0].shards), "utterances": layers[0].card["utterances"]}
        damages = list(layers[0].damages())
    else:
        kind, corpus = "corpus", Corpus(artifact)
        layers, unread = [], []
        for name in layer_names(corpus):
            try:
                layers.append(Layer(artifact / name))
            except UtterloomError as error:
                unread.append(Damage(f"{name}/{CARD}", None, error.message))
        value = {kind: str(artifact), "shards": len(corpus.shards), "utterances": corpus.card["utterances"],
                 "layers": [layer.name for layer in layers]}
        with progress("verifying", len(corpus.shards) * (1 + len(layers)), "shards") as report:
            damages = [*look(corpus, report), *unread]
            for number, layer in enumerate(layers, start=1):
                damages += layer.damages(corpus)
                report(len(corpus.shards) * (1 + number))
    found = [{"shard": damage.shard, "utterance": damage.utterance, "what": damage.what} for damage in damages]
    value["damages"] = found
    if not damages:
        of = f", {len(layers)} layers" if kind == "corpus" and layers else ""
        return value, [f"{kind} {artifact} is whole: {value['shards']} shards{of}, {value['utterances']:,} utterances"]
    places = [f"{damage.shard}, utterance {damage.utterance}" if damage.utterance else damage.shard for damage in damages]
    return value, [f"{kind} {artifact} is hurt in {len(damages)} places:",
                   *(f"  {place}: {damage.what}" for place, damage in zip(places, damages, strict=True)),
                   "  to mend it: remove the files that are hurt and give the same command again (pack, or extract for a layer); "
                   "it writes their shards anew"]


def show(path: Path, ids: Sequence[str] = (), **look: Any) -> Said:
    """Any artifact, or one utterance of it; or utterances as a picture or a page, as `look` says (`show.looking.Look`)."""
    from utterloom.show import show as explained

    return explained(path, ids, **look)


def doctor() -> Said:
    from utterloom.doctor import doctor as examined

    return examined()


def list_keys(command: str) -> Said:
    """The settings of a verb, with their defaults and meanings."""
    from utterloom.core.config import keys

    model = schema(command)
    rows = [{"key": key, "type": _type_name(annotation), "default": _default(model, key), "meaning": meaning}
            for key, annotation, meaning in keys(model)]
    width = max(len(row["key"]) for row in rows)
    return {"command": command, "keys": rows}, [f"{row['key']:<{width}}  {row['meaning']}{_typed(row['default'])}" for row in rows]


def _typed(default: Any) -> str:
    """A default as somebody would type it; nothing where there is none."""
    if default in (None, [], ""):
        return ""
    if isinstance(default, bool):
        return f"  [{str(default).lower()}]"
    return f"  [{','.join(map(str, default))}]" if isinstance(default, list | tuple) else f"  [{default}]"


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation).replace("typing.", ""))


def _default(model: Any, key: str) -> Any:
    value: Any = model
    for part in key.split("."):
        if isinstance(value, type):
            field = value.model_fields[part]
            value = field.default if field.default_factory is None else field.default_factory()
            if value is None and "." in key:
                return None
            if field.is_required():
                return "must be given"
        else:
            value = getattr(value, part, None)
    return value


def demo(out: Path, language: str, size: str, minutes: float, overrides: list[str]) -> Said:
    """The whole path on speech that it makes itself; every step is the command that a user would type."""
    import json
    import time

    from utterloom.core.artifact import output_errors, write_json
    from utterloom.core.log import log
    from utterloom.core.progress import progress
    from utterloom.core.timing import format_duration

    _needs_torch("the demo")
    from utterloom.demo.corpus import make_corpus

    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    settings = {"language": language, "size": size, "minutes": minutes, "overrides": overrides}
    raw, manifest, corpus, run = (out / name for name in ("recordings", "manifest", "corpus", "run"))
    seconds: dict[str, float] = {}

    def timed(name: str, command: str, work: Any) -> Any:
        log.info(f"\n[{name}] {command}")
        started = time.perf_counter()
        result = work()
        seconds[name] = round(time.perf_counter() - started, 2)
        return result

    def record() -> Any:
        made = out / "recordings.json"
        if made.is_file() and (known := json.loads(made.read_text(encoding="utf-8")))["settings"] == settings_of_speech:
            log.info(f"{raw} is there already")
            return known
        with progress("speaking", minutes * 60, "s of speech") as report:
            summary = make_corpus(raw, language, size, minutes, on_progress=lambda done, _: report(done))
        known = {"settings": settings_of_speech, "recordings": summary.recordings, "minutes": round(summary.minutes, 2),
                 "words": summary.words, "speakers": {name: len(names) for name, names in summary.speakers.items()},
                 "broken_on_purpose": list(summary.broken)}
        write_json(made, known)
        return known

    settings_of_speech = {key: settings[key] for key in ("language", "size", "minutes")}
    spoken = timed("speak", f"{minutes:g} minutes of {language} speech, messy on purpose → {raw}", record)
    table = raw / "transcripts.tsv"
    prepared = timed("prepare", f"utterloom prepare table {table} {manifest} language={language}",
                     lambda: prepare("table", table, manifest, [f"language={language}"]))
    packed = timed("pack", f"utterloom pack {manifest} {corpus}", lambda: pack(manifest, corpus, []))
    trained = timed("train", f"utterloom train demo corpus={corpus} out={run}{''.join(f' {text}' for text in overrides)}",
                    lambda: train("demo", [f"corpus={corpus}", f"out={run}", *overrides]))
    report, _ = timed("evaluate", f"utterloom evaluate {run} {corpus} --split test",
                      lambda: evaluate(run, str(corpus), ["split=test"]))
    page = Path(report["report"]) / "report.html"
    with output_errors(out):
        (out / "report.html").write_bytes(page.read_bytes())
    files = _demo_files(table, raw)
    heard = timed("transcribe", f"utterloom transcribe {run} {' '.join(str(path) for path, _ in files)}",
                  lambda: list(transcribe(run, [path for path, _ in files])))
    card = {
        "settings": settings, "wer": report["wer"], "wer_interval": report["wer_interval"], "cer": report["cer"],
        "utterances": report["utterances"], "split": "test", "best_dev_wer": trained[0]["best_dev_wer"],
        "training_s": trained[0]["seconds"]["training"], "seconds": seconds, "total_s": round(sum(seconds.values()), 1),
        "speech": spoken, "dropped": [row for stage in packed[0]["ledger"] for row in stage["reasons"]],
        "transcripts": [{"path": str(path), "said": said, "heard": result.text}
                        for (path, said), result in zip(files, heard, strict=True)],
        "paths": {"recordings": str(raw), "manifest": str(manifest), "corpus": str(corpus), "run": str(run),
                  "report": str(out / "report.html")}}
    write_json(out / "demo.json", card)
    interval = report["wer_interval"]
    lines = [
        "", f"test WER {100 * report['wer']:.2f} %"
        + (f" (95 % interval {100 * interval[0]:.2f}–{100 * interval[1]:.2f})" if interval else "")
        + f" on {report['utterances']} utterances of {spoken['speakers'].get('test', '?')} voices that training never heard,",
        f"after {format_duration(card['training_s'])} of training on {prepared[0]['splits']['train']['hours'] * 60:.0f} minutes; "
        f"{format_duration(card['total_s'])} in all "
        f"({', '.join(f'{name} {format_duration(value)}' for name, value in seconds.items())}).",
        "", "dropped on the way, with reasons:",
        *(f"  {row['stage']}: {row['utterances']} {row['reason']} ({row['example']})" for row in card["dropped"]),
        "", "heard:", *(f"  {row['heard']}\n    was: {row['said']}" for row in card["transcripts"]),
        "", "where everything is:", *(f"  {name:<11} {path}" for name, path in card["paths"].items())]
    return card, lines


def _demo_files(table: Path, raw: Path) -> list[tuple[Path, str]]:
    """Three recordings of the test split, as they came, with what was said."""
    import csv

    with table.open(encoding="utf-8", newline="") as file:
        table_rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [row for row in table_rows if row["split"] == "test" and row["text"]]
    return [(raw / row["path"], row["text"]) for row in rows[:: max(1, len(rows) // 3)][:3]]

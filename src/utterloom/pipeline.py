"""The verbs, one after the other: the only module besides the command line that knows them all.

Each function does one verb from raw arguments and returns (a JSON object for machines, lines for people).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utterloom.core.config import Config, compose
from utterloom.core.errors import ConfigError, did_you_mean

Said = tuple[dict[str, Any], list[str]]


def schema(command: str) -> type[Config]:
    """The settings of a verb. Raises ConfigError naming the verbs that have some."""
    if command == "prepare":
        from utterloom.prepare.stage import PrepareConfig
        return PrepareConfig
    if command == "pack":
        from utterloom.pack.stage import PackConfig
        return PackConfig
    if command == "train":
        from utterloom.train.config import TrainConfig
        return TrainConfig
    if command == "evaluate":
        from utterloom.evaluate.stage import EvaluateConfig
        return EvaluateConfig
    raise ConfigError(f"{command!r} has no settings", did_you_mean(command, ["prepare", "pack", "train", "evaluate"]))


def prepare(reader: str, source: Path, manifest: Path, overrides: list[str]) -> Said:
    from utterloom.prepare import stage

    card = stage.prepare(reader, source, manifest, compose(stage.PrepareConfig, overrides))
    return {"manifest": str(manifest), **card}, [f"manifest {manifest}", *stage.explain(card)]


def pack(manifest: Path, corpus: Path, overrides: list[str]) -> Said:
    from utterloom.pack import stage

    card = stage.pack(manifest, corpus, compose(stage.PackConfig, overrides))
    return {"corpus": str(corpus), **card}, [f"corpus {corpus}", *stage.explain(card)]


def train(recipe: str, overrides: list[str], config_dir: Path | None = None) -> Said:
    from utterloom.train.config import TrainConfig

    config = compose(TrainConfig, overrides, recipe, config_dir)
    _needs_torch("training")
    from utterloom.train import stage

    card = stage.train(config, overrides)
    return {"run": config.out, **card}, [f"run {config.out}", *stage.explain(card),
                                         f"  next: utterloom evaluate {config.out} {config.corpus}"]


def evaluate(model: Path, corpus: str, overrides: list[str]) -> Said:
    from utterloom.evaluate import stage

    config = compose(stage.EvaluateConfig, overrides)
    _needs_torch("evaluating")
    report = stage.evaluate(model, corpus, config)
    out = stage.report_folder(model, corpus, config)
    return {"report": str(out), **report}, [*stage.explain(report), f"  page: {out / stage.PAGE}"]


def transcribe(model: Path, files: list[Path]) -> Iterator[Any]:
    _needs_torch("transcribing")
    from utterloom.evaluate.transcribe import transcribe as each

    yield from each(model, files)


def _needs_torch(purpose: str) -> None:
    from importlib.util import find_spec

    from utterloom.core.errors import MissingPackageError

    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise MissingPackageError(package, "train", purpose)


def verify(artifact: Path) -> Said:
    from utterloom.core.progress import progress
    from utterloom.shards.reader import Corpus
    from utterloom.shards.reader import verify as look

    corpus = Corpus(artifact)
    with progress("verifying", len(corpus.shards), "shards") as report:
        damages = look(corpus, report)
    found = [{"shard": damage.shard, "utterance": damage.utterance, "what": damage.what} for damage in damages]
    value = {"corpus": str(artifact), "shards": len(corpus.shards), "utterances": corpus.card["utterances"], "damages": found}
    if not damages:
        return value, [f"corpus {artifact} is whole: {len(corpus.shards)} shards, {corpus.card['utterances']:,} utterances"]
    return value, [f"corpus {artifact} is hurt in {len(damages)} places:",
                   *(f"  {damage.shard}{f', utterance {damage.utterance}' if damage.utterance else ''}: {damage.what}" for damage in damages)]


def list_keys(command: str) -> Said:
    from utterloom.core.config import keys

    model = schema(command)
    rows = [{"key": key, "type": _type_name(annotation), "default": _default(model, key), "meaning": meaning}
            for key, annotation, meaning in keys(model)]
    width = max(len(row["key"]) for row in rows)
    return {"command": command, "keys": rows}, [
        f"{row['key']:<{width}}  {row['meaning']}" + (f"  [{row['default']}]" if row["default"] is not None else "") for row in rows]


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

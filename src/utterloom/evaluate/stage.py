"""`evaluate`: transcribe a split, score it, and leave hypotheses.jsonl, report.json and report.html."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utterloom import __version__
from utterloom.batches.collate import CollateFeatures
from utterloom.batches.loader import Loader, SplitIndex
from utterloom.batches.plan import BatchPlan
from utterloom.core.artifact import atomic_write, building, load_card
from utterloom.core.errors import ConfigError, CorpusError, DamagedError
from utterloom.core.ledger import read_drops, summarise
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.records import Drop, canonical_split
from utterloom.evaluate.config import EvaluateConfig
from utterloom.evaluate.report import render_report
from utterloom.metrics.scoring import Reference, read_hypotheses, score
from utterloom.models.contract import CHECKPOINTS, Contract, model_folder
from utterloom.shards.reader import Corpus, ShardTable

HYPOTHESES, REPORT, PAGE = "hypotheses.jsonl", "report.json", "report.html"
BATCH_S = 120.0
WINDOW_SHARDS = 64


def evaluate(model: Path, corpus_url: str, config: EvaluateConfig) -> dict[str, Any]:
    """Returns the report. Raises CorpusError for a split that is not there, naming those that are."""
    corpus = Corpus(corpus_url)
    split = canonical_split(config.split)
    corpus.shards_of(split)
    folder = model_folder(model, config.checkpoint)
    contract = Contract.load(folder)
    _check_match(contract, corpus, folder)
    out = report_folder(model, corpus_url, config)
    weights = _weights_fingerprint(folder)
    identity = {"config": config.model_dump(mode="json", exclude={"out", "threads", "split"}), "split": split,
                "corpus": corpus.fingerprint, "weights": weights}
    if not config.out and (out / REPORT).is_file() and load_card(out, "report").get("weights") != weights:
        import shutil

        shutil.rmtree(out)  # the run's own folder, and the run has a better checkpoint now
    with building(out, "report", identity) as artifact:
        if artifact.finished:
            log.info(f"{out} is there already: same model, same corpus, same split")
            return load_card(out, "report")
        seconds, damaged = _transcribe(folder, corpus, split, config, out / HYPOTHESES)
        view = contract.view.partition("@")[0]
        report = score(_references(corpus, split, view), read_hypotheses(out / HYPOTHESES), contract.view, resample=config.resample,
                       seed=config.seed, provenance={
                           "split": split, "corpus": str(corpus.url), "corpus_fingerprint": corpus.fingerprint,
                           "model": str(folder), "weights": weights, "step": contract.parents.get("step"), "decoder": "greedy",
                           "transcribe_s": round(seconds, 3), "language": next(iter(corpus.card["languages"]), None),
                           "damaged": len(damaged), "utterloom": __version__})
        if not report["utterances"]:
            raise CorpusError(f"split {split!r} of {corpus.url} has no utterance with a transcript: there is nothing to score")
        _render(report, corpus, split, model, out, damaged)
        artifact.commit(report)
    return load_card(out, "report")


def report_folder(model: Path, corpus_url: str, config: EvaluateConfig) -> Path:
    """Where `evaluate` writes."""
    split = canonical_split(config.split)
    name = f"{config.checkpoint}-{Path(Corpus(corpus_url).url).resolve().name}-{split}"
    return Path(config.out) if config.out else model / "evaluations" / name


def _check_match(contract: Contract, corpus: Corpus, folder: Path) -> None:
    if contract.features.sample_rate_hz != corpus.sample_rate_hz:
        raise ConfigError(f"the model in {folder} hears {contract.features.sample_rate_hz} Hz, corpus {corpus.url} is packed at "
                          f"{corpus.sample_rate_hz} Hz", f"pack it again with sample_rate_hz={contract.features.sample_rate_hz}")
    views = corpus.card["views"]
    if contract.view not in views.values():
        raise ConfigError(f"the model writes text view {contract.view}, corpus {corpus.url} has {', '.join(views.values())}",
                          f"prepare it again with view={contract.view.partition('@')[0]}")


def _weights_fingerprint(folder: Path) -> str:
    from utterloom.shards.reader import sha256_of

    return sha256_of(folder / "model.safetensors")[:16]


def _transcribe(folder: Path, corpus: Corpus, split: str, config: EvaluateConfig, path: Path) -> tuple[float, list[Drop]]:
    """Write one line an utterance, in the corpus's order; returns the seconds it took, and what could not be read."""
    import torch

    from utterloom.engines.torch import CTCEngine

    torch.set_num_threads(config.threads)
    index = SplitIndex.open(corpus, split, "error" if config.damaged == "error" else "quarantine")
    engine = CTCEngine.open(folder)
    plan = BatchPlan(index.num_samples, index.shard, int(BATCH_S * corpus.sample_rate_hz)).epoch(0)
    loader = Loader(index, CollateFeatures(engine.contract.features), None, 0, WINDOW_SHARDS)
    hypotheses: dict[str, str] = {}
    damaged: list[Drop] = []
    started = time.perf_counter()
    with progress("transcribing", len(index), "utterances") as report:
        for batch in loader.micro_batches((0, plan.micro_batch(number)) for number in range(plan.num_micro_batches)):
            for utterance, why in batch.damaged:
                if config.damaged == "error":
                    raise DamagedError(why, "damaged=skip scores the rest")
                damaged.append(Drop(utterance, "evaluate", "damaged audio", why, None))
            hypotheses.update(engine.transcribe([batch]))
            report(len(hypotheses))
    seconds = time.perf_counter() - started
    with atomic_write(path, "w") as file:
        for utterance, _ in index.texts(None):
            if utterance in hypotheses:
                file.write(json.dumps({"id": utterance, "text": hypotheses[utterance]}, ensure_ascii=False) + "\n")
    return seconds, damaged


def _readable_rows(corpus: Corpus, split: str) -> Iterator[tuple[ShardTable, int]]:
    """Rows of the split, without those of shards whose Parquet is hurt: `damaged=error` has stopped before."""
    for shard in corpus.shards_of(split):
        try:
            table = corpus.table(shard.name)
        except DamagedError as error:
            log.warning(f"{error.message}; its utterances are not scored")
            continue
        for row in corpus.rows_of(shard.name, split).tolist():
            yield table, row


def _references(corpus: Corpus, split: str, view: str) -> dict[str, Reference]:
    """Every utterance of the split that has a transcript, in the model's text view."""
    references = {}
    for table, row in _readable_rows(corpus, split):
        text = table.text(row, view)
        if text is not None:
            references[table.id(row)] = Reference(text, table.value(row, "speaker"), dict(table.value(row, "attributes") or []),
                                                  table.value(row, "duration_s"))
    return references


def _render(report: dict[str, Any], corpus: Corpus, split: str, model: Path, out: Path, damaged: list[Drop]) -> None:
    curve, milestones = _learning(model)
    hypotheses = read_hypotheses(out / HYPOTHESES)
    view = report["normaliser"].partition("@")[0]
    rows = [{"id": table.id(row), "ref": table.text(row, view), "hyp": hypotheses.get(table.id(row)),
             "speaker": table.value(row, "speaker"), "duration_s": table.value(row, "duration_s")}
            for table, row in _readable_rows(corpus, split) if table.text(row, view) is not None]
    dropped = [line for stage in corpus.card["ledger"] for line in stage["reasons"]]
    dropped += summarise([*read_drops(model), *damaged] if (model / CHECKPOINTS).is_dir() else damaged)

    def audio(utterance: str) -> bytes | None:
        found = corpus.find(utterance)
        return corpus.flac(*found) if found else None

    wer = report["wer"]
    render_report(report, out / PAGE, title=f"{model.resolve().name} on {Path(corpus.url).resolve().name} {split}", curve=curve,
                  milestones=milestones, dropped=dropped, utterances=rows, audio=audio)
    if wer is None:
        log.warning("the references have no words, so there is no WER")


def _learning(model: Path) -> tuple[list[dict[str, Any]] | None, list[dict[str, Any]] | None]:
    """The learning curve and the milestones of the run that the model came from; None for a bare model folder."""
    import yaml

    from utterloom.core.timing import Budget
    from utterloom.core.ttq import FILE_NAME, Milestone, TTQLedger

    run = model if (model / FILE_NAME).is_file() else None
    if run is None:
        return None, None
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    targets = [Milestone(m["wer"], Budget.parse(m["budget"]).seconds if m["budget"] else None) for m in config["milestones"]]
    ledger = TTQLedger(run / FILE_NAME, targets)
    kept = {"step": "step", "epoch": "epoch", "train_s": "train_s", "train_loss": "train_loss", "dev_wer": "wer", "dev_cer": "cer",
            "learning_rate": "learning_rate"}
    curve = [{name: event[key] for name, key in kept.items()} for event in ledger.curve()]
    return curve, list(ledger.states().values())

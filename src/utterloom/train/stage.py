"""`train`: a recipe and a corpus → a run folder: checkpoints, step log, time-to-quality ledger, summary."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utterloom import __version__
from utterloom.audio.logmel import LogMelParameters
from utterloom.batches.loader import SplitIndex
from utterloom.core.artifact import atomic_write, building, load_card, write_json
from utterloom.core.config import validate
from utterloom.core.errors import TrainingError
from utterloom.core.ledger import DROPS_FOLDER, Ledger, write_drops
from utterloom.core.log import log, set_up
from utterloom.core.progress import progress
from utterloom.core.records import Drop
from utterloom.core.timing import Budget, format_duration
from utterloom.core.ttq import FILE_NAME as LEDGER_FILE
from utterloom.core.ttq import Milestone, TTQLedger
from utterloom.models.contract import Contract
from utterloom.runners.local import usable_cores
from utterloom.shards.reader import Corpus
from utterloom.text.tokenizers import FILE_NAME as TOKENIZER_FILE
from utterloom.text.tokenizers import UNKNOWN_ID, CTCTokenizer
from utterloom.train.config import TrainConfig
from utterloom.train.objectives import objective
from utterloom.train.ranks import Ranks, keep_freed_memory, outer_ranks, run_ranks
from utterloom.train.trainer import Trainer

STAGE = "train"
ROUND_TRIP_TEXTS = 2000
MANY_SHORT = 0.05


class Interrupted(TrainingError):
    """Ctrl-C: everything is saved."""


def train(config: TrainConfig, overrides: list[str]) -> dict[str, Any]:
    """Train, or go on with a run that stopped; returns the run's card. Raises Interrupted after a Ctrl-C that was saved."""
    run = Path(config.out)
    corpus = Corpus(config.corpus)
    identity = {"config": config.identity(), "corpus": corpus.fingerprint, "view": _view(corpus)}
    ranks = outer_ranks()
    if ranks is not None:
        return _on_given_rank(ranks, run, (config, overrides, identity))
    return _with_folder(
        run, identity, lambda: run_ranks(_on_one_rank, (config.model_dump(mode="json"), overrides, identity), _num_ranks(config))
    )


def _with_folder(run: Path, identity: dict[str, Any], work: Any) -> dict[str, Any]:
    with building(run, "run", identity) as artifact:
        if artifact.finished:
            log.info(f"{run} is finished already: same recipe, same corpus")
        else:
            artifact.commit(work())
    return load_card(run, "run")


def _on_given_rank(ranks: Ranks, run: Path, argument: Any) -> dict[str, Any]:
    """Under a launcher: the first rank holds the run folder; the others begin when it has it, or end when it has not.

    Only the first returns the card."""
    if not ranks.is_first:
        if ranks.from_first(None):
            _on_one_rank(ranks, argument)
        return {}
    said = False

    def work() -> dict[str, Any]:
        nonlocal said
        said = True
        ranks.from_first(True)
        return _on_one_rank(ranks, argument)

    try:
        return _with_folder(run, argument[2], work)
    finally:
        if not said:
            ranks.from_first(False)


def _num_ranks(config: TrainConfig) -> int:
    if config.ranks is not None:
        return min(config.ranks, config.batch.micro_batches)
    return 1 if torch.cuda.is_available() else max(1, min(usable_cores(), config.batch.micro_batches))


def _view(corpus: Corpus) -> str:
    (view,) = corpus.card["views"].values()
    return str(view)


def _on_one_rank(ranks: Ranks, argument: Any) -> dict[str, Any]:
    """What every rank does. The first one writes; the others follow."""
    raw, overrides, identity = argument
    config = raw if isinstance(raw, TrainConfig) else validate(TrainConfig, raw)
    if not ranks.is_first:
        set_up()
        log.setLevel("ERROR")
    keep_freed_memory()
    torch.set_num_threads(1 if ranks.world_size > 1 or not torch.cuda.is_available() else min(4, usable_cores()))
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    run, corpus = Path(config.out), Corpus(config.corpus)
    index = SplitIndex.open(corpus, config.train_split, config.damaged)
    dev = (
        SplitIndex.open(corpus, config.dev_split, config.damaged)
        if config.dev_split and config.dev_split in corpus.splits
        else None
    )
    if config.dev_split and dev is None and ranks.is_first:
        log.warning(
            f"corpus {corpus.url} has no split {config.dev_split!r}: training without validation, so without a best checkpoint"
        )
    view = identity["view"]
    view_name = view.partition("@")[0]
    features = LogMelParameters.for_rate(corpus.sample_rate_hz, config.features.num_mels, config.features.hop_ms)
    tokenizer = ranks.from_first(_tokenizer(run, config, index, view_name).to_json() if ranks.is_first else None)
    goal = objective(config.objective)(CTCTokenizer.from_json(tokenizer), features)
    index, ledger = _trainable(goal, index, config, view_name)
    if ranks.is_first:
        if not (run / DROPS_FOLDER).exists():
            write_drops(run / DROPS_FOLDER / f"{STAGE}-00000.parquet", ledger.drops)
        _check_dev(goal.tokenizer, dev, view_name, config)
        _describe(run, config, overrides, ranks, device)
    contract = Contract(config.objective, view, features, {"corpus": corpus.fingerprint, "run": run.name}, {})
    milestones = [Milestone(m.wer, Budget.parse(m.budget).seconds if m.budget else None) for m in config.milestones]
    ttq = TTQLedger(run / LEDGER_FILE, milestones) if ranks.is_first else TTQLedger(Path(os.devnull), milestones)
    trainer = Trainer(config, run, ranks, goal, index, dev, contract, ttq, device)
    if ranks.is_first:
        parameters = sum(p.numel() for p in trainer.network.parameters())
        hours = float(index.num_samples.sum()) / corpus.sample_rate_hz / 3600
        log.info(
            f"{config.objective}, {parameters / 1e6:.2f} M parameters, vocabulary {goal.tokenizer.vocab_size}, "
            f"{len(index):,} utterances ({format_duration(hours * 3600)}), "
            f"{trainer.epoch_plan(0).num_steps} steps an epoch, budget {trainer.budget}, "
            f"{ranks.world_size} rank{'s' if ranks.world_size > 1 else ''} on {device.type}"
        )
    with progress("training", 1.0, enabled=ranks.is_first, begun_at=trainer.progress()) as report:
        finished = trainer.run(report)
    if not finished:
        raise Interrupted(
            f"training was interrupted at step {trainer.state.step}; everything is saved", "the same command goes on from there"
        )
    return _summary(trainer, ledger, index)


def _tokenizer(run: Path, config: TrainConfig, index: SplitIndex, view: str) -> CTCTokenizer:
    """The run's own, made once from the training text and kept."""
    if (run / TOKENIZER_FILE).is_file():
        return CTCTokenizer.load(run)
    texts = [text for _, text in index.texts(view) if text]
    tokenizer = CTCTokenizer.train(texts, config.tokenizer.kind, config.tokenizer.vocab_size)
    tokenizer.check_round_trip(texts[:: max(1, len(texts) // ROUND_TRIP_TEXTS)])
    with atomic_write(run / TOKENIZER_FILE, "w") as file:
        file.write(tokenizer.to_json())
    return tokenizer


def _trainable(goal: Any, index: SplitIndex, config: TrainConfig, view: str) -> tuple[SplitIndex, Ledger]:
    """Leave out, and write down, what cannot be trained on: no transcript, or more symbols than encoder frames."""
    ledger = Ledger(STAGE)
    keep = np.ones(len(index), dtype=bool)
    network = goal.build({**config.model.model_dump(), "num_hidden_layers": 1})
    rate = index.corpus.sample_rate_hz
    for number, (utterance, text) in enumerate(index.texts(view)):
        seconds = float(index.num_samples[number]) / rate
        if text is None:
            ledger.drop(Drop(utterance, STAGE, "no transcript", "unlabelled", seconds))
        elif short := goal.frames_short(text, int(index.num_samples[number]), network):
            ledger.drop(
                Drop(
                    utterance,
                    STAGE,
                    "more symbols than frames",
                    f"{len(goal.tokenizer.encode(text))} tokens do not fit {seconds:.2f} s: {short} frames are missing",
                    seconds,
                )
            )
        else:
            ledger.ok(seconds)
            continue
        keep[number] = False
    ledger.check()
    short = sum(drop.reason == "more symbols than frames" for drop in ledger.drops)
    if not ledger.num_ok:
        raise TrainingError(
            f"none of the {len(index)} training utterances can be trained on: {ledger.drops[0].reason} "
            f"({ledger.drops[0].id}: {ledger.drops[0].detail})",
            "a smaller model.subsampling or a larger tokenizer.vocab_size needs fewer frames",
        )
    if short > MANY_SHORT * len(index):
        log.warning(
            f"{short} of {len(index)} utterances have more symbols than frames and are left out; a smaller model.subsampling "
            "or a larger tokenizer.vocab_size would keep them"
        )
    return index.select(keep), ledger


def _check_dev(tokenizer: CTCTokenizer, dev: SplitIndex | None, view: str, config: TrainConfig) -> None:
    if dev is None:
        return
    ids = [token for _, text in dev.texts(view) if text for token in tokenizer.encode(text)]
    unknown = ids.count(UNKNOWN_ID) / len(ids) if ids else 0.0
    if unknown > config.max_unknown:
        raise TrainingError(
            f"{100 * unknown:.1f} % of the dev tokens are unknown to the tokenizer of the training text",
            "are train and dev of one language and text view? max_unknown=1 trains all the same",
        )


def _describe(run: Path, config: TrainConfig, overrides: list[str], ranks: Ranks, device: torch.device) -> None:
    """The resolved config, the overrides and the environment, beside the run's other files."""
    import yaml

    with atomic_write(run / "config.yaml", "w") as file:
        yaml.safe_dump(config.model_dump(mode="json"), file, sort_keys=False, allow_unicode=True)
    write_json(
        run / "environment.json",
        {
            "utterloom": __version__,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "machine": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine(),
            "cores": usable_cores(),
            "ranks": ranks.world_size,
            "threads_per_rank": torch.get_num_threads(),
            "overrides": overrides,
        },
    )


def _summary(trainer: Trainer, ledger: Ledger, index: SplitIndex) -> dict[str, Any]:
    state = trainer.state
    return {
        "steps": state.step,
        "epochs": round(state.epoch + state.step_in_epoch / trainer.epoch_plan(state.epoch).num_steps, 3),
        "best_dev_wer": state.best_wer,
        "best_step": state.best_step,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "vocabulary": trainer.objective.tokenizer.vocab_size,
        "seconds": {"training": round(state.train_s, 3), "validation": round(state.validation_s, 3), "cpu": round(state.cpu_s, 3)},
        "speech_s": round(state.speech_s, 3),
        "utterances_seen": state.utterances,
        "skipped_steps": state.skipped_steps,
        "guilty": state.guilty,
        "damaged": state.damaged,
        "quarantined_shards": [list(entry) for entry in index.quarantined],
        "milestones": list(trainer.ledger.states().values()),
        "ledger": ledger.summary(),
    }


def explain(card: dict[str, Any]) -> list[str]:
    """What a person wants to know of a run, as lines."""
    seconds = card["seconds"]
    wer = (
        f"best dev WER {100 * card['best_dev_wer']:.2f} % at step {card['best_step']}"
        if card["best_dev_wer"] is not None
        else "never validated"
    )
    lines = [
        f"{card['steps']:,} steps, {card['epochs']:g} epochs, {card['parameters'] / 1e6:.2f} M parameters: {wer}",
        f"  {format_duration(seconds['training'])} of training, {format_duration(seconds['validation'])} of validation, "
        f"{format_duration(seconds['cpu'])} of CPU in all, "
        f"{card['speech_s'] / max(1e-9, seconds['training']):,.0f} s of speech a second",
    ]
    for milestone in card["milestones"]:
        at = f" at {format_duration(milestone['achieved_at_s'])}" if milestone["achieved_at_s"] is not None else ""
        lines.append(f"  target {100 * milestone['target_wer']:g} %: {milestone['state'].replace('_', ' ')}{at}")
    for row in card["ledger"]["reasons"]:
        lines.append(f"  left out {row['utterances']:,}: {row['reason']}, for example {row['example']}")
    if card["skipped_steps"]:
        lines.append(f"  {card['skipped_steps']} steps skipped as not finite: {', '.join(card['guilty']) or 'loss scale search'}")
    if card["damaged"] or card["quarantined_shards"]:
        lines.append(f"  {len(card['damaged'])} utterances and {len(card['quarantined_shards'])} shards were hurt and left out")
    return lines

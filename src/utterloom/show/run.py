"""A training, finished or not: how far it is, how well it does, where its time went, and how it goes on.

All of it is read from the files that a run keeps anyway, in whole lines, so that one that is being trained can be watched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utterloom.core.artifact import kind_of, load_card, read_json
from utterloom.core.errors import SourceError
from utterloom.core.timing import Budget, format_duration
from utterloom.core.ttq import FILE_NAME, Milestone, TTQLedger
from utterloom.show.lines import Verbatim, amount, columns, command, labelled, parameters, percent
from utterloom.show.picture import course
from utterloom.show.place import CHECKPOINTS, POINTERS, Place
from utterloom.train.steplog import FILE_NAME as STEPS_FILE
from utterloom.train.steplog import read_steps

_STATES = {"achieved": "reached", "achieved_late": "reached, after its time", "missed": "missed", "pending": "not reached yet"}


def run(place: Place) -> tuple[dict[str, Any], list[str]]:
    """The same account for a run that is finished, being trained, or stopped."""
    card, config = load_card(place.path, "run") if place.state == "finished" else place.card(), config_of(place.path)
    steps, ledger = read_steps(place.path / STEPS_FILE), _ledger(place.path, config)
    pointers = _json(place.path / CHECKPOINTS / POINTERS)
    saved = _json(place.path / CHECKPOINTS / pointers["last"] / "trainer" / "state.json") if "last" in pointers else {}
    corpus, complaint = corpus_of(place.path, config, card.get("corpus"))
    facts = _facts(card, steps, ledger, saved, config)
    facts |= {"checkpoints": pointers, "corpus_path": str(corpus) if corpus else None, "evaluations": _evaluations(place.path)}
    again = None if place.state == "finished" else _go_on(place.path, config, corpus)
    value = {**card, **facts, "go_on": again}
    lines = [f"run {place.path}, {_how_it_stands(place)}", *labelled([
        ("so far" if again else "length", _how_far(place, facts)),
        ("best", _best(facts, pointers)),
        ("dev WER", _course_of_wer(ledger)),
        ("loss", _course_of_loss(steps)),
        ("time", _time_apart(facts)),
        *[("target", text) for text in _targets(facts["milestones"])],
        ("left out", _left_out(card, facts)),
        ("network", _network(card, config)),
        ("corpus", Verbatim(f"{corpus or config.get('corpus') or 'not known'}{f' ({complaint})' if complaint else ''}")),
        ("machine", _machine(place.path)),
        *[("scored", Verbatim(f"{percent(row['wer'])} WER on {row['split']}: {row['path']}")) for row in facts["evaluations"]],
        ("saved", _saved(facts, saved, place) if again else None),
        ("go on", again if place.state == "stopped" else None),
        ("next", command("utterloom", "evaluate", place.path, corpus or "CORPUS") if facts["best_step"] is not None else None)])]
    return value, lines


def config_of(folder: Path) -> dict[str, Any]:
    """The resolved config of a run; empty when it was stopped before it wrote one."""
    import yaml

    path = folder / "config.yaml"
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except yaml.YAMLError as error:
        raise SourceError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    return value if isinstance(value, dict) else {}


def corpus_of(artifact: Path, config: dict[str, Any], content: str | None) -> tuple[Path | None, str | None]:
    """Where the corpus of a run or report lies, and what is to be said of it.

    `config["corpus"]` is as it was typed, relative to a folder that nobody wrote down: it is looked for from here and from
    every folder around the artifact, and known by its bytes.
    """
    named = config.get("corpus")
    if not named:
        return None, "the config does not name it"
    other = None
    for base in (Path(), *artifact.absolute().parents):
        folder = base / named
        if kind_of(folder) == "corpus":
            if content is None or read_json(folder / "corpus.json").get("content") == content:
                return folder, None
            other = other or folder
    return other, "its bytes are others now: it was made again since" if other else "no longer there"


def _json(path: Path) -> dict[str, Any]:
    """A file that may not be there yet, or any more: checkpoints come and go while we look."""
    try:
        return read_json(path)
    except SourceError:
        return {}


def _ledger(folder: Path, config: dict[str, Any]) -> TTQLedger:
    targets = [Milestone(entry["wer"], Budget.parse(entry["budget"]).seconds if entry["budget"] else None)
               for entry in config.get("milestones") or []]
    return TTQLedger(folder / FILE_NAME, targets)


def _facts(card: dict[str, Any], steps: list[dict[str, Any]], ledger: TTQLedger, saved: dict[str, Any],
           config: dict[str, Any]) -> dict[str, Any]:
    """What is known of the course of a run; a finished run's card wins over what is put together from its files."""
    validations = ledger.curve()
    scored = [event for event in validations if event["wer"] is not None]
    best = min(scored, key=lambda event: (event["wer"], event["step"]), default=None)
    last = steps[-1] if steps else None
    train_s = max([saved.get("train_s", 0.0), last["train_s"] if last else 0.0,
                   *(event.get("train_s", 0.0) for event in ledger.events)])
    num_steps = last["step"] + 1 if last else 0
    progress = _progress(config, num_steps, train_s, last) if not card else 1.0
    left_s = train_s * (1 - progress) / progress if progress else None
    resumes = [event for event in ledger.events if event["event"] == "resume"]
    facts = {
        "steps": num_steps, "epochs": last["epoch"] if last else 0, "progress": progress,
        "best_dev_wer": best["wer"] if best else None, "best_step": best["step"] if best else None,
        "seconds": {"training": train_s, "cpu": saved.get("cpu_s"),
                    "validation": max([saved.get("validation_s", 0.0), *(event["validation_s"] for event in validations)])},
        "speech_s": sum(line["speech_s"] for line in steps), "skipped_steps": sum(line["skipped"] for line in steps),
        "damaged": saved.get("damaged", {}), "guilty": saved.get("guilty", {}), "milestones": list(ledger.states().values()),
        "resumes": len(resumes), "taken_again_s": round(sum(event["lost_s"] for event in resumes), 3), "left_s": left_s,
        "validations": validations}
    return facts | {key: value for key, value in card.items() if key in facts}


def _progress(config: dict[str, Any], num_steps: int, train_s: float, last: dict[str, Any] | None) -> float | None:
    """The part of the budget that is spent; None before the first step. The log has it from before each step."""
    if last is None or not config.get("budget"):
        return None
    budget = Budget.parse(config["budget"])
    if budget.epochs is not None:
        return float(last["progress"])
    return min(1.0, num_steps / budget.steps if budget.steps is not None else train_s / (budget.seconds or 1.0))


def _how_it_stands(place: Place) -> str:
    if place.state == "finished":
        return "finished"
    return f"being trained by {place.writer}" if place.writer else "not finished, and no process here is training it"


def _how_far(place: Place, facts: dict[str, Any]) -> str:
    done = amount(facts["steps"], "step")
    if place.state == "finished":
        return f"{done}, {facts['epochs']:g} epochs"
    share = f", {100 * facts['progress']:.0f} % of its budget" if facts["progress"] is not None else ""
    left = f", about {format_duration(facts['left_s'])} of training left" if facts["left_s"] else ""
    steps_file = place.path / STEPS_FILE
    ago = f"; last step {format_duration(max(0.0, time.time() - steps_file.stat().st_mtime))} ago" if steps_file.is_file() else ""
    return f"{done}, epoch {facts['epochs']:g}{share}{left}{ago}"


def _best(facts: dict[str, Any], pointers: dict[str, Any]) -> str:
    if facts["best_dev_wer"] is None:
        return "never validated"
    where = f", in {CHECKPOINTS}/{pointers['best']}" if "best" in pointers else ""
    return f"dev WER {percent(facts['best_dev_wer'])} at step {facts['best_step']:,}{where}"


def _course_of_wer(ledger: TTQLedger) -> str | None:
    rates = [event["wer"] for event in ledger.curve() if event["wer"] is not None]
    if len(rates) < 2:
        return None
    return f"{percent(rates[0])} {course(rates, _course_columns())} {percent(rates[-1])}, {amount(len(rates), 'validation')}"


def _course_of_loss(steps: list[dict[str, Any]]) -> str | None:
    losses = [line["loss"] for line in steps if line["loss"] is not None]
    if len(losses) < 2:
        return None
    # In CTC's first steps it falls tenfold: on a plain scale nothing would be seen of the rest.
    drawn = course([math.log(max(loss, 1e-6)) for loss in losses], _course_columns())
    return f"{losses[0]:.3f} {drawn} {losses[-1]:.3f} a token, logarithmic"


def _course_columns() -> int:
    return columns() // 3


def _time_apart(facts: dict[str, Any]) -> str:
    seconds, again = facts["seconds"], ""
    if facts["resumes"]:
        again = f"; resumed {amount(facts['resumes'], 'time')}, {format_duration(facts['taken_again_s'])} of it taken again"
    pace = f"; {facts['speech_s'] / seconds['training']:,.0f} s of speech a second" if seconds["training"] > 0 else ""
    cpu = f", {format_duration(seconds['cpu'])} of CPU in all" if seconds.get("cpu") else ""
    return f"{format_duration(seconds['training'])} training, {format_duration(seconds['validation'])} validation{cpu}{pace}{again}"


def _targets(milestones: list[dict[str, Any]]) -> Iterator[str]:
    for row in milestones:
        within = f" within {format_duration(row['budget_s'])}" if row["budget_s"] is not None else ""
        at = ""
        if row["achieved_at_s"] is not None:
            at = f" at {format_duration(row['achieved_at_s'])} (step {row['achieved_step']:,})"
        yield f"{100 * row['target_wer']:g} % WER{within}: {_STATES[row['state']]}{at}"


def _left_out(card: dict[str, Any], facts: dict[str, Any]) -> str | None:
    reasons = card.get("ledger", {}).get("reasons", [])
    parts = [f"{row['utterances']:,} for {row['reason']}, such as {row['example']}" for row in reasons]
    parts += [f"{len(facts['damaged']):,} whose audio is hurt"] if facts["damaged"] else []
    parts += [f"{amount(len(card['quarantined_shards']), 'shard')} that are hurt"] if card.get("quarantined_shards") else []
    parts += [f"{amount(facts['skipped_steps'], 'step')} that were not finite"] if facts["skipped_steps"] else []
    return "; ".join(parts) or None


def _network(card: dict[str, Any], config: dict[str, Any]) -> str | None:
    network, tokenizer = config.get("model"), config.get("tokenizer", {})
    if not network:
        return None
    size = f", {parameters(card['parameters'])}" if "parameters" in card else ""
    vocabulary = f"{card['vocabulary']:,}" if "vocabulary" in card else f"up to {tokenizer.get('vocab_size')}"
    return (f"{config['objective']}, {amount(network['num_hidden_layers'], 'layer')} of {network['hidden_size']}{size}, "
            f"{vocabulary} {tokenizer.get('kind')} tokens, budget {Budget.parse(config['budget'])}, seed {config['seed']}")


def _machine(folder: Path) -> str | None:
    known = _json(folder / "environment.json")
    if not known:
        return None
    return (f"{amount(known['ranks'], 'rank')} on {known['device']}, torch {known['torch']}, Python {known['python']}, "
            f"utterloom {known['utterloom']}")


def _evaluations(folder: Path) -> list[dict[str, Any]]:
    cards = ((path.parent, _json(path)) for path in sorted(folder.glob("evaluations/*/report.json")))
    return [{"path": str(path), "split": card["provenance"]["split"], "wer": card["wer"]} for path, card in cards if card]


def _saved(facts: dict[str, Any], saved: dict[str, Any], place: Place) -> str:
    if not saved:
        return "no checkpoint yet: going on begins at step 0"
    since = facts["steps"] - saved["step"]
    then = f"; {amount(since, 'step')} since then would be taken again" if since > 0 and place.state == "stopped" else ""
    return f"at step {saved['step']:,}{then}"


def _go_on(folder: Path, config: dict[str, Any], corpus: Path | None) -> Verbatim | None:
    """The command that resumes the run: its own resolved config is a recipe."""
    if not config:
        return Verbatim("the command that started it, once more")
    words = []
    if corpus is not None and str(corpus) != config["corpus"]:
        words.append(f"corpus={corpus}")
    if Path(config["out"]).absolute() != folder.absolute():
        words.append(f"out={folder}")
    return command("utterloom", "train", folder / "config.yaml", *words)

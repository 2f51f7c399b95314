"""What a sample for people is, how far they are with it, and what to do with their verdicts."""

from __future__ import annotations

from typing import Any

from utterloom.core.artifact import TEMPORARY, load_card
from utterloom.core.config import validate
from utterloom.core.errors import MissingPackageError, SourceError
from utterloom.prepare.exports.sample import AUDIO_FOLDER, KIND, SampleConfig, explain
from utterloom.prepare.review.page import PAGE_FILE
from utterloom.prepare.review.verdicts import read_verdicts
from utterloom.show.artifacts import manifest_of
from utterloom.show.lines import Verbatim, amount, command, labelled, settings, wrapped
from utterloom.show.place import Place


def sample(place: Place) -> tuple[dict[str, Any], list[str]]:
    """What was chosen, and the verdicts that lie in its folder."""
    card = place.card()
    source = manifest_of(place.path, card["manifest"])
    config = settings(card["config"], validate(SampleConfig, {}).model_dump(mode="json"))
    if place.state != "finished":
        there = sum(1 for _ in (place.path / AUDIO_FOLDER).glob(f"[!{TEMPORARY[0]}]*"))
        again = command("utterloom", "prepare", KIND, source or "MANIFEST", place.path, *config)
        doing = f"being made by {place.writer}" if place.writer else "not finished, and nobody is working on it"
        return {**card, "files_there": there, "go_on": again}, [f"sample {place.path}, {doing}", *labelled([
            ("so far", amount(there, "audio file")), ("go on", again)])]
    card = load_card(place.path, KIND)
    told = _told(place)
    return {**card, "verdicts": told}, [f"sample {place.path}", *wrapped(explain(card)[:-2]), *labelled([
        ("from", Verbatim(f"manifest {source or card['manifest']}")),
        ("settings", " ".join(config) or "all as by default"),
        ("judge them", Verbatim(place.path / PAGE_FILE)),
        ("judged", told if isinstance(told, str) else f"{amount(sum(told.values()), 'utterance')} of {card['utterances']:,}: "
         + ", ".join(f"{count:,} {word}" for word, count in told.items())),
        ("next", command("utterloom", "prepare", "manifest", source or "MANIFEST", "NEW", f"verdicts=[{place.path}]"))])]


def _told(place: Place) -> dict[str, int] | str:
    """How many verdicts of each kind there are, or why they cannot be counted."""
    try:
        words = [verdict.verdict for verdict in read_verdicts(place.path).values()]
    except (SourceError, MissingPackageError) as error:
        return error.message
    return {word: words.count(word) for word in dict.fromkeys(words)}

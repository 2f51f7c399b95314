"""What a codebook is, how well it was fitted, and with which command it goes on or is used."""

from __future__ import annotations

from typing import Any

from utterloom.core.artifact import load_card
from utterloom.core.config import validate
from utterloom.show.lines import amount, columns, command, labelled, settings, wrapped
from utterloom.show.picture import course
from utterloom.show.place import Place

Explained = tuple[dict[str, Any], list[str]]


def codebook(place: Place) -> Explained:
    """A finished codebook, or one that is being fitted."""
    from utterloom.extract.fit import KIND, STATE_FOLDER, FitConfig, explain

    card = place.card()
    config = settings(card["config"], validate(FitConfig, {}).model_dump(mode="json"))
    if place.state != "finished":
        again = command("utterloom", "units", "fit", "FEATURES", place.path, *config)
        doing = f"being made by {place.writer}" if place.writer else "not finished, and nobody is working on it"
        saved = sum(1 for path in (place.path / STATE_FOLDER).glob("*") if path.is_file())
        return {**card, "go_on": again}, [f"codebook {place.path}, {doing}", *labelled([
            ("so far", amount(saved, "file") + " of state"), ("go on", again)])]
    card = load_card(place.path, KIND)
    inertia = card["fit"].get("inertia") or []
    return card, [f"codebook {place.path}", *wrapped(explain(card)), *labelled([
        ("settings", " ".join(config) or "all as by default"),
        ("inertia", f"{course(inertia, columns() // 4)} by pass" if len(inertia) > 2 else None),
        ("next", command("utterloom", "extract", "units", "CORPUS", f"codebook={place.path}"))])]

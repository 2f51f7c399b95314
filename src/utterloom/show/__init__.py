"""`show`: explains any artifact, and any utterance back to its recordings.

It reads and never writes, so that a training may be watched while it goes on, and it needs no torch. It lies beside
`pipeline.py` and, like it, knows the verbs: how each explains its card, and with which command it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utterloom.show.place import Place, place_of

__all__ = ["show"]


def show(path: Path, ids: Sequence[str] = (), **look: Any) -> tuple[dict[str, Any], list[str]]:
    """A JSON object for machines, and lines for people, of an artifact or of one utterance; or a picture or page is written, as
    `look` says (see `looking.Look`). Raises SourceError that says what a path is that is no artifact, and ConfigError."""
    place = place_of(path)
    if look:
        from utterloom.show import looking

        asked = looking.Look(**look)
        asked.check(ids)
        if asked.picture is not None:
            return looking.draw(place, ids[0], asked)
        if asked.page is not None:
            return looking.page(place, ids, asked)
    if ids:
        from utterloom.show.utterance import explain_utterance

        return explain_utterance(place, ids[0])
    value, lines = _explain(place)
    header = {"kind": place.kind, "path": str(place.path), "state": place.state, "writer": place.writer}
    return {key: entry for key, entry in header.items() if entry is not None} | value, lines


def _explain(place: Place) -> tuple[dict[str, Any], list[str]]:
    from utterloom.show import artifacts, codebook, layers, recording, run, sample

    explainers = {
        "manifest": artifacts.manifest, "corpus": artifacts.corpus, "layer": layers.layer, "report": artifacts.report,
        "model": artifacts.model, "run": run.run, "sample": sample.sample, "segments": artifacts.segments, "shelf": artifacts.shelf,
        "codebook": codebook.codebook,
        "recording": recording.recording}
    return explainers[place.kind](place)

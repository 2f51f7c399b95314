"""The sample as a page: it opens from the disk, plays, takes verdicts and saves them; and reading what it saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from utterloom import __version__
from utterloom.core.artifact import read_json
from utterloom.core.errors import SourceError
from utterloom.prepare.review import VERDICTS, Answers, Entry, Item, digest

PAGE_FILE, SAVED_FILE = "review.html", "verdicts.json"
KIND, FORMAT = "verdicts", 1


def page_bytes(items: Sequence[Item], sample: str, order: str, title: str) -> bytes:
    """The page as UTF-8; it refers to its audio relatively and to nothing else."""
    data = {"sample": sample, "order": order, "title": title, "kind": KIND, "format": FORMAT, "file": SAVED_FILE,
            "verdicts": VERDICTS, "items": [asdict(item) for item in items]}
    part = resources.files("utterloom.prepare.review")
    text = Template((part / "review.html").read_text(encoding="utf-8")).substitute(
        title=escape(title), version=__version__, css=(part / "review.css").read_text(encoding="utf-8"),
        js=(part / "review.js").read_text(encoding="utf-8"), data=_embedded(data))
    return text.encode("utf-8", "replace")


def _embedded(value: Any) -> str:
    """JSON that no transcript can end early: a script element knows no escapes but those of JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def read_saved(path: Path) -> Answers:
    """What the page saved. Raises SourceError for a file that the page did not write, or that was damaged since."""
    value = read_json(path)
    if value.get("utterloom") != {"kind": KIND, "format": FORMAT}:
        raise SourceError(f"{path} does not hold verdicts of a review page", "save them again: review.html, Save verdicts")
    try:
        answers = Answers(str(path), _text(value["sample"]), _text(value["order"]), {})
        for number, row in enumerate(value["utterances"], 1):
            said = {name: _text(row[name]).strip() for name in ("verdict", "corrected_text", "note")}
            name = _text(row["id"])
            answers.texts[name] = digest(_text(row["text"]))
            answers.entries.append(Entry(f"entry {number}", name, said["verdict"], said["corrected_text"], said["note"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path} is damaged: {type(error).__name__} {error}",
                          "save it again: review.html, Save verdicts") from None
    return answers


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value or ""

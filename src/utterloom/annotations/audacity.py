"""Label tracks of Audacity: `start TAB end TAB text` in seconds, a line each.

A decimal comma is read as Audacity reads it. A line that begins with a backslash holds the frequencies of the label before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from utterloom.annotations.times import seconds_of
from utterloom.core.errors import SourceError


@dataclass(frozen=True)
class Label:
    """A label as the file has it; `fault` is why it cannot be used, (reason, detail). `attributes` may hold `low_hz`, `high_hz`."""

    where: str
    start_s: float | None = None
    stop_s: float | None = None
    text: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    fault: tuple[str, str] | None = None


def parse_labels(text: str, name: str) -> list[Label]:
    """The labels in the order of the file. Raises SourceError where none of its lines is one."""
    labels: list[Label] = []
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"line {number}"
        if line.startswith("\\\t") and labels:
            labels[-1] = _with_frequencies(labels[-1], line, where)
        elif line.strip():
            labels.append(_label(line, where))
    if not labels:
        raise SourceError(f"{name} is empty")
    if all(label.start_s is None for label in labels):
        raise SourceError(f"{name} is no label track: {labels[0].fault[1] if labels[0].fault else ''}")
    return labels


def _label(line: str, where: str) -> Label:
    cells = line.split("\t", 2)
    if len(cells) < 2:
        return Label(where, fault=("bad label", f"{line[:60]!r} is not start, tab, end, tab, text"))
    try:
        start_s, stop_s = (seconds_of(cell.strip().replace(",", ".")) for cell in cells[:2])
    except ValueError as error:
        return Label(where, fault=("bad label", str(error)))
    text = " ".join(cells[2].split()) if len(cells) > 2 else ""
    fault = ("point label", f"it marks {start_s:g} s, not a stretch: {text[:60]!r}") if start_s == stop_s else None
    return Label(where, start_s, stop_s, text or None, fault=fault)


def _with_frequencies(label: Label, line: str, where: str) -> Label:
    """Of a spectral selection; a side that is not bounded is written −1."""
    cells = line.split("\t")[1:]
    try:
        hz = [float(cell.replace(",", ".")) for cell in cells]
        if len(hz) != 2:
            raise ValueError
    except ValueError:
        return replace(label, fault=label.fault or ("bad label", f"{where}: {line!r} is not a range of frequencies"))
    bounds = {name: f"{value:g}" for name, value in zip(("low_hz", "high_hz"), hz, strict=True) if value >= 0}
    return replace(label, attributes={**label.attributes, **bounds})

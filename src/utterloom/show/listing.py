"""What the layers have of one utterance, as lines for people and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from utterloom.show.lines import INDENT, columns
from utterloom.show.timeline import DOUBTS, LayerAt, lanes_of

MOST_LISTED = 60  # words, tokens or runs; the JSON object has all
OF_THE_FILE = ("id", "array_offset", "array_bytes", "array_crc32")
GAP = "\u00a0"  # which no wrapping takes away


def layers_in_words(layers: Iterable[LayerAt], rate_hz: int) -> tuple[dict[str, Any], list[str]]:
    """By the name of each layer, what it has of an utterance, times in samples and in seconds; and as lines.

    `rate_hz` is that of the corpus, in which times are counted.
    """
    values: dict[str, Any] = {}
    lines: list[str] = []
    for layer in layers:
        values[layer.name] = _value(layer, rate_hz)
        lanes = [lane for lane in lanes_of(layer, rate_hz) if lane.kind != "characters"]
        for lane in lanes:
            kind = f" ({lane.kind})" if lane.title != lane.layer else ""
            marks = ", ".join(f"{DOUBTS[doubt].mark} {doubt}" for doubt in lane.doubts)
            legend = f" ({marks})" if marks else ""
            lines += ["", *_wrapped(f"{INDENT}{layer.name}{kind}: {lane.about}{legend}", 2 * INDENT)]
            if lane.kind == "units" and lane.boxes:
                pieces = [f"{box.label}×{run}" if run > 1 else box.label
                          for box, run in zip(lane.boxes, layer.row["runs"], strict=True)]
            else:
                pieces = [f"{box.start_s:.2f}–{box.stop_s:.2f}{GAP}{DOUBTS[box.doubt].mark if box.doubt else ''}{_whole(box.label)}"
                          for box in lane.boxes]
            lines += _listed(pieces, " " if lane.kind == "units" else "  ")
            if lane.apart:
                lines += _wrapped(f"{2 * INDENT}without time: {' · '.join(map(_whole, lane.apart))}", 3 * INDENT)
    return values, lines


def _value(layer: LayerAt, rate_hz: int) -> dict[str, Any]:
    if layer.complaint is not None or layer.spec is None:
        return {"complaint": layer.complaint}
    value = {"kind": layer.spec.kind, **{key: entry for key, entry in layer.row.items() if key not in OF_THE_FILE}}
    if layer.spec.grid is not None:
        value["rate_hz"] = layer.spec.grid.rate_hz
    if layer.spec.has_arrays:
        value |= {"dtype": layer.spec.dtype, "dim": layer.spec.dim, "array_bytes": layer.row["array_bytes"]}
    if value.get("words"):
        value["words"] = [{**word, **{f"{edge}_s": _seconds(word[f"{edge}_sample"], rate_hz) for edge in ("start", "stop")}}
                          for word in value["words"]]
    return value


def _seconds(sample: int | None, rate_hz: int) -> float | None:
    return None if sample is None else sample / rate_hz


def _whole(label: str) -> str:
    return label.replace(" ", GAP)


def _listed(pieces: list[str], between: str) -> list[str]:
    more = [f"…{GAP}and{GAP}{len(pieces) - MOST_LISTED:,}{GAP}more"] if len(pieces) > MOST_LISTED else []
    return _wrapped(2 * INDENT + between.join([*pieces[:MOST_LISTED], *more]), 2 * INDENT) if pieces else []


def _wrapped(text: str, margin: str) -> list[str]:
    return textwrap.wrap(text, columns(), subsequent_indent=margin, break_long_words=False, break_on_hyphens=False)

"""One utterance on one time axis: its samples, and what each layer says of which stretch of it.

What is drawn, listed and played is made of the same lanes. Times are seconds from the start of the utterance; what a layer gives
no time for is listed apart, never put somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.audio.decode import decode, to_mono
from utterloom.core.errors import ConfigError, CorpusError, UtterloomError
from utterloom.shards.layers import CARD, OK, Layer, LayerSpec, layer_names
from utterloom.shards.reader import Corpus, ShardTable

SHOWN_S = 40.0  # of a longer utterance, unless one asks for more
MOST_SHOWN_S = 600.0
@dataclass(frozen=True)
class Doubt:
    """How a time that was not simply found is shown: its look in pictures, its mark in lines."""

    look: str
    mark: str


DOUBTS = {"estimated": Doubt("hatched", "~"), "implausible": Doubt("dashed", "?")}
ORDER = ("words", "characters", "tokens", "states", "units", "features", "complaint")  # from the text down to the sound
NUM_COMPONENTS = 8
MOST_FRAMES_FOR_COMPONENTS = 4_000  # more are thinned out before the directions are sought


@dataclass(frozen=True)
class Box:
    """A stretch of time with a name. `sureness` is 0 to 1, None where nobody said; `doubt`, one of DOUBTS, says that its time was
    not simply found; `about` is all that is known of it."""

    start_s: float
    stop_s: float
    label: str
    about: str
    sureness: float | None = None
    doubt: str | None = None
    number: int | None = None


@dataclass(frozen=True)
class Lane:
    """What one layer says: boxes, or a strip [frames, components] that begins at `strip_start_s`; `apart` has no time.

    `kind` is words, characters, units, tokens or features; `about` says in words what it is and what is wrong with it.
    """

    layer: str
    kind: str
    about: str
    boxes: tuple[Box, ...] = ()
    apart: tuple[str, ...] = ()
    strip: np.ndarray | None = None
    strip_start_s: float = 0.0
    frame_s: float = 0.0

    @property
    def title(self) -> str:
        """Whose it is, and of which kind where the name does not say so."""
        return self.layer if self.kind in (self.layer, "complaint") else f"{self.layer}: {self.kind}"

    @property
    def doubts(self) -> list[str]:
        """Those of DOUBTS that some box has."""
        return [doubt for doubt in DOUBTS if any(box.doubt == doubt for box in self.boxes)]

    @property
    def legend(self) -> str:
        """What the looks of its boxes mean; empty where they have none that needs to be explained."""
        means = [f"{DOUBTS[doubt].look}: {doubt}" for doubt in self.doubts]
        means += ["paler: less sure"] * any(box.sureness is not None for box in self.boxes)
        return ", ".join(means)


@dataclass(frozen=True)
class Timeline:
    """`samples` float32 are those from `from_s` to `to_s` of an utterance that lasts `duration_s`."""

    id: str
    text: str | None
    split: str
    samples: np.ndarray
    sample_rate_hz: int
    from_s: float
    to_s: float
    duration_s: float
    flac: bytes | None
    lanes: tuple[Lane, ...]

    @property
    def is_part(self) -> bool:
        return self.from_s > 0 or self.to_s < self.duration_s


@dataclass(frozen=True)
class LayerAt:
    """What one layer has of one utterance: its row, or the complaint why it cannot be said."""

    name: str
    spec: LayerSpec | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    array: np.ndarray | None = None
    text_of_tokens: str | None = None
    complaint: str | None = None

    @property
    def is_ok(self) -> bool:
        return self.complaint is None and self.row["status"] == OK


def open_layers(corpus: Corpus, names: Sequence[str] | None = None) -> list[Layer | LayerAt]:
    """Every finished layer in the corpus's folder, or every one of `names` (folders elsewhere too); for one whose card is broken
    its complaint. Raises CorpusError for a name that is none."""
    return [_opened(corpus, name) for name in (layer_names(corpus) if names is None else names)]


def layers_of(corpus: Corpus, table: ShardTable, index: int, layers: Iterable[Layer | LayerAt]) -> list[LayerAt]:
    """What each layer has of an utterance; of one that is hurt or stale, its complaint."""
    found = []
    for layer in layers:
        if isinstance(layer, LayerAt):
            found.append(layer)
            continue
        try:
            found.append(_layer_at(corpus, layer, table, index))
        except UtterloomError as error:
            found.append(LayerAt(layer.name, complaint=error.message))
    return found


def timeline(corpus: Corpus, table: ShardTable, index: int, layers: Iterable[LayerAt], from_s: float | None = None,
             to_s: float | None = None) -> Timeline:
    """An utterance from `from_s` to `to_s`: all of it by default, of a long one its first `SHOWN_S`.

    Raises ConfigError for a window that is none, DamagedError and AudioError where its audio cannot be read.
    """
    rate_hz, num_samples = corpus.sample_rate_hz, int(table.num_samples[index])
    duration_s = num_samples / rate_hz
    start_s, stop_s = window(duration_s, from_s, to_s)
    start, stop = round(start_s * rate_hz), min(num_samples, round(stop_s * rate_hz))
    flac = corpus.flac(table, index)
    samples_sc, _ = decode(flac, start, stop)
    lanes = sorted((lane for layer in layers for lane in lanes_of(layer, rate_hz)), key=lambda lane: ORDER.index(lane.kind))
    whole = start == 0 and stop == num_samples
    return Timeline(table.id(index), table.text(index), corpus.split_of(table.name, index), to_mono(samples_sc), rate_hz, start_s,
                    stop_s, duration_s, flac if whole else None, tuple(cut(lane, start_s, stop_s) for lane in lanes))


def window(duration_s: float, from_s: float | None, to_s: float | None) -> tuple[float, float]:
    """What is shown of an utterance, in seconds. Raises ConfigError that says how long it is."""
    start_s = from_s or 0.0
    stop_s = to_s if to_s is not None else min(duration_s, start_s + SHOWN_S)
    if not (math.isfinite(start_s) and math.isfinite(stop_s) and 0 <= start_s < min(stop_s, duration_s)):
        raise ConfigError(f"there is nothing from {start_s:g} s to {stop_s:g} s of an utterance that lasts {duration_s:.3f} s",
                          "give --from and --to in seconds from its start")
    stop_s = min(stop_s, duration_s)
    if stop_s - start_s > MOST_SHOWN_S:
        raise ConfigError(f"{stop_s - start_s:,.0f} s at once would not be readable; {MOST_SHOWN_S:.0f} s is the most",
                          "take a shorter stretch: --from … --to …")
    return start_s, stop_s


def cut(lane: Lane, start_s: float, stop_s: float) -> Lane:
    """What of a lane lies in a window: boxes that reach beyond are clipped, and features become a strip of components."""
    boxes = [replace(box, start_s=max(box.start_s, start_s), stop_s=min(box.stop_s, stop_s))
             for box in lane.boxes if box.start_s < stop_s and box.stop_s > start_s]
    if lane.strip is None:
        return replace(lane, boxes=tuple(boxes))
    first = max(0, int(start_s / lane.frame_s + 1e-9))
    strip, share = components(lane.strip[first:math.ceil(stop_s / lane.frame_s - 1e-9)])
    told = f"; {strip.shape[1]} principal components, {100 * share:.0f} % of the variance" if strip.size else ""
    return replace(lane, boxes=tuple(boxes), strip=strip, strip_start_s=first * lane.frame_s, about=lane.about + told)


def components(frames: np.ndarray) -> tuple[np.ndarray, float]:
    """[frames, dim] → float32 [frames, k], their first principal components, k ≤ NUM_COMPONENTS, each with the sign that makes
    its largest value positive; and what share of the variance they have. Frames that are not finite are NaN."""
    values = frames.astype(np.float64)
    is_good = np.isfinite(values).all(axis=1)
    good = values[is_good]
    if len(good) < 2:
        return np.zeros((len(frames), 0), np.float32), 0.0
    centred = good - good.mean(axis=0)
    some = centred[::math.ceil(len(centred) / MOST_FRAMES_FOR_COMPONENTS)]
    _, _, directions = np.linalg.svd(some, full_matrices=False)
    found = centred @ directions[:NUM_COMPONENTS].T
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])])
    whole = float((centred * centred).sum())
    strip = np.full((len(frames), found.shape[1]), np.nan, np.float32)
    strip[is_good] = found * np.where(signs == 0, 1, signs)
    return strip, float((found * found).sum()) / whole if whole else 0.0


# --- from rows to lanes -----------------------------------------------------------------------------------------------


def lanes_of(layer: LayerAt, rate_hz: int) -> Iterator[Lane]:
    """One lane for a layer, with another for the characters of words where they have times. `rate_hz` is that of the corpus."""
    if layer.complaint is not None or layer.spec is None:
        yield Lane(layer.name, "complaint", f"cannot be read: {layer.complaint}")
        return
    if not layer.is_ok:
        yield Lane(layer.name, layer.spec.kind, _not_ok(layer.row))
        return
    make = {"words": _words, "units": _units, "states": _tokens, "features": _features}
    reason = layer.row["reason"]  # of a row that is ok: what it lacks
    for lane in make[layer.spec.kind](layer, rate_hz):
        is_said = reason is None or reason in lane.about or lane.kind == "characters"
        yield lane if is_said else replace(lane, about=f"{lane.about}, {reason}")


def _words(layer: LayerAt, rate_hz: int) -> Iterator[Lane]:
    words = layer.row["words"] or []
    boxes, apart, characters = [], [], []
    for word in words:
        span = _span_s(word["start_sample"], word["stop_sample"], rate_hz)
        if span is None:
            apart.append(word["word"])
            continue
        doubt = word["kind"] if word["kind"] in DOUBTS else None
        said = [f"{word['word']}  {_clock(*span)}", word["kind"] or "kind not known"]
        said += [] if word["score"] is None else [f"score {signed(word['score'])}"]
        boxes.append(Box(*span, word["word"], ", ".join(said), sureness(word["score"]), doubt))
        for char in word["chars"] or []:
            found = _span_s(char["start_sample"], char["stop_sample"], rate_hz)
            if found is not None:
                characters.append(Box(*found, char["char"], f"{char['char']}  {_clock(*found)}"))
    told = [_count(len(words), "word")]
    for doubt in DOUBTS:
        count = sum(box.doubt == doubt for box in boxes)
        told += [f"{count:,} {doubt}"] if count else []
    told += [f"{len(apart):,} without time"] if apart else []
    told += [f"score {signed(layer.row['score'])}"] if layer.row["score"] is not None else []
    told += [f"flagged: {layer.row['flag']}"] if layer.row["flag"] else []
    yield Lane(layer.name, "words", ", ".join(told), tuple(boxes), tuple(apart))
    if characters:
        yield Lane(layer.name, "characters", f"the characters of {layer.name}", tuple(characters))


def _units(layer: LayerAt, rate_hz: int) -> Iterator[Lane]:
    assert layer.spec is not None
    grid, boxes, frame = layer.spec.grid, [], 0
    units, runs = layer.row["units"] or [], layer.row["runs"] or []
    if grid is None or len(units) != len(runs):
        yield Lane(layer.name, "units", f"{len(units)} units with {len(runs)} run lengths, which cannot be put on a time axis")
        return
    for unit, length in zip(units, runs, strict=True):
        start_s, stop_s = grid.frame_span_s(frame)[0], grid.frame_span_s(frame + length - 1)[1]
        about = f"unit {unit}, {_count(length, 'frame')}  {_clock(start_s, stop_s)}"
        boxes.append(Box(start_s, stop_s, str(unit), about, number=unit))
        frame += length
    of = f" of {layer.spec.codebook_size:,}" if layer.spec.codebook_size else ""
    yield Lane(layer.name, "units", f"{_count(frame, 'frame')} at {grid.rate_hz:g} Hz, {_count(len(runs), 'run')} of "
                                    f"{len(set(units)):,} units{of}", tuple(boxes))


def _tokens(layer: LayerAt, rate_hz: int) -> Iterator[Lane]:
    row, boxes, apart = layer.row, [], []
    for number, token in enumerate(row["token_ids"] or []):
        first, stop = (row[name][number] if row[name] else None for name in ("first_char", "stop_char"))
        text = layer.text_of_tokens
        piece = text[first:stop] if text is not None and first is not None and stop is not None and stop > first else ""
        label = piece.strip() or f"#{token}"
        start, end = (row[name][number] if row[name] else None for name in ("start_sample", "stop_sample"))
        span = _span_s(start, end, rate_hz)
        if span is None:
            apart.append(label)
        else:
            boxes.append(Box(*span, label, f"token {number}, id {token}, {piece!r}  {_clock(*span)}"))
    told = [_count(len(row["token_ids"] or []), "token")] + ([f"{len(apart):,} without time"] if apart else [])
    yield Lane(layer.name, "tokens", ", ".join(told), tuple(boxes), tuple(apart))


def _features(layer: LayerAt, rate_hz: int) -> Iterator[Lane]:
    assert layer.spec is not None
    grid, array = layer.spec.grid, layer.array
    if array is None or grid is None:
        yield Lane(layer.name, "features", "frames that are not on a time axis" if grid is None else "no frames")
        return
    yield Lane(layer.name, "features", f"{_count(len(array), 'frame')} of {array.shape[1]:,} {array.dtype} at {grid.rate_hz:g} Hz",
               strip=array, frame_s=grid.frame_s)


def sureness(score: float | None) -> float | None:
    """A score as 0 (not at all) to 1: a probability is one, and what is below 0 is the logarithm of one."""
    if score is None or not math.isfinite(score):
        return None
    return math.exp(score) if score < 0 else min(1.0, score)


def signed(number: float) -> str:
    """With two decimals and a minus that is one."""
    return f"{number:.2f}".replace("-", "−")


def rows_of_boxes(boxes: Sequence[Box]) -> list[int]:
    """For each box the row, from 0, in which it overlaps none before it: the first that is free."""
    ends: list[float] = []
    rows = []
    for box in boxes:
        row = next((number for number, end in enumerate(ends) if end <= box.start_s + 1e-9), len(ends))
        ends[row:row + 1] = [box.stop_s]
        rows.append(row)
    return rows


def _opened(corpus: Corpus, name: str) -> Layer | LayerAt:
    """The layer of that name, though shards that joined the corpus later may be missing in it. Raises CorpusError for none."""
    inside = Path(corpus.url) / name
    folder = inside if (inside / CARD).is_file() else Path(name)
    if not (folder / CARD).is_file():
        return Layer.of(corpus, name)  # which says what there is instead
    try:
        return Layer(folder)
    except UtterloomError as error:
        return LayerAt(folder.name, complaint=error.message)


def _layer_at(corpus: Corpus, layer: Layer, table: ShardTable, index: int) -> LayerAt:
    """Raises CorpusError where the layer's shard is missing or was made of other utterances, DamagedError where it is hurt."""
    line = next((line for line in layer.card["shards"] if line["name"] == table.name), None)
    if line is None:
        raise CorpusError(f"it lacks shard {table.name}, which joined the corpus later")
    if line["utterances_sha256"] != next(shard.utterances_sha256 for shard in corpus.shards if shard.name == table.name):
        raise CorpusError(f"its shard {table.name} was made for other utterances than the corpus has")
    row = layer.table(table.name).row(index)
    array = layer.array(table.name, index) if layer.spec.has_arrays and layer.spec.kind == "features" else None
    text = layer.card.get("config", {}).get("text", "raw") if layer.spec.kind == "states" else None
    fed = None if text is None else table.text(index, None if text == "raw" else text if text in corpus.views else None)
    return LayerAt(layer.name, layer.spec, row, array, fed)


def _not_ok(row: Mapping[str, Any]) -> str:
    return f"{row['status']}: {row['reason'] or 'no reason given'}"


def _span_s(start_sample: int | None, stop_sample: int | None, rate_hz: int) -> tuple[float, float] | None:
    return None if start_sample is None or stop_sample is None else (start_sample / rate_hz, stop_sample / rate_hz)


def _clock(start_s: float, stop_s: float) -> str:
    return f"{start_s:.3f}–{stop_s:.3f} s"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

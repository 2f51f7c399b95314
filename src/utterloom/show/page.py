"""Timelines as one page that opens anywhere: each with its sound, and with lanes that are played where one clicks.

Boxes are placed in percent of the time that is shown, so that zooming changes a width and nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from importlib import resources

import numpy as np

from utterloom.audio.encode import encode_flac
from utterloom.pages.images import NUM_COLOURS, Rgba, data_uri, png
from utterloom.pages.markup import Html, document, note, tag
from utterloom.show import colours
from utterloom.show.picture import round_step_s
from utterloom.show.sound import RANGE_IN_WORDS, envelope, spectrogram
from utterloom.show.timeline import Box, Lane, Timeline, rows_of_boxes

PX_PER_S, ZOOMS = 200, (100, 200, 400, 800)
MOST_COLUMNS = 16_000  # of waveforms and pictures; browsers draw no picture of any width
TICK_PX, MOST_TICKS = 75, 400
WAVE_PX, ROW_PX, MOST_ROWS = 72, {"words": 26, "characters": 20, "tokens": 20, "units": 22}, 6
INK, POSITIVE, NEGATIVE = (29, 28, 26), (224, 130, 20), (123, 107, 208)


def page_bytes(title: str, about: str, timelines: Iterable[Html]) -> bytes:
    """The page as UTF-8. `timelines` are what `section` made; `about` says which utterances these are."""
    here = resources.files("utterloom.show")
    zoom = tag("label", "zoom ", tag("select", [
        tag("option", f"{100 * px // PX_PER_S} %", value=px, selected="selected" if px == PX_PER_S else None) for px in ZOOMS],
        id="zoom"), class_="zoom")
    hatch = tag("svg", tag("defs", tag("pattern", tag("path", d="M-1 1l2-2M0 6l6-6M5 7l2-2"), id="hatch", width=6, height=6,
                                       patternUnits="userSpaceOnUse")), class_="defs", aria_hidden="true")
    how = ("Click a word to hear it alone, anywhere else in a lane to listen from there; Space plays and pauses, ← and → go from "
           "word to word. Labels are shown where they have room: zoom in for more.")
    return document(title, hatch, tag("header", tag("h1", title), tag("p", about), note(how)), zoom, list(timelines),
                    style=(here / "page.css").read_text(encoding="utf-8"), script=(here / "page.js").read_text(encoding="utf-8"))


def section(timeline: Timeline) -> Html:
    """One utterance: its text, its lanes, and its sound as FLAC (as it lies in the corpus, unless only a part is shown)."""
    seconds = timeline.to_s - timeline.from_s
    flac = timeline.flac if timeline.flac is not None else encode_flac(timeline.samples, timeline.sample_rate_hz)
    part = f", from {timeline.from_s:g} to {timeline.to_s:g} s" if timeline.is_part else ""
    facts = f"{timeline.split}, {timeline.duration_s:.2f} s at {timeline.sample_rate_hz:,} Hz{part}"
    marks = next((lane.boxes for lane in timeline.lanes if lane.kind == "words" and lane.boxes), ())
    lanes = [_sound(timeline, marks), _mel(timeline, marks), *(_lane(timeline, lane) for lane in timeline.lanes), _axis(timeline)]
    track = tag("div", lanes, tag("div", class_="cursor", hidden="hidden"), class_="track", style=f"--seconds:{seconds:.6f}")
    return tag("section",
               tag("div", tag("button", tag("span", "▶", class_="start", aria_hidden="true"),
                              tag("span", "❚❚", class_="pause", aria_hidden="true"), class_="play", type="button",
                              aria_label=f"play {timeline.id}"),
                   tag("div", tag("h2", timeline.id), note(facts)), class_="title"),
               tag("p", timeline.text if timeline.text is not None else "– (no transcript)", dir="auto", class_="text"),
               tag("p", class_="failed", hidden="hidden"),
               tag("div", track, class_="lanes", tabindex=0, role="region", aria_label=f"{timeline.id} on its time axis"),
               tag("script", Html(base64.b64encode(flac).decode()), type="text/plain", class_="sound"),
               class_="utterance", data_from=f"{timeline.from_s:.6f}", data_seconds=f"{seconds:.6f}")


def _sound(timeline: Timeline, marks: Iterable[Box]) -> Html:
    num_columns = max(300, min(MOST_COLUMNS, round((timeline.to_s - timeline.from_s) * PX_PER_S)))
    low, high = envelope(timeline.samples, num_columns)
    most = max(float(high.max()), -float(low.min())) or 1.0
    upper = " ".join(f"{x} {50 - 49 * y / most:.1f}" for x, y in enumerate(high))
    lower = " ".join(f"{x} {50.6 - 49 * y / most:.1f}" for x, y in reversed(list(enumerate(low))))
    wave = tag("svg", tag("path", d=f"M{upper} {lower}Z"), viewBox=f"0 0 {max(1, len(low) - 1)} 101", preserveAspectRatio="none",
               class_="wave", style=f"height:{WAVE_PX}px", aria_hidden="true")
    return _framed("waveform", "", wave, _borders(timeline, marks))


def _mel(timeline: Timeline, marks: Iterable[Box]) -> Html:
    mel, parameters = spectrogram(timeline.samples, timeline.sample_rate_hz)
    address = data_uri(png(_levels(_thinned(mel)).T[::-1], _fading(INK)), "image/png")
    # A last frame that reaches beyond the end is drawn as far as it reaches, and cut there.
    width = 100 * len(mel) / parameters.rate_hz / (timeline.to_s - timeline.from_s)
    image = tag("img", src=address, alt="log-mel spectrogram", class_="ink", style=f"width:{width:.4f}%")
    return _framed("log-mel", f"{parameters.num_mels} bands up to {parameters.high_hz:,.0f} Hz, {RANGE_IN_WORDS}", image,
                   _borders(timeline, marks))


def _lane(timeline: Timeline, lane: Lane) -> Html:
    apart = note(f"without time: {' · '.join(lane.apart)}") if lane.apart else None
    has_strip = lane.strip is not None and lane.strip.size
    content = _strip(timeline, lane) if has_strip else _boxes(timeline, lane) if lane.boxes else None
    return _framed(lane.title, f"{lane.about}  ({lane.legend})" if lane.legend else lane.about, content, None, apart)


def _framed(name: str, about: str, *content: object) -> Html:
    head = tag("div", tag("span", tag("b", name), f"  {about}" if about else ""), class_="head")
    return tag("div", head, tag("div", *content[:2], class_="picture"), *content[2:], class_="lane")


def _boxes(timeline: Timeline, lane: Lane) -> Html:
    rows, height = rows_of_boxes(lane.boxes), ROW_PX[lane.kind]
    num_rows = min(MOST_ROWS, max(rows) + 1)
    hidden = sum(row >= num_rows for row in rows)
    shapes = [_box(timeline, lane, box, row * height, height) for box, row in zip(lane.boxes, rows, strict=True) if row < num_rows]
    svg = tag("svg", shapes, class_=f"boxes {lane.kind}", style=f"height:{num_rows * height}px")
    return tag("div", svg, note(f"{hidden} more lie at the same time") if hidden else None)


def _box(timeline: Timeline, lane: Lane, box: Box, top_px: int, high_px: int) -> Html:
    left, width = _percent(timeline, box.start_s, box.stop_s)
    fill, ink = colours.of_number(box.number) if box.number is not None else (None, None)
    opacity = None if box.sureness is None or box.doubt is not None else f"{0.12 + 0.88 * box.sureness:.2f}"
    is_word, middle = lane.kind == "words", f"{left + width / 2:.4f}%"
    return tag("g", tag("title", box.about),
               tag("rect", x=f"{left:.4f}%", y=top_px + 1, width=f"{width:.4f}%", height=high_px - 2, fill_opacity=opacity,
                   style=f"fill:{fill}" if fill else None, class_=box.doubt),
               tag("text", box.label, x=middle, y=top_px + high_px / 2 + 4, style=f"fill:{ink}" if ink else None),
               data_from=f"{box.start_s:.6f}", data_to=f"{box.stop_s:.6f}", role="button" if is_word else None,
               tabindex=-1 if is_word else None, aria_label=box.about if is_word else None)


def _borders(timeline: Timeline, boxes: Iterable[Box]) -> Html | None:
    """Thin lines where words begin and end, over waveform and log-mel."""
    times = sorted({time for box in boxes for time in (box.start_s, box.stop_s)})
    if not times:
        return None
    places = [f"{_percent(timeline, time, time)[0]:.4f}%" for time in times]
    lines = [tag("line", x1=place, x2=place, y1=0, y2="100%") for place in places]
    return tag("svg", lines, class_="borders", aria_hidden="true")


def _strip(timeline: Timeline, lane: Lane) -> Html:
    assert lane.strip is not None
    strip = _thinned(np.nan_to_num(lane.strip))
    share = strip / (float(np.abs(strip).max()) or 1.0)
    half = NUM_COLOURS // 2
    levels = np.where(share < 0, _levels(-share, half), half + _levels(np.maximum(share, 0), half)).astype(np.uint8)
    address = data_uri(png(levels.T, [*_fading(NEGATIVE, half), *_fading(POSITIVE, half)]), "image/png")
    left, width = _percent(timeline, lane.strip_start_s, lane.strip_start_s + len(lane.strip) * lane.frame_s)
    return tag("img", src=address, alt=lane.about, class_="strip",
               style=f"width:{width:.4f}%;margin-left:{left:.4f}%;height:{9 * strip.shape[1]}px")


def _axis(timeline: Timeline) -> Html:
    seconds = timeline.to_s - timeline.from_s
    step_s = round_step_s(seconds, max(2, min(MOST_TICKS, int(max(seconds * PX_PER_S, 320) // TICK_PX))))
    marks: list[Html] = []
    for number in range(int(np.ceil(timeline.from_s / step_s - 1e-9)), int(timeline.to_s / step_s + 1e-9) + 1):
        at_s = round(number * step_s, 6)
        place, _ = _percent(timeline, at_s, at_s)
        anchor = "start" if place < 1 else "end" if place > 99 else "middle"
        label, x = f"{at_s:g} s" if not marks or place > 99 else f"{at_s:g}", f"{place:.4f}%"
        marks += [tag("line", x1=x, x2=x, y1=0, y2=5), tag("text", label, x=x, y=17, text_anchor=anchor)]
    return tag("svg", marks, class_="seconds", aria_label="time in seconds", role="img")


def _percent(timeline: Timeline, start_s: float, stop_s: float) -> tuple[float, float]:
    """Left edge and width in percent of what is shown."""
    seconds = timeline.to_s - timeline.from_s
    return 100 * (start_s - timeline.from_s) / seconds, 100 * (stop_s - start_s) / seconds


def _thinned(frames: np.ndarray) -> np.ndarray:
    """[frames, bands] → at most MOST_COLUMNS frames, the means of neighbours."""
    if len(frames) <= MOST_COLUMNS:
        return frames
    starts = np.arange(MOST_COLUMNS) * len(frames) // MOST_COLUMNS
    return np.asarray(np.add.reduceat(frames, starts) / np.diff(np.append(starts, len(frames)))[:, None])


def _levels(share: np.ndarray, num_levels: int = NUM_COLOURS) -> np.ndarray:
    levels: np.ndarray = np.clip(np.rint(share * (num_levels - 1)), 0, num_levels - 1).astype(np.uint8)
    return levels


def _fading(rgb: colours.Rgb, num_levels: int = NUM_COLOURS) -> list[Rgba]:
    """From nothing of a colour to all of it, so that it suits any paper."""
    return [(*rgb, round(255 * level / (num_levels - 1))) for level in range(num_levels)]

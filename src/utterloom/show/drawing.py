"""A timeline as a picture: waveform, log-mel and every lane of every layer on one axis of seconds. The same input, the same bytes.

Text is measured before it is drawn: what does not fit into its box is turned upright or left out and counted, never drawn over
its neighbours. What no font here can draw is named.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.core.artifact import atomic_write
from utterloom.core.errors import ConfigError, MissingPackageError
from utterloom.show import colours
from utterloom.show.picture import round_step_s
from utterloom.show.sound import RANGE_IN_WORDS, envelope, mel_share, spectrogram
from utterloom.show.timeline import DOUBTS, Box, Lane, Timeline, rows_of_boxes

SUFFIX = ".png"
DOTS_PER_INCH = 100
LEAST_PX, MOST_PX, PX_PER_S = 900, 6_400, 200
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 62, 14, 12, 46
HEAD_PX, GAP_PX = 17, 9  # the line above a lane, and the air below it
WAVE_PX, MEL_PX, CHARACTERS_PX, UNITS_PX, TOKENS_PX, COMPONENT_PX = 90, 130, 20, 24, 22, 9
WORDS_PX, UPRIGHT_PX = 26, 58  # a lane of words is higher where some stand upright
LINE_PX = 15
MOST_ROWS = 6  # of boxes that overlap
SIZES = (9.0, 8.0, 7.0, 6.5)
PADDING_PX, LEAST_ROOM_PX = 3.0, 4.0
TICK_PX = 90
INK, QUIET, RULE, WAVE, FILL, EDGE, BAD = "#1d1c1a", "#5f5b54", "#d9d5cc", "#17607f", "#8cc3dc", "#0f4258", "#b0271f"
LOOKS: dict[str | None, dict[str, Any]] = {
    None: {"edgecolors": EDGE, "linewidths": 0.6}, "estimated": {"edgecolors": EDGE, "linewidths": 0.6, "hatch": "////"},
    "implausible": {"edgecolors": BAD, "linewidths": 1.8, "linestyles": [(0, (3, 1.5))]}}
REPLACEMENT, MOST_LISTED = "?", 20


@dataclass
class Drawn:
    """The picture, and what could not be put into it: labels without room, characters without a font, boxes of too many at once."""

    png: bytes
    width_px: int
    height_px: int
    num_unlabelled: int
    missing: list[str]
    notes: list[str] = field(default_factory=list)


def write_picture(timeline: Timeline, path: Path) -> Drawn:
    """Draw into a .png file. Raises ConfigError for another suffix, MissingPackageError, OutputError."""
    check_suffix(path)
    found = draw(timeline)
    with atomic_write(path) as file:
        file.write(found.png)
    return found


def check_suffix(path: Path) -> None:
    """Raises ConfigError for what is no name of a PNG file, MissingPackageError where nothing can be drawn."""
    if path.suffix.lower() != SUFFIX:
        raise ConfigError(f"{path} does not end in {SUFFIX}", f"pictures are PNG files: --draw {path.with_suffix(SUFFIX)}")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", "name a file that is to be made")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingPackageError("matplotlib", "draw", "drawing") from None


def draw(timeline: Timeline) -> Drawn:
    """The whole picture. `timeline.lanes` are drawn in their order, below waveform and log-mel."""
    figure, pen = compose(timeline)
    buffer = io.BytesIO()
    with _settings():
        figure.savefig(buffer, format="png", dpi="figure", metadata={"Software": None})
    width_px, height_px = figure.canvas.get_width_height()
    notes = []
    if pen.num_unlabelled:
        notes.append(f"{pen.num_unlabelled:,} labels have no room: look closer with --from and --to")
    if pen.missing:
        listed = " ".join(pen.missing[:MOST_LISTED]) + (" …" if len(pen.missing) > MOST_LISTED else "")
        notes.append(f"no font here has {listed}, drawn as {REPLACEMENT}: install one that has, such as Noto Sans")
    return Drawn(buffer.getvalue(), width_px, height_px, pen.num_unlabelled, pen.missing, notes + pen.notes)


def compose(timeline: Timeline) -> tuple[Any, Pen]:
    """The picture as a figure of matplotlib, and what drew it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    texts = [timeline.id, timeline.text or "", *(box.label for lane in timeline.lanes for box in lane.boxes),
             *(label for lane in timeline.lanes for label in lane.apart), *(lane.about for lane in timeline.lanes)]
    families, missing = fonts_for("".join(texts))
    plot_px = max(LEAST_PX, min(MOST_PX, round((timeline.to_s - timeline.from_s) * PX_PER_S)))
    with _settings({"font.family": families, "text.parse_math": False}):
        figure = Figure(dpi=DOTS_PER_INCH, facecolor="white")
        FigureCanvasAgg(figure)  # becomes the figure's own
        pen = Pen(figure, timeline, plot_px, missing)
        height_px, width_px = pen.all(), LEFT_PX + plot_px + RIGHT_PX
        figure.set_size_inches(width_px / DOTS_PER_INCH, height_px / DOTS_PER_INCH)
        pen.place(width_px, height_px)
    return figure, pen


@contextmanager
def _settings(ours: Any = None) -> Iterator[None]:
    """matplotlib's own settings with some of ours: nobody's matplotlibrc has a say in it."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(ours or {})
        yield


# --- fonts ------------------------------------------------------------------------------------------------------------


def fonts_for(text: str) -> tuple[list[str], list[str]]:
    """Families that draw a text together, and the characters that none of them has: matplotlib's own font first, then what is
    installed on this machine."""
    wanted = {character for character in text if _is_drawn(character)}
    families = ["DejaVu Sans"]
    wanted -= _has(_path_of("DejaVu Sans"), frozenset(wanted))
    if wanted:
        for family, path in _installed():
            covered = _has(path, frozenset(wanted))
            if covered:
                families.append(family)
                wanted -= covered
            if not wanted:
                break
    return families, sorted(wanted)


def _is_drawn(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf", "Cs")


def _path_of(family: str) -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties(family=[family])))


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    """(family, file) of upright fonts of common weight, sans serif first, then by name."""
    from matplotlib.font_manager import fontManager

    # "Last Resort" has a box for every character there is.
    found = {entry.name: entry.fname for entry in sorted(fontManager.ttflist, key=lambda entry: entry.fname, reverse=True)
             if entry.style == "normal" and entry.weight in (400, "normal", "regular") and "Last Resort" not in entry.name}
    return tuple(sorted(found.items(), key=lambda item: ("Sans" not in item[0], item[0])))


def _has(path: str, characters: frozenset[str]) -> set[str]:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (RuntimeError, OSError):  # a font that is listed and cannot be opened
        return set()
    return {character for character in characters if font.get_char_index(ord(character))}


# --- drawing ----------------------------------------------------------------------------------------------------------


class Pen:
    """Lanes are drawn from the top down, in pixels; axes are placed at the end, when the height is known."""

    def __init__(self, figure: Any, timeline: Timeline, plot_px: int, missing: list[str]) -> None:
        self.figure, self.timeline, self.plot_px, self.missing = figure, timeline, plot_px, missing
        self._replaced = str.maketrans(dict.fromkeys(missing, REPLACEMENT))
        self.px_per_s = plot_px / (timeline.to_s - timeline.from_s)
        self.top_px = TOP_PX
        self.axes: list[tuple[Any, int, int]] = []  # and how far from the top it begins, and how high it is
        self.num_unlabelled = 0
        self.notes: list[str] = []
        self._widths: dict[str, float] = {}

    def all(self) -> int:
        """Everything; returns the height of the picture in pixels."""
        timeline = self.timeline
        part = f"   {timeline.from_s:g}–{timeline.to_s:g} s of {timeline.duration_s:.2f} s" if timeline.is_part else ""
        self._line(f"{timeline.id}   {timeline.split}, {timeline.sample_rate_hz:,} Hz, {timeline.duration_s:.2f} s{part}", 10, INK)
        self._lines(timeline.text or "(no transcript)", 9, INK)
        self.top_px += 6
        marks = next((lane.boxes for lane in timeline.lanes if lane.kind == "words" and lane.boxes), ())
        self._waveform(marks)
        self._log_mel(marks)
        for lane in timeline.lanes:
            self._lane(lane)
        self._axis_of_seconds()
        return self.top_px + BOTTOM_PX

    def place(self, width_px: int, height_px: int) -> None:
        """All axes, now that the height is known."""
        for axes, top_px, high_px in self.axes:
            left, bottom = LEFT_PX / width_px, 1 - (top_px + high_px) / height_px
            axes.set_position((left, bottom, self.plot_px / width_px, high_px / height_px))
        for text in self.figure.texts:
            x_px, y_px = text.get_position()
            text.set_position((x_px / width_px, 1 - y_px / height_px))

    # --- pieces ---

    def _axes(self, high_px: int) -> Any:
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self.axes)))
        axes.set_xlim(self.timeline.from_s, self.timeline.to_s)
        axes.set_ylim(0, high_px)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        self.axes.append((axes, self.top_px, high_px))
        self.top_px += high_px + GAP_PX
        return axes

    def _head(self, name: str, about: str, room: int = HEAD_PX) -> None:
        self._line(f"{name}   {about}" if about else name, 8, QUIET, room)

    def _line(self, text: str, size: float, colour: str, room: int = LINE_PX) -> None:
        self.figure.text(LEFT_PX, self.top_px + room - 5, self._shortened(self._spelled(text), size), fontsize=size, color=colour,
                         va="baseline", ha="left")
        self.top_px += room

    def _lines(self, text: str, size: float, colour: str, most: int = 4) -> None:
        """A text over some lines, broken at spaces where there are any."""
        left = " ".join(self._spelled(text).split())
        for number in range(most):
            if not left:
                return
            fits = self._fitting(left, size)
            if fits < len(left) and number < most - 1:
                at = left.rfind(" ", 0, fits + 1)
                fits = at if at > 0 else fits
                self._line(left[:fits], size, colour)
                left = left[fits:].lstrip()
            else:
                self._line(left, size, colour)
                return

    def _waveform(self, marks: Sequence[Box]) -> None:
        samples, rate_hz = self.timeline.samples, self.timeline.sample_rate_hz
        peak = float(np.abs(samples).max()) if len(samples) else 0.0
        self._head("waveform", f"peak {20 * np.log10(peak):.1f} dB".replace("-", "−") if peak else "digital silence")
        axes = self._axes(WAVE_PX)
        low, high = envelope(samples, 2 * self.plot_px)
        at = self.timeline.from_s + (np.arange(len(low)) + 0.5) * (len(samples) / rate_hz / max(1, len(low)))
        scale = (WAVE_PX / 2) / (peak or 1.0)
        self._borders(axes, marks, WAVE_PX)
        axes.fill_between(at, WAVE_PX / 2 + low * scale - 0.3, WAVE_PX / 2 + high * scale + 0.3, color=WAVE, linewidth=0)

    def _log_mel(self, marks: Sequence[Box]) -> None:
        mel, parameters = spectrogram(self.timeline.samples, self.timeline.sample_rate_hz)
        self._head("log-mel", f"{parameters.num_mels} bands from {parameters.low_hz:g} to {parameters.high_hz:,.0f} Hz, one every "
                              f"{1000 / parameters.rate_hz:.3g} ms; {RANGE_IN_WORDS} are shown")
        axes = self._axes(MEL_PX)
        stop_s = self.timeline.from_s + len(mel) / parameters.rate_hz
        axes.imshow(mel.T, origin="lower", aspect="auto", cmap="magma", extent=(self.timeline.from_s, stop_s, 0, MEL_PX),
                    vmin=0, vmax=1, interpolation="nearest")
        axes.set_xlim(self.timeline.from_s, self.timeline.to_s)
        for kilohertz in (0.5, 1, 2, 4, 8, 16):
            if 1000 * kilohertz < parameters.high_hz:
                high = MEL_PX * mel_share(1000 * kilohertz, parameters)
                axes.plot([0, 1], [high, high], transform=axes.get_yaxis_transform(), color="white", linewidth=0.4, alpha=0.35)
                axes.annotate(f"{kilohertz:g} kHz", (0, high), xycoords=("axes fraction", "data"), xytext=(-4, 0),
                              textcoords="offset points", ha="right", va="center", fontsize=7, color=QUIET)
        self._borders(axes, marks, MEL_PX, "white")

    def _borders(self, axes: Any, boxes: Iterable[Box], high_px: int, colour: str = QUIET) -> None:
        """Where the words of the first lane begin and end, so that they can be judged by eye."""
        times = sorted({time for box in boxes for time in (box.start_s, box.stop_s)})
        axes.vlines(times, 0, high_px, color=colour, linewidth=0.5, alpha=0.45, linestyle=(0, (2, 2)))

    def _lane(self, lane: Lane) -> None:
        self._head(lane.title, f"{lane.about}   ({lane.legend})" if lane.legend else lane.about)
        if lane.strip is not None and lane.strip.size:
            self._strip(lane)
        elif lane.boxes:
            self._boxes(lane)
        else:
            self.top_px += GAP_PX if lane.kind != "complaint" else 2
        if lane.apart:
            self._lines(f"without time: {' · '.join(lane.apart)}", 8, QUIET, 3)
            self.top_px += GAP_PX

    def _strip(self, lane: Lane) -> None:
        assert lane.strip is not None
        axes = self._axes(COMPONENT_PX * lane.strip.shape[1])
        most = float(np.nanmax(np.abs(lane.strip))) or 1.0
        stop_s = lane.strip_start_s + len(lane.strip) * lane.frame_s
        axes.imshow(lane.strip.T, origin="upper", aspect="auto", cmap="PuOr", vmin=-most, vmax=most, interpolation="nearest",
                    extent=(lane.strip_start_s, stop_s, 0, COMPONENT_PX * lane.strip.shape[1]))
        axes.set_xlim(self.timeline.from_s, self.timeline.to_s)

    def _boxes(self, lane: Lane) -> None:
        from matplotlib.collections import PolyCollection

        rows = rows_of_boxes(lane.boxes)
        hidden = sum(row >= MOST_ROWS for row in rows)
        if hidden:
            self.notes.append(f"{lane.layer}: {hidden} boxes are not drawn, more than {MOST_ROWS} lie at one time")
        num_rows = min(MOST_ROWS, max(rows) + 1)
        words_px = UPRIGHT_PX if any(self._size(box) is None for box in lane.boxes) else WORDS_PX
        row_px = {"words": words_px, "characters": CHARACTERS_PX, "units": UNITS_PX}.get(lane.kind, TOKENS_PX)
        axes = self._axes(row_px * num_rows)
        shapes: dict[str | None, list[Any]] = {None: [], **{doubt: [] for doubt in DOUBTS}}
        faces: dict[str | None, list[Any]] = {doubt: [] for doubt in shapes}
        for box, row in zip(lane.boxes, rows, strict=True):
            if row >= num_rows:
                continue
            low, high = row_px * (num_rows - 1 - row) + 1, row_px * (num_rows - row) - 1
            face, ink = self._colours(lane, box)
            shapes[box.doubt].append([(box.start_s, low), (box.start_s, high), (box.stop_s, high), (box.stop_s, low)])
            faces[box.doubt].append(face)
            self._label(axes, box, (low + high) / 2, row_px - 6 if lane.kind == "words" else 0, ink)
        for doubt, members in shapes.items():
            if members:
                axes.add_collection(PolyCollection(members, facecolors=faces[doubt], zorder=1, **LOOKS[doubt]))

    def _colours(self, lane: Lane, box: Box) -> tuple[Any, str]:
        if box.number is not None:
            return colours.of_number(box.number)
        if box.doubt is not None:
            return "#ffffff", INK
        share = 1.0 if box.sureness is None else box.sureness
        paper, fill = (255, 255, 255), tuple(int(FILL[at:at + 2], 16) for at in (1, 3, 5))
        mixed = [round(white + (colour - white) * (0.12 + 0.88 * share)) for white, colour in zip(paper, fill, strict=True)]
        return colours.spelled((mixed[0], mixed[1], mixed[2])) if lane.kind != "characters" else "#ffffff", INK

    def _label(self, axes: Any, box: Box, y_px: float, upright_px: float, ink: str) -> None:
        """In its box, smaller or upright where need be, and counted where it has no room."""
        text = self._spelled(box.label)
        size, angle = self._size(box), 0
        if size is None and upright_px and (box.stop_s - box.start_s) * self.px_per_s >= 11:
            angle = 90
            size = next((size for size in SIZES[1:] if self._width_px(text, size) <= upright_px), None)
        if size is None:
            self.num_unlabelled += box.number is None  # the colour of a unit says which it is
            return
        found = axes.text((box.start_s + box.stop_s) / 2, y_px, text, fontsize=size, color=ink, ha="center", va="center_baseline"
                          if not angle else "center", rotation=angle, zorder=2)
        if box.doubt == "estimated":
            found.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9})

    def _size(self, box: Box) -> float | None:
        """The largest size at which a label lies within its box; None where none does."""
        text = self._spelled(box.label)
        room = (box.stop_s - box.start_s) * self.px_per_s - (PADDING_PX if len(text) > 1 else PADDING_PX / 2)
        if room < LEAST_ROOM_PX:
            return None
        return next((size for size in SIZES if self._width_px(text, size) <= room), None)

    def _axis_of_seconds(self) -> None:
        timeline = self.timeline
        self.top_px -= GAP_PX
        axes = self._axes(1)
        self.top_px -= GAP_PX
        seconds = timeline.to_s - timeline.from_s
        step_s = round_step_s(seconds, max(2, self.plot_px // TICK_PX))
        first, last = int(np.ceil(timeline.from_s / step_s - 1e-9)), int(np.floor(timeline.to_s / step_s + 1e-9))
        ticks = [round(number * step_s, 6) for number in range(first, last + 1)]
        axes.spines["bottom"].set_visible(True)
        axes.spines["bottom"].set_color(QUIET)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8, color=QUIET)
        axes.set_xlabel("time (s)", fontsize=9, color=INK)
        axes.set_zorder(-1)
        for other in (axes for axes, _, _ in self.axes[:-1] if not axes.images):
            other.vlines(ticks, 0, 1, transform=other.get_xaxis_transform(), color=RULE, linewidth=0.5, zorder=0)

    # --- text ---

    def _spelled(self, text: str) -> str:
        """Without what no font has, and without what would break a line."""
        return "".join(" " if unicodedata.category(character) in ("Cc", "Cs") else character
                       for character in text.translate(self._replaced))

    def _width_px(self, text: str, size: float) -> float:
        """Measured once, and scaled: letters grow evenly, but for less than a pixel."""
        found = self._widths.get(text)
        if found is None:
            from matplotlib.text import Text

            label = Text(0, 0, text, fontsize=SIZES[0])
            label.set_figure(self.figure)
            found = self._widths[text] = float(label.get_window_extent(self.figure.canvas.get_renderer()).width)
        return found * size / SIZES[0] + (size != SIZES[0])

    def _fitting(self, text: str, size: float) -> int:
        """How many characters of a text fit into one line."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self._width_px(text[:middle], size) <= self.plot_px:
                low = middle
            else:
                high = middle - 1
        return low

    def _shortened(self, text: str, size: float) -> str:
        fits = self._fitting(text, size)
        return text if fits >= len(text) else f"{text[:max(1, fits - 1)]}…"


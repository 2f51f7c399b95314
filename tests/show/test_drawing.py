"""Pictures: things are where they were spoken, letters are where they can be read, and the same is drawn of the same."""

from __future__ import annotations

import io
import itertools
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.show.woven import add_layers, make_corpus
from utterloom import pipeline
from utterloom.core.errors import MissingPackageError
from utterloom.show.drawing import FILL, LEFT_PX, MOST_PX, RIGHT_PX, compose, draw, fonts_for
from utterloom.show.timeline import Box, Lane, Timeline

pytest.importorskip("matplotlib", reason="drawing needs matplotlib")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_corpus(tmp_path_factory.mktemp("woven"))
    add_layers(path)
    return path


def pixels(png: bytes) -> np.ndarray:
    """uint8 [rows, columns, 3]."""
    from matplotlib.image import imread

    found: np.ndarray = np.round(imread(io.BytesIO(png))[..., :3] * 255).astype(np.uint8)
    return found


def line_of(lanes: list[Lane], seconds: float = 3.0, name: str = "u", text: str | None = "text") -> Timeline:
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.normal(size=int(seconds * 8000))).astype(np.float32)
    return Timeline(name, text, "train", samples, 8000, 0.0, seconds, seconds, None, tuple(lanes))


def test_boxes_lie_where_the_layer_says(corpus: Path, tmp_path: Path) -> None:
    """Tokens are the one lane in the plain colour: its columns are the words' times, to a pixel and a half."""
    value, lines = pipeline.show(corpus, ["u0"], picture=tmp_path / "u0.png", layers=["qwen"])
    image = pixels((tmp_path / "u0.png").read_bytes())
    assert image.shape[:2] == (value["height_px"], value["width_px"]) and lines[0].startswith(f"picture {tmp_path / 'u0.png'}")
    plain = np.array([int(FILL[at:at + 2], 16) for at in (1, 3, 5)])
    columns = np.flatnonzero((image == plain).all(axis=2).sum(axis=0) > 4)
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 20) + 1)
    px_per_s = (value["width_px"] - LEFT_PX - RIGHT_PX) / 1.7
    found = [(run[0] - LEFT_PX) / px_per_s for run in runs], [(run[-1] + 1 - LEFT_PX) / px_per_s for run in runs]
    assert np.allclose(found, ([0.1, 0.5, 0.9], [0.4, 0.8, 1.2]), atol=1.5 / px_per_s)


def test_the_same_is_drawn_of_the_same_whatever_the_settings(corpus: Path, tmp_path: Path) -> None:
    import matplotlib

    pipeline.show(corpus, ["u4"], picture=tmp_path / "one.png")
    theirs = {"axes.grid": True, "savefig.dpi": 50, "savefig.bbox": "tight", "font.size": 30, "hatch.color": "red"}
    with matplotlib.rc_context(theirs):
        pipeline.show(corpus, ["u4"], picture=tmp_path / "two.png")
    first = (tmp_path / "one.png").read_bytes()
    assert first == (tmp_path / "two.png").read_bytes() and b"tEXt" not in first and b"tIME" not in first


LABELS = ("a", "the", "Printing,", "được", "không", "привет", "ελληνικά", "$x_1$", "incomprehensibilities", "#12", "العربية",
          "\\frac")


def crowded(seed: int) -> Timeline:
    """Words, tokens and units of all sizes, some of them in doubt, some at one time."""
    rng = np.random.default_rng(seed)
    words, at = [], 0.0
    while at < 2.7:
        length = float(rng.uniform(0.02, 0.5))
        words.append(Box(at, min(3.0, at + length), LABELS[rng.integers(len(LABELS))], "", float(rng.random()),
                         (None, None, "estimated", "implausible")[rng.integers(4)]))
        at += length + (float(rng.uniform(0, 0.3)) if rng.random() < 0.4 else 0.0)
    tokens = [Box(word.start_s, word.stop_s, word.label[:2], "") for word in words for _ in range(int(rng.integers(1, 4)))]
    units = [Box(frame / 50, (frame + 2) / 50, str(number), "", number=number)
             for frame, number in zip(range(0, 150, 2), rng.integers(0, 2000, 75).tolist(), strict=True)]
    return line_of([Lane("words", "words", "w" * 400, tuple(words), ("bốn", "$5")), Lane("lm", "tokens", "", tuple(tokens)),
                    Lane("u", "units", "", tuple(units)), Lane("old", "complaint", "cannot be read: lost")],
                   text="a text that is long " * 40)


@pytest.mark.parametrize("seed", range(3))
def test_labels_lie_in_their_boxes_and_lines_in_the_picture(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, pen = compose(crowded(seed))
        figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    num_labels = 0
    for axes in figure.axes:
        boxes = [path.get_extents(axes.transData) for group in axes.collections if hasattr(group, "get_paths") and axes.texts
                 for path in group.get_paths()]
        for text in (text for text in axes.texts if not text.get_text().endswith("kHz")):
            found, num_labels = text.get_window_extent(renderer), num_labels + 1
            middle = (found.x0 + found.x1) / 2
            assert any(box.x0 <= middle <= box.x1 and box.x0 - 0.5 <= found.x0 and found.x1 <= box.x1 + 0.5
                       and box.y0 - 1 <= found.y0 and found.y1 <= box.y1 + 1 for box in boxes), text.get_text()
    assert num_labels > 20 and num_labels + pen.num_unlabelled >= len(crowded(seed).lanes[0].boxes)
    lines = [text.get_window_extent(renderer) for text in figure.texts]
    assert all(line.x0 >= 0 and line.x1 <= width and line.y0 >= 0 and line.y1 <= height for line in lines)
    assert not [pair for pair in itertools.combinations(lines, 2) if pair[0].overlaps(pair[1])]


def test_what_no_font_has_is_said_in_words() -> None:
    rare = "\U0010fffd"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = draw(line_of([Lane("words", "words", "", (Box(0.5, 1.5, f"a{rare}", ""),))]))
    assert found.missing == [rare]
    assert any(f"no font here has {rare}" in note for note in found.notes)
    assert fonts_for("được, привет, ελληνικά, ščđž") == (["DejaVu Sans"], [])


def test_labels_without_room_are_counted_and_too_many_boxes_at_once_too() -> None:
    boxes = tuple(Box(1.0, 1.01, "word", "") for _ in range(9))
    found = draw(line_of([Lane("words", "words", "", boxes)]))
    assert found.num_unlabelled == 6 and found.notes == ["6 labels have no room: look closer with --from and --to",
                                                         "words: 3 boxes are not drawn, more than 6 lie at one time"]


@pytest.mark.parametrize("samples", [np.zeros(1, np.float32), np.zeros(8000, np.float32), np.ones(5, np.float32)])
def test_any_sound_can_be_drawn(samples: np.ndarray) -> None:
    shown = Timeline("x", None, "dev", samples, 8000, 0.0, len(samples) / 8000, len(samples) / 8000, None, ())
    assert draw(shown).width_px > 900


def test_a_picture_is_never_wider_than_can_be_seen() -> None:
    assert draw(line_of([], seconds=60.0)).width_px == LEFT_PX + MOST_PX + RIGHT_PX


def test_without_matplotlib_it_says_what_to_install(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match="drawing needs the package 'matplotlib'") as caught:
        pipeline.show(corpus, ["u0"], picture=tmp_path / "x.png")
    assert 'pip install "utterloom[draw]"' in str(caught.value)
    value: dict[str, Any] = pipeline.show(corpus, ["u0"], page=tmp_path / "x.html")[0]  # which needs none of it
    assert value["bytes"] == (tmp_path / "x.html").stat().st_size

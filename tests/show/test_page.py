"""The page of utterances in a real browser, opened from the disk: it shows boxes where they are, and plays what one clicks."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.browser import Page, browser_page
from tests.show.woven import add_layers, make_corpus
from utterloom import pipeline
from utterloom.audio.decode import decode
from utterloom.core.errors import ConfigError, DamagedError
from utterloom.pages.images import NUM_COLOURS, data_uri, png
from utterloom.shards.reader import Corpus
from utterloom.show import looking
from utterloom.show.page import page_bytes, section
from utterloom.show.timeline import Box, Lane, Timeline

WORD = ".boxes.words g:nth-of-type({})"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_corpus(tmp_path_factory.mktemp("woven"))
    add_layers(path)
    return path


@pytest.fixture(scope="module")
def made(corpus: Path) -> Path:
    """A page of three utterances; u0 is the first, of four words."""
    path = corpus.parent / "three of them #1.html"
    pipeline.show(corpus, ["u0", "u3", "u4"], page=path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser: Page, made: Path) -> Page:
    browser.look(1280)
    browser.complaints.clear()
    browser.open(made)
    return browser


def at_s(page: Page) -> float:
    """Where the cursor of the first utterance stands, in seconds, from what is to be seen."""
    return float(page.evaluate("""(() => { const box = document.querySelector(".track").getBoundingClientRect();
        const cursor = document.querySelector(".cursor").getBoundingClientRect();
        return (cursor.x + cursor.width / 2 - box.x) / box.width * 1.7; })()"""))


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width_px", [360, 800, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_any_window_by_day_and_by_night(page: Page, made: Path, width_px: int, dark: bool) -> None:
    page.look(width_px, dark=dark)
    page.open(made)
    assert page.overflow_px() <= 0 and page.complaints == []
    page.evaluate("rows.forEach((row) => place(row, row.from + row.seconds))")  # a cursor at the end makes nothing wider
    wider = page.evaluate("rows.map((row) => row.lanes.scrollWidth - row.lanes.clientWidth)")
    assert wider == ([340 - 328, 0, 420 - 328] if width_px == 360 else [0, 0, 0])  # of 1.7, 0.5 and 2.1 s
    assert all(page.contrast(selector) >= 4.5 for selector in ("h1", ".text", ".note", ".head span", ".zoom"))
    for selector in (".boxes.words text", ".boxes.units text", ".seconds text"):
        assert page.evaluate(f"getComputedStyle(document.querySelector({json.dumps(selector)})).fill") != "none"


def test_boxes_lie_where_they_were_spoken(page: Page) -> None:
    found = page.evaluate("""[...document.querySelector(".boxes.words").querySelectorAll("g")].map((word) => {
        const track = document.querySelector(".track").getBoundingClientRect();
        const box = word.querySelector("rect").getBoundingClientRect();
        return [word.querySelector("text").textContent, (box.x - track.x) / track.width * 1.7,
                (box.right - track.x) / track.width * 1.7, word.querySelector("rect").getAttribute("class")]; })""")
    assert [(word, doubt) for word, _, _, doubt in found] == [("một", None), ("hai", "estimated"), ("ba", "implausible")]
    assert np.allclose([row[1:3] for row in found], [(0.1, 0.4), (0.5, 0.8), (0.9, 1.2)], atol=0.004)
    assert page.evaluate("document.querySelector('.boxes.words title').textContent") == "một  0.100–0.400 s, aligned, score 0.90"
    assert "without time: bốn" in page.evaluate("document.querySelector('.utterance').innerText")
    assert "failed: too short for the model: 0.5 s" in page.evaluate("document.querySelectorAll('.utterance')[1].innerText")


def test_a_click_on_a_word_plays_that_word_and_no_more(page: Page) -> None:
    page.evaluate("""window.heard = []; const start = AudioBufferSourceNode.prototype.start;
        AudioBufferSourceNode.prototype.start = function (...how) { window.heard.push(how); return start.apply(this, how); }""")
    page.click(WORD.format(3))
    page.wait_for("window.heard.length")
    page.wait_for("document.querySelector('.utterance.playing') || playing === null")
    (heard,) = page.evaluate("window.heard")
    assert np.allclose(heard, [0, 0.9, 0.3], atol=1e-6)
    page.wait_for("playing === null && !document.querySelector('.playing')")
    assert at_s(page) == pytest.approx(1.2, abs=0.005) and page.complaints == []


def test_what_is_played_is_what_the_corpus_holds(page: Page, corpus: Path) -> None:
    page.click(".play")
    page.wait_for("playing !== null")
    found = page.evaluate("(({buffer}) => [buffer.duration, buffer.numberOfChannels])(playing.source)")
    assert found == [pytest.approx(1.7, abs=0.001), 1]
    text = page.evaluate("document.querySelector('script.sound').textContent")
    held = Corpus(corpus)
    table, row = held.find("u0") or pytest.fail("u0")
    assert base64.b64decode(text) == held.flac(table, row)


def test_the_cursor_goes_with_the_sound_and_stops_with_it(page: Page) -> None:
    page.click(".play")
    page.wait_for("playing !== null && document.querySelector('.playing .cursor')")
    first = at_s(page)
    page.wait_for(f"parseFloat(document.querySelector('.cursor').style.left) / 100 * 1.7 > {first + 0.3}")
    assert abs(page.evaluate("playing.row.at - (playing.from + context.currentTime - playing.began)")) < 0.3
    page.evaluate("document.querySelector('.play').click()")
    assert page.evaluate("playing") is None
    stopped = at_s(page)
    assert page.evaluate("new Promise((done) => setTimeout(() => done(rows[0].at), 200))") == pytest.approx(stopped, abs=0.005)
    page.evaluate("document.querySelector('.play').click()")  # goes on from there
    page.wait_for("playing !== null")
    assert page.evaluate("playing.from") == pytest.approx(stopped, abs=0.005)
    page.wait_for("playing === null")
    assert at_s(page) == pytest.approx(1.7, abs=0.005)


def test_a_click_beside_words_plays_from_there(page: Page) -> None:
    page.click(".picture .wave")
    page.wait_for("playing !== null")
    assert page.evaluate("[playing.from, playing.to]") == [pytest.approx(0.85, abs=0.01), pytest.approx(1.7)]
    page.click("section:nth-of-type(3) .play")  # another utterance stops the first
    page.wait_for("playing?.row === rows[2]")
    assert page.evaluate("document.querySelectorAll('.playing').length") == 1


def test_it_is_played_by_keys(page: Page) -> None:
    page.evaluate("document.querySelector('.lanes').focus()")
    page.press("ArrowRight")
    page.wait_for("playing !== null")
    assert page.evaluate("[playing.from, document.activeElement.getAttribute('aria-label')]") == [
        0.1, "một  0.100–0.400 s, aligned, score 0.90"]
    page.press("ArrowRight")
    page.wait_for("playing?.from === 0.5")
    page.press("ArrowLeft")
    page.wait_for("playing?.from === 0.1")
    page.wait_for("playing === null")
    page.press("Space")
    page.wait_for("playing !== null")
    page.press("Space")
    page.wait_for("playing === null")


@pytest.mark.parametrize("zoom", ["100", "200", "800"])
def test_labels_lie_in_their_boxes_however_close_one_looks(page: Page, zoom: str) -> None:
    page.look(360)
    page.evaluate(f"""document.getElementById("zoom").value = {zoom};
        document.getElementById("zoom").dispatchEvent(new Event("change"))""")
    wide = page.evaluate("""[...document.querySelectorAll(".boxes text")].filter((text) => !text.classList.contains("crowded"))
        .filter((text) => text.getBoundingClientRect().width > text.parentNode.querySelector("rect").getBoundingClientRect().width)
        .map((text) => text.textContent)""")
    shown = page.evaluate("document.querySelectorAll('.boxes text:not(.crowded)').length")
    assert wide == [] and shown > (40 if zoom == "800" else 8)
    assert page.evaluate("document.querySelector('.track').clientWidth") == max(328, round(1.7 * int(zoom)))
    assert page.overflow_px() <= 0


def test_no_text_of_a_corpus_becomes_markup(browser: Page, tmp_path: Path) -> None:
    bad = '</script></title><b id="bad">x</b><img src=x onerror="document.title=1">'
    lane = Lane(bad, "words", bad, (Box(0.1, 0.4, bad, bad, 0.5),), (bad,))
    shown = Timeline(bad, bad, "train", np.zeros(8000, np.float32), 16_000, 0.0, 0.5, 0.5, None, (lane,))
    path = tmp_path / "bad.html"
    path.write_bytes(page_bytes(bad, bad, [section(shown)]))
    browser.complaints.clear()
    browser.open(path)
    assert browser.evaluate("document.getElementById('bad')") is None and browser.evaluate("document.images.length") == 1
    assert browser.evaluate("document.title") == bad and browser.complaints == []


def test_no_other_script_runs_and_nothing_is_loaded(made: Path) -> None:
    text = html.unescape(made.read_text())
    assert "script-src 'sha256-" in text and "default-src 'none'" in text and "unsafe-eval" not in text
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', text) and "http://" not in text and "https://" not in text


# --- what is on it ----------------------------------------------------------------------------------------------------


def test_a_page_is_drawn_by_lot_or_by_name_and_twice_the_same(corpus: Path, tmp_path: Path) -> None:
    value, lines = pipeline.show(corpus, page=tmp_path / "a.html", utterances=4, seed=3)
    assert len(value["utterances"]) == 4 and value["bytes"] == (tmp_path / "a.html").stat().st_size and value["seed"] == 3
    assert {one["split"] for one in value["utterances"]} == {"train", "dev"}
    assert any("drawn from 6 with seed 3" in line for line in lines)
    pipeline.show(corpus, page=tmp_path / "b.html", utterances=4, seed=3)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    only, _ = pipeline.show(corpus / "words", ["u1"], page=tmp_path / "c.html")
    assert only["utterances"][0]["lanes"] == ["words"]


def test_a_part_holds_the_sound_of_that_part(corpus: Path, tmp_path: Path) -> None:
    pipeline.show(corpus, ["u0"], page=tmp_path / "part.html", from_s=0.5, to_s=0.8)
    (text,) = re.findall(r'<script type="text/plain" class="sound">([^<]*)<', (tmp_path / "part.html").read_text())
    found, rate_hz = decode(base64.b64decode(text))
    held = Corpus(corpus)
    table, row = held.find("u0") or pytest.fail("u0")
    assert rate_hz == 16_000 and np.array_equal(found, decode(held.flac(table, row))[0][8000:12800])


def test_what_cannot_be_read_is_left_out_and_named(corpus: Path, tmp_path: Path) -> None:
    hurt = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    held = Corpus(hurt)
    table, row = held.find("u1") or pytest.fail("u1")
    with (hurt / table.audio_path).open("r+b") as file:
        file.seek(table.ranges[row][0] + 200)
        file.write(b"\0\xff\0\xff")
    value, lines = pipeline.show(hurt, ["u0", "u1"], page=tmp_path / "x.html")
    assert [one["id"] for one in value["utterances"]] == ["u0"] and list(value["left_out"]) == ["u1"]
    assert "left out u1: shard train-00000, utterance u1: the audio does not match" in " ".join(" ".join(lines).split())
    with pytest.raises(DamagedError, match="none of these utterances can be read"):
        pipeline.show(hurt, ["u1"], page=tmp_path / "y.html")
    assert not (tmp_path / "y.html").exists()


def test_a_page_that_would_be_too_large_is_refused_before_any_work(corpus: Path, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MOST_PAGE_BYTES", 100_000)
    with pytest.raises(ConfigError, match=r"6 utterances would make a page of about 0\.2 MB; 0\.1 MB is the most"):
        pipeline.show(corpus, page=tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 40)), elements=st.integers(0, NUM_COLOURS - 1)))
def test_a_picture_of_a_page_is_a_png_of_those_colours(levels: np.ndarray) -> None:
    imread = pytest.importorskip("matplotlib.image", reason="reading a PNG file needs matplotlib").imread
    palette = [(level, 255 - level, 7, level // 2 + 100) for level in range(NUM_COLOURS)]
    found = np.round(imread(io.BytesIO(png(levels, palette))) * 255).astype(int)
    assert np.array_equal(found, np.array(palette)[levels])


def test_what_is_no_picture_is_refused() -> None:
    for levels, palette in ((np.zeros((2, 2)), [(0, 0, 0, 0)]), (np.zeros(3, np.uint8), [(0, 0, 0, 0)]),
                            (np.ones((1, 1), np.uint8), [(0, 0, 0, 0)])):
        with pytest.raises(ValueError):
            png(levels, palette)
    assert data_uri(b"abc", "image/png") == "data:image/png;base64,YWJj"

"""The review page in a real browser, opened from the disk: it plays, takes marks by key and by mouse, keeps and saves them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile

from tests.browser import Page, browser_page
from tests.tones import RATE_HZ, write_table
from utterloom.core.artifact import read_json
from utterloom.core.config import compose
from utterloom.prepare.exports.sample import SampleConfig, export
from utterloom.prepare.review.verdicts import read_verdicts
from utterloom.prepare.stage import PrepareConfig, prepare

TEXTS = ["một hai", '</script><b>"ba"</b>', "=1+1", "năm " * 60, "sáu", "bảy"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of six utterances of 0.6 s in a folder whose name needs to be escaped."""
    folder = tmp_path_factory.mktemp("page")
    for number in range(len(TEXTS)):
        soundfile.write(folder / f"{number}.wav", 0.3 * np.sin(np.arange(int(0.6 * RATE_HZ)) * 0.1 * (number + 1)), RATE_HZ)
    write_table(folder / "table.tsv", [
        {"id": f"talk {number}/ü#1", "path": f"{number}.wav", "text": text, "speaker": f"s{number % 2}"}
        for number, text in enumerate(TEXTS)])
    prepare("table", folder / "table.tsv", folder / "m", compose(PrepareConfig, ["workers=0", "dev=0"]))
    export(folder / "m", folder / "for Ana #1 ä", compose(SampleConfig, ["utterances=6"]))
    return folder / "for Ana #1 ä"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser: Page, made: Path) -> Page:
    """The page as somebody sees it who never was here."""
    browser.look(1280)
    browser.open(made / "review.html")
    browser.evaluate("window.localStorage.clear()")
    browser.reload()
    browser.complaints.clear()
    browser.asks_of_dialogs.clear()
    return browser


def marks(page: Page) -> list[str]:
    """The verdict that each row shows, in order."""
    found = page.evaluate("""[...document.querySelectorAll("li")].map((row) =>
        row.querySelector("[aria-pressed=true]")?.textContent ?? "")""")
    return list(found)


def nth(number: int, inside: str) -> str:
    return f"li:nth-child({number}) {inside}"


def text_of(page: Page, number: int) -> str:
    return str(page.evaluate(f"document.querySelector({json.dumps(nth(number, 'textarea'))}).value"))


def current(page: Page) -> int:
    return int(page.evaluate("[...document.querySelectorAll('li')].findIndex((row) => row.classList.contains('current')) + 1"))


def saved(page: Page, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    page.save_downloads(folder)
    page.click("#save")
    ends = time.monotonic() + 20
    while not list(folder.glob("verdicts*.json")):
        assert time.monotonic() < ends, f"nothing was saved; {page.complaints}"
        page.evaluate("1")  # hears what the browser says meanwhile
        time.sleep(0.05)
    (path,) = folder.glob("verdicts*.json")
    return path


def test_play_mark_reload_save_and_read_back(page: Page, made: Path, tmp_path: Path) -> None:
    ids = [item["id"] for item in read_json(made / "items.json")["items"]]
    # by key: Space plays to the end; 1 marks and plays the next
    page.press("Space")
    page.wait_for("player.currentTime > 0 && !player.paused")
    assert "playing" in str(page.evaluate("document.querySelector('li').className"))
    page.wait_for("player.ended")
    assert page.evaluate("player.duration") == pytest.approx(0.6, abs=0.01)
    page.press("1")
    assert marks(page)[0] == "good" and current(page) == 2
    page.wait_for("player.currentTime > 0 && player.src.includes('audio/0002')")
    page.press("2")
    # 3 takes the keyboard to the text; Control and Enter leave it
    page.press("3")
    page.type("không")
    page.press("Enter", control=True)
    assert current(page) == 4 and "không" in text_of(page, 3)
    # by mouse
    page.click(nth(4, ".unsure"))
    page.click(nth(4, ".note-field"))
    page.type("two voices")
    page.click(nth(5, ".fix"))
    page.type("!")
    page.click(nth(6, ".play"))
    page.wait_for("player.currentTime > 0 && player.src.includes('audio/0006')")
    assert marks(page) == ["good", "bad", "fix", "unsure", "fix", ""]
    corrected = {ids[2]: text_of(page, 3), ids[4]: text_of(page, 5)}
    page.reload()
    assert marks(page) == ["good", "bad", "fix", "unsure", "fix", ""] and text_of(page, 5) == corrected[ids[4]]
    assert "5 of 6 judged" in page.evaluate("document.getElementById('count').textContent")
    path = saved(page, tmp_path / "downloads")
    read = read_verdicts(path)
    assert [read[name].verdict for name in ids[:5]] == ["good", "bad", "fix", "unsure", "fix"] and len(read) == 5
    assert {name: one.corrected for name, one in read.items() if one.corrected} == {
        name: text.strip() for name, text in corrected.items()}
    assert read[ids[3]].note == "two voices" and read[ids[0]].order == "speakers"
    shutil.copy(path, made / "verdicts.json")
    try:
        assert {name: one.verdict for name, one in read_verdicts(made).items()} == {name: one.verdict for name, one in read.items()}
    finally:
        (made / "verdicts.json").unlink()
    assert page.complaints == []


def original(made: Path, number: int) -> str:
    page = (made / "review.html").read_text(encoding="utf-8")
    return str(json.loads(page.split('id="data">')[1].split("</script>")[0])["items"][number - 1]["text"])


def test_texts_are_shown_as_they_are(page: Page, made: Path) -> None:
    assert [text_of(page, number) for number in range(1, 7)] == [original(made, number) for number in range(1, 7)]
    assert sorted(text_of(page, number).strip() for number in range(1, 7)) == sorted(text.strip() for text in TEXTS)
    assert page.evaluate("document.querySelectorAll('li b b').length") == 0
    assert page.evaluate("[...document.querySelectorAll('textarea')].every((area) => area.scrollHeight <= area.clientHeight + 1)")


def test_typing_a_correction_means_fix_and_another_verdict_brings_the_text_back(page: Page, made: Path, tmp_path: Path) -> None:
    before = text_of(page, 1)
    page.click(nth(1, "textarea"))
    page.press("x")
    assert marks(page)[0] == "fix" and text_of(page, 1) != before
    typed = text_of(page, 1)
    page.press("Escape")
    page.press("1")
    assert marks(page)[0] == "good" and text_of(page, 1) == before
    page.press("ArrowUp")
    page.press("3")
    assert text_of(page, 1) == typed
    page.press("Escape")
    # fix without another text is not done, and saving says so
    page.click(nth(2, ".fix"))
    page.press("Escape")
    assert "1 of 6 judged: 2 fix" in page.evaluate("document.getElementById('count').textContent")
    path = saved(page, tmp_path / "downloads")
    assert "number 2" in page.evaluate("document.getElementById('notice').textContent")
    assert json.loads(path.read_text())["utterances"][0]["corrected_text"] == typed.strip()
    # pressed again, a verdict is taken back
    page.click(nth(2, ".fix"))
    assert marks(page)[:2] == ["fix", ""] and page.complaints == []


def test_a_button_that_was_clicked_does_not_take_the_keyboard(page: Page) -> None:
    page.click(nth(2, ".bad"))
    page.press("Space")
    page.wait_for("player.currentTime > 0 && player.src.includes('audio/0002')")
    assert marks(page)[1] == "bad"
    page.press("ArrowDown")
    page.press("ArrowDown")
    page.press("ArrowUp")
    assert current(page) == 3


def test_filters_show_what_is_left(page: Page) -> None:
    page.press("1")
    page.press("2")
    for name, number in (("undone", 4), ("good", 1), ("bad", 1), ("fix", 0), ("all", 6)):
        page.evaluate(f"""document.getElementById("filter").value = "{name}";
                          document.getElementById("filter").dispatchEvent(new Event("change"))""")
        assert page.evaluate("[...document.querySelectorAll('li')].filter((row) => row.offsetHeight).length") == number
        assert page.evaluate("document.getElementById('none').hidden") == (number > 0)


def test_what_was_saved_is_loaded_elsewhere_and_nothing_is_overwritten_unasked(page: Page, made: Path, tmp_path: Path) -> None:
    page.press("1")
    page.press("2")
    path = saved(page, tmp_path / "downloads")
    page.evaluate("window.localStorage.clear()")
    page.reload()
    assert marks(page) == [""] * 6
    page.press("4")
    page.choose_file("#load", path)
    page.wait_for("!document.getElementById('notice').hidden")
    assert page.asks_of_dialogs and "1 of 2 are marked differently" in page.asks_of_dialogs[0]
    assert marks(page)[:2] == ["good", "bad"]
    of_another = path.read_text().replace('"sample": "', '"sample": "x')
    for content, words in (("{", "does not hold verdicts"), (of_another, "another sample")):
        wrong = tmp_path / "wrong.json"
        wrong.write_text(content)
        page.choose_file("#load", wrong)
        page.wait_for(f"document.getElementById('notice').textContent.includes({json.dumps(words)})")
    assert marks(page)[:2] == ["good", "bad"] and page.complaints == []


def test_audio_that_is_not_there_is_said(page: Page, made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "review.html", tmp_path / "alone.html")
    page.open(tmp_path / "alone.html")
    page.press("Space")
    page.wait_for("document.querySelector('.failed:not([hidden])')")
    assert "audio/0001" in page.evaluate("document.querySelector('.failed').textContent")


def test_it_plays_from_a_web_server_too(page: Page, made: Path) -> None:
    """For phones, whose browsers do not let a page see the files beside it."""
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *about: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(made))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page.open(f"http://127.0.0.1:{server.server_address[1]}/review.html")
        page.press("Space")
        page.wait_for("player.currentTime > 0")
        page.evaluate("player.pause()")
        server.shutdown()


@pytest.mark.parametrize("width_px", [360, 400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_can_be_read(page: Page, width_px: int, dark: bool) -> None:
    page.look(width_px, dark=dark)
    page.press("1")
    page.press("2")
    page.press("3")
    page.type("x")
    page.press("Escape")
    assert page.overflow_px() == 0
    for selector in ("h1", "#count", nth(1, ".facts code"), nth(4, "textarea"), nth(3, "textarea"), nth(1, ".good"), nth(2, ".bad"),
                     nth(3, ".fix"), nth(4, ".unsure"), "#save", "footer"):
        assert page.contrast(selector) >= 4.5, selector
    small = page.evaluate("""[...document.querySelectorAll(".play, .verdict")].filter((one) => one.offsetHeight < 24).length""")
    assert small == 0  # WCAG: large enough to be hit

"""A real browser for pages that utterloom writes: headless Chromium, driven through its DevTools protocol.

    with browser_page(tmp_path) as page:
        page.open(path)
        page.press("Space")
        assert page.evaluate("document.title") == "…"

`page.complaints` holds what went wrong in it: exceptions, console errors, files that could not be loaded.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
STARTS_WITHIN_S, ANSWERS_WITHIN_S = 60.0, 30.0
# name: (code, what is typed, virtual key)
KEYS = {"Space": ("Space", " ", 32), "Enter": ("Enter", "\r", 13), "Escape": ("Escape", "", 27), "ArrowDown": ("ArrowDown", "", 40),
        "ArrowUp": ("ArrowUp", "", 38), "ArrowLeft": ("ArrowLeft", "", 37), "ArrowRight": ("ArrowRight", "", 39),
        "Tab": ("Tab", "", 9)}
CONTROL = 2


def executable() -> str:
    """Where a browser is; skips the test where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"there is no Chromium here (looked for {', '.join(NAMES)})")
    return found


class Page:
    """One tab."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []
        self.asks_of_dialogs: list[str] = []
        self._loads = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer."""
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        ends = time.monotonic() + ANSWERS_WITHIN_S
        while True:
            said = json.loads(self._socket.recv(timeout=max(0.01, ends - time.monotonic())))
            if said.get("id") == number:
                assert "error" not in said, f"{method}: {said['error']}"
                answer: dict[str, Any] = said["result"]
                return answer
            self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        method, about = said.get("method"), said.get("params", {})
        if method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(value.get("value", value.get("description"))) for value in about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{about['entry']['text']} {about['entry'].get('url', '')}".strip())
        elif method == "Network.loadingFailed" and not about.get("canceled"):
            self.complaints.append(f"{about['type']} not loaded: {about['errorText']}")
        elif method == "Page.javascriptDialogOpening":
            self.asks_of_dialogs.append(about["message"])
            self._number += 1
            self._socket.send(json.dumps({"id": self._number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}))

    def open(self, place: Path | str) -> None:
        """A file or an address, until it is loaded."""
        self._until_loaded(lambda: self.call("Page.navigate", url=place.resolve().as_uri() if isinstance(place, Path) else place))

    def reload(self) -> None:
        self._until_loaded(lambda: self.call("Page.reload"))

    def _until_loaded(self, begin: Callable[[], Any]) -> None:
        before, ends = self._loads, time.monotonic() + ANSWERS_WITHIN_S
        begin()
        while self._loads == before:
            self._hear(json.loads(self._socket.recv(timeout=max(0.01, ends - time.monotonic()))))

    def evaluate(self, expression: str) -> Any:
        """The value of some JavaScript, awaited where it is a promise. An exception in it fails the test."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"].get("exception", {}).get("description", answer)
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 15.0) -> None:
        """Until an expression is true, or an element."""
        ends = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < ends, f"never true within {seconds} s: {expression}; complaints: {self.complaints}"
            time.sleep(0.05)

    def press(self, key: str, control: bool = False) -> None:
        """A key of KEYS, or a character, pressed and let go as by hand."""
        code, text, number = KEYS.get(key, (key, key, ord(key.upper()[0])))
        about = {"key": text if key == "Space" else key, "code": code, "windowsVirtualKeyCode": number,
                 "modifiers": CONTROL if control else 0}
        types = text and not control
        self.call("Input.dispatchKeyEvent", type="keyDown" if types else "rawKeyDown", **about, **({"text": text} if types else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Text into what has the focus, as from an input method."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """The middle of an element, scrolled into view; whatever lies over it gets the click, as for a person."""
        x, y = self.evaluate(f"""(() => {{ const found = document.querySelector({json.dumps(selector)});
            if (!found) throw new Error("nothing is " + {json.dumps(selector)});
            found.scrollIntoView({{block: "center"}}); const box = found.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector: str, path: Path) -> None:
        """A file into an `<input type=file>`."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["objectId"])

    def look(self, width_px: int, height_px: int = 900, dark: bool = False) -> None:
        """The size of the window, and whether the reader prefers dark pages."""
        self.call("Emulation.setDeviceMetricsOverride", width=width_px, height=height_px, deviceScaleFactor=1,
                  mobile=width_px < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def overflow_px(self) -> int:
        """By how much the page is wider than the window: more than 0 has to be scrolled sideways."""
        width = self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return int(width)

    def contrast(self, selector: str) -> float:
        """Contrast of an element's text with what lies behind it, 1 to 21; WCAG asks for 4.5."""
        ink, paper = self.evaluate(f"""(() => {{ const found = document.querySelector({json.dumps(selector)});
            const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
            let behind = found, paper = [0, 0, 0, 0];
            while (behind && (paper[3] ?? 1) === 0) {{
                paper = numbers(getComputedStyle(behind).backgroundColor);
                behind = behind.parentElement;
            }}
            return [numbers(getComputedStyle(found).color), paper]; }})()""")
        lighter, darker = sorted((_luminance(ink), _luminance(paper)), reverse=True)
        return (lighter + 0.05) / (darker + 0.05)

    def save_downloads(self, folder: Path) -> None:
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


def _luminance(color: list[float]) -> float:
    parts = [value / 255 for value in color[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@contextmanager
def browser_page(folder: Path) -> Iterator[Page]:
    """A browser of its own with one empty tab; `folder` gets its profile. Skips where there is no Chromium."""
    client = pytest.importorskip("websockets.sync.client", reason="driving a browser needs the package websockets")
    profile = folder / "profile"
    command = [executable(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--no-default-browser-check", "--disable-dev-shm-usage", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
               "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        port = _port(profile, process)
        with client.connect(f"ws://127.0.0.1:{port}{_tab(port)}", max_size=None, open_timeout=STARTS_WITHIN_S) as socket:
            yield Page(socket)
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the group is the browser's own: start_new_session
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    said, ends = profile / "DevToolsActivePort", time.monotonic() + STARTS_WITHIN_S
    while not (said.exists() and said.read_text().count("\n")):
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        assert time.monotonic() < ends, "the browser did not start"
        time.sleep(0.05)
    return int(said.read_text().split("\n")[0])


def _tab(port: int) -> str:
    from urllib.request import ProxyHandler, build_opener

    direct = build_opener(ProxyHandler({}))  # whatever the environment says of proxies, this is our own machine
    with direct.open(f"http://127.0.0.1:{port}/json/list", timeout=ANSWERS_WITHIN_S) as answer:
        tabs = json.load(answer)
    address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    return str(address[address.index("/devtools"):])

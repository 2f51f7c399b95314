"""eSpeak NG through ctypes: the same call gives the same samples, and a wrong name is refused."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import threading

import numpy as np
import pytest

from utterloom.core.errors import ConfigError, MissingPackageError
from utterloom.demo.corpus import VOICES
from utterloom.demo.speech import RATE_HZ, Synthesiser

needs_espeak = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None,
                                  reason="espeakng-loader is not installed")
TEXT = "Bây giờ là bảy giờ ba mươi lăm phút."
ONE_VOICE_DIGEST = ("import hashlib; from utterloom.demo.speech import Synthesiser; "
                    f"print(hashlib.sha256(Synthesiser().speak({TEXT!r}, 'vi', 'f2', 150, 60, 40)).hexdigest())")


@pytest.fixture(scope="module")
def synthesiser() -> Synthesiser:
    return Synthesiser()


@needs_espeak
@pytest.mark.parametrize("variant", [voice for voices in VOICES.values() for voice in voices])
def test_the_same_call_gives_the_same_samples(synthesiser: Synthesiser, variant: str) -> None:
    first = synthesiser.speak(TEXT, "vi", variant)
    synthesiser.speak("something else in between", "en-us", "f5", rate_wpm=200, pitch=10)
    again = Synthesiser().speak(TEXT, "vi", variant)
    assert first.dtype == np.float32 and first.ndim == 1
    assert 1.0 < len(first) / RATE_HZ < 4.0
    assert 0.05 < np.abs(first).max() < 0.99
    np.testing.assert_array_equal(first, again)


@needs_espeak
def test_another_process_gives_the_same_samples(synthesiser: Synthesiser) -> None:
    here = hashlib.sha256(synthesiser.speak(TEXT, "vi", "f2", 150, 60, 40)).hexdigest()
    there = subprocess.run([sys.executable, "-c", ONE_VOICE_DIGEST], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


@needs_espeak
def test_threads_wait_for_each_other(synthesiser: Synthesiser) -> None:
    alone = synthesiser.speak(TEXT, "vi", "m3")
    spoken: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: spoken.append(synthesiser.speak(TEXT, "vi", "m3"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spoken) == 4
    for samples in spoken:
        np.testing.assert_array_equal(samples, alone)


@needs_espeak
def test_parameters_are_heard(synthesiser: Synthesiser) -> None:
    assert len(synthesiser.speak(TEXT, "vi", "m3", rate_wpm=130)) > 1.3 * len(synthesiser.speak(TEXT, "vi", "m3", 210))
    plain = synthesiser.speak(TEXT, "vi", "m3")
    for other in (synthesiser.speak(TEXT, "vi", "m3", pitch=75), synthesiser.speak(TEXT, "vi", "m3", pitch_range=10),
                  synthesiser.speak(TEXT, "vi", "m4"), synthesiser.speak(TEXT, "en-us", "m3")):
        assert len(other) != len(plain) or not np.array_equal(other, plain)


@needs_espeak
def test_voices_and_languages(synthesiser: Synthesiser) -> None:
    assert {"m3", "f2"} <= set(synthesiser.voices("vi"))
    assert {"vi", "en-us", "fr", "fr-fr", "sr"} <= synthesiser.languages.keys()
    for call in (lambda: synthesiser.voices("vy"), lambda: synthesiser.speak(TEXT, "vy", "m3")):
        with pytest.raises(ConfigError, match=r"no language 'vy'(?s:.)*'vi'"):
            call()
    with pytest.raises(ConfigError, match=r"no voice variant 'f22'(?s:.)*f2"):
        synthesiser.speak(TEXT, "vi", "f22")


@needs_espeak
@pytest.mark.parametrize("wrong", [{"rate_wpm": 20}, {"pitch": 101}, {"pitch_range": -1}, {"text": " "},
                                   {"text": "a\0b"}])
def test_values_that_cannot_be_spoken(synthesiser: Synthesiser, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        synthesiser.speak(**{"text": TEXT, "language": "vi", "variant": "m3", **wrong})


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingPackageError, match=r"the demo's spoken corpus(?s:.)*utterloom\[tts\]"):
        Synthesiser()

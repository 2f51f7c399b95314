"""Speech from text with eSpeak NG, which pip brings along in the wheel `espeakng-loader`.

eSpeak NG is one global state machine: its noise generator, the phase of its pitch flutter and its echo buffer
carry over from one utterance to the next, and most of that cannot be reset through its interface. So the library is
loaded anew for every call (0.5 ms) and unloaded after it: the same call then gives the same samples, whatever was
spoken before, in this process or another. Two exceptions: the Klatt variants `Reed` and `caleb` differ each time, and
where another package of the process keeps the same library loaded, as a phonemiser may, unloading cannot happen.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utterloom.core.errors import ConfigError, MissingPackageError, UtterloomError, did_you_mean, nearest

RATE_HZ = 22050

# From speak_lib.h of eSpeak NG 1.52.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000  # without it, eSpeak ends the process when its data cannot be read
_CHARS_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_VOLUME_PERCENT = 50  # at the default of 100 several variants clip
_NOISE_SEED = 1  # the default is the clock
_LONGEST_S_PER_CHARACTER = 1.0  # some texts made eSpeak 1.52 speak without end (its issue 2517)

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """The beginning of `espeak_VOICE`; `languages` is a list of (priority byte, name, NUL), ended by a NUL."""

    _fields_ = (("name", ctypes.c_char_p), ("languages", ctypes.c_void_p), ("identifier", ctypes.c_char_p))


class Synthesiser:
    """eSpeak NG's voices. It holds nothing open between calls; calls from several threads wait for each other."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise MissingPackageError("espeakng-loader", "tts", "the demo's spoken corpus") from error
        self._library_path = str(espeakng_loader.get_library_path())
        self._data_path = Path(espeakng_loader.get_data_path())

    @functools.cached_property
    def languages(self) -> dict[str, str]:
        """Each language code that eSpeak knows, with the voice file behind it: `{"vi": "aav/vi", …}`."""
        with self._espeak() as espeak:
            espeak.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
            voices = espeak.espeak_ListVoices(None)
            files: dict[str, tuple[int, str]] = {}
            for i in range(10_000):
                if not voices[i]:  # the list ends with a null pointer
                    break
                identifier = voices[i].contents.identifier.decode()
                for priority, code in _language_list(voices[i].contents.languages):
                    files[code] = min(files.get(code, (1000, "")), (priority, identifier))
        return {code: identifier for code, (_, identifier) in sorted(files.items())}

    @functools.cached_property
    def _variants(self) -> tuple[str, ...]:
        return tuple(sorted(file.name for file in (self._data_path / "voices" / "!v").iterdir()))

    def voices(self, language: str) -> tuple[str, ...]:
        """The variants ("speakers") in which `language` can be spoken; in eSpeak each one goes with each language."""
        self._voice_file(language)
        return self._variants

    def speak(self, text: str, language: str, variant: str, rate_wpm: int = 170, pitch: int = 50,
              pitch_range: int = 50) -> NDArray[np.float32]:
        """`text` spoken by one variant: mono, 22050 Hz, within ±1. `pitch` and `pitch_range` go from 0 to 100."""
        voice = f"{self._voice_file(language)}+{self._known_variant(variant)}"
        for name, value, low, high in (("rate_wpm", rate_wpm, 80, 450), ("pitch", pitch, 0, 100),
                                       ("pitch_range", pitch_range, 0, 100)):
            if not low <= value <= high:
                raise ConfigError(f"{name}={value} is outside of what eSpeak speaks", f"choose from {low} to {high}")
        if not text.strip() or "\0" in text:
            raise ConfigError(f"there is nothing to speak in the text {text!r}")

        chunks: list[bytes] = []
        num_left = int((5.0 + len(text) * _LONGEST_S_PER_CHARACTER) * RATE_HZ)

        @_SynthCallback
        def keep(samples: Any, num_samples: int, _events: int | None) -> int:
            nonlocal num_left
            if samples and num_samples > 0:
                chunks.append(ctypes.string_at(samples, 2 * num_samples))
                num_left -= num_samples
            return int(num_left < 0)  # 1 makes eSpeak stop

        with self._espeak() as espeak:
            espeak.espeak_SetSynthCallback(keep)
            _check(espeak.espeak_SetVoiceByName(voice.encode()), f"choose the voice {voice!r}")
            for parameter, value in ((_RATE, rate_wpm), (_VOLUME, _VOLUME_PERCENT), (_PITCH, pitch),
                                     (_RANGE, pitch_range)):
                _check(espeak.espeak_SetParameter(parameter, value, 0), f"set parameter {parameter} to {value}")
            espeak.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))
            data = text.encode()
            _check(espeak.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, _CHARS_UTF8, None, None),
                   f"speak {text!r}")
            _check(espeak.espeak_Synchronize(), f"speak {text!r}")
        if num_left < 0:
            raise UtterloomError(f"eSpeak NG did not come to an end when it spoke {text!r} as {voice!r}")
        samples = np.frombuffer(b"".join(chunks), dtype=np.int16).astype(np.float32) / np.float32(32768)
        if not samples.any():
            raise UtterloomError(f"eSpeak NG gave no sound for {text!r} as {voice!r}")
        return samples

    def _voice_file(self, language: str) -> str:
        if language not in self.languages:
            raise ConfigError(f"eSpeak NG knows no language {language!r}", did_you_mean(language, self.languages))
        return self.languages[language]

    def _known_variant(self, variant: str) -> str:
        # eSpeak itself speaks in its plain voice, without a word, when it does not know a variant.
        if variant not in self._variants:
            near = nearest(variant, self._variants) or list(self._variants)
            raise ConfigError(f"eSpeak NG knows no voice variant {variant!r}", f"choose from: {', '.join(near)}")
        return variant

    @contextlib.contextmanager
    def _espeak(self) -> Iterator[ctypes.CDLL]:
        """A freshly loaded and initialised library, unloaded at the end."""
        with _ONE_AT_A_TIME:
            try:
                espeak = ctypes.CDLL(self._library_path)
            except OSError as error:
                raise UtterloomError(f"eSpeak NG cannot be loaded: {error}", _REINSTALL) from error
            try:
                rate_hz = espeak.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(self._data_path),
                                                   _INITIALIZE_DONT_EXIT)
                used_data = ctypes.c_char_p()
                espeak.espeak_Info(ctypes.byref(used_data))
                # eSpeak silently takes another copy of its data, of any version, when it cannot read ours.
                if rate_hz != RATE_HZ or Path(os.fsdecode(used_data.value or b"")) != self._data_path:
                    raise UtterloomError(f"eSpeak NG cannot read its data in {self._data_path}", _REINSTALL)
                yield espeak
            finally:
                espeak.espeak_Terminate()
                _unload(espeak)


_ONE_AT_A_TIME = threading.Lock()
_REINSTALL = "pip install --force-reinstall espeakng-loader"


def _language_list(address: int) -> Iterator[tuple[int, str]]:
    while (priority := ctypes.string_at(address, 1)[0]) != 0:
        name = ctypes.string_at(address + 1)
        yield priority, name.decode()
        address += 1 + len(name) + 1


def _check(status: int, purpose: str) -> None:
    if status != 0:
        raise UtterloomError(f"eSpeak NG could not {purpose} (status {status})", _REINSTALL)


def _unload(library: ctypes.CDLL) -> None:
    import _ctypes

    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)

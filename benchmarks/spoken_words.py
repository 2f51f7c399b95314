"""English speech by eSpeak NG with exact word times, from the events that it sends along with the sound.

eSpeak marks a word where its first sound begins. Two things it does not say, and both are left open here (None) instead of guessed:

- words that it runs together (`of the`) share one mark, so the second has no onset and the first no end;
- before a vowel that is bound to a nasal or a liquid (`an hour`) the mark stands before the consonant of the word before it.
  It shows: the mark then lies where that consonant's own mark lies.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

RATE_HZ = 22_050
_WORD, _PHONEME, _LIST_END = 1, 7, 0
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT, _UTF8 = 2, 1, 0x8000, 1
_RATE, _PITCH = 1, 3


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int), ("length", ctypes.c_int),
                ("audio_position", ctypes.c_int), ("sample", ctypes.c_int), ("user_data", ctypes.c_void_p), ("id", _Id))


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class TimedWord:
    """`start_sample` and `stop_sample` at RATE_HZ, None where eSpeak does not say."""

    word: str
    start_sample: int | None
    stop_sample: int | None


@dataclass(frozen=True)
class _Mark:
    kind: int
    sample: int
    text_start: int = 0
    phoneme: str = ""


class SpokenWords:
    """One eSpeak for the process: the same calls in the same order give the same sound."""

    def __init__(self) -> None:
        import espeakng_loader

        self._espeak = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        data = str(espeakng_loader.get_data_path()).encode()
        if self._espeak.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DONT_EXIT) != RATE_HZ:
            raise SystemExit("eSpeak NG does not start: pip install --force-reinstall espeakng-loader")
        self._chunks: list[np.ndarray] = []
        self._marks: list[_Mark] = []
        self._callback = _Callback(self._keep)  # must outlive the library's use of it
        self._espeak.espeak_SetSynthCallback(self._callback)
        self._espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def _keep(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        number = 0
        while events[number].type != _LIST_END:
            event = events[number]
            if event.type == _WORD:
                self._marks.append(_Mark(_WORD, event.sample, event.text_position - 1))
            elif event.type == _PHONEME:
                self._marks.append(_Mark(_PHONEME, event.sample, phoneme=event.id.string.decode("utf-8", "replace")))
            number += 1
        return 0

    def speak(self, text: str, voice: str, rate_wpm: int = 170, pitch: int = 50) -> tuple[np.ndarray, list[TimedWord]]:
        """ASCII `text` in `voice` (`en-us+m1`): float32 [samples] at RATE_HZ, and its words with their times."""
        self._chunks.clear()
        self._marks.clear()
        encoded = text.encode("ascii")
        for status in (self._espeak.espeak_SetVoiceByName(voice.encode()), self._espeak.espeak_SetParameter(_RATE, rate_wpm, 0),
                       self._espeak.espeak_SetParameter(_PITCH, pitch, 0),
                       self._espeak.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, _UTF8, None, None),
                       self._espeak.espeak_Synchronize()):
            if status != 0:
                raise SystemExit(f"eSpeak NG could not speak {text!r} as {voice} (status {status})")
        samples = np.concatenate(self._chunks).astype(np.float32) / np.float32(32_768)
        return samples, timed_words(text, self._marks)


def timed_words(text: str, marks: list[_Mark]) -> list[TimedWord]:
    """The words of `text` with what eSpeak's marks, in their order, say of them."""
    places = {match.start(): match[0] for match in re.finditer(r"[A-Za-z]+(?:'[A-Za-z]+)*", text)}
    starts: dict[int, int | None] = {}
    stops: dict[int, int | None] = {}
    open_word: int | None = None
    sound: _Mark | None = None  # the last sound that is no pause
    for mark in marks:
        if mark.kind == _PHONEME:
            if mark.phoneme.startswith("_"):
                if open_word is not None:
                    stops.setdefault(open_word, mark.sample)
                sound = None
            else:
                sound = mark
            continue
        exact = sound is None or sound.sample < mark.sample
        starts[mark.text_start] = mark.sample if exact else None
        if open_word is not None:
            stops.setdefault(open_word, mark.sample if exact else None)
        open_word = mark.text_start
    order = sorted(places)
    # What runs together with the next word ends where that begins, and nobody knows where.
    together = {place for place, following in pairwise(order) if following not in starts}
    return [TimedWord(places[place], starts.get(place), None if place in together or place not in starts else stops.get(place))
            for place in order]

"""A corpus with planted faults: clips in three containers and many rates, twelve kinds of fault, and the list of who has which.

The speech is made up, so that it needs no package: every letter is a vowel of three formants, a hiss, a hum or a click of the
length that letters have, in voices of different pitch, size and haste, over room noise. With `voice="espeak"`, eSpeak NG speaks.
Everything is drawn from the seed; the same arguments give the same corpus.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from tests.tones import write_table
from utterloom.audio.resample import resample
from utterloom.core.records import Utterance
from utterloom.demo.sentences import draw_sentences
from utterloom.prepare.readers.table import TableReader
from utterloom.text.normalisers import normaliser

MAKING_HZ = 48_000
CONTAINERS = ((".mp3", 48_000, 2), (".wav", 44_100, 1), (".wav", 16_000, 1), (".flac", 22_050, 1), (".flac", 16_000, 1))
SPEAKERS = 20
HELD_OUT_SPEAKERS = 3  # of SPEAKERS: the test split

KINDS = ("zero length", "truncated", "wrong transcript", "swapped pair", "clipped", "silent", "near duplicate", "speaker leak",
         "wrong language", "more symbols than frames", "quoted TSV", "rate that lies")
NEEDS_A_RECOGNISER = ("wrong transcript", "swapped pair")

# By which reasons a fault may rightly be named.
REASONS: dict[str, frozenset[str]] = {
    "zero length": frozenset(("recording not readable",)),
    "truncated": frozenset(("recording not readable", "cut off while speaking", "text does not fit the length",
                            "unlikely rate of speech", "more symbols than frames", "text unlike the hypothesis")),
    "wrong transcript": frozenset(("text unlike the hypothesis", "high word error rate", "text does not fit the length",
                                   "unlikely rate of speech", "swapped text")),
    "swapped pair": frozenset(("swapped text", "text unlike the hypothesis", "high word error rate", "text does not fit the length",
                               "unlikely rate of speech")),
    "clipped": frozenset(("clipped", "clipped, then made quieter")),
    "silent": frozenset(("no speech", "too quiet", "text unlike the hypothesis", "high word error rate")),
    "near duplicate": frozenset(("duplicate audio", "near duplicate audio")),
    "speaker leak": frozenset(("speaker in several splits",)),
    "wrong language": frozenset(("wrong script", "text unlike the corpus", "text unlike the hypothesis", "high word error rate",
                                 "text does not fit the length")),
    "more symbols than frames": frozenset(("more symbols than frames", "unlikely rate of speech", "text does not fit the length",
                                           "text unlike the hypothesis", "high word error rate")),
    "quoted TSV": frozenset(("broken quoting",)),
    "rate that lies": frozenset(("narrower than its rate",)),
}


@dataclass
class Planted:
    """`faults` is {id: kind}; `partners` names the other of a swapped or doubled pair. Utterances carry the view `basic`."""

    utterances: list[Utterance]
    faults: dict[str, str]
    partners: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Voice:
    """Pitch, the size of the vocal tract, haste, and how a microphone hears it."""

    pitch_hz: float
    size: float
    haste: float
    level: float


# Formants of the vowels as textbooks draw them, and the middle of what hisses.
VOWELS_HZ = {"a": (750, 1250, 2600), "e": (500, 1850, 2600), "i": (300, 2250, 3000), "y": (300, 2150, 2900), "o": (480, 900, 2500),
             "u": (330, 750, 2400)}
HISSES_HZ = {"s": 7000, "x": 6000, "z": 6500, "f": 8500, "h": 1500, "c": 4500, "v": 5000, "j": 4000, "r": 3000}
HUMS_HZ = {"m": (250, 1100, 2200), "n": (250, 1500, 2500), "l": (360, 1300, 2700), "w": (300, 650, 2200)}


@cache
def _ringing(formants_hz: tuple[int, ...], size: float) -> np.ndarray:
    """10 ms of what a vocal tract makes of one pulse."""
    t = np.arange(MAKING_HZ // 100) / MAKING_HZ
    return sum((np.exp(-t * np.pi * (60 + 40 * number)) * np.sin(2 * np.pi * hz / size * t) / (1 + number)
                for number, hz in enumerate(formants_hz)), np.zeros(len(t)))


def _letter(letter: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    base = unicodedata.normalize("NFD", letter.casefold())[0].replace("đ", "d")
    length = int(MAKING_HZ * 0.062 / voice.haste * rng.uniform(0.75, 1.25))
    if letter.isspace():
        return np.zeros(length // 2)
    swell = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.008 * MAKING_HZ))
    formants = VOWELS_HZ.get(base) or HUMS_HZ.get(base)
    if formants:
        pulses = np.zeros(length)
        place = 0.0
        while place < length:
            pulses[int(place)] = 1
            place += MAKING_HZ / (voice.pitch_hz * rng.uniform(0.97, 1.03))
        loudness = 0.5 if base in VOWELS_HZ else 0.2
        breath = 0.004 * rng.standard_normal(length)
        return swell * (loudness * np.convolve(pulses, _ringing(formants, voice.size))[:length] + breath)
    if base in HISSES_HZ:
        middle = HISSES_HZ[base] / voice.size
        spectrum = np.fft.rfft(rng.standard_normal(length))
        hz = np.fft.rfftfreq(length, 1 / MAKING_HZ)
        return 0.25 * swell * np.fft.irfft(spectrum / (1 + ((hz - middle) / 1500) ** 2), length)
    click = np.zeros(length)  # closed, then open
    start = length * 2 // 3
    click[start:] = rng.standard_normal(length - start) * np.exp(-np.arange(length - start) / (0.006 * MAKING_HZ)) * 0.35
    return click


def made_up_speech(text: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """float64 [samples] at MAKING_HZ, within ±1, room around it."""
    said = np.concatenate([_letter(letter, voice, rng) for letter in text])
    said -= said.mean()  # pulses of one sign have one
    return in_a_room(said / max(1e-9, np.abs(said).max()) * voice.level, rng)


def in_a_room(said: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A silence before and after, and a noise floor 45 to 60 dB below full scale."""
    before, after = (np.zeros(int(MAKING_HZ * rng.uniform(0.12, 0.4))) for _ in range(2))
    room = np.concatenate((before, said, after))
    return np.clip(room + 10 ** (rng.uniform(-60, -45) / 20) * rng.standard_normal(len(room)), -0.99, 0.99)


def _espeak(rng: random.Random) -> Callable[[str, int, np.random.Generator], np.ndarray]:
    from utterloom.demo.corpus import VOICES
    from utterloom.demo.speech import RATE_HZ, Synthesiser

    synthesiser = Synthesiser()
    names = [name for split in VOICES.values() for name in split]
    chosen = rng.sample(names, SPEAKERS)

    def speak(text: str, speaker: int, noise: np.random.Generator) -> np.ndarray:
        said = synthesiser.speak(text, "vi", chosen[speaker], rate_wpm=150 + 3 * speaker)
        return in_a_room(resample(0.7 * said / np.abs(said).max(), RATE_HZ, MAKING_HZ).astype(float), noise)

    return speak


def _misheard(text: str, rng: random.Random) -> str:
    """What a recogniser of about 6 % character errors would write."""
    letters = []
    for letter in normaliser("basic")(text):
        chance = rng.random()
        letters.append(letter if chance > 0.06 else rng.choice(["", "a", "n", letter + "h"]))
    return "".join(letters)


def plant(folder: Path, num_clips: int, seed: int, share: float = 0.01, voice: str = "synthetic") -> Planted:
    """Write `folder/transcripts.tsv` and its clips; `share` of them, and at least two, have each kind of fault."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    sentences = [one.text for one in draw_sentences("vi", "large", rng, 3 * num_clips)]
    foreign = [one.text for one in draw_sentences("en-us", "large", rng, num_clips)]
    voices = [Voice(rng.uniform(90, 230), rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.15), rng.uniform(0.15, 0.8))
              for _ in range(SPEAKERS)]
    speak = _espeak(rng) if voice == "espeak" else lambda text, speaker, noise: made_up_speech(text, voices[speaker], noise)
    each = max(2, round(share * num_clips / 2) * 2)
    order = rng.sample(range(num_clips), num_clips)
    kind_of = {order[number * each + place]: kind for number, kind in enumerate(KINDS) for place in range(each)}
    sound = sorted(set(range(num_clips)) - kind_of.keys())
    (folder / "clips").mkdir(parents=True)

    rows: list[dict[str, str]] = []
    samples: dict[int, np.ndarray] = {}
    faults, partners = {}, {}
    swaps = [number for number in order if kind_of.get(number) == "swapped pair"]
    texts = [sentences[number % len(sentences)] for number in range(num_clips)]
    twin_of = dict(zip((n for n, kind in kind_of.items() if kind == "near duplicate"), rng.sample(sound, each), strict=True))
    for number in range(num_clips):
        kind = kind_of.get(number)
        name, speaker = f"clip-{number:05d}", rng.randrange(SPEAKERS)
        split = "test" if speaker < HELD_OUT_SPEAKERS else "train"
        if kind == "speaker leak":
            speaker, split = rng.randrange(HELD_OUT_SPEAKERS, SPEAKERS), "test"
        samples[number] = speak(texts[number], speaker, noise)
        rows.append({"id": name, "path": "", "text": texts[number], "speaker": f"speaker-{speaker}", "split": split,
                     "language": "vi", "hypothesis": _misheard(texts[number], rng)})
        if kind is not None:
            faults[name] = kind
    for left, right in zip(swaps[::2], swaps[1::2], strict=True):
        rows[left]["text"], rows[right]["text"] = texts[right], texts[left]
        partners[rows[left]["id"]], partners[rows[right]["id"]] = rows[right]["id"], rows[left]["id"]
    for number, twin in twin_of.items():
        rows[number].update(text=rows[twin]["text"], hypothesis=rows[twin]["hypothesis"], speaker=rows[twin]["speaker"],
                            split=rows[twin]["split"])
        partners[rows[number]["id"]] = rows[twin]["id"]
        samples[number] = samples[twin] * rng.uniform(0.4, 0.9)
    for number in range(num_clips):
        _spoil(number, kind_of.get(number), rows, samples, sentences, foreign, rng, noise)
        rows[number]["path"] = _write(folder, number, kind_of.get(number), samples.pop(number), rng)
    table = write_table(folder / "transcripts.tsv", rows)
    read = [item for item in TableReader().read(table) if isinstance(item, Utterance)]
    assert len(read) == num_clips
    view = normaliser("basic")
    return Planted([one.with_(views={"basic": view(one.text or "")}) for one in read], faults, partners)


def _spoil(number: int, kind: str | None, rows: list[dict[str, str]], samples: dict[int, np.ndarray], sentences: list[str],
           foreign: list[str], rng: random.Random, noise: np.random.Generator) -> None:
    """The faults of sound and text that do not need the file."""
    row = rows[number]
    if kind == "wrong transcript":
        row["text"] = rng.choice(sentences[len(rows):])
    elif kind == "clipped":
        loud = samples[number] / np.abs(samples[number]).max()
        samples[number] = np.clip(loud * rng.uniform(3, 8), -1, 1) * (1.0 if rng.random() < 0.5 else rng.uniform(0.3, 0.8))
    elif kind == "silent":
        floor = rng.choice((0.0, 10 ** (-70 / 20), 10 ** (-45 / 20)))
        samples[number] = floor * noise.standard_normal(len(samples[number]))
        row["hypothesis"] = ""
    elif kind == "wrong language":
        if rng.random() < 0.5:
            row["text"] = rng.choice(foreign)
        else:  # the same sentence in another script
            row["text"] = "".join(chr(0x430 + ord(letter) % 32) if letter.isalpha() else letter for letter in row["text"])
    elif kind == "more symbols than frames":
        row["text"] = " ".join([row["text"], *rng.sample(sentences, 5)])
    elif kind == "quoted TSV":
        words = row["text"].split(" ")
        words[0] = f'"{words[0]}'
        if rng.random() < 0.7:  # as a spreadsheet writes a cell with quotes in it
            words[-1] += '"'
            words[len(words) // 2] = f'""{words[len(words) // 2]}""'
        row["text"] = " ".join(words)


def _write(folder: Path, number: int, kind: str | None, made: np.ndarray, rng: random.Random) -> str:
    suffix, rate_hz, num_channels = rng.choice(CONTAINERS)
    if kind == "clipped" and np.abs(made).max() < 0.95:
        suffix, rate_hz, num_channels = ".wav", MAKING_HZ, 1  # made quieter in an editor: where no later filter bends the flat tops
    if kind == "rate that lies":
        made = resample(resample(made, MAKING_HZ, 8_000), 8_000, rate_hz)
    else:
        made = resample(made, MAKING_HZ, rate_hz)
    name = f"clips/{number:05d}{suffix}"
    path = folder / name
    if kind == "zero length":
        if rng.random() < 0.5:
            path.write_bytes(b"")
            return name
        name, made = f"clips/{number:05d}.wav", made[:0]
        soundfile.write(folder / name, made, rate_hz)
        return name
    if kind == "truncated" and rng.random() < 0.5:  # by whoever cut the sound
        made = made[:int(len(made) * rng.uniform(0.3, 0.6))]
        kind = None
    soundfile.write(path, np.stack([made] * num_channels, axis=1) if num_channels > 1 else made, rate_hz,
                    format=suffix[1:].upper())
    if kind == "truncated":  # by whoever copied the file
        data = path.read_bytes()
        path.write_bytes(data[:int(len(data) * rng.uniform(0.3, 0.8))])
    return name

"""Makes the demo's spoken corpus: a folder of recordings as messy as real ones, and a table that says what is spoken.

Messy on purpose: six kinds of recorder, noise, loudness and voices all over the place, and a handful of items that
are broken in the ways in which real corpora are. README.txt in the folder names them.
"""

from __future__ import annotations

import io
import math
import random
import shutil
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utterloom.core.artifact import TEMPORARY, atomic_write, output_errors
from utterloom.core.errors import ConfigError, OutputError
from utterloom.demo.sentences import Sentence, SentencePicker, draw_sentences
from utterloom.demo.speech import RATE_HZ, Synthesiser

Samples = NDArray[np.float32]

# Chosen by measuring. Each of the 104 variants spoke 69 Vietnamese syllables alone; a syllable (cepstra, pitch contour,
# length) was compared with the means of ten plain voices, and a voice qualifies when at least 88 % of its syllables were
# nearest to themselves (97 % for 65 English words), its periodicity is above 0.7 (whispers and croaks are below), and no
# voice of another split is its twin (mean cepstra more than 10 apart; `michel` and `miguel`, at 8, are one person to a
# recogniser). That leaves out a dozen that nobody would understand (Demonic, Alicia, kaukovalta: below 22 %). eSpeak's
# Klatt voices are left out too: two of them (Reed, caleb) give other samples each time, even from a fresh library.
# The later rows of training voices qualify by a coarser measure: their log-mel frames correlate with a plain voice's by at
# least 0.7, and their mean cepstra (of log-mel, another scale than above) are 5 or more from those of every held-out voice.
# Some that would do (Gene, ed, paul) are Klatt voices in disguise. With twelve voices a recogniser learned them by heart:
# training loss 0.3 a token, 24 % of the words of new voices wrong.
VOICES = {
    "train": ("m1", "m3", "m4", "m7", "m8", "Alex", "michel", "f1", "f2", "f5", "steph", "belinda",
              "boris", "norbert", "Denis", "Mario", "rob", "victor", "Michael", "robert", "quincy", "steph2", "Henrique",
              "Diogo", "Hugo", "marcelo", "shelby", "edward", "grandma", "travis", "Annie"),
    "dev": ("m6", "aunty"),
    "test": ("m5", "f3", "Nguyen"),
}
_BABBLE_VOICES = ("max", "Andrea", "pablo")  # heard in the background only, all at once

SHARES = {"test": 0.10, "dev": 0.05, "train": 0.85}  # of the minutes, in the order in which they are made
_SHORTEST_S, _LONGEST_S = 1.5, 8.0  # of an utterance


@dataclass(frozen=True)
class Recorder:
    """One kind of source, and its share of the minutes."""

    folder: str
    suffix: str
    rate_hz: int
    num_channels: int
    share: float


# MP3 costs 2 s of CPU for a minute of sound, all the rest together 0.25 s: hence its small share.
RECORDERS = (
    Recorder("web", ".mp3", 48000, 2, 0.05),
    Recorder("camera", ".wav", 44100, 2, 0.10),
    Recorder("studio", ".wav", 44100, 1, 0.25),
    Recorder("phone", ".flac", 8000, 1, 0.30),
    Recorder("recorder", ".wav", 16000, 1, 0.18),
    Recorder("field", ".flac", 22050, 1, 0.12),
)

ODD_ID = "hash_123.4-135.4"  # real corpora have such ids, and a WebDataset splits a name at its first dot
FAULTS = {
    "cut-in-half": "the file ends in the middle",
    "no-transcript": "the text is empty",
    "no-file": "the table names a file that is not there",
    "no-sound": "the file holds no samples",
}
_WRITERS = 2  # threads that resample, encode and write: C code, which leaves Python to the speaker
_ODD_ITEMS_RECORDER = RECORDERS[-1]
_NO_SOUND_RECORDER = RECORDERS[-2]  # a WAV file without samples is a good file; libsndfile writes no FLAC without any

_MARK = "A spoken corpus made by `utterloom demo`."  # the first line of README.txt: what we may replace


@dataclass(frozen=True)
class CorpusSummary:
    """What was made. `minutes`, `split_minutes` and `words` leave out what is broken."""

    table: Path
    recordings: int  # rows of the table
    minutes: float
    words: int  # different ones
    speakers: dict[str, tuple[str, ...]]  # per split
    split_minutes: dict[str, float]
    broken: dict[str, str]  # id → what is wrong with it


def make_corpus(out: Path, language: str = "vi", size: str = "small", minutes: float = 100.0, seed: int = 7,
                on_progress: Callable[[int, int], None] | None = None) -> CorpusSummary:
    """Writes `out/transcripts.tsv`, `out/recordings/` and `out/README.txt`; the same arguments give the same bytes.

    `on_progress(made_s, planned_s)` is told the seconds of speech. What an earlier call left in `out` is replaced;
    a folder with anything else in it is refused. The table is written last: where it is, the corpus is whole.
    """
    out = Path(out)
    if not 0 < minutes <= 6000:
        raise ConfigError(f"minutes={minutes} is not a size that the demo can speak", "choose from above 0 to 6000")
    if seed < 0:
        raise ConfigError(f"seed={seed} is not a seed", "choose 0 or more")
    planned_s = math.ceil(60 * minutes)

    def on_speech(made_s: float) -> None:
        if on_progress is not None:
            on_progress(min(int(made_s), planned_s), planned_s)

    with output_errors(out), ThreadPoolExecutor(_WRITERS) as writers:
        maker = _Maker(out, language, size, seed, on_speech, writers)
        _clear(out)
        spoken: set[str] = set()
        try:
            for split, share in SHARES.items():
                spoken |= maker.speak_split(split, 60 * minutes * share, first=spoken if split == "train" else ())
            maker.add_odd_items()
            maker.finish_writing()
        finally:
            writers.shutdown(cancel_futures=True)
        summary = maker.summary()
        _write(out / "README.txt", _readme(summary, language, size, minutes, seed).encode())
        _write(summary.table, maker.table().encode())
    return summary


@dataclass
class _Maker:
    """The state of one making: everything random is drawn from the seed, in a fixed order."""

    out: Path
    language: str
    size: str
    seed: int
    on_speech: Callable[[float], None]
    writers: ThreadPoolExecutor
    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    split_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    recorder_s: defaultdict[Recorder, float] = field(default_factory=lambda: defaultdict(float))
    writing: deque[Future[None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.pools = _deal(draw_sentences(self.language, self.size, self.rng), self.rng)
        self.synthesiser = Synthesiser()
        babble = [np.concatenate([self._speech(self.rng.choice(self.pools["train"]), voice) for _ in range(5)])
                  for voice in _BABBLE_VOICES]
        self.noise = Noise(np.random.default_rng(self.seed), babble)

    def speak_split(self, split: str, target_s: float, first: Collection[str]) -> set[str]:
        """Speaks sentences until there are `target_s` seconds and all the words of `first`; returns the words."""
        picker = SentencePicker(self.pools[split], self.rng, first)
        voices: list[str] = []
        while self.split_s[split] < target_s or not picker.covers_first:
            voices = voices or self.rng.sample(VOICES[split], len(VOICES[split]))
            sentence = picker.pick()
            # The recorder that is furthest behind its share.
            recorder = min(RECORDERS, key=lambda r: (self.recorder_s[r] + 1.0) / r.share)
            if self._record(sentence, voices[-1], split, recorder):
                voices.pop()
                picker.was_spoken(sentence)
                self.on_speech(sum(self.split_s.values()))
        return set(picker.spoken)

    def add_odd_items(self) -> None:
        """The row with an odd id, which is whole, and the broken ones; all in training."""
        for item in (ODD_ID, *FAULTS):
            recorder = _NO_SOUND_RECORDER if item == "no-sound" else _ODD_ITEMS_RECORDER
            while not self._record(self.rng.choice(self.pools["train"]), self.rng.choice(VOICES["train"]), "train",
                                   recorder, item):
                pass

    def _record(self, sentence: Sentence, voice: str, split: str, recorder: Recorder, item: str = "") -> bool:
        """One row and its file; false, and neither, where the spoken sentence is too short or too long."""
        mixed = self.noise.mix(self._speech(sentence, voice))
        duration_s = len(mixed) / RATE_HZ
        if not _SHORTEST_S <= duration_s <= _LONGEST_S:
            return False
        utterance = item or f"{self.language}-{voice.lower()}-{len(self.rows):05d}"
        name = f"recordings/{recorder.folder}/{utterance}{recorder.suffix}"
        path = self.out / name
        if item != "no-file":
            heard = mixed[:0] if item == "no-sound" else mixed
            echo = _Echo.draw(self.rng) if recorder.num_channels == 2 else None
            self.writing.append(self.writers.submit(_record, path, heard, recorder, echo, item == "cut-in-half"))
            self.finish_writing(most_left=2 * _WRITERS)
        self.rows.append((utterance, name, "" if item == "no-transcript" else sentence.text, voice, split))
        if item not in FAULTS:
            self.words.update(sentence.words)
            self.split_s[split] += duration_s
            self.recorder_s[recorder] += duration_s
        return True

    def _speech(self, sentence: Sentence, voice: str) -> Samples:
        return self.synthesiser.speak(
            sentence.text, self.language, voice, rate_wpm=self.rng.randint(130, 210), pitch=self.rng.randint(25, 75),
            pitch_range=self.rng.randint(30, 70))

    def finish_writing(self, most_left: int = 0) -> None:
        """Wait until at most so many recordings are still being written; raises what their writing raised."""
        while len(self.writing) > most_left:
            self.writing.popleft().result()

    def table(self) -> str:
        rows = sorted(self.rows)
        self.rng.shuffle(rows)
        return "".join("\t".join(row) + "\n" for row in (("id", "path", "text", "speaker", "split"), *rows))

    def summary(self) -> CorpusSummary:
        speakers = {split: tuple(sorted({row[3] for row in self.rows if row[4] == split})) for split in SHARES}
        return CorpusSummary(
            table=self.out / "transcripts.tsv", recordings=len(self.rows), minutes=sum(self.split_s.values()) / 60,
            words=len(self.words), speakers=speakers,
            split_minutes={split: seconds / 60 for split, seconds in self.split_s.items()}, broken=dict(FAULTS))


class Noise:
    """Room, street and mains around a voice, at 10 to 30 dB below it, and a loudness that nobody set."""

    KINDS = ("none", "white", "pink", "hum", "babble", "babble")

    def __init__(self, rng: np.random.Generator, babble: list[Samples]) -> None:
        self._rng = rng
        length = max(len(voice) for voice in babble)
        self._babble = np.sum([np.resize(voice / _rms(voice), length) for voice in babble], axis=0)

    def mix(self, speech: Samples) -> Samples:
        """The speech with silence before and after it, noise over all of it, at a random level."""
        before, after = (self._rng.uniform(0.1, 0.5, 2) * RATE_HZ).astype(int)
        padded = np.pad(speech, (before, after))
        kind = self.KINDS[self._rng.integers(len(self.KINDS))]
        snr_db = self._rng.uniform(10, 30)
        if kind != "none":
            noise = self._draw(kind, len(padded))
            padded = padded + noise * (_rms(speech) / _rms(noise) * 10 ** (-snr_db / 20))
        level_db = self._rng.uniform(-36, -18)
        gain = min(10 ** (level_db / 20) / _rms(speech), 0.9 / float(np.abs(padded).max()))
        return (padded * gain).astype(np.float32)

    def _draw(self, kind: str, num_samples: int) -> NDArray[np.floating]:
        if kind == "babble":
            start = self._rng.integers(len(self._babble))
            return np.take(self._babble, np.arange(start, start + num_samples), mode="wrap")
        if kind == "hum":
            time_s = np.arange(num_samples) / RATE_HZ
            harmonics = ((50 * k, 1 / k, phase) for k, phase in zip((1, 2, 3, 5, 7), self._rng.uniform(0, 6.28, 5),
                                                                    strict=True))
            hum = np.sum([a * np.sin(2 * np.pi * f * time_s + phase) for f, a, phase in harmonics], axis=0)
            return hum + 0.05 * self._rng.standard_normal(num_samples)
        if kind == "white":
            return self._rng.standard_normal(num_samples)
        fast_length = 1 << (num_samples - 1).bit_length()  # a transform of another length can take ten times longer
        spectrum = np.fft.rfft(self._rng.standard_normal(fast_length))
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))  # pink: the power falls with the frequency
        return np.fft.irfft(spectrum)[:num_samples]


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) or 1e-9


def _deal(pool: list[Sentence], rng: random.Random) -> dict[str, list[Sentence]]:
    """The pool cut into splits: no sentence is in two, and test and dev say nothing that training cannot say."""
    rng.shuffle(pool)
    fifth, third = len(pool) // 5, len(pool) * 3 // 10
    pools = {"test": pool[:fifth], "dev": pool[fifth:third], "train": pool[third:]}
    trained = {word for sentence in pools["train"] for word in sentence.words}
    for split in ("test", "dev"):
        pools[split] = [sentence for sentence in pools[split] if trained.issuperset(sentence.words)]
    return pools


# ------------------------------------------------------------------------------------------------------- writing

@dataclass(frozen=True)
class _Echo:
    """How the second channel of a stereo recorder differs from the first: later and weaker."""

    delay_samples: int
    gain: float

    @classmethod
    def draw(cls, rng: random.Random) -> _Echo:
        return cls(rng.randrange(1, 20), rng.uniform(0.4, 1.0))


def _record(path: Path, samples: Samples, recorder: Recorder, echo: _Echo | None, cut_in_half: bool) -> None:
    """Write the file as the recorder hears it: at its rate (8 kHz cuts the band at 4 kHz), in its format."""
    import soundfile
    import soxr

    heard = soxr.resample(samples, RATE_HZ, recorder.rate_hz) if len(samples) else samples
    if echo is not None:
        other = np.pad(heard, (echo.delay_samples, 0))[: len(heard)] * np.float32(echo.gain)
        heard = np.stack([heard, other], axis=1)
    heard = np.clip(heard, -0.99, 0.99, dtype=np.float32)  # resampling overshoots a little
    encoded = io.BytesIO()
    options = {"compression_level": 0.9} if recorder.suffix == ".mp3" else {"subtype": "PCM_16"}
    soundfile.write(encoded, heard, recorder.rate_hz, format=recorder.suffix[1:].upper(), **options)
    data = encoded.getvalue()
    _write(path, data[: len(data) // 2] if cut_in_half else data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(data)


def _clear(out: Path) -> None:
    """An empty folder with a README that marks it as ours; what an earlier call made is removed, nothing else."""
    readme, table, recordings = out / "README.txt", out / "transcripts.tsv", out / "recordings"
    ours = readme.is_file() and readme.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
    if not ours and out.is_dir() and any(not entry.name.startswith(TEMPORARY) for entry in out.iterdir()):
        raise OutputError(f"{out} holds other things than a demo corpus", "choose an empty or a new folder")
    out.mkdir(parents=True, exist_ok=True)
    table.unlink(missing_ok=True)
    _write(readme, f"{_MARK}\n\nIt is not finished: there is no transcripts.tsv yet.\n".encode())
    if recordings.is_dir():
        shutil.rmtree(recordings)


def _readme(summary: CorpusSummary, language: str, size: str, minutes: float, seed: int) -> str:
    splits = "\n".join(f"  {split:<6} {summary.split_minutes[split]:5.1f} minutes, speakers {', '.join(names)}"
                       for split, names in summary.speakers.items())
    recorders = "\n".join(
        f"  {r.folder + '/':<10} {r.rate_hz} Hz, {'stereo' if r.num_channels == 2 else 'mono'}, {r.suffix[1:]}"
        for r in RECORDERS)
    broken = "\n".join(f"  {item:<15} {fault}" for item, fault in summary.broken.items())
    return f"""{_MARK}

Nobody speaks here: the voices are eSpeak NG's. Made with language={language} size={size} minutes={minutes} seed={seed};
the same arguments make the same bytes.

transcripts.tsv has a row for each of {summary.recordings} recordings: id, path, text, speaker, split. The sentences
hold {summary.words} different words in {summary.minutes:.1f} minutes:

{splits}

No speaker and no sentence is in two splits, and each word of dev and test is in train too.

The recordings differ in loudness, speed and pitch; most have noise (white, pink, mains hum, other voices) 10 to 30 dB
below the speech. They come from different recorders, in recordings/:

{recorders}

Broken on purpose, all in train, to show what happens to such items:

{broken}

Not broken, only unusual: the id {ODD_ID}.
"""

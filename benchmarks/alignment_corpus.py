"""The corpus that the recipe `align` trains on: every English corpus beside the checkout, and synthetic speech, in one table.

    python benchmarks/alignment_corpus.py OUT
    utterloom prepare table OUT/table.tsv OUT/manifest && utterloom pack OUT/manifest OUT/corpus
    utterloom train align corpus=OUT/corpus out=OUT/run

- an4, speechocean762 (not its long composite) and the English of mfa_testdata, picovoice_multilang, longform and
  ingest_formats, as they are; what spells a number in digits or marks a noise is left out and counted.
- fsdd's digits, joined by speaker without a gap. The speaker `theo` and the recordings of its test split are kept for
  `alignment_truth.py`.
- eSpeak NG reading the prose of the standard library's documentation, which is on every machine with Python: no corpus of a
  few minutes has the words of a language. The demo's training voices in four accents; its dev and test voices are kept for
  the truth.

librispeech_2mix is of no use here: each of its recordings is two people at once. ljspeech_lj001 is left out, to be unheard.
"""

from __future__ import annotations

import argparse
import ast
import csv
import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
HELD_OUT_DIGIT_SPEAKER = "theo"
ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland")
DIGIT_RATE_HZ, SPEECH_RATE_HZ = 8_000, 22_050
FIELDS = ("id", "path", "text", "speaker", "language", "split", "start", "end")
_PROSE = re.compile(r"[A-Z]?[a-z' ,;-]+[.;:!?]?")
_SPEAKABLE = re.compile(r"[A-Za-z' .,;:!?\u2019\u2014()\"&-]+")


@dataclass(frozen=True)
class Row:
    """One line of the table; `start_s` and `end_s` where only a part of the recording is meant."""

    id: str
    path: Path
    text: str
    speaker: str
    split: str
    start_s: str = ""
    end_s: str = ""


def read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def recorded(left_out: Counter[str]) -> Iterator[Row]:
    """The recordings as they are; `left_out` counts what is of no use, by reason."""
    for corpus in ("an4", "speechocean762", "mfa_testdata", "picovoice_multilang", "longform", "ingest_formats"):
        folder = DATA / corpus
        languages = {row["id"]: row["lang"] for row in read_tsv(folder / "meta.tsv")}
        rows = [row for row in read_tsv(folder / "transcripts.tsv") if languages[row["id"]] == "en"]
        dev = set(sorted({row["speaker"] for row in rows})[::15]) if corpus == "an4" else set()
        for row in rows:
            spoken = [Row(f"{corpus}-{row['id']}", folder / row["path"], row["text"], f"{corpus}-{row['speaker']}",
                          "dev" if row["speaker"] in dev else "train")]
            if row["id"] == "shared_culture_en":  # too long in one piece; it has its captions
                spoken = [Row(f"{row['id']}-{number:03d}", folder / row["path"], segment["text"], "shared-culture", "train",
                              segment["start_s"], segment["end_s"])
                          for number, segment in enumerate(read_tsv(folder / "segments.tsv")) if segment["id"] == row["id"]]
            for item in spoken:
                if row["split"] == "long":
                    left_out["a composite of other rows"] += 1
                elif row["id"] in ("anchors_needed_en", "michaelandsickmichael") or row["id"].startswith("LJ"):
                    left_out["text only roughly right, a copy of other rows, or LJ Speech"] += 1
                elif not item.text:
                    left_out["no transcript"] += 1
                elif not _SPEAKABLE.fullmatch(item.text):
                    left_out["digits, or marks of noises"] += 1
                else:
                    yield item


def training_digits() -> list[dict[str, str]]:
    """The recordings of fsdd that are trained on; `alignment_truth.py` has the others."""
    return [row for row in read_tsv(DATA / "fsdd" / "transcripts.tsv")
            if row["speaker"] != HELD_OUT_DIGIT_SPEAKER and row["split"] == "train"]


def joined_digits(folder: Path, copies: int, seed: int = 0) -> Iterator[Row]:
    """fsdd's training digits, three to seven in a row, `copies` times in different company: written as 8 kHz FLAC."""
    rows = training_digits()
    for speaker in sorted({row["speaker"] for row in rows}):
        mine = [row for row in rows if row["speaker"] == speaker]
        for copy in range(copies):
            rng = np.random.default_rng([seed, copy, *speaker.encode()])
            order, start = rng.permutation(len(mine)), 0
            while start < len(order):
                group = [mine[number] for number in order[start:start + int(rng.integers(3, 8))]]
                start += len(group)
                pieces = [soundfile.read(DATA / "fsdd" / row["path"], dtype="float32")[0] for row in group]
                # No gaps: they would teach that the fading end of a digit is the pause after it.
                sound = [_faint_noise(rng, DIGIT_RATE_HZ, 0.3), *pieces, _faint_noise(rng, DIGIT_RATE_HZ, 0.3)]
                name = f"fsdd-{speaker}-{copy}-{start:04d}"
                soundfile.write(folder / f"{name}.flac", np.concatenate(sound), DIGIT_RATE_HZ)
                yield Row(name, folder / f"{name}.flac", " ".join(row["text"] for row in group), f"fsdd-{speaker}", "train")


def _faint_noise(rng: np.random.Generator, rate_hz: int, longest_s: float) -> np.ndarray:
    length = int(rng.uniform(0.03, longest_s) * rate_hz)
    return (10 ** rng.uniform(-4.5, -2.5) * rng.standard_normal(length)).astype(np.float32)


def prose(text: str) -> Iterator[str]:
    """The sentences of a documentation text that are words and nothing else, parentheses left out."""
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.;:!?])\s+", " ".join(paragraph.split())):
            bare = re.sub(r"\s+([,.;:])", r"\1", re.sub(r"\([^()]*\)", "", sentence))
            if 4 <= len(bare.split()) <= 18 and _PROSE.fullmatch(bare):
                yield bare


def library_sentences(seed: int = 0) -> list[str]:
    """Different sentences of the standard library's documentation, in an order drawn by `seed`. They depend on Python's version."""
    from pydoc_data.topics import topics

    found = dict.fromkeys(sentence for text in topics.values() for sentence in prose(text))
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if path.relative_to(library).parts[0] in ("site-packages", "test", "idlelib", "lib2to3") or "tests" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):  # files made to test the parser
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.update(dict.fromkeys(prose(ast.get_docstring(node) or "")))
    counts = Counter(word for sentence in found for word in words(sentence))
    # What occurs once is as often as not a name that nobody says; eSpeak spells what has no vowel.
    usable = [sentence for sentence in found
              if all(counts[word] > 1 and len(word) < 16 and re.search("[aeiouy]", word) for word in words(sentence))]
    random.Random(seed).shuffle(usable)
    return usable


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())


def spoken_prose(folder: Path, minutes: float, workers: int, seed: int = 0) -> Iterator[Row]:
    """Synthetic speech of about `minutes`, written as 22.05 kHz FLAC."""
    from utterloom.demo.corpus import VOICES

    sentences = library_sentences(seed)
    rng = random.Random(seed)
    tasks = []
    for number, sentence in enumerate(sentences):
        split = "dev" if number % 40 == 0 else "train"
        # In dev, voices are those of training: the others are the truth's.
        tasks.append((number, sentence, split, rng.choice(VOICES["train"]), rng.choice(ACCENTS), rng.randint(120, 220),
                      rng.randint(30, 70), rng.randint(20, 80)))
    seconds = 0.0
    with ProcessPoolExecutor(workers) as pool:
        for start in range(0, len(tasks), 64):
            if seconds >= 60 * minutes:
                return
            for row, row_s in pool.map(partial(_speak, folder), tasks[start:start + 64]):
                seconds += row_s
                yield row


def _speak(folder: Path, task: tuple[int, str, str, str, str, int, int, int]) -> tuple[Row, float]:
    from utterloom.demo.speech import RATE_HZ, Synthesiser

    number, sentence, split, voice, accent, rate_wpm, pitch, pitch_range = task
    rng = np.random.default_rng([7, number])
    speech = Synthesiser().speak(sentence, accent, voice, rate_wpm, pitch, pitch_range)
    speech = speech * np.float32(10 ** rng.uniform(-1.0, 0.3) * 0.3 / max(1e-3, float(np.sqrt(np.mean(speech * speech))) * 3))
    sound = np.concatenate([_faint_noise(rng, RATE_HZ, 0.5), speech, _faint_noise(rng, RATE_HZ, 0.5)])
    sound = sound + 10 ** rng.uniform(-5, -2.5) * rng.standard_normal(len(sound)).astype(np.float32)
    path = folder / f"espeak-{number:05d}.flac"
    soundfile.write(path, np.clip(sound, -1, 1), SPEECH_RATE_HZ)
    return Row(path.stem, path, sentence, f"espeak-{voice}-{accent}", split), len(sound) / RATE_HZ


def write_table(path: Path, rows: Iterable[Row]) -> Counter[str]:
    """The table for `prepare table`; returns how many utterances each corpus gave."""
    counts: Counter[str] = Counter()
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
        table.writerow(FIELDS)
        for row in rows:
            counts[row.speaker.partition("-")[0]] += 1
            table.writerow([row.id, row.path, row.text, row.speaker, "en", row.split, row.start_s, row.end_s])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=120.0, help="of synthetic speech (0: none)")
    parser.add_argument("--digit-copies", type=int, default=4, help="how often each digit of fsdd is used")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    audio = arguments.out.resolve() / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    left_out: Counter[str] = Counter()

    def rows() -> Iterator[Row]:
        yield from recorded(left_out)
        yield from joined_digits(audio, arguments.digit_copies)
        if arguments.minutes:
            yield from spoken_prose(audio, arguments.minutes, arguments.workers)

    for corpus, count in write_table(arguments.out / "table.tsv", rows()).items():
        print(f"{count:6,} utterances of {corpus}")
    for reason, count in left_out.items():
        print(f"{count:6,} left out: {reason}")


if __name__ == "__main__":
    main()

"""How far are word times from the truth? Speech whose word times are known, aligned by a CTC model, in one table.

    python benchmarks/alignment_truth.py MODEL [--folder FOLDER]

- `espeak, new voices`: sentences of this file in voices that no training of ours hears, with eSpeak's own word times: exact.
- `digits`: recordings of fsdd joined without a gap, so that every word begins where a recording does: exact. The speakers of the
  training corpus in recordings of the test split, and `theo`, whom it has not at all.
- `ljspeech`: LJ001-0001 to 0032 against its words.tsv, which another aligner made (10 to 30 ms, says its README).

And long recordings with their whole text: a segment is recovered where its first and its last word are within half a second of
the reference (ljspeech_lj001, by words), or lie within the piece by as much (speechocean762_long, whose pieces begin and end
with silence of their own). The model of the recipe `align` was trained on the clips that speechocean762_long is made of.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import soundfile
from alignment_corpus import DATA, HELD_OUT_DIGIT_SPEAKER, read_tsv

VOICES = ("m6", "aunty", "m5", "f3", "Nguyen")  # the demo's dev and test voices
ACCENTS = ("en-us", "en-gb")
WITHIN_S = 0.5
SENTENCES = (
    "The old farmer carried two baskets of pears to the market before sunrise.",
    "Nobody in the village knew why the church bell had rung at midnight.",
    "She folded the letter twice and put it back under the broken clock.",
    "A cold wind came down from the hills and rattled every window in the street.",
    "Please bring seven clean plates and a sharp knife from the kitchen.",
    "My brother keeps his fishing boat behind the yellow house by the bridge.",
    "They waited for the doctor until the candles were almost gone.",
    "The river runs slowly here, but it is deeper than you think.",
    "If the train is late again, we will walk home through the park.",
    "Three black dogs were sleeping in the middle of the road.",
    "He bought a pair of shoes that did not fit him at all.",
    "Every morning the baker opens his shop at half past five.",
    "The teacher wrote a difficult question on the board and smiled.",
    "We painted the fence green because the children liked the colour.",
    "Her grandmother told the same story in a different way each winter.",
    "The ship left the harbour with flour, salt and copper on board.",
    "Do you remember the song that was playing when the lights went out?",
    "It took him forty days to cross the desert with his camels.",
    "The judge asked for silence, and the people in the hall sat down.",
    "Fresh bread and strong coffee make a good breakfast for travellers.",
    "Between the two mountains there is a narrow path for goats.",
    "The museum was closed, so they spent the afternoon in a small garden.",
    "Somebody left a heavy suitcase at the top of the stairs.",
    "Snow covered the fields, and the whole country seemed to sleep.",
    "Take the second street on the left and stop beside the fountain.",
    "The captain looked at the dark clouds and changed his plans.",
    "Good neighbours often share tools, seeds and a little advice.",
    "Her piano stands near the door where everybody can hear it.",
    "The boy threw a flat stone and it jumped four times across the pond.",
    "A letter from abroad lay on the table for weeks before she read it.",
    "Thick smoke poured from the chimney of the paper factory.",
    "After supper they told jokes and played cards until ten.",
    "The price of butter has doubled since the beginning of spring.",
    "He never forgot the taste of the soup that his aunt made.",
    "Birds gather on the wires when summer draws to its close.",
    "The blind man counted his steps and found the gate without help.",
    "Put the books back on the shelf, please, and shut the door.",
    "Most of the guests had already left when the music stopped.",
    "The queen gave the gardener a silver watch for his work.",
    "Without a map we drove past the castle three times.",
    "The carpenter measured the plank twice before he cut it.",
    "Deep under the city there are tunnels that few people have seen.",
    "She speaks softly, but the whole class listens to her.",
    "The fisherman sold his catch and bought a present for his daughter.",
    "Grey clouds moved quickly over the tops of the trees.",
    "Tomorrow the bank will be closed, so go and get your money today.",
    "The little bridge could not carry the weight of the truck.",
    "He wrapped the glass in paper and packed it with great care.",
)


@dataclass(frozen=True)
class Timed:
    """An utterance with its words' true times in seconds; NaN where the truth does not say."""

    id: str
    path: Path
    words: list[str]
    start_s: np.ndarray
    stop_s: np.ndarray


def make_espeak(folder: Path) -> None:
    """Each sentence in two voices; words.tsv has an empty cell where eSpeak does not say."""
    from spoken_words import RATE_HZ, SpokenWords

    from utterloom.demo.speech import Synthesiser

    files = Synthesiser().languages
    espeak, rng = SpokenWords(), np.random.default_rng(11)

    def spoken() -> Iterator[tuple[str, np.ndarray, list[tuple[str, str, str]]]]:
        for number, sentence in enumerate(SENTENCES):
            for turn in range(2):
                accent, voice = ACCENTS[turn], VOICES[(2 * number + turn) % len(VOICES)]
                samples, words = espeak.speak(sentence, f"{files[accent]}+{voice}", int(rng.integers(140, 211)),
                                              int(rng.integers(35, 65)))
                lead = 10 ** -4 * rng.standard_normal(int(rng.uniform(0.1, 0.6) * RATE_HZ))
                sound = 0.5 * np.concatenate([lead, samples, lead[::-1]]) / np.abs(samples).max()
                sound += 10 ** rng.uniform(-4.5, -3) * rng.standard_normal(len(sound))
                times = [[f"{(edge + len(lead)) / RATE_HZ:.5f}" if edge is not None else ""
                          for edge in (word.start_sample, word.stop_sample)] for word in words]
                yield f"{number:03d}-{accent}-{voice}", sound, [(word.word.lower(), *edges)  # type: ignore[misc]
                                                       for word, edges in zip(words, times, strict=True)]

    _write(folder, RATE_HZ, spoken())


def make_digits(folder: Path, heard: bool) -> None:
    """Joined digits of fsdd: recordings of the test split by the speakers of training, or all of the speaker that it has not."""
    rate_hz, rng = 8_000, np.random.default_rng(12)

    def joined() -> Iterator[tuple[str, np.ndarray, list[tuple[str, str, str]]]]:
        rows = [row for row in read_tsv(DATA / "fsdd" / "transcripts.tsv")
                if (row["split"] == "test" if heard else True) and (row["speaker"] != HELD_OUT_DIGIT_SPEAKER) == heard]
        for speaker in sorted({row["speaker"] for row in rows}):
            mine = [row for row in rows if row["speaker"] == speaker]
            order, start = rng.permutation(len(mine)), 0
            while start < len(order):
                group = [mine[number] for number in order[start:start + int(rng.integers(3, 8))]]
                start += len(group)
                pieces = [soundfile.read(DATA / "fsdd" / row["path"])[0] for row in group]
                edges = np.cumsum([0, *map(len, pieces)]) / rate_hz
                yield (f"{speaker}-{start:04d}", np.concatenate(pieces),
                       [(row["text"], f"{edges[n]:.5f}", f"{edges[n + 1]:.5f}") for n, row in enumerate(group)])

    _write(folder, rate_hz, joined())


def _write(folder: Path, rate_hz: int, items: Iterator[tuple[str, np.ndarray, list[tuple[str, str, str]]]]) -> None:
    """The form of the corpora beside the checkout: audio/, transcripts.tsv, words.tsv."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    with (folder / "transcripts.tsv").open("w", newline="") as rows, (folder / "words.tsv").open("w", newline="") as times:
        texts, words = (csv.writer(file, delimiter="\t", lineterminator="\n") for file in (rows, times))
        texts.writerow(["id", "path", "text", "speaker", "split"])
        words.writerow(["id", "word", "start_s", "end_s"])
        for name, sound, timed in items:
            soundfile.write(folder / "audio" / f"{name}.flac", sound, rate_hz)
            texts.writerow([name, f"audio/{name}.flac", " ".join(word for word, _, _ in timed), name.split("-", 1)[1], "test"])
            words.writerows((name, *word) for word in timed)
    print(f"made {folder}")


def read_timed(folder: Path) -> list[Timed]:
    """The utterances of a corpus folder that have word times, in the words of the view `basic`."""
    from utterloom.text.normalisers.basic import basic

    found = []
    by_id: dict[str, list[dict[str, str]]] = {}
    for row in read_tsv(folder / "words.tsv"):
        by_id.setdefault(row["id"], []).append(row)
    for row in read_tsv(folder / "transcripts.tsv"):
        timed = by_id.get(row["id"])
        if timed is None:
            continue
        words = basic(row["text"]).split()
        starts, stops = np.full((2, len(words)), np.nan)
        same = SequenceMatcher(None, words, [basic(entry["word"]) for entry in timed], autojunk=False)
        for ours, theirs, count in same.get_matching_blocks():
            for n in range(count):
                starts[ours + n], stops[ours + n] = (float(timed[theirs + n][key] or "nan") for key in ("start_s", "end_s"))
        found.append(Timed(row["id"], folder / row["path"], words, starts, stops))
    return found


class Aligner:
    """Word times by any CTC model that `extract words` reads."""

    def __init__(self, model: str, offset_s: float = 0.0, by_energy: bool = True) -> None:
        import torch

        from utterloom.extract.alignment.words import Limits
        from utterloom.models.emissions import CTCEmitter

        torch.set_num_threads(1)
        self.emitter = CTCEmitter.open(model)
        self.limits = Limits(longest_word_s=1e9, least_score=0.0)  # every word counts, the doubtful ones too
        self.offset_s = offset_s
        self.by_energy = by_energy

    def times(self, path: Path, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Start and stop of each word in seconds, [words] each. Raises NoAlignmentError."""
        from utterloom.audio.decode import decode, to_mono
        from utterloom.audio.resample import resample
        from utterloom.extract.alignment.borders import powers
        from utterloom.extract.alignment.text import script_of
        from utterloom.extract.alignment.words import align

        emitter = self.emitter
        samples, rate_hz = decode(path)
        heard = resample(to_mono(samples), rate_hz, emitter.sample_rate_hz)
        log_probs = np.concatenate(list(emitter.pieces(heard)))
        scores = None if emitter.shift is None else log_probs + emitter.shift
        found = align(log_probs, script_of(" ".join(words), str), emitter.spelling, emitter.blank, emitter.grid, len(heard),
                      emitter.sample_rate_hz, self.limits, (), self.offset_s, scores,
                      powers(heard, emitter.sample_rate_hz) if self.by_energy else None)
        edges = np.array([[np.nan if edge is None else edge for edge in (word.start_sample, word.stop_sample)]
                          for word in found.words], dtype=float) / emitter.sample_rate_hz
        return edges[:, 0], edges[:, 1]


def word_errors_s(aligner: Aligner, items: list[Timed]) -> tuple[np.ndarray, np.ndarray]:
    """Signed errors of onsets and of ends, aligned minus true, where the truth says them."""
    onset, end = [], []
    for item in items:
        start_s, stop_s = aligner.times(item.path, item.words)
        onset.append(start_s - item.start_s)
        end.append(stop_s - item.stop_s)
    return tuple(errors[np.isfinite(errors)] for errors in (np.concatenate(onset), np.concatenate(end)))  # type: ignore[return-value]


def table_row(name: str, onset_s: np.ndarray, end_s: np.ndarray) -> str:
    cells = [f"{len(onset_s):,}"]
    for errors in (onset_s, end_s):
        size = np.abs(errors)
        cells += [f"{1000 * np.median(size):.0f}", f"{1000 * np.percentile(size, 95):.0f}", f"{1000 * np.median(errors):+.0f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def recovered_by_words(aligner: Aligner, folder: Path, recording: Timed) -> tuple[int, int]:
    """(segments recovered, segments): first onset and last end within WITHIN_S of the reference words."""
    start_s, stop_s = aligner.times(recording.path, recording.words)
    found, spoken = 0, list(_words_of_segments(folder, recording))
    for first, last in spoken:
        known = first + np.flatnonzero(np.isfinite(recording.start_s[first:last]))
        found += bool(abs(start_s[known[0]] - recording.start_s[known[0]]) <= WITHIN_S
                      and abs(stop_s[known[-1]] - recording.stop_s[known[-1]]) <= WITHIN_S)
    return found, len(spoken)


def recovered_by_pieces(aligner: Aligner, folder: Path, recording: Timed) -> tuple[int, int]:
    """(segments recovered, segments): all of a segment's words lie in its piece, to within WITHIN_S."""
    start_s, stop_s = aligner.times(recording.path, recording.words)
    rows = [row for row in read_tsv(folder / "segments.tsv") if row["id"] == recording.id]
    found = sum(bool(start_s[first] >= float(row["start_s"]) - WITHIN_S and stop_s[last - 1] <= float(row["end_s"]) + WITHIN_S)
                for row, (first, last) in zip(rows, _words_of_segments(folder, recording), strict=True))
    return found, len(rows)


def _words_of_segments(folder: Path, recording: Timed) -> Iterator[tuple[int, int]]:
    """First and last (half-open) word of each segment; together they are the whole text."""
    from utterloom.text.normalisers.basic import basic

    place = 0
    for row in read_tsv(folder / "segments.tsv"):
        if row["id"] == recording.id:
            count = len(basic(row["text"]).split())
            yield place, place + count
            place += count
    assert place == len(recording.words), f"{recording.id}: {place} words in segments, {len(recording.words)} in the text"


def whole(folder: Path, name: str) -> Timed:
    """A long recording without word times."""
    from utterloom.text.normalisers.basic import basic

    (row,) = [row for row in read_tsv(folder / "transcripts.tsv") if row["id"] == name]
    words = basic(row["text"]).split()
    return Timed(name, folder / row["path"], words, np.full(len(words), np.nan), np.full(len(words), np.nan))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="whatever `extract words model=` takes")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/out/alignment-truth"), help="where the truth is made")
    parser.add_argument("--offset-ms", type=float, default=0.0, help="taken from every time")
    parser.add_argument("--as-the-model-says", action="store_true", help="borders=model: not sought in the sound")
    parser.add_argument("--no-long", action="store_true", help="only the table of words")
    arguments = parser.parse_args()
    made = {"espeak": make_espeak, "digits-heard": lambda folder: make_digits(folder, True),
            "digits-theo": lambda folder: make_digits(folder, False)}
    for name, make in made.items():
        if not (arguments.folder / name / "words.tsv").exists():
            make(arguments.folder / name)
    aligner = Aligner(arguments.model, arguments.offset_ms / 1000, not arguments.as_the_model_says)
    print("| words | count | onset, median ms | 95 % | bias | end, median ms | 95 % | bias |\n|---|---|---|---|---|---|---|---|")
    speech = DATA / "ljspeech_lj001"
    lines = read_timed(speech)
    (long,) = [item for item in lines if item.id.endswith("_long")]
    for name, items in (("espeak, new voices", read_timed(arguments.folder / "espeak")),
                        ("digits, heard speakers", read_timed(arguments.folder / "digits-heard")),
                        ("digits, new speaker", read_timed(arguments.folder / "digits-theo")),
                        ("ljspeech (automatic reference)", [item for item in lines if item is not long])):
        print(table_row(name, *word_errors_s(aligner, items)), flush=True)
    if arguments.no_long:
        return
    for name, (found, count) in (
            ("ljspeech_lj001, long", recovered_by_words(aligner, speech, long)),
            ("speechocean762_long", recovered_by_pieces(aligner, DATA / "speechocean762",
                                                        whole(DATA / "speechocean762", "speechocean762_long")))):
        print(f"{name}: {found} of {count} segments recovered ({100 * found / count:.1f} %)", flush=True)


if __name__ == "__main__":
    main()

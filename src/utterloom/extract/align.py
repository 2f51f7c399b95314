"""`align RECORDING TEXT`: a long recording and all that is said in it → its utterances, or words, each with a time and a score.

The recording is read in blocks and never held; of hours there are only emissions, a few hundred bytes a frame. The text is cut into
utterances: its lines, long ones at ends of sentences, and what is still too long at its longest pauses. Speech that the text lacks
(an intro, a forgotten sentence) may stand between utterances: a star, which any speech fits. What the text has and nobody says (a
heading) fits nowhere: its utterance scores low, is taken out, and the rest is aligned again without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from utterloom.annotations import TimedSegment, TimedWord, write_segments, write_words
from utterloom.annotations.writing import check_suffix
from utterloom.audio.decode import open_recording, to_mono
from utterloom.audio.recording import Recording
from utterloom.audio.resample import resample
from utterloom.core.config import Config
from utterloom.core.errors import AudioError, SourceError
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.timing import format_duration
from utterloom.extract.alignment.borders import LEVELS_HZ, powers
from utterloom.extract.alignment.text import Group, Script, script_of
from utterloom.text.normalisers import normaliser

BLOCK_S, MARGIN_S = 120, 5  # whole seconds, so that blocks begin on a sample at every rate
MOST_WORDS = 40
SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’»)\]]*\s+")
FASTEST = 30.0  # characters a second: text that nobody says is squeezed into as few frames as it can be
POOR = 0.5  # and has less than this share of the recording's own score
HOPELESS = 0.03  # or, where it is laid over other speech, less than this
ROUNDS = 3
WHOSE_TEXT = "is it the text of this recording, in the model's language?"


class AlignConfig(Config):
    """Settings of `utterloom align`."""

    revision: str | None = None
    """a commit of the model, so that it stays what it is"""
    view: str | None = None
    """the text view that says how words are spoken (numbers spelled out); by default the model's own, or basic"""
    device: str | None = None
    """cpu, cuda or cuda:1; by default a GPU where there is one"""
    star: bool = True
    """speech that the text lacks may stand between utterances"""
    longest_s: float = Field(20.0, gt=0)
    """utterances that last longer are cut at their longest pauses"""
    edge_s: float = Field(0.15, ge=0)
    """how much of the silence around it belongs to an utterance, half of it at most"""
    least_score: float = Field(0.0, ge=0, le=1)
    """utterances with a lower score (the geometric mean probability of their frames) are left out, and named, as are those that
    nobody says: squeezed into less time than anybody speaks in"""
    longest_word_s: float = Field(3.0, gt=0)
    """a word longer than this is not believed"""
    offset_ms: float = 0.0
    """how late the model is: taken from every border"""
    borders: Literal["energy", "model"] = "energy"
    """words begin and end where the sound around what the model says is quiet, or quietest; or just where the model says"""


@dataclass(frozen=True)
class _Unit:
    """An utterance of the text: written words [first, stop)."""

    first: int
    stop: int


def align(audio: Path, text: Path, model: str, out: Path, config: AlignConfig, words: bool = False,
          open_emitter: Callable[[], Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Write `out`, whose suffix says the format; returns what was found, for machines and for people.

    Raises SourceError where the recording or text cannot be read or nothing of the text is said in it, ConfigError for a suffix.
    """
    from utterloom.extract.alignment.words import Limits

    words = words or out.suffix.lower() == ".ctm"
    check_suffix(out, words)
    raw = _read_text(text)
    emitter = open_emitter() if open_emitter else _emitter(model, config)
    view = normaliser(config.view or emitter.view or "basic")
    script = script_of(raw, view.rewrite)
    if not script.spoken:
        raise SourceError(f"{text} holds no words that are spoken", f"as the text view {view.view} reads it")
    log_probs_tv, power_t, duration_s = emissions_of(audio, emitter)
    rate_hz = emitter.sample_rate_hz
    units = _units(raw, script)
    limits = Limits(config.longest_word_s, config.least_score)
    heard = _Heard(log_probs_tv, round(duration_s * rate_hz), power_t if config.borders == "energy" else None)
    found = _aligned(heard, script, units, emitter, config, limits)
    pieces = [piece for unit in found.units for piece in _cut(unit, rate_hz, config.longest_s)]
    segments = _segments(audio.stem, pieces, rate_hz, duration_s, config.edge_s)
    timed = [TimedWord(word.text, word.start_sample / rate_hz, word.stop_sample / rate_hz,
                       word.score if word.kind == "aligned" else None, word.kind)
             for piece in pieces for word in piece.words if word.start_sample is not None]
    written = write_words(out, timed, duration_s) if words else write_segments(out, segments, duration_s)
    stars_s = [(start / rate_hz, stop / rate_hz) for start, stop in found.stars if stop - start > rate_hz]
    value = {"audio": str(audio), "text": str(text), "model": model, "out": str(out), "duration_s": round(duration_s, 3),
             "view": view.view, "utterances": len(segments), "words": len(timed), "score": found.score,
             "is_proved": found.is_proved,
             "left_out": [{"text": what, "score": score} for what, score in found.left_out],
             "not_in_text_s": round(sum(stop - start for start, stop in stars_s), 3), "changed": dict(written.changes)}
    return value, _lines(value, found.left_out, stars_s)


def _lines(value: dict[str, Any], left_out: Sequence[tuple[str, float]], stars_s: Sequence[tuple[float, float]]) -> list[str]:
    lines = [f"{value['out']}: {value['utterances']:,} utterances, {value['words']:,} words of "
             f"{format_duration(value['duration_s'])}, score {value['score']:.2f}"
             f"{'' if value['is_proved'] else ', not proved to be the best path'}"]
    for what, score in left_out[:5]:
        lines.append(f"  left out, not said as written (score {score:.3f}): {what[:80]}")
    if len(left_out) > 5:
        lines.append(f"  and {len(left_out) - 5} more; --json lists them all")
    if stars_s:
        longest = max(stars_s, key=lambda span: span[1] - span[0])
        lines.append(f"  not in the text: {format_duration(value['not_in_text_s'])} in {len(stars_s)} stretches, the "
                     f" longest from {longest[0]:.1f} to {longest[1]:.1f} s")
    return lines


def _read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SourceError(f"there is no text at {path}") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}",
                          "save it as UTF-8") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    if not text.strip():
        raise SourceError(f"{path} is empty")
    return text


def _emitter(model: str, config: AlignConfig) -> Any:
    from utterloom.extract.extractors.opening import open_emitter

    return open_emitter(model, config.revision, config.device)


# --- emissions of a recording -----------------------------------------------------------------------------------------


def emissions_of(audio: Path, emitter: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Of a recording of any length, read a block at a time: log-probabilities float32 [t, v], its power every 5 ms, and how long it
    is in seconds."""
    hop, rate_hz = emitter.grid.hop_samples, emitter.sample_rate_hz
    parts: list[np.ndarray] = []
    power: list[np.ndarray] = []
    so_far = 0
    try:
        with open_recording(audio) as recording:
            total = recording.count()
            duration_s = total / recording.sample_rate_hz
            with progress("listening", duration_s, "s") as report:
                done = 0
                for start_s, samples, is_last in _blocks(recording, total, rate_hz):
                    # A block begins MARGIN_S before what is wanted of it, on the frame grid.
                    first = -(-(start_s * rate_hz) // hop)  # the first frame whose samples lie in the block
                    skipped = first * hop - start_s * rate_hz
                    found = list(emitter.pieces(samples[skipped:]))
                    frames = np.concatenate(found) if found else np.empty((0, 0), np.float32)
                    wanted = frames[done - first:] if is_last else frames[done - first:_frames_until(start_s, rate_hz, hop) - first]
                    parts += [wanted] if len(wanted) else []
                    power.append(powers(samples[so_far - start_s * rate_hz:], rate_hz))
                    so_far += len(power[-1]) * (rate_hz // LEVELS_HZ)
                    done += len(wanted)
                    report(min(duration_s, done * hop / rate_hz))
    except AudioError as error:
        raise SourceError(f"{audio}: {error.message}", error.hint) from None
    except OSError as error:
        raise SourceError(f"{audio} cannot be read: {error.strerror or error}") from None
    if not parts:
        raise SourceError(f"{audio} is too short for the model: {total} samples give no frame")
    return np.concatenate(parts), np.concatenate(power), duration_s


def _frames_until(start_s: int, rate_hz: int, hop: int) -> int:
    """Where a block that begins at `start_s` hands over to the next: MARGIN_S before its own end."""
    margin_s = MARGIN_S if start_s else 0
    return (start_s + margin_s + BLOCK_S) * rate_hz // hop


def _blocks(recording: Recording, total: int, rate_hz: int) -> Iterator[tuple[int, np.ndarray, bool]]:
    """(where it begins in whole seconds, samples at `rate_hz`, whether it is the last); neighbours share twice MARGIN_S."""
    from_hz, kept = recording.sample_rate_hz, np.empty(0, np.float32)
    start_s = at = 0
    while True:
        end_s = start_s + (MARGIN_S if start_s else 0) + BLOCK_S + MARGIN_S
        stop = min(total, end_s * from_hz)
        if stop > at:
            kept = np.concatenate([kept, to_mono(recording.decode(at, stop))])
            at = stop
        is_last = stop == total
        yield start_s, resample(kept, from_hz, rate_hz), is_last
        if is_last:
            return
        next_s = end_s - 2 * MARGIN_S
        kept, start_s = kept[(next_s - start_s) * from_hz:], next_s


# --- utterances of a text ---------------------------------------------------------------------------------------------


def _units(raw: str, script: Script) -> list[_Unit]:
    """Lines; those of more than MOST_WORDS words are cut at ends of sentences. Cuts lie between groups of words said as one."""
    cuts: set[int] = set()
    at = 0
    for line in raw.splitlines(keepends=True):
        cuts.add(at)
        if len(line.split()) > MOST_WORDS:
            cuts |= {at + found.end() for found in SENTENCE_END.finditer(line)}
        at += len(line)
    starts = {group.first for group in script.groups}
    firsts = [number for number, word in enumerate(script.written)
              if number in starts and (number == 0 or any(script.written[number - 1].stop_char <= cut <= word.first_char
                                                          for cut in _between(cuts, script, number)))]
    return [_Unit(first, stop) for first, stop in zip(firsts, [*firsts[1:], len(script.written)], strict=True)]


def _between(cuts: set[int], script: Script, number: int) -> Iterator[int]:
    """Those of `cuts` that lie between two written words."""
    for place in range(script.written[number - 1].stop_char, script.written[number].first_char + 1):
        if place in cuts:
            yield place


@dataclass(frozen=True)
class _Said:
    """An utterance with its words."""

    text: str
    words: list[Any]
    score: float


@dataclass(frozen=True)
class _Found:
    units: list[_Said]
    left_out: list[tuple[str, float]]
    stars: list[tuple[int, int]]
    score: float
    is_proved: bool


@dataclass(frozen=True)
class _Heard:
    """A recording: its emissions, its length at the model's rate, and its power every 5 ms where borders are sought in it."""

    log_probs_tv: np.ndarray
    num_samples: int
    power_t: np.ndarray | None


def _aligned(heard: _Heard, script: Script, units: list[_Unit], emitter: Any, config: AlignConfig, limits: Any) -> _Found:
    """Align; take out utterances that nobody says; align again."""
    from utterloom.extract.alignment.viterbi import NoAlignmentError
    from utterloom.extract.alignment.words import align as align_words

    log_probs_tv = heard.log_probs_tv
    scores_tv = None if emitter.shift is None else log_probs_tv + emitter.shift
    left_out: list[tuple[str, float]] = []
    for round_number in range(ROUNDS):
        part, borders = _part(script, units)
        stars = borders if config.star else []
        log.info(f"aligning {len(part.spoken):,} words with {len(log_probs_tv):,} frames")
        try:
            found = align_words(log_probs_tv, part, emitter.spelling, emitter.blank, emitter.grid, heard.num_samples,
                                emitter.sample_rate_hz, limits, stars, config.offset_ms / 1000, scores_tv, heard.power_t)
        except NoAlignmentError as error:
            raise SourceError(f"the text cannot be aligned with the recording: {error}", WHOSE_TEXT) from None
        said, at = [], 0
        for unit in units:
            words = found.words[at:at + unit.stop - unit.first]
            at += len(words)
            said.append(_Said(" ".join(word.text for word in words), words, _score(words)))
        own = float(np.median([one.score for one in said]))
        bad = [number for number, one in enumerate(said) if one.score < config.least_score
               or one.score < HOPELESS * own
               or (one.score < POOR * own and _characters_a_second(one.words, emitter.sample_rate_hz) > FASTEST)]
        is_last = round_number == ROUNDS - 1
        if not bad or (is_last or len(bad) == len(said)):
            left_out += [(said[number].text, said[number].score) for number in bad]
            kept = [one for number, one in enumerate(said) if number not in set(bad)]
            if not kept:
                best = max(one.score for one in said)
                raise SourceError(f"nothing of the text seems to be said in the recording: the best of {len(said)} utterances "
                                  f"scores {best:.3f}", f"{WHOSE_TEXT} least_score=0 writes it all the same")
            return _Found(kept, left_out, found.stars, found.score or 0.0, found.is_proved)
        left_out += [(said[number].text, said[number].score) for number in bad]
        units = [unit for number, unit in enumerate(units) if number not in set(bad)]
    raise AssertionError("rounds end")


def _part(script: Script, units: Sequence[_Unit]) -> tuple[Script, list[int]]:
    """The script of some utterances alone, and between which of its spoken words one ends and another begins (both ends too)."""
    written: list[Any] = []
    spoken: list[str] = []
    groups: list[Group] = []
    borders = [0]
    by_first = {group.first: number for number, group in enumerate(script.groups)}
    for unit in units:
        number = by_first[unit.first]
        while number < len(script.groups) and script.groups[number].first < unit.stop:
            group = script.groups[number]
            groups.append(Group(len(written), len(written) + group.stop - group.first, len(spoken),
                                len(spoken) + group.stop_spoken - group.first_spoken))
            written += script.written[group.first:group.stop]
            spoken += script.spoken[group.first_spoken:group.stop_spoken]
            number += 1
        borders.append(len(spoken))
    return Script(written, spoken, groups), borders


def _score(words: Sequence[Any]) -> float:
    """The geometric mean of the words' scores, each as long as it lasts; 0 where none was aligned."""
    timed = [(word.score, word.stop_sample - word.start_sample) for word in words
             if word.score is not None and word.start_sample is not None]
    total = sum(length for _, length in timed)
    if not total:
        return 0.0
    return float(np.exp(sum(np.log(max(score, 1e-12)) * length for score, length in timed) / total))


def _characters_a_second(words: Sequence[Any], rate_hz: int) -> float:
    """How fast an utterance is said, its pauses left out; infinitely fast where no word has a time."""
    timed = [word for word in words if word.start_sample is not None]
    samples = sum(word.stop_sample - word.start_sample for word in timed)
    return sum(len(word.chars) or len(word.text) for word in timed) * rate_hz / samples if samples else np.inf


def _cut(unit: _Said, rate_hz: int, longest_s: float) -> list[_Said]:
    """An utterance that lasts too long is cut at its longest pause, and so on."""
    timed = [number for number, word in enumerate(unit.words) if word.start_sample is not None]
    if len(timed) < 2 or unit.words[timed[-1]].stop_sample - unit.words[timed[0]].start_sample <= longest_s * rate_hz:
        return [unit]
    pauses = [(unit.words[after].start_sample - unit.words[before].stop_sample, -abs(2 * after - len(unit.words)), after)
              for before, after in pairwise(timed)]  # of equally long ones, that nearest to the middle
    place = max(pauses)[2]
    halves = [unit.words[:place], unit.words[place:]]
    return [piece for half in halves
            for piece in _cut(_Said(" ".join(word.text for word in half), half, _score(half)), rate_hz, longest_s)]


def _segments(name: str, pieces: Sequence[_Said], rate_hz: int, duration_s: float, edge_s: float) -> list[TimedSegment]:
    """Utterances with half of the silence around them, `edge_s` at most."""
    spans = []
    for piece in pieces:
        timed = [word for word in piece.words if word.start_sample is not None]
        if timed:
            spans.append((timed[0].start_sample / rate_hz, timed[-1].stop_sample / rate_hz, piece))
    digits = len(str(len(spans)))
    segments = []
    for number, (start_s, stop_s, piece) in enumerate(spans):
        before_s = start_s - (spans[number - 1][1] if number else -start_s)
        after_s = (spans[number + 1][0] if number + 1 < len(spans) else 2 * duration_s - stop_s) - stop_s
        first_s = max(0.0, start_s - max(0.0, min(edge_s, before_s / 2)))
        last_s = min(duration_s, stop_s + max(0.0, min(edge_s, after_s / 2)))
        segments.append(TimedSegment(f"{name}-{number + 1:0{digits}d}", first_s, last_s, piece.text, round(piece.score, 4)))
    return segments

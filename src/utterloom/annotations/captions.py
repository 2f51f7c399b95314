"""SubRip (.srt) and WebVTT (.vtt) captions.

The parsers are our own, because the losses must be countable: where the times of a cue are not understood, pysubs2 1.8.1 adds
the cue to the text of the one before, and webvtt-py 0.6.0 reads `03.0` as three seconds.

Both are written with times to the millisecond, the resolution that they have. WebVTT escapes what has a meaning to it; SubRip
knows no escapes, so what players would take for markup is written with characters that look like it. In WebVTT a word begins
with the time at which it is said, `<00:00:01.200>`, unless that is the caption's own start or the time of the word before.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from utterloom.core.errors import SourceError

_TIME = r"(?:(\d+):)?([0-5]?\d):([0-5]\d)(?:[.,](\d{3}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?", re.ASCII)
_LIKE_TIMES = re.compile(r".*-->.*\d|\s*\d+:\d+\S*\s*(?:-+|–|—|→)>?\s*\d+:\d+", re.ASCII)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)*\s+([^>]+)>")
_RUBY_READING = re.compile(r"<rt\b[^>]*>.*?</rt>")
_TAG_OF_SRT = re.compile(r"</?(?:i|b|u|s|c|v|font|lang|ruby|rt|span|p)\b[^>]*>|</?br\s*/?>", re.IGNORECASE)
_TAG_OF_VTT = re.compile(r"<[^>]*>")
_OVERRIDE = re.compile(r"\{\\[^}]*\}|\\[Nnh]")
_SOUND = re.compile(r"(?:\s*(?:\[[^\[\]]*\]|[♪♫]+)\s*)+")


@dataclass
class Cue:
    """A caption as it stands in the file: its lines without tags, those who speak it, and why it cannot be read, if so."""

    line: int
    start_s: float = 0.0
    stop_s: float = 0.0
    lines: Sequence[str] = ()
    voices: Sequence[str] = ()
    fault: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        return " ".join(self.lines)


@dataclass(frozen=True)
class Captions:
    """The cues of a file, in its order, and the language that its header names."""

    cues: Sequence[Cue]
    language: str | None = None


def parse_captions(text: str, name: str, is_vtt: bool = False) -> Captions:
    """WebVTT where it begins so, else SubRip. Raises SourceError for what is neither, or not WebVTT where `is_vtt` promises it."""
    if not text.startswith("WEBVTT"):
        if is_vtt:
            raise SourceError(f"{name} does not begin with WEBVTT")
        captions = Captions(list(_srt_cues(text)))
    else:
        lines = text.split("\n")
        end = next((number for number, line in enumerate(lines) if not line or _LIKE_TIMES.match(line)), len(lines))
        header = "\n".join(lines[:end])
        if "X-TIMESTAMP-MAP" in header:
            raise SourceError(f"{name} counts its times from the start of a broadcast (X-TIMESTAMP-MAP), not of the recording")
        told = re.search(r"^Language:\s*(\S+)", header, re.MULTILINE)
        captions = Captions(list(_vtt_cues("\n".join(lines[end:]), end + 1)), told[1] if told else None)
    if not captions.cues:
        raise SourceError(f"{name} holds no captions")
    return captions


def _vtt_cues(body: str, first_line: int) -> Iterator[Cue]:
    """Blocks between empty lines: notes and styles, or an optional name, times, and text (a line of spaces is text)."""
    line = first_line
    for block in body.split("\n\n"):
        lines = block.split("\n")
        start, line = line, line + len(lines) + 1
        while lines and not lines[0]:
            lines, start = lines[1:], start + 1
        if not lines or re.match(r"(?:NOTE|STYLE|REGION)(?:\s|$)", lines[0]):
            continue
        places = [number for number, content in enumerate(lines) if _LIKE_TIMES.match(content)]
        if not places or places[0] > 1:
            yield Cue(start, fault=("bad caption", f"{quoted(lines[0])} is followed by no times"))
        for place, following in pairwise([*places, len(lines)]):
            yield _cue(start + place, lines[place], lines[place + 1:following], is_vtt=True)


def _srt_cues(text: str) -> Iterator[Cue]:
    """From one line of times to the next, as players read it: text may hold empty lines, numbers have gaps or are missing."""
    lines = text.split("\n")
    places = [number for number, content in enumerate(lines) if _LIKE_TIMES.match(content)]
    before = [content for content in lines[:places[0] if places else len(lines)] if content.strip()]
    if len(before) > 1 or (before and not before[0].strip().isdigit()):
        yield Cue(1, fault=("bad caption", f"{quoted(before[0])} is followed by no times"))
    for place, following in pairwise([*places, len(lines)]):
        said = lines[place + 1:following]
        if following < len(lines) and said and said[-1].strip().isdigit():
            said.pop()  # the number of the next one
        yield _cue(place + 1, lines[place], said, is_vtt=False)


def _cue(line: int, times: str, said: Sequence[str], is_vtt: bool) -> Cue:
    match = _TIMES.fullmatch(times)
    if match is None:
        return Cue(line, fault=("bad caption", f"{quoted(times)} are no times; its text is {quoted(' '.join(said))}"))
    voices = list(dict.fromkeys(html.unescape(name).strip() for content in said for name in _VOICE.findall(content)))
    lines = [plain for content in said if (plain := _without_tags(content, is_vtt))]
    cue = Cue(line, _seconds(match.groups()[:4]), _seconds(match.groups()[4:]), lines, voices)
    if not lines:
        cue.fault = "no text", "the caption is empty"
    elif _SOUND.fullmatch(cue.text):
        cue.fault = "no speech", f"the caption describes a sound: {quoted(cue.text)}"
    return cue


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return (3_600_000 * hours + 60_000 * minutes + 1000 * seconds + thousandths) / 1000


def _without_tags(content: str, is_vtt: bool) -> str:
    content = _RUBY_READING.sub("", content)
    content = (_TAG_OF_VTT if is_vtt else _TAG_OF_SRT).sub(lambda tag: " " if tag[0].lower().startswith("<br") else "", content)
    return " ".join(html.unescape(_OVERRIDE.sub(" ", content)).split())


def quoted(text: str) -> str:
    """For a message: its first 60 characters, in quotation marks."""
    return repr(text.strip() if len(text.strip()) <= 60 else f"{text.strip()[:60]}…")


# ------------------------------------------------------------------------------------------------------------ writing


@dataclass(frozen=True)
class Caption:
    """One to be written: [start_ms, stop_ms), and the pieces of each line, (when it is said, or None, and text with the white
    space that belongs before it)."""

    start_ms: int
    stop_ms: int
    lines: Sequence[Sequence[tuple[int | None, str]]]


def srt_of(captions: Sequence[Caption], changes: Counter[str]) -> str:
    """A SubRip file; `changes` counts the lines that had to be changed."""
    blocks = []
    for number, caption in enumerate(captions, start=1):
        lines = [_in_srt("".join(text for _, text in line), changes) for line in caption.lines]
        blocks.append("\n".join([str(number), f"{_clock(caption.start_ms, ',')} --> {_clock(caption.stop_ms, ',')}", *lines]))
    return "\n\n".join(blocks) + "\n"


def vtt_of(captions: Sequence[Caption]) -> str:
    """A WebVTT file."""
    blocks = ["WEBVTT"]
    for caption in captions:
        shown_ms = caption.start_ms
        lines = []
        for line in caption.lines:
            pieces = []
            for said_ms, text in line:
                if said_ms is not None and shown_ms < said_ms < caption.stop_ms:
                    shown_ms = said_ms
                    word = text.lstrip()
                    pieces.append(f"{text[:len(text) - len(word)]}<{_clock(said_ms, '.')}>{_in_vtt(word)}")
                else:
                    pieces.append(_in_vtt(text))
            together = "".join(pieces)
            lines.append(together.replace(":", "&#58;", 1) if _LIKE_TIMES.match(together) else together)
        blocks.append("\n".join([f"{_clock(caption.start_ms, '.')} --> {_clock(caption.stop_ms, '.')}", *lines]))
    return "\n\n".join(blocks) + "\n"


def _clock(ms: int, mark: str) -> str:
    seconds, thousandths = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{thousandths:03d}"


def _in_vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\\", "&#92;")


def _in_srt(text: str, changes: Counter[str]) -> str:
    if "-->" not in text and not _LIKE_TIMES.match(text) and _without_tags(text, is_vtt=False) == text:
        return text
    changes["markup of captions written with characters that look like it"] += 1
    plain = text.replace("-->", "→").translate(str.maketrans("<>&\\", "‹›＆＼"))
    return plain.replace(":", "∶") if _LIKE_TIMES.match(plain) else plain

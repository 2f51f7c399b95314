"""SubRip (.srt) and WebVTT (.vtt)."""

from __future__ import annotations

import html
import re
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

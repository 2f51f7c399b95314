"""Commands in Kaldi's `wav.scp`, such as `sph2pipe -f wav -p -c 1 a.sph |`, understood and never run (E-P19).

Most of them only change the container, the rate, or take one channel: all that our own decoder does. Such a command is read as
the file that it begins with and the channel that it takes. One that does anything else to the sound, or that is not
understood to the last word, is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import NamedTuple

WAV = frozenset(("wav", "wavpcm"))
CONTAINERS = WAV | {"flac", "mp3", "ogg", "vorbis", "opus", "sph", "aiff", "aif", "au", "caf", "w64", "amr-nb"}
STDIN = frozenset(("-", "/dev/stdin", "pipe:", "pipe:0"))
STDOUT = frozenset(("-", "/dev/stdout", "pipe:", "pipe:1"))
_RATE = re.compile(r"\d+(\.\d+)?k?")


class Piped(NamedTuple):
    """What a command reads: a file, and the channel of it that is taken, from 0 (None: all of them, mixed)."""

    path: str
    channel: int | None


def parse_command(command: str) -> Piped:
    """Of a command with its `|` at the end. Raises ValueError saying what was not understood."""
    lexer = shlex.shlex(command.strip(), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words = list(lexer)
    if not words or words[-1] != "|":
        raise ValueError("it does not end in |")
    path, channel, keeps_channels = "", None, True
    for number, stage in enumerate(_stages(words[:-1])):
        name = stage[0].rpartition("/")[2]
        if name not in _STAGES:
            raise ValueError(f"{name!r} is not one of {', '.join(_STAGES)}")
        found = _STAGES[name](stage[1:])
        if (found.path in STDIN) != (number > 0):
            raise ValueError(f"{name} reads {'what comes before it' if number == 0 else found.path!r}")
        path = path or found.path
        if keeps_channels:
            channel = found.channel
        elif found.channel is not None and (channel is None or found.channel):
            raise ValueError(f"{name} takes channel {found.channel + 1} of what comes before it")
        keeps_channels = keeps_channels and name in ("cat", "flac")
    return Piped(path, channel)


def _stages(words: Sequence[str]) -> list[list[str]]:
    """Between pipes. Raises ValueError for whatever a shell would do besides."""
    stages: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            stages.append([])
        elif set(word) <= set("();<>|&") or any(character in word for character in "$`*?") or word.startswith("~"):
            raise ValueError(f"{word!r} is for a shell")
        else:
            stages[-1].append(word)
    if not all(stages):
        raise ValueError("a part of it is empty")
    return stages


class _Words:
    """The words of one program, taken one after the other. Raises ValueError where one is missing."""

    def __init__(self, program: str, words: Sequence[str]) -> None:
        self.program, self._words = program, list(words)

    def __bool__(self) -> bool:
        return bool(self._words)

    def take(self) -> str:
        if not self._words:
            raise ValueError(f"{self.program} lacks a word at its end")
        return self._words.pop(0)

    def take_one_of(self, option: str, allowed: Callable[[str], object]) -> str:
        """An option's value."""
        value = self.take()
        if not allowed(value):
            raise ValueError(f"{self.program} {option} {value} is not understood")
        return value

    def rest(self) -> list[str]:
        """All that are left."""
        left, self._words = self._words, []
        return left

    def refuse(self, word: str) -> ValueError:
        return ValueError(f"{self.program} {word} is not understood")


def _only(program: str, files: Sequence[str]) -> str:
    if len(files) != 1:
        raise ValueError(f"{program} has {len(files)} files where one belongs")
    return files[0]


def _cat(arguments: Sequence[str]) -> Piped:
    words = _Words("cat", arguments)
    if any(word.startswith("-") and word != "-" for word in arguments):
        raise words.refuse(arguments[0])
    return Piped(_only("cat", arguments), None)


def _flac(arguments: Sequence[str]) -> Piped:
    words, files, given = _Words("flac", arguments), list[str](), set[str]()
    long = {"--stdout": "c", "--decode": "d", "--silent": "s", "--totally-silent": "s"}
    while words:
        word = words.take()
        if word in long:
            given.add(long[word])
        elif re.fullmatch("-[cds]+", word):
            given.update(word[1:])
        elif word.startswith("-") and word != "-":
            raise words.refuse(word)
        else:
            files.append(word)
    if not {"c", "d"} <= given:
        raise ValueError("flac without -d and -c decodes nothing to a pipe")
    return Piped(_only("flac", files), None)


def _sph2pipe(arguments: Sequence[str]) -> Piped:
    words, files, channel = _Words("sph2pipe", arguments), list[str](), None
    while words:
        word = words.take()
        if word == "-p":
            continue
        if word == "-f":
            words.take_one_of(word, {"wav", "rif", "riff", "sph", "au", "aif"}.__contains__)
        elif word == "-c":
            channel = int(words.take_one_of(word, re.compile("[12]").fullmatch)) - 1
        elif attached := re.fullmatch("-c([12])", word):
            channel = int(attached[1]) - 1
        elif word.startswith("-") and word != "-":
            raise words.refuse(word)
        else:
            files.append(word)
    return Piped(_only("sph2pipe", files), channel)


def _sox(arguments: Sequence[str]) -> Piped:
    """`sox [options] IN [options] OUT [effects]`."""
    words, files, channel = _Words("sox", arguments), list[str](), None
    kind_is_given = False
    while words and len(files) < 2:
        word = words.take()
        if word in ("-q", "-S", "-R", "-D", "--ignore-length", "--no-dither") or re.fullmatch("-V[0-6]?", word):
            continue
        if word in ("-t", "--type"):
            words.take_one_of(word, (WAV if files else CONTAINERS).__contains__)
            kind_is_given = bool(files)
        elif files and word in ("-r", "--rate"):
            words.take_one_of(word, _RATE.fullmatch)
        elif files and word in ("-c", "--channels"):
            words.take_one_of(word, re.compile("[1-9]").fullmatch)
        elif files and word in ("-b", "--bits"):
            words.take_one_of(word, {"16", "24", "32"}.__contains__)
        elif files and word in ("-e", "--encoding"):
            words.take_one_of(word, {"signed-integer", "signed", "floating-point", "float"}.__contains__)
        elif files and word in ("-s", "-2", "-w", "-sw"):  # of its older versions: signed, 16 bits
            continue
        elif word.startswith("-") and word != "-":
            raise words.refuse(word)
        else:
            files.append(word)
    if len(files) < 2 or files[1] not in STDOUT or not kind_is_given:
        raise ValueError("sox does not write wav to a pipe")
    effects, takes = words.rest(), 0
    while effects:
        match effects:
            case ["remix", "-", *rest] | ["channels", "1", *rest] if not takes:
                takes = 1
            case ["remix", one, *rest] if not takes and re.fullmatch("[1-9]", one) and not re.match("[-0-9]", (*rest, "")[0]):
                channel, takes = int(one) - 1, 1
            case ["rate", *rest]:
                while rest and re.fullmatch("-[qlmhvs]", rest[0]):
                    rest = rest[1:]
                if not rest or not _RATE.fullmatch(rest[0]):
                    raise ValueError(f"sox {' '.join(effects)} is not understood")
                rest = rest[1:]
            case _:
                raise ValueError(f"sox {' '.join(effects)} is not understood")
        effects = rest
    return Piped(files[0], channel)


_FFMPEG_FLAGS = frozenset(("-hide_banner", "-nostdin", "-nostats", "-y", "-vn", "-sn", "-dn", "-bitexact"))
_FFMPEG_VALUES = {
    "-v": r"\w+", "-loglevel": r"\w+", "-threads": r"\d+", "-f": "wav", "-ar": r"\d+", "-ac": "1", "-map": r"0:a(:0)?",
    "-acodec": r"pcm_s16le|pcm_f32le", "-c:a": r"pcm_s16le|pcm_f32le", "-codec:a": r"pcm_s16le|pcm_f32le", "-ab": r"\w+",
    "-map_metadata": "-1", "-sample_fmt": "s16"}
_FFMPEG_BEFORE_INPUT = frozenset(("-v", "-loglevel", "-threads"))


def _ffmpeg(arguments: Sequence[str]) -> Piped:
    words, inputs, outputs, channel = _Words("ffmpeg", arguments), list[str](), list[str](), None
    is_wav = False
    while words:
        word = words.take()
        if word in _FFMPEG_FLAGS:
            continue
        if word == "-i":
            inputs.append(words.take())
        elif word == "-map_channel":
            channel = int(words.take_one_of(word, re.compile(r"0\.0\.\d").fullmatch)[-1])
        elif word in _FFMPEG_VALUES and (inputs or word in _FFMPEG_BEFORE_INPUT):
            words.take_one_of(word, re.compile(_FFMPEG_VALUES[word]).fullmatch)
            is_wav = is_wav or word == "-f"
        elif word.startswith("-") and word != "-":
            raise words.refuse(word)
        else:
            outputs.append(word)
    if not is_wav or _only("ffmpeg", outputs) not in STDOUT:
        raise ValueError("ffmpeg does not write wav to a pipe")
    return Piped(_only("ffmpeg -i", inputs), channel)


_STAGES: dict[str, Callable[[Sequence[str]], Piped]] = {
    "cat": _cat, "flac": _flac, "sph2pipe": _sph2pipe, "sox": _sox, "ffmpeg": _ffmpeg}

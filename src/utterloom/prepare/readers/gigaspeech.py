"""`prepare gigaspeech FILE`: GigaSpeech.json, whose audios lie beside it as it says, each with its segments (D19).

The file is read audio by audio: the published one has two gigabytes, and several times that as Python objects. Punctuation tags
become punctuation; a segment with a garbage tag (`<SIL> <MUSIC> <NOISE> <OTHER>`: no human speech) is a drop, as its authors
recommend. Tables of both are in the corpus's README. The text stays in the capitals that it is published in: other letters would be
guessed, and guessed otherwise each time (D-P21); text views lower it. What is in an `.opus` file is told by its content (D-P22).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Span, Utterance
from utterloom.prepare.readers.corpus_files import STAGE, digest, known, need_file, seconds, transcript

PUNCTUATION = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
GARBAGE = ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>")
AUDIO_ATTRIBUTES = ("source", "title", "category")
CHARACTERS_AT_ONCE = 1 << 20
_TAG = re.compile(r"\s*(<[A-Z]+>)")
_SPACE = re.compile(r"[ \t\r\n]*")


class GigaSpeechReader:
    """Ids are those of segments; subsets DEV and TEST are those splits, all others train; subsets are an attribute."""

    def fingerprint(self, source: Path) -> str:
        return digest(need_file(source, "GigaSpeech.json"))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        need_file(source, "GigaSpeech.json")
        num_audios = 0
        for language, audio in _audios(source):
            num_audios += 1
            yield from _segments(source.parent, num_audios, language, audio)
        if not num_audios:
            raise SourceError(f"{source} holds no audios", "GigaSpeech.json is an object with the key 'audios'")


def _segments(folder: Path, number: int, language: str | None, audio: Any) -> Iterator[Utterance | Drop]:
    name = known(audio.get("aid")) if isinstance(audio, dict) else None
    path = audio.get("path") if isinstance(audio, dict) else None
    segments = audio.get("segments") if isinstance(audio, dict) else None
    if not isinstance(segments, list):
        yield Drop(name or f"audio {number}", STAGE, "bad row", "it has no list of segments", None)
        return
    about = {key: value for key in AUDIO_ATTRIBUTES if (value := known(audio.get(key)))}
    for index, segment in enumerate(segments, start=1):
        utterance_id = known(segment.get("sid")) if isinstance(segment, dict) else None
        try:
            if utterance_id is None or not isinstance(path, str):
                raise ValueError("it has no sid" if utterance_id is None else f"the path of its audio is {path!r}")
            yield _utterance(str(folder / path), utterance_id, language, about, segment)
        except ValueError as error:
            yield Drop(utterance_id or f"{name or f'audio {number}'} segment {index}", STAGE, "bad row", str(error), None)


def _utterance(
    path: str, utterance_id: str, language: str | None, about: dict[str, str], segment: dict[str, Any]
) -> Utterance | Drop:
    """Raises ValueError for a segment that cannot be understood."""
    start_s, stop_s = seconds(segment.get("begin_time")), seconds(segment.get("end_time"))
    said, subsets = segment.get("text_tn"), segment.get("subsets") or []
    if not isinstance(said, str | None) or not isinstance(subsets, list):
        raise ValueError(f"text_tn is {said!r}, subsets are {subsets!r}")
    garbage = sorted({*GARBAGE} & {*(said or "").split()})
    if garbage:
        return Drop(utterance_id, STAGE, f"garbage {garbage[0]}", f"{said!r}", max(stop_s - start_s, 0.0), path)
    names = [str(name).strip("{}") for name in subsets]
    split = next((split for split in ("test", "dev") if split.upper() in names), "train")
    attributes = {**about, "subsets": " ".join(names)}
    return Utterance(
        id=utterance_id, text=transcript(punctuated(said or "")), spans=(Span(path, start_s=start_s, stop_s=stop_s),),
        speaker=known(segment.get("speaker")), language=language, split=split,
        attributes={key: value for key, value in attributes.items() if value})


def punctuated(text: str) -> str:
    """`I SEE <COMMA> YOU` → `I SEE, YOU`: a tag becomes its mark, at the end of the word before it."""
    return _TAG.sub(lambda found: PUNCTUATION.get(found[1], found[0]), text).strip()


def _audios(source: Path) -> Iterator[tuple[str | None, Any]]:
    """The document's language, as far as it has been said, with each audio. Raises SourceError for what is not JSON."""
    language = None
    try:
        with source.open(encoding="utf-8-sig") as file:
            document = JsonStream(file)
            document.take("{")
            while document.peek() != "}":
                key = document.value()
                document.take(":")
                if key != "audios":
                    value = known(document.value())
                    language = value.lower() if key == "language" and value else language
                else:
                    document.take("[")
                    while document.peek() != "]":
                        yield language, document.value()
                        document.skip(",", unless="]")
                    document.take("]")
                document.skip(",", unless="}")
            document.take("}")
    except UnicodeDecodeError:
        raise SourceError(f"{source} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{source} is not JSON, or is cut off: {error}", "download it again and compare its checksum") from None
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror}") from None


class JsonStream:
    """A JSON document value by value, so that no more than one value of a long array is in memory. Raises ValueError."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._at = file, "", 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is not space; none at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at:self._at + 1]

    def take(self, wanted: str) -> None:
        """Step over this character, which must be the next."""
        if self.peek() != wanted:
            raise ValueError(f"{self.peek() or 'the end'!r} where {wanted!r} belongs")
        self._at += 1

    def skip(self, separator: str, unless: str) -> None:
        """Step over a separator, which may only be missing before what closes."""
        if self.peek() != unless:
            self.take(separator)

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise ValueError(error.msg) from None
                continue
            if end + 2 >= len(self._text) and self._more():
                continue  # a number may go on, behind a point or an exponent's sign too
            self._at = end
            return value

    def _more(self) -> bool:
        """Read on, ever larger pieces while one value needs them."""
        piece = self._file.read(max(CHARACTERS_AT_ONCE, len(self._text) - self._at))
        if piece:  # at the end of the file, positions stay what they are
            self._text, self._at = self._text[self._at:] + piece, 0
        return bool(piece)

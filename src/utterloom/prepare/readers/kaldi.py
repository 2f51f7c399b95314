"""`prepare kaldi DIR`: a Kaldi data directory (`wav.scp`, and any of `segments`, `text`, `utt2spk`, `spk2gender`, `utt2lang`,
`reco2dur`), or a folder of several of them such as `data/` with `train`, `dev` and `test`.

The format is that of Kaldi's "Data preparation" page. Commands in `wav.scp` are never executed: those that only decode, resample
or take one channel (`sph2pipe -f wav -p -c 1 a.sph |`) are read as the file and channel that they name (`piped.py`); others are
drops.
A channel at the end of a line of `segments` counts from 0, as Kaldi's own extract-segments has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from utterloom.core.errors import SourceError
from utterloom.core.log import log
from utterloom.core.records import SPLITS, Drop, Span, Utterance
from utterloom.prepare.readers.channels import channel_numbers
from utterloom.prepare.readers.corpus_files import (
    STAGE,
    Hints,
    PathRoot,
    digest,
    lines_of,
    need_folder,
    seconds,
    split_named_in,
    subfolders,
    transcript,
)
from utterloom.prepare.readers.piped import parse_command

WHAT = "Kaldi data, which holds wav.scp"
FILES = ("wav.scp", "segments", "text", "utt2spk", "spk2gender", "utt2lang", "reco2dur")
TO_THE_END = re.compile(r"-1(\.0*)?")
BLANKS = re.compile("[ \\t]+")  # U+00A0 and U+3000 belong to words


class KaldiReader:
    """Ids, speakers and times as they stand there; the split is the one that the directory's name says."""

    def fingerprint(self, source: Path) -> str:
        parts: list[str | Path] = []
        for folder in _data_folders(source):
            parts += [str(folder.relative_to(source)), *(folder / name for name in FILES if (folder / name).is_file())]
        return digest(*parts)

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        folders = _data_folders(source)
        for folder in folders:
            split = split_named_in(folder.name)
            if split is None and folder != source:
                split = re.sub("[^a-z0-9]+", "_", folder.name.lower()).strip("_")  # not to be trained on by accident
            yield from DataFolder(folder, split).items()


def _data_folders(source: Path) -> list[Path]:
    """The folder itself, or those below it: test and dev first, so that an id which is in several of them is not trained on."""
    need_folder(source, WHAT)
    if (source / "wav.scp").is_file():
        return [source]
    order = {split: number for number, split in enumerate(reversed(SPLITS))}
    found = [folder for folder in subfolders(source) if (folder / "wav.scp").is_file()]
    if not found:
        raise SourceError(f"there is no wav.scp in {source}, nor in a folder in it", f"give the folder of {WHAT}")
    return sorted(found, key=lambda folder: (order.get(split_named_in(folder.name) or "", len(order)), folder.name))


class Lines:
    """One file of `key value` lines. `twice` are keys that have several lines, which Kaldi forbids; a file that is not there
    has no lines."""

    def __init__(self, path: Path) -> None:
        self.name, self.is_there = path.name, path.is_file()
        self.values: dict[str, str] = {}
        self.twice: set[str] = set()
        num_unsorted, last = 0, b""
        for _, line in lines_of(path) if self.is_there else ():
            key, *rest = BLANKS.split(line.strip(" \t"), maxsplit=1)
            encoded = key.encode("utf-8", "surrogatepass")
            num_unsorted, last = num_unsorted + (encoded < last), encoded
            if key in self.values:
                self.twice.add(key)
            self.values[key] = rest[0] if rest else ""
        if num_unsorted:
            log.info(f"{path}: {num_unsorted} lines are out of order, which Kaldi's own tools refuse; they are read all the same")

    def get(self, key: str) -> str | None:
        """The value; None for a key that is not there or has none."""
        return self.values.get(key) or None


class DataFolder:
    """One data directory, read whole."""

    def __init__(self, folder: Path, split: str | None) -> None:
        self._split = split
        self._wavs, self._segments, self._texts, self._speakers, self._genders, self._languages, self._durations = (
            Lines(folder / name) for name in FILES)
        self._spoken = self._segments if self._segments.is_there else self._wavs
        self._root, self._hints = PathRoot(folder), Hints(self._wavs.values)
        if self._segments.is_there:
            used = {BLANKS.split(said)[0] for said in self._segments.values.values()}
            if unused := sorted(self._wavs.values.keys() - used):
                log.info(f"{folder}: {len(unused)} recordings of wav.scp have no segment, such as {unused[0]!r}")

    def items(self) -> Iterator[Utterance | Drop]:
        """Every line of segments (of wav.scp, where there are no segments) and every transcript that belongs to none of them."""
        for utterance_id, said in self._spoken.values.items():
            yield self._item(utterance_id, *(BLANKS.split(said) if self._segments.is_there else [utterance_id]))
        for utterance_id in sorted(self._texts.values.keys() - self._spoken.values.keys()):
            yield Drop(utterance_id, STAGE, "no recording", f"text has a line for it, {self._spoken.name} has none", None)

    def _item(self, utterance_id: str, recording: str, *times: str) -> Utterance | Drop:
        said, start_s, stop_s = self._wavs.get(recording), None, None
        complaint = self._complaint(utterance_id, recording, said, times)
        path, channel = said, None
        try:
            if complaint is None and said is not None:
                path, channel = _file_of(said)
                channel = _channel_of(times[2], channel) if len(times) == 3 else channel
        except Refused as refused:
            complaint = refused.reason, refused.detail
        try:
            if self._segments.is_there and len(times) >= 2:
                start_s, stop_s = seconds(times[0]), None if TO_THE_END.fullmatch(times[1]) else seconds(times[1])
        except ValueError as error:
            complaint = complaint or ("bad row", f"segments: {error}")
        if complaint or path is None:
            length_s = stop_s - start_s if start_s is not None and stop_s is not None and stop_s > start_s else None
            return Drop(utterance_id, STAGE, *(complaint or ("no recording", "it has no path")), length_s, path)
        speaker = self._speakers.get(utterance_id)
        attributes = {"gender": self._genders.get(speaker or ""), "reco2dur": self._durations.get(recording)}
        return Utterance(
            id=utterance_id, text=transcript(self._texts.get(utterance_id)), speaker=speaker, split=self._split,
            spans=(Span(self._root.full(path), start_s=start_s, stop_s=stop_s, channel=channel),),
            language=self._languages.get(utterance_id), attributes={key: value for key, value in attributes.items() if value})

    def _complaint(self, utterance_id: str, recording: str, said: str | None, times: tuple[str, ...]) -> tuple[str, str] | None:
        """Reason and detail of what keeps an utterance from being read; None where nothing does."""
        for lines, key in ((self._spoken, utterance_id), (self._wavs, recording), (self._texts, utterance_id),
                           (self._speakers, utterance_id)):
            if key in lines.twice:
                return "bad row", f"{lines.name} has several lines for {key!r}"
        if self._segments.is_there and len(times) not in (2, 3):
            return "bad row", f"segments: {1 + len(times)} words after the id where a recording, a start and an end belong"
        if said is None:
            return "no recording", f"wav.scp has no {recording!r}{self._hints.near(recording)}"
        if self._speakers.is_there and utterance_id not in self._speakers.values:
            return "no speaker", "utt2spk has no line for it; without one it could be on both sides of a split"
        return None


class Refused(Exception):
    """Why an entry of `wav.scp` or `segments` cannot be read."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@lru_cache(maxsize=1024)  # segments of one recording follow one another
def _file_of(said: str) -> tuple[str, int | None]:
    """The file of an entry of wav.scp, and the channel of it (from 0; None is the mix). Raises Refused."""
    if said.endswith("|") or said.startswith("|"):
        try:
            return parse_command(said)
        except ValueError as error:
            raise Refused("recording is a command", f"wav.scp says {said!r}, which is not executed, and cannot be read instead: "
                          f"{error}; write what it makes into files and name those") from None
    if re.search(r"\.ark:\d+$", said):
        raise Refused("recording in an archive", f"wav.scp says {said!r}; write it out as a file (wav-copy)")
    return said, None


def _channel_of(label: str, taken: int | None) -> int:
    """The channel that a line of segments names; `taken` is the one that is left by a command. Raises Refused."""
    try:
        channel = int(label) if label.isascii() and label.isdigit() else channel_numbers([label])[label]
    except ValueError as error:
        raise Refused("bad row", f"segments: {error}") from None
    if taken is not None and channel:
        raise Refused("bad row", f"segments names channel {label}, and the command of wav.scp leaves but one")
    return channel if taken is None else taken

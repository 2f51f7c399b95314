"""Corpus readers. A new one is one file here, one line in READERS, one test; docs/add/reader.md walks through it.

Other packages add readers by the entry-point group `utterloom.readers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from pathlib import Path
from typing import Protocol

from utterloom.core.errors import ConfigError, did_you_mean
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.exports import EXPORTS

READERS = {
    "table": "utterloom.prepare.readers.table:TableReader",
    "folder": "utterloom.prepare.readers.folder:FolderReader",
    "common_voice": "utterloom.prepare.readers.common_voice:CommonVoiceReader",
    "kaldi": "utterloom.prepare.readers.kaldi:KaldiReader",
    "librispeech": "utterloom.prepare.readers.librispeech:LibriSpeechReader",
    "nemo": "utterloom.prepare.readers.nemo:NemoReader",
    "lhotse": "utterloom.prepare.readers.lhotse:LhotseReader",
    "huggingface": "utterloom.prepare.readers.huggingface:HuggingFaceReader",
    "voxpopuli": "utterloom.prepare.readers.voxpopuli:VoxPopuliReader",
    "gigaspeech": "utterloom.prepare.readers.gigaspeech:GigaSpeechReader",
    "manifest": "utterloom.prepare.readers.manifest:ManifestReader",
    "segments": "utterloom.prepare.readers.segments:SegmentsReader",
    "captions": "utterloom.prepare.readers.captions:CaptionsReader",
    "audacity": "utterloom.prepare.readers.audacity:AudacityReader",
    "textgrid": "utterloom.prepare.readers.textgrid:TextGridReader",
    "ctm": "utterloom.prepare.readers.ctm:CtmReader",
    "rttm": "utterloom.prepare.readers.rttm:RttmReader",
    "webdataset": "utterloom.prepare.readers.webdataset:WebDatasetReader",
}


class Reader(Protocol):
    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """Utterances in a fixed order, spans not yet probed; a row that cannot be understood is a Drop.

        Raises SourceError when the source as a whole cannot be read.
        """
        ...

    def fingerprint(self, source: Path) -> str:
        """Changes when what `read` would say changes."""
        ...


def reader(name: str, audio: Path | None = None, audio_root: str | None = None) -> Reader:
    """By name. `audio` is a folder for what a source keeps in no files of this machine; `audio_root` is where relative paths of a
    table begin.

    Raises ConfigError naming the readers there are, or for a reader that has no use for one of them.
    """
    plugins = {point.name: point for point in entry_points(group="utterloom.readers")}
    if name in plugins:
        made = plugins[name].load()
    elif name in READERS:
        module, _, attribute = READERS[name].partition(":")
        made = getattr(import_module(module), attribute)
    else:
        raise ConfigError(f"there is no reader {name!r}", did_you_mean(name, [*READERS, *plugins, *EXPORTS]))
    given = {key: value for key, value in (("audio", audio), ("audio_root", audio_root)) if value is not None}
    for key, value in given.items():
        if key not in signature(made).parameters:
            meaning = "writes no audio" if key == "audio" else "reads no table of paths"
            raise ConfigError(f"the reader {name!r} {meaning}, so {key}={value} means nothing", "leave it out")
    found: Reader = made(**given)
    return found

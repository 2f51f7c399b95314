"""A folder of audio: one transcript for each recording, never two."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.folder import FolderReader


def lay(folder: Path, **files: str | bytes) -> Path:
    """Files by name; `__` is a slash, `_dot_` a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder: Path) -> tuple[dict[str, str | None], dict[str, str]]:
    """{id: text} of the utterances, {id: detail} of the drops."""
    items = list(FolderReader().read(folder))
    drops = [item for item in items if isinstance(item, Drop)]
    return {item.id: item.text for item in items if isinstance(item, Utterance)}, {drop.id: drop.detail for drop in drops}


def test_a_json_file_beside_the_audio(tmp_path: Path) -> None:
    lay(tmp_path, a_dot_wav=b"", sub__b_dot_c_dot_FLAC=b"", d_dot_mp3=b"", notes_dot_txt="hello", deep__x_dot_json="{}",
        transcripts_dot_json=json.dumps({"a.wav": " một ", "sub/b.c": "hai", "d": None, "e": "năm"}))
    assert read(tmp_path) == ({"a": "một", "d": None, "sub/b.c": "hai"}, {"e": "it has a transcript but no audio file"})


def test_a_text_file_beside_each_recording(tmp_path: Path) -> None:
    lay(tmp_path, a_dot_wav=b"", a_dot_txt="\ufeffmột\n", s__b_dot_ogg=b"", s__b_dot_TXT="", c_dot_wav=b"", lost_dot_txt="x",
        README_dot_txt="y")
    assert read(tmp_path) == ({"a": "một", "c": None, "s/b": None}, {"lost": "it has a transcript but no audio file"})


def test_hidden_files_are_not_there(tmp_path: Path) -> None:
    lay(tmp_path, a_dot_wav=b"", _dot_b_dot_wav=b"", _dot_git__c_dot_wav=b"", __dot_MACOSX=b"")
    assert read(tmp_path) == ({"a": None}, {})


def test_names_of_another_spelling_are_the_same_names(tmp_path: Path) -> None:
    """E-P1: a JSON file from a Mac and files from elsewhere."""
    (tmp_path / "giọng nữ.wav").write_bytes(b"")
    lay(tmp_path, transcripts_dot_json=json.dumps({unicodedata.normalize("NFD", "giọng  nữ.wav"): "một"}))
    assert read(tmp_path) == ({"giọng nữ": "một"}, {})


def test_a_transcript_without_recording_names_what_is_near(tmp_path: Path) -> None:
    lay(tmp_path, utt_0001_dot_wav=b"", transcripts_dot_json='{"utt_001": "x"}')
    assert "utt_0001" in read(tmp_path)[1]["utt_001"]


@pytest.mark.parametrize(("files", "word"), [
    ({}, "no audio"), ({"a_dot_txt": "x"}, "no audio"),
    ({"a_dot_wav": b"", "a_dot_flac": b""}, "two recordings are called 'a': a.flac and a.wav"),
    ({"a_dot_wav": b"", "transcripts_dot_json": '{"a": "x"}', "a_dot_txt": "y"}, "'a' has two transcripts, one of them in a.txt"),
    ({"a_dot_wav": b"", "transcripts_dot_json": '{"a": "x", "a": "x"}'}, "'a' has two transcripts"),
    ({"a_dot_wav": b"", "transcripts_dot_json": '{"a": "x", "a.wav": "y"}'}, "'a' has two transcripts"),
    ({"a_dot_wav": b"", "one_dot_json": "{}", "two_dot_json": "{}"}, "2 JSON files"),
    ({"a_dot_wav": b"", "transcripts_dot_json": "[]"}, "a list, not an object"),
    ({"a_dot_wav": b"", "x_dot_json": "{"}, "is not JSON"), ({"a_dot_wav": b"", "x_dot_json": b"\xff"}, "is not JSON"),
    ({"a_dot_wav": b"", "x_dot_json": '{"a": 3}'}, "is a number, not text"),
    ({"a_dot_wav": b"", "x_dot_json": '{"a": {"text": "x"}}'}, "is an object, not text"),
    ({"a_dot_wav": b"", "a_dot_txt": b"\xff"}, "not UTF-8")])
def test_what_is_ambiguous_or_none_is_refused(tmp_path: Path, files: dict[str, str | bytes], word: str) -> None:
    with pytest.raises(SourceError, match=word):
        read(lay(tmp_path, **files))


def test_a_folder_that_is_not_there_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    with pytest.raises(SourceError) as caught:
        FolderReader().fingerprint(tmp_path / "recording")
    assert "'recordings'" in (caught.value.hint or "")
    lay(tmp_path, a_dot_wav=b"")
    with pytest.raises(SourceError, match="is a file, not a folder"):
        FolderReader().fingerprint(tmp_path / "a.wav")


def test_the_fingerprint_follows_recordings_and_transcripts_and_nothing_else(tmp_path: Path) -> None:
    """A manifest that is made inside of the source must not change what the source is."""
    lay(tmp_path, a_dot_wav=b"12", transcripts_dot_json='{"a": "x"}')
    before = FolderReader().fingerprint(tmp_path)
    lay(tmp_path, manifest__manifest_dot_json="{}", manifest__notes_dot_txt="x", cover_dot_jpg=b"")
    assert FolderReader().fingerprint(tmp_path) == before
    lay(tmp_path, transcripts_dot_json='{"a": "y"}')
    assert FolderReader().fingerprint(tmp_path) != before
    lay(tmp_path, transcripts_dot_json='{"a": "x"}', a_dot_wav=b"123")
    assert FolderReader().fingerprint(tmp_path) != before

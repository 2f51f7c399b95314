"""Data sets of the `datasets` library: rows as they are, audio not decoded, bytes written once where they are told to be."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.prepare.corpora import lay, said
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.huggingface import HuggingFaceReader, _name
from utterloom.prepare.stage import PrepareConfig, prepare

datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
# A table that is not read to its end is left to the garbage collector by datasets.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def read(source: Path, audio: Path | None = None) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(HuggingFaceReader(audio), source)


def audio_folder(folder: Path) -> Path:
    """What `datasets` calls an audiofolder: files, and a table that names them."""
    rows = [{"file_name": "a.wav", "transcription": "Một hai", "speaker_id": 7, "snr": 1.5, "locale": "vi"},
            {"file_name": "sub/b.flac", "transcription": "", "speaker_id": 8, "snr": None, "locale": "vi"}]
    other = {**rows[0], "file_name": "c.wav", "transcription": "Ba, bốn"}
    return lay(folder, {
        "train/a.wav": 1.0, "train/sub/b.flac": 0.5, "train/metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "validation/c.wav": 0.75, "validation/metadata.jsonl": json.dumps(other)})


def embedded(folder: Path, rows: list[dict[str, Any]], split: str = "train") -> Path:
    """Parquet with audio inside, as the Hub stores it."""
    features = datasets.Features({"id": datasets.Value("string"), "audio": datasets.Audio(), "sentence": datasets.Value("string"),
                                  "gender": datasets.ClassLabel(names=["male", "female"])})
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_folder_of_audio_is_named_where_it_lies(tmp_path: Path) -> None:
    """E14: nothing is decoded, nothing is copied. K5: validation is dev."""
    source = audio_folder(tmp_path / "set")
    utterances, drops = read(source)
    assert not drops and {name: (u.text, u.split) for name, u in utterances.items()} == {
        "a": ("Một hai", "train"), "b": (None, "train"), "c": ("Ba, bốn", "dev")}
    one = utterances["a"]
    assert (one.speaker, one.language, one.attributes) == ("7", "vi", {"snr": "1.5"})
    assert {u.spans[0].path for u in utterances.values()} == {f"{source}/{name}" for name in (
        "train/a.wav", "train/sub/b.flac", "validation/c.wav")}


def test_embedded_audio_is_written_once_where_it_is_told_to(tmp_path: Path) -> None:
    """E-P4: no copy that nobody asked for; the bytes are those of the table."""
    lay(tmp_path, {"a.flac": 0.5, "b.wav": 0.25})
    flac, wav = (tmp_path / "a.flac").read_bytes(), (tmp_path / "b.wav").read_bytes()
    source = embedded(tmp_path / "set", [
        {"id": "1", "audio": {"bytes": flac, "path": "a.flac"}, "sentence": "Xin chào", "gender": 1},
        {"id": "1", "audio": {"bytes": wav, "path": None}, "sentence": "Dạ", "gender": 0},
        {"id": "2", "audio": {"bytes": flac, "path": "z.flac"}, "sentence": None, "gender": None},
        {"id": "3", "audio": None, "sentence": "x", "gender": None}])
    with pytest.raises(SourceError, match="inside of its tables"):
        read(source)
    for _ in range(2):
        utterances, drops = read(source, tmp_path / "kept")
        assert list(utterances) == ["1", "1-train-0000001", "2"] and drops["3"].reason == "no recording"
        paths = [Path(u.spans[0].path) for u in utterances.values()]
        assert [path.read_bytes() for path in paths] == [flac, wav, flac] and paths[0] == paths[2]
        assert paths[0].name == f"{hashlib.sha256(flac).hexdigest()}.flac" and paths[1].suffix == ".wav"
        assert len([path for path in (tmp_path / "kept").rglob("*") if path.is_file()]) == 2
    assert (utterances["1"].text, utterances["1"].attributes, utterances["2"].text) == ("Xin chào", {"gender": "female"}, None)


def test_a_saved_data_set(tmp_path: Path) -> None:
    """`save_to_disk`, with splits and without."""
    lay(tmp_path, {"a.wav": 0.5})
    rows = datasets.Dataset.from_dict({"audio": [str(tmp_path / "a.wav")], "text": ["một"]}).cast_column(
        "audio", datasets.Audio(decode=False))
    datasets.DatasetDict({"train.clean.100": rows, "test": rows}).save_to_disk(tmp_path / "splits")
    rows.save_to_disk(tmp_path / "one")
    utterances, _ = read(tmp_path / "splits", tmp_path / "kept")
    assert {name: u.split for name, u in utterances.items()} == {"a": "train", "a-test-0000000": "test"}
    utterances, _ = read(tmp_path / "one", tmp_path / "kept")
    assert {(u.text, u.split) for u in utterances.values()} == {("một", "train")}


def test_shards_of_webdataset(tmp_path: Path) -> None:
    """B3's pairs of audio and JSON in a tar."""
    lay(tmp_path, {"a.wav": 0.5, "a.txt": "một", "a.json": '{"speaker": "s1", "source": "radio"}'})
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set" / "train-000.tar", "w") as shard:
        for name in ("a.wav", "a.txt", "a.json"):
            shard.add(tmp_path / name, f"utt1{Path(name).suffix}")
    (one,) = read(tmp_path / "set", tmp_path / "kept")[0].values()
    assert (one.id, one.text, one.speaker, one.split, one.attributes) == ("utt1", "một", "s1", "train", {"source": "radio"})
    assert Path(one.spans[0].path).read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_a_table_of_paths(tmp_path: Path) -> None:
    lay(tmp_path, {"train.csv": 'path,text,speaker\nclips/a.wav,"Một, hai",s\n', "clips/a.wav": 0.5})
    (one,) = read(tmp_path)[0].values()
    assert (one.text, one.speaker, one.spans[0].path) == ("Một, hai", "s", f"{tmp_path}/clips/a.wav")


def test_through_prepare(tmp_path: Path) -> None:
    card = prepare("huggingface", audio_folder(tmp_path / "set"), tmp_path / "m", PrepareConfig(workers=0))
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 1, "dev": 1}
    assert [row["reason"] for row in card["ledger"]["reasons"]] == ["no transcript"] and card["languages"] == ["vi"]


def test_recordings_elsewhere_are_fetched_once(tmp_path: Path) -> None:
    """As those of a data set on the Hub, over the same kind of address; what is gone is a drop."""
    import fsspec

    lay(tmp_path, {"set/train.csv": "audio,text\nmemory://far/a.wav,một\nmemory://far/gone.wav,hai\n", "a.wav": 0.5})
    with fsspec.open("memory://far/a.wav", "wb") as file:
        file.write((tmp_path / "a.wav").read_bytes())
    with pytest.raises(SourceError, match="on the Hub, and there is no folder"):
        read(tmp_path / "set")
    utterances, drops = read(tmp_path / "set", tmp_path / "kept")
    assert Path(utterances["a"].spans[0].path).read_bytes() == (tmp_path / "a.wav").read_bytes()
    assert drops["gone"].reason == "recording not readable" and "row 1 of train" in drops["gone"].detail


def test_a_name_on_the_hub_is_known_behind_the_path_that_prepare_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, name in (("google/fleurs:hr_hr", ("google/fleurs", "hr_hr", False)), ("minds14", ("minds14", None, False))):
        assert _name(Path(given)) == _name(Path(given).resolve()) == name
    (tmp_path / "google" / "fleurs").mkdir(parents=True)
    assert _name(Path("google/fleurs:hr_hr").resolve()) == (f"{tmp_path}/google/fleurs", "hr_hr", True)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"file": "", "text/data.csv": "a,b\n1,2\n", "empty/.keep": "", "broken/data.parquet": b"PAR1 nothing"})
    for name, word in (("file", "is a file"), ("text", "no column of audio; it has: a, b"), ("empty", "cannot be opened"),
                       ("broken", "cannot be"), ("a/b/c/d", "there is no folder")):
        with pytest.raises(SourceError, match=word):
            read(tmp_path / name)


def test_the_fingerprint_follows_tables_and_recordings(tmp_path: Path) -> None:
    """C-P14."""
    source = audio_folder(tmp_path / "set")
    seen = [HuggingFaceReader().fingerprint(source)]
    assert HuggingFaceReader().fingerprint(source) == seen[0]
    for files in ({"train/a.wav": 1.5}, {"train/metadata.jsonl": '{"file_name": "a.wav", "transcription": "x"}\n'}):
        seen.append(HuggingFaceReader().fingerprint(lay(source, files)))
    assert len(set(seen)) == 3

"""A manifest as a source: the same utterances without opening a recording, then fewer of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from tests.conftest import Spoken
from utterloom.core.errors import SourceError
from utterloom.prepare import probing, stage
from utterloom.prepare.readers.manifest import ManifestReader
from utterloom.prepare.stage import PrepareConfig, SampleConfig, prepare
from utterloom.shards import layout


def test_it_gives_the_same_manifest_and_opens_nothing(
    spoken: Spoken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(probing, "probe", opened)
    card = prepare("manifest", spoken.manifest, tmp_path / "again", PrepareConfig(workers=0))
    before, after = (pq.read_table(folder / layout.MANIFEST_FILE) for folder in (spoken.manifest, tmp_path / "again"))
    assert after.equals(before)
    assert card["utterances"] == before.num_rows == card["ledger"]["ok"]


def test_spans_of_several_recordings_come_back(spoken: Spoken, tmp_path: Path) -> None:
    joined = PrepareConfig.model_validate({"join": {"min": 2, "max": 3}, "workers": 0})
    prepare("manifest", spoken.manifest, tmp_path / "joined", joined)
    rows = pq.read_table(tmp_path / "joined" / layout.MANIFEST_FILE).to_pylist()
    assert max(len(row["spans"]) for row in rows) > 1
    read = {u.id: u for u in ManifestReader().read(tmp_path / "joined")}
    for row in rows:
        assert [(span.path, span.start_sample, span.stop_sample) for span in read[row["id"]].spans] == [
            (span["path"], span["start_sample"], span["stop_sample"]) for span in row["spans"]]


def test_a_recording_that_has_gone_is_a_drop(spoken: Spoken, tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    soundfile.write(tmp_path / "a.wav", [0.0, 0.1] * 8000, 16000)
    soundfile.write(tmp_path / "b.wav", [0.0, 0.1] * 8000, 16000)
    table.write_text("id\tpath\ttext\na\ta.wav\tone\nb\tb.wav\ttwo\n")
    prepare("table", table, tmp_path / "first", PrepareConfig(dev=0, workers=0))
    (tmp_path / "b.wav").unlink()
    card = prepare("manifest", tmp_path / "first", tmp_path / "second", PrepareConfig(dev=0, workers=0))
    assert card["utterances"] == 1
    assert [row["reason"] for row in card["ledger"]["reasons"]] == ["recording missing"]


def test_a_sample_of_a_manifest(spoken: Spoken, tmp_path: Path) -> None:
    whole = pq.read_table(spoken.manifest / layout.MANIFEST_FILE).to_pylist()
    card = prepare("manifest", spoken.manifest, tmp_path / "few",
                   PrepareConfig(sample=SampleConfig(utterances=3), workers=0))
    kept = pq.read_table(tmp_path / "few" / layout.MANIFEST_FILE).to_pylist()
    assert [row for row in kept if row["split"] != "train"] == [row for row in whole if row["split"] != "train"]
    assert sum(row["split"] == "train" for row in kept) == 3 == card["sampled"]["to"]
    assert card["sampled"]["from"] == sum(row["split"] == "train" for row in whole)
    assert any("sampled 3 of" in line for line in stage.explain(card))
    with pytest.raises(SourceError, match=r"sample\.split=nope(?s:.)*there are: .*train"):
        prepare("manifest", spoken.manifest, tmp_path / "none",
                PrepareConfig(sample=SampleConfig(split="nope", utterances=3), workers=0))


def test_what_is_no_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        prepare("manifest", tmp_path, tmp_path / "out", PrepareConfig(workers=0))

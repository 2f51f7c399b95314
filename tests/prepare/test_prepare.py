"""`prepare`: every row is in the manifest or in the list of what was dropped, with its seconds; the same again gives the same."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Spoken
from tests.tones import RATE_HZ, hash_of_folder, prepared, speech, write_table
from utterloom.core.errors import ConfigError, OutputError, SourceError
from utterloom.core.ledger import read_drops
from utterloom.prepare.stage import JoinConfig, PrepareConfig, prepare
from utterloom.shards import layout


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(manifest / layout.MANIFEST_FILE).to_pylist()
    return rows


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one recording of 10 s, one that is no audio, and one without samples."""
    folder = tmp_path_factory.mktemp("source")
    soundfile.write(folder / "long.wav", np.sin(np.arange(10 * RATE_HZ) / 20), RATE_HZ)
    (folder / "text.wav").write_text("this is no sound")
    soundfile.write(folder / "nothing.wav", np.zeros(0), RATE_HZ)
    return folder


ROWS = st.lists(st.fixed_dictionaries({
    "id": st.sampled_from(["a", "b", "c/d", "..", " ", ""]) | st.integers(0, 50).map("u{}".format),
    "path": st.sampled_from(["long.wav"] * 4 + ["text.wav", "nothing.wav", "missing.wav", ""]),
    "text": st.sampled_from(["một hai", "Ba!", "", "…"]), "speaker": st.sampled_from(["s0", "s1", ""]),
    "split": st.sampled_from(["train", "valid", "test", "", "no good"]),
    "start": st.sampled_from(["", "0", "1.5", "9.995", "11", "soon"]),
    "end": st.sampled_from(["", "2.25", "10", "10.005", "99", "0"]),
}), min_size=1, max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, unlabelled=st.sampled_from(["drop", "keep"]), min_s=st.sampled_from([0.0, 0.1, 1.0]))
def test_in_is_ok_plus_dropped_ids_are_unique_and_seconds_add_up(
    source: Path, tmp_path: Path, rows: list[dict[str, str]], unlabelled: str, min_s: float
) -> None:
    """Truth 1."""
    table = write_table(source / "table.tsv", rows)
    shutil.rmtree(tmp_path / "manifest", ignore_errors=True)
    try:
        card = prepared(table, tmp_path / "manifest", unlabelled=unlabelled, min_s=min_s)
    except SourceError as error:
        assert "nothing usable" in error.message
        assert not (tmp_path / "manifest").exists()
        return
    ledger, kept, drops = card["ledger"], rows_of(tmp_path / "manifest"), read_drops(tmp_path / "manifest")
    num_in = sum(any(cell.strip() for cell in row.values()) for row in rows)
    assert ledger["in"] == num_in == len(kept) + len(drops)
    assert ledger["ok"] == len(kept) == card["utterances"] == sum(split["utterances"] for split in card["splits"].values())
    assert len({row["id"] for row in kept}) == len(kept)
    assert ledger["seconds_ok"] == pytest.approx(sum(row["duration_s"] for row in kept), abs=0.001)
    for row in kept:
        (span,) = row["spans"]
        assert 0 <= span["start_sample"] < span["stop_sample"] <= 10 * RATE_HZ
        assert row["duration_s"] == (span["stop_sample"] - span["start_sample"]) / RATE_HZ
    assert all(drop.reason and drop.detail for drop in drops)


def test_the_same_again_gives_the_same_bytes(spoken: Spoken, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        prepared(spoken.table, tmp_path / folder, workers=0 if folder == "one" else 2)
    assert hash_of_folder(tmp_path / "one") == hash_of_folder(tmp_path / "two") == hash_of_folder(spoken.manifest)
    assert prepared(spoken.table, tmp_path / "one") == prepared(spoken.table, tmp_path / "two")


def test_a_span_is_exact_to_the_sample(tmp_path: Path) -> None:
    """E-P20."""
    soundfile.write(tmp_path / "x.wav", np.zeros(int(44_100 * 1.1)), 44_100)
    table = write_table(tmp_path / "table.tsv", [{"id": "a", "path": "x.wav", "text": "x", "start": "0.29", "end": "1.07"}])
    prepared(table, tmp_path / "manifest")
    (row,) = rows_of(tmp_path / "manifest")
    assert (row["spans"][0]["start_sample"], row["spans"][0]["stop_sample"]) == (12_789, 47_187)


def test_another_configuration_or_source_is_refused_naming_it(spoken: Spoken, tmp_path: Path) -> None:
    prepared(spoken.table, tmp_path / "manifest")
    with pytest.raises(OutputError, match=r"config\.min_s: 0\.1 → 0\.2"):
        prepared(spoken.table, tmp_path / "manifest", min_s=0.2)
    (tmp_path / "audio").symlink_to(spoken.table.parent / "audio")
    lines = spoken.table.read_text().splitlines()
    (tmp_path / "table.tsv").write_text("\n".join(lines[:-1]))
    with pytest.raises(OutputError, match=r"inputs\.source"):
        prepared(tmp_path / "table.tsv", tmp_path / "manifest")


def test_a_first_try_that_failed_does_not_bind_the_second(spoken: Spoken, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="too short"):
        prepared(spoken.table, tmp_path / "manifest", min_s=100)
    assert prepared(spoken.table, tmp_path / "manifest")["utterances"] == 48


def test_dev_is_held_out_by_speaker_and_recording(spoken: Spoken, tmp_path: Path) -> None:
    lines = [line.rsplit("\t", 1)[0] for line in spoken.table.read_text().splitlines()]  # without the column of splits
    table = spoken.table.with_name("no_splits.tsv")
    table.write_text("\n".join(lines))
    card = prepared(table, tmp_path / "manifest", dev=0.25)
    assert set(card["splits"]) == {"train", "dev"}
    assert card["overlaps"]["dev/train"]["speaker"] == card["overlaps"]["dev/train"]["recording"] == 0
    assert any("held out of train, disjoint by speaker, session, recording" in note for note in card["notes"])
    with pytest.raises(ConfigError, match="hang together"):
        prepared(write_table(table.with_name("one.tsv"), [
            {"id": str(number), "path": f"audio/u{number:04d}.flac", "text": "x", "speaker": "s"} for number in range(9)]),
            tmp_path / "one", dev=0.1)
    assert not (tmp_path / "one").exists()


def test_a_list_of_ids_becomes_dev(spoken: Spoken, tmp_path: Path) -> None:
    table = spoken.table.with_name("no_splits.tsv")
    table.write_text("\n".join(line.rsplit("\t", 1)[0] for line in spoken.table.read_text().splitlines()))
    (tmp_path / "dev.txt").write_text("u0003\nu0004\nu9999\n")
    card = prepared(table, tmp_path / "manifest", dev=str(tmp_path / "dev.txt"))
    assert [row["id"] for row in rows_of(tmp_path / "manifest") if row["split"] == "dev"] == ["u0003", "u0004"]
    assert any("'u9999'" in note for note in card["notes"])


def test_joining_counts_what_it_uses(spoken: Spoken, tmp_path: Path) -> None:
    card = prepared(spoken.table, tmp_path / "manifest", join=JoinConfig(min=2, max=3, copies=2))
    rows = rows_of(tmp_path / "manifest")
    assert card["joined"] == {"from": 48, "used": 2 * 36 + 12, "to": len(rows)}
    assert sum(len(row["spans"]) for row in rows) == 84
    assert card["hours"] * 3600 == pytest.approx(sum(row["duration_s"] for row in rows), abs=0.5)


def test_names_from_another_system_are_found_and_told_of(tmp_path: Path) -> None:
    """E-P1: 30 % of the files did not open, because their names differ in spaces."""
    soundfile.write(tmp_path / "giọng  nữ.wav", speech("một hai"), RATE_HZ)
    table = write_table(tmp_path / "table.tsv", [
        {"id": "a", "path": unicodedata.normalize("NFD", "giọng nữ.wav"), "text": "một hai"},
        {"id": "b", "path": "giọng nam.wav", "text": "một hai"}])
    card = prepared(table, tmp_path / "manifest")
    assert any("1 recording was found under a name of another spelling" in note for note in card["notes"])
    (drop,) = read_drops(tmp_path / "manifest")
    assert drop.reason == "recording missing" and "'giọng  nữ.wav'" in drop.detail


def test_a_folder_is_prepared_too(tmp_path: Path) -> None:
    for name in ("b", "sub/a"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / f"source/{name}.wav", speech("một hai"), RATE_HZ)
    (tmp_path / "source/transcripts.json").write_text('{"b": "Một hai.", "sub/a": "một hai", "lost": "x"}')
    card = prepare("folder", tmp_path / "source", tmp_path / "source/manifest", PrepareConfig(dev=0.0, workers=0))
    assert [(row["id"], row["text"], row["text_basic"]) for row in rows_of(tmp_path / "source/manifest")] == [
        ("b", "Một hai.", "một hai"), ("sub/a", "một hai", "một hai")]
    assert card["ledger"]["in"] == 3 and card["ledger"]["reasons"][0]["reason"] == "no recording"
    again = prepare("folder", tmp_path / "source", tmp_path / "source/manifest", PrepareConfig(dev=0.0, workers=0))
    assert again == card


def test_an_unknown_reader_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no reader 'tabel'") as caught:
        prepare("tabel", tmp_path, tmp_path / "manifest", PrepareConfig())
    assert "'table'" in (caught.value.hint or "")

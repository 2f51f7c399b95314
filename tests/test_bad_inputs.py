"""Truth 12 and the manners of the command line: whatever comes in, a message that helps and an exit code, never a traceback."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.conftest import Command, Said, Spoken
from tests.tones import RATE_HZ, hash_of_folder, packed, prepared, speech, write_table
from utterloom.core.ledger import read_drops
from utterloom.shards.reader import Corpus

QUICK = ("workers=0", "dev=0")


def refused(said: Said, *words: str) -> None:
    """A message with these words, an exit code, and nothing on stdout that could be taken for a result."""
    assert said.code == 1, said
    assert said.err.startswith("error: ") or "\nerror: " in said.err
    assert said.out == ""
    for word in words:
        assert word in said.err, said.err


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """A folder with one good recording."""
    soundfile.write(tmp_path / "good.wav", speech("một hai"), RATE_HZ)
    return tmp_path


def row(utterance_id: str, path: str = "good.wav", text: str = "một hai", **more: str) -> dict[str, str]:
    return {"id": utterance_id, "path": path, "text": text, **more}


# --------------------------------------------------------------------------------------------------- audio


def test_broken_audio_is_dropped_file_by_file_and_all_broken_is_an_error(
    shared: Path, voice: Path, utterloom: Command, tmp_path: Path
) -> None:
    broken = sorted((shared / "data/ingest_formats/broken").iterdir())
    rows = [row(path.stem, str(path)) for path in broken]
    said = utterloom("prepare", "table", write_table(voice / "bad.tsv", rows), tmp_path / "m", *QUICK)
    refused(said, "nothing usable", "not readable")
    assert not (tmp_path / "m").exists()
    said = utterloom("prepare", "table", write_table(voice / "mixed.tsv", [*rows, row("good")]), tmp_path / "m", *QUICK)
    assert said.code == 0
    drops = read_drops(tmp_path / "m")
    assert {drop.id for drop in drops} == {path.stem for path in broken}
    assert all(drop.reason == "recording not readable" and drop.detail for drop in drops)


def test_samples_that_are_no_numbers_and_files_that_went_since_are_dropped_by_pack(
    voice: Path, utterloom: Command, tmp_path: Path
) -> None:
    samples = speech("một hai")
    samples[100] = np.nan
    soundfile.write(voice / "nan.wav", samples, RATE_HZ, subtype="FLOAT")
    shutil.copy(voice / "good.wav", voice / "gone.wav")
    table = write_table(voice / "t.tsv", [row("good"), row("nan", "nan.wav"), row("gone", "gone.wav")])
    assert utterloom("prepare", "table", table, tmp_path / "m", *QUICK).code == 0
    (voice / "gone.wav").unlink()
    said = utterloom("pack", tmp_path / "m", tmp_path / "c", "workers=0")
    assert said.code == 0 and "dropped by pack 2: not decodable" in said.out
    assert {drop.id for drop in read_drops(tmp_path / "c")} == {"nan", "gone"}


def test_a_corpus_of_which_nothing_can_be_packed_is_an_error_that_can_be_mended(
    voice: Path, utterloom: Command, tmp_path: Path
) -> None:
    prepared(write_table(voice / "t.tsv", [row("good")]), tmp_path / "m")
    (voice / "good.wav").rename(voice / "away.wav")
    refused(utterloom("pack", tmp_path / "m", tmp_path / "c", "workers=0"), "nothing could be packed", "good")
    assert not (tmp_path / "c").exists()
    (voice / "away.wav").rename(voice / "good.wav")
    assert utterloom("pack", tmp_path / "m", tmp_path / "c", "workers=0").code == 0


def test_any_rate_channels_and_container_becomes_16_khz_mono(shared: Path, utterloom: Command, tmp_path: Path) -> None:
    pytest.importorskip("av")
    source = shared / "data/ingest_formats"
    said = utterloom("prepare", "table", source / "transcripts.tsv", tmp_path / "m", "workers=0", "unlabelled=keep", "max_s=60")
    assert said.code == 0
    said = utterloom("pack", tmp_path / "m", tmp_path / "c", "workers=0", "--json")
    card = json.loads(said.out)
    assert [stage["in"] for stage in card["ledger"]] == [36, card["ledger"][0]["ok"]]
    assert {drop.id for drop in read_drops(tmp_path / "c")} == {"p001_flac"}  # its last frame cannot be decoded
    corpus = Corpus(tmp_path / "c")
    names = set()
    for table, number in corpus.rows():
        info = soundfile.info(io.BytesIO(corpus.flac(table, number)))
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (16_000, 1, "PCM_16", table.num_samples[number])
        names.add(table.id(number))
    assert len(names) == 35


# --------------------------------------------------------------------------------------------------- tables and folders


def test_rows_that_cannot_be_are_dropped_with_reasons(voice: Path, utterloom: Command, tmp_path: Path) -> None:
    rows = [row("ok"), row("ok"), row("a/../b"), row("..", text="hai"), row("empty", text=""), row("dots", text="…?!"),
            row("lost", "goood.wav"), row("x" * 300), row("late", start="5", end="9"), row("back", start="0.2", end="0.1")]
    table = write_table(voice / "t.tsv", [{"start": "", "end": "", **one} for one in rows])
    assert utterloom("prepare", "table", table, tmp_path / "m", *QUICK).code == 0
    reasons = {drop.id: drop.reason for drop in read_drops(tmp_path / "m")}
    assert reasons == {"ok": "duplicate id", "empty": "no transcript", "dots": "empty text", "lost": "recording missing",
                       "x" * 300: "bad id", "late": "span outside the recording", "back": "span outside the recording"}
    assert [one["id"] for one in pq.read_table(tmp_path / "m/utterances.parquet").to_pylist()] == ["ok", "a/../b", ".."]
    assert utterloom("pack", tmp_path / "m", tmp_path / "c", "workers=0").code == 0
    assert utterloom("verify", tmp_path / "c").code == 0


@pytest.mark.parametrize(("name", "content", "word"), [
    ("t.tsv", b"", "is empty"), ("t.tsv", b"id\tpath\ttext\n", "it holds no utterances"), ("t.tsv", b"\xff\xfe", "not UTF-8"),
    ("t.tsv", b"id\ttext\n", "no column 'path'"), ("t.docx", b"PK", ".tsv, .csv or .jsonl"), ("t.tsv", b"id\tpath\na\n", "bad row"),
    ("t.jsonl", b"{\n", "not JSON"), ("t.tsv", b"id\tpath\ttext\na\tgood.wav\t\n", "no transcript")])
def test_tables_with_nothing_in_them_are_refused(
    voice: Path, utterloom: Command, tmp_path: Path, name: str, content: bytes, word: str
) -> None:
    (voice / name).write_bytes(content)
    refused(utterloom("prepare", "table", voice / name, tmp_path / "m", *QUICK), word)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("files", "words"), [
    ({}, ("no audio",)), ({"a.txt": "x"}, ("no audio",)), ({"a.wav": "", "a.mp3": ""}, ("two recordings are called 'a'",)),
    ({"a.wav": "", "transcripts.json": '{"a": "x"}', "a.txt": "y"}, ("'a' has two transcripts", "a.txt")),
    ({"a.wav": "", "transcripts.json": '{"a": "x", "a": "y"}'}, ("'a' has two transcripts",)),
    ({"a.wav": "", "transcripts.json": "{"}, ("transcripts.json is not JSON",)),
    ({"a.wav": "", "transcripts.json": '{"a": "x"}'}, ("nothing usable", "not readable"))])
def test_folders_that_are_ambiguous_or_empty_are_refused(
    utterloom: Command, tmp_path: Path, files: dict[str, str], words: tuple[str, ...]
) -> None:
    (tmp_path / "source").mkdir()
    for name, content in files.items():
        (tmp_path / "source" / name).write_text(content)
    refused(utterloom("prepare", "folder", tmp_path / "source", tmp_path / "m", *QUICK), *words)
    assert not (tmp_path / "m").exists()


def test_wrong_paths_name_what_is_near(spoken: Spoken, utterloom: Command, tmp_path: Path) -> None:
    folder = spoken.table.parent
    refused(utterloom("prepare", "table", folder / "tabel.tsv", tmp_path / "m"), "there is no table", "'table.tsv'")
    refused(utterloom("prepare", "folder", folder / "audi", tmp_path / "m"), "there is no folder", "'audio'")
    refused(utterloom("prepare", "table", folder, tmp_path / "m"), "is a folder, not a table", "prepare folder")
    refused(utterloom("prepare", "folder", spoken.table, tmp_path / "m"), "is a file, not a folder", "prepare table")
    refused(utterloom("prepare", "tables", spoken.table, tmp_path / "m"), "there is no reader 'tables'", "'table'")
    refused(utterloom("pack", spoken.manifest.with_name("manifst"), tmp_path / "c"), "there is no manifest", "'manifest'")
    refused(utterloom("verify", spoken.corpus.with_name("corpsu")), "there is no corpus", "'corpus'")
    refused(utterloom("verify", "s3://bucket/corpus"), "local folders only")


def test_one_kind_of_artifact_in_place_of_another_is_named(spoken: Spoken, utterloom: Command, tmp_path: Path) -> None:
    refused(utterloom("verify", spoken.manifest), "is a manifest, not a corpus", "utterloom pack")
    refused(utterloom("pack", spoken.corpus, tmp_path / "c"), "is a corpus, not a manifest")
    refused(utterloom("pack", spoken.table.parent, tmp_path / "c"), "it has no manifest.json")
    refused(utterloom("pack", spoken.table, tmp_path / "c"), "is not a manifest")


@pytest.mark.parametrize(("command", "setting", "words"), [
    ("prepare", "min_sec=1", ("unknown key 'min_sec'", "'min_s'")), ("prepare", "min_s=long", ("min_s must be a number",)),
    ("prepare", "dev=1.5", ("less than 1",)), ("prepare", "dev=nowhere.txt", ("neither a fraction",)),
    ("prepare", "oops", ("key=value",)),
    ("prepare", "view=basik", ("no text view", "'basic'")), ("prepare", "unlabelled=maybe", ("'drop' or 'keep'",)),
    ("pack", "sample_rate=8000", ("unknown key", "'sample_rate_hz'")), ("pack", "sample_rate_hz=8k", ("whole number",)),
    ("pack", "shard_s=-1", ("greater than 0",)), ("pack", "workers=two", ("whole number",))])
def test_settings_that_cannot_be_are_refused(
    spoken: Spoken, utterloom: Command, tmp_path: Path, command: str, setting: str, words: tuple[str, ...]
) -> None:
    arguments = ("table", spoken.table) if command == "prepare" else (spoken.manifest,)
    refused(utterloom(command, *arguments, tmp_path / "out", setting), *words)
    assert not (tmp_path / "out").exists()


def test_names_that_are_not_utf8_are_dropped(voice: Path, utterloom: Command, tmp_path: Path) -> None:
    folder = voice / "recordings"
    folder.mkdir()
    shutil.copy(voice / "good.wav", folder)
    (folder / "good.txt").write_text("một")
    for name in (b"\xff\xfe.wav", b"\xff\xfe.txt"):
        shutil.copy(voice / "good.wav" if name.endswith(b"wav") else folder / "good.txt", os.fsencode(folder) + b"/" + name)
    said = utterloom("prepare", "folder", folder, tmp_path / "m", *QUICK)
    assert said.code == 0 and "dropped 1: bad characters" in said.out
    assert json.loads(utterloom("prepare", "folder", folder, tmp_path / "m", *QUICK, "--json").out)["utterances"] == 1


# --------------------------------------------------------------------------------------------------- outputs


def test_an_output_that_holds_something_else_is_left_alone(spoken: Spoken, utterloom: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/me.jpg").write_text("")
    refused(utterloom("prepare", "table", spoken.table, tmp_path / "photos"), "already holds something that is not a manifest")
    refused(utterloom("pack", spoken.manifest, tmp_path / "photos"), "already holds something that is not a corpus")
    refused(utterloom("pack", spoken.manifest, tmp_path / "photos/me.jpg"), "is a file")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["me.jpg"]


@pytest.mark.parametrize("place", ["photo.jpg/below", "/proc/out", "/proc/1/out", "/dev/null/out", "x" * 300])
def test_a_place_that_cannot_be_written_is_named(spoken: Spoken, utterloom: Command, tmp_path: Path, place: str) -> None:
    (tmp_path / "photo.jpg").write_text("")
    refused(utterloom("prepare", "table", spoken.table, tmp_path / place, *QUICK), Path(place).name)
    refused(utterloom("pack", spoken.manifest, tmp_path / place, "workers=0"), Path(place).name)


def test_running_twice_says_that_it_is_there_and_changes_nothing(spoken: Spoken, utterloom: Command, tmp_path: Path) -> None:
    commands = [("prepare", "table", spoken.table, tmp_path / "m", *QUICK),
                ("pack", tmp_path / "m", tmp_path / "c", "workers=0", "shard_s=5")]
    first = [utterloom(*command, "--json").out for command in commands]
    before = hash_of_folder(tmp_path)
    for command, said in zip(commands, first, strict=True):
        again = utterloom(*command, "--json")
        assert again.code == 0 and "is there already" in again.err and again.out == said
    assert hash_of_folder(tmp_path) == before
    refused(utterloom("pack", tmp_path / "m", tmp_path / "c", "workers=0", "shard_s=6"), "config.shard_s: 5.0 → 6.0")
    refused(utterloom(*commands[0], "min_s=0.3"), "config.min_s: 0.1 → 0.3")
    assert hash_of_folder(tmp_path) == before


def test_paths_with_spaces_equals_signs_and_brackets_work(spoken: Spoken, utterloom: Command, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(spoken.table.parent, tmp_path / "my data [v=2] {x}"))
    (folder / "dev list=1.txt").write_text("u0000\n")
    table = folder / "no splits.tsv"
    table.write_text("\n".join(line.rsplit("\t", 1)[0] for line in spoken.table.read_text().splitlines()))
    manifest, corpus = folder / "the manifest", folder / "a=b, c"
    assert utterloom("prepare", "table", table, manifest, "workers=0", f"dev={folder}/dev list=1.txt").code == 0
    assert utterloom("pack", manifest, corpus, "workers=2", "shard_s=5").code == 0
    assert utterloom("verify", corpus).code == 0
    assert Corpus(corpus).card["splits"]["dev"]["utterances"] == 1


def test_a_manifest_that_is_hurt_is_refused(spoken: Spoken, utterloom: Command, tmp_path: Path) -> None:
    manifest = Path(shutil.copytree(spoken.manifest, tmp_path / "m"))
    content = (manifest / "utterances.parquet").read_bytes()
    for hurt in (content[:len(content) // 2], b"", content[:200] + b"\0" * 50 + content[250:]):
        (manifest / "utterances.parquet").write_bytes(hurt)
        refused(utterloom("pack", manifest, tmp_path / "c", "workers=0"), "does not match its checksum", "prepare it again")
    (manifest / "utterances.parquet").unlink()
    refused(utterloom("pack", manifest, tmp_path / "c", "workers=0"), "is missing")
    assert not (tmp_path / "c").exists()


# --------------------------------------------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_told_before_the_work(spoken: Spoken, small_disk: Path, utterloom: Command) -> None:
    """E-P4."""
    refused(utterloom("pack", spoken.manifest, small_disk / "c", "workers=0"), "needs about", "MB free", "free some space")
    assert not (small_disk / "c").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_fills_up_is_told_and_the_same_command_goes_on_once_there_is_room(
    small_disk: Path, utterloom: Command, tmp_path: Path, workers: int
) -> None:
    """Silence where the estimate looks makes it wrong, so that the disk gets really full."""
    rng = np.random.default_rng(0)
    levels = [0.0 if number % 55 == 0 else 0.3 for number in range(111)]
    soundfile.write(tmp_path / "x.wav", np.concatenate([level * rng.uniform(-1, 1, RATE_HZ // 10) for level in levels]), RATE_HZ)
    table = write_table(tmp_path / "t.tsv", (
        row(f"u{number:03d}", "x.wav", start=f"{number / 10:.1f}", end=f"{(number + 1) / 10:.1f}") for number in range(111)))
    prepared(table, tmp_path / "m", min_s=0.0)
    command = ("pack", tmp_path / "m", small_disk / "c", f"workers={workers}", "shard_s=1")
    refused(utterloom(*command), "the disk is full", "goes on where it stopped")
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    said = utterloom(*command)
    assert said.code == 0 and "shards are there already" in said.err
    packed(tmp_path / "m", tmp_path / "straight", shard_s=1)
    assert hash_of_folder(small_disk / "c") == hash_of_folder(tmp_path / "straight")


def test_a_manifest_on_a_full_disk_is_told(small_disk: Path, utterloom: Command, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", speech("một hai"), RATE_HZ)
    table = write_table(tmp_path / "t.tsv", (row(os.urandom(90).hex(), text=os.urandom(400).hex()) for _ in range(1000)))
    refused(utterloom("prepare", "table", table, small_disk / "m", *QUICK), "the disk is full")
    assert not (small_disk / "m").exists()


def test_a_limit_on_file_sizes_is_told(spoken: Spoken, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [sys.executable, "-m", "utterloom.cli", "pack", spoken.manifest, tmp_path / "c", "workers=0", "shard_s=5"]
    said = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert said.returncode == 1 and "Traceback" not in said.stderr
    assert "error: a quota or size limit stops" in said.stderr


def test_ctrl_c_says_how_to_go_on(spoken: Spoken, tmp_path: Path) -> None:
    """A real SIGINT to a real process, once it has begun."""
    table = spoken.table
    command = [sys.executable, "-m", "utterloom.cli", "prepare", "table", str(table), str(tmp_path / "m"), "--audit", "workers=0"]
    slow = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=slow) as process:
        while process.poll() is None and not (tmp_path / "m").exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    if process.returncode == 0:
        pytest.skip("it was done before the signal came")
    assert process.returncode == 130 and "interrupted; run the same command again" in said

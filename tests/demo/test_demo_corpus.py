"""The demo's corpus: numbers as they are spoken, splits that share nothing, and exactly the faults that it tells of."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from utterloom.core.errors import ConfigError, MissingPackageError, OutputError
from utterloom.demo import sentences
from utterloom.demo.corpus import FAULTS, ODD_ID, RECORDERS, VOICES, CorpusSummary, make_corpus
from utterloom.demo.sentences import (
    SentencePicker,
    draw_sentences,
    english_number,
    english_time,
    vietnamese_clock,
    vietnamese_date,
    vietnamese_number,
    vietnamese_price,
    vietnamese_time,
    words_of,
)

needs_espeak = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None,
                                  reason="espeakng-loader is not installed")


# --------------------------------------------------------------------------------------------------- spelling

@pytest.mark.parametrize(("number", "spoken"), [
    (0, "không"),
    (4, "bốn"),
    (5, "năm"),
    (10, "mười"),
    (11, "mười một"),
    (14, "mười bốn"),
    (15, "mười lăm"),
    (20, "hai mươi"),
    (21, "hai mươi mốt"),
    (24, "hai mươi tư"),  # of tư and bốn, the northern tư
    (25, "hai mươi lăm"),
    (55, "năm mươi lăm"),
    (100, "một trăm"),
    (101, "một trăm linh một"),
    (104, "một trăm linh bốn"),
    (105, "một trăm linh năm"),  # of linh and lẻ, the northern linh
    (110, "một trăm mười"),
    (115, "một trăm mười lăm"),
    (121, "một trăm hai mươi mốt"),
    (444, "bốn trăm bốn mươi tư"),
    (1000, "một nghìn"),
    (1005, "một nghìn không trăm linh năm"),
    (1050, "một nghìn không trăm năm mươi"),
    (2024, "hai nghìn không trăm hai mươi tư"),
    (10_000, "mười nghìn"),
    (21_000, "hai mươi mốt nghìn"),
    (1_000_000, "một triệu"),
    (1_500_000, "một triệu năm trăm nghìn"),
    (1_050_000, "một triệu không trăm năm mươi nghìn"),
    (3_000_000_000, "ba tỷ"),
])
def test_vietnamese_numbers(number: int, spoken: str) -> None:
    assert vietnamese_number(number) == unicodedata.normalize("NFC", spoken)


@pytest.mark.parametrize(("spelled", "spoken"), [
    (vietnamese_time(7, 35), "bảy giờ ba mươi lăm phút"),
    (vietnamese_time(21, 1), "hai mươi mốt giờ một phút"),
    (vietnamese_time(19, 0), "mười chín giờ"),
    (vietnamese_clock(7, 30), "bảy giờ rưỡi sáng"),
    (vietnamese_clock(12, 15), "mười hai giờ mười lăm phút trưa"),
    (vietnamese_clock(14, 50), "ba giờ kém mười phút chiều"),
    (vietnamese_clock(20, 4), "tám giờ bốn phút tối"),
    (vietnamese_clock(23, 55), "mười hai giờ kém năm phút đêm"),
    (vietnamese_clock(2, 0), "hai giờ sáng"),
    (vietnamese_date(5, 4), "ngày mùng năm tháng tư"),
    (vietnamese_date(21, 1), "ngày hai mươi mốt tháng một"),
    (vietnamese_price(120_000), "một trăm hai mươi nghìn đồng"),
    (vietnamese_price(2_105_000), "hai triệu một trăm linh năm nghìn đồng"),
    (english_number(121), "one hundred twenty one"),
    (english_number(19_050), "nineteen thousand fifty"),
    (english_time(7, 35), "seven thirty five in the morning"),
    (english_time(19, 5), "seven oh five in the evening"),
    (english_time(0, 0), "twelve in the morning"),
])
def test_times_dates_and_prices(spelled: str, spoken: str) -> None:
    assert spelled == spoken


# -------------------------------------------------------------------------------------------------- sentences

@pytest.mark.parametrize(("language", "size", "fewest", "most"), [
    ("vi", "small", 75, 95), ("vi", "large", 150, 250), ("en-us", "small", 75, 95), ("en-us", "large", 150, 250),
])
def test_number_of_words(language: str, size: str, fewest: int, most: int) -> None:
    pool = draw_sentences(language, size, random.Random(7))
    assert fewest <= len({word for sentence in pool for word in sentence.words}) <= most


@pytest.mark.parametrize("language", sentences.languages())
def test_written_text_gives_back_the_words(language: str) -> None:
    pool = draw_sentences(language, "small", random.Random(1), num_sentences=500)
    assert len(pool) == 500 == len({sentence.words for sentence in pool})
    for sentence in pool:
        assert words_of(sentence.text) == sentence.words
        assert unicodedata.is_normalized("NFC", sentence.text)
        assert not set("\t\n\"{}0123456789") & set(sentence.text)


def test_each_word_is_spoken_often_enough() -> None:
    rng = random.Random(7)
    picker = SentencePicker(draw_sentences("vi", "small", rng), rng)
    for _ in range(800):  # about as many as training has by default
        picker.was_spoken(picker.pick())
    assert min(picker.spoken.values()) >= 20


def test_a_small_pool_begins_anew_and_covers_first() -> None:
    rng = random.Random(3)
    pool = draw_sentences("de", "small", rng, num_sentences=4)
    rare = pool[-1].words[0]
    picker = SentencePicker(pool, rng, first=[rare])
    picker.was_spoken(picker.pick())
    assert picker.covers_first
    for _ in range(60):
        picker.was_spoken(picker.pick())
    assert min(picker.spoken[word] for sentence in pool for word in sentence.words) > 4


def test_languages_and_sizes_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no sentences in 'xx'(?s:.)*de, en-us, es"):
        draw_sentences("xx", "small", random.Random(1))
    with pytest.raises(ConfigError, match=r"size='smal'(?s:.)*'small'"):
        draw_sentences("vi", "smal", random.Random(1))
    with pytest.raises(ConfigError, match=r"'de' are small only(?s:.)*en-us, vi"):
        draw_sentences("de", "large", random.Random(1))


# ----------------------------------------------------------------------------------------------------- corpus

def rows_of(table: Path) -> list[dict[str, str]]:
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


def digests(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[CorpusSummary, list[tuple[int, int]]]:
    progress: list[tuple[int, int]] = []
    summary = make_corpus(tmp_path_factory.mktemp("demo") / "raw", minutes=3.0,
                          on_progress=lambda made_s, planned_s: progress.append((made_s, planned_s)))
    return summary, progress


@needs_espeak
def test_splits_share_no_voice_and_no_sentence(made: tuple[CorpusSummary, list[tuple[int, int]]]) -> None:
    summary, _ = made
    rows = rows_of(summary.table)
    assert len({row["id"] for row in rows}) == len(rows) == summary.recordings
    voices = {split: {row["speaker"] for row in rows if row["split"] == split} for split in VOICES}
    said = {split: {words_of(row["text"]) for row in rows if row["split"] == split} for split in VOICES}
    for split, names in voices.items():
        assert names == set(summary.speakers[split]) <= set(VOICES[split])
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not voices[one] & voices[other]
        assert not said[one] & said[other]


@needs_espeak
@pytest.mark.parametrize("made_again", [{"size": "large", "minutes": 0.3}, {"language": "en-us", "minutes": 0.3},
                                        {"language": "sr", "minutes": 0.3}, None], ids=str)
def test_training_says_each_word_of_dev_and_test(made: tuple[CorpusSummary, list[tuple[int, int]]], tmp_path: Path,
                                                 made_again: dict[str, object] | None) -> None:
    summary = made[0] if made_again is None else make_corpus(tmp_path / "raw", **made_again)
    trained: set[str] = set()
    tested: set[str] = set()
    for row in rows_of(summary.table):
        if row["id"] not in summary.broken:
            (trained if row["split"] == "train" else tested).update(words_of(row["text"]))
    assert tested and tested <= trained
    assert summary.words == len(trained)


@needs_espeak
def test_minutes_and_recorders(made: tuple[CorpusSummary, list[tuple[int, int]]]) -> None:
    summary, progress = made
    heard_s: Counter[str] = Counter()
    recorders = {recorder.folder: recorder for recorder in RECORDERS}
    for row in rows_of(summary.table):
        if row["id"] in summary.broken:
            continue
        path = summary.table.parent / row["path"]
        samples, rate_hz = soundfile.read(path, always_2d=True)
        recorder = recorders[path.parent.name]
        assert (rate_hz, samples.shape[1], path.suffix) == (recorder.rate_hz, recorder.num_channels, recorder.suffix)
        assert 1.4 < len(samples) / rate_hz < 8.1
        assert 0.01 < abs(samples).max() < 1.05  # MP3 overshoots
        heard_s[row["split"]] += len(samples) / rate_hz
        heard_s[recorder.folder] += len(samples) / rate_hz
    for split, share in (("train", 0.85), ("dev", 0.05), ("test", 0.10)):
        assert heard_s[split] / 60 == pytest.approx(summary.split_minutes[split], abs=0.01)
        assert heard_s[split] / 180 == pytest.approx(share, abs=0.05)
    for recorder in RECORDERS:
        assert heard_s[recorder.folder] / 180 == pytest.approx(recorder.share, abs=0.05)
    assert 3.0 <= summary.minutes < 3.3
    assert summary.minutes == pytest.approx(sum(summary.split_minutes.values()))
    assert progress[-1] == (180, 180) and progress == sorted(progress)


@needs_espeak
def test_what_is_broken_is_there_and_told(made: tuple[CorpusSummary, list[tuple[int, int]]]) -> None:
    summary, _ = made
    folder = summary.table.parent
    rows = {row["id"]: row for row in rows_of(summary.table)}
    path = {item: folder / rows[item]["path"] for item in (*FAULTS, ODD_ID)}
    assert [item for item, row in rows.items() if not row["text"]] == ["no-transcript"]
    assert [item for item, row in rows.items() if not (folder / row["path"]).exists()] == ["no-file"]
    assert soundfile.info(path["no-sound"]).frames == 0
    assert soundfile.info(path["no-transcript"]).frames > 0
    assert soundfile.info(path[ODD_ID]).frames > 0
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(path["cut-in-half"])
    assert {rows[item]["split"] for item in path} == {"train"}
    readme = (folder / "README.txt").read_text(encoding="utf-8")
    assert summary.broken == FAULTS and all(item in readme for item in path)
    assert {file for file in folder.rglob("*") if file.is_file()} == {
        folder / "README.txt", summary.table,
        *(folder / row["path"] for item, row in rows.items() if item != "no-file")}


@needs_espeak
def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    make_corpus(tmp_path / "here", minutes=0.5)
    call = "import sys; from pathlib import Path; from utterloom.demo.corpus import make_corpus; "
    subprocess.run([sys.executable, "-c", call + "make_corpus(Path(sys.argv[1]), minutes=0.5)", tmp_path / "there"],
                   check=True)
    first = digests(tmp_path / "here")
    assert first == digests(tmp_path / "there")
    make_corpus(tmp_path / "here", minutes=0.5, seed=8)
    assert digests(tmp_path / "here") != first
    make_corpus(tmp_path / "here", minutes=0.5)  # nothing of seed 8 stays
    assert digests(tmp_path / "here") == first


@needs_espeak
def test_an_unfinished_corpus_has_no_table_and_is_made_again(tmp_path: Path) -> None:
    def stop(made_s: int, planned_s: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_corpus(tmp_path, minutes=0.2, on_progress=stop)
    assert not (tmp_path / "transcripts.tsv").exists()
    assert "not finished" in (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert make_corpus(tmp_path, minutes=0.2).table.exists()


@needs_espeak
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="other things"):
        make_corpus(tmp_path, minutes=0.2)
    with pytest.raises(OutputError):
        make_corpus(tmp_path / "README.txt", minutes=0.2)
    assert digests(tmp_path).keys() == {"README.txt"}


@pytest.mark.parametrize("wrong", [{"minutes": 0.0}, {"minutes": float("nan")}, {"seed": -1}, {"language": "xx"},
                                   {"size": "huge"}])
def test_wrong_arguments_leave_nothing(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_corpus(tmp_path / "raw", **wrong)
    assert not (tmp_path / "raw").exists()


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingPackageError):
        make_corpus(tmp_path / "raw")
    assert not (tmp_path / "raw").exists()

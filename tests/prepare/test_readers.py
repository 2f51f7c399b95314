"""What every reader of a corpus keeps, whatever its corpus is: the one conformance test of the family."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.prepare.corpora import lay, tsv
from utterloom.core.errors import ConfigError, UtterloomError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers import READERS, reader
from utterloom.prepare.readers.corpus_files import Hints, PathRoot, known, lines_of, seconds, split_named_in
from utterloom.shards import layout

ROOT = Path(__file__).resolve().parents[2]
CLIPS = "client_id|path|sentence|up_votes|locale"
POPULI = "id|raw_text|normalized_text|speaker_id|split|gender"
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "common_voice": ("", {"train.tsv": tsv(CLIPS, "s0|a.mp3|Một.|2|vi", "s1|b.mp3|Hai|2|vi"),
                          "test.tsv": tsv(CLIPS, "s2|c.mp3|Ba|2|vi"),
                          "validated.tsv": tsv(CLIPS, "s0|a.mp3|Một.|2|vi", "s3|d.mp3|Bốn|2|vi")}),
    "kaldi": ("", {"wav.scp": "r1 a.wav\nr2 cat b.wav |\n", "segments": "u1 r1 0 1.5\nu2 r1 1.5 -1\nu3 r2 0 1\n",
                   "text": "u1 một\nu2 hai\nu3 ba\n", "utt2spk": "u1 s\nu2 s\nu3 s\n"}),
    "librispeech": ("", {"dev-clean/14/208/14-208.trans.txt": "14-208-0000 ONE\n14-208-0001 TWO\n", "SPEAKERS.TXT": "14 | F | x\n",
                         "dev-clean/14/208/14-208-0000.flac": "", "mls_polish/train/transcripts.txt": "1_2_0\tjuż\n1_2_1\tdwa\n"}),
    "nemo": ("m.json", {"m.json": "".join(json.dumps(row) + "\n" for row in (
        {"audio_filepath": "w/a.wav", "duration": 1.0, "text": "một"},
        {"audio_filepath": "w/a.wav", "offset": 0.5, "duration": 1.0, "text": "hai", "lang": "vi"}))}),
    "voxpopuli": ("", {"hr/asr_train.tsv": tsv(POPULI, "20180206_1|Da.|da|1|train|male", "20180206_2||ne|2|train|None")}),
    "gigaspeech": ("g.json", {"g.json": json.dumps({"language": "EN", "audios": [{"aid": "A", "path": "a.opus", "segments": [
        {"sid": "A_1", "begin_time": 0.0, "end_time": 1.5, "text_tn": "ONE <PERIOD>", "subsets": ["{XS}"]},
        {"sid": "A_2", "begin_time": 1.5, "end_time": 2.0, "text_tn": "<SIL>", "subsets": ["{DEV}"]}]}]}, indent=1)}),
}


PUT_IN = [b"", b"\n", b"\t", b" ", b"|", b'"', b"\xff", b"\0", b"-1", b"nan", b"\\u0000", b"{", b"[]", b"1e999"]


def source_of(name: str, folder: Path) -> Path:
    below, files = SOURCES[name]
    return lay(folder, files) / below


def check(items: Iterator[Utterance | Drop]) -> list[Utterance | Drop]:
    """Every item is what the stage relies on."""
    found = list(items)
    for item in found:
        assert isinstance(item.id, str) and item.id
        if isinstance(item, Drop):
            assert item.reason and item.detail and (item.seconds is None or item.seconds >= 0)
            continue
        assert item.text is None or item.text == item.text.strip() != ""
        assert item.split is None or item.split == item.split.lower()
        assert all(value is None or value for value in (item.speaker, item.session, item.language))
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in item.attributes.items()) and not item.views
        (span,) = item.spans
        assert span.path.startswith("/") and span.sample_rate_hz is None
        assert all(time is None or time >= 0 for time in (span.start_s, span.stop_s))
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_again_says_the_same(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    one = check(reader(name).read(source))
    assert len(one) >= 2 and any(isinstance(item, Utterance) for item in one)
    assert all(item.split is None or layout.split_complaint(item.split) is None for item in one if isinstance(item, Utterance))
    assert one == check(reader(name).read(source)) and reader(name).fingerprint(source) == reader(name).fingerprint(source)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data())
def test_a_hurt_source_is_drops_or_an_error_that_says_so(name: str, tmp_path: Path, data: st.DataObject) -> None:
    """C-P12: nothing else is ever raised, whatever became of a list: cut, with bytes changed, lines lost, doubled or merged."""
    shutil.rmtree(tmp_path / "hurt", ignore_errors=True)
    source = source_of(name, tmp_path / "hurt")
    path = data.draw(st.sampled_from([tmp_path / "hurt" / file for file, content in SOURCES[name][1].items() if content]))
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 12)))
    put = data.draw(st.sampled_from(PUT_IN) | st.binary(max_size=4) | st.just(content[start:stop] * 2))
    path.write_bytes(content[:start] + put + content[stop:] if data.draw(st.booleans()) else content[:start] + put)
    try:
        reader(name).fingerprint(source)
        check(reader(name).read(source))
    except UtterloomError as error:
        assert error.message


@pytest.mark.parametrize("name", [*SOURCES, "lhotse", "huggingface"])
def test_what_is_not_there_is_an_error_for_people(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "gone", tmp_path / "empty", tmp_path / "gone" / "below" / "it", tmp_path / ("x" * 300)):
        with pytest.raises(UtterloomError):
            list(reader(name).read(source))


@pytest.mark.parametrize("name", [*SOURCES, "lhotse", "huggingface"])
def test_every_reader_is_in_the_walk(name: str) -> None:
    assert name in READERS
    assert f"`{name}`" in (ROOT / "docs" / "walk" / "prepare.md").read_text(encoding="utf-8")


def test_every_shared_corpus_has_what_its_readme_says(shared: Path) -> None:
    """E-P24: counts are asserted where data come in; split by split, and every recording is there."""
    readmes = sorted((shared / "data").glob("*/README.md"))
    assert len(readmes) >= 12
    for readme in readmes:
        lines = readme.read_text(encoding="utf-8").splitlines()
        said = dict(line[2:].split(": ", 1) for line in lines if line.startswith("- ") and ": " in line)
        items = list(reader("table").read(readme.parent / "transcripts.tsv"))
        found = [item for item in items if isinstance(item, Utterance)]
        assert len(found) == len(items) == int(said["utterances"]), readme
        splits = Counter(utterance.split for utterance in found)
        assert splits == {split: int(count) for split, count in (pair.split() for pair in said["splits"].split(", "))}, readme
        assert all(Path(utterance.spans[0].path).is_file() for utterance in found), readme


def test_a_reader_that_is_not_there_names_what_is() -> None:
    with pytest.raises(ConfigError) as caught:
        reader("commonvoice")
    assert "'common_voice'" in (caught.value.hint or "")


@pytest.mark.parametrize(("name", "split"), [
    ("train-clean-100", "train"), ("train_si284", "train"), ("dev-other", "dev"), ("validation.clean", "dev"), ("VALID", "dev"),
    ("eval2000", "test"), ("test_dev93", "test"), ("train_dev", "dev"), ("latest", None), ("contest", None), ("trainer", None),
    ("mls_polish", None), ("", None)])
def test_what_a_name_says_of_a_split(name: str, split: str | None) -> None:
    """K5; where two are said, never the one that is trained on."""
    assert split_named_in(name) == split


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    lay(tmp_path, {"t": "\ufeffa\u2028b\x85c\rd\x0b\n \n\ne\r\nf"})
    assert list(lines_of(tmp_path / "t")) == [(1, "a\u2028b\x85c\rd\x0b"), (4, "e"), (5, "f")]


def test_relative_paths_begin_where_they_lead_somewhere(tmp_path: Path) -> None:
    lay(tmp_path, {"exp/data/train/wav.scp": "", "exp/audio/b.wav": b""})
    root = PathRoot(tmp_path / "exp" / "data" / "train")
    assert root.full("audio/a.wav") == f"{tmp_path}/exp/data/train/audio/a.wav"  # nothing found so far
    assert root.full("audio/b.wav") == f"{tmp_path}/exp/audio/b.wav"
    assert root.full("audio/a.wav") == f"{tmp_path}/exp/audio/a.wav"
    assert (root.full("/x/y.wav"), root.full("s3://b/y.wav")) == ("/x/y.wav", "s3://b/y.wav")


@pytest.mark.parametrize("value", ["", "soon", None, True, -0.001, float("nan"), "inf", "1e999", [1], "1:30"])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a time in seconds"):
        seconds(value)


def test_small_words() -> None:
    assert [known(value) for value in (None, " ", "N/A", "None", "0", 0, " x ")] == [None, None, None, None, "0", "0", "x"]
    hints = Hints(["rec001", "rec002"], most=1)
    assert (hints.near("rec01"), hints.near("rec01")) == ("; names that look like it: rec001, rec002", "")

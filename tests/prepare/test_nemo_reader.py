"""NeMo manifests: every line is an utterance or a drop that names its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.prepare.corpora import lay, said
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.nemo import NemoReader
from utterloom.prepare.stage import PrepareConfig, prepare


def manifest(path: Path, *rows: dict[str, Any] | str) -> Path:
    lay(path.parent, {path.name: "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)})
    return path


def read(source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(NemoReader(), source)


def test_what_a_line_may_say(tmp_path: Path) -> None:
    source = manifest(
        tmp_path / "m.json",
        {"audio_filepath": "wavs/a.wav", "duration": 1.5, "text": " Xin chào ", "speaker": 7, "lang": "vi", "snr_db": 12.5,
         "words": ["Xin"], "noise": None},
        {"audio_filepath": f"{tmp_path}/wavs/b.wav", "duration": 2.25, "offset": 1853.82, "text": "", "orig_sample_rate": 8000},
        {"audio_filename": "other/c.d.wav", "offset": 0, "normalized_text": "ba", "source_lang": "en", "target_lang": "en"})
    utterances, drops = read(source)
    assert not drops and list(utterances) == ["wavs/a", "wavs/b_1853820-1856070", "other/c.d_0-end"]
    one, two, three = utterances.values()
    assert (one.text, one.speaker, one.language, one.split) == ("Xin chào", "7", "vi", None)
    assert one.attributes == {"duration": "1.5", "snr_db": "12.5"}
    assert (one.spans[0].path, one.spans[0].start_s) == (f"{tmp_path}/wavs/a.wav", None)
    assert (two.text, two.speaker, two.spans[0].start_s, two.spans[0].stop_s) == (None, None, 1853.82, 1856.07)
    assert two.attributes == {"orig_sample_rate": "8000"}
    assert (three.text, three.language, three.spans[0].start_s, three.spans[0].stop_s) == ("ba", "en", 0.0, None)


@pytest.mark.parametrize(("line", "why"), [
    ("{", "not JSON"), ("[]", "not a JSON object"), ('{"audio_filepath": "a.wav", "text": "x", "text": "y"}', "twice"),
    ('{"text": "x", "duration": 1}', "audio_filepath is None"), ('{"audio_filepath": 3, "text": "x"}', "audio_filepath is 3"),
    ('{"audio_filepath": " "}', "not a path"),
    ('{"audio_filepath": "a.wav", "offset": -1}', "not a time"), ('{"audio_filepath": "a.wav", "offset": NaN}', "not a time"),
    ('{"audio_filepath": "a.wav", "offset": 1, "duration": "long"}', "not a time"),
    ('{"audio_filepath": "a.wav", "text": ["x"]}', "not text"),
    ('{"audio_filepath": "a.wav", "text_filepath": "gone.txt"}', "cannot be read")])
def test_a_line_that_cannot_be_understood_is_a_drop_that_names_it(tmp_path: Path, line: str, why: str) -> None:
    fine, drop, last = NemoReader().read(manifest(tmp_path / "m.json", {"audio_filepath": "x/f.wav", "text": "x"}, line,
                                                  {"audio_filepath": "x/l.wav", "text": "x"}))
    assert isinstance(fine, Utterance) and isinstance(last, Utterance)
    assert isinstance(drop, Drop) and drop.reason == "bad row" and "m.json line 2" in drop.detail and why in drop.detail


def test_what_is_no_transcript_or_no_file_says_so(tmp_path: Path) -> None:
    """Truth 12: a translation is not what is spoken."""
    source = manifest(
        tmp_path / "m.json", {"audio_filepath": "a.wav", "text": "x", "source_lang": "de", "target_lang": "en"},
        {"audio_filepath": "tarred_b.wav", "text": "x", "shard_id": 3, "offset": 0, "duration": 2},
        {"audio_filepath": "a/c.wav", "text_filepath": "c.txt"})
    lay(tmp_path, {"c.txt": "\ufeffmột\n"})
    utterances, drops = read(source)
    assert {name: u.text for name, u in utterances.items()} == {"a/c": "một"}
    assert {drop.reason: drop.seconds for drop in drops.values()} == {
        "text is a translation": None, "recording in a tar shard": 2.0}


def test_a_folder_of_manifests(tmp_path: Path) -> None:
    """K5; what is in two manifests is not trained on (E-P13)."""
    for name, ids in (("train_manifest", "ab"), ("dev-other", "b"), ("test", "c")):
        manifest(tmp_path / f"{name}.json", *({"audio_filepath": f"{x}.wav", "text": x, "split": ""} for x in ids))
    manifest(tmp_path / "all.jsonl", {"audio_filepath": "d.wav", "text": "d", "split": "validation"})
    lay(tmp_path, {"notes.json": '{"a": 1}', "vocab.txt": "a"})
    items = list(NemoReader().read(tmp_path))
    assert [(u.id, u.split) for u in items if isinstance(u, Utterance)] == [
        ("c", "test"), ("b", "dev"), ("a", "train"), ("b", "train"), ("d", "dev")]


def test_through_prepare(tmp_path: Path) -> None:
    lay(tmp_path, {"wavs/a.wav": 2.0, "wavs/b.flac": 1.0})
    stretches = [{"audio_filepath": "wavs/a.wav", "offset": start, "duration": 1.0, "text": "một"} for start in (0, 0.5, 1.5)]
    source = manifest(
        tmp_path / "m.json", *stretches,
        {"audio_filepath": "wavs/b.flac", "duration": 1.0, "text": "hai"}, {"audio_filepath": "wavs/c.flac", "text": "ba"})
    card = prepare("nemo", source, tmp_path / "m", PrepareConfig(workers=0, dev=0))
    assert card["ledger"]["in"] == 5 and card["ledger"]["seconds_ok"] == 3.0
    assert {row["reason"] for row in card["ledger"]["reasons"]} == {"span outside the recording", "recording missing"}


@pytest.mark.parametrize(("name", "content", "word"), [
    ("m.json", "", "no line with audio_filepath"), ("m.json", '{"wav": "a"}', "no line with audio_filepath"),
    ("m.json", b"\xff", "not UTF-8"), ("d/x.csv", "a", "no line with audio_filepath")])
def test_what_is_no_manifest_is_refused(tmp_path: Path, name: str, content: str | bytes, word: str) -> None:
    lay(tmp_path, {name: content})
    with pytest.raises(SourceError, match=word):
        list(NemoReader().read(tmp_path / Path(name).parts[0]))


def test_a_manifest_that_is_not_there_names_what_is(tmp_path: Path) -> None:
    manifest(tmp_path / "train.json", "{}")
    with pytest.raises(SourceError) as caught:
        NemoReader().fingerprint(tmp_path / "trian.json")
    assert "'train.json'" in (caught.value.hint or "")


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    """C-P14."""
    before = NemoReader().fingerprint(manifest(tmp_path / "m.json", {"audio_filepath": "a.wav"}))
    assert NemoReader().fingerprint(tmp_path / "m.json") == before
    assert NemoReader().fingerprint(manifest(tmp_path / "m.json", {"audio_filepath": "b.wav"})) != before

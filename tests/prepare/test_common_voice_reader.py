"""Common Voice as it is released: every clip once, in the split that its release gave it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.prepare.corpora import lay, said, tsv
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.common_voice import CommonVoiceReader
from utterloom.prepare.stage import PrepareConfig, prepare

HEADER = "client_id|path|sentence_id|sentence|sentence_domain|up_votes|down_votes|age|gender|accents|variant|locale|segment"


def row(name: str, speaker: str = "s0", sentence: str = "Ɛyɛ.") -> str:
    return f"{speaker}|{name}.mp3|5f|{sentence}||2|0|thirties|||  |tw|"


def read(source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(CommonVoiceReader(), source)


def test_a_whole_release(shared: Path) -> None:
    """Common Voice Twi straight from its own TSVs: the counts, texts and splits of its README (C5; E-P24: counts asserted)."""
    source = shared / "data" / "common_voice_tw"
    utterances, drops = read(source)
    assert not drops
    assert Counter(u.split for u in utterances.values()) == {"train": 205, "test": 20, "other": 46, "invalidated": 1}
    assert len({u.speaker for u in utterances.values()}) == 11
    assert {u.language for u in utterances.values()} == {"tw"}
    known = [line.split("\t") for line in (source / "transcripts.tsv").read_text("utf-8").split("\n")[1:] if line]
    assert {(u.id, u.text, (u.speaker or "")[:12], u.split) for u in utterances.values()} == {
        (name, text, speaker, split) for name, _, text, speaker, split in known}
    assert all(Path(u.spans[0].path).is_file() for u in utterances.values())


def test_a_whole_release_through_prepare(shared: Path, tmp_path: Path) -> None:
    """Its training split is one speaker, so that the dev split is of random utterances, and labelled so (K6)."""
    card = prepare("common_voice", shared / "data" / "common_voice_tw", tmp_path / "m",
                   PrepareConfig(group_by=[], workers=0))
    assert card["utterances"] == 272 and card["hours"] == pytest.approx(0.326, abs=0.001) and card["ledger"]["dropped"] == 0
    assert card["languages"] == ["tw"] and card["formats"] == {"mp3 32000 Hz 1 ch": 272}
    assert card["splits"]["test"]["utterances"] == 20 and set(card["splits"]) == {"train", "dev", "test", "other", "invalidated"}


def test_official_splits_win_and_the_rest_stays_apart(tmp_path: Path) -> None:
    """K5, E-P12: what is not checked, or was voted down, is never trained on."""
    lay(tmp_path, {
        "train.tsv": tsv(HEADER, row("a")), "dev.tsv": tsv(HEADER), "test.tsv": tsv(HEADER, row("b")),
        "validated.tsv": tsv(HEADER, row("a"), row("b"), row("c")), "other.tsv": tsv(HEADER, row("d")),
        "invalidated.tsv": tsv(HEADER, row("e")), "mine.tsv": tsv(HEADER, row("a"), row("f")),
        "reported.tsv": tsv("sentence_id|sentence|locale|reason", "5f|Ɛyɛ.|tw|offensive"),
        "clip_durations.tsv": tsv("clip|duration[ms]", "a.mp3|4176"),
        "validated_sentences.tsv": tsv("sentence_id|sentence|sentence_domain|source|is_used|clips_count", "5f|Ɛyɛ.||x|1|5"),
        "unvalidated_sentences.tsv": tsv("sentence_id|sentence|sentence_domain|source", "5f|Ɛyɛ.||x")})
    utterances, drops = read(tmp_path)
    assert not drops
    assert {name: u.split for name, u in utterances.items()} == {
        "a": "train", "b": "test", "c": "validated", "d": "other", "e": "invalidated", "f": "mine"}
    assert utterances["a"].attributes == {"sentence_id": "5f", "up_votes": "2", "down_votes": "0", "age": "thirties"}
    assert utterances["a"].spans[0].path == f"{tmp_path}/clips/a.mp3"


def test_a_release_of_validated_clips_alone_is_for_training(tmp_path: Path) -> None:
    lay(tmp_path, {"train.tsv": "", "test.tsv": tsv(HEADER), "validated.tsv": tsv(HEADER, row("a")),
                   "other.tsv": tsv(HEADER, row("b"))})
    utterances, _ = read(tmp_path)
    assert (utterances["a"].split, utterances["b"].split) == (None, "other")


def test_a_clip_that_is_tested_on_is_not_trained_on(tmp_path: Path) -> None:
    """Truth 10, E-P13."""
    lay(tmp_path, {"train.tsv": tsv(HEADER, row("a")), "test.tsv": tsv(HEADER, row("a"))})
    test, train = CommonVoiceReader().read(tmp_path)
    assert isinstance(test, Utterance) and test.split == "test"
    assert isinstance(train, Drop) and train.reason == "in two lists" and "train.tsv" in train.detail and "test.tsv" in train.detail


def test_quotation_marks_are_text(tmp_path: Path) -> None:
    """A TSV is not a CSV: one lone mark must not glue the rows after it into one transcript."""
    marks = ['"Kɔ', '""Kɔ ha""', 'a "b" c', '"', "x\u2028y", "x\ry"]
    lay(tmp_path, {"train.tsv": tsv(HEADER, *(row(f"c{number}", sentence=said) for number, said in enumerate(marks)))})
    utterances, drops = read(tmp_path)
    assert not drops and [utterances[f"c{number}"].text for number in range(len(marks))] == marks


def test_first_releases(tmp_path: Path) -> None:
    """`accent` for `accents`, no locale, paths without a suffix."""
    lay(tmp_path, {"train.tsv": tsv("client_id|path|sentence|up_votes|down_votes|age|gender|accent", "s|ab12|Hello||0||male|us")})
    utterances, _ = read(tmp_path)
    assert utterances["ab12"].spans[0].path.endswith("/clips/ab12.mp3") and utterances["ab12"].language is None
    assert utterances["ab12"].attributes == {"down_votes": "0", "gender": "male", "accent": "us"}


def test_a_bad_row_is_one_drop_though_validated_repeats_it(tmp_path: Path) -> None:
    lay(tmp_path, {"train.tsv": tsv(HEADER, row("a")[:-4], "s||5f|x||0|0|||||tw|", row("b", sentence="")),
                   "validated.tsv": tsv(HEADER, row("a")[:-4])})
    utterances, drops = read(tmp_path)
    assert set(drops) == {"a", "train.tsv line 3"} and "11 cells where the header has 13" in drops["a"].detail
    assert utterances["b"].text is None  # the stage counts it: no transcript


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"cv-corpus-21.0/tw/train.tsv": tsv(HEADER, row("a")), "file": "", "bad/train.tsv": tsv("id|path", "a|b"),
                   "nothing/clips/a.mp3": b""})
    for name, word in (("cv-corpus-21.0", "its languages: tw"), ("file", "is a file"), ("nothing", "holds no list of clips"),
                       ("cv-corpus-21", "did you mean 'cv-corpus-21.0'")):
        with pytest.raises(SourceError, match=word):
            list(CommonVoiceReader().read(tmp_path / name))
    with pytest.raises(SourceError, match="no column 'client_id'; it has: id, path"):
        list(CommonVoiceReader().read(tmp_path / "bad"))


def test_the_fingerprint_follows_the_lists_alone(tmp_path: Path) -> None:
    """C-P14: a changed list is another source."""
    lay(tmp_path, {"train.tsv": tsv(HEADER, row("a")), "reported.tsv": tsv("sentence_id|sentence", "1|x")})
    before = CommonVoiceReader().fingerprint(tmp_path)
    lay(tmp_path, {"reported.tsv": tsv("sentence_id|sentence"), "manifest/manifest.json": "{}"})
    assert CommonVoiceReader().fingerprint(tmp_path) == before
    lay(tmp_path, {"train.tsv": tsv(HEADER, row("a", sentence="Dabi"))})
    assert CommonVoiceReader().fingerprint(tmp_path) != before

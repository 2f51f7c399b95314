"""LibriSpeech and MLS trees: splits, speakers and sessions from where things lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.corpora import lay, said
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.librispeech import LibriSpeechReader
from utterloom.prepare.stage import PrepareConfig, prepare

SPEAKERS = ";ID  |SEX| SUBSET           |MINUTES| NAME\n14   | F | train-clean-360  | 25.03 | Kristin LeMoine\n16 | M | x | 1 | y\n"
TREE: dict[str, str | bytes | float] = {
    "LibriSpeech/SPEAKERS.TXT": SPEAKERS, "LibriSpeech/README.TXT": "read me",
    "LibriSpeech/train-clean-100/14/208/14-208.trans.txt": "14-208-0000 CHAPTER SIX\n14-208-0001 DON'T\n",
    "LibriSpeech/train-clean-100/14/208/14-208-0000.flac": 1.0,
    "LibriSpeech/train-clean-100/14/208/14-208-0001.flac": 0.5,
    "LibriSpeech/dev-other/116/288045/116-288045.trans.txt": "116-288045-0000 AS I\n116-288045-0007 GONE\n",
    "LibriSpeech/dev-other/116/288045/116-288045-0000.wav": 0.5,
    "LibriSpeech/dev-other/116/288045/116-288045-0001.wav": 0.5}


def read(source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(LibriSpeechReader(), source)


@pytest.mark.parametrize("below", ["", "LibriSpeech"])
def test_a_tree_of_chapters(tmp_path: Path, below: str) -> None:
    """D19. A line without audio is a drop, audio without a line is unlabelled (truth 1)."""
    utterances, drops = read(lay(tmp_path, TREE) / below)
    assert list(utterances) == ["116-288045-0000", "116-288045-0001", "14-208-0000", "14-208-0001"]
    assert {name: u.split for name, u in utterances.items() if u.split != "dev"} == {"14-208-0000": "train", "14-208-0001": "train"}
    one, two = utterances["14-208-0001"], utterances["116-288045-0001"]
    assert (one.text, one.speaker, one.session, one.language) == ("DON'T", "14", "14-208", "en")
    assert one.attributes == {"part": "train-clean-100", "gender": "F"}
    assert (two.text, two.speaker, two.attributes) == (None, "116", {"part": "dev-other"})
    assert Path(one.spans[0].path).is_file() and two.spans[0].path.endswith("0001.wav")
    assert set(drops) == {"116-288045-0007"} and "116-288045-0000" in drops["116-288045-0007"].detail


def test_a_single_part(tmp_path: Path) -> None:
    lay(tmp_path, TREE)
    utterances, _ = read(tmp_path / "LibriSpeech" / "train-clean-100")
    assert {(u.split, u.attributes["gender"]) for u in utterances.values()} == {("train", "F")} and len(utterances) == 2


def test_a_part_behind_a_link_that_also_leads_back(tmp_path: Path) -> None:
    lay(tmp_path / "disk", TREE)
    (tmp_path / "LibriSpeech").mkdir()
    (tmp_path / "LibriSpeech" / "test-clean").symlink_to(tmp_path / "disk" / "LibriSpeech" / "dev-other")
    (tmp_path / "disk" / "LibriSpeech" / "dev-other" / "116" / "up").symlink_to(tmp_path / "LibriSpeech")
    utterances, _ = read(tmp_path / "LibriSpeech")
    assert {u.split for u in utterances.values()} == {"test"} and len(utterances) == 2


def test_multilingual_librispeech(tmp_path: Path) -> None:
    """MLS says its language, and its parts are splits."""
    name = "mls_polish_opus"
    lay(tmp_path, {
        f"{name}/metainfo.txt": " SPEAKER   |   GENDER   | PARTITION  |  MINUTES   |  BOOK ID   |  TITLE   | CHAPTER\n"
                                "  6892     |     M      |   train    |   2.42     |   8758     |  Dzieci  | I\n",
        f"{name}/train/transcripts.txt": "6892_8758_000000\tjuż ż\u00f3łw\n6892_8758_000001\t\nbroken\n",
        f"{name}/train/segments.txt": "6892_8758_000000\thttp://x.mp3\t1.5\t12.8\n",
        f"{name}/train/limited_supervision/9hr/handles.txt": "6892_8758_000000\n",
        f"{name}/train/audio/6892/8758/6892_8758_000000.opus": b"", f"{name}/train/audio/6892/8758/6892_8758_000001.flac": b"",
        f"{name}/dev/transcripts.txt": "1_2_000000\tx\n"})
    utterances, drops = read(tmp_path)
    one, two, three = (utterances[key] for key in ("6892_8758_000000", "6892_8758_000001", "1_2_000000"))
    assert (one.text, one.speaker, one.session, one.language, one.split) == ("już żółw", "6892", "6892_8758", "pl", "train")
    assert one.attributes == {"part": "train", "gender": "M"}
    assert one.spans[0].path.endswith("audio/6892/8758/6892_8758_000000.opus")
    assert two.text is None and two.spans[0].path.endswith(".flac") and (three.split, three.language) == ("dev", "pl")
    assert set(drops) == {"broken"} and "line 3" in drops["broken"].detail


def test_a_folder_of_another_name_says_no_language(tmp_path: Path) -> None:
    utterances, _ = read(lay(tmp_path, {"polish/train/transcripts.txt": "1_2_3\tx\n", "vi/train/1/2/1-2.trans.txt": "1-2-3 x\n",
                                        "vi/train/1/2/1-2-3.flac": ""}))
    assert {name: u.language for name, u in utterances.items()} == {"1_2_3": None, "1-2-3": None}


def test_through_prepare(tmp_path: Path) -> None:
    card = prepare("librispeech", lay(tmp_path / "s", TREE), tmp_path / "m", PrepareConfig(workers=0))
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 2, "dev": 1}
    assert {row["reason"]: row["utterances"] for row in card["ledger"]["reasons"]} == {"no recording": 1, "no transcript": 1}
    assert card["ledger"]["in"] == 5 and card["overlaps"]["dev/train"] == {"speaker": 0, "session": 0, "recording": 0, "text": 0}


@pytest.mark.parametrize(("files", "word"), [
    ({"a/b.flac": b""}, "neither"), ({"p/1/2/1-2.trans.txt": b"\xff"}, "not UTF-8"),
    ({"p/1/2/1-2.trans.txt": "1-2-3 X", "p/1/2/1-2-3.wav": b"", "p/1/2/1-2-3.flac": b""}, "two recordings are called '1-2-3'")])
def test_what_is_no_tree_is_refused(tmp_path: Path, files: dict[str, str | bytes], word: str) -> None:
    with pytest.raises(SourceError, match=word):
        read(lay(tmp_path, files))


def test_two_lines_of_one_id_are_one_utterance_and_a_drop(tmp_path: Path) -> None:
    items = list(LibriSpeechReader().read(lay(tmp_path, {"p/1/2/1-2.trans.txt": "1-2-3 X\n1-2-3 Y\n", "p/1/2/1-2-3.flac": b""})))
    assert [type(item) for item in items] == [Drop, Utterance] and isinstance(items[1], Utterance) and items[1].text == "X"


def test_the_fingerprint_follows_transcripts_recordings_and_speakers(tmp_path: Path) -> None:
    """C-P14."""
    seen = [LibriSpeechReader().fingerprint(lay(tmp_path, TREE))]
    part = "LibriSpeech/dev-other/116/288045/116-288045"
    for name in (f"{part}.trans.txt", f"{part}-0007.flac", "LibriSpeech/SPEAKERS.TXT"):
        seen.append(LibriSpeechReader().fingerprint(lay(tmp_path, {name: "116-288045-0000 A\n"})))
    assert len(set(seen)) == 4
    assert LibriSpeechReader().fingerprint(lay(tmp_path, {"LibriSpeech/README.TXT": "x"})) == seen[-1]

"""VoxPopuli as its own tool lays it out, and as it is published elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.corpora import lay, said, tsv
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.voxpopuli import VoxPopuliReader
from utterloom.prepare.stage import PrepareConfig, prepare

HEADER = "id|raw_text|normalized_text|speaker_id|split|gender"
A, B, C, D = (f"20180206-0900-PLENARY-{number}-hr_20180206-16:10:06_{number}" for number in range(4))
LISTS = {
    "hr/asr_train.tsv": tsv(HEADER, f'{A}|Hvala, "gospodine.|hvala gospodine|96854|train|male',
                            f"{B}||puno hvala|None|train|female"),
    "hr/asr_dev.tsv": tsv(HEADER, f"{C}|Da.|da|1|dev|N/A"), "hr/asr_test.tsv": tsv(HEADER, f"{D}|Ne.|ne|2|test|female")}


def read(source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(VoxPopuliReader(), source)


@pytest.mark.parametrize("below", ["", "transcribed_data", "transcribed_data/hr"])
def test_the_published_layout(tmp_path: Path, below: str) -> None:
    """D19: the raw text is what is kept (K2); speakers, languages and splits."""
    data = tmp_path / "transcribed_data"
    lay(data, LISTS)
    lay(data, {f"hr/2018/{A}.ogg": b"", "hr/2018/stray.ogg": b""})
    utterances, drops = read(tmp_path / below)
    assert not drops and {name: u.split for name, u in utterances.items()} == {D: "test", C: "dev", A: "train", B: "train"}
    assert (utterances[A].text, utterances[A].speaker, utterances[A].language) == ('Hvala, "gospodine.', "96854", "hr")
    assert utterances[A].attributes == {"normalized_text": "hvala gospodine", "gender": "male"}
    assert utterances[A].spans[0].path == f"{data}/hr/2018/{A}.ogg"
    assert (utterances[B].text, utterances[B].speaker) == ("puno hvala", None)
    assert utterances[B].spans[0].path == f"{data}/hr/2018/{B}.ogg"  # what the stage reports as missing


def test_recordings_in_folders_of_parts(tmp_path: Path) -> None:
    """The Hub's layout, with two columns more."""
    header = f"{HEADER}|is_gold_transcript|accent"
    lay(tmp_path, {"en_accented/asr_test.tsv": tsv(header, f"{A}|Yes.|yes|7|test|male|True|en_fr"),
                   f"en_accented/test/test_part_0/{A}.wav": b""})
    (one,) = read(tmp_path)[0].values()
    assert one.spans[0].path == f"{tmp_path}/en_accented/test/test_part_0/{A}.wav" and one.language == "en"
    assert one.attributes["accent"] == "en_fr" and one.attributes["is_gold_transcript"] == "True"


def test_what_cannot_be_understood_is_counted(tmp_path: Path) -> None:
    lay(tmp_path, {"de/asr_train.tsv": tsv(HEADER, "a|x|x|1|train", "|x|x|1|train|male", "../b|x|x|1|train|male",
                                           f"{A}|||1||male")})
    utterances, drops = read(tmp_path)
    assert set(drops) == {"a", "asr_train.tsv line 3", "../b"} and {drop.reason for drop in drops.values()} == {"bad row"}
    assert (utterances[A].text, utterances[A].split) == (None, "train")


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no asr_<split>\.tsv"):
        read(tmp_path)
    lay(tmp_path, {"hr/asr_train.tsv": tsv("id|text", "a|b")})
    with pytest.raises(SourceError, match="no column 'raw_text'"):
        read(tmp_path)
    lay(tmp_path, {"hr/asr_train.tsv": tsv(HEADER, f"{A}|x|x|1|train|male"), f"hr/1/{A}.wav": b"", f"hr/2/{A}.wav": b""})
    with pytest.raises(SourceError, match="two recordings are called"):
        read(tmp_path)


def test_through_prepare(tmp_path: Path) -> None:
    lay(tmp_path / "v", {**LISTS, **{f"hr/2018/{name}.ogg": 0.5 for name in (A, C, D)}})
    card = prepare("voxpopuli", tmp_path / "v", tmp_path / "m", PrepareConfig(workers=0))
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 1, "dev": 1, "test": 1}
    assert [row["reason"] for row in card["ledger"]["reasons"]] == ["recording missing"] and card["ledger"]["in"] == 4


def test_the_fingerprint_follows_the_lists(tmp_path: Path) -> None:
    """C-P14."""
    before = VoxPopuliReader().fingerprint(lay(tmp_path, LISTS))
    assert VoxPopuliReader().fingerprint(lay(tmp_path, {"hr/2018/x.ogg": b""})) == before
    assert VoxPopuliReader().fingerprint(lay(tmp_path, {"hr/asr_dev.tsv": tsv(HEADER)})) != before

"""Speaker turns: utterances without transcript, with what lies over what."""

from __future__ import annotations

from pathlib import Path

import pytest

from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.rttm import RttmReader
from utterloom.prepare.stage import PrepareConfig, prepare


def lay(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("_dot_", ".")).write_text(content, encoding="utf-8")
    return folder


def read(source: Path) -> tuple[list[Utterance], list[Drop]]:
    items = list(RttmReader().read(source))
    return [item for item in items if isinstance(item, Utterance)], [item for item in items if isinstance(item, Drop)]


RTTM = """;; a comment
SPKR-INFO a 1 <NA> <NA> <NA> adult_male Ana <NA> <NA>
SPEAKER a 1 0.1 0.2 <NA> <NA> Ana <NA> <NA>
SPEAKER a 1 0.2 1.000 <NA> <NA> SPEAKER_00 0.97
SPEAKER a 1 5 0 <NA> <NA> Ana <NA> <NA>
SPEAKER a 1 5 -1 <NA> <NA> Ana <NA> <NA>
SPEAKER a 1 5
SPEECH a 1 5 1 <NA> <NA> Ana <NA> <NA>
SPEAKER b 1 2 1.5 <NA> <NA> SPEAKER_00 <NA> <NA>
SPEAKER c 1 2 1.5 <NA> <NA> Ana <NA> <NA>
"""


def test_turns_are_utterances_without_transcript(tmp_path: Path) -> None:
    kept, drops = read(lay(tmp_path, a_dot_wav="", b_dot_wav="", all_dot_rttm=RTTM))
    assert [(u.id, u.text, u.speaker, dict(u.attributes)) for u in kept] == [
        ("a_0.10-0.30", None, "Ana", {"overlap_s": "0.1"}), ("a_0.20-1.20", None, "a/SPEAKER_00", {"overlap_s": "0.1"}),
        ("b_2.00-3.50", None, "b/SPEAKER_00", {})]
    assert [(drop.id, drop.reason) for drop in drops] == [
        ("a_5.00-5.00", "no length"), ("a: line 6", "bad turn"), ("a: line 7", "bad turn"), ("a: line 8", "bad turn"),
        ("c_2.00-3.50", "no recording")]


def test_two_people_who_speak_at_once_have_two_ids(tmp_path: Path) -> None:
    turn = "SPEAKER a 1 1 2 <NA> <NA> {} <NA> <NA>\n"
    kept, _ = read(lay(tmp_path, a_dot_wav="", a_dot_rttm=turn.format("x") + turn.format("y")))
    assert [u.id for u in kept] == ["a_1.00-3.00", "a_1.00-3.00~2"]


def test_turns_of_several_channels(tmp_path: Path) -> None:
    """Each from its own; what two channels have at once lies over nothing, `<NA>` lies over the mix alone."""
    turn = "SPEAKER a {} {} 2 <NA> <NA> x <NA> <NA>\n"
    kept, drops = read(lay(tmp_path, a_dot_wav="", a_dot_rttm="".join(turn.format(*cells) for cells in (
        ("1", 1), ("2", 1), ("2", 2), ("<NA>", 1)))))
    assert not drops and [(u.id, u.spans[0].channel, dict(u.attributes)) for u in kept] == [
        ("a-1_1.00-3.00", 0, {}), ("a-2_1.00-3.00", 1, {"overlap_s": "1"}), ("a-2_2.00-4.00", 1, {"overlap_s": "1"}),
        ("a_1.00-3.00", None, {})]


@pytest.mark.parametrize(("content", "reason", "why"), [
    ("", "bad file", "holds no lines"), ("SPKR-INFO a 1 <NA> <NA> <NA> adult_male Ana <NA> <NA>\n", "bad file", "no SPEAKER lines"),
    ("SPEAKER a 1 1 2 <NA> <NA> x <NA> <NA>\nSPEAKER a mic 5 2 <NA> <NA> x <NA> <NA>\n", "unknown channel", "'mic'")])
def test_what_cannot_be_used_is_a_drop(tmp_path: Path, content: str, reason: str, why: str) -> None:
    kept, drops = read(lay(tmp_path, a_dot_wav="", a_dot_rttm=content))
    assert not kept and {drop.reason for drop in drops} == {reason} and why in drops[0].detail


def test_real_turns_of_two_speakers_who_overlap(shared: Path, tmp_path: Path) -> None:
    """20 turns in 10 recordings (README); the files name other recordings than they are called after, and it is said."""
    folder = shared / "data" / "librispeech_2mix"
    kept, drops = read(folder)
    assert not drops and len(kept) == 20 and len({u.id for u in kept}) == 20
    assert (kept[0].id, kept[0].speaker, kept[0].attributes) == (
        "audio/train-clean-2mix-0000_0.00-5.855", "1272", {"named": "dev-clean-2mix-0000", "overlap_s": "1.386"})
    text = (folder / "segments.tsv").read_text(encoding="utf-8").splitlines()[1:]
    spans = sorted((name, float(start_s), float(stop_s), speaker) for name, start_s, stop_s, speaker, _ in (
        line.split("\t") for line in text))
    assert spans == sorted((u.id.rpartition("_")[0].removeprefix("audio/"), u.spans[0].start_s, u.spans[0].stop_s, u.speaker)
                           for u in kept)
    card = prepare("rttm", folder, tmp_path / "manifest", PrepareConfig(dev=0.0, workers=0, unlabelled="keep"))
    assert card["utterances"] == card["ledger"]["in"] == 20

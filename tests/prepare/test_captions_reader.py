"""Captions as they come: SRT and VTT of every habit; each caption is an utterance or a drop that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.captions import CaptionsReader
from utterloom.prepare.stage import PrepareConfig, prepare


def lay(folder: Path, **files: str | bytes) -> Path:
    """Files by name; `__` is a slash, `_dot_` a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder: Path) -> tuple[list[Utterance], list[Drop]]:
    items = list(CaptionsReader().read(folder))
    return [item for item in items if isinstance(item, Utterance)], [item for item in items if isinstance(item, Drop)]


def times(utterance: Utterance) -> tuple[float | None, float | None]:
    return utterance.spans[0].start_s, utterance.spans[0].stop_s


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Dobar dan</i>,
svima &amp; svakome.

7
01:00:03,000 --> 01:00:04,040  X1:10 X2:20 Y1:1 Y2:2
{\\an8}a < b <font color="#fff">c</font>

still the same

00:00:05,000 --> 00:00:06,000
42
"""


@pytest.mark.parametrize("encode", [
    lambda text: text.encode(), lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
    lambda text: ("\ufeff" + text).encode("utf-16-le")])
def test_srt_with_gaps_tags_entities_and_empty_lines(tmp_path: Path, encode: object) -> None:
    kept, drops = read(lay(tmp_path, talk_dot_mp3="", talk_dot_srt=encode(SRT)))  # type: ignore[operator]
    assert [(u.id, u.text) for u in kept] == [
        ("talk_1.00-2.50", "Dobar dan, svima & svakome."), ("talk_3603.00-3604.04", "a < b c still the same"),
        ("talk_5.00-6.00", "42")]
    assert not drops and times(kept[1]) == (3603.0, 3604.04)


VTT = """WEBVTT - a title
Kind: captions
Language: hr

STYLE
::cue { color: lime }

NOTE a note
of two lines

intro
00:01.000 --> 00:02.000 align:start position:0%
<v.loud Ana Anić>Dobar <c.yellow>dan</c>&nbsp;&lt;3

00:00:02.000 --> 00:00:03.000
<v Ana Anić>Da? <v Speaker 1>Ne.

123:00:00.500 --> 123:00:01.000
<ruby>漢<rt>kan</rt></ruby><lang en>x</lang>
00:04.000 --> 00:05.000
no empty line before


00:06.000 --> 00:07.000
[Music] ♪

00:07.000 --> 00:08.000

00:08.0 --> 00:09.000
bad decimals

words without times

00:10.000 --> 00:09.000
backwards
"""


def test_vtt_of_every_habit(tmp_path: Path) -> None:
    kept, drops = read(lay(tmp_path, talk_dot_mp3="", talk_dot_vtt=VTT))
    assert [(u.text, u.speaker, u.language) for u in kept] == [
        ("Dobar dan <3", "Ana Anić", "hr"), ("Da? Ne.", None, "hr"), ("漢x", None, "hr"), ("no empty line before", None, "hr")]
    assert kept[1].attributes["speakers"] == "Ana Anić; Speaker 1" and times(kept[2]) == (442_800.5, 442_801.0)
    assert [(drop.reason, drop.detail.split(":")[0]) for drop in drops] == [
        ("no speech", "line 24"), ("no text", "line 27"), ("bad caption", "line 29"), ("bad caption", "line 32"),
        ("ends before it starts", "line 34")]
    assert "'bad decimals'" in drops[2].detail and drops[0].seconds == 1.0


def test_a_header_that_nothing_separates_from_the_first_caption(tmp_path: Path) -> None:
    vtt = "WEBVTT\nKind: captions\n00:01.000 --> 00:02.000\nda\n\n00:03 -> 00:04\nne\n"
    kept, drops = read(lay(tmp_path, t_dot_wav="", t_dot_vtt=vtt))
    assert [u.text for u in kept] == ["da"] and [drop.detail.split(":")[0] for drop in drops] == ["line 6"]


def test_times_that_are_not_understood_do_not_become_text(tmp_path: Path) -> None:
    """A cue with bad times is a drop of its own; the ones around it keep their words."""
    kept, drops = read(lay(tmp_path, t_dot_wav="", t_dot_srt=(
        "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:03,000 -> 00:00:04,000\ntwo\n\n"
        "3\n00:00:05,5 --> 00:00:06,000\nthree\n\n4\n00:00:07,000 --> 00:61:08,000\nfour\n\n5\n00:00:09 --> 00:00:10\nfive\n")))
    assert [u.text for u in kept] == ["one", "five"]
    assert [drop.reason for drop in drops] == ["bad caption"] * 3 and "'two'" in drops[0].detail and "line 6" in drops[0].detail


ROLLING = """WEBVTT

00:00:00.160 --> 00:00:03.429 align:start position:0%
 
do<00:00:00.960><c> your</c><00:00:01.520><c> kids</c>

00:00:03.429 --> 00:00:03.439 align:start position:0%
do your kids
 

00:00:03.439 --> 00:00:05.749 align:start position:0%
do your kids
think<00:00:03.760><c> so</c>

00:00:05.749 --> 00:00:05.759 align:start position:0%
think so
 

00:00:05.759 --> 00:00:07.000 align:start position:0%
think so
or not
"""


def test_rolling_captions_say_each_line_once_and_it_is_counted(tmp_path: Path) -> None:
    kept, drops = read(lay(tmp_path, t_dot_webm="", t_dot_en_dot_vtt=ROLLING))
    assert [(u.text, times(u), dict(u.attributes)) for u in kept] == [
        ("do your kids", (0.16, 3.429), {}), ("think so", (3.439, 5.749), {"rolled": "do your kids"}),
        ("or not", (5.759, 7.0), {"rolled": "think so"})]
    assert [(drop.reason, drop.seconds) for drop in drops] == [("rolling caption", 0.01)] * 2
    assert {u.language for u in kept} == {"en"}


def test_what_is_said_twice_stays_twice_and_overlaps_are_told_of(tmp_path: Path) -> None:
    lines = ["Yes.", "Yes.", "Never.", "Never.", "I do."]
    cues = [f"00:00:0{second},000 --> 00:00:0{second + 1},000\n{line}\n" for second, line in enumerate(lines)]
    over = "00:00:04,500 --> 00:00:06,000\nMe too.\n\n00:00:04,500 --> 00:00:06,000\nMe too.\n"
    kept, drops = read(lay(tmp_path, t_dot_wav="", t_dot_srt="\n".join([*cues, over])))
    assert [(u.text, dict(u.attributes)) for u in kept] == [
        ("Yes.", {}), ("Yes.", {"repeats": "Yes."}), ("Never.", {}), ("Never.", {"repeats": "Never."}),
        ("I do.", {"overlap_s": "0.5"}), ("Me too.", {"overlap_s": "0.5"})]
    assert [drop.reason for drop in drops] == ["duplicate caption"]


def test_two_caption_files_of_one_recording_contradict_one_another(tmp_path: Path) -> None:
    cue = "00:00:01,000 --> 00:00:02,000\nx\n"
    kept, drops = read(lay(tmp_path, t_dot_wav="", t_dot_en_dot_srt=cue, t_dot_fr_dot_srt=cue, u_dot_wav="", lost_dot_srt=cue))
    assert not kept
    assert [(drop.id, drop.reason) for drop in drops] == [
        ("lost_1.00-2.00", "no recording"), ("t.en.srt", "several files for one recording"),
        ("t.fr.srt", "several files for one recording"), ("u", "no segments")]


@pytest.mark.parametrize(("name", "content", "why"), [
    ("t.vtt", "00:01.000 --> 00:02.000\nx", "does not begin with WEBVTT"), ("t.srt", b"caf\xe9", "not UTF-8"),
    ("t.srt", "", "no captions"), ("t.vtt", "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n", "broadcast")])
def test_a_file_that_is_no_captions_is_one_drop(tmp_path: Path, name: str, content: str | bytes, why: str) -> None:
    kept, drops = read(lay(tmp_path, **{"t.wav": "", name: content}))
    assert not kept and [(drop.id, drop.reason) for drop in drops] == [(name, "bad file")] and why in drops[0].detail


def test_a_folder_without_captions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file ending in \.srt or \.vtt"):
        CaptionsReader().fingerprint(lay(tmp_path, t_dot_wav=""))


def test_real_captions_of_a_long_recording(shared: Path, tmp_path: Path) -> None:
    """The 56 segments of the README, as the captions have them; the French translation has no recording of its own."""
    folder = shared / "data" / "longform"
    card = prepare("captions", folder, tmp_path / "manifest", PrepareConfig(dev=0.0, workers=0, min_s=0.0))
    assert card["utterances"] == 56
    reasons = {row["reason"]: row["utterances"] for row in card["ledger"]["reasons"]}
    assert reasons.pop("no segments") == 13 and set(reasons) == {"no recording"}
    text = (folder / "segments.tsv").read_text(encoding="utf-8").splitlines()[1:]
    import pyarrow.parquet as pq

    rows = pq.read_table(tmp_path / "manifest" / "utterances.parquet").to_pylist()
    assert [row["text"] for row in rows] == [" ".join(line.split("\t")[4].split()) for line in text]
    assert [row["id"].rpartition("_")[0] for row in rows] == ["audio/shared_culture_en"] * 56

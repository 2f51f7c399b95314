"""Label tracks as Audacity exports them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.audacity import AudacityReader
from utterloom.prepare.stage import PrepareConfig, prepare


def lay(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / name.replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
    return folder


def read(folder: Path) -> tuple[list[Utterance], list[Drop]]:
    items = list(AudacityReader().read(folder))
    return [item for item in items if isinstance(item, Utterance)], [item for item in items if isinstance(item, Drop)]


def test_a_label_track(tmp_path: Path) -> None:
    kept, drops = read(lay(tmp_path, a_dot_flac="", b_dot_flac="", README_dot_txt="x", a_dot_txt=(
        "1.000000\t2.500000\tđây là\tmột\r\n\\\t120.5\t-1.000000\r\n3,25\t4,5\thai\r\n2.150000\t2.150000\tpoint\r\n"
        "6.0\t7.0\t\r\n8.0\t9.0\r\n2.0\t1.0\tback\r\n\r\nno label\r\n1.0\tsoon\tx\r\n10.0\t11.0\tten\r\n\\\tlow\r\n")))
    assert [(u.id, u.text, dict(u.attributes)) for u in kept] == [
        ("a_1.00-2.50", "đây là một", {"low_hz": "120.5"}), ("a_3.25-4.50", "hai", {}), ("a_6.00-7.00", None, {}),
        ("a_8.00-9.00", None, {})]
    assert [(drop.id, drop.reason) for drop in drops] == [
        ("a_2.15-2.15", "point label"), ("a_2.00-1.00", "ends before it starts"), ("a: line 9", "bad label"),
        ("a: line 10", "bad label"), ("a_10.00-11.00", "bad label"), ("b", "no segments")]
    assert "'point'" in drops[0].detail and "'soon' is not a time" in drops[3].detail


@pytest.mark.parametrize(("content", "why"), [
    ("", "is empty"), ("a transcript,\nno labels\n", "is no label track: 'a transcript,'")])
def test_text_that_is_no_label_track_is_one_drop(tmp_path: Path, content: str, why: str) -> None:
    kept, drops = read(lay(tmp_path, a_dot_wav="", a_dot_txt=content))
    assert not kept and [(drop.id, drop.reason) for drop in drops] == [("a.txt", "bad file")] and why in drops[0].detail


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file ending in \.txt"):
        AudacityReader().fingerprint(lay(tmp_path, a_dot_wav=""))


def test_the_fingerprint_follows_the_labels(tmp_path: Path) -> None:
    before = AudacityReader().fingerprint(lay(tmp_path, a_dot_wav="", a_dot_txt="1\t2\tx"))
    assert AudacityReader().fingerprint(lay(tmp_path, README_dot_txt="y")) == before
    assert AudacityReader().fingerprint(lay(tmp_path, a_dot_txt="1\t2\ty")) != before


def test_real_labels_of_a_long_recording(shared: Path, tmp_path: Path) -> None:
    """The 120 pieces of the composite, as Audacity would export them."""
    folder = shared / "data" / "speechocean762"
    with (folder / "segments.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "speechocean762_long.mp3").symlink_to(folder / "audio" / "speechocean762_long.mp3")
    lay(tmp_path / "source", speechocean762_long_dot_txt="".join(
        f"{float(row['start_s']):.6f}\t{float(row['end_s']):.6f}\t{row['text']}\n" for row in rows))
    card = prepare("audacity", tmp_path / "source", tmp_path / "manifest", PrepareConfig(dev=0.0, workers=0))
    assert card["utterances"] == card["ledger"]["in"] == 120
    assert card["ledger"]["seconds_ok"] == pytest.approx(sum(float(row["end_s"]) - float(row["start_s"]) for row in rows), abs=0.02)

"""Files whose names went through other systems are found; those that are not there are named with what is (E-P1)."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.prepare.recordings import Finder, by_plain_name, plain


@pytest.mark.parametrize(("on_disk", "wanted"), [
    ("giọng nữ/câu 1.wav", unicodedata.normalize("NFD", "giọng nữ/câu 1.wav")),
    (unicodedata.normalize("NFD", "giọng nữ/câu 1.wav"), "giọng nữ/câu 1.wav"),
    ("a  b.wav", "a b.wav"), ("a b.wav", "a\u00a0 b.wav"), ("Audio/A.WAV", "audio/a.wav"), ("audio/a.wav", "audio\\a.wav"),
    ("audio/a.wav", "audio//a.wav")])
def test_a_file_that_looks_the_same_is_found(tmp_path: Path, on_disk: str, wanted: str) -> None:
    path = tmp_path / on_disk
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    found = Finder().find(f"{tmp_path}/{wanted}")
    assert found is not None and Path(found) == path


def test_the_file_itself_wins_over_one_that_looks_the_same(tmp_path: Path) -> None:
    for name in ("a.wav", "A.wav"):
        (tmp_path / name).write_text("")
    assert Finder().find(str(tmp_path / "A.wav")) == str(tmp_path / "A.wav")


def test_two_that_look_the_same_are_none(tmp_path: Path) -> None:
    for name in ("a b.wav", "A  b.wav"):
        (tmp_path / name).write_text("")
    assert Finder().find(str(tmp_path / "a   b.wav")) is None


def test_a_missing_file_is_named_with_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "speaker_01").mkdir()
    (tmp_path / "speaker_01" / "utt_0001.wav").write_text("")
    assert "'utt_0001.wav'" in Finder().complaint(str(tmp_path / "speaker_01/utt_001.wav"))
    assert "'speaker_01'" in Finder().complaint(str(tmp_path / "speaker_1/utt_0001.wav"))
    finder = Finder()
    complaints = [finder.complaint(str(tmp_path / f"speaker_{number}/x.wav")) for number in range(20)]
    assert all("speaker_01" in complaint for complaint in complaints)
    assert "has" not in finder.complaint(str(tmp_path / "music/x.wav"))  # nothing is near


@pytest.mark.parametrize("wanted", ["/", "", "x" * 5000, "/nowhere/at/all.wav", "nowhere.wav", "a\0b.wav", "http://x", "/tmp"])
def test_nothing_is_found_where_nothing_is(wanted: str) -> None:
    assert Finder().find(wanted) is None
    assert wanted in Finder().complaint(wanted)


@given(st.text())
def test_plain_names_are_the_same_for_all_spellings(name: str) -> None:
    for form in ("NFC", "NFD"):
        assert plain(unicodedata.normalize(form, name)) == plain(name)
    assert plain(f"  {name}\t") == plain(name)


@given(st.lists(st.text(max_size=3), unique=True))
def test_only_names_that_look_like_no_other_are_taken(names: list[str]) -> None:
    found = by_plain_name(names)
    assert all(found[plain(name)] == name for name in names if plain(name) in found)
    assert all(sum(plain(other) == plain(name) for other in names) == 1 for name in found.values())

"""Conservation: what went in is there or is written down; nothing counts twice."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.errors import OutputError, SourceError
from utterloom.core.ledger import DROPS_FOLDER, Ledger, check_unique, read_drops, summarise, write_drops
from utterloom.core.records import Drop, canonical_split

DROPS = st.builds(Drop, id=st.text(), stage=st.sampled_from(["prepare", "pack"]), reason=st.sampled_from(["too long", "missing"]),
                  detail=st.text(), seconds=st.none() | st.floats(0, 1e4), path=st.none() | st.text())


@given(ok=st.lists(st.floats(0, 1e4)), drops=st.lists(DROPS))
def test_in_is_ok_plus_dropped(ok: list[float], drops: list[Drop]) -> None:
    ledger = Ledger("prepare")
    for seconds in ok:
        ledger.ok(seconds)
    for drop in drops:
        ledger.drop(drop)
    summary = ledger.summary()
    assert summary["in"] == len(ok) + len(drops) == summary["ok"] + summary["dropped"]
    assert sum(row["utterances"] for row in summary["reasons"]) == len(drops)
    assert sum(row["utterances_of_unknown_length"] for row in summary["reasons"]) == sum(drop.seconds is None for drop in drops)
    assert sum(row["seconds"] for row in summary["reasons"]) == pytest.approx(sum(drop.seconds or 0 for drop in drops), abs=0.01)
    assert summary["seconds_ok"] == pytest.approx(sum(ok), abs=0.001)


def test_a_ledger_that_does_not_add_up_is_caught() -> None:
    ledger = Ledger("prepare")
    ledger.ok(1.0)
    ledger.num_in += 1  # an utterance that left without a word
    with pytest.raises(AssertionError, match="2 in, 1 ok, 0 dropped"):
        ledger.summary()


def test_the_most_frequent_reason_comes_first_with_an_example() -> None:
    drops = [Drop("a", "pack", "odd", "why", 1.0), Drop("b", "pack", "long", "40 s", 40.0), Drop("c", "pack", "long", "50 s", None)]
    first, second = summarise(drops)
    assert (first["reason"], first["utterances"], first["seconds"], first["utterances_of_unknown_length"]) == ("long", 2, 40.0, 1)
    assert first["example"] == "b: 40 s" and second["reason"] == "odd"


def test_drops_come_back_from_their_file(tmp_path: Path) -> None:
    drops = [Drop("ờ/1", "prepare", "missing", "there is no file", None, "x.wav"), Drop("2", "prepare", "too long", "40 s", 40.0)]
    write_drops(tmp_path / DROPS_FOLDER / "prepare-00000.parquet", drops)
    assert read_drops(tmp_path) == drops
    write_drops(tmp_path / DROPS_FOLDER / "prepare-00000.parquet", [])
    assert pq.read_table(tmp_path / DROPS_FOLDER / "prepare-00000.parquet").num_rows == 0


def test_names_that_are_not_utf8_are_written_down_too(tmp_path: Path) -> None:
    write_drops(tmp_path / "prepare.parquet", [Drop("\udcff", "prepare", "bad characters", "\udcff", None, "a\udcff.wav")])
    (row,) = pq.read_table(tmp_path / "prepare.parquet").to_pylist()
    assert row["path"] == "a\\udcff.wav"


def test_drops_that_cannot_be_written_are_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_drops(tmp_path / "file" / "prepare.parquet", [])


@given(st.lists(st.integers(0, 30).map(str)))
def test_an_id_that_is_there_twice_is_named(ids: list[str]) -> None:
    if len(set(ids)) == len(ids):
        check_unique(ids, "here")
    else:
        with pytest.raises(SourceError, match="more than once") as caught:
            check_unique(ids, "here")
        assert f"{len(ids)} utterances are {len(set(ids))} different ones" in caught.value.message


@pytest.mark.parametrize(("name", "split"), [
    ("valid", "dev"), ("Validation", "dev"), (" val ", "dev"), ("DEV", "dev"), ("training", "train"), ("eval", "test"),
    ("testing", "test"), ("other", "other"), ("train.clean", "train.clean")])
def test_a_split_has_one_name(name: str, split: str) -> None:
    """K5: dev, valid, validation and val are one split."""
    assert canonical_split(name) == split

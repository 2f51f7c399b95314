"""The written proof of splits, checked by somebody who knows nothing of how they were made (truth 10, E-P13, K6, A-P21).

`checked` below reads the two files with pyarrow alone: the manifest's rows and splits.parquet. It shares no code with what wrote
them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tones import RATE_HZ, prepared, write_table
from utterloom.core.errors import ConfigError, SourceError
from utterloom.prepare.splits import connected_groups, group_values, hold_out, listed_splits

FIELD = {"speaker": "speaker", "session": "session"}


def checked(manifest: Path) -> dict[str, set[str]]:
    """{key: its values that are in several splits}. Fails where the proof and the rows tell different stories."""
    card = json.loads((manifest / "manifest.json").read_text())
    path = manifest / card["proof"]["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["proof"]["sha256"]
    lines = pq.read_table(path).to_pylist()
    rows = pq.read_table(manifest / "utterances.parquet").to_pylist()
    view = f"text_{card['config']['view']}"
    recounted: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for key in card["proof"]["keys"]:
        for row in rows:
            if key == "recording":
                values = {span["path"] for span in row["spans"]}
            elif key == "text":
                values = {row[view] or ""}
            else:
                values = {row[FIELD[key]] or ""}
            for value in values:
                recounted[key, value, row["split"]][0] += 1
                recounted[key, value, row["split"]][1] += row["duration_s"]
    assert {(line["key"], line["value"], line["split"]) for line in lines} == set(recounted)
    assert len(lines) == len(recounted)
    for line in lines:
        number, seconds = recounted[line["key"], line["value"], line["split"]]
        assert line["utterances"] == number and line["seconds"] == pytest.approx(seconds, abs=0.002)
    splits_of: dict[tuple[str, str], set[str]] = defaultdict(set)
    for key, value, split in recounted:
        if value:
            splits_of[key, value].add(split)
    shared: dict[str, set[str]] = {key: set() for key in card["proof"]["keys"]}
    for (key, value), found in splits_of.items():
        if len(found) > 1:
            shared[key].add(value)
    for key, told in card["proof"]["keys"].items():
        assert told["in_several_splits"] == len(shared[key])
        assert told["values"] == sum(name == key for name, _ in splits_of)
        silent = sum(number for (name, value, _), (number, _) in recounted.items() if name == key and not value)
        assert told["utterances_without"] == silent
    return shared


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings of 1 to 8 s."""
    folder = tmp_path_factory.mktemp("source")
    for number in range(8):
        soundfile.write(folder / f"r {number}é.wav", np.sin(np.arange((number + 1) * RATE_HZ) / 20), RATE_HZ)
    return folder


WORDS = st.sampled_from(["một hai", "Một  hai", "ba", "bốn năm sáu", "ħ", "다섯"])
ROWS = st.lists(st.tuples(
    st.integers(0, 7), st.sampled_from(["s", "s ", "Ŝ é", "x'y", '"q"', "", "s2", "s3", "s4"]),
    st.sampled_from(["", "m1", "m2", "m 3"]), WORDS, st.sampled_from(["", "", "", "test"])), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, keys=st.sets(st.sampled_from(["speaker", "session", "recording", "text"]), min_size=1),
       dev=st.floats(0.01, 0.6), test=st.sampled_from([0.0, 0.2]), seed=st.integers(0, 3))
def test_an_independent_checker_finds_what_the_proof_says(
    source: Path, tmp_path: Path, rows: list[tuple[int, str, str, str, str]], keys: set[str], dev: float, test: float, seed: int
) -> None:
    """Ids, spaces, Unicode, no speaker, no session, one speaker with nearly everything."""
    table = write_table(source / "table.tsv", [
        {"id": f"u {number} ế", "path": f"r {recording}é.wav", "speaker": speaker, "session": session, "text": text, "split": split}
        for number, (recording, speaker, session, text, split) in enumerate(rows)])
    shutil.rmtree(tmp_path / "manifest", ignore_errors=True)
    order = [key for key in ("speaker", "session", "recording", "text") if key in keys]
    try:
        card = prepared(table, tmp_path / "manifest", dev=dev, test=test, seed=seed, group_by=order)
    except (ConfigError, SourceError) as error:
        assert "hang together" in error.message or "held out of" in error.message
        return
    shared = checked(tmp_path / "manifest")
    given_test = {row["id"] for row in pq.read_table(tmp_path / "manifest" / "utterances.parquet").to_pylist()
                  if rows[int(row["id"].split()[1])][4] == "test"}
    if not given_test:  # the source's own test split is as it came, and only reported
        assert shared == {key: set() for key in order}
        assert set(card["splits"]) >= {"dev"} | ({"test"} if test else set())


SIZES = st.lists(st.floats(0.5, 50), min_size=2, max_size=60)


@given(sizes=SIZES, fraction=st.floats(0.05, 0.5), seed=st.integers(0, 5))
def test_hours_are_as_near_as_one_group_more_or_fewer_could_bring_them(sizes: list[float], fraction: float, seed: int) -> None:
    """Balanced by hours: no single group that is taken or given back would come nearer to what was asked."""
    from tests.prepare.test_splits import utterance

    corpus = [utterance(str(number), f"s{number}", None, f"r{number}", seconds) for number, seconds in enumerate(sizes)]
    done = hold_out(corpus, {"dev": fraction}, ["speaker"], seed)
    held = [u.duration_s for u in done if u.split == "dev"]
    left = [u.duration_s for u in done if u.split == "train"]
    target_s = fraction * sum(u.duration_s for u in corpus)
    gap_s = abs(sum(held) - target_s)
    assert held and left
    if gap_s <= 0.0201 * target_s:
        return  # near enough: to come nearer still, every seed would have to choose the same
    if len(left) > 1:
        assert all(abs(sum(held) + size - target_s) >= gap_s - 1e-6 for size in left)
    if len(held) > 1:
        assert all(abs(sum(held) - size - target_s) >= gap_s - 1e-6 for size in held)


def test_one_huge_speaker_stays_in_training() -> None:
    from tests.prepare.test_splits import utterance

    corpus = [utterance(f"a{number}", "huge", None, f"ra{number}", 10.0) for number in range(900)]
    corpus += [utterance(f"b{number}", f"s{number // 4}", None, f"rb{number}", 10.0) for number in range(100)]
    for seed in range(10):
        done = hold_out(corpus, {"dev": 0.04, "test": 0.04}, ["speaker", "recording"], seed)
        for split in ("dev", "test"):
            members = [u for u in done if u.split == split]
            assert {u.speaker for u in members}.isdisjoint(u.speaker for u in done if u.split != split)
            assert "huge" not in {u.speaker for u in members}
            assert sum(u.duration_s for u in members) == pytest.approx(0.04 * 10_000, rel=0.05)


def test_the_choice_is_of_ids_and_seed_and_not_of_the_order_of_the_source() -> None:
    from tests.prepare.test_splits import utterance

    corpus = [utterance(f"u{number}", f"s{number % 23}", None, f"r{number}", 1 + number % 7) for number in range(200)]
    held = {u.id for u in hold_out(corpus, {"dev": 0.1}, ["speaker"], 3) if u.split == "dev"}
    assert held == {u.id for u in hold_out(corpus[::-1], {"dev": 0.1}, ["speaker"], 3) if u.split == "dev"}
    assert held != {u.id for u in hold_out(corpus, {"dev": 0.1}, ["speaker"], 4) if u.split == "dev"}


def test_disjoint_by_text_on_request() -> None:
    """The same sentence read by two speakers is on one side."""
    from tests.prepare.test_splits import utterance

    corpus = [utterance(f"u{number}", f"s{number}", None, f"r{number}").with_(views={"basic": f"sentence {number % 30}"})
              for number in range(120)]
    done = hold_out(corpus, {"dev": 0.2}, ["speaker", "text"], 0, "basic")
    dev, train = ({u.views["basic"] for u in done if u.split == split} for split in ("dev", "train"))
    assert dev and train and not dev & train
    assert len(connected_groups(corpus, ["speaker", "text"], "basic")) == 30
    assert group_values(corpus[0], ["text"], "basic") == [("text", "sentence 0")]


def test_what_cannot_be_disjoint_names_the_key_that_binds(source: Path, tmp_path: Path) -> None:
    """Common Voice's smallest languages have one speaker in train: the error says which key to give up."""
    table = write_table(source / "one.tsv", [
        {"id": f"u{number}", "path": f"r {number}é.wav", "speaker": "only", "text": "một"} for number in range(8)])
    with pytest.raises(ConfigError) as caught:
        prepared(table, tmp_path / "m", dev=0.1)
    assert "hang together by speaker" in caught.value.message
    assert "group_by=[session,recording]" in (caught.value.hint or "")
    card = prepared(table, tmp_path / "m", dev=0.1, group_by=["session", "recording"])
    assert checked(tmp_path / "m") == {"session": set(), "recording": set()}
    assert card["splits"]["dev"]["utterances"] >= 1


def test_splits_that_arrive_later_overrule_the_source(source: Path, tmp_path: Path) -> None:
    """E7: the official test set was given after the corpus had been prepared."""
    table = write_table(source / "later.tsv", [
        {"id": f"u{number}", "path": f"r {number}é.wav", "speaker": f"s{number}", "text": "một", "split": "train"}
        for number in range(8)])
    given_later = tmp_path / "official.csv"
    given_later.write_text('split,id\nvalidation,u1\ntest,"u2"\ntest,u3\ntest,nobody\n', encoding="utf-8")
    card = prepared(table, tmp_path / "m", splits=str(given_later))
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 5, "dev": 1, "test": 2}
    assert any("1 of its 4 ids are not here, such as 'nobody'" in note for note in card["notes"])
    assert checked(tmp_path / "m")["speaker"] == set()


def test_splits_of_the_source_can_be_forgotten(source: Path, tmp_path: Path) -> None:
    """A published split may share its speakers (E-P13): new ones are made as if there had been none."""
    table = write_table(source / "leaky.tsv", [
        {"id": f"u{number}", "path": f"r {number}é.wav", "speaker": f"s{number // 2}", "text": "một",
         "split": "dev" if number % 2 else "train"} for number in range(8)])
    prepared(table, tmp_path / "leaky", dev=0.2)
    assert checked(tmp_path / "leaky")["speaker"] == {f"s{number}" for number in range(4)}
    card = prepared(table, tmp_path / "m", dev=0.2, splits="none", group_by=["speaker"])
    assert checked(tmp_path / "m") == {"speaker": set()} and set(card["splits"]) == {"train", "dev"}


@pytest.mark.parametrize(("text", "said"), [
    ("name\tsplit\na\tdev\n", "should name `id` and `split`"), ("id\tsplit\na\n", "line 2: 1 cells"),
    ("id\tsplit\na\tdev\na\ttest\n", "line 3: 'a' is in test here and in dev above"), ("id\tsplit\na\t../x\n", "line 2: '../x'"),
    ("", "of nothing")])
def test_a_list_of_splits_that_is_none_says_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "splits.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        listed_splits(path)
    assert said in str(caught.value)


def test_counts_that_differ_from_what_was_published_are_refused(source: Path, tmp_path: Path) -> None:
    """E-P24: 380,837 rows in one version, 380,836 in the other; and dev and test swapped in a notebook."""
    rows = [{"id": f"u{number}", "path": f"r {number}é.wav", "speaker": f"s{number}", "text": "một",
             "split": "test" if number < 2 else "valid" if number < 5 else "train"} for number in range(8)]
    table = write_table(source / "counts.tsv", rows)
    for expect, said in [(9, "8 utterances, not 9"), ({"train": 3, "dev": 2, "test": 3}, "3 of dev, not 2; 2 of test, not 3")]:
        with pytest.raises(SourceError, match=said):
            prepared(table, tmp_path / "m", expect=expect)
    card: dict[str, Any] = prepared(table, tmp_path / "m", expect={"train": 3, "validation": 3, "test": 2})
    assert card["utterances"] == 8

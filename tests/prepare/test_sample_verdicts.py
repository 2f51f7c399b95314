"""Verdicts of people: read back from sheets and pages as they come home, and applied to utterances."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.core.errors import MissingPackageError, SourceError
from utterloom.core.records import Span, Utterance
from utterloom.metrics.intervals import wilson_interval
from utterloom.prepare.review import VERDICTS, Item, digest
from utterloom.prepare.review.sheet import CORRECTED, ID, NOTE, PLAY, SHEET, TEXT, VERDICT, sheet_bytes
from utterloom.prepare.review.verdicts import (
    REJECTED,
    Verdict,
    apply_verdicts,
    explain_verdicts,
    fingerprint_of,
    read_verdicts,
)

FORMULAS = ["=1+1", "+49 1", "-x", "@SUM(A1)", '=HYPERLINK("http://x","y")', "'quoted",
            '"both"', "\t=tab", "#N/A", "007", "1e5", "TRUE"]


HEAD = b'{"utterloom": {"kind": "verdicts", "format": 1}, "sample": "s"'


def items(*texts: str | None) -> list[Item]:
    return [Item(number, f"u{number}", f"audio/{number:04d}.flac", 1.5, "ana", "train", "vi", text)
            for number, text in enumerate(texts, 1)]


def filled(path: Path, of: Sequence[Item], said: Mapping[str, Mapping[str, Any]],
           then: Callable[[Any, dict[str, int]], None] = lambda sheet, columns: None, sample: str = "s") -> Path:
    """The sheet of a sample with {id: {column: what somebody wrote}}, saved by another program; `then` does what people do."""
    book = openpyxl.load_workbook(io.BytesIO(sheet_bytes(of, sample, "random")))
    sheet = book[SHEET]
    columns = {cell.value: cell.column for cell in sheet[1]}
    for row in range(2, sheet.max_row + 1):
        for name, value in said.get(sheet.cell(row, columns[ID]).value, {}).items():
            cell = sheet.cell(row, columns[name])
            cell.value = value
            if isinstance(value, str):
                cell.data_type = "s"  # what is typed into a cell of the format Text is text
    then(sheet, columns)
    book.save(path)
    return path


def saved(path: Path, of: Sequence[Item], said: Mapping[str, Mapping[str, Any]], sample: str = "s", order: str = "random") -> Path:
    """What the page saves."""
    rows = [{"id": item.id, "text": item.text, "verdict": None, "corrected_text": None, "note": None, **said.get(item.id, {})}
            for item in of]
    path.write_text(json.dumps({"utterloom": {"kind": "verdicts", "format": 1}, "sample": sample, "order": order,
                                "utterances": rows}))
    return path


def utterance(name: str, text: str | None, **more: Any) -> Utterance:
    return Utterance(name, text, (Span("a.wav", 0, 16_000, 16_000, 1),), views={"basic": "x"}, **more)


# --- round trips ------------------------------------------------------------------------------------------------------

said_texts = st.one_of(st.sampled_from(FORMULAS), st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=40)).filter(
    lambda text: text.strip() and "_x" not in text)


@settings(max_examples=40)
@given(st.lists(st.tuples(said_texts, said_texts, st.sampled_from(["good", "bad", "fix", "unsure", ""]), said_texts),
                min_size=1, max_size=4))
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory,
                                    rows: list[tuple[str, str, str, str]]) -> None:
    folder = tmp_path_factory.mktemp("verdicts")
    rows = [(text, corrected, verdict if verdict != "fix" or digest(text) != digest(corrected) else "good", note)
            for text, corrected, verdict, note in rows]
    rows.append(("given", "other", "good", ""))
    of = items(*(text for text, *_ in rows))
    told = {item.id: (verdict, corrected if verdict == "fix" else None, note.strip())
            for item, (_, corrected, verdict, note) in zip(of, rows, strict=True)}
    read = [
        read_verdicts(filled(folder / "back.xlsx", of, {
            name: {VERDICT: verdict, CORRECTED: corrected, NOTE: note or None}
            for name, (verdict, corrected, note) in told.items()})),
        read_verdicts(saved(folder / "back.json", of, {
            name: {"verdict": verdict or None, "corrected_text": corrected, "note": note}
            for name, (verdict, corrected, note) in told.items()}))]
    for verdicts in read:
        assert {name: (one.verdict, one.corrected, one.note) for name, one in verdicts.items()} == {
            name: (verdict, corrected and corrected.strip(), note) for name, (verdict, corrected, note) in told.items() if verdict}
        assert all(one.judged == digest(item.text) for item in of if (one := verdicts.get(item.id)))
    assert fingerprint_of(read[0]) == fingerprint_of(read[1])


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_looks_like_a_formula_is_a_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "review.xlsx"
    path.write_bytes(sheet_bytes(items(text), "s", "random"))
    sheet = openpyxl.load_workbook(path)[SHEET]
    columns = {cell.value: cell.column for cell in sheet[1]}
    cell = sheet.cell(2, columns[TEXT])
    assert (cell.value, cell.data_type, cell.number_format) == (text, "s", "@")
    assert sheet.cell(2, columns[CORRECTED]).number_format == "@"


def test_the_sheet_leads_to_its_audio_and_offers_the_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "review.xlsx"
    path.write_bytes(sheet_bytes(items("một", None, "hai"), "s", "random"))
    assert path.read_bytes() == sheet_bytes(items("một", None, "hai"), "s", "random")
    book = openpyxl.load_workbook(path)
    sheet = book[SHEET]
    columns = {cell.value: cell.column for cell in sheet[1]}
    assert sheet.cell(3, columns[PLAY]).hyperlink.target == "audio/0002.flac"
    assert sheet.freeze_panes and book.active.title == SHEET
    assert [one.title for one in book if one.sheet_state == "visible"] == [SHEET]
    (choices,) = sheet.data_validations.dataValidation
    column = sheet.cell(2, columns[VERDICT]).column_letter
    assert choices.formula1 == f'"{",".join(VERDICTS)}"' and str(choices.sqref) == f"{column}2:{column}4"


# --- what people do to a spreadsheet ----------------------------------------------------------------------------------


def test_a_sheet_may_be_sorted_thinned_out_moved_about_and_renamed(tmp_path: Path) -> None:
    def rearrange(sheet: Any, columns: dict[str, int]) -> None:
        sheet.delete_rows(3)  # of u2
        rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
        for number, row in enumerate(reversed(rows), 2):
            for column, value in enumerate(row, 1):
                sheet.cell(number, column).value = value
        sheet.insert_cols(1)
        sheet.insert_rows(1)
        sheet.cell(1, 1).value = "Review by Ana"
        sheet.cell(sheet.max_row + 2, 2 + columns[ID] - 1).value = "sum"
        sheet.title = "Ana's"

    path = filled(tmp_path / "Kopie von review (2).xlsx", items("một", "hai", "ba"), {
        "u1": {VERDICT: " Bad. "}, "u2": {VERDICT: "good"},
        "u3": {VERDICT: "FIX", CORRECTED: "ba bốn", NOTE: "a word is missing"}}, rearrange)
    assert {name: (one.verdict, one.corrected, one.note) for name, one in read_verdicts(path).items()} == {
        "u3": ("fix", "ba bốn", "a word is missing"), "u1": ("bad", None, "")}


@pytest.mark.parametrize(("said", "words"), [
    ({"u1": {VERDICT: "baad"}}, ["row 2 (u1)", "'baad' is not a verdict"]),
    ({"u2": {VERDICT: "fix"}}, ["row 3 (u2)", "has no corrected text"]),
    ({"u2": {VERDICT: "fix", CORRECTED: " hai "}}, ["row 3 (u2)", "is the text as it was"]),
    ({"u1": {CORRECTED: "một hai"}}, ["row 2 (u1)", "no verdict", "only fix"]),
    ({"u1": {VERDICT: "good", CORRECTED: "một hai"}}, ["row 2 (u1)", "the verdict good", "only fix"]),
    ({"u1": {VERDICT: "bad", TEXT: "một hai"}}, ["row 2 (u1)", "its text was changed", "the verdict bad"]),
    ({"u1": {VERDICT: "fix", TEXT: "một hai", CORRECTED: "một ba"}}, ["row 2 (u1)", "which one holds"]),
    ({"u1": {ID: "u11", VERDICT: "bad"}}, ["row 2 (u11)", "not in the sample", "'u1' is"]),
    ({"u1": {ID: "u2", TEXT: "hai", VERDICT: "bad"}, "u2": {VERDICT: "good"}}, ["'u2' is bad in", "row 2", "good in", "row 3"]),
    ({"u1": {VERDICT: "what"}, "u2": {VERDICT: "ever"}}, ["2 rows do not say", "row 2 (u1)", "row 3 (u2)"]),
])
def test_a_row_that_cannot_be_gone_by_is_named(tmp_path: Path, said: dict[str, dict[str, str]], words: list[str]) -> None:
    path = filled(tmp_path / "r.xlsx", items("một", "hai"), said)
    with pytest.raises(SourceError) as error:
        read_verdicts(path)
    assert all(word in str(error.value) for word in [str(path), *words]), str(error.value)


def test_a_text_that_was_corrected_in_its_own_column_is_a_correction(tmp_path: Path) -> None:
    path = filled(tmp_path / "r.xlsx", items("một", None), {
        "u1": {VERDICT: "fix", TEXT: "một hai"}, "u2": {VERDICT: "fix", CORRECTED: 12.0}})
    assert {name: one.corrected for name, one in read_verdicts(path).items()} == {"u1": "một hai", "u2": "12"}


def test_a_formula_among_the_corrections_is_refused(tmp_path: Path) -> None:
    def formula(sheet: Any, columns: dict[str, int]) -> None:
        sheet.cell(2, columns[CORRECTED]).value = "=A1"

    with pytest.raises(SourceError, match=r"cell \w2: it holds a formula, =A1"):
        read_verdicts(filled(tmp_path / "r.xlsx", items("một"), {"u1": {VERDICT: "fix"}}, formula))


def test_a_text_too_long_for_a_cell_is_cut_there_and_judged_whole(tmp_path: Path) -> None:
    long = "một hai ba " * 5000
    assert read_verdicts(filled(tmp_path / "r.xlsx", items(long), {"u1": {VERDICT: "good"}}))["u1"].judged == digest(long)


@pytest.mark.parametrize(("name", "content", "words"), [
    ("r.xlsx", b"no zip", "cannot be read as a spreadsheet"), ("r.json", b"{", "is not JSON"),
    ("r.json", b"{}", "does not hold verdicts"), ("r.json", HEAD + b"}", "is damaged"),
    ("r.json", HEAD + b', "order": "random", "utterances": [{"id": 3}]}', "is damaged"),
    ("r.ods", b"", "save the spreadsheet as .xlsx"), ("r.csv", b"", "save the spreadsheet as .xlsx"),
    (None, b"", "nothing is there")])
def test_a_file_that_holds_no_verdicts_is_named(tmp_path: Path, name: str | None, content: bytes, words: str) -> None:
    path = tmp_path / (name or "gone.xlsx")
    if name:
        path.write_bytes(content)
    with pytest.raises(SourceError) as error:
        read_verdicts(path)
    assert str(path) in str(error.value) and words in str(error.value)


def test_a_spreadsheet_of_something_else_is_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.save(tmp_path / "r.xlsx")
    with pytest.raises(SourceError, match="no spreadsheet of a sample"):
        read_verdicts(tmp_path / "r.xlsx")


def test_without_the_packages_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "r.xlsx", items("một"), {})
    for package in ("xlsxwriter", "openpyxl"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
    for action in (lambda: sheet_bytes([], "s", "random"), lambda: read_verdicts(path)):
        with pytest.raises(MissingPackageError, match=r"utterloom\[review\]"):
            action()


def test_several_files_agree_or_are_named(tmp_path: Path) -> None:
    of = items("một", "hai")
    one = saved(tmp_path / "verdicts.json", of, {"u1": {"verdict": "bad", "note": "noise"}})
    two = filled(tmp_path / "review.xlsx", of, {"u1": {VERDICT: "bad"}, "u2": {VERDICT: "good"}})
    assert {name: verdict.verdict for name, verdict in read_verdicts(one, two).items()} == {"u1": "bad", "u2": "good"}
    three = saved(tmp_path / "verdicts (1).json", of, {"u2": {"verdict": "fix", "corrected_text": "hai ba"}})
    with pytest.raises(SourceError) as error:
        read_verdicts(one, two, three)
    assert f"'u2' is good in {two}, row 3, and fix ('hai ba') in {three}, entry 2" in str(error.value)


# --- applied ----------------------------------------------------------------------------------------------------------


def verdict(word: str, text: str | None, corrected: str | None = None, note: str = "", order: str = "random") -> Verdict:
    return Verdict(word, digest(text), order, corrected, note, "verdicts.json, entry 1")


def test_each_verdict_does_what_it_says() -> None:
    texts = {"a": "một", "b": "hai", "c": "ba", "d": "bốn", "e": None, "f": "sáu"}
    there = [utterance(name, text) for name, text in texts.items()]
    said = {"a": verdict("good", "một"), "b": verdict("bad", "hai", note="music"), "c": verdict("fix", "ba", "ba ba", "twice"),
            "d": verdict("unsure", "bốn"), "e": verdict("fix", None, "năm")}
    kept, drops, summary = apply_verdicts(there, said)
    by_id = {u.id: u for u in kept}
    assert [u.id for u in kept] == ["a", "c", "d", "e", "f"]
    assert [(drop.id, drop.reason, drop.detail, drop.seconds) for drop in drops] == [("b", REJECTED, "music", 1.0)]
    assert by_id["a"].attributes == {"reviewed": "good"} and by_id["a"].views == {"basic": "x"}
    assert by_id["c"].text == "ba ba" and not by_id["c"].views
    assert by_id["c"].attributes == {"reviewed": "fix", "review_note": "twice", "text_before_review": "ba"}
    assert by_id["d"].attributes == {"reviewed": "unsure"} and by_id["e"].text == "năm" and by_id["f"] is there[5]
    assert summary["counts"] == {"good": 1, "bad": 1, "fix": 2, "unsure": 1} and (summary["stale"], summary["absent"]) == (0, 0)
    assert json.loads(json.dumps(summary))["shares"][0]["judged"] == 5
    again, none, later = apply_verdicts([u.with_(views={"basic": "x"}) for u in kept], said)
    assert [(u.text, u.attributes) for u in again] == [(u.text, u.attributes) for u in kept] and not none
    assert later["absent"] == 1


def test_a_verdict_of_another_text_is_counted_and_not_applied() -> None:
    kept, drops, summary = apply_verdicts([utterance("a", "một hai"), utterance("b", "ba")], {
        "a": verdict("bad", "một"), "b": verdict("fix", "hai", "bốn"), "gone": verdict("bad", "x")})
    assert [u.text for u in kept] == ["một hai", "ba"] and not drops
    assert (summary["stale"], summary["absent"]) == (2, 1)
    (share,) = summary["shares"]  # of the sample: who is not here any more may have left because it was bad
    assert share["judged"] == 1 and share["bad"]["share"] == 1.0
    told = "\n".join(explain_verdicts(summary))
    assert "2 not applied" in told and "a, b" in told and "1 verdicts are of utterances that are not here" in told


def test_the_share_is_told_with_its_interval_where_chance_chose() -> None:
    said = {f"{order} {number}": verdict("bad" if number < 4 else "good", "x", order=order)
            for order in ("random", "lowest sim") for number in range(100)}
    told = explain_verdicts(apply_verdicts([utterance(name, "x") for name in said], said)[2])
    assert told[0] == "reviewed: 192 good, 8 bad"
    assert told[1] == "  4.0 % bad (1.6–9.8), 0.0 % fix (0.0–3.7) of 100 drawn at random"
    assert told[2] == "  4.0 % bad, 0.0 % fix of 100 chosen by lowest sim, which says nothing of the others"


@given(st.integers(1, 2000), st.data())
def test_the_interval_holds_the_share_and_solves_its_equation(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    low, high = wilson_interval(count, total)
    assert 0 <= low <= count / total <= high <= 1
    assert wilson_interval(total - count, total) == pytest.approx((1 - high, 1 - low))
    for bound in (low, high):  # by its definition: |share − bound| is z standard errors at that bound
        assert abs(count / total - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / total), abs=1e-6)


def test_an_interval_needs_a_share() -> None:
    for count, total in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="is not a share"):
            wilson_interval(count, total)


def test_through_prepare(tmp_path: Path) -> None:
    """From a sample to a manifest that goes by what people said: one dropped, one corrected in text and view, one kept."""
    import pyarrow.parquet as pq

    from tests.tones import make_speech, prepared
    from utterloom.core.artifact import load_card
    from utterloom.core.ledger import read_drops
    from utterloom.prepare.exports import sample
    from utterloom.prepare.stage import PrepareConfig, explain, prepare

    prepared(make_speech(tmp_path / "speech", 12), tmp_path / "m")
    sample.export(tmp_path / "m", tmp_path / "sample", sample.SCHEMA(utterances=3, order="random"))
    said = judged(tmp_path / "sample", ["bad", "fix", "good"], corrected="Mười Một!")
    config = PrepareConfig(workers=0, dev=0.0, verdicts=[str(tmp_path / "sample")])
    card = prepare("manifest", tmp_path / "m", tmp_path / "clean", config)
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "clean" / "utterances.parquet").to_pylist()}
    assert [(drop.id, drop.reason) for drop in read_drops(tmp_path / "clean")] == [(said[0], "rejected by review")]
    assert (rows[said[1]]["text"], rows[said[1]]["text_basic"]) == ("Mười Một!", "mười một")
    assert dict(rows[said[1]]["attributes"])["text_before_review"] and dict(rows[said[2]]["attributes"])["reviewed"] == "good"
    assert card["review"]["counts"] == {"good": 1, "bad": 1, "fix": 1, "unsure": 0} and card["ledger"]["in"] == 12
    assert any("33.3 % bad" in line for line in explain(card))
    assert load_card(tmp_path / "clean", "manifest")["inputs"]["verdicts"]
    again = prepare("manifest", tmp_path / "clean", tmp_path / "again", config)  # the bad one has left, and the share is the same
    assert again["review"]["shares"] == card["review"]["shares"] and again["review"]["absent"] == 1


def judged(folder: Path, words: list[str], corrected: str) -> list[str]:
    """Fills in the sheet of a sample, from its first row on; the ids in that order."""
    from openpyxl import load_workbook

    book = load_workbook(folder / "review.xlsx")
    rows = book.active
    head = next(row for row in rows.iter_rows() if any(cell.value == "verdict" for cell in row))
    columns = {cell.value: cell.column for cell in head}
    ids = []
    for number, word in enumerate(words, start=head[0].row + 1):
        ids.append(str(rows.cell(number, columns["id"]).value))
        rows.cell(number, columns["verdict"], word)
        if word == "fix":
            rows.cell(number, columns["corrected text"], corrected)
    book.save(folder / "review.xlsx")
    return ids

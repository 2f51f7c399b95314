"""Tables as people write them: every row is an utterance or a drop that says why."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.table import TableReader

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20).filter(str.strip)
ROW = st.fixed_dictionaries({"id": TEXT, "path": TEXT, "text": TEXT, "speaker": TEXT, "Accent": TEXT})


def read(path: Path, content: str | bytes) -> list[Utterance | Drop]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(TableReader().read(path))


def as_csv(rows: list[dict[str, str]]) -> str:
    file = io.StringIO()
    table = csv.DictWriter(file, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()


@settings(max_examples=40)
@given(st.lists(ROW, min_size=1, max_size=5))
def test_tsv_csv_and_jsonl_say_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("table")
    header = list(rows[0])
    tsv = "\n".join("\t".join(cells) for cells in [header, *([row[name] for name in header] for row in rows)])
    jsonl = "\n".join(json.dumps(row) for row in rows)
    found = [read(folder / "t.tsv", tsv), read(folder / "t.csv", as_csv(rows)), read(folder / "t.JSONL", jsonl)]
    assert found[0] == found[1] == found[2]
    for row, one in zip(rows, found[0], strict=True):
        assert isinstance(one, Utterance)
        assert (one.id, one.text, one.speaker, one.attributes["accent"].strip()) == (
            row["id"].strip(), row["text"].strip(), row["speaker"].strip(), row["Accent"].strip())


def test_what_a_table_may_say(tmp_path: Path) -> None:
    one, two = read(tmp_path / "t.tsv", "\ufeffID\tPath\tText\tsession\tlanguage\tsplit\tstart\tend\r\n"
                                        'a\tx y=1.wav\tsay "so\tm1\tvi\tvalidation\t0.5\t1853.82\r\n\r\n'
                                        "b\t/abs/z.wav\t\t\t\t\t\t\r\n")
    assert isinstance(one, Utterance) and isinstance(two, Utterance)
    assert (one.text, one.session, one.language, one.split) == ('say "so', "m1", "vi", "dev")
    assert (one.spans[0].path, one.spans[0].start_s, one.spans[0].stop_s) == (f"{tmp_path}/x y=1.wav", 0.5, 1853.82)
    assert (two.text, two.split, two.spans[0].path, two.spans[0].start_s) == (None, None, "/abs/z.wav", None)


@pytest.mark.parametrize(("row", "why"), [
    ("a\tb.wav", "2 cells where the header has 5"), ("a\tb.wav\tx\t0\t1\t9", "6 cells"), ("\tb.wav\tx\t\t", "no id"),
    ("a\t \tx\t\t", "no path"),
    ("a\tb.wav\tx\t-1\t2", "not a time"), ("a\tb.wav\tx\tnan\t2", "not a time"), ("a\tb.wav\tx\t1:30\t2", "not a time"),
    ("a\tb.wav\tx\t0\tinf", "not a time"), ("a\tb.wav\tx\t0\t1e999", "not a time")])
def test_a_row_that_cannot_be_understood_is_a_drop_that_names_its_line(tmp_path: Path, row: str, why: str) -> None:
    fine, drop, last = read(tmp_path / "t.tsv", f"id\tpath\ttext\tstart\tend\nf\tb.wav\tx\t\t\n{row}\nl\tb.wav\tx\t\t\n")
    assert isinstance(fine, Utterance) and isinstance(last, Utterance)
    assert isinstance(drop, Drop) and drop.reason == "bad row" and "line 3" in drop.detail and why in drop.detail
    assert drop.id == (row.split("\t")[0] or "line 3")


@pytest.mark.parametrize(("line", "why"), [
    ("{", "not JSON"), ("[1]", "not a JSON object"), ("3", "not a JSON object"), ("{" * 50_000, "not JSON"),
    ('{"id": 1' + "0" * 5000 + "}", "not JSON"),
    ('{"id": "a", "ID": "b", "path": "x"}', "twice"), ('{"id": "a", "path": "x", "text": ["y"]}', 'text is ["y"], not text'),
    ('{"id": "a", "path": "x", "text": 5}', "text is 5"), ('{"id": {"a": 1}, "path": "x"}', 'id is {"a": 1}'),
    ('{"id": true, "path": "x"}', "id is true"), ('{"id": "a", "path": "x", "start": "soon"}', "not a time"),
    ('{"id": "a"}', "no path")])
def test_a_broken_line_of_jsonl_is_a_drop(tmp_path: Path, line: str, why: str) -> None:
    fine, drop = read(tmp_path / "t.jsonl", f'{{"id": 7, "path": "x.wav", "start": 0.5, "end": 2, "text": "y"}}\n{line}\n')
    assert isinstance(fine, Utterance) and (fine.id, fine.spans[0].stop_s) == ("7", 2.0)
    assert isinstance(drop, Drop) and why in drop.detail and "line 2" in drop.detail


@pytest.mark.parametrize(("name", "content", "word"), [
    ("t.tsv", b"", "is empty"), ("t.tsv", b" \n\t\n", "is empty"), ("t.tsv", "id\tpath\tờ".encode("utf-16"), "not UTF-8"),
    ("t.tsv", "id\tpath\nđ".encode("cp1258"), "not UTF-8"),
    ("t.tsv", b"id\ttext\na\tb\n", "no column 'path'; it has: id, text"),
    ("t.tsv", b"a b c\n", "no column 'id' and no column 'path'"), ("t.csv", b"id,path,id\n", "column 'id' twice"),
    ("t.jsonl", b'{"id": "a"}', "no column 'path'"), ("t.xlsx", b"PK", "ends in .tsv, .csv or .jsonl"),
    ("t.csv", b'id,path\n"' + b"x" * 200_000, "line")])
def test_a_table_that_is_none_is_refused(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    with pytest.raises(SourceError, match=word):
        read(tmp_path / name, content)


def test_a_table_that_is_not_there_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "transcripts.tsv").write_text("")
    with pytest.raises(SourceError) as caught:
        TableReader().fingerprint(tmp_path / "transcript.tsv")
    assert "'transcripts.tsv'" in (caught.value.hint or "")
    for path in (tmp_path, tmp_path / "transcripts.tsv" / "below.tsv", tmp_path / ("x" * 300 + ".tsv")):
        with pytest.raises(SourceError):
            TableReader().fingerprint(path)


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("id\tpath\na\tb\n")
    before = TableReader().fingerprint(path)
    assert TableReader().fingerprint(path) == before
    path.write_text("id\tpath\na\tc\n")
    assert TableReader().fingerprint(path) != before


def test_a_column_of_channels_is_gone_by(tmp_path: Path) -> None:
    """Both sides of a call; a broadcaster is no channel; and where only the first is named, the whole is meant."""
    import numpy as np
    import soundfile

    for name in ("call", "talk", "news"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros((800, 2)), 8000)
    table = tmp_path / "t.csv"
    table.write_text("id;path;text;channel\na;call.wav;x;1\nb;call.wav;y;2\nc;talk.wav;z;1\nd;news.wav;w;HRT\n", encoding="utf-8")
    spans = {item.id: item.spans[0].channel for item in TableReader().read(table) if isinstance(item, Utterance)}
    assert spans == {"a": 0, "b": 1, "c": None, "d": None}


def test_another_encoding_is_named(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("id\tpath\na\tx.wav\n", encoding="utf-16")
    with pytest.raises(SourceError) as caught:
        list(TableReader().read(table))
    assert "iconv -f UTF-16" in (caught.value.hint or "")

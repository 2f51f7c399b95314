from __future__ import annotations

import json
from pathlib import Path

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.core.errors import CorpusError, SourceError
from utterloom.metrics.scoring import Reference, read_hypotheses, score

REFERENCES = {
    "u1": Reference("hôm nay trời đẹp", "lan", {"accent": "hue"}, 2.0),
    "u2": Reference("đi ăn cơm", "lan", {"accent": "hue"}, 1.0),
    "u3": Reference("", "minh", {}, 3.0),
    "u4": Reference("một hai ba", None, {"accent": "saigon"}, 1.2),
}
HYPOTHESES = {"u1": "hôm nay trời đẹp", "u2": "đi ăn cờm", "u3": "cảm ơn", "u9": "ai đó"}


def test_the_record_by_hand() -> None:
    report = score(REFERENCES, HYPOTHESES, "vi@1", provenance={"split": "dev"})
    assert report["words"] == {
        "substitutions": 1, "deletions": 3, "insertions": 2, "correct": 6, "reference_length": 10,
    }
    assert report["wer"] == 0.6
    assert report["characters"]["reference_length"] == 16 + 9 + 0 + 10
    assert report["cer"] == (1 + 6 + 10) / 35
    assert report["cer_no_spaces"] == (1 + 5 + 8) / (13 + 7 + 8)
    assert (report["utterances"], report["utterances_with_errors"], report["empty_references"]) == (4, 3, 1)
    assert report["hours"] == pytest.approx(7.2 / 3600)
    assert (report["missing"], report["extra"]) == (["u4"], ["u9"])
    assert (report["normaliser"], report["provenance"]) == ("vi@1", {"split": "dev"})
    assert [(row["name"], row["utterances"], row["wer"]) for row in report["per_speaker"]] == [
        ("lan", 2, 1 / 7), ("minh", 1, None), (None, 1, 1.0),
    ]
    assert [row["name"] for row in report["per_group"]["accent"]] == ["hue", "saigon", None]
    assert report["confusions"] == {
        "substitutions": [{"ref": "cơm", "hyp": "cờm", "count": 1}],
        "deletions": [],  # u4 was never transcribed: its words are lost, not confused
        "insertions": [{"hyp": "cảm", "count": 1}, {"hyp": "ơn", "count": 1}],
    }
    assert [(row["id"], row["errors"], row["wer"]) for row in report["worst"]] == [
        ("u4", 3, 1.0), ("u3", 2, None), ("u2", 1, 1 / 3),
    ]
    assert report["worst"][0]["hyp"] is None


ids = st.text("ab.-_1", min_size=1, max_size=4)
texts = st.lists(st.sampled_from(["một", "hai", "ba"]), max_size=5).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(ids, st.tuples(texts, texts), max_size=12), st.randoms(use_true_random=False))
def test_order_is_nothing_and_rescoring_reproduces_the_stored_record(pairs, random) -> None:
    references = {id: Reference(ref, id[0], {"tail": id[-1]}, len(ref) / 7) for id, (ref, _) in pairs.items()}
    hypotheses = {id: hyp for id, (_, hyp) in pairs.items()}
    stored = json.dumps(score(references, hypotheses, "plain", resample="speaker"), allow_nan=False)
    shuffled = random.sample(sorted(pairs), len(pairs))
    again = score({id: references[id] for id in shuffled}, dict(reversed(hypotheses.items())), "plain",
                  resample="speaker")
    assert again == json.loads(stored)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(ids, st.tuples(texts.filter(bool), texts), min_size=1, max_size=12))
def test_the_corpus_rate_is_that_of_jiwer_and_tables_add_up(pairs) -> None:
    references = {id: Reference(ref, id[0], duration_s=1.5) for id, (ref, _) in pairs.items()}
    report = score(references, {id: hyp for id, (_, hyp) in pairs.items()}, "plain")
    refs, hyps = [ref for ref, _ in pairs.values()], [hyp for _, hyp in pairs.values()]
    assert report["wer"] == pytest.approx(jiwer.wer(refs, hyps))
    assert report["cer"] == pytest.approx(jiwer.cer(refs, hyps))
    for key in ("substitutions", "deletions", "insertions", "reference_length"):
        assert sum(row[key] for row in report["per_speaker"]) == report["words"][key]
    assert sum(row["utterances"] for row in report["per_speaker"]) == report["utterances"]
    assert sum(row["hours"] for row in report["per_speaker"]) == pytest.approx(report["hours"])
    confused = report["confusions"]["substitutions"]
    assert sum(row["count"] for row in confused) == report["words"]["substitutions"]


def test_nothing_scored_is_no_rate() -> None:
    report = score({}, {"u1": "a"}, "plain")
    assert (report["wer"], report["cer"], report["wer_interval"], report["utterances"]) == (None, None, None, 0)
    assert report["extra"] == ["u1"]
    assert score({"u1": Reference("a")}, {"u1": "a"}, "plain")["hours"] is None


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def test_hypotheses_are_read_by_id(tmp_path: Path) -> None:
    path = write(
        tmp_path / "h.jsonl",
        '\ufeff{"id": "b.2", "text": "xin\u2028chào", "score": -1.5}',
        "",
        '{"text": "", "id": "a"}',
        '{"id": "failed", "text": null, "reason": "out of memory"}\r',
    )
    assert read_hypotheses(path) == {"b.2": "xin\u2028chào", "a": ""}


def test_an_id_that_comes_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    lines = '{"id": "a", "text": null}', '{"id": "b", "text": ""}', '{"id": "a", "text": "x"}'
    path = write(tmp_path / "h.jsonl", *lines)
    with pytest.raises(CorpusError, match=r"'a'.*lines 1 and 3"):
        read_hypotheses(path)


@pytest.mark.parametrize(
    "broken",
    ['{"id": "a", "text": "x"', '["a"]', '{"id": 7, "text": "x"}', '{"id": "a"}', '{"id": "a", "text": 7}',
     b'{"id": "a", "text": "\xff"}', r'{"id": "a", "text": "\ud800"}'],
)
def test_a_broken_line_is_named(tmp_path: Path, broken: str | bytes) -> None:
    path = write(tmp_path / "h.jsonl", '{"id": "ok", "text": "x"}', broken)
    with pytest.raises(SourceError, match="line 2"):
        read_hypotheses(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.jsonl"):
        read_hypotheses(tmp_path / "none.jsonl")

"""TextGrids in every form that Praat writes, and the tier that is asked for."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.sidecars import Segment
from utterloom.prepare.readers.textgrid import TextGridReader, parse_textgrid
from utterloom.prepare.readers.words import Word, joined
from utterloom.prepare.stage import PrepareConfig, prepare

Intervals = list[tuple[float, float, str]]


def long_form(tiers: dict[str, Intervals]) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", "xmax = 99 ", "tiers? <exists> ",
             f"size = {len(tiers)} ", "item []: "]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{name}" ', "        xmin = 0 ",
                  "        xmax = 99 ", f"        intervals: size = {len(intervals)} "]
        for place, (start_s, stop_s, label) in enumerate(intervals, start=1):
            quoted = label.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {start_s} ", f"            xmax = {stop_s} ",
                      f'            text = "{quoted}" ']
    return "\n".join(lines) + "\n"


def short_form(tiers: dict[str, Intervals]) -> str:
    lines = ['File type = "ooTextFile short"', '"TextGrid"', "", "0", "99", "<exists>", str(len(tiers))]
    for name, intervals in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", "99", str(len(intervals))]
        for start_s, stop_s, label in intervals:
            quoted = label.replace('"', '""')
            lines += [str(start_s), str(stop_s), f'"{quoted}"']
    return "\n".join(lines) + "\n"


SENTENCES: Intervals = [(0, 1.5, ""), (1.5, 2.25, 'xin "chào"'), (2.25, 3, " sil "), (3, 4, "intervals [2]: 3\nbốn <exists>"),
                        (4, 3.5, "back"), (5, 6, "silence"), (6, 6, "none"), (6.5, 8, "sáu"), (7, 9, "bảy")]


def lay(folder: Path, content: str | bytes, name: str = "a.TextGrid") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).with_suffix(".wav").write_bytes(b"")
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(source: Path | str) -> tuple[list[Utterance], list[Drop]]:
    items = list(TextGridReader().read(Path(source)))
    return [item for item in items if isinstance(item, Utterance)], [item for item in items if isinstance(item, Drop)]


@pytest.mark.parametrize("form", [long_form, short_form])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_every_form_says_the_same(tmp_path: Path, form: object, encoding: str) -> None:
    """Praat writes UTF-16 as soon as a label needs it; empty and silence labels are pauses; nothing is mended in silence."""
    text = form({"sentences": SENTENCES})  # type: ignore[operator]
    content = (b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.replace("\n", "\r\n").encode(encoding)
    kept, drops = read(lay(tmp_path, content))
    assert [(u.id, u.text, dict(u.attributes)) for u in kept] == [
        ("a_1.50-2.25", 'xin "chào"', {}), ("a_3.00-4.00", "intervals [2]: 3 bốn <exists>", {}),
        ("a_6.50-8.00", "sáu", {"overlap_s": "1"}), ("a_7.00-9.00", "bảy", {"overlap_s": "1"})]
    assert [(drop.reason, drop.detail.split(":")[0]) for drop in drops] == [
        ("ends before it starts", "tier 'sentences', interval 5"), ("no length", "tier 'sentences', interval 7")]


def test_points_and_comments_are_passed_over() -> None:
    text = ('"ooTextFile"\n"TextGrid"\n! a comment with "quotes" and 3 numbers\n0 5 <exists> 2\n'
            '"TextTier" "clicks" 0 5 1 2.5 "x" ! here\n"IntervalTier" "say" 0 5 1 0 5 "hi"\n')
    clicks, say = parse_textgrid(text)
    assert clicks.is_points and not clicks.intervals and say.intervals == [(0.0, 5.0, "hi")]


@pytest.mark.parametrize(("change", "word"), [
    (lambda text: text[:-40], "it was cut short"), (lambda text: text[:-4], "not closed"),
    (lambda text: text.replace("xmax = 3.5", "xmax = soon"), "line 35: a time should be a number, not '\"back\"'"),
    (lambda text: text.replace("IntervalTier", "TierOfIntervals"), "of the kind 'TierOfIntervals'"),
    (lambda text: text.replace('"TextGrid"', '"Pitch 1"'), "not a TextGrid"), (lambda text: "hello", "cut short"),
    (lambda text: text.replace("size = 9", "size = -1"), "should be a count"),
    (lambda text: text.replace("<exists>", "3"), "should be a flag"), (lambda text: text.replace("bảy", 'bảy"'), "not closed")])
def test_a_textgrid_that_is_none_is_refused_naming_its_line(tmp_path: Path, change: object, word: str) -> None:
    text = change(long_form({"s": SENTENCES}))  # type: ignore[operator]
    with pytest.raises(SourceError, match=word):
        parse_textgrid(text)
    kept, drops = read(lay(lay(tmp_path, text), long_form({"s": SENTENCES}), "b.TextGrid"))
    assert {u.id[0] for u in kept} == {"b"} and ("a.TextGrid", "bad file") in [(drop.id, drop.reason) for drop in drops]


def test_a_tier_is_chosen_by_its_name(tmp_path: Path) -> None:
    tiers = {"phones": [(0.0, 1.0, "x")], "sent": [(0.0, 2.0, "hello")], "#notes": [(0.0, 3.0, "note")]}
    lay(tmp_path, long_form(tiers))
    with pytest.raises(SourceError, match="several interval tiers: 'phones', 'sent', '#notes'") as caught:
        read(tmp_path)
    assert "#phones'" in (caught.value.hint or "")
    with pytest.raises(SourceError, match=r"no TextGrid in .* has an interval tier 'sents'") as caught:
        read(f"{tmp_path}#sents")
    assert "'sent'" in (caught.value.hint or "")
    assert [u.text for u in read(f"{tmp_path}#sent")[0]] == ["hello"]
    assert [u.text for u in read(f"{tmp_path}##notes")[0]] == ["note"]
    lay(tmp_path, long_form({"other": [(0.0, 1.0, "x")]}), "b.TextGrid")
    kept, drops = read(f"{tmp_path}#sent")
    assert [u.text for u in kept] == ["hello"] and [(drop.id, drop.reason) for drop in drops] == [("b.TextGrid", "bad file")]
    assert TextGridReader().fingerprint(Path(f"{tmp_path}#sent")) != TextGridReader().fingerprint(Path(f"{tmp_path}#phones"))


def test_a_pattern_takes_a_tier_for_each_speaker(tmp_path: Path) -> None:
    lay(tmp_path, long_form({"Ana - words": [(0.0, 0.5, "dobar"), (0.5, 0.9, "dan"), (0.9, 2, ""), (2, 2.5, "da")],
                             "Ana - phones": [(0.0, 1.0, "d")], "Ivo - words": [(0.6, 1.0, "bok")]}))
    kept, drops = read(f"{tmp_path}#* - words")
    assert not drops and [(u.text, u.speaker, u.attributes.get("overlap_s")) for u in kept] == [
        ("dobar dan", "Ana", "0.3"), ("da", "Ana", None), ("bok", "Ivo", "0.3")]
    assert json.loads(kept[0].attributes["word_times"]) == [["dobar", 0.0, 0.5], ["dan", 0.5, 0.9]]


def words(*spec: tuple[str, float, float]) -> list[Word]:
    return [Word(f"line {number}", start_s, stop_s, text) for number, (text, start_s, stop_s) in enumerate(spec, start=1)]


def test_words_are_joined_between_pauses_and_cut_at_the_longest_one() -> None:
    def said(segments: list[Segment]) -> list[tuple[str | None, float | None, float | None]]:
        return [(segment.text, segment.start_s, segment.stop_s) for segment in segments]

    spoken = words(("a", 0, 1), ("b", 1.2, 2), ("c", 2.5, 3), ("d", 3.4, 4), ("e", 4, 5))
    assert said(joined(spoken)) == [("a b", 0, 2), ("c d e", 2.5, 5)]
    assert said(joined(spoken, longest_s=2)) == [("a b", 0, 2), ("c", 2.5, 3), ("d e", 3.4, 5)]
    assert said(joined(spoken, longest_s=0.1)) == [(word.text, word.start_s, word.stop_s) for word in spoken]
    assert said(joined(list(reversed(spoken)))) == said(joined(spoken)) and joined([]) == []


def test_an_utterance_with_an_unknown_word_is_a_drop_whole() -> None:
    """Truth 12: a transcript without what is spoken is none."""
    one, two = joined(words(("a", 0, 1), ("<unk>", 1, 2), ("b", 4, 5)))
    assert one.fault is not None and one.fault[0] == "unknown word" and "'a <unk>'" in one.fault[1]
    assert one.where == "line 1 to line 2"
    assert (two.fault, two.text) == (None, "b")
    (back,) = joined(words(("a", 0, 1), ("b", 1.4, 1.2)))
    assert back.fault is not None and back.fault[0] == "bad times"


def test_real_word_times_of_an_aligner(shared: Path, tmp_path: Path) -> None:
    """mfa_testdata's words.tsv as the TextGrids that it came from: no word is lost between utterances and drops."""
    folder = shared / "data" / "mfa_testdata"
    grids: dict[str, Intervals] = defaultdict(list)
    with (folder / "words.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            grids[row["id"]].append((float(row["start_s"]), float(row["end_s"]), row["word"]))
    (tmp_path / "source").mkdir()
    for name, intervals in grids.items():
        (tmp_path / "source" / f"{name}.flac").symlink_to(folder / "audio" / f"{name}.flac")
        (tmp_path / "source" / f"{name}.TextGrid").write_text(long_form({"words": intervals, "phones": []}), encoding="utf-16")
    kept, drops = read(f"{tmp_path / 'source'}#words")
    assert not drops and sum(len((u.text or "").split()) for u in kept) == 185 == sum(map(len, grids.values()))
    source = Path(f"{tmp_path / 'source'}#words")
    card = prepare("textgrid", source, tmp_path / "manifest", PrepareConfig(dev=0.0, workers=0))
    assert card["utterances"] == card["ledger"]["in"] == len(kept)

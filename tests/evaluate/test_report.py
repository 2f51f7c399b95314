from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.evaluate.pages import Page
from utterloom.core.errors import AudioError, OutputError
from utterloom.evaluate.report import MAX_UTTERANCES, render_report
from utterloom.metrics.scoring import Reference, score

EVIL = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> & \"quoted\" 'too' <!-- ]]>"


TEXTS = {
    "lan-1": ("hôm nay trời đẹp quá", "hôm nay trời đẹp qua"),
    "lan-2": ("đi ăn cơm", "đi ăn cơm"),
    "minh.1": ("السلام عليكم", "السلام"),
    "evil": (EVIL, f"{EVIL} thêm"),
    "empty": ("", "cảm ơn"),
}


def scored(texts: dict[str, tuple[str, str | None]], **provenance: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A report and the rows of its utterances."""
    references = {
        id: Reference(ref, speaker=id.split("-")[0], groups={"accent": "huế"}, duration_s=2.5)
        for id, (ref, _) in texts.items()
    }
    report = score(references, {id: hyp for id, (_, hyp) in texts.items() if hyp is not None}, "vi@1",
                   provenance=provenance)
    rows = [
        {"id": id, "ref": ref, "hyp": hyp, "speaker": references[id].speaker, "duration_s": 2.5}
        for id, (ref, hyp) in texts.items()
    ]
    return report, rows


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., Page]:
    def rendered(texts: dict[str, tuple[str, str | None]] = TEXTS, provenance: dict[str, Any] | None = None,
                 **changes: Any) -> Page:
        report, utterances = scored(texts, **(provenance or {}))
        arguments: dict[str, Any] = {
            "title": "Một báo cáo", "curve": None, "milestones": None, "dropped": None, "utterances": utterances,
            "audio": lambda id: None,
        }
        path = tmp_path / "out" / "report.html"
        render_report(report, path, **{**arguments, **changes})
        return Page(path.read_text(encoding="utf-8"))

    return rendered


def test_the_headline_says_what_how_well_and_on_how_much(render: Callable[..., Page]) -> None:
    page = render({f"u{i:03}": ("a b c d e", "a b c d" if i % 5 else "a b c d e") for i in range(120)},
                  {"split": "dev", "transcribe_s": 10})
    # 96 of 120 utterances miss one word of five
    sentence = r"WER 16\.0\s% \(95\s% interval 1[45]\.\d–1[67]\.\d\) on 120 utterances, 5\.00\smin of split dev\."
    assert re.search(sentence, page.text), page.text[:300]
    assert "30\u202f×" in page.text


def test_the_page_is_one_file_that_asks_nobody(render: Callable[..., Page]) -> None:
    page = render(audio=lambda id: b"fLaC", curve=[{"step": 1, "train_s": 60, "dev_wer": 0.5}])
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "img", "base", "object"}
        assert all(not name.startswith("on") for name in attributes)
        assert "src" not in attributes or attributes["src"].startswith("data:audio/flac;base64,")
        assert "href" not in attributes or attributes["href"].startswith("#")
    assert not re.search(r"https?://|@import|url\((?!#)", page.source)
    assert [meta for meta in page.all("meta") if "default-src 'none'" in (meta.get("content") or "")]


def test_ids_are_unique_and_every_link_and_label_arrives(render: Callable[..., Page]) -> None:
    page = render(curve=[{"step": 1, "train_s": 60, "dev_wer": 0.5}], dropped=[])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointers = [link["href"].removeprefix("#") for link in page.all("a")]
    pointers += [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert pointers and set(pointers) <= set(ids)
    assert all(chart.get("role") == "img" and chart.get("aria-label") for chart in page.all("svg", "chart"))


def test_text_of_the_corpus_stays_text(render: Callable[..., Page]) -> None:
    page = render(title=EVIL, provenance={"note": EVIL, "split": EVIL, "language": EVIL},
                  dropped=[{"stage": EVIL, "reason": EVIL, "utterances": 1, "seconds": 1.0}],
                  audio=lambda id: b"fLaC")
    assert len(page.scripts) == 2 and not page.all("img")
    words = next(row for row in page.rows if row["id"] == "evil")["edits"]
    assert words == [" ".join(EVIL.split()), [None, "thêm"]]
    assert page.texts.count(EVIL) >= 4


SKELETON: list[list[str]] = []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Z", "C"]) | st.sampled_from("<>&\"'/!-"), min_size=1))
def test_no_text_can_change_the_markup(render: Callable[..., Page], text: str) -> None:
    page = render({text: (text, text + "x")}, {"note": text}, title=text, audio=lambda id: b"fLaC")
    SKELETON.append([tag for tag, _ in page.elements])
    assert SKELETON[-1] == SKELETON[0]
    assert page.all("audio")[0]["aria-label"] == f"Recording of {text}"


def test_half_a_surrogate_pair_does_not_stop_the_page(render: Callable[..., Page]) -> None:
    assert "a?b" in render(title="a\ud800b").text


def test_worst_utterances_are_aligned_in_two_rows_with_marks(render: Callable[..., Page]) -> None:
    page = render({"u1": ("một hai ba", "một bai ba bốn"), "u2": ("năm sáu", "năm"), "u3": ("bảy", None)})
    assert [len(page.all("span", f"pair {kind}")) for kind in ("sub", "del", "ins")] == [1, 2, 1]
    assert [block["dir"] for block in page.all("div", "aligned")] == ["auto"] * 3
    assert "Reference: một hai ba. Hypothesis: một bai ba bốn." in page.texts
    assert "no hypothesis" in page.texts
    css = resources.files("utterloom.evaluate").joinpath("report.css").read_text()
    for kind, letter in (("sub", "S"), ("del", "D"), ("ins", "I")):  # not by colour alone
        assert f'.pair.{kind}::after {{ content: "{letter}"' in css


def test_sound_is_embedded_up_to_the_limit_and_counted(render: Callable[..., Page]) -> None:
    asked: list[str] = []

    def audio(id: str) -> bytes | None:
        asked.append(id)
        if id == "u3":
            raise AudioError("zero bytes in the middle")
        return None if id == "u4" else b"x" * (900 if id == "u1" else 400)

    texts = {f"u{i}": ("a b", "a c") for i in range(6)}
    page = render({**texts, "right": ("a", "a")}, audio=audio, max_audio_bytes=1000)
    assert asked == [f"u{i}" for i in range(6)]  # u0 and u2 fill the limit, u1 and u5 would pass it
    assert [player["aria-label"] for player in page.all("audio")] == ["Recording of u0", "Recording of u2"]
    assert base64.b64decode(page.all("audio")[0]["src"].partition(",")[2]) == b"x" * 400
    assert "2 of 6 carry their sound" in page.text
    assert "zero bytes in the middle" in page.text
    assert "none carries its sound" in render(texts).text


def test_all_utterances_are_embedded_up_to_the_limit(render: Callable[..., Page]) -> None:
    page = render()
    assert sorted(row["id"] for row in page.rows) == sorted(TEXTS)
    for row in page.rows:
        assert row["errors"] == sum(not isinstance(edit, str) for edit in row["edits"])
    many = {f"u{i:05}": ("a", "b" if i == 2500 else "a") for i in range(MAX_UTTERANCES + 700)}
    page = render(many)
    assert len(page.rows) == MAX_UTTERANCES
    assert page.rows[0]["id"] == "u02500"
    assert "The 2,000 with the most word errors, of 2,700 utterances." in page.texts


def test_what_was_dropped_adds_up(render: Callable[..., Page]) -> None:
    dropped = [{"stage": "prepare", "reason": "too short", "utterances": 31, "seconds": 90.0},
               {"stage": "train", "reason": "too long", "utterances": 1200, "seconds": 30.0}]
    texts = render(dropped=dropped).texts
    assert texts[texts.index("Together") :][:3] == ["Together", "1,231", "2.00\u202fmin"]
    unknown = render(dropped=[*dropped, {"stage": "pack", "reason": "broken", "utterances": 1, "seconds": None}]).texts
    assert unknown[unknown.index("Together") :][:3] == ["Together", "1,232", "–"]
    assert "Nothing: every utterance that came in was used." in render(dropped=[]).texts


def test_sections_without_content_are_left_out(render: Callable[..., Page]) -> None:
    page = render({})
    assert [section["id"] for section in page.all("section")] == ["errors", "provenance"]
    assert "No WER" in page.texts
    full = render(curve=[], dropped=[])
    assert len(full.all("section")) == 8


def test_missing_and_extra_ids_are_shown(render: Callable[..., Page], tmp_path: Path) -> None:
    report = score({"here": Reference("a"), "gone": Reference("b c")}, {"here": "a", "ghost": "x"}, "plain")
    render_report(report, tmp_path / "r.html", title="t", curve=None, milestones=None, dropped=None, utterances=[],
                  audio=lambda id: None)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "1 reference without a hypothesis, counted as deletions" in page.texts
    assert "1 hypothesis without a reference, not scored" in page.texts
    assert {"gone", "ghost"} <= set(page.texts)


def test_provenance_is_flattened(render: Callable[..., Page]) -> None:
    nested = {"model": {"layers": [1, 2], "name": "tiny"}, "parents": [{"run": "a"}, {"run": "b"}], "beam": None,
              "int8": False, "none": {}}
    texts = render(provenance=nested).texts
    shown = texts[texts.index("normaliser") :]
    pairs = dict(zip(shown[::2], shown[1::2], strict=False))
    assert pairs.items() >= {
        "normaliser": "vi@1", "interval.level": "0.95", "model.layers": "1, 2", "model.name": "tiny",
        "parents[0].run": "a", "parents[1].run": "b", "beam": "none", "int8": "false", "none": "none",
    }.items()


def test_the_page_is_written_whole_or_not_at_all(render: Callable[..., Page], tmp_path: Path) -> None:
    before = render(title="before").source

    def broken(id: str) -> bytes | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(title="after", audio=broken)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == before

    report, utterances = scored(TEXTS)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        render_report(report, tmp_path / "file" / "report.html", title="t", curve=None, milestones=None, dropped=None,
                      utterances=utterances, audio=lambda id: None)


def test_scoring_and_reporting_need_no_torch() -> None:
    code = "import sys, utterloom.metrics.scoring, utterloom.evaluate.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_aa_asks_for(scheme: int) -> None:
    css = resources.files("utterloom.evaluate").joinpath("report.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", css.split(":root {")[1 + scheme]))
    pairs = [(ink, paper) for ink in ("ink", "quiet", "accent", "good", "sub", "del", "ins")
             for paper in ("paper", "raised")]
    pairs += [(ink, f"{kind}-wash") for kind in ("sub", "del", "ins") for ink in (kind, "quiet")]
    for ink, paper in pairs:
        dark, light = sorted([luminance(colours[ink]), luminance(colours[paper])])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)

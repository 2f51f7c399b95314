"""One HTML file that shows how good a model is, how it became so, and what its errors sound like.

The file needs no network and no other file: styles, script, chart and recordings are in it. What comes from a corpus is
escaped by `markup.tag`, which makes all of the page's markup, and by `markup.embedded_json`.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import utterloom
from utterloom.core.artifact import atomic_write, output_errors
from utterloom.core.errors import UtterloomError
from utterloom.evaluate.learning_curve import learning_section
from utterloom.evaluate.wording import counted, hours, known, number, percent, span, span_like
from utterloom.metrics.error_rates import Edit, ErrorCounts, align, words_of
from utterloom.pages.markup import Column, Html, Row, bar, embedded_json, escaped, note, table, tag

MAX_UTTERANCES = 2000
MAX_CONFUSIONS = 15
MAX_LISTED_IDS = 100


def render_report(
    report: Row,
    out: Path,
    *,
    title: str,
    curve: list[dict[str, Any]] | None,
    milestones: list[dict[str, Any]] | None,
    dropped: list[dict[str, Any]] | None,
    utterances: list[dict[str, Any]],
    audio: Callable[[str], bytes | None],
    max_audio_bytes: int = 12_000_000,
) -> None:
    """Writes `report` (see `metrics.scoring.score`) as the self-contained page `out`, whole or not at all.

    curve       rows {step, epoch, train_s, train_loss, dev_wer, dev_cer, learning_rate}, any value may be None
    milestones  rows {target_wer, budget_s, state: pending|achieved|achieved_late|missed, achieved_at_s, achieved_wer}
    dropped     rows {stage, reason, utterances, seconds}
    utterances  rows {id, ref, hyp, speaker, duration_s}; the page holds the 2000 with the most word errors
    audio       the FLAC bytes of an utterance, or None; asked only for the worst utterances, and embedded as long as
                their sum stays within `max_audio_bytes` (base64 makes the file larger by a third of that)

    None for `curve`, `milestones` or `dropped` leaves the section out. Of the provenance, `split` is named in the
    headline, `transcribe_s` (wall seconds) gives the speed, and `language` the language of the texts.
    Raises OutputError where `out` cannot be written.
    """
    provenance = report.get("provenance") or {}
    language = str(provenance.get("language") or "") or None
    sections = [
        ("curve", "Learning curve", learning_section(curve, milestones)),
        ("errors", "Errors by kind", _errors_by_kind(report)),
        ("speakers", "Speakers and groups", _speakers_and_groups(report)),
        ("confusions", "Frequent errors", _confusions(report)),
        ("worst", "Worst utterances", _worst(report, utterances, audio, max_audio_bytes, language)),
        ("all", "All utterances", _all(utterances, language)),
        ("dropped", "Dropped", _dropped(dropped)),
        ("provenance", "Provenance", _provenance(report)),
    ]
    sections = [section for section in sections if section[2]]
    page = Template(_packaged("report.html")).substitute(
        title=escaped(title),
        version=escaped(utterloom.__version__),
        css=_packaged("report.css"),
        js=_packaged("report.js"),
        sentence=_sentence(report),
        notices=escaped(_notices(report)),
        cards=_cards(report),
        links=escaped([tag("a", name, href=f"#{id}") for id, name, _ in sections]),
        sections=escaped(
            [tag("section", tag("h2", name, id=f"{id}-name"), body, id=id, aria_labelledby=f"{id}-name")
             for id, name, body in sections]
        ),
        data=embedded_json(_aligned_rows(utterances)),
    )
    with output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as file:
        file.write(page.encode("utf-8", errors="replace"))  # half a surrogate pair becomes "?"


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _interval(report: Row, key: str) -> str:
    """Such as `95 % interval 3.1–5.4`, or nothing where there is none."""
    if not report.get(key):
        return ""
    level = 100 * (report.get("interval") or {}).get("level", 0.95)
    low, high = report[key]
    return f"{level:g}\u202f% interval {percent(low, '')}–{percent(high, '')}"


# --- headline ---------------------------------------------------------------------------------------------------------

def _sentence(report: Row) -> Html:
    split = (report.get("provenance") or {}).get("split")
    amount = counted(report["utterances"], "utterance")
    amount += f", {hours(report['hours'])}" if report.get("hours") is not None else ""
    amount += f" of split {split}" if split else ""
    if report["wer"] is None:
        return escaped([tag("strong", "No WER"), f": the references hold no words ({amount})."])
    interval = _interval(report, "wer_interval")
    bracket = f" ({interval})" if interval else ""
    return escaped([tag("strong", f"WER {percent(report['wer'])}"), f"{bracket} on {amount}."])


def _notices(report: Row) -> Html | None:
    notices = []
    for ids, noun, plural, then in (
        (report["missing"], "reference", "references", "without a hypothesis, counted as deletions"),
        (report["extra"], "hypothesis", "hypotheses", "without a reference, not scored"),
    ):
        if ids:
            listed = [escaped([tag("code", id), " "]) for id in ids[:MAX_LISTED_IDS]]
            more = f"… and {len(ids) - MAX_LISTED_IDS:,} more" if len(ids) > MAX_LISTED_IDS else None
            summary = tag("summary", f"{counted(len(ids), noun, plural)} {then}")
            notices.append(tag("details", summary, listed, more))
    if empty := report["empty_references"]:
        text = f"{counted(empty, 'empty reference')}: words heard there count as insertions"
        notices.append(tag("p", text))
    return tag("div", notices, class_="notices") if notices else None


def _cards(report: Row) -> Html:
    utterances, wrong = report["utterances"], report["utterances_with_errors"]
    cards = [
        ("Word error rate", percent(report["wer"]), [_interval(report, "wer_interval")]),
        (
            "Character error rate",
            percent(report["cer"]),
            [_interval(report, "cer_interval"), f"{percent(report['cer_no_spaces'])} without spaces"],
        ),
        (
            "Utterances",
            f"{utterances:,}",
            [f"{wrong:,} with errors ({percent(wrong / utterances)})" if utterances else ""],
        ),
        (
            "Speech",
            hours(report.get("hours")),
            [counted(report["words"]["reference_length"], "reference word")],
        ),
    ]
    transcribe_s = known((report.get("provenance") or {}).get("transcribe_s"))
    if transcribe_s and report.get("hours"):
        speed = number(report["hours"] * 3600 / transcribe_s, 3)
        cards.append(("Speed", f"{speed}\u202f×", ["real time", f"transcribed in {span(transcribe_s)}"]))
    return tag(
        "dl",
        [
            tag(
                "div",
                tag("dt", name),
                tag("dd", figure, class_="figure"),
                [tag("dd", aside, class_="aside") for aside in asides if aside],
            )
            for name, figure, asides in cards
        ],
        class_="cards",
    )


# --- errors -----------------------------------------------------------------------------------------------------------

_KINDS = ("substitutions", "deletions", "insertions")


def _errors_by_kind(report: Row) -> Html:
    def row(name: str, *keys: str) -> Row:
        values: dict[str, Any] = {"kind": name}
        for unit in ("words", "characters"):
            values[unit] = sum(report[unit][key] for key in keys)
            length = report[unit]["reference_length"]
            values[f"{unit}_rate"] = values[unit] / length if length else None
        return values

    most = max(report["words"][key] for key in _KINDS) or 1
    rows = [{**row(key.capitalize(), key), "bar": bar(report["words"][key] / most, key[:3])} for key in _KINDS]
    columns = [
        Column("Kind", "kind", str, "text"),
        Column("", "bar", escaped, "bars"),
        Column("Words", "words", "{:,}".format),
        Column("share", "words_rate", percent),
        Column("Characters", "characters", "{:,}".format),
        Column("share", "characters_rate", percent),
    ]
    caption = (
        f"Shares are of the {counted(report['words']['reference_length'], 'word')} and "
        f"{counted(report['characters']['reference_length'], 'character')} (with spaces) of the references."
    )
    return table(columns, rows, "Errors by kind", caption=caption, wide=True, total=row("All errors", *_KINDS))


def _bar_of(most: float) -> Callable[[float], Html]:
    return lambda value: bar(value / most)


def _speakers_and_groups(report: Row) -> Html | None:
    tables = []
    for key, rows in [("Speaker", report["per_speaker"]), *report["per_group"].items()]:
        if all(row["name"] is None for row in rows):  # not known for anyone: no table
            continue
        rows = [{**row, "seconds": None if row["hours"] is None else row["hours"] * 3600} for row in rows]
        worst = max(row["wer"] or 0 for row in rows) or 1
        columns = [
            Column(key, "name", lambda name: "not known" if name is None else name, "text"),
            Column("Utterances", "utterances", "{:,}".format),
            Column("Speech", "seconds", span_like(row["seconds"] for row in rows)),
            Column("WER", "wer", percent),
            Column("", "wer", _bar_of(worst), "bars"),
            Column("CER", "cer", percent),
            Column("Sub", "substitutions", "{:,}".format),
            Column("Del", "deletions", "{:,}".format),
            Column("Ins", "insertions", "{:,}".format),
        ]
        tables.append(table(columns, rows, f"By {key.lower()}", wide=True, sortable=True))
    return escaped(tables) if tables else None


def _confusions(report: Row) -> Html | None:
    captions = {"substitutions": "said → read as", "deletions": "said, not read", "insertions": "read, not said"}
    tables = []
    for key in _KINDS:
        rows = report["confusions"][key][:MAX_CONFUSIONS]
        if rows:
            most = rows[0]["count"]
            shown = [
                {
                    "words": [tag("bdi", row[side]) for side in ("ref", "hyp") if side in row],
                    "count": row["count"],
                    "bar": bar(row["count"] / most, key[:3]),
                }
                for row in rows
            ]
            for row in shown:
                row["words"] = escaped(row["words"][:1] + [escaped([" → ", word]) for word in row["words"][1:]])
            columns = [
                Column("", "words", escaped, "text"),
                Column("", "bar", escaped, "bars"),
                Column("", "count", "{:,}".format),
            ]
            caption = f"{key.capitalize()}: {captions[key]}"
            tables.append(table(columns, shown, f"Frequent {key}", caption=caption, wide=True))
    return tag("div", tables, class_="side-by-side") if tables else None


# --- utterances -------------------------------------------------------------------------------------------------------

_LEGEND = tag(
    "p",
    tag("span", "Upper line: reference. Lower line: hypothesis."),
    tag("span", tag("b", "S", class_="sub"), " substitution, dotted"),
    tag("span", tag("b", "D", class_="del"), " deletion, struck through"),
    tag("span", tag("b", "I", class_="ins"), " insertion, underlined"),
    class_="legend",
)


def _worst(
    report: Row,
    utterances: Sequence[Row],
    audio: Callable[[str], bytes | None],
    max_audio_bytes: int,
    language: str | None,
) -> Html | None:
    worst = report["worst"]
    if not worst:
        return None
    about = {row["id"]: row for row in utterances}
    num_audible, total_bytes = 0, 0
    items = []
    for row in worst:
        player = None
        try:
            flac = audio(row["id"])
        except UtterloomError as error:  # one damaged clip must not cost the page
            flac, player = None, tag("span", f"no sound: {error.message}", class_="missed")
        if flac is not None and total_bytes + len(flac) <= max_audio_bytes:
            num_audible, total_bytes = num_audible + 1, total_bytes + len(flac)
            source = f"data:audio/flac;base64,{base64.b64encode(flac).decode()}"
            label = f"Recording of {row['id']}"
            player = tag("audio", controls="", preload="metadata", aria_label=label, src=source)
        items.append(_utterance(row, about.get(row["id"], {}), player, language))
    sound = (
        f"{num_audible} of {len(worst)} carry their sound ({total_bytes / 1e6:.1f} MB)"
        if num_audible
        else "none carries its sound"
    )
    return escaped(
        [
            note(f"The {counted(len(worst), 'utterance')} with the most word errors; {sound}."),
            _LEGEND,
            tag("ol", items, class_="utterances"),
        ]
    )


def _utterance(row: Row, about: Row, player: Html | None, language: str | None) -> Html:
    ref, hyp, duration_s = row["ref"], row["hyp"], known(about.get("duration_s"))
    facts = [
        tag("b", f"WER {percent(row['wer'])}"),
        tag("span", counted(row["errors"], "error")),
        tag("code", row["id"]),
        tag("span", about["speaker"], dir="auto") if about.get("speaker") is not None else None,
        tag("span", f"{duration_s:.1f}\u202fs") if duration_s is not None else None,
        tag("span", "no hypothesis", class_="missed") if hyp is None else None,
        player,
    ]
    pairs = [_pair(edit) for edit in align(words_of(ref), words_of(hyp or ""))]
    return tag(
        "li",
        tag("div", facts, class_="facts"),
        tag("p", f"Reference: {ref}. Hypothesis: {hyp or ''}.", class_="spoken", lang=language),
        tag("div", pairs, class_="aligned", dir="auto", lang=language, aria_hidden="true"),
    )


def _pair(edit: Edit) -> Html:
    kind = {"equal": "pair", "substitute": "pair sub", "delete": "pair del", "insert": "pair ins"}[edit.op]
    return tag("span", tag("span", edit.ref), tag("span", edit.hyp), class_=kind)


def _all(utterances: Sequence[Row], language: str | None) -> Html | None:
    """The place where report.js lists and filters the embedded rows."""
    if not utterances:
        return None
    order = "Those with the most word errors come first."
    if len(utterances) > MAX_UTTERANCES:
        order = f"The {MAX_UTTERANCES:,} with the most word errors, of {len(utterances):,} utterances."
    box = tag("input", type="search", placeholder="words, id or speaker")
    controls = [
        tag("label", "Filter ", box),
        tag("label", tag("input", type="checkbox"), " with errors only"),
        tag("output", aria_live="polite"),
    ]
    return escaped(
        [
            note(order),
            tag("noscript", note("This list needs JavaScript.")),
            tag("div", controls, class_="controls", hidden=""),
            tag("ol", class_="utterances", lang=language),
            tag("button", "Show more", type="button", id="more", hidden=""),
        ]
    )


def _aligned_rows(utterances: Sequence[Row]) -> list[dict[str, Any]]:
    """Utterances for report.js, most word errors first; `edits` are runs of equal words, and [ref, hyp] pairs."""
    aligned = [(row, align(words_of(row["ref"]), words_of(row["hyp"] or ""))) for row in utterances]
    judged = [(ErrorCounts.of(edits), row, edits) for row, edits in aligned]
    judged.sort(key=lambda item: (-item[0].errors, item[0].reference_length, item[1]["id"]))  # as score() does
    return [
        {
            "id": row["id"],
            "speaker": row.get("speaker"),
            "duration_s": known(row.get("duration_s")),
            "missing": row["hyp"] is None,
            "errors": counts.errors,
            "words": counts.reference_length,
            "edits": _runs(edits),
        }
        for counts, row, edits in judged[:MAX_UTTERANCES]
    ]


def _runs(edits: Sequence[Edit]) -> list[str | list[str | None]]:
    runs: list[str | list[str | None]] = []
    for edit in edits:
        if edit.op != "equal":
            runs.append([edit.ref, edit.hyp])
        elif runs and isinstance(runs[-1], str):
            runs[-1] += f" {edit.ref}"
        else:
            runs.append(str(edit.ref))
    return runs


# --- where it comes from ----------------------------------------------------------------------------------------------

def _dropped(dropped: Sequence[Row] | None) -> Html | None:
    if dropped is None:
        return None
    if not dropped:
        return note("Nothing: every utterance that came in was used.")
    seconds = [known(row["seconds"]) for row in dropped]
    known_s = [value for value in seconds if value is not None]
    columns = [
        Column("Stage", "stage", str, "text"),
        Column("Reason", "reason", str, "text"),
        Column("Utterances", "utterances", "{:,}".format),
        Column("Speech", "seconds", span_like(seconds)),
    ]
    total = {
        "stage": "Together",
        "reason": "",
        "utterances": sum(row["utterances"] for row in dropped),
        "seconds": math.fsum(known_s) if len(known_s) == len(seconds) else None,
    }
    return table(columns, dropped, "Dropped", sortable=True, total=total)


def _provenance(report: Row) -> Html:
    scoring = {key: report[key] for key in ("normaliser", "interval") if key in report}
    rows = [{"key": key, "value": value} for key, value in _flattened({**scoring, **(report.get("provenance") or {})})]
    columns = [Column("", "key", str, "text"), Column("", "value", str, "text")]
    return tag("div", table(columns, rows, "Provenance", wide=True), class_="provenance")


def _flattened(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted keys, in their order; a list of scalars stays one value."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flattened(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping | list | tuple) for inner in value):
        for index, inner in enumerate(value):
            yield from _flattened(inner, f"{key}[{index}]")
    elif isinstance(value, list | tuple):
        yield key, ", ".join(map(_plain, value)) or "none"
    else:
        yield key, _plain(value)


def _plain(value: object) -> str:
    if value is None or value == {}:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

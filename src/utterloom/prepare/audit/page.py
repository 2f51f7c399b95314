"""The audit as one HTML file: what is in a corpus, what is wrong with it, and where the limits lie among its numbers."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utterloom.core.artifact import atomic_write
from utterloom.core.ledger import summarise
from utterloom.core.timing import format_duration
from utterloom.pages.markup import Html, document, tag
from utterloom.prepare.audit.charts import distribution, figure, is_worth_drawing
from utterloom.prepare.statistics import totals, vocabulary

if TYPE_CHECKING:
    from utterloom.prepare.audit.findings import Audit

MOST_EXAMPLES, MOST_ROWS = 20, 200
LONGEST_TEXT = 160
ON_HYPOTHESIS = ("text unlike the hypothesis", "high word error rate", "swapped text")
NUMERIC = ("Count", "Audio", "Utterances", "Different audio", "Speakers", "Different words", "Words not in train")
LICENCES = ("licence", "license", "rights")
RARE = 3  # characters that occur no more often are most often mistakes


def write_page(result: Audit, path: Path) -> None:
    """Write the page, whole or not at all. Raises OutputError where it cannot be."""
    sections = [("findings", "What was found", _findings(result)), ("contents", "What is in it", _contents(result)),
                ("splits", "Splits", _splits(result)),
                ("limits", "Where the limits lie", _limits(result)), ("recordings", "Recordings", _recordings(result)),
                ("speakers", "Speakers", _speakers(result)), ("characters", "Characters", _characters(result)),
                ("dropped", "Dropped before the audit", _dropped(result))]
    shown = [(name, head, body) for name, head, body in sections if body]
    named = {finding.id for finding in result.findings}
    body: list[object] = [
        tag("header", tag("h1", result.title, dir="auto"),
            tag("p", tag("strong", f"{len(named):,} of {len(result.utterances):,} utterances"),
              f" have something to look at, by {len(result.reasons())} of {len(result.chain)} checks.", class_="result"),
           _cards(result), [tag("p", note, class_="note") for note in result.notes],
           tag("nav", [tag("a", head, href=f"#{name}") for name, head, _ in shown], aria_label="Sections")),
        tag("main", [tag("section", tag("h2", head), body, id=name) for name, head, body in shown])]
    with atomic_write(path) as file:
        file.write(document(result.title, *body))


def _cards(result: Audit) -> Html:
    measured = [result.measured[u.id] for u in result.utterances if u.id in result.measured]
    known = [one for one in measured if one.duration_s is not None]
    seconds, speech = sum(one.duration_s or 0 for one in known), sum(one.active_s or 0 for one in known)
    named = {finding.id for finding in result.findings}
    mean = f"{format_duration(seconds / len(known))} each" if known else "none can be decoded"
    cards = [("Audio", format_duration(seconds), mean),
             ("Speech in it", f"{100 * speech / seconds:.0f} %" if seconds else "–", format_duration(speech)),
             ("Utterances", f"{len(result.utterances):,}", f"{len({u.spans[0].path for u in result.utterances}):,} recordings"),
             ("Nothing found", f"{len(result.utterances) - len(named):,}",
              format_duration(result.seconds([u.id for u in result.utterances if u.id not in named]))),
             ("Not decodable", f"{len(measured) - len(known):,}", "of no known length" if len(known) < len(measured) else "")]
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value, class_="figure"), tag("dd", aside, class_="aside"))
                     for name, value, aside in cards], class_="cards")


def _findings(result: Audit) -> list[object]:
    if not result.findings:
        return [tag("p", f"Nothing, by any of {len(result.chain)} checks.")]
    by_id = {utterance.id: utterance for utterance in result.utterances}
    groups: list[object] = []
    for number, (reason, members) in enumerate(result.reasons().items()):
        items: list[object] = []
        for finding in members[:MOST_EXAMPLES]:
            utterance = by_id[finding.id]
            heard = utterance.attributes.get(result.hypothesis) if reason in ON_HYPOTHESIS else None
            items.append(tag("li", tag("code", finding.id), f" {finding.detail}",
                            tag("span", _short(utterance.text), dir="auto", lang=utterance.language) if utterance.text else None,
                            tag("span", "heard: ", _short(heard), dir="auto") if heard is not None else None))
        if len(members) > MOST_EXAMPLES:
            items.append(tag("li", tag("span", f"and {len(members) - MOST_EXAMPLES:,} more")))
        seconds = result.seconds([finding.id for finding in members])
        amount = f"{len(members):,} · {100 * len(members) / len(result.utterances):.2g} %"
        amount += f" · {format_duration(seconds)}" if seconds else ""
        groups.append(tag("details", tag("summary", tag("span", reason, class_="reason"), tag("span", amount, class_="count")),
                         tag("ul", items), open="" if number == 0 else None))
    idle = sorted({step.reason for step in result.chain} - set(result.reasons()))
    return [*groups, tag("p", f"Asked and not found: {', '.join(idle)}.", class_="note") if idle else None]


def _contents(result: Audit) -> list[object]:
    known = [one for one in result.measured.values() if one.duration_s is not None]
    if not known:
        return []
    judged = {plot.reason: plot for plot in result.plots}
    plots = [(distribution("seconds", [one.duration_s or 0 for one in known]), "Duration"),
             (judged.get("unlikely rate of speech"), "Rate of speech"), (judged.get("too quiet"), "Level of speech"),
             (distribution("dBFS", [one.noise_dbfs or 0 for one in known]), "Noise floor"),
             (distribution("kHz", [one.bandwidth_hz / 1000 for one in known if one.bandwidth_hz]), "Bandwidth"),
             (distribution("% of the audio", [100 * (one.active_share or 0) for one in known]), "Speech")]
    return [tag("div", [figure(plot, title) for plot, title in plots if plot and is_worth_drawing(plot)], class_="plots")]


def _limits(result: Audit) -> list[object]:
    plots = [plot for plot in result.plots if plot.reason not in ("unlikely rate of speech", "too quiet")]
    drawn = [plot for plot in plots if is_worth_drawing(plot)]
    flat = [plot.reason for plot in plots if not is_worth_drawing(plot)]
    legend = "Each dashed line is a limit; utterances beyond it are named. The outermost bars also hold what lies further out."
    return [tag("p", legend, class_="note"), tag("div", [figure(plot) for plot in drawn], class_="plots"),
            tag("p", f"One value or none at all, so nothing to draw: {', '.join(flat)}.", class_="note") if flat else None]


def _recordings(result: Audit) -> list[object]:
    formats: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    for utterance in result.utterances:
        one = result.measured.get(utterance.id)
        if one is not None and one.format:
            formats[f"{one.format} {one.subtype}, {one.sample_rate_hz} Hz, {one.num_channels} ch"] += 1
        stated = [value for name, value in utterance.attributes.items() if name.lower() in LICENCES and value.strip()]
        licences[stated[0] if stated else "not stated"] += 1
    return [tag("div", _counts("Format", formats.most_common()),
               _counts("Licence", licences.most_common()), class_="side-by-side")]


def _splits(result: Audit) -> list[object]:
    """What each has, and what dev and test say that train never says (E-P10: the same audio again is told apart)."""
    if any(span.stop_sample is None or span.sample_rate_hz is None for u in result.utterances for span in u.spans):
        return []  # not probed
    counted, words = totals(result.utterances)["splits"], vocabulary(result.utterances, result.view)
    body = []
    for name, split in counted.items():
        told = words.get(name, {})
        rate = told.get("oov_rate")
        speech = format_duration(3600 * split["hours"])
        different = format_duration(3600 * split["hours_unique"])
        cells = (f"{split['utterances']:,}", speech, different if different != speech else "all of it",
                 f"{split['speakers']:,}" if split["speakers"] else "not known", f"{told.get('different_words', 0):,}",
                 f"{100 * rate:.1f} %" if rate is not None else "–")
        body.append(tag("tr", tag("th", name, scope="row"), [tag("td", cell, class_="number") for cell in cells]))
    unknown = [f"{name}: {', '.join(told['oov_examples'])}" for name, told in words.items() if told.get("oov_examples")]
    heads = ["Split", "Utterances", "Audio", "Different audio", "Speakers", "Different words", "Words not in train"]
    return [_table(heads, body),
            tag("p", f"Words that train does not have, the most frequent first. {'; '.join(unknown)}.", class_="note", dir="auto")
            if unknown else None]


def _speakers(result: Audit) -> list[object]:
    seconds: dict[str, float] = defaultdict(float)
    count: Counter[str] = Counter()
    for utterance in result.utterances:
        name = utterance.speaker or "not known"
        one = result.measured.get(utterance.id)
        seconds[name] += (one.duration_s or 0.0) if one is not None else 0.0
        count[name] += 1
    if set(count) <= {"not known"}:
        return []
    rows = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    most = rows[0][1] or 1
    body = [tag("tr", tag("th", name, scope="row", dir="auto"), _bar(value / most),
                tag("td", format_duration(value), class_="number"), tag("td", f"{count[name]:,}", class_="number"))
            for name, value in rows[:MOST_ROWS]]
    cut = f"; the {MOST_ROWS} with the most speech are listed" if len(rows) > MOST_ROWS else ""
    return [tag("p", f"{len(rows):,} speakers{cut}.", class_="note"), _table(["Speaker", "", "Audio", "Utterances"], body)]


def _characters(result: Audit) -> list[object]:
    count: Counter[str] = Counter()
    first: dict[str, str] = {}
    for utterance in result.utterances:
        text = utterance.text or ""
        count.update(text)
        for character in set(text):
            first.setdefault(character, utterance.id)
    if not count:
        return []
    common = [(character, number) for character, number in count.most_common() if number > RARE]
    rare = [(character, number) for character, number in count.most_common() if number <= RARE]
    tables = [_counts("Character", [(_named(character), number) for character, number in common[:MOST_ROWS]])]
    if rare:
        body = [tag("tr", tag("th", _named(character), scope="row"), tag("td", f"{number}", class_="number"),
                   tag("td", tag("code", first[character]))) for character, number in rare[:MOST_ROWS]]
        tables.append(_table([f"Seen up to {RARE} times", "", "for example in"], body))
    amount = f"{len(count):,} different characters in the texts as they came, {len(rare):,} of them no more than {RARE} times."
    return [tag("p", amount, class_="note"), tag("div", tables, class_="side-by-side")]


def _named(character: str) -> str:
    """`ế` as it is, and what cannot be seen by its name."""
    name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
    return name if unicodedata.category(character)[0] in "ZCM" else f"{character}\u2003{name}"


def _dropped(result: Audit) -> list[object]:
    if not result.drops:
        return []
    body = [tag("tr", tag("th", row["reason"], scope="row"), tag("td", f"{row['utterances']:,}", class_="number"),
               tag("td", row["example"])) for row in summarise(result.drops)]
    return [_table(["Reason", "Utterances", "for example"], body)]


def _counts(head: str, rows: Iterable[tuple[str, int]]) -> Html:
    rows = list(rows)
    most = max((number for _, number in rows), default=1)
    return _table([head, "", "Count"], [tag("tr", tag("th", name, scope="row", dir="auto"), _bar(number / most),
                                           tag("td", f"{number:,}", class_="number")) for name, number in rows])


def _table(heads: Sequence[str], body: Sequence[Html]) -> Html:
    cells = [tag("th", head, scope="col", class_="number" if head in NUMERIC else None) if head else tag("td") for head in heads]
    element = tag("table", tag("thead", tag("tr", cells)), tag("tbody", list(body)))
    return tag("div", element, class_="scroll", tabindex=0, role="region", aria_label=heads[0])


def _bar(share: float) -> Html:
    return tag("td", tag("span", class_="bar", style=f"width:{100 * min(1.0, max(0.0, share)):.1f}%"), class_="bars")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"

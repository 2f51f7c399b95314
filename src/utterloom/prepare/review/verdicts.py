"""What people said of a sample: read back from sheets and pages, checked, and applied to utterances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utterloom.core.artifact import fingerprint, load_card
from utterloom.core.errors import SourceError, nearest
from utterloom.core.records import Drop, Utterance
from utterloom.metrics.intervals import wilson_interval
from utterloom.prepare.review import VERDICTS, Answers, Entry, digest
from utterloom.prepare.review.page import PAGE_FILE, SAVED_FILE, read_saved
from utterloom.prepare.review.sent import SAMPLE_CARD
from utterloom.prepare.review.sheet import SHEET_FILE, read_sheet

REJECTED = "rejected by review"
# Of an utterance that was judged: its verdict, the note, and the text that came before a correction.
REVIEWED, REVIEW_NOTE, TEXT_BEFORE = "reviewed", "review_note", "text_before_review"
MOST_COMPLAINTS = 12
READERS: dict[str, Callable[[Path], Answers]] = {".json": read_saved, ".xlsx": read_sheet, ".xlsm": read_sheet}
BY_CHANCE = ("random", "speakers")  # orders of which the sample stands for what it was drawn from


@dataclass(frozen=True)
class Verdict:
    """What is to be done with one utterance: a key of VERDICTS, and `corrected` where that is `fix`.

    `judged` is the digest of the text that was looked at, `order` how the sample was drawn, `where` the file and row.
    """

    verdict: str
    judged: str
    order: str
    corrected: str | None = None
    note: str = ""
    where: str = ""


def read_verdicts(*paths: Path) -> dict[str, Verdict]:
    """Verdicts by utterance id, of samples' folders (all sheets and saved files in them), or of single files.

    Utterances without a verdict are left out. Raises SourceError that names each row it cannot go by: an unknown verdict, a
    correction without text or without `fix`, an id that is not in the sample, two that contradict one another; and where
    there is no verdict at all.
    """
    found: dict[str, Verdict] = {}
    for path in paths:
        read = [answers for file in _files(path) for answers in [_reader(file)(file)]]
        if path.is_dir():
            _check_sample(path, read)
        said = [verdict for answers in read for verdict in _verdicts(answers)]
        if not said:
            raise SourceError(f"{path} holds no verdicts yet" + ("" if read else f": no {SAVED_FILE} and no spreadsheet is there"),
                              f"open {PAGE_FILE}, judge, press 'Save verdicts', and put {SAVED_FILE} into that folder; "
                              f"or fill in {SHEET_FILE}")
        _add(found, said)
    return found


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceError(f"there are no verdicts at {path}: nothing is there")
    if not path.is_dir():
        return [path]
    load_card(path, SAMPLE_CARD.removesuffix(".json"))
    # "verdicts (1).json" is what browsers call the second; "~$review.xlsx" is a spreadsheet that is open
    return sorted(file for file in path.iterdir() if file.suffix.lower() in READERS and file.name not in (SAMPLE_CARD, "items.json")
                  and not file.name.startswith((".", "~$")))


def _reader(path: Path) -> Callable[[Path], Answers]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise SourceError(f"{path}: verdicts are read from a sample's folder, a .json that the page saved, or an .xlsx",
                          "save the spreadsheet as .xlsx" if path.suffix.lower() in (".ods", ".csv", ".tsv", ".xls") else None)
    return reader


def _check_sample(folder: Path, read: Sequence[Answers]) -> None:
    sample = load_card(folder, SAMPLE_CARD.removesuffix(".json"))["sample"]
    for answers in read:
        if answers.sample != sample:
            raise SourceError(f"{answers.file} is of another sample than {folder}, in which it lies",
                              "move it to its own sample, or name the file by itself")


def _verdicts(answers: Answers) -> list[tuple[str, Verdict]]:
    """The entries of one file that hold a verdict. Raises SourceError with every row that cannot be gone by."""
    said: list[tuple[str, Verdict]] = []
    complaints: list[str] = []
    for entry in answers.entries:
        word = entry.verdict.strip(" \t\n.,;:!?\"'").casefold()
        complaint = _complaint(entry, word, answers)
        if complaint is not None:
            complaints.append(f"{entry.where} ({entry.id or 'without id'}): {complaint}")
        elif word:
            corrected = (entry.corrected or entry.seen) if word == "fix" else None
            said.append((entry.id, Verdict(word, answers.texts[entry.id], answers.order, corrected, entry.note,
                                           f"{answers.file}, {entry.where}")))
    if complaints:
        more = f"\n    … and {len(complaints) - MOST_COMPLAINTS} more" if len(complaints) > MOST_COMPLAINTS else ""
        rows = "1 row does" if len(complaints) == 1 else f"{len(complaints)} rows do"
        raise SourceError(f"{answers.file}: {rows} not say what to do:\n    " + "\n    ".join(complaints[:MOST_COMPLAINTS]) + more,
                          "verdicts are " + ", ".join(f"{word} ({meaning})" for word, meaning in VERDICTS.items()))
    return said


def _complaint(entry: Entry, word: str, answers: Answers) -> str | None:
    if entry.id not in answers.texts:
        if not word and not entry.corrected:
            return None  # somebody's own row, such as a sum beneath the others
        near = nearest(entry.id, answers.texts, 1)
        return "this id is not in the sample" + (f"; {near[0]!r} is" if near else "")
    if word and word not in VERDICTS:
        return f"{entry.verdict!r} is not a verdict"
    if word == "fix":
        if entry.corrected and entry.seen is not None and entry.corrected != entry.seen:
            return "the text itself was changed, and there is another corrected text: which one holds?"
        if not entry.corrected and not entry.seen:
            return "it says fix and has no corrected text"
        if digest(entry.corrected or entry.seen) == answers.texts[entry.id]:
            return "it says fix, and the corrected text is the text as it was"
    elif entry.corrected:
        return f"it has a corrected text and {f'the verdict {word}' if word else 'no verdict'}; only fix takes one"
    elif entry.seen is not None:
        return f"its text was changed and it has {f'the verdict {word}' if word else 'no verdict'}; only fix takes a correction"
    return None


def _add(found: dict[str, Verdict], said: Iterable[tuple[str, Verdict]]) -> None:
    """Raises SourceError where an utterance has two verdicts that differ; notes do not make a difference."""
    for utterance_id, verdict in said:
        before = found.setdefault(utterance_id, verdict)
        if (before.verdict, before.corrected, before.judged) != (verdict.verdict, verdict.corrected, verdict.judged):
            raise SourceError(f"{utterance_id!r} is {_spoken(before)} in {before.where}, and {_spoken(verdict)} in {verdict.where}",
                              "keep one of the two: empty the other row, or take the older file away")


def _spoken(verdict: Verdict) -> str:
    return f"{verdict.verdict} ({verdict.corrected!r})" if verdict.corrected is not None else verdict.verdict


def fingerprint_of(verdicts: Mapping[str, Verdict]) -> str:
    """Names what the verdicts say, wherever they were read: 16 hex digits."""
    return fingerprint({name: {key: value for key, value in asdict(verdict).items() if key != "where"}
                        for name, verdict in verdicts.items()})


def apply_verdicts(
    utterances: Iterable[Utterance], verdicts: Mapping[str, Verdict], stage: str = "prepare",
) -> tuple[list[Utterance], list[Drop], dict[str, Any]]:
    """What stays, in order; what leaves; and a summary for `explain_verdicts`, which JSON can hold.

    `bad` leaves. `fix` gets the corrected text, no views, and the attribute `text_before_review`; `good`, `fix` and `unsure` are
    said in the attribute `reviewed`, and a note in `review_note`. A verdict of another text than the utterance has now is not
    applied but counted (`stale`), and so is one of an utterance that is not here (`absent`).
    """
    kept, drops, applied, stale = [], [], [], []
    for utterance in utterances:
        verdict = verdicts.get(utterance.id)
        if verdict is None:
            kept.append(utterance)
        elif digest(utterance.text) != verdict.judged and (verdict.corrected is None or utterance.text != verdict.corrected):
            stale.append(utterance.id)
            kept.append(utterance)
        else:
            applied.append(verdict)
            if verdict.verdict == "bad":
                drops.append(Drop(utterance.id, stage, REJECTED, verdict.note or "without a note", utterance.duration_s,
                                  utterance.spans[0].path))
            else:
                kept.append(_judged(utterance, verdict))
    counts = Counter(verdict.verdict for verdict in applied)
    # A share is of the sample, also of those that left since: the bad ones are the first to leave.
    judged = [verdict for utterance_id, verdict in verdicts.items() if utterance_id not in stale]
    num_absent = len(verdicts) - len(applied) - len(stale)
    return kept, drops, {
        "counts": {word: counts[word] for word in VERDICTS}, "stale": len(stale), "stale_examples": stale[:3], "absent": num_absent,
        "shares": [_shares(order, [verdict for verdict in judged if verdict.order == order])
                   for order in dict.fromkeys(verdict.order for verdict in judged)]}


def _judged(utterance: Utterance, verdict: Verdict) -> Utterance:
    attributes = {**utterance.attributes, REVIEWED: verdict.verdict, **({REVIEW_NOTE: verdict.note} if verdict.note else {})}
    if verdict.corrected is None or verdict.corrected == utterance.text:
        return utterance.with_(attributes=attributes)
    if utterance.text is not None:
        attributes.setdefault(TEXT_BEFORE, utterance.text)  # of a second review, the text that came first
    return utterance.with_(text=verdict.corrected, views={}, attributes=attributes)


def _shares(order: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Of the verdicts of samples drawn alike; an interval only where the sample stands for more than itself."""
    row: dict[str, Any] = {"order": order, "judged": len(verdicts)}
    for word in ("bad", "fix"):
        count = sum(verdict.verdict == word for verdict in verdicts)
        row[word] = {"share": count / len(verdicts),
                     "interval": wilson_interval(count, len(verdicts)) if order in BY_CHANCE else None}
    return row


def explain_verdicts(summary: Mapping[str, Any]) -> list[str]:
    """The summary of `apply_verdicts` for people, one line after the other."""
    told = ", ".join(f"{count:,} {word}" for word, count in summary["counts"].items() if count)
    lines = [f"reviewed: {told or 'nothing that is here'}"]
    for row in summary["shares"]:
        said = []
        for word in ("bad", "fix"):
            interval = row[word]["interval"]
            between = f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})" if interval else ""
            said.append(f"{100 * row[word]['share']:.1f} % {word}{between}")
        meaning = {"random": "drawn at random", "speakers": "drawn at random, every speaker as often"}
        what = meaning.get(row["order"], f"chosen by {row['order']}, which says nothing of the others")
        lines.append(f"  {', '.join(said)} of {row['judged']:,} {what}")
    if summary["stale"]:
        lines.append(f"  {summary['stale']:,} not applied, because their text is another one now, for example "
                     f"{', '.join(summary['stale_examples'])}")
    if summary["absent"]:
        lines.append(f"  {summary['absent']:,} verdicts are of utterances that are not here")
    return lines

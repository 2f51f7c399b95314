"""`audit`: what is wrong with a corpus, utterance by utterance, each with its reason; nothing is dropped here.

    result = audit(utterances, folder, language="vi", workers=2)     # folder/measured.parquet, audit.json, audit.html
    for line in explain(result): print(line)
    sifted = sift(utterances, result.chain)                          # drop what was found, with counts
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utterloom.core.artifact import write_json
from utterloom.core.records import Drop, Utterance
from utterloom.core.timing import format_duration
from utterloom.prepare import quality
from utterloom.prepare.audit import whole_corpus
from utterloom.prepare.audit.measure import Measured
from utterloom.prepare.audit.results import measure_all
from utterloom.prepare.filters import Filter
from utterloom.prepare.quality import Histogram, Predicate, histogram

SUMMARY_FILE, PAGE_FILE = "audit.json", "audit.html"
EXAMPLES_PER_REASON = 5


@dataclass(frozen=True)
class Limits:
    """Beyond what an utterance is named. Set on one draw of a corpus of planted faults and reported on another; see the tests."""

    min_active_s: float = 0.1
    """less speech than this is none"""
    min_speech_dbfs: float = -50.0
    """the speech level of a recording that somebody can hear"""
    max_end_silence_s: float = 5.0
    """silence before or after the speech"""
    max_clipped_share: float = 0.0005
    """samples in runs at full scale"""
    max_flat_tops_per_s: float = 2.0
    """runs at the peak of what was clipped and made quieter since"""
    max_dc_offset: float = 0.02
    """mean sample"""
    max_mono_loss_db: float = 15.0
    """lost by mixing channels"""
    min_band_share: float = 0.6
    """of the band that the rate promises, up to 8 kHz"""
    most_narrow: float = 0.5
    """where more of a corpus is narrow, it was recorded so"""
    claim_tolerance_s: float = 0.1
    """between the decoded duration and the claimed one"""
    min_end_drop_db: float = 10.0
    """of the last 30 ms below the speech"""
    most_cut_off: float = 0.1
    """where more of a corpus ends in speech, it was cut so on purpose"""
    min_characters_per_s: float = 1.0
    """of speech"""
    max_characters_per_s: float = 40.0
    """of speech; nobody talks faster, in any alphabet"""
    max_rate_deviations: float = 4.5
    """of characters a second from the corpus's own"""
    max_text_deviations: float = 6.0
    """of bits a character from the corpus's own"""
    ctc_frames_per_s: float = 25.0
    """encoder frames, for symbols that are characters"""
    max_foreign_script: float = 0.34
    """share of letters; a name may be spelled as at home"""
    max_fingerprint_distance: float = 0.15
    """share of signs that differ between two takes of one clip"""
    max_copies_of_a_text: int = 100
    """isolated words are said often"""
    min_similarity: float = 0.7
    """of text and hypothesis: recognisers err in one short text more than on average, and another text is below 0.5"""
    max_wer: float = 1.0
    """of the hypothesis"""


@dataclass(frozen=True)
class Finding:
    """One reason against one utterance. `detail` is the ledger's words."""

    id: str
    reason: str
    detail: str


@dataclass
class Audit:
    """`chain` is what was asked of every utterance, in order; `findings` hold every objection, several for one utterance too."""

    utterances: Sequence[Utterance]
    measured: dict[str, Measured]
    chain: list[Filter | Predicate]
    findings: list[Finding]
    plots: list[Histogram]
    drops: Sequence[Drop] = ()
    view: str = "basic"
    hypothesis: str = quality.HYPOTHESIS
    title: str = "Audit"
    notes: list[str] = field(default_factory=list)

    def reasons(self) -> dict[str, list[Finding]]:
        """Findings by reason, the most frequent first."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.reason, []).append(finding)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    def seconds(self, ids: Sequence[str]) -> float:
        """Of those whose length is known."""
        return math.fsum(self.measured[name].duration_s or 0.0 for name in ids if name in self.measured)


def checks(utterances: Sequence[Utterance], measured: quality.Measurements, view: str, limits: Limits,
           symbols: Callable[[str], Sequence[int]] | None = None, hypothesis: str = quality.HYPOTHESIS) -> list[Filter | Predicate]:
    """Every predicate at its limit, in the order in which they explain one another: a file that cannot be read is not quiet.

    Those on a hypothesis are there when some utterance has one. `symbols` is a tokenizer's `encode`, for CTC.
    """
    chain: list[Filter | Predicate] = [
        quality.not_decodable(measured),
        quality.not_as_long_as_claimed(measured, limits.claim_tolerance_s),
        quality.silent(measured, limits.min_active_s),
        quality.too_quiet(measured, limits.min_speech_dbfs),
        quality.mostly_silence(measured, limits.max_end_silence_s),
        quality.clipped(measured, limits.max_clipped_share),
        quality.clipped_below_full_scale(measured, limits.max_flat_tops_per_s),
        quality.offset(measured, limits.max_dc_offset),
        quality.channels_cancel(measured, limits.max_mono_loss_db),
        quality.narrow_band(measured, limits.min_band_share, limits.most_narrow),
        quality.cut_off(measured, limits.min_end_drop_db, limits.most_cut_off),
        whole_corpus.duplicate_audio(utterances, measured),
        whole_corpus.near_duplicate_audio(utterances, measured, limits.max_fingerprint_distance, view),
        quality.broken_quoting(),
        quality.wrong_script(utterances, limits.max_foreign_script),
        whole_corpus.unusual_text(utterances, view, limits.max_text_deviations),
        whole_corpus.duplicate_text(utterances, view, limits.max_copies_of_a_text),
        quality.ctc_infeasible(view, limits.ctc_frames_per_s, symbols, measured),
        quality.characters_per_second(view, limits.min_characters_per_s, limits.max_characters_per_s, measured),
        whole_corpus.unlike_the_corpus(utterances, view, limits.max_rate_deviations, measured),
        whole_corpus.speaker_in_several_splits(utterances)]
    if any(hypothesis in utterance.attributes for utterance in utterances):
        chain += [whole_corpus.swapped_text(utterances, view, hypothesis),
                  quality.unlike_hypothesis(view, limits.min_similarity, hypothesis),
                  quality.many_word_errors(view, limits.max_wer, hypothesis)]
    return chain


def audit(utterances: Sequence[Utterance], folder: Path, *, view: str = "basic", limits: Limits | None = None, workers: int = 0,
          drops: Sequence[Drop] = (), title: str = "Audit", symbols: Callable[[str], Sequence[int]] | None = None,
          hypothesis: str = quality.HYPOTHESIS, measured: dict[str, Measured] | None = None) -> Audit:
    """Measure every utterance and say what is wrong with it; writes measured.parquet, audit.json and audit.html into `folder`.

    Utterances carry their text views; their spans may be probed or not. `drops` left the path earlier and are shown with the rest.
    `measured` saves the measuring where it was done before. Raises SourceError and OutputError as `measure_all` does.
    """
    from utterloom.prepare.audit.page import write_page

    limits = limits or Limits()
    if measured is None:
        measured = measure_all(utterances, folder, workers)
    chain = checks(utterances, measured, view, limits, symbols, hypothesis)
    findings = [Finding(utterance.id, step.reason, detail) for step in chain for utterance in utterances
                if (detail := step.judge(utterance)) is not None]
    plots = [histogram(step, utterances) for step in chain if isinstance(step, Predicate)]
    result = Audit(utterances, measured, chain, findings, plots, drops, view, hypothesis, title, _notes(measured, limits))
    write_json(folder / SUMMARY_FILE, summary(result))
    write_page(result, folder / PAGE_FILE)
    return result


def _notes(measured: quality.Measurements, limits: Limits) -> list[str]:
    drops = [one.end_drop_db for one in measured.values() if one.end_drop_db is not None and one.active_s]
    share = sum(drop < limits.min_end_drop_db for drop in drops) / len(drops) if drops else 0.0
    notes = []
    if share > limits.most_cut_off:
        notes.append(f"{100 * share:.0f} % of the utterances end while somebody speaks: they were cut so, and none is named for it")
    bands = [band for one in measured.values() if (band := quality.used_band(one)) is not None]
    share = sum(band < limits.min_band_share for band in bands) / len(bands) if bands else 0.0
    if share > limits.most_narrow:
        notes.append(f"{100 * share:.0f} % of the utterances are narrower than their rate: they were recorded so, and none "
                     "is named for it; a lower rate would lose nothing of them")
    return notes


def summary(result: Audit) -> dict[str, Any]:
    """For machines: counts, seconds and examples of every reason, what was asked, and the data of the threshold plots."""
    found = result.reasons()
    named = {finding.id for finding in result.findings}
    return {
        "utterances": len(result.utterances), "seconds": round(result.seconds([u.id for u in result.utterances]), 3),
        "named": len(named), "asked": [step.reason for step in result.chain], "notes": result.notes,
        "findings": [{"reason": reason, "utterances": len(members), "seconds": round(result.seconds([f.id for f in members]), 3),
                      "examples": [{"id": f.id, "detail": f.detail} for f in members[:EXAMPLES_PER_REASON]]}
                     for reason, members in found.items()],
        "dropped_before": len(result.drops), "plots": [asdict(plot) for plot in result.plots]}


def explain(result: Audit) -> list[str]:
    """What a person wants to know, as lines for a terminal."""
    told = summary(result)
    lines = [f"{told['utterances']:,} utterances, {format_duration(told['seconds'])}: {told['named']:,} with something to look at"]
    for row in told["findings"]:
        example = row["examples"][0]
        lines.append(f"  {row['utterances']:>7,}  {row['reason']}, for example {example['id']}: {example['detail']}")
    lines += [f"  {note}" for note in told["notes"]]
    if not told["findings"]:
        lines.append(f"  nothing found by any of {len(told['asked'])} checks")
    return lines

"""What `quality=…` asks of utterances: which predicates, what became of each utterance, and where the thresholds lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from utterloom.core.errors import ConfigError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare import quality
from utterloom.prepare.audit import whole_corpus
from utterloom.prepare.audit.measure import Measured
from utterloom.prepare.config import QualityConfig
from utterloom.prepare.filters import Filter
from utterloom.prepare.quality import Histogram, Predicate, Sieve
from utterloom.prepare.review.verdicts import REVIEWED

HARD = "hard"
HEARD_GOOD = ("good", "fix")  # verdicts of somebody who listened, in the attribute `reviewed`
SCORES = {"text unlike the hypothesis": "similarity", "high word error rate": "wer"}  # kept with the utterance (E5, S6)


@dataclass
class Selected:
    """`kept` in order (with those that fail in the split `hard`, where they are not dropped), a Drop for each that left, the counts
    of every predicate, how many each took of which split, and a threshold plot of each that has numbers."""

    kept: list[Utterance]
    drops: list[Drop] = field(default_factory=list)
    sieves: list[Sieve] = field(default_factory=list)
    by_split: dict[str, Counter[str]] = field(default_factory=dict)
    plots: list[Histogram] = field(default_factory=list)
    num_hard: int = 0
    num_heard: int = 0

    def rows(self) -> list[dict[str, Any]]:
        """For the card: what came to each predicate, what it let through, and what it took, of which splits."""
        return [{"reason": sieve.reason, "in": sieve.num_in, "out": sieve.num_out, "failed": sieve.num_dropped,
                 "failed_by_split": dict(sorted(self.by_split[sieve.reason].items()))} for sieve in self.sieves]


def predicates(utterances: Sequence[Utterance], config: QualityConfig, view: str, measured: quality.Measurements,
               ) -> list[Filter | Predicate]:
    """Those that are asked for, in the order in which they explain one another: what cannot be decoded is not called quiet.

    Raises ConfigError where a hypothesis is asked for and no utterance has that column.
    """
    on_text = config.similarity is not None or config.wer is not None
    if on_text and not any(config.hypothesis in utterance.attributes for utterance in utterances):
        there = sorted({name for utterance in utterances for name in utterance.attributes})
        columns = f"the source's other columns are {', '.join(there)}" if there else "the source has no columns besides its own"
        raise ConfigError(f"quality.hypothesis={config.hypothesis}: no utterance has this column",
                          f"{columns}; similarity and wer need one with what a recogniser heard")
    asked: list[tuple[Any, Any]] = [
        (config.needs_audio or None, lambda _: quality.not_decodable(measured)),
        (config.claimed_s, lambda limit: quality.not_as_long_as_claimed(measured, limit)),
        (config.speech_s, lambda limit: quality.silent(measured, limit)),
        (config.level_dbfs, lambda limit: quality.too_quiet(measured, limit)),
        (config.end_silence_s, lambda limit: quality.mostly_silence(measured, limit)),
        (config.clipped, lambda limit: quality.clipped(measured, limit)),
        (config.dc_offset, lambda limit: quality.offset(measured, limit)),
        (config.band, lambda limit: quality.narrow_band(measured, limit)),
        (config.duplicates or None, lambda _: whole_corpus.duplicate_audio(utterances, measured)),
        (config.near_duplicates, lambda limit: whole_corpus.near_duplicate_audio(utterances, measured, limit, view)),
        (config.whole_quotes or None, lambda _: quality.broken_quoting()),
        (config.foreign_script, lambda limit: quality.wrong_script(utterances, limit)),
        (config.text_copies, lambda limit: whole_corpus.duplicate_text(utterances, view, limit)),
        (config.ctc_frames_per_s, lambda limit: quality.ctc_infeasible(view, limit, measured=measured or None)),
        (config.characters_per_s, lambda limits: quality.characters_per_second(view, *limits, measured or None)),
        (config.similarity, lambda limit: quality.unlike_hypothesis(view, limit, config.hypothesis)),
        (config.wer, lambda limit: quality.many_word_errors(view, limit, config.hypothesis))]
    return [make(limit) for limit, make in asked if limit is not None]


def select(utterances: Sequence[Utterance], config: QualityConfig, view: str, measured: quality.Measurements) -> Selected:
    """Ask every predicate of what the ones before let through. Counts are asserted (E-P9); dev and test are asked like train, and
    what they lose is counted by split (E-P12, C-P12). What somebody has heard and found good is not asked."""
    everyone = utterances
    heard = {u.id for u in everyone if u.attributes.get(REVIEWED) in HEARD_GOOD}
    utterances = [u for u in everyone if u.id not in heard]
    chain = [_remembering(step, utterances) for step in predicates(utterances, config, view, measured)]
    plots = [quality.histogram(step, utterances) for step in chain if isinstance(step, Predicate)]
    scored = _scored(utterances, chain)
    sifted = quality.sift(scored, chain)
    splits = {utterance.id: utterance.split or "train" for utterance in utterances}
    by_split: dict[str, Counter[str]] = {sieve.reason: Counter() for sieve in sifted.sieves}
    for drop in sifted.drops:
        by_split[drop.reason][splits[drop.id]] += 1
    failed = {drop.id: f"{drop.reason}: {drop.detail}" for drop in sifted.drops}
    asked = {utterance.id: utterance for utterance in scored}
    kept = []
    for utterance in everyone:
        now = asked.get(utterance.id, utterance)
        if utterance.id not in failed:
            kept.append(now)
        elif config.failing == "hard":
            kept.append(now.with_(split=HARD, attributes={**now.attributes, HARD: failed[now.id]}))
    drops = sifted.drops if config.failing == "drop" else []
    return Selected(kept, drops, sifted.sieves, by_split, plots, len(failed) - len(drops), len(heard))


def _remembering(step: Filter | Predicate, utterances: Sequence[Utterance]) -> Filter | Predicate:
    """Hypotheses are brought to the text view for every value: once is enough."""
    if not isinstance(step, Predicate) or step.reason not in SCORES:
        return step
    values = {utterance.id: step.value(utterance) for utterance in utterances}
    return replace(step, value=lambda utterance: values[utterance.id])


def _scored(utterances: Sequence[Utterance], chain: Sequence[Filter | Predicate]) -> list[Utterance]:
    """With the scores that were asked for as attributes, so that they can be looked at, sorted and sampled by later."""
    scores = {SCORES[step.reason]: step for step in chain if isinstance(step, Predicate) and step.reason in SCORES}
    if not scores:
        return list(utterances)

    def scored(utterance: Utterance) -> Utterance:
        values = {name: f"{value:.4f}" for name, step in scores.items() if (value := step.value(utterance)) is not None}
        return utterance.with_(attributes={**utterance.attributes, **values}) if values else utterance

    return [scored(utterance) for utterance in utterances]


@dataclass(frozen=True)
class Trimmed:
    """Utterances without the silence at their ends, what is known of them now, and how much was cut."""

    utterances: list[Utterance]
    measured: dict[str, Measured]
    num_cut: int
    seconds: float


def trimmed(utterances: Sequence[Utterance], measured: quality.Measurements, keep_s: float) -> Trimmed:
    """Cut off the silence before and after the speech, but for `keep_s` of it. Spans stay integer samples of the recording.

    Where nobody speaks, or nothing was measured, nothing is cut.
    """
    done = Trimmed([], dict(measured), 0, 0.0)
    for utterance in utterances:
        one = measured.get(utterance.id)
        rate_hz = utterance.spans[0].sample_rate_hz
        if one is None or not one.active_s or len(utterance.spans) != 1 or not rate_hz:
            done.utterances.append(utterance)
            continue
        lead, trail = (max(0, round(((silence_s or 0.0) - keep_s) * rate_hz))
                       for silence_s in (one.leading_silence_s, one.trailing_silence_s))
        if not lead and not trail:
            done.utterances.append(utterance)
            continue
        span = utterance.spans[0]
        span = replace(span, start_sample=span.start_sample + lead, stop_sample=(span.stop_sample or 0) - trail)
        done.utterances.append(utterance.with_(spans=(span,)))
        done.measured[utterance.id] = replace(
            one, duration_s=span.duration_s, leading_silence_s=(one.leading_silence_s or 0.0) - lead / rate_hz,
            trailing_silence_s=(one.trailing_silence_s or 0.0) - trail / rate_hz,
            active_spans_s=tuple(edge_s - lead / rate_hz for edge_s in one.active_spans_s))
        done = replace(done, num_cut=done.num_cut + 1, seconds=done.seconds + (lead + trail) / rate_hz)
    return done

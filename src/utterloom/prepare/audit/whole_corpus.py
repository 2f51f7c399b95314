"""Judgements that need the whole corpus: duplicates, swapped transcripts, text of another kind, speakers on both sides of a split.

Each looks once at all utterances and gives a `Filter` (or a `Predicate`, where there is a number), so that the rest of the path
cannot tell them from those that look at one.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from utterloom.core.records import Utterance
from utterloom.prepare.audit.acoustics import near_pairs, worst_stretch
from utterloom.prepare.audit.trigrams import bits_a_character
from utterloom.prepare.filters import Filter
from utterloom.prepare.quality import HYPOTHESIS, Measurements, Predicate, similarity, speech_rate, text_and_hypothesis

MIN_TO_JUDGE = 20  # fewer utterances have no distribution to fall out of
MAD_TO_DEVIATION = 1.4826  # of a normal distribution
MOST_SWAP_SUSPECTS = 5000  # each is compared with each
MOST_OF_A_STRETCH = 0.05  # set on one draw of planted faults: one word of a sentence is 0.06 and more
ROWS_AT_ONCE = 100  # of the table of suspects


def _listed(reason: str, details: Mapping[str, str]) -> Filter:
    return Filter(reason, lambda utterance: details.get(utterance.id))


def duplicate_audio(utterances: Sequence[Utterance], measured: Measurements) -> Filter:
    """The same samples under another name; the first in the corpus stays. Silence is like silence, and not judged here."""
    first: dict[str, str] = {}
    details: dict[str, str] = {}
    for utterance in utterances:
        one = measured.get(utterance.id)
        if one is None or not one.content_hash or not one.active_s:
            continue
        other = first.setdefault(one.content_hash, utterance.id)
        if other != utterance.id:
            rates = (measured[other].sample_rate_hz, one.sample_rate_hz)
            at = f", there said to be of {rates[0]} Hz and here of {rates[1]} Hz" if rates[0] != rates[1] else ""
            details[utterance.id] = f"the same samples as {other}{at}"
    return _listed("duplicate audio", details)


def near_duplicate_audio(utterances: Sequence[Utterance], measured: Measurements, max_distance: float, view: str | None = None,
                         ) -> Filter:
    """The same clip through another codec, gain, rate or editor; the first in the corpus stays. Equal samples are
    `duplicate_audio`'s.

    Where the texts in `view` differ, two takes of nearly one sentence are likelier than two transcripts of one clip: such a pair is
    named only when no stretch of the two differs by more than MOST_OF_A_STRETCH.
    """
    first_of: dict[str, str] = {}
    heard: list[tuple[Utterance, bytes, float]] = []
    for utterance in utterances:
        one = measured.get(utterance.id)
        words_s = (one.words_s or one.duration_s) if one is not None else None
        if one is None or one.fingerprint is None or not one.active_s or not one.content_hash or words_s is None:
            continue
        if first_of.setdefault(one.content_hash, utterance.id) == utterance.id:
            heard.append((utterance, one.fingerprint, words_s))
    details: dict[str, str] = {}
    pairs = near_pairs([fingerprint for _, fingerprint, _ in heard], [words_s for _, _, words_s in heard], max_distance)
    for left, right, distance in pairs:
        (earlier, left_print, _), (later, right_print, _) = heard[left], heard[right]
        is_other_text = view is not None and earlier.views.get(view) != later.views.get(view)
        if not is_other_text or worst_stretch(left_print, right_print) <= MOST_OF_A_STRETCH:
            details.setdefault(later.id, f"sounds like {earlier.id}: {100 * distance:.0f} % of the fingerprint differ")
    return _listed("near duplicate audio", details)


def duplicate_text(utterances: Sequence[Utterance], view: str, max_copies: int) -> Filter:
    """A text that occurs more than `max_copies` times; the first so many stay."""
    seen: Counter[str] = Counter()
    details: dict[str, str] = {}
    for utterance in utterances:
        text = utterance.views.get(view)
        if not text:
            continue
        seen[text] += 1
        if seen[text] > max_copies:
            details[utterance.id] = f"{text[:60]!r} for the {seen[text]}th time, more than {max_copies}"
    return _listed("duplicate text", details)


def unlike_the_corpus(utterances: Sequence[Utterance], view: str, max_deviations: float, measured: Measurements | None = None,
                      ) -> Predicate:
    """Characters a second against the corpus's own distribution: the suspicion of a swapped, wrong or cut transcript.

    The number is how many deviations log(characters a second) is from the median; a deviation is the scaled median absolute
    deviation, which the faults themselves do not move (at least 5 %). Utterances of a few characters scatter more, and are
    given 1 / characters of their own variance.
    """
    rates = {u.id: rate for u in utterances if (rate := speech_rate(u, view, measured))}
    logs = [math.log(rate) for rate in rates.values()]
    centre = statistics.median(logs) if logs else 0.0
    deviation = max(0.05, MAD_TO_DEVIATION * statistics.median(abs(value - centre) for value in logs)) if logs else 1.0

    def value(utterance: Utterance) -> float | None:
        rate = rates.get(utterance.id)
        if rate is None or len(rates) < MIN_TO_JUDGE:
            return None
        return (math.log(rate) - centre) / math.hypot(deviation, 1 / len(utterance.views[view]))

    return Predicate("text does not fit the length", value, low=-max_deviations, high=max_deviations,
                     show="{:+.1f}".format,
                     unit="deviations from the corpus's characters a second", what="deviations of the rate of speech")


def unusual_text(utterances: Sequence[Utterance], view: str, max_deviations: float) -> Predicate:
    """Text of another kind than the rest, such as another language in the same script.

    Bits a character by the corpus's own trigrams (interpolated with bigrams and single characters), the utterance's own taken out
    of the counts; the number is how many deviations that is above the median, where short texts are forgiven more.
    """
    texts = {u.id: text for u in utterances if (text := u.views.get(view))}
    number_of = {text: number for number, text in enumerate(dict.fromkeys(texts.values()))}
    number = np.fromiter(map(number_of.__getitem__, texts.values()), np.int64, len(texts))
    bits = bits_a_character(list(number_of))[number]
    # Scatter falls with the root of the length: judged per root character, so that long and short texts have one scale.
    root_length = np.sqrt(np.fromiter((len(text) + 1 for text in texts.values()), np.int64, len(texts)))
    above = (bits - np.median(bits)) * root_length if texts else bits
    spread = MAD_TO_DEVIATION * float(np.median(np.abs(above))) if texts else 1.0
    deviations = dict(zip(texts, (above / max(spread, 0.5)).tolist(), strict=True))

    def value(utterance: Utterance) -> float | None:
        return deviations.get(utterance.id) if len(deviations) >= MIN_TO_JUDGE else None

    return Predicate("text unlike the corpus", value, high=max_deviations,
                     show="{:+.1f}".format, unit="deviations from the corpus's bits a character",
                     what="deviations of bits a character")


def swapped_text(utterances: Sequence[Utterance], view: str, column: str = HYPOTHESIS, is_unlike: float = 0.5, is_like: float = 0.7,
                 ) -> Filter:
    """Pairs whose texts are each other's: both hypotheses are unlike the own text and like the other's.

    Looks at the utterances whose similarity is below `is_unlike`, at most MOST_SWAP_SUSPECTS of them: beyond that, something else
    is wrong with the corpus, and nothing is named here.
    """
    suspects = []
    for utterance in utterances:
        pair = text_and_hypothesis(utterance, view, column)
        if pair is not None and pair[0] and pair[1] and similarity(*pair) < is_unlike:
            suspects.append((utterance.id, *pair))
    details: dict[str, str] = {}
    if 1 < len(suspects) <= MOST_SWAP_SUSPECTS:
        ids, texts, heard = zip(*suspects, strict=True)
        heard_like_text = _alike(heard, texts, is_like)
        for one, other in np.argwhere(np.triu(heard_like_text & heard_like_text.T, 1)).tolist():
            details[ids[one]], details[ids[other]] = f"its text is that of {ids[other]}", f"its text is that of {ids[one]}"
    return _listed("swapped text", details)


def _alike(lefts: Sequence[str], rights: Sequence[str], is_like: float) -> np.ndarray:
    """bool [lefts, rights]: where `quality.similarity` is at least `is_like`, which is above 0. No text is empty.

    By length, a few lefts after the other: the distance is at least the difference of the lengths, so that each meets only rights
    about as long as itself, and no distance is worked out further than would still be alike.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    letters = Counter("".join((*lefts, *rights)))  # as small numbers, the most frequent first: a third of the time
    number_of = {ord(letter): number for number, (letter, _) in enumerate(letters.most_common())}
    lefts, rights = ([text.translate(number_of) for text in texts] for texts in (lefts, rights))
    left_lengths, right_lengths = (np.array([len(text) for text in texts]) for texts in (lefts, rights))
    left_order, right_order = np.argsort(left_lengths), np.argsort(right_lengths)
    most = (1 - is_like) / 2  # of the two lengths together
    alike = np.zeros((len(lefts), len(rights)), bool)
    for first in range(0, len(lefts), ROWS_AT_ONCE):
        rows = left_order[first:first + ROWS_AT_ONCE]
        shortest, longest = left_lengths[rows[[0, -1]]]
        between = (shortest * (1 - most) / (1 + most) - 1, longest * (1 + most) / (1 - most) + 1)
        columns = right_order[slice(*np.searchsorted(right_lengths, between, sorter=right_order))]
        if len(columns):
            cutoff = int(most * (longest + right_lengths[columns[-1]])) + 1
            distances = cdist([lefts[row] for row in rows], [rights[column] for column in columns], scorer=Levenshtein.distance,
                              score_cutoff=cutoff, dtype=np.int64)
            lengths = left_lengths[rows][:, None] + right_lengths[columns]
            alike[np.ix_(rows, columns)] = 1 - 2 * distances / lengths >= is_like
    return alike


def speaker_in_several_splits(utterances: Sequence[Utterance]) -> Filter:
    """A speaker who is in more than one split (E-P13): the utterances outside of the split in which most of the speaker's are."""
    splits: dict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        if utterance.speaker and utterance.split:
            splits[utterance.speaker][utterance.split] += 1
    home = {speaker: counts.most_common(1)[0] for speaker, counts in splits.items() if len(counts) > 1}
    details = {u.id: f"speaker {u.speaker} is in {u.split} here and {home[u.speaker][1]} times in {home[u.speaker][0]}"
               for u in utterances if u.speaker in home and u.split and u.split != home[u.speaker][0]}
    return _listed("speaker in several splits", details)

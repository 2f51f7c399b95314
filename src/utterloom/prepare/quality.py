"""Quality as named predicates: each says what it measures, between which inclusive limits an utterance stays, and why it goes.

A `Predicate` is a `filters.Filter` (it has a `reason` and a `judge`) that can also give its number for every utterance, so that
a threshold can be looked at before it is chosen (`histogram`). What was measured on the audio comes in as `{id: Measured}`, from
`prepare.audit`. An utterance of which a number is not known stays: nothing is dropped for what nobody measured. Judgements over a
whole corpus (duplicates, swaps, leaks) are worked out once and are plain filters; they are in `audit.whole_corpus`.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from utterloom.core.errors import ConfigError, SourceError
from utterloom.core.records import Drop, Span, Utterance
from utterloom.prepare.audit.measure import Measured
from utterloom.prepare.filters import Filter, Verdict
from utterloom.text.normalisers import normaliser
from utterloom.text.tokenizers import ctc_frames_needed

STAGE = "prepare"
HYPOTHESIS = "hypothesis"  # the column of what a recogniser heard
SPEECH_BAND_HZ = 8000  # recognisers listen up to here
MIN_CHARACTERS = 6

Measurements = Mapping[str, Measured]


@dataclass(frozen=True)
class Predicate:
    """`low` and `high` are inclusive: exactly at the limit stays (E-P11, E-P18). `show` prints a number, `unit` says of what."""

    reason: str
    value: Callable[[Utterance], float | None]
    low: float = -math.inf
    high: float = math.inf
    show: Callable[[float], str] = "{:g}".format
    unit: str = ""
    what: str = ""

    def judge(self, utterance: Utterance) -> Verdict:
        """None where it stays, else what it is and what the limit was."""
        value = self.value(utterance)
        if value is None or self.low <= value <= self.high:
            return None
        if math.isnan(value):
            raise ValueError(f"{self.reason}: the value of {utterance.id!r} is not a number")  # ours to mend, never to let through
        limit = f"less than {self.show(self.low)}" if value < self.low else f"more than {self.show(self.high)}"
        return f"{self.show(value)}, {limit} {self.unit}".rstrip()


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


# ------------------------------------------------------------------------------------------------------------ counting


@dataclass(frozen=True)
class Sieve:
    """What one predicate did: `num_in` = `num_out` + `num_dropped`."""

    reason: str
    num_in: int
    num_out: int
    num_dropped: int


@dataclass
class Sifted:
    """Utterances that stayed, in order; a Drop for each that did not; and the counts of every predicate, also of idle ones."""

    kept: list[Utterance]
    drops: list[Drop] = field(default_factory=list)
    sieves: list[Sieve] = field(default_factory=list)

    def check(self, num_in: int) -> None:
        """E-P9: what comes in goes out or is dropped, at every predicate, and each takes what the one before let through."""
        for sieve in self.sieves:
            if sieve.num_in != num_in or sieve.num_in != sieve.num_out + sieve.num_dropped:
                raise AssertionError(f"{sieve.reason}: {num_in} came, {sieve}")
            num_in = sieve.num_out
        if num_in != len(self.kept) or len(self.drops) != sum(sieve.num_dropped for sieve in self.sieves):
            raise AssertionError(f"{len(self.kept)} kept of {num_in}, {len(self.drops)} drops")


def sift(utterances: Sequence[Utterance], chain: Sequence[Filter | Predicate], stage: str = STAGE) -> Sifted:
    """Through one predicate after the other; each utterance is dropped by the first that objects. Counts are asserted."""
    sifted = Sifted(list(utterances))
    for step in chain:
        kept, drops = [], []
        for utterance in sifted.kept:
            detail = step.judge(utterance)
            if detail is None:
                kept.append(utterance)
            else:
                drops.append(Drop(utterance.id, stage, step.reason, detail, _seconds(utterance), utterance.spans[0].path))
        sifted.sieves.append(Sieve(step.reason, len(sifted.kept), len(kept), len(drops)))
        sifted.kept = kept
        sifted.drops += drops
    sifted.check(len(utterances))
    return sifted


def _seconds(utterance: Utterance) -> float | None:
    try:
        return utterance.duration_s
    except ValueError:  # not probed
        return None


@dataclass(frozen=True)
class Histogram:
    """A predicate's numbers over a corpus, for a threshold plot: `edges` has one entry more than `counts`.

    The first and the last bin also hold what lies beyond them, so that one wild value does not flatten all others. `low` and
    `high` are the limits, None where there is none. `num_unknown` have no number.
    """

    reason: str
    what: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    low: float | None
    high: float | None
    num_below: int
    num_above: int
    num_unknown: int


def histogram(predicate: Predicate, utterances: Iterable[Utterance], num_bins: int = 40) -> Histogram:
    """`counts` and `num_unknown` add up to the number of utterances."""
    import numpy as np

    found = [predicate.value(utterance) for utterance in utterances]
    values = np.array([value for value in found if value is not None], dtype=float)
    low, high = (limit if math.isfinite(limit) else None for limit in (predicate.low, predicate.high))
    first, last = np.percentile(values, (0.5, 99.5)) if len(values) else (0.0, 1.0)
    if last - first < 1e-9 * max(abs(first), abs(last)):  # equal but for rounding
        last = first
    width = last - first
    for limit in (low, high):  # in the picture where it is not far outside
        if limit is not None and first - width <= limit <= last + width:
            first, last = min(first, limit - 0.05 * width), max(last, limit + 0.05 * width)
    counts, edges = np.histogram(np.clip(values, first, last), num_bins, (first, last))
    return Histogram(predicate.reason, predicate.what, tuple(edges.tolist()), tuple(counts.tolist()), low, high,
                     int((values < predicate.low).sum()), int((values > predicate.high).sum()), len(found) - len(values))


# --------------------------------------------------------------------------------------------------------------- audio


def not_decodable(measured: Measurements) -> Filter:
    """Everything that `audio.decode` refuses: missing, damaged, cut short, no samples, NaN or infinite values."""
    def judge(utterance: Utterance) -> Verdict:
        one = measured.get(utterance.id)
        return one.error if one is not None else None

    return Filter("recording not readable", judge)


def _of(measured: Measurements, get: Callable[[Measured], float | None]) -> Callable[[Utterance], float | None]:
    def value(utterance: Utterance) -> float | None:
        one = measured.get(utterance.id)
        return get(one) if one is not None and one.error is None else None

    return value


def silent(measured: Measurements, min_active_s: float) -> Predicate:
    """Nobody speaks: digital silence, a steady noise, or sound below −65 dBFS (see `acoustics.voice_activity`)."""
    return Predicate("no speech", _of(measured, lambda one: one.active_s), low=min_active_s, show="{:.2f}".format,
                     unit="s of speech", what="speech, s")


def too_quiet(measured: Measurements, min_dbfs: float) -> Predicate:
    return Predicate("too quiet", _of(measured, lambda one: one.speech_dbfs), low=min_dbfs, show="{:.0f}".format, unit="dBFS",
                     what="level of speech, dBFS")


def mostly_silence(measured: Measurements, max_silence_s: float) -> Predicate:
    """The longer of the silences before and after the speech."""
    return Predicate("long silence", _of(measured, lambda one: max(one.leading_silence_s or 0, one.trailing_silence_s or 0)),
                     high=max_silence_s, show="{:.1f}".format, unit="s of silence at an end", what="silence at an end, s")


def clipped(measured: Measurements, max_share: float) -> Predicate:
    """The share of samples in runs of three or more at full scale."""
    return Predicate("clipped", _of(measured, lambda one: (one.num_clipped_samples or 0) / (one.num_samples or 1)), high=max_share,
                     show=_percent, unit="of the samples at full scale", what="share of samples at full scale")


def clipped_below_full_scale(measured: Measurements, max_per_s: float) -> Predicate:
    """Clipped and made quieter since: the same highest value, three samples long, again and again (lossless formats only)."""
    return Predicate("clipped, then made quieter", _of(measured, lambda one: (one.num_flat_tops or 0) / (one.duration_s or 1)),
                     high=max_per_s, show="{:.3g}".format, unit="flat tops a second", what="flat tops a second")


def offset(measured: Measurements, max_offset: float) -> Predicate:
    return Predicate("DC offset", _of(measured, lambda one: abs(one.dc_offset or 0)), high=max_offset, show=_percent,
                     unit="of full scale", what="share of full scale")


def channels_cancel(measured: Measurements, max_loss_db: float) -> Predicate:
    """Mixed to mono, most of the sound is gone: one channel is the other upside down."""
    return Predicate("channels cancel each other", _of(measured, lambda one: one.mono_loss_db), high=max_loss_db,
                     show="{:.0f}".format, unit="dB lost by mixing to mono", what="loss by mixing to mono, dB")


def used_band(one: Measured) -> float | None:
    """The share of the promised band (half the rate, at most 8 kHz) that holds sound; None where nobody speaks."""
    if not one.bandwidth_hz or not one.sample_rate_hz or not one.active_s:
        return None
    return min(1.0, one.bandwidth_hz / min(one.sample_rate_hz / 2, SPEECH_BAND_HZ))


def narrow_band(measured: Measurements, min_share: float, most_share: float = 1.0) -> Predicate:
    """A rate that lies: telephone speech that was stored at 16 kHz fills half of its band. Where more than `most_share` of a corpus
    is like that, the corpus is (VIVOS's first speaker, for one), and none of it is named."""
    shares = [share for one in measured.values() if (share := used_band(one)) is not None]
    is_custom = sum(share < min_share for share in shares) > most_share * len(shares)
    return Predicate("narrower than its rate", _of(measured, used_band), low=-math.inf if is_custom else min_share,
                     show=_percent, unit="of the band that the rate promises", what="used share of the band")


def not_as_long_as_claimed(measured: Measurements, tolerance_s: float) -> Predicate:
    """Decoded against claimed duration; a hundredth of the claim is forgiven where that is more (encoders pad)."""
    def apart_s(one: Measured) -> float | None:
        if one.claimed_s is None or one.duration_s is None:
            return None
        return max(0.0, abs(one.duration_s - one.claimed_s) - max(0.0, 0.01 * one.claimed_s - tolerance_s))

    return Predicate("duration is not the claimed one", _of(measured, apart_s), high=tolerance_s, show="{:.3f}".format,
                     unit="s apart", what="apart from the claimed duration, s")


def cut_off(measured: Measurements, min_drop_db: float, most_share: float) -> Predicate:
    """Still as loud as speech in the last 30 ms. Where more than `most_share` of a corpus ends like that, it was cut that way on
    purpose (tight segments of long recordings), and none is named."""
    drops = [one.end_drop_db for one in measured.values() if one.end_drop_db is not None and one.active_s]
    is_custom = sum(drop < min_drop_db for drop in drops) > most_share * len(drops)
    return Predicate("cut off while speaking", _of(measured, lambda one: one.end_drop_db if one.active_s else None),
                     low=-math.inf if is_custom else min_drop_db, show="{:.0f}".format,
                     unit="dB from the speech down to the end", what="from the speech down to the end, dB")


# ---------------------------------------------------------------------------------------------------------------- text


def characters_per_second(view: str, low: float, high: float, measured: Measurements | None = None) -> Predicate:
    """Characters of the text view per second of speech where that was measured, else per second of audio. A text of less than
    MIN_CHARACTERS has no rate: a weak first or last sound is a third of its length."""
    def value(utterance: Utterance) -> float | None:
        return speech_rate(utterance, view, measured) if len(utterance.views.get(view, "")) >= MIN_CHARACTERS else None

    return Predicate("unlikely rate of speech", value, low=low, high=high,
                     show="{:.1f}".format, unit="characters a second", what="characters a second")


def speech_rate(utterance: Utterance, view: str, measured: Measurements | None = None) -> float | None:
    """Characters of a text view a second; None without text, and without a known and positive length."""
    text = utterance.views.get(view)
    one = measured.get(utterance.id) if measured is not None else None
    seconds = (one.active_s or None) if one is not None else _seconds(utterance)
    return len(text) / seconds if text is not None and seconds else None


def ctc_infeasible(view: str, frames_per_s: float, symbols: Callable[[str], Sequence[int]] | None = None,
                   measured: Measurements | None = None) -> Predicate:
    """More symbols than frames: encoder frames for each one that CTC needs, which must be at least 1.

    `symbols` is a tokenizer's `encode`; without one, characters are counted, as a model of characters would.
    """
    def frames_for_each(utterance: Utterance) -> float | None:
        text = utterance.views.get(view)
        one = measured.get(utterance.id) if measured is not None else None
        seconds = one.duration_s if one is not None else _seconds(utterance)
        if not text or seconds is None:
            return None
        return int(seconds * frames_per_s) / ctc_frames_needed(symbols(text) if symbols else [ord(character) for character in text])

    return Predicate("more symbols than frames", frames_for_each, low=1.0, show="{:.2f}".format, unit="frames for each symbol",
                     what="frames for each symbol")


def similarity(left: str, right: str) -> float:
    """E5's measure on an honest range: 1 − 2 · Levenshtein / (len left + len right), and 0 where that would be negative.

    Two empty texts are equal: 1. One empty text is like nothing: 0 (E-P11).
    """
    from rapidfuzz.distance import Levenshtein

    total = len(left) + len(right)
    return max(0.0, 1 - 2 * Levenshtein.distance(left, right) / total) if total else 1.0


def unlike_hypothesis(view: str, min_similarity: float, column: str = HYPOTHESIS) -> Predicate:
    """E5: characters of the text view against what a recogniser heard, brought to the same view. At the limit stays."""
    if not 0 <= min_similarity <= 1:
        raise ConfigError(f"min_similarity={min_similarity:g} is not a similarity", "choose from 0 to 1; E5 used 0.8")

    def value(utterance: Utterance) -> float | None:
        pair = text_and_hypothesis(utterance, view, column)
        return similarity(*pair) if pair is not None else None

    return Predicate("text unlike the hypothesis", value, low=min_similarity, show="{:.3f}".format, unit="similarity",
                     what="similarity to the hypothesis")


def many_word_errors(view: str, max_wer: float, column: str = HYPOTHESIS) -> Predicate:
    """Word error rate of the hypothesis against the text: on short texts it sees what a similarity does not (E-P11)."""
    from utterloom.metrics.error_rates import word_errors

    def value(utterance: Utterance) -> float | None:
        pair = text_and_hypothesis(utterance, view, column)
        return word_errors(*pair).rate if pair is not None else None

    return Predicate("high word error rate", value, high=max_wer, show="{:.2f}".format, unit="WER", what="WER of the hypothesis")


def text_and_hypothesis(utterance: Utterance, view: str, column: str) -> tuple[str, str] | None:
    """Both in the text view; None where one of them is not known."""
    text, heard = utterance.views.get(view), utterance.attributes.get(column)
    return (text, normaliser(view)(heard)) if text is not None and heard is not None else None


LATIN_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "fi", "no", "nb", "nn", "is", "pl", "cs", "sk", "sl",
                   "hr", "bs", "hu", "ro", "sq", "tr", "az", "et", "lv", "lt", "ga", "cy", "mt", "eu", "ca", "gl", "vi", "id",
                   "ms", "tl", "sw", "ha", "yo", "ig", "zu", "xh", "tw", "ak", "rw", "so", "eo")
# Scripts as the first word of a letter's Unicode name. A language that is not here is judged by its own corpus.
SCRIPTS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk", "ky", "mn", "tg"), frozenset(("CYRILLIC",))),
    "sr": frozenset(("CYRILLIC", "LATIN")), "el": frozenset(("GREEK",)), "he": frozenset(("HEBREW",)), "yi": frozenset(("HEBREW",)),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "ckb", "ug"), frozenset(("ARABIC",))), "hy": frozenset(("ARMENIAN",)),
    "ka": frozenset(("GEORGIAN",)), **dict.fromkeys(("hi", "mr", "ne", "sa"), frozenset(("DEVANAGARI",))),
    "bn": frozenset(("BENGALI",)), "as": frozenset(("BENGALI",)), "pa": frozenset(("GURMUKHI",)), "gu": frozenset(("GUJARATI",)),
    "ta": frozenset(("TAMIL",)), "te": frozenset(("TELUGU",)), "kn": frozenset(("KANNADA",)), "ml": frozenset(("MALAYALAM",)),
    "si": frozenset(("SINHALA",)), "th": frozenset(("THAI",)), "lo": frozenset(("LAO",)), "my": frozenset(("MYANMAR",)),
    "km": frozenset(("KHMER",)), "am": frozenset(("ETHIOPIC",)), "ti": frozenset(("ETHIOPIC",)),
    "zh": frozenset(("CJK",)), "yue": frozenset(("CJK",)), "ko": frozenset(("HANGUL", "CJK")),
    "ja": frozenset(("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK")),
    **dict.fromkeys(LATIN_LANGUAGES, frozenset(("LATIN",))),
}
USUAL_SHARE = 0.05


@cache
def script_of(character: str) -> str | None:
    """The first word of a letter's Unicode name, such as LATIN or CYRILLIC; None for what is no letter."""
    if not unicodedata.category(character).startswith("L") or unicodedata.category(character) == "Lm":
        return None
    return unicodedata.name(character, "UNNAMED").split()[0].removesuffix("-")


def wrong_script(utterances: Iterable[Utterance], max_share: float) -> Predicate:
    """The share of letters that are of no script of the utterance's language: Cyrillic in Vietnamese, or half a wrong file.

    For a language that SCRIPTS does not know, and for utterances that do not say theirs, the scripts of at least 5 % of the letters
    of the corpus's utterances of that language are its own.
    """
    characters: dict[str | None, Counter[str]] = {}
    for utterance in utterances:
        characters.setdefault(_language(utterance), Counter()).update(utterance.text or "")
    own: dict[str | None, frozenset[str]] = {}
    for language, seen in characters.items():
        letters: Counter[str] = Counter()
        for character, count in seen.items():
            if script := script_of(character):
                letters[script] += count
        usual = frozenset(script for script, count in letters.items() if count >= USUAL_SHARE * letters.total())
        own[language] = SCRIPTS.get(language or "") or usual

    def value(utterance: Utterance) -> float | None:
        text = utterance.text or ""
        scripts = {character: script for character in set(text) if (script := script_of(character))}
        allowed = own.get(_language(utterance))
        if not scripts or not allowed:
            return None
        foreign = [character for character, script in scripts.items() if script not in allowed]
        return sum(map(text.count, foreign)) / sum(map(text.count, scripts)) if foreign else 0.0

    return Predicate("wrong script", value, high=max_share,
                     show=_percent, unit="of the letters in another script", what="share of letters in another script")


def _language(utterance: Utterance) -> str | None:
    """The code without its region: `sr-Latn-RS` and `zh_CN` are sr and zh."""
    return utterance.language.replace("_", "-").split("-")[0].lower() if utterance.language else None


def broken_quoting() -> Filter:
    """A table that was written with quotes and read without, or the other way round: quotes around the whole text with doubled ones
    inside, or several rows in one text. A transcript that only begins or ends with a quotation is a transcript."""
    def judge(utterance: Utterance) -> Verdict:
        text = utterance.text or ""
        if "\t" in text or "\n" in text:
            return f"the text holds a {'line break' if chr(10) in text else 'tab'}: are these several rows of a table in one?"
        if len(text) > 1 and text[0] == text[-1] == '"' and '""' in text:
            return f"the text {text[:60]!r} still has the quotes of the table that it was in"
        if '""' in text.strip('"'):
            return f"the text {text[:60]!r} has doubled quotes, as a table writes them"
        if text.count('"') == 1 and text[:1] == '"':
            return f"the text {text[:60]!r} begins with a quote that never ends"
        return None

    return Filter("broken quoting", judge)


# ----------------------------------------------------------------------------------------------------- duration policy


def apply_duration_policy(utterances: Sequence[Utterance], policy: Literal["error", "drop", "split", "stream"], max_s: float,
                          measured: Measurements | None = None) -> tuple[list[Utterance], list[Drop]]:
    """K1: one policy for what is longer than `max_s` (exactly that long stays, E-P18).

    error    raises SourceError that names how many there are and the longest
    drop     a Drop with the seconds that are lost
    split    unlabelled audio is cut in pauses that `measured` knows, into pieces `id-000`, `id-001` … that add up to it; text
             without word times cannot be divided, and audio without a pause is not cut inside a word: both are Drops that say so
    stream   kept whole, for a consumer that reads in windows
    """
    kept: list[Utterance] = []
    drops: list[Drop] = []
    long = [utterance for utterance in utterances if utterance.duration_s > max_s]
    if policy == "error" and long:
        longest = max(long, key=lambda utterance: utterance.duration_s)
        raise SourceError(f"{len(long)} of {len(utterances)} utterances are longer than {max_s:g} s; the longest is {longest.id!r} "
                          f"({longest.duration_s:.2f} s)", "drop, split or stream them, or allow more")
    for utterance in utterances:
        if utterance.duration_s <= max_s or policy == "stream":
            kept.append(utterance)
            continue
        pieces: list[Utterance] = []
        reason, detail = "too long", f"{utterance.duration_s:.2f} s, more than {max_s:g}"
        if policy == "split":
            one = (measured or {}).get(utterance.id)
            if utterance.text is not None:
                reason, detail = "too long to split", f"{detail}, and its text has no times by which to divide it"
            elif one is None or len(utterance.spans) != 1:
                reason, detail = "too long to split", f"{detail}, and its pauses were not measured"
            else:
                pieces = _pieces(utterance, one, max_s)
                reason, detail = "too long to split", f"{detail}, and it has no pause to cut in"
        if pieces:
            kept += pieces
        else:
            drops.append(Drop(utterance.id, STAGE, reason, detail, utterance.duration_s, utterance.spans[0].path))
    return kept, drops


def _pieces(utterance: Utterance, one: Measured, max_s: float) -> list[Utterance]:
    """Cut greedily: each piece ends in the middle of the last pause within `max_s`; empty where there is none."""
    (span,) = utterance.spans
    rate_hz = span.sample_rate_hz or 1
    edges = one.active_spans_s
    pauses = [round((left + right) / 2 * rate_hz) for left, right in zip(edges[1:-1:2], edges[2::2], strict=True)]
    length = (span.stop_sample or 0) - span.start_sample
    cuts = [0]
    while length - cuts[-1] > max_s * rate_hz:
        within = [pause for pause in pauses if cuts[-1] < pause <= cuts[-1] + max_s * rate_hz]
        if not within:
            return []
        cuts.append(within[-1])
    spans = [Span(span.path, span.start_sample + start, span.start_sample + stop, span.sample_rate_hz, span.num_channels,
                  span.channel)
             for start, stop in zip(cuts, [*cuts[1:], length], strict=True)]
    return [utterance.with_(id=f"{utterance.id}-{number:03d}", spans=(piece,)) for number, piece in enumerate(spans)]

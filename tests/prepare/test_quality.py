"""Quality predicates: what each keeps and drops, exactly at its limit too, and that counts add up."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.core.errors import ConfigError, SourceError
from utterloom.core.records import Span, Utterance
from utterloom.metrics.error_rates import word_errors
from utterloom.prepare import quality
from utterloom.prepare.audit import whole_corpus
from utterloom.prepare.audit.measure import Measured
from utterloom.prepare.filters import Filter
from utterloom.prepare.quality import Predicate, apply_duration_policy, histogram, sift, similarity

RATE_HZ = 16_000
VIEW = "basic"
TEXT = st.text(alphabet="aáb ж-", max_size=12)


def utterance(
    name: str = "a", text: str | None = "một hai", seconds: float = 1.0, heard: str | None = None, **more: object
) -> Utterance:
    return Utterance(
        name, text, (Span("x.wav", 0, round(seconds * RATE_HZ), RATE_HZ, 1),), views={} if text is None else {VIEW: text},
        attributes={} if heard is None else {quality.HYPOTHESIS: heard}).with_(**more)


def measured(**facts: object) -> dict[str, Measured]:
    """Of an utterance `a` with which nothing is wrong but the facts given."""
    usual = {"sample_rate_hz": RATE_HZ, "num_samples": RATE_HZ, "duration_s": 1.0, "active_s": 0.8, "speech_dbfs": -20.0,
             "leading_silence_s": 0.1, "trailing_silence_s": 0.1, "num_clipped_samples": 0, "num_flat_tops": 1, "dc_offset": 0.0,
             "mono_loss_db": 0.0, "bandwidth_hz": 7900, "end_drop_db": 40.0}
    return {"a": Measured("x.wav", **{**usual, **facts})}


# (the predicate of what was measured, what stays, what goes): numbers at the limit stay.
ON_MEASUREMENTS: list[tuple[Callable[[dict[str, Measured]], Filter | Predicate], dict[str, object], dict[str, object]]] = [
    (quality.not_decodable, {}, {"error": "the file holds no samples"}),
    (lambda m: quality.silent(m, 0.1), {"active_s": 0.1}, {"active_s": 0.09}),
    (lambda m: quality.too_quiet(m, -50), {"speech_dbfs": -50.0}, {"speech_dbfs": -50.5}),
    (lambda m: quality.mostly_silence(m, 2.0), {"leading_silence_s": 2.0}, {"trailing_silence_s": 2.01}),
    (lambda m: quality.clipped(m, 0.001), {"num_clipped_samples": 16}, {"num_clipped_samples": 17}),
    (lambda m: quality.clipped_below_full_scale(m, 2), {"num_flat_tops": 2}, {"num_flat_tops": 3}),
    (lambda m: quality.offset(m, 0.02), {"dc_offset": -0.02}, {"dc_offset": -0.03}),
    (lambda m: quality.channels_cancel(m, 15), {"mono_loss_db": 15.0}, {"mono_loss_db": 15.5}),
    (lambda m: quality.narrow_band(m, 0.5), {"bandwidth_hz": 4000}, {"bandwidth_hz": 3900}),
    (lambda m: quality.narrow_band(m, 0.5), {"bandwidth_hz": 3900, "sample_rate_hz": 8000}, {"bandwidth_hz": 3900}),
    (lambda m: quality.not_as_long_as_claimed(m, 0.1), {"claimed_s": 0.9}, {"claimed_s": 1.2}),
    (lambda m: quality.cut_off(m, 10, 1.0), {"end_drop_db": 10.0}, {"end_drop_db": 9.0}),
    (lambda m: quality.ctc_infeasible(VIEW, 25, None, m), {"duration_s": 7 / 25}, {"duration_s": 6.9 / 25}),
    (lambda m: quality.characters_per_second(VIEW, 1, 10, m), {"active_s": 0.7}, {"active_s": 0.69}),
]
ON_TEXT: list[tuple[Filter | Predicate, Utterance, Utterance]] = [
    (quality.characters_per_second(VIEW, 2, 14), utterance(seconds=0.5), utterance(seconds=0.4)),
    (quality.characters_per_second(VIEW, 2, 14), utterance(seconds=3.5), utterance(seconds=3.6)),
    (quality.ctc_infeasible(VIEW, 25), utterance(text="aa", seconds=3 / 25), utterance(text="aa", seconds=2.9 / 25)),
    (quality.ctc_infeasible(VIEW, 25, lambda text: [7]), utterance(seconds=1 / 25), utterance(seconds=0.9 / 25)),
    (quality.unlike_hypothesis(VIEW, 0.8), utterance(text="abcde", heard="abcdf"), utterance(text="abcde", heard="abcfg")),
    (quality.many_word_errors(VIEW, 0.5), utterance(heard="Một BA!"), utterance(heard="bốn ba")),
    (quality.wrong_script([], 0.3), utterance(), utterance()),  # replaced below: it needs its corpus
    (quality.broken_quoting(), utterance(text='"Đi!" anh nói'), utterance(text='"Anh nói ""đi"" rồi"')),
    (quality.broken_quoting(), utterance(text='anh nói "đi"'), utterance(text='"anh nói')),
    (quality.broken_quoting(), utterance(text='"đi"'), utterance(text="một\nb\tc")),
]
VIETNAMESE = [utterance(text, text, language="vi-VN") for text in ("một hai", "ba bốn", "Москва năm sáu bảy")]
ON_TEXT[6] = (quality.wrong_script(VIETNAMESE, 0.5), VIETNAMESE[2], utterance(text="Москва năm", language="vi"))


@pytest.mark.parametrize(("make", "kept", "dropped"), ON_MEASUREMENTS)
def test_a_predicate_on_sound_keeps_the_limit_and_drops_what_is_beyond(
    make: Callable[[dict[str, Measured]], Filter | Predicate], kept: dict[str, object], dropped: dict[str, object]
) -> None:
    """E-P9, E-P11, E-P18."""
    assert make(measured(**kept)).judge(utterance()) is None
    assert make(measured(**dropped)).judge(utterance())
    assert make({}).judge(utterance(seconds=0.7)) is None, "what was not measured stays"


@pytest.mark.parametrize(("step", "kept", "dropped"), ON_TEXT, ids=lambda item: getattr(item, "reason", ""))
def test_a_predicate_on_text_keeps_the_limit_and_drops_what_is_beyond(
    step: Filter | Predicate, kept: Utterance, dropped: Utterance
) -> None:
    assert step.judge(kept) is None
    assert step.judge(dropped)
    assert step.judge(utterance(text=None)) is None, "no text is no bad text"


@pytest.mark.parametrize("make", [lambda m: quality.cut_off(m, 10, 0.5), lambda m: quality.narrow_band(m, 0.5, 0.5)])
def test_what_most_of_a_corpus_is_like_is_no_fault(make: Callable[[dict[str, Measured]], Predicate]) -> None:
    odd, usual = (measured(**facts)["a"] for facts in ({"end_drop_db": 3.0, "bandwidth_hz": 3900}, {}))
    assert make({"a": odd, "b": usual, "c": usual}).judge(utterance())
    assert make({"a": odd, "b": odd, "c": usual}).judge(utterance()) is None


def test_every_predicate_is_tested() -> None:
    made = {name for name, value in vars(quality).items() if inspect.isfunction(value) and value.__module__ == quality.__name__
            and value.__annotations__.get("return") in ("Predicate", "Filter")}
    tested = {make(measured()).reason for make, _, _ in ON_MEASUREMENTS} | {step.reason for step, _, _ in ON_TEXT}
    assert len(tested) == len(made), made


def test_a_value_that_is_no_number_is_never_let_through() -> None:
    """NaN is on the right side of no limit: a fault of ours, not of the corpus."""
    with pytest.raises(ValueError, match="not a number"):
        Predicate("odd", lambda _: math.nan, low=0).judge(utterance())


# --- similarity -------------------------------------------------------------------------------------------------------


@given(TEXT, TEXT)
def test_similarity_is_on_an_honest_range(left: str, right: str) -> None:
    """E-P11: it was −0.82 for texts of very different length, and a division by zero for two empty ones."""
    assert 0 <= similarity(left, right) == similarity(right, left) <= 1
    assert (similarity(left, right) == 1) == (left == right)


def test_similarity_is_that_of_the_parliamentary_corpus_where_that_made_sense() -> None:
    """E5, E-P11: one space costs 6 % of the similarity and two words of one."""
    assert similarity("neznanim", "ne znanim") == pytest.approx(1 - 2 / 17)
    assert word_errors("neznanim", "ne znanim").rate == 2.0
    assert similarity("", "") == 1 and similarity("a", "") == 0 and similarity("a" * 100, "b") == 0
    with pytest.raises(ConfigError, match="not a similarity"):
        quality.unlike_hypothesis(VIEW, 80)


def test_a_hypothesis_is_compared_in_the_view_of_the_text() -> None:
    assert quality.unlike_hypothesis(VIEW, 1.0).judge(utterance(text="xin chào", heard="Xin chào!")) is None


# --- counts -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.1, 5), st.sampled_from(["", "a", "hai ba", '"', "x" * 200])), max_size=12))
def test_counts_add_up_at_every_predicate(items: list[tuple[float, str]]) -> None:
    """E-P9: a filter that drops nothing shows as in = out, and one that loses something cannot finish."""
    utterances = [utterance(f"u{number}", text, seconds) for number, (seconds, text) in enumerate(items)]
    chain = [quality.characters_per_second(VIEW, 1, 40), quality.ctc_infeasible(VIEW, 25), quality.broken_quoting()]
    sifted = sift(utterances, chain)
    assert [sieve.reason for sieve in sifted.sieves] == [step.reason for step in chain]
    assert sorted([u.id for u in sifted.kept] + [drop.id for drop in sifted.drops]) == sorted(u.id for u in utterances)
    assert all(drop.seconds == pytest.approx(items[int(drop.id[1:])][0], abs=1e-4) and drop.detail for drop in sifted.drops)
    sifted.kept.append(utterance("from nowhere"))
    with pytest.raises(AssertionError):
        sifted.check(len(utterances))


def similarity_as_published(low: float) -> Filter:
    """SYSTEMS §0 item 3: `|` binds tighter than `<`, so that this asks whether true is less than 0.8, and never objects."""
    def judge(one: Utterance) -> str | None:
        was_in_samples, found = False, similarity(one.views[VIEW], one.attributes[quality.HYPOTHESIS])
        return "unlike" if (was_in_samples | bool(found)) < low else None

    return Filter("text unlike the hypothesis", judge)


def test_the_filter_that_drops_nothing_is_seen_in_the_counts() -> None:
    """SYSTEMS §0 item 3, E-P9."""
    utterances = [utterance("good", heard="một hai"), utterance("bad", heard="một bốn năm")]
    as_published, ours = (sift(utterances, [step]) for step in (similarity_as_published(0.8), quality.unlike_hypothesis(VIEW, 0.8)))
    assert as_published.sieves[0].num_dropped == 0 and ours.sieves[0].num_dropped == 1
    assert [drop.id for drop in ours.drops] == ["bad"]


@settings(max_examples=50)
@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=30), st.floats(-10, 10), st.floats(0, 10))
def test_a_histogram_counts_everybody(values: list[float | None], low: float, width: float) -> None:
    by_id = {f"u{number}": value for number, value in enumerate(values)}
    predicate = Predicate("x", lambda u: by_id[u.id], low, low + width)
    utterances = [utterance(name) for name in by_id]
    plot = histogram(predicate, utterances)
    assert sum(plot.counts) + plot.num_unknown == len(values) and len(plot.edges) == len(plot.counts) + 1
    assert plot.num_below + plot.num_above == sum(predicate.judge(u) is not None for u in utterances)


# --- the whole corpus -------------------------------------------------------------------------------------------------


def heard_as(content_hash: str, fingerprint: bytes | None = None, **more: object) -> Measured:
    return Measured("x", content_hash=content_hash, fingerprint=fingerprint, duration_s=1.0, active_s=1.0, sample_rate_hz=16_000,
                    **more)


def named(step: Filter | Predicate, utterances: list[Utterance]) -> list[str]:
    return [u.id for u in utterances if step.judge(u) is not None]


def test_the_first_of_several_copies_stays() -> None:
    utterances = [utterance(name) for name in "abcd"]
    found = {"a": heard_as("1"), "b": heard_as("2"), "c": heard_as("1"), "d": Measured("x", content_hash="1", active_s=0.0)}
    step = whole_corpus.duplicate_audio(utterances, found)
    assert named(step, utterances) == ["c"] and "the same samples as a" in str(step.judge(utterances[2]))


def test_near_copies_are_named_with_what_they_are_like() -> None:
    utterances = [utterance(name) for name in "abc"]
    sure = b"\xff" * 32
    found = {"a": heard_as("1", b"\x0f" * 32 + sure), "b": heard_as("2", b"\xf0" * 32 + sure),
             "c": heard_as("3", b"\x0f" * 31 + b"\x0e" + sure)}
    step = whole_corpus.near_duplicate_audio(utterances, found, 0.1)
    assert named(step, utterances) == ["c"] and "sounds like a" in str(step.judge(utterances[2]))


def test_duplicate_texts_beyond_the_number_that_is_allowed() -> None:
    utterances = [utterance(str(number), "có" if number % 2 else f"câu {number}") for number in range(8)]
    assert named(whole_corpus.duplicate_text(utterances, VIEW, 2), utterances) == ["5", "7"]


def test_swapped_texts_are_named_as_a_pair() -> None:
    texts = {"a": "bật đèn phòng khách", "b": "ngày mai trời mưa", "c": "gọi cho chị lan"}
    said = {"a": "ngày mai trời mưa to", "b": "bật đèn phòng khách", "c": "mười lăm nghìn đồng"}
    utterances = [utterance(name, texts[name], heard=said[name]) for name in "abc"]
    step = whole_corpus.swapped_text(utterances, VIEW)
    assert named(step, utterances) == ["a", "b"] and step.judge(utterances[0]) == "its text is that of b"


def test_a_speaker_on_both_sides_of_a_split_is_named() -> None:
    """E-P13."""
    utterances = [utterance(str(number), speaker="s", split="train") for number in range(3)]
    utterances += [utterance("leak", speaker="s", split="test"), utterance("fine", speaker="t", split="test"),
                   utterance("nobody", split="test")]
    assert named(whole_corpus.speaker_in_several_splits(utterances), utterances) == ["leak"]


def test_text_that_does_not_fit_its_length_is_seen_against_the_corpus() -> None:
    utterances = [utterance(f"u{number}", "một hai ba bốn năm", 1.2 + 0.01 * number) for number in range(30)]
    utterances += [utterance("long", "một hai ba bốn năm " * 4, 1.3), utterance("short", "một", 1.3), utterance("none", None)]
    step = whole_corpus.unlike_the_corpus(utterances, VIEW, 4.5)
    assert named(step, utterances) == ["long", "short"]
    assert named(whole_corpus.unlike_the_corpus(utterances[-4:], VIEW, 4.5), utterances) == [], "three are no distribution"


def test_another_language_in_the_same_script_is_seen_by_its_letters() -> None:
    texts = ["bật đèn phòng khách lên giúp tôi", "ngày mai trời có mưa không", "gọi cho chị lan lúc bảy giờ",
             "mở nhạc trong phòng ngủ", "hôm nay là thứ mấy", "nhà tôi có ba người", "trời hôm nay rất đẹp",
             "tôi muốn nghe nhạc lúc bảy giờ"]
    utterances = [utterance(f"u{number}", f"{texts[number % 8]} {texts[(number * 3 + 1) % 8]}") for number in range(40)]
    utterances.append(utterance("english", "please switch the washing machine off before twelve"))
    assert named(whole_corpus.unusual_text(utterances, VIEW, 6.0), utterances) == ["english"]


# --- too long ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.2, 9), min_size=1, max_size=8), st.sampled_from(["drop", "split", "stream"]), st.booleans())
def test_a_duration_policy_loses_no_sample_that_it_does_not_name(durations: list[float], policy: str, has_text: bool) -> None:
    """K1, E-P18."""
    utterances = [utterance(f"u{number}", "một" if has_text else None, seconds) for number, seconds in enumerate(durations)]
    found = {u.id: Measured("x", duration_s=u.duration_s, active_spans_s=tuple(edge for second in range(int(u.duration_s))
             for edge in (second + 0.2, second + 0.8))) for u in utterances}
    kept, drops = apply_duration_policy(utterances, policy, 3.0, found)  # type: ignore[arg-type]
    left_s = sum(u.duration_s for u in kept) + sum(drop.seconds or 0 for drop in drops)
    assert left_s == pytest.approx(sum(u.duration_s for u in utterances))
    assert policy == "stream" or all(u.duration_s <= 3.0 for u in kept)
    assert len({u.id for u in kept}) == len(kept)
    if policy == "split" and not has_text:
        assert not drops
        for whole in utterances:
            pieces = [u.spans[0] for u in kept if u.id == whole.id or u.id.startswith(f"{whole.id}-")]
            assert [pieces[0].start_sample, pieces[-1].stop_sample] == [0, whole.spans[0].stop_sample]
            assert all(left.stop_sample == right.start_sample for left, right in pairwise(pieces))


def test_exactly_as_long_as_allowed_stays_and_an_error_names_the_longest() -> None:
    """E-P18: a strict limit once dropped every clip of exactly 20 s."""
    exact = utterance("exact", seconds=20.0)
    assert apply_duration_policy([exact], "error", 20.0) == ([exact], [])
    with pytest.raises(SourceError, match=r"2 of 3 utterances are longer than 20 s; the longest is 'c' \(30\.00 s\)"):
        apply_duration_policy([exact, utterance("b", seconds=20.001), utterance("c", seconds=30)], "error", 20.0)


def test_what_cannot_be_split_says_why() -> None:
    text, mute = utterance("text", seconds=9), utterance("mute", None, seconds=9)
    kept, drops = apply_duration_policy([text, mute], "split", 3.0, {"mute": Measured("x", active_spans_s=(0.0, 9.0))})
    assert not kept and [drop.reason for drop in drops] == ["too long to split"] * 2
    assert "its text has no times" in drops[0].detail and "no pause" in drops[1].detail
    (drop,) = apply_duration_policy([mute], "split", 3.0)[1]
    assert "not measured" in drop.detail

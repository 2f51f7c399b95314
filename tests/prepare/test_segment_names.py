"""Truth 8 of names: what a template writes, it reads back, whatever stands in it; what could not be read back is refused."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.timing import seconds_to_samples
from utterloom.prepare.exports.names import (
    MAX_PART_BYTES,
    SEPARATORS,
    UNFIT,
    NameRefused,
    Template,
    decimal_seconds,
    escape,
    looks,
    unescape,
)

E4 = "{recording}_{start_s}-{end_s}"
RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 7, 1])
SAMPLES = st.integers(0, 10**12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
HOSTILE = TEXTS | st.from_regex(r"[\w.\-_~%/+ ]{1,20}", fullmatch=True) | st.sampled_from(
    ["a_1.00-2.00", "1", "1.5", "-", "_", ".", "..", " ", "con", "NUL", "aux.x", "a/b", "../x", "a\\b", "%41", "é", "e\u0301", "~2",
     "sPNuDebATRM", "-_-", "1_2-3"])
TEMPLATES = [
    E4, "seg." + E4, "{id}", "{recording}_{start_sample}-{end_sample}", "{start_s}-{end_s}_{recording}", "{start_sample}",
    "{channel}_{recording}_{end_s}", "{speaker}/{recording}_{start_s}-{end_s}",
    "{language}+{speaker}_{start_s}-{end_s}+{id}", "{split}/{session}=x{recording}",
    "{recording}_{start_s}_{channel}", "x_{start_s}_y{recording}z_{end_s}_w"]


def test_the_published_form() -> None:
    """E4: as the files that people have are called."""
    values = {"id": "x", "recording": "sPNuDebATRM", "start_sample": 88_983_360, "end_sample": 89_935_680}
    assert Template(E4).name(values, 48_000) == "sPNuDebATRM_1853.82-1873.66"
    assert Template("seg." + E4).name({**values, "recording": "-a_b-c_"}, 48_000) == "seg.-a_b-c__1853.82-1873.66"
    assert Template(E4).parse("-a_b-c__1853.8-1873") == {
        "recording": "-a_b-c_", "start_s": Decimal("1853.8"), "end_s": Decimal("1873")}
    assert Template(E4).parse("-a_b-c__1853.8-1873", 10) == {"recording": "-a_b-c_", "start_sample": 18538, "end_sample": 18730}


@given(sample=SAMPLES, rate=RATES)
def test_seconds_give_back_their_sample(sample: int, rate: int) -> None:
    """E-P20: no digit too few, and none too many."""
    text = decimal_seconds(sample, rate)
    assert re.fullmatch(r"\d+\.\d{2,}", text)
    assert int(Decimal(text) * rate + Decimal("0.5")) == sample
    if sample < 10**9:
        assert seconds_to_samples(float(text), rate) == sample
    shorter = text[:-1]
    if len(shorter.partition(".")[2]) >= 2:
        near = {Decimal(shorter), Decimal(shorter) + Decimal(1).scaleb(-len(shorter.partition(".")[2]))}
        assert all(int(one * rate + Decimal("0.5")) != sample for one in near)


@given(value=HOSTILE, is_strict=st.booleans())
def test_a_value_is_escaped_and_comes_back(value: str, is_strict: bool) -> None:
    text = escape(value, is_strict)
    assert unescape(text) == value
    assert not set(text) & (UNFIT - {"%"}) and text.isprintable() and text[0] not in ". " and text[-1] not in ". "
    if is_strict:
        assert re.fullmatch("(?:[a-z0-9_. -]|%[0-9A-F]{2})+", text)


@given(first=HOSTILE, second=HOSTILE)
def test_strict_names_are_different_everywhere(first: str, second: str) -> None:
    assert (looks(escape(first, True)) == looks(escape(second, True))) == (first == second)


@pytest.mark.parametrize("text", TEMPLATES)
@given(data=st.data(), is_strict=st.booleans(), rate=RATES)
def test_names_are_read_back(text: str, data: st.DataObject, is_strict: bool, rate: int) -> None:
    """K22: whatever ids hold, and whatever stands before or behind the times."""
    template = Template(text)
    values = {key: data.draw(HOSTILE, key) for key in ("id", "recording", "speaker", "session", "language", "split")}
    values |= {"start_sample": data.draw(SAMPLES), "end_sample": data.draw(SAMPLES)}
    values |= {"channel": data.draw(st.none() | st.integers(0, 9))}
    try:
        name = template.name(values, rate, is_strict)
    except NameRefused as error:
        assert "255" in error.message or "bytes" in error.message or "device" in error.message
        return
    assert all(len(part.encode()) <= MAX_PART_BYTES and part not in ("", ".", "..") for part in name.split("/"))
    found = template.parse(name, rate)
    assert found == {key: values[key] for key in found}
    assert len(found) == len(template.fields)
    exact = template.parse(name)
    for key in ("start", "end"):
        if f"{key}_s" in exact:
            assert int(exact[f"{key}_s"] * rate + Decimal("0.5")) == values[f"{key}_sample"]


@pytest.mark.parametrize(("text", "why"), [
    ("{recording}{start_s}", "nobody can tell where it begins"), ("{id}_{speaker}", "nobody can tell where {id} ends"),
    ("{recording}{id}", "nobody can tell where {recording} ends"), ("{id}_{start_s}_{speaker}", "nobody can tell where {id} ends"),
    ("{start_s}{end_s}", "nobody can tell"), ("{start_s}.{end_s}", "nobody can tell where"), ("{start_sample}0{id}", "before '0'"),
    ("{id}7{end_sample}", "behind '7'"), ("name", "it has no field"), ("", "it has no field"), ("{id}_{id}", "is there twice"),
    ("{recordings}", "there is no field"), ("{}", "there is no field"), ("{id:>3}", "without ':'"), ("{id", "braces do not match"),
    ("{{{id}}}", "cannot be in the name"), ("a:{id}", "cannot be in the name"), ("a\n{id}", "cannot be in the name"),
    ("/{id}", "cannot be a file or folder"), ("../{id}", "cannot be a file or folder"), ("a//{id}", "cannot be a file or folder"),
    (".{id}", "cannot be a file or folder"), ("{id}.", "cannot be a file or folder")])
def test_what_could_not_be_read_back_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Template(text)


def test_names_that_cannot_be_are_refused() -> None:
    values = {"id": "u", "recording": "r", "start_sample": 0, "end_sample": 1}
    with pytest.raises(NameRefused, match="'u' has no speaker"):
        Template("{speaker}+{id}").name(values, 8_000)
    with pytest.raises(NameRefused, match=f"{3 * 200} bytes"):
        Template("{id}").name({"id": "ờ" * 200}, 8_000)
    with pytest.raises(NameRefused, match="device"):
        Template("co{id}").name({"id": "n"}, 8_000)
    assert Template("{id}").name({"id": "con"}, 8_000) == "%63on"
    for name in ("r_1.00", "r_1.00-", "_1.00-2.00", "r_1.00-2.00 ", "r+_1.00-2.00", "r_1.-2.00"):
        with pytest.raises(ValueError, match="is not of the form"):
            Template(E4).parse(name)
    assert set(SEPARATORS) <= UNFIT

"""`whisper-en` is the published English normaliser of openai-whisper, byte for byte, quirks included."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.english_lines import english_lines, published_normaliser, sentence_lines
from utterloom.text.normalisers import HERE, normaliser, read_pairs, whisper_en

# Of json.dumps(english.json, sort_keys=True, ensure_ascii=False, separators=(",", ":")) in openai-whisper 20250625.
SPELLINGS_SHA256 = "f30d0a1b5484c470b094ad57324dd3529ab628ed6541218039870269dfa33abe"
PIECES = (
    "it's been", "'s gone", "um'", " 'tis", "1", "2.", "$", "¢", "%", ".", "and", "a half", "half", "st", "th.", "ten", "one", "oh",
    "point", "minus", "hundred", "thousand", "twenty", "five", "double", "first", "dollars", "per", "cent", "cents", "co", "é", "5",
    "0", "(x)", "[y", "]", ",", "-", "let's", "mr", "'d", "n't", "'s", " ", " ", " ", "\t", "colour", "x", "١", "½", "\u0301")


def published() -> Callable[[str], str]:
    """openai-whisper's own where it is installed, else the copy in transformers, which differs in nothing but its imports."""
    try:
        return published_normaliser()
    except ImportError:
        pytest.importorskip("transformers", reason="neither openai-whisper nor transformers is installed")
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        return EnglishTextNormalizer(dict(read_pairs(HERE / "english_spellings.tsv")))


@pytest.fixture(scope="module")
def reference() -> Callable[[str], str]:
    return published()


def differences(reference: Callable[[str], str], lines: list[str]) -> list[tuple[str, str, str]]:
    ours = normaliser("whisper-en")
    return [(line, ours(line), theirs) for line in lines if ours(line) != (theirs := reference(line))]


def test_the_spelling_table_is_the_published_one() -> None:
    table = dict(read_pairs(HERE / "english_spellings.tsv"))
    canonical = json.dumps(table, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert len(table) == 1739 and hashlib.sha256(canonical.encode()).hexdigest() == SPELLINGS_SHA256


@pytest.mark.parametrize("plain", [0.6, 0.1])
def test_it_is_the_published_form_on_generated_lines(reference: Callable[[str], str], plain: float) -> None:
    assert not differences(reference, list(english_lines(1500, seed=1, plain=plain)))


@pytest.mark.slow
def test_it_is_the_published_form_on_a_hundred_thousand_lines(reference: Callable[[str], str]) -> None:
    lines = [*english_lines(40_000, 11), *english_lines(40_000, 12, plain=0.2), *sentence_lines(30_000, 13)]
    assert len(set(lines)) > 100_000
    assert not differences(reference, lines)


@settings(max_examples=300)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12))
def test_it_is_the_published_form_on_anything(reference: Callable[[str], str], pieces: list[str]) -> None:
    text = "".join(pieces)
    assert normaliser("whisper-en")(text) == reference(text)


def test_its_examples_are_of_the_published_form(reference: Callable[[str], str]) -> None:
    assert [(raw, reference(raw)) for raw, _ in normaliser("whisper-en").examples] == list(normaliser("whisper-en").examples)


def test_its_memory_is_bounded_and_what_it_forgot_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, lines = normaliser("whisper-en"), list(english_lines(200, 3))
    before = [ours(line) for line in lines]
    monkeypatch.setattr(whisper_en, "MOST_REMEMBERED", 3)
    whisper_en.forget()
    assert [ours(line) for line in lines] == before
    assert len(whisper_en._REMEMBERED) <= 3


def test_a_number_of_thousands_of_digits_stays_as_it_is() -> None:
    """The published form fails on it."""
    digits = "7" * 5000
    assert normaliser("whisper-en")(f"pi {digits} {digits}.5 thousand") == f"pi {digits} {digits}.5 1000"
    assert normaliser("whisper-en")(f"{digits[:4200]} decillion thousand dollars").startswith("$")


def test_the_benchmark_compares_and_measures() -> None:
    """How fast anything is, is not tested."""
    pytest.importorskip("psutil", reason="psutil is not installed")
    published()
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "normalisers.py"
    done = subprocess.run([sys.executable, str(script), "--json", "--lines", "60", "--rounds", "2"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["lines"] for row in rows} == {"sentences", "everything at once", "mostly numbers and signs"}
    assert all(row["lines_per_cpu_s"] > 0 and len(row["rounds"]) == 2 and row["ours_over_it"]["median"] > 0 for row in rows)

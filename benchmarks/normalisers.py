"""Lines a CPU-second through the English normaliser of the Whisper models: utterloom's, openai-whisper's, the copy in transformers.

    python benchmarks/normalisers.py                    three kinds of lines, five rounds, a minute
    python benchmarks/normalisers.py --lines 100000     more of them
    python benchmarks/normalisers.py --texts FILE       a text of your own, one line each
    python benchmarks/normalisers.py --json             for machines

Before anything is timed, every line's result is compared with that of each peer; a difference ends the script. In a round all take
turns over the same lines, a thousand at a time. `cold` is utterloom with its memory of words emptied before every turn.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from board import circumstances, deliver, markdown_table, note, plain_table, ratio, say_circumstances

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.text.english_lines import english_lines, published_normaliser, sentence_lines

from utterloom.text.normalisers import HERE, normaliser, read_pairs, whisper_en

OURS, COLD = "utterloom", "utterloom, cold"
LINES_A_TURN = 1000
Form = Callable[[str], str]


def peers() -> dict[str, Form]:
    """Those that are installed: `pip install --no-deps openai-whisper more-itertools regex`, and `pip install transformers`."""
    found: dict[str, Form] = {}
    try:
        found["openai-whisper"] = published_normaliser()
    except ImportError as error:
        note(str(error))
    try:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer as Copied

        found["transformers"] = Copied(dict(read_pairs(HERE / "english_spellings.tsv")))
    except ImportError:
        note("transformers is not installed")
    if not found:
        raise SystemExit("there is nothing to compare with: pip install --no-deps openai-whisper more-itertools regex")
    return found


def turn_s(name: str, form: Form, lines: list[str]) -> float:
    if name == COLD:
        whisper_en.forget()
    started = time.process_time()
    for line in lines:
        form(line)
    return time.process_time() - started


def measure(kind: str, lines: list[str], forms: dict[str, Form], num_rounds: int) -> list[dict[str, Any]]:
    """One row for each form: lines a CPU-second of every round, and how many times as many ours are."""
    for name, form in forms.items():
        wrong = next((line for line in lines if forms[OURS](line) != form(line)), None)
        if wrong is not None:
            raise SystemExit(f"{name} gives {form(wrong)!r} for {wrong!r}, utterloom {forms[OURS](wrong)!r}")
    rates: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(num_rounds):
        spent_s = dict.fromkeys(forms, 0.0)
        for start in range(0, len(lines), LINES_A_TURN):
            for name, form in forms.items():
                spent_s[name] += turn_s(name, form, lines[start:start + LINES_A_TURN])
        for name, seconds in spent_s.items():
            rates[name].append(len(lines) / seconds)
    return [{"lines": kind, "form": name, "lines_per_cpu_s": median(rates[name]), "rounds": rates[name],
             "ours_over_it": ratio(rates[OURS], rates[name]), "cold_over_it": ratio(rates[COLD], rates[name])} for name in forms]


def table_of(result: dict[str, Any]) -> list[list[str]]:
    rows = [["lines", "normaliser", "lines / CPU-s", "utterloom over it", "worst round", "cold over it"]]
    for row in result["rows"]:
        ours, cold = row["ours_over_it"], row["cold_over_it"]
        rows.append([row["lines"], row["form"], f"{row['lines_per_cpu_s']:,.0f}", f"{ours['median']:.2f}", f"{ours['min']:.2f}",
                     f"{cold['median']:.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lines", type=int, default=20_000, help="of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=Path, help="a file of lines to use instead")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    kinds = ({options.texts.name: options.texts.read_text(encoding="utf-8").splitlines()} if options.texts else
             {"sentences": list(sentence_lines(options.lines, 1)), "everything at once": list(english_lines(options.lines, 2)),
              "mostly numbers and signs": list(english_lines(options.lines, 3, plain=0.1))})
    result = circumstances(["utterloom", "openai-whisper", "transformers"])
    forms = {OURS: normaliser("whisper-en").rewrite, COLD: normaliser("whisper-en").rewrite, **peers()}
    result["rows"] = []
    for kind, lines in kinds.items():
        note(f"{kind}: {len(lines):,} lines")
        result["rows"] += measure(kind, lines, forms, options.rounds)
    table = table_of(result)
    text = markdown_table(table) if options.markdown else plain_table(table)
    deliver(result, options.json, f"{text}\n\n{say_circumstances(result)}", options.save)


if __name__ == "__main__":
    main()

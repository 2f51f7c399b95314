"""A report in a few lines; apart from the stage, so that showing one needs no torch."""

from __future__ import annotations

from typing import Any


def explain(report: dict[str, Any]) -> list[str]:
    """What a person wants to know of a report, as lines."""
    def percent(rate: float | None) -> str:
        return f"{100 * rate:.2f} %" if rate is not None else "–"

    words, interval = report["words"], report["wer_interval"]
    between = f" (95 % interval {100 * interval[0]:.2f}–{100 * interval[1]:.2f})" if interval else ""
    lines = [f"WER {percent(report['wer'])}{between}, CER {percent(report['cer'])} on {report['utterances']:,} utterances of split "
             f"{report['provenance']['split']}",
             f"  {words['reference_length']:,} words: {words['substitutions']} substituted, {words['deletions']} deleted, "
             f"{words['insertions']} inserted"]
    worst = [row for row in report["worst"] if row["errors"]][:3]
    for row in worst:
        lines.append(f"  worst: {row['id']}\n    said  {row['ref']}\n    heard {row['hyp']}")
    if report["missing"]:
        lines.append(f"  {len(report['missing'])} utterances have no hypothesis and count as deleted")
    return lines

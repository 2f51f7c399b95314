"""The quality limits as one HTML file: what each took, and where it lies among the numbers of the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utterloom.core.artifact import atomic_write
from utterloom.pages.markup import document, tag
from utterloom.prepare.audit.charts import figure, is_worth_drawing
from utterloom.prepare.quality import Histogram


def write_thresholds(plots: Sequence[Histogram], rows: Sequence[dict[str, Any]], path: Path, name: str) -> None:
    """`rows` as `selection.Selected.rows` gives them. Raises OutputError where the page cannot be written."""
    splits = sorted({split for row in rows for split in row["failed_by_split"]},
                    key=lambda split: (split != "train", split != "dev", split))
    heads = ["Limit", "In", "Out", "Failed", *splits]
    body = []
    for row in rows:
        numbers = [row["in"], row["out"], row["failed"], *(row["failed_by_split"].get(split, 0) for split in splits)]
        cells = [tag("td", f"{number:,}", class_="number") for number in numbers]
        body.append(tag("tr", tag("th", row["reason"], scope="row"), cells))
    num_in, num_out = (rows[0]["in"], rows[-1]["out"]) if rows else (0, 0)
    drawn = [figure(plot) for plot in plots if is_worth_drawing(plot)]
    flat = [plot.reason for plot in plots if not is_worth_drawing(plot)]
    title = f"Quality limits of {name}"
    table = tag("table", tag("thead", tag("tr", [tag("th", head, scope="col", class_="number" if head != "Limit" else None)
                                                 for head in heads])), tag("tbody", body))
    limits = tag("section", tag("h2", "Where the limits lie"),
                 tag("p", "Each dashed line is a limit. The outermost bars also hold what lies further out.", class_="note"),
                 tag("div", drawn, class_="plots") if drawn else None,
                 tag("p", f"One value or none at all, so nothing to draw: {', '.join(flat)}.", class_="note") if flat else None)
    page = document(
        title,
        tag("header", tag("h1", title, dir="auto"),
            tag("p", tag("strong", f"{num_out:,} of {num_in:,} utterances"), f" are within all of {len(rows)} limits.",
                class_="result")),
        tag("main",
            tag("section", tag("h2", "What each limit took"),
                tag("p", "Each is asked of what the ones above let through. Exactly at a limit stays.", class_="note"),
                tag("div", table, class_="scroll")),
            limits if plots else None))
    with atomic_write(path) as file:
        file.write(page)

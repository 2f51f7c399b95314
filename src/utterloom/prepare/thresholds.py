"""The quality limits as one HTML file: what each took, and where it lies among the numbers of the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utterloom import __version__
from utterloom.core.artifact import atomic_write
from utterloom.prepare.audit.charts import figure, is_worth_drawing
from utterloom.prepare.audit.markup import Child, document, el
from utterloom.prepare.quality import Histogram


def write_thresholds(plots: Sequence[Histogram], rows: Sequence[dict[str, Any]], path: Path, name: str) -> None:
    """`rows` as `selection.Selected.rows` gives them. Raises OutputError where the page cannot be written."""
    splits = sorted({split for row in rows for split in row["failed_by_split"]},
                    key=lambda split: (split != "train", split != "dev", split))
    heads = ["Limit", "In", "Out", "Failed", *splits]
    body = []
    for row in rows:
        numbers = [row["in"], row["out"], row["failed"], *(row["failed_by_split"].get(split, 0) for split in splits)]
        cells = [el("td", f"{number:,}", class_="number") for number in numbers]
        body.append(el("tr", el("th", row["reason"], scope="row"), cells))
    num_in, num_out = (rows[0]["in"], rows[-1]["out"]) if rows else (0, 0)
    drawn = [figure(plot) for plot in plots if is_worth_drawing(plot)]
    flat = [plot.reason for plot in plots if not is_worth_drawing(plot)]
    title = f"Quality limits of {name}"
    page: list[Child] = [
        el("header", el("h1", title, dir="auto"),
           el("p", el("strong", f"{num_out:,} of {num_in:,} utterances"), f" are within all of {len(rows)} limits.",
              class_="result")),
        el("main",
           el("section", el("h2", "What each limit took"),
              el("p", "Each is asked of what the ones above let through. Exactly at a limit stays.", class_="note"),
              el("div", el("table", el("thead", el("tr", [el("th", head, scope="col", class_="number" if head != "Limit" else None)
                                                          for head in heads])), el("tbody", body)), class_="scroll")),
           el("section", el("h2", "Where the limits lie"),
              el("p", "Each dashed line is a limit. The outermost bars also hold what lies further out.", class_="note"),
              el("div", drawn, class_="plots") if drawn else None,
              el("p", f"One value or none at all, so nothing to draw: {', '.join(flat)}.", class_="note") if flat else None)
           if plots else None),
        el("footer", f"Made by utterloom {__version__}. This file holds everything that it shows, and opens without a network.")]
    with atomic_write(path) as file:
        file.write(document(title, page, __version__))

"""What a check of the doctor says: facts, lines, and problems with their remedies."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, Literal

from utterloom.show.lines import Rows, columns


@dataclass(frozen=True)
class Problem:
    """Something that will not work, or that works and had better be known (`careful`)."""

    what: str
    because: str
    do: str
    severity: Literal["will not work", "careful"] = "will not work"

    def lines(self) -> list[str]:
        """Its three parts beneath each other; the last is to be copied and never broken."""
        head = textwrap.wrap(f"{self.severity}: {self.what}", columns(), subsequent_indent="    ")
        return [*head, *textwrap.wrap(f"because {self.because}", columns(), initial_indent="  ", subsequent_indent="    ",
                                      break_on_hyphens=False), f"  → {self.do}"]


# Facts for the JSON object, labelled lines for people, problems.
Examined = tuple[dict[str, Any], Rows, list[Problem]]


def first_line(error: BaseException) -> str:
    """An error in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

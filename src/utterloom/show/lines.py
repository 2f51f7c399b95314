"""Lines for people: a label, a text that is wrapped beside it, and commands that are never broken."""

from __future__ import annotations

import itertools
import shlex
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

Rows = list[tuple[str, str | None]]

INDENT = "  "
MIN_COLUMNS, MAX_COLUMNS = 40, 120


def columns() -> int:
    """Width of the terminal, within what can be read; 80 where there is none."""
    return max(MIN_COLUMNS, min(MAX_COLUMNS, shutil.get_terminal_size((80, 24)).columns))


class Verbatim(str):
    """Something to be copied, such as a path or a command: it is not wrapped."""

    __slots__ = ()


def command(*words: object) -> Verbatim:
    """A shell command; a word that needs quotes gets them, `…` and `=` do not."""
    return Verbatim(" ".join(word if _is_plain(word) else shlex.quote(word) for word in map(str, words)))


def _is_plain(word: str) -> bool:
    return shlex.quote(word.replace("…", "").replace("=", "") or "x") == (word.replace("…", "").replace("=", "") or "x")


def labelled(rows: Iterable[tuple[str, str | None]]) -> list[str]:
    """`label  text` with all texts at one column, wrapped beneath themselves; a row whose text is None is left out.

    A label that is empty goes on with the row above.
    """
    kept = [(label, text) for label, text in rows if text is not None]
    margin = max((len(label) for label, _ in kept), default=0) + 2
    lines = []
    for label, text in kept:
        first = f"{INDENT}{label:<{margin}}"
        if isinstance(text, Verbatim):
            lines.append(f"{first}{text}".rstrip())
        else:
            lines += textwrap.wrap(text, columns(), initial_indent=first, subsequent_indent=" " * len(first),
                                   break_long_words=False, break_on_hyphens=False) or [first.rstrip()]
    return lines


def wrapped(lines: Iterable[str]) -> list[str]:
    """Lines that a stage wrote, each wrapped beneath its own indentation."""
    pieces = []
    for line in itertools.chain.from_iterable(text.split("\n") for text in lines):
        indent = " " * (len(line) - len(line.lstrip(" ")))
        pieces += textwrap.wrap(line, columns(), subsequent_indent=indent + 2 * INDENT, break_long_words=False,
                                break_on_hyphens=False) or [""]
    return pieces


def settings(config: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> list[str]:
    """The `key=value` words that make `config` of `defaults`."""
    words = []
    for key, value in config.items():
        default = defaults.get(key)
        if isinstance(value, dict) and value:
            words += settings(value, default if isinstance(default, dict) else {}, f"{prefix}{key}.")
        elif value != default:
            words.append(f"{prefix}{key}={_spelled(value)}")
    return words


def _spelled(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_spelled, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def amount(count: int, noun: str, plural: str | None = None) -> str:
    """Such as `1 shard` or `1,204 shards`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def parameters(count: int) -> str:
    """Such as `2.95 M parameters`; small networks exactly."""
    return f"{count / 1e6:,.2f} M parameters" if count >= 1e5 else amount(count, "parameter")


def percent(rate: float | None) -> str:
    """A fraction as a percentage; `–` where there is none."""
    return "–" if rate is None else f"{100 * rate:.2f} %"

"""HTML that escapes by itself, and its tables. All markup of pages is made here, by `tag`."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Literal, NamedTuple

from utterloom import __version__

Row = Mapping[str, Any]


class Html(str):
    """Markup, escaped already."""

    __slots__ = ()


def escaped(content: object) -> Html:
    """Text becomes markup that shows it; lists are joined, None is nothing."""
    if isinstance(content, Html):
        return content
    if isinstance(content, list):
        return Html("".join(map(escaped, content)))
    return Html("" if content is None else html.escape(str(content)))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """`<name …>children</name>`. In attribute names `_` stands for `-`; an attribute that is None is left out."""
    pairs = ((key.strip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opening = "".join(f' {key}="{escaped(str(value))}"' for key, value in pairs)
    if name in ("input", "meta", "img"):  # elements that HTML forbids to close
        return Html(f"<{name}{opening}>")
    end = "\n" if name in ("section", "table", "tr", "div", "p", "li", "a", "svg", "g", "path") else ""
    return Html(f"<{name}{opening}>{escaped(list(children))}</{name}>{end}")


def document(title: str, *body: object, style: str = "", script: str = "") -> bytes:
    """A whole page in the plain style and `style`, which says who made it, needs no network and may load nothing but pictures that
    it holds itself. No script may run in it but `script`."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    style = resources.files(__package__).joinpath("plain.css").read_text(encoding="utf-8") + style
    page = tag("html",
               tag("head", tag("meta", charset="utf-8"),
                   tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
                   tag("meta", name="generator", content=f"utterloom {__version__}"),
                   tag("meta", http_equiv="Content-Security-Policy", content=policy),
                   tag("title", title), tag("style", Html(style))),
               tag("body", *body,
                   tag("footer", f"Made by utterloom {__version__}. This file holds everything that it shows, and opens without a "
                                 "network."), tag("script", Html(script)) if script else None), lang="en")
    # Half a surrogate pair, from a file name or a transcript, becomes "?"
    return b"<!doctype html>\n" + page.encode("utf-8", "replace") + b"\n"


def note(text: str) -> Html:
    """A sentence in small print."""
    return tag("p", text, class_="note")


def embedded_json(value: object) -> Html:
    """JSON that no transcript can end early: a script element knows no escapes but those of JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Html(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


class Column(NamedTuple):
    """A column of a table: which value of a row, how it is shown, and as what."""

    head: str
    key: str
    show: Callable[[Any], object] = str
    kind: Literal["text", "number", "bars"] = "number"


def table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    label: str,
    *,
    caption: str | None = None,
    wide: bool = False,
    sortable: bool = False,
    total: Row | None = None,
) -> Html:
    """A table whose first column names its rows; it scrolls where it is large. The script sorts `sortable` ones."""

    def cell(row: Row, index: int, column: Column) -> Html:
        value = row.get(column.key)
        sort_key = ("" if value is None else value) if sortable else None
        if index == 0:
            return tag("th", column.show(value), scope="row", dir="auto", data_value=sort_key)
        if column.kind == "bars":
            return tag("td", None if value is None else column.show(value), class_="bars")
        return tag("td", column.show(value), class_=column.kind, data_value=sort_key)

    heads = [
        tag("td") if column.kind == "bars" else tag("th", column.head, scope="col", class_=column.kind)
        for column in columns
    ]
    body = [tag("tr", [cell(row, *item) for item in enumerate(columns)]) for row in rows]
    foot = tag("tr", [cell(total, *item) for item in enumerate(columns)], class_="total") if total else None
    element = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", tag("tr", heads)) if any(column.head for column in columns) else None,
        tag("tbody", body),
        tag("tfoot", foot) if foot else None,
        class_=" ".join(["wide"] * wide + ["sortable"] * sortable) or None,
    )
    return tag("div", element, class_="scroll", tabindex=0, role="region", aria_label=label)


def bar(share: float, kind: str = "") -> Html:
    """A bar of that share of its cell; the number stands beside it, so that it may be silent."""
    width = round(100 * min(max(share, 0), 1), 2)
    return tag(
        "svg",
        tag("rect", width=width, height=10),
        class_=f"bar {kind}".strip(),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )

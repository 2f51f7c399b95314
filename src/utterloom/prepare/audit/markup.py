"""The elements of the audit's page, built with the standard library, which escapes what a corpus says; and its style.

The page of `evaluate` has helpers of its own, out of reach from here: verbs do not import one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

Child: TypeAlias = "Element | str | Sequence[Child] | None"

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --raised: #fff; --ink: #1d1c1a; --quiet: #66625a; --rule: #e5e1d8;
  --accent: #17607f; --bad: #b0271f; }
@media (prefers-color-scheme: dark) { :root { --paper: #151618; --raised: #1c1e21; --ink: #e9e6e0; --quiet: #a09b91;
  --rule: #303237; --accent: #72c2e2; --bad: #ff9c91; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2.25rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
h1 { margin: 0; font-size: clamp(1.5rem, 4vw, 2rem); font-weight: 650; line-height: 1.2; }
h2 { margin: 0 0 .75rem; font-size: 1.15rem; font-weight: 650; }
section { margin-top: 2.5rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
p { margin: 0 0 .75rem; max-width: 46rem; }
.result { margin: .5rem 0 1.25rem; font-size: 1.1rem; color: var(--quiet); }
.result strong { color: var(--ink); font-weight: 650; }
.note, figcaption, footer { color: var(--quiet); font-size: .87rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; font-size: .9rem; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.cards { display: flex; flex-wrap: wrap; gap: 1px; margin: 0 0 1.1rem; border: 1px solid var(--rule); border-radius: 8px;
  background: var(--rule); overflow: hidden; }
.cards > div { flex: 1 1 9rem; padding: .8rem 1rem .75rem; background: var(--raised); }
.cards dt { font-size: .8rem; font-weight: 600; color: var(--quiet); }
.cards dd { margin: 0; }
.cards .figure { font-size: 1.6rem; font-weight: 600; line-height: 1.3; white-space: nowrap; }
.cards .aside { font-size: .8rem; color: var(--quiet); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.5rem 2rem;
  align-items: end; }
figure { margin: 0; }
figcaption { margin-bottom: .2rem; }
figcaption b { display: block; color: var(--ink); font-weight: 600; }
svg { display: block; width: 100%; height: auto;
  font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
svg text { fill: var(--quiet); }
svg rect { fill: var(--accent); opacity: .75; }
svg rect.out { fill: var(--bad); opacity: 1; }
svg .axis { stroke: var(--rule); }
svg .limit { stroke: var(--bad); stroke-dasharray: 4 3; }
svg text.limit { stroke: none; fill: var(--bad); }
.scroll { overflow: auto; max-height: 30rem; padding-inline-end: .6rem; }
.scroll thead > tr > * { position: sticky; top: 0; background: var(--paper); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .28rem .9rem .28rem 0; text-align: start; vertical-align: baseline; border-bottom: 1px solid var(--rule); }
thead th { font-weight: 600; color: var(--quiet); font-size: .82rem; white-space: nowrap; }
tbody th { font-weight: 400; }
.number { text-align: end; white-space: nowrap; }
td:last-child, th:last-child { padding-inline-end: 0; }
.bar { display: block; height: .5rem; min-width: 1px; background: var(--accent); opacity: .6; }
td.bars { width: 35%; vertical-align: middle; }
.side-by-side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1.5rem 2.5rem; }
details { border-bottom: 1px solid var(--rule); }
details > summary { display: flex; gap: 1rem; padding: .45rem 0; cursor: pointer; list-style: none; }
details > summary::-webkit-details-marker { display: none; }
details > summary::before { content: "▸"; color: var(--quiet); }
details[open] > summary::before { content: "▾"; }
summary .reason { flex: 1; font-weight: 600; }
summary .count { white-space: nowrap; color: var(--quiet); }
details + p { margin-top: .75rem; }
details ul { margin: 0 0 .9rem; padding: 0 0 0 1.6rem; list-style: none; }
details li { padding: .15rem 0; font-size: .9rem; }
details li code { margin-inline-end: .5rem; }
details li span { display: block; color: var(--quiet); }
@media (max-width: 40rem) { body { padding: 1.5rem 1rem 3rem; } .cards > div { flex-basis: 8rem; } td.bars { width: 25%; } }
@media print { .scroll { max-height: none; overflow: visible; } nav { display: none; } }
"""


def el(name: str, /, *children: Child, **attributes: object) -> Element:
    """An element; in attribute names `_` stands for `-`, an attribute that is None is left out."""
    spelled = ((key.strip("_").replace("_", "-"), value) for key, value in attributes.items())
    element = Element(name, {key: str(value) for key, value in spelled if value is not None})
    _append(element, children)
    return element


def _append(element: Element, children: Sequence[Child]) -> None:
    for child in children:
        if isinstance(child, str):
            if len(element):
                element[-1].tail = (element[-1].tail or "") + child
            else:
                element.text = (element.text or "") + child
        elif isinstance(child, Element):
            element.append(child)
        elif child is not None:
            _append(element, child)


def document(title: str, body: Sequence[Child], version: str) -> bytes:
    """A whole page that needs no network and may load nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    page = el("html", el("head", el("meta", charset="utf-8"),
                         el("meta", name="viewport", content="width=device-width, initial-scale=1"),
                         el("meta", name="generator", content=f"utterloom {version}"),
                         el("meta", http_equiv="Content-Security-Policy", content=policy),
                         el("title", title), el("style", STYLE)),
              el("body", *body), lang="en")
    # Half a surrogate pair, from a file name or a transcript, becomes "?"; other controls are shown as nothing.
    return b"<!doctype html>\n" + tostring(page, encoding="unicode", method="html").encode("utf-8", "replace") + b"\n"

"""Utterances looked at: one as a picture, some as a page that plays."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.core.artifact import atomic_write
from utterloom.core.errors import AudioError, ConfigError, DamagedError
from utterloom.core.forecast import format_size
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.shards.layers import Layer
from utterloom.shards.reader import Corpus, ShardTable
from utterloom.show.lines import Verbatim, amount, labelled
from utterloom.show.place import Place
from utterloom.show.timeline import SHOWN_S, LayerAt, Timeline, layers_of, open_layers, timeline, window
from utterloom.show.utterance import corpus_behind, locate

PAGE_SUFFIX = ".html"
DRAWN = 12  # utterances of a page, unless one asks for others
MOST_UTTERANCES, MOST_PAGE_BYTES = 200, 40_000_000  # a browser takes seconds to open 10 MB
# Of a page. Lanes were measured: 18,500 bytes a second with all kinds, 12,400 with words alone.
BYTES_PER_SOUND_BYTE, LANES_BYTES_PER_S = 4 / 3, 20_000

Explained = tuple[dict[str, Any], list[str]]


@dataclass(frozen=True)
class Look:
    """What is asked for: a `picture` or a `page` to be written; of which `layers` (None: all of the corpus), which stretch in
    seconds, and for a page without ids of how many `utterances`, drawn with `seed`."""

    picture: Path | None = None
    page: Path | None = None
    layers: Sequence[str] | None = None
    from_s: float | None = None
    to_s: float | None = None
    utterances: int | None = None
    seed: int = 0

    @property
    def is_asked(self) -> bool:
        return self.picture is not None or self.page is not None

    def check(self, ids: Sequence[str]) -> None:
        """Raises ConfigError for what does not go together."""
        if self.picture is not None and self.page is not None:
            raise ConfigError("--draw and --page are two things", "ask for one after the other")
        if not self.is_asked:
            for option, value in (("--from", self.from_s), ("--to", self.to_s), ("--layer", self.layers or None),
                                  ("--utterances", self.utterances)):
                if value is not None:
                    raise ConfigError(f"{option} says what is to be drawn, and nothing is",
                                      "add --draw FILE.png or --page FILE.html")
            if len(ids) > 1:
                raise ConfigError(f"one utterance is explained at a time, not {len(ids)}",
                                  "several go onto a page: --page FILE.html")
        if self.picture is not None and len(ids) != 1:
            raise ConfigError(f"a picture is of one utterance, and {len(ids) or 'none'} {'is' if not ids else 'are'} named",
                              "name it: --id UTTERANCE" if not ids else "several go onto a page: --page FILE.html")
        if self.utterances is not None and ids:
            raise ConfigError("--utterances draws some, and --id names them", "give one of the two")
        if self.utterances is not None and not 1 <= self.utterances <= MOST_UTTERANCES:
            raise ConfigError(f"--utterances {self.utterances}: a page has 1 to {MOST_UTTERANCES}", f"the default is {DRAWN}")


def draw(place: Place, utterance: str, look: Look) -> Explained:
    """One utterance as a PNG. Raises what `write_picture`, `timeline` and `locate` raise."""
    from utterloom.show.drawing import check_suffix, write_picture

    assert look.picture is not None
    check_suffix(look.picture)
    corpus, names = corpus_behind(place, utterance)
    shown = _timeline(corpus, *locate(corpus, utterance), look, open_layers(corpus, look.layers or names))
    drawn = write_picture(shown, look.picture)
    value = {"kind": "picture", "path": str(look.picture), **_described(shown), "width_px": drawn.width_px,
             "height_px": drawn.height_px, "labels_without_room": drawn.num_unlabelled, "characters_without_font": drawn.missing}
    return value, [f"picture {look.picture}, {drawn.width_px:,} × {drawn.height_px:,} px", *labelled([
        ("of", f"utterance {shown.id}, {_stretch(shown)}"), ("lanes", _lanes(shown)),
        *(("note", text) for text in drawn.notes)])]


def page(place: Place, ids: Sequence[str], look: Look) -> Explained:
    """Utterances by their ids, or some drawn by lot, as a page. Those whose audio cannot be read are named and left out.

    Raises ConfigError for more than a page can hold, CorpusError for an id that is not there and where nothing can be read.
    """
    from utterloom.show.page import page_bytes, section

    path = look.page
    assert path is not None
    if path.suffix.lower() not in (PAGE_SUFFIX, ".htm") or path.is_dir():
        raise ConfigError(f"{path} is no name for a page", f"pages are HTML files: --page {path.with_suffix(PAGE_SUFFIX)}")
    corpus, names = corpus_behind(place)
    seed = look.seed
    found = ([locate(corpus, name) for name in dict.fromkeys(ids)] if ids
             else list(_located(corpus, drawn(corpus, look.utterances or DRAWN, seed))))
    _check_size(corpus, found, look)
    layers = open_layers(corpus, look.layers or names)
    sections, shown, left_out = [], [], {}
    with progress("drawing", len(found), "utterances") as report:
        for number, (table, index) in enumerate(found, start=1):
            try:
                one = _timeline(corpus, table, index, look, layers)
            except (DamagedError, AudioError) as error:
                left_out[table.id(index)] = error.message
                log.warning(f"{table.id(index)} is left out: {error.message}")
            else:
                sections.append(section(one))
                shown.append(_described(one))
            report(number)
    if not shown:
        raise DamagedError("none of these utterances can be read", f"utterloom verify {corpus.url} says what is hurt")
    every = corpus.card["utterances"]
    how = "named one by one" if ids else f"drawn from {every:,} with seed {seed}, over splits and lengths"
    told = ", ".join(layer.name for layer in layers) or "none"
    about = f"{amount(len(shown), 'utterance')}, {how}. Layers: {told}."
    content = page_bytes(Path(corpus.url).absolute().name, about, sections)
    with atomic_write(path) as file:
        file.write(content)
    value = {"kind": "page", "path": str(path), "utterances": shown, "left_out": left_out, "bytes": len(content),
             "seed": None if ids else seed}
    return value, [f"page {path}, {format_size(len(content))}", *labelled([
        ("of", f"{amount(len(shown), 'utterance')}, {how}"), ("layers", told),
        ("left out", "; ".join(f"{name}: {why}" for name, why in left_out.items()) or None),
        ("open it", Verbatim(path.absolute().as_uri()))])]


def drawn(corpus: Corpus, wanted: int, seed: int) -> list[tuple[str, int]]:
    """(shard, row) of some utterances, of all splits and lengths: splits take turns, and within each its utterances by length are
    cut into as many even stretches, of each of which one is drawn. A function of the corpus and the seed; the shortest first."""
    by_split: dict[str, list[tuple[float, str, int]]] = {split: [] for split in corpus.splits}
    with progress("choosing", len(corpus.shards), "shards") as report:
        for number, shard in enumerate(corpus.shards, start=1):
            seconds = corpus.column(shard.name, "duration_s")
            for split, members in by_split.items():
                members += [(float(seconds[row]), shard.name, row) for row in corpus.rows_of(shard.name, split).tolist()]
            report(number)
    for members in by_split.values():
        members.sort()
    taken: dict[str, int] = dict.fromkeys(by_split, 0)
    while sum(taken.values()) < wanted:
        open_splits = [split for split in by_split if taken[split] < len(by_split[split])]
        if not open_splits:
            break
        for split in open_splits[:wanted - sum(taken.values())]:
            taken[split] += 1
    found = []
    for split, count in taken.items():
        borders = np.linspace(0, len(by_split[split]), count + 1).round().astype(int).tolist()
        lot = random.Random(f"{seed} {split}")
        found += [by_split[split][lot.randrange(first, stop)] for first, stop in pairwise(borders)]
    return [(shard, row) for _, shard, row in sorted(found)]


def _located(corpus: Corpus, rows: list[tuple[str, int]]) -> Iterator[tuple[ShardTable, int]]:
    for shard, row in rows:
        yield corpus.table(shard), row


def _timeline(corpus: Corpus, table: ShardTable, index: int, look: Look, layers: Sequence[Layer | LayerAt]) -> Timeline:
    return timeline(corpus, table, index, layers_of(corpus, table, index, layers), look.from_s, look.to_s)


def _check_size(corpus: Corpus, found: list[tuple[ShardTable, int]], look: Look) -> None:
    """Raises ConfigError before any work where a page would be too large to open."""
    num_bytes = 0.0
    for table, index in found:
        duration_s = int(table.num_samples[index]) / corpus.sample_rate_hz
        start_s, stop_s = window(duration_s, look.from_s, look.to_s)
        share = (stop_s - start_s) / duration_s
        num_bytes += BYTES_PER_SOUND_BYTE * int(table.sizes[index]) * share + LANES_BYTES_PER_S * (stop_s - start_s)
    if num_bytes > MOST_PAGE_BYTES:
        raise ConfigError(f"{amount(len(found), 'utterance')} would make a page of about {format_size(int(num_bytes))}; "
                          f"{format_size(MOST_PAGE_BYTES)} is the most that opens well",
                          "name fewer, or show less of each: --utterances …, --from … --to …")


def _described(shown: Timeline) -> dict[str, Any]:
    return {"id": shown.id, "split": shown.split, "from_s": shown.from_s, "to_s": shown.to_s, "duration_s": shown.duration_s,
            "lanes": list(dict.fromkeys(lane.layer for lane in shown.lanes))}


def _stretch(shown: Timeline) -> str:
    if not shown.is_part:
        return f"{shown.duration_s:.2f} s"
    more = f" (at most {SHOWN_S:g} s unless --to says more)" if shown.to_s - shown.from_s == SHOWN_S else ""
    return f"{shown.from_s:g} to {shown.to_s:g} s of {shown.duration_s:.2f} s{more}"


def _lanes(shown: Timeline) -> str:
    parts = [f"{lane.layer} ({lane.kind}: {lane.about})" if lane.kind != lane.layer else f"{lane.layer} ({lane.about})"
             for lane in shown.lanes if lane.kind != "characters"]
    return "; ".join(["waveform", "log-mel", *parts])

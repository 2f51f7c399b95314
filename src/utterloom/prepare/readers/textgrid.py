"""`prepare textgrid DIR` or `DIR#TIER`: Praat TextGrids beside recordings; the intervals of one tier are utterances.

`talk.TextGrid` belongs to `talk.wav`, which may also lie in another folder; long and short text form, UTF-8 and UTF-16. A
TextGrid with several interval tiers needs the name of the one with the transcripts: `'data#sentences'`. A pattern that fits
several, such as `'data#* - words'` or `'data#*'`, takes them all, and each tier's name (what the star stands for) is the
speaker. Empty intervals and labels such as `sil`, `sp` and `<p:>` are pauses.

In a tier that is named `word` or `words` (as aligners write them) an interval is one word: words are joined to utterances,
which end at pauses, as in a CTM (see `words.py`), and keep their times in the attribute `word_times`.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from utterloom.annotations.plain_text import text_of
from utterloom.annotations.records import Word
from utterloom.annotations.textgrid import PAUSES, PAUSES_OF_SENTENCES, Tier, is_word_tier, parse_textgrid
from utterloom.core.errors import SourceError, did_you_mean
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks
from utterloom.prepare.readers.words import joined

SUFFIXES = (".textgrid",)
TIER_MARK = "#"


class TextGridReader:
    """TextGrids beside recordings, as this module describes them."""

    def fingerprint(self, source: Path) -> str:
        """Of the recordings' names and sizes, of the TextGrids and of the tier that is asked for."""
        folder, tier = _folder_and_tier(source)
        recordings = Recordings(folder)
        return recordings.fingerprint(recordings.sidecars(SUFFIXES), tier or "")

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the files, the tiers, and the intervals in them. Raises SourceError where no TextGrid has the tier."""
        folder, tier = _folder_and_tier(source)
        recordings = Recordings(folder)
        grids = {path: _interval_tiers(path) for path in recordings.sidecars(SUFFIXES)}
        _check_tier(grids.values(), tier, folder)
        return read_tracks(recordings, list(grids), lambda path: [_track(path, grids[path], tier)], "TextGrid")


def _folder_and_tier(source: Path) -> tuple[Path, str | None]:
    text = str(source)
    if source.exists() or TIER_MARK not in text:
        return source, None
    folder, _, tier = text.rpartition(TIER_MARK)
    while not Path(folder or ".").exists() and TIER_MARK in folder:  # a tier may be called `#words`
        folder, _, more = folder.rpartition(TIER_MARK)
        tier = f"{more}{TIER_MARK}{tier}"
    return Path(folder or "."), tier or None


def _interval_tiers(path: Path) -> list[Tier] | SourceError:
    try:
        return [tier for tier in parse_textgrid(text_of(path), str(path)) if not tier.is_points]
    except SourceError as error:
        return error


def _check_tier(grids: Iterable[list[Tier] | SourceError], wanted: str | None, folder: Path) -> None:
    """Raises SourceError that lists the tiers, where a choice is to be made or none is of that name in any file."""
    read = [tiers for tiers in grids if not isinstance(tiers, SourceError)]
    names = Counter(tier.name for tiers in read for tier in tiers)
    listed = ", ".join(f"{name!r} (in {count} files)" if count > 1 else repr(name) for name, count in names.most_common(20))
    if wanted is not None and names and not any(_chosen(tiers, wanted) for tiers in read):
        raise SourceError(f"no TextGrid in {folder} has an interval tier {wanted!r}; there are: {listed}",
                          did_you_mean(wanted, names))
    if wanted is None and names and not any(len(tiers) == 1 for tiers in read):
        raise SourceError(f"the TextGrids in {folder} have several interval tiers: {listed}",
                          f"name the one with the transcripts: '{folder}{TIER_MARK}{next(iter(names))}'")


def _chosen(tiers: Sequence[Tier], wanted: str) -> list[Tier]:
    exact = [tier for tier in tiers if tier.name == wanted]
    return exact or [tier for tier in tiers if fnmatch.fnmatchcase(tier.name, wanted)]


def _track(path: Path, tiers: list[Tier] | SourceError, wanted: str | None) -> Track:
    if isinstance(tiers, SourceError):
        raise tiers
    chosen = tiers if wanted is None else _chosen(tiers, wanted)
    if not chosen or (wanted is None and len(chosen) > 1):
        listed = ", ".join(repr(tier.name) for tier in tiers) or "none"
        raise SourceError(f"{path} has " + (f"no interval tier {wanted!r}" if wanted else f"{len(tiers)} interval tiers") +
                          f"; there are: {listed}")
    is_pattern = wanted is not None and any(tier.name != wanted for tier in chosen)
    segments: list[Segment] = []
    for tier in chosen:
        speaker = _what_the_star_is(tier.name, wanted) if is_pattern and wanted else None
        segments += [replace(segment, speaker=speaker) for segment in _segments(tier)]
    return Track(path, path.stem, segments, is_only=True)


def _what_the_star_is(name: str, pattern: str) -> str:
    """`Ana - words` is Ana under `* - words`."""
    first, _, rest = pattern.partition("*")
    is_simple = "*" in pattern and not re.search(r"[*?\[]", first + rest)
    return name[len(first):len(name) - len(rest)].strip() or name if is_simple else name


def _segments(tier: Tier) -> list[Segment]:
    is_words = is_word_tier(tier.name)
    pauses = PAUSES if is_words else PAUSES_OF_SENTENCES
    spoken = [Word(f"tier {tier.name!r}, interval {number}", start_s, stop_s, " ".join(label.split()))
              for number, (start_s, stop_s, label) in enumerate(tier.intervals, start=1) if label.strip().lower() not in pauses]
    if is_words:
        return joined(spoken)
    return [Segment(said.where, said.start_s, said.stop_s, said.text) if min(said.start_s, said.stop_s) >= 0 else
            Segment(said.where, fault=("bad times", f"it lies before the recording, at {said.start_s:g} s")) for said in spoken]

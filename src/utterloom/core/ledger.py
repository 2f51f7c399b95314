"""Conservation: for each stage, in = ok + empty + failed + dropped, and every utterance that left says why (truth 1)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utterloom.core.artifact import atomic_write, output_errors
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop

DROPS_FOLDER = "dropped"


@dataclass
class Ledger:
    """Counts of one stage. `seconds` of drops whose length nobody knows are counted as such, not as zero."""

    stage: str
    num_in: int = 0
    num_ok: int = 0
    seconds_ok: float = 0.0
    drops: list[Drop] = field(default_factory=list)

    def ok(self, seconds: float) -> None:
        self.num_in += 1
        self.num_ok += 1
        self.seconds_ok += seconds

    def drop(self, drop: Drop) -> None:
        self.num_in += 1
        self.drops.append(drop)

    def check(self) -> None:
        if self.num_in != self.num_ok + len(self.drops):
            raise AssertionError(f"{self.stage}: {self.num_in} in, {self.num_ok} ok, {len(self.drops)} dropped")

    def summary(self) -> dict[str, Any]:
        self.check()
        return {"in": self.num_in, "ok": self.num_ok, "seconds_ok": round(self.seconds_ok, 3),
                "dropped": len(self.drops), "reasons": summarise(self.drops)}


def check_unique(ids: Iterable[str], where: str) -> None:
    """Raises SourceError naming an id that is there twice: a sampler that repeats itself shall not pass for data (E-P10)."""
    counts = Counter(ids)
    twice = [utterance_id for utterance_id, count in counts.items() if count > 1]
    if twice:
        raise SourceError(f"{where}: {len(twice)} ids are there more than once, such as {twice[0]!r} ({counts[twice[0]]} times); "
                          f"{counts.total()} utterances are {len(counts)} different ones")


def summarise(drops: Iterable[Drop]) -> list[dict[str, Any]]:
    """One row a reason, the most frequent first: stage, reason, utterances, seconds (of those known), an example."""
    members: dict[tuple[str, str], list[Drop]] = defaultdict(list)
    for drop in drops:
        members[drop.stage, drop.reason].append(drop)
    rows = []
    for (stage, reason), group in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
        known = [drop.seconds for drop in group if drop.seconds is not None]
        rows.append({"stage": stage, "reason": reason, "utterances": len(group), "seconds": round(math.fsum(known), 3),
                     "utterances_of_unknown_length": len(group) - len(known), "example": f"{group[0].id}: {group[0].detail}"})
    return rows


def write_drops(path: Path, drops: Iterable[Drop]) -> None:
    """Parquet, one row a drop; a file with no rows says that nothing was dropped."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.string()), ("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string()),
                        ("seconds", pa.float64()), ("path", pa.string())])
    rows = [{key: _spelled(value) if isinstance(value, str) else value for key, value in asdict(drop).items()} for drop in drops]
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def _spelled(text: str) -> str:
    """What UTF-8 cannot say (half a character, from a file name that is not UTF-8) as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_drops(folder: Path, names: Collection[str] | None = None) -> list[Drop]:
    """Every drop that the artifact's stages wrote down, in file order; or those in the files of some names."""
    import pyarrow.parquet as pq

    return [Drop(**row) for path in sorted((folder / DROPS_FOLDER).glob("*.parquet")) if names is None or path.name in names
            for row in pq.read_table(path).to_pylist()]

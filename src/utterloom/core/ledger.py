"""Conservation: for each stage, in = ok + empty + failed + dropped, and every utterance that left says why (truth 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utterloom.core.artifact import atomic_write
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


def summarise(drops: Iterable[Drop]) -> list[dict[str, Any]]:
    """One row a reason, the most frequent first: stage, reason, utterances, seconds (of those known), an example."""
    drops = list(drops)
    counts = Counter((drop.stage, drop.reason) for drop in drops)
    rows = []
    for (stage, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        members = [drop for drop in drops if (drop.stage, drop.reason) == (stage, reason)]
        known = [drop.seconds for drop in members if drop.seconds is not None]
        rows.append({"stage": stage, "reason": reason, "utterances": count, "seconds": round(sum(known), 3),
                     "utterances_of_unknown_length": count - len(known), "example": f"{members[0].id}: {members[0].detail}"})
    return rows


def write_drops(path: Path, drops: Iterable[Drop]) -> None:
    """Parquet, one row a drop; a file with no rows says that nothing was dropped."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.string()), ("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string()),
                        ("seconds", pa.float64()), ("path", pa.string())])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        pq.write_table(pa.Table.from_pylist([asdict(drop) for drop in drops], schema=schema), file)


def read_drops(folder: Path) -> list[Drop]:
    """Every drop that the artifact's stages wrote down, in file order."""
    import pyarrow.parquet as pq

    return [Drop(**row) for path in sorted((folder / DROPS_FOLDER).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]

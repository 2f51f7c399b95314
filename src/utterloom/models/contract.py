"""A model folder: Hugging Face files, and `utterloom.json`, the contract: what the model must be fed and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utterloom.audio.logmel import LogMelParameters
from utterloom.core.artifact import canonical_json, read_json, write_json
from utterloom.core.errors import SourceError

FILE_NAME = "utterloom.json"
CHECKPOINTS = "checkpoints"
POINTERS = "checkpoints.json"


@dataclass(frozen=True)
class Contract:
    """`view` is the text view of its output (`basic@1`), `features` its input, `parents` where it came from."""

    objective: str
    view: str
    features: LogMelParameters
    parents: dict[str, Any]
    metrics: dict[str, Any]

    def save(self, folder: Path) -> None:
        write_json(
            folder / FILE_NAME,
            {
                "objective": self.objective,
                "text_view": self.view,
                "features": self.features.to_dict(),
                "parents": self.parents,
                "metrics": self.metrics,
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Contract:
        raw = read_json(folder / FILE_NAME)
        try:
            return cls(raw["objective"], raw["text_view"], LogMelParameters(**raw["features"]), raw["parents"], raw["metrics"])
        except (KeyError, TypeError) as error:
            raise SourceError(f"{folder / FILE_NAME} is not a contract that this utterloom reads: {error}") from None

    def __hash__(self) -> int:
        return hash(canonical_json([self.objective, self.view]))


def model_folder(path: Path, which: str = "best") -> Path:
    """The model behind a MODEL argument: a run's best checkpoint (or another by name), or a model folder itself.

    Raises SourceError that says what is there instead.
    """
    if (path / FILE_NAME).is_file():
        return path
    pointers = path / CHECKPOINTS / POINTERS
    if pointers.is_file():
        known = {name: folder for name, folder in read_json(pointers).items() if isinstance(folder, str)}
        if which not in known:
            raise SourceError(f"run {path} has no {which!r} checkpoint yet", f"it has: {', '.join(sorted(known)) or 'none'}")
        return path / CHECKPOINTS / known[which]
    if not path.exists():
        raise SourceError(f"there is no model at {path}")
    raise SourceError(
        f"{path} is neither a run nor a model folder: it has no {FILE_NAME} and no {CHECKPOINTS}/{POINTERS}",
        "a run is made by: utterloom train RECIPE corpus=… out=…",
    )

"""A codebook: the centroids that turn frames of a speech encoder into discrete units, and all that must be known to use them.

    codebook.json      the card: how it was fitted, on the frames of which encoder and layer, on which clock
    centroids.npy      float32 [units, dim], named by its hash in the card
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utterloom.core.artifact import Artifact, atomic_write, building, fingerprint, load_card
from utterloom.core.errors import DamagedError, SourceError
from utterloom.core.timing import FrameGrid

if TYPE_CHECKING:
    from utterloom.models.kmeans_nearest import Nearest

KIND, CARD, CENTROIDS = "codebook", "codebook.json", "centroids.npy"


@dataclass(eq=False)
class Codebook:
    """`centroids` float32 [units, dim]; `producer` says which encoder and layer made the frames that it belongs to, `grid` on which
    clock they tick (None: not known); `fit` how it was fitted: frames, passes, inertia curve."""

    centroids: np.ndarray
    producer: Mapping[str, Any] = field(default_factory=dict)
    grid: FrameGrid | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)
    _nearest: Nearest | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.centroids = np.ascontiguousarray(self.centroids, np.float32)
        complaint = _complaint(self.centroids)
        if complaint:
            raise SourceError(f"these centroids {complaint}")

    @property
    def size(self) -> int:
        """How many units there are."""
        return len(self.centroids)

    @property
    def dim(self) -> int:
        return int(self.centroids.shape[1])

    @property
    def fingerprint(self) -> str:
        """Of what decides units: centroids, the encoder's layer and its clock. How they were found does not matter."""
        return fingerprint([hashlib.sha256(self.centroids.tobytes()).hexdigest(), list(self.centroids.shape), dict(self.producer),
                            _spelled(self.grid)])

    def assign(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames float16 or float32 [n, dim] → labels int32 [n] and margins float32 [n].

        A label is the unit whose centroid has the least squared distance, differences, squares and sum in float64 and in the order
        of dimensions; of equals the lowest. It is the same for a frame alone and in any batch. A margin is (d2 - d1) / d2 of the
        squared distances to the nearest and the next centroid; whatever is 0.01 or more is said as 0.01. Below 0.001 it is reckoned
        in float64, above in float32.

        Raises SourceError for frames of another width or type, or that are not finite (naming the first); MissingPackageError
        without numba.
        """
        labels, _, margins = self.nearest(frames)
        return labels, margins

    @property
    def nearest(self) -> Nearest:
        """What finds them; made at first use."""
        if self._nearest is None:
            from utterloom.models.kmeans_nearest import Nearest

            self._nearest = Nearest(self.centroids)
        return self._nearest

    def save(self, folder: Path) -> None:
        """A folder of its own, atomically. Raises OutputError where something else is there."""
        with building(folder, KIND, {"made": self.fingerprint}) as artifact:
            if not artifact.finished:
                self.commit(artifact)

    def commit(self, artifact: Artifact) -> None:
        """Finish an artifact that is being built: centroids first, the card last."""
        content = io.BytesIO()
        np.save(content, self.centroids, allow_pickle=False)
        with atomic_write(artifact.folder / CENTROIDS) as file:
            file.write(content.getvalue())
        artifact.commit({"units": self.size, "dim": self.dim, "content": self.fingerprint, "producer": dict(self.producer),
                         "grid": _spelled(self.grid), "fit": dict(self.fit),
                         "centroids": {"file": CENTROIDS, "sha256": hashlib.sha256(content.getvalue()).hexdigest()}})

    @classmethod
    def load(cls, folder: Path) -> Codebook:
        """Raises SourceError where there is no codebook, DamagedError where it is not as it was written."""
        card = load_card(folder, KIND)
        path = folder / CENTROIDS
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedError(f"{path} cannot be read: {error.strerror}", REMAKE) from None
        try:
            grid = card["grid"]
            if hashlib.sha256(content).hexdigest() != card["centroids"]["sha256"]:
                raise DamagedError(f"{path} does not match its checksum: it was cut short, or bytes in it have changed", REMAKE)
            return cls(np.load(io.BytesIO(content), allow_pickle=False), card["producer"],
                       None if grid is None else FrameGrid(**grid), card["fit"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{folder / CARD} is not the card of a codebook: {error}", REMAKE) from None


REMAKE = "copy it again, or fit it again: utterloom units fit"


def import_centroids(path: Path, producer: Mapping[str, Any] | None = None, grid: FrameGrid | None = None) -> Codebook:
    """Centroids [units, dim] that another tool fitted, from a .npy file.

    A scikit-learn model (`.km`, `.joblib`, `.pkl`) is a pickle, which runs whatever program its author put in: it is refused, with
    the line that turns it into a .npy file where it is trusted. Raises SourceError.
    """
    try:
        centroids = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}", EXPORT) from None
    except (ValueError, EOFError):
        raise SourceError(f"{path} is not a .npy file of numbers; a pickled model would run as a program and is not opened",
                          EXPORT) from None
    if not isinstance(centroids, np.ndarray) or centroids.dtype.kind not in "fiu":
        raise SourceError(f"{path} is not one array of numbers", EXPORT)
    with np.errstate(over="ignore"):
        narrowed = centroids.astype(np.float32)
    complaint = _complaint(narrowed)
    if complaint:
        raise SourceError(f"{path} {complaint}")
    return Codebook(narrowed, dict(producer or {}), grid, {"imported": path.name})


EXPORT = ("where you trust the file: import joblib, numpy; "
          "numpy.save('centroids.npy', joblib.load('FILE.km').cluster_centers_)")


def _complaint(centroids: np.ndarray) -> str | None:
    if centroids.ndim != 2 or 0 in centroids.shape:
        return f"have the shape {list(centroids.shape)}; a codebook is [units, dim]"
    if not np.isfinite(centroids).all():
        return f"are not finite: {int((~np.isfinite(centroids)).any(axis=1).sum())} of {len(centroids)} hold inf or nan"
    return None


def _spelled(grid: FrameGrid | None) -> dict[str, int] | None:
    return None if grid is None else {"sample_rate_hz": grid.sample_rate_hz, "hop_samples": grid.hop_samples}

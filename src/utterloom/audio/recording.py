"""What an opened recording is, whichever library decodes it: ranges of samples, and what is missing is said."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from utterloom.core.errors import AudioError

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000  # no recorder is outside: such a header is damaged
NEAR_S = 10.0  # decoding on is exact and about as cheap as a seek
UNKNOWN_LENGTH = 1 << 62  # libsndfile's count when the header has none


class Recording:
    """One opened source file. Ranges may be decoded in any order; ascending is cheapest.

    declared_samples   what the container says, or None where it says nothing that can be relied on
    least_samples      fewer than these, and data is missing; None where the container gives no hint
    missing            how the container shows that data is missing, or None
    failure            why decoding stopped early, the last time, or None
    """

    def __init__(self, sample_rate_hz: int, num_channels: int, format: str, subtype: str) -> None:
        if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
            believable = f"{MIN_RATE_HZ} to {MAX_RATE_HZ} are believable"
            raise AudioError(f"the header declares a sample rate of {sample_rate_hz} Hz; {believable}")
        self.sample_rate_hz, self.num_channels = sample_rate_hz, num_channels
        self.format, self.subtype = format, subtype
        self.declared_samples: int | None = None
        self.least_samples: int | None = None
        self.missing: str | None = None
        self.failure: str | None = None

    def decode(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples [start, stop) as float32 [samples, channels]; see `decode` of this module for what it raises."""
        if start < 0 or (stop is not None and stop <= start):
            raise AudioError(f"the sample range [{start}, {stop}) is empty")
        if self.declared_samples and start >= self.declared_samples:
            raise AudioError(f"the range begins at sample {start}, but the file ends at sample {self.declared_samples}")
        samples_sc = self._read(start, stop)
        self._check_complete(start, start + len(samples_sc), stop)
        if not len(samples_sc):
            raise AudioError(f"the file ends before sample {start}" if start else self._why_empty())
        if not np.isfinite(samples_sc).all():
            num_bad = int(samples_sc.size - np.isfinite(samples_sc).sum())
            raise AudioError(f"{num_bad} of {samples_sc.size} sample values are NaN or infinite")
        return samples_sc

    def count(self) -> int:
        """Samples per channel: as declared where that can be relied on, else by decoding. Raises AudioError as `decode`."""
        num_samples = self.declared_samples
        if num_samples is None or self.missing:
            num_samples = sum(len(block) for block in self._blocks(0, None))
            self._check_complete(0, num_samples, None)
        if not num_samples:
            raise AudioError(self._why_empty())
        return num_samples

    def _blocks(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """float32 [samples, channels] from `start` on, until `stop`, the end, or a `failure`."""
        raise NotImplementedError

    def _read(self, start: int, stop: int | None) -> np.ndarray:
        """float32 [samples, channels]. Memory grows with what is really there, never with what a header declares."""
        blocks = self._blocks(start, stop)
        first = next(blocks, None)
        if first is None:
            return np.empty((0, self.num_channels), np.float32)
        ends = [end for end in (stop, self.declared_samples) if end is not None]
        most_samples = min(ends) - start if ends else UNKNOWN_LENGTH
        if len(first) == most_samples:
            return first
        samples_sc, num_samples = np.array(first, order="C"), len(first)
        for block in blocks:
            needed = num_samples + len(block)
            if needed > len(samples_sc):  # grows in place: no second copy
                samples_sc.resize((max(needed, min(2 * needed, most_samples)), self.num_channels), refcheck=False)
            samples_sc[num_samples:needed] = block
            num_samples = needed
        samples_sc.resize((num_samples, self.num_channels), refcheck=False)
        return samples_sc

    def _check_complete(self, start: int, end: int, stop: int | None) -> None:
        """Raises AudioError when [start, stop) was wanted, [start, end) came, and the container has, or had, more."""
        is_short = self.least_samples is not None and end < self.least_samples
        if (stop is not None and end >= stop) or not (self.missing or self.failure or is_short):
            return
        declared = self.declared_samples
        of_declared = f" of the {declared} that its header declares" if declared is not None else ""
        num_read = f"no sample from {start} on" if start and end == start else f"{end} samples"
        reason = f" ({self.failure or self.missing})" if self.failure or self.missing else ""
        raise AudioError(f"the file is cut short or damaged: {num_read}{of_declared} could be read{reason}")

    def _why_empty(self) -> str:
        return "the file holds no samples"


def words_of(error: Exception) -> str:
    """What another library says, without file names, addresses and error numbers."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(text.removeprefix("Error : ").rstrip(". \n").split())


def beginning_of(head: bytes) -> str:
    """For messages of data that is not what it should be."""
    return f"begins with {head[:12]!r}" if head else "is empty"

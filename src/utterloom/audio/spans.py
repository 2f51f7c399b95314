"""Stretches of recordings to samples: one recording is open at a time, however many utterances were cut from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from utterloom.audio.decode import open_recording, to_mono
from utterloom.audio.recording import Recording
from utterloom.audio.resample import resample
from utterloom.core.errors import AudioError


class SpanReader:
    """Reads spans of recordings; the recording of the last one stays open, because the next is often from there.

    Opening an MP3 walks over all of its frames, so that an hour cut into 200 utterances would be walked over 200 times. Spans
    in ascending order are cheapest. A context manager: leaving it closes the recording.
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._recording: Recording | None = None
        self._opened = ExitStack()

    def __enter__(self) -> SpanReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._path = self._recording = None
        self._opened.close()

    def load(self, spans: Sequence[Mapping[str, Any]], sample_rate_hz: int) -> np.ndarray:
        """Rows of a manifest's `spans`, decoded, mixed to mono (or one channel), resampled, strung together: float32 [samples].

        Raises AudioError and MissingPackageError as `decode` does, and AudioError for a recording that no longer has the rate
        or the channel that it was prepared with.
        """
        parts = []
        for span in spans:
            rate_hz, samples_sc = self._read(span)
            parts.append(resample(to_mono(samples_sc, span["channel"]), rate_hz, sample_rate_hz))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _read(self, span: Mapping[str, Any]) -> tuple[int, np.ndarray]:
        """The rate and float32 [samples, channels] of one span."""
        if span["path"] != self._path or self._recording is None:
            self.close()
            self._recording = self._opened.enter_context(open_recording(Path(span["path"])))
            self._path = span["path"]
        recording = self._recording
        if recording.sample_rate_hz != span["sample_rate_hz"]:
            raise AudioError(f"it was prepared at {span['sample_rate_hz']} Hz and is now at {recording.sample_rate_hz} Hz: "
                             "the file has changed")
        try:
            return recording.sample_rate_hz, recording.decode(span["start_sample"], span["stop_sample"])
        except BaseException:
            self.close()  # whatever state the decoder is in, the next span shall not meet it
            raise

"""Which channel of a recording a source means: the two sides of a telephone call, the microphones of a meeting.

Sources call the first channel `A`, `1` or `left`; some count from 0. Most sources of recordings with one channel name it too,
so a recording of which only the first channel is named is read as it is everywhere else: the mix of what channels it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from utterloom.core.errors import AudioError, MissingPackageError

_SIDES = {"l": 0, "left": 0, "r": 1, "right": 1}


def channel_numbers(labels: Iterable[str]) -> dict[str, int]:
    """Channels from 0 by the labels of one recording: letters, `left` and `right`, and numbers from 1, or from 0 where 0 is
    among them. Raises ValueError for a label that is none of these, and for two labels of one channel."""
    numbers: dict[str, int] = {}
    labels = list(dict.fromkeys(labels))
    first = 0 if "0" in labels else 1
    for label in labels:
        lowered = label.lower()
        if label.isascii() and label.isdigit():
            number = int(label) - first
        elif lowered in _SIDES:
            number = _SIDES[lowered]
        elif len(label) == 1 and "a" <= lowered <= "h":
            number = ord(lowered) - ord("a")
        else:
            raise ValueError(f"{label!r} is no channel; they are called 1, 2 … or A, B … or left, right")
        if number in numbers.values():
            other = next(known for known, value in numbers.items() if value == number)
            raise ValueError(f"{other!r} and {label!r} are one channel")
        numbers[label] = number
    return numbers


def channels_meant(labels: Iterable[str], recording: Path | None) -> dict[str, int | None]:
    """The channel that each label of a recording means, from 0; None for the whole of it.

    Where only the first is named, or the recording has but one (a file for each side of a call), the whole is meant; a
    single label that says nothing, such as `NA`, means the whole too. Raises ValueError as `channel_numbers` does.
    """
    labels = list(dict.fromkeys(labels))
    try:
        numbers = channel_numbers(labels)
    except ValueError:
        if len(labels) > 1:
            raise
        return dict.fromkeys(labels)
    if len(labels) == 1 and (0 in numbers.values() or recording is None or num_channels(recording) == 1):
        return dict.fromkeys(labels)
    return dict(numbers)


def num_channels(recording: Path) -> int | None:
    """As its header says; None for what cannot be opened, which `prepare` will say."""
    from utterloom.audio.decode import open_recording

    try:
        with open_recording(recording) as opened:
            return opened.num_channels
    except (AudioError, MissingPackageError, OSError):
        return None

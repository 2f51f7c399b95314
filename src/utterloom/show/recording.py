"""A recording as it came: what its container says, and what it looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from utterloom.audio.decode import open_recording, to_mono
from utterloom.core.errors import AudioError
from utterloom.core.timing import format_duration
from utterloom.show.lines import INDENT, amount, columns, labelled
from utterloom.show.picture import Levels, time_axis
from utterloom.show.place import Place

PIECE_S = 60  # decoded at a time: an hour-long recording is looked at in the memory of a minute


def recording(place: Place) -> tuple[dict[str, Any], list[str]]:
    """Raises AudioError when nothing of it can be read; what is wrong further on is said."""
    levels, complaint = Levels(), None
    with open_recording(place.path) as opened:
        rate, channels = opened.sample_rate_hz, opened.num_channels
        coding = f"{opened.format} {opened.subtype}".strip()
        num_samples = opened.count()
        try:
            for start in range(0, num_samples, PIECE_S * rate):
                levels.add(to_mono(opened.decode(start, min(num_samples, start + PIECE_S * rate))), rate)
        except AudioError as error:
            complaint = error.message
    value = {"format": coding, "sample_rate_hz": rate, "num_channels": channels, "num_samples": num_samples,
             "duration_s": num_samples / rate, "size_bytes": place.path.stat().st_size, "level": levels.numbers(),
             "complaint": complaint}
    return value, [f"recording {place.path}", *labelled([
        ("format", f"{coding}, {rate:,} Hz, {amount(channels, 'channel')}, {value['size_bytes']:,} bytes"),
        ("length", f"{format_duration(num_samples / rate)}, {num_samples:,} samples"),
        ("level", level_in_words(levels)),
        ("hurt", complaint)]), "", *picture(levels)]


def level_in_words(levels: Levels) -> str:
    """Such as `peak −3.1 dB, mean −24.0 dB; 12 samples at the limit`."""
    numbers = levels.numbers()
    if numbers["peak_db"] is None:
        return "digital silence: every sample is zero"
    clipped = f"; {amount(int(numbers['clipped_samples'] or 0), 'sample')} at the limit" if numbers["clipped_samples"] else ""
    return f"peak {numbers['peak_db']:.1f} dB, mean {numbers['mean_db']:.1f} dB{clipped}".replace("-", "−")


def picture(levels: Levels) -> list[str]:
    """The level over time, and its time axis beneath; nothing where there is no sound."""
    width = columns() - 2 * len(INDENT)
    line = levels.line(width)
    return [f"{INDENT}{line}".rstrip(), f"{INDENT}{time_axis(levels.duration_s, len(line))}"] if line else []


def levels_of(spans: list[dict[str, Any]]) -> Levels:
    """The level of some stretches of recordings, one after the other. Raises AudioError."""
    levels = Levels()
    for span in spans:
        with open_recording(Path(span["path"])) as opened:
            samples_sc = opened.decode(span["start_sample"], span["stop_sample"])
        levels.add(to_mono(samples_sc, span["channel"]), span["sample_rate_hz"])
    return levels

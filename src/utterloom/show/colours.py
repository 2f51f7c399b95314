"""Colours that pictures and pages share. They differ in lightness first, so that no kind of colour blindness mixes them up."""

from __future__ import annotations

# Dark blue over green-grey to yellow: lightness rises evenly from end to end.
RAMP = ((0x1C, 0x2A, 0x5E), (0x3B, 0x5F, 0x86), (0x7A, 0x8F, 0x88), (0xB9, 0xB4, 0x76), (0xF3, 0xDE, 0x6D))
DARK, LIGHT = "#10151c", "#ffffff"
GOLDEN = 0.6180339887498949  # so that neighbouring numbers lie far apart on the ramp

Rgb = tuple[int, int, int]


def on_ramp(share: float) -> Rgb:
    """The colour at 0 (dark) to 1 (light)."""
    place = min(1.0, max(0.0, share)) * (len(RAMP) - 1)
    first = min(int(place), len(RAMP) - 2)
    rest = place - first
    low, high = RAMP[first], RAMP[first + 1]
    return (round(low[0] + (high[0] - low[0]) * rest), round(low[1] + (high[1] - low[1]) * rest),
            round(low[2] + (high[2] - low[2]) * rest))


def of_number(number: int) -> tuple[str, str]:
    """The colour of a unit, always the same for the same one, and the colour of letters on it: `#rrggbb` both."""
    rgb = on_ramp(number * GOLDEN % 1)
    return spelled(rgb), LIGHT if contrast(rgb, (255, 255, 255)) > contrast(rgb, (0x10, 0x15, 0x1C)) else DARK


def spelled(rgb: Rgb) -> str:
    return f"#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x}"


def contrast(one: Rgb, other: Rgb) -> float:
    """Of two colours, 1 to 21, as the Web Content Accessibility Guidelines reckon it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(rgb: Rgb) -> float:
    parts = [value / 255 for value in rgb]
    linear = [part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4) for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

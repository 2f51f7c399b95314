"""Pictures that a page holds itself."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

NUM_COLOURS = 256
Rgba = tuple[int, int, int, int]


def png(levels: np.ndarray, palette: Sequence[Rgba]) -> bytes:
    """uint8 [rows, columns], each the number of a colour of `palette` (at most 256, with opacity) → a PNG file.

    Raises ValueError for another form or dtype, and for a palette that is too short or too long.
    """
    if levels.ndim != 2 or levels.dtype != np.uint8 or not levels.size:
        raise ValueError(f"a picture is uint8 [rows, columns], not {levels.dtype} {list(levels.shape)}")
    if not int(levels.max()) < len(palette) <= NUM_COLOURS:
        raise ValueError(f"{len(palette)} colours for levels up to {int(levels.max())}")
    rows, columns = levels.shape
    unfiltered = np.zeros((rows, columns + 1), np.uint8)  # a row begins with the number of its filter: 0, none
    unfiltered[:, 1:] = levels
    return b"\x89PNG\r\n\x1a\n" + b"".join((
        _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),  # 8 bits, by palette
        _chunk(b"PLTE", bytes(value for colour in palette for value in colour[:3])),
        _chunk(b"tRNS", bytes(colour[3] for colour in palette)),
        _chunk(b"IDAT", zlib.compress(unfiltered.tobytes(), 9)),
        _chunk(b"IEND", b"")))


def data_uri(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

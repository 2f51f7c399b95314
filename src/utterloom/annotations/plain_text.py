"""Text files as people have them: in UTF-8 or UTF-16, with any line ends."""

from __future__ import annotations

from pathlib import Path

from utterloom.core.errors import SourceError

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def content_of(path: Path) -> bytes:
    """Raises SourceError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


def text_of(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 with a byte order mark, with every line end as one \\n. Raises SourceError."""
    content = content_of(path)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 (byte {error.start})" if encoding == "utf-8" else f"{path} is damaged {encoding}",
                          "convert it: iconv -f CP1252 -t UTF-8 …") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")

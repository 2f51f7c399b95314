"""Names of cut recordings that can be read back: `{recording}_{start_s}-{end_s}` gives `sPNuDebATRM_1853.82-1873.66` (E4).

Times are written from integer samples with as many decimals as give the same sample again, never by a float's printing
(E-P20), and names are read from the right, because names of recordings hold `_`, `-` and `.` too (K22). What a file system
cannot hold is percent-encoded: `a/b` becomes `a%2Fb`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from string import Formatter
from urllib.parse import quote, unquote

from utterloom.core.errors import ConfigError, did_you_mean

TEXTS = ("recording", "id", "speaker", "session", "language", "split")
SECONDS = {"start_s": "start_sample", "end_s": "end_sample"}
SAMPLES = ("start_sample", "end_sample")
CHANNEL = "channel"
FIELDS = (*TEXTS, *SECONDS, *SAMPLES, CHANNEL)
SEPARATORS = "+=,#~/"  # never inside of a value, so that they can stand between two of them
UNFIT = frozenset('%\\:*?"<>|' + SEPARATORS)  # for the file systems that there are
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-. ")
MAX_PART_BYTES = 255 - len(".tmp-.1234567.flac")  # while it is written, it has a longer name
_OF_A_NUMBER = frozenset("0123456789.")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE | re.DOTALL)  # devices, under Windows

Value = str | int | None


class NameRefused(ConfigError):
    """An utterance that a template has no name for."""


def decimal_seconds(sample: int, rate_hz: int) -> str:
    """Seconds at which a sample lies: two decimals, or as many more as give back the sample: 1853.82, 0.00006.

    Integers alone are reckoned with. `seconds_to_samples` of the result is `sample` again.
    """
    decimals = 2
    while True:
        scale = 10**decimals
        units = (2 * sample * scale + rate_hz) // (2 * rate_hz)
        if (2 * units * rate_hz + scale) // (2 * scale) == sample:
            return f"{units // scale}.{units % scale:0{decimals}d}"
        decimals += 1


def escape(value: str, is_strict: bool = False) -> str:
    """A value as a part of a file's name; `unescape` gives it back. Strict: the same on systems that know no capitals, too."""
    characters = [character if (character in PLAIN if is_strict else character.isprintable() and character not in UNFIT)
                  else _encoded(character) for character in value]
    if value and (value[0] in ". " or _RESERVED.fullmatch(value)):
        characters[0] = _encoded(value[0])
    if value and value[-1] in ". ":
        characters[-1] = _encoded(value[-1])
    return "".join(characters)


def unescape(text: str) -> str:
    """Raises ValueError for what `escape` never writes."""
    return unquote(text, errors="strict")


def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode()) if character.isascii() else quote(character, safe="")


def looks(name: str) -> str:
    """What is equal for names that some file system takes for one: capitals and ways to compose a letter do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@dataclass(frozen=True)
class Template:
    """A form of names with fields in braces, from FIELDS; every name of it can be read back. `/` makes folders.

    Raises ValueError, saying why, for a form whose names could not be read back.
    """

    text: str
    fields: tuple[str, ...] = field(init=False)
    _pieces: tuple[tuple[str, str | None], ...] = field(init=False, repr=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pieces = _pieces(self.text)
        names = [name for _, name in pieces if name is not None]
        object.__setattr__(self, "fields", tuple(names))
        object.__setattr__(self, "_pieces", pieces)
        _check_literals(self.text)
        _check_numbers(pieces)
        _check_texts(pieces)
        kinds = {**dict.fromkeys(TEXTS, f"[^{re.escape(SEPARATORS)}]+"), **dict.fromkeys(SECONDS, r"\d+(?:\.\d+)?")}
        pattern = "".join(re.escape(literal) + (f"(?P<{name}>{kinds.get(name, '[0-9]+')})" if name else "")
                          for literal, name in pieces)
        object.__setattr__(self, "_pattern", re.compile(pattern, re.DOTALL | re.ASCII))

    def name(self, values: Mapping[str, Value], sample_rate_hz: int, is_strict: bool = False) -> str:
        """The name, without suffix. `values` has texts, `start_sample`, `end_sample` (of the recording, at its rate) and
        `channel` (from 0; None is the mix).

        Raises NameRefused where a value is missing, or the name is too long or reserved.
        """
        made = ""
        for literal, name in self._pieces:
            made += literal
            if name is None:
                continue
            value = values.get(SECONDS.get(name, name))
            if name == CHANNEL:
                value = 0 if value is None else int(value) + 1
            if value is None or value == "":
                raise NameRefused(f"{values.get('id')!r} has no {name}, which the names {self.text} need",
                                  "choose another template, for example name={id}")
            made += (decimal_seconds(int(value), sample_rate_hz) if name in SECONDS
                     else str(value) if isinstance(value, int) else escape(value, is_strict))
        check_file_name(made, str(values.get("id")))
        return made

    def parse(self, name: str, sample_rate_hz: int | None = None) -> dict[str, Value | Decimal]:
        """The values of a name without suffix: texts; `start_sample` and `end_sample`, or, where the rate is not known and the
        name has seconds, `start_s` and `end_s` as Decimal; `channel` (from 0, None is the mix). Raises ValueError.
        """
        match = self._pattern.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not of the form {self.text}")
        values: dict[str, Value | Decimal] = {}
        for key, text in match.groupdict().items():
            if key in TEXTS:
                values[key] = unescape(text)
            elif key in SECONDS and sample_rate_hz is None:
                values[key] = Decimal(text)
            elif key in SECONDS:
                exact = Fraction(text) * int(sample_rate_hz or 0)
                values[SECONDS[key]] = int(exact + Fraction(1, 2))
            else:
                values[key] = (int(text) - 1 if int(text) else None) if key == CHANNEL else int(text)
        return values


def check_file_name(name: str, utterance: str) -> None:
    """Raises NameRefused for a path that some file system cannot hold."""
    for part in name.split("/"):
        if len(part.encode()) > MAX_PART_BYTES:
            raise NameRefused(f"{utterance!r} would be called {part[:60]!r}…, {len(part.encode())} bytes, and a file's name has "
                              f"{MAX_PART_BYTES} at most", "choose another template, such as name={recording}_{start_s}-{end_s}")
        if _RESERVED.fullmatch(part):
            raise NameRefused(f"{utterance!r} would be called {part!r}, which Windows keeps for a device",
                              "choose another template, for example name=seg.{id}")


def _pieces(text: str) -> tuple[tuple[str, str | None], ...]:
    """(literal, the field behind it); the last one may have none."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"its braces do not match: {error}") from None
    found: list[tuple[str, str | None]] = []
    for literal, name, form, conversion in parsed:
        if name is not None and name not in FIELDS:
            raise ValueError(f"there is no field {{{name}}}; {did_you_mean(name, FIELDS)}")
        if form or conversion:
            raise ValueError(f"{{{name}}} is written without ':' and '!'")
        found.append((literal, name))
    names = [name for _, name in found if name is not None]
    if not names:
        raise ValueError(f"it has no field, so all would have one name; fields are {', '.join(FIELDS)}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{{{twice}}} is there twice")
    return tuple(found)


def _check_literals(text: str) -> None:
    fixed, unfit = re.sub(r"\{\w+\}", "x", text), UNFIT - set(SEPARATORS) | {*"{}"}
    if bad := next((character for character in fixed if not character.isprintable() or character in unfit), None):
        raise ValueError(f"{bad!r} cannot be in the name of a file everywhere")
    for part in fixed.split("/"):
        if not part or part[0] in ". " or part[-1] in ". ":
            raise ValueError(f"{part!r} cannot be a file or folder everywhere: it is empty, or a dot or a space is at its edge")


def _check_numbers(pieces: tuple[tuple[str, str | None], ...]) -> None:
    """Where a number ends is told by a character that is not of a number."""
    for index, (literal, name) in enumerate(pieces):
        before = pieces[index - 1][1] if index else None
        if name is not None and name not in TEXTS and (literal[-1:] in _OF_A_NUMBER if literal else before is not None):
            where = f"behind {literal[-1]!r}" if literal else f"directly behind {{{before}}}"
            raise ValueError(f"{{{name}}} stands {where}, so nobody can tell where it begins; put '_' before it")
        if before is not None and before not in TEXTS and (literal[:1] in _OF_A_NUMBER if literal else name is not None):
            where = f"before {literal[0]!r}" if literal else f"directly before {{{name}}}"
            raise ValueError(f"{{{before}}} stands {where}, so nobody can tell where it ends; put '_' behind it")


def _check_texts(pieces: tuple[tuple[str, str | None], ...]) -> None:
    """Between two texts stands something that no text holds."""
    last, between = None, ""
    for literal, name in pieces:
        between += literal
        if name not in TEXTS:
            continue
        if last is not None and not set(between) & set(SEPARATORS):
            raise ValueError(f"nobody can tell where {{{last}}} ends and {{{name}}} begins: both may hold any letter, digit, '_', "
                             f"'-' and '.'; put one of {' '.join(SEPARATORS)} between them")
        last, between = name, ""



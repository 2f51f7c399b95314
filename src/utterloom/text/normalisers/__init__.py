"""Named, versioned normal forms of text, the same in preparation, scoring and serving. Raw text is always kept beside (K2).

Each is a module with one function from text to text; its example pairs lie beside it and run as tests. Modules and their tables are
loaded when a form is first used. Adding one: docs/add/normaliser.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from utterloom.core.errors import ConfigError, did_you_mean
from utterloom.text.normalisers.basic import EXAMPLES as BASIC_EXAMPLES

__all__ = ["NORMALISERS", "Normaliser", "normaliser", "read_pairs"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Normaliser:
    """`view` is the name that corpora, models and reports carry: a change of behaviour is a new version.

    `function` is "module:name" inside this package. A form that is a copy of a published one (`published`) keeps its quirks byte
    for byte, and so is neither idempotent nor NFC; all others are both.
    """

    name: str
    version: int
    function: str
    about: str
    published: bool = False

    @property
    def view(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def rewrite(self) -> Callable[[str], str]:
        module, _, name = self.function.partition(":")
        found: Callable[[str], str] = getattr(import_module(f"{__name__}.{module}"), name)
        return found

    @cached_property
    def examples(self) -> tuple[tuple[str, str], ...]:
        """Raw text and its normal form, written by hand."""
        return BASIC_EXAMPLES if self.name == "basic" else read_pairs(HERE / f"{self.function.partition(':')[0]}.tsv")

    def __call__(self, text: str) -> str:
        return self.rewrite(text)


def read_pairs(path: Path) -> tuple[tuple[str, str], ...]:
    r"""The lines of a table of two columns; `#` begins a comment, `\t`, `\n` and `\uXXXX` are characters. Raises ValueError for a
    line that is not a pair."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        raw, tab, normal = line.partition("\t")
        if not tab or "\t" in normal:
            raise ValueError(f"{path}:{number} is not two columns: {line!r}")
        pairs.append((_characters(raw), _characters(normal)))
    return tuple(pairs)


def _characters(field: str) -> str:
    if "\\" not in field:
        return field
    return field.encode("ascii", "backslashreplace").decode("unicode_escape")


NORMALISERS = {form.name: form for form in (
    Normaliser("basic", 1, "basic:basic", "letters, marks and digits of any language, in small letters"),
    Normaliser("whisper-en", 1, "whisper_en:whisper_en", "English as the Whisper models are scored, byte for byte", published=True),
    Normaliser("vi", 1, "vi:vi", "Vietnamese as it is read aloud, northern standard"),
    Normaliser("hr", 1, "hr:hr", "Croatian as it is read aloud"),
    Normaliser("sr", 1, "sr:sr", "Serbian as it is read aloud, both scripts in Latin letters"),
    Normaliser("de", 1, "de:de", "German as it is read aloud"),
    Normaliser("en", 1, "en:en", "English as it is read aloud in America"),
)}


def normaliser(name: str) -> Normaliser:
    """By name (`basic`) or by view (`basic@1`). Raises ConfigError for an unknown one or a version that is gone."""
    short, _, version = name.partition("@")
    found = NORMALISERS.get(short)
    if found is None:
        raise ConfigError(f"there is no text view {name!r}", did_you_mean(short, NORMALISERS))
    if version and version != str(found.version):
        raise ConfigError(f"text view {name!r} is not in this utterloom, which has {found.view!r}",
                          "use the version of utterloom that made it, or make it again")
    return found

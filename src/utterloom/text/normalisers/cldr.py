"""Numbers in words by the rules of Unicode CLDR, through the package unicode-rbnf.

Chosen over num2words, which has no Croatian, says "bilion" for a milliard in Serbian, and has no genders of cardinals in either.
CLDR's Croatian and Serbian ordinals are broken ("tisućui", "desetstoti"): those are made in `south_slavic`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from utterloom.core.errors import MissingPackageError

MOST_DIGITS = 15  # longer ones are read digit by digit


@cache
def _engine(language: str) -> Any:
    try:
        from unicode_rbnf import RbnfEngine
    except ImportError:
        raise MissingPackageError("unicode-rbnf", "text", "reading numbers out") from None
    return RbnfEngine.for_language(language)


@lru_cache(maxsize=1 << 14)
def spelled(number: int, language: str, rules: str) -> str:
    """`rules` is a rule set of CLDR, such as "spellout-cardinal-feminine". Raises MissingPackageError."""
    text: str = _engine(language).format_number(number, ruleset_names=[rules]).text
    return text.replace("\u00ad", "").replace("-", " ")

"""Serbian as it is read aloud, in Latin letters.

Serbian is written in two scripts, often in one corpus, and a recogniser should not have to learn, nor a score punish, which one
somebody typed. The view is in Latin letters, since every Cyrillic letter has one way into them; back, "nj" may be њ or н and ј
(injekcija). The raw text keeps its script.
"""

from __future__ import annotations

from utterloom.text.normalisers.hr import DIGRAPHS, UNITS
from utterloom.text.normalisers.south_slavic import SouthSlavic

_SMALL = dict(zip("абвгдђежзијклмнопрстћуфхцчш", "abvgdđežzijklmnoprstćufhcčš", strict=True)) | {"љ": "lj", "њ": "nj", "џ": "dž"}
LATIN = str.maketrans({**_SMALL, **{cyrillic.upper(): latin.capitalize() for cyrillic, latin in _SMALL.items()}})


def in_latin(text: str) -> str:
    """Serbian Cyrillic, letter by letter; other Cyrillic letters stay."""
    return text.translate(DIGRAPHS).translate(LATIN)


_CENT = (("cent", "centa", "centi"), "m")
_EURO = (("evro", "evra", "evra"), "m", *_CENT)
_DOLLAR = (("dolar", "dolara", "dolara"), "m", *_CENT)
_DINAR = (("dinar", "dinara", "dinara"), "m", ("para", "pare", "para"), "f")
_POUND = (("funta", "funte", "funti"), "f", ("peni", "penija", "penija"), "m")

sr = SouthSlavic(
    cldr="sr_Latn",
    months=("januara", "februara", "marta", "aprila", "maja", "juna", "jula", "avgusta", "septembra", "oktobra", "novembra",
            "decembra"),
    months_named=("januar", "februar", "mart", "april", "maj", "jun", "jul", "avgust", "septembar", "oktobar", "novembar",
                  "decembar"),
    units={**UNITS, "%": (("odsto", "odsto", "odsto"), "m"), "l": (("litar", "litra", "litara"), "m"),
           "min": (("minut", "minuta", "minuta"), "m"),
           "°C": (("stepen celzijusa", "stepena celzijusa", "stepeni celzijusa"), "m"),
           "°": (("stepen", "stepena", "stepeni"), "m")},
    currencies={"€": _EURO, "EUR": _EURO, "RSD": _DINAR, "din.": _DINAR, "din": _DINAR, "$": _DOLLAR, "USD": _DOLLAR, "£": _POUND,
                "GBP": _POUND},
    powers={"mil": (("milion", "miliona", "miliona"), "m"), "mlrd": (("milijarda", "milijarde", "milijardi"), "f"),
            "hilj": (("hiljada", "hiljade", "hiljada"), "f")},
    abbreviations=(
        (r"\bnpr\.", "na primer "), (r"\btj\.", "to jest "), (r"\bitd\b\.", "i tako dalje "), (r"\bi sl\.", "i slično "),
        (r"\bi dr\.", "i drugi "), (r"\b[dD]r(?:\.|(?=\s+[A-ZČĆĐŠŽ]))", "doktor "), (r"\b[pP]rof\.", "profesor "),
        (r"\b[čČ]l\. ?(?=\d)", "član "),
        (r"\bst\. ?(?=\d)", "stav "), (r"\b[bB]r\. ?(?=\d)", "broj "), (r"\bstr\. ?(?=\d)", "strana "), (r"\bgod\.", "godine "),
        (r"\b[uU]l\.", "ulica "), (r"\btel\.", "telefon "), (r"\b[tT]zv\.", "takozvani ")),
    fractions=(("polovina", "polovine", "polovina"), ("trećina", "trećine", "trećina"), ("četvrtina", "četvrtine", "četvrtina"),
               *((f"{stem}ina", f"{stem}ine", f"{stem}ina") for stem in ("pet", "šest", "sedm", "osm", "devet", "deset"))),
    thousands={1: (("hiljada", "hiljade", "hiljada"), "f"), 2: (("milion", "miliona", "miliona"), "m"),
               3: (("milijarda", "milijarde", "milijardi"), "f"), 4: (("bilion", "biliona", "biliona"), "m")},
    one_thousand="hiljadu",
    two_thousand="dvehiljadit",
    four_times="četvoro",
    half="po",
    prepare=in_latin,
    point="tačka")

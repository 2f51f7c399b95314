"""Croatian as it is read aloud: numbers, dates, times, money, measures and abbreviations in words, in gender and case."""

from __future__ import annotations

import re
import unicodedata

from utterloom.text.normalisers.south_slavic import SouthSlavic

# Letters that look alike in both scripts; a word with both was typed on the wrong keyboard (E-P16).
LOOK_ALIKE = str.maketrans("аАеЕоОрРсСхХуУкКмМтТвВнНіІјЈѕЅӧӦӓӒӱӰԁһ", "aAeEoOpPcCxXyYkKmMtTbBhHiIjJsSöÖäÄÿŸdh")
DIGRAPHS = str.maketrans({"ǆ": "dž", "ǅ": "Dž", "Ǆ": "DŽ", "ǉ": "lj", "ǈ": "Lj", "Ǉ": "LJ", "ǌ": "nj", "ǋ": "Nj", "Ǌ": "NJ"})
_WORD = re.compile(r"[^\W\d_]+")


def scripts(word: str) -> set[str]:
    """The first words of the Unicode names of its letters: LATIN, CYRILLIC."""
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in word}


def one_script(text: str) -> str:
    """Digraphs as two letters, and Latin letters for their Cyrillic doubles in words that have both."""
    text = text.translate(DIGRAPHS)
    if text.isascii():
        return text
    return _WORD.sub(_in_latin, text)


def _in_latin(match: re.Match[str]) -> str:
    return match[0].translate(LOOK_ALIKE) if {"LATIN", "CYRILLIC"} <= scripts(match[0]) else match[0]


ABBREVIATIONS = (
    (r"\bnpr\.", "na primjer "), (r"\btj\.", "to jest "), (r"\bitd\b\.", "i tako dalje "), (r"\bi sl\.", "i slično "),
    (r"\bi dr\.", "i drugi "), (r"\bdr\. ?sc\.", "doktor znanosti "),
    (r"\bmr\. ?sc\.", "magistar znanosti "), (r"\b[dD]r\.", "doktor "),
    (r"\b[pP]rof\.", "profesor "), (r"\b[čČ]l\. ?(?=\d)", "članak "), (r"\bst\. ?(?=\d)", "stavak "),
    (r"\b[bB]r\. ?(?=\d)", "broj "),
    (r"\bstr\. ?(?=\d)", "stranica "), (r"\bgod\.", "godine "), (r"\b[uU]l\.", "ulica "), (r"\btel\.", "telefon "),
    (r"\bgđa\b\.?", "gospođa "), (r"\bGđa\b\.?", "gospođa "))

LITRE = (("litra", "litre", "litara"), "f")
METRE = ("metar", "metra", "metara")


def _metres(prefix: str) -> tuple[tuple[str, str, str], str]:
    return (f"{prefix}{METRE[0]}", f"{prefix}{METRE[1]}", f"{prefix}{METRE[2]}"), "m"


def _regular(name: str) -> tuple[tuple[str, str, str], str]:
    """Masculine nouns with -a from two on."""
    return (name, f"{name}a", f"{name}a"), "m"


UNITS = {
    "km": _metres("kilo"), "m": _metres(""), "cm": _metres("centi"), "mm": _metres("mili"), "dm": _metres("deci"),
    "kg": _regular("kilogram"), "g": _regular("gram"), "dag": _regular("dekagram"), "mg": _regular("miligram"),
    "t": (("tona", "tone", "tona"), "f"), "l": LITRE, "dl": (("decilitar", "decilitra", "decilitara"), "m"),
    "ml": (("mililitar", "mililitra", "mililitara"), "m"), "ha": _regular("hektar"),
    "m2": (("kvadratni metar", "kvadratna metra", "kvadratnih metara"), "m"),
    "km2": (("kvadratni kilometar", "kvadratna kilometra", "kvadratnih kilometara"), "m"),
    "m3": (("kubni metar", "kubna metra", "kubnih metara"), "m"),
    "km/h": (("kilometar na sat", "kilometra na sat", "kilometara na sat"), "m"),
    "°C": (("stupanj celzija", "stupnja celzija", "stupnjeva celzija"), "m"), "°": (("stupanj", "stupnja", "stupnjeva"), "m"),
    "W": _regular("vat"), "kW": _regular("kilovat"), "MW": _regular("megavat"), "GW": _regular("gigavat"), "V": _regular("volt"),
    "kWh": (("kilovatsat", "kilovatsata", "kilovatsati"), "m"), "MB": _regular("megabajt"), "GB": _regular("gigabajt"),
    "h": (("sat", "sata", "sati"), "m"), "min": (("minuta", "minute", "minuta"), "f"), "s": (("sekunda", "sekunde", "sekundi"),
    "f"),
    "%": (("posto", "posto", "posto"), "m"), "‰": (("promil", "promila", "promila"), "m")}

_EURO = (("euro", "eura", "eura"), "m", ("cent", "centa", "centi"), "m")
_KUNA = (("kuna", "kune", "kuna"), "f", ("lipa", "lipe", "lipa"), "f")
_DOLLAR = (("dolar", "dolara", "dolara"), "m", ("cent", "centa", "centi"), "m")
_POUND = (("funta", "funte", "funti"), "f", ("peni", "penija", "penija"), "m")

hr = SouthSlavic(
    cldr="hr",
    months=("siječnja", "veljače", "ožujka", "travnja", "svibnja", "lipnja", "srpnja", "kolovoza", "rujna", "listopada",
    "studenoga?",
            "prosinca"),
    months_named=("siječanj", "veljača", "ožujak", "travanj", "svibanj", "lipanj", "srpanj", "kolovoz", "rujan", "listopad",
                  "studeni", "prosinac"),
    units=UNITS,
    currencies={"€": _EURO, "EUR": _EURO, "kn": _KUNA, "HRK": _KUNA, "$": _DOLLAR, "USD": _DOLLAR, "£": _POUND, "GBP": _POUND},
    powers={"mil": (("milijun", "milijuna", "milijuna"), "m"), "mlrd": (("milijarda", "milijarde", "milijardi"), "f"),
            "tis": (("tisuća", "tisuće", "tisuća"), "f")},
    abbreviations=ABBREVIATIONS,
    fractions=(("polovina", "polovine", "polovina"), ("trećina", "trećine", "trećina"), ("četvrtina", "četvrtine", "četvrtina"),
               *((f"{stem}ina", f"{stem}ine", f"{stem}ina") for stem in ("pet", "šest", "sedm", "osm", "devet", "deset"))),
    thousands={1: (("tisuća", "tisuće", "tisuća"), "f"), 2: (("milijun", "milijuna", "milijuna"), "m"),
               3: (("milijarda", "milijarde", "milijardi"), "f"), 4: (("bilijun", "bilijuna", "bilijuna"), "m")},
    one_thousand="tisuću",
    two_thousand="dvijetisućit",
    four_times="četvero",
    prepare=one_script)

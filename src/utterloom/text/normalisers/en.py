"""English as it is read aloud in America: what recognisers that write words are trained on. For scores that are compared with those
of Whisper models, see `whisper_en`, which goes the other way and writes digits.

Numbers and ordinals are CLDR's, without "and". Four digits are a year or so many hundreds: nineteen ninety one, fifteen hundred.
"""

from __future__ import annotations

import re
from functools import cache

from utterloom.text.normalisers.basic import basic
from utterloom.text.normalisers.cldr import MOST_DIGITS, spelled
from utterloom.text.normalisers.reading import (
    FRACTION_SLASH,
    NUMBER_EN,
    Rule,
    apply,
    has_digit,
    is_date,
    one_by_one,
    parse,
    plain_characters,
    roman,
    rules,
)

Match = re.Match[str]
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
UNITS = {
    "km/h": ("kilometer per hour", "kilometers per hour"), "mph": ("mile per hour", "miles per hour"),
    "km": ("kilometer", "kilometers"),
    "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"), "mm": ("millimeter", "millimeters"),
    "m2": ("square meter", "square meters"),
    "km2": ("square kilometer", "square kilometers"), "m3": ("cubic meter", "cubic meters"), "ft": ("foot", "feet"),
    "mi": ("mile", "miles"),
    "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"), "mg": ("milligram", "milligrams"), "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"), "l": ("liter", "liters"), "L": ("liter", "liters"),
    "ml": ("milliliter", "milliliters"), "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "°": ("degree", "degrees"), "kWh": ("kilowatt hour", "kilowatt hours"), "kW": ("kilowatt", "kilowatts"),
    "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"), "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "%": ("percent", "percent")}
CURRENCIES = {"$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
              "€": ("euro", "euros", "cent", "cents")}
_MONTH = "|".join(f"{month}|{month[:3]}\\.|Sept\\." if month == "September" else f"{month}|{month[:3]}\\." for month in MONTHS)
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_POWERS = "thousand|million|billion|trillion"
_PARTS = "World War|Chapter|Part|Volume|Act|Section|Phase|Type|Class|Super Bowl|Book|Article|Title"


def en(text: str) -> str:
    """Idempotent, NFC, without digits. Raises MissingPackageError for numbers when unicode-rbnf is not there."""
    text = apply(plain_characters(text), _word_rules())
    if has_digit(text):
        text = apply(text, _number_rules())
    return basic(text)


def _cardinal(digits: str) -> str:
    if (len(digits) > 1 and digits[0] == "0") or len(digits) > MOST_DIGITS:
        return one_by_one(digits, DIGITS)
    return spelled(int(digits), "en", "spellout-numbering")


def _ordinal(digits: str) -> str:
    return spelled(int(digits), "en", "spellout-ordinal") if len(digits) <= MOST_DIGITS else one_by_one(digits, DIGITS)


def _number(text: str) -> str:
    written = parse(text, group=",", point=".")
    whole = _cardinal(written.whole)
    return f"{whole} point {one_by_one(written.fraction, DIGITS)}" if written.fraction else whole


def _year(digits: str) -> str:
    """1905 nineteen oh five, 1500 fifteen hundred, 2005 two thousand five; others as numbers."""
    century, rest = divmod(int(digits), 100)
    if len(digits) != 4 or not 11 <= century <= 20 or (century == 20 and rest < 10):
        return _cardinal(digits)
    end = "hundred" if rest == 0 else f"oh {DIGITS[rest]}" if rest < 10 else _cardinal(str(rest))
    return f"{_cardinal(str(century))} {end}"


def _decade(match: Match) -> str:
    words = _year(match[1]) if len(match[1]) == 4 else _cardinal(match[1])
    return f" {words[:-1]}ies " if words.endswith("y") else f" {words}s "


def _month(name: str) -> str:
    return next(month for month in MONTHS if month[:3] == name[:3])


def _of_year(match: Match) -> str:
    return f" {_year(match['y'])}" if match["y"] else ""


def _month_day(match: Match) -> str:
    if not is_date(match["d"], 1):
        return match[0]
    return f" {_month(match['month'])} {_ordinal(match['d'])}{_of_year(match)} "


def _day_month(match: Match) -> str:
    if not is_date(match["d"], 1):
        return match[0]
    return f" the {_ordinal(match['d'])} of {_month(match['month'])}{_of_year(match)} "


def _iso_date(match: Match) -> str:
    if not is_date(match[3], match[2]):
        return match[0]
    return f" {MONTHS[int(match[2]) - 1]} {_ordinal(match[3])} {_year(match[1])} "


def _time(match: Match) -> str:
    hour, minute, half = match["h"], match["m"], match["half"]
    minutes = "" if int(minute) == 0 else f" oh {DIGITS[int(minute)]}" if int(minute) < 10 else f" {_cardinal(minute)}"
    said = f" {half[0].lower()} m" if half else "" if minutes else " o'clock"
    return f" {_cardinal(str(int(hour)))}{minutes}{said} "


def _money(match: Match) -> str:
    one, many, cent, cents = CURRENCIES[match["sign"]]
    text, power = match["n"], match["power"]
    written = parse(text, group=",", point=".")
    if power or (written.fraction and len(written.fraction) != 2):
        return f" {_number(text)} {power or ''} {many} "
    parts = []
    if written.whole != "0" or not written.fraction:
        parts.append(f"{_cardinal(written.whole)} {one if written.whole == '1' else many}")
    if written.fraction and int(written.fraction):
        number = str(int(written.fraction))
        parts.append(f"{_cardinal(number)} {cent if number == '1' else cents}")
    return f" {' and '.join(parts) or f'zero {many}'} "


def _fraction(match: Match) -> str:
    above, below = match["a"], match["b"]
    whole = f"{_cardinal(match['w'])} and " if match["w"] else ""
    if len(above) > 3 or len(below) > 2 or not 0 < int(above) < int(below) <= 20:
        return f" {whole}{_cardinal(above)} over {_cardinal(below)} "
    name = {"2": "half", "4": "quarter"}.get(below) or _ordinal(below)
    return f" {whole}{_cardinal(above)} {name}{'' if int(above) == 1 else 's'} "


def _roman(match: Match) -> str:
    number = roman(match[2])
    if number is None:
        return match[0]
    if match[1] in _PARTS.split("|") or match[1] == "War":
        return f"{match[1]} {number} "
    return f"{match[1]} the {number}th "  # its ending is that of the rule for ordinals


def _digits(match: Match) -> str:
    return f" {one_by_one(match[0], DIGITS)} "


@cache
def _word_rules() -> list[Rule]:
    return rules(
        (r"\bMr\.", "mister "), (r"\bMrs\.", "missus "), (r"\bDr\.", "doctor "), (r"\bProf\.", "professor "),
        (r"\bJr\.", "junior "),
        (r"\bSr\.", "senior "), (r"\be\.g\.", "for example "), (r"\bi\.e\.", "that is "), (r"\betc\.", "et cetera "),
        (r"\bvs\.", "versus "),
        (r"\bapprox\.", "approximately "), (r"\b[Nn]o\. ?(?=\d)", "number "), (r"#(?=\d)", " number "), (r"&", " and "),
        (rf"\b({_PARTS}|[A-Z][a-z]+) ([IVX]{{2,}}|(?<=War )I)\b", _roman))


@cache
def _number_rules() -> list[Rule]:
    currency = "|".join(map(re.escape, CURRENCIES))
    return rules(
        (r"(?<![\w.,/-])(?:1-)?\(?\d{3}\)?[ .-]?\d{3}[.-]\d{4}(?![\d-])", _digits), (r"(?<![\w.,/-])\d{3}-\d{4}(?![\d-])", _digits),
        (r"(?i:(?<=\bcall |\bdial ))\d{3}\b(?![.,:-]\d)", _digits), (r"(?<![\d.,/])24/7(?![\d/])", " twenty four seven "),
        (r"(?<![\d.,/])9/11(?![\d/])", " nine eleven "),
        (r"(?<![\w.,:])(\d{1,2}):([0-5]\d):([0-5]\d)(?![\d:])",
         lambda match: f" {' '.join(_cardinal(str(int(part))) for part in match.groups())} "),
        (r"(?<![\d./-])(\d{4})-(\d{1,2})-(\d{1,2})(?![\d.-]*\d)", _iso_date),
        (rf"\b(?P<month>{_MONTH}) (?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (?P<y>[12]\d{{3}})\b)?(?![:.,]?\d)", _month_day),
        (rf"(?:\b[Tt]he )?(?<![\d.,/-])(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})"
         r"(?:,? (?P<y>[12]\d{3})\b)?(?!\w)", _day_month),
        (r"(?<![\d.,])'?([12]\d{2}0|[1-9]0)'?s\b", _decade),
        (r"(?<![\w.,:])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d)(?: ?(?P<half>[AaPp]\.?[Mm]\b\.?))?(?![\d:])", _time),
        (r"(?<![\w.,:])(?P<h>1?\d) ?(?P<half>[AaPp]\.?[Mm]\b\.?)", lambda match: f" {_cardinal(match['h'])} {match['half'][0]} m "),
        (r"(?<![\d.,])(\d+)(?:st|nd|rd|th)\b", lambda match: f" {_ordinal(match[1])} "),
        (rf"(?P<sign>{currency}) ?(?P<n>{NUMBER_EN})(?: (?P<power>{_POWERS})\b)?", _money),
        (rf"(?<![\w.,-])({NUMBER_EN}) ?[-–] ?(?={NUMBER_EN} ?(?:{_UNIT})(?!\w))", r"\1 to "),
        (rf"(?<![\d.,])({NUMBER_EN}) ?({_UNIT})(?!\w)",
         lambda match: f" {_year_or_number(match[1])} {UNITS[match[2]][match[1] != '1']} "),
        (rf"(?<=\d) ?{FRACTION_SLASH} ?(?=\d)", FRACTION_SLASH),
        (rf"(?:(?<![\d.,])(?P<w>\d+) )?(?<![\d.,/])(?P<a>\d+)[/{FRACTION_SLASH}](?P<b>\d+)(?![\d/])", _fraction),
        (r"(?<=\d)/(?=\d)", " slash "),
        (rf"(?<![\w.,-])({NUMBER_EN}) ?[-–] ?({NUMBER_EN})(?![\w-])", r" \1 to \2 "), (r"(?<![\w)\]])- ?(?=\d)", " minus "),
        (r"(?<=\d) ?\+ ?(?=\d)", " plus "), (r"(?<=\d) ?= ?(?=\d)", " equals "), (r"(?<=\d) ?[x×] ?(?=\d)", " times "),
        (r"(?<=\d) ?: ?(?=\d)", " to "),
        (r"(?<![\d.,])\d+(?:\.\d+){2,}(?![\d,])", lambda match: f" {' dot '.join(map(_cardinal, match[0].split('.')))} "),
        (rf"(?<![\d.,]){NUMBER_EN}(?![.,]?\d)", lambda match: f" {_year_or_number(match[0])} "),
        (r"\d+", lambda match: f" {_cardinal(match[0])} "))


def _year_or_number(text: str) -> str:
    return _year(text) if text.isdecimal() and len(text) == 4 and text[0] != "0" else _number(text)

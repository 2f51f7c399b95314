"""German as it is read aloud: ß stays ß, numbers are written in one word.

Numbers and ordinals are CLDR's ("einhunderteins"). An ordinal takes its ending from the article or preposition before it: der
erste, am ersten, and erster where there is none. Four digits are a year unless a noun follows: neunzehnhunderteinundneunzig, but
eintausendfünfhundert Menschen.
"""

from __future__ import annotations

import re
from functools import cache

from utterloom.text.normalisers.basic import only_words
from utterloom.text.normalisers.cldr import MOST_DIGITS, spelled
from utterloom.text.normalisers.reading import (
    FRACTION_SLASH,
    NUMBER,
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
DIGITS = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
MONTHS = "Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
UNITS = {  # one, more than one
    "km/h": ("ein kilometer pro stunde", "kilometer pro stunde"), "m/s": ("ein meter pro sekunde", "meter pro sekunde"),
    "km": ("ein kilometer", "kilometer"), "m": ("ein meter", "meter"), "cm": ("ein zentimeter", "zentimeter"),
    "mm": ("ein millimeter", "millimeter"), "m2": ("ein quadratmeter", "quadratmeter"),
    "km2": ("ein quadratkilometer", "quadratkilometer"), "m3": ("ein kubikmeter", "kubikmeter"), "ha": ("ein hektar", "hektar"),
    "kg": ("ein kilogramm", "kilogramm"), "g": ("ein gramm", "gramm"), "mg": ("ein milligramm", "milligramm"),
    "t": ("eine tonne", "tonnen"), "l": ("ein liter", "liter"), "ml": ("ein milliliter", "milliliter"),
    "°C": ("ein grad celsius", "grad celsius"), "°": ("ein grad", "grad"), "W": ("ein watt", "watt"),
    "kW": ("ein kilowatt", "kilowatt"),
    "MW": ("ein megawatt", "megawatt"), "kWh": ("eine kilowattstunde", "kilowattstunden"), "V": ("ein volt", "volt"),
    "MB": ("ein megabyte", "megabyte"), "GB": ("ein gigabyte", "gigabyte"), "h": ("eine stunde", "stunden"),
    "min": ("eine minute", "minuten"), "s": ("eine sekunde", "sekunden"), "%": ("ein prozent", "prozent"),
    "‰": ("ein promille", "promille")}
CURRENCIES = {"€": "euro", "EUR": "euro", "Euro": "euro", "$": "dollar", "USD": "dollar", "£": "pfund", "CHF": "franken"}
POWERS = {"Mio": ("eine million", "millionen"), "Mrd": ("eine milliarde", "milliarden"), "Tsd": ("eintausend", "tausend")}
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_CURRENCY = "|".join(map(re.escape, CURRENCIES))
_POWER = "|".join(POWERS)
_DATIVE = "am|vom|zum|dem|den|bis|ab|seit|beim|im|des|einem|dieses|jedem"
_BEFORE = rf"(?:\b(?P<dative>(?i:{_DATIVE}))\s+|\b(?P<nominative>(?i:der|die|das))\s+)"
# What an ordinal without article ends in before them: dritter Tag, drittes Mal, dritte Runde.
_ORDERED = {**dict.fromkeys(("Weltkrieg", "Platz", "Tag", "Stock", "Satz", "Akt", "Geburtstag"), "r"),
            **dict.fromkeys(("Jahrhundert", "Jahrtausend", "Mal", "Kapitel", "Jahr", "Semester"), "s"),
            **dict.fromkeys(("Klasse", "Runde", "Liga", "Auflage", "Etage", "Bundesliga", "Stunde"), "")}


def de(text: str) -> str:
    """Idempotent, NFC, without digits. Raises MissingPackageError for numbers when unicode-rbnf is not there."""
    text = apply(plain_characters(text), _word_rules())
    if has_digit(text):
        text = apply(text, _number_rules())
    return only_words(text.replace("ẞ", "ß"), str.lower)


def _cardinal(digits: str) -> str:
    if (len(digits) > 1 and digits[0] == "0") or len(digits) > MOST_DIGITS:
        return one_by_one(digits, DIGITS)
    return spelled(int(digits), "de", "spellout-numbering")


def _number(text: str) -> str:
    written = parse(text)
    whole = _cardinal(written.whole)
    if not written.fraction:
        return whole
    return f"{whole} {'komma' if written.point == ',' else 'punkt'} {one_by_one(written.fraction, DIGITS)}"


def _year(digits: str) -> str:
    century, rest = divmod(int(digits), 100)
    if len(digits) != 4 or not 11 <= century <= 19:
        return _cardinal(digits)
    return f"{_cardinal(str(century))}hundert{_cardinal(str(rest)) if rest else ''}"


def _ordinal(digits: str, match: Match) -> str:
    if len(digits) > MOST_DIGITS:
        return one_by_one(digits, DIGITS)
    ending = "n" if match["dative"] else "" if match["nominative"] else _ORDERED.get(match.groupdict().get("noun") or "", "r")
    return f"{spelled(int(digits), 'de', 'spellout-ordinal')}{ending}"


def _article(match: Match) -> str:
    return match["dative"] or match["nominative"] or ""


def _one_ordinal(match: Match) -> str:
    return f" {_article(match)} {_ordinal(match['d'], match)} "


def _two_ordinals(match: Match) -> str:
    return f" {_article(match)} {_ordinal(match['d'], match)} {match['and']} {_ordinal(match['e'], match)} "


def _date(match: Match) -> str:
    if not is_date(match["d"], match["m"]):
        return match[0]
    return f" {_article(match)} {_ordinal(match['d'], match)} {_ordinal(match['m'], match)} {_year(match['y'])} "


def _date_with_month(match: Match) -> str:
    year = f" {_year(match['y'])}" if match["y"] else ""
    return f" {_article(match)} {_ordinal(match['d'], match)} {match['month']}{year} "


def _time(match: Match) -> str:
    hour = "ein" if int(match[1]) == 1 else _cardinal(str(int(match[1])))
    minutes = f" {_cardinal(str(int(match[2])))}" if int(match[2]) else ""
    return f" {hour} uhr{minutes} "


def _money(match: Match) -> str:
    text, power, name = match["n"], match["power"], CURRENCIES[match["sign"]]
    if power:
        return f" {_power(text, power)} {name} "
    written = parse(text)
    if len(written.fraction) == 2:
        cents = f" {_cardinal(str(int(written.fraction)))}" if int(written.fraction) else ""
        return f" {'ein' if written.whole == '1' else _cardinal(written.whole)} {name}{cents} "
    return f" {'ein' if text == '1' else _number(text)} {name} "


def _power(text: str, power: str) -> str:
    one, many = POWERS[power]
    return one if text == "1" else f"{_number(text)} {many}"


def _measure(match: Match) -> str:
    one, many = UNITS[match[2]]
    return f" {one} " if match[1] == "1" else f" {_number(match[1])} {many} "


def _fraction(match: Match) -> str:
    above, below, whole = match["a"], match["b"], match["w"]
    if whole and (above, below) == ("1", "2"):
        return f" {_joined(whole)}einhalb "
    before = f"{_cardinal(whole)} " if whole else ""
    if len(above) > 3 or len(below) > 2 or not 0 < int(above) < int(below):
        return f" {before}{_cardinal(above)} durch {_cardinal(below)} "
    name = {2: "halb", 3: "drittel", 7: "siebtel", 8: "achtel"}.get(int(below))
    name = name or f"{_cardinal(str(int(below)))}{'tel' if int(below) < 20 else 'stel'}"
    return f" {before}{'ein' if int(above) == 1 else _cardinal(above)} {name} "


def _joined(digits: str) -> str:
    """As the first part of a word: ein, zwei."""
    words = _cardinal(digits)
    return words[:-1] if words.endswith("eins") else words.replace(" ", "")


def _roman(match: Match) -> str:
    number = roman(match[1])
    return match[0] if number is None else f"{number}."


def _in_words(match: Match) -> str:
    text, after = match["n"], match["after"]
    if text == "1" and after:
        return " ein "
    if text.isdecimal() and len(text) == 4 and text[0] != "0" and not (after and after[0].isupper()):
        return f" {_year(text)} "
    return f" {_number(text)} "


def _telephone(match: Match) -> str:
    return f" {'plus ' if match[0][0] == '+' else ''}{one_by_one(match[0], DIGITS)} "


@cache
def _word_rules() -> list[Rule]:
    return rules(
        (r"\bz\. ?B\.", "zum Beispiel "), (r"\bd\. ?h\.", "das heißt "), (r"\bu\. ?a\.", "unter anderem "),
        (r"\busw\.", "und so weiter "),
        (r"\bbzw\.", "beziehungsweise "), (r"\bca\.", "circa "), (r"\bDr\.", "Doktor "), (r"\bProf\.", "Professor "),
        (r"\bNr\. ?(?=\d)", "Nummer "), (r"\bS\. ?(?=\d)", "Seite "), (r"\bAbs\. ?(?=\d)", "Absatz "),
        (r"\bArt\. ?(?=\d)", "Artikel "),
        (r"\bvgl\.", "vergleiche "), (r"§§? ?(?=\d)", " Paragraf "), (r"(?<=[a-zäöüß])str\.", "straße "), (r"\bStr\.", "Straße "),
        (r"&", " und "), (r"\b([IVX]{2,})\.(?= [A-ZÄÖÜ])", _roman))


@cache
def _number_rules() -> list[Rule]:
    return rules(
        (r"\+\d{1,3}(?:[ ./-]?\d{2,}){2,5}", _telephone),
        (r"(?<![\w.,/:-])0\d{2,4}[ /-]\d{3,}(?:[ -]\d+)*(?![.,/:]\d)", _telephone),
        (rf"{_BEFORE}?(?<![\d./-])(?P<y>\d{{4}})-(?P<m>\d{{1,2}})-(?P<d>\d{{1,2}})(?![\d.-]*\d)", _date),
        (rf"{_BEFORE}?(?<![\d.,/-])(?P<d>\d{{1,2}})\. ?(?P<m>\d{{1,2}})\. ?(?P<y>[12]\d{{3}})(?!\d)", _date),
        (rf"{_BEFORE}(?P<d>\d{{1,2}})\. (?P<and>bis zum|bis|und|oder) (?P<e>\d{{1,2}})\.(?= [A-ZÄÖÜ])", _two_ordinals),
        (rf"{_BEFORE}?(?<![\d.,])(?P<d>\d{{1,2}})\. ?(?P<month>{MONTHS})\b(?: (?P<y>[12]\d{{3}})\b(?![.,]\d))?", _date_with_month),
        (rf"{_BEFORE}(?P<d>\d{{1,4}})\.(?= [A-ZÄÖÜ])", _one_ordinal),
        (rf"{_BEFORE}?(?<![\d.,])(?P<d>\d{{1,3}})\.(?= (?P<noun>{'|'.join(_ORDERED)})\b)", _one_ordinal),
        (r"(?<![\w.,:])([01]?\d|2[0-4])[:.]([0-5]\d) ?Uhr\b", _time), (r"(?<![\w.,:])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])", _time),
        (r"(?<![\w.,:])1 Uhr\b", "ein Uhr"),
        (r"(?<![\d.,])(\d0|[12]\d{2}0)er\b", lambda match: f" {_year(match[1])}er"),
        (r"(?<![\d.,])(\d{1,3})-?((?:jährig|tägig|stündig|fach|mal)\w*)", lambda match: f" {_joined(match[1])}{match[2]}"),
        (rf"(?P<sign>[€$£]) ?(?P<n>{NUMBER})(?: (?P<power>{_POWER})\b\.?)?", _money),
        (rf"(?<![\d.,])(?P<n>{NUMBER}) ?(?:(?P<power>{_POWER})\b\.? )?(?P<sign>{_CURRENCY})(?!\w)", _money),
        (rf"(?<![\d.,])({NUMBER}) ?({_POWER})\b\.?", lambda match: f" {_power(match[1], match[2])} "),
        (rf"(?<![\w)\]])-(?={NUMBER} ?(?:{_UNIT})(?!\w))", " minus "),
        (rf"(?<![\w.,-])({NUMBER}) ?[-–] ?(?={NUMBER} ?(?:{_UNIT})(?!\w))", lambda match: f" {_number(match[1])} bis "),
        (rf"(?<![\d.,])({NUMBER}) ?({_UNIT})(?!\w)", _measure), (rf"(?<=\d) ?{FRACTION_SLASH} ?(?=\d)", FRACTION_SLASH),
        (rf"(?:(?<![\d.,])(?P<w>\d+) )?(?<![\d.,/])(?P<a>\d+)[/{FRACTION_SLASH}](?P<b>\d+)(?![\d/])", _fraction),
        (rf"(?<![\w.,-])({NUMBER}) ?[-–] ?(?={NUMBER}(?![\w-]))", lambda match: f" {_number(match[1])} bis "),
        (r"(?<![\w)\]])- ?(?=\d)", " minus "), (r"(?<=\d) ?\+ ?(?=\d)", " plus "), (r"(?<=\d) ?= ?(?=\d)", " gleich "),
        (r"(?<=\d) ?[x×] ?(?=\d)", " mal "), (r"(?<=\d) ?: ?(?=\d)", " zu "), (r"(?<=\d)/(?=\d)", " durch "),
        (r"(?<![\d.,])\d+(?:\.\d+){2,}(?![\d,])", lambda match: match[0] if re.fullmatch(r"\d{1,3}(?:\.\d{3})+", match[0])
         else f" {' punkt '.join(map(_cardinal, match[0].split('.')))} "),
        (rf"(?<![\d.,])(?P<n>{NUMBER})(?![.,]?\d)(?= (?P<after>[^\W\d_]+))?", _in_words),
        (r"\d+", lambda match: f" {_cardinal(match[0])} "))

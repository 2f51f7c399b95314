"""Croatian and Serbian as they are read aloud. What the two share is the grammar: one and two agree with their noun in gender, the
noun with its number, and a number with a dot is an ordinal in the gender and case of the noun beside it.

Genders and cases are read off the neighbouring word: off a list of the nouns that ordinals stand with, else off its ending.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from utterloom.text.normalisers.basic import basic
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
Forms = tuple[str, str, str]  # with one, with two to four, with five
DIGITS = ("nula", "jedan", "dva", "tri", "četiri", "pet", "šest", "sedam", "osam", "devet")
_STEMS = {"nula": "nult", "jedan": "prv", "dva": "drug", "tri": "treć", "četiri": "četvrt", "sedam": "sedm", "osam": "osm",
          "dvjesto": "dvjestot", "dvesta": "dvestot", "trista": "tristot", "tisuću": "tisućit", "hiljadu": "hiljadit",
          "milijun": "milijunt", "milion": "milionit"}
# Gender (m, f, n; p for plural) and case (n, g, l, a, i) → ending after a hard and after a soft stem.
_ENDINGS = {"mn": ("i", "i"), "mg": ("og", "eg"), "ml": ("om", "em"), "mi": ("im", "im"), "nn": ("o", "e"), "ng": ("og", "eg"),
            "nl": ("om", "em"), "ni": ("im", "im"), "fn": ("a", "a"), "fg": ("e", "e"), "fl": ("oj", "oj"), "fa": ("u", "u"),
            "fi": ("om", "om"), "pg": ("ih", "ih")}
_MASCULINE = ("razred saziv dan put rat kat krug kongres kvartal sat red amandman korak milenij milenijum rođendan "
              "mandat sastav festival turnir tjedan vek deo")
_FEMININE = ("godin sjednic sednic točk tačk obljetnic godišnjic gimnazij brigad osob stranic minut sezon rund utakmic kategorij "
             "generacij etap faz verzij divizij skupin grup obitelj")
_NEUTER = "mjest mest stoljeć poglavlj izdanj pitanj čitanj kol polugodišt"
_IRREGULAR = {"članci": "mn", "članaka": "pg", "člancima": "mi", "stavci": "mn", "stavaka": "pg", "stavcima": "mi", "članak": "mn",
              "članka": "mg", "članku": "ml", "člankom": "mi", "stavak": "mn", "stavka": "mg", "stavku": "ml",
              "stavkom": "mi",
              "član": "mn", "člana": "mg", "članu": "ml", "članom": "mi", "stav": "mn", "stava": "mg", "stavu": "ml",
              "tjedna": "mg", "tjednu": "ml", "mjesec": "mn", "mjeseca": "mg", "mesec": "mn", "meseca": "mg", "veka": "mg",
              "veku": "ml",
              "svjetski": "mn", "svjetskog": "mg", "svjetskom": "ml", "svetski": "mn", "svetskog": "mg", "svetskom": "ml"}
_ANIMATE = ("nika", "telja")  # of persons, in the accusative: jednog zastupnika
_NOT_ANIMATE = frozenset(("klinika", "kronika", "hronika", "tehnika", "panika", "mehanika", "elektronika", "botanika", "keramika"))
_GENDERS = {"m": "masculine", "f": "feminine", "n": "neuter"}
# Short words after a number that say nothing of its gender.
_NO_NOUNS = frozenset(str.split(
    "i ili je se te ne će sve koje koji gdje gde a u na za do od iz po sa s o ni da li kroz prema puta ako plus minus jednako "
    "točka tačka zarez"))
_BEFORE = ("članc\\w+|članaka|stavc\\w+|stavaka|člana?k\\w*|stavk?\\w{0,3}|stavak|član[auo]?m?|toč[ck]\\w{0,2}|tač[ck]\\w{0,2}|"
           "godin\\w{1,2}")


def noun_cases() -> dict[str, str]:
    """The nouns that ordinals stand with, in their cases → gender and case."""
    cases = dict(_IRREGULAR)
    for stems, gender, endings in ((_MASCULINE, "m", {"": "n", "a": "g", "u": "l", "om": "i", "em": "i"}),
                                   (_FEMININE, "f", {"a": "n", "e": "g", "i": "l", "u": "a", "om": "i"}),
                                   (_NEUTER, "n", {"o": "n", "e": "n", "a": "g", "u": "l", "om": "i", "em": "i"})):
        for stem in stems.split():
            for ending, case in endings.items():
                cases.setdefault(stem + ending, gender + case)
    return cases | {"točci": "fl", "tačci": "fl", "obitelj": "fn"}


@dataclass(frozen=True)
class SouthSlavic:
    """The words in which the two languages differ."""

    cldr: str
    months: tuple[str, ...]
    """in the genitive: petnaestog svibnja"""
    months_named: tuple[str, ...]
    """in the nominative: petnaesti svibanj"""
    units: Mapping[str, tuple[Forms, str]]
    """forms and gender of what is written after a number"""
    currencies: Mapping[str, tuple[Forms, str, Forms, str]]
    """forms and gender of the whole and of its hundredth"""
    powers: Mapping[str, tuple[Forms, str]]
    abbreviations: tuple[tuple[str, str], ...]
    fractions: tuple[Forms, ...]
    """half, third, fourth … tenth"""
    thousands: Mapping[int, tuple[Forms, str]]
    """forms and gender of 1000, 1000², … by their power; CLDR's own do not agree with what is before them"""
    one_thousand: str
    two_thousand: str
    """stem of the ordinal of 2000"""
    four_times: str
    """what "-year-old" is made with: četvero"""
    prepare: Callable[[str], str] = field(default=lambda text: text)
    half: str = "pol"
    comma: str = "zarez"
    point: str = "točka"
    equals: str = "jednako"

    def __call__(self, text: str) -> str:
        text = apply(self.prepare(plain_characters(text)), self._abbreviation_rules)
        if has_digit(text):
            text = apply(text, self._number_rules)
        return basic(text)

    # ------------------------------------------------------------------------------------------------------- numbers

    def cardinal(self, digits: str, gender: str = "m") -> str:
        if (len(digits) > 1 and digits[0] == "0") or len(digits) > MOST_DIGITS:
            return one_by_one(digits, DIGITS)
        words = []
        for power, group in enumerate([digits[max(0, end - 3):end] for end in range(len(digits), 0, -3)]):
            number = int(group)
            if number == 0 and (power or len(digits) > 3):
                continue
            forms, its_gender = self.thousands[power] if power else (("", "", ""), gender)
            if power == 1 and number == 1:
                words.append(self.one_thousand)
            else:
                small = spelled(number, self.cldr, f"spellout-cardinal-{_GENDERS[its_gender]}")
                words.append(f"{small} {self.form(group, forms)}" if power else small)
        return " ".join(reversed(words))

    def ordinal(self, digits: str, case: str) -> str:
        """15 in "mg" is petnaestog."""
        number = int(digits)
        if len(digits) > MOST_DIGITS:
            return one_by_one(digits, DIGITS)
        if number == 2000:
            stem = self.two_thousand
        else:
            *before, last = self.cardinal(str(number)).replace(" i ", " ").split()
            # tisuća, hiljada, milijuna, milijardi lose their ending.
            stem = " ".join([*before, _STEMS.get(last) or (
                f"{last}t" if last.endswith("sto") else f"{last[:-1]}it" if last[-1] in "aei" else last)])
        hard, soft = _ENDINGS[case]
        return f"{stem}{soft if stem.endswith('ć') else hard}"

    def number(self, text: str, gender: str = "m", one: str | None = None) -> str:
        """As it was written, in words; `one` is what a last 1 becomes (jednu)."""
        written = parse(text)
        if not written.fraction:
            words = self.cardinal(written.whole, gender)
            return f"{words[:-5]}{one}" if one and words.endswith(("jedan", "jedna")) else words
        fraction = (one_by_one(written.fraction, DIGITS) if len(written.fraction) > 2 or written.fraction[0] == "0"
                    else self.cardinal(written.fraction, gender))
        return f"{self.cardinal(written.whole)} {self.comma} {fraction}"

    @staticmethod
    def form(text: str, forms: Forms) -> str:
        """The noun as the last spoken number asks for it."""
        written = parse(text)
        last = int((written.fraction or written.whole)[-2:])
        if last % 10 == 1 and last != 11:
            return forms[0]
        return forms[1] if last % 10 in (2, 3, 4) and last not in (12, 13, 14) else forms[2]

    def counted(self, text: str, forms: Forms, gender: str) -> str:
        return f" {self.number(text, gender)} {self.form(text, forms)} "

    def _in_words(self, match: Match) -> str:
        """One and two agree with the word after them."""
        text, after = match["n"], (match["after"] or "").lower()
        whole = parse(text).whole
        if not after or after in _NO_NOUNS or whole[-1] not in "12" or whole[-2:] in ("11", "12"):
            return f" {self.number(text)} "
        if whole[-1] == "1" and after.endswith(_ANIMATE) and after not in _NOT_ANIMATE:
            return f" {self.number(text, 'm', 'jednog')} "
        if whole[-1] == "1":
            if after[-1] in "au":
                return f" {self.number(text, 'f', 'jednu' if after[-1] == 'u' else None)} "
            return f" {self.number(text, 'n' if after[-1] in 'oe' else 'm')} "
        return f" {self.number(text, 'f' if after[-1] in 'ei' else 'm')} "

    # ---------------------------------------------------------------------------------------------- ordinals and dates

    @cached_property
    def _cases(self) -> dict[str, str]:
        return noun_cases()

    def _case(self, noun: str) -> str:
        noun = noun.lower()
        if noun in self._cases:
            return self._cases[noun]
        for ending, case in (("oga", "mg"), ("og", "mg"), ("eg", "mg"), ("oj", "fl"), ("om", "ml"), ("a", "fn"), ("o", "nn"),
                             ("e", "nn"), ("u", "ml")):
            if noun.endswith(ending):
                return case
        return "mn"

    def _ordinal_before(self, match: Match) -> str:
        digits = match[1] if match[1].isdecimal() else str(roman(match[1]) or "")
        if not digits:
            return match[0]
        if match[2].lower() in _NO_NOUNS:
            return f" {self.ordinal(digits, 'fg' if len(digits) == 4 else 'mn')} "
        return f" {self.ordinal(digits, self._case(match[2]))} "

    def _ordinal_with_next(self, match: Match) -> str:
        """The first of two: od 1. do 15. srpnja."""
        noun = match[2].lower()
        months = re.fullmatch("|".join(self.months), noun)
        return f" {self.ordinal(match[1], 'mg' if months else self._case(noun))}"

    def _two_ordinals(self, match: Match) -> str:
        if not is_date(match[2], match[3]):
            return match[0]
        return f"{match[1]} {self.ordinal(match[2], 'mg')} {self.ordinal(match[3], 'mg')} "

    def _two_after(self, match: Match) -> str:
        case = self._case(match[1])
        return f"{match[1]} {self.ordinal(match[2], case)} {match[3]} {self.ordinal(match[4], case)} "

    def _years(self, match: Match) -> str:
        return f" {self.ordinal(match[1], 'fg')} do {self.ordinal(match[2], 'fg')} "

    def _ordinal_after(self, match: Match) -> str:
        return f"{match[1]} {self.ordinal(match[2], self._case(match[1]))} "

    def _roman(self, match: Match) -> str:
        number = roman(match[1])
        return match[0] if number is None else f" {self.ordinal(str(number), 'mn')} "

    def _roman_before(self, match: Match) -> str:
        number = roman(match[1])
        if number is None or (len(match[1]) == 1 and match[2].lower() not in self._cases):
            return match[0]
        return f" {self.ordinal(str(number), self._case(match[2]))} "

    def _roman_beside(self, match: Match) -> str:
        """Without a dot only before a noun that ordinals stand with, as Serbian writes it."""
        return self._roman_before(match) if match[2].lower() in self._cases else match[0]

    def _date(self, match: Match) -> str:
        day, month, year = match["d"], match["m"], match["y"]
        if not is_date(day, month):
            return match[0]
        return f" {self.ordinal(day, 'mg')} {self.ordinal(month, 'mg')} {self.ordinal(year, 'fg')} "

    def _day_of_month(self, match: Match) -> str:
        year = f" {self.ordinal(match['y'], 'fg')}" if match["y"] else ""
        case = "mn" if match["month"].lower() in self.months_named else "mg"
        return f" {self.ordinal(match['d'], case)} {match['month']}{year} "

    def _years_old(self, match: Match) -> str:
        digits = match[1]
        times = {1: "jedno", 2: "dvo", 3: "tro", 4: self.four_times, 7: "sedmo", 8: "osmo"}.get(int(digits))
        if times is None:
            joined = self.cardinal(str(int(digits))).replace(" i ", "").replace(" ", "")
            times = joined if joined[-1] in "ao" else f"{joined}o"
        return f" {times}{match[2]}"

    def _about(self, match: Match) -> str:
        words = self.cardinal(match[1])
        return f" {words[:-1]}otinjak " if words.endswith("sto") else f" {words}ak "

    # ------------------------------------------------------------------------------------------------- times and money

    def _time(self, match: Match) -> str:
        hour, minute, second = match["h"].lstrip("0") or "0", match["m"], match.groupdict().get("s")
        if second:
            units = (self.units["h"], self.units["min"], self.units["s"])
            values = (str(int(value)) for value in (hour, minute, second))
            parts = [self.counted(value, *unit).strip() for value, unit in zip(values, units, strict=True)]
            return f" {parts[0]} {parts[1]} i {parts[2]} "
        said = match.groupdict().get("said")
        if int(minute) == 0:
            return f" {self.cardinal(hour)} {said} " if said else self.counted(hour, *self.units["h"])
        return f" {self.cardinal(hour)} i {self.cardinal(str(int(minute)))} {said or ''} "

    def _money(self, match: Match) -> str:
        text, power, sign = match["n"], match["power"], match["sign"]
        whole, gender, hundredth, its_gender = self.currencies[sign]
        if power:
            forms, power_gender = self.powers[power.rstrip(".")]
            return f"{self.counted(text, forms, power_gender)}{whole[2]} "
        written = parse(text)
        if len(written.fraction) == 2:
            first = self.counted(written.whole, whole, gender)
            cents = str(int(written.fraction))
            return first if cents == "0" else f"{first}i{self.counted(cents, hundredth, its_gender)}"
        return self.counted(text, whole, gender)

    def _fraction(self, match: Match) -> str:
        above, below = match["a"], match["b"]
        if match["w"] and (above, below) == ("1", "2"):
            return f" {self.cardinal(match['w'])} i {self.half} "
        whole = f"{self.cardinal(match['w'])} i " if match["w"] else ""
        if len(above) <= 3 and len(below) <= 2 and 2 <= int(below) <= 10 and 0 < int(above) < int(below):
            return f" {whole}{self.counted(above, self.fractions[int(below) - 2], 'f').strip()} "
        return f" {whole}{self.cardinal(above)} kroz {self.cardinal(below)} "

    def _telephone(self, match: Match) -> str:
        digits = re.sub(r"\D", "", match[0])
        return f" {'plus ' if match[0][0] == '+' else ''}{one_by_one(digits, DIGITS)} " if 8 <= len(digits) <= 13 else match[0]

    # ----------------------------------------------------------------------------------------------------------- rules

    @cached_property
    def _abbreviation_rules(self) -> list[Rule]:
        return rules(
            *self.abbreviations, (r"&", " i "), (r"(?<=[\w.]) ?\b([IVX]+)\.(?=\s+([^\W\d_]+))", self._roman_before_space),
            (r"^([IVX]+)\.(?=\s+([^\W\d_]+))", self._roman_before), (r"\b([IVX]{2,})\.", self._roman),
            (r"\b([IVX]+)(?=\s+([^\W\d_]+))", self._roman_beside))

    def _roman_before_space(self, match: Match) -> str:
        return self._roman_before(match) if match[0].startswith(" ") or match.start() == 0 else match[0]

    @cached_property
    def _number_rules(self) -> list[Rule]:
        def any_of(names: Mapping[str, object]) -> str:
            return "|".join(sorted((re.escape(name) for name in names), key=len, reverse=True))

        unit, sign, power = any_of(self.units), any_of(self.currencies), any_of(self.powers)
        word = r"[^\W\d_]+"
        return rules(
            (r"\+\d{1,3}(?:[ ./-]?\d{1,4}){2,5}(?!\d)", self._telephone),
            (r"(?<![\w.,/:-])0\d{1,2}[ /-]?\d{3,4}[ -]?\d{3,4}(?![\d/])", self._telephone),
            (r"(?<![\d./-])(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?![\d.-]*\d)", self._date),
            (r"(?<![\d.,/-])(?P<d>\d{1,2})\. ?(?P<m>\d{1,2})\. ?(?P<y>[12]\d{3})(?!\d)\.?", self._date),
            (r"(?<![\d.,/-])(?P<d>\d{1,2})/(?P<m>\d{1,2})/(?P<y>[12]\d{3})(?![\d/])\.?", self._date),
            (rf"(?i:\b({_BEFORE}))\s+(\d{{1,4}})\. (i|do|ili|te) (\d{{1,4}})\.(?!\d)", self._two_after),
            (r"(?<![\d.,])([12]\d{3})\. ?[-–] ?([12]\d{3})\.(?!\d)", self._years),
            (rf"(?<![\d.,])(\d{{1,3}})\.(?= (?:i|do|ili|te|-|–) \d{{1,3}}\. ({word}))", self._ordinal_with_next),
            (rf"(?<![\d.,])(?P<d>[0-3]?\d)\.? ?(?P<month>(?i:{'|'.join(self.months + self.months_named)})\b)"
             r"(?: (?P<y>[12]\d{3})\b(?:\.(?!\d))?)?", self._day_of_month),
            (r"(?i:\b(dana|od|do|datum\w*))\s+(\d{1,2})\. ?(\d{1,2})\.(?! ?\d)", self._two_ordinals),
            (r"(?<![\d.,])()(\d{1,2})\. (\d{1,2})\.(?= (?:u|od|do|na|je|i)\b)", self._two_ordinals),
            (rf"(?i:\b({_BEFORE}))\s+(\d{{1,4}})\.(?!\d)", self._ordinal_after),
            (r"(?<![\d.,])([12]\d{3})\.(?=[,;)])", lambda match: f" {self.ordinal(match[1], 'fg')}"),
            (r"(?<![\d.,])(\d{2,4})-ih\b", lambda match: f" {self.ordinal(match[1], 'pg')} "),
            (r"(?<![\d.,])(\d{2,3})-(?:ak|tak|tinjak)\b", self._about),
            (r"(?<![\d.,])(\d{1,3})-?(godišnj\w+)", self._years_old),
            (r"(?<![\d.,])(?P<h>[01]?\d|2[0-4])(?:[:.]|(?<=\bu \d),|(?<=\bu \d\d),)"
             r"(?P<m>[0-5]\d)(?: ?h| (?P<said>sati|časova))(?!\w)", self._time),
            (r"(?<![\w.,:])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d):(?P<s>[0-5]\d)(?![\d:])", self._time),
            (r"(?<![\w.,:])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d)(?![\d:])", self._time),
            (r"(?i:\b(u|o|po|pri))\s+([12]\d{3})\.(?! ?\d| godin)", lambda match: f"{match[1]} {self.ordinal(match[2], 'fl')} "),
            (r"(?i:\b(od|do|iz|oko|nakon|poslije|posle|prije|pre|tijekom|tokom|kraj\w*|početk\w*|sredin\w*))\s+"
             r"([12]\d{3})\.(?! ?\d| godin)",
             lambda match: f"{match[1]} {self.ordinal(match[2], 'fg')} "),
            (rf"(?<![\d.,])([1-9]\d{{0,3}})\. (?=({word}))(?=[a-zčćđšž])", self._ordinal_before),
            (rf"(?P<sign>[€$£]) ?(?P<n>{NUMBER})(?: (?P<power>{power})\b\.?)?", self._money),
            (rf"(?<![\d.,])(?P<n>{NUMBER}) ?(?:(?P<power>{power})\b\.? )?(?P<sign>{sign})(?!\w)", self._money),
            (rf"(?<![\d.,])({NUMBER}) ({power})\.(?=\s|$)", lambda match: self.counted(match[1], *self.powers[match[2]])),
            (rf"(?<![\w)\]])-(?={NUMBER} ?(?:{unit})(?!\w))", " minus "),
            (rf"(?<![\d.,])(?P<a>{NUMBER}) ?[-–] ?(?P<b>{NUMBER})(?= ?(?:{unit})(?!\w))",
             lambda match: f"{self.number(match['a'])} do {match['b']}"),
            (rf"(?<![\d.,])({NUMBER}) ?({unit})(?!\w)", lambda match: self.counted(match[1], *self.units[match[2]])),
            (rf"(?<=\d) ?{FRACTION_SLASH} ?(?=\d)", FRACTION_SLASH),
            (rf"(?:(?<![\d.,])(?P<w>\d+) )?(?<![\d.,/])(?P<a>\d+){FRACTION_SLASH}(?P<b>\d+)", self._fraction),
            (r"(?P<w>(?!))?(?<![\d.,/])(?P<a>\d+)/(?P<b>\d+)(?![\d/])", self._fraction), (r"(?<=\d)/(?=\d)", " kroz "),
            (rf"(?<![\w.,-])(?P<a>{NUMBER}) ?[-–] ?(?P<b>{NUMBER})(?![\w-])",
             lambda match: f" {self.number(match['a'])} do {self.number(match['b'])} "),
            (r"(?<![\w)\]])- ?(?=\d)", " minus "), (r"(?<=\d) ?\+ ?(?=\d)", " plus "), (r"(?<=\d) ?= ?(?=\d)", f" {self.equals} "),
            (r"(?<=\d) ?: ?(?=\d)", " prema "),
            (r"(?<![\d.,])\d+(?:\.\d+){2,}(?![\d,])", lambda match: match[0] if re.fullmatch(r"\d{1,3}(?:\.\d{3})+", match[0])
             else f" {f' {self.point} '.join(map(self.cardinal, match[0].split('.')))} "),
            (rf"(?<![\d.,])(?P<n>{NUMBER})(?![.,]?\d)(?= (?P<after>{word}))?", self._in_words),
            (r"\d+", lambda match: f" {self.cardinal(match[0])} "))

"""English as the Whisper models are scored: what `EnglishTextNormalizer` of openai-whisper 20250625 gives, byte for byte.

The form was published with Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), appendix C; its
quirks are kept, since scores are compared with those of others ("1.5" → "one.5", and a "$" that loses its number leaves a space).
This is another algorithm for the same function: the published one runs some seventy regular expressions over every line. Here the
contractions, symbols and spellings of a word, which depend on nothing but the word, are worked out once and remembered; a line of
remembered words without numbers is a few look-ups. Only numbers go through the automaton below. What crosses the space between
words ("he's been", a space before an apostrophe, "and a half", "5 th") is seen to on the line.

The published one fails on numbers of thousands of digits; here they stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

MOST_REMEMBERED = 1 << 16  # words; some 10 MB
MOST_DIGITS = 4200  # Python refuses to turn longer integers into text and back

_ANGLES = re.compile(r"[<\[][^>\]]*[>\]]")
_ROUNDS = re.compile(r"\([^)]+?\)")
_FILLER_WORDS = ("hmm", "mm", "mhm", "mmm", "uh", "um")
_FILLERS = re.compile(rf"\b(?:{'|'.join(_FILLER_WORDS)})\b")
_AFTER_SPACE_OR_FILLER = re.compile(r"'(?<=[\smh]')")
_SPACED_APOSTROPHE = re.compile(r"\s+'")
_HAS_BEEN = re.compile(r"'s(?<!\blet's)(?= (?:been|gone|got(?:ta)?)\b)")
_HAD_BEEN = re.compile(r"'d(?= (?:been|gone|done)\b)")

_ABBREVIATED = {
    "wanna": "want to", "gotta": "got to", "gonna": "going to", "imma": "i am going to", "woulda": "would have",
    "coulda": "could have", "shoulda": "should have",
    **{short: f"{full} " for short, full in {
        "mr": "mister", "mrs": "missus", "st": "saint", "dr": "doctor", "prof": "professor", "capt": "captain", "gov": "governor",
        "ald": "alderman", "gen": "general", "sen": "senator", "rep": "representative", "pres": "president", "rev": "reverend",
        "hon": "honorable", "asst": "assistant", "assoc": "associate", "lt": "lieutenant", "col": "colonel", "jr": "junior",
        "sr": "senior", "esq": "esquire"}.items()}}
_NOT_AS_WRITTEN = {**_ABBREVIATED, **dict.fromkeys(_FILLER_WORDS, "")}
_RUNS = re.compile(r"\w+")
_IRREGULAR = {"won't": "will not", "can't": "can not", "let's": "let us", "ain't": "aint", "y'all": "you all",
              "i'ma": "i am going to", "ma'am": "madam"}
_IRREGULAR_WORD = re.compile(rf"\b(?:{'|'.join(_IRREGULAR)})\b")
# In this order: "'sn't" becomes "'s not" and then "is not".
_CONTRACTED = [(tail, re.compile(rf"{tail}\b"), f" {full}") for tail, full in (
    ("n't", "not"), ("'re", "are"), ("'s", "is"), ("'d", "would"), ("'ll", "will"), ("'t", "not"), ("'ve", "have"), ("'m", "am"))]

_DIGIT_COMMA = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?:[^0-9]|$)")
_MEETING = re.compile(r"[0-9](?:(?<=[a-z][0-9])|(?=[a-z]|\s+[nrst]))")
_WHERE_THEY_MEET = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])")
_SUFFIX = re.compile(r"(?:st|nd|rd|th|s)\b")
_SPLIT_SUFFIX = re.compile(r"(?<=[0-9])\s+(?=(?:st|nd|rd|th|s)\b)")
_AND_A_HALF = re.compile(r"\band\s+a\s+half\b")
_DOLLARS_AND_CENTS = re.compile(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b")
_ONLY_CENTS = re.compile(r"[€£$]0.([0-9]{1,2})\b")
_ONE = re.compile(r"1(?<!\w1)(?=s?\b)")  # \b1 with what is rare first: found sooner
_LONE_SYMBOL = re.compile(r"[.$¢€£][^0-9]")
_LONE_PERCENT = re.compile(r"[^0-9]%")
_SPACES = re.compile(r"\s+")

# ------------------------------------------------------------------------------------------------- the words of numbers

_ONES, _ONES_ENDING, _TENS, _TENS_ENDING, _ZERO, _POWER, _POWER_ENDING, _CURRENCY, _PERCENT, _SIGN, _SPECIAL = range(1, 12)


_SPELLED_OUT = """\
one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth \
seventeenth eighteenth nineteenth
twenty thirty forty fifty sixty seventy eighty ninety
thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"""


def _number_words() -> dict[str, tuple[int, int, str]]:
    """Every word that can be part of a number: its kind, its value, and the ending or symbol that it brings."""
    ones, ordinals, tens, powers = map(str.split, _SPELLED_OUT.split("\n"))
    words = dict.fromkeys(("o", "oh", "zero"), (_ZERO, 0, ""))
    words["zeroth"] = (_ONES_ENDING, 0, "th")
    for value, (one, ordinal) in enumerate(zip(ones, ordinals, strict=True), 1):
        words[one] = (_ONES, value, "")
        words["sixes" if one == "six" else f"{one}s"] = (_ONES_ENDING, value, "s")
        words[ordinal] = (_ONES_ENDING, value, {1: "st", 2: "nd", 3: "rd"}.get(value, "th"))
    words["nineth"] = words.pop("ninth")  # the published table is made by rule, and does not know this exception
    for value, ten in enumerate(tens, 2):
        words |= {ten: (_TENS, 10 * value, ""), f"{ten[:-1]}ies": (_TENS_ENDING, 10 * value, "s"),
                  f"{ten[:-1]}ieth": (_TENS_ENDING, 10 * value, "th")}
    for value, power in [(100, "hundred"), *((1000**number, power) for number, power in enumerate(powers, 1))]:
        words |= {power: (_POWER, value, ""), f"{power}s": (_POWER_ENDING, value, "s"), f"{power}th": (_POWER_ENDING, value, "th")}
    words |= {word: (_SIGN, 0, sign) for word, sign in {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}.items()}
    for word, symbol in {"pound": "£", "euro": "€", "dollar": "$", "cent": "¢"}.items():
        words |= {word: (_CURRENCY, 0, symbol), f"{word}s": (_CURRENCY, 0, symbol)}
    words |= dict.fromkeys(("per", "percent"), (_PERCENT, 0, "%"))
    return words | {"and": (_SPECIAL, 0, ""), "point": (_SPECIAL, 0, ""), "double": (_SPECIAL, 2, ""), "triple": (_SPECIAL, 3, "")}


_WORDS = _number_words()
_SMALL = {word for word, (kind, _, _) in _WORDS.items() if kind in (_ONES, _TENS, _ZERO)}  # may follow a decimal point
_BEFORE_A_HALF = {word for word, (kind, _, _) in _WORDS.items() if kind in (_ONES, _TENS, _ZERO, _POWER)}
_ENDINGS = {"st", "nd", "rd", "th", "s"}
_MAY_DEPEND = {*_WORDS, *_ENDINGS, "half"}  # on the words before and after
_AROUND = "\",?!;:()-"  # around a word, these are spaces


def _value_of(word: str) -> int | str | None:
    """Digits as the automaton counts with them: whole numbers as integers, others as they are; None for what is no number."""
    if len(word) > MOST_DIGITS or not word[:1].isdecimal():
        return None
    if word.isdecimal():
        return int(word)
    whole, _, fraction = word.partition(".")
    if not (whole.isdecimal() and fraction.isdecimal()):
        return None
    return word if int(fraction) else int(whole)


def _followed_by(value: int | str, number: int, before: int) -> int | str:
    """A number under way and the next small one: 20 and 5 are 25, 19 and 84 are "1984". Digits that were strung together stay text.
    `before` is the kind of the word before it: strung to a digit only when that was a word, as in "one oh one"."""
    if isinstance(value, str) or before == _ONES:
        return f"{str(value)[:-1]}{number}" if before == _TENS and number < 10 else f"{value}{number}"
    return value + number if value % (10 if number < 10 else 100) == 0 else f"{value}{number}"


def _times(value: str, power: int) -> int | None:
    """Digits with or without a fraction times a power of ten; None when that is no whole number."""
    whole, _, fraction = value.partition(".")
    if len(value) > MOST_DIGITS or not (digits := whole + fraction).isdecimal():
        return None
    product, rest = divmod(int(digits) * power, 10 ** len(fraction))
    return None if rest else product


def _in_digits(words: list[str]) -> list[str]:
    """The automaton: spelled-out numbers become digits, other words are spelled as in the table.

    `value` is the number under way: an integer while it can still be added to and multiplied, text when its digits were strung
    together. `sign` waits to be written before it. One long function, since a call for every word would take half of its time.
    """
    spellings, written = _spellings(), list[str]()
    write = written.append
    value: int | str | None = None
    sign, before, kind = "", 0, 0
    position, num_words = -1, len(words)
    while (position := position + 1) < num_words:
        word = words[position]
        entry = _WORDS.get(word)
        if entry is None:
            kind = 0
            bare = word[1:] if word[0] in "£€$¢" else word
            if (counted := _value_of(bare)) is not None:
                if isinstance(value, str) and value.endswith("."):  # decimals, and addresses such as 10.0.0.1
                    value += word
                    continue
                if value is not None:
                    write(f"{sign}{value}")
                    sign = ""
                if bare is not word:
                    sign = word[0]
                value = counted
                continue
            if value is not None:
                write(f"{sign}{value}")
                sign, value = "", None
            write(f"{sign}{spellings.get(word, word)}")
            sign = ""
            continue

        before, (kind, number, ending) = kind, entry
        if kind <= _TENS_ENDING:
            value = number if value is None else _followed_by(value, number, before)
        elif kind == _ZERO:
            value = f"{value or ''}0"
        elif kind <= _POWER_ENDING:
            if value is None:
                value = number
            elif isinstance(value, int) and (value or ending):
                value = value // 1000 * 1000 + value % 1000 * number
            elif (product := _times(str(value), number)) is not None:
                value = product
            else:
                write(f"{sign}{value}")
                sign, value = "", number
        elif kind == _CURRENCY:
            write(f"{sign}{word}" if value is None else f"{ending}{value}")
            sign, value = "", None
            continue
        elif kind == _PERCENT:
            whole = word if value is None else f"{value}%"
            if word == "per":
                if value is not None and position + 1 < num_words and words[position + 1] == "cent":
                    position += 1
                elif value is not None:
                    write(f"{sign}{value}")
                    sign, whole = "", word
            write(f"{sign}{whole}")
            sign, value = "", None
            continue
        else:  # what is taken for a number only before one
            following = words[position + 1] if position + 1 < num_words else ""
            is_before_number = following in _WORDS or _value_of(following) is not None
            if kind == _SIGN and is_before_number:
                if value is not None:
                    write(f"{sign}{value}")
                    value = None
                sign = ending
            elif word == "and" and is_before_number and before == _POWER:
                pass
            elif word == "point" and is_before_number:
                if following in _SMALL or following not in _WORDS:
                    value = f"{value or ''}."
            elif number and (repeated := _WORDS.get(following, (0, 0, "")))[0] in (_ONES, _ZERO):  # double, triple
                value = f"{value or ''}{str(repeated[1]) * number}"
                kind = repeated[0]
                position += 1
            else:
                if value is not None:
                    write(f"{sign}{value}")
                    sign, value = "", None
                write(f"{sign}{word}")
                sign = ""
            continue
        if ending:
            write(f"{sign}{value}{ending}")
            sign, value = "", None
    if value is not None:
        write(f"{sign}{value}")
    return written


# ------------------------------------------------------------------------------------------------------ words and lines


class _Cleaning(dict[int, str]):
    """What stands for a character of decomposed text: marks vanish, symbols and punctuation become spaces."""

    _KEPT = ".%$¢€£"
    _LETTERS = {"œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "ß": "ss", "ẞ": "SS", "đ": "d", "Đ": "D", "ð": "d",
                "Ð": "D", "þ": "th", "Þ": "th", "ł": "l", "Ł": "L"}

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in self._KEPT:
            clean = character
        elif character in self._LETTERS:
            clean = self._LETTERS[character]
        else:
            clean = "" if category == "Mn" else " " if category[0] in "MSP" else character
        self[code] = clean
        return clean


_CLEANING = _Cleaning()


@cache
def _spellings() -> dict[str, str]:
    from utterloom.text.normalisers import HERE, read_pairs

    return dict(read_pairs(HERE / "english_spellings.tsv"))


def _space_for_first(match: re.Match[str]) -> str:
    return f" {match[0][1:]}"


def _space_for_last(match: re.Match[str]) -> str:
    return f"{match[0][:-1]} "


def _may_have_letters(token: str) -> bool:
    return not token.isascii() or token.islower()


def _cleaned(token: str) -> str:
    """Contractions and titles written out, symbols away: all that depends on the token alone."""
    if _may_have_letters(token) and not _NOT_AS_WRITTEN.keys().isdisjoint(_RUNS.findall(token)):
        token = _RUNS.sub(lambda match: _NOT_AS_WRITTEN.get(match[0], match[0]), token)
    if "'" in token:
        token = _IRREGULAR_WORD.sub(lambda match: _IRREGULAR[match[0]], token)
        for tail, pattern, full in _CONTRACTED:
            if tail in token:
                token = pattern.sub(full, token)
    if "," in token:
        token = _DIGIT_COMMA.sub(lambda match: match[0].replace(",", ""), token)
    if "." in token:
        token = _FULL_STOP.sub(_space_for_first, token)
    if not token.isascii():
        token = unicodedata.normalize("NFKD", token)
    return token.translate(_CLEANING)


def _numbers_apart(text: str) -> str:
    """A space where letters and digits meet, but for the endings of numbers."""
    if not _MEETING.search(text):  # nearly always
        return text
    return _SPLIT_SUFFIX.sub("", _WHERE_THEY_MEET.sub(" ", text))


@dataclass(slots=True)
class _Token:
    """A token that can be part of a number, or holds a symbol."""

    cleaned: str
    words: list[str]
    """letters and digits apart"""
    is_ending: bool
    """begins with what may be the ending of a number in the token before it"""
    is_half: bool
    """may be the end of "and a half" """
    _alone: str | None = None

    @property
    def alone(self) -> str:
        """How it is written between two ordinary words."""
        if self._alone is None:
            self._alone = _numbers(self.words)
        return self._alone


class _Remembered(dict[str, "str | _Token"]):
    """Each token of a line → its words as they will be written, or a _Token when that depends on its neighbours."""

    def __missing__(self, token: str) -> str | _Token:
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        self[token] = remembered = _look_at(token)
        return remembered


def _look_at(token: str) -> str | _Token:
    core = token.strip(_AROUND)
    if core and core[-1] == ".":
        core = core[:-1]
    if core.isascii() and core.isalnum() and core not in _NOT_AS_WRITTEN:
        if core.isdecimal():
            return _Token(core, [core], is_ending=False, is_half=False)
        if core.isalpha():
            if core not in _MAY_DEPEND:
                return _spellings().get(core, core)
            return _Token(core, [core], core in _ENDINGS, core == "half")
    cleaned = _cleaned(token)
    if not _may_have_letters(token):
        return _Token(cleaned, words, is_ending=False, is_half=False) if (words := cleaned.split()) else ""
    words = _numbers_apart(cleaned).split()
    if not words:
        return ""
    if _MAY_DEPEND.isdisjoint(words) and "".join(words).isalpha():
        spellings = _spellings()
        return " ".join([spellings.get(word, word) for word in words])
    return _Token(cleaned, words, _SUFFIX.match(words[0]) is not None, "half" in cleaned)


_REMEMBERED = _Remembered()


def forget() -> None:
    """Empty the memory of words; what comes out is the same."""
    _REMEMBERED.clear()


def whisper_en(text: str) -> str:
    """The published form. It is not idempotent, and leaves Korean syllables decomposed (NFKD), since that is what it does."""
    line = text.lower()
    if "<" in line or "[" in line:
        line = _ANGLES.sub("", line)
    if "(" in line:
        line = _ROUNDS.sub("", line)
    if "'" in line:
        line = _contracted(line)
    found = [_REMEMBERED[token] for token in line.split()]
    return _with_numbers(found) if _Token in map(type, found) else " ".join(filter(None, found))  # type: ignore[arg-type]


def _contracted(line: str) -> str:
    """What apostrophes do across words."""
    if _AFTER_SPACE_OR_FILLER.search(line):
        if "mm" in line or "um" in line or "uh" in line or "mhm" in line:
            line = _FILLERS.sub("", line)
        line = _SPACED_APOSTROPHE.sub("'", line)
    if "'s " in line:
        line = _HAS_BEEN.sub(" has", line)
    return _HAD_BEEN.sub(" had", line) if "'d " in line else line


def _with_numbers(found: list[str | _Token]) -> str:
    """Runs of tokens that are not ordinary words go through the automaton; one between ordinary words is remembered."""
    parts: list[str] = []
    run: list[str] = []
    alone: _Token | None = None
    for one in found:
        if isinstance(one, str):
            if one:
                if run:
                    parts.append(_numbers(run) if alone is None else alone.alone)
                    run = []
                parts.append(one)
        elif one.is_half and (line := _with_halves(found)) is not None:
            return _without_lone_symbols(_numbers(line.split()))
        elif not run:
            alone, run = one, one.words
        else:
            alone = None
            if one.is_ending and run[-1][-1] in "0123456789":
                run = [*run[:-1], run[-1] + one.words[0], *one.words[1:]]
            else:
                run = run + one.words
    if run:
        parts.append(_numbers(run) if alone is None else alone.alone)
    return _without_lone_symbols(" ".join(parts))


def _with_halves(found: list[str | _Token]) -> str | None:
    """ "two and a half" → "two point five"; None on a line without. What counts is the word before letters and digits are apart."""
    line = " ".join([one if isinstance(one, str) else one.cleaned for one in found])
    *before, last = _AND_A_HALF.split(line)
    if not before:
        return None
    parts = []
    for segment in before:
        if words := segment.split():
            parts += [segment, "point five" if words[-1] in _BEFORE_A_HALF else "and a half"]
    return _numbers_apart(" ".join([*parts, last] if last.strip() else parts))


def _numbers(words: list[str]) -> str:
    """Words through the automaton, and what the published form does to currencies and to the digit 1 afterwards."""
    text = " ".join(_in_digits(words))
    if ("¢" in text or "0" in text) and ("$" in text or "€" in text or "£" in text):
        text = _DOLLARS_AND_CENTS.sub(_with_cents, text)
        text = _ONLY_CENTS.sub(_only_cents, text)
    return _ONE.sub("one", text) if "1" in text else text


def _with_cents(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}.{int(match[3]):02d}"


def _only_cents(match: re.Match[str]) -> str:
    return f"¢{int(match[1])}"


def _without_lone_symbols(line: str) -> str:
    if "." in line or "$" in line or "¢" in line or "€" in line or "£" in line:
        line = _LONE_SYMBOL.sub(_space_for_first, line)
    if "%" in line:
        line = _LONE_PERCENT.sub(_space_for_last, line)
    return _SPACES.sub(" ", line) if "  " in line else line

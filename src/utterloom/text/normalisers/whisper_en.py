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
from fractions import Fraction
from functools import cache

MOST_REMEMBERED = 1 << 16  # words; some 10 MB
MOST_DIGITS = 4200  # Python refuses to turn longer integers into text and back

_ANGLES = re.compile(r"[<\[][^>\]]*[>\]]")
_ROUNDS = re.compile(r"\([^)]+?\)")
_FILLER_WORDS = ("hmm", "mm", "mhm", "mmm", "uh", "um")
_FILLERS = re.compile(rf"\b(?:{'|'.join(_FILLER_WORDS)})\b")
_SPACED_APOSTROPHE = re.compile(r"\s+'")
_HAS_BEEN = re.compile(r"'s(?<!\blet's) (been|gone|got(?:ta)?)\b")
_HAD_BEEN = re.compile(r"'d (been|gone|done)\b")

_ABBREVIATED = {
    "wanna": "want to", "gotta": "got to", "gonna": "going to", "imma": "i am going to", "woulda": "would have",
    "coulda": "could have", "shoulda": "should have",
    **{short: f"{full} " for short, full in {
        "mr": "mister", "mrs": "missus", "st": "saint", "dr": "doctor", "prof": "professor", "capt": "captain", "gov": "governor",
        "ald": "alderman", "gen": "general", "sen": "senator", "rep": "representative", "pres": "president", "rev": "reverend",
        "hon": "honorable", "asst": "assistant", "assoc": "associate", "lt": "lieutenant", "col": "colonel", "jr": "junior",
        "sr": "senior", "esq": "esquire"}.items()}}
_NOT_AS_WRITTEN = {**_ABBREVIATED, **dict.fromkeys(_FILLER_WORDS, "")}
_REWRITTEN = re.compile(rf"\b(?:{'|'.join(sorted(_NOT_AS_WRITTEN, key=len, reverse=True))})\b")
_IRREGULAR = {"won't": "will not", "can't": "can not", "let's": "let us", "ain't": "aint", "y'all": "you all",
              "i'ma": "i am going to", "ma'am": "madam"}
_IRREGULAR_WORD = re.compile(rf"\b(?:{'|'.join(_IRREGULAR)})\b")
# In this order: "'sn't" becomes "'s not" and then "is not".
_CONTRACTED = [(tail, re.compile(rf"{tail}\b"), f" {full}") for tail, full in (
    ("n't", "not"), ("'re", "are"), ("'s", "is"), ("'d", "would"), ("'ll", "will"), ("'t", "not"), ("'ve", "have"), ("'m", "am"))]

_DIGIT_COMMA = re.compile(r"(\d),(\d)")
_FULL_STOP = re.compile(r"\.([^0-9]|$)")
_LETTER_DIGIT = re.compile(r"([a-z])([0-9])")
_DIGIT_LETTER = re.compile(r"([0-9])([a-z])")
_MEETING = re.compile(r"[a-z][0-9]|[0-9][a-z]|[0-9]\s+[nrst]")
_SPLIT_SUFFIX = re.compile(r"([0-9])\s+(st|nd|rd|th|s)\b")
_AND_A_HALF = re.compile(r"\band\s+a\s+half\b")
_DOLLARS_AND_CENTS = re.compile(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b")
_ONLY_CENTS = re.compile(r"[€£$]0.([0-9]{1,2})\b")
_ONE = re.compile(r"\b1(s?)\b")
_LONE_SYMBOL = re.compile(r"[.$¢€£]([^0-9])")
_LONE_PERCENT = re.compile(r"([^0-9])%")
_SPACES = re.compile(r"\s+")

# ------------------------------------------------------------------------------------------------- the words of numbers

_ZERO, _ONES, _ONES_ENDING, _TENS, _TENS_ENDING, _POWER, _POWER_ENDING, _SIGN, _CURRENCY, _PERCENT, _SPECIAL = range(1, 12)


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
    return words | dict.fromkeys(("and", "double", "triple", "point"), (_SPECIAL, 0, ""))


_WORDS = _number_words()
_SMALL = {word for word, (kind, _, _) in _WORDS.items() if kind in (_ONES, _TENS, _ZERO)}  # may follow a decimal point
_BEFORE_A_HALF = {word for word, (kind, _, _) in _WORDS.items() if kind in (_ONES, _TENS, _ZERO, _POWER)}
_ENDINGS = {"st", "nd", "rd", "th", "s"}


def _is_number(word: str) -> bool:
    """Digits, with or without a fraction."""
    if word.isdecimal():
        return len(word) <= MOST_DIGITS
    whole, point, fraction = word.partition(".")
    return bool(point) and whole.isdecimal() and fraction.isdecimal() and len(word) <= MOST_DIGITS


def _can_be_number(word: str | None) -> bool:
    return word is not None and (word in _WORDS or _is_number(word))


def _followed_by(value: int | str | None, number: int, places: int, after_one: bool, after_ten: bool) -> int | str:
    """A number under way and the next small one: 20 and 5 are 25, 19 and 84 are "1984". Digits that were strung together stay text.
    `places` is 10 for one to nine, 100 for what is larger."""
    if value is None:
        return number
    if isinstance(value, str) or after_one:
        return f"{str(value)[:-1]}{number}" if after_ten and places == 10 else f"{value}{number}"
    return value + number if value % places == 0 else f"{value}{number}"


def _times(value: str | int, power: int) -> int | None:
    """Digits with or without a fraction times a power of ten; None when that is no whole number."""
    try:
        product = Fraction(value) * power if isinstance(value, int) or len(value) <= MOST_DIGITS else None
    except ValueError:
        return None
    return product.numerator if product is not None and product.denominator == 1 else None


class _Numbers:
    """The automaton: spelled-out numbers become digits. `value` is the number under way, as an integer while it can still be added
    to and multiplied, as text when its digits were strung together; `sign` waits to be written before it."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.written: list[str] = []
        self.value: int | str | None = None
        self.sign = ""

    def run(self) -> list[str]:
        words, spellings, write = self.words, _spellings(), self.written.append
        position, num_words = 0, len(words)
        while position < num_words:
            word = words[position]
            entry = _WORDS.get(word)
            if entry is not None:
                position += self._take(position, word, *entry)
                continue
            bare = word[1:] if word[0] in "£€$¢" else word
            if (bare.isdecimal() or ("." in bare and bare[0].isdecimal())) and _is_number(bare):
                self._take_digits(word, bare)
                position += 1
                continue
            if self.value is not None:
                self._flush()
            write(f"{self.sign}{spellings.get(word, word)}")
            self.sign = ""
            position += 1
        if self.value is not None:
            self._flush()
        return self.written

    def _write(self, text: str) -> None:
        self.written.append(f"{self.sign}{text}")
        self.sign, self.value = "", None

    def _flush(self) -> None:
        self._write(str(self.value))

    def _flush_and_write(self, word: str) -> None:
        if self.value is not None:
            self._flush()
        self._write(word)

    def _take_digits(self, word: str, bare: str) -> None:
        if isinstance(self.value, str) and self.value.endswith("."):  # decimals, and addresses such as 10.0.0.1
            self.value += word
            return
        if self.value is not None:
            self._flush()
        if bare is not word:
            self.sign = word[0]
        whole, _, fraction = bare.partition(".")
        self.value = bare if fraction and int(fraction) else int(whole)

    def _take(self, position: int, word: str, kind: int, number: int, ending: str) -> int:
        """One word of a number; returns how many words it used."""
        value, words = self.value, self.words
        if kind in (_SPECIAL, _SIGN) or (kind == _PERCENT and word == "per"):
            following = words[position + 1] if position + 1 < len(words) else None
            return self._take_special(position, word, ending, following)
        before = _WORDS.get(words[position - 1], (0,))[0] if position and value is not None else 0
        if kind == _ZERO:
            self.value = f"{value or ''}0"
        elif kind in (_ONES, _ONES_ENDING):
            # Strung to a digit before it only when that was a word, as in "one oh one".
            self.value = _followed_by(value, number, 10 if number < 10 else 100, before == _ONES, before == _TENS)
        elif kind in (_TENS, _TENS_ENDING):
            self.value = _followed_by(value, number, 100, False, False)
        elif kind in (_POWER, _POWER_ENDING):
            self._multiply(value, number, ending)
        elif kind == _CURRENCY:
            if value is not None:
                self.sign = ending
                self._flush()
            else:
                self._write(word)
        else:  # percent
            self._write(word if value is None else f"{value}%")
        if ending and kind in (_ONES_ENDING, _TENS_ENDING, _POWER_ENDING):
            self._write(f"{self.value}{ending}")
        return 1

    def _multiply(self, value: int | str | None, power: int, ending: str) -> None:
        if value is None:
            self.value = power
        elif isinstance(value, int) and (value or ending):
            self.value = value // 1000 * 1000 + value % 1000 * power
        else:
            product = _times(value, power)
            if product is None:
                self._flush()
            self.value = power if product is None else product

    def _take_special(self, position: int, word: str, sign: str, following: str | None) -> int:
        value = self.value
        if word == "per":
            if value is not None and following == "cent":
                self._write(f"{value}%")
                return 2
            self._flush_and_write(word)
        elif sign:
            if value is not None:
                self._flush()
            if _can_be_number(following):
                self.sign = sign
            else:
                self._write(word)
        elif following is None or not _can_be_number(following):
            self._flush_and_write(word)
        elif word == "and":
            if not position or _WORDS.get(self.words[position - 1], (0,))[0] != _POWER:
                self._flush_and_write(word)
        elif word == "point":
            if following in _SMALL or following not in _WORDS:
                self.value = f"{value or ''}."
        else:
            kind, digit, _ = _WORDS.get(following, (0, 0, ""))
            if kind in (_ONES, _ZERO):
                self.value = f"{value or ''}{str(digit) * (2 if word == 'double' else 3)}"
                return 2
            self._flush_and_write(word)
        return 1


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


def _cleaned(token: str) -> str:
    """Contractions and titles written out, symbols away: all that depends on the token alone."""
    token = _REWRITTEN.sub(lambda match: _NOT_AS_WRITTEN[match[0]], token)
    if "'" in token:
        token = _IRREGULAR_WORD.sub(lambda match: _IRREGULAR[match[0]], token)
        for tail, pattern, full in _CONTRACTED:
            if tail in token:
                token = pattern.sub(full, token)
    if "," in token:
        token = _DIGIT_COMMA.sub(r"\1\2", token)
    if "." in token:
        token = _FULL_STOP.sub(r" \1", token)
    if not token.isascii():
        token = unicodedata.normalize("NFKD", token)
    return token.translate(_CLEANING)


def _numbers_apart(text: str) -> str:
    """A space where letters and digits meet, but for the endings of numbers."""
    if not _MEETING.search(text):
        return text
    text = _DIGIT_LETTER.sub(r"\1 \2", _LETTER_DIGIT.sub(r"\1 \2", text))
    return _SPLIT_SUFFIX.sub(r"\1\2", text)


@dataclass(slots=True)
class _Token:
    """A token that can be part of a number, or holds a symbol."""

    words: list[str]
    is_ending: bool
    """may be the ending of a number in the word before it"""
    is_half: bool
    """may be the end of "and a half" """
    _alone: str | None = None

    @property
    def alone(self) -> str:
        """How it is written between two ordinary words."""
        if self._alone is None:
            self._alone = _numbers(self.words)
        return self._alone


class _Remembered(dict[str, "str | None"]):
    """Each token of a line → its words as they will be written, or None when that depends on its neighbours: see `tokens`."""

    def __init__(self) -> None:
        self.tokens: dict[str, _Token] = {}

    def __missing__(self, token: str) -> str | None:
        if len(self) >= MOST_REMEMBERED:
            forget()
        plain = token[:-1] if token[-1] in ",.?!;:" else token
        if plain.isascii() and plain.isalpha() and plain not in _NOT_AS_WRITTEN:
            words = [plain]
        elif token.isdecimal() and token.isascii():
            words = [token]
        else:
            words = _numbers_apart(_cleaned(token)).split()
        if all(word.isalpha() and word not in _WORDS and word not in _ENDINGS and word != "half" for word in words):
            spellings = _spellings()
            self[token] = written = " ".join([spellings.get(word, word) for word in words])
            return written
        self[token] = None
        self.tokens[token] = _Token(words, words[0] in _ENDINGS or (words[0][0] in "snrt" and not words[0].isalpha()),
                                    any("half" in word for word in words))
        return None

    def token(self, token: str) -> _Token:
        """Of a token that is None here, even if it was forgotten since."""
        if token not in self.tokens:
            self.pop(token, None)
            self[token]
        return self.tokens[token]


_REMEMBERED = _Remembered()


def forget() -> None:
    """Empty the memory of words; what comes out is the same."""
    _REMEMBERED.clear()
    _REMEMBERED.tokens.clear()


def whisper_en(text: str) -> str:
    """The published form. It is not idempotent, and leaves Korean syllables decomposed (NFKD), since that is what it does."""
    line = text.lower()
    if "<" in line or "[" in line:
        line = _ANGLES.sub("", line)
    if "(" in line:
        line = _ROUNDS.sub("", line)
    if "'" in line:
        line = _contracted(line)
    tokens = line.split()
    written = [_REMEMBERED[token] for token in tokens]
    if None in written:
        return _with_numbers(tokens, written)
    return " ".join(filter(None, written))


def _contracted(line: str) -> str:
    """What apostrophes do across words."""
    position = line.find("'", 1)
    while position > 0:
        if (before := line[position - 1]).isspace() or before in "mh":  # fillers end in m and h
            line = _SPACED_APOSTROPHE.sub("'", _FILLERS.sub("", line))
            break
        position = line.find("'", position + 1)
    if "'s " in line:
        line = _HAS_BEEN.sub(r" has \1", line)
    return _HAD_BEEN.sub(r" had \1", line) if "'d " in line else line


def _with_numbers(tokens: list[str], written: list[str | None]) -> str:
    """Runs of tokens that are not ordinary words go through the automaton; one between ordinary words is remembered."""
    remembered = _REMEMBERED.tokens
    found = [remembered.get(token) or _REMEMBERED.token(token) if whole is None else whole
             for token, whole in zip(tokens, written, strict=True)]
    parts: list[str] = []
    run: list[_Token] = []
    for one in found:
        if not isinstance(one, str):
            if one.is_ending or one.is_half:
                return _whole_line(tokens, found)
            run.append(one)
        elif one:
            if run:
                parts.append(_run(run))
                run.clear()
            parts.append(one)
    if run:
        parts.append(_run(run))
    return _without_lone_symbols(" ".join(parts))


def _run(tokens: list[_Token]) -> str:
    return tokens[0].alone if len(tokens) == 1 else _numbers([word for token in tokens for word in token.words])


def _whole_line(tokens: list[str], found: list[_Token | str]) -> str:
    """A line on which a number and its ending, or "and a half", may be words apart."""
    line = " ".join([one if isinstance(one, str) else " ".join(one.words) for one in found])
    if "half" in line and _AND_A_HALF.search(line):
        # The word before it counts as it was before letters and digits were taken apart.
        line = _numbers_apart(_with_halves(" ".join(map(_cleaned, tokens))))
    else:
        line = _SPLIT_SUFFIX.sub(r"\1\2", line)
    return _without_lone_symbols(_numbers(line.split()))


def _numbers(words: list[str]) -> str:
    """Words through the automaton, and what the published form does to currencies and to the digit 1 afterwards."""
    text = " ".join(_Numbers(words).run())
    if "$" in text or "€" in text or "£" in text:
        text = _DOLLARS_AND_CENTS.sub(lambda match: f"{match[1]}{match[2]}.{int(match[3]):02d}", text)
        text = _ONLY_CENTS.sub(lambda match: f"¢{int(match[1])}", text)
    return _ONE.sub(r"one\1", text) if "1" in text else text


def _without_lone_symbols(line: str) -> str:
    if "." in line or "$" in line or "¢" in line or "€" in line or "£" in line:
        line = _LONE_SYMBOL.sub(r" \1", line)
    if "%" in line:
        line = _LONE_PERCENT.sub(r"\1 ", line)
    return _SPACES.sub(" ", line) if "  " in line else line


def _with_halves(text: str) -> str:
    """ "two and a half" → "two point five"."""
    *before, last = _AND_A_HALF.split(text)
    parts = []
    for segment in filter(str.strip, before):
        parts += [segment, "point five" if segment.split()[-1] in _BEFORE_A_HALF else "and a half"]
    return " ".join([*parts, last] if last.strip() else parts)

"""Lines of English with everything in them that a normaliser has a rule for, drawn from a seed."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Iterator


def published_normaliser() -> Callable[[str], str]:
    """openai-whisper's own `EnglishTextNormalizer`. Its package is made known but not run: that would want torch, numba, tiktoken
    and the models, and its normalisers need none of them. Raises ImportError where it is not installed."""
    spec = importlib.util.find_spec("whisper")
    if spec is None:
        raise ImportError("openai-whisper is not installed: pip install --no-deps openai-whisper more-itertools regex")
    sys.modules.setdefault("whisper", importlib.util.module_from_spec(spec))
    from whisper.normalizers import EnglishTextNormalizer

    return EnglishTextNormalizer()  # type: ignore[no-any-return]


def _words(text: str) -> list[str]:
    return text.split()


_PLAIN = _words(
    "the house of a friend stood near green river where people came to talk about weather music food and their work because they "
    "had been there since early morning when nobody else was around it is said that he would never know what she means by that "
    "so we went on with this until the end of day behalf halfway though"
)
_SPELLED = _words(
    "colour colours honour realise organised theatre centre grey travelling catalogue favourite neighbours labour defence "
    "analyse archeology flyer dialogue programme cheque aluminium tyre"
)
_CONTRACTED = _words(
    "won't can't let's ain't y'all wanna gotta gonna i'ma imma woulda coulda shoulda ma'am don't it's he's she'd they'll we've "
    "i'm you're isn't 'tis o'clock rock'n'roll dogs' 's 'sn't x'd'sn't who's there's mayn't"
)
_TITLES = _words(
    "Mr Mrs St Dr Prof Capt Gov Ald Gen Sen Rep Pres Rev Hon Asst Assoc Lt Col Jr Sr Esq Mr. Dr. St. Sr's co-gen rep-col mr_x"
)
_FILLERS = _words("hmm mm mhm mmm uh um Um, uh- mm's um'tis")
_NUMBER_WORDS = _words(
    "zero oh o one two three four five six seven eight nine ten eleven twelve thirteen fifteen nineteen twenty thirty forty "
    "ninety hundred thousand million billion trillion decillion ones twos sixes tens twenties hundreds thousands millions first "
    "second third fifth eighth ninth nineth twelfth twentieth thirtieth hundredth thousandth zeroth and double triple point minus "
    "plus negative positive dollar dollars pound pounds euro euros cent cents per percent half st nd rd th s"
)
_ACCENTED = _words(
    "café naïve Zürich façade Łódź Þór Øre œuvre straße İstanbul ΣΑΣ ﬁne ½ ² Ⅷ ３４ ｈａｌｆ ٣٤ 5٣ 한국 日本 "
    "ñ e\u0301 a\u0308b ℌ ´x "
    "don’t “quoted” — … x\u200by \ufeff \u00ad № £ ¢ €"
)
_SYMBOLS = _words("% $ £ € ¢ . .. ... , ; : - & @ # * _ / \\ + = ~ ^ | ! ? ' \" ( ) [ ] < > { } .% %. $. .$ %% $$5 5%% $%")


def _number(rng: random.Random) -> str:
    number = str(rng.choice((0, 1, 2, 7, 10, 11, 19, 20, 21, 100, 101, 1000, 1999, rng.randrange(10 ** rng.randrange(1, 12)))))
    kind = rng.randrange(18)
    if kind < 4:
        return number
    return (
        f"{int(number):,}",
        f"{number}.{rng.randrange(100)}",
        f"{number}.{rng.randrange(3)}0",
        f"${number}",
        f"£{number}.{rng.randrange(100):02d}",
        f"€{number}",
        f"¢{number[:2]}",
        f"{number}%",
        number + rng.choice(("st", "nd", "rd", "th", "s", "k", "am", "'s")),
        f"{number}-{rng.randrange(9)}",
        f"{rng.choice('abcxo')}{number}",
        f"0{number}",
        f"{number}/{rng.randrange(1, 9)}",
        f".{number[:3]}",
    )[kind - 4]


def _phrase(rng: random.Random) -> str:
    word = rng.choice
    small, power = word(_NUMBER_WORDS[3:28]), word(("hundred", "thousand", "million"))
    return word(
        (
            f"{small} {power} and {word(_NUMBER_WORDS[3:28])}",
            f"{small} and a half",
            f"{small} {power} and a half",
            "and a half",
            f"it's been {small}",
            "he's gone",
            "she'd been",
            "they'd gone",
            "we'd done",
            "let's been",
            "he's gotta",
            "who's got 's been",
            f"${rng.randrange(50)} and ¢{rng.randrange(120)}",
            f"$0.{rng.randrange(100)}",
            f"{small} dollars and {small} cents",
            f"{small} percent",
            f"{small} per cent",
            f"{small} per day",
            f"double {small}",
            f"triple oh {small}",
            f"{small} point {small}",
            f"point {small} {power}",
            f"minus {small}",
            f"minus {rng.randrange(100)}",
            f"{rng.randrange(20)} {power}",
            f"{rng.random():.2f} {power}",
            f"{rng.randrange(100)} {word(('st', 'nd', 'rd', 'th', 's', 's.', 'th%'))}",
            f"ten point ten {power}",
            "one oh one",
            "twenty twenty one",
            f"10.0.0.{rng.randrange(255)}",
            f"[{small} aside]",
            f"({small})",
            f"<{word(_PLAIN)}>",
            f"<unclosed {small}",
            f"um {small} 'cause",
            f"{word(_PLAIN)} '{word(_PLAIN)}'",
            f"{small}  {power}\t{small}\n",
            "\u00a0 x \u2003 y",
            "he's um been",
            "a um'tis",
            "half five.5",
        )
    )


def english_line(rng: random.Random, plain: float = 0.6) -> str:
    """Up to twenty pieces; `plain` of them are ordinary words."""
    kinds: tuple[Callable[[], str], ...] = (
        lambda: rng.choice(_SPELLED),
        lambda: rng.choice(_CONTRACTED),
        lambda: rng.choice(_TITLES),
        lambda: rng.choice(_FILLERS),
        lambda: rng.choice(_NUMBER_WORDS),
        lambda: rng.choice(_NUMBER_WORDS),
        lambda: _number(rng),
        lambda: _number(rng),
        lambda: rng.choice(_ACCENTED),
        lambda: rng.choice(_SYMBOLS),
        lambda: _phrase(rng),
        lambda: _phrase(rng),
    )
    pieces = []
    for _ in range(rng.randrange(1, 21)):
        piece = rng.choice(_PLAIN) if rng.random() < plain else rng.choice(kinds)()
        if rng.random() < 0.15:
            piece = rng.choice(
                (piece.upper(), piece.capitalize(), f"{piece},", f"{piece}.", f"({piece}", f"{piece})", f'"{piece}"', f"{piece}?!")
            )
        pieces.append(piece)
    return (" " if rng.random() < 0.93 else rng.choice(("", "-", "  ", "\n"))).join(pieces)


def english_lines(number: int, seed: int, plain: float = 0.6) -> Iterator[str]:
    """The same lines for the same seed."""
    rng = random.Random(seed)
    for _ in range(number):
        yield english_line(rng, plain)


def sentence_lines(number: int, seed: int) -> Iterator[str]:
    """Ordinary sentences as transcripts have them: words, a comma, a contraction, now and then a number."""
    rng = random.Random(seed)
    for _ in range(number):
        words = [rng.choice(_PLAIN) for _ in range(rng.randrange(6, 24))]
        for extra in (rng.choice(_SPELLED), rng.choice(_CONTRACTED[:23])):
            words[rng.randrange(len(words))] = extra
        if rng.random() < 0.3:
            words[rng.randrange(len(words))] = rng.choice(
                (str(rng.randrange(2000)), f"{rng.randrange(100)}%", f"${rng.randrange(1000)}")
            )
        words[rng.randrange(len(words))] += ","
        yield f"{' '.join(words).capitalize()}."

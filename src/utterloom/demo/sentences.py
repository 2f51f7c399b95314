"""What the demo's speakers say: everyday sentences in which every number is spelled as it is spoken.

Vietnamese and English have grammars of their own: times, dates, prices, telephone numbers, commands for a home.
The other languages have a list of words that are surely right (zero to ten and some commands), spoken as drills.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from utterloom.core.errors import ConfigError, did_you_mean
from utterloom.text.vietnamese import DIGITS as VIETNAMESE_DIGITS
from utterloom.text.vietnamese import vietnamese_number

NUM_WORDS_MIN, NUM_WORDS_MAX = 5, 22  # of a sentence: about 1.5 to 8 seconds

Slot = tuple[str, ...] | Callable[[random.Random], str]


@dataclass(frozen=True)
class Sentence:
    """`text` as people write it, and its `words` in small letters without punctuation."""

    text: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """Patterns such as `bật đèn {room}`, and what may stand in each slot: patterns again, or a function that draws.

    A slot that a pattern names twice is filled differently: nobody goes from Huế to Huế.
    """

    patterns: tuple[str, ...]
    slots: Mapping[str, Slot] = field(default_factory=dict)

    def draw(self, rng: random.Random) -> str:
        return self._fill(rng.choice(self.patterns), rng)

    def _fill(self, pattern: str, rng: random.Random) -> str:
        filled: set[tuple[str, str]] = set()

        def one(match: re.Match[str]) -> str:
            slot = self.slots[match[1]]
            for _ in range(20):
                filling = slot(rng) if callable(slot) else self._fill(rng.choice(slot), rng)
                if (match[1], filling) not in filled:
                    break
            filled.add((match[1], filling))
            return filling

        return re.sub(r"\{(\w+)\}", one, pattern)

    def with_more(self, patterns: tuple[str, ...], slots: Mapping[str, Slot]) -> Grammar:
        """A larger grammar; a tuple of slot fillers is added to the one of the same name."""
        merged = dict(self.slots)
        for name, more in slots.items():
            old = merged.get(name, ())
            merged[name] = more if callable(more) or callable(old) else (*old, *more)
        return Grammar((*self.patterns, *patterns), merged)


# ---------------------------------------------------------------------------------------------------- Vietnamese
# Numbers follow the northern standard, as the text view `vi` has them.


def vietnamese_time(hour: int, minute: int) -> str:
    """A time of the 24-hour clock: 7:35 bảy giờ ba mươi lăm phút, 19:00 mười chín giờ."""
    minutes = f" {vietnamese_number(minute)} phút" if minute else ""
    return f"{vietnamese_number(hour)} giờ{minutes}"


def vietnamese_clock(hour: int, minute: int) -> str:
    """The same as people say it: 7:30 bảy giờ rưỡi sáng, 14:50 ba giờ kém mười phút chiều."""
    if minute >= 50:
        spoken_hour, tail = hour + 1, f" kém {vietnamese_number(60 - minute)} phút"
    else:
        spoken_hour, tail = hour, " rưỡi" if minute == 30 else f" {vietnamese_number(minute)} phút" if minute else ""
    spoken_hour %= 24
    part = ("đêm" if spoken_hour in (22, 23, 0) else "sáng" if spoken_hour < 11
            else "trưa" if spoken_hour < 13 else "chiều" if spoken_hour < 18 else "tối")
    return f"{vietnamese_number((spoken_hour - 1) % 12 + 1)} giờ{tail} {part}"


def vietnamese_date(day: int, month: int) -> str:
    """5/4: ngày mùng năm tháng tư; 21/1: ngày hai mươi mốt tháng một."""
    first_ten = "mùng " if day <= 10 else ""
    return f"ngày {first_ten}{vietnamese_number(day)} tháng {'tư' if month == 4 else vietnamese_number(month)}"


def vietnamese_price(dong: int) -> str:
    """120000: một trăm hai mươi nghìn đồng."""
    return f"{vietnamese_number(dong)} đồng"


def _vietnamese_time(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return vietnamese_time(rng.randrange(24), rng.randrange(60))
    return vietnamese_clock(rng.randrange(24), rng.choice((0, 15, 30, 30, 50, 55, rng.randrange(1, 60))))


def _vietnamese_date(rng: random.Random) -> str:
    month = rng.randrange(1, 13)
    return vietnamese_date(rng.randrange(1, 29 if month == 2 else 31), month)


def _vietnamese_price(rng: random.Random) -> str:
    thousands = rng.choice((
        rng.randrange(5, 1000),
        100 * rng.randrange(1, 10) + rng.randrange(1, 10),  # 105: linh
        1000 * rng.randrange(1, 20) + 50 * rng.randrange(20),  # 1050: không trăm
    ))
    return vietnamese_price(1000 * thousands)


def _phone(digits: tuple[str, ...], first: str) -> Callable[[random.Random], str]:
    """A telephone number digit by digit, in two breaths."""

    def draw(rng: random.Random) -> str:
        spoken = [first, *(rng.choice(digits) for _ in range(rng.randrange(6, 10)))]
        return f"{' '.join(spoken[:4])}, {' '.join(spoken[4:])}"

    return draw


def _number(spell: Callable[[int], str], low: int, high: int, step: int = 1) -> Callable[[random.Random], str]:
    return lambda rng: spell(rng.randrange(low, high + 1, step))


_VIETNAMESE_SMALL = Grammar(
    patterns=(
        "bây giờ là {time}",
        "bây giờ là mấy giờ rồi?",
        "hôm nay là {weekday}, {date}",
        "{weekday} là ngày mấy tháng {month}?",
        "hôm nay là {weekday}, bây giờ là {time}",
        "{appliance} này giá {price}",
        "{pair} này giá bao nhiêu tiền?",
        "{appliance} này bao nhiêu tiền, {price}?",
        "gọi số {phone}",
        "số điện thoại của tôi là {phone}",
        "{command}, rồi {command}",
        "làm ơn {command}",
        "{command} lúc {time}",
        "{command} lúc mấy giờ?",
        "nhắc tôi {command} lúc {time}",
        "{minutes} phút nữa {command}",
        "làm ơn {command} trong {minutes} phút",
        "tăng âm lượng {sound} lên {percent} phần trăm",
        "giảm âm lượng {sound} xuống {percent} phần trăm",
        "tăng nhiệt độ {room} lên {degrees} độ",
        "giảm nhiệt độ {room} xuống {degrees} độ",
        "đặt nhiệt độ máy lạnh {room} là {degrees} độ",
        "đặt báo thức lúc {time}",
        "tắt báo thức lúc {time}",
        "{play} nhạc ở {room} lúc {time}",
        "{play} nhạc trong {minutes} phút nữa",
        "{appliance} {room} đang bật hay tắt?",
        "cửa {room} đang mở hay đóng?",
        "nhiệt độ {room} bây giờ là {degrees} độ",
    ),
    slots={
        "time": _vietnamese_time,
        "date": _vietnamese_date,
        "month": ("một", "hai", "ba", "tư", "năm", "sáu", "bảy", "tám", "chín", "mười", "mười một", "mười hai"),
        "weekday": ("thứ hai", "thứ ba", "thứ tư", "thứ năm", "thứ sáu", "thứ bảy", "chủ nhật"),
        "price": _vietnamese_price,
        "phone": _phone(VIETNAMESE_DIGITS, "không"),
        "command": ("{turn} {appliance} {room}", "{turn} {pair} {room}", "{open} {opening} {room}"),
        "turn": ("bật", "tắt"),
        "pair": ("đèn và quạt", "quạt và đèn", "đèn và ti vi", "ti vi và máy lạnh", "máy lạnh và quạt"),
        "appliance": ("đèn", "quạt", "máy lạnh", "ti vi"),
        "open": ("mở", "đóng"),
        "opening": ("cửa", "rèm"),
        "room": ("phòng khách", "phòng ngủ", "nhà bếp"),
        "play": ("phát", "dừng"),
        "sound": ("ti vi", "nhạc", "điện thoại"),
        "minutes": _number(vietnamese_number, 2, 59),
        "percent": _number(vietnamese_number, 5, 95),
        "degrees": _number(vietnamese_number, 16, 31),
    },
)

_VIETNAMESE_LARGE = _VIETNAMESE_SMALL.with_more(
    patterns=(
        "thời tiết ở {city} hôm nay {weather}, nhiệt độ là {degrees} độ",
        "ngày mai ở {city} {weather}",
        "ngày mai ở {city} có {falls} không?",
        "hôm qua ở {city} {weather}, {degrees} độ",
        "{trip} đi {city} lúc {time}",
        "{trip} từ {city} đến {city} chạy lúc mấy giờ?",
        "vé {vehicle} từ {city} đến {city} giá {price}",
        "từ {city} đến {city} là {distance} cây số",
        "từ nhà tôi đến {place} là {distance} mét",
        "mua {shopping} và {shopping}",
        "mua cho tôi {shopping}",
        "{shopping} giá {price}",
        "đổi đèn {room} sang màu {colour}",
        "bật đèn màu {colour} ở {room}",
        "họp với {person} lúc {time} {weekday}",
        "gọi cho {person} số {phone}",
        "nhắn tin cho {person} lúc {time}",
        "{person} và {person} đến {place} lúc {time}",
        "chuyển ti vi {room} sang kênh {channel}",
        "phát bài hát {which} ở {room}",
        "căn nhà này giá {house_price}",
        "{person} năm nay {age} tuổi",
    ),
    slots={
        "city": ("Hà Nội", "Huế", "Đà Nẵng", "Cần Thơ", "Hải Phòng", "Sài Gòn", "Vinh", "Đà Lạt"),
        "weather": ("trời nắng", "trời mưa to", "trời nhiều mây", "có gió lớn", "trời đẹp", "trời nóng"),
        "falls": ("mưa", "nắng", "gió lớn"),
        "vehicle": ("xe buýt", "tàu hỏa", "máy bay"),
        "trip": ("chuyến xe buýt", "chuyến tàu hỏa", "chuyến xe"),
        "place": ("chợ", "trường", "ga", "bệnh viện", "công viên", "sân bay"),
        "distance": _number(vietnamese_number, 50, 1800, 5),
        "shopping": ("{few} cân {weighed}", "{few} chai {bottled}", "{few} lít sữa", "{few} quả {counted}"),
        "few": _number(vietnamese_number, 2, 25),
        "weighed": ("gạo", "thịt bò", "thịt gà", "cá", "rau", "đường", "muối"),
        "bottled": ("nước", "dầu ăn", "trà"),
        "counted": ("trứng", "cam", "táo", "dưa"),
        "colour": ("xanh", "đỏ", "vàng", "trắng", "tím", "hồng"),
        "person": ("anh Nam", "chị Lan", "bác Minh", "cô Hoa", "em Tuấn", "mẹ tôi", "bố tôi"),
        "channel": _number(vietnamese_number, 1, 70),
        "which": ("tiếp theo", "trước", "mới"),
        "house_price": lambda rng: vietnamese_price(rng.randrange(1, 30) * 10**9 + rng.randrange(0, 1000, 50) * 10**6),
        "age": _number(vietnamese_number, 5, 95),
        "room": ("phòng tắm", "phòng ăn", "phòng học", "phòng làm việc"),
        "appliance": ("máy giặt", "nồi cơm", "lò vi sóng"),
    },
)


# ------------------------------------------------------------------------------------------------------- English

_EN_SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
             "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_EN_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def english_number(number: int) -> str:
    """0 to 999,999 in American words without hyphens: 121 one hundred twenty one."""
    if not 0 <= number < 10**6:
        raise ValueError(f"{number} is outside of 0 to 999,999")
    if number < 20:
        return _EN_SMALL[number]
    for unit, name in ((1000, "thousand"), (100, "hundred")):
        if number >= unit:
            rest = number % unit
            return f"{english_number(number // unit)} {name}{' ' + english_number(rest) if rest else ''}"
    return _EN_TENS[number // 10] + (f" {_EN_SMALL[number % 10]}" if number % 10 else "")


def english_time(hour: int, minute: int) -> str:
    """7:35 seven thirty five in the morning, 19:05 seven oh five in the evening."""
    part = "morning" if hour < 12 else "afternoon" if hour < 18 else "evening"
    minutes = f" {'oh ' if minute < 10 else ''}{english_number(minute)}" if minute else ""
    return f"{english_number((hour - 1) % 12 + 1)}{minutes} in the {part}"


_ENGLISH_SMALL = Grammar(
    patterns=(
        "it is {time} now",
        "what time is it now, is it {time}?",
        "the {thing} costs {price} dollars",
        "how much is the {thing} in the {room}?",
        "my phone number is {phone}",
        "call the number {phone}",
        "{command}, and then {command}",
        "please {command}",
        "{command} at {time}",
        "remind me to {command} at {time}",
        "{command} for {minutes} minutes",
        "turn the volume {direction} to {percent} percent",
        "set the {room} to {degrees} degrees",
        "it is {degrees} degrees in the {room}",
        "set an alarm for {time}",
        "{play} the music in the {room} at {time}",
        "is the {thing} in the {room} on or off?",
    ),
    slots={
        "time": lambda rng: english_time(rng.randrange(24), rng.choice((0, rng.randrange(1, 60)))),
        "price": lambda rng: english_number(rng.choice((rng.randrange(2, 100), rng.randrange(100, 1000),
                                                        1000 * rng.randrange(1, 20) + rng.randrange(0, 1000, 50)))),
        "phone": _phone(_EN_SMALL[:10], "zero"),
        "command": ("turn {switch} the {thing} in the {room}", "{open} the {opening} in the {room}"),
        "switch": ("on", "off"),
        "thing": ("light", "fan", "heater", "radio"),
        "open": ("open", "shut"),
        "opening": ("door", "window"),
        "room": ("kitchen", "bedroom", "living room", "office"),
        "direction": ("up", "down"),
        "play": ("play", "stop"),
        "minutes": _number(english_number, 2, 59),
        "percent": _number(english_number, 5, 95),
        "degrees": _number(english_number, 11, 99),
    },
)

_ENGLISH_LARGE = _ENGLISH_SMALL.with_more(
    patterns=(
        "today is {weekday}, the {ordinal} of {month}",
        "the weather in {city} is {weather} on {weekday}",
        "will it be {weather} in {city} on {weekday}?",
        "the {vehicle} from {city} to {city} leaves at {time}",
        "a {vehicle} ticket to {city} costs {price} dollars",
        "buy {few} {goods} and {few} {goods}",
        "change the light in the {room} to {colour}",
        "meet {person} at the {place} at {time}",
        "send a message to {person} on {weekday}",
        "it is {distance} miles from {city} to {city}",
        "{play} the {which} song in the {room}",
        "{person} is {age} years old today",
    ),
    slots={
        "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        "month": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                  "November", "December"),
        "ordinal": ("first", "second", "third", "fourth", "fifth", "tenth", "twentieth"),
        "city": ("London", "Paris", "Berlin", "Boston", "Dallas", "Tokyo"),
        "weather": ("sunny", "cloudy", "windy", "cold", "warm", "raining"),
        "vehicle": ("train", "bus", "boat"),
        "few": _number(english_number, 2, 25),
        "goods": ("apples", "eggs", "bottles of milk", "bags of rice", "cups of tea", "loaves of bread", "oranges"),
        "colour": ("red", "green", "blue", "yellow", "white", "purple"),
        "person": ("Anna", "Peter", "Maria", "David", "my mother", "my father"),
        "place": ("station", "market", "school", "hospital", "airport"),
        "distance": _number(english_number, 20, 900),
        "which": ("next", "last", "new"),
        "age": _number(english_number, 5, 95),
        "room": ("bathroom", "garage", "dining room"),
        "thing": ("oven", "washer", "television"),
    },
)


# ------------------------------------------------------------------------------------- drills in other languages
# Zero to ten, and commands. Only words that are surely right: these are spoken without a context that would help.

_DRILL_WORDS: Mapping[str, tuple[str, str]] = {
    "de": ("null eins zwei drei vier fünf sechs sieben acht neun zehn",
           "ja nein stopp start links rechts öffnen schließen lauter leiser vorwärts zurück"),
    "es": ("cero uno dos tres cuatro cinco seis siete ocho nueve diez",
           "sí no izquierda derecha arriba abajo abrir cerrar parar empezar"),
    "fr": ("zéro un deux trois quatre cinq six sept huit neuf dix",
           "oui non gauche droite ouvrir fermer arrêter commencer avancer reculer"),
    "hr": ("nula jedan dva tri četiri pet šest sedam osam devet deset",
           "da ne stop lijevo desno gore dolje otvori zatvori kreni naprijed natrag"),
    "id": ("nol satu dua tiga empat lima enam tujuh delapan sembilan sepuluh",
           "ya tidak berhenti mulai kiri kanan atas bawah buka tutup maju mundur"),
    "it": ("zero uno due tre quattro cinque sei sette otto nove dieci",
           "sì no sinistra destra apri chiudi avanti indietro sopra sotto"),
    "nl": ("nul een twee drie vier vijf zes zeven acht negen tien",
           "ja nee stop start links rechts open dicht omhoog omlaag vooruit achteruit"),
    "pl": ("zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć",
           "tak nie stop start lewo prawo góra dół otwórz zamknij"),
    "pt": ("zero um dois três quatro cinco seis sete oito nove dez",
           "sim não esquerda direita abrir fechar parar começar"),
    "sr": ("нула један два три четири пет шест седам осам девет десет",
           "да не стоп лево десно горе доле отвори затвори крени напред назад"),
    "sw": ("sifuri moja mbili tatu nne tano sita saba nane tisa kumi",
           "ndiyo hapana simama anza kushoto kulia juu chini fungua funga mbele nyuma"),
    "tr": ("sıfır bir iki üç dört beş altı yedi sekiz dokuz on",
           "evet hayır dur başla sol sağ yukarı aşağı aç kapat ileri geri"),
}


def _drill(digits: str, commands: str) -> Grammar:
    return Grammar(
        patterns=("{d} {d} {d}, {d} {d} {d}", "{d} {d} {d} {d}, {d} {d} {d} {d}", "{c}, {d} {d} {d}, {c}, {d} {d}",
                  "{c}, {c}, {d} {d} {d} {d}", "{c}, {c}, {c}, {d}, {c}, {d}", "{d} {d}, {c}, {d} {d}, {c}"),
        slots={"d": tuple(digits.split()), "c": tuple(commands.split())},
    )


_GRAMMARS: Mapping[tuple[str, str], Grammar] = {
    ("vi", "small"): _VIETNAMESE_SMALL, ("vi", "large"): _VIETNAMESE_LARGE,
    ("en-us", "small"): _ENGLISH_SMALL, ("en-us", "large"): _ENGLISH_LARGE,
    **{(language, "small"): _drill(*words) for language, words in _DRILL_WORDS.items()},
}


def languages() -> tuple[str, ...]:
    """The languages that the demo can speak."""
    return tuple(sorted({language for language, _ in _GRAMMARS}))


# ----------------------------------------------------------------------------------------------------- the pool

def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in small letters; punctuation is left out."""
    return tuple(re.findall(r"\w+", text.lower()))


def draw_sentences(language: str, size: str, rng: random.Random, num_sentences: int = 6000) -> list[Sentence]:
    """Different sentences (by their words) in the order in which they were drawn; fewer when there are not so many."""
    grammar = _grammar(language, size)
    drawn: dict[tuple[str, ...], Sentence] = {}
    for _ in range(4 * num_sentences):
        line = unicodedata.normalize("NFC", grammar.draw(rng))
        words = words_of(line)
        if NUM_WORDS_MIN <= len(words) <= NUM_WORDS_MAX and words not in drawn:
            drawn[words] = Sentence(_as_written(line, language, rng), words)
            if len(drawn) == num_sentences:
                break
    return list(drawn.values())


def _grammar(language: str, size: str) -> Grammar:
    if language not in languages():
        raise ConfigError(f"the demo has no sentences in {language!r}", f"choose from: {', '.join(languages())}")
    if size not in ("small", "large"):
        raise ConfigError(f"size={size!r} is not a size of the demo", did_you_mean(size, ("small", "large")))
    if (language, size) not in _GRAMMARS:
        large = sorted(known for known, its_size in _GRAMMARS if its_size == size)
        raise ConfigError(f"the demo's sentences in {language!r} are small only",
                          f"size=small, or a language that has {size}: {', '.join(large)}")
    return _GRAMMARS[language, size]


def _as_written(line: str, language: str, rng: random.Random) -> str:
    """Sentence case and a final mark, as loose as people write them.

    A Turkish i stays small: its capital is İ, and a normaliser that knows no languages makes another word of that.
    """
    first = line[0] if (language, line[0]) == ("tr", "i") else line[0].upper()
    mark = "" if line.endswith("?") else rng.choice((".", ".", ".", ".", "!", ""))
    return f"{first}{line[1:]}{mark}"


class SentencePicker:
    """Picks from a pool so that the rarest word of what was spoken so far comes next; begins anew when all are used.

    Words of `first` come before all others: training uses it to cover what development and test say.
    """

    def __init__(self, pool: Iterable[Sentence], rng: random.Random, first: Collection[str] = ()) -> None:
        self.spoken: Counter[str] = Counter()
        self._first = frozenset(first)
        self._rng = rng
        self._sentences: dict[str, list[Sentence]] = defaultdict(list)
        for sentence in pool:
            for word in set(sentence.words):
                self._sentences[word].append(sentence)
        if missing := self._first - self._sentences.keys():
            raise ValueError(f"no sentence of the pool holds {sorted(missing)}")
        self._words = sorted(self._sentences)
        self._used: set[Sentence] = set()

    @property
    def covers_first(self) -> bool:
        return all(self.spoken[word] for word in self._first)

    def pick(self) -> Sentence:
        """The next sentence. It counts as used; report it to `was_spoken` when it was indeed spoken."""
        word = min(self._words, key=lambda w: (self.spoken[w] > 0 or w not in self._first, self.spoken[w],
                                               self._rng.random()))
        unused = [sentence for sentence in self._sentences[word] if sentence not in self._used]
        if not unused:
            unused = self._sentences[word]
            self._used.difference_update(unused)
        few = self._rng.sample(unused, min(16, len(unused)))
        chosen = max(few, key=self._gain)
        self._used.add(chosen)
        return chosen

    def was_spoken(self, sentence: Sentence) -> None:
        self.spoken.update(sentence.words)

    def _gain(self, sentence: Sentence) -> tuple[int, float]:
        new = {word for word in sentence.words if not self.spoken[word]}
        return len(new & self._first), sum(1 / (1 + self.spoken[word]) for word in sentence.words) / len(sentence.words)

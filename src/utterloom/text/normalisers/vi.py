"""Vietnamese as it is read aloud: numbers, dates, times, money, measures and abbreviations in words, in the northern standard.

Numbers are utterloom's own (`utterloom.text.vietnamese`), since no library says them as northerners do; the conventions that a
reader could choose otherwise (phẩy, mùng, trên) are those of the pairs in vi.tsv.
"""

from __future__ import annotations

import re
from functools import cache

from utterloom.text.normalisers.basic import basic
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
from utterloom.text.vietnamese import DIGITS, TOO_LARGE, vietnamese_number

Match = re.Match[str]

UNITS = {
    "km/h": "ki lô mét trên giờ", "m/s": "mét trên giây", "km2": "ki lô mét vuông", "cm2": "xen ti mét vuông", "m2": "mét vuông",
    "m3": "mét khối", "cm3": "xen ti mét khối", "km": "ki lô mét", "cm": "xen ti mét", "mm": "mi li mét", "dm": "đề xi mét",
    "m": "mét",
    "kg": "ki lô gam", "mg": "mi li gam", "g": "gam", "ml": "mi li lít", "l": "lít", "ha": "héc ta", "°C": "độ xê", "°F": "độ ép",
    "°": "độ", "kWh": "ki lô oát giờ", "kW": "ki lô oát", "MW": "mê ga oát", "W": "oát", "V": "vôn", "kHz": "ki lô héc",
    "MHz": "mê ga héc", "GHz": "gi ga héc", "Hz": "héc", "KB": "ki lô bai", "MB": "mê ga bai", "GB": "gi ga bai", "TB": "tê ra bai",
    "%": "phần trăm", "‰": "phần nghìn"}
CURRENCIES = {"$": "đô la", "€": "ơ rô", "£": "bảng anh", "¥": "yên", "₫": "đồng"}
CODES = {"USD": "đô la", "EUR": "ơ rô", "VND": "đồng", "VNĐ": "đồng", "GBP": "bảng anh", "JPY": "yên"}
EMERGENCY = {"113": "một một ba", "114": "một một bốn", "115": "một một lăm"}
CAPITALS = {"UBND": "ủy ban nhân dân", "HĐND": "hội đồng nhân dân", "THPT": "trung học phổ thông", "THCS": "trung học cơ sở",
            "CLB": "câu lạc bộ", "TNHH": "trách nhiệm hữu hạn"}
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_POWERS = "nghìn|ngàn|triệu|tỷ|tỉ"
_CUE = r"(?i:\b(?P<cue>số|ngõ|ngách|hẻm|kiệt)\s+)?"
_SCORE = r"(?i:(?P<score>\b(?:t[ỷỉ] số|thắng|thua|hòa|hoà|dẫn)(?:\s+[^\W\d]+){0,3})\s+)?"
_D12 = r"(\d{1,2})"


def vi(text: str) -> str:
    """Idempotent, NFC, without digits."""
    text = apply(plain_characters(text), _words_rules())
    if has_digit(text):
        text = apply(text, _number_rules())
    return basic(text)


def _cardinal(digits: str) -> str:
    """A number beyond any use, or one that begins with a zero, is read digit by digit."""
    if (len(digits) > 1 and digits[0] == "0") or len(digits) > 12 or int(digits) >= TOO_LARGE:
        return one_by_one(digits, DIGITS)
    return vietnamese_number(int(digits))


def _number(text: str) -> str:
    written = parse(text)
    if not written.fraction:
        return _cardinal(written.whole)
    if len(written.fraction) > 2 or written.fraction[0] == "0":
        fraction = one_by_one(written.fraction, DIGITS)
    else:
        fraction = vietnamese_number(int(written.fraction))
    return f"{_cardinal(written.whole)} {'phẩy' if written.point == ',' else 'chấm'} {fraction}"


def _plain(digits: str) -> str:
    """Without regard to a zero before it: 05 is five."""
    return vietnamese_number(int(digits))


def _tu(digits: str) -> str:
    """As an ordinal: four is tư."""
    return "tư" if int(digits) == 4 else _plain(digits)


def _day(digits: str) -> str:
    return f"{'mùng ' if int(digits) <= 10 else ''}{_plain(digits)}"


def _date(day: str, month: str, year: str = "") -> str:
    return f" ngày {_day(day)} tháng {_tu(month)}{f' năm {_plain(year)}' if year else ''} "


def _whole_date(match: Match) -> str:
    day, month, year = match["d"], match["m"], match["y"]
    if is_date(day, month):
        return _date(day, month, year)
    return f" {_plain(day)} trên {_plain(month)} trên {_plain(year)} "


def _day_and_month(match: Match) -> str:
    if not is_date(match[2], match[3]):
        return match[0]
    return f"{'' if match[1].lower() == 'ngày' else match[1]}{_date(match[2], match[3])}"


def _days_of_month(match: Match) -> str:
    first, last, month = match.groups()[1:]
    if not (is_date(first, month) and is_date(last, month) and int(first) < int(last)):
        return match[0]
    return f" {match[1] or ''} ngày {_day(first)} đến {_date(last, month)}"


def _month_and_year(match: Match) -> str:
    return f" tháng {_tu(match[1])} năm {_plain(match[2])} " if is_date(1, match[1]) else match[0]


def _time(match: Match) -> str:
    hour, minute, second = match["h"], match["m"], match.groupdict().get("s")
    minutes = f" {_plain(minute)} phút" if int(minute) or second else ""
    return f" {_plain(hour)} giờ{minutes}{f' {_plain(second)} giây' if second else ''} "


def _fraction(match: Match) -> str:
    above, below = match["a"], match["b"]
    if len(above) > 12 or len(below) > 12:
        return f" {_cardinal(above)} trên {_cardinal(below)} "
    whole = f"{_cardinal(match['w'])} và " if match["w"] else ""
    is_part = not match["cue"] and int(above) < int(below) <= 20
    said = f"{_plain(above)} phần {_tu(below)}" if is_part else f"{_plain(above)} trên {_plain(below)}"
    return f"{match['cue'] or ''} {whole}{said} "


def _from_to(match: Match) -> str:
    between = " " if match["score"] else " đến "
    return f"{match['score'] or ''} {_number(match['a'])}{between}{_number(match['b'])} "


def _telephone(match: Match) -> str:
    digits = re.sub(r"\D", "", match[0])
    if not 8 <= len(digits) <= 13:
        return match[0]
    return f" {'cộng ' if match[0][0] == '+' else ''}{one_by_one(digits, DIGITS)} "


def _roman(match: Match) -> str:
    number = roman(match[2])
    return match[0] if number is None else f"{match[1]} {number}"


def _ordinal(match: Match) -> str:
    first = match[1].lower() == "thứ" and int(match[2]) == 1
    return f"{match[1]} {'nhất' if first else _tu(match[2])} "


@cache
def _words_rules() -> list[Rule]:
    return rules(
        (r"\b(?:TP\.? ?HCM|Tp\.? ?HCM)\b", "thành phố Hồ Chí Minh "), (r"\b(?:TP|Tp)(?:\. ?| )(?=\w)", "thành phố "),
        (r"\btp\. ?", "thành phố "),
        (r"\bQ\. ?(?=\w)", "quận "), (r"\bP\. ?(?=\d)", "phường "), (r"\bH\. ?(?=[A-ZĐ]\w)", "huyện "),
        (r"\bĐ\. ?(?=[A-ZĐ]\w)", "đường "),
        (r"\bPGS\.", "phó giáo sư "), (r"\bGS\.", "giáo sư "), (r"\bTS\.?(?=\s)", "tiến sĩ "), (r"\bThS\.", "thạc sĩ "),
        (r"\bBS\.", "bác sĩ "), (r"\bKS\.", "kỹ sư "), (r"\bLS\.", "luật sư "), (r"\b[vV]\.v\b\.*", "vân vân "),
        (r"\b[tT]r\. ?(?=\d)", "trang "), (r"\b(?:VD|vd|Vd)\s?[.:]", "ví dụ "), (r"\bđ/c\b", "đồng chí "), (r"&", " và "),
        (rf"\b({'|'.join(CAPITALS)})\b", lambda match: CAPITALS[match[1]]),
        (r"(?i:\b(thế k[ỷỉ]|quý|giai đoạn|chương|khóa|khoá|đại hội|thứ|phần|kỳ|kì))\s+([IVX]+)\b", _roman))


@cache
def _number_rules() -> list[Rule]:
    currency = "|".join(map(re.escape, CURRENCIES))
    return rules(
        # Telephones, before anything takes their digits apart.
        (r"\+\d{1,3}(?:[ .-]?\d{2,4}){2,5}(?!\d)", _telephone),
        (r"(?<![\w.,/:-])0\d{1,3}(?:[ .-]?\d{3,4}){2,3}(?![\d/])", _telephone),
        (r"\(0\d{1,3}\) ?\d{3,4}[ .-]?\d{3,4}(?!\d)", _telephone), (r"(?<![\w.,/])1[89]00[ .-]?\d{4,6}(?!\d)", _telephone),
        (r"(?i:\b(gọi|số))\s+(11[345])\b(?![.,/]\d)", lambda match: f"{match[1]} {EMERGENCY[match[2]]} "),
        # Dates.
        (r"(?i:\bngày\s+)?(?<![\d./-])(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?![\d./-]*\d)", _whole_date),
        (r"(?i:\bngày\s+)?(?<![\d.,/-])(?P<d>\d{1,2})([/.-])(?P<m>\d{1,2})\2(?P<y>\d{4})(?!\d)", _whole_date),
        (r"(?i:\b(ngày|sáng|trưa|chiều|tối|đêm|hôm|từ|đến|tới|trước|sau))\s+" + _D12 + "/" + _D12 + r"(?![\d/])", _day_and_month),
        (r"(?i:\b(từ))?\s*(?<![\d.,/-])" + _D12 + r"\s?[-–]\s?" + _D12 + "/" + _D12 + r"(?![\d/])", _days_of_month),
        (r"(?i:\bquý)\s+([1-4])[/-](\d{4})(?!\d)", lambda match: f"quý {_plain(match[1])} năm {_plain(match[2])} "),
        (r"(?i:\btháng\s+)" + _D12 + r"[/-](\d{4})(?![\d/])", _month_and_year),
        (r"(?<![\d.,/-])" + _D12 + r"/([12]\d{3})(?![\d/])", _month_and_year),
        (r"(?i:\bngày)\s+" + _D12 + r"(?=\s+tháng\b)",
         lambda match: f"ngày {_day(match[1])}" if is_date(match[1], 1) else match[0]),
        (r"(?i:\b(tháng))\s+" + _D12 + r"(?![\d.,/:-]*\d)", lambda match: f"{match[1]} {_tu(match[2])} "),
        (r"(?i:\b(thứ|hạng))\s+(\d{1,3})(?![\d.,/:-]*\d)", _ordinal),
        (r"(?i:\b(thứ|hạng))\s+(\d{1,3})/(\d{1,4})(?![\d/])", lambda match: f"{_ordinal(match)} trên {_plain(match[3])} "),
        # Times.
        (r"(\d{1,2}h\d{0,2})\s?[-–]\s?(?=\d{1,2}h)", r"\1 đến "),
        (r"(?<![\d.,])(\d{1,2})h/(\d{1,2})h?(?!\w)", lambda match: f" {_plain(match[1])} giờ trên {_plain(match[2])} giờ "),
        (r"(?<![\w.,:])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d):(?P<s>[0-5]\d)(?![\d:])", _time),
        (r"(?<![\w.,:])(?P<h>[01]?\d|2[0-4])(?:\s?h\s?|:|g)(?P<m>[0-5]\d)\s?(?:'|ph|p|phút)?(?![\w:])", _time),
        (r"(?<![\w.,])(\d{1,3})\s?h(?![\w/])", lambda match: f" {_plain(match[1])} giờ "),
        # Money and measures. A decimal point before them is a comma.
        (rf"(\d)\.(\d{{1,2}})(?=\s?(?:(?:{_POWERS})\b|(?:{_UNIT})(?!\w)))", r"\1,\2"),
        (rf"({currency})\s?({NUMBER}(?:\s(?:{_POWERS})\b)?)", lambda match: f"{match[2]} {CURRENCIES[match[1]]} "),
        (rf"(?<=\d)\s?({currency})", lambda match: f" {CURRENCIES[match[1]]} "), (r"(?<=\d)\s?đ(?!\w)", " đồng "),
        (rf"\b({'|'.join(CODES)})\b", lambda match: CODES[match[1]]),
        (rf"(?<=\d)({'|'.join(CODES)})\b", lambda match: f" {CODES[match[1]]}"),
        (r"(?<=\d)\s?k(?![\w/])", " nghìn "), (r"(?<=\d)\s?tr(?![\w/])\.?", " triệu "),
        (r"(?<=\d)m(?=\d{2}(?!\d))", " mét "), (rf"(?<=\d)\s?({_UNIT})(?!\w)", lambda match: f" {UNITS[match[1]]} "),
        (rf"(?<=đồng)\s*/\s?({_UNIT})(?!\w)", lambda match: f" trên {UNITS[match[1]]} "),
        (r"(?:(?<=đồng)|(?<=nghìn)|(?<=ngàn)|(?<=triệu)|(?<=tỷ)|(?<=tỉ)|(?<=đô la))\s*/\s?(?=[^\W\d])", " trên "),
        # What stands between numbers.
        (rf"{_CUE}(?:(?<![\d.,])(?P<w>\d+) )?(?<![\d.,/])(?P<a>\d+){FRACTION_SLASH}(?P<b>\d+)", _fraction),
        (rf"{_CUE}(?P<w>(?!))?(?<![\d.,/])(?P<a>\d+)/(?P<b>\d+)(?![\d/])", _fraction),
        (r"(?<=\d)/(?=\d)", " trên "),
        (rf"{_SCORE}(?<![\w.,-])(?P<a>{NUMBER})\s?[-–]\s?(?P<b>{NUMBER})(?![\w-])", _from_to),
        (r"(?<![\w)\]])-\s?(?=\d)", " âm "), (r"(?<=\d)\s?\+\s?(?=\d)", " cộng "), (r"(?<=\d)\s?=\s?(?=\d)", " bằng "),
        (r"(?<=\d)\s?[x×]\s?(?=\d)", " nhân "),
        # Numbers, and in the end every digit that is left.
        (r"(?<![\d.,])\d+(?:\.\d+){2,}(?![\d,])", lambda match: match[0] if re.fullmatch(r"\d{1,3}(?:\.\d{3})+", match[0])
         else f" {' chấm '.join(map(_cardinal, match[0].split('.')))} "),
        (rf"(?<![\d.,]){NUMBER}(?![.,]?\d)", lambda match: f" {_number(match[0])} "),
        (r"\d+", lambda match: f" {_cardinal(match[0])} "))

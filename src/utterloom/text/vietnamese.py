"""Vietnamese numbers in words, in the northern standard: hai mươi tư (not bốn), một trăm linh năm (not lẻ), nghìn (not ngàn).

Written by hand: num2words says "lẻ", leaves out "không trăm" and rounds to two decimals; the rules of CLDR say "lẻ".
"""

from __future__ import annotations

DIGITS = ("không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín")
TOO_LARGE = 10**12
_UNITS_AFTER_MUOI = {1: "mốt", 4: "tư", 5: "lăm"}
_THOUSANDS = ("", "nghìn", "triệu", "tỷ")


def vietnamese_number(number: int) -> str:
    """0 to 999,999,999,999 in words: 21 hai mươi mốt, 105 một trăm linh năm, 1005 một nghìn không trăm linh năm. Raises ValueError
    for others."""
    if not 0 <= number < TOO_LARGE:
        raise ValueError(f"{number} is outside of 0 to 999,999,999,999")
    if number == 0:
        return DIGITS[0]
    words: list[str] = []
    for power in (3, 2, 1, 0):
        group = number // 1000**power % 1000
        if group:
            words += _group(group, leads=not words)
            words += [_THOUSANDS[power]] if power else []
    return " ".join(words)


def _group(group: int, leads: bool) -> list[str]:
    """The three digits of one group; only the first group of a number leaves out its zeros."""
    hundreds, tens, units = group // 100, group // 10 % 10, group % 10
    words = [DIGITS[hundreds], "trăm"] if hundreds or not leads else []
    if tens == 0:
        return words + ([*(["linh"] if words else []), DIGITS[units]] if units else [])
    if tens == 1:
        return [*words, "mười", *([{5: "lăm"}.get(units, DIGITS[units])] if units else [])]
    return [*words, DIGITS[tens], "mươi", *([_UNITS_AFTER_MUOI.get(units, DIGITS[units])] if units else [])]

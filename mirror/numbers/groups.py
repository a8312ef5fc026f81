"""The groups that separators make of a phone number, as evidence of its country code.

A number is given as its digits, separators, and capital letters for the keys of a telephone.
"""

from __future__ import annotations

import re
from itertools import accumulate

_KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")


def digits_of(number: str) -> str:
    """Return the digits of a number."""
    return re.sub("[^0-9]", "", number.translate(_KEYPAD))


def sets_code_apart(number: str) -> bool:
    """Whether a number has no groups, or groups as they are after a country code without a plus.

    Letters are read in North America alone, after an area code in digits: 91 Park Avenue is no
    number of India.
    """
    first, *rest = _groups(number) or [""]
    if not rest:
        return first.isdigit() or re.match("1[0-9]{3}", first) is not None
    has_letters = not "".join(rest).isdigit()
    if first == "1":
        # 131 2345 6789 is written in China, 1800 123 4567 in India, 1-800-1234567 in Colombia.
        area, *local = rest
        is_usual = has_letters or [len(group) for group in local] == [3, 4]
        return re.fullmatch("[0-9]{3}", area) is not None and is_usual
    # 351 15 234-5678 is a mobile number of Argentina, not one of Portugal.
    return first == _country_code(digits_of(number)) and not has_letters and rest[0] != "15"


def splits_code(number: str, prefix: str) -> bool:
    """Whether the country code after a prefix, or North America's area code, has a separator in it.

    Then the prefix is another one: 009 1 212 555 0123 is dialled in Colombia, 00 91 means India.
    """
    code = _country_code(digits_of(number).removeprefix(prefix))
    start, end = len(prefix), len(prefix) + len(code)
    inside = {*range(start + 1, end), *((end + 1, end + 2) if code == "1" else ())}
    return not inside.isdisjoint(accumulate(len(group) for group in _groups(number)))


def _groups(number: str) -> list[str]:
    return re.findall("[0-9A-Z]+", number)


def _country_code(digits: str) -> str:
    """Return the country code that digits begin with; empty if there is none."""
    import phonenumbers

    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    starts = (digits[:length] for length in (1, 2, 3) if len(digits) >= length)
    return next((start for start in starts if int(start) in codes), "")

"""Finds a phone number in free text and JSON, however it is written there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from mirror.numbers.text import clean

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BETWEEN = r"(?:\\[nrt]|[^0-9A-Za-z\",:{}]){0,4}"
"""Between two digits of a number: separators, also as escapes of JSON."""

_MIN_NATIONAL = 7
"""Digits of a number without its country code; fewer may be anything."""


def mentions(number: str) -> Callable[[str], bool]:
    """Return a function that tells whether a text holds a phone number.

    It finds the number with its country code, whatever stands around it, and without it if no other
    digit precedes or follows but a trunk zero. Another text is found by its digits, or if it has
    few of them, or letters, as a whole text in JSON.

    Args:
        number: in E.164 form, or any other text that is stored as a number.
    """
    patterns = []
    national = re.sub("[^0-9]", "", number)
    if _E164.fullmatch(number):
        patterns.append(_BETWEEN.join(national))
        national = _national(number)
    elif len(national) < _MIN_NATIONAL or re.search("[A-Za-z]", number):
        whole = json.dumps(number, ensure_ascii=False)
        return lambda text: whole in _unescape(text)
    if len(national) >= _MIN_NATIONAL:
        patterns.append(rf"(?<![0-9])0{{0,3}}{_BETWEEN}{_BETWEEN.join(national)}(?![0-9])")
    pattern = re.compile("|".join(patterns))
    return lambda text: pattern.search(_readable(text)) is not None


def _national(number: str) -> str:
    """Return the digits of a number after its country code."""
    import phonenumbers

    try:
        return str(phonenumbers.national_significant_number(phonenumbers.parse(number)))
    except phonenumbers.NumberParseException:
        return ""


def _readable(text: str) -> str:
    text = _unescape(text)
    return text if text.isascii() else clean(text)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "\\u" in text else text

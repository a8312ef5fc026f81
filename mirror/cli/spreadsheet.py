"""Cells of CSV that a spreadsheet shows as they are."""

from __future__ import annotations

import re

# A number, a date or an amount written in digits, as a phone number is. Words that a spreadsheet
# converts in its language (SEPT1, 10 pm, TRUE) are not among them. A string of a formula has at
# most 255 characters in Excel.
_NUMBER = re.compile(r"(?=\D*[0-9])[0-9 \xa0\u202f'+().,/:%$€£¥eE-]{1,255}")
_SIGN = r"\s*[=+\-@\uff0b\uff0d\uff1d\uff20]"  # also full-width + - = @
_FORMULA = re.compile(rf"[\t\r\n]|{_SIGN}")
_INNER_FORMULA = re.compile(rf"(?<=[;\t\r\n])(?={_SIGN})")
"""Where a cell may begin in a program that splits cells there, whatever the quotes are."""


def cell(text: str) -> str:
    """Return a cell that a spreadsheet shows as this text.

    What is written in digits becomes a formula that gives its text: the only form that Excel,
    LibreOffice, Gnumeric and SheetJS all read as that text. An apostrophe would remain in the
    text, but it is safe before any other text, which could end the string of a formula. So it is
    within a text, where a program may split it.
    """
    if _NUMBER.fullmatch(text):
        return f'="{text}"'
    text = _INNER_FORMULA.sub("'", text)
    return f"'{text}" if _FORMULA.match(text) else text

"""Find the phone number in a text: its digits and separators, without words and labels."""

from __future__ import annotations

import html
import re
import unicodedata
from urllib.parse import unquote

_TEL_URI = re.compile(r"tel:(?P<local>[^;]*)(?P<rest>.*)", re.IGNORECASE)
_CONTEXT = re.compile(r";phone-context=(\+[^;]*)", re.IGNORECASE)
_START = re.compile(r"(?<![1-9])(?<![1-9] (?=\+ ))\+[ (\[]*[0-9]|[(\[]?[0-9]")
"""The plus in 1+212 555 0123 joins two groups; it is none of Morocco's +212."""
_BODY = re.compile(
    r"\+?[0-9 ()\[\].\-/_~'·•∙‧ー\N{RIGHT SINGLE QUOTATION MARK}\N{DOT OPERATOR}"
    r"\N{KATAKANA MIDDLE DOT}\N{FRACTION SLASH}\N{DIVISION SLASH}]*"
)
_CARRIER_UNSAID = re.compile(r"0[ \-]?(?:xx|\*\*)[ \-]?(?=[0-9]{2})", re.IGNORECASE)
"""How Brazilians write that a carrier's code comes here: (0xx11) 95555-0123."""
_DECIMAL = re.compile(r"([1-9][0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3}){3,4})(?:\.0+)?")
"""A number that a spreadsheet or pandas took for a decimal, with commas at its thousands or not."""


def clean(text: str) -> str:
    """Return a text in NFKC, in one line, with ASCII digits and without invisible characters."""
    return " ".join("".join(map(_clean_character, unicodedata.normalize("NFKC", text))).split())


def _clean_character(character: str) -> str:
    category = unicodedata.category(character)
    if character.isascii() and category != "Cc":
        return character
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in {"Cf", "Mn", "Me"}:  # format characters; variation selectors and keycaps
        return ""
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    if category in {"Cs", "Co", "Cn"}:
        return "\ufffd"
    return " " if category in {"Cc", "Zs", "Zl", "Zp"} else character


def decode(text: str) -> str:
    """Return a text from the source of a web page or a URL without its escapes."""
    return unquote(html.unescape(text))


def split(text: str) -> tuple[str, str]:
    """Return the number in a text, and the words and digits that are no part of it."""
    if decimal := _DECIMAL.fullmatch(text):
        return decimal[1].replace(",", ""), ""
    text = _CARRIER_UNSAID.sub("0", text)
    if uri := _TEL_URI.match(text):
        context = _CONTEXT.search(uri["rest"])
        rest = _CONTEXT.sub("", uri["rest"])
        local = uri["local"]
        text = (local if "+" in local or not context else context[1] + local) + rest
    starts = list(_START.finditer(text))
    if not starts:
        return "", text
    start = next((match for match in starts if match[0].startswith("+")), starts[0]).start()
    match = _BODY.match(text, start)
    assert match is not None  # the pattern matches the empty text
    end = match.end()
    opened = max(text.rfind(bracket, start, end) for bracket in "([")
    if opened > max(text.rfind(bracket, start, end) for bracket in ")]") and end < len(text):
        end = opened  # what is in the bracket is no part of the number: (9am to 5pm)
    before = text[:start] if re.search("[0-9]", text[:start]) else ""
    left_out = f"{before} {text[end:]}".strip(" ()[].,;:/-~<>\"'")
    return text[start:end], " ".join(left_out.split())

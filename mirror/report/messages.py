"""The words of the page, in each of its languages, from one catalogue."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "pt")
"""English, and Portuguese as Brazilians write it."""

_FILE = Path(__file__).with_name("messages.toml")
_SINGULAR: Mapping[str, tuple[int, ...]] = {"en": (1,), "pt": (0, 1)}
"""Numbers of the singular; from Unicode CLDR, plural rules for cardinal numbers."""

Entry = str | list[str]
"""A message, or its singular and plural."""


@cache
def catalogue() -> Mapping[str, Mapping[str, Entry]]:
    """Return all messages: by key, then by language."""
    return tomllib.loads(_FILE.read_text("utf-8"))


def message(language: str, key: str, number: int = 1) -> str:
    """Return a message with its placeholders.

    Args:
        language: one of `LANGUAGES`.
        key: of the message.
        number: selects singular or plural, if the message has both.

    Raises:
        KeyError: there is no such message.
    """
    entry: Any = catalogue()[key][language]
    if isinstance(entry, str):
        return entry
    singular, plural = entry
    return str(singular if number in _SINGULAR[language] else plural)

"""Text that is safe to show, store and log."""

from __future__ import annotations

import re

UNSAFE = re.compile(
    # Controls, half surrogate pairs, and what is no character and in no XML.
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufff9-\ufffb\ufffe\uffff"
    # What Unicode calls ignorable by default, bidi controls among it; but not U+FE0F, which makes
    # a sign an emoji.
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


def escape_unsafe(text: str) -> str:
    """Return a text with its control, bidi and invisible characters written as escapes."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def format_duration(seconds: float | None) -> str:
    """Say how long something is, as a person would."""
    if seconds is None:
        return "never"
    if seconds < 0:
        return "in the future"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


_LONGEST_ERROR = 500


def one_line(text: str) -> str:
    """Fold a text of somebody else's into one line that a log and a database can hold."""
    return " ".join(text.replace("\0", "\ufffd").split())[:_LONGEST_ERROR]

"""Text that is safe to show, store and log."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNSAFE = re.compile(
    # Control characters, lone surrogates, and noncharacters, which XML does not allow.
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufff9-\ufffb\ufffe\uffff"
    # Unicode's default-ignorable characters, which include bidi controls. U+FE0F is allowed: it
    # makes a sign an emoji.
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_MAX_ERROR = 500  # characters
_MAX_LISTED = 20
_SENTENCE_ENDS = " .,:;!?…。\uff01\uff1f"


class JsonText(str):
    """The text of a JSON value."""

    __slots__ = ()


def escape_unsafe(text: str) -> str:
    """Return a text whose control, bidi and invisible characters are written as escapes."""
    return UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def format_duration(seconds: float | None) -> str:
    """Return a duration in its largest fitting unit: `3 d`, `5 h`, `12 min` or `40 s`."""
    if seconds is None:
        return "never"
    if seconds < 0:
        return "in the future"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def format_seconds(seconds: float) -> str:
    """Return a duration that may be short: `< 0.1 s` or `4.2 s`, and from a minute on `90 s`."""
    if seconds >= 60:
        return format_duration(seconds)
    return "< 0.1 s" if seconds < 0.05 else f"{seconds:.1f} s"


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """Format a count with its noun, such as "1 request" or "1,200 requests"."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first names with commas, and how many more there are."""
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def there_are(names: Sequence[str]) -> str:
    """Say what there is, such as "there are a, b and 5 more"."""
    if not names:
        return "there is none"
    return f"there {'is' if len(names) == 1 else 'are'} {listed(names)}"


def one_line(text: str) -> str:
    """Return an external text as one line of at most 500 characters, without NUL."""
    return " ".join(text.replace("\0", "\ufffd").split())[:_MAX_ERROR]


def quotable(text: str, length: int = _MAX_ERROR) -> str:
    """Return an external text for the middle of a sentence: one line, no punctuation at its end."""
    return one_line(text)[:length].rstrip(_SENTENCE_ENDS)

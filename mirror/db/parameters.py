"""Named parameters (`:name`) in SQL that a person wrote, and what kind of statement it is.

Strings, quoted names and comments are skipped, as each database writes them. SQLAlchemy's `text()`
takes a `:name` in a string for a parameter too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# A string, a quoted name or a comment that does not end goes on until the end of the text.
_QUOTED = r"""
    '(?:[^']|'')*(?:'|\Z)
  | "(?:[^"]|"")*(?:"|\Z)
  | --[^\n]*
"""
_CODE = r"""
  | ::
  | (?<![\w\])]):(?P<parameter>[^\W\d]\w*)  # not the bound of a[1:n]
  | (?P<word>\w+)
  | (?P<end>;)
"""
_TOKENS = {
    "sqlite": re.compile(
        rf"""{_QUOTED} | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z) | /\*.*?(?:\*/|\Z)
        | (?P<other>\?\d*|[@$]\w+) {_CODE}""",
        re.VERBOSE | re.DOTALL,
    ),
    "postgresql": re.compile(
        # Escapes of E'…', and $tag$…$tag$. Comments nest.
        rf"""\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
        | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        | (?P<comment>/\*) | (?<![\w$])(?P<other>\$\d+) | {_QUOTED} {_CODE}""",
        re.VERBOSE | re.DOTALL,
    ),
}
_COMMENT_ENDS = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """A part of a statement outside of strings, quoted names and comments.

    Attributes:
        kind: "parameter"; "other", a parameter without a name; "word", a keyword, a name or a
            number; or "end", a semicolon.
        text: a parameter without its colon.
        start: index of its first character, a colon included.
        end: index behind its last character.
    """

    kind: str
    text: str
    start: int
    end: int


def tokens(sql: str, dialect: str) -> Iterator[Token]:
    """Return the parameters, words and semicolons of a statement, in their order.

    Args:
        sql: the statement.
        dialect: "sqlite" or "postgresql".
    """
    position = 0
    while match := _TOKENS[dialect].search(sql, position):
        position = match.end()
        kind = match.lastgroup
        if kind == "comment":
            position = _end_of_comment(sql, position)
        elif kind in {"parameter", "other", "word", "end"}:
            yield Token(kind, match[kind], match.start(), match.end())


def with_placeholders(sql: str, parameters: Iterator[Token]) -> str:
    """Return a statement with psycopg's placeholders for its parameters."""
    parts, position = [], 0
    for parameter in parameters:
        parts += [sql[position : parameter.start].replace("%", "%%"), f"%({parameter.text})s"]
        position = parameter.end
    return "".join([*parts, sql[position:].replace("%", "%%")])


def _end_of_comment(sql: str, position: int) -> int:
    """Return the index behind a comment whose begin is before a position."""
    depth = 1
    while depth:
        match = _COMMENT_ENDS.search(sql, position)
        if match is None:
            return len(sql)
        depth += 1 if match[0] == "/*" else -1
        position = match.end()
    return position

"""Questions on the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TextIO, TypeVar

import click

from mirror.cli.log import notify
from mirror.errors import MirrorError, UsageError
from mirror.text import escape_unsafe

_T = TypeVar("_T")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream, which may be closed, is a terminal."""
    return stream is not None and stream.isatty()


def can_ask() -> bool:
    """Return whether there is somebody to ask."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def ask(
    question: str, convert: Callable[[str], _T], default: str | None = None, *, hidden: bool = False
) -> _T:
    """Ask until there is a usable answer.

    Args:
        question: to ask.
        convert: returns the value of an answer, or raises a `MirrorError`, which is logged.
        default: the answer if none is typed; None if one must be.
        hidden: do not show what is typed.
    """
    while True:
        with redirect_stdout(sys.stderr):  # readline writes there, whatever click is told
            answer = click.prompt(
                escape_unsafe(question),
                default=default,
                hide_input=hidden,
                show_default=bool(default),
                err=True,
            )
        try:
            return convert(answer if hidden else answer.strip())
        except MirrorError as error:
            notify(str(error), logging.ERROR)


def confirm(question: str, done: str, to_do: str) -> None:
    """Ask whether to go on.

    Args:
        question: to ask.
        done: what was not done after a no, such as "deleted".
        to_do: what cannot be asked, such as "delete requests".

    Raises:
        UsageError: nobody can be asked.
        MirrorError: the answer is no.
    """
    if not can_ask():
        raise UsageError(f"nobody can be asked whether to {to_do}", hint="confirm it with --yes")
    if not click.confirm(escape_unsafe(question), err=True):
        raise MirrorError(f"nothing was {done}")

"""The pager: a program that shows output which is higher than the terminal, screen by screen.

`click.echo_via_pager` knows neither `$MIRROR_PAGER` nor an empty `$PAGER`, starts the program for
the shortest output too, removes colours for programs other than less, and adds an empty line.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import click

from mirror.cli.log import notify

_VARIABLES = ("MIRROR_PAGER", "PAGER")
_DEFAULT = "less"
_LESS = "FRX"
"""Options of less: end at once if all fits, show colours, leave the text on the screen."""

_NONE = {"", "cat"}
_WITHOUT_PAGER = {"", "dumb", "unknown", "emacs"}
"""Values of TERM for terminals on which a pager cannot move the cursor."""

_META = "mirror.no_pager"


def _forbid(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[_META] = value


def forbid() -> None:
    """Have the running command write to the terminal directly, as if with `--no-pager`."""
    click.get_current_context().meta[_META] = True


no_pager_option = click.option(
    "--no-pager",
    is_flag=True,
    expose_value=False,
    callback=_forbid,
    help="Write to the terminal directly, however long the output is.",
)
"""`--no-pager`, which commands need not receive."""


class _Screen(io.StringIO):
    """Collects what a terminal would receive."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._encoding = terminal.encoding

    @property
    def encoding(self) -> str:  # type: ignore[override] # (StringIO has none)
        """The encoding of the terminal, in which tables are drawn."""
        return self._encoding

    def isatty(self) -> bool:
        """Return True: it stands for the terminal."""
        return True


@contextmanager
def paged(out: TextIO) -> Iterator[TextIO]:
    """Show what is written within the context, through a pager if it is higher than the terminal.

    There is none in a command without the option `--no-pager`, or with it; if stdin or `out` is no
    terminal; and if `$MIRROR_PAGER`, or
    `$PAGER` without it, is empty or `cat`. A program that cannot be started or fails is replaced by
    plain output. That somebody ends it early is no error.

    Args:
        out: standard output.

    Yields:
        The stream to write to.
    """
    command, variable = _command() if _may_page(out) else ("", None)
    if command in _NONE:
        yield out
        return
    screen = _Screen(out)
    yield screen
    text = screen.getvalue()
    if _is_higher_than_terminal(text):
        out.flush()
        name = f"the pager {command!r}" + (f" of {variable}" if variable else "")
        try:
            failure = _run(command, text, out.encoding)
        except (OSError, ValueError) as error:
            if variable:
                reason = error.strerror if isinstance(error, OSError) else error
                notify(f"{name} cannot be started ({reason})")
        else:
            if not failure:
                return
            notify(f"{name} failed ({failure})")
    out.write(text)


def _may_page(out: TextIO) -> bool:
    """Return whether there is somebody to page for."""
    context = click.get_current_context(silent=True)
    return (
        out.isatty()
        and not isinstance(out, _Screen)
        and sys.stdin is not None
        and sys.stdin.isatty()
        and os.environ.get("TERM", "") not in _WITHOUT_PAGER
        and context is not None
        and context.meta.get(_META) is False
    )


def _command() -> tuple[str, str | None]:
    """Return the command line of the pager, and the variable that has it."""
    for name in _VARIABLES:
        if (command := os.environ.get(name)) is not None:
            return command.strip(), name
    return _DEFAULT, None


def _is_higher_than_terminal(text: str) -> bool:
    """Return whether a text, and the prompt of the shell after it, need more lines than there are.

    Codes of colours count as characters, which a line of a table has room for.
    """
    columns, lines = shutil.get_terminal_size()
    rows = 0
    for line in text.splitlines():
        rows += 1 if "\x1b" in line else max(1, -(-len(line) // columns))
        if rows >= lines:
            return True
    return False


def _run(command: str, text: str, encoding: str) -> str:
    """Run a pager until it ends.

    Returns:
        How it failed; empty if it did not, or somebody interrupted it.

    Raises:
        OSError: it cannot be started.
        ValueError: there is no such command line.
    """
    import shlex
    import signal
    import subprocess

    arguments = shlex.split(command)
    environment = dict(os.environ)
    environment.setdefault("LESS", _LESS)
    if encoding.lower() in {"utf-8", "utf8"}:
        environment.setdefault("LESSCHARSET", "utf-8")  # whatever the locale is
    # Ctrl-C is for the pager, in which it ends a search. Unlike SIG_IGN, which it would inherit, a
    # handler is reset in the new process.
    interrupts: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    try:
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, env=environment)  # noqa: S603 (the user's own pager)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(text.encode(encoding, "backslashreplace"))
        with suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)
    if code == 0 or interrupts:
        return ""
    return f"exit code {code}" if code > 0 else f"ended by signal {-code}"

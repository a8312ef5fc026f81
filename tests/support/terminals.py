"""Terminals: several commands of `mirror` on a real one, and an emulator that shows the screen."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from tests.support.commands import run_on_a_terminal

TIMEOUT = 60.0
"""Seconds that nothing here takes, unless something is wrong."""

_RUN_ALL = r"""
import json, os, sys
from mirror import cli
for columns, *sys.argv[1:] in json.loads(sys.argv[1]):
    os.environ["COLUMNS"] = str(columns)
    print(f"\x1d{cli.main()}\x1d", end="", flush=True)
"""
_INCOMPLETE = re.compile(r"\x1b(\[[?0-9;]*)?$")
_TOKEN = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|(.)", re.DOTALL)


def drawn(*commands: tuple[int | str, ...], merge: bool = False, **environment: str) -> list[str]:
    """Return what the terminal received of each command; all must succeed.

    Args:
        commands: width of the terminal, and arguments of a command.
        merge: stderr is the terminal too; otherwise nothing may be written to it.
        environment: additional variables.
    """
    ran, received = run_on_a_terminal(
        "-c", _RUN_ALL, json.dumps(commands), merge=merge, **environment
    )
    parts = received.split("\x1d")
    assert (ran.code, ran.err, parts[1::2]) == (0, "", ["0"] * len(commands)), received
    return parts[:-1:2]


_LOG_IN = """
import os
os.login_tty(0)  # makes it the controlling terminal: Ctrl-C interrupts, getpass opens it
from mirror.__main__ import main
main()
"""


def converse(
    arguments: Sequence[str], answers: Sequence[tuple[str, str]], **environment: str
) -> tuple[int, str]:
    """Run `mirror` on a terminal, and answer its questions.

    Args:
        arguments: of `mirror`.
        answers: what to type once the terminal has received a text, and that text.
        environment: additional variables.

    Returns:
        The exit code, and all that the terminal received.
    """
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _LOG_IN, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TERM": "dumb", "COLUMNS": "80"} | environment,
    )
    os.close(terminal)
    received, seen, waiting = "", 0, list(answers)
    watch = threading.Timer(TIMEOUT, process.kill)
    watch.start()
    with suppress(OSError):  # the other end was closed
        while chunk := os.read(controller, 65536):
            received += chunk.decode()
            if waiting and waiting[0][0] in received[seen:]:
                _, typed = waiting.pop(0)
                seen = len(received)
                os.write(controller, typed.encode())
    os.close(controller)
    code = process.wait()
    watch.cancel()
    assert not waiting, received
    return code, received.replace("\r\n", "\n")


def plain(text: str) -> list[str]:
    """Return the lines that a terminal received, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


class Terminal:
    """A terminal emulator without a last row.

    Attributes:
        out: the stream to write to.
        cursor_is_visible: whether the cursor is shown.
        unknown_codes: control sequences that it does not know.
    """

    def __init__(self, columns: int) -> None:
        self.cursor_is_visible = True
        self.unknown_codes: list[str] = []
        self._columns = columns
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self._hung_up = False
        self._changed = threading.Condition()
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.out: TextIO = os.fdopen(terminal, "w", encoding="utf-8")
        self._reader = threading.Thread(target=self._read)

    @contextmanager
    def open(self) -> Iterator[Terminal]:
        """Read what is written to it, within the context."""
        self._reader.start()
        try:
            yield self
        finally:
            with suppress(OSError):
                self.out.close()
            self._reader.join()
        assert self.unknown_codes == []

    def hang_up(self) -> None:
        """Close it, at the next write."""
        self._hung_up = True
        self._reader.join(TIMEOUT)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without empty ones at the end."""
        with self._changed:
            lines = ["".join(row).rstrip() for row in self._rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def wait_for(self, text: str) -> str:
        """Wait for a line that contains a text; return the line."""
        self.wait_until(lambda lines: any(text in line for line in lines))
        return next(line for line in self.lines if text in line)

    def wait_until(self, condition: Callable[[list[str]], bool]) -> None:
        """Wait until a condition of the lines is met."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.lines), TIMEOUT), self.lines

    def assert_restored(self) -> None:
        """The screen becomes empty, with a cursor."""
        self.wait_until(lambda lines: not lines and self.cursor_is_visible)

    def _read(self) -> None:
        decode, rest = codecs.getincrementaldecoder("utf-8")().decode, ""
        with suppress(OSError):  # the other end was closed
            while not self._hung_up and (chunk := os.read(self._controller, 65536)):
                with self._changed:
                    text = rest + decode(chunk)
                    complete = _INCOMPLETE.sub("", text)
                    rest = text[len(complete) :]
                    self._show(complete)
                    self._changed.notify_all()
        os.close(self._controller)

    def _show(self, text: str) -> None:
        for parameters, command, character in _TOKEN.findall(text):
            if command == "A":
                self._row = max(0, self._row - int(parameters or 1))
            elif (parameters, command) == ("2", "K"):
                self._rows[self._row].clear()
            elif parameters == "?25":
                self.cursor_is_visible = command == "h"
            elif character:
                self._put(character)
            elif command != "m":
                self.unknown_codes.append(f"{parameters}{command}")

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
            return
        if character == "\n" or self._column == self._columns:
            self._row += 1
            self._rows += [[] for _ in range(self._row + 1 - len(self._rows))]
        if character != "\n":
            self._column %= self._columns
            row = self._rows[self._row]
            row += " " * (self._column + 1 - len(row))
            row[self._column] = character
            self._column += 1

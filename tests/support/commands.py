"""Run `mirror` within this process, as a process, or on a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import click
import pytest

from mirror import cli
from mirror.cli.lazy_group import LazyCommand

TIMEOUT = 300
"""Seconds until a command is taken for one that hangs, on a busy machine too."""


@dataclass(frozen=True)
class Ran:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@cache
def all_commands() -> dict[str, click.Command]:
    """Every command by its words, such as "db upgrade"; the group of all is "" ."""
    commands: dict[str, click.Command] = {"": cli.cli}
    for name, placeholder in cli.cli.commands.items():
        assert isinstance(placeholder, LazyCommand)
        commands[name] = command = placeholder.load()
        if isinstance(command, click.Group):
            commands |= {f"{name} {inner}": found for inner, found in command.commands.items()}
    return commands


def run_mirror(
    *arguments: str, cwd: str | Path | None = None, typed: str = "", **environment: str
) -> Ran:
    """Run `mirror` within this process, with its output in pipes.

    What concerns processes, such as start-up, signals and closed files, takes `run_process`.
    `typed` is its standard input, which is no terminal.
    """
    assert threading.current_thread() is threading.main_thread(), "it replaces global streams"
    with _pipe() as out, _pipe() as err, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            code = cli.run(list(arguments))
        except Exception:  # noqa: BLE001 (what a process would print; tests look for it)
            traceback.print_exc()
            code = 1
        return Ran(code, *(_content(stream) for stream in (out, err)))


@contextmanager
def _pipe() -> Iterator[io.TextIOWrapper]:
    """A stream as `mirror.cli.main` makes it where there is no terminal."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    try:
        yield stream
    finally:
        stream.close()


def _content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return cast(io.BytesIO, stream.buffer).getvalue().decode()


def run_module(
    module: str, *arguments: str, cwd: str | Path | None = None, **environment: str
) -> Ran:
    """Run a command line as a process of its own."""
    return run_python("-m", module, *arguments, cwd=cwd, **environment)


def run_python(*arguments: str, cwd: str | Path | None = None, **environment: str) -> Ran:
    """Run the interpreter as a process of its own."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_process(*arguments: str, cwd: str | Path | None = None, **environment: str) -> Ran:
    """Run `mirror` as a process of its own."""
    return run_module("mirror", *arguments, cwd=cwd, **environment)


def run_on_a_terminal(
    *command: str, merge: bool = False, typed: str = "", **environment: str
) -> tuple[Ran, str]:
    """Run a Python command line on a terminal.

    Args:
        command: arguments of the interpreter.
        merge: its stderr is the terminal too.
        typed: what somebody types there.
        environment: additional variables.

    Returns:
        Its exit code and stderr, and all that the terminal received.
    """
    controller, terminal = pty.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(controller, 65536):
                chunks.append(chunk)
        except OSError:
            pass  # the other end was closed

    os.write(controller, typed.encode())
    reader = threading.Thread(target=read)
    reader.start()
    try:
        done = subprocess.run(
            [sys.executable, *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal if merge else subprocess.PIPE,
            env=os.environ | {"TERM": "xterm-256color", "MIRROR_PAGER": ""} | environment,
            check=False,
            timeout=TIMEOUT,
        )
    finally:
        os.close(terminal)
        reader.join()
        os.close(controller)
    return Ran(done.returncode, "", (done.stderr or b"").decode()), b"".join(chunks).decode()

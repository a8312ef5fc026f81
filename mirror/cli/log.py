"""What is told on stderr: to a person, a line a sentence; to a log collector, a line of JSON.

A level decides how much. Silent when all is well: warnings and errors. By default also what each
run did. In detail: every request and its time.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from mirror.cli.output import json_line, to_text
from mirror.progress import log_environment
from mirror.text import escape_unsafe

NAME = "mirror"
FORMATS = ("text", "json")


class Verbosity(Enum):
    """How much is told."""

    QUIET = logging.WARNING
    NORMAL = logging.INFO
    VERBOSE = logging.DEBUG


@contextmanager
def configured() -> Iterator[None]:
    """Tell what happens in the context as `set_up` decides; afterwards all is as it was."""
    loggers = (logging.getLogger(NAME), _told())
    levels = [one.level for one in loggers]
    set_up()
    try:
        yield
    finally:
        _take_off()
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def set_up(
    form: str = "text", detail: Verbosity = Verbosity.NORMAL, *, with_environment: bool = False
) -> None:
    """Decide how what happens is told from now on.

    Args:
        form: "text" or "json".
        detail: how much.
        with_environment: a line of text says whose news it is, as there are several; JSON always
            does.
    """
    handler = _ToStderr()
    verbose = detail is Verbosity.VERBOSE
    handler.setFormatter(
        _AsJson()
        if form == "json"
        else _AsText(with_time=verbose, with_environment=with_environment)
    )
    ours = logging.getLogger(NAME)
    _take_off()
    ours.addHandler(handler)
    # What rooms behind the command line note is detail, unless it is a warning.
    ours.setLevel(detail.value if verbose else logging.WARNING)
    _told().setLevel(detail.value)


def _take_off() -> None:
    ours = logging.getLogger(NAME)
    for one in ours.handlers[:]:
        if isinstance(one, _ToStderr):
            ours.removeHandler(one)


def notify(
    sentence: str,
    level: int = logging.INFO,
    *,
    environment: str | None = None,
    run: dict[str, Any] | None = None,
) -> None:
    """Tell something.

    Args:
        sentence: for the person.
        level: of `logging`.
        environment: whose news it is.
        run: what a log collector is told besides, about a run.
    """
    _told().log(level, "%s", sentence, extra={"environment": environment, "run": run})


def _told() -> logging.Logger:
    return logging.getLogger(f"{NAME}.told")


class _ToStderr(logging.Handler):
    """Writes to whatever stderr is at the time; if nobody reads that, there is nobody to tell."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass


class _AsText(logging.Formatter):
    """A line for a person."""

    def __init__(self, *, with_time: bool, with_environment: bool) -> None:
        super().__init__()
        self._with_time = with_time
        self._with_environment = with_environment

    def format(self, record: logging.LogRecord) -> str:
        time = f"{_time(record):%H:%M:%S.%f}"[:-3] + " " if self._with_time else ""
        environment = _environment(record) if self._with_environment else None
        whose = f"{escape_unsafe(environment)}: " if environment else ""
        return f"{NAME}: {time}{whose}{escape_unsafe(record.getMessage())}"


class _AsJson(logging.Formatter):
    """A line for a log collector."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": to_text(_time(record)),
            "level": record.levelname.lower(),
            "environment": _environment(record),
            "message": record.getMessage(),
            "run": getattr(record, "run", None),
        }
        return json_line({name: value for name, value in said.items() if value is not None})


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _environment(record: logging.LogRecord) -> str | None:
    return getattr(record, "environment", None) or log_environment.get()

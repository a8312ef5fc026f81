"""Log lines on stderr: text for people, one JSON object a line for log collectors.

Quiet logs warnings and errors. Normal adds one line a run. Verbose adds every HTTP request and its
duration.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from mirror.progress import log_environment
from mirror.text import escape_unsafe

FORMATS = ("text", "json")

_ROOT = logging.getLogger("mirror")
_NOTICES = logging.getLogger("mirror.notices")
"""Lines for the person who runs a command, which `Verbosity` filters by level."""


class Verbosity(Enum):
    """Lowest level of the notices that are logged."""

    QUIET = logging.WARNING
    NORMAL = logging.INFO
    VERBOSE = logging.DEBUG


@contextmanager
def configured() -> Iterator[None]:
    """Log to stderr within the context; restore the loggers afterwards."""
    levels = {logger: logger.level for logger in (_ROOT, _NOTICES)}
    set_up()
    try:
        yield
    finally:
        _remove_handlers()
        for logger, level in levels.items():
            logger.setLevel(level)


def set_up(
    log_format: str = "text",
    verbosity: Verbosity = Verbosity.NORMAL,
    *,
    with_environment: bool = False,
) -> None:
    """Set the log format and level from now on.

    Args:
        log_format: one of `FORMATS`.
        verbosity: which lines are logged.
        with_environment: prefix lines of text with their environment; JSON always has it.
    """
    handler = _StderrHandler()
    verbose = verbosity is Verbosity.VERBOSE
    handler.setFormatter(
        _JsonFormatter()
        if log_format == "json"
        else _TextFormatter(with_time=verbose, with_environment=with_environment)
    )
    _remove_handlers()
    _ROOT.addHandler(handler)
    # Outside of this package, INFO is a detail: only warnings are shown by default.
    _ROOT.setLevel(verbosity.value if verbose else logging.WARNING)
    _NOTICES.setLevel(verbosity.value)


def _remove_handlers() -> None:
    for handler in _ROOT.handlers[:]:
        if isinstance(handler, _StderrHandler):
            _ROOT.removeHandler(handler)


def notify(
    message: str,
    level: int = logging.INFO,
    *,
    environment: str | None = None,
    run: dict[str, Any] | None = None,
    round_fields: dict[str, Any] | None = None,
) -> None:
    """Log a notice for the person who runs the command.

    Args:
        message: one sentence.
        level: of `logging`.
        environment: which environment it is about.
        run: fields of a run, for JSON only.
        round_fields: fields of a round over several environments, likewise.
    """
    extra = {"environment": environment, "run": run, "round": round_fields}
    _NOTICES.log(level, "%s", message, extra=extra)


class _StderrHandler(logging.Handler):
    """Writes to the current `sys.stderr`, and ignores that nobody reads it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass


class _TextFormatter(logging.Formatter):
    """Formats a line for a person."""

    def __init__(self, *, with_time: bool, with_environment: bool) -> None:
        super().__init__()
        self._with_time = with_time
        self._with_environment = with_environment

    def format(self, record: logging.LogRecord) -> str:
        time = f"{_time(record):%H:%M:%S.%f}"[:-3] + " " if self._with_time else ""
        environment = _environment(record) if self._with_environment else None
        prefix = f"{escape_unsafe(environment)}: " if environment else ""
        return f"mirror: {time}{prefix}{escape_unsafe(record.getMessage())}"


class _JsonFormatter(logging.Formatter):
    """Formats a JSON object for a log collector."""

    def format(self, record: logging.LogRecord) -> str:
        from mirror.cli.output import json_line, to_text

        fields = {
            "time": to_text(_time(record)),
            "level": record.levelname.lower(),
            "environment": _environment(record),
            "message": record.getMessage(),
            "run": getattr(record, "run", None),
            "round": getattr(record, "round", None),
        }
        return json_line({name: value for name, value in fields.items() if value is not None})


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _environment(record: logging.LogRecord) -> str | None:
    return getattr(record, "environment", None) or log_environment.get()

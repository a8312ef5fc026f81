"""The command line: the group of all commands, and the translation of errors into exit codes."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import click

from mirror import errors
from mirror.cli import log
from mirror.cli.exit_codes import (
    EXIT_CODES,
    EXIT_NEWLY_QUARANTINED,
    EXIT_STALE,
    MOST_SERIOUS_FIRST,
    exit_code,
)
from mirror.cli.lazy_group import LazyGroup
from mirror.cli.log import notify
from mirror.cli.stdout import OutputFailed, Stdout
from mirror.version import __version__

__all__ = [
    "COMMANDS",
    "EXIT_CODES",
    "EXIT_NEWLY_QUARANTINED",
    "EXIT_STALE",
    "MOST_SERIOUS_FIRST",
    "cli",
    "exit_code",
    "main",
    "run",
]

COMMANDS = {
    "changes": ("mirror.cli.changes", "Show what the syncs saw change, newest first."),
    "completion": ("mirror.cli.completion", "Print the completion script of a shell."),
    "db": ("mirror.cli.db", "Manage the mirror's database."),
    "demo": ("mirror.cli.sandbox", "Run a guided tour: five syncs of a mock API."),
    "doctor": ("mirror.cli.doctor", "Check everything that a sync needs."),
    "export": ("mirror.cli.export", "Write all tables and views as Parquet files."),
    "history": ("mirror.cli.queries", "Show the history of a phone NUMBER."),
    "init": (
        "mirror.cli.init",
        "Set up an environment: write its settings, check them, schedule its syncs.",
    ),
    "quarantine": ("mirror.cli.status", "Show invalid records, and what is wrong with each."),
    "query": ("mirror.cli.query", "Run SQL that reads, or a question of the cookbook."),
    "report": ("mirror.cli.report", "Write an HTML page with key figures, charts and tables."),
    "requests": ("mirror.cli.requests", "Show the release requests, newest first."),
    "runs": (
        "mirror.cli.runs",
        "Show what the last syncs did, newest first.",
    ),
    "sandbox": ("mirror.cli.sandbox", "Serve a mock of the API on this machine."),
    "show": ("mirror.cli.show", "Show the request ID, its versions, and its quarantine."),
    "status": ("mirror.cli.status", "Show the age, the last run and the counts of the mirror."),
    "sync": ("mirror.cli.sync", "Fetch the list and update the mirror."),
}
"""The module and the short help of each command: the first sentence of its help."""


class _Cli(LazyGroup):
    """Reports errors of the operating system by what they concern.

    Otherwise click would treat any broken pipe as one of standard output, and exit silently.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if _working_directory_is_gone():
                raise errors.UsageError(
                    "the working directory does not exist any more",
                    hint="change to another one",
                ) from error
            subject = error.filename or "something that mirror needs"
            raise errors.MirrorError(
                f"an operation on {subject} failed ({error.strerror or 'without a reason'})",
                hint="if this persists, report it as a bug",
            ) from error


def _working_directory_is_gone() -> bool:
    """Return whether there is no directory that a relative path could begin at."""
    try:
        os.getcwd()  # noqa: PTH109 (Path.cwd raises the same)
    except FileNotFoundError:
        return True
    return False


@click.group(
    cls=_Cli,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Example, which needs no token: mirror demo",
)
@click.version_option(__version__, prog_name="mirror", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep a local SQL mirror of Talkover phone-number release requests.

    `mirror sync` fetches the requests into SQLite or Postgres and keeps every earlier version. The
    other commands, and any SQL tool, read that database.
    """


def main() -> int:
    """Run the command line of the process; return its exit code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the parent process closed it: messages are lost, data is not
            mode = os.O_RDONLY if name == "stdout" else os.O_WRONLY
            file = os.open(os.devnull, mode)
            setattr(sys, name, open(file, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (pathlib is slow to import; open until the end)
        elif stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:  # programs read the same bytes in every locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return run(sys.argv[1:])


def run(arguments: list[str]) -> int:
    """Run a command; return its exit code."""
    with log.configured():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    """Run a command. All errors become messages and exit codes here."""
    code: object = 0
    stream = sys.stdout
    sys.stdout = guarded = cast(TextIO, Stdout(stream))
    try:
        code = cli.main(arguments, prog_name="mirror", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        with suppress(OSError):  # nobody reads stderr
            error.show()
        return error.exit_code
    except click.Abort:
        notify("interrupted", logging.ERROR)
        return 1
    except errors.MirrorError as error:
        for line in (str(error), *error.details):
            notify(line, logging.ERROR)
        return exit_code(error)
    except OutputFailed as error:
        # The rest of the buffer must not fail again when the interpreter flushes it at exit.
        sys.stdout = sys.stderr
        if not error.reader_closed:
            notify(f"the output could not be written ({error.reason})", logging.ERROR)
            return exit_code(errors.DiskUnavailable("")) if error.disk_full else 1
    except SystemExit:
        sys.stdout = sys.stderr
    finally:
        if sys.stdout is guarded:
            sys.stdout = stream
    return code if isinstance(code, int) else 0

"""The command line: options in, exit codes out. The one place that knows exit codes."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import click

from mirror import errors
from mirror.cli import log
from mirror.cli.db import db
from mirror.cli.exit_codes import (
    EXIT_CODES,
    EXIT_NEWLY_QUARANTINED,
    EXIT_STALE,
    MOST_SERIOUS_FIRST,
    exit_code,
)
from mirror.cli.options import echo_status
from mirror.cli.queries import changes, history, requests
from mirror.cli.report import report
from mirror.cli.sandbox import demo, sandbox
from mirror.cli.status import doctor, quarantine, status
from mirror.cli.stdout import OutputFailed, Stdout
from mirror.cli.sync import sync
from mirror.version import __version__

__all__ = [
    "EXIT_CODES",
    "EXIT_NEWLY_QUARANTINED",
    "EXIT_STALE",
    "MOST_SERIOUS_FIRST",
    "cli",
    "db",
    "main",
    "run",
]


class _Commands(click.Group):
    """Commands whose errors of the operating system are told as what they are.

    click would take a broken pipe of any kind for one of the output, and end in silence.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if _folder_is_gone():
                raise errors.UsageError(
                    "the folder that this was started in is gone", hint="go to another one"
                ) from error
            what = error.filename or "something that mirror needs"
            raise errors.MirrorError(
                f"the system refused {what} ({error.strerror or 'without a reason'})",
                hint="if that goes on, report it as a defect of mirror",
            ) from error


def _folder_is_gone() -> bool:
    """Tell whether there is no current folder, which a relative path would begin at."""
    try:
        os.getcwd()  # noqa: PTH109 (pathlib asks the same)
    except FileNotFoundError:
        return True
    return False


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Example, which needs no token: mirror demo",
)
@click.version_option(__version__, prog_name="mirror", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep a local SQL mirror of Talkover phone-number release requests.

    `mirror sync` pulls the requests into SQLite or Postgres, with every earlier version; the other
    commands, and any SQL tool, read what is there.
    """


for _command in (
    sync,
    history,
    requests,
    changes,
    quarantine,
    status,
    doctor,
    report,
    db,
    sandbox,
    demo,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line, and exit."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:  # what programs read is the same whatever the locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; return its exit code."""
    with log.configured():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    """Run a command. The one boundary between exceptions and people."""
    code: object = 0
    stream = sys.stdout
    sys.stdout = guarded = cast(TextIO, Stdout(stream))
    try:
        code = cli.main(arguments, prog_name="mirror", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        with suppress(OSError):  # if nobody reads stderr, there is nobody to tell
            error.show()
        return error.exit_code
    except click.Abort:
        echo_status("interrupted", logging.ERROR)
        return 1
    except errors.MirrorError as error:
        echo_status(str(error), logging.ERROR)
        return exit_code(error)
    except OutputFailed as error:
        # What is still in the buffer must not fail once more when the interpreter flushes it.
        sys.stdout = sys.stderr
        if not error.unread:
            echo_status(f"the output could not be written ({error.reason})", logging.ERROR)
            return 1
    except SystemExit:
        sys.stdout = sys.stderr
    finally:
        if sys.stdout is guarded:
            sys.stdout = stream
    return code if isinstance(code, int) else 0

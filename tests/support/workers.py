"""Processes that run `mirror` within milliseconds of an order, and may be frozen or killed.

They are forked by a process that has imported everything that a sync needs. So a kill hits the
command and not its imports, and several commands begin at the same time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT = 120
"""Seconds after which a command is ended."""

KILLED = -9
"""The exit code of a killed command."""

BEFORE_COMMIT, AFTER_COMMIT = "before the commit", "after the commit"
"""Moments of a sync's second commit; the first one records that the run has begun."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "__main__",  # otherwise each child imports pytest
        "alembic.command",
        "mirror.cli",
        "mirror.sync.merge",
        "mirror.sync.run",
        "sqlalchemy.dialects.postgresql.psycopg",
        "sqlalchemy.dialects.sqlite",
    ]
)


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


class Worker:
    """Runs commands of `mirror`, one at a time.

    Args:
        folder: for their output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: Any = None

    def start(self, *arguments: str, kill_at: str = "", **environment: str) -> None:
        """Run `mirror` with these arguments.

        Args:
            arguments: of the command.
            kill_at: when it is killed: just before SQL that contains these words, `BEFORE_COMMIT`
                or `AFTER_COMMIT`.
            environment: variables, besides those of the tests.
        """
        assert self._process is None, "a worker runs one command at a time"
        for name in ("out", "err"):
            (self._folder / name).write_bytes(b"")
        order = (arguments, kill_at, environment, self._folder)
        self._process = _CONTEXT.Process(target=_run, args=order)
        self._process.start()

    def start_sync(
        self, url: str, base_url: str, token: str, *options: str, kill_at: str = ""
    ) -> None:
        """Run `mirror sync --json`."""
        arguments = ("sync", "--json", "--database", url, "--base-url", base_url, *options)
        self.start(*arguments, kill_at=kill_at, TALKOVER_TOKEN=token)

    def has_ended(self, timeout: float) -> bool:
        """Wait for the command to end, `timeout` seconds at most; return whether it has."""
        self._process.join(max(0, timeout))
        return self._process.exitcode is not None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the command, unless it has ended."""
        if not self.has_ended(0):
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill the command by SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def result(self) -> Ended:
        """Wait for the command to end; return its code and output."""
        assert self.has_ended(TIMEOUT), "the command does not end"
        code = self._process.exitcode
        self._process = None
        return Ended(code, *((self._folder / name).read_text("utf-8") for name in ("out", "err")))

    def sync_result(self) -> dict[str, Any]:
        """Wait for a sync, which must succeed; return its JSON."""
        ended = self.result()
        assert ended.code == 0, ended.err
        result: dict[str, Any] = json.loads(ended.out)
        return result

    def clear(self) -> None:
        """Kill the command, if one runs."""
        if self._process is not None:
            self.kill()
            self.result()


def _run(
    arguments: tuple[str, ...], kill_at: str, environment: dict[str, str], folder: Path
) -> NoReturn:
    """Be the child: run a command with its output in files, and exit."""
    from mirror import cli

    code = 70
    try:
        signal.alarm(TIMEOUT)
        os.environ.update(environment)
        if kill_at:
            _kill_at(kill_at)
        for descriptor, name in ((1, "out"), (2, "err")):  # multiprocessing closes stdin
            with (folder / name).open("wb") as file:
                os.dup2(file.fileno(), descriptor)
        code = cli.run(list(arguments))
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (whatever it is, the tests see it in stderr)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _kill_at(moment: str) -> None:
    """Kill this process at a moment of its sync."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_sql(_: object, __: object, statement: str, *___: object) -> None:
        if moment in statement:
            kill()

    def on_commit(_: object) -> None:
        if next(commits) == 2:
            if moment == BEFORE_COMMIT:
                kill()
            event.listen(Pool, "checkin", lambda *_: kill())

    commits = count(1)
    if moment in {BEFORE_COMMIT, AFTER_COMMIT}:
        event.listen(Engine, "commit", on_commit)
    else:
        event.listen(Engine, "before_cursor_execute", on_sql)

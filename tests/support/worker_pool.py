"""Processes that run `mirror` within milliseconds of an order, and may be frozen or killed.

A worker has imported everything that a sync needs. It forks a child for each command, so that a
kill hits the command and not its imports, and several begin at the same time. This file is both
ends of the pipes: imported by the tests, and run as the program that becomes the workers.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

TIMEOUT = 120
"""Seconds after which a command is ended."""

KILLED = -9
"""The return code of a killed command."""

BEFORE_COMMIT, AFTER_COMMIT = "before the commit", "after the commit"
"""Moments of a sync's second transaction; the first one records that the run has begun."""


class Worker:
    """Runs commands of `mirror`, one at a time, as children of a warm process.

    Args:
        orders, reports: pipes to and from it, unbuffered so that `select` sees what is there.
        folder: for the output of the commands.

    Attributes:
        pid: the process of the command, or 0; it is not reused before `result` returns.
    """

    def __init__(self, orders: BinaryIO, reports: BinaryIO, folder: Path) -> None:
        self._orders = orders
        self._reports = reports
        self._folder = folder
        self._ended = True
        self.pid = 0

    def wait_until_warm(self) -> None:
        """Wait until everything is imported."""
        assert self._read_line(TIMEOUT) == "warm"

    def start(self, *arguments: str, kill_at: str = "", **environment: str) -> None:
        """Run `mirror` with these arguments.

        Args:
            arguments: of the command.
            kill_at: when it is killed: just before SQL that contains these words, `BEFORE_COMMIT`
                or `AFTER_COMMIT`.
            environment: variables, besides those of the tests.
        """
        assert not self.pid, "a worker runs one command at a time"
        self._ended = False
        order = {
            "arguments": arguments,
            "kill_at": kill_at,
            "environment": environment,
            "folder": str(self._folder),
        }
        self._write_line(json.dumps(order))
        self.pid = int(self._read_line(TIMEOUT))

    def has_ended(self, timeout: float) -> bool:
        """Wait for the command to end, `timeout` seconds at most; return whether it has."""
        if not self._ended and self._is_readable(timeout):
            self._ended = self._read_line(0) == "ended"
        return self._ended

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        assert self.pid
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the command by SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def result(self) -> subprocess.CompletedProcess[str]:
        """Wait for the command to end; return its code and output."""
        assert self.has_ended(TIMEOUT), "the command does not end"
        self._write_line("")
        code = int(self._read_line(TIMEOUT))
        self.pid = 0
        out, err = ((self._folder / name).read_text("utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess((), code, out, err)

    def clear(self) -> None:
        """Kill the command, if one runs."""
        if self.pid:
            self.kill()
            self.result()

    def _write_line(self, line: str) -> None:
        self._orders.write(f"{line}\n".encode())

    def _read_line(self, timeout: float) -> str:
        assert self._is_readable(timeout), "the worker does not respond"
        return self._reports.readline().decode().strip()

    def _is_readable(self, timeout: float) -> bool:
        return bool(select.select([self._reports], [], [], max(0, timeout))[0])


@contextmanager
def worker_pool(size: int) -> Iterator[list[Worker]]:
    """Keep warm workers running for as long as the context lasts."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pipes, workers, child_ends = ExitStack(), [], []
        for number in range(size):
            (orders_read, orders_write), (reports_read, reports_write) = os.pipe(), os.pipe()
            child_ends += [orders_read, reports_write]
            folder = root / str(number)
            folder.mkdir()
            orders = pipes.enter_context(os.fdopen(orders_write, "wb", 0))
            reports = pipes.enter_context(os.fdopen(reports_read, "rb", 0))
            workers.append(Worker(orders, reports, folder))
        process = subprocess.Popen(
            [sys.executable, __file__, *map(str, child_ends)],
            stdin=subprocess.DEVNULL,
            pass_fds=child_ends,
        )
        for descriptor in child_ends:
            os.close(descriptor)
        stack.callback(_end, process)
        stack.enter_context(pipes)  # workers end when their pipes are closed
        for worker in workers:
            worker.wait_until_warm()
            stack.callback(worker.clear)
        yield workers


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait()


def _fork_workers(descriptors: list[int]) -> None:
    """Import what a sync needs, and fork a worker for each pair of pipes."""
    import alembic.command  # noqa: F401 (only that it is imported)
    import sqlalchemy.dialects.postgresql.psycopg
    import sqlalchemy.dialects.sqlite  # noqa: F401

    import mirror.cli
    import mirror.sync.run  # noqa: F401

    for at in range(0, len(descriptors), 2):
        own = descriptors[at : at + 2]
        if not os.fork():
            for other in set(descriptors) - set(own):
                os.close(other)
            _serve(*own)
            os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    for _ in range(0, len(descriptors), 2):
        os.wait()


def _serve(orders_from: int, reports_to: int) -> None:
    """Be a worker, until the pipe of orders is closed."""
    with os.fdopen(orders_from, "rb", 0) as orders, os.fdopen(reports_to, "wb", 0) as reports:
        reports.write(b"warm\n")
        for line in orders:
            alive, held_by_child = os.pipe()
            child = os.fork()
            if not child:
                _run_command(json.loads(line))
            os.close(held_by_child)
            reports.write(b"%d\n" % child)
            os.read(alive, 1)  # it returns when the child has ended, in whatever way
            os.close(alive)
            reports.write(b"ended\n")
            orders.readline()  # the tests send no signal any more: the pid may be reused
            reports.write(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _run_command(order: dict[str, Any]) -> NoReturn:
    """Be the child: run a command with its output in files, and exit."""
    from mirror import cli

    code = 70
    try:
        signal.alarm(TIMEOUT)
        os.environ.update(order["environment"])
        if order["kill_at"]:
            _kill_at(order["kill_at"])
        _redirect(Path(order["folder"]))
        code = cli.run(order["arguments"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (the child must never go on as a second worker)
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

    def on_second(name: str, target: type) -> None:
        calls = count(1)
        event.listen(target, name, lambda *_: next(calls) == 2 and kill())

    if moment == BEFORE_COMMIT:
        on_second("commit", Engine)
    elif moment == AFTER_COMMIT:
        on_second("checkin", Pool)
    else:
        event.listen(Engine, "before_cursor_execute", on_sql)


def _redirect(folder: Path) -> None:
    """Read from nowhere, and write to files."""
    with (
        Path(os.devnull).open("rb") as nothing,
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
    ):
        for number, file in enumerate((nothing, out, err)):
            os.dup2(file.fileno(), number)


if __name__ == "__main__":
    _fork_workers([int(argument) for argument in sys.argv[1:]])

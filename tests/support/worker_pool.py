"""Processes of `mirror` that begin within milliseconds, and may be frozen or killed.

A nursery is a process that has imported all that a sync needs. It forks a child for each command,
so that a kill finds the command at work and not at its imports, and several begin truly at once.
This file is both ends of the wire: as a module the tests' end, as a program the nurseries.
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

PATIENCE = 120
"""Seconds that a command may take; then it is ended, whatever it does."""

KILLED = -9
"""The code of a command that was killed."""

COMMIT = "all is done but the commit"
COMMITTED = "the commit is done"
"""Moments of a sync's second transaction, the first one being that of its beginning."""


class WorkerPool:
    """Runs commands of `mirror`, one at a time, as children of a process that is warm.

    Args:
        orders: the pipe to it.
        said: the pipe from it; neither has a buffer, where `select` would miss what waits.
        folder: where the output of the commands goes.

    Attributes:
        pid: the command that runs, or 0 if none does. The number stays its own until `result`.
    """

    def __init__(self, orders: BinaryIO, said: BinaryIO, folder: Path) -> None:
        self._orders = orders
        self._said = said
        self._folder = folder
        self._ended = True
        self.pid = 0

    def wait_until_warm(self) -> None:
        """Wait until all is imported."""
        assert self._line(PATIENCE) == "warm", "the nursery did not come up"

    def start(self, *arguments: str, die_at: str = "", **environment: str) -> None:
        """Let `mirror` run with these arguments.

        Args:
            arguments: of the command.
            die_at: when it is killed: words of the SQL that it was about to run, or one of `COMMIT`
                and `COMMITTED`.
            environment: variables, besides those of the tests.
        """
        assert not self.pid, "there is one command at a time"
        self._ended = False
        order = {
            "arguments": arguments,
            "die_at": die_at,
            "environment": environment,
            "folder": str(self._folder),
        }
        self._write(json.dumps(order))
        self.pid = int(self._line(PATIENCE))

    def ended(self, seconds: float) -> bool:
        """Wait so long at most, and tell whether the command has ended."""
        if not self._ended and self._is_readable(seconds):
            self._ended = self._line(0) == "ended"
        return self._ended

    def send(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        assert self.pid
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the command as `kill -9` does, between two instructions."""
        self.send(signal.SIGKILL)

    def result(self) -> subprocess.CompletedProcess[str]:
        """Wait for the command to end, and return what it came to."""
        assert self.ended(PATIENCE), "the command does not end"
        self._write("")
        code = int(self._line(PATIENCE))
        self.pid = 0
        out, err = ((self._folder / name).read_text("utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess((), code, out, err)

    def clear(self) -> None:
        """End the command, if one runs."""
        if self.pid:
            self.kill()
            self.result()

    def _write(self, line: str) -> None:
        self._orders.write(f"{line}\n".encode())

    def _line(self, seconds: float) -> str:
        assert self._is_readable(seconds), "the nursery says nothing"
        return self._said.readline().decode().strip()

    def _is_readable(self, seconds: float) -> bool:
        return bool(select.select([self._said], [], [], max(0, seconds))[0])


@contextmanager
def worker_pools(count: int) -> Iterator[list[WorkerPool]]:
    """Keep some nurseries, warm, for as long as the context lasts."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found: list[WorkerPool] = []
        theirs: list[int] = []
        pipes = ExitStack()
        for number in range(count):
            (orders_out, orders_in), (said_out, said_in) = os.pipe(), os.pipe()
            orders = pipes.enter_context(os.fdopen(orders_in, "wb", 0))
            said = pipes.enter_context(os.fdopen(said_out, "rb", 0))
            theirs += [orders_out, said_in]
            folder = root / str(number)
            folder.mkdir()
            found.append(WorkerPool(orders, said, folder))
        process = subprocess.Popen(
            [sys.executable, __file__, *map(str, theirs)],
            stdin=subprocess.DEVNULL,
            pass_fds=theirs,
        )
        for descriptor in theirs:
            os.close(descriptor)
        stack.callback(_end, process)
        stack.enter_context(pipes)  # who gets no more orders ends by itself
        for nursery in found:
            nursery.wait_until_warm()
            stack.callback(nursery.clear)
        yield found


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def _be_nurseries(descriptors: list[int]) -> None:
    """Import what a sync needs, and be a nursery for each pair of pipes."""
    import alembic.command  # noqa: F401 (only that it is imported)
    import sqlalchemy.dialects.postgresql.psycopg
    import sqlalchemy.dialects.sqlite  # noqa: F401

    import mirror.cli
    import mirror.sync.run  # noqa: F401

    for at in range(0, len(descriptors), 2):
        mine = descriptors[at : at + 2]
        if not os.fork():
            for other in set(descriptors) - set(mine):
                os.close(other)
            _serve(*mine)
            os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    for _ in range(0, len(descriptors), 2):
        os.wait()


def _serve(orders_from: int, said_to: int) -> None:
    """Be a nursery, until nobody gives orders any more."""
    with os.fdopen(orders_from, "rb", 0) as orders, os.fdopen(said_to, "wb", 0) as said:
        said.write(b"warm\n")
        for line in orders:
            alive, held_by_child = os.pipe()
            child = os.fork()
            if not child:
                _obey(json.loads(line))
            os.close(held_by_child)
            said.write(b"%d\n" % child)
            os.read(alive, 1)  # it returns when the child has ended, in whatever way
            os.close(alive)
            said.write(b"ended\n")
            orders.readline()  # nobody is about to kill it any more: its number may go
            said.write(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _obey(order: dict[str, Any]) -> NoReturn:
    """Be the child: run a command line, with its output in files, and exit."""
    from mirror import cli

    code = 70
    try:
        signal.alarm(PATIENCE)
        os.environ.update(order["environment"])
        if order["die_at"]:
            _die_at(order["die_at"])
        _redirect(Path(order["folder"]))
        code = cli.run(order["arguments"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (the child must never go on as a second nursery)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _die_at(moment: str) -> None:
    """Let this process be killed at a moment of its sync, as by somebody else."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    commits, returns = count(1), count(1)

    def die_if(now: bool) -> None:
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(
        Engine, "before_cursor_execute", lambda _, __, statement, *___: die_if(moment in statement)
    )
    event.listen(Engine, "commit", lambda _: die_if(moment == COMMIT and next(commits) == 2))
    event.listen(Pool, "checkin", lambda *_: die_if(moment == COMMITTED and next(returns) == 2))


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
    _be_nurseries([int(one) for one in sys.argv[1:]])

"""End all processes of a test run with it, also if the run is killed.

As a module it starts a guardian; as a program it is the guardian, which reads from a pipe that only
the test run can write to. When the pipe closes, for whatever reason, the guardian ends each process
with the run's mark in its environment, and removes the run's folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

MARK = "MIRROR_TEST_RUN"
"""Environment variable with the run's folder, which all processes of the run inherit."""

_GRACE = 3
"""Seconds between SIGTERM and SIGKILL."""


def start() -> subprocess.Popen[bytes]:
    """Start the guardian of this process, and mark the processes that will be started from here.

    Returns:
        The guardian. It begins its work when its stdin is closed, at the latest by the end of this
        process.
    """
    folder = Path(tempfile.mkdtemp(prefix="mirror-tests-"))
    folder.chmod(0o755)  # Postgres may have to run as another user
    guardian = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    os.environ[MARK] = str(folder)
    return guardian


def folder() -> Path:
    """Return the folder of the run, which is removed at its end."""
    return Path(os.environ[MARK])


def _processes_of(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                yield process
        except psutil.Error:
            pass  # of another user, or it has just ended


def _end_all(mark: str) -> None:
    """Send SIGTERM to all processes of a run, and SIGKILL to those that stay.

    One that has ended counts as gone before its parent has noticed: in a container it may take
    seconds.
    """
    kill_from = time.monotonic() + _GRACE
    while processes := list(_processes_of(mark)):
        for process in processes:
            with suppress(psutil.Error):
                process.terminate() if time.monotonic() < kill_from else process.kill()
        time.sleep(0.05)


def _guard(pipe: BinaryIO, mark: str) -> None:
    pipe.read()  # returns when the pipe is closed
    _end_all(mark)
    shutil.rmtree(mark, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.stdin.buffer, sys.argv[1])

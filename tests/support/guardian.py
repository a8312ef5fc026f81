"""Whatever a run of the tests starts ends with it, also if the run is killed.

As a module it starts a guardian; as a program it is one. The guardian holds one end of a pipe whose
other end only the run of the tests has. When that closes, for whatever reason, the guardian ends
each process that carries the run's mark in its environment, and removes the run's folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

MARK = "MIRROR_TEST_RUN"
"""Environment variable that holds the run's folder; all that it starts inherits it."""

_GRACE = 3
"""Seconds between asking a process to end and ending it."""


def start() -> subprocess.Popen[bytes]:
    """Start the guardian of this process, and mark what will be started from here.

    Returns:
        The guardian. It begins its work when its stdin is closed, which the end of this process
        does too.
    """
    folder = Path(tempfile.mkdtemp(prefix="mirror-tests-"))
    folder.chmod(0o755)  # Postgres may have to run as somebody else
    guardian = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    os.environ[MARK] = str(folder)
    return guardian


def folder() -> Path:
    """Return the folder of the run: what lies in it is removed at its end."""
    return Path(os.environ[MARK])


def _of_run(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                yield process
        except psutil.Error:
            pass  # somebody else's, or it has just ended


def _end_all(mark: str) -> None:
    """Ask all processes of a run to end, and then make them."""
    while processes := list(_of_run(mark)):
        for process in processes:
            with suppress(psutil.Error):
                process.terminate()
        for process in psutil.wait_procs(processes, _GRACE)[1]:
            with suppress(psutil.Error):
                process.kill()


def _guard(pipe: BinaryIO, mark: str) -> None:
    pipe.read()  # returns when nobody can write any more
    _end_all(mark)
    shutil.rmtree(mark, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.stdin.buffer, sys.argv[1])

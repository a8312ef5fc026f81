"""What it takes to run under a clock that libfaketime has moved."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

_SETTINGS = {
    # With a monotonic clock that is moved too, a wait for a lock would never time out.
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    # Else compiled modules would be out of date, each time again.
    "NO_FAKE_STAT": "1",
    # Else a wait of Python for its own lock now and then fails, and Python with it.
    "FAKETIME_FORCE_MONOTONIC_FIX": "0",
}
_MODULES = str(Path(__file__).parent / "clock")
_PRELOADED = "LD_PRELOAD"

_LEFT_OUT = {
    "Chromium": "it does not start under a moved clock",
    "JDBC": "a process with a JVM in it does not end under a moved clock",
    "A time-out of Postgres": "under a clock that is moved ahead its timers never ring",
}


def is_moved() -> bool:
    """Tell whether the clock of this process is moved."""
    return "faketime" in os.environ.get(_PRELOADED, "")


def skip_what_fails(name: str) -> None:
    """Skip a test of what cannot be run under a moved clock, if it is moved."""
    if is_moved() and name in _LEFT_OUT:
        pytest.skip(f"{name} is not tested: {_LEFT_OUT[name]}")


def is_usable() -> bool:
    """Tell whether waits end under the moved clock."""
    return _MODULES in sys.path


def start_anew() -> NoReturn:
    """Start this process anew, with a clock that is moved in a usable way."""
    # Python has threads, and for those there is a library of its own.
    os.environ[_PRELOADED] = os.environ[_PRELOADED].replace("libfaketime.so", "libfaketimeMT.so")
    before = os.environ.get("PYTHONPATH")
    os.environ |= _SETTINGS | {"PYTHONPATH": os.pathsep.join(filter(None, [_MODULES, before]))}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (ourselves)

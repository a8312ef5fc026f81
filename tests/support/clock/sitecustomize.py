"""Python sleeps under a moved clock; see moved_clock.py, which puts this folder on PYTHONPATH.

libfaketime 0.9.10 turns sleeping until a time of the monotonic clock, as Python 3.11 does it, into
an error, unless it moves that clock as well; but then no wait for a lock ever ends.
"""

from __future__ import annotations

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep  # type: ignore[assignment]

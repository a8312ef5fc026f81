"""Runs a command, and prints the seconds it took and the bytes of memory it held at most, as JSON.

It is a process of its own, and a small one: the peak of a child begins with that of its parent.
"""

from __future__ import annotations

import json
import os
import sys
import time

_UNIT = 1 if sys.platform == "darwin" else 1024


def main(command: list[str]) -> None:
    """Run a command without its output, after all that was written before has reached the disk."""
    nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    os.sync()
    began = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[nowhere])
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"code": code, "seconds": seconds, "peak": usage.ru_maxrss * _UNIT}))


if __name__ == "__main__":
    main(sys.argv[1:])

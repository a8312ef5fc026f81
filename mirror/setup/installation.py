"""This installation: the path of its program, and which of its extras are there."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from mirror.files import absolute_path

EXTRAS = {
    "parquet": ("pyarrow",),
    "postgres": ("psycopg",),
    "report": ("jinja2",),
}
"""The modules that `mirror` imports of each extra."""


def has_extra(name: str) -> bool:
    """Return whether the packages of an extra are installed."""
    return all(find_spec(module) for module in EXTRAS[name])


def program() -> list[str]:
    """Return the words that start this program from any folder, such as `["/opt/bin/mirror"]`.

    A symbolic link stays one: pipx and uv put one on `PATH`, and an upgrade replaces its target.
    """
    called = shutil.which(sys.argv[0])
    if called and Path(called).stem == "mirror":
        return [str(absolute_path(called))]
    return [sys.executable, "-m", "mirror"]


def command_line(*arguments: str) -> str:
    """Return a command of this program for a shell in the present folder, as short as it works."""
    words = program()
    if len(words) == 1:
        found = shutil.which("mirror")
        is_on_path = found is not None and str(absolute_path(found)) == words[0]
        words = ["mirror" if is_on_path else _from_here(words[0])]
    return shlex.join([*words, *arguments])


def _from_here(path: str) -> str:
    """Return a path as it was typed, if it was."""
    return sys.argv[0] if os.sep in sys.argv[0] else path

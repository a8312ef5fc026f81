"""Commands of `mirror` on a real terminal, several in one process."""

from __future__ import annotations

import json
import re

from tests.support.commands import run_on_a_terminal

_RUN_ALL = r"""
import json, os, sys
from mirror import cli
for columns, *sys.argv[1:] in json.loads(sys.argv[1]):
    os.environ["COLUMNS"] = str(columns)
    try:
        cli.main()
    except SystemExit as end:
        print(f"\x1d{end.code}\x1d", end="", flush=True)
"""


def drawn(*commands: tuple[int | str, ...], **environment: str) -> list[str]:
    """Return what the terminal received of each command; all must succeed without stderr.

    Args:
        commands: width of the terminal, and arguments of a command.
        environment: additional variables.
    """
    ran, received = run_on_a_terminal("-c", _RUN_ALL, json.dumps(commands), **environment)
    parts = received.split("\x1d")
    assert (ran.code, ran.err, parts[1::2]) == (0, "", ["0"] * len(commands)), received
    return parts[:-1:2]


def plain(text: str) -> list[str]:
    """Return the lines that a terminal received, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()

"""Commands of `mirror` on a real terminal, as many as wanted in one process."""

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


def drawn(*orders: tuple[int | str, ...], **environment: str) -> list[str]:
    """Run commands on a terminal; all must succeed, and say nothing on stderr.

    Args:
        orders: how wide the terminal is, and the arguments of a command.
        environment: besides what there is.

    Returns:
        What each command wrote there.
    """
    ran, received = run_on_a_terminal("-c", _RUN_ALL, json.dumps(orders), **environment)
    shown = received.split("\x1d")
    assert (ran.code, ran.err, shown[1::2]) == (0, "", ["0"] * len(orders)), received
    return shown[:-1:2]


def plain(text: str) -> list[str]:
    """Return the lines of what a terminal received, without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()

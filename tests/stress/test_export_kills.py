"""An export that is killed leaves the export before, or is the new one; the next one tidies up."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mirror.export.run import RELATIONS
from tests.support.commands import run_python
from tests.support.exports import assert_is, count, export, generations
from tests.support.mirrors import Mirror
from tests.support.upstream import requests

_KILLED = """
import os, pathlib, shutil, signal, sys
from mirror import cli
from mirror.export import run

module, name, last = {"shutil": shutil, "os": os, "Path": pathlib.Path}[sys.argv[1]], *sys.argv[2:4]
call, calls = getattr(module, name), 0

def step(*arguments, **options):
    global calls
    calls += 1
    if calls == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments, **options)

setattr(module, name, step)
code = cli.run(["export", *sys.argv[4:]])
print(calls)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "step",
    [
        ("Path", "mkdir"),
        ("Path", "open"),
        ("os", "fsync"),
        ("Path", "symlink_to"),
        ("Path", "replace"),
        ("shutil", "rmtree"),
    ],
    ids=".".join,
)
def test_a_killed_export(sqlite_mirror: Mirror, tmp_path: Path, step: tuple[str, str]) -> None:
    """Whatever it was about to do, readers find the old export or none; the next one succeeds."""

    def run(path: Path, kill_at: int) -> tuple[int, int]:
        ran = run_python(
            *("-c", _KILLED, *step, str(kill_at), str(path), "--database", sqlite_mirror.url)
        )
        return ran.code, int(ran.out or 0)

    present = 0

    def grow() -> None:
        nonlocal present
        present += 1
        sqlite_mirror.sync(requests(*range(present)))

    grow()
    code, calls = run(tmp_path / "uninterrupted", 0)
    assert code == 0
    new, replaced = tmp_path / "new", tmp_path / "replaced"
    for _ in range(2):  # the second one replaces the first, which a third removes
        grow()
        assert export(sqlite_mirror, replaced).code == 0
    old = present
    for kill_at in {1, calls} - {0}:
        grow()
        code, _ = run(new, kill_at)
        assert code == 0 or not [table for table in RELATIONS if (new / table.name).exists()]
        code, _ = run(replaced, kill_at)
        assert code in {0, -signal.SIGKILL}  # what exists already takes fewer steps
        old = old if code else present
        assert count(replaced) == old
    for path in (new, replaced):
        assert export(sqlite_mirror, path).code == 0
        assert_is(path, sqlite_mirror)
        assert len(generations(path)) <= 2

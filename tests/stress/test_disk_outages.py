"""Outages of SQLite: disks that are full, and files that may not be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from mirror import cli
from mirror.db import revisions
from mirror.db.engine import read_transaction
from tests.support import ROOT
from tests.support.commands import Ran
from tests.support.disks import fill, filled, remount, small_disk
from tests.support.outages import (
    BEFORE_SYNC,
    DURING_FETCH,
    HEAD,
    MANY,
    NEW,
    OLD,
    MakeMirror,
    OutageMirror,
    check_output,
    max_pages,
    outage_mirrors,
    result_of,
    run_checked,
)
from tests.support.upstream import TOKEN


@pytest.fixture
def make_mirror() -> Iterator[MakeMirror]:
    """Makes mirrors of an upstream: give it the URL of a database."""
    with outage_mirrors() as make:
        yield make


@pytest.fixture
def sqlite_mirror(tmp_path: Path, make_mirror: MakeMirror) -> OutageMirror:
    """A mirror in SQLite, in a folder of its own."""
    (tmp_path / "data").mkdir()
    return make_mirror(f"sqlite:///{tmp_path}/data/mirror.db")


@pytest.fixture
def disk_mirror(make_mirror: MakeMirror) -> Iterator[OutageMirror]:
    """A mirror in SQLite, on a small disk of its own."""
    with small_disk("size=16m,nr_inodes=6") as disk:
        yield make_mirror(f"sqlite:///{disk}/mirror.db")


def run_in_process(mirror: OutageMirror, *prefix: str, **environment: str) -> Ran:
    """Sync in a process of its own; `prefix` are words in front of the command."""
    mirror.sandbox.invalidate()
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "mirror", *mirror.arguments()],
        cwd=ROOT,
        env=os.environ | {"TALKOVER_TOKEN": TOKEN} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return check_output(Ran(done.returncode, done.stdout, done.stderr))


WITHOUT_REASON = [record | {"reason": None} for record in MANY]


def load_other_reasons(mirror: OutageMirror) -> object:
    """Sync the requests of MANY with other reasons; return what the tables hold."""
    assert mirror.run(WITHOUT_REASON).code == 0
    return mirror.state()


@pytest.mark.long
@pytest.mark.parametrize("part", ["main", "temp"])
def test_sqlite_is_full_at_any_page(sqlite_mirror: OutageMirror, in_full: bool, part: str) -> None:
    """Wherever the disk is full, the change is rolled back and the run recorded as failed."""
    if part == "main":
        before, rest = sqlite_mirror.load_old(), []
        ((first,),) = sqlite_mirror.rows("PRAGMA page_count")
    else:  # where changed requests are compared
        before, first = load_other_reasons(sqlite_mirror), 1
        rest = WITHOUT_REASON[300:]
    recorded: list[str] = []
    for pages in count(first, 1 if in_full else 2):
        with max_pages(part, pages):
            ran = sqlite_mirror.run([*MANY[:300], *rest])
        if ran.code == 0:
            break
        recorded.append("failed")
        sqlite_mirror.assert_failed(ran, before, *recorded)
    assert len(recorded) >= 5
    assert sqlite_mirror.outcomes()[-1] == "applied"
    applied = "SELECT count(*) FROM release_requests WHERE reason LIKE 'because%'"
    assert sqlite_mirror.rows(applied) == [(300,)]


@pytest.mark.long
def test_sqlite_is_full_before_the_first_sync(sqlite_mirror: OutageMirror, in_full: bool) -> None:
    """If there is no room for the whole schema nothing of it is created."""
    codes = []
    for pages in count(1, 1 if in_full else 9):
        with max_pages("main", pages):
            codes.append(sqlite_mirror.run(OLD).code)
        with read_transaction(sqlite_mirror.engine) as connection:
            assert revisions.current(connection) in {None, HEAD}
        if codes[-1] != 75:
            break
    assert len(codes) >= 4
    assert codes[-1] == cli.EXIT_NEWLY_QUARANTINED
    assert result_of(sqlite_mirror.run())["outcome"] == "unchanged"
    assert "running" not in sqlite_mirror.outcomes()


def test_a_disk_that_is_full_from_the_start(disk_mirror: OutageMirror) -> None:
    """If the schema does not fit the sync fails, and the next one does it all."""
    for left in (0, 1, 8, 12, 16, 32):
        with filled(disk_mirror.file.parent, left):
            ran = disk_mirror.run(OLD)
        result = result_of(ran)
        assert (ran.code, result["outcome"], result["run_id"]) == (75, "failed", None)
    disk_mirror.load_old()
    disk_mirror.assert_recovers()


def test_a_disk_that_can_hold_no_more_files(disk_mirror: OutageMirror) -> None:
    """A disk without room for another file fails the sync, until there is room."""
    others = [disk_mirror.file.with_name(str(number)) for number in range(5)]
    for other in others:
        other.touch()
    codes = [disk_mirror.run(OLD).code]
    while codes[-1] in {1, 75}:  # SQLite does not tell why it cannot make a file
        others.pop().unlink()
        codes.append(disk_mirror.run().code)
    assert (codes[0], codes[-1]) == (75, cli.EXIT_NEWLY_QUARANTINED)
    for other in others:
        other.unlink()
    disk_mirror.assert_recovers()


def test_a_disk_that_is_full_to_the_last_byte(disk_mirror: OutageMirror) -> None:
    """A sync that finds nothing new fails if it cannot be recorded."""
    before = disk_mirror.load_old()
    with filled(disk_mirror.file.parent):
        ran = disk_mirror.run()
    disk_mirror.assert_failed(ran, before)
    disk_mirror.assert_recovers()


def test_a_disk_that_fills_up_during_a_sync(disk_mirror: OutageMirror) -> None:
    """A run whose end finds no room is marked by the next one."""
    disk = disk_mirror.file.parent
    outage = disk_mirror.at(DURING_FETCH, lambda: fill(disk), (disk / "filler").unlink)
    disk_mirror.assert_survives(outage, "running")


def test_a_change_too_big_for_the_disk(disk_mirror: OutageMirror) -> None:
    """A change that does not fit is rolled back; all from before it can be read."""
    before = disk_mirror.load_old()
    with filled(disk_mirror.file.parent, 256):
        ran = disk_mirror.run(MANY)
        disk_mirror.assert_failed(ran, before, "failed")
        shown = run_checked("requests", "--database", disk_mirror.command_url)
        assert (shown.code, shown.out.count("\n")) == (0, 4)
    disk_mirror.assert_applies_many()


def test_a_full_folder_for_temporary_files(sqlite_mirror: OutageMirror) -> None:
    """A list that finds no room to be compared is not applied."""
    before = load_other_reasons(sqlite_mirror)
    sqlite_mirror.upstream.records = [record | {"reason": "because " * 100} for record in MANY]
    with small_disk("size=1m") as disk, filled(disk):
        ran = run_in_process(sqlite_mirror, SQLITE_TMPDIR=str(disk))
    sqlite_mirror.assert_failed(ran, before, "failed")
    sqlite_mirror.assert_applies_many()


def test_a_disk_that_becomes_read_only(disk_mirror: OutageMirror) -> None:
    """A disk that the system no longer writes to is no temporary failure."""
    read_only, writable = (partial(remount, disk_mirror.file.parent, mode) for mode in ("ro", "rw"))
    outage = disk_mirror.at(BEFORE_SYNC, read_only, writable)
    disk_mirror.assert_survives(outage, code=1)


@pytest.mark.parametrize(("name", "mode"), [("mirror.db", 0o400), (".", 0o500)])
def test_a_file_that_may_not_be_written(sqlite_mirror: OutageMirror, name: str, mode: int) -> None:
    """A read-only file or folder fails the sync, and needs no more than its mode back.

    Between the two syncs no process with more rights opens the file.
    """
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, to give up the rights of root, or not to be root")
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    sqlite_mirror.load_old()
    before = sqlite_mirror.file.read_bytes()
    sqlite_mirror.upstream.records = NEW
    path = sqlite_mirror.file.parent / name
    old_mode = path.stat().st_mode
    path.chmod(mode)
    ran = run_in_process(sqlite_mirror, *prefix)
    path.chmod(old_mode)
    result = result_of(ran)
    assert (ran.code, result["outcome"], result["run_id"]) == (1, "failed", None)
    assert sqlite_mirror.file.read_bytes() == before
    sqlite_mirror.assert_applied(run_in_process(sqlite_mirror, *prefix))

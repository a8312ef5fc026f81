"""`mirror export`: what the files hold, and the folder after success and failure."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import sys
import threading
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pyarrow as pa
import pytest
from pyarrow import parquet

from mirror.db.engine import write_transaction
from mirror.db.models import release_requests
from mirror.export import batches, files, folder, run
from tests.support.commands import run_mirror
from tests.support.exports import assert_is, count, export, fill, generations, read
from tests.support.mirrors import Mirror
from tests.support.upstream import request, requests


def test_files_hold_the_rows_of_sql(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each table and view has the rows and types of SQL, in as many batches as there are."""
    fill(mirror, "007", "a b", "ü/%=é")
    monkeypatch.setattr(batches, "_FETCHED_AT_ONCE", 7)
    monkeypatch.setattr(files, "_ROW_GROUP_ROWS", 4)
    ran = export(mirror, tmp_path / "new")
    assert (ran.code, ran.out) == (0, "")
    assert re.fullmatch(
        r"mirror: wrote \S+/new \([\d,]+ rows of 10 tables and views, 3 environments, .* MB\)\n",
        ran.err,
    )
    assert_is(tmp_path / "new", mirror)
    names = sorted(path.name for path in (tmp_path / "new" / "release_requests").iterdir())
    assert names == [f"environment={name}" for name in ("007", "a b", "ü%2F%25%3Dé")]
    columns = read(tmp_path / "new", "release_requests").schema
    assert columns.field("requested_at").type == pa.timestamp("us", "UTC")
    assert columns.field("phone_number").type == columns.field("extra").type == pa.string()
    assert columns.field("sync_run_id").type == pa.int64()
    assert columns.field("status").metadata[b"comment"].startswith(b"Status, as returned")
    days = read(tmp_path / "new", "release_requests_daily").schema
    assert days.field("day").type == pa.date32()
    numbers = read(tmp_path / "new", "phone_numbers").schema
    assert numbers.field("released").type == pa.bool_()


def test_an_environment_without_rows_has_files(mirror: Mirror, tmp_path: Path) -> None:
    """Readers find the columns of a table without rows, and the manifest has the counts."""
    mirror.sync(requests(1, 2), environment="it's")
    mirror.sync(requests(3), environment="other")
    assert export(mirror, tmp_path / "new", "--environment", "it's", "--quiet").err == ""
    empty = read(tmp_path / "new", "quarantined_records")
    assert (len(empty), empty.schema.field("first_run_id").type) == (0, pa.int64())
    manifest = json.loads((tmp_path / "new" / run.MANIFEST).read_text())
    (environment,) = manifest["environments"]
    assert environment["environment"] == "it's"
    assert datetime.fromisoformat(environment["as_of"]) < mirror.now
    assert manifest["tables"]["release_requests"]["rows"] == count(tmp_path / "new") == 2
    assert manifest["tables"]["quarantined_records"]["rows"] == 0


def test_an_export_is_one_state(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that commits while the export reads is in no table of it."""
    mirror.sync(requests(1, 2))
    write = files.write

    def write_and_sync(path: Path, *arguments: Any) -> files.Written:
        written = write(path, *arguments)
        if path.name == "release_requests":
            assert mirror.sync(requests(1, 2, 3)).failure is None
        return written

    monkeypatch.setattr(files, "write", write_and_sync)
    assert export(mirror, tmp_path / "new").code == 0
    assert len(read(tmp_path / "new", "phone_numbers")) == count(tmp_path / "new") == 2
    assert len(read(tmp_path / "new", "sync_runs")) == 1


def test_all_times_and_days_fit() -> None:
    """The first and the last day of the calendar, as SQLite stores them."""
    times = batches._array(["0001-01-01 00:00:00.000", None], pa.timestamp("us", "UTC"))
    assert times.to_pylist()[0].isoformat() == "0001-01-01T00:00:00+00:00"
    days = batches._array(("0300-02-28", "9999-12-31"), pa.date32())
    assert days.to_pylist() == [date(300, 2, 28), date(9999, 12, 31)]


def test_the_folder_is_replaced_as_a_whole(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A path that leads through `.current` shows the state before until the next export but one."""
    path = tmp_path / "new"
    for number in (1, 2, 3):
        sqlite_mirror.sync(requests(*range(number)))
        if number == 2:
            pinned = (path / ".current").resolve()
        assert export(sqlite_mirror, path).code == 0
        assert count(path) == number
        assert len(generations(path)) == min(number, 2)
        if number == 2:
            assert count(pinned) == 1
    assert not pinned.exists()
    files_now = {file.name for file in path.glob("*/*/*.parquet")}
    assert files_now == {f"{(path / '.current').readlink().name[1:]}.parquet"}
    assert (path.stat().st_mode & 0o777) == 0o700


def test_a_failure_leaves_the_export_before(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a mirror that cannot be read, leaves the old files and no new ones."""
    mirror.sync(requests(1))
    assert export(mirror, tmp_path).code == 0
    mirror.sync(requests(1, 2))
    (tmp_path / ".export-20260101T000000Z-00000000").mkdir()  # of a killed export
    (tmp_path / "notes").mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_flush", full)
        ran = export(mirror, tmp_path)
    assert ran.code == 75
    assert ran.err == (
        f"mirror: {tmp_path} cannot be written (No space left on device); make room, and try "
        "again; the export before is still there\n"
    )
    assert (count(tmp_path), len(generations(tmp_path))) == (1, 1)
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql("ALTER TABLE quarantined_records RENAME COLUMN raw TO cooked")
    ran = export(mirror, tmp_path)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql("ALTER TABLE quarantined_records RENAME COLUMN cooked TO raw")
    assert (count(tmp_path), len(generations(tmp_path))) == (1, 1)
    assert export(mirror, tmp_path).code == 0
    assert (count(tmp_path), (tmp_path / "notes").exists()) == (2, True)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")], ids=repr)
def test_a_failure_between_rows(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """The rest of the rows is not waited for, and nobody else reads from the connection."""
    mirror.sync(requests(*range(50)))
    assert export(mirror, tmp_path).code == 0
    before = generations(tmp_path)
    monkeypatch.setattr(batches, "_FETCHED_AT_ONCE", 10)
    monkeypatch.setattr(batches, "_BLOCK_SIZE", 1000)
    read_row, readers = psycopg.Copy.read, set[int]()
    split, parts = files._by_environment, list[object]()

    def read_noted(copy: psycopg.Copy) -> Any:
        readers.add(threading.get_ident())
        return read_row(copy)

    def fail(batch: pa.RecordBatch) -> Any:
        parts.append(batch)
        if len(parts) == 3:
            raise failure
        return split(batch)

    monkeypatch.setattr(psycopg.Copy, "read", read_noted)
    monkeypatch.setattr(files, "_by_environment", fail)
    ran = export(mirror, tmp_path)
    assert ran.code == (1 if isinstance(failure, KeyboardInterrupt) else 75)
    assert (ran.err.strip().count("\n"), generations(tmp_path)) == (0, before)
    assert readers <= {threading.get_ident()}


def test_an_interrupt_when_copy_has_begun(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver does not end the COPY then, so the connection is closed."""
    mirror.sync(requests(*range(50)))
    monkeypatch.setattr(psycopg.Copy, "__enter__", Mock(side_effect=KeyboardInterrupt))
    ran = export(mirror, tmp_path)
    if mirror.engine.dialect.name == "sqlite":
        assert ran.code == 0  # there is no COPY
    else:
        assert (ran.code, ran.err.strip(), generations(tmp_path)) == (1, "mirror: interrupted", [])


@pytest.mark.parametrize(
    "values",
    ["requested_at = 'yesterday'", "sync_run_id = 1.5", "digest = x'ff'", "reason = x'ff'"],
)
def test_a_value_of_another_type(sqlite_mirror: Mirror, tmp_path: Path, values: str) -> None:
    """What another program wrote into SQLite is neither a traceback nor exported as another one."""
    sqlite_mirror.sync(requests(1))
    with write_transaction(sqlite_mirror.engine, "test") as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql(f"UPDATE release_requests SET {values}")
    ran = export(sqlite_mirror, tmp_path / "new")
    assert ran.code == 1
    assert ran.err == (
        "mirror: release_requests has a value that is none of its column's type; see whether "
        "another program writes to the mirror\n"
    )


def test_a_text_of_another_encoding(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A text that is not UTF-8, which SQLite stores, is named in each command, and not quoted."""
    sqlite_mirror.sync(requests(1))
    with write_transaction(sqlite_mirror.engine, "test") as connection:
        connection.exec_driver_sql("UPDATE release_requests SET reason = CAST(x'41ff' AS text)")
    listed = run_mirror("requests", "--database", sqlite_mirror.url)
    for ran in (export(sqlite_mirror, tmp_path / "new"), listed):
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            f"mirror: the database {sqlite_mirror.url} has a text that is not UTF-8; see whether "
            "another program writes to the mirror\n"
        )


def test_nothing_of_others_is_touched(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A folder with other files, a file, and a name that is taken are refused."""
    sqlite_mirror.sync(requests(1))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all of it")
    ran = export(sqlite_mirror, mine)
    assert ran.code == 2
    assert f"{mine} holds other files" in ran.err
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    ran = export(sqlite_mirror, mine / "thesis.txt")
    assert (ran.code, "is a file" in ran.err) == (2, True)
    ran = export(sqlite_mirror, tmp_path / "nowhere" / "new")
    assert (ran.code, "there is no folder" in ran.err) == (2, True)
    assert export(sqlite_mirror, tmp_path / "new").code == 0
    (tmp_path / "new" / "sync_runs").unlink()
    (tmp_path / "new" / "sync_runs").mkdir()
    ran = export(sqlite_mirror, tmp_path / "new")
    assert (ran.code, f"{tmp_path}/new/sync_runs is not of an export" in ran.err) == (2, True)
    assert count(tmp_path / "new") == 1


def test_an_empty_name_is_not_the_current_folder(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """The name of a variable that is unset is refused."""
    sqlite_mirror.sync(requests(1))
    here = tmp_path / "here"
    here.mkdir()
    ran = run_mirror("export", "", "--database", sqlite_mirror.url, cwd=here)
    assert ran.code == 2
    assert ran.err == "mirror: DIR is empty; name the folder to write to; a variable may be unset\n"
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("release_requests", "elsewhere"),
        (".current", "elsewhere"),
        (".export-20260101T000000Z-00000001", "elsewhere"),
        (".export-20260101T000000Z-00000001", None),
        (".current-new", None),
    ],
)
def test_names_that_others_use(
    sqlite_mirror: Mirror, tmp_path: Path, name: str, target: str | None
) -> None:
    """A link to elsewhere, or a file, is refused and stays."""
    sqlite_mirror.sync(requests(1))
    assert export(sqlite_mirror, tmp_path).code == 0
    taken = tmp_path / name
    taken.unlink(missing_ok=True)
    taken.symlink_to(target) if target else taken.touch()
    ran = export(sqlite_mirror, tmp_path)
    assert ran.code == 2
    assert ran.err == (
        f"mirror: {taken} is not of an export; move it away, or choose another folder\n"
    )
    assert os.path.lexists(taken)


def test_folders_that_cannot_be_one(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A loop of links, a folder within an export, and a path that is too long."""
    sqlite_mirror.sync(requests(1))
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for path in (loop, loop / "new"):
        ran = export(sqlite_mirror, path)
        assert (ran.code, ran.err) == (
            2,
            f"mirror: {loop} is in a loop of links; choose another folder\n",
        )
    outer = tmp_path / "outer"
    assert export(sqlite_mirror, outer).code == 0
    ran = export(sqlite_mirror, outer / ".current" / "inner")
    assert (ran.code, f"is in {outer}, the folder of another export" in ran.err) == (2, True)
    ran = export(sqlite_mirror, tmp_path / ("n" * 300))
    assert (ran.code, ran.err.endswith("(File name too long); choose another folder\n")) == (
        2,
        True,
    )
    assert len(generations(outer)) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("__HIVE_DEFAULT_PARTITION__", "readers take the name for NULL"),
        ("日" * 82, "its name is too long for a folder"),
        ("%" * 82, "its name is too long for a folder"),
    ],
)
def test_names_that_no_partition_has(
    sqlite_mirror: Mirror, tmp_path: Path, name: str, reason: str
) -> None:
    """An environment that readers or folders cannot have is named; the others can be exported."""
    sqlite_mirror.sync(requests(1), environment=name)
    sqlite_mirror.sync(requests(2), environment="prod")
    ran = export(sqlite_mirror, tmp_path / "new")
    assert ran.code == 2
    assert ran.err == (
        f"mirror: the environment {name} cannot be exported: {reason}; rename it with `mirror db "
        "rename-environment`, or export the others with --environment\n"
    )
    assert not (tmp_path / "new").exists()
    assert export(sqlite_mirror, tmp_path / "new", "--environment", "prod").code == 0


def test_errors_of_the_file_system(
    sqlite_mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only permissions are blamed on permissions."""
    sqlite_mirror.sync(requests(1))
    for code, exit_code, advice in (
        (errno.EIO, 1, "see whether its file system works"),
        (errno.EROFS, 2, "check its permissions"),
    ):
        reason = os.strerror(code)
        monkeypatch.setattr(folder, "_flush", Mock(side_effect=OSError(code, reason)))
        ran = export(sqlite_mirror, tmp_path)
        assert ran.code == exit_code
        assert f"{tmp_path} cannot be written ({reason}); {advice}, or choose" in ran.err


def test_two_at_once(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """The second one does not wait."""
    sqlite_mirror.sync(requests(1))
    assert export(sqlite_mirror, tmp_path).code == 0
    with (tmp_path / ".mirror-export").open() as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        ran = export(sqlite_mirror, tmp_path)
    assert ran.code == 75
    assert ran.err == (
        f"mirror: another export writes to {tmp_path}; try again when it has ended\n"
    )


def test_nothing_to_export(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A mirror without a sync, or an unknown environment, replaces nothing."""
    ran = export(sqlite_mirror, tmp_path / "new")
    assert (ran.code, ran.err) == (1, "mirror: nothing was ever synced; run `mirror sync`\n")
    sqlite_mirror.sync([request()])
    ran = export(sqlite_mirror, tmp_path / "new", "--environment", "Default")
    assert ran.code == 2
    assert ran.err == (
        "mirror: there is no environment 'Default' in the mirror; did you mean 'default'?\n"
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("pyarrow", "as in '.[parquet]' (and with those that it has already)"),
        ("fcntl", "run it on Linux or macOS, or in WSL"),
    ],
)
def test_without_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, advice: str
) -> None:
    """The message says what to install, or where to run."""
    for name in [name for name in sys.modules if name.startswith("mirror.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("mirror.export")
    monkeypatch.setitem(sys.modules, module, None)
    ran = run_mirror("export", str(tmp_path / "new"))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith("mirror: the export needs ")
    assert ran.err.endswith(f"{advice}\n")


def test_files_are_compressed(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Rows are in few row groups, with statistics, compressed."""
    sqlite_mirror.sync(requests(*range(20)))
    assert export(sqlite_mirror, tmp_path).code == 0
    (file,) = (tmp_path / "release_requests").glob("*/*")
    metadata = parquet.ParquetFile(file).metadata
    assert (metadata.num_rows, metadata.num_row_groups) == (20, 1)
    column = metadata.row_group(0).column(0)
    assert (column.compression, column.is_stats_set) == ("ZSTD", True)


def test_what_differs_in_each_row_has_no_large_dictionary(tmp_path: Path) -> None:
    """A dictionary of all ids would make the file larger; one of few values makes it smaller."""
    rows = 20_000
    columns = batches.schema(release_requests)
    values = {
        "id": [sha256(b"%d" % row).hexdigest() for row in range(rows)],
        "status": ["approved", "rejected"] * (rows // 2),
        "environment": ["prod"] * rows,
    }
    arrays = [
        pa.array(values[column.name], column.type)
        if column.name in values
        else pa.nulls(rows, column.type)
        for column in columns
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=columns)
    files.write(tmp_path / "new", release_requests, [batch], ["prod"])
    (file,) = (tmp_path / "new").glob("*/*")
    group = parquet.ParquetFile(file).metadata.row_group(0)
    sizes = {}
    for place in range(group.num_columns):
        column = group.column(place)
        sizes[column.path_in_schema] = column.data_page_offset - column.dictionary_page_offset
    assert sizes["id"] < 100_000
    assert 0 < sizes["status"] < 100
    assert parquet.ParquetFile(file).read(["id"]).column(0).to_pylist() == values["id"]

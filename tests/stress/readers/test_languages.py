"""PHP, Perl and Go read the mirror as docs/sql.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.reader_programs import Program, database, missing, running
from tests.support.readers import ReaderMirror

FOLDER = Path(__file__).parent

PERL = ("-MDBD::SQLite", "-MDBD::Pg", "-e1")
GO = "golang-go golang-github-mattn-go-sqlite3-dev golang-github-lib-pq-dev"
GO_PACKAGES = Path("/usr/share/gocode")
"""Where Debian puts the packages of Go."""


@contextmanager
def reader(command: Sequence[object], mirror: ReaderMirror) -> Iterator[Program]:
    """Run a program that reads a mirror."""
    with database(mirror) as place, running(command, place) as program:
        yield program


def has(program: str, *arguments: str, output: str = "") -> bool:
    """Whether a program runs, and prints a text."""
    if not shutil.which(program):
        return False
    done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    return done.returncode == 0 and output in done.stdout


@pytest.fixture(scope="session")
def php() -> Sequence[object]:
    """The command of the reader in PHP."""
    if not (has("php", "-m", output="pdo_sqlite") and has("php", "-m", output="pdo_pgsql")):
        missing("DRIVERS", "apt-get install php-cli php-sqlite3 php-pgsql")
    return ["php", FOLDER / "php_reader.php"]


@pytest.fixture(scope="session")
def perl() -> Sequence[object]:
    """The command of the reader in Perl."""
    if not has("perl", *PERL):
        missing("DRIVERS", "apt-get install libdbd-sqlite3-perl libdbd-pg-perl")
    return ["perl", FOLDER / "perl_reader.pl"]


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Sequence[object]:
    """The reader in Go, compiled with the SQLite of the system."""
    packages = ("mattn/go-sqlite3", "lib/pq")
    if not shutil.which("go") or not all(
        (GO_PACKAGES / "src/github.com" / package).exists() for package in packages
    ):
        missing("DRIVERS", f"apt-get install {GO} libsqlite3-dev")
    folder = tmp_path_factory.mktemp("go")
    environment = {
        "GO111MODULE": "off",
        "GOPATH": str(GO_PACKAGES),
        "GOCACHE": str(folder / "cache"),
    }
    program = folder / "go_reader"
    subprocess.run(
        ["go", "build", "-tags", "libsqlite3", "-o", program, FOLDER / "go_reader.go"],
        check=True,
        env=os.environ | environment,
    )
    return [program]


def test_php(either: ReaderMirror, php: Sequence[object]) -> None:
    """PDO reads and binds times as text in UTC."""
    with reader(php, either) as program:
        program.assert_right(either)


def test_php_binds_no_iso_text(sqlite: ReaderMirror, php: Sequence[object]) -> None:
    """The text of DATE_RFC3339 has a `T` and an offset, and does not find its own row."""
    with reader(php, sqlite) as program:
        assert program.compares(sqlite, "date") == "wrongly"


def test_perl(either: ReaderMirror, perl: Sequence[object]) -> None:
    """DBI reads and binds times as text in UTC."""
    with reader(perl, either) as program:
        program.assert_right(either)


def test_go(either: ReaderMirror, go: Sequence[object]) -> None:
    """database/sql reads a time.Time; in SQLite it binds text."""
    with reader(go, either) as program:
        program.assert_right(either)


def test_go_binds_an_offset(sqlite: ReaderMirror, go: Sequence[object]) -> None:
    """A time.Time is bound with an offset behind it, and does not find its own row."""
    with reader(go, sqlite) as program:
        assert program.compares(sqlite, "date") == "wrongly"

"""The table of readers in docs/sql.md: its releases are the pins, its tests exist."""

from __future__ import annotations

import json
import re

from tests.support import ROOT
from tests.support.pages import PARQUET, SQL, section

FOLDER = ROOT / "tests" / "stress" / "readers"
NOT_PINNED = ("not run here", "by hand")


def rows() -> list[list[str]]:
    """The cells of each row of the table."""
    lines = [line for line in section(SQL, "## Readers").splitlines() if line.startswith("| ")]
    head, _, *body = [re.split(r" *(?<!\\)\| *", line.strip("| ")) for line in lines]
    assert head == ["reader", "SQLite", "Postgres", "test"]
    return body


def pins() -> set[tuple[str, str]]:
    """Each package that the tests install, and its release."""
    python = (
        re.match(r"([\w.-]+)(?:\[.*\])?==(\S+)", line)
        for file in FOLDER.glob("requirements*.txt")
        for line in file.read_text().splitlines()
    )
    node = (
        json.loads(file.read_text()).get("dependencies", {}) for file in FOLDER.glob("package.json")
    )
    return {(pin[1], pin[2]) for pin in python if pin} | {
        pin for packages in node for pin in packages.items()
    }


def test_each_reader_has_a_test_or_says_that_it_has_none() -> None:
    """The last cell names a test that exists, or says why there is none."""
    assert len(rows()) > 5
    for reader, *_, test in rows():
        if not test.startswith(NOT_PINNED):
            names = re.findall(r"`(test_\w+\.py|tests/\w+/test_\w+\.py)::(test_\w+)`", test)
            assert names, reader
            for file, name in names:
                path = ROOT / file if "/" in file else FOLDER / file
                assert f"\ndef {name}(" in path.read_text(), test


def test_cells_are_short() -> None:
    """The cells of calls have room for the call alone; the sections below the table say more."""
    for reader, *calls, _ in rows():
        assert max(map(len, calls)) <= 120, reader


def test_each_release_is_that_of_the_tests() -> None:
    """A package of the table is pinned at the release that the table names."""
    tried = {
        pin
        for reader, *_, test in rows()
        if not test.startswith(NOT_PINNED)
        for pin in re.findall(r"`([^`]+)` ([\w.]+)", reader)
    }
    assert tried <= pins()


def test_the_releases_of_parquet_readers_are_those_of_the_tests() -> None:
    """docs/parquet.md names the pinned releases."""
    (sentence,) = re.findall(r"^These were run with ([^:]*?), on mirrors", PARQUET, re.MULTILINE)
    named = re.findall(r"(\w+) (\d+\.\d+\.\d+)", sentence)
    assert len(named) == 4
    for name, release in named:
        assert ("pyspark" if name == "Spark" else name.lower(), release) in pins()

"""What pytest prints at the end: what tests recorded, and what could not be tested.

Tests record with the fixture `record_property`:

    "fault"     name, kind of database, outcome
    "plan"      query, kind of database, access paths
    "driver"    kind of database, standard, column, stored time, read time, number of equal values
    "figures"   a sentence
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tests.support.databases import DATABASES


def write(terminal: pytest.TerminalReporter) -> None:
    """Print it."""
    recorded: defaultdict[str, list[Any]] = defaultdict(list)
    for report in terminal.getreports("passed"):
        for kind, value in report.user_properties:
            recorded[kind].append(value)
    _write_faults(terminal, recorded["fault"])
    if plans := sorted(recorded["plan"]):
        terminal.section("plans: how questions get at their rows in 100,000 requests")
        for query, database_kind, paths in plans:
            for line in (f"{query}, {database_kind}", *(f"    {path}" for path in paths)):
                terminal.write_line(line)
    _write_drivers(terminal, recorded["driver"])
    reasons = {
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminal.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    }
    for reason in sorted(reason for reason in reasons if " is not tested: " in reason):
        terminal.write_line(reason, yellow=True)
    if figures := sorted(recorded["figures"]):
        terminal.section("survived")
        for sentence in figures:
            terminal.write_line(sentence)


def _write_faults(terminal: pytest.TerminalReporter, recorded: list[Any]) -> None:
    table: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, database_kind, outcome in recorded:
        table[name][database_kind] = outcome
    if table:
        terminal.section("faults: exit code, outcome on record, rows and versions")
    for name in sorted(table):
        cells = "  ".join(f"{table[name].get(kind, '-'):32}" for kind in DATABASES)
        terminal.write_line(f"{name:26} {cells}".rstrip())


def _write_drivers(terminal: pytest.TerminalReporter, recorded: list[Any]) -> None:
    """Print an example of each column, and how many of its times each driver read right."""
    drivers = [(kind, standard) for kind in DATABASES for standard in ("JDBC", "ODBC")]
    table: defaultdict[str, dict[tuple[str, str], tuple[str, str, int]]] = defaultdict(dict)
    for kind, standard, column, stored, read, count in recorded:
        table[column][kind, standard] = (stored, read, count)
    if table:
        terminal.section("times as drivers of BI tools read them; values that were equal")
        terminal.write_line(f"{'':92}  SQLite   Postgres")
        terminal.write_line(f"{'column':44}{'stored':24}{'read':24} JDBC ODBC  JDBC ODBC")
    for column, cells in table.items():
        stored = " / ".join(sorted({stored for stored, _, _ in cells.values()}))
        read = " / ".join(sorted({read for _, read, _ in cells.values()}))
        counts = [f"{cells[driver][2] if driver in cells else '-':>5}" for driver in drivers]
        terminal.write_line(
            f"{column:44}{stored:24}{read:24}{''.join(counts[:2])} {''.join(counts[2:])}"
        )

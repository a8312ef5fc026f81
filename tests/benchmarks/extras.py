"""What is measured besides the stages: starting, looking up a number, and lists in pages."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import mirror
from tests.benchmarks import lists, stages, world
from tests.benchmarks.stages import Programs, System
from tests.benchmarks.world import Database, Failure, Measured

PER_PAGE = 100
LATENCY, RATE = 0.2, 1000
"""Seconds that an answer of the paged list takes, and the requests allowed a minute."""

MANY_PER_MINUTE = 10_000_000
"""A rate that holds nothing up."""

_QUERIES = 21


def start_up(times: int, programs: Programs) -> dict[str, list[Measured]]:
    """Start what has nothing to do, turn by turn; return by what was typed."""
    commands: dict[str, tuple[str, ...]] = {"python -c pass": (sys.executable, "-c", "pass")}
    for option in ("--version", "--help"):
        for system, program in programs.items():
            commands[f"{system} {option}"] = (program, option)
    found: dict[str, list[Measured]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            found[name].append(world.measure(*command))
    return found


@dataclass(frozen=True, slots=True)
class Paged:
    """The load of a list in pages.

    Attributes:
        took: by the process.
        size: bytes of the pages.
    """

    took: Measured
    size: int


def history(database: Database, requests: int, times: int) -> tuple[list[Measured], float]:
    """Ask a mirror for a number, as a process and as a query.

    Args:
        database: of the mirror.
        requests: length of the list it holds.
        times: how often to start the process.

    Returns:
        The processes, and the median of the seconds that the query helper takes.
    """
    number = lists.number_asked_twice(requests)
    seconds = []
    with mirror.connect(database.url) as connection:
        for _ in range(_QUERIES):
            began = time.perf_counter()
            events = mirror.phone_number_history(connection, number)
            seconds.append(time.perf_counter() - began)
            if [one.event for one in events].count("requested") != 2:
                raise Failure(f"the history of {number} is {events}")
    command = (world.MIRROR, "history", number, "--database", database.url)
    return [world.measure(*command) for _ in range(times)], median(seconds[1:])


def paged(
    folder: Path, pages: int, latency: float, rate: int, programs: Programs
) -> dict[System, Paged]:
    """Load a list that comes in pages.

    Args:
        folder: for the database.
        pages: of the list.
        latency: seconds that each of them takes.
        rate: requests allowed a minute.
        programs: the builds; each loads it once.
    """
    requests = pages * PER_PAGE
    options = ("--requests", str(requests), "--paged", "meta", "--latency", str(latency))
    loaded: dict[System, Paged] = {}
    with world.sandbox(*options) as base_url:
        for system, program in programs.items():
            with world.empty_database("sqlite", folder / "paged", None) as database:
                took = stages.sync(database, base_url, rate, program)
                found = database.row(
                    "SELECT count(*), (SELECT bytes FROM sync_runs) FROM release_requests"
                )
            if found[0] != requests:
                raise Failure(
                    f"the paged list has {requests} requests, {system} has {found[0]} of them"
                )
            loaded[system] = Paged(took, found[1])
    return loaded

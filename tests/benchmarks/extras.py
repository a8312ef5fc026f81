"""What is measured besides the stages: starting, looking up a number, and a list in pages."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import lists
import stages
import world
from world import Database, Failure, Measured

import mirror

PER_PAGE = 100
LATENCY, RATE = 0.2, 1000
"""Seconds that an answer of the paged list takes, and the requests allowed a minute."""

_QUERIES = 21


def start_up(times: int) -> dict[str, list[Measured]]:
    """Start what has nothing to do, turn by turn; return by what was typed."""
    commands = {
        "python -c pass": (sys.executable, "-c", "pass"),
        "mirror --version": (world.MIRROR, "--version"),
        "mirror --help": (world.MIRROR, "--help"),
    }
    found: dict[str, list[Measured]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            found[name].append(world.measure(*command))
    return found


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


def paged(folder: Path, pages: int) -> Measured:
    """Load a list that comes in pages from far away."""
    requests = pages * PER_PAGE
    with (
        world.sandbox(
            "--requests", str(requests), "--paged", "meta", "--latency", str(LATENCY)
        ) as base_url,
        world.empty_database("sqlite", folder / "paged", None) as database,
    ):
        took = stages.sync(database, base_url, RATE)
        found = database.row("SELECT count(*) FROM release_requests")
        if found != (requests,):
            raise Failure(f"the paged list has {requests} requests, the mirror {found[0]}")
        return took

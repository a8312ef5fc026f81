"""What was measured, as Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

import extras
import psycopg
from stages import STAGES, System, Timings
from world import Kind, Measured

from mirror.version import __version__

KINDS: dict[Kind, str] = {"sqlite": "SQLite", "postgres": "Postgres"}

_MIB = 1 << 20


def head(
    now: datetime,
    server: str | None,
    options: Sequence[str],
    program: str = "python tests/benchmarks",
) -> Iterator[str]:
    """Say what is measured where.

    Args:
        now: the date.
        server: URL of Postgres, if it is measured.
        options: of the command line.
        program: what they are given to.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    if server is not None:
        with psycopg.connect(server) as connection:
            number = connection.info.server_version
        versions.append(f"Postgres {number // 10_000}.{number % 10_000}")
    command = " ".join((program, *options))
    yield f"`{command}`: mirror {__version__}, {now:%Y-%m-%d}"
    yield ""
    yield (
        f"- {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()} "
        f"{platform.release()}; load {os.getloadavg()[0]:.1f} at the start"
    )
    yield f"- {', '.join(versions)}"


def stages(timings: Timings, wanted: Iterable[str], sizes: Sequence[int]) -> Iterator[str]:
    """Draw the table of the stages: seconds as median (least)."""
    yield (
        "| requests | database | stage | floor s | mirror s | ratio | over hash only s "
        "| floor MiB | mirror MiB | mirror MiB / JSON |"
    )
    yield "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for size in sizes:
        for kind in KINDS:
            for stage in STAGES:
                if stage.name in wanted and (size, kind, stage.name, "mirror") in timings.of:
                    yield _line(timings, size, kind, stage.name, stage.title)


def _line(timings: Timings, size: int, kind: Kind, name: str, title: str) -> str:
    def took(system: System) -> list[Measured]:
        return timings.of.get((size, kind, name, system), [])

    floor, mirror, hashed = took("floor"), took("mirror"), took("hash")
    cells = (
        f"{size:,}",
        KINDS[kind],
        title,
        _seconds(floor),
        _seconds(mirror),
        f"{_middle(mirror) / _middle(floor):.2f}" if floor else "",
        f"{_middle(mirror) - _middle(hashed):+.3f}" if hashed else "",
        f"{_peak(floor):.0f}" if floor else "",
        f"{_peak(mirror):.0f}",
        f"{_peak(mirror) * _MIB / json:.1f}" if (json := timings.size[size]) > _MIB else "",
    )
    return f"| {' | '.join(cells)} |"


def start_up(found: dict[str, list[Measured]]) -> Iterator[tuple[str, str]]:
    """Draw lines for what was only started."""
    bare = _middle(next(iter(found.values())))
    for name, took in found.items():
        yield f"`{name}`", f"{_milliseconds(took)}, ratio {_middle(took) / bare:.2f}"


def growth(
    timings: Timings, wanted: Iterable[str], sizes: Sequence[int]
) -> Iterator[tuple[str, str]]:
    """Draw lines that say whether time grows as the list does."""
    for few, many in [sizes[-2:]] if len(sizes) > 1 else []:
        for kind, name in KINDS.items():
            for stage in STAGES[:3]:
                ratios = [
                    f"{system} {_each(timings, many, kind, stage.name, system) / each:.2f}"
                    for system in stage.systems
                    if stage.name in wanted
                    and (each := _each(timings, few, kind, stage.name, system))
                ]
                if ratios:
                    yield (
                        f"time per request at {many:,} / at {few:,}, {name}, {stage.title}",
                        ", ".join(ratios),
                    )


def history(
    found: dict[Kind, tuple[list[Measured], float]], requests: int
) -> Iterator[tuple[str, str]]:
    """Draw lines for the history of a number."""
    for kind, (processes, query) in found.items():
        where = f"{requests:,} requests, {KINDS[kind]}"
        yield f"`mirror history NUMBER`, {where}", _milliseconds(processes)
        yield f"its query, by the helper, {where}", f"{query * 1000:.2f} ms"


def paged(pages: int, took: Measured) -> tuple[str, str]:
    """Draw the line of the list in pages."""
    what = f"first load of {pages} pages of {extras.PER_PAGE}, {extras.LATENCY * 1000:.0f} ms each"
    return f"{what}, `--rate {extras.RATE}`, SQLite", f"{took.seconds:.1f} s"


def two_columns(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Draw what else was measured."""
    yield "| what | measured |"
    yield "| --- | ---: |"
    for what, measured in lines:
        yield f"| {what} | {measured} |"


def _each(timings: Timings, size: int, kind: Kind, stage: str, system: System) -> float:
    took = timings.of.get((size, kind, stage, system))
    return _middle(took) / size if took else 0


def _middle(took: list[Measured]) -> float:
    return median(one.seconds for one in took)


def _peak(took: list[Measured]) -> float:
    """The largest peak, in MiB."""
    return max(one.peak for one in took) / _MIB


def _seconds(took: list[Measured]) -> str:
    return f"{_middle(took):.3f} ({min(one.seconds for one in took):.3f})" if took else ""


def _milliseconds(took: list[Measured]) -> str:
    return f"{_middle(took) * 1000:.0f} ms ({min(one.seconds for one in took) * 1000:.0f})"


def _processor() -> str:
    """Return the model of the processor, if it says so."""
    told = Path("/proc/cpuinfo")
    for line in told.read_text().splitlines() if told.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or sys.platform

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

import psycopg

from mirror.version import __version__
from tests.benchmarks import extras
from tests.benchmarks.environments import NAMES, Found
from tests.benchmarks.stages import STAGES, System, Timings
from tests.benchmarks.world import Kind, Measured

KINDS: dict[Kind, str] = {"sqlite": "SQLite", "postgres": "Postgres"}

_MIB = 1 << 20
_BESIDE: tuple[System, ...] = ("beside",)


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


def stages(
    timings: Timings, wanted: Iterable[str], sizes: Sequence[int], builds: Sequence[System]
) -> Iterator[str]:
    """Draw the table of the stages: seconds as median (least)."""
    beside = "beside" in builds
    yield (
        "| requests | database | stage | floor s | mirror s | ratio | over hash only s "
        "| floor MiB | mirror MiB | mirror MiB / JSON |"
        + (" beside s | mirror / beside | beside MiB |" if beside else "")
    )
    yield "| ---: | --- | --- |" + " ---: |" * (10 if beside else 7)
    for size in sizes:
        for kind in KINDS:
            for stage in STAGES:
                if stage.name in wanted and (size, kind, stage.name, "mirror") in timings.of:
                    yield _line(timings, size, kind, stage.name, stage.title)


def _line(timings: Timings, size: int, kind: Kind, name: str, title: str) -> str:
    def took(system: System) -> list[Measured]:
        return timings.of.get((size, kind, name, system), [])

    floor, mirror, hashed, beside = took("floor"), took("mirror"), took("hash"), took("beside")
    cells = [
        f"{size:,}",
        KINDS[kind],
        title,
        _seconds(floor),
        _seconds(mirror),
        _ratio(mirror, floor) if floor else "",
        f"{_middle(mirror) - _middle(hashed):+.3f}" if hashed else "",
        f"{_peak(floor):.0f}" if floor else "",
        f"{_peak(mirror):.0f}",
        f"{_peak(mirror) * _MIB / json:.1f}" if (json := timings.size[size]) > _MIB else "",
    ]
    if beside:
        cells += [_seconds(beside), _ratio(mirror, beside), f"{_peak(beside):.0f}"]
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
            for stage in STAGES[:-1]:  # "ETag" reads no list
                ratios = [
                    f"{system} {_each(timings, many, kind, stage.name, system) / each:.2f}"
                    for system in (*stage.systems, *_BESIDE)
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


def paged(pages: int, loaded: dict[System, extras.Paged]) -> Iterator[tuple[str, str]]:
    """Draw the line of the list in pages."""
    what = f"first load of {pages} pages of {extras.PER_PAGE}, {extras.LATENCY * 1000:.0f} ms each"
    seconds = {system: f"{of.took.seconds:.1f} s" for system, of in loaded.items()}
    yield f"{what}, `--rate {extras.RATE}`, SQLite", _by_build(seconds)


def paged_memory(pages: int, loaded: dict[System, extras.Paged]) -> Iterator[tuple[str, str]]:
    """Draw the line of what a list in many pages takes of memory."""
    what = f"first load of {pages:,} pages of {extras.PER_PAGE}, SQLite"
    size = loaded["mirror"].size / _MIB
    took = {
        system: f"{of.took.seconds:.1f} s, peak {of.took.peak / _MIB:.0f} MiB,"
        f" peak / JSON {of.took.peak / of.size:.1f}"
        for system, of in loaded.items()
    }
    yield f"{what}, {size:.0f} MiB of JSON", _by_build(took)


def environments(found: dict[Kind, Found], count: int, builds: Sequence[System]) -> Iterator[str]:
    """Draw the table of one environment among many: seconds as median (least)."""
    titles = {stage.name: stage.title for stage in STAGES}
    beside = "beside" in builds
    yield (
        "| database | stage |"
        + "".join(f" {build} alone s | {build} of {count} s | ratio |" for build in builds)
        + (f" mirror / beside, of {count} |" if beside else "")
    )
    yield "| --- | --- |" + " ---: |" * (7 if beside else 3)
    for kind, took in found.items():
        for name in NAMES:
            cells = [KINDS[kind], titles[name]]
            for build in builds:
                alone, many = took[name, build, "alone"], took[name, build, "many"]
                cells += [_seconds(alone), _seconds(many), _ratio(many, alone)]
            if beside:
                cells.append(_ratio(took[name, "mirror", "many"], took[name, "beside", "many"]))
            yield f"| {' | '.join(cells)} |"


def two_columns(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Draw what else was measured."""
    yield "| what | measured |"
    yield "| --- | ---: |"
    for what, measured in lines:
        yield f"| {what} | {measured} |"


def _by_build(texts: dict[System, str]) -> str:
    """Join what was measured of each build; that of this one needs no name if it is alone."""
    if len(texts) == 1:
        return texts["mirror"]
    return "; ".join(f"{system} {text}" for system, text in texts.items())


def _ratio(took: list[Measured], other: list[Measured]) -> str:
    return f"{_middle(took) / _middle(other):.2f}"


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

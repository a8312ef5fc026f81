"""Measures what years, many environments and the report cost, and prints the tables as Markdown.

    python tests/benchmarks/operations.py environments --count 30 --requests 10000 --jobs 1,4,8
    python tests/benchmarks/operations.py years --runs-on-record 525600
    python tests/benchmarks/operations.py report --requests 100000,1000000

work from a checkout with the extra "dev". docs/operations.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))  # the checkout

import sqlalchemy as sa

from mirror.db.engine import create_engine, write_transaction
from tests.benchmarks import stages, tables, world
from tests.benchmarks.world import Database, Failure, Kind
from tests.support import big_database as large

_PROGRAM = "python tests/benchmarks/operations.py"
_RUN = """
    INSERT INTO sync_runs (environment, outcome, started_at, finished_at, observed_at, seconds,
        completion, fetched, inserted, updated, unchanged, missing, returned, quarantined,
        newly_quarantined, duplicates, pages, bytes, base_url, content_digest, mirror_version,
        error)
    SELECT environment, CASE WHEN number % 100 = 0 THEN 'failed' ELSE 'unchanged' END,
        started_at, finished_at, CASE WHEN number % 100 <> 0 THEN observed_at END, seconds,
        CASE WHEN number % 100 <> 0 THEN number + 1 END, fetched, 0, 0, fetched, 0, 0, 0, 0, 0,
        pages, bytes, base_url, CASE WHEN number % 100 <> 0 THEN content_digest END,
        mirror_version, CASE WHEN number % 100 = 0 THEN 'the API was down' END
    FROM (SELECT * FROM sync_runs ORDER BY id LIMIT 1) AS first, {numbers}
"""
_NUMBERS = {
    "sqlite": "(WITH RECURSIVE n (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE "
    "number < {count}) SELECT number FROM n) AS numbers",
    "postgres": "generate_series(1, {count}) AS numbers (number)",
}
"""Rows like that of the first run, one in a hundred failed."""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    wanted = parser.add_subparsers(dest="wanted", required=True)
    many = wanted.add_parser("environments", help="many environments on one Postgres")
    many.add_argument("--count", type=int, default=30)
    many.add_argument("--requests", type=int, default=10_000, help="of each environment")
    many.add_argument("--jobs", default="1,4,8")
    many.add_argument("--latency", default="0,1", help="seconds that an answer takes")
    years = wanted.add_parser("years", help="many runs on record")
    years.add_argument("--runs-on-record", type=int, default=525_600)
    years.add_argument("--requests", type=int, default=10_000)
    years.add_argument(
        "--databases", nargs="+", choices=list(tables.KINDS), default=[*tables.KINDS]
    )
    years.add_argument("--times", type=int, default=5, help="how often each is measured")
    report = wanted.add_parser("report", help="the report of large mirrors with a past")
    report.add_argument("--requests", default="100000,1000000", help="how many, in turn")
    report.add_argument(
        "--databases", nargs="+", choices=list(tables.KINDS), default=[*tables.KINDS]
    )
    report.add_argument("--times", type=int, default=3, help="how often each is measured")
    options = parser.parse_args()
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mirror-bench-")))
            server = stack.enter_context(world.postgres_server())
            head = tables.head(datetime.now(UTC), server, sys.argv[1:], _PROGRAM)
            print("\n".join(head), end="\n\n")
            lines = {"environments": _environments, "years": _years, "report": _report}
            for line in lines[options.wanted](options, folder, server):
                print(line, flush=True)
    except Failure as failure:
        sys.exit(f"failed: {failure}")


def _environments(options: argparse.Namespace, folder: Path, server: str) -> Iterator[str]:
    """Sync many environments with one command, one after the other and side by side."""
    yield "| an answer takes | `--jobs` | first load | nothing new |"
    yield "| ---: | ---: | ---: | ---: |"
    for latency in options.latency.split(","):
        with ExitStack() as stack:
            hosts = [
                stack.enter_context(
                    world.sandbox(
                        *("--requests", str(options.requests)),
                        *("--seed", str(seed), "--latency", latency),
                    )
                )
                for seed in range(options.count)
            ]
            (folder / "token").write_text(world.TOKEN)
            for jobs in options.jobs.split(","):
                with world.empty_database("postgres", folder, server) as where:
                    file = _configure(folder, where, hosts)
                    took = [_sync_all(file, jobs) for _ in range(2)]
                    _check(where, options.count * options.requests)
                yield f"| {latency} s | {jobs} | {took[0]:.1f} s | {took[1]:.1f} s |"


def _configure(folder: Path, where: Database, hosts: list[str]) -> Path:
    """Write the configuration file that names the environments."""
    lines = [f'database = "{where.url}"', "[defaults]", "rate = 1000"]
    for number, host in enumerate(hosts):
        lines += [
            f"[environments.e{number:02}]",
            f'base_url = "{host}"',
            'token_file = "token"',
        ]
    file = folder / "mirror.toml"
    file.write_text("\n".join(lines))
    return file


def _sync_all(file: Path, jobs: str) -> float:
    command = (world.MIRROR, "sync", "--config", str(file), "--jobs", jobs, "--quiet")
    return world.measure(*command, settings={}).seconds


def _check(where: Database, count: int) -> None:
    if (found := where.row("SELECT count(*) FROM release_requests")) != (count,):
        raise Failure(f"there are {found[0]} requests in place of {count}")


def _years(options: argparse.Namespace, folder: Path, server: str) -> Iterator[str]:
    """Time commands on a mirror with one run on record, and with those of a year."""
    yield "| command | database | 1 run on record | " + f"{options.runs_on_record:,} |"
    yield "| --- | --- | ---: | ---: |"
    for kind in options.databases or tables.KINDS:
        name = tables.KINDS[kind]
        with (
            world.sandbox("--requests", str(options.requests)) as host,
            world.empty_database(kind, folder / kind, server) as where,
        ):
            stages.sync(where, host)
            before = _time_commands(where, host, options.times)
            _fill(where, kind, options.runs_on_record)
            where.settle()
            after = _time_commands(where, host, options.times)
            for command, took in before.items():
                yield f"| `{command}` | {name} | {_shown(took)} | {_shown(after[command])} |"
            prune = ("db", "prune", "--runs-older-than", "1s", "--database", where.url)
            pruned = world.measure(world.MIRROR, *prune).seconds
            yield f"| `mirror db prune`, all but what is needed | {name} | | {pruned:.2f} s |"


def _report(options: argparse.Namespace, folder: Path, server: str) -> Iterator[str]:
    """Time `mirror report` on mirrors that saw a year of requests in three pulls."""
    yield "| requests | database | twelve weeks | all of the year | size of the page |"
    yield "| ---: | --- | ---: | ---: | ---: |"
    large.LAST_SYNC = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    file = folder / "report.html"
    for count in map(int, options.requests.split(",")):
        for kind in options.databases:
            with world.empty_database(kind, folder / kind, server) as where:
                large.fill(where.url, count)
                where.settle()
                command = ("report", "--quiet", "--output", str(file), "--database", where.url)
                weeks, year = (
                    [
                        world.measure(world.MIRROR, *command, *since).seconds
                        for _ in range(options.times)
                    ]
                    for since in ((), ("--since", "366d"))
                )
            size = f"{file.stat().st_size / 1024:,.0f} KiB"
            name = tables.KINDS[kind]
            yield f"| {count:,} | {name} | {_shown(weeks)} | {_shown(year)} | {size} |"


def _time_commands(where: Database, host: str, times: int) -> dict[str, list[float]]:
    commands = {
        "mirror sync": ("sync", "--base-url", host),
        "mirror status": ("status",),
        "mirror status --format prometheus": ("status", "--format", "prometheus"),
        "mirror doctor": ("doctor", "--base-url", host),
    }
    return {
        name: [
            world.measure(world.MIRROR, *words, "--database", where.url).seconds
            for _ in range(times)
        ]
        for name, words in commands.items()
    }


def _shown(took: list[float]) -> str:
    return f"{median(took):.3f} s ({min(took):.3f})"


def _fill(where: Database, kind: Kind, count: int) -> None:
    """Put many runs on record."""
    with write_transaction(create_engine(where.url), "benchmark") as connection:
        connection.execute(sa.text("DELETE FROM sync_runs WHERE id > 1"))
        numbers = _NUMBERS[kind].format(count=count)
        connection.execute(sa.text(_RUN.format(numbers=numbers)))


if __name__ == "__main__":
    main()

"""Measures `mirror` beside the least that could do its job, and prints the tables as Markdown.

    python tests/benchmarks --sizes 1000,100000 --runs 5

works from a checkout with the extra "dev". The stand-in for the API, the floor and `mirror` are
processes on this machine; each stage of each is one, timed from its start to its end, and what it
leaves behind is compared with the list. docs/speed.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[2]))  # the checkout

from tests.benchmarks import environments, extras, lists, tables, world
from tests.benchmarks.extras import Paged
from tests.benchmarks.stages import STAGES, Course, Programs, Servers, System, Timings, servers
from tests.benchmarks.world import Failure, Kind, Measured

_EXTRAS = ("start-up", "history", "paged", "paged-memory", "environments")
_SMALLEST = 200  # a list of 100 might be a page: `mirror` asks twice


def main() -> None:
    """Do what the command line says."""
    parser = _parser()
    options = parser.parse_args()
    if options.environments < options.runs:
        parser.error("each run needs an environment of its own: --environments is less than --runs")
    if options.beside is not None and not options.beside.is_file():
        parser.error(f"--beside: there is no file {options.beside}")
    signal.signal(signal.SIGTERM, _end)
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mirror-bench-")))
            server = (
                stack.enter_context(world.postgres_server())
                if "postgres" in options.databases
                else None
            )
            _Benchmark(options, folder, server).run()
    except Failure as failure:
        sys.exit(f"failed: {failure}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/benchmarks", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument(
        "--sizes", type=_sizes, default=[1_000, 100_000, 1_000_000], help="requests in the lists"
    )
    parser.add_argument("--databases", type=_databases, default=list(tables.KINDS))
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*(stage.name for stage in STAGES), *_EXTRAS],
        default=[*(stage.name for stage in STAGES), *_EXTRAS],
        help="what to show; the stages before it happen all the same",
    )
    parser.add_argument("--pages", type=int, default=500, help="of the list of `paged`")
    parser.add_argument(
        "--many-pages", type=int, default=10_000, help="of the list of `paged-memory`"
    )
    parser.add_argument(
        "--environments", type=int, default=100, help="in one database, of `environments`"
    )
    parser.add_argument(
        "--environment-requests", type=int, default=10_000, help="requests in each of them"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="PATH",
        help="the executable `mirror` of another installation, measured in turn with this one",
    )
    parser.add_argument(
        "--floor",
        type=Path,
        default=world.HERE / "floor.py",
        help="another program in place of the floor",
    )
    return parser


def _sizes(text: str) -> list[int]:
    sizes = sorted({int(one) for one in text.split(",")})
    if sizes[0] < _SMALLEST:
        raise argparse.ArgumentTypeError(f"a list has at least {_SMALLEST} requests")
    return sizes


def _databases(text: str) -> list[Kind]:
    known = {str(kind): kind for kind in tables.KINDS}
    if unknown := set(text.split(",")) - known.keys():
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
    return [known[one] for one in text.split(",")]


def _end(*_: object) -> NoReturn:
    """Leave by way of everything that has to be ended."""
    sys.exit(128 + signal.SIGTERM)


def _progress(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


class _Benchmark:
    """All that is measured.

    Args:
        options: of the command line.
        folder: for everything that is written.
        server: URL of Postgres, if it is measured.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, server: str | None) -> None:
        self._sizes: list[int] = options.sizes
        self._kinds: list[Kind] = options.databases
        self._runs: int = options.runs
        self._wanted: list[str] = options.only
        shown = [place for place, one in enumerate(STAGES) if one.name in self._wanted]
        self._last = STAGES[max(shown, default=0)]
        self._options = options
        self._programs: Programs = {"mirror": world.MIRROR}
        if options.beside is not None:
            self._programs["beside"] = str(options.beside.absolute())
        self._floor: Path = options.floor
        self._folder = folder
        self._server = server
        self._timings = Timings()
        self._histories: dict[Kind, tuple[list[Measured], float]] = {}

    def run(self) -> None:
        """Measure, and print."""
        head = list(tables.head(datetime.now(UTC), self._server, _given()))
        if "beside" in self._programs:
            version = world.output(self._programs["beside"], "--version")
            head.append(f"- beside: {version}")
        if self._needs_stages():
            with servers(self._folder) as running:
                self._warm_up(running)
                for size in self._sizes:
                    self._measure(running, size)
        others = list(self._others())
        many = dict(self._many_environments())
        print("\n".join(head))
        for size, count in self._timings.size.items():
            print(f"- {size:,} requests are {count:,} bytes of JSON")
        print(f"- runs: {self._runs}; a time is the median, and in parentheses the least\n")
        shown = [stage.name for stage in STAGES if stage.name in self._wanted]
        if shown:
            lines = tables.stages(self._timings, shown, self._sizes, list(self._programs))
            print("\n".join(lines), end="\n\n")
        if others:
            print("\n".join(tables.two_columns(others)), end="\n\n")
        if many:
            count, requests = self._options.environments, self._options.environment_requests
            print(f"{count} environments of {requests:,} requests in one database:\n")
            print("\n".join(tables.environments(many, count, list(self._programs))))

    def _needs_stages(self) -> bool:
        return bool({"history", *(stage.name for stage in STAGES)} & set(self._wanted))

    def _warm_up(self, running: Servers) -> None:
        """Let every program be read from the disk once."""
        _progress("warming up")
        course = self._course(running, _SMALLEST)
        for kind in self._kinds:
            with course.run(kind, self._folder, self._server, 0) as (database, _):
                if "history" in self._wanted:
                    extras.history(database, _SMALLEST, 1)

    def _measure(self, running: Servers, size: int) -> None:
        _progress(f"making the lists of {size:,}")
        course = self._course(running, size)
        self._timings.size[size] = course.size
        for turn in range(self._runs):
            for kind in self._kinds:
                _progress(f"{size:,} requests, {tables.KINDS[kind]}, run {turn + 1}")
                with course.run(kind, self._folder, self._server, turn) as (database, found):
                    for (stage, system), took in found.items():
                        self._timings.of[size, kind, stage, system].append(took)
                    if "history" in self._wanted and (size, turn) == (
                        self._sizes[-1],
                        self._runs - 1,
                    ):
                        self._histories[kind] = extras.history(database, size, 2 * self._runs)

    def _course(self, running: Servers, size: int) -> Course:
        versions = [lists.make(self._folder, size, version) for version in range(3)]
        return Course(running, versions, self._programs, self._floor, self._last)

    def _others(self) -> Iterator[tuple[str, str]]:
        if "start-up" in self._wanted:
            _progress("starting")
            yield from tables.start_up(extras.start_up(4 * self._runs, self._programs))
        yield from tables.history(self._histories, self._sizes[-1])
        yield from tables.growth(self._timings, self._wanted, self._sizes)
        if "paged" in self._wanted:
            yield from tables.paged(
                self._options.pages,
                self._paged(self._options.pages, extras.LATENCY, extras.RATE),
            )
        if "paged-memory" in self._wanted:
            pages = self._options.many_pages
            yield from tables.paged_memory(pages, self._paged(pages, 0, extras.MANY_PER_MINUTE))

    def _paged(self, pages: int, latency: float, rate: int) -> dict[System, Paged]:
        _progress(f"a list in {pages:,} pages")
        return extras.paged(self._folder, pages, latency, rate, self._programs)

    def _many_environments(self) -> Iterator[tuple[Kind, environments.Found]]:
        """Measure environments among many, if that is wanted."""
        for kind in self._kinds if "environments" in self._wanted else []:
            _progress(f"{self._options.environments} environments, {tables.KINDS[kind]}")
            folder = self._folder / f"environments-{kind}"
            folder.mkdir()
            many = environments.ManyEnvironments(
                folder,
                self._server,
                count=self._options.environments,
                requests=self._options.environment_requests,
                programs=self._programs,
            )
            yield kind, many.measure(kind, self._runs)
            shutil.rmtree(folder)


def _given() -> list[str]:
    """Return the command line, as it has to be typed."""
    return [shlex.quote(one) for one in sys.argv[1:]]


if __name__ == "__main__":
    main()

"""Measures `mirror` beside the least that could do its job, and prints the tables as Markdown.

    python tests/benchmarks --sizes 1000,100000 --runs 5

works from a checkout with the extra "dev". The stand-in for the API, the floor and `mirror` are
processes on this machine; each stage of each is one, timed from its start to its end, and what it
leaves behind is compared with the list. docs/speed.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

sys.path.append(str(Path(__file__).parents[2]))  # the checkout

import extras
import lists
import tables
import world
from stages import STAGES, Course, Servers, Timings, servers
from world import Failure, Kind, Measured

_EXTRAS = ("start-up", "history", "paged")
_SMALLEST = 200  # a list of 100 might be a page: `mirror` asks twice


def main() -> None:
    """Do what the command line says."""
    options = _parser().parse_args()
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
    parser.add_argument("--pages", type=int, default=500, help="of the list that comes in pages")
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
        self._pages: int = options.pages
        self._floor: Path = options.floor
        self._folder = folder
        self._server = server
        self._timings = Timings()
        self._histories: dict[Kind, tuple[list[Measured], float]] = {}

    def run(self) -> None:
        """Measure, and print."""
        head = list(tables.head(datetime.now(UTC), self._server, _given()))
        if self._needs_stages():
            with servers(self._folder) as running:
                self._warm_up(running)
                for size in self._sizes:
                    self._measure(running, size)
        others = list(self._others())
        print("\n".join(head))
        for size, count in self._timings.size.items():
            print(f"- {size:,} requests are {count:,} bytes of JSON")
        print(f"- runs: {self._runs}; a time is the median, and in parentheses the least\n")
        shown = [stage.name for stage in STAGES if stage.name in self._wanted]
        if shown:
            print("\n".join(tables.stages(self._timings, shown, self._sizes)), end="\n\n")
        if others:
            print("\n".join(tables.two_columns(others)))

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
        versions = tuple(lists.make(self._folder, size, version) for version in (0, 1))
        return Course(running, (versions[0], versions[1]), self._floor, self._last)

    def _others(self) -> Iterator[tuple[str, str]]:
        if "start-up" in self._wanted:
            _progress("starting")
            yield from tables.start_up(extras.start_up(4 * self._runs))
        yield from tables.history(self._histories, self._sizes[-1])
        yield from tables.growth(self._timings, self._wanted, self._sizes)
        if "paged" in self._wanted:
            _progress("a list in pages")
            yield tables.paged(self._pages, extras.paged(self._folder, self._pages))


def _given() -> list[str]:
    """Return the command line, as it has to be typed."""
    return [shlex.quote(one) for one in sys.argv[1:]]


if __name__ == "__main__":
    main()

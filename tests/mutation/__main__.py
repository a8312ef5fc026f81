"""Mutation testing of `mirror/sync/`, `mirror/api/` and the SQL of the views.

    pip install -r tests/mutation/requirements.txt
    python tests/mutation --seed 1 --sample 450

Each mutant is one small change of one file, in a copy of the checkout. The tests that concern the
file run on it, and one of them should fail. The same seed chooses the same mutants as long as the
source is the same, and nearly the same ones after it has changed a little.

Of Python, the tests of the package run that reach the changed lines; of a view, those of the views'
rows and plans, but none that compares texts of the schema, which would fail for any change.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from itertools import accumulate, takewhile
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the checkout

import msgspec
import pytest

from tests.mutation import mutations, trials
from tests.mutation.mutations import Change, Mutant
from tests.mutation.trials import ROOT, Copy, Selection, Survey

KINDS = {
    "api": ("mirror/api/*.py", ["tests/api"]),
    "sync": ("mirror/sync/*.py", ["tests/sync", "tests/test_erasure.py"]),
    "views": (
        "migrations/sql/*/*/[pr]*.sql",  # not comments.sql
        [
            "tests/db/test_view_stories.py",
            "tests/db/test_views.py",
            "tests/db/test_unknown_times.py",
            "tests/queries/test_helpers.py",
            "tests/db/test_plans.py",
        ],
    ),
}
"""Files that are mutated, and the tests that concern them."""

_EQUIVALENT = Path(__file__).parent / "equivalent.toml"
_DATABASES = ("sqlite", "postgresql")
_PASSED = {code << 8 for code in (0, pytest.ExitCode.NO_TESTS_COLLECTED)}
"""Exit statuses of pytest without a failed test."""


@dataclass
class Baseline:
    """What the tests do with the original.

    Attributes:
        seconds: of each test.
        reached: the tests that reach each line, by file.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    reached: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def concerned(self, mutant: Mutant, budget: float) -> dict[str, float]:
        """Return the tests that concern a mutant, with their seconds, the best ones first."""
        order = self._of_python(mutant) if mutant.file.endswith(".py") else self._of_view(mutant)
        sums = accumulate(self.seconds[test] for test in order)
        within = takewhile(lambda one: one[1] <= budget, zip(order, sums, strict=True))
        return {test: self.seconds[test] for test, _ in within}

    def _of_python(self, mutant: Mutant) -> list[str]:
        """Return those that reach the lines, or any line if they run when they are imported.

        Those of the module's own tests come first, and one case of each test before any other.
        """
        lines = self.reached.get(mutant.file, {})
        first, last = mutant.lines
        tests = {test for line in range(first, last + 1) for test in lines.get(line, ())}
        tests = tests or {test for of_line in lines.values() for test in of_line}
        own = f"/test_{Path(mutant.file).stem}.py"
        cases: Counter[str] = Counter()
        rank = {}
        for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
            function = test.partition("[")[0]
            cases[function] += 1
            rank[test] = (own not in test, cases[function])
        return sorted(rank, key=lambda test: rank[test])

    def _of_view(self, mutant: Mutant) -> list[str]:
        """Return those of its database, in the order of the modules."""
        (other,) = {*_DATABASES} - {Path(mutant.file).parent.name}
        modules = KINDS["views"][1]
        of_views = (test for test in self.seconds if test.partition("::")[0] in modules)
        return sorted(
            (test for test in of_views if f"[{other}" not in test),
            key=lambda test: (modules.index(test.partition("::")[0]), self.seconds[test]),
        )


@dataclass(frozen=True)
class Task:
    """A run of tests in a copy: on a mutant, or to survey those of a kind."""

    subject: Mutant | str
    start: Callable[[Copy], int]


def main() -> int:
    """Do what the command line says; return 1 if mutants survived that are not listed."""
    options = _parser().parse_args()
    kinds = options.kind or [*KINDS]
    trials.load_libraries()
    with ExitStack() as stack:
        new_folder = tempfile.TemporaryDirectory
        folders = [stack.enter_context(new_folder(prefix="mutants-")) for _ in range(options.jobs)]
        copies = []
        for folder in map(Path, folders):
            folder.chmod(0o755)  # Postgres may run as another user
            copies.append(stack.enter_context(trials.copied(folder)))
        chosen = [
            mutant
            for kind, size in zip(kinds, _shares(options.sample, len(kinds)), strict=True)
            for mutant in _sample(kind, size, options.seed, copies[0])
        ]
        listed = _equivalent()
        print(f"{len(chosen)} mutants", flush=True)
        if options.baseline and options.baseline.exists():
            baseline = msgspec.json.decode(options.baseline.read_bytes(), type=Baseline)
        else:
            baseline = _survey(kinds, copies)
        if options.baseline:
            options.baseline.write_bytes(msgspec.json.encode(baseline))
        results = _earlier(options.again) if options.again else {}
        results |= {
            mutant.change: "equivalent"
            for mutant in chosen
            if (mutant.where, mutant.change) in listed
        }
        tried = [mutant for mutant in chosen if mutant.change not in results]
        for mutant, verdict, seconds in _verdicts(tried, copies, baseline, options.budget):
            results[mutant.change] = verdict
            print(f"{verdict} after {seconds:.0f} s: {mutant.file}", flush=True)
            if options.output:
                with options.output.open("a") as output:
                    print(json.dumps([verdict, *mutant.change]), file=output)
    survivors = [mutant for mutant in chosen if results[mutant.change] == "survived"]
    print(_table(chosen, results), *(mutant.diff() for mutant in survivors), sep="\n\n")
    return int(bool(survivors))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="chooses the mutants")
    parser.add_argument("--sample", type=int, default=450, help="how many, in equal shares")
    parser.add_argument("--kind", action="append", choices=[*KINDS], help="only these")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument(
        "--budget", type=float, default=inf, help="seconds of tests for each mutant, the best first"
    )
    parser.add_argument(
        "--baseline", type=Path, help="a survey of this source: kept, and used again"
    )
    parser.add_argument("--output", type=Path, help="append each verdict as a line of JSON")
    parser.add_argument(
        "--again", type=Path, help="try only what survived in this output, or is new"
    )
    return parser


def _files(kind: str) -> list[str]:
    """Return the files of a kind, for each view only that of the last revision that has one."""
    found = {path.parts[-2:]: path for path in sorted(ROOT.glob(KINDS[kind][0]))}
    return [str(path.relative_to(ROOT)) for path in found.values()]


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]


def _sample(kind: str, size: int, seed: int, copy: Copy) -> Iterator[Mutant]:
    """Yield mutants of a kind: those of the lowest ranks, without those that change nothing."""
    ranked = [mutations.candidates(ROOT, file, seed) for file in _files(kind)]
    seen: set[Change] = set()
    for candidate in merge(*ranked, key=lambda candidate: candidate.rank):
        if len(seen) == size:
            return
        mutant = mutations.mutant(ROOT, candidate)
        if mutant is None or mutant.change in seen or not _changes_a_view(mutant, copy):
            continue
        seen.add(mutant.change)
        yield mutant


def _changes_a_view(mutant: Mutant, copy: Copy) -> bool:
    """Whether the database accepts the SQL, and it means something else; true of Python."""
    if mutant.file.endswith(".py"):
        return True
    original = mutations.pretty(ROOT, mutant.file)
    return copy.compiles_to(mutant.file, mutant.text) not in {
        None,
        copy.compiles_to(mutant.file, original),
    }


def _earlier(output: Path) -> dict[Change, str]:
    """Return the verdicts of earlier runs, but for what survived the last of them."""
    results = map(json.loads, output.read_text("utf-8").splitlines())
    verdicts = {(file, before, after): verdict for verdict, file, before, after in results}
    return {change: verdict for change, verdict in verdicts.items() if verdict != "survived"}


def _equivalent() -> set[tuple[str, Change]]:
    """Return place and change of the mutants that are known to change nothing."""
    listed = tomllib.loads(_EQUIVALENT.read_text("utf-8")).get("mutant", [])
    return {(one["where"], (one["file"], one["before"], one["after"])) for one in listed}


def _run(tasks: Iterable[Task], copies: list[Copy]) -> Iterator[tuple[Task, Copy, int, float]]:
    """Run tasks, each in a copy of its own; yield each with its exit status and its seconds."""
    left, free = iter(tasks), [*copies]
    running: dict[int, tuple[Task, Copy, float]] = {}
    try:
        while True:
            while free and (task := next(left, None)) is not None:
                copy = free.pop()
                running[task.start(copy)] = task, copy, time.monotonic()
            if not running:
                return
            pid, status = os.wait()
            if pid in running:
                _kill(pid)  # what it has started
                task, copy, began = running.pop(pid)
                copy.drop_databases()
                yield task, copy, status, time.monotonic() - began
                free.append(copy)
    finally:
        for pid in running:
            _kill(pid)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _survey(kinds: list[str], copies: list[Copy]) -> Baseline:
    """Run the tests on the original, all of which must pass."""
    baseline = Baseline()

    def start(kind: str, copy: Copy) -> int:
        pattern, tests = KINDS[kind]
        modules = str(copy.root / pattern) if pattern.endswith(".py") else None
        for file in _files(kind) if modules is None else ():  # written as in its mutants
            (copy.root / file).write_text(mutations.pretty(ROOT, file), "utf-8")
        return copy.run(Survey(modules, copy.folder / "survey"), tests)

    tasks = [Task(kind, partial(start, kind)) for kind in kinds]
    for task, copy, status, _ in _run(tasks, copies):
        if status:
            sys.exit(f"mutation: tests fail without a mutant:\n{copy.log.read_text()}")
        seconds, reached = json.loads((copy.folder / "survey").read_text())
        baseline.seconds |= seconds
        for file, lines in reached.items():
            baseline.reached[file] = {int(line): tests for line, tests in lines.items()}
        print(f"{task.subject}: {copy.log.read_text().splitlines()[-1]}", flush=True)
    return baseline


def _verdicts(
    mutants: list[Mutant], copies: list[Copy], baseline: Baseline, budget: float
) -> Iterator[tuple[Mutant, str, float]]:
    """Try mutants; yield each with its verdict and its seconds."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True

    def start(mutant: Mutant, copy: Copy) -> int:
        (copy.root / mutant.file).write_text(mutant.text, "utf-8")
        tests = baseline.concerned(mutant, budget)
        modules = dict.fromkeys(test.partition("::")[0] for test in tests)
        return copy.run(Selection(tests), ["-x", *modules])

    tasks = (Task(mutant, partial(start, mutant)) for mutant in mutants)
    for task, copy, status, seconds in _run(tasks, copies):
        mutant = task.subject
        assert isinstance(mutant, Mutant)
        shutil.copy(ROOT / mutant.file, copy.root / mutant.file)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            yield mutant, "timed out", seconds
        else:
            yield mutant, "survived" if status in _PASSED else "killed", seconds


def _table(mutants: list[Mutant], results: dict[Change, str]) -> str:
    """Return the verdicts by file as a table of Markdown."""
    verdicts = ("killed", "timed out", "equivalent", "survived")
    counts: dict[str, Counter[str]] = {}
    for mutant in sorted(mutants, key=lambda mutant: mutant.file):
        for name in (mutant.file, "all"):
            counts.setdefault(name, Counter())[results[mutant.change]] += 1
    counts["all"] = counts.pop("all", Counter())
    rows = [
        f"| {name} | {count.total()} | {' | '.join(str(count[one]) for one in verdicts)} |"
        for name, count in counts.items()
    ]
    return "\n".join(
        [f"| file | mutants | {' | '.join(verdicts)} |", "| --- |" + " ---: |" * 5, *rows]
    )


if __name__ == "__main__":
    sys.exit(main())

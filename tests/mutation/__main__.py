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
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

import mutations
import trials
from mutations import Mutant
from trials import ROOT, Copy, Selection, Survey, Verdict

KINDS = {
    "api": ("mirror/api/*.py", ["tests/api"]),
    "sync": ("mirror/sync/*.py", ["tests/sync", "tests/test_erasure.py"]),
    "views": (
        "migrations/sql/0001/*/*[!t].sql",  # not comments.sql
        [
            "tests/db/test_plans.py",
            "tests/db/test_unknown_times.py",
            "tests/db/test_view_stories.py",
            "tests/db/test_views.py",
            "tests/queries/test_helpers.py",
        ],
    ),
}
"""Files that are mutated, and the tests that concern them."""

_EQUIVALENT = Path(__file__).parent / "equivalent.toml"
_DATABASES = ("sqlite", "postgresql")


@dataclass
class Baseline:
    """What the tests do with the original.

    Attributes:
        seconds: of each test.
        reached: the tests that reach each line, by file.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    reached: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def concerned(self, mutant: Mutant) -> dict[str, float]:
        """Return the tests that concern a mutant, with their seconds, the best ones first."""
        tests: Iterable[str]
        if mutant.file.endswith(".py"):
            lines = self.reached.get(mutant.file, {})
            first, last = mutant.lines
            tests = {test for line in range(first, last + 1) for test in lines.get(line, ())}
            if not tests:  # it runs when it is imported
                tests = {test for of_line in lines.values() for test in of_line}
        else:
            (other,) = {*_DATABASES} - {Path(mutant.file).parent.name}
            tests = (test for test in self.seconds if f"[{other}" not in test)
        own = f"/test_{Path(mutant.file).stem}.py"
        order = sorted(tests, key=lambda test: (own not in test, self.seconds[test], test))
        return {test: self.seconds[test] for test in order}


@dataclass
class Trial:
    """A run of tests on a mutant."""

    mutant: Mutant
    copy: Copy
    log: Path

    def start(self, baseline: Baseline) -> int:
        """Mutate the file in the copy, and start the tests; return the process id."""
        (self.copy.root / self.mutant.file).write_text(self.mutant.text, "utf-8")
        tests = baseline.concerned(self.mutant)
        modules = dict.fromkeys(test.partition("::")[0] for test in tests)
        return self.copy.run(self.log, Selection(tests), ["-x", *modules])

    def end(self, status: int) -> Verdict:
        """Restore the file; return what came out."""
        (self.copy.root / self.mutant.file).write_bytes((ROOT / self.mutant.file).read_bytes())
        self.copy.drop_databases()
        if os.WIFSIGNALED(status):
            return "timed out" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
        code = os.WEXITSTATUS(status)
        return "survived" if code in {0, 5} else "killed"  # 5: there is no test


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
        if options.again:
            again = _survivors(options.again)
            chosen = [mutant for mutant in chosen if mutant.key in again]
        listed = _equivalent()
        print(f"{len(chosen)} mutants", flush=True)
        baseline = _baseline(kinds, copies)
        verdicts = _verdicts([one for one in chosen if one.key not in listed], copies, baseline)
        results = {mutant.key: "equivalent" for mutant in chosen if mutant.key in listed}
        output = stack.enter_context(options.output.open("w")) if options.output else None
        for mutant, verdict, seconds in verdicts:
            results[mutant.key] = verdict
            print(f"{len(results)} {verdict} {seconds:.0f} s {mutant.file}", flush=True)
            if output is not None:
                print(json.dumps([verdict, *mutant.key]), file=output, flush=True)
    survivors = [mutant for mutant in chosen if results[mutant.key] == "survived"]
    print(_table(chosen, results), *(mutant.diff() for mutant in survivors), sep="\n\n")
    return int(bool(survivors))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="chooses the mutants")
    parser.add_argument("--sample", type=int, default=450, help="how many, in equal shares")
    parser.add_argument("--kind", action="append", choices=[*KINDS], help="only these")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--output", type=Path, help="write each verdict as a line of JSON")
    parser.add_argument("--again", type=Path, help="only those that survived in this output")
    return parser


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]


def _sample(kind: str, size: int, seed: int, copy: Copy) -> Iterator[Mutant]:
    """Yield mutants of a kind: those of the lowest ranks, without those that change nothing."""
    files = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(KINDS[kind][0]))]
    ranked = [mutations.candidates(ROOT, file, seed) for file in files]
    seen = set()
    for candidate in merge(*ranked, key=lambda candidate: candidate.rank):
        if len(seen) == size:
            return
        mutant = mutations.mutant(ROOT, candidate)
        if mutant is None or mutant.key in seen or not _changes_a_view(mutant, copy):
            continue
        seen.add(mutant.key)
        yield mutant


def _changes_a_view(mutant: Mutant, copy: Copy) -> bool:
    """Whether the database accepts the SQL, and it means something else; true of Python."""
    if mutant.file.endswith(".py"):
        return True
    compiled = copy.compiles_to(mutant.file, mutant.text)
    original = (ROOT / mutant.file).read_text("utf-8").rstrip().removesuffix(";")
    return compiled is not None and compiled != copy.compiles_to(mutant.file, original)


def _survivors(output: Path) -> set[tuple[str, str, str]]:
    results = map(json.loads, output.read_text("utf-8").splitlines())
    return {
        (file, before, after) for verdict, file, before, after in results if verdict == "survived"
    }


def _equivalent() -> set[tuple[str, str, str]]:
    """Return the keys of the mutants that are known to change nothing."""
    listed = tomllib.loads(_EQUIVALENT.read_text("utf-8")).get("mutant", [])
    return {(one["file"], one["before"], one["after"]) for one in listed}


def _baseline(kinds: list[str], copies: list[Copy]) -> Baseline:
    """Run the tests on the original, all of which must pass."""
    baseline = Baseline()
    for place, kind in enumerate(kinds):
        copy = copies[place % len(copies)]
        pattern, tests = KINDS[kind]
        found = copy.root.parent / "survey.json"
        log = copy.root.parent / "survey.log"

        def save(*measured: object, found: Path = found) -> None:
            found.write_text(json.dumps(measured))

        measured = [str(copy.root / pattern)] if pattern.endswith(".py") else []
        _, status = os.waitpid(copy.run(log, Survey(measured, save), tests), 0)
        if status:
            sys.exit(f"mutation: the tests fail without a mutant:\n{log.read_text()}")
        copy.drop_databases()
        seconds, reached = json.loads(found.read_text())
        baseline.seconds |= seconds
        for file, lines in reached.items():
            baseline.reached[file] = {int(line): of_line for line, of_line in lines.items()}
        print(f"{kind}: {log.read_text().splitlines()[-1]}", flush=True)
    return baseline


def _verdicts(
    mutants: list[Mutant], copies: list[Copy], baseline: Baseline
) -> Iterator[tuple[Mutant, Verdict, float]]:
    """Try the mutants, as many at a time as there are copies; yield the seconds of each too."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    left, running = iter(mutants), dict[int, tuple[Trial, float]]()
    free = [*copies]
    while True:
        while free and (mutant := next(left, None)) is not None:
            copy = free.pop()
            trial = Trial(mutant, copy, copy.root.parent / "log")
            running[trial.start(baseline)] = trial, time.monotonic()
        if not running:
            return
        pid, status = os.wait()
        if pid not in running:
            continue
        trial, began = running.pop(pid)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it has started
        verdict = trial.end(status)
        free.append(trial.copy)
        yield trial.mutant, verdict, time.monotonic() - began


def _table(mutants: list[Mutant], results: dict[tuple[str, str, str], str]) -> str:
    """Return the verdicts by file as a table of Markdown."""
    verdicts = ("killed", "timed out", "equivalent", "survived")
    counts: dict[str, Counter[str]] = {}
    for mutant in sorted(mutants, key=lambda mutant: mutant.file):
        for name in (mutant.file, "all"):
            counts.setdefault(name, Counter())[results[mutant.key]] += 1
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

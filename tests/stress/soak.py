"""A long soak: many environments on all kinds of databases, and everything that can happen to them.

    python tests/stress/soak.py [--minutes 75] [--seed N] [--environments 30]

docs/trust.md, "Soak", says what it does. It ends with a table, and with 0 if everything held.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))  # the checkout

from tests.support import guardian, oracle
from tests.support.soaks.audit import Auditor
from tests.support.soaks.databases import Infrastructure, SoakDatabase, check_integrity
from tests.support.soaks.fleet import CURSORS, Fleet, LongLived, Programs

SYNCS, READERS = 5, 4
"""Threads that run syncs and readers one after the other."""

LOAD = 0.7
"""CPU seconds of the processes per second, on average; servers of Postgres come on top."""

AT_ONCE = 15.0
"""CPU seconds that they may be ahead of that."""

PATIENCE = 400.0
"""Seconds that it may take longer until everything has happened once."""

MOST = 20
"""Violations after which it ends."""


class Soak:
    """One run of the soak.

    Args:
        minutes: how long it runs, without start and end.
        seed: of all that is left to chance.
        environments: how many.
        folder: for everything that it writes.
    """

    def __init__(self, minutes: float, seed: int, environments: int, folder: Path) -> None:
        self._seconds = minutes * 60
        self._seed = seed
        self._environments = environments
        self._folder = folder
        self._chance = _chance(seed)
        self._stop, self._has_happened = threading.Event(), threading.Event()
        self._began = time.monotonic()
        self.violations: list[str] = []
        self.moments = 0
        self._infrastructure = Infrastructure(folder, _chance(self._chance.random()))
        self._long_lived: list[LongLived] = []
        self._is_interrupted = False
        self._own_rss: list[int] = []

    def report(self, text: str) -> None:
        """Take a violation."""
        if self._is_interrupted:
            return
        self.violations.append(text)
        print(f"VIOLATION (seed {self._seed}): {text}", flush=True)
        if len(self.violations) >= MOST:
            self._stop.set()

    def run(self) -> bool:
        """Run it; return whether everything held."""
        oracle.PAGE = 100  # that of the program: twins on two pages are no list
        with self._infrastructure as infrastructure:
            infrastructure.build(self._environments)
            for missing in infrastructure.left_out:
                print(f"left out: {missing}")
            self._prepare()
            try:
                self._live()
                if len(self.violations) < MOST:
                    self._end()
            finally:
                self._stop_all()
            if self.violations:
                infrastructure.dump(self._folder)
        self._print_table()
        return not self.violations

    def _prepare(self) -> None:
        """Let each environment have its first sync, and start the long-lived syncs."""
        databases = self._infrastructure.databases
        self._programs = Programs(self._folder)
        self._auditors = {one.name: Auditor(one, self.report) for one in databases}
        self._fleet = Fleet(
            programs=self._programs,
            auditors=self._auditors,
            databases=databases,
            report=self.report,
            chance=_chance(self._chance.random()),
            folder=self._folder,
        )
        with ThreadPoolExecutor(SYNCS) as threads:
            list(threads.map(self._begin, databases))
        self._look()
        for database in sorted(databases, key=lambda one: -len(one.apis))[:3]:
            long_lived = LongLived(self._fleet, database, self._programs, self.report)
            self._long_lived.append(long_lived)
            long_lived.start()
        print(
            f"seed {self._seed}; {self._environments} environments in {len(databases)} databases; "
            f"ready after {time.monotonic() - self._began:.0f} s; folder {self._folder}",
            flush=True,
        )

    def _begin(self, database: SoakDatabase) -> None:
        """Let each environment of a database have its first sync."""
        self._fleet.sync_these(database, list(database.apis), ["--jobs", "2"])

    # While it runs

    def _live(self) -> None:
        """Let everything happen at once, for the given time."""
        self._since = time.monotonic()
        works = [self._weather, self._events, self._audits]
        works += [self._repeat(self._fleet.sync)] * SYNCS
        works += [self._repeat(self._fleet.read)] * READERS
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            self._watch()
        except KeyboardInterrupt:
            self._is_interrupted = True
            self._stop.set()
            self._fleet.kill()
            raise
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _watch(self) -> None:
        """Sample processes, and print a line a minute."""
        pause = min(10.0, max(0.5, self._seconds / 100))
        next_line = 60.0
        while not self._stop.wait(pause) and not self._is_over():
            for long_lived in self._long_lived:
                long_lived.sample()
            self._own_rss.append(psutil.Process().memory_info().rss)
            if self._elapsed() >= next_line:
                next_line += 60
                self._print_line()

    def _elapsed(self) -> float:
        return time.monotonic() - self._since

    def _is_over(self) -> bool:
        """Whether the time is over, and everything has happened once."""
        elapsed = self._elapsed()
        happened = self._has_happened.is_set() and min(self._fleet.reads_of_each()) > 0
        return elapsed > self._seconds and (happened or elapsed > self._seconds + PATIENCE)

    def _print_line(self) -> None:
        figures = self._fleet.figures
        syncs = sum(counts.total() for counts in figures.syncs.values())
        print(
            f"{self._elapsed() / 60:5.1f} min: {syncs} syncs, {figures.reads.total()} reads, "
            f"{sum(figures.events.values())} events, {len(self.violations)} violations; "
            f"CPU {self._cpu() / (time.monotonic() - self._began):.2f}, "
            f"this process {self._own_rss[-1] >> 20} MB",
            flush=True,
        )

    def _guarded(self, work: Callable[[], object]) -> None:
        """Run the work of a thread; what it raises is a violation."""
        try:
            work()
        except BaseException:  # noqa: BLE001 (pytest's own are none of Exception)
            self.report(f"the soak itself failed: {traceback.format_exc()}")
            self._stop.set()

    def _repeat(self, work: Callable[[], object]) -> Callable[[], None]:
        """Repeat work until the end, as often as the load allows."""

        def repeat() -> None:
            while not self._stop.is_set():
                while self._cpu() > LOAD * (time.monotonic() - self._began) + AT_ONCE:
                    if self._stop.wait(0.2):
                        return
                work()
                self._stop.wait(0.05)

        return repeat

    def _cpu(self) -> float:
        """CPU seconds of this process and of those that it has started."""
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        running = sum(one.cpu() for one in self._long_lived)
        return running + sum(usage.ru_utime + usage.ru_stime for usage in own)

    def _weather(self) -> None:
        """Change the lists, and let APIs fail."""
        chance = _chance(self._seed + 1)
        apis = [api for one in self._infrastructure.databases for api in one.apis.values()]
        pause, period = 0.5, 3.0 if self._seconds < 120 else 10.0
        while not self._stop.wait(pause):
            for api in apis:
                if chance.random() < pause / period:
                    api.move_on()
                if chance.random() < pause / (8 * period):
                    api.misbehave(chance.uniform(0.3, 1.2) * period)
                api.behave()

    def _events(self) -> None:
        """Let things happen to databases and programs, one after the other."""
        chance = _chance(self._seed + 2)
        planned: list[tuple[float, str, Callable[[], object]]] = []
        for name, happen in self._infrastructure.disasters().items():
            count = max(1, round(self._seconds / (600 if name == "failover" else 150)))
            planned += [
                ((place + chance.uniform(0.1, 0.7)) / count, name, happen) for place in range(count)
            ]
        planned += [(share, "upgrade", self._upgrade) for share in (0.3, 0.5)]
        for share, name, happen in sorted(planned, key=lambda one: one[:2]):
            if self._stop.wait(max(0.0, share * self._seconds - self._elapsed())):
                return
            happen()
            self._fleet.figures.events[name] += 1
        self._has_happened.set()

    def _upgrade(self) -> None:
        """Release another version: long-lived syncs are restarted, others run it from now on."""
        databases = self._infrastructure.databases
        with ExitStack() as stack:
            for database in databases:
                stack.enter_context(database.troubles.during(1))
            version = self._programs.upgrade()
            pause = min(3.0, self._seconds / 60)
            for long_lived in self._long_lived:
                self._stop.wait(pause)
                long_lived.restart()
            self._stop.wait(5 * pause)
            with ThreadPoolExecutor(SYNCS) as threads:
                list(threads.map(self._sync_until_upgraded, databases, [version] * len(databases)))

    def _sync_until_upgraded(self, database: SoakDatabase, version: str) -> None:
        """Sync environments in turn until a database has been upgraded, unless others do."""
        for name in cycle(database.apis):
            if self._is_upgraded(database, version) or self._stop.is_set():
                return
            self._fleet.sync_these(database, [name], ["--deadline", "20"])
            self._stop.wait(2)

    def _is_upgraded(self, database: SoakDatabase, version: str) -> bool:
        """Whether a version has completed a sync, and no process of another one is left."""
        return self._auditors[database.name].newest_version == version and all(
            generation == self._programs.generation
            for name, generation in list(self._fleet.running.values())
            if name == database.name
        )

    def _audits(self) -> None:
        """Audit, again and again."""
        while not self._stop.wait(2):
            self._look()

    def _look(self) -> None:
        for database in self._infrastructure.databases:
            began = time.time()
            try:
                self._auditors[database.name].look()
            except Exception as error:  # noqa: BLE001 (whatever it is, it counts unless excused)
                if not database.troubles.overlap(began, time.time()):
                    self.report(f"{database.name}: {error!r}\n{traceback.format_exc()}")

    # The end

    def _end(self) -> None:
        """End all faults, sync everything, and check everything."""
        print(f"the end, after {self._elapsed() / 60:.1f} min: faults stop", flush=True)
        for database in self._infrastructure.databases:
            for api in database.apis.values():
                api.recover()
        for long_lived in self._long_lived:
            long_lived.stop()
        time.sleep(6)  # nothing is excused by an outage from now on
        with ThreadPoolExecutor(SYNCS) as threads:
            list(threads.map(self._complete, self._infrastructure.databases))
        self._look()
        time.sleep(0.1)
        self._look()
        for database in self._infrastructure.databases:
            self._check(database)
        for long_lived in self._long_lived:
            for text in long_lived.growth():
                self.report(text)

    def _check(self, database: SoakDatabase) -> None:
        """Check a database at the end."""
        auditor = self._auditors[database.name]
        self.moments += auditor.finish(self._fleet.cursors[database.name])
        for name, audited in auditor.audited.items():
            if not audited.api.serves(audited.digest):
                self.report(f"{database.name}: {name} does not equal its list")
        if auditor.revision != self._programs.revision:
            self.report(f"{database.name}: the schema is {auditor.revision}")
        if wrong := check_integrity(database):
            self.report(f"{database.name}: integrity: {wrong}")

    def _complete(self, database: SoakDatabase) -> None:
        """Sync each environment completely, twice: then nothing is new, for cursors neither."""
        for name in database.apis:
            code, results = self._fleet.sync_these(database, [name], ["--accept-missing"])
            if code or results[0]["outcome"] not in {"applied", "unchanged"}:
                self.report(f"{database.name}: the last sync of {name}: {code} {results}")
        code, results = self._fleet.sync_these(database, list(database.apis), ["--jobs", "2"])
        if code or {result["outcome"] for result in results} != {"unchanged"}:
            self.report(f"{database.name}: syncs after the last ones: {code} {results}")
        for cursor in CURSORS:
            self._fleet.read_cursor(database, cursor)

    def _stop_all(self) -> None:
        self._stop.set()
        for long_lived in self._long_lived:
            long_lived.stop()

    def _print_table(self) -> None:
        """Print what has happened."""
        figures = self._fleet.figures
        databases = self._infrastructure.databases
        outcomes = ("applied", "unchanged", "superseded", "refused", "failed", "abandoned")
        print(
            "\n| database | files | environments | runs on record | "
            + " | ".join(outcomes)
            + " | exit codes of processes |"
        )
        print("| --- " * (len(outcomes) + 5) + "|")
        for kind in dict.fromkeys(one.kind for one in databases):
            of_kind = [one for one in databases if one.kind == kind]
            found = sum((self._auditors[one.name].outcomes for one in of_kind), Counter[str]())
            codes = sorted(figures.codes[kind].items())
            cells = [
                kind,
                len(of_kind),
                sum(len(one.apis) for one in of_kind),
                found.total(),
                *(found[outcome] for outcome in outcomes),
                ", ".join(f"{code}: {count}" for code, count in codes),
            ]
            print("| " + " | ".join(f"{cell}" for cell in cells) + " |")
        counts = sum((api.counts for one in databases for api in one.apis.values()), Counter[str]())
        for title, part in (
            ("changes of lists", _named(counts, "list: ")),
            ("faults of APIs", _named(counts, "API: ")),
            ("events", dict(figures.events)),
            ("reads", dict(figures.reads)),
            ("reads that an outage or an upgrade prevented", dict(figures.failed_reads)),
        ):
            listed = ", ".join(f"{name} {count}" for name, count in sorted(part.items()))
            print(f"\n{title} ({sum(part.values())}): {listed}")
        print(f"\nmoments read back: {self.moments}")
        for one in self._long_lived:
            for samples in filter(None, one.samples):
                print(
                    f"sync --every, {one.database.name}: {len(samples)} samples, "
                    f"RSS {samples[0].rss >> 20} to {samples[-1].rss >> 20} MB, "
                    f"handles {samples[0].handles} to {samples[-1].handles}"
                )
        print(
            f"wall time {(time.monotonic() - self._began) / 60:.1f} min, "
            f"CPU {self._cpu() / (time.monotonic() - self._began):.2f} cores, "
            f"this process at most {max(self._own_rss, default=0) >> 20} MB"
        )


def _chance(seed: float) -> random.Random:
    return random.Random(seed)  # noqa: S311 (no cryptography)


def _named(counts: Counter[str], prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): count
        for name, count in counts.items()
        if name.startswith(prefix)
    }


def main() -> int:
    """Parse the command line, and run the soak."""
    parser = argparse.ArgumentParser(description="Run the long soak.")
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--environments", type=int, default=30)
    arguments = parser.parse_args()
    os.nice(10)
    guard = None if os.environ.get(guardian.MARK) else guardian.start()
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=guardian.folder()))
    folder.chmod(0o755)  # servers of Postgres may run as another user
    seed = secrets.randbelow(1 << 30) if arguments.seed is None else arguments.seed
    soak = Soak(arguments.minutes, seed, arguments.environments, folder)
    keep = True
    try:
        held = soak.run()
        keep = not held
    except KeyboardInterrupt:
        keep = False
        print("interrupted")
        return 130
    finally:
        if keep:
            kept = Path(tempfile.mkdtemp(prefix="mirror-soak-")) / "soak"
            shutil.move(folder, kept)
            print(f"kept: {kept}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        if guard is not None:
            guard.communicate()
    if not held:
        print(f"{len(soak.violations)} violations; repeat with --seed {seed}:")
        for violation in soak.violations:
            print(f"- {violation}")
        return 1
    print("all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())

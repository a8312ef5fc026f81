"""The processes of the soak: syncs, readers, long-lived syncs, and the programs that they run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pyarrow.parquet as pq

from mirror.db import revisions
from mirror.queries import helpers
from tests.support import ROOT
from tests.support.schema import later_revision
from tests.support.soaks.audit import Auditor, Printed, Read, Report
from tests.support.soaks.databases import SoakDatabase
from tests.support.soaks.models import change_key, fields_of, state_hash

SERIOUS = (2, 77, 4, 1, 3, 75, 0)
"""Exit codes, the most serious one first."""

LONGEST = 240
"""Seconds after which a command is taken for one that hangs."""

WARM_UP = 60
"""Seconds of a long-lived process in which its memory may grow."""

CURSORS = ("one", "two")

HELPERS = """
import json, sys
import mirror
with mirror.connect(sys.argv[1]) as connection:
    found = []
    for environment in sys.argv[2:]:
        rows = mirror.release_requests(connection, environment=environment)
        counted = mirror.count_by_status(connection, environment=environment)
        tally = {}
        for row in rows:
            tally[row.status] = tally.get(row.status, 0) + 1
        assert dict(counted) == tally, (counted, tally)
        run = mirror.last_run(connection, environment=environment)
        assert run is not None
        found.append([environment, [
            {name: getattr(row, name) and str(getattr(row, name))
             for name in ("id", "phone_number", "phone_number_id", "status", "reason",
                          "rejection_reason", "requested_at", "resolved_at")} for row in rows]])
print(json.dumps(found))
"""
"""A program with the Python helpers: two of them must agree within one connection."""

GAPS = """
SELECT count(*) AS wrong FROM (
  SELECT valid_to, valid_from,
         lead(valid_from) OVER (PARTITION BY id ORDER BY valid_from) AS begins
  FROM release_request_versions) AS version
WHERE (begins IS NULL) <> (valid_to IS NULL) OR begins <> valid_to OR valid_to <= valid_from
"""
TOTALS = """
SELECT (SELECT count(*) FROM release_requests) AS requests,
       (SELECT count(*) FROM release_request_versions WHERE valid_to IS NULL) AS open_versions
"""


class Programs:
    """Versions of the program: this one, and later ones that are made of it.

    Args:
        folder: for their files.

    Attributes:
        version: of the current one.
        generation: its number.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.generation = 0
        self._paths = [self._copy(ROOT / "migrations", None)]
        self.version = "0"
        self.revision = revisions.known()[-1]

    def upgrade(self) -> str:
        """Release another version; the first one has another revision of the schema, too."""
        number = self.generation + 1
        if number == 1:
            source = self._folder / "revision"
            source.mkdir()
            with later_revision(source) as self.revision:
                path = self._copy(source / "100% of them", f"{number}000.0.0")
        else:
            path = self._copy(self._paths[-1] / "migrations", f"{number}000.0.0")
        self._paths.append(path)
        self.version = f"{number}000.0.0"
        self.generation = number
        return self.version

    def _copy(self, migrations: Path, version: str | None) -> Path:
        number = 0 if version is None else self.generation + 1
        path = self._folder / f"program-{number}"
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "mirror", path / "mirror", ignore=ignore)
        shutil.copytree(migrations, path / "migrations", ignore=ignore)
        if version is not None:
            file = path / "mirror" / "version.py"
            lines = file.read_text().splitlines()
            lines = [f'__version__ = "{version}"' if "__version__" in x else x for x in lines]
            file.write_text("\n".join(lines) + "\n")
        return path

    def environment(self, database: SoakDatabase) -> dict[str, str]:
        """The environment of a process that runs the current program."""
        return os.environ | {
            "PYTHONPATH": str(self._paths[self.generation]),
            "PYTHONSAFEPATH": "1",
            "MIRROR_CONFIG": str(database.config),
            "XDG_CACHE_HOME": str(self._folder),
        }


@dataclass
class Figures:
    """What has happened so far, by kind of database."""

    syncs: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    codes: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    reads: Counter[str] = field(default_factory=Counter)
    failed_reads: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)


class Fleet:
    """The processes of the soak.

    Args:
        programs: what they run.
        auditors: by name of the database; they check what the processes print.
        databases: all of them.
        report: takes violations.
        chance: decides what is run.
        folder: for files that commands write.
    """

    def __init__(
        self,
        *,
        programs: Programs,
        auditors: dict[str, Auditor],
        databases: Sequence[SoakDatabase],
        report: Report,
        chance: Random,
        folder: Path,
    ) -> None:
        self._programs = programs
        self._auditors = auditors
        self._databases = databases
        self._report = report
        self._chance = chance
        self._folder = folder
        self._numbers = 0
        self._lock = threading.Lock()
        self.figures = Figures()
        self.running: dict[int, tuple[str, int]] = {}  # database and generation, by pid
        self.cursors: dict[str, dict[str, dict[str, set[bytes]]]] = {
            database.name: {name: defaultdict(set) for name in CURSORS} for database in databases
        }
        self._again: set[tuple[str, str]] = set()
        self._cursor_locks: dict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)
        self._complete_at: dict[tuple[str, str], str] = {}

    def _database(self) -> SoakDatabase:
        """Choose a database; each environment is as likely as any other."""
        weights = [len(database.apis) for database in self._databases]
        return self._chance.choices(list(self._databases), weights)[0]

    def run(
        self,
        database: SoakDatabase,
        command: Sequence[str],
        kill: tuple[float, signal.Signals] | None = None,
    ) -> tuple[int, str, str]:
        """Run a command; return its exit code, stdout and stderr."""
        generation = self._programs.generation
        process = subprocess.Popen(
            [sys.executable, *command],
            env=self._programs.environment(database),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is for the soak
        )
        self.running[process.pid] = (database.name, generation)
        try:
            out, err = _communicate(process, kill)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            self._report(f"{database.name}: {command} took more than {LONGEST} s: {out}{err}")
        finally:
            process.kill()  # after Ctrl-C it still runs
            del self.running[process.pid]
        return process.returncode, out, err

    def kill(self) -> None:
        """Kill the processes that run, after Ctrl-C."""
        for pid in list(self.running):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # Syncs

    def sync(self) -> None:
        """Run a sync of one or more environments, as chance has it, and note what it printed."""
        with self._lock:
            self._numbers += 1
            number = self._numbers
            database = self._database()
            chance = self._chance
            names = list(database.apis)
            share = chance.random()
            count = 1 if share < 0.6 else min(len(names), chance.randint(2, 4))
            chosen = names if share > 0.9 else chance.sample(names, count)
            arguments = ["--timeout", f"{chance.choice((1, 2, 4))}"]
            arguments += ["--deadline", f"{chance.choice((6, 10, 20))}", "--rate", "6000"]
            if len(chosen) > 1:
                arguments += ["--jobs", f"{chance.randint(1, 3)}"]
            accepts = len(chosen) == 1 and database.apis[chosen[0]].is_refused
            if accepts and chance.random() < 0.5:
                arguments.append("--accept-missing")
            elif chance.random() < 0.04:
                arguments.append("--dry-run")
            kill = None
            if number % 12 == 5:
                kill = (chance.uniform(0.3, 1.8), signal.SIGKILL)
            elif number % 12 == 9:
                kill = (chance.uniform(0.3, 1.8), signal.SIGTERM)
        self.sync_these(database, chosen, arguments, kill)

    def sync_these(
        self,
        database: SoakDatabase,
        names: Sequence[str],
        arguments: Sequence[str],
        kill: tuple[float, signal.Signals] | None = None,
    ) -> tuple[int, list[dict[str, Any]]]:
        """Run a sync, and note what it printed; return its exit code and results."""
        chosen = [word for name in names for word in ("--environment", name)]
        words = ["sync", "--json", *chosen, *arguments]
        began = time.time()
        windows = []
        for name in names:
            api = database.apis[name]
            if "--accept-missing" in arguments:
                windows.append((api.accepting, api.accepting.open()))
            if kill is not None:
                windows.append((api.kills, api.kills.open()))
        code, out, err = self.run(database, ["-m", "mirror", *words], kill)
        for window, opened in windows:
            window.close(opened)
        figures = self.figures
        with self._lock:
            figures.codes[database.kind][code] += 1
            if kill is not None:
                figures.events[f"killed by {kill[1].name}"] += code != 0
        results = self._results(database, " ".join(words), out, began, whole=code >= 0)
        if "Traceback" in err:
            self._report(f"{database.name}: {words} printed a traceback: {err}")
        if kill is None and not database.troubles.overlap(began, time.time()):
            codes = {result["exit_code"] for result in results} or {0}
            serious = next(one for one in SERIOUS if one in codes)
            if code != serious or len(results) != len(names):
                self._report(f"{database.name}: {words} ended with {code}: {out} {err}")
        return code, results

    def _results(
        self, database: SoakDatabase, command: str, out: str, began: float, *, whole: bool
    ) -> list[dict[str, Any]]:
        results = []
        for line in out.splitlines():
            try:
                result = json.loads(line)
            except ValueError:
                if whole:
                    self._report(f"{database.name}: {command} printed {line!r}")
                continue
            self.note(database, command, result, began)
            results.append(result)
        return results

    def note(
        self, database: SoakDatabase, command: str, result: dict[str, Any], began: float
    ) -> None:
        """Note the result of a sync, for the auditor."""
        with self._lock:
            self.figures.syncs[database.kind][result["outcome"]] += 1
        printed = Printed(command, result, began, time.time())
        self._auditors[database.name].printed.append(printed)

    # Readers

    def read(self) -> None:
        """Run a reader, as chance has it, and check what it sees."""
        with self._lock:
            readers = self._readers()
            weights = (2, 4, 2, 4, 2, 1, 1, 2, 4)
            self._numbers += 1
            name = (
                list(readers)[self.figures.reads.total()]
                if self.figures.reads.total() < len(readers)
                else self._chance.choices(list(readers), weights)[0]
            )
            self.figures.reads[name] += 1
            database = self._database()
        if not readers[name](database):
            with self._lock:
                self.figures.failed_reads[name] += 1

    def _readers(self) -> dict[str, Callable[[SoakDatabase], bool]]:
        return {
            "status": self._status,
            "requests": self._requests,
            "history": self._history,
            "changes --new": self._changes,
            "query": self._query,
            "export": self._export,
            "report": self._write_report,
            "helpers": self._helpers,
            "helpers in process": self._helpers_in_process,
        }

    def reads_of_each(self) -> list[int]:
        """How often each reader was run."""
        return [self.figures.reads[name] for name in self._readers()]

    def _read(self, database: SoakDatabase, *words: str, code: int = 0) -> tuple[str, float] | None:
        """Run a reader; return its output and when it began, or None if it was right to fail."""
        began = time.time()
        command = list(words) if words[0] == "-c" else ["-m", "mirror", *words]
        ended, out, err = self.run(database, command)
        if ended != code:
            broken = ended < 0 or (command[0] == "-m" and "Traceback" in err)
            if broken or not database.troubles.overlap(began, time.time()):
                self._report(f"{database.name}: {words[:4]} ended with {ended}: {out[-300:]} {err}")
            return None
        return out, began

    def _saw(
        self, reader: str, database: SoakDatabase, environment: str, rows: Any, began: float
    ) -> None:
        read = Read(reader, environment, state_hash(rows), began, time.time())
        self._auditors[database.name].reads.append(read)

    def _environment(self, database: SoakDatabase) -> str:
        with self._lock:
            return self._chance.choice(list(database.apis))

    def _status(self, database: SoakDatabase) -> bool:
        before = {name: self._complete_at.get((database.name, name), "") for name in database.apis}
        read = self._read(database, "status", "--format", "json")
        if read is None:
            return False
        rows = json.loads(read[0])
        if {row["environment"] for row in rows} != set(database.apis):
            self._report(f"{database.name}: status lacks environments: {rows}")
        for row in rows:
            name, when = row["environment"], row["complete_at"]
            if when < before.get(name, ""):
                self._report(f"{database.name}: status went back from {before[name]} to {row}")
            key = (database.name, name)
            self._complete_at[key] = max(self._complete_at.get(key, ""), when)
        return True

    def _requests(self, database: SoakDatabase) -> bool:
        name = self._environment(database)
        read = self._read(database, "requests", "--environment", name, "--format", "json")
        if read is not None:
            self._saw("requests", database, name, json.loads(read[0]), read[1])
        return read is not None

    def _history(self, database: SoakDatabase) -> bool:
        name = self._environment(database)
        number = f"+1555{self._chance.randrange(8):07d}"
        read = self._read(database, "history", number, "--environment", name, "--format", "json")
        if read is None:
            return False
        rows = json.loads(read[0])
        keys = [(row["request_id"], row["event"], row["observed_at"]) for row in rows]
        times = [row["occurred_at"] for row in rows if row["occurred_at"]]
        if len(keys) != len(set(keys)) or _moments(times) != sorted(_moments(times)):
            self._report(f"{database.name}: the history of {number} in {name}: {rows}")
        return True

    def _changes(self, database: SoakDatabase) -> bool:
        cursor = self._chance.choice(CURSORS)
        with self._cursor_locks[database.name, cursor]:
            return self.read_cursor(database, cursor)

    def read_cursor(self, database: SoakDatabase, cursor: str) -> bool:
        """Read the changes that are new to a cursor; none may come twice."""
        read = self._read(database, "changes", "--cursor", cursor, "--format", "json")
        key = (database.name, cursor)
        if read is None:
            self._again.add(key)  # what it has shown may be shown again
            return False
        seen = self.cursors[database.name][cursor]
        for row in json.loads(read[0]):
            change = change_key(row)
            if change in seen[row["environment"]] and key not in self._again:
                self._report(f"{database.name}: the cursor {cursor} showed twice: {row}")
            seen[row["environment"]].add(change)
        self._again.discard(key)
        return True

    def _query(self, database: SoakDatabase) -> bool:
        read = self._read(database, "query", GAPS, "--format", "json")
        if read is not None and json.loads(read[0]) != [{"wrong": 0}]:
            self._report(f"{database.name}: versions do not meet: {read[0]}")
        totals = self._read(database, "query", TOTALS, "--format", "json")
        if totals is not None:
            [row] = json.loads(totals[0])
            if row["requests"] != row["open_versions"]:
                self._report(f"{database.name}: a query saw two states: {row}")
        return read is not None and totals is not None

    def _export(self, database: SoakDatabase) -> bool:
        folder = self._folder / f"export-{database.name}"
        with self._cursor_locks[database.name, "export"]:
            read = self._read(database, "export", "--quiet", str(folder))
            if read is None:
                shutil.rmtree(folder, ignore_errors=True)
                return False
            for name in database.apis:
                files = (folder / "release_requests" / f"environment={name}").glob("*.parquet")
                rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
                listed = [row for row in rows if row["missing_since"] is None]
                self._saw("export", database, name, listed, read[1])
        return True

    def _write_report(self, database: SoakDatabase) -> bool:
        with self._lock:
            self._numbers += 1
            path = self._folder / f"report-{self._numbers}.html"
        read = self._read(database, "report", "--quiet", "--since", "2d", "--output", str(path))
        if read is None:
            path.unlink(missing_ok=True)
            return False
        if not path.read_text().rstrip().endswith("</html>"):
            self._report(f"{database.name}: a report is not whole")
        path.unlink()
        return True

    def _helpers(self, database: SoakDatabase) -> bool:
        read = self._read(database, "-c", HELPERS, database.url, *database.apis)
        if read is None:
            return False
        for name, rows in json.loads(read[0]):
            self._saw("helpers", database, name, rows, read[1])
        return True

    def _helpers_in_process(self, database: SoakDatabase) -> bool:
        """Read by the helpers in this process: now, and as of a moment that was audited."""
        began = time.time()
        seen = []
        try:
            with database.reading() as connection:
                for name in database.apis:
                    moments = self._auditors[database.name].audited[name].moments
                    rows = helpers.release_requests(connection, environment=name)
                    seen.append((name, [fields_of(row) for row in rows]))
                    if not moments:
                        continue
                    moment = moments[int(self._chance.random() * len(moments))]
                    rows = helpers.release_requests(connection, environment=name, as_of=moment.when)
                    if state_hash(map(fields_of, rows)) != moment.state:
                        self._report(f"{database.name}: {name} as of {moment.when} has changed")
        except Exception as error:  # noqa: BLE001 (whatever it is, it counts unless excused)
            if not database.troubles.overlap(began, time.time()):
                self._report(f"{database.name}: helpers in process: {error!r}")
            return False
        for name, fields in seen:
            self._saw("helpers in process", database, name, fields, began)
        return True


def _communicate(
    process: subprocess.Popen[str], kill: tuple[float, signal.Signals] | None
) -> tuple[str, str]:
    """Return the output of a process, which gets a signal after so many seconds."""
    if kill is not None:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=kill[0])
        process.send_signal(kill[1])
    return process.communicate(timeout=LONGEST)


def _moments(times: list[str]) -> list[str]:
    """Times as text that sorts: with milliseconds."""
    return [time if "." in time else time.replace("Z", ".000Z") for time in times]


@dataclass
class Sample:
    """Memory and handles of a process at an age in seconds."""

    age: float
    rss: int
    handles: int


class LongLived:
    """A `mirror sync --every` of all environments of a database, which is restarted at upgrades.

    Attributes:
        samples: of each process so far, one list for each.
    """

    def __init__(self, fleet: Fleet, database: SoakDatabase, programs: Programs, report: Report):
        self.database = database
        self.samples: list[list[Sample]] = []
        self._fleet = fleet
        self._programs = programs
        self._report = report
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._generation = 0
        self._has_begun = False
        self._lock = threading.Lock()  # it is not sampled while it is restarted

    def restart(self) -> None:
        """Stop it, and start it with the current program."""
        with self._lock:
            self.stop()
            self.start()

    def start(self) -> None:
        """Start the process."""
        words = ["sync", "--every", "7s", "--jobs", "3", "--json", "--quiet"]
        words += ["--timeout", "2", "--deadline", "10", "--rate", "6000"]
        self._generation, self._has_begun = self._programs.generation, False
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "mirror", *words],
            env=self._programs.environment(self.database),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        self._fleet.running[process.pid] = (self.database.name, self._generation)
        self.samples.append([])
        self._thread = threading.Thread(target=self._follow, args=(process, " ".join(words)))
        self._thread.start()

    def _follow(self, process: subprocess.Popen[str], command: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._has_begun = True
            result = json.loads(line)
            self._fleet.note(self.database, command, result, time.time() - result["seconds"])

    def sample(self) -> None:
        """Measure the process; it must run."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            assert self._process is not None
            if self._process.poll() is not None:
                code = self._process.returncode
                self._report(f"{self.database.name}: sync --every ended with {code}")
                self.stop()
                self.start()
                return
            with suppress(psutil.Error):
                process = psutil.Process(self._process.pid)
                age = time.time() - process.create_time()
                rss, handles = process.memory_info().rss, process.num_fds()
                if rss:  # one that has just ended has none
                    self.samples[-1].append(Sample(age, rss, handles))
        finally:
            self._lock.release()

    def cpu(self) -> float:
        """Seconds of CPU of the running process so far."""
        process = self._process  # which another thread may replace
        if process is None or process.poll() is not None:
            return 0.0
        with suppress(psutil.Error):
            times = psutil.Process(process.pid).cpu_times()
            return times.user + times.system
        return 0.0

    def stop(self) -> None:
        """Stop it by SIGTERM; it ends with 0."""
        if self._process is None:
            return
        windows = [(api.kills, api.kills.open()) for api in self.database.apis.values()]
        was_running = self._process.poll() is None
        if was_running:
            self._process.terminate()
        try:
            code = self._process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        # While Python starts, nobody handles the signal yet.
        if was_running and code != 0 and (self._has_begun or code != -signal.SIGTERM):
            self._report(f"{self.database.name}: sync --every ended with {code} after SIGTERM")
        if self._thread is not None:
            self._thread.join()
        for window, opened in windows:
            window.close(opened)
        self._fleet.running.pop(self._process.pid, None)
        self._process = None

    def growth(self) -> list[str]:
        """What is not flat: the last fifth of the samples against the second one.

        The first minute does not count: modules are imported when they are first needed.
        """
        found = []
        for process in self.samples:
            samples = [sample for sample in process if sample.age > WARM_UP]
            fifth = len(samples) // 5
            if fifth < 3 or samples[-1].age < 3 * WARM_UP:
                continue
            for name, constant in (("rss", 4 << 20), ("handles", 4)):
                values = [getattr(sample, name) for sample in samples]
                first = statistics.median(values[fifth : 2 * fifth])
                last = statistics.median(values[-fifth:])
                if last > 1.1 * first + constant:
                    found.append(f"{self.database.name}: {name} grew from {first} to {last}")
        return found

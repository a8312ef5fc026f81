"""Run the tests as if it were another day, in another time zone: `python tests/any_day.py`.

The clock is moved by libfaketime, for the tests and all that they start, Postgres among it, and
goes on from there. In the short form the tests marked `calendar` run on each day of `SHORT`; with
--long all tests do on each of `DAYS`. Other arguments are those of pytest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

_HERE = Path(__file__).parent
_MARK = "calendar"
_SERVER = "MIRROR_TEST_POSTGRES_URL"
"""Not used: its clock cannot be moved from here."""

_PLACES = [f"{folder}/faketime/libfaketimeMT.so.1" for folder in ("lib/*", "lib*", "local/lib")]

_WEEK = [
    (str(datetime(2026, 11, 23, 2, 10) + timedelta(days=day, hours=3 * day)), "UTC")  # noqa: DTZ001
    for day in range(7)
]
DAYS = [
    *_WEEK,  # Monday at night to Sunday in the evening
    ("2026-12-31 12:00:00", "UTC"),
    ("2027-01-01 00:05:00", "UTC"),
    ("2028-02-29 12:00:00", "UTC"),
    ("2018-11-03 23:59:45", "America/Sao_Paulo"),  # there is no midnight
    ("2026-09-05 23:59:45", "America/Santiago"),  # likewise
    ("2026-10-25 02:59:45", "Europe/Berlin"),  # and a second time three o'clock an hour later
    ("2027-03-28 01:59:45", "Europe/Berlin"),  # there is no hour from two o'clock on
    ("2026-11-30 02:00:00", "Asia/Kolkata"),  # it is still Sunday (UTC)
    ("2026-12-31 22:00:00", "America/St_Johns"),  # it is already the new year (UTC)
    ("2027-01-01 06:00:00", "Pacific/Kiritimati"),  # it is still the old year (UTC)
]
"""Time of the day and zone at which a run begins; of two times that are the same, the first one."""

SHORT = [
    day
    for day in DAYS
    if day[0].startswith(
        ("2018", "2026-10", "2026-11-29", "2026-11-30", "2026-12", "2027-01", "2028")
    )
]

_FIRST_YEAR = "2024"
"""What most tests have in their lists is of that year, which must not be yet to come."""

_UNTESTED = " is not tested: "
"""What a line of the output says if something was left out."""

_SHARED = Path("/dev/shm")  # noqa: S108 (where libfaketime puts it)

_ALL = ["-n", "auto", "--dist", "worksteal"]


def main() -> int:
    """Run the tests on each day; return 0 if all passed on all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog="Other arguments are those of pytest."
    )
    everything = f"all tests on all days, and before {_FIRST_YEAR} those marked {_MARK}"
    parser.add_argument("--long", action="store_true", help=everything)
    parser.add_argument("--day", action="append", help="only the days that begin so")
    ours, others = parser.parse_known_args()
    library = next((str(one) for where in _PLACES for one in Path("/usr").glob(where)), None)
    if library is None:
        print("any_day: no clock can be moved without libfaketime; apt-get install faketime")
        return 1
    chosen = [
        day
        for day in (DAYS if ours.long or ours.day else SHORT)
        if not ours.day or day[0].startswith(tuple(ours.day))
    ]
    if not chosen:
        print("any_day: there is no such day")
        return 2
    side_by_side = 1 if ours.long else 2
    if ours.long:
        print(f"left out before {_FIRST_YEAR}: all but the tests marked {_MARK}", flush=True)

    def run(day: tuple[str, str]) -> int:
        in_full = ours.long and day[0] >= _FIRST_YEAR
        return _run(*day, library, [*(_ALL if in_full else ["-m", _MARK, *_marked()]), *others])

    with ThreadPoolExecutor(side_by_side) as pool:
        return int(any(list(pool.map(run, chosen))))


def _run(local: str, zone: str, library: str, arguments: list[str]) -> int:
    """Run pytest on a day, print how that went, and return its exit code."""
    _remove_leftovers()
    began = time.monotonic()
    moved_by = (
        datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).timestamp() - time.time()
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=_HERE.parent,
        env={name: value for name, value in os.environ.items() if name != _SERVER}
        | {
            "LD_PRELOAD": library,
            "FAKETIME": f"{moved_by:+.0f}s",  # so it is the same for whoever starts later
            "TZ": zone,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    last = done.stdout.rstrip().rpartition("\n")[2].strip("= ")
    took = time.monotonic() - began
    weekday = datetime.fromisoformat(local).strftime("%a")
    if done.returncode:
        print(done.stdout)
    else:
        print("".join(f"{one}\n" for one in done.stdout.splitlines() if _UNTESTED in one), end="")
    verdict = "FAILED" if done.returncode else "passed"
    print(f"{weekday} {local} {zone}: {verdict}: {last}; {took:.0f} s", flush=True)
    return done.returncode


def _remove_leftovers() -> None:
    """Remove the shared memory and semaphores that libfaketime left of processes that have ended.

    Another user's process that is given the same id could not replace them, and would end at once.
    """
    for left in [*_SHARED.glob("faketime_shm_*"), *_SHARED.glob("sem.faketime_sem_*")]:
        if not Path("/proc", left.name.rpartition("_")[2]).exists():
            with suppress(OSError):  # it is not ours, or is gone
                left.unlink()


def _marked() -> list[str]:
    """The modules that have tests for the short form; to collect all others takes longer."""
    modules = sorted(_HERE.rglob("test_*.py"))
    return [str(one) for one in modules if f"mark.{_MARK}" in one.read_text("utf-8")]


if __name__ == "__main__":
    sys.exit(main())

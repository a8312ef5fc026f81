"""The soak in a short form: everything happens once, and all holds."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.support import ROOT

EVENTS = (
    "database: another program's lock",
    "database: connection cut",
    "database: server killed and started",
    "killed by SIGKILL",
    "killed by SIGTERM",
    "upgrade 2",
)
READERS = (
    *("changes --new", "export", "helpers", "helpers in process", "history"),
    *("query", "report", "requests", "status"),
)


def test_a_short_soak() -> None:
    """Everything happens once, and all holds."""
    ran = subprocess.run(
        [
            *(sys.executable, ROOT / "tests" / "stress" / "soak.py"),
            *("--minutes", "0.4", "--environments", "7", "--seed", "7"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr
    assert ran.stderr == ""
    assert ran.stdout.endswith("all held\n")
    expected = [*EVENTS]
    if "left out: PgBouncer" not in ran.stdout:
        expected.append("database: PgBouncer restarted")
    if "left out: a standby" not in ran.stdout:
        expected.append("failover")
    lines = {line.split(" (")[0]: line for line in ran.stdout.splitlines()}
    for event in expected:
        assert event in lines["events"], ran.stdout
    for reader in READERS:
        assert re.search(rf"{reader} [1-9]", lines["reads"]), ran.stdout
    assert "faults of APIs (0)" not in ran.stdout

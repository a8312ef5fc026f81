"""All processes of a test run end with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import ROOT

RUN = """
import subprocess, sys
from tests.support import guardian
watcher = guardian.start()
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
started = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
print(watcher.pid, started.pid, guardian.folder(), flush=True)
sys.stdin.read()
"""
TIMEOUT = 120


@pytest.mark.parametrize("ending", ["kill", "end"])
def test_nothing_outlives_a_run(ending: str) -> None:
    """Killed or not, a run leaves no process, also none that ignores SIGTERM, and no folder."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        guardian, started, folder = run.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in (guardian, started)]
        assert Path(folder).is_dir()
        if ending == "kill":
            run.send_signal(signal.SIGKILL)
        else:
            run.stdin.close()
        _, alive = psutil.wait_procs(processes, TIMEOUT)
    assert not alive
    assert not Path(folder).exists()

"""A Slurm of one node on this machine.

Without Slurm its tests are skipped, or fail if MIRROR_TEST_SLURM is set.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.pages import executable

_CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MailProg={folder}/mail
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=8192
PartitionName=main Nodes=ALL Default=YES
"""
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "sbatch")
_TIMEOUT = 120
"""Seconds until the node has to be ready."""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm.

    Attributes:
        variables: those that its commands need.
    """

    folder: Path
    variables: dict[str, str]

    def mails(self) -> int:
        """Return the number of mails that were sent."""
        sent = self.folder / "sent"
        return len(sent.read_text().splitlines()) if sent.exists() else 0


def _find_programs() -> dict[str, str]:
    """Return the path of each program; skip or fail the test if one is missing."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    found = {name: shutil.which(name, path=path) or "" for name in _PROGRAMS}
    if os.geteuid() != 0 or not all(found.values()):
        reason = "Slurm is not tested: install slurmctld, slurmd, slurm-client and munge, as root"
        if os.environ.get("MIRROR_TEST_SLURM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _free_ports() -> list[int]:
    """Return two ports that nobody uses."""
    address = ("127.0.0.1", 0)
    with socket.create_server(address) as one, socket.create_server(address) as two:
        return [server.getsockname()[1] for server in (one, two)]


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Start Slurm, and wait until its node is ready; skip or fail the test without it.

    Args:
        folder: for its files.
    """
    programs = _find_programs()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    executable(folder / "mail", f'echo "$@" >> {folder}/sent')
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, ports=_free_ports()))
    slurm = Slurm(folder, {"SLURM_CONF": str(configuration)})
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge]
    controller = ["slurmctld", "-D", "-f", str(configuration)]
    node = ["slurmd", "-D", "-N", "localhost", "-f", str(configuration)]
    with ExitStack() as stack:
        for name, *arguments in (munged, controller, node):
            log = stack.enter_context((folder / f"{name}.out").open("wb"))
            process = stack.enter_context(
                subprocess.Popen(
                    [programs[name], *arguments],
                    env=os.environ | slurm.variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
            stack.callback(process.terminate)
        _wait_for_node([programs["sinfo"], "--noheader", "--format=%T"], slurm)
        yield slurm


def _wait_for_node(sinfo: list[str], slurm: Slurm) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        environment = os.environ | slurm.variables
        state = subprocess.run(sinfo, env=environment, capture_output=True, check=False).stdout
        if state.strip() == b"idle":
            return
        time.sleep(0.2)
    logs = "".join(path.read_text()[-2000:] for path in sorted(slurm.folder.glob("*.out")))
    pytest.fail(f"Slurm has no node: {logs}")

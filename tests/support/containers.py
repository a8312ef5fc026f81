"""Podman, an image of Debian, and the image of docs/container.

Without them their tests are skipped, or fail if MIRROR_TEST_CONTAINER is set.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.commands import Ran

DEBIAN = "docker.io/library/debian:trixie-slim"
AUTHORITIES = Path("/usr/local/share/ca-certificates")


class Podman:
    """Podman with a storage of its own.

    Args:
        folder: for its configuration.
        storage: for images and containers; it is deleted at the end.
    """

    def __init__(self, folder: Path, storage: Path) -> None:
        self._storage = storage
        self._program = ("podman", "--root", storage / "root", "--runroot", storage / "run")
        # A machine in a sandbox may not raise limits, and crun refuses its mixture of cgroups.
        limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        soft = {name: min(4096, resource.getrlimit(limit)[0]) for name, limit in limits.items()}
        ulimits = [f"{name}={number}:{number}" for name, number in soft.items()]
        lines = ["[containers]", f"default_ulimits = {json.dumps(ulimits)}", 'netns = "host"']
        if shutil.which("runc", path=os.environ["PATH"] + ":/usr/sbin"):
            lines += ["[engine]", 'runtime = "runc"']
        self._configuration = folder / "containers.conf"
        self._configuration.write_text("\n".join(lines) + "\n")

    def __call__(self, *words: str | Path, stdin: int | None = None) -> Ran:
        """Run a command of Podman; remove its complaints about a machine without systemd."""
        done = subprocess.run(
            [*self._program, *words],
            env=os.environ | {"CONTAINERS_CONF": str(self._configuration)},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        lines = [line for line in done.stderr.splitlines() if not line.startswith("time=")]
        return Ran(done.returncode, done.stdout, "\n".join(lines))

    def do(self, *words: str | Path, stdin: int | None = None) -> str:
        """Run a command that must succeed; return what it prints."""
        ran = self(*words, stdin=stdin)
        assert ran.code == 0, ran
        return ran.out

    def inspect(self, name: str) -> Any:
        """Return what Podman knows about a container or an image."""
        (found,) = json.loads(self.do("inspect", name))
        return found

    def debian(self) -> None:
        """Get the base image: by debootstrap if it is there, else from the registry."""
        debootstrap = shutil.which("debootstrap", path="/usr/sbin:/sbin")
        if debootstrap is None or os.geteuid() != 0:
            if self("pull", "--quiet", DEBIAN).code != 0:
                _skip(f"{DEBIAN} cannot be pulled; as root, debootstrap makes one")
            return
        root = self._storage / "trixie"
        made = subprocess.run(
            [debootstrap, "--variant=minbase", "trixie", root], capture_output=True, check=False
        )
        if made.returncode != 0:
            _skip(f"debootstrap failed: {made.stdout[-300:]!r}")
        if AUTHORITIES.is_dir():  # a proxy that inspects TLS may have one
            shutil.copytree(AUTHORITIES, root / AUTHORITIES.relative_to("/"), dirs_exist_ok=True)
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            assert tar.stdout is not None
            self.do("import", "--quiet", "-", DEBIAN, stdin=tar.stdout.fileno())

    def build(self, tag: str) -> None:
        """Build the image as docs/containers.md does."""
        file = ROOT / "docs" / "container" / "Containerfile"
        # The format of Podman has no health check.
        self.do("build", "--format", "docker", "--tag", tag, "--file", file, ROOT)

    def close(self) -> None:
        """Remove all containers, images and volumes."""
        for words in ("rm --all --force --time 0", "volume rm --all --force", "rmi --all --force"):
            self(*words.split())
        shutil.rmtree(self._storage, ignore_errors=True)


def _skip(reason: str) -> None:
    message = f"the image is not tested: {reason}"
    if os.environ.get("MIRROR_TEST_CONTAINER"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def running_podman(folder: Path) -> Iterator[Podman]:
    """Podman without images, or skip or fail the test."""
    if shutil.which("podman") is None:
        _skip("install podman, runc, catatonit and debootstrap")
    # Overlays of an overlay are refused: not in /tmp, which may be one, and need not be short.
    podman = Podman(folder, Path(tempfile.mkdtemp(prefix="mirror-podman-", dir="/var/tmp")))
    try:
        yield podman
    finally:
        podman.close()

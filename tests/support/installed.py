"""Versions of mirror as users have them: wheels, installed in virtual environments."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import TIMEOUT, Ran


def build_wheel(checkout: Path, folder: Path) -> Path:
    """Build the wheel of a checkout; return its path in a folder that has no other one."""
    _call("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=checkout)
    (wheel,) = folder.glob("*.whl")
    return wheel


class Installation:
    """A virtual environment with `mirror`, and with the dependencies of the tests.

    Args:
        folder: for the environment; it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        venv.create(folder, symlinks=True)
        paths = {"base": str(folder), "platbase": str(folder)}
        site = Path(sysconfig.get_path("purelib", vars=paths))
        # Lines of files there do not count, such as that of a checkout.
        (site / "of_the_tests.pth").write_text(sysconfig.get_path("purelib"))

    def install(self, wheel: Path) -> None:
        """Install a wheel, in place of the version that is there."""
        options = ("--no-index", "--no-deps", "--upgrade", "--disable-pip-version-check")
        _call("-m", "pip", "--python", str(self._bin / "python"), "install", *options, str(wheel))

    def run(self, *arguments: str, **variables: str) -> Ran:
        """Run `mirror`."""
        with self.start(*arguments, **variables) as process:
            out, err = process.communicate(timeout=TIMEOUT)
        return Ran(process.returncode, out, err)

    @contextmanager
    def start(
        self, *arguments: str, program: str = "mirror", **variables: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a program of the environment, and kill it at the end of the context."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with subprocess.Popen(
            [self._bin / program, *arguments],
            cwd=self._bin,  # no checkout
            env=inherited | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _call(*arguments: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr

"""Versions of mirror as users have them: wheels, installed in virtual environments."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import TIMEOUT, Ran, run_python


def build_wheel(checkout: Path, version: str, folder: Path) -> Path:
    """Write the wheel of a checkout, as its build backend would, which tests need not have.

    Args:
        checkout: with the folders `mirror` and `migrations`.
        version: of mirror there.
        folder: where the wheel is written.

    Returns:
        Its path.
    """
    name = f"talkover_mirror-{version}"
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: talkover-mirror\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": "[console_scripts]\nmirror = mirror.__main__:main\n",
    }
    sources = {
        str(Path(target, path.relative_to(checkout / source))): path
        for source, target in (("mirror", "mirror"), ("migrations", "mirror/migrations"))
        for path in sorted((checkout / source).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }
    record = [*sources, *(f"{name}.dist-info/{file}" for file in (*info, "RECORD"))]
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for target, path in sources.items():
            archive.write(path, target)
        for file, text in info.items():
            archive.writestr(f"{name}.dist-info/{file}", text)
        lines = "".join(f"{path},,\n" for path in record)
        archive.writestr(f"{name}.dist-info/RECORD", lines)
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
        pip = ("-m", "pip", "--python", str(self._bin / "python"), "install", *options)
        ran = run_python(*pip, str(wheel))
        assert ran.code == 0, ran.err

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

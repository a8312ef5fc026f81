"""The sdist and the wheel of .ci/package.py: their contents, and a stranger who installs them.

Everything is installed offline. MIRROR_TEST_RELEASE names the folder of the build, in which
`wheels/` has the dependencies too, and MIRROR_TEST_PYTHONS the interpreters, oldest first,
separated by `:`. Without them the tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.commands import TIMEOUT, Ran
from tests.support.postgres import empty_database, execute, own_server

RELEASE = Path(os.environ.get("MIRROR_TEST_RELEASE", "/nowhere"))
PYTHONS = os.environ.get("MIRROR_TEST_PYTHONS", "").split(":")
OLDEST_AND_NEWEST = list(dict.fromkeys([PYTHONS[0], PYTHONS[-1]]))
EXTRAS = {
    "report": ["report"],
    "parquet": ["export", "parquet"],
    "postgres": ["db", "upgrade", "--database", "postgresql://nobody@/none?host=/nowhere"],
}
"""A command that takes the extra; that of Postgres finds no server (75)."""

pytestmark = pytest.mark.skipif(
    "MIRROR_TEST_RELEASE" not in os.environ, reason="MIRROR_TEST_RELEASE names no release to test"
)


def wheel() -> Path:
    """The wheel of the release."""
    (path,) = (RELEASE / "dist").glob("*.whl")
    return path


def files(folder: Path) -> set[str]:
    """The files below a folder of the checkout, without what Python caches."""
    paths = (path.relative_to(ROOT) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_has_the_program_and_nothing_else() -> None:
    """The wheel holds all of mirror/, with its types, the migrations and the license."""
    with zipfile.ZipFile(wheel()) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = {Path(name).name for name in archive.namelist()} - {Path(n).name for n in names}
    migrations = {f"mirror/{name}" for name in files(ROOT / "migrations")}
    assert names == files(ROOT / "mirror") | migrations
    assert "mirror/py.typed" in names
    assert metadata == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"}


def test_the_sdist_has_the_checkout() -> None:
    """The sdist holds what its own tests need, and no cache; the links of its README are gone."""
    (path,) = (RELEASE / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        every = [name.partition("/")[2] for name in archive.getnames()]
        information = archive.extractfile(f"{archive.getnames()[0].split('/')[0]}/PKG-INFO")
        assert information is not None
        description = information.read().decode()
    names = set(every)
    assert len(names) == len(every)
    wanted = {name for folder in ("docs", "migrations", "mirror") for name in files(ROOT / folder)}
    wanted |= {f"tests/{path.relative_to(ROOT / 'tests')}" for path in ROOT.glob("tests/*/*.py")}
    wanted |= {".ci/run", ".github/workflows/ci.yml", "alembic.ini", "LICENSE", "pyproject.toml"}
    assert wanted <= names
    assert [
        name
        for name in names
        if re.search(r"cache(__)?(/|$)|\.py[co]$|\.db|node_modules|venv|^(release|tools)/", name)
    ] == []
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert [target for target in targets if not target.startswith("https://")] == []


def test_the_bill_of_materials_is_that_of_the_wheel() -> None:
    """Each bill names the wheel by its hash, and what the requirements file of the extra has."""
    for bill in (RELEASE / "sbom").iterdir():
        document = json.loads(bill.read_text())
        own = document["metadata"]["component"]
        with zipfile.ZipFile(wheel()) as archive:
            (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
            assert f"\nVersion: {own['version']}\n" in archive.read(metadata).decode()
        requirements = RELEASE / "requirements" / bill.name.replace(".cdx.json", ".txt")
        assert set(requirements.read_text().split("\n")) - {""} == {
            f"{one['name']}=={one['version']} --hash=sha256:{one['hashes'][0]['content']}"
            for one in document["components"]
        }


class Installation:
    """A virtual environment for a stranger, who has no network and a home of their own."""

    def __init__(self, folder: Path, python: str) -> None:
        """Create it.

        Args:
            folder: Where; it gets the folders `venv` and `home`.
            python: The interpreter.
        """
        self.home = folder / "home"
        self.home.mkdir()
        self.venv = folder / "venv"
        self.environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        assert self.run(python, "-m", "venv", "--without-pip", str(self.venv)).code == 0

    def run(self, *command: str, **environment: str) -> Ran:
        """Run a command line in the home folder."""
        done = subprocess.run(
            command,
            cwd=self.home,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def pip(self, *arguments: str) -> None:
        """Run pip on the environment."""
        ran = self.run(sys.executable, "-m", "pip", "--python", str(self.venv), *arguments)
        assert ran.code == 0, ran.out + ran.err

    def install(self, extra: str) -> None:
        """Install the wheel from the folder, without an index."""
        links = ("--find-links", str(RELEASE / "wheels"))
        self.pip("install", "--no-index", "--no-compile", *links, f"{wheel()}{extra}")
        self.pip("check")

    def mirror(self, *arguments: str, **environment: str) -> Ran:
        """Run the program."""
        return self.run(str(self.venv / "bin" / "mirror"), *arguments, **environment)

    def contents(self) -> set[Path]:
        """All files and folders of the environment."""
        return set(self.venv.rglob("*"))

    @contextmanager
    def sandbox(self) -> Iterator[dict[str, str]]:
        """Run `mirror sandbox`; yield the variables of the line that it prints."""
        command = [str(self.venv / "bin" / "mirror"), "sandbox", "--port", "0", "--requests", "50"]
        with subprocess.Popen(
            command, env=self.environment, cwd=self.home, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                words = process.stdout.readline().split()[1:]
                yield dict(word.split("=", 1) for word in words)
            finally:
                process.terminate()


@pytest.mark.parametrize("extra", ["", *EXTRAS])
@pytest.mark.parametrize("python", OLDEST_AND_NEWEST)
def test_an_extra_is_enough_for_its_command(tmp_path: Path, python: str, extra: str) -> None:
    """The demo needs no extra; a command that does works with it, and names it without."""
    stranger = Installation(tmp_path, python)
    stranger.install(f"[{extra}]" if extra else "")
    assert stranger.mirror("demo").code == 0
    url = f"sqlite:///{stranger.home / 'mirror-demo.db'}"
    for name, command in EXTRAS.items():
        ran = stranger.mirror(*command, MIRROR_DATABASE_URL=url)
        assert f"with the extra {name}," in ran.err or name == extra, ran
        assert ran.code == ((75 if name == "postgres" else 0) if name == extra else 2), ran


@pytest.mark.parametrize("python", OLDEST_AND_NEWEST)
def test_a_strangers_steps(tmp_path: Path, python: str) -> None:
    """Install, init, sync, look, export, and uninstall: nothing remains but what the user made."""
    stranger = Installation(tmp_path, python)
    stranger.install("[postgres,report,parquet]")
    with (
        stranger.sandbox() as sandbox,
        own_server() as server,
        empty_database(server.url) as postgres,
    ):
        token = {"TALKOVER_TOKEN": sandbox["TALKOVER_TOKEN"]}
        for name, url in (("lite", f"sqlite:///{stranger.home}/mirror.db"), ("post", postgres)):
            config = {"MIRROR_CONFIG": str(stranger.home / f"{name}.toml")}
            options = ("--environment", name, "--base-url", sandbox["TALKOVER_BASE_URL"], "--yes")
            ran = stranger.mirror("init", *options, "--database", url, **config, **token)
            assert ran.code == 0, ran
            for command in (
                ["db", "upgrade"],
                ["sync"],
                ["status", "--max-age", "1h"],
                ["report", "--output", f"{name}.html"],
                ["export", f"{name}-parquet"],
            ):
                ran = stranger.mirror(*command, **config)
                assert ran.code == 0, (command, ran)
        assert execute(postgres, "SELECT count(*) FROM release_requests") == [(50,)]
    tour = stranger.mirror("demo").out
    printed = re.findall(r"^(?:Next|As a report): +(.*)", tour, re.MULTILINE)
    assert len(printed) == 2
    for line in printed:
        assert stranger.run("bash", "-c", line, BROWSER="true").code == 0
    own = {path for path in stranger.contents() if "mirror" in path.name}
    assert own
    made = set(stranger.home.rglob("*"))
    stranger.pip("uninstall", "--yes", "talkover-mirror")
    assert [path for path in own if path.exists()] == []
    assert set(stranger.home.rglob("*")) == made

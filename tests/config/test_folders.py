"""No home folder, or one that cannot be used: what still works, and what is said otherwise."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mirror.config import file, folders, settings
from mirror.errors import UsageError
from mirror.sandbox.server import Sandbox
from tests.support import ROOT
from tests.support.commands import run_mirror
from tests.support.upstream import TOKEN, FakeUpstream, request

NO_HOME = "there is no default database, as there is no home folder; name one with --database or"
XDG = ("XDG_CONFIG_HOME", "XDG_DATA_HOME")
NAMELESS = 54_321
"""A user id that no passwd has, as OpenShift gives to a container."""


@pytest.fixture
def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without HOME, whose user has no entry in passwd."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", *XDG):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("without_home")
def test_without_a_home(sandbox: Sandbox, upstream: FakeUpstream, tmp_path: Path) -> None:
    """Every command works if it is told the database; else one sentence says so."""
    upstream.records = [request(1)]
    given = {"TALKOVER_TOKEN": TOKEN, "TALKOVER_BASE_URL": sandbox.base_url}
    for command in ("sync", "status", "requests", "history +15550100", "db url", "report"):
        ran = run_mirror(*command.split(), cwd=tmp_path, **given)
        assert (ran.code, ran.out) == (2, ""), command
        assert ran.err == f"mirror: {NO_HOME} MIRROR_DATABASE_URL\n"
    assert list(tmp_path.iterdir()) == []
    given["MIRROR_DATABASE_URL"] = f"sqlite:///{tmp_path}/m.db"
    for command in ("sync", "status", "requests", "doctor", "db current"):
        ran = run_mirror(*command.split(), cwd=tmp_path, **given)
        assert ran.code == 0, ran.err
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == ["m.db"]


@pytest.mark.usefixtures("without_home")
def test_the_doctor_without_a_home(sandbox: Sandbox) -> None:
    """The database fails its own check; the others are made."""
    given = {"TALKOVER_TOKEN": TOKEN, "TALKOVER_BASE_URL": sandbox.base_url}
    ran = run_mirror("doctor", "--format", "json", **given)
    checks = {check["check"]: check for check in json.loads(ran.out)}
    assert ran.code == 2
    assert checks["configuration"]["found"] == "none; there is no home folder"
    assert checks["API token"]["state"] == "ok"
    assert checks["database"]["state"] == "failed"
    assert "MIRROR_DATABASE_URL" in checks["database"]["advice"]


@pytest.mark.parametrize("home", ["", "relative", "~"])
@pytest.mark.usefixtures("without_home")
def test_a_home_that_is_no_path(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """A relative HOME never makes a folder in the working directory."""
    monkeypatch.setenv("HOME", home)
    for folder in (folders.config_folder(), folders.data_folder(), file.default_path()):
        assert folder is None or folder.is_absolute()


def test_a_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home folder that is a file is as good as none for a new database, not for a given one."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"as .*/file/mirror cannot be written; name one with"):
        settings.database_url(environ={})
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "new"))
    assert settings.database_url(environ={}).endswith("/new/mirror/mirror.db")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def nameless() -> list[str]:
    """The start of a command line that runs Python as a user without a name."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("another user id is not tested: it takes setpriv and root")
    # It may read everything, such as an interpreter in root's home, and write nothing.
    reading = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    identity = [f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups"]
    command = [setpriv, *identity, *reading, sys.executable]
    if subprocess.run([*command, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("another user id is not tested: setpriv may not change it")
    return command


RUN_EACH = """
import json, os, sys
from mirror.cli import run
for arguments, variables in json.loads(sys.argv[1]):
    os.environ.pop("HOME", None)
    os.environ |= variables
    print(run(arguments), flush=True)
"""


def test_a_user_without_a_name(nameless: list[str], sandbox: Sandbox) -> None:
    """A real process of a user without passwd entry: with a HOME that is not there, or none."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for their owner alone
        os.chown(folder, NAMELESS, NAMELESS)
        # access(2), with which Alembic looks for its folder, heeds no capability.
        for package in ("mirror", "migrations"):
            shutil.copytree(ROOT / package, Path(folder) / "code" / package)
        commands: list[tuple[list[str], dict[str, str]]] = [
            (["sync"], {}),
            (["sync"], {"HOME": "/nonexistent"}),
            (["sync"], {"MIRROR_DATABASE_URL": "postgresql://127.0.0.1:9/mirror"}),
            (["sync"], {"MIRROR_DATABASE_URL": f"sqlite:///{folder}/m.db"}),
            (["report", "--quiet", "--output", f"{folder}/r.html"], {}),
        ]
        ran = subprocess.run(
            [*nameless, "-c", RUN_EACH, json.dumps(commands)],
            env={
                "PATH": os.environ["PATH"],
                "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
                "PYTHONPATH": f"{folder}/code",
                "TALKOVER_TOKEN": TOKEN,
                "TALKOVER_BASE_URL": sandbox.base_url,
            },
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.stdout.split() == ["2", "2", "2", "0", "0"], ran.stderr
        assert (Path(folder) / "m.db").stat().st_uid == NAMELESS
    no_home, not_there, no_user, applied, *_ = ran.stderr.splitlines()
    assert no_home == f"mirror: {NO_HOME} MIRROR_DATABASE_URL"
    assert "as /nonexistent/.local/share/mirror cannot be written; name one with" in not_there
    assert "the database URL names no user" in no_user
    assert applied.startswith("mirror: applied: 0 in the list")

"""Shells as people use them: sqlite3 and psql run the cookbook; bash, zsh and fish complete.

A test whose program is missing is skipped, or fails if MIRROR_TEST_SHELLS is set.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror import demo
from mirror.db.cookbook import RECIPES
from mirror.db.engine import create_engine
from mirror.db.urls import parse_url
from tests.support.commands import run_process
from tests.support.mirrors import Mirror
from tests.support.pages import SQL, blocks, executable, section
from tests.support.upstream import request

SECONDS = 60
"""That nothing here takes, unless something is wrong."""


def program(name: str) -> str:
    """Find a program, or skip the test."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("MIRROR_TEST_SHELLS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def test_the_cookbook_runs_as_printed(
    make_database: Callable[[str], str],
) -> None:
    """Lines and query, pasted as they are, give sqlite3 and psql as many rows as mirror query."""
    urls = {kind: make_database(kind) for kind in ("sqlite", "postgresql")}
    for url in urls.values():
        demo.run(create_engine(url, create=True), lambda *_: None)
    dsn = parse_url(urls["postgresql"]).set(drivername="postgresql").render_as_string(False)
    commands = {
        "sqlite": [program("sqlite3"), "-readonly", "-csv", urls["sqlite"].partition("///")[2]],
        "postgresql": [program("psql"), "-X", "--csv", "-t", "-v", "ON_ERROR_STOP=1", dsn],
    }
    for recipe in RECIPES:
        text = section(SQL, f"### {recipe.question}")
        (sql,) = blocks(text, "sql")
        lines = "".join(blocks(text, "text")[1:])
        # The days of the page are those of another demo.
        days = {"2026-11-15": "2020-01-01", "2026-11-16": "2020-01-01", "2026-11-20": "2099-01-01"}
        given = [f"--param={name}=2099-01-01" for name in recipe.parameters]
        if "number" in recipe.parameters:
            given = ["--param=number=+15555565098"]
        elif "since" in recipe.parameters:
            given[0] = "--param=since=2020-01-01"
        elif "at" in recipe.parameters:
            days["2026-11-15"] = "2099-01-01"
        for day, other in days.items():
            lines = lines.replace(day, other)
        for kind, command in commands.items():
            own = [
                line for line in lines.splitlines() if line[0] == {"sqlite": "."}.get(kind, "\\")
            ]
            done = subprocess.run(
                command,
                input="\n".join([*own, sql]),
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
            assert (done.returncode, done.stderr) == (0, ""), (kind, recipe.name)
            ran = run_process("query", recipe.name, *given, MIRROR_DATABASE_URL=urls[kind])
            assert ran.code == 0, ran.err
            count = ran.out.count("\n") - 1
            assert count > 0, recipe.name
            assert done.stdout.count("\n") == count, (kind, recipe.name)


COMPLETED = (
    ("requests --status app", ["approved"]),
    ("requests --status on_", ["on_hold"]),
    ("query pending-l", ["pending-longest"]),
    ("db describe phone_number_h", ["phone_number_history"]),
    ("db forget-environment def", ["default"]),
)


@pytest.fixture
def home(sqlite_mirror: Mirror, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with a mirror, and `mirror` on PATH."""
    sqlite_mirror.sync([request(1, status="on_hold"), request(2)])
    main = "from mirror.__main__ import main; main()"
    executable(tmp_path / "bin" / "mirror", f"exec {sys.executable} -c '{main}' \"$@\"")
    return os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "MIRROR_DATABASE_URL": sqlite_mirror.url,
        "TERM": "dumb",
    }


def script(shell: str, home: dict[str, str]) -> Path:
    """Write the completion script of a shell to a file."""
    path = Path(home["HOME"]) / f"mirror.{shell}"
    path.write_text(run_process("completion", shell).out)
    return path


def test_bash_completes(home: dict[str, str]) -> None:
    """Bash completes values from the database and from the program."""
    bash = program("bash")
    for line, offered in COMPLETED:
        words = line.split()
        complete = (
            f"source {script('bash', home)}; COMP_WORDS=(mirror {line}); "
            f'COMP_CWORD={len(words)}; _mirror_completion mirror; echo "${{COMPREPLY[@]}}"'
        )
        shown = subprocess.check_output(
            [bash, "-c", complete], env=home, text=True, timeout=SECONDS
        )
        assert shown.split() == offered, line


def test_fish_completes(home: dict[str, str]) -> None:
    """Fish completes values from the database and from the program."""
    fish = program("fish")
    path = script("fish", home)
    for line, offered in COMPLETED:
        complete = f"source {path}; complete -C 'mirror {line}'"
        shown = subprocess.check_output(
            [fish, "-c", complete], env=home, text=True, timeout=SECONDS
        )
        assert [row.split("\t")[0] for row in shown.splitlines()] == offered, line


def test_zsh_completes(home: dict[str, str]) -> None:
    """Zsh completes values from the database and from the program, as somebody types Tab."""
    zsh = program("zsh")
    path = script("zsh", home)
    path.parent.joinpath(".zfunc").mkdir()
    path.rename(path.parent / ".zfunc" / "_mirror")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(zsh, [zsh, "-f", "-i"], home)  # noqa: S606 (it is the shell)
    received = ""

    def wait_for(pattern: str, again: bytes = b"") -> None:
        nonlocal received
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, received):
            assert time.monotonic() < deadline, received
            if select.select([terminal], [], [], 5)[0]:
                received += os.read(terminal, 65536).decode()
            else:  # on a busy machine the database takes too long for the first Tab
                os.write(terminal, again)
        received = ""

    try:
        setup = "fpath+=(~/.zfunc); autoload -Uz compinit; compinit -u; print read''y\n"
        os.write(terminal, setup.encode())
        wait_for("ready")
        for line, (offered,) in COMPLETED:
            os.write(terminal, f"echo; mirror {line}\t".encode())
            typed = line.split()[-1]
            wait_for(f"{offered.removeprefix(typed)} ", again=b"\t")
            os.write(terminal, b"\x15")  # ^U: the line is not run
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)

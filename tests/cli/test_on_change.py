"""`mirror sync --on-change`: a command that is run after a sync that changed something."""

from __future__ import annotations

import json
import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mirror.cancellation import CancellationToken
from mirror.cli import change_hook
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request

APPROVED = {"status": "approved", "resolved_at": "2024-01-11T10:00:00Z"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sync(mirror: Mirror, records: list[Any], command: str, *options: str, **variables: str) -> Ran:
    """Run `mirror sync --on-change` with a list."""
    mirror.upstream.records = records
    mirror.sandbox.invalidate()
    arguments = ["sync", "--database", mirror.url, "--on-change", command, *options]
    url = {"TALKOVER_BASE_URL": mirror.sandbox.base_url, "TALKOVER_TOKEN": TOKEN}
    return run_mirror(*arguments, **(url | variables))


def test_its_input(mirror: Mirror, folder: Path) -> None:
    """It gets the runs as `--json` has them, their changes and new requests, as JSON."""
    save = "cat > input; echo saved; echo to stderr >&2"
    mirror.sync([request(1), request(2)])
    ran = sync(mirror, [request(1, **APPROVED), request(3)], save, "--json", "--accept-missing")
    assert ran.code == 0
    assert ran.err == "mirror: on-change: saved\nmirror: on-change: to stderr\n"
    given = json.loads((folder / "input").read_text())
    assert given["runs"] == [json.loads(ran.out)]
    options = ("--database", mirror.url, "--format", "json")
    assert given["changes"] == json.loads(run_mirror("changes", *options).out)
    assert [row["kind"] for row in given["changes"]] == ["resolved", "vanished"]
    (new,) = given["new_requests"]
    assert new in json.loads(run_mirror("requests", *options).out)
    assert new["id"] == "request-3"
    assert given["omitted"] == {"runs": 0, "changes": 0, "new_requests": 0}


def test_when_it_runs(sqlite_mirror: Mirror, folder: Path) -> None:
    """It runs if requests or the quarantine changed; not in a dry run, and not if nothing did."""
    count = "echo x >> runs"
    steps: list[tuple[list[Any], tuple[str, ...], int]] = [
        ([request(1)], (), 1),
        ([request(1)], (), 1),
        ([request(1, **APPROVED)], ("--dry-run",), 1),
        ([request(1, **APPROVED)], (), 2),
        ([request(1, **APPROVED), "junk"], (), 3),
        ([], (), 3),  # refused
    ]
    for records, options, runs in steps:
        sync(sqlite_mirror, records, count, *options)
        assert (folder / "runs").read_text().count("x") == runs
    assert "--on-change is empty" in sync(sqlite_mirror, [], " ").err


def test_one_run_for_all_environments(sqlite_mirror: Mirror, folder: Path) -> None:
    """It runs once for a round, without any token in its variables."""
    sandbox = sqlite_mirror.sandbox
    (folder / "config.toml").write_text(
        f"[environments.dev]\nbase_url = '{sandbox.base_url}'\ntoken_env = 'DEV'\n"
        f"[environments.prod]\nbase_url = '{sandbox.base_url}'\ntoken_env = 'PROD'\n"
    )
    ran = sync(
        sqlite_mirror,
        [request(1)],
        "cat >> input; env > variables",
        "--config",
        "config.toml",
        TALKOVER_TOKEN="",
        TALKOVER_TOKEN_FILE="",
        DEV=TOKEN,
        PROD="talq_refused",
        A_COPY=f"Bearer {TOKEN}",
        KEPT="1",
    )
    assert ran.code == 77, "the exit code is that of the syncs"
    (run,) = json.loads((folder / "input").read_text())["runs"]
    assert (run["environment"], run["inserted"]) == ("dev", 1)
    variables = dict(
        line.partition("=")[::2] for line in (folder / "variables").read_text().splitlines()
    )
    assert "KEPT" in variables
    assert not variables.keys() & {"DEV", "PROD", "A_COPY", "TALKOVER_TOKEN", "TALKOVER_TOKEN_FILE"}
    assert TOKEN not in (folder / "variables").read_text()


FAILURES = [
    ("echo why \x1b[31m >&2; exit 7", "failed with exit code 7 (why \\x1b[31m)", 7),
    ("kill -KILL $$", "was ended by SIGKILL", -9),
    ("no-such-command 2> /dev/null", "failed with exit code 127", 127),
]


@pytest.mark.parametrize(("command", "words", "code"), FAILURES)
def test_a_failure(sqlite_mirror: Mirror, command: str, words: str, code: int) -> None:
    """A failure is logged with its exit code, and does not count."""
    failed = sync(sqlite_mirror, [request(1)], command, "--quiet")
    assert (failed.code, failed.err) == (0, f"mirror: the command of --on-change {words}\n")
    ran = sync(sqlite_mirror, [request(1, **APPROVED)], command, "--log-format", "json")
    assert ran.code == 0
    line = json.loads(ran.err.splitlines()[-1])
    assert (line["level"], line["on_change"]["exit_code"]) == ("error", code)


def test_large_input(sqlite_mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is bounded, and counts what is left out; a command need not read it."""
    monkeypatch.setattr(change_hook, "MAX_ROWS", 3)
    sync(sqlite_mirror, [request(number) for number in range(5)], "cat > input")
    given = json.loads((folder / "input").read_text())
    assert [row["id"] for row in given["new_requests"]] == ["request-0", "request-1", "request-2"]
    assert given["omitted"]["new_requests"] == 2
    monkeypatch.setattr(change_hook, "MAX_BYTES", 700)
    approved = [request(number, **APPROVED) for number in range(5)]
    sync(sqlite_mirror, approved, "cat > input")
    given = json.loads((folder / "input").read_text())
    assert len(given["changes"]) + given["omitted"]["changes"] == 5
    assert 0 < len(given["changes"]) < 3
    monkeypatch.setattr(change_hook, "MAX_BYTES", 10_000_000)
    long = [request(number, reason="x" * 100_000) for number in range(10, 13)]
    ran = sync(sqlite_mirror, [*approved, *long], "exec 0<&-; seq 200; exit 1")
    assert (ran.code, ran.err.splitlines()[-2:]) == (
        0,
        [
            "mirror: on-change: 100",
            "mirror: the command of --on-change failed with exit code 1 (200)",
        ],
    )


def test_its_time_limit(
    sqlite_mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes too long is ended, with its children, also if they ignore SIGTERM."""
    os.mkfifo(folder / "pipe")
    reading = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    def clock() -> float:
        """A minute has passed when the child has written to the pipe."""
        return 61.0 if select.select([reading], [], [], 0)[0] else 0.0

    monkeypatch.setattr(change_hook, "monotonic", clock)
    monkeypatch.setattr(change_hook, "_GRACE", 0.1)
    child = "exec 9> pipe; echo >&9; while :; do sleep 9; done"
    ran = sync(sqlite_mirror, [request(1)], f"trap '' TERM; ({child}) & wait; wait")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        0,
        "mirror: the command of --on-change was ended: it took longer than 60 s",
    )
    assert os.read(reading, 1) == b"\n"
    assert select.select([reading], [], [], 10)[0], "a child still has the pipe open"
    assert os.read(reading, 1) == b""
    os.close(reading)


class Token(CancellationToken):
    """A token that is set when it is asked for the second time."""

    asked = 0

    def is_set(self) -> bool:
        """Return whether the work is cancelled."""
        self.asked += 1
        return self.asked > 1


def test_sigterm_ends_it(sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGTERM ends the command that runs, and prevents one that would begin."""
    said: list[str] = []
    monkeypatch.setattr(change_hook, "notify", lambda message, *_, **__: said.append(message))
    result, token = sqlite_mirror.sync([request(1)]), Token()
    for _ in range(2):
        change_hook.run("exec sleep 60", [result], sqlite_mirror.engine, os.environ, token)
    assert said == [
        "the command of --on-change was ended: stopped by SIGTERM",
        "the command of --on-change was not run: stopped by SIGTERM",
    ]


def test_an_interrupt_ends_it(
    sqlite_mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the command and its children, which get their time; a second one kills them.

    The message says that the sync is done, as exit code 1 means that nothing was changed otherwise.
    """

    class Interrupted(CancellationToken):
        def is_set(self) -> bool:
            if (folder / "ready").exists():
                raise KeyboardInterrupt
            return False

    result = sqlite_mirror.sync([request(1)])
    messages: list[str] = []
    monkeypatch.setattr(change_hook, "notify", lambda message, *_, **__: messages.append(message))

    def run(command: str) -> None:
        with pytest.raises(KeyboardInterrupt):
            change_hook.run(command, [result], sqlite_mirror.engine, os.environ, Interrupted())
        (folder / "ready").unlink()

    def sleep(seconds: float) -> None:
        """Let the child end when the shell has; an orphan may long be a zombie in the group."""
        with suppress(ProcessLookupError):
            os.kill(int((folder / "shell").read_text()), 0)
            time.sleep(seconds)
            return
        (folder / "go").touch()
        while not (folder / "ended").exists():
            time.sleep(0.001)

    monkeypatch.setattr(change_hook, "sleep", sleep)
    later = "trap 'until [ -e go ]; do :; done; echo > ended; exit' TERM; echo > ready"
    run(f"echo $$ > shell; ({later}; while :; do sleep 0.01; done) & wait")
    assert (folder / "ended").exists()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(change_hook, "sleep", interrupt)
    run("trap '' TERM; echo $$ > pid; echo > ready; while :; do sleep 0.01; done")
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
    message = "the command of --on-change is interrupted; what was synced is in the mirror"
    assert [text for text in messages if not text.startswith("on-change: ")] == [message] * 2

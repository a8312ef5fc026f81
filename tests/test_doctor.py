"""`mirror doctor`: what it looks at, what it says to do, and that it changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db import migrate
from mirror.db.engine import write_transaction
from mirror.sandbox.server import Sandbox
from tests.support.commands import Ran, run_mirror
from tests.support.http_servers import Question, Scripted, envelope, http
from tests.support.mirrors import Mirror
from tests.support.schema import later_revision
from tests.support.terminals import drawn
from tests.support.upstream import TOKEN, FakeUpstream, request

JSON = "Content-Type: application/json"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """The token of the sandbox, in a file that its owner alone may read."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def given(mirror: Mirror, token_file: Path) -> dict[str, str]:
    """The settings of a mirror, as variables."""
    return {
        "MIRROR_DATABASE_URL": mirror.url,
        "TALKOVER_BASE_URL": mirror.sandbox.base_url,
        "TALKOVER_TOKEN_FILE": str(token_file),
    }


def examine(*options: str, **environment: str) -> tuple[Ran, dict[str, dict[str, Any]]]:
    """Let the doctor look; return what was said, also by the name of each check."""
    ran = run_mirror("doctor", "--format", "json", *options, **environment)
    assert "Traceback" not in ran.err
    assert TOKEN not in ran.out + ran.err
    assert "geheim" not in ran.out + ran.err
    checks = json.loads(ran.out)
    return ran, {one["check"]: one for one in checks}


def test_all_is_well(mirror: Mirror, token_file: Path) -> None:
    """After a sync everything is fine: each setting with its source, each part with its state.

    The doctor leaves no row, no run and no file, and asks the API for two answers.
    """
    mirror.sync([request(1)])
    before, runs, asked = mirror.state(), mirror.stored("sync_runs"), len(mirror.sandbox.asked)
    ran, checks = examine("--rate", "90", **given(mirror, token_file), MIRROR_TIMEOUT="20")
    assert (ran.code, ran.err) == (0, "")
    assert {name: one["found"] for name, one in checks.items() if one["state"] != "ok"} == {}
    assert checks["rate"]["found"] == "90 (--rate)"
    assert checks["timeout"]["found"] == "20 (MIRROR_TIMEOUT)"
    assert checks["base_url"]["found"] == f"{mirror.sandbox.base_url} (TALKOVER_BASE_URL)"
    assert checks["settings"]["found"] == "by default: deadline 900, max_bytes 1073741824"
    assert checks["token"]["found"] == "read from TALKOVER_TOKEN_FILE"
    assert checks["API"]["found"].startswith(f"{mirror.sandbox.base_url}/health answered 200")
    assert checks["API token"]["found"] == "accepted"
    assert "(MIRROR_DATABASE_URL)" in checks["database"]["found"]
    assert checks["schema"]["found"].startswith(f"revision {migrate.revisions()[-1]}")
    assert checks["runs"]["found"].startswith("last complete pull at")
    assert all(one["advice"] is None for one in checks.values())
    kind = mirror.engine.dialect.name
    assert ("journal mode wal" in checks["WAL"]["found"]) if kind == "sqlite" else checks["server"]
    assert (mirror.state(), mirror.stored("sync_runs")) == (before, runs)
    assert len(mirror.sandbox.asked) == asked + 2


def test_before_the_first_sync(new_mirror: Mirror, token_file: Path) -> None:
    """Before there is a mirror that is no failure, and the doctor does not make one."""
    ran, checks = examine(**given(new_mirror, token_file))
    assert ran.code == 0
    where = checks["schema" if "schema" in checks else "database"]
    assert (where["state"], where["advice"]) == ("warning", "run `mirror sync`, which makes it")
    if new_mirror.url.startswith("sqlite"):
        assert not Path(new_mirror.url.removeprefix("sqlite:///")).exists()
    else:
        assert new_mirror.rows("SELECT to_regclass('release_requests')") == [(None,)]


def test_what_went_wrong_is_told_with_what_to_do(mirror: Mirror, token_file: Path) -> None:
    """Failed runs and quarantine are warnings, and each says which command helps."""
    mirror.sync([request(1), "rubbish"])
    mirror.sandbox.misbehave("maintenance")
    mirror.sync()
    mirror.sandbox.misbehave(None)
    ran, checks = examine(**given(mirror, token_file))
    assert ran.code == 0
    runs, quarantine = checks["runs"], checks["quarantine"]
    assert (runs["state"], runs["advice"]) == ("warning", "run `mirror sync -v`")
    assert re.search(r", 1 failed since; the last: the API at .* answered 503", runs["found"])
    assert (quarantine["state"], quarantine["advice"]) == ("warning", "run `mirror quarantine`")
    assert quarantine["found"].startswith("1 records")


IN_THE_URL = f"https://voice.example.com/api/v1?token={TOKEN}"
WRONG: list[tuple[dict[str, str], int, dict[str, str], str]] = [
    ({"TALKOVER_TOKEN": "talq_another"}, 77, {"API": "ok", "API token": "failed"},
     "check the token and its environment"),
    ({"TALKOVER_BASE_URL": IN_THE_URL}, 2, {"base_url": "failed", "token": "ok"},
     "end with its path"),
    ({"MIRROR_RATE": "fast"}, 2, {"settings": "failed", "token": "ok"}, "--rate"),
    ({"TALKOVER_TOKEN_FILE": ""}, 2, {"token": "failed", "runs": "ok"}, "set TALKOVER_TOKEN"),
    ({"TALKOVER_BASE_URL": "http://127.0.0.1:9/api/v1"}, 75, {"API": "failed", "runs": "ok"},
     "check --base-url, the network and its proxies"),
    ({"MIRROR_DATABASE_URL": "postgresql://me:geheim@127.0.0.1:9/db"}, 75,
     {"database": "failed", "API": "ok"}, "check"),
]  # fmt: skip


def test_what_is_wrong_leaves_the_rest(sqlite_mirror: Mirror, token_file: Path) -> None:
    """A token, setting, API or database that cannot be used is told as that; the rest is seen."""
    sqlite_mirror.sync([request(1)])
    for changed, code, states, said in WRONG:
        ran, checks = examine(**given(sqlite_mirror, token_file) | changed)
        assert ran.code == code, changed
        assert {name: checks[name]["state"] for name in states} == states
        (failed, *_) = (checks[name] for name, state in states.items() if state == "failed")
        assert said in f"{failed['found']} {failed['advice']}"


@contextmanager
def answering(health: bytes, listed: bytes) -> Iterator[dict[str, str]]:
    """An API that gives one answer when asked how it is, and another one for the list."""

    def say(question: Question) -> bytes:
        return health if "/health" in question.target else listed

    with Scripted([say]).running() as server:
        yield {"TALKOVER_BASE_URL": server.base_url, "TALKOVER_TOKEN": TOKEN}


@pytest.mark.calendar
@pytest.mark.parametrize(
    ("hours", "said"), [(1, "behind the API's"), (-1, "ahead of the API's")], ids=str
)
def test_a_clock_that_is_wrong(hours: int, said: str, tmp_path: Path) -> None:
    """A clock that differs from the API's is a warning, with how much and what it means."""
    there = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    ok = http(200, envelope([]), JSON, f"Date: {there}")
    with answering(ok, ok) as here:
        ran, checks = examine("--database", f"sqlite:///{tmp_path}/m.db", **here)
    assert ran.code == 0
    assert checks["clock"]["state"] == "warning"
    assert re.fullmatch(rf"3,[56]\d\d s {said}", checks["clock"]["found"])
    assert "NTP" in checks["clock"]["advice"]


@pytest.mark.parametrize(
    ("listed", "code", "said"),
    [
        (http(200, b"<html>", "Content-Type: text/html"), 1, "answered something else than JSON"),
        (http(404), 1, "answered 404"),
        (http(302, b"", "Location: https://evil.example/"), 1, "answered 302"),
        (http(429), 75, "answered 429"),
        (http(503), 75, "answered 503"),
        (http(403), 77, "answered 403"),
        (b"", 75, "cannot be reached"),
        (b"rubbish\r\n\r\n", 75, "cannot be reached"),
    ],
)
def test_answers_that_are_not_the_list(listed: bytes, code: int, said: str, tmp_path: Path) -> None:
    """Whatever answers in the place of the list is told as what it is, and the health apart."""
    with answering(http(404), listed) as here:
        ran, checks = examine("--database", f"sqlite:///{tmp_path}/m.db", **here)
    assert ran.code == code
    assert checks["API"]["state"] == "warning"
    assert checks["API token"]["state"] == "failed"
    assert said in checks["API token"]["found"]


def test_what_the_api_says_of_its_rate(tmp_path: Path) -> None:
    """The rate that the API allows is told, as it is where a slow sync comes from."""
    ok = http(200, envelope([]), JSON, "X-RateLimit-Limit: 30")
    with answering(ok, ok) as here:
        _, checks = examine("--database", f"sqlite:///{tmp_path}/m.db", **here)
    assert checks["API token"]["found"] == "accepted; it allows 30 requests a minute"
    assert checks["clock"]["state"] == "warning"


def test_a_schema_of_another_version(mirror: Mirror, token_file: Path, tmp_path: Path) -> None:
    """An older and a newer schema is a failure, with the command that helps."""

    def expect_advice(advice: str) -> None:
        ran, checks = examine(**given(mirror, token_file))
        assert ran.code == 1
        assert checks["schema"]["state"] == "failed"
        assert advice in checks["schema"]["advice"]

    with later_revision(tmp_path):
        expect_advice("run `mirror db upgrade`")
    with write_transaction(mirror.engine, "test") as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    expect_advice("pip install --upgrade talkover-mirror")


def test_a_database_that_may_only_be_read(
    make_ready_database: Callable[[str], str],
    sandbox: Sandbox,
    world: FakeUpstream,
    token_file: Path,
) -> None:
    """A session that may not write is found out without writing."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, world)
    mirror.sync([request(1)])
    url = mirror.url
    url += ("&" if "?" in url else "?") + "options=-c%20default_transaction_read_only%3Don"
    ran, checks = examine(**given(mirror, token_file) | {"MIRROR_DATABASE_URL": url})
    assert ran.code == 75
    assert checks["writing"]["state"] == "failed"
    assert "read-only" in checks["writing"]["found"]


def test_files_that_others_may_read(
    sqlite_mirror: Mirror, token_file: Path, tmp_path: Path
) -> None:
    """Token, configuration with a password and database file are for their owner alone."""
    token_file.chmod(0o644)
    file = tmp_path / "mirror.toml"
    file.write_text(
        'database = "postgresql://me:geheim@127.0.0.1:9/db"\n[environments.prod]\n'
        f'base_url = "{sqlite_mirror.sandbox.base_url}"\ntoken_file = "token"\n'
    )
    file.chmod(0o640)
    _, checks = examine("--config", str(file))
    for name in ("token", "configuration"):
        assert checks[name]["state"] == "warning"
        assert "others may use it (-rw-r" in checks[name]["found"]
    assert checks["token"]["environment"] == "prod"
    Path(sqlite_mirror.url.removeprefix("sqlite:///")).chmod(0o644)
    token_file.chmod(0o600)
    _, checks = examine(**given(sqlite_mirror, token_file))
    assert checks["database file"]["state"] == "warning"
    assert checks["token"]["state"] == "ok"


def test_several_environments(sqlite_mirror: Mirror, token_file: Path, tmp_path: Path) -> None:
    """Each environment of the file is looked at, or those that are named."""
    lines = [f'database = "{sqlite_mirror.url}"']
    for name, path in (("a", token_file), ("b", "nowhere")):
        lines += [
            f"[environments.{name}]",
            f'base_url = "{sqlite_mirror.sandbox.base_url}"',
            f'token_file = "{path}"',
        ]
    file = tmp_path / "mirror.toml"
    file.write_text("\n".join(lines))
    ran = run_mirror("doctor", "--config", str(file), "--format", "json")
    assert ran.code == 2
    found = {(one["environment"], one["check"]): one["state"] for one in json.loads(ran.out)}
    assert (found["a", "API token"], found["b", "token"]) == ("ok", "failed")
    assert ("b", "API token") not in found
    alone = run_mirror("doctor", "--config", str(file), "--environment", "a")
    assert alone.code == 0
    assert {line.split("\t")[2] for line in alone.out.splitlines()[1:]} == {"", "a"}


def test_on_a_terminal(sqlite_mirror: Mirror, token_file: Path) -> None:
    """A check begins a line with its state, is folded to the width, and shows no control codes."""
    sqlite_mirror.sync([request(1, id="x\x1b[31m") | {"status": 5}])
    widths = (80, 60)
    orders = [(columns, "doctor") for columns in widths]
    for columns, shown in zip(
        widths, drawn(*orders, **given(sqlite_mirror, token_file)), strict=True
    ):
        assert max(map(len, shown.splitlines())) <= columns
        assert "\x1b" not in shown
        starts = [line for line in shown.splitlines() if not line.startswith(" " * 9)]
        assert {line.split(" ")[0] for line in starts} == {"ok", "warning"}
        assert len(starts) >= 12

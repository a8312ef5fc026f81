"""`mirror doctor`: its checks, its advice, and that it changes nothing."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import stamina

from mirror.db import revisions
from mirror.db.engine import write_transaction
from mirror.sandbox.server import Sandbox
from tests.support.commands import Ran, run_mirror, run_on_a_terminal
from tests.support.fake_clock import FakeClock
from tests.support.http_servers import HttpRequest, ScriptedServer, envelope, http
from tests.support.mirrors import Mirror
from tests.support.schema import later_revision
from tests.support.terminals import drawn, plain
from tests.support.upstream import TOKEN, FakeUpstream, request

JSON = "Content-Type: application/json"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token, that only its owner may read."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def variables(mirror: Mirror, token_file: Path) -> dict[str, str]:
    """The settings of a mirror, as environment variables."""
    return {
        "MIRROR_DATABASE_URL": mirror.url,
        "TALKOVER_BASE_URL": mirror.sandbox.base_url,
        "TALKOVER_TOKEN_FILE": str(token_file),
    }


def run_doctor(*options: str, **environment: str) -> tuple[Ran, dict[str, dict[str, Any]]]:
    """Run the doctor; return its output, and its checks by name."""
    ran = run_mirror("doctor", "--format", "json", *options, **environment)
    assert "Traceback" not in ran.err
    assert TOKEN not in ran.out + ran.err
    assert "geheim" not in ran.out + ran.err
    checks = json.loads(ran.out)
    return ran, {check["check"]: check for check in checks}


def test_all_checks_pass(mirror: Mirror, token_file: Path) -> None:
    """After a sync each check is ok, with three requests to the API, and nothing is changed."""
    mirror.sync([request(1)])
    before, runs = mirror.state(), mirror.stored("sync_runs")
    path = Path(mirror.engine.url.database or "")
    file = path.read_bytes() if path.exists() else b""
    requests = len(mirror.sandbox.request_log)
    ran, checks = run_doctor("--rate", "90", **variables(mirror, token_file), MIRROR_TIMEOUT="20")
    assert (ran.code, ran.err) == (0, "")
    assert [check for check in checks.values() if check["state"] != "ok"] == []
    assert checks["rate"]["found"] == "90 (--rate)"
    assert checks["timeout"]["found"] == "20 (MIRROR_TIMEOUT)"
    assert checks["base_url"]["found"] == f"{mirror.sandbox.base_url} (TALKOVER_BASE_URL)"
    assert checks["settings"]["found"] == "by default: deadline 900, max_bytes 1073741824"
    assert checks["token"]["found"] == "read from TALKOVER_TOKEN_FILE"
    assert checks["API"]["found"].startswith(f"{mirror.sandbox.base_url}/health answered 200")
    assert checks["API token"]["found"] == "accepted"
    assert checks["list"]["found"] == "1 entry, which a sync would apply"
    assert "(MIRROR_DATABASE_URL)" in checks["database"]["found"]
    assert checks["schema"]["found"].startswith(f"revision {revisions.known()[-1]}")
    assert checks["runs"]["found"].startswith("last complete pull at")
    assert all(check["advice"] is None for check in checks.values())
    kind = mirror.engine.dialect.name
    assert ("journal mode wal" in checks["WAL"]["found"]) if kind == "sqlite" else checks["server"]
    assert (mirror.state(), mirror.stored("sync_runs")) == (before, runs)
    assert (path.read_bytes() if path.exists() else b"") == file
    assert len(mirror.sandbox.request_log) == requests + 3


def test_before_the_first_sync(new_mirror: Mirror, token_file: Path) -> None:
    """A database without a mirror is only a warning, and the doctor does not create one."""
    ran, checks = run_doctor(**variables(new_mirror, token_file))
    assert ran.code == 0
    check = checks["schema" if "schema" in checks else "database"]
    assert (check["state"], check["advice"]) == ("warning", "run `mirror sync`, which creates it")
    if new_mirror.url.startswith("sqlite"):
        assert not Path(new_mirror.url.removeprefix("sqlite:///")).exists()
    else:
        assert new_mirror.rows("SELECT to_regclass('release_requests')") == [(None,)]


def test_failed_runs_and_quarantine(mirror: Mirror, token_file: Path) -> None:
    """Failed runs and quarantined records are warnings, with the command that shows more."""
    mirror.sync([request(1), "rubbish"])
    mirror.sandbox.set_fault("maintenance")
    mirror.sync()
    mirror.sandbox.set_fault(None)
    ran, checks = run_doctor(**variables(mirror, token_file))
    assert ran.code == 0
    runs, quarantine = checks["runs"], checks["quarantine"]
    assert (runs["state"], runs["advice"]) == ("warning", "run `mirror sync -v`")
    assert re.search(r", 1 failed since; the last: the API at .* answered 503", runs["found"])
    assert (quarantine["state"], quarantine["advice"]) == ("warning", "run `mirror quarantine`")
    assert quarantine["found"].startswith("1 record that")


FAILURES: list[tuple[dict[str, str], int, dict[str, str], str]] = [
    ({"TALKOVER_TOKEN": "talq_another"}, 77, {"API": "ok", "API token": "failed"},
     "check the token and its environment"),
    ({"TALKOVER_BASE_URL": f"https://voice.example.com/api/v1?token={TOKEN}"}, 2,
     {"base_url": "failed", "token": "ok"}, "end with its path"),
    ({"MIRROR_RATE": "fast"}, 2, {"settings": "failed", "token": "ok"}, "--rate"),
    ({"TALKOVER_TOKEN_FILE": ""}, 2, {"token": "failed", "runs": "ok"}, "set TALKOVER_TOKEN"),
    ({"TALKOVER_BASE_URL": "http://127.0.0.1:9/api/v1", "MIRROR_ENVIRONMENT": "new"}, 75,
     {"API": "warning", "API token": "failed", "runs": "warning"},
     "check --base-url, the network and its proxies"),
    ({"MIRROR_DATABASE_URL": "postgresql://me:geheim@127.0.0.1:9/db"}, 75,
     {"database": "failed", "API": "ok"}, "check"),
]  # fmt: skip


def test_a_failed_check_leaves_the_others(sqlite_mirror: Mirror, token_file: Path) -> None:
    """An unusable token, setting, API or database fails its own check, with advice."""
    sqlite_mirror.sync([request(1)])
    for changed, code, states, text in FAILURES:
        ran, checks = run_doctor(**variables(sqlite_mirror, token_file) | changed)
        assert ran.code == code, changed
        assert {name: checks[name]["state"] for name in states} == states
        (failed,) = (checks[name] for name, state in states.items() if state == "failed")
        assert text in f"{failed['found']} {failed['advice']}"


@contextmanager
def api(health: bytes, *lists: bytes) -> Iterator[dict[str, str]]:
    """The variables for an API with a response to the health check, and those for the list.

    The last one for the list repeats.
    """
    remaining = list(lists)

    def respond(request: HttpRequest) -> bytes:
        if "/health" in request.target:
            return health
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    with ScriptedServer([respond]).running() as server:
        yield {"TALKOVER_BASE_URL": server.base_url, "TALKOVER_TOKEN": TOKEN}


@pytest.mark.calendar
@pytest.mark.parametrize(
    ("hours", "text"), [(1, "behind the API's"), (-1, "ahead of the API's")], ids=str
)
def test_clock_skew(hours: int, text: str, tmp_path: Path) -> None:
    """A clock that differs from the API's is a warning, with the difference and its effect."""
    date = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    ok = http(200, envelope([]), JSON, f"Date: {date}")
    with api(ok, ok) as environ:
        ran, checks = run_doctor("--database", f"sqlite:///{tmp_path}/m.db", **environ)
    assert ran.code == 0
    assert checks["clock"]["state"] == "warning"
    assert re.fullmatch(rf"3,[56]\d\d s {text}", checks["clock"]["found"])
    assert "NTP" in checks["clock"]["advice"]


@pytest.mark.parametrize(
    ("listed", "code", "text"),
    [
        (http(404), 1, "answered 404"),
        (http(302, b"", "Location: https://e.example/"), 1, "answered 302 and points to https://e"),
        (http(302, b"", "Location: http://[::1"), 1, "answered 302 and points to http://[::1"),
        (http(403), 77, "answered 403"),
        (http(403, b"<html><title>Blocked</title>"), 1, "answered 403: (an HTML page: Blocked)"),
        (http(401, b"", 'WWW-Authenticate: Basic realm="x"'), 1, "answered 401: (no re"),
        (http(422, b'{"success":false,"message":"No page."}'), 1, "answered 422: No page"),
    ],
)
def test_responses_that_are_not_the_list(
    listed: bytes, code: int, text: str, tmp_path: Path
) -> None:
    """A bad response to the request for the list fails its own check; health is a warning."""
    with api(http(404), listed) as environ:
        ran, checks = run_doctor("--database", f"sqlite:///{tmp_path}/m.db", **environ)
    assert ran.code == code
    assert checks["API"]["state"] == "warning"
    assert checks["API token"]["state"] == "failed"
    assert text in checks["API token"]["found"]


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let requests be tried again at once."""
    monkeypatch.setattr("asyncio.sleep", FakeClock().sleep)
    with stamina.set_testing(False):
        yield


OK = http(200, envelope([]), JSON)
TRANSIENT = {
    "408": http(408), "429": http(429, b"", "Retry-After: 1"), "503": http(503),
    "closed": b"", "no HTTP": b"rubbish\r\n\r\n",
}  # fmt: skip


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("name", TRANSIENT)
def test_what_a_sync_tries_again_decides_nothing(name: str, tmp_path: Path) -> None:
    """A failure that passes is a warning; one that stays fails the list, as it fails a sync."""
    settings = {"MIRROR_DATABASE_URL": f"sqlite:///{tmp_path}/m.db"}
    with api(OK, TRANSIENT[name], OK) as environ:
        ran, checks = run_doctor(**settings, **environ)
    assert (ran.code, checks["list"]["state"]) == (0, "ok")
    assert checks["API token"]["state"] == "warning"
    assert checks["API token"]["found"].startswith("unknown: the ")
    with api(OK, TRANSIENT[name]) as environ:
        expect_the_same(("default", "list"), **settings, **environ)


@pytest.mark.parametrize("health", [b"", b"rubbish\r\n\r\n", http(302, b"", "Location: http://[")])
def test_the_health_check_alone_fails_nothing(health: bytes, tmp_path: Path) -> None:
    """A gateway may let the list through and nothing else; a sync needs nothing else."""
    with api(health, OK) as environ:
        ran, checks = run_doctor("--database", f"sqlite:///{tmp_path}/m.db", **environ)
    assert ran.code == 0
    states = {name: checks[name]["state"] for name in ("API", "API token", "list")}
    assert states == {"API": "warning", "API token": "ok", "list": "ok"}


def test_an_api_that_refuses_other_pages(tmp_path: Path) -> None:
    """The token is checked with the request of a sync, as others may be refused."""

    def respond(request: HttpRequest) -> bytes:
        return OK if "per_page=100" in request.target else http(422, b'{"message":"No."}', JSON)

    with ScriptedServer([respond]).running() as server:
        environ = {"TALKOVER_BASE_URL": server.base_url, "TALKOVER_TOKEN": TOKEN}
        ran, checks = run_doctor("--database", f"sqlite:///{tmp_path}/m.db", **environ)
    assert (ran.code, checks["API token"]["state"]) == (0, "ok")


def test_what_is_not_json_is_told_as_a_sync_tells_it(
    sqlite_mirror: Mirror, token_file: Path
) -> None:
    """A page in place of the list fails the check of the list; of the token nothing is known."""
    settings = variables(sqlite_mirror, token_file)
    page = http(200, b"<html><title>Sign in</title>", "Content-Type: text/html")
    with api(http(200, b"{}", JSON), page) as environ:
        settings["TALKOVER_BASE_URL"] = environ["TALKOVER_BASE_URL"]
        expect_the_same(("default", "list"), **settings)
        _, checks = run_doctor(**settings)
    assert checks["API token"]["state"] == "warning"
    assert "an HTML page" in checks["list"]["found"]


def test_what_a_sync_would_quarantine(sqlite_mirror: Mirror, token_file: Path) -> None:
    """A sync that would exit with 3 is a warning, until the records are in quarantine."""
    settings = variables(sqlite_mirror, token_file)
    sqlite_mirror.sync([request(1)])
    sqlite_mirror.upstream.records = [request(1), "junk"]
    sqlite_mirror.sandbox.invalidate()
    ran, checks = run_doctor(**settings)
    assert (ran.code, checks["list"]["state"]) == (0, "warning")
    assert checks["list"]["found"].endswith(
        "but 1 of them cannot be understood and would be quarantined"
    )
    assert run_mirror("sync", **settings).code == 3
    assert run_doctor(**settings)[1]["list"]["state"] == "ok"


def test_the_rate_limit_of_the_api(tmp_path: Path) -> None:
    """The rate that the API allows is shown, as it can explain a slow sync."""
    ok = http(200, envelope([]), JSON, "X-RateLimit-Limit: 30")
    with api(ok, ok) as environ:
        _, checks = run_doctor("--database", f"sqlite:///{tmp_path}/m.db", **environ)
    assert checks["API token"]["found"] == "accepted; the API allows 30 requests per minute"
    assert checks["clock"]["state"] == "warning"


@pytest.mark.calendar
def test_a_sync_on_a_clock_that_was_ahead(sqlite_mirror: Mirror, token_file: Path) -> None:
    """It is a warning as long as later syncs date what they see to that time."""
    settings = variables(sqlite_mirror, token_file)
    sqlite_mirror.now = datetime.now(UTC)
    sqlite_mirror.sync([request(1)])
    assert run_mirror("sync", **settings).code == 0
    ran, checks = run_doctor(**settings)
    assert (ran.code, checks["runs"]["state"]) == (0, "ok")
    assert checks["times"]["state"] == "warning"
    assert f"until {sqlite_mirror.now:%Y-%m-%d %H:%M} UTC" in checks["times"]["found"]


def test_a_schema_of_another_version(mirror: Mirror, token_file: Path, tmp_path: Path) -> None:
    """An older or newer schema is a failure, with the command that helps."""

    def expect_advice(advice: str) -> None:
        ran, checks = run_doctor(**variables(mirror, token_file))
        assert ran.code == 1
        assert checks["schema"]["state"] == "failed"
        assert advice in checks["schema"]["advice"]

    with later_revision(tmp_path):
        expect_advice("run `mirror db upgrade`")
    with write_transaction(mirror.engine, "test") as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    expect_advice("install a newer version of mirror")


def test_a_read_only_database(
    make_ready_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    token_file: Path,
) -> None:
    """A session that may not write is detected without writing."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    mirror.sync([request(1)])
    url = mirror.url
    url += ("&" if "?" in url else "?") + "options=-c%20default_transaction_read_only%3Don"
    ran, checks = run_doctor(**variables(mirror, token_file) | {"MIRROR_DATABASE_URL": url})
    assert ran.code == 1
    assert checks["write access"]["state"] == "failed"
    assert "read-only" in checks["write access"]["found"]


def test_files_that_other_users_may_read(
    sqlite_mirror: Mirror, token_file: Path, tmp_path: Path
) -> None:
    """The token, a configuration with a password and the database file should be private."""
    token_file.chmod(0o644)
    file = tmp_path / "mirror.toml"
    file.write_text(
        'database = "postgresql://me:geheim@127.0.0.1:9/db"\n[environments.prod]\n'
        f'base_url = "{sqlite_mirror.sandbox.base_url}"\ntoken_file = "token"\n'
    )
    file.chmod(0o640)
    _, checks = run_doctor("--config", str(file))
    for name in ("token", "configuration"):
        assert checks[name]["state"] == "warning"
        assert "other users may use it (-rw-r" in checks[name]["found"]
    assert checks["token"]["environment"] == "prod"
    Path(sqlite_mirror.url.removeprefix("sqlite:///")).chmod(0o644)
    token_file.chmod(0o600)
    _, checks = run_doctor(**variables(sqlite_mirror, token_file))
    assert checks["database file"]["state"] == "warning"
    assert checks["token"]["state"] == "ok"


def test_several_environments(sqlite_mirror: Mirror, token_file: Path, tmp_path: Path) -> None:
    """Each environment of the file is checked, or the named ones."""
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
    states = {
        (check["environment"], check["check"]): check["state"] for check in json.loads(ran.out)
    }
    assert (states["a", "API token"], states["b", "token"]) == ("ok", "failed")
    assert ("b", "API token") not in states
    alone = run_mirror("doctor", "--config", str(file), "--environment", "a")
    assert alone.code == 0
    assert {line.split("\t")[2] for line in alone.out.splitlines()[1:]} == {"", "a"}


def expect_the_same(*failed: tuple[str | None, str], **settings: str) -> None:
    """The doctor fails with the errors and the exit code of a sync, and with no others.

    Args:
        failed: environment and name of each check that must fail.
        settings: environment variables of both commands.
    """
    before = run_mirror("sync", **settings)
    ran = run_mirror("doctor", "--format", "json", **settings)
    checks = [check for check in json.loads(ran.out) if check["state"] == "failed"]
    assert [(check["environment"], check["check"]) for check in checks] == list(failed)
    sentences = [f"{check['found']}; {check['advice']}" for check in checks]
    assert before.err.removeprefix("mirror: ").splitlines() == sentences
    assert ran.code == before.code != 0


GUARDED: list[tuple[list[Any], str]] = [
    ([request(9)], "belongs to the environment 'other'"),
    ([], "no longer in the list"),
    ([request(1)], "no longer in the list"),
]


def test_what_the_guard_refuses(mirror: Mirror, token_file: Path) -> None:
    """The list is compared with the mirror as a sync compares it, and nothing is applied."""
    mirror.sync([request(9)], environment="other")
    mirror.sync([request(number) for number in range(1, 8)])
    settings = variables(mirror, token_file) | {"MIRROR_ENVIRONMENT": "default"}
    for records, message in GUARDED:
        mirror.upstream.records = records
        mirror.sandbox.invalidate()
        expect_the_same(("default", "list"), **settings)
        before = mirror.state(), mirror.stored("sync_runs")
        assert message in run_mirror("doctor", **settings).out
        assert (mirror.state(), mirror.stored("sync_runs")) == before


def test_a_new_name_for_an_old_environment(mirror: Mirror, token_file: Path) -> None:
    """The doctor names the renaming before any sync was refused."""
    mirror.sync([request(1)])
    _, checks = run_doctor("--environment", "prod", **variables(mirror, token_file))
    assert "`mirror db rename-environment default prod`" in checks["list"]["advice"]
    expect_the_same(("prod", "list"), **variables(mirror, token_file), MIRROR_ENVIRONMENT="prod")


@pytest.mark.parametrize("option", ["--database", "--config"])
def test_the_renaming_is_for_the_mirror_of_the_options(
    sqlite_mirror: Mirror, token_file: Path, tmp_path: Path, option: str
) -> None:
    """What names the mirror is in the command too, or it would rename in another one."""
    sqlite_mirror.sync([request(1)])
    file = tmp_path / "its mirror.toml"
    file.write_text(f'database = "{sqlite_mirror.url}"\n')
    named = [option, sqlite_mirror.url if option == "--database" else str(file)]
    settings = variables(sqlite_mirror, token_file) | {"MIRROR_DATABASE_URL": ""}
    options = ("--environment", "prod", *named)
    command = f"`mirror db rename-environment {shlex.join(named)} default prod`"
    for name in ("sync", "doctor"):
        ran = run_mirror(name, *options, **settings)
        assert (ran.code, command in ran.err) == (4, True)
    assert run_mirror(*shlex.split(command.strip("`"))[1:]).code == 0
    assert run_mirror("sync", *options, **settings).code == 0


def test_another_base_url(mirror: Mirror, token_file: Path) -> None:
    """It is found before the token is sent there."""
    mirror.sync([request(1)])
    with ScriptedServer([http(404)]).running() as other:
        settings = variables(mirror, token_file) | {"TALKOVER_BASE_URL": other.base_url}
        expect_the_same(("default", "base_url"), **settings)
        assert other.requests == []


def test_a_forgotten_token(sqlite_mirror: Mirror, token_file: Path, tmp_path: Path) -> None:
    """One token for several environments, given or in the file, is found, and sent nowhere."""
    file = tmp_path / "mirror.toml"
    api = f'base_url = "{sqlite_mirror.sandbox.base_url}"'
    file.write_text(
        f'database = "{sqlite_mirror.url}"\n[defaults]\n{api}\n'
        '[environments.a]\ntoken_file = "token"\n[environments.b]\ntoken_file = "token"\n'
    )
    forgotten = {"MIRROR_CONFIG": str(file), "TALKOVER_TOKEN": TOKEN}
    before = len(sqlite_mirror.sandbox.request_log)
    expect_the_same((None, "settings"), **forgotten)
    expect_the_same((None, "settings"), MIRROR_CONFIG=str(file))
    assert len(sqlite_mirror.sandbox.request_log) == before
    assert run_mirror("doctor", "--config", str(file), "--environment", "a").code == 0


@pytest.mark.parametrize(
    ("shard", "named"),
    [("9/4", ""), ("0/4", ""), ("0/4", "default")],
    ids=["invalid", "of no file", "of named environments"],
)
def test_a_shard_that_a_sync_refuses(
    sqlite_mirror: Mirror, token_file: Path, shard: str, named: str
) -> None:
    """It is a failure of settings, beside which the other checks are done."""
    sqlite_mirror.sync([request(1)])
    shards = {"MIRROR_SHARD": shard, "MIRROR_ENVIRONMENT": named}
    environment = variables(sqlite_mirror, token_file) | shards
    sync = run_mirror("sync", **environment)
    ran = run_mirror("doctor", "--format", "json", **environment)
    (failed,) = [check for check in json.loads(ran.out) if check["state"] == "failed"]
    assert (failed["check"], ran.code, sync.code) == ("settings", 2, 2)
    assert f"{failed['found']}; {failed['advice']}" in sync.err
    assert "which a sync would apply" in ran.out


def test_a_database_that_a_sync_cannot_create(
    make_database: Callable[[str], str], sandbox: Sandbox, token_file: Path
) -> None:
    """A path through a file, a link into a missing folder, a server that lets create no tables."""
    link, loop = token_file.parent / "link.db", token_file.parent / "loop.db"
    link.symlink_to("missing/mirror.db")
    loop.symlink_to(loop)
    url = make_database("postgresql")
    url += ("&" if "?" in url else "?") + "options=-c%20default_transaction_read_only%3Don"
    for database, check in (
        (f"sqlite:///{token_file}/mirror.db", "database"),
        (f"sqlite:///{token_file}/folder/mirror.db", "database"),
        (f"sqlite:///{link}", "database"),
        (f"sqlite:///{loop}", "database"),
        (url, "write access"),
    ):
        settings = {"MIRROR_DATABASE_URL": database, "TALKOVER_TOKEN_FILE": str(token_file)}
        expect_the_same((None, check), TALKOVER_BASE_URL=sandbox.base_url, **settings)


def test_a_database_that_is_locked(
    sqlite_mirror: Mirror, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer is found, and waited for as long as a sync waits."""
    monkeypatch.setattr("mirror.db.lock_waits.LOCK_WAIT", 0)
    with write_transaction(sqlite_mirror.engine, "test"):
        expect_the_same((None, "write access"), **variables(sqlite_mirror, token_file))


def test_environments_on_record_that_the_file_does_not_have(
    mirror: Mirror, token_file: Path, tmp_path: Path
) -> None:
    """Each is named with both ways out, unless the environments to check are named."""
    mirror.sync([request(1)], environment="default")
    mirror.sync([], environment="prdo")
    mirror.sync([request(1)], environment="typo")  # refused
    file = tmp_path / "mirror.toml"
    file.write_text(
        f'database = "{mirror.url}"\n[environments.prod]\n'
        f'base_url = "{mirror.sandbox.base_url}"\ntoken_file = "{token_file}"\n'
    )
    command = ("doctor", "--config", str(file), "--format", "json")
    checks = json.loads(run_mirror(*command).out)
    others = [check for check in checks if check["check"] == "environment"]
    for check, name in zip(others, ("default", "prdo", "typo"), strict=True):
        assert (check["environment"], check["state"]) == (name, "warning")
        assert check["found"] == f"on record, but not in {file}"
        option = f"--config {file}"
        assert f"`mirror db rename-environment {option} {name} prod`" in check["advice"]
        assert f"`mirror db forget-environment {option} {name}`" in check["advice"]
    named = json.loads(run_mirror(*command, "--environment", "prod").out)
    assert {check["environment"] for check in named} == {None, "prod"}


def test_environments_on_record_without_a_file(mirror: Mirror, token_file: Path) -> None:
    """A mistyped one is a warning with the way out; one that is synced by its name is not."""
    mirror.sync([request(1)])
    mirror.sync([request(2)], environment="prod")
    mirror.sync([request(2)], environment="prdo")  # refused
    mirror.upstream.records = [request(1)]
    mirror.sandbox.invalidate()
    ran = run_mirror("doctor", "--format", "json", **variables(mirror, token_file))
    assert ran.code == 0
    checks = {
        check["environment"]: check
        for check in json.loads(ran.out)
        if check["check"] == "environment"
    }
    assert {name: check["state"] for name, check in checks.items()} == {
        "prod": "ok",
        "prdo": "warning",
    }
    assert "`mirror db forget-environment prdo`" in checks["prdo"]["advice"]


def test_on_a_terminal(sqlite_mirror: Mirror, token_file: Path) -> None:
    """A check begins a line with its state, is wrapped to the width, and has no control codes.

    The summary at the end counts the checks, and repeats what is not ok.
    """
    sqlite_mirror.sync([request(1, id="x\x1b[31m") | {"status": 5}])
    widths = (80, 60)
    orders = [(columns, "doctor") for columns in widths]
    for columns, shown in zip(
        widths, drawn(*orders, merge=False, **variables(sqlite_mirror, token_file)), strict=True
    ):
        lines = plain(shown)
        assert max(map(len, lines)) <= columns
        assert "\x1b" not in "".join(lines)
        assert "\x1b[32mok\x1b[0m " in shown
        assert "\x1b[33mwarning\x1b[0m " in shown
        starts = [line for line in lines if not line.startswith(" " * 9)]
        blank = starts.index("")
        checks, (summary, *repeated) = starts[:blank], starts[blank + 1 :]
        assert {line.split(" ")[0] for line in checks} == {"ok", "warning"}
        assert len(checks) >= 12
        warnings = [line for line in checks if line.startswith("warning")]
        assert repeated == warnings
        assert summary == (
            f"no failures, {len(warnings)} warning{'s' * (len(warnings) > 1)}, "
            f"{len(checks) - len(warnings)} ok"
        )


def test_the_summary(sqlite_mirror: Mirror, token_file: Path) -> None:
    """In a pipe it is on stderr, with the failures first; on a terminal at the end of stdout."""
    settings = variables(sqlite_mirror, token_file)
    sqlite_mirror.sync([request(1), "junk"])
    sqlite_mirror.sandbox.set_fault("unauthorized")
    ran, checks = run_doctor(**settings)
    counts, failed, *warnings = ran.err.splitlines()
    states = [check["state"] for check in checks.values()]
    assert counts == f"mirror: 1 failure, {len(warnings)} warning, {states.count('ok')} ok"
    assert failed.startswith("mirror: failed: default: API token: the API at")
    assert failed.endswith("the new one")
    assert [line[:37] for line in warnings] == ["mirror: warning: default: quarantine:"]
    (ran, shown) = run_on_a_terminal("-m", "mirror", "doctor", merge=False, **settings)
    assert (ran.code, ran.err) == (77, "")
    summary = "\n".join(plain(shown)).partition("\n\n")[2]
    assert summary.startswith(f"{counts.removeprefix('mirror: ')}\nfailed   default: API token: ")
    assert "\nwarning  default: quarantine: " in summary

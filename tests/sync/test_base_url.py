"""An environment belongs to its base URL: another one is refused before anything is sent there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mirror.config.settings import same_base_url
from mirror.db.prune import prune
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.commands import Ran, run_mirror
from tests.support.http_servers import ScriptedServer, http, whole
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream, request

LIST = whole([request(1), request(2)])


def sync(mirror: Mirror, base_url: str, *options: str) -> Ran:
    """Run `mirror sync` with a base URL."""
    settings = {"TALKOVER_TOKEN": TOKEN, "MIRROR_DATABASE_URL": mirror.url}
    return run_mirror("sync", "--json", "--base-url", base_url, *options, **settings)


def test_another_base_url_is_refused_until_it_is_accepted(mirror: Mirror) -> None:
    """The run is recorded as refused, nothing is sent or changed, and pruning keeps that so."""
    mirror.sync([request(1)])
    with ScriptedServer([LIST]).running() as other:
        before = mirror.state()
        for options in ((), ("--accept-missing",), ("--dry-run",)):
            refused = sync(mirror, other.base_url, *options)
            result = json.loads(refused.out)
            assert (refused.code, result["outcome"]) == (4, "refused")
            assert mirror.sandbox.base_url in refused.err
            assert f"the base URL is now {other.base_url}" in refused.err
            assert "with --environment default --accept-base-url" in refused.err
            prune(mirror.engine, before=datetime.now(UTC))
        assert mirror.runs("outcome", "error")[-1] == ("refused", result["error"])
        assert (mirror.state(), other.requests) == (before, [])

        accepted = sync(mirror, other.base_url, "--accept-base-url")
        assert (accepted.code, json.loads(accepted.out)["inserted"]) == (0, 1)
        assert json.loads(sync(mirror, other.base_url).out)["outcome"] == "unchanged"
        assert sync(mirror, mirror.sandbox.base_url).code == 4


def test_a_first_sync_that_failed_binds_to_nothing(sqlite_mirror: Mirror) -> None:
    """Only a complete sync makes a base URL that of an environment."""
    with ScriptedServer([http(404), LIST]).running() as other:
        assert sync(sqlite_mirror, other.base_url + "/wrong").code == 1
        assert sync(sqlite_mirror, other.base_url).code == 0


def test_each_environment_has_its_own(sqlite_mirror: Mirror) -> None:
    """Another environment may use another API, and keeps the first one as it is."""
    sqlite_mirror.sync([request(9)])
    with ScriptedServer([LIST]).running() as other:
        assert sync(sqlite_mirror, other.base_url, "--environment", "dev").code == 0
    assert sqlite_mirror.sync().outcome == "unchanged"


def test_the_configuration_file(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A base URL of the file that changes is refused alike; all environments may move at once."""
    file = tmp_path / "mirror.toml"

    def run(base_url: str, *options: str) -> Ran:
        file.write_text(
            f'database = "{sqlite_mirror.url}"\n[defaults]\nbase_url = "{base_url}"\n'
            "[environments.a]\ntoken_env = 'A'\n[environments.b]\ntoken_env = 'B'\n"
        )
        return run_mirror("sync", *options, MIRROR_CONFIG=str(file), A=TOKEN, B=f"{TOKEN}-b")

    empty = whole([])
    with ScriptedServer([empty]).running() as one, ScriptedServer([empty]).running() as two:
        assert run(one.base_url).code == 0
        refused = run(two.base_url)
        assert (refused.code, two.requests) == (4, [])
        assert "'a'" in refused.err
        assert "'b'" in refused.err
        assert run(two.base_url, "--accept-base-url").code == 0
        assert run(two.base_url).code == 0


def test_accepting_for_good_is_refused(sqlite_mirror: Mirror) -> None:
    """--every would accept each base URL of the future."""
    ran = sync(sqlite_mirror, "https://api.example/api/v1", "--accept-base-url", "--every", "1h")
    assert ran.code == 2
    assert "--accept-base-url with --every" in ran.err


def test_another_notation_is_the_same(sqlite_mirror: Mirror) -> None:
    """Upper case and a slash at the end change nothing, not even the shortcut by bytes."""
    sqlite_mirror.sync([request(1)])
    url = sqlite_mirror.sandbox.base_url
    ran = sync(sqlite_mirror, url.replace("http", "HTTP") + "/")
    assert (ran.code, json.loads(ran.out)["outcome"]) == (0, "unchanged")


SAME = [
    ("https://API.Example/api/v1", "https://api.example/api/v1"),
    ("HTTPS://api.example/api/v1", "https://api.example/api/v1"),
    ("https://api.example:443/api/v1", "https://api.example/api/v1"),
    ("https://api.example/api/v1/", "https://api.example/api/v1"),
    ("https://api.example", "https://api.example/"),
    ("http://[::1]:80/api", "http://[::1]/api"),
    ("https://api.example./api/v1", "https://api.example/api/v1"),
    ("https://api.example.:443/api/v1", "https://API.example/api/v1"),
    ("https://B\u00dcCHER.example/", "https://xn--bcher-kva.example/"),
    ("https://[2001:DB8:0:0::1]/api", "https://[2001:db8::0001]/api"),
]
OTHER = [
    ("https://api.example/api/V1", "https://api.example/api/v1"),
    ("https://api.example/api/v2", "https://api.example/api/v1"),
    ("https://api.example:8443/api/v1", "https://api.example/api/v1"),
    ("https://www.api.example/api/v1", "https://api.example/api/v1"),
    ("http://localhost/api/v1", "https://localhost/api/v1"),
    ("http://localhost:8787/api/v1", "http://127.0.0.1:8787/api/v1"),
    ("http://[::1]:8787/api/v1", "http://[::2]:8787/api/v1"),
    ("http://127.0.0.1:8787/api/v1", "http://127.0.0.1:8788/api/v1"),
    ("https://[::1/", "https://api.example/"),
    ("https://api..example/", "https://api.example/"),
    ("https://stra\u00dfe.example/", "https://strasse.example/"),
    ("https://xn--strae-oqa.example/", "https://strasse.example/"),
]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(*pair, True) for pair in SAME] + [(*pair, False) for pair in OTHER],
)
def test_which_base_urls_are_the_same(one: str, other: str, *, same: bool) -> None:
    """The case of scheme and host, a default port, a final dot or slash and zeros do not count."""
    assert same_base_url(one, other) is same
    assert same_base_url(other, one) is same
    assert same_base_url(one, one)


def test_the_line_of_the_sandbox_keeps_out_of_a_real_mirror(
    sqlite_mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted where a file lists the real environments, it syncs into a database of its own."""
    mirror = sqlite_mirror
    mirror.sync([request(1)], environment="prod")
    before = mirror.state(), mirror.stored("sync_runs")
    file = tmp_path / "mirror.toml"
    file.write_text(f'database = "{mirror.url}"\n[environments.prod]\n[environments.dev]\n')
    monkeypatch.setattr("mirror.cli.sandbox._serve", lambda *_: None)
    line = run_mirror("sandbox", "--port", "0").out.splitlines()[0]
    pasted = dict(setting.split("=", 1) for setting in line.removeprefix("export ").split())
    real = {"MIRROR_CONFIG": str(file), "MIRROR_DATABASE_URL": mirror.url}
    upstream = FakeUpstream()
    upstream.records = [request(2)]
    token = pasted["TALKOVER_TOKEN"]
    with Sandbox(upstream, SandboxConfig(token)).running() as sandbox:
        settings = real | pasted | {"TALKOVER_BASE_URL": sandbox.base_url}
        assert run_mirror("sync", cwd=tmp_path, **settings).code == 0
        rows = json.loads(run_mirror("status", "--format", "json", cwd=tmp_path, **settings).out)
    assert [(row["environment"], row["pending"]) for row in rows] == [("sandbox", 1)]
    assert (tmp_path / "mirror-sandbox.db").exists()
    assert (mirror.state(), mirror.stored("sync_runs")) == before

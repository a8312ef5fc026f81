"""The image of docs/container: built, and run as docs/containers.md does."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

from mirror.sandbox.server import Sandbox
from mirror.version import __version__
from tests.support import ROOT
from tests.support.containers import Podman, running_podman
from tests.support.outages import wait_until
from tests.support.upstream import TOKEN, FakeUpstream, requests

PAGE = (ROOT / "docs" / "containers.md").read_text()
IMAGE = f"mirror:{__version__}"


def start(podman: Podman, folder: Path, *, every: str, extra: tuple[str, ...] = ()) -> None:
    """Run the command of the page, with the files of a folder, and further options of `run`."""
    (line,) = re.findall(r"^podman (run (?:.*\\\n)*.*)", PAGE, re.MULTILINE)
    line = line.replace("\\\n", "").replace("/etc/mirror:", f"{folder}:", 1).replace("15m", every)
    words = shlex.split(line)
    image = words.index(IMAGE)
    podman.do(*words[:image], *extra, *words[image:])


def test_the_image(tmp_path: Path, sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """It syncs without rights, is healthy while it does, and ends at SIGTERM."""
    upstream.records = requests(1, 2)
    settings = tmp_path / "mirror"
    settings.mkdir()
    (settings / "prod.token").write_text(TOKEN)
    environment = f'[environments.prod]\nbase_url = "{sandbox.base_url}"\n'
    (settings / "config.toml").write_text(environment + 'token_file = "prod.token"\n')
    for path in (settings, *settings.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.chown(path, 65532, 65532)
    with running_podman(tmp_path) as podman:
        podman.debian()
        podman.build(IMAGE)
        check_rights(podman, settings)
        check_health(podman, settings, sandbox)
        check_stop_during_a_pull(podman, settings, sandbox)


def check_rights(podman: Podman, settings: Path) -> None:
    """A user of its own, nothing to write but the volume and /tmp, no pip, and no zombie."""
    hook = "(setsid sleep 0.1 &) ; cat >/dev/null; touch /var/lib/mirror/hooked"
    start(podman, settings, every="1s")
    wait_until(lambda: '"outcome":"applied"' in podman("logs", "mirror").err)
    assert podman.do("exec", "mirror", "id", "-u").strip() == "65532"
    assert "CapEff:\t0000000000000000" in podman.do("exec", "mirror", "cat", "/proc/self/status")
    assert "NoNewPrivs:\t1" in podman.do("exec", "mirror", "cat", "/proc/self/status")
    writable = ("/var/lib/mirror", "/tmp")  # noqa: S108 (the container's)
    for place in (*writable, "/opt/mirror", "/etc/mirror"):
        created = podman("exec", "mirror", "touch", f"{place}/file").code == 0
        assert created == (place in writable), place
    assert podman("exec", "mirror", "python3", "-c", "import pip").code == 1
    (first, line, *_) = map(json.loads, podman("logs", "mirror").err.splitlines())
    assert first["message"].startswith("first sync in ")
    assert line["environment"] == "prod"
    assert TOKEN not in json.dumps(podman.inspect("mirror"))
    podman.do("stop", "mirror")
    assert podman.inspect("mirror")["State"]["ExitCode"] == 0
    podman.do("rm", "mirror")
    # What a hook leaves behind is collected.
    podman.do("volume", "rm", "mirror")
    options = ("--on-change", hook)
    start(podman, settings, every="1s " + shlex.join(options))
    wait_until(lambda: podman("exec", "mirror", "test", "-e", "/var/lib/mirror/hooked").code == 0)
    states = "for status in /proc/[0-9]*/status; do grep '^State:' $status; done"
    wait_until(lambda: "(zombie)" not in podman.do("exec", "mirror", "sh", "-c", states))
    podman.do("rm", "--force", "mirror")


def check_health(podman: Podman, settings: Path, sandbox: Sandbox) -> None:
    """The image's own check passes; one of two seconds fails once no sync succeeds any more."""
    start(podman, settings, every="1s")
    check = podman.inspect("mirror")["Config"]["Healthcheck"]["Test"]
    assert check == ["CMD", "mirror", "status", "--max-age", "2h"]
    wait_until(lambda: podman("healthcheck", "run", "mirror").code == 0)
    assert podman.inspect("mirror")["State"]["Health"]["Status"] == "healthy"
    podman.do("rm", "--force", "mirror")
    short = ("--health-cmd", "mirror status --max-age 5s", "--health-retries", "1")
    start(podman, settings, every="1s", extra=(*short, "--health-start-period", "0s"))
    wait_until(lambda: podman("healthcheck", "run", "mirror").code == 0)
    sandbox.set_fault("server-error")
    wait_until(lambda: podman("healthcheck", "run", "mirror").code == 1)
    assert podman.inspect("mirror")["State"]["Health"]["Status"] == "unhealthy"
    sandbox.set_fault(None)
    wait_until(lambda: podman("healthcheck", "run", "mirror").code == 0)
    podman.do("rm", "--force", "mirror")


def check_stop_during_a_pull(podman: Podman, settings: Path, sandbox: Sandbox) -> None:
    """SIGTERM reaches the process with and without an init; the pull is on record as failed."""
    sandbox.set_fault("stall")
    for without in ((), ("--init=false",)):
        before = len(sandbox.request_log)
        start(podman, settings, every="1s", extra=without)

        def asks(before: int = before) -> bool:
            return len(sandbox.request_log) > before

        wait_until(asks)
        podman.do("stop", "mirror")
        assert podman.inspect("mirror")["State"]["ExitCode"] == 0
        podman.do("rm", "mirror")
        podman.do("volume", "exists", "mirror")
    sandbox.set_fault(None)
    runs = podman.do(
        "run", "--rm", "--read-only", "--volume", f"{settings}:/etc/mirror:ro",
        "--volume", "mirror:/var/lib/mirror", IMAGE, "runs", "--limit", "1", "--format", "json",
    )  # fmt: skip
    (run,) = json.loads(runs)
    assert run["outcome"] == "failed"
    assert "was stopped" in run["error"]

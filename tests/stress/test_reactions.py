"""The recipes of `mirror sync --on-change` in docs/operations.md, with a webhook on loopback.

Without curl or jq they are skipped, or fail if MIRROR_TEST_RECIPES is set.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.pages import FILES, executable, run
from tests.support.upstream import TOKEN, request

TOOLS = ("curl", "jq")
APPROVED = {"status": "approved", "resolved_at": "2024-01-11T10:00:00Z"}
LINES = [
    "default: +15550000001 resolved, pending → approved",
    "default: <b>\\u202e& requested",
    "default: 1 in quarantine",
]


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        reason = f"{' and '.join(missing)} not found"
        if os.environ.get("MIRROR_TEST_RECIPES"):
            pytest.fail(reason)
        pytest.skip(f"the reaction to changes is not tested: {reason}")


class Webhook(HTTPServer):
    """Receives what is posted; answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.bodies: list[Any] = []


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        if self.server.status == 200:
            self.server.bodies.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A server on loopback."""
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Machine:
    """The files of the recipes in a folder, and the sync that runs them."""

    def __init__(self, folder: Path, mirror: Mirror, webhook: Webhook) -> None:
        self.folder = folder
        self.mirror = mirror
        (folder / "spool").mkdir()
        for name in ("webhook", "slack"):
            url = f"http://127.0.0.1:{webhook.server_port}/{name}"
            (folder / f"{name}.curl").write_text(f'url = "{url}"\nnoproxy = "*"\n')
        program = "from mirror.__main__ import main; raise SystemExit(main())"
        executable(folder / "bin" / "mirror", f"exec {sys.executable} -c '{program}' \"$@\"")
        executable(folder / "bin" / "sendmail", f'echo "$@" > {folder}/arguments; cat > {folder}/m')
        self.variables = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "MIRROR_DATABASE_URL": mirror.url,
            "TALKOVER_BASE_URL": mirror.sandbox.base_url,
            "TALKOVER_TOKEN": TOKEN,
        }

    def script(self, name: str) -> str:
        """Write a script of the page, with its folders in this one; return its path."""
        text = FILES[name].replace("/etc/mirror", str(self.folder))
        path = self.folder / name
        path.write_text(text.replace("/var/lib/mirror", str(self.folder)) + "\n")
        path.chmod(0o755)
        return str(path)

    def sync(self, command: str) -> Ran:
        """Run a command after a sync that sees a change, a new request and a broken entry."""
        self.mirror.sync([request(1)])
        strange = request(2, phone_number="<b>\u202e&")
        self.mirror.upstream.records = [request(1, **APPROVED), strange, "junk"]
        self.mirror.sandbox.invalidate()
        ran = run_mirror("sync", "--quiet", "--on-change", command, **self.variables)
        assert ran.code == 3
        return ran


@pytest.fixture
def machine(tmp_path: Path, sqlite_mirror: Mirror, webhook: Webhook) -> Machine:
    """A machine with the recipes."""
    return Machine(tmp_path, sqlite_mirror, webhook)


def test_slack(machine: Machine, webhook: Webhook) -> None:
    """Slack gets a line for each change, new request and environment with records in quarantine."""
    ran = machine.sync(machine.script("to-slack.sh"))
    assert ran.err.count("\n") == 1, ran.err  # the warning of the quarantine
    lines = [line.encode().decode("unicode_escape") if "\\u" in line else line for line in LINES]
    (body,) = webhook.bodies
    assert body == {"text": "\n".join(lines).replace("<b>\u202e&", "&lt;b&gt;\u202e&amp;")}
    webhook.status = 404
    machine.mirror.upstream.records.append(request(3))
    machine.mirror.sandbox.invalidate()
    ran = run_mirror(
        "sync", "--quiet", "--on-change", machine.script("to-slack.sh"), **machine.variables
    )
    assert ran.code == 0
    assert "the command of --on-change failed with exit code 22 (curl: (22)" in ran.err


def test_many(machine: Machine, webhook: Webhook) -> None:
    """Slack gets twenty lines, and how many more there are."""
    payload = {
        "changes": [],
        "new_requests": [{"environment": "e", "phone_number": n} for n in range(30)],
        "runs": [],
        "omitted": {"changes": 5, "new_requests": 100},
    }
    (machine.folder / "input").write_text(json.dumps(payload))
    script = machine.script("to-slack.sh")
    assert run("sh", "-c", f"{script} < {machine.folder}/input").code == 0
    lines = webhook.bodies[0]["text"].split("\n")
    assert (len(lines), lines[0], lines[-1]) == (21, "e: 0 requested", "and 115 more")


def test_mail(machine: Machine) -> None:
    """Sendmail gets a message whose recipient is its own header."""
    ran = machine.sync(machine.script("to-mail.sh"))
    assert ran.err.count("\n") == 1, ran.err
    assert (machine.folder / "arguments").read_text() == "-t\n"
    head, _, body = (machine.folder / "m").read_text().partition("\n\n")
    assert head.splitlines()[:2] == [
        "To: releases@example.com", "Subject: Release requests: 2 changed or new"
    ]  # fmt: skip
    assert [line.replace("\u202e", "\\u202e") for line in body.splitlines()] == LINES


def test_webhook(machine: Machine, webhook: Webhook) -> None:
    """A webhook gets the object of the input."""
    ran = machine.sync(machine.script("webhook.sh"))
    assert ran.err.count("\n") == 1, ran.err
    (body,) = webhook.bodies
    assert body.keys() == {"runs", "changes", "new_requests", "omitted"}
    assert [change["kind"] for change in body["changes"]] == ["resolved"]


def test_spool(machine: Machine, webhook: Webhook) -> None:
    """What could not be sent is sent the next time, and so is what a killed run has left."""
    spool = machine.folder / "spool"
    script = machine.script("spool.sh")
    webhook.status = 503
    machine.sync(script)
    (file,) = spool.glob("*.json")
    (change,) = json.loads(file.read_text())
    (spool / "new").write_text('[{"left": "by a killed run"}]')
    webhook.status = 200
    assert run("sh", "-c", script, **machine.variables) == Ran(
        0, "", "mirror: the cursor 'webhook' has shown all changes\n"
    )
    assert webhook.bodies == [[change], [{"left": "by a killed run"}]]
    (spool / "new").write_text('[{"cut off')
    assert run("sh", "-c", script, **machine.variables).code == 0
    assert len(webhook.bodies) == 2
    (spool / "new").write_text("")
    machine.mirror.sync([request(1, reason="Another")])
    twice = f"{script} & {script}; wait"  # each change is sent once, and no empty list
    assert run("sh", "-c", twice, **machine.variables).code == 0
    assert len(webhook.bodies) == 3
    assert "request-1" in [change["request_id"] for change in webhook.bodies[2]]
    assert list(spool.glob("*.json")) == []

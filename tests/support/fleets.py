"""Several environments, each with a fake API, in one configuration file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from mirror.db.engine import create_engine, read_transaction
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.commands import Ran, run_mirror
from tests.support.upstream import TOKEN, FakeUpstream, requests


class Fleet(ExitStack):
    """Environments, each with a fake API, and the configuration file that names them.

    Args:
        url: of the database.
        folder: for the file and the tokens.

    Attributes:
        url: as above.
        path: of the file.
        upstreams, sandboxes: of each environment, by its name.
    """

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        self.url = url
        self.path = folder / "mirror.toml"
        self.upstreams: dict[str, FakeUpstream] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self._folder = folder
        self._write()

    def add(self, environment: str, *numbers: int) -> None:
        """Add an environment with requests of these numbers."""
        upstream = FakeUpstream()
        upstream.records = requests(*numbers)
        sandbox = Sandbox(upstream, SandboxConfig(token=f"{TOKEN}-of-{environment}"))
        self.enter_context(sandbox.running())
        self.upstreams[environment], self.sandboxes[environment] = upstream, sandbox
        (self._folder / f"{environment}.token").write_text(sandbox.config.token)
        self._write()

    def add_three(self) -> Fleet:
        """Add three environments of two requests each."""
        for number, environment in enumerate(("dev", "staging", "prod")):
            self.add(environment, 10 * number, 10 * number + 1)
        return self

    def _write(self) -> None:
        lines = [f'database = "{self.url}"']
        for environment, sandbox in self.sandboxes.items():
            lines += [
                f"[environments.{environment}]",
                f'base_url = "{sandbox.base_url}"',
                f'token_file = "{environment}.token"',
            ]
        self.path.write_text("\n".join(lines))

    def change_lists(self, change: Callable[[list[Any]], object]) -> None:
        """Change the list of each environment in place."""
        for environment, sandbox in self.sandboxes.items():
            change(self.upstreams[environment].records)
            sandbox.invalidate()

    def approve_first(self) -> None:
        """Approve the first request of each environment."""
        self.change_lists(lambda records: records[0].update(status="approved"))

    def refuse_token(self, environment: str) -> None:
        """Let an environment's API refuse the token."""
        self.sandboxes[environment].config = SandboxConfig(token="talq_another")

    def run(self, *arguments: str, **variables: str) -> Ran:
        """Run a command with the file."""
        return run_mirror(*arguments, MIRROR_CONFIG=str(self.path), **variables)

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command as a process, and kill it at the end of the context."""
        with subprocess.Popen(
            [sys.executable, "-m", "mirror", *arguments],
            env=os.environ | {"MIRROR_CONFIG": str(self.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run SQL."""
        with read_transaction(create_engine(self.url)) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]


def parse_metrics(text: str) -> dict[tuple[str, str, str], float]:
    """Values by name, environment and the label `status` or `outcome`."""
    return {
        (
            sample.name,
            sample.labels.get("environment", ""),
            sample.labels.get("status", sample.labels.get("outcome", "")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fail_three(fleet: Fleet, count: int) -> None:
    """Sync many environments; three fail, each in its way, and are reported and recorded."""
    refused, unavailable, emptied = "e03", f"e{count // 2:02}", f"e{count - 2:02}"
    for number in range(count):
        fleet.add(f"e{number:02}", *range(10 * number, 10 * number + 10))
    assert fleet.run("sync", "--jobs", "4").code == 0
    fleet.approve_first()
    fleet.refuse_token(refused)
    fleet.sandboxes[unavailable].set_fault("maintenance")
    fleet.upstreams[emptied].records = []

    ran = fleet.run("sync", "--jobs", "4", "--json")
    results = {result["environment"]: result for result in map(json.loads, ran.out.splitlines())}
    assert ran.code == 77
    assert results.keys() == fleet.upstreams.keys()
    failed = {name: result["outcome"] for name, result in results.items() if result["error"]}
    assert failed == {refused: "failed", unavailable: "failed", emptied: "refused"}
    for name in results.keys() - failed.keys():
        result = results[name]
        assert (result["outcome"], result["updated"], result["unchanged"]) == ("applied", 1, 9)
    lines = sorted(ran.err.splitlines())
    assert len(lines) == 3
    assert re.fullmatch(rf"mirror: {refused}: the API at .* answered 401: .*", lines[0])
    assert re.fullmatch(
        rf"mirror: {unavailable}: the API at .* answered 503: .* try again later", lines[1]
    )
    assert re.fullmatch(rf"mirror: {emptied}: 10 of the 10 requests .* --accept-missing", lines[2])
    assert TOKEN not in ran.out + ran.err

    ran = fleet.run("status", "--format", "prometheus")
    assert ran.code == 0
    metrics = parse_metrics(ran.out)
    for name, result in results.items():
        ok = name not in failed
        assert metrics["mirror_failures_since_complete_pull", name, ""] == (0 if ok else 1)
        assert metrics["mirror_last_run_outcome", name, result["outcome"]] == 1
        assert metrics["mirror_requests", name, "approved"] == (1 if ok else 0)
        assert metrics["mirror_requests", name, "pending"] == (9 if ok else 10)


def interrupt_fetches(fleet: Fleet, number: signal.Signals, jobs: int, *, every: bool) -> None:
    """Send a signal while fetches wait: they end at once, and are on record as failed.

    Args:
        fleet: three environments that were never synced.
        number: the signal.
        jobs: how many of them are synced at once.
        every: sync on an interval.
    """
    for sandbox in fleet.sandboxes.values():
        sandbox.set_fault("stall")
    interval = ("--every", "1s") if every else ()
    with fleet.start("sync", "--jobs", str(jobs), *interval) as process:
        first = list(fleet.sandboxes.values())[:jobs]
        while not all(sandbox.request_log for sandbox in first):
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (0 if every else 1), err
    assert b"Traceback" not in err
    runs = fleet.rows("SELECT outcome, error FROM sync_runs ORDER BY id")
    assert [outcome for outcome, _ in runs] == ["failed"] * jobs
    for _, error in runs:
        assert re.search("SIGTERM|interrupted|stopped", error)
    for sandbox in fleet.sandboxes.values():
        sandbox.set_fault(None)
    assert fleet.run("sync").code == 0

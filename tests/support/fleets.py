"""Many environments, each with an upstream of its own, and one command for all of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from mirror.db.engine import create_engine, read_transaction
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.commands import Ran, run_mirror
from tests.support.upstream import TOKEN, FakeUpstream, request


class Fleet:
    """Environments with an upstream each, and the configuration file that names them.

    Attributes:
        upstreams, sandboxes: of each, by its label.
        path: the file.
        url: of the database.
    """

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.upstreams: dict[str, FakeUpstream] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.path = folder / "mirror.toml"
        self.url = url
        self._folder = folder
        self._stack = stack
        self._write()

    def add(self, label: str, *numbers: int) -> None:
        """Add an environment with requests of these numbers."""
        upstream = FakeUpstream()
        upstream.records = [request(number) for number in numbers]
        sandbox = Sandbox(upstream, SandboxConfig(token=f"{TOKEN}-of-{label}"))
        self._stack.enter_context(sandbox.running())
        self.upstreams[label], self.sandboxes[label] = upstream, sandbox
        (self._folder / f"{label}.token").write_text(sandbox.manner.token)
        self._write()

    def _write(self) -> None:
        lines = [f'database = "{self.url}"']
        for label, sandbox in self.sandboxes.items():
            lines += [
                f"[environments.{label}]",
                f'base_url = "{sandbox.base_url}"',
                f'token_file = "{label}.token"',
            ]
        self.path.write_text("\n".join(lines))

    def add_three(self) -> Fleet:
        """Add three environments of two requests each."""
        for number, label in enumerate(("dev", "staging", "prod")):
            self.add(label, 10 * number, 10 * number + 1)
        return self

    def run(self, *arguments: str, **environment: str) -> Ran:
        """Run a command with the file."""
        return run_mirror(*arguments, MIRROR_CONFIG=str(self.path), **environment)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query as it stands."""
        with read_transaction(create_engine(self.url)) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command that does not end by itself; a test that fails does not wait for it."""
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


def metrics(text: str) -> dict[tuple[str, str, str], float]:
    """The samples of a text, by name, environment and what else they are of."""
    return {
        (
            sample.name,
            sample.labels.get("environment", ""),
            sample.labels.get("status", sample.labels.get("outcome", "")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fail_three_of_thirty(fleet: Fleet) -> None:
    """Sync thirty by one command; three fail, each in its way, are told, recorded and counted."""
    for number in range(30):
        fleet.add(f"e{number:02}", *range(10 * number, 10 * number + 10))
    assert fleet.run("sync", "--jobs", "4").code == 0
    for label, upstream in fleet.upstreams.items():
        upstream.records[0]["status"] = "approved"
        fleet.sandboxes[label].forget()
    fleet.sandboxes["e03"].manner = SandboxConfig(token="talq_another")
    fleet.sandboxes["e11"].misbehave("maintenance")
    fleet.upstreams["e20"].records = []

    ran = fleet.run("sync", "--jobs", "4", "--json")
    results = {one["environment"]: one for one in map(json.loads, ran.out.splitlines())}
    assert ran.code == 77
    assert results.keys() == fleet.upstreams.keys()
    failed = {label: one["outcome"] for label, one in results.items() if one["error"]}
    assert failed == {"e03": "failed", "e11": "failed", "e20": "refused"}
    assert all(
        (one["outcome"], one["updated"], one["unchanged"]) == ("applied", 1, 9)
        for label, one in results.items()
        if label not in failed
    )
    lines = sorted(ran.err.splitlines())
    assert len(lines) == 3
    assert re.fullmatch(r"mirror: e03: the API at .* answered 401: .*", lines[0])
    assert re.fullmatch(r"mirror: e11: the API at .* answered 503: .* try again later", lines[1])
    assert re.fullmatch(r"mirror: e20: 10 of the 10 requests .* --accept-missing", lines[2])
    assert TOKEN not in ran.out + ran.err

    told = fleet.run("status", "--format", "prometheus")
    assert told.code == 0
    samples = metrics(told.out)
    for label in fleet.upstreams:
        failures = samples["mirror_failures_since_complete_pull", label, ""]
        assert failures == (1 if label in failed else 0)
        outcome = results[label]["outcome"]
        assert samples["mirror_last_run_outcome", label, outcome] == 1
        assert samples["mirror_requests", label, "approved"] == (0 if label in failed else 1)
        assert samples["mirror_requests", label, "pending"] == (10 if label in failed else 9)


def interrupt_pulls(three: Fleet, number: signal.Signals, jobs: int, *, every: bool) -> None:
    """Send a signal while pulls wait: they are given up at once, and put on record as failed.

    Args:
        three: three environments that were never synced.
        number: the signal.
        jobs: how many of them are pulled at once.
        every: rounds follow each other, of which this is the first.
    """
    for sandbox in three.sandboxes.values():
        sandbox.misbehave("stall")
    repeated = ("--every", "1s") if every else ()
    with three.start("sync", "--jobs", str(jobs), *repeated) as process:
        asked = list(three.sandboxes.values())[:jobs]
        while not all(sandbox.asked for sandbox in asked):
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (0 if every else 1), err
    assert b"Traceback" not in err
    found = three.rows("SELECT outcome, error FROM sync_runs ORDER BY id")
    assert [outcome for outcome, _ in found] == ["failed"] * jobs
    for _, error in found:
        assert re.search("SIGTERM|interrupted|stopped", error)
    for sandbox in three.sandboxes.values():
        sandbox.misbehave(None)
    assert three.run("sync").code == 0

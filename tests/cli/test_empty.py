"""Commands that find nothing say on stderr what there is; stdout and exit code stay as they are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from tests.support.cli_mirror import FORMATS
from tests.support.commands import Ran, run_mirror
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.statements import recorded
from tests.support.upstream import request, requests

NEVER = "nothing was ever synced; run `mirror sync`"
RESOLVED = {"status": "approved", "resolved_at": "2024-01-10T00:00:00Z"}


@pytest.fixture(scope="module")
def fillings(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Mirror]]:
    """Mirrors of some environments, one of each kind of database."""
    with mirrors_by_kind(request, fill) as get:
        yield get


def fill(mirror: Mirror) -> Mirror:
    """Sync: prod changes, dev is empty, gone lost all, young is new, vain never succeeded."""
    first = [
        request(1, requested_at="2024-01-01T00:00:00Z", **RESOLVED),
        request(2, requested_at="2024-01-05T00:00:00Z", status="rejected"),
        request(3, requested_at="2024-01-09T00:00:00Z"),
        request(4, requested_at="2024-01-09T12:00:00Z", status="on\x1bhold"),
    ]
    mirror.sync([*first, "junk"], environment="prod")  # 13:00
    mirror.sync([*first[:2], request(3, requested_at="2024-01-09T00:00:00Z", **RESOLVED), first[3]],
                environment="prod")  # fmt: skip
    mirror.sync([], environment="dev")
    mirror.sync(requests(7, 8), environment="gone")
    mirror.sync([], environment="gone", accept_missing=True)
    mirror.sync(requests(9), environment="young")
    mirror.sandbox.set_fault("not-found")
    mirror.sync(environment="vain")
    mirror.sandbox.set_fault(None)
    return mirror


@pytest.fixture(params=DATABASES)
def filled(request: pytest.FixtureRequest, fillings: Callable[[str], Mirror]) -> Mirror:
    """A mirror of some environments; read only."""
    return fillings(request.param)


PROD = "--environment prod"
UNKNOWN = "there is no environment 'prdo' in the mirror; did you mean 'prod'?"
VAIN = "no sync of 'vain' was complete yet; `mirror status` shows why"
NO_CHANGE = "yet; a request that is seen for the first time is not a change"
WAYS = {
    # Environments
    "requests --environment prdo": UNKNOWN,
    "requests --environment prdo --status opne --number +15550000001": UNKNOWN,
    "changes --environment prdo": UNKNOWN,
    "quarantine --environment prdo": UNKNOWN,
    "history +15550000001 --environment prdo": UNKNOWN,
    "requests --environment vain": VAIN,
    "changes --environment vain": VAIN,
    "quarantine --environment vain": VAIN,
    "history +15550000001 --environment vain": VAIN,
    "requests --environment dev": "there is no request in 'dev'",
    "requests --environment dev --status pending": "there is no request in 'dev'",
    "requests --environment x": (
        "there is no environment 'x' in the mirror; there are 'dev', 'gone', 'prod', 'vain', "
        "'young'"
    ),
    # Statuses
    "requests --status pendng": "no request has the status 'pendng'; did you mean 'pending'?",
    "requests --status opne": (
        "no request has the status 'opne'; there are approved, on\\x1bhold, pending, rejected"
    ),
    f"requests --status cancelled {PROD}": (
        "no request has the status 'cancelled' in 'prod'; there are approved, on\\x1bhold, rejected"
    ),
    "requests --status opne --environment young": (
        "no request has the status 'opne' in 'young'; there is pending"
    ),
    f"requests --status '' {PROD} --as-of 2024-01-11T13:30": (
        "no request has the status '' in 'prod' at 2024-01-11 13:30:00 UTC; there are approved, "
        "on\\x1bhold, pending, rejected"
    ),
    "requests --missing --status approved": (
        "no missing request has the status 'approved'; there is pending"
    ),
    # Missing requests
    f"requests --missing {PROD}": "no request is missing from the list in 'prod'",
    "requests --environment gone": (
        "all 2 requests in 'gone' are missing from the list; --missing shows them"
    ),
    # Times
    f"requests --as-of 2024-01-11T12:59:59.999 {PROD}": (
        "the mirror knows nothing of 2024-01-11 12:59:59.999 UTC; its first complete sync in "
        "'prod' began at 2024-01-11 13:00:00 UTC"
    ),
    "requests --as-of 2020-01-01 --status pending": (
        "the mirror knows nothing of 2020-01-01 00:00:00 UTC; its first complete sync began at "
        "2024-01-11 13:00:00 UTC"
    ),
    f"requests --since 2099-01-01 {PROD}": (
        "no request in 'prod' was submitted at 2099-01-01 00:00:00 UTC or later; the last one "
        "before was at 2024-01-09 12:00:00 UTC"
    ),
    f"requests --until 2024-01-01 {PROD} --status opne": (
        "no request has the status 'opne' in 'prod'; there are approved, on\\x1bhold, rejected"
    ),
    f"requests --until 2024-01-01 {PROD}": (
        "no request in 'prod' was submitted before 2024-01-01 00:00:00 UTC; the first one after "
        "was at 2024-01-01 00:00:00 UTC"
    ),
    f"requests --since 2024-01-02 --until 2024-01-05 {PROD}": (
        "no request in 'prod' was submitted at 2024-01-02 00:00:00 UTC or later and before "
        "2024-01-05 00:00:00 UTC; the last one before was at 2024-01-01 00:00:00 UTC and the first "
        "one after was at 2024-01-05 00:00:00 UTC"
    ),
    "requests --since 2024-01-05 --until 2024-01-02": (
        "2024-01-05 00:00:00 UTC is not before 2024-01-02 00:00:00 UTC, so no time lies between "
        "them"
    ),
    f"requests --since 2024-01-02 --until 2024-01-06 {PROD} --status approved": (
        "no request of that time has the status 'approved' in 'prod'; there is rejected"
    ),
    # Changes
    "changes --environment young": f"no sync has seen a change in 'young' {NO_CHANGE}",
    f"changes --since 2024-01-11T14:00:01 {PROD}": (
        "no change in 'prod' was seen at 2024-01-11 14:00:01 UTC or later; the last one was at "
        "2024-01-11 14:00:00 UTC"
    ),
    # Runs
    "runs --environment prdo": UNKNOWN,
    f"runs --outcome failed {PROD}": "there is no run with the outcome failed in 'prod'",
    f"runs --since 2024-01-11T14:00:01 {PROD}": (
        "no run in 'prod' started at 2024-01-11 14:00:01 UTC or later; the last one started at "
        "2024-01-11 14:00:00 UTC"
    ),
    # Quarantine
    f"quarantine {PROD}": (
        "no record in 'prod' is in quarantine; --all shows 1 record that no longer occurs"
    ),
    "quarantine --environment young": "no record in 'young' was ever in quarantine",
    "quarantine --environment young --all": "no record in 'young' was ever in quarantine",
}
"""Command lines that find nothing, and what they say."""


def test_what_there_is(filled: Mirror) -> None:
    """One sentence on stderr says what there is; the header, or [], and exit code 0 stay."""
    for (line, sentence), output_format in zip(WAYS.items(), cycle(FORMATS), strict=False):
        words = [*shlex.split(line), "--format", output_format]
        ran = run_mirror(*words, MIRROR_DATABASE_URL=filled.url)
        assert (line, ran.code, ran.err) == (line, 0, f"mirror: {sentence}\n")
        if output_format == "json":
            assert json.loads(ran.out) == []
        else:
            assert ran.out.count("\n") == 1


def test_numbers(filled: Mirror) -> None:
    """A number that no request has is named, with what else the options select."""
    number = "+15550000001"
    for line, sentence in (
        ("history +15559999999", "no release request has the number +15559999999"),
        ("requests --number +15559999999", "no release request has the number +15559999999"),
        (
            f"requests --number {number} --status rejected",
            f"no release request that these options select has the number {number}",
        ),
    ):
        ran = run_mirror(*shlex.split(line), MIRROR_DATABASE_URL=filled.url)
        assert (line, ran.code, ran.err) == (line, 0, f"mirror: {sentence}\n")


def test_the_status_of_an_unknown_environment(filled: Mirror) -> None:
    """Its row stays, and stderr says which environments there are."""
    ran = run_mirror("status", "--environment", "prdo", MIRROR_DATABASE_URL=filled.url)
    assert (ran.code, ran.out.count("\n"), ran.err) == (0, 2, f"mirror: {UNKNOWN}\n")
    known = run_mirror("status", "--environment", "vain", MIRROR_DATABASE_URL=filled.url)
    assert (known.code, known.err) == (0, "")


def test_a_report_about_nothing(fillings: Callable[[str], Mirror], tmp_path: Path) -> None:
    """The page is written, and a warning says why it is empty."""
    filled = fillings("sqlite")

    def report(*arguments: str) -> Ran:
        return run_mirror(
            *("report", "--quiet", *arguments), cwd=tmp_path, MIRROR_DATABASE_URL=filled.url
        )

    for arguments, sentence in (
        (("--environment", "prdo"), UNKNOWN),
        (
            ("--since", "2023-01-01", "--until", "2023-02-01"),
            (
                "no request was submitted at 2023-01-01 00:00:00 UTC or later and before "
                "2023-02-01 00:00:00 UTC; the first one after was at 2024-01-01 00:00:00 UTC"
            ),
        ),
    ):
        ran = report(*arguments)
        assert (ran.code, ran.out, ran.err) == (0, "", f"mirror: {sentence}\n")
        assert (tmp_path / "mirror-report.html").exists()
    assert report("--since", "2024-01-01", "--until", "2024-02-01").err == ""


def test_a_new_mirror(mirror: Mirror) -> None:
    """Before the first sync each command names it; after one that failed, `mirror status`."""
    commands = ("requests", "requests --as-of 2020-01-01", "changes", "quarantine", "status")
    environment = {"MIRROR_DATABASE_URL": mirror.url}
    for line in commands:
        ran = run_mirror(*line.split(), **environment)
        assert (line, ran.code, ran.out.count("\n")) == (line, 0, 1)
        assert ran.err == f"mirror: {NEVER}\n"
    mirror.sandbox.set_fault("not-found")
    mirror.sync()
    for line in commands:
        reason = "no sync was complete yet; `mirror status` shows why"
        ran = run_mirror(*line.split(), **environment)
        expected = "" if line == "status" else f"mirror: {reason}\n"
        assert (line, ran.code, ran.err) == (line, 0, expected)


def test_many_environments(filled: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many names the first are listed, and the others counted."""
    monkeypatch.setattr("mirror.text._MAX_LISTED", 2)
    ran = run_mirror("requests", "--environment", "x", MIRROR_DATABASE_URL=filled.url)
    assert ran.err.endswith("; there are 'dev', 'gone' and 3 more\n")


def test_the_reason_costs_nothing_if_something_is_found(filled: Mirror) -> None:
    """Statements run for the reason only if nothing was found."""
    counts = []
    for line in ("changes", "changes --since 2099-01-01"):
        with recorded(Engine) as sent:
            run_mirror(*line.split(), MIRROR_DATABASE_URL=filled.url)
        counts.append(len([text for text, _ in sent if "FROM sync_runs" in text]))
    assert counts[0] == 0 < counts[1]

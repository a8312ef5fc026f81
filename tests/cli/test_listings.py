"""`requests`, `show`, `runs` and `quarantine`: order, limit, columns, ids, and their tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mirror as package
from mirror.cli.output import STYLES, Lines, render_table
from mirror.cli.runs import OUTCOMES
from mirror.db.runs import Outcome
from mirror.errors import UsageError
from tests.support.commands import Ran, run_mirror
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.statements import recorded
from tests.support.terminals import drawn, plain
from tests.support.upstream import request, requests

REJECTED = {
    "status": "rejected",
    "resolved_at": "2024-01-10T20:30:00Z",
    "rejection_reason": "There are open invoices",
}
LONG = "343e57eb-3465-4a1b-9c3d-000000000001"
TWIN = "343e57eb-3465-4a1b-9c3d-000000000002"


TWINS = [
    f"mirror: {LONG}  +15550000004  rejected",
    f"mirror: {TWIN}  +15550000005  pending",
]
"""How both are listed."""


@pytest.fixture(scope="module")
def fillings(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Mirror]]:
    """Mirrors of two environments, one of each kind of database."""
    with mirrors_by_kind(request, fill) as get:
        yield get


def fill(mirror: Mirror) -> Mirror:
    """Sync: prod changes in each of four syncs, then one fails; dev loses one of two requests."""
    others = [
        request(1, requested_at="2024-01-01T00:00:00Z", reason=None),
        request(2, requested_at="2024-01-02T00:00:00Z", status="approved"),
        request(3, requested_at="2024-01-02T00:00:00Z", status="approved", reason="Zinc"),
    ]
    long, twin = request(4, id=LONG, carrier="A"), request(5, id=TWIN)
    invalid = request(6, id="never-valid") | {"status": 5}
    mirror.sync([*others, long, twin, invalid], environment="prod")  # run 1
    rejected = long | REJECTED
    mirror.sync([*others, rejected, twin, invalid], environment="prod")  # run 2
    mirror.sync([*others, twin], environment="prod")  # run 3
    mirror.sync(requests(8, 9), environment="dev")  # run 4
    late = [request(7, id=name) | {"status": 5} for name in ("z", "a")]
    mirror.sync([*requests(9), *late], environment="dev")  # run 5
    broken = rejected | {"requested_at": "soon", "carrier": "B"}
    mirror.sync([*others, broken, twin], environment="prod")  # run 6
    mirror.sandbox.set_fault("not-found")
    mirror.sync(environment="prod")  # run 7
    mirror.sandbox.set_fault(None)
    return mirror


@pytest.fixture(params=DATABASES)
def filled(request: pytest.FixtureRequest, fillings: Callable[[str], Mirror]) -> Mirror:
    """A mirror of two environments on each database; read only."""
    return fillings(request.param)


@pytest.fixture
def sqlite(fillings: Callable[[str], Mirror]) -> Mirror:
    """A mirror of two environments, where the database does not matter; read only."""
    return fillings("sqlite")


def run(mirror: Mirror, *words: str) -> Ran:
    """Run a command about a mirror."""
    return run_mirror(*words, MIRROR_DATABASE_URL=mirror.url)


def rows(mirror: Mirror, *words: str) -> list[dict[str, Any]]:
    """The rows of a command, which must succeed."""
    ran = run(mirror, *words, "--format", "json")
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


def ids(mirror: Mirror, *words: str) -> list[str]:
    """The ends of the ids of the requests that a command lists."""
    return [row["id"][-1] for row in rows(mirror, "requests", *words)]


ORDERS: dict[str | None, str] = {
    None: "129231",
    "requested_at": "123129",
    "-requested_at": "129231",
    "status": "232191",
    "-reason": "312291",
    "resolved_at": "121239",
    "-environment": "121239",
}
"""The ends of the ids of all requests in each order."""


def test_sort_and_limit(filled: Mirror) -> None:
    """Rows are sorted in SQL, nulls last in both directions, and equal ones by id."""
    with package.connect(filled.url) as connection:
        for sort, order in ORDERS.items():
            for limit in (None, 0, 1, 3, 7):
                found = package.release_requests(connection, sort=sort, limit=limit)
                assert "".join(row.id[-1] for row in found) == order[:limit], (sort, limit)
        if filled.engine.dialect.name == "postgresql":
            for past in ({}, {"as_of": "2024-01-11T13:30"}, {"missing": True}):
                with recorded(connection) as sent:
                    package.release_requests(connection, sort="-reason", **past)
                assert 'reason COLLATE "C" DESC NULLS LAST' in sent[-1][0]
        one = package.release_requests(connection, environment="dev", limit=1)
        assert [row.id for row in one] == ["request-9"]
        runs = package.runs(connection, sort="error")
        assert [run.id for run in runs] == [7, 6, 5, 4, 3, 2, 1]
        runs = package.runs(connection, sort="-environment", outcomes=["applied"], limit=5)
        assert [run.id for run in runs] == [6, 3, 2, 1, 5]
        records = package.quarantine(connection, sort="-error", resolved=True)
        assert [record.request_id for record in records] == ["a", "z", "never-valid", LONG]
        records = package.quarantine(connection, environment="dev")
        assert [record.request_id for record in records] == ["a", "z"]
    assert ids(filled, "--sort", "-reason", "--limit", "2") == ["3", "1"]
    assert ids(filled, "--environment", "prod", "--limit", "2") == ["1", "2"]
    assert ids(filled, "--as-of", "2024-01-11T13:30", "--limit", "2") == ["1", "2"]


def test_what_a_limit_leaves_out_is_counted(sqlite: Mirror) -> None:
    """Stderr says how many rows there are, only if some are left out."""
    for words, count in (
        (("requests",), 6),
        (("requests", "--environment", "prod", "--status", "approved"), 2),
        (("runs",), 7),
        (("runs", "--environment", "prod", "--outcome", "applied"), 4),
        (("quarantine", "--all"), 4),
    ):
        ran = run(sqlite, *words, "--limit", "1")
        shown = f"mirror: 1 of {count} shown; --limit sets how many\n"
        assert (words, ran.code, ran.err, ran.out.count("\n")) == (words, 0, shown, 2)
        assert run(sqlite, *words, "--limit", str(count)).err == ""
    past = run(sqlite, "requests", "--as-of", "2024-01-11T13:30", "--limit", "1")
    assert past.err == "mirror: only the first 1 are shown; --limit sets how many\n"


def test_columns(sqlite: Mirror) -> None:
    """Only the named columns are written, in their order, each once, in every format."""
    words = ("requests", "--sort", "id", "--limit", "1", "--columns", "status, id,status")
    for output_format, text in {
        "table": f"status\tid\nrejected\t{LONG}\n",
        "csv": f"status,id\nrejected,{LONG}\n",
        "json": f'[\n  {{"status":"rejected","id":"{LONG}"}}\n]\n',
        "spreadsheet": f'\ufeff"status","id"\n"rejected","{LONG}"\n',
    }.items():
        assert run(sqlite, *words, "--format", output_format).out == text
    for line, hint in {
        "requests --columns request_id": "did you mean 'id'? There are id, ",
        "changes --columns id": "did you mean 'request_id'? There are ",
        "requests --sort number": "did you mean 'phone_number'? There are ",
        "requests --sort -extra": "'extra' is JSON, which has no order; sort by another column",
        "requests --columns nothing": "there are id, ",
    }.items():
        ran = run(sqlite, *line.split())
        assert (ran.code, ran.out) == (2, "")
        assert hint in ran.err
    history = run(sqlite, "history", "+15550000001", "--columns", "event").out
    assert history == "event\nrequested\n"


def test_ids(sqlite: Mirror) -> None:
    """Requests are selected by ids or unique beginnings of them; the others are named."""
    assert ids(sqlite, "--id", LONG, "--id", "request-3") == ["1", "3"]
    assert ids(sqlite, "--id", f"{TWIN[:-1]}2…", "--id", "request-9") == ["2", "9"]
    ran = run(sqlite, "requests", "--id", LONG[:13])
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[1:] == TWINS
    ran = run(sqlite, "requests", "--id", "request-7", "--id", "request-3", "--format", "json")
    assert (ran.code, len(json.loads(ran.out))) == (0, 1)
    unknown, *near = ran.err.splitlines()
    assert unknown == "mirror: there is no request 'request-7'; did you mean one of these?"
    assert [line.split()[1] for line in near] == [f"request-{number}" for number in (1, 2, 3, 8, 9)]
    ran = run(sqlite, "requests", "--id", "request-3", "--status", "pending", "--format", "json")
    assert (ran.code, ran.out) == (0, "[]\n")
    assert "leave out 'request-3', which `mirror show` shows" in ran.err
    assert run(sqlite, "requests", "--status", "\udcff").code == 0
    with package.connect(sqlite.url) as connection:
        assert package.release_requests(connection, ids=[]) == []
        with pytest.raises(TypeError, match="ids must be a list"):
            package.release_requests(connection, ids="request-1")
        for sort in ("number", "extra"):
            with pytest.raises(ValueError, match="sort must be one of id, "):
                package.release_requests(connection, sort=sort)
        with pytest.raises(ValueError, match="limit must not be negative"):
            package.runs(connection, limit=-1)
        assert len(package.runs(connection, limit=10**30)) == 7


def test_show(filled: Mirror) -> None:
    """A request is shown with its versions, what changed in each, and its quarantine."""
    details = json.loads(run(filled, "show", LONG, "--format", "json").out)
    assert details["environment"] == "prod"
    assert details["request"]["rejection_reason"] == "There are open invoices"
    assert details["request"]["extra"] == {"carrier": "B"}
    changes = [version["changes"] for version in details["versions"]]
    assert changes[0] == []
    assert changes[1] == [
        {"field": "status", "old": "pending", "new": "rejected"},
        {"field": "rejection_reason", "old": None, "new": "There are open invoices"},
        {"field": "resolved_at", "old": None, "new": "2024-01-10T20:30:00Z"},
    ]
    assert changes[2] == [{"field": "missing_since", "old": None, "new": "2024-01-11T15:00:00Z"}]
    assert changes[3] == [
        {"field": "missing_since", "old": "2024-01-11T15:00:00Z", "new": None},
        {"field": "extra", "old": {"carrier": "A"}, "new": {"carrier": "B"}},
    ]
    assert [version["sync_run_id"] for version in details["versions"]] == [1, 2, 3, 6]
    assert [record["first_run_id"] for record in details["quarantine"]] == [6]
    ran = run(filled, "show", f"{LONG[:-1]}1…", "--format", "csv")
    versions = list(csv.DictReader(io.StringIO(ran.out)))
    assert [version["changes"] for version in versions][:2] == [
        "",
        "status,rejection_reason,resolved_at",
    ]
    assert "1 invalid record of this request" in ran.err


def test_a_request_that_was_never_valid(sqlite: Mirror) -> None:
    """A request that is only in quarantine has no version."""
    details = json.loads(run(sqlite, "show", "never", "--format", "json").out)
    assert (details["id"], details["request"], details["versions"]) == ("never-valid", None, [])
    assert [record["resolved_at"] is None for record in details["quarantine"]] == [False]


def test_requests_that_are_not_there(sqlite: Mirror) -> None:
    """An id that is unknown or ambiguous is refused, with the ids that it may mean."""
    for words, sentence in {
        ("343e57eb-3465…",): "begin with '343e57eb-3465'; write more of it\n" + "\n".join(TWINS),
        ("343e57eb-3465-5",): "did you mean one of these?\n" + "\n".join(TWINS),
        ("nover-valid",): "there is no request 'nover-valid'; `mirror requests` lists them",
        ("never-invalid",): "there is no request 'never-invalid'; did you mean never-valid?",
        (
            "request-1",
            "--environment",
            "dev",
        ): "in 'dev'; did you mean one of these?\nmirror: request-8",
        ("request-1", "--environment", "dve"): "'dve' in the mirror; did you mean 'dev'?",
        ("+15550000001",): "there is no request '+15550000001'; `mirror history` takes a phone nu",
        ("",): "there is no request ''; `mirror requests` lists them",
        ("…",): "there is no request '…'; `mirror requests` lists them",
        ("\udcff",): "there is no request '\ufffd'",
        ("request-%",): "there is no request 'request-%'; did you mean",
    }.items():
        ran = run(sqlite, "show", *words)
        assert (ran.code, ran.out) == (2, ""), words
        assert sentence in ran.err
    with package.connect(sqlite.url) as connection, pytest.raises(UsageError):
        package.request_details(connection, "343")


def test_runs(sqlite: Mirror) -> None:
    """The runs are listed newest first, filtered by environment, outcome and time."""
    assert [row["id"] for row in rows(sqlite, "runs")] == [7, 6, 5, 4, 3, 2, 1]
    for words, found in {
        ("--environment", "dev"): [5, 4],
        ("--outcome", "failed"): [7],
        ("--outcome", "failed", "--outcome", "applied", "--limit", "2"): [7, 6],
        ("--since", "2024-01-11T18:00"): [7, 6],
        ("--sort", "id"): [1, 2, 3, 4, 5, 6, 7],
    }.items():
        assert [row["id"] for row in rows(sqlite, "runs", *words)] == found, words


def test_outcomes() -> None:
    """`--outcome` takes each outcome that a run on record can have."""
    assert set(OUTCOMES) == {*Outcome} - {Outcome.DRY_RUN}
    assert STYLES.keys() >= set(OUTCOMES)


def test_tables(sqlite: Mirror) -> None:
    """Each table fits its terminal, with states in colour and numbers on the right."""
    widths = (60, 80, 140)
    commands: list[tuple[int | str, ...]] = [(width, "requests") for width in widths]
    commands += [(80, "show", LONG), (60, "runs"), (60, "status"), (60, "requests", "--missing")]
    commands += [(80, "requests", "--environment", "prod"), (80, "quarantine", "--all")]
    commands += [(width, "changes") for width in (60, 80, 140)]
    commands += [(80, "changes", "--environment", "dev")]
    texts = drawn(*commands, MIRROR_DATABASE_URL=sqlite.url)
    lines = dict(zip(commands, map(plain, texts), strict=True))
    for (width, *words), shown in lines.items():
        assert max(map(len, shown)) <= int(width), words
    requests = {width: lines[width, "requests"][0].split() for width in widths}
    assert requests[60] == ["requested", "number", "status", "environment"]
    assert requests[80] == ["request", "requested", "number", "status", "open", "environment"]
    assert "".join(lines[60, "requests"]).count("+15550000004") == 1  # not folded
    (missing,) = [line for line in lines[60, "requests", "--missing"] if "+15550000008" in line]
    assert missing.split()[:4] == ["2024-01-10", "+15550000008", "pending", "2024-01-11"]
    prod = lines[80, "requests", "--environment", "prod"]
    reasons = [line[prod[0].index("reasons") :].strip() for line in prod]
    assert reasons[2:4] == ["Number is no longer…", "rejected: There are…"]
    changes = {width: lines[width, "changes"][0].split() for width in (60, 80, 140)}
    assert changes[60] == ["seen", "number", "change", "to", "environment"]
    assert changes[80] == ["seen", "(UTC)", "number", "change", "from", "to", "environment"]
    assert changes[140][2] == "request"
    assert changes[140][-3:] == ["environment", "also", "changed"]
    assert "environment" not in lines[80, "changes", "--environment", "dev"][0]
    assert "environment" in lines[80, "quarantine", "--all"][0]
    assert "\x1b[31mrejected" in texts[0]
    assert "      2  2024-01-11 14:00    2  status: pending → rejected" in "\n".join(
        lines[80, "show", LONG]
    )
    assert any(line.endswith("failed              1") for line in lines[60, "status"])
    assert requests[140][-4:] == ["environment", "reason", "rejection", "reason"]


def test_names_and_texts_in_narrow_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an environment breaks after a hyphen; a text is cut after its last line."""
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    cut = [Lines(["one two three four five six"], most=2), Lines(["a b", "one two three"], most=1)]
    rows = [["customer-north-america-1", "x" * 16, cell] for cell in cut]
    render_table(rows, ["environment", "x", "reasons"], out)
    assert [line.split() for line in out.getvalue().splitlines()[2:]] == [
        ["customer-", "x" * 16, "one", "two"],
        ["north-", "three…"],
        ["america-1"],
        ["customer-", "x" * 16, "a", "b"],
        ["north-", "one", "two…"],
        ["america-1"],
    ]

"""The dashboard for Grafana: its structure, its metrics, and its queries on a mirror."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Any

from mirror.cli.prometheus import render_metrics
from mirror.queries import status
from mirror.report.collect import collect
from mirror.report.period import Period
from mirror.sandbox.server import Sandbox
from tests.support import ROOT
from tests.support.mirrors import Mirror
from tests.support.upstream import FakeUpstream, request

DASHBOARD = json.loads((ROOT / "docs" / "grafana" / "mirror.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
SOURCES, VARIABLES = (
    [each for each in DASHBOARD["templating"]["list"] if (each["type"] == "datasource") is chosen]
    for chosen in (True, False)
)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two panels share a cell of the grid."""
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_structure() -> None:
    """It imports anywhere: what it needs is declared, and each panel has a place of its own."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["timezone"] == "utc", "the days of the mirror are UTC"
    required = {(need["type"], need["id"]) for need in DASHBOARD["__requires"]}
    assert {kind for kind, _ in required} == {"grafana", "datasource", "panel"}
    assert {panel["type"] for panel in PANELS} == {
        name for kind, name in required if kind == "panel"
    } == {"stat", "table", "timeseries"}  # fmt: skip
    assert "__inputs" not in DASHBOARD, "a dashboard that is loaded from a folder has none"
    sources = {"${" + each["name"] + "}": each["query"] for each in SOURCES}
    assert set(sources.values()) == {name for kind, name in required if kind == "datasource"}
    for user in (*PANELS, *TARGETS, *VARIABLES):
        assert sources[user["datasource"]["uid"]] == user["datasource"]["type"]
    assert [panel["id"] for panel in PANELS] == list(range(1, len(PANELS) + 1))
    for panel in PANELS:
        assert panel["title"]
        place = panel["gridPos"]
        assert place.keys() == {"x", "y", "w", "h"}
        assert min(place.values()) >= 0
        assert place["x"] + place["w"] <= 24
        assert {"defaults", "overrides"} == panel["fieldConfig"].keys()
        assert [target["datasource"] for target in panel["targets"]] == [panel["datasource"]]
    for one, other in combinations(PANELS, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def test_metrics(sqlite_mirror: Mirror) -> None:
    """Each metric exists, with the labels that are asked for."""
    sqlite_mirror.sync([request(1)])
    statuses = sqlite_mirror.query(
        status.status, now=sqlite_mirror.now, max_age=lambda _: timedelta(hours=1)
    )
    rendered = render_metrics(statuses, schema_revision="0001", version="1")
    expressions = [target["expr"] for target in TARGETS if "expr" in target]
    assert len(expressions) == 8
    for expression in expressions:
        series = re.findall(r"(mirror_\w+)\{(.*?)\}", expression)
        assert [name for name, _ in series] == re.findall(r"mirror_\w+", expression)
        for name, selector in series:
            assert 'environment=~"$environment"' in selector
            (line, *_) = re.findall(rf"^{name}{{.*", rendered, re.MULTILINE)
            for label in re.findall(r"(\w+)=", selector):
                assert f'{label}="' in line
    assert 'mirror_requests{environment="default",status="pending"}' in rendered


def test_stale_environments() -> None:
    """The number of stale environments is that for which the recommended alerts fire."""
    (stale,) = (panel for panel in PANELS if panel["title"] == "Stale environments")
    expression = stale["targets"][0]["expr"].replace('{environment=~"$environment"}', "")
    page = (ROOT / "docs" / "operations.md").read_text()
    (late,) = re.findall(r"alert: MirrorStale\n(?:.*\n)+? +expr: >\n((?: {10}.*\n)+)", page)
    (ahead,) = re.findall(r"alert: MirrorClockWrong\n +expr: (.*)", page)
    assert expression == f"count({' '.join(late.split())} or {ahead}) or vector(0)"


def expanded(sql: str) -> str:
    """A query as Grafana's data source for Postgres sends it."""
    times = "'2024-01-01T00:00:00Z' AND '2124-01-01T00:00:00Z'"
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN {times}", sql)
    epoch = r"floor(extract(epoch from \1)/86400)*86400"
    sql = re.sub(r"\$__timeGroup\((\w+), \$__interval\)", epoch, sql)
    return sql.replace("${environment:sqlstring}", "'dev','it''s'")


def test_queries(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """Each query finds rows in Postgres, in the columns that its panel needs."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    approved = {"status": "approved", "resolved_at": "2024-01-11T10:00:00Z"}
    for environment, number in (("dev", 1), ("it's", 3), ("left out", 5)):
        mirror.sync([request(number), request(number + 1)], environment=environment)
        mirror.sync([request(number, **approved), request(number + 1)], environment=environment)
    (variable,) = VARIABLES
    assert mirror.rows(variable["query"]) == [("dev",), ("it's",), ("left out",)]
    queries = [(target["format"], target["rawSql"]) for target in TARGETS if "rawSql" in target]
    assert len(queries) == 5
    for kind, query in queries:
        sql = expanded(query)
        assert "$" not in sql
        with mirror.engine.connect() as connection:
            result = connection.exec_driver_sql(sql.replace("%", "%%"))
            columns, rows = list(result.keys()), result.all()
        assert rows
        assert "left out" not in str(rows)
        if kind == "time_series":
            assert columns[0] == "time"
            assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_hours_are_those_of_the_report(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """Median and ninth decile of a day are those of `mirror report`, and not interpolated.

    Requests whose time of resolution is not reported are left out, as are undocumented statuses.
    """
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    mirror.sync([request(9)])
    day = date(2024, 1, 20)
    resolved = [
        request(number, status=status, requested_at=f"2024-01-{number:02}T01:00:00Z")
        | {"resolved_at": f"{day}T12:00:00Z"}
        for number, status in enumerate(("approved", "rejected", "approved", "rejected", "odd"), 1)
    ]
    mirror.sync([*resolved, request(9, status="cancelled")])
    (panel,) = (panel for panel in PANELS if panel["title"] == "Hours to resolve")
    sql = expanded(panel["targets"][0]["rawSql"]).replace("'dev'", "'default'")
    ((_, median, ninth),) = mirror.rows(sql)
    period = Period(day, day + timedelta(days=1))
    figures = collect(mirror.url, period, now=datetime.now(UTC)).figures
    assert (median, ninth) == (figures.hours.median, figures.hours.percentile_90) == (419, 467)

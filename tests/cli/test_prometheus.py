"""The metrics, as the parser of Prometheus reads them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mirror.cli.prometheus import render_metrics
from mirror.db.runs import Outcome
from mirror.queries.status import EnvironmentStatus

PULLED_AT = datetime(2024, 1, 11, 12, 0, 0, 250_000, tzinfo=UTC)
UNIX_TIME = 1704974400.25
STATUS = EnvironmentStatus(
    environment="prod",
    complete_at=PULLED_AT,
    age=60.0,
    outcome="unchanged",
    started_at=PULLED_AT + timedelta(seconds=30),
    seconds=1.125,
    error='at 12:00\nit "failed"',
    failures=2,
    pending=3,
    approved=4,
    rejected=5,
    cancelled=6,
    other=7,
    missing=8,
    schema_revision="0004",
    database="sqlite:///mirror.db",
    quarantined=9,
    base_url="https://app.talkover.ai/api/v1",
    max_age_seconds=30.0,
    stale=True,
)
_UNKNOWN: dict[str, Any] = dict.fromkeys(("complete_at", "age", "outcome", "started_at", "seconds"))
_NO_LIMIT: dict[str, Any] = dict.fromkeys(("max_age_seconds", "stale"))
NEVER = replace(STATUS, environment="new", failures=0, **_UNKNOWN, **_NO_LIMIT)
ON_RECORD = set(Outcome) - {Outcome.DRY_RUN}
HOSTILE = [
    'say "hello"', "back\\slash", "\\", "ends with \\n\\", "new\nline", "carriage\rreturn",
    '"} 1\nmirror_requests{environment="', "separators \x85 \u2028 \u2029 \x0b",
    "# HELP mirror_info No.", '{environment="x"}', "Ünïcödé 📞", "100%", "",
]  # fmt: skip


def render(*statuses: EnvironmentStatus) -> str:
    """The metrics as text."""
    return render_metrics(statuses, schema_revision="0004", version="1.2.3")


def parse(text: str) -> dict[str, Metric]:
    """The metrics by their names."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def values(text: str, environment: str) -> dict[str, float]:
    """The values of an environment, by metric and second label."""
    return {
        " ".join([sample.name, *(v for k, v in sample.labels.items() if k != "environment")]): (
            sample.value
        )
        for family in parse(text).values()
        for sample in family.samples
        if sample.labels.get("environment") == environment
    }


def outcomes(metrics: dict[str, float]) -> list[str]:
    """The outcomes whose value is 1; there is a value for each."""
    prefix = "mirror_last_run_outcome "
    found = {name.removeprefix(prefix): metrics[name] for name in metrics if prefix in name}
    assert found.keys() == ON_RECORD
    return [name for name, value in found.items() if value]


def test_every_value() -> None:
    """An environment has a value for each number and time of its status."""
    assert values(render(NEVER, STATUS), "prod") == {
        "mirror_last_complete_pull_timestamp_seconds": UNIX_TIME,
        "mirror_max_age_seconds": 30,
        "mirror_stale": 1,
        "mirror_last_run_timestamp_seconds": UNIX_TIME + 30,
        "mirror_last_run_duration_seconds": 1.125,
        **{f"mirror_last_run_outcome {name}": float(name == "unchanged") for name in ON_RECORD},
        "mirror_failures_since_complete_pull": 2,
        "mirror_requests pending": 3,
        "mirror_requests approved": 4,
        "mirror_requests rejected": 5,
        "mirror_requests cancelled": 6,
        "mirror_requests other": 7,
        "mirror_missing_requests": 8,
        "mirror_quarantined_records": 9,
    }


def test_what_never_happened() -> None:
    """The time of what never happened is 0, so that an alert fires; its duration is absent."""
    metrics = values(render(STATUS, NEVER), "new")
    assert metrics["mirror_last_complete_pull_timestamp_seconds"] == 0
    assert metrics["mirror_last_run_timestamp_seconds"] == 0
    assert "mirror_last_run_duration_seconds" not in metrics
    assert not {"mirror_max_age_seconds", "mirror_stale"} & metrics.keys()
    assert outcomes(metrics) == []


def test_a_running_sync_and_an_unknown_outcome() -> None:
    """A run that goes on has no duration; an unknown outcome makes no label."""
    metrics = values(render(replace(STATUS, outcome="running", seconds=None)), "prod")
    assert "mirror_last_run_duration_seconds" not in metrics
    assert outcomes(metrics) == ["running"]
    assert outcomes(values(render(replace(STATUS, outcome="postponed")), "prod")) == []


def test_names_and_help() -> None:
    """All metrics are gauges with a sentence of help, and follow Prometheus's naming rules."""
    metrics = parse(render(STATUS))
    assert len(metrics) == 11
    for name, family in metrics.items():
        assert family.type == "gauge"
        assert re.fullmatch(r"mirror_[a-z]+(_[a-z]+)*", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
        assert re.fullmatch(r"[A-Z0-9].*\.", family.documentation)
        assert family.samples


def test_the_version() -> None:
    """The versions are a metric that exists without any environment."""
    (sample,) = parse(render())["mirror_info"].samples
    assert (sample.labels, sample.value) == ({"version": "1.2.3", "schema_revision": "0004"}, 1)


@pytest.mark.calendar
def test_times_are_those_of_utc() -> None:
    """A time in another zone has the same value."""
    elsewhere = PULLED_AT.astimezone(timezone(timedelta(hours=5.5)))
    assert render(replace(STATUS, complete_at=elsewhere)) == render(STATUS)


def test_a_hostile_name_is_a_label_and_nothing_else() -> None:
    """Whatever the name of an environment, the text has the same lines, and the name is read."""
    usual = render(STATUS)
    comments = [line[:30] for line in usual.split("\n") if line.startswith("#")]
    for name in HOSTILE:
        text = render(replace(STATUS, environment=name))
        assert values(text, name) == values(usual, "prod"), name
        assert text.count("\n") == usual.count("\n")
        assert [line[:30] for line in text.split("\n") if line.startswith("#")] == comments


def test_the_text_is_what_the_textfile_collector_reads() -> None:
    """Each line ends with its end and has no timestamp; the text of an error is in none."""
    text = render(STATUS, NEVER)
    assert text.endswith("\n")
    assert 'failed"' not in text.replace('outcome="failed"', "")
    for line in text.splitlines():
        assert line.startswith("# ") or re.fullmatch(r"mirror_\w+\{.*\} [0-9.e+]+", line)

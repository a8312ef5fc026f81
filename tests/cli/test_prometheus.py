"""The metrics: read back by the parser of Prometheus itself, they say what the status says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mirror.cli.prometheus import render_metrics
from mirror.queries.status import EnvironmentStatus
from mirror.sync.run import Outcome

BEGAN = datetime(2024, 1, 11, 12, 0, 0, 250_000, tzinfo=UTC)
UNIX_TIME = 1704974400.25
FINE = EnvironmentStatus(
    environment="prod",
    complete_at=BEGAN,
    age=60.0,
    outcome="unchanged",
    started_at=BEGAN + timedelta(seconds=30),
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
)
_NOTHING_YET = dict.fromkeys(("complete_at", "age", "outcome", "started_at", "seconds"))
NEVER = replace(FINE, environment="new", failures=0, **_NOTHING_YET)
HOSTILE = [
    'say "hello"', "back\\slash", "\\", "ends with \\n\\", "new\nline", "carriage\rreturn",
    '"} 1\nmirror_requests{environment="', "separators \x85 \u2028 \u2029 \x0b",
    "# HELP mirror_info No.", '{environment="x"}', "Ünïcödé 📞", "100%", "",
]  # fmt: skip


def told(*statuses: EnvironmentStatus) -> str:
    """The metrics as text."""
    return render_metrics(statuses, schema_revision="0004", version="1.2.3")


def read(text: str) -> dict[str, Metric]:
    """The metrics by their names."""
    families = list(text_string_to_metric_families(text))
    assert len({one.name for one in families}) == len(families)
    return {one.name: one for one in families}


def values(text: str, environment: str) -> dict[str, float]:
    """The values of an environment, by metric and its further label."""
    return {
        " ".join([sample.name, *(v for k, v in sample.labels.items() if k != "environment")]): (
            sample.value
        )
        for family in read(text).values()
        for sample in family.samples
        if sample.labels.get("environment") == environment
    }


def test_every_value_in_full() -> None:
    """An environment has a value for each thing that its status says, but for texts."""
    assert values(told(NEVER, FINE), "prod") == {
        "mirror_last_complete_pull_timestamp_seconds": UNIX_TIME,
        "mirror_last_run_timestamp_seconds": UNIX_TIME + 30,
        "mirror_last_run_duration_seconds": 1.125,
        **{f"mirror_last_run_outcome {one}": float(one == "unchanged") for one in Outcome},
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
    """A pull that never was began at 0, so that an alert on its age fires; no duration is told."""
    found = values(told(FINE, NEVER), "new")
    assert found["mirror_last_complete_pull_timestamp_seconds"] == 0
    assert found["mirror_last_run_timestamp_seconds"] == 0
    assert "mirror_last_run_duration_seconds" not in found
    assert {found[f"mirror_last_run_outcome {one}"] for one in Outcome} == {0}


def test_an_outcome_without_a_duration_or_a_name() -> None:
    """While a run goes on it has no duration; an outcome that is not known makes no label."""
    found = values(told(replace(FINE, outcome="running", seconds=None)), "prod")
    assert "mirror_last_run_duration_seconds" not in found
    assert [one for one in Outcome if found[f"mirror_last_run_outcome {one}"]] == ["running"]
    found = values(told(replace(FINE, outcome="postponed")), "prod")
    assert {found[f"mirror_last_run_outcome {one}"] for one in Outcome} == {0}
    assert sum(name.startswith("mirror_last_run_outcome ") for name in found) == len(Outcome)


def test_each_metric_says_what_it_is() -> None:
    """All are gauges with a sentence of help, and have names as Prometheus wants them."""
    found = read(told(FINE))
    assert len(found) == 9
    for name, family in found.items():
        assert family.type == "gauge"
        assert re.fullmatch(r"mirror_[a-z]+(_[a-z]+)*", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
        assert re.fullmatch(r"[A-Z0-9].*\.", family.documentation)
        assert family.samples


def test_the_version() -> None:
    """Which versions are in use can be joined to all else; it is there without any environment."""
    (sample,) = read(told())["mirror_info"].samples
    assert (sample.labels, sample.value) == ({"version": "1.2.3", "schema_revision": "0004"}, 1)


@pytest.mark.calendar
def test_times_are_those_of_utc() -> None:
    """A time in another zone is the same moment."""
    there = BEGAN.astimezone(timezone(timedelta(hours=5.5)))
    assert told(replace(FINE, complete_at=there)) == told(FINE)


def test_a_hostile_name_is_a_label_and_nothing_else() -> None:
    """Whatever an environment is called, the text has the same lines and the name comes back."""
    fine = told(FINE)
    comments = [line[:30] for line in fine.split("\n") if line.startswith("#")]
    for name in HOSTILE:
        text = told(replace(FINE, environment=name))
        assert values(text, name) == values(fine, "prod"), name
        assert text.count("\n") == fine.count("\n")
        assert [line[:30] for line in text.split("\n") if line.startswith("#")] == comments


def test_the_text_is_what_the_textfile_collector_reads() -> None:
    """Each line ends with its end and has no time of its own, and no error or text is told."""
    text = told(FINE, NEVER)
    assert text.endswith("\n")
    assert 'failed"' not in text.replace('outcome="failed"', "")
    for line in text.splitlines():
        assert line.startswith("# ") or re.fullmatch(r"mirror_\w+\{.*\} [0-9.e+]+", line)

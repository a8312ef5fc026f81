"""The status of environments as metrics, in the text format of Prometheus.

They are for a file that the textfile collector of the node exporter reads. Nothing that upstream
says becomes a label: there are as many time series as environments, times a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mirror.db.runs import Outcome
from mirror.queries.status import DOCUMENTED_STATUSES, EnvironmentStatus

_NEVER = 0.0
"""In place of a time: `time() - … > …` then raises the alarm, which an absent series never does."""


@dataclass(frozen=True, slots=True)
class _Metric:
    """A gauge of each environment.

    Attributes:
        name: without the prefix that all have.
        meaning: its sentence of help.
        value: of an environment, and of the further label if there is one; None is not told.
        label: the name of the further label, if there is one.
        among: all the values that it has.
    """

    name: str
    meaning: str
    value: Callable[[EnvironmentStatus, str], float | None]
    label: str | None = None
    among: Sequence[str] = ("",)


def _unix_time(time: datetime | None) -> float:
    return _NEVER if time is None else time.timestamp()


_METRICS = (
    _Metric(
        "last_complete_pull_timestamp_seconds",
        "When the last complete pull began, as Unix time; 0 if there was none.",
        lambda one, _: _unix_time(one.complete_at),
    ),
    _Metric(
        "last_run_timestamp_seconds",
        "When the last run of mirror sync began, as Unix time; 0 if there was none.",
        lambda one, _: _unix_time(one.started_at),
    ),
    _Metric(
        "last_run_duration_seconds",
        "How long the last run took; absent while it runs, if it died, and if there was none.",
        lambda one, _: one.seconds,
    ),
    _Metric(
        "last_run_outcome",
        "1 for the outcome of the last run, 0 for all others.",
        lambda one, outcome: one.outcome == outcome,
        "outcome",
        tuple(Outcome),
    ),
    _Metric(
        "failures_since_complete_pull",
        "Runs that failed, were refused or died since the last complete pull.",
        lambda one, _: one.failures,
    ),
    _Metric(
        "requests",
        "Release requests in the list, by status; other is any that is not documented.",
        getattr,
        "status",
        (*DOCUMENTED_STATUSES, "other"),
    ),
    _Metric(
        "missing_requests",
        "Release requests that are no longer in the list.",
        lambda one, _: one.missing,
    ),
    _Metric(
        "quarantined_records",
        "Entries of the list that cannot be understood.",
        lambda one, _: one.quarantined,
    ),
)


def prometheus(statuses: Sequence[EnvironmentStatus], *, schema_revision: str, version: str) -> str:
    """Return the status of environments in the text exposition format of Prometheus.

    Args:
        statuses: one of each environment.
        schema_revision: of the mirror's database.
        version: of `mirror`.

    Returns:
        Lines, each with its end. The time of what never happened is 0; a duration that is not known
        has no line.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    info = Gauge(
        "mirror_info",
        "Version of mirror and of its database schema.",
        ("version", "schema_revision"),
        registry=registry,
    )
    info.labels(version, schema_revision).set(1)
    for metric in _METRICS:
        labels = ["environment", *filter(None, [metric.label])]
        gauge = Gauge(f"mirror_{metric.name}", metric.meaning, labels, registry=registry)
        for status in statuses:
            for one in metric.among:
                value = metric.value(status, one)
                if value is not None:
                    gauge.labels(status.environment, *filter(None, [one])).set(value)
    return generate_latest(registry).decode()

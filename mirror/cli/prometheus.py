"""The status of environments as Prometheus metrics, in the text format.

They are for a file that the textfile collector of the node exporter reads. No label holds data from
the API: the number of time series is that of environments, times a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mirror.db.runs import Outcome
from mirror.queries.status import DOCUMENTED_STATUSES, EnvironmentStatus

_NEVER = 0.0
"""The time of what never happened: an alert on `time() - … > …` fires, as it would not if the
series were absent."""


@dataclass(frozen=True, slots=True)
class _Metric:
    """A gauge with a value for each environment.

    Attributes:
        name: without the prefix `mirror_`.
        documentation: its help text.
        value: returns the value of an environment and a label value; None if there is none.
        label: name of a second label, besides the environment.
        label_values: all values of that label.
    """

    name: str
    documentation: str
    value: Callable[[EnvironmentStatus, str], float | None]
    label: str | None = None
    label_values: Sequence[str] = ("",)


def _unix_time(time: datetime | None) -> float:
    return _NEVER if time is None else time.timestamp()


_METRICS = (
    _Metric(
        "last_complete_pull_timestamp_seconds",
        "When the last complete pull began, as Unix time; 0 if there was none.",
        lambda status, _: _unix_time(status.complete_at),
    ),
    _Metric(
        "max_age_seconds",
        "Age of the last complete pull at which the environment is stale; absent without a limit.",
        lambda status, _: status.max_age_seconds,
    ),
    _Metric(
        "stale",
        "1 if the last complete pull is older than that, or was never; absent without a limit.",
        lambda status, _: status.stale,
    ),
    _Metric(
        "last_run_timestamp_seconds",
        "When the last run of mirror sync began, as Unix time; 0 if there was none.",
        lambda status, _: _unix_time(status.started_at),
    ),
    _Metric(
        "last_run_duration_seconds",
        "How long the last run took; absent while it runs, if it died, and if there was none.",
        lambda status, _: status.seconds,
    ),
    _Metric(
        "last_run_outcome",
        "1 for the outcome of the last run, 0 for all others.",
        lambda status, outcome: status.outcome == outcome,
        "outcome",
        tuple(outcome for outcome in Outcome if outcome is not Outcome.DRY_RUN),
    ),
    _Metric(
        "failures_since_complete_pull",
        "Runs that failed, were refused or died since the last complete pull.",
        lambda status, _: status.failures,
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
        lambda status, _: status.missing,
    ),
    _Metric(
        "quarantined_records",
        "Entries of the list that cannot be understood.",
        lambda status, _: status.quarantined,
    ),
)


def render_metrics(
    statuses: Sequence[EnvironmentStatus], *, schema_revision: str, version: str
) -> str:
    """Return the status of environments in the text exposition format of Prometheus.

    Args:
        statuses: one for each environment.
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
        gauge = Gauge(f"mirror_{metric.name}", metric.documentation, labels, registry=registry)
        for status in statuses:
            for label_value in metric.label_values:
                value = metric.value(status, label_value)
                if value is not None:
                    gauge.labels(status.environment, *filter(None, [label_value])).set(value)
    return generate_latest(registry).decode()

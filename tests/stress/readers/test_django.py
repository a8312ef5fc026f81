"""Django reads the mirror as docs/sql.md says."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from mirror.db.types import UTCDateTime
from tests.support.readers import (
    DAY_AFTER,
    FIRST_DAY,
    RELATIONS,
    ReaderMirror,
    Row,
    library,
    mapper_example,
)

pytestmark = pytest.mark.filterwarnings("default")  # those of the readers are not ours

LOOKUPS = {"=": "exact", ">=": "gte", "<": "lt"}
TIMES = {
    column.name
    for table in RELATIONS.values()
    for column in table.columns
    if isinstance(column.type, UTCDateTime)
}


@pytest.fixture(scope="module")
def _django(_reader_mirrors: Callable[[str], ReaderMirror]) -> Iterator[None]:
    """Django, which is set up once in a process, with both mirrors."""
    django = library("django")
    server = psycopg.conninfo.conninfo_to_dict(_reader_mirrors("postgresql").dsn)
    library("django.conf").settings.configure(
        USE_TZ=True,
        DATABASES={
            "default": {},
            "sqlite": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"file:{_reader_mirrors('sqlite').path}?mode=ro",
            },
            "postgresql": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": server.pop("dbname"),
                "OPTIONS": {"isolation_level": psycopg.IsolationLevel.REPEATABLE_READ, **server},
            },
        },
    )
    django.setup()
    yield
    library("django.db").connections.close_all()


def inspected(kind: str) -> dict[str, Any]:
    """The models that `inspectdb` writes, by table; in SQLite with a field for times."""
    models = library("django.db.models")
    written = io.StringIO()
    library("django.core.management").call_command(
        "inspectdb", "--include-views", *RELATIONS, database=kind, stdout=written
    )
    module = written.getvalue().replace("class Meta:", f"class Meta:\n        app_label = '{kind}'")
    if kind == "sqlite":
        for name in TIMES:
            module = module.replace(
                f" {name} = models.TextField(", f" {name} = UTCMillisecondsField("
            )
    names = mapper_example("django") | {"__name__": kind}
    exec(module, names)  # noqa: S102
    classes: list[Any] = [value for value in names.values() if isinstance(value, type)]
    return {model._meta.db_table: model for model in classes if issubclass(model, models.Model)}


@pytest.mark.usefixtures("_django")
def test_django(either: ReaderMirror) -> None:
    """`inspectdb` writes models of all tables and views, whose times find their rows."""
    database = library("django.db")
    models = inspected(either.kind)
    requests = models["release_requests"].objects.using(either.kind)

    def read(query: str) -> list[Row]:
        table = query.split()[3]
        rows = models[table].objects.using(either.kind)
        if "WHERE" in query:
            rows = rows.filter(day__gte=FIRST_DAY, day__lt=DAY_AFTER)
        return list(rows.values(*RELATIONS[table].columns.keys()))

    def find(operator: str, time: datetime) -> list[str]:
        condition = {f"requested_at__{LOOKUPS[operator]}": time}
        return list(requests.filter(**condition).values_list("id", flat=True))

    def count(query: str) -> int:
        with database.connections[either.kind].cursor() as cursor:
            cursor.execute(query)
            return int(cursor.fetchone()[0])

    assert models.keys() == RELATIONS.keys()
    either.assert_reads(read)
    either.assert_splits(find, dict(requests.values_list("id", "requested_at")))
    with database.transaction.atomic(using=either.kind):
        either.assert_one_state(count)

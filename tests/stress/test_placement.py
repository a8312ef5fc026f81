"""Where the mirror's objects are: in one schema, beside whatever others have there."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import make_url

from mirror.db import migrate, models, revisions, views
from mirror.db.engine import create_engine
from mirror.db.runs import Outcome
from mirror.errors import SchemaError
from mirror.sandbox.server import Sandbox
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.postgres import empty_database, execute
from tests.support.schema import alembic, inventory, later_revision, opened
from tests.support.upstream import TOKEN, FakeUpstream, request, requests

OURS = sorted({*models.metadata.tables, *views.metadata.tables, "alembic_version"})
TEMPORARY = ("staged", "normalized", "rejected", "trial", "differing")
THEIRS = [name for table in TEMPORARY for name in (table, f"mirror_{table}")]
"""Tables of somebody else, named as temporary tables of the mirror are or were."""


@pytest.fixture
def postgres(postgres_server: str, sandbox: Sandbox, upstream: FakeUpstream) -> Iterator[Mirror]:
    """A mirror without its schema, in a database of Postgres that is changed for good."""
    with empty_database(postgres_server) as url:
        yield Mirror(url, sandbox, upstream)


@pytest.fixture
def role(postgres_server: str) -> Iterator[str]:
    """A role that owns nothing, dropped after the databases of the test."""
    name = f"mirror_test_{uuid.uuid4().hex[:12]}"
    execute(postgres_server, f"CREATE ROLE {name} LOGIN PASSWORD 'word'")
    yield name
    execute(postgres_server, f"DROP ROLE {name}")


@pytest.fixture
def mirror(new_mirror: Mirror) -> Mirror:
    """A mirror without its schema."""
    return new_mirror


def with_path(url: str, search_path: str) -> str:
    """A URL of Postgres with a search path of its own."""
    options = {"options": f"-csearch_path={search_path}"}
    return make_url(url).update_query_dict(options).render_as_string(hide_password=False)


def set_path(url: str, search_path: str) -> None:
    """Give a database a search path, as its administrator does."""
    execute(url, f"ALTER DATABASE {make_url(url).database} SET search_path = {search_path}")


def relations(url: str) -> set[tuple[str, str]]:
    """The tables and views of a database, with their schemas."""
    return set(
        execute(
            url,
            "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind IN ('r', 'v') AND nspname !~ '^pg_|^information_schema$'",
        )
    )


def in_schema(schema: str, names: list[str] = OURS) -> set[tuple[str, str]]:
    """These relations in a schema."""
    return {(schema, name) for name in names}


def run(mirror: Mirror, *arguments: str, url: str = "") -> Ran:
    """Run a command on a mirror."""
    return run_mirror(
        *arguments,
        MIRROR_DATABASE_URL=url or mirror.url,
        TALKOVER_BASE_URL=mirror.sandbox.base_url,
        TALKOVER_TOKEN=TOKEN,
    )


def sync_everything(mirror: Mirror) -> None:
    """Sync lists that need each temporary table, and compare the counts with what must come out."""
    first = mirror.sync([*requests(1, 2, 3), request(4, phone_number="(555) 010-0004"), "junk"])
    assert (first.failure, first.counts.inserted, first.counts.quarantined) == (None, 4, 1)
    second = mirror.sync([request(1, status="approved"), *requests(2, 5), "junk", "more junk"])
    counts = second.counts
    assert (second.failure, counts.inserted, counts.updated, counts.missing) == (None, 1, 1, 2)
    assert mirror.rows("SELECT count(*) FROM release_requests") == [(5,)]
    preview = mirror.sync([*requests(1, 2, 3, 5, 6), 7], dry_run=True)
    assert (preview.failure, preview.counts.returned, preview.counts.inserted) == (None, 1, 1)


def test_tables_of_others_are_not_taken_for_temporary_ones(mirror: Mirror) -> None:
    """A table that is named like a temporary one keeps its rows, and none becomes a request."""
    columns = [column.name for column in models.release_requests.columns]
    names = ", ".join(f"{name} TEXT" for name in [*columns, "kind", "unread", "stored_digest"])
    with opened(mirror.url) as connection:
        for table in THEIRS:
            connection.exec_driver_sql(f"CREATE TABLE {table} ({names})")
            connection.exec_driver_sql(f"INSERT INTO {table} (id, kind) VALUES ('theirs', 'new')")
    if not mirror.url.startswith("sqlite"):
        set_path(mirror.url, "public, pg_temp")
    sync_everything(mirror)
    assert run(mirror, "doctor").code == 0
    for table in THEIRS:
        assert mirror.rows(f"SELECT id, kind, status FROM {table}") == [("theirs", "new", None)]


SHADOWS = """
CREATE FUNCTION "{name}"({arguments}) RETURNS {returns} LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'not the one of Postgres'; END $$
"""
SHADOWED = [
    ("set_config", "text, text, boolean", "text"),
    ("current_schemas", "boolean", "name[]"),
    ("to_regclass", "text", "regclass"),
    ("unnest", "name[]", "SETOF name"),
    ("left", "text, integer", "text"),
    ("hashtext", "text", "integer"),
    ("pg_advisory_xact_lock", "integer, integer", "void"),
    ("quote_ident", "text", "text"),
    ("jsonb_each", "jsonb", "SETOF record"),
    ("lower", "text", "text"),
    # With types that fit better than those of Postgres.
    ("quote_ident", "name", "text"),
    ("pg_advisory_xact_lock", "smallint, integer", "void"),
    ("pg_advisory_xact_lock", "integer, bigint", "void"),
    ("hashtext", "varchar", "integer"),
    ("to_regclass", "varchar", "regclass"),
    ("has_schema_privilege", "oid, varchar", "boolean"),
    ("pg_has_role", "oid, varchar", "boolean"),
    ("row_security_active", "regclass", "boolean"),
    ("current_setting", "varchar", "text"),
    ("format", "text, name", "text"),
    ("format", "text, name, name", "text"),
    ("unnest", "oid[]", "SETOF oid"),
]
OPERATORS = """
CREATE FUNCTION never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = text, FUNCTION = never);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = never);
CREATE FUNCTION never(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR < (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = never);
CREATE FUNCTION never(name, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = varchar, FUNCTION = never);
CREATE OPERATOR <> (LEFTARG = name, RIGHTARG = varchar, FUNCTION = never);
CREATE FUNCTION never(oid, integer) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = integer, FUNCTION = never);
"""


def test_functions_and_operators_of_others_are_not_called(role: str, postgres: Mirror) -> None:
    """Not even if `search_path` has their schema before that of Postgres."""
    for name, arguments, returns in SHADOWED:
        execute(postgres.url, SHADOWS.format(name=name, arguments=arguments, returns=returns))
    execute(postgres.url, *filter(str.strip, OPERATORS.split(";")))
    set_path(postgres.url, "public, pg_catalog")
    sync_everything(postgres)
    reader = ["db", "grant-read", role]
    for words in (["status"], ["history", "+15550100001"], ["doctor"], ["db", "current"], reader):
        ran = run(postgres, *words)
        assert ran.code == 0, ran.err


def test_who_may_create_functions_beside_the_mirror(role: str, postgres: Mirror) -> None:
    """The doctor names each role that could act as the user of a command, and no other."""
    url = postgres.url
    name = make_url(url).database
    assert run(postgres, "sync").code == 0
    assert "REVOKE" not in run(postgres, "doctor").out
    execute(url, f"GRANT CREATE ON SCHEMA public TO PUBLIC, {role}")
    ran = run(postgres, "doctor")
    assert ran.code == 0
    assert f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}" in ran.out
    execute(url, f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")
    assert "REVOKE" not in run(postgres, "doctor").out
    execute(url, f"ALTER SCHEMA public OWNER TO {role}")
    assert f"REVOKE CREATE ON SCHEMA public FROM {role}" in run(postgres, "doctor").out
    execute(url, "ALTER SCHEMA public OWNER TO pg_database_owner")
    execute(url, f"ALTER DATABASE {name} OWNER TO {role}")
    assert "FROM pg_database_owner" in run(postgres, "doctor").out
    execute(url, f"ALTER DATABASE {name} OWNER TO mirror")


def test_a_schema_of_the_user_that_is_made_later(postgres: Mirror, tmp_path: Path) -> None:
    """The mirror stays where it is: an upgrade puts nothing into the schema that comes first."""
    assert postgres.sync(requests(1)).failure is None
    execute(postgres.url, 'CREATE SCHEMA AUTHORIZATION "mirror"')
    user = make_url(postgres.url).username
    assert user == "mirror"
    before = relations(postgres.url)
    assert before == in_schema("public")
    with later_revision(tmp_path) as head:
        ran = run(postgres, "db", "upgrade")
        assert (ran.code, ran.out) == (0, ""), ran.err
        assert run(postgres, "db", "current").out == f"{head}\n"
        assert postgres.rows("SELECT DISTINCT later FROM public.phone_numbers") == [(1,)]
        assert relations(postgres.url) == before
        alembic(postgres.url, command.downgrade, "base")
    assert relations(postgres.url) == set()


def test_tables_of_others_earlier_in_the_path(postgres: Mirror) -> None:
    """Tables and views of the same names in a schema that comes first are never meant."""
    assert postgres.sync(requests(1)).failure is None
    execute(
        postgres.url,
        "CREATE SCHEMA theirs",
        "CREATE TABLE theirs.release_requests (id text, status text)",
        "CREATE TABLE theirs.sync_runs (id text)",
        "CREATE VIEW theirs.phone_numbers AS SELECT 1 AS one",
        "CREATE TABLE theirs.ix_release_requests_environment (id text)",
    )
    set_path(postgres.url, "theirs, public")
    result = postgres.sync(requests(1, 2))
    assert (result.failure, result.counts.inserted) == (None, 1)
    assert run(postgres, "status").code == 0
    schema = [
        line for line in run(postgres, "doctor").out.splitlines() if "in the schema public" in line
    ]
    assert len(schema) == 1
    assert execute(postgres.url, "SELECT count(*) FROM theirs.release_requests") == [(0,)]


COMMANDS = [
    ["sync"],
    ["sync", "--dry-run"],
    ["db", "upgrade"],
    ["db", "current"],
    ["status"],
    ["doctor"],
]
OUR_NAMES = ["CREATE TABLE release_requests (id TEXT)", "CREATE TABLE sync_runs (id TEXT)"]
FOREIGN = {
    "another revision": ["VERSION", "INSERT INTO alembic_version VALUES ('1975ea83b712')"],
    "a newer number": ["VERSION", "INSERT INTO alembic_version VALUES ('0007')"],
    "by chance our number": ["VERSION", "INSERT INTO alembic_version VALUES ('0001')"],
    "an empty table": ["VERSION"],
    "numbers": [
        "CREATE TABLE alembic_version (version_num INTEGER)",
        "INSERT INTO alembic_version VALUES (1)",
        *OUR_NAMES,
    ],
    "nothing": [
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES (NULL)",
        *OUR_NAMES,
    ],
    "bytes": ["BYTES", "INSERT INTO alembic_version SELECT CAST('0001' AS {bytes})", *OUR_NAMES],
    "another column": [
        "CREATE TABLE alembic_version (version TEXT)",
        "INSERT INTO alembic_version VALUES (NULL)",
        *OUR_NAMES,
    ],
    "one of our tables": ["CREATE TABLE release_requests (id TEXT)"],
    "one of our views": ["CREATE TABLE phone_numbers (number TEXT)"],
    "our number and one of our tables": [
        "VERSION",
        "INSERT INTO alembic_version VALUES ('0001')",
        "CREATE TABLE release_requests (id TEXT)",
    ],
}
STATEMENTS = {
    "VERSION": "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
    " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
    "BYTES": "CREATE TABLE alembic_version (version_num {bytes})",
}


def test_names_of_what_a_mirror_creates(mirror: Mirror) -> None:
    """A relation that has any of them before is named as that of another program."""
    mirror.sync(requests(1))
    sqlite = mirror.url.startswith("sqlite")
    with opened(mirror.url) as connection:
        created = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
            if sqlite
            else "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind <> 'S'"
        ).scalars()
        assert sorted(revisions._names(connection.dialect.name)) == sorted(created)


@pytest.mark.parametrize("name", ["pk_sync_runs", "ix_sync_runs_running", "alembic_version_pkc"])
def test_a_relation_with_the_name_of_an_index(mirror: Mirror, name: str) -> None:
    """It belongs to another program, unless the mirror can do without the name, as in SQLite."""
    with opened(mirror.url) as connection:
        connection.exec_driver_sql(f"CREATE TABLE {name} (a int)")
    ran = run(mirror, "sync")
    if mirror.url.startswith("sqlite") and not name.startswith("ix_"):
        assert ran.code == 0
        return
    assert ran.code == 1
    assert re.search(rf"{name}( in the schema public)? belongs to another program", ran.err)


def contents(mirror: Mirror) -> list[Any]:
    """Names and rows of all that a database holds."""
    with opened(mirror.url) as connection:
        inspector = sa.inspect(connection)
        names = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
        return [(name, connection.exec_driver_sql(f"SELECT * FROM {name}").all()) for name in names]


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN)
def test_a_database_of_another_program_is_left_alone(mirror: Mirror, statements: list[str]) -> None:
    """Each command says that it belongs to another program, and writes nothing."""
    with opened(mirror.url) as connection:
        kind = "BLOB" if connection.dialect.name == "sqlite" else "BYTEA"
        for statement in statements:
            connection.exec_driver_sql(STATEMENTS.get(statement, statement).format(bytes=kind))
    before = contents(mirror)
    for words in COMMANDS:
        ran = run(mirror, *words)
        assert ran.code == 1, words
        assert "belongs to another program" in ran.out + ran.err, words
        assert ("--database" if mirror.url.startswith("sqlite") else "CREATE SCHEMA") in (
            ran.out + ran.err
        )
    for do, revision in ((command.upgrade, "head"), (command.downgrade, "base")):
        with pytest.raises(SchemaError, match="belongs to another program"):
            with_check(mirror.url, do, revision)
    assert contents(mirror) == before


def with_check(url: str, do: Any, revision: str) -> None:
    """What `migrations/env.py` does for the `alembic` command."""
    with opened(url) as connection:
        revisions.require_known(revisions.read(connection))
    alembic(url, do, revision)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM alembic_version", "is empty"),
        ("INSERT INTO alembic_version VALUES ('1975ea83b712')", "belongs to another program"),
        ("UPDATE alembic_version SET version_num = 'abc'", "belongs to another program"),
        ("DROP TABLE alembic_version", "lacks alembic_version"),
        ("ALTER TABLE sync_runs RENAME TO runs", "lacks sync_runs"),
    ],
)
def test_the_revision_beside_a_mirror(mirror: Mirror, statement: str, message: str) -> None:
    """A mirror whose revision is lost, or mixed with another program's, is left alone."""
    mirror.sync(requests(1))
    with opened(mirror.url) as connection:
        connection.exec_driver_sql(statement)
    before = contents(mirror)
    for words in COMMANDS:
        ran = run(mirror, *words)
        assert ran.code == 1, words
        assert message in ran.out + ran.err
    assert contents(mirror) == before


def test_a_mirror_without_its_requests(postgres: Mirror) -> None:
    """It is not taken for another program, though the views were dropped with the table."""
    postgres.sync(requests(1))
    with opened(postgres.url) as connection:
        connection.exec_driver_sql("DROP TABLE release_requests CASCADE")
    assert "lacks release_requests" in str(postgres.sync(requests(1)).failure)


def test_a_mirror_that_the_path_does_not_reach(postgres: Mirror) -> None:
    """No second mirror is made by mistake; one that is meant takes a schema in the URL."""
    execute(postgres.url, 'CREATE SCHEMA "the mirror"', "CREATE SCHEMA second")
    there = with_path(postgres.url, '"the mirror"'.replace(" ", "\\ "))
    assert run(postgres, "sync", url=there).code == 0
    before = relations(postgres.url)
    assert before == in_schema("the mirror")
    for words in COMMANDS:
        ran = run(postgres, *words)
        assert ran.code == 1, words
        assert 'the mirror is in the schema "the mirror"' in ran.out + ran.err
        assert "options=-csearch_path%3D" in ran.out + ran.err
    assert relations(postgres.url) == before
    (advice,) = re.findall(r"; add (\S+) to the database URL", run(postgres, "status").err)
    assert run(postgres, "status", url=postgres.url + advice).code == 0
    assert re.search(
        r'pooler, run ALTER ROLE \w+ SET search_path = "the mirror"', ran.out + ran.err
    )
    assert run(postgres, "sync", url=with_path(postgres.url, "second")).code == 0
    assert relations(postgres.url) == before | in_schema("second")
    assert run(postgres, "db", "upgrade", url=with_path(postgres.url, "public,second")).code == 0
    assert relations(postgres.url) == before | in_schema("second")


@pytest.mark.parametrize(
    "options", ["-cSEARCH_PATH=second", "--search-path=second", "-c  Search_Path=second"]
)
def test_a_choice_in_another_form(postgres: Mirror, options: str) -> None:
    """The server decides whether the connection names the schema, not how that is written."""
    execute(postgres.url, "CREATE SCHEMA second")
    assert run(postgres, "sync").code == 0
    url = make_url(postgres.url).update_query_dict({"options": options})
    ran = run(postgres, "sync", url=url.render_as_string(hide_password=False))
    assert ran.code == 0, ran.err
    assert relations(postgres.url) == in_schema("public") | in_schema("second")


def test_another_option_with_the_word_is_no_choice(postgres: Mirror) -> None:
    """Nor is a path that a session inherits from its database."""
    execute(postgres.url, "CREATE SCHEMA second")
    assert run(postgres, "sync", url=with_path(postgres.url, "second")).code == 0
    before = relations(postgres.url)
    options = {"options": "-capplication_name=search_path"}
    url = make_url(postgres.url).update_query_dict(options)
    ran = run(postgres, "sync", url=url.render_as_string(hide_password=False))
    assert ran.code == 1
    assert "the mirror is in the schema second" in ran.err
    assert relations(postgres.url) == before


def as_role(url: str, role: str) -> str:
    """The URL of a database, as that role."""
    url_of_role = make_url(url).set(username=role, password="word")
    return url_of_role.render_as_string(hide_password=False)


@pytest.mark.parametrize("schema", ["m", '"M, ""m"'])
@pytest.mark.parametrize("in_url", [True, False])
def test_a_mirror_in_a_schema_that_the_role_may_not_use(
    role: str, postgres: Mirror, schema: str, in_url: bool
) -> None:
    """It is not taken for a missing one; the advice is the right that is missing."""
    execute(postgres.url, f"CREATE SCHEMA {schema}", f"GRANT CREATE ON SCHEMA public TO {role}")
    path = f"{schema},public"
    assert run(postgres, "sync", url=with_path(postgres.url, quoted(path))).code == 0
    before = relations(postgres.url)
    url = as_role(postgres.url, role)
    if in_url:
        url = with_path(url, quoted(path))
    else:
        set_path(postgres.url, path)
    for words in COMMANDS:
        ran = run(postgres, *words, url=url)
        assert ran.code == 1, words
        advice = f"GRANT USAGE ON SCHEMA {schema} TO {role}"
        assert advice in ran.out + ran.err, ran.err
    assert relations(postgres.url) == before
    execute(postgres.url, advice)
    assert f"GRANT USAGE ON SCHEMA {schema}" not in run(postgres, "status", url=url).err


@pytest.mark.parametrize("schema", ["public", '"M, ""m"'])
def test_a_schema_in_which_the_role_may_not_create(
    role: str, postgres: Mirror, schema: str
) -> None:
    """It is named with the right that is missing, as in `public` since Postgres 15."""
    execute(postgres.url, f"CREATE SCHEMA IF NOT EXISTS {schema}")
    execute(postgres.url, f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")
    execute(postgres.url, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    url = with_path(as_role(postgres.url, role), quoted(schema))
    advice = f"GRANT CREATE ON SCHEMA {schema} TO {role}"
    for words in (("sync",), ("doctor",), ("db", "upgrade")):
        ran = run(postgres, *words, url=url)
        assert (ran.code, advice in ran.err) == (1, True), ran.err
    assert relations(postgres.url) == set()
    execute(postgres.url, advice)
    assert run(postgres, "sync", url=url).code == 0
    execute(postgres.url, f"DROP OWNED BY {role}")


def test_only_the_owner_upgrades(role: str, postgres: Mirror, tmp_path: Path) -> None:
    """Another user is advised who can; nothing is changed."""
    assert run(postgres, "sync").code == 0
    owner = make_url(postgres.url).username
    execute(
        postgres.url,
        f"GRANT ALL ON SCHEMA public TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
    )
    url = as_role(postgres.url, role)
    before = relations(postgres.url)
    with later_revision(tmp_path):
        for words in (("sync",), ("db", "upgrade")):
            ran = run(postgres, *words, url=url)
            assert ran.code == 1
            assert f"the mirror belongs to {owner}, and {role} may not upgrade it" in ran.err
    assert relations(postgres.url) == before
    execute(postgres.url, f"DROP OWNED BY {role}")


def quoted(path: str) -> str:
    """A search path as the value of `options`."""
    return path.replace("\\", "\\\\").replace(" ", "\\ ")


VIEWS = list(views.metadata.tables)


@pytest.mark.parametrize(
    "moved",
    [VIEWS, *([name] for name in OURS if name in VIEWS), ["phone_numbers", "phone_number_history"]],
    ids="-".join,
)
def test_views_in_another_schema(postgres: Mirror, moved: list[str]) -> None:
    """Views that somebody moved away are named, with the way back."""
    assert postgres.sync(requests(1)).failure is None
    execute(postgres.url, "CREATE SCHEMA mirror")
    for view in moved:
        execute(postgres.url, f"ALTER VIEW {view} SET SCHEMA mirror")
    for words in COMMANDS:
        ran = run(postgres, *words)
        assert ran.code == 1, words
        found = re.findall(r"ALTER VIEW mirror\.(\w+) SET SCHEMA public", ran.out + ran.err)
        (advice,) = set(found)  # the doctor repeats it in its summary
        assert advice in moved
        assert f"but its view {advice} is in mirror" in ran.out + ran.err
    for view in moved:
        execute(postgres.url, f"ALTER VIEW mirror.{view} SET SCHEMA public")
    assert run(postgres, "status").code == 0


@pytest.mark.parametrize("table", ["quarantined_records", "release_request_past_versions"])
def test_a_table_in_another_schema(postgres: Mirror, table: str) -> None:
    """A table that somebody moved away is named, with the way back."""
    assert postgres.sync(requests(1)).failure is None
    execute(postgres.url, "CREATE SCHEMA mirror", f"ALTER TABLE {table} SET SCHEMA mirror")
    for words in COMMANDS:
        ran = run(postgres, *words)
        assert ran.code == 1, words
        assert f"ALTER TABLE mirror.{table} SET SCHEMA public" in ran.out + ran.err
    execute(postgres.url, f"ALTER TABLE mirror.{table} SET SCHEMA public")
    assert run(postgres, "status").code == 0


@pytest.mark.parametrize("dropped", [[name] for name in VIEWS] + [VIEWS], ids="-".join)
def test_dropped_views(mirror: Mirror, dropped: list[str]) -> None:
    """They are named, and an upgrade creates them again, with comments and all."""
    mirror.sync(requests(1))
    with opened(mirror.url) as connection:
        before = inventory(connection)
        cascade = "" if connection.dialect.name == "sqlite" else "CASCADE"
        for view in dropped:
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view} {cascade}")
    if cascade:  # a view of another program is not ours
        execute(mirror.url, "CREATE SCHEMA theirs")
        execute(mirror.url, f"CREATE VIEW theirs.{dropped[0]} AS SELECT 1 AS one")
    for words in (["sync"], ["sync", "--dry-run"], ["status"], ["doctor"]):
        ran = run(mirror, *words)
        assert ran.code == 1, words
        assert dropped[0] in ran.out + ran.err
        assert "run `mirror db upgrade`" in ran.out + ran.err
    ran = run(mirror, "db", "upgrade")
    assert ran.code == 0, ran.err
    with opened(mirror.url) as connection:
        assert sorted(map(str, inventory(connection))) == sorted(map(str, before))
    assert run(mirror, "doctor").code == 0


def test_a_dropped_table(mirror: Mirror) -> None:
    """No empty one takes its place: its rows are in a backup only."""
    mirror.sync(requests(1))
    with opened(mirror.url) as connection:
        cascade = "" if connection.dialect.name == "sqlite" else "CASCADE"
        connection.exec_driver_sql(f"DROP TABLE quarantined_records {cascade}")
    for words in COMMANDS:
        if words != ["db", "current"]:
            ran = run(mirror, *words)
            assert ran.code == 1, words
            assert "lacks quarantined_records" in ran.out + ran.err
            assert "backup" in ran.out + ran.err
    with opened(mirror.url) as connection:
        assert "quarantined_records" not in sa.inspect(connection).get_table_names()


KEEP_OUT = {
    "sqlite": [
        "CREATE TRIGGER keep BEFORE INSERT ON sync_runs BEGIN SELECT RAISE(IGNORE); END",
    ],
    "postgresql": [
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER keep BEFORE INSERT ON sync_runs FOR EACH ROW EXECUTE FUNCTION keep()",
    ],
}


def test_a_trigger_that_keeps_runs_out(mirror: Mirror) -> None:
    """One sentence says so, and nothing is applied."""
    mirror.sync(requests(1))
    with opened(mirror.url) as connection:
        for statement in KEEP_OUT[connection.dialect.name]:
            connection.exec_driver_sql(statement)
    mirror.upstream.records = requests(1, 2)
    for words in (["sync"], ["sync", "--dry-run"], ["doctor"]):
        ran = run(mirror, *words)
        assert ran.code == 1, words
        assert "the table sync_runs takes no rows" in ran.out + ran.err
        assert "Traceback" not in ran.err
    assert mirror.rows("SELECT count(*) FROM release_requests") == [(1,)]


def keep_out(mirror: Mirror, event: str, table: str) -> None:
    """Let a trigger keep rows out of a table, without an error."""
    with opened(mirror.url) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER keep BEFORE {event} ON {table} BEGIN SELECT RAISE(IGNORE); END"
            )
        else:
            connection.exec_driver_sql(KEEP_OUT["postgresql"][0])
            connection.exec_driver_sql(
                f"CREATE TRIGGER keep BEFORE {event} ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION keep()"
            )


@pytest.mark.parametrize(
    ("event", "table", "old"),
    [
        ("INSERT", "release_requests", []),
        ("INSERT", "release_requests", [1, 2]),
        ("UPDATE", "release_requests", [1, 2]),
        ("INSERT", "release_request_past_versions", [1, 2]),
        ("INSERT", "quarantined_records", []),
        ("UPDATE", "quarantined_records", [1, 2]),
    ],
)
def test_a_trigger_that_keeps_rows_out(
    mirror: Mirror, event: str, table: str, old: list[int]
) -> None:
    """The sync fails with one sentence and applies nothing, until the trigger is dropped."""
    mirror.sync([*requests(*old), "junk"] if old else [])
    before = mirror.state()
    keep_out(mirror, event, table)
    mirror.upstream.records = [*requests(3), *requests(1, status="approved"), "junk", "other"]
    mirror.sandbox.invalidate()
    for words in (["sync", "--dry-run"], ["sync"], ["sync"]):
        ran = run(mirror, *words, "--accept-missing")
        assert ran.code == 1, ran
        assert f"the table {table} took " in ran.err
        assert "Traceback" not in ran.err
    assert mirror.state() == before
    on = "" if mirror.engine.dialect.name == "sqlite" else f" ON {table}"
    with opened(mirror.url) as connection:
        connection.exec_driver_sql(f"DROP TRIGGER keep{on}")
    assert mirror.sync(accept_missing=True).failure is None


@pytest.mark.parametrize(
    ("event", "table"),
    [
        ("INSERT", "erased_requests"),
        ("UPDATE", "release_requests"),
        ("UPDATE", "release_request_past_versions"),
        ("UPDATE", "quarantined_records"),
    ],
)
def test_a_trigger_that_keeps_a_number(mirror: Mirror, event: str, table: str) -> None:
    """It is not said to be erased, and nothing was."""
    junk = request(2) | {"phone_number": "+15550000001", "requested_at": "never"}
    mirror.sync([request(1), junk])
    mirror.sync([request(1, status="approved"), junk])
    before = mirror.state()
    keep_out(mirror, event, table)
    ran = run(mirror, "db", "erase-number", "+15550000001", "--yes")
    assert (ran.code, "Traceback" in ran.err) == (1, False), ran
    assert f"the table {table} took 0 of " in ran.err
    assert mirror.state() == before


def test_a_unique_index_of_others(mirror: Mirror) -> None:
    """New requests that it refuses are no duplicates of other environments: the sync ends."""
    mirror.sync(requests(1))
    with opened(mirror.url) as connection:
        connection.exec_driver_sql("CREATE UNIQUE INDEX others ON release_requests (reason)")
    mirror.upstream.records = requests(1, 2)
    mirror.sandbox.invalidate()
    ran = run(mirror, "sync")
    assert (ran.code, "Traceback" in ran.err, "refused" in ran.err) == (1, False, True), ran
    assert mirror.rows("SELECT count(*) FROM release_requests") == [(1,)]


def test_a_schema_with_a_percent_sign(postgres: Mirror) -> None:
    """Commands take it for a part of the name, also the one that cleans freed space."""
    schema = '"a%s %(b)s :c"'
    with opened(postgres.url) as connection:
        connection.exec_driver_sql(
            f"CREATE SCHEMA {schema}", execution_options={"no_parameters": True}
        )
    name = make_url(postgres.url).database
    execute(postgres.url, f"ALTER DATABASE {name} SET search_path = {schema}")
    postgres.sync([request(1)])
    ran = run(postgres, "db", "erase-number", "+15550000001", "--yes")
    assert ran.code == 0, ran


def test_no_schema_to_use(postgres: Mirror) -> None:
    """A path that names no schema is told, with what to do."""
    set_path(postgres.url, "nowhere")
    for words in COMMANDS:
        ran = run(postgres, *words)
        assert ran.code == 1, words
        assert "names no schema that exists" in ran.out + ran.err
    assert relations(postgres.url) == set()


def test_two_mirrors_beside_each_other(postgres: Mirror) -> None:
    """Each has its own schema, and a sync of one does not touch the other."""
    execute(postgres.url, "CREATE SCHEMA one", "CREATE SCHEMA two")
    mirrors = [
        Mirror(with_path(postgres.url, path), postgres.sandbox, postgres.upstream)
        for path in ("one,public", "two,public")
    ]
    for count, mirror in enumerate(mirrors, start=1):
        result = mirror.sync(requests(*range(count)))
        assert (result.outcome, result.counts.inserted) == (Outcome.APPLIED, count)
    for count, mirror in enumerate(mirrors, start=1):
        assert mirror.rows("SELECT count(*) FROM release_requests") == [(count,)]
    assert relations(postgres.url) == in_schema("one") | in_schema("two")


def test_the_search_path_ends_with_the_transaction(postgres: Mirror) -> None:
    """A pooler's session keeps nothing of it."""
    engine = create_engine(postgres.url)
    with engine.connect() as connection:
        before = connection.exec_driver_sql("SHOW search_path").scalar()
        connection.exec_driver_sql("COMMIT")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW search_path").scalar() == before

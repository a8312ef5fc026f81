"""Readers: `mirror db grant-read` lets a role of Postgres read everything, and do nothing else."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.pool import NullPool

from mirror.db import grants, migrate, models, views
from mirror.db.engine import create_engine, parse_url
from mirror.errors import DatabaseError, SchemaError, UsageError
from mirror.sandbox.server import Sandbox
from tests.support.commands import run_mirror
from tests.support.databases import upgrade
from tests.support.mirrors import Mirror
from tests.support.postgres import empty_database
from tests.support.schema import alembic, later_revision
from tests.support.upstream import TOKEN, FakeUpstream, request

KEYS = {name: next(iter(table.columns)).name for name, table in models.metadata.tables.items()} | {
    "alembic_version": "version_num"
}
OURS = sorted({*KEYS, *(view.name for view in views.VIEWS)})
NOT_ALLOWED = "42501"
PASSWORD = "of no use elsewhere"


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


@cache
def engine(url: str) -> sa.Engine:
    """A way to a database that keeps no connection."""
    return sa.create_engine(parse_url(url), poolclass=NullPool)


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements as they stand; return the rows of the last one."""
    rows: list[tuple[Any, ...]] = []
    with engine(url).begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(
                statement, execution_options={"no_parameters": True}
            )
            rows = [tuple(row) for row in result] if result.returns_rows else []
    return rows


def refusals(url: str, statements: Iterable[str]) -> dict[str, str | None]:
    """The code with which each statement is refused, or None if it was done."""
    codes: dict[str, str | None] = {}
    with engine(url).connect() as connection:
        for one in statements:
            codes[one] = None
            try:
                with connection.begin():
                    connection.exec_driver_sql(one, execution_options={"no_parameters": True})
            except sa.exc.DBAPIError as error:
                codes[one] = str(getattr(error.orig, "sqlstate", None))
    return codes


def refusal(url: str, statement: str) -> str | None:
    """The code with which a statement is refused, or None if it was done."""
    return refusals(url, [statement])[statement]


class Place:
    """A database with a mirror whose owner is no superuser, and roles that are dropped in the end.

    Args:
        server: URL of any database of the server, as a superuser.
        owner: a role that is there already.

    Attributes:
        admin: URL of the mirror's database, as that superuser.
        owner: the role that owns the mirror.
    """

    def __init__(self, server: str, owner: str | None = None) -> None:
        self.admin = server
        self._server = server
        self._roles: list[str] = []
        self.owner = owner or self.role()

    def role(self, options: str = "LOGIN", name: str | None = None) -> str:
        """Make a role, with a name of its own unless one is given."""
        name = f"mirror_test_{uuid.uuid4().hex[:12]}" if name is None else name
        execute(self._server, f"CREATE ROLE {quoted(name)} {options} PASSWORD '{PASSWORD}'")
        self._roles.append(name)
        return name

    def drop_roles(self) -> None:
        """Drop the roles; what they owned was in the database, and is gone with it."""
        for name in reversed(self._roles):
            execute(self._server, f"DROP ROLE {quoted(name)}")

    def url(self, role: str, search_path: str | None = None) -> str:
        """The URL of the database, as a role."""
        url = parse_url(self.admin).set(username=role, password=PASSWORD, drivername="postgresql")
        if search_path is not None:
            url = url.update_query_dict({"options": f"-csearch_path={search_path}"})
        return url.render_as_string(hide_password=False)

    def do(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the superuser; {owner} and {db} stand for their names."""
        name = parse_url(self.admin).database
        return execute(self.admin, *(one.format(owner=self.owner, db=name) for one in statements))

    def grant(self, role: str, by: str | None = None) -> grants.Granted:
        """Let a role read, as the owner unless somebody else is named."""
        return grants.grant_read(create_engine(self.url(by or self.owner)), role)

    def rights(self) -> list[tuple[Any, ...]]:
        """All rights that anybody has."""
        return execute(
            self.admin,
            "SELECT 'table', oid, relacl::text FROM pg_class WHERE relacl IS NOT NULL "
            "UNION ALL SELECT 'schema', oid, nspacl::text FROM pg_namespace "
            "UNION ALL SELECT 'future', oid, defaclacl::text FROM pg_default_acl ORDER BY 1, 2",
        )

    def rights_of_everybody(self) -> list[tuple[Any, ...]]:
        """What PUBLIC may do in the schema and with what is in it now or later."""
        return execute(
            self.admin,
            "SELECT 'schema', privilege_type FROM pg_namespace, aclexplode(nspacl) "
            "WHERE nspname = 'public' AND grantee = 0 "
            "UNION ALL SELECT relname, privilege_type FROM pg_class, aclexplode(relacl) "
            "WHERE relnamespace = 'public'::regnamespace AND grantee = 0 "
            "UNION ALL SELECT 'future', privilege_type FROM pg_default_acl, "
            "aclexplode(defaclacl) WHERE grantee = 0 ORDER BY 1, 2",
        )


@contextmanager
def place_on(server: str, owner: str | None = None) -> Iterator[Place]:
    """A place without a database yet: its roles must outlive it."""
    place = Place(server, owner)
    try:
        yield place
    finally:
        place.drop_roles()


@pytest.fixture(scope="module")
def superuser(postgres_server: str) -> str:
    """The server, as somebody who may make roles."""
    ((may_make_roles,),) = execute(
        postgres_server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    )
    if not may_make_roles:
        pytest.skip("the user of MIRROR_TEST_POSTGRES_URL is no superuser, and cannot make roles")
    return postgres_server


@pytest.fixture(scope="module")
def original(superuser: str) -> Iterator[Place]:
    """What `place` is a copy of."""
    with place_on(superuser) as place, empty_database(superuser) as place.admin:
        place.do("GRANT CREATE ON SCHEMA public TO {owner}")
        upgrade(place.url(place.owner))
        yield place


@pytest.fixture
def place(superuser: str, original: Place) -> Iterator[Place]:
    """A database with a mirror, in the schema public, which belongs to somebody else."""
    template = str(parse_url(original.admin).database)
    with (
        place_on(superuser, original.owner) as place,
        empty_database(superuser, template=template) as place.admin,
    ):
        yield place


@pytest.fixture
def bare(superuser: str) -> Iterator[Place]:
    """A database without a mirror."""
    with place_on(superuser) as place, empty_database(superuser) as place.admin:
        yield place


def test_a_reader_reads_everything(
    place: Place, sandbox: Sandbox, world: FakeUpstream, tmp_path: Path
) -> None:
    """All tables and views are open to it, also those made later and made anew by an upgrade."""
    owner, reader = place.url(place.owner), place.role()
    mirror = Mirror(owner, sandbox, world)
    mirror.sync([request(1), request(2), "junk"])
    mirror.sync([request(1, status="approved"), request(2), "junk"])
    assert refusal(place.url(reader), "SELECT 1 FROM release_requests") == NOT_ALLOWED
    granted = place.grant(reader)
    assert granted == grants.Granted(reader, "public", len(OURS), ())
    for name in OURS:
        query = f"SELECT CAST(one AS text) FROM {name} AS one ORDER BY 1"
        rows = execute(owner, query)
        assert rows
        assert execute(place.url(reader), query) == rows
    execute(owner, "CREATE TABLE later (a int)", "CREATE VIEW seen AS SELECT a FROM later")
    assert execute(place.url(reader), "SELECT * FROM later", "SELECT * FROM seen") == []
    queries = [f"SELECT * FROM {name}" for name in OURS]
    with later_revision(tmp_path):
        for revision in (migrate.revisions()[0], "base"):
            upgrade(owner)
            assert refusals(place.url(reader), queries) == dict.fromkeys(queries)
            alembic(owner, command.downgrade, revision)
    upgrade(owner)
    assert refusals(place.url(reader), queries) == dict.fromkeys(queries)


def test_the_commands_work_for_a_reader(
    place: Place, sandbox: Sandbox, world: FakeUpstream, tmp_path: Path
) -> None:
    """The command says what it did, and warns; what only reads works, what writes says why not."""
    reader = place.role()
    mirror = Mirror(place.url(place.owner), sandbox, world)
    mirror.sync([request(1)])
    mirror.sync([request(1, status="approved")])
    ran = run_mirror("db", "grant-read", reader, MIRROR_DATABASE_URL=mirror.url)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == (
        f"mirror: {reader} may read the {len(OURS)} tables and views in the schema public, now and "
        "after upgrades\n"
    )
    given = {
        "MIRROR_DATABASE_URL": place.url(reader),
        "TALKOVER_BASE_URL": sandbox.base_url,
        "TALKOVER_TOKEN": TOKEN,
    }
    place.do("GRANT CREATE ON SCHEMA public TO PUBLIC")
    ran = run_mirror("db", "grant-read", reader, MIRROR_DATABASE_URL=mirror.url)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[1] == (
        f"mirror: {reader} has CREATE on SCHEMA public, as everybody does; to take that away: "
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    )
    place.do("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    for arguments in (("history", "+15550000001"), ("changes",), ("requests",)):
        read = run_mirror(*arguments, **given)
        assert (read.code, read.err) == (0, "")
        assert "approved" in read.out
    before = mirror.runs("id")
    attempts = [run_mirror("sync", **given), run_mirror("db", "grant-read", reader, **given)]
    with later_revision(tmp_path):
        attempts.append(run_mirror("db", "upgrade", **given))
    for attempt in attempts:
        assert (attempt.code, attempt.out) == (1, "")
        assert attempt.err.startswith("mirror: ")
        assert attempt.err.count("\n") == 1
    assert mirror.runs("id") == before


def test_a_reader_cannot_write(place: Place) -> None:
    """Whatever would change the mirror is refused for lack of rights, and for nothing else."""
    reader, friend = place.role(), place.role()
    place.grant(reader)
    url = place.url(reader)
    attempts = [
        "CREATE TABLE mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "CREATE VIEW public.mine AS SELECT 1 AS a",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "DROP SCHEMA public CASCADE",
        f"SET ROLE {place.owner}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {place.owner} GRANT SELECT ON TABLES TO {friend}",
        "INSERT INTO alembic_version VALUES ('9999')",
        "COMMENT ON COLUMN release_requests.id IS 'mine'",
        "CREATE INDEX ON release_requests (reason)",
        "CREATE RULE mine AS ON INSERT TO release_requests DO INSTEAD NOTHING",
    ]
    for name in OURS:
        kind = "TABLE" if name in KEYS else "VIEW"
        attempts += [
            f"DROP {kind} {name}",
            f"COMMENT ON {kind} {name} IS 'mine'",
            f"ALTER {kind} {name} RENAME TO mine",
            f"ALTER {kind} {name} OWNER TO {reader}",
        ]
    for name, key in KEYS.items():
        attempts += [
            f"TRUNCATE {name} CASCADE",
            f"DELETE FROM {name}",
            f"INSERT INTO {name} DEFAULT VALUES",
            f"LOCK {name} IN EXCLUSIVE MODE",
            f"UPDATE {name} SET {key} = {key}",
            f"SELECT 1 FROM {name} FOR UPDATE",
            f"ALTER TABLE {name} ADD COLUMN mine int",
        ]
    sequences = place.do("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'")
    assert sequences
    for (sequence,) in sequences:
        attempts += [f"SELECT nextval('{sequence}')", f"SELECT setval('{sequence}', 1)"]
        attempts += [f"DROP SEQUENCE {sequence} CASCADE"]
    assert refusals(url, attempts) == dict.fromkeys(attempts, NOT_ALLOWED)
    before = place.rights()
    refusal(url, f"GRANT SELECT ON release_requests TO {friend}")  # a warning is all that comes
    refusal(url, f"GRANT USAGE ON SCHEMA public TO {friend}")
    assert place.rights() == before


def test_tables_of_others_stay_closed(place: Place) -> None:
    """In a shared schema what others own is not opened; what the owner has besides is told."""
    reader, other = place.role(), place.role()
    place.do(f"GRANT CREATE ON SCHEMA public TO {other}")
    execute(place.url(other), "CREATE TABLE salaries (a int)")
    execute(place.url(place.owner), 'CREATE MATERIALIZED VIEW "My figures" AS SELECT 1 AS a')
    granted = place.grant(reader)
    assert granted.relations == len(OURS) + 1
    (told,) = granted.warnings
    assert told.endswith('in the same schema: "My figures"')
    assert refusal(place.url(reader), 'SELECT * FROM "My figures"') is None
    assert refusal(place.url(reader), "SELECT * FROM salaries") == NOT_ALLOWED
    execute(place.url(other), "CREATE TABLE more (a int)")
    assert refusal(place.url(reader), "SELECT * FROM more") == NOT_ALLOWED


BAD_NAMES = [
    "", " ", "public", "PUBLIC", "Public", "none", "NONE", "current_user", "CURRENT_USER",
    "session_user", "current_role", "user", "pg_read_all_data", "pg_write_all_data", "pg_nothing",
    "nobody of that name", "x\0y", "x\ny", "x\x1b[31m", "\udcff", "%s", "%(role)s", ":role", "$1",
    "x; DROP TABLE release_requests", 'x"; DROP TABLE release_requests; --', "x' OR 'a' = 'a",
    '"x"', "x\\", "x, public", "x WITH GRANT OPTION", "é" * 32,
]  # fmt: skip


ODD_NAMES = [
    'we"ird; DROP TABLE release_requests; --', "Upper Case", "100%s %(role)s %%", "a :role $1",
    "new\nline\x1b[31m", "é'\\", "a, public", "current_user", "user", "select", "PUBLIC", "é" * 31,
]  # fmt: skip


def test_names_of_roles(place: Place) -> None:
    """What names no role is refused, and changes no right; a role may have any name that there is.

    It gets the rights, and nobody else does, least of all PUBLIC.
    """
    before = place.rights()
    for name in BAD_NAMES:
        with pytest.raises(UsageError) as refused:
            place.grant(name)
        assert repr(name) in str(refused.value)
    longest = place.role(name="m" * 63)
    with pytest.raises(UsageError, match="63 bytes"):
        place.grant(longest + "m")
    with pytest.raises(UsageError, match=rf"there is '{place.owner}'"):
        place.grant(place.owner.upper())
    with pytest.raises(UsageError, match="CREATE ROLE new_one LOGIN PASSWORD"):
        place.grant("new_one")
    for name in ("PUBLIC", 'x"; DROP TABLE\ny\x1b[31m', "\udcff"):
        ran = run_mirror("db", "grant-read", name, MIRROR_DATABASE_URL=place.url(place.owner))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("mirror: ")
        assert ran.err.count("\n") == 1
        assert "\x1b" not in ran.err
    assert place.rights() == before

    everybody, bystander = place.rights_of_everybody(), place.role()
    for name in ODD_NAMES:
        reader = place.role(name=name)
        assert refusal(place.url(reader), "SELECT * FROM phone_numbers") == NOT_ALLOWED, name
        assert place.grant(reader).warnings == ()
        assert refusal(place.url(reader), "SELECT * FROM phone_numbers") is None, name
    assert place.rights_of_everybody() == everybody
    assert refusal(place.url(bystander), "SELECT * FROM phone_numbers") == NOT_ALLOWED
    ran = run_mirror("db", "grant-read", ODD_NAMES[4], MIRROR_DATABASE_URL=place.url(place.owner))
    assert (ran.code, ran.err.count("\n"), "\x1b" in ran.err) == (0, 1, False)


def test_odd_names_of_owner_and_tables(bare: Place) -> None:
    """What the server has in odd names is quoted as well."""
    reader = bare.role()
    for owner in ('own"er; --', "100%s :x", "Owner"):
        bare.role(name=owner)
        bare.do(f"CREATE SCHEMA AUTHORIZATION {quoted(owner)}")
        url = bare.url(owner, '"$user"')
        upgrade(url)
        execute(url, 'CREATE VIEW "a""b; %s :c" AS SELECT 1 AS a')
        granted = grants.grant_read(create_engine(url), reader)
        assert (granted.schema, granted.relations) == (quoted(owner), len(OURS) + 1)
        execute(bare.url(reader), f'SELECT * FROM {quoted(owner)}."a""b; %s :c"')


def test_rights_beyond_reading_are_told(place: Place) -> None:
    """Each has a sentence whose statement takes it away; nothing else is told."""
    reader = place.role()
    group, above, another = (place.role("NOLOGIN") for _ in range(3))
    place.do(f"GRANT {above} TO {group}")
    future = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner}"
    cases = [
        ([f"GRANT INSERT, UPDATE ON release_requests, sync_runs TO {reader}"],
         "has INSERT, UPDATE on public.release_requests, public.sync_runs;"),
        ([f"GRANT UPDATE (status) ON release_requests TO {reader}"],
         "has UPDATE on public.release_requests;"),
        (["GRANT DELETE ON phone_numbers TO PUBLIC"],
         "has DELETE on public.phone_numbers, as everybody does;"),
        ([f"GRANT TRUNCATE, TRIGGER ON sync_runs TO {above}", f"GRANT {group} TO {reader}"],
         f"has TRIGGER, TRUNCATE on public.sync_runs, as a member of {above};"),
        (["GRANT CREATE ON SCHEMA public TO PUBLIC"],
         "has CREATE on SCHEMA public, as everybody does;"),
        ([f"GRANT CREATE ON SCHEMA public TO {reader}"], "has CREATE on SCHEMA public;"),
        ([f"GRANT UPDATE ON SEQUENCE sync_runs_id_seq TO {reader}"],
         "has UPDATE on public.sync_runs_id_seq;"),
        ([f"{future} GRANT INSERT ON TABLES TO {reader}"], "has INSERT on new tables;"),
        ([f"{future} IN SCHEMA public GRANT INSERT ON TABLES TO PUBLIC"],
         "has INSERT on new tables, as everybody does;"),
        ([f"GRANT pg_write_all_data TO {reader}"],
         "may write to any table or file, as a member of pg_write_all_data;"),
        ([f"GRANT pg_write_server_files TO {another}", f"GRANT {another} TO {reader}"],
         "may write to any table or file, as a member of pg_write_server_files;"),
        ([f"ALTER SCHEMA public OWNER TO {reader}"],
         "may drop everything, as the owner of the schema public;"),
        ([f"ALTER DATABASE {{db}} OWNER TO {reader}"],
         "may drop everything, as the owner of the database;"),
        (["REVOKE CONNECT ON DATABASE {db} FROM PUBLIC",
          "GRANT CONNECT ON DATABASE {db} TO {owner}"],
         "may not connect to the database;"),
    ]  # fmt: skip
    ((version,),) = place.do("SELECT current_setting('server_version_num')::int")
    if version < 160000:
        cases.append(([f"ALTER ROLE {reader} CREATEROLE"], "may make itself a member of the owner"))
    assert place.grant(reader).warnings == ()
    for setup, told in cases:
        place.do(*setup)
        (warning,) = place.grant(reader).warnings
        assert warning.startswith(f"{reader} {told}")
        place.do(warning.split("; to ")[1].split(": ", 1)[1])
        assert place.grant(reader).warnings == (), warning


def test_who_may_do_everything_is_refused(place: Place) -> None:
    """Superusers, the owner, and who can become one of them are no readers."""
    masters = [place.role("SUPERUSER"), place.owner]
    members = [place.role() for _ in masters] + [place.role("NOINHERIT") for _ in masters]
    for member, master in zip(members, masters * 2, strict=True):
        place.do(f"GRANT {master} TO {member}")
    before = place.rights()
    for role in masters + members:
        with pytest.raises(UsageError, match="may do everything already"):
            place.grant(role)
    assert place.rights() == before


def test_who_may_grant(place: Place) -> None:
    """The owner, its members and superusers may; anybody else is told whom to ask."""
    reader, member, stranger = place.role(), place.role(), place.role()
    place.do(f"GRANT {{owner}} TO {member}")
    place.grant(reader)
    before = place.rights()
    for nobody in (stranger, reader):
        ran = run_mirror("db", "grant-read", stranger, MIRROR_DATABASE_URL=place.url(nobody))
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            f"mirror: the mirror belongs to {place.owner}, and {nobody} may not share it; run this "
            f"with a database URL that has {place.owner} as its user\n"
        )
    assert place.rights() == before
    assert place.grant(stranger, by=member).warnings == ()
    grants.grant_read(create_engine(place.admin), place.role())
    execute(place.url(place.owner), "CREATE TABLE later (a int)")
    assert refusal(place.url(stranger), "SELECT * FROM later") is None


def test_what_no_grant_would_hold_in(place: Place) -> None:
    """Views of another owner, or a schema that is closed: the way out is told, and works."""
    reader, other = place.role(), place.role()
    cases = [
        ([f"ALTER VIEW phone_numbers OWNER TO {other}"], "phone_numbers; run first"),
        (["REVOKE USAGE ON SCHEMA public FROM PUBLIC", "GRANT USAGE ON SCHEMA public TO {owner}"],
         "may not open the schema public"),
    ]  # fmt: skip
    for setup, told in cases:
        place.do(*setup)
        before = place.rights()
        with pytest.raises(DatabaseError) as refused:
            place.grant(reader)
        assert told in str(refused.value)
        assert place.rights() == before
        place.do(re.split("run first(?:, for each)?: ", str(refused.value))[1])
        place.grant(reader)
        assert refusal(place.url(reader), "SELECT * FROM public.phone_numbers") is None


def test_a_mirror_in_another_schema(bare: Place) -> None:
    """The search path in the URL says which mirror is meant; its namesake stays closed."""
    reader, other = bare.role(), bare.role()
    bare.do(
        "CREATE SCHEMA bi AUTHORIZATION {owner}",
        "CREATE TABLE public.release_requests (a int)",
        f"ALTER TABLE public.release_requests OWNER TO {other}",
    )
    url = bare.url(bare.owner, "bi")
    assert run_mirror("db", "upgrade", MIRROR_DATABASE_URL=url).code == 0
    ran = run_mirror("db", "grant-read", reader, "--database", url)
    assert ran.code == 0
    assert f"{len(OURS)} tables and views in the schema bi," in ran.err
    queries = [f"SELECT * FROM bi.{name}" for name in OURS]
    assert refusals(bare.url(reader), queries) == dict.fromkeys(queries)
    assert refusal(bare.url(reader), "SELECT * FROM public.release_requests") == NOT_ALLOWED
    read = run_mirror("requests", MIRROR_DATABASE_URL=bare.url(reader, "bi"))
    assert (read.code, read.err) == (0, "")


def test_a_mirror_is_needed(bare: Place, tmp_path: Path) -> None:
    """Without a mirror, or with an old one, the person is told what to run."""
    with pytest.raises(SchemaError, match="mirror sync"):
        bare.grant(bare.role())
    bare.do("GRANT CREATE ON SCHEMA public TO {owner}")
    owner = bare.url(bare.owner)
    upgrade(owner)
    with later_revision(tmp_path), pytest.raises(SchemaError, match="mirror db upgrade"):
        bare.grant(bare.role())
    assert bare.rights_of_everybody() == [("schema", "USAGE")]


def test_several_at_once(place: Place) -> None:
    """Commands for one role and for others, all at once, do not get into each other's way."""
    readers = [place.role() for _ in range(3)] * 3
    with ThreadPoolExecutor(len(readers)) as pool:
        granted = list(pool.map(place.grant, readers))
    assert {one.relations for one in granted} == {len(OURS)}
    for reader in readers:
        assert refusal(place.url(reader), "SELECT * FROM phone_numbers") is None


def test_sqlite_has_no_roles(make_ready_database: Callable[[str], str]) -> None:
    """Who asks for it with SQLite is told what to do there."""
    url = make_ready_database("sqlite")
    ran = run_mirror("db", "grant-read", "reader", "--database", url)
    assert (ran.code, ran.out) == (2, "")
    assert "file:PATH?mode=ro" in ran.err
    assert ran.err.count("\n") == 1

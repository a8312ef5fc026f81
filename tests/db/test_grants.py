"""`mirror db grant-read` lets a role of Postgres read the mirror."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command

from mirror.db import grants, models, revisions, views
from mirror.db.engine import create_engine
from mirror.db.urls import parse_url
from mirror.errors import DatabaseError, SchemaError, UsageError
from mirror.sandbox.server import Sandbox
from tests.support.commands import Ran, run_mirror
from tests.support.databases import upgrade
from tests.support.mirrors import Mirror, fill_tables
from tests.support.postgres import empty_database, execute
from tests.support.schema import alembic, later_revision
from tests.support.upstream import TOKEN, FakeUpstream, request

KEYS = {name: next(iter(table.columns)).name for name, table in models.metadata.tables.items()} | {
    "alembic_version": "version_num"
}
RELATIONS = sorted({*KEYS, *(view.name for view in views.VIEWS)})
NOT_ALLOWED = "42501"
PASSWORD = "of no use elsewhere"


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def refusal(url: str, statement: str) -> str | None:
    """The code with which a statement is refused, or None if it succeeded."""
    try:
        execute(url, statement)
    except psycopg.Error as error:
        return str(error.sqlstate)
    return None


def refusals(url: str, statements: Iterable[str]) -> dict[str, str | None]:
    """The code with which each statement is refused, or None if it succeeded."""
    return {statement: refusal(url, statement) for statement in statements}


class OwnedMirror:
    """A database whose mirror belongs to a role that is no superuser, and roles of the test.

    Args:
        server: URL of any database of the server, as a superuser.
        owner: an existing role; otherwise one is created.

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
        """Create a role, by default with a name of its own."""
        name = f"mirror_test_{uuid.uuid4().hex[:12]}" if name is None else name
        execute(self._server, f"CREATE ROLE {quoted(name)} {options} PASSWORD '{PASSWORD}'")
        self._roles.append(name)
        return name

    def drop_roles(self) -> None:
        """Drop the roles, which own nothing any more after the database is dropped."""
        for name in reversed(self._roles):
            execute(self._server, f"DROP ROLE {quoted(name)}")

    def url(self, role: str, search_path: str | None = None) -> str:
        """The URL of the database, as a role."""
        url = parse_url(self.admin).set(username=role, password=PASSWORD, drivername="postgresql")
        if search_path is not None:
            url = url.update_query_dict({"options": f"-csearch_path={search_path}"})
        return url.render_as_string(hide_password=False)

    def administer(self, *statements: str, **names: str) -> list[tuple[Any, ...]]:
        """Run statements as the superuser; {owner}, {db} and other names are filled in."""
        names |= {"owner": self.owner, "db": str(parse_url(self.admin).database)}
        return execute(self.admin, *(statement.format(**names) for statement in statements))

    def grant(self, role: str, by: str | None = None) -> grants.Granted:
        """Let a role read, by default as the owner."""
        return grants.grant_read(create_engine(self.url(by or self.owner)), role)

    def rights(self, grantee: str = "") -> list[tuple[Any, ...]]:
        """All rights in the catalogue; or those of a grantee, as (object, privilege)."""
        rows = execute(
            self.admin,
            "SELECT place, grantee::regrole::text, privilege_type FROM ("
            " SELECT relname AS place, relacl AS acl FROM pg_class WHERE relacl IS NOT NULL"
            " UNION ALL SELECT 'schema ' || nspname, nspacl FROM pg_namespace"
            " UNION ALL SELECT 'future', defaclacl FROM pg_default_acl"
            ") AS places, aclexplode(acl) ORDER BY 1, 2, 3",
        )
        return [row for row in rows if grantee in {"", row[1]}]


@contextmanager
def owned_mirror(server: str, owner: str | None = None, **options: str) -> Iterator[OwnedMirror]:
    """Create a database and its owner; drop it, and then the roles."""
    owned = OwnedMirror(server, owner)
    try:
        with empty_database(server, **options) as owned.admin:
            yield owned
    finally:
        owned.drop_roles()


@pytest.fixture(scope="module")
def superuser(postgres_server: str) -> str:
    """The server, as a role that may create roles."""
    ((may_create_roles,),) = execute(
        postgres_server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    )
    if not may_create_roles:
        pytest.skip("the user of MIRROR_TEST_POSTGRES_URL is no superuser, and cannot make roles")
    return postgres_server


@pytest.fixture(scope="module")
def original(superuser: str) -> Iterator[OwnedMirror]:
    """What `owned` is a copy of."""
    with owned_mirror(superuser) as owned:
        owned.administer("GRANT CREATE ON SCHEMA public TO {owner}")
        upgrade(owned.url(owned.owner))
        yield owned


@pytest.fixture
def owned(superuser: str, original: OwnedMirror) -> Iterator[OwnedMirror]:
    """A database with a mirror in the schema public."""
    template = str(parse_url(original.admin).database)
    with owned_mirror(superuser, original.owner, template=template) as owned:
        yield owned


@pytest.fixture
def bare(superuser: str) -> Iterator[OwnedMirror]:
    """A database without a mirror."""
    with owned_mirror(superuser) as owned:
        yield owned


def test_a_reader_reads_everything(
    owned: OwnedMirror, sandbox: Sandbox, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """A reader reads all tables and views, also those created later by the owner or an upgrade."""
    owner, reader = owned.url(owned.owner), owned.role()
    mirror = Mirror(owner, sandbox, upstream)
    fill_tables(mirror)
    assert refusal(owned.url(reader), "SELECT 1 FROM release_requests") == NOT_ALLOWED
    granted = owned.grant(reader)
    assert (granted.role, granted.schema, granted.relations, granted.warnings) == (
        reader, "public", len(RELATIONS), (),
    )  # fmt: skip
    for name in RELATIONS:
        query = f"SELECT CAST(r AS text) FROM {name} AS r ORDER BY 1"
        rows = execute(owner, query)
        assert rows
        assert execute(owned.url(reader), query) == rows
    execute(owner, "CREATE TABLE later (a int)", "CREATE VIEW seen AS SELECT a FROM later")
    assert execute(owned.url(reader), "SELECT * FROM later", "SELECT * FROM seen") == []
    queries = [f"SELECT * FROM {name}" for name in RELATIONS]
    with later_revision(tmp_path):
        for revision in (revisions.known()[0], "base"):
            upgrade(owner)
            assert refusals(owned.url(reader), queries) == dict.fromkeys(queries)
            alembic(owner, command.downgrade, revision)
    upgrade(owner)
    assert refusals(owned.url(reader), queries) == dict.fromkeys(queries)


def test_commands_as_a_reader(
    owned: OwnedMirror, sandbox: Sandbox, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """The command reports its grants; as the reader, commands that read work, others fail."""
    reader = owned.role()
    mirror = Mirror(owned.url(owned.owner), sandbox, upstream)
    mirror.sync([request(1)])
    mirror.sync([request(1, status="approved")])
    ran = run_mirror("db", "grant-read", reader, MIRROR_DATABASE_URL=mirror.url)
    assert (ran.code, ran.out) == (0, f"{owned.grant(reader).query}\n")
    assert ran.err == (
        f"mirror: {reader} may read the {len(RELATIONS)} tables and views in the schema public, "
        f"now and after upgrades\nmirror: this query lists what {reader} may do in the database:\n"
    )
    environment = {
        "MIRROR_DATABASE_URL": owned.url(reader),
        "TALKOVER_BASE_URL": sandbox.base_url,
        "TALKOVER_TOKEN": TOKEN,
    }
    for arguments in (("history", "+15550000001"), ("changes",), ("requests",)):
        read = run_mirror(*arguments, **environment)
        assert (read.code, read.err) == (0, "")
        assert "approved" in read.out
    before = mirror.runs("id")
    attempts = [
        run_mirror(*words, **environment) for words in (["sync"], ["db", "grant-read", reader])
    ]
    asked = len(sandbox.request_log)
    read_only = parse_url(mirror.url).update_query_dict(
        {"options": "-cdefault_transaction_read_only=on"}
    )
    for url, advice in (
        (owned.url(reader), "; a dry run needs the rights of a sync, whose changes it makes and"),
        (read_only.render_as_string(hide_password=False), "; reset that with ALTER ROLE"),
    ):
        dry_run = run_mirror("sync", "--dry-run", "--database", url, **environment)
        assert (dry_run.code, len(sandbox.request_log)) == (1, asked)
        assert advice in dry_run.err
        new = run_mirror("changes", "--new", "--database", url, **environment)
        assert (new.code, new.out) == (1, "")
        assert new.err.endswith("records there how far it has read, and --since does not\n")
    with later_revision(tmp_path):
        attempts.append(run_mirror("db", "upgrade", **environment))
    for attempt in attempts:
        assert (attempt.code, attempt.out) == (1, "")
        assert attempt.err.startswith("mirror: ")
        assert attempt.err.count("\n") == 1
    assert mirror.runs("id") == before


WRITING = [
    "CREATE TABLE public.mine (a int)", "CREATE VIEW public.mine AS SELECT 1 AS a",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE SCHEMA mine",
    "DROP SCHEMA public CASCADE", "SET ROLE {owner}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {friend}",
    "INSERT INTO alembic_version VALUES ('9999')",
    "COMMENT ON COLUMN release_requests.id IS 'mine'",
    "CREATE INDEX ON release_requests (reason)",
    "CREATE RULE mine AS ON INSERT TO release_requests DO INSTEAD NOTHING",
]  # fmt: skip
WRITING_A_TABLE = [
    "TRUNCATE {table} CASCADE", "DELETE FROM {table}", "INSERT INTO {table} DEFAULT VALUES",
    "BEGIN; LOCK {table} IN EXCLUSIVE MODE", "UPDATE {table} SET {key} = {key}",
    "SELECT 1 FROM {table} FOR UPDATE", "ALTER TABLE {table} ADD COLUMN mine int",
]  # fmt: skip


def test_a_reader_cannot_write(owned: OwnedMirror) -> None:
    """Whatever would change the mirror is refused for lack of rights."""
    reader, friend = owned.role(), owned.role()
    owned.administer("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    owned.grant(reader)
    url = owned.url(reader)
    names = {"owner": owned.owner, "friend": friend}
    attempts = [statement.format(**names) for statement in WRITING]
    for name in RELATIONS:
        kind = "TABLE" if name in KEYS else "VIEW"
        attempts += [f"DROP {kind} {name}", f"ALTER {kind} {name} RENAME TO mine"]
    for name, key in KEYS.items():
        attempts += [statement.format(table=name, key=key) for statement in WRITING_A_TABLE]
    sequences = owned.administer("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'")
    assert sequences
    for (sequence,) in sequences:
        attempts += [f"SELECT nextval('{sequence}')", f"SELECT setval('{sequence}', 1)"]
    assert refusals(url, attempts) == dict.fromkeys(attempts, NOT_ALLOWED)
    before = owned.rights()
    refusal(url, f"GRANT SELECT ON release_requests TO {friend}")  # no more than a warning comes
    refusal(url, f"GRANT USAGE ON SCHEMA public TO {friend}")
    assert owned.rights() == before


def test_the_query_lists_all_privileges(owned: OwnedMirror) -> None:
    """The query lists what a reader got, and what it has from grants, PUBLIC and memberships."""
    reader, group, above = owned.role(), owned.role("NOLOGIN"), owned.role("NOLOGIN")
    owned.administer("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    owned.grant(reader)
    query = owned.grant(reader).query
    ((database,),) = owned.administer("SELECT current_database()")
    expected = {("relation", name): "SELECT" for name in RELATIONS} | {
        ("database", database): "CONNECT, TEMPORARY",
        ("schema", "public"): "USAGE",
    }
    cases: list[tuple[str, dict[tuple[str, str], str]]] = [
        ("GRANT INSERT ON sync_runs TO {reader}", {("relation", "sync_runs"): "INSERT, SELECT"}),
        ("GRANT UPDATE (status) ON release_requests TO {reader}",
         {("relation", "release_requests"): "SELECT, UPDATE"}),
        ("GRANT DELETE ON phone_numbers TO PUBLIC",
         {("relation", "phone_numbers"): "DELETE, SELECT"}),
        ("GRANT UPDATE ON SEQUENCE sync_runs_id_seq TO {reader}",
         {("sequence", "sync_runs_id_seq"): "UPDATE"}),
        ("GRANT CREATE ON SCHEMA public TO {reader}", {("schema", "public"): "CREATE, USAGE"}),
        ("REVOKE CONNECT ON DATABASE {db} FROM PUBLIC", {("database", database): "TEMPORARY"}),
        ("GRANT {above} TO {group}", {}),
        ("GRANT TRUNCATE ON sync_runs TO {above}", {}),
        ("GRANT {group} TO {reader}",
         {("role", group): "MEMBER", ("role", above): "MEMBER",
          ("relation", "sync_runs"): "INSERT, SELECT, TRUNCATE"}),
    ]  # fmt: skip
    for statement, difference in [("SELECT", {}), *cases]:
        owned.administer(statement, reader=reader, group=group, above=above)
        expected |= difference
        rows = owned.administer(query)
        assert {(kind, name): privileges for kind, name, privileges in rows} == expected, statement


def test_tables_of_others_stay_closed(owned: OwnedMirror) -> None:
    """In a shared schema a reader gets what the mirror's owner has, and nothing of other owners."""
    reader, other = owned.role(), owned.role()
    owned.administer("GRANT CREATE ON SCHEMA public TO {other}", other=other)
    execute(owned.url(other), "CREATE TABLE salaries (a int)")
    execute(owned.url(owned.owner), 'CREATE MATERIALIZED VIEW "My figures" AS SELECT 1 AS a')
    assert owned.grant(reader).relations == len(RELATIONS) + 1
    execute(owned.url(other), "CREATE TABLE more (a int)")
    assert refusal(owned.url(reader), 'SELECT * FROM "My figures"') is None
    for table in ("salaries", "more"):
        assert refusal(owned.url(reader), f"SELECT * FROM {table}") == NOT_ALLOWED


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


def test_names_of_roles(owned: OwnedMirror) -> None:
    """What names no role is refused and changes no right; a role of any name gets its rights alone.

    One test, because the server's roles are shared with other tests, and some names are in both.
    """
    before = owned.rights()
    for name in BAD_NAMES:
        with pytest.raises(UsageError) as refused:
            owned.grant(name)
        assert repr(name) in str(refused.value)
    longest = owned.role(name="m" * 63)
    for name, hint in (
        (longest + "m", "63 bytes"),
        (owned.owner.upper(), f"there is '{owned.owner}'"),
        ("new_one", "CREATE ROLE new_one LOGIN PASSWORD"),
    ):
        with pytest.raises(UsageError, match=hint):
            owned.grant(name)
    for name in ("PUBLIC", 'x"; DROP TABLE\ny\x1b[31m', "\udcff"):
        ran = run_mirror("db", "grant-read", name, MIRROR_DATABASE_URL=owned.url(owned.owner))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("mirror: ")
        assert (ran.err.count("\n"), "\x1b" in ran.err) == (1, False)
    assert owned.rights() == before

    public, bystander = owned.rights("-"), owned.role()
    for name in ODD_NAMES:
        reader = owned.role(name=name)
        assert refusal(owned.url(reader), "SELECT * FROM phone_numbers") == NOT_ALLOWED, name
        granted = owned.grant(reader)
        assert granted.query.replace("\n", "").isprintable()
        assert ("relation", "phone_numbers", "SELECT") in execute(owned.admin, granted.query), name
        assert refusal(owned.url(reader), "SELECT * FROM phone_numbers") is None, name
    assert owned.rights("-") == public
    assert refusal(owned.url(bystander), "SELECT * FROM phone_numbers") == NOT_ALLOWED
    url = owned.url(owned.owner)
    ran = run_mirror("db", "grant-read", ODD_NAMES[4], MIRROR_DATABASE_URL=url)
    assert (ran.code, ran.err.count("\n"), "\x1b" in ran.err + ran.out) == (0, 2, False)


def test_odd_names_of_owner_and_tables(bare: OwnedMirror) -> None:
    """Odd names of the owner, the schema and tables are quoted as well."""
    reader = bare.role()
    for owner in ('own"er; --', "100%s :x", "Owner"):
        bare.role(name=owner)
        execute(bare.admin, f"CREATE SCHEMA AUTHORIZATION {quoted(owner)}")
        url = bare.url(owner, '"$user"')
        upgrade(url)
        execute(url, 'CREATE VIEW "a""b; %s :c" AS SELECT 1 AS a')
        granted = grants.grant_read(create_engine(url), reader)
        assert (granted.schema, granted.relations) == (quoted(owner), len(RELATIONS) + 1)
        assert ("relation", 'a"b; %s :c', "SELECT") in execute(bare.admin, granted.query)
        execute(bare.url(reader), f'SELECT * FROM {quoted(owner)}."a""b; %s :c"')


@pytest.mark.parametrize(
    ("statement", "warning"),
    [
        ("GRANT pg_write_all_data TO {reader}",
         "a member of pg_write_all_data, a role that writes to any table or file"),
        ("GRANT pg_write_server_files TO {group}; GRANT {group} TO {reader}",
         "a member of pg_write_server_files, a role that writes to any table or file"),
        ("ALTER SCHEMA public OWNER TO {reader}", "the owner of the schema"),
        ("ALTER DATABASE {db} OWNER TO {reader}", "the owner of the database"),
        ("ALTER DATABASE {db} OWNER TO {group}; GRANT {group} TO {reader}",
         "a member of {group}, the owner of the database"),
    ],
)  # fmt: skip
def test_powers_beyond_reading(owned: OwnedMirror, statement: str, warning: str) -> None:
    """A reader that owns the schema or the database, or may write to any table, is warned of."""
    reader, group = owned.role(), owned.role("NOLOGIN")
    owned.administer("GRANT USAGE ON SCHEMA public TO {owner} WITH GRANT OPTION")
    owned.administer(*statement.split("; "), reader=reader, group=group)
    expected = f"{reader} is {warning.format(group=group)}, and may change or drop the mirror"
    assert owned.grant(reader).warnings == (expected,)
    ran = run_mirror("db", "grant-read", reader, MIRROR_DATABASE_URL=owned.url(owned.owner))
    assert ran.err.splitlines()[1] == f"mirror: {expected}"
    owned.administer(
        "REASSIGN OWNED BY {reader}, {group} TO CURRENT_USER", reader=reader, group=group
    )


def test_row_level_security_is_told(
    owned: OwnedMirror, sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """What a policy hides is told: by the grant, by each command of the reader, by the doctor."""
    reader, other = owned.role(), owned.role("NOLOGIN")
    mirror = Mirror(owned.url(owned.owner), sandbox, upstream)
    mirror.sync([request(1), request(2)])
    assert owned.grant(reader).warnings == ()
    for table in ("release_requests", "sync_runs"):
        owned.administer(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    on = "row-level security is on for release_requests, sync_runs"
    owned.administer("CREATE POLICY a ON sync_runs FOR SELECT TO {other} USING (true)", other=other)
    (warning,) = owned.grant(reader).warnings
    assert warning.startswith(f"{on}: {reader} sees no rows there, and gets no error")

    def run(*words: str, role: str = reader) -> Ran:
        return run_mirror(
            *words,
            MIRROR_DATABASE_URL=owned.url(role),
            TALKOVER_BASE_URL=sandbox.base_url,
            TALKOVER_TOKEN=TOKEN,
        )

    for words in (["status"], ["status", "--max-age", "1h"], ["requests"], ["sync", "--dry-run"]):
        ran = run(*words)
        assert (ran.code, ran.out) == (1, ""), words
        assert f"hides rows of release_requests, sync_runs from {reader}" in ran.err
        assert "public.release_requests DISABLE ROW LEVEL SECURITY" in ran.err
    doctor = run("doctor")
    assert doctor.code == 1
    assert f"hides rows of release_requests, sync_runs from {reader}" in doctor.out
    doctor = run("doctor", role=owned.owner)
    assert doctor.code == 0
    assert "row-level security\t\ton for release_requests, sync_runs" in doctor.out
    assert "with FORCE also the owner" in doctor.out
    assert "ALTER TABLE public.release_requests DISABLE ROW LEVEL SECURITY" in doctor.out

    for table in ("release_requests", "sync_runs"):
        owned.administer(f"CREATE POLICY b ON {table} FOR SELECT USING (true)")
    (warning,) = owned.grant(reader).warnings
    assert f"{on}: {reader} sees the rows that a policy lets it see" in warning
    ran = run("requests")
    assert (ran.code, ran.out.count("request-")) == (0, 2)
    assert f"limits {reader} to those rows of release_requests, sync_runs" in ran.err
    assert "limits" not in run("status", role=owned.owner).err

    owned.administer(
        "ALTER TABLE release_requests FORCE ROW LEVEL SECURITY",
        "GRANT CREATE ON SCHEMA public TO {owner}",
    )
    before = mirror.stored("sync_runs")
    for words in (["sync"], ["db", "prune", "--runs-older-than", "1d"]):
        ran = run(*words, role=owned.owner)
        assert ran.code == 1, words
        assert f"hides rows of release_requests from {owned.owner}" in ran.err
        assert (
            "if the owner sees none either, also ALTER TABLE public.release_requests NO FORCE"
            in (ran.err)
        )
        assert "BYPASSRLS" in ran.err
    assert mirror.stored("sync_runs") == before
    owned.administer("ALTER ROLE {owner} BYPASSRLS")
    assert run("sync", role=owned.owner).code == 0
    owned.administer("ALTER ROLE {owner} NOBYPASSRLS")


def test_maintaining_is_told(owned: OwnedMirror) -> None:
    """Postgres 17 and later have a right, and a role, that locks and rebuilds tables."""
    if not owned.administer("SELECT FROM pg_roles WHERE rolname = 'pg_maintain'"):
        granted = owned.grant(owned.role())
        assert "'MAINTAIN']" not in granted.query
        assert execute(owned.admin, granted.query)
        return
    reader = owned.role()
    owned.administer("GRANT MAINTAIN ON release_requests TO {reader}", reader=reader)
    assert ("relation", "release_requests", "MAINTAIN, SELECT") in execute(
        owned.admin, owned.grant(reader).query
    )
    owned.administer("GRANT pg_maintain TO {reader}", reader=reader)
    (warning,) = owned.grant(reader).warnings
    assert warning == (
        f"{reader} is a member of pg_maintain, a role that locks, clusters and reindexes any "
        "table, and may keep others from reading the mirror"
    )


def test_unlimited_roles_are_refused(owned: OwnedMirror) -> None:
    """A superuser, the owner, and a member of one of them is no reader."""
    unlimited = [owned.role("SUPERUSER"), owned.owner]
    members = [owned.role() for _ in unlimited] + [owned.role("NOINHERIT") for _ in unlimited]
    for member, role in zip(members, unlimited * 2, strict=True):
        owned.administer(f"GRANT {role} TO {member}")
    before = owned.rights()
    for role in unlimited + members:
        with pytest.raises(UsageError, match="may do everything already"):
            owned.grant(role)
    assert owned.rights() == before


def test_who_may_grant(owned: OwnedMirror) -> None:
    """The owner, its members and superusers may grant; any other role is told whose URL to use."""
    reader, member, stranger = owned.role(), owned.role(), owned.role()
    owned.administer("GRANT {owner} TO {member}", member=member)
    owned.grant(reader)
    before = owned.rights()
    for role in (stranger, reader):
        ran = run_mirror("db", "grant-read", stranger, MIRROR_DATABASE_URL=owned.url(role))
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            f"mirror: the mirror belongs to {owned.owner}, and {role} may not grant rights on it; "
            f"run this with a database URL that has {owned.owner} as its user\n"
        )
    assert owned.rights() == before
    assert owned.grant(stranger, by=member).warnings == ()
    grants.grant_read(create_engine(owned.admin), owned.role())
    execute(owned.url(owned.owner), "CREATE TABLE later (a int)")
    assert refusal(owned.url(stranger), "SELECT * FROM later") is None


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        ("ALTER VIEW phone_numbers OWNER TO {other}", "not all of it: phone_numbers; run first"),
        ("REVOKE USAGE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO {owner}",
         "may not grant USAGE of the schema public; let"),
    ],
)  # fmt: skip
def test_grants_that_would_not_suffice(owned: OwnedMirror, setup: str, message: str) -> None:
    """With a view of another owner or a closed schema nothing is granted; the hint helps."""
    reader, other = owned.role(), owned.role()
    owned.administer(*setup.split("; "), other=other)
    before = owned.rights()
    with pytest.raises(DatabaseError, match=message) as refused:
        owned.grant(reader)
    assert owned.rights() == before
    owned.administer(str(refused.value.hint).split(": ", 1)[1])
    owned.grant(reader)
    assert refusal(owned.url(reader), "SELECT * FROM public.phone_numbers") is None


def test_a_mirror_in_another_schema(bare: OwnedMirror) -> None:
    """The search path of the URL selects the mirror; tables of the same name stay closed."""
    reader, other = bare.role(), bare.role()
    bare.administer(
        "CREATE SCHEMA bi AUTHORIZATION {owner}",
        "CREATE TABLE public.release_requests (a int)",
        "ALTER TABLE public.release_requests OWNER TO {other}",
        other=other,
    )
    url = bare.url(bare.owner, "bi")
    assert run_mirror("db", "upgrade", MIRROR_DATABASE_URL=url).code == 0
    ran = run_mirror("db", "grant-read", reader, "--database", url)
    assert ran.code == 0
    assert f"{len(RELATIONS)} tables and views in the schema bi," in ran.err
    queries = [f"SELECT * FROM bi.{name}" for name in RELATIONS]
    assert refusals(bare.url(reader), queries) == dict.fromkeys(queries)
    assert refusal(bare.url(reader), "SELECT * FROM public.release_requests") == NOT_ALLOWED
    read = run_mirror("requests", MIRROR_DATABASE_URL=bare.url(reader, "bi"))
    assert (read.code, read.err) == (0, "mirror: nothing was ever synced; run `mirror sync`\n")


def test_a_mirror_is_needed(bare: OwnedMirror, tmp_path: Path) -> None:
    """Without a mirror, or with an old one, the error names the command to run."""
    with pytest.raises(SchemaError, match="mirror sync"):
        bare.grant(bare.role())
    bare.administer("GRANT CREATE ON SCHEMA public TO {owner}")
    owner = bare.url(bare.owner)
    upgrade(owner)
    before = bare.rights()
    with later_revision(tmp_path), pytest.raises(SchemaError, match="mirror db upgrade"):
        bare.grant(bare.role())
    assert bare.rights() == before


def test_concurrent_grants(owned: OwnedMirror) -> None:
    """Grants to one role and to others do not conflict."""
    readers = [owned.role() for _ in range(3)] * 3
    with ThreadPoolExecutor(len(readers)) as pool:
        results = list(pool.map(owned.grant, readers))
    assert {granted.relations for granted in results} == {len(RELATIONS)}
    for reader in readers:
        assert refusal(owned.url(reader), "SELECT * FROM phone_numbers") is None


def test_sqlite_has_no_roles(make_ready_database: Callable[[str], str]) -> None:
    """With SQLite the error names the read-only mode."""
    url = make_ready_database("sqlite")
    ran = run_mirror("db", "grant-read", "reader", "--database", url)
    assert (ran.code, ran.out) == (2, "")
    assert "file:PATH?mode=ro" in ran.err
    assert ran.err.count("\n") == 1

"""The next version of mirror: a copy of the checkout with another revision and the field `note`.

It has what docs/contributing.md says of a revision and a field of the API, as far as it is part of
the wheel, and besides a new index and a new table.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mirror.db import models, revisions
from mirror.version import __version__
from tests.support import ROOT
from tests.support.databases import DATABASES
from tests.support.schema import last_with_file

VERSION = "99.0.0"
HEAD = revisions.known()[-1]
REVISION = f"{int(HEAD) + 1:04d}"

_HERE = "<here>"
_COPIED = ("mirror", "migrations", "alembic.ini")

_COMMENT = "Note of the operator. Null if the API sent none."
_COLUMN = f'        _optional("note", Text, "{_COMMENT}"),\n'
_INDEX = '    Index("ix_release_requests_first_seen_at", "first_seen_at"),\n'
_TABLE = """
operator_notes = Table(
    "operator_notes",
    metadata,
    _required("id", Identifier, "Number of the note."),
    PrimaryKeyConstraint("id"),
    comment="Notes.",
)
"""

_INSERTIONS = {
    "mirror/db/models.py": {
        f"{_HERE}    ]\n\n\nAPPENDED_COLUMNS = ": _COLUMN,
        'Index("ix_release_requests_requested_at", "requested_at"),\n': _INDEX,
        'comment="How far each reader of mirror changes --new has read.",\n)\n': _TABLE,
    },
    "mirror/api/records.py": {
        "    rejection_reason: str | None = None\n": "    note: str | None = None\n",
        "    rejection_reason: str | UnsetType | None = UNSET\n": (
            "    note: str | UnsetType | None = UNSET\n"
        ),
    },
    "mirror/api/malformed.py": {
        '    "rejection_reason": _text_fault,\n': '    "note": _text_fault,\n'
    },
    "mirror/sync/compare.py": {
        '    "requested_at",\n    "resolved_at",\n': '    "note",\n',
        "                resolved,\n": "                record.note,\n",
    },
    "mirror/db/erasures.py": {"TEXTS = (": '"note", '},
    "mirror/queries/traces.py": {"texts = (table.c.reason, ": "table.c.note, "},
    "mirror/queries/results.py": {"    extra: str | None\n": "    note: str | None\n"},
}
"""By path, places in its text, and what is inserted there: at `_HERE`, or else behind."""

_LAST = models.APPENDED_COLUMNS[-1]
_VERSIONS = {
    f"version.{_LAST}": ", version.note",
    f"request.{_LAST}": ", request.note",
    f" {_LAST}": ", note",
}
_CHANGES = {
    "later.missing_since AS new_missing_since,": (
        " earlier.note AS old_note, later.note AS new_note,"
    ),
    "earlier.missing_since, later.missing_since,": " earlier.note, later.note,",
    "DISTINCT FROM new_resolved_at THEN 'resolved_at' END": (
        ", CASE WHEN old_note IS DISTINCT FROM new_note THEN 'note' END"
    ),
    "THEN ',resolved_at' ELSE '' END": """
           || CASE WHEN coalesce(old_note <> new_note, coalesce(old_note, new_note) IS NOT NULL)
                THEN ',note' ELSE '' END""",
}
_VIEWS = {"release_request_versions": _VERSIONS, "release_request_changes": _CHANGES}
_WITH_NOTE = ("release_requests", "release_request_past_versions", "release_request_versions")

_REVISION = '''"""A note, an index and a table.

Revision {revision}, after {head}.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{head}"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"
VIEWS = {before}  # by dialect, the last revision before that has each
COMMENTED = {commented}  # the revisions before that have comments
TABLES = ("release_requests", "release_request_past_versions")
MOVE = {
    "sqlite": """UPDATE {table}
        SET note = json_extract(extra, '$.note'),
            extra = nullif(json_remove(extra, '$.note'), '{{}}')
        WHERE json_type(extra, '$.note') IN ('text', 'null')""",
    "postgresql": """UPDATE {table}
        SET note = extra ->> 'note', extra = nullif(extra - 'note', CAST('{{}}' AS jsonb))
        WHERE jsonb_typeof(extra -> 'note') IN ('string', 'null')""",
}
MARK = """UPDATE {table} SET note = phone_number
    WHERE extra IS NOT NULL AND id IN (SELECT request_id FROM erased_requests)"""
MOVE_BACK = {
    "sqlite": """UPDATE {table} SET extra = json_set(coalesce(extra, '{{}}'), '$.note', note)
        WHERE note IS NOT NULL""",
    "postgresql": """UPDATE {table}
        SET extra = coalesce(extra, CAST('{{}}' AS jsonb)) || jsonb_build_object('note', note)
        WHERE note IS NOT NULL""",
}
IDENTIFIER = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column, with the values that are in `extra`; add the index and the table."""
    dialect = op.get_context().dialect.name
    for table in TABLES:
        op.add_column(table, sa.Column("note", sa.Text()))
        op.execute(MOVE[dialect].format(table=table))
        op.execute(MARK.format(table=table))
    op.create_index("ix_release_requests_first_seen_at", "release_requests", ["first_seen_at"])
    op.create_table(
        "operator_notes",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_notes")),
    )
    for view in VIEWS[dialect]:
        if dialect == "sqlite":
            op.execute(f"DROP VIEW IF EXISTS {view}")
        execute_file(revision, view)
    if dialect == "postgresql":
        execute_file(revision, "comments")


def downgrade() -> None:
    """Remove them; the values of the column go back to `extra`."""
    dialect = op.get_context().dialect.name
    for view in VIEWS[dialect]:
        op.execute(f"DROP VIEW {view}")
    op.drop_table("operator_notes")
    op.drop_index("ix_release_requests_first_seen_at", "release_requests")
    for table in TABLES:
        op.execute(MOVE_BACK[dialect].format(table=table))
        op.drop_column(table, "note")
    for view, number in VIEWS[dialect].items():
        execute_file(number, view)
    if dialect == "postgresql":
        for number in COMMENTED:
            execute_file(number, "comments")


def execute_file(number: str, name: str) -> None:
    """Execute a SQL file of the database's dialect."""
    path = SQL / number / op.get_context().dialect.name / f"{name}.sql"
    op.execute(path.read_text(encoding="utf-8").rstrip().removesuffix(";"))
'''


def create(folder: Path) -> None:
    """Make the next version in a folder that does not exist."""
    folder.mkdir()
    for name in _COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    version = folder / "mirror" / "version.py"
    version.write_text(version.read_text().replace(__version__, VERSION))
    for name, insertions in _INSERTIONS.items():
        path = folder / name
        path.write_text(_insert(path.read_text(), insertions))
    _create_revision(folder / "migrations")


def _create_revision(migrations: Path) -> None:
    before = {
        dialect: {view: last_with_file(migrations, dialect, view) for view in _VIEWS}
        for dialect in DATABASES
    }
    files = migrations.glob("sql/*/postgresql/comments.sql")
    commented = sorted(path.parents[1].name for path in files)
    script = _REVISION.replace("{revision}", REVISION).replace("{head}", HEAD)
    script = script.replace("{before}", repr(before)).replace("{commented}", repr(commented))
    (migrations / "versions" / f"{REVISION}_note.py").write_text(script)
    for dialect in DATABASES:
        folder = migrations / "sql" / REVISION / dialect
        folder.mkdir(parents=True)
        for view, insertions in _VIEWS.items():
            sql = (migrations / "sql" / before[dialect][view] / dialect / f"{view}.sql").read_text()
            if dialect == "postgresql":
                sql = sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
            there = {place: text for place, text in insertions.items() if place in sql}
            (folder / f"{view}.sql").write_text(_insert(sql, there))
    comments = {f"COLUMN {table}.note": _COMMENT for table in _WITH_NOTE}
    comments |= {
        "TABLE operator_notes": "Notes.",
        "COLUMN operator_notes.id": "Number of the note.",
    }
    lines = [f"COMMENT ON {name} IS '{comment}';\n" for name, comment in comments.items()]
    (migrations / "sql" / REVISION / "postgresql" / "comments.sql").write_text("".join(lines))


def _insert(text: str, insertions: dict[str, str]) -> str:
    """Insert texts at all places, each of which must be there."""
    for place, inserted in insertions.items():
        start, _, end = place.partition(_HERE)
        assert start + end in text, f"{place!r} is not there any more"
        text = text.replace(start + end, start + inserted + end)
    return text

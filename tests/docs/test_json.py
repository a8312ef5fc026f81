"""The JSON Schemas of docs/schemas/: those of the types, of every JSON output, and true."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from tests.docs import json_schemas
from tests.support import ROOT
from tests.support.commands import Ran, all_commands, run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request, requests

NAMES = {"sync --log-format": "log", "query --format": "query-list"}
"""Names of schemas that are not that of the command; the rows of a query have no fixed form."""


def names_of(command: click.Command) -> Iterator[str]:
    """Yield the options of a command that select JSON."""
    for parameter in command.params:
        is_choice = isinstance(parameter.type, click.Choice) and "json" in parameter.type.choices
        if is_choice or "--json" in parameter.opts:
            yield parameter.opts[0]


JSON_OUTPUTS = {
    NAMES.get(f"{words} {option}", words.replace(" ", "-"))
    for words, command in all_commands().items()
    for option in names_of(command)
}
"""The name of the schema of each JSON output that a command has."""


def test_schemas_are_those_of_the_types() -> None:
    """The files are what the script generates; there is one for each JSON output, and its row."""
    expected = {
        f"{name}.json": json_schemas.text_of(schema)
        for name, schema in json_schemas.schemas().items()
    }
    files = {path.name: path.read_text() for path in json_schemas.FOLDER.iterdir()}
    assert files == expected, "run: python tests/docs/json_schemas.py"
    assert {name.removesuffix(".json") for name in files} >= JSON_OUTPUTS
    page = (ROOT / "docs" / "json.md").read_text()
    assert [name for name in files if f"(schemas/{name})" not in page] == []


def test_a_field_without_documentation_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The script says which field has no entry under Attributes, and leaves all files alone."""
    made = dataclasses.make_dataclass("Fees", [("fee_cents", int)])
    monkeypatch.setitem(json_schemas.ROWS, "fees", made)
    monkeypatch.setattr(json_schemas, "FOLDER", tmp_path)
    (tmp_path / "old.json").touch()
    with pytest.raises(SystemExit, match=r"^document fee_cents in the Attributes of Fees$"):
        json_schemas.main()
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def strict(schema: Any) -> Any:
    """Return a schema that allows no other keys in the objects that it describes."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if "required" in schema else {}
    return {name: strict(each) for name, each in schema.items()} | more


def check(name: str, value: Any) -> None:
    """Check a value by a schema, which must know all of its keys."""
    schema = json.loads((json_schemas.FOLDER / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for each in (schema, strict(schema)):
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.validate(value, each, jsonschema.Draft202012Validator, format_checker=checker)


@pytest.mark.calendar
def test_output_is_as_its_schema_says(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Each JSON output validates; no key is missing in its schema; codes are those of the process.

    The mirror has every outcome, status, event and kind of change.
    """
    mirror, database = sqlite_mirror, ("--database", sqlite_mirror.url)
    seen = set[str]()

    def sync(*options: str, records: list[Any] | None = None, code: int = 0) -> Ran:
        if records is not None:
            mirror.upstream.records = records
            mirror.sandbox.invalidate()
        ran = run_mirror(
            *("sync", "--json", "--base-url", mirror.sandbox.base_url, *options, *database),
            TALKOVER_TOKEN=TOKEN,
        )
        (line,) = map(json.loads, ran.out.splitlines())
        check("sync", line)
        assert (ran.code, line["exit_code"]) == (code, code)
        return ran

    def read(*words: str, code: int = 0) -> Any:
        ran = run_mirror(*words, "--format", "json", *database, TALKOVER_TOKEN=TOKEN)
        assert ran.code == code, ran.err
        name = {"db": "db-describe", "query": "query-list"}.get(words[0], words[0])
        rows = json.loads(ran.out)
        check(name, rows)
        assert rows
        seen.add(name)
        return rows

    resolved = {"status": "rejected", "resolved_at": "2024-01-11T13:30:00.5Z"}
    sync(records=[*requests(*range(1, 9)), "junk", request(9, carrier={"name": "x"})], code=3)
    sync()
    sync("--dry-run")
    sync(
        records=[
            request(1) | resolved | {"rejection_reason": "Open invoices"},
            request(2, status="cancelled"),
            request(3, reason="Another", carrier={"name": "y"}),
            *requests(5, 6, 7, 8),
            request(9, requested_at="soon"),
        ],
        code=3,
    )
    received = tmp_path / "received.json"
    records = [request(1), *requests(2, 4, 5, 6, 7, 8, 9, 10)]
    sync("--on-change", f"cat > {shlex.quote(str(received))}", records=records)
    given = json.loads(received.read_text())
    check("on-change", given)
    assert all(given[name] for name in ("runs", "changes", "new_requests"))
    sync(records=[], code=4)
    mirror.sandbox.set_fault("unauthorized")
    sync(code=77)
    logged = run_mirror(
        *("sync", "--log-format", "json", "-v", "--base-url", mirror.sandbox.base_url, *database),
        TALKOVER_TOKEN=TOKEN,
    )
    for line in logged.err.splitlines():
        check("log", json.loads(line))
    assert json.loads(logged.err.splitlines()[-1])["run"]["exit_code"] == logged.code == 77

    changes = read("changes")
    assert {row["kind"] for row in changes} == {
        "resolved", "reopened", "corrected", "vanished", "returned",
    }  # fmt: skip
    for argument in ("1", "3", "9"):
        read("show", f"request-{argument}")
    read("requests")
    read("history", "+15550000001")
    read("query", "--list")
    for command in ("status", "status --max-age 2h", "runs", "quarantine --all", "db describe"):
        read(*command.split())
    checks = read("doctor", "--base-url", mirror.sandbox.base_url, code=77)
    assert {row["exit_code"] for row in checks if row["state"] == "failed"} == {77}
    assert {row["exit_code"] for row in checks if row["state"] != "failed"} == {0}
    assert seen | {"sync", "log"} == JSON_OUTPUTS

"""Generates the JSON Schemas of all JSON output in docs/schemas/, from the types of the rows.

    python tests/docs/json_schemas.py

writes them. `tests/docs/test_json.py` compares them with the types and with real output.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

sys.path.append(str(Path(__file__).parents[2]))  # the checkout

import msgspec

from mirror.cli.doctor import CheckResult
from mirror.cli.sync_output import SyncResult
from mirror.db.cookbook import Question
from mirror.db.dictionary import Entry
from mirror.db.models import sync_runs
from mirror.queries.results import (
    Change,
    HistoryEvent,
    QuarantinedRecord,
    ReleaseRequest,
    RequestDetails,
    SyncRun,
)
from mirror.queries.status import EnvironmentStatus

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"

Schema = dict[str, Any]

_TIME = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z$",
}
"""As `mirror.cli.output.to_text` writes a time: in UTC, with milliseconds unless they are 0."""

_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: _TIME,
    type(None): {"type": "null"},
}

_WRITTEN: dict[str, Schema] = {
    # The text of an object, which is written as it is.
    "ReleaseRequest.extra": {"type": ["object", "null"]},
    "RequestVersion.extra": {"type": ["object", "null"]},
    # Of the field `extra` likewise.
    "FieldChange.old": {"type": ["string", "object", "null"]},
    "FieldChange.new": {"type": ["string", "object", "null"]},
}
"""Fields that are not written as their type says."""

ROWS: dict[str, type[Any]] = {
    "changes": Change,
    "db describe": Entry,
    "doctor": CheckResult,
    "history": HistoryEvent,
    "quarantine": QuarantinedRecord,
    "query --list": Question,
    "requests": ReleaseRequest,
    "runs": SyncRun,
    "status": EnvironmentStatus,
}
"""The type of the rows of each command that writes an array of them."""

_COLUMNS = {SyncRun: sync_runs}
"""Types whose fields are those of a table, which documents them."""


def schemas() -> dict[str, Schema]:
    """Return the schema of each JSON output, by the name of its file."""
    made = {
        name: _schema(f"mirror {name} --format json", row_type, is_array=True)
        for name, row_type in ROWS.items()
    }
    made["show"] = _schema("mirror show --format json", RequestDetails, is_array=False)
    made["sync"] = _schema("mirror sync --json, a line", SyncResult, is_array=False)
    made["log"] = _log_schema()
    made["on-change"] = _on_change_schema()
    return {re.sub("[ -]+", "-", name): schema for name, schema in made.items()}


def _schema(title: str, row_type: type[Any], *, is_array: bool) -> Schema:
    reference, definitions = _describe(row_type)
    content = {"type": "array", "items": reference} if is_array else reference
    return {**_head(title), **content, "$defs": definitions}


def _head(title: str) -> Schema:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}


def _log_schema() -> Schema:
    """Return the schema of a line of `--log-format json`."""
    reference, definitions = _describe(SyncResult)
    text = {"type": "string"}
    properties = {
        "time": _TIME | {"description": "when it was logged (UTC, local clock)."},
        "level": text | {"description": '"debug", "info", "warning" or "error".'},
        "environment": text | {"description": "the environment that it is about."},
        "message": text | {"description": "the line as text."},
        "run": reference | {"description": "the result of a sync, in its line."},
        "on_change": {
            "type": "object",
            "description": "how the command of --on-change failed, in its line.",
        },
        "round": {
            "type": "object",
            "description": "the counts of a round over several environments, in its line.",
        },
    }
    return {
        **_head("mirror sync --log-format json, a line of stderr"),
        "type": "object",
        "properties": properties,
        "required": ["time", "level", "message"],
        "$defs": definitions,
    }


def _on_change_schema() -> Schema:
    """Return the schema of what the command of `--on-change` reads."""
    definitions: dict[str, Schema] = {}
    lists = {
        "runs": (SyncResult, "the syncs that changed something, by environment."),
        "changes": (Change, "what they saw change in requests that were known."),
        "new_requests": (ReleaseRequest, "requests that they saw for the first time."),
    }
    properties: Schema = {
        name: {
            "type": "array",
            "items": _written(row_type, definitions),
            "description": f"{description} The first ones, if there are many; see `omitted`.",
        }
        for name, (row_type, description) in lists.items()
    }
    properties["omitted"] = {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in lists},
        "required": list(lists),
        "description": "how many each list lacks.",
    }
    return {
        **_head("mirror sync --on-change, standard input of the command"),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "$defs": definitions,
    }


def _describe(row_type: type[Any]) -> tuple[Schema, dict[str, Schema]]:
    """Return the reference to the schema of a type, and the definitions of it and of its parts."""
    definitions: dict[str, Schema] = {}
    return _written(row_type, definitions), definitions


def _written(hint: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of what `mirror.cli.output` writes for a type; add those of its parts.

    msgspec would make one of the types too, but times and `extra` are written otherwise, and it
    refuses a union of two types that are both written as text.
    """
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    arguments = get_args(hint)
    if get_origin(hint) in {list, tuple}:
        return {"type": "array", "items": _written(arguments[0], definitions)}
    if arguments:  # a union
        first, *others = (_written(each, definitions) for each in arguments)
        if "type" in first and others == [_SCALARS[type(None)]]:
            return first | {"type": [first["type"], "null"]}
        return {"anyOf": [first, *others]}
    return dict(_SCALARS[hint])


def _object(row_type: type[Any], definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a dataclass: all of its fields are written, and others may be added."""
    documented = _attributes(row_type)
    hints = get_type_hints(row_type)
    if missing := ", ".join(name for name in hints if name not in documented):
        raise SystemExit(f"document {missing} in the Attributes of {row_type.__name__}")
    properties = {
        name: (_WRITTEN.get(f"{row_type.__name__}.{name}") or _written(hint, definitions))
        | {"description": documented[name]}
        for name, hint in hints.items()
    }
    return {
        "type": "object",
        "description": (inspect.getdoc(row_type) or "").partition("\n")[0],
        "properties": properties,
        "required": list(properties),
    }


def _attributes(row_type: type[Any]) -> dict[str, str]:
    """Return the documentation of each field of a dataclass."""
    if (table := _COLUMNS.get(row_type)) is not None:
        return {
            field.name: str(table.c[field.name].comment) for field in dataclasses.fields(row_type)
        }
    section = (inspect.getdoc(row_type) or "").partition("Attributes:\n")[2]
    entries = re.split(r"\n {4}(?! )", f"\n{section}")[1:]
    found: dict[str, str] = {}
    for entry in entries:
        names, _, text = " ".join(entry.split()).partition(": ")
        found |= dict.fromkeys(names.split(", "), re.sub(r"\bNone\b", "null", text))
    return found


def text_of(schema: Schema) -> str:
    """Return the text of the file of a schema."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def main() -> None:
    """Write all schemas, and delete others; if one cannot be made, all files stay as they are."""
    texts = {FOLDER / f"{name}.json": text_of(schema) for name, schema in schemas().items()}
    for path in FOLDER.glob("*.json"):
        if path not in texts:
            path.unlink()
    for path, text in texts.items():
        path.write_text(text)


if __name__ == "__main__":
    main()

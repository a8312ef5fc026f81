"""Metadata for Datasette: what each page shows first, and how the pages belong together.

One file is for both forms: Datasette 0.65 reads all of it with `-m`; 1.0 reads descriptions, sort
order and facets with `-m`, and queries with `-c`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mirror.db.cookbook import RECIPES, Recipe
from mirror.db.dictionary import Entry

_PAGES: Mapping[str, Mapping[str, Any]] = {
    "release_requests": {
        "sort_desc": "requested_at",
        "facets": ["status", "rejection_reason", "environment"],
        "label_column": "phone_number",
    },
    "release_request_past_versions": {"sort_desc": "valid_to", "facets": ["status", "environment"]},
    "sync_runs": {
        "sort_desc": "id",
        "facets": ["outcome", "environment"],
        "label_column": "started_at",
    },
    "quarantined_records": {
        "sort_desc": "id",
        "facets": ["environment"],
        "label_column": "request_id",
    },
    "alembic_version": {"hidden": True},
    "release_request_versions": {"sort_desc": "valid_from", "facets": ["status", "environment"]},
    "release_request_changes": {"sort_desc": "changed_at", "facets": ["kind", "environment"]},
    "phone_number_history": {
        "sort_desc": "observed_at",
        "facets": ["event", "time_source", "environment"],
    },
    "phone_numbers": {"sort_desc": "requests", "facets": ["last_status", "released"]},
    "release_request_turnaround": {
        "sort_desc": "resolved_at",
        "facets": ["status", "time_source", "environment"],
        "units": {"hours_to_resolve": "h"},  # which 1.0 has no more
    },
    "release_requests_daily": {"sort_desc": "day", "facets": ["environment"], "size": 31},
    "sqlite_sequence": {"hidden": True},
}
"""Settings of the page of each table and view. A default sort order is one that people ask for."""

_LINKS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "release_requests": {
        "id": ["release_request_versions", "release_request_changes"],
        "phone_number": ["phone_number_history", "phone_numbers"],
        "sync_run_id": ["sync_runs"],
    },
    "release_request_past_versions": {"id": ["release_requests", "release_request_versions"]},
    "sync_runs": {"id": ["release_request_changes", "quarantined_records"]},
    "quarantined_records": {"request_id": ["release_requests"]},
    "release_request_versions": {"id": ["release_requests"]},
    "release_request_changes": {
        "request_id": ["release_requests", "release_request_versions"],
        "phone_number": ["phone_number_history"],
        "sync_run_id": ["sync_runs"],
    },
    "phone_number_history": {
        "request_id": ["release_requests", "release_request_versions"],
        "phone_number": ["phone_numbers"],
    },
    "phone_numbers": {"phone_number": ["phone_number_history", "release_requests"]},
    "release_request_turnaround": {
        "id": ["release_requests"],
        "phone_number": ["phone_number_history"],
    },
    "release_requests_daily": {},
}
"""What has the same value as a column. Datasette links cells by foreign keys only."""


def metadata(rows: Sequence[Entry], database: str) -> dict[str, Any]:
    """Return metadata for Datasette: entries as descriptions, the cookbook as queries.

    Args:
        rows: entries of the dictionary.
        database: Datasette's name of the database: its file name without `.db`.
    """
    tables: dict[str, dict[str, Any]] = {"sqlite_sequence": dict(_PAGES["sqlite_sequence"])}
    for entry in rows:
        if entry.column is None:
            tables[entry.relation] = {
                "description_html": html.escape(entry.comment) + _links(entry.relation, database),
                "size": 50,
                "columns": {},
            } | dict(_PAGES.get(entry.relation, {}))
        else:
            tables[entry.relation]["columns"][entry.column] = entry.comment
    about = {
        "title": "Release requests",
        "description": "A mirror of Talkover's phone-number release requests. All times are UTC.",
    }
    queries = {recipe.name: _query(recipe) for recipe in RECIPES}
    return about | {"databases": {database: about | {"tables": tables, "queries": queries}}}


def _query(recipe: Recipe) -> dict[str, Any]:
    values = {"number": "+1…", "time": "2024-01-31", "day": "2024-01-31"}
    options = (f" --param {name}={values[kind]}" for name, kind in recipe.parameters.items())
    return {
        "title": recipe.question,
        "description": f"In a terminal: mirror query {recipe.name}{''.join(options)}",
        "sql": recipe.sql,
        "params": list(recipe.parameters),
    }


def _links(relation: str, database: str) -> str:
    """Return a list of links to what belongs to a table or view."""
    items = []
    for column, others in _LINKS.get(relation, {}).items():
        links = (f'<a href="/{_tilde_encode(database)}/{name}">{name}</a>' for name in others)
        items.append(f"<li>the same <code>{column}</code>: {', '.join(links)}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _tilde_encode(text: str) -> str:
    """Write a name as Datasette does in its URLs."""
    return re.sub(
        r"[^A-Za-z0-9_-]",
        lambda match: "".join(f"~{byte:02X}" for byte in match[0].encode()).replace("~20", "+"),
        text,
    )

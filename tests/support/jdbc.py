"""Read databases by JDBC, and print the results as JSON.

A program of its own, because a JVM can neither be started twice in a process nor change its zone.

Input is a JSON object on stdin:

    zone: time zone of the JVM.
    classpath: jar files of the drivers.
    urls: JDBC URLs of the databases, by name.
    relations: names of tables and views.
    queries: by name, the SQL and the names of its time columns.

Output is a JSON object that has by name of a database:

    declared: by relation and column, name and number of the type, by DatabaseMetaData.getColumns.
    results: by query, its types and rows. Types are, by column, those that ResultSetMetaData gives
        before the first row and at each row, each once: its name and number. Rows are objects that
        hold a time as [milliseconds since 1970, text], numbers as such, and all else as text.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def declared(connection: Any, relation: str) -> dict[str, list[Any]]:
    """The columns and types of a table or view, from DatabaseMetaData."""
    result = connection.getMetaData().getColumns(None, None, relation, None)
    types: dict[str, list[Any]] = {}
    while result.next():
        name = result.getString("COLUMN_NAME")
        types[name] = [result.getString("TYPE_NAME"), int(result.getInt("DATA_TYPE"))]
    return types


def current_types(metadata: Any) -> dict[str, list[Any]]:
    """The types of a result's columns, which may differ from row to row."""
    return {
        metadata.getColumnLabel(number): [
            metadata.getColumnTypeName(number),
            int(metadata.getColumnType(number)),
        ]
        for number in range(1, metadata.getColumnCount() + 1)
    }


def cell(result: Any, name: str, *, is_time: bool) -> Any:
    """A value of the current row."""
    if is_time:
        time = result.getTimestamp(name)
        return None if time is None else [int(time.getTime()), time.toString()]
    value = result.getObject(name)
    return value if isinstance(value, int | float) else result.getString(name)


def fetch(connection: Any, sql: str, times: list[str]) -> dict[str, Any]:
    """Run a query; return its types and rows."""
    result = connection.createStatement().executeQuery(sql)
    metadata = result.getMetaData()
    types = {name: [current] for name, current in current_types(metadata).items()}
    rows = []
    while result.next():
        for name, current in current_types(metadata).items():
            if current not in types[name]:
                types[name].append(current)
        rows.append({name: cell(result, name, is_time=name in times) for name in types})
    return {"types": types, "rows": rows}


def main() -> None:
    """Run the queries of stdin."""
    job = json.load(sys.stdin)
    jpype: Any = importlib.import_module("jpype")  # not in every environment that mypy runs in
    jpype.startJVM(
        f"-Duser.timezone={job['zone']}", classpath=job["classpath"], convertStrings=True
    )
    output = {}
    for database, url in job["urls"].items():
        connection = jpype.JClass("java.sql.DriverManager").getConnection(url)
        queries = job["queries"].items()
        output[database] = {
            "declared": {name: declared(connection, name) for name in job["relations"]},
            "results": {name: fetch(connection, **query) for name, query in queries},
        }
        connection.close()
    json.dump(output, sys.stdout)


if __name__ == "__main__":
    main()

"""Reads databases the way BI tools on Java do, and prints as JSON what it got.

A program of its own: a JVM can neither be started twice in a process nor move to another time zone.

It takes a JSON object from its standard input:

    zone: the time zone that the JVM believes in.
    classpath: jar files of the drivers.
    urls: JDBC URLs of the databases, by a name for each.
    relations: names of tables and views.
    queries: by a name for each, its SQL and the names of its columns that are times.

and prints another one, which has by name of a database:

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
    """Ask for the columns of a table or view, as a tool does that shows what there is."""
    found = connection.getMetaData().getColumns(None, None, relation, None)
    types: dict[str, list[Any]] = {}
    while found.next():
        name = found.getString("COLUMN_NAME")
        types[name] = [found.getString("TYPE_NAME"), int(found.getInt("DATA_TYPE"))]
    return types


def types_now(shape: Any) -> dict[str, list[Any]]:
    """Ask a result for the types of its columns, which may differ from row to row."""
    return {
        shape.getColumnLabel(place): [
            shape.getColumnTypeName(place),
            int(shape.getColumnType(place)),
        ]
        for place in range(1, shape.getColumnCount() + 1)
    }


def cell(result: Any, name: str, *, is_time: bool) -> Any:
    """Read a value of the row at hand."""
    if is_time:
        time = result.getTimestamp(name)
        return None if time is None else [int(time.getTime()), time.toString()]
    value = result.getObject(name)
    return value if isinstance(value, int | float) else result.getString(name)


def answer(connection: Any, sql: str, times: list[str]) -> dict[str, Any]:
    """Run a query, and read every value of it."""
    result = connection.createStatement().executeQuery(sql)
    shape = result.getMetaData()
    types = {name: [one] for name, one in types_now(shape).items()}
    rows = []
    while result.next():
        for name, one in types_now(shape).items():
            if one not in types[name]:
                types[name].append(one)
        rows.append({name: cell(result, name, is_time=name in times) for name in types})
    return {"types": types, "rows": rows}


def main() -> None:
    """Do as the standard input says."""
    order = json.load(sys.stdin)
    jpype: Any = importlib.import_module("jpype")  # not in every environment that mypy runs in
    jpype.startJVM(
        f"-Duser.timezone={order['zone']}", classpath=order["classpath"], convertStrings=True
    )
    said = {}
    for place, url in order["urls"].items():
        connection = jpype.JClass("java.sql.DriverManager").getConnection(url)
        queries = order["queries"].items()
        said[place] = {
            "declared": {name: declared(connection, name) for name in order["relations"]},
            "results": {name: answer(connection, **query) for name, query in queries},
        }
        connection.close()
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()

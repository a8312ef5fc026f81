"""Read a mirror by JDBC; the only argument is its place.

A program of its own, because a JVM can neither be started twice in a process nor change its zone.
tests/support/reader_programs.py has the protocol. The place has the JDBC URL (`url`), the jar files
of the drivers (`classpath`), the time zone of the JVM (`zone`), and how times are bound (`bind`).
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main() -> None:
    """Answer the queries of stdin."""
    place = json.loads(sys.argv[1])
    jpype: Any = importlib.import_module("jpype")
    jpype.startJVM(
        f"-Duser.timezone={place['zone']}", classpath=place["classpath"], convertStrings=True
    )
    connection = jpype.JClass("java.sql.DriverManager").getConnection(place["url"])
    for line in sys.stdin:
        step = json.loads(line)
        if step["begin"]:
            connection.setAutoCommit(False)
            if "postgresql" in place["url"]:
                connection.setTransactionIsolation(connection.TRANSACTION_REPEATABLE_READ)
        answer: dict[str, Any]
        try:
            answer = {"rows": query(jpype, connection, step, step["bind"] or place["bind"])}
        except jpype.JClass("java.sql.SQLException") as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def query(jpype: Any, connection: Any, step: dict[str, Any], how: str) -> list[dict[str, Any]]:
    """Run a query."""
    statement = connection.prepareStatement(step["sql"])
    for number, text in enumerate(step["values"], start=1):
        bind(jpype, statement, number, text, how)
    result = statement.executeQuery()
    metadata = result.getMetaData()
    names = [metadata.getColumnLabel(number + 1) for number in range(metadata.getColumnCount())]
    rows = []
    while result.next():
        rows.append({name: cell(result, name, is_time=name in step["times"]) for name in names})
    statement.close()
    return rows


def bind(jpype: Any, statement: Any, number: int, text: str, how: str) -> None:
    """Bind a time, by the method and the class that `how` names."""
    instant = jpype.JClass("java.time.Instant").parse(text.replace(" ", "T") + "Z")
    utc = jpype.JClass("java.time.ZoneOffset").UTC
    method, _, kind = how.partition(" ")
    if kind == "Timestamp":
        statement.setTimestamp(number, jpype.JClass("java.sql.Timestamp").from_(instant))
    elif kind == "Timestamp, Calendar":
        zone = jpype.JClass("java.util.TimeZone").getTimeZone("UTC")
        calendar = jpype.JClass("java.util.GregorianCalendar")(zone)
        timestamp = jpype.JClass("java.sql.Timestamp").from_(instant)
        statement.setTimestamp(number, timestamp, calendar)
    elif method == "setString":
        statement.setString(number, text + kind)
    else:
        local = jpype.JClass("java.time.LocalDateTime").ofInstant(instant, utc)
        values = {
            "Instant": instant,
            "LocalDateTime": local,
            "OffsetDateTime": instant.atOffset(utc),
        }
        statement.setObject(number, values[kind])


def cell(result: Any, name: str, *, is_time: bool) -> Any:
    """A value of the current row; a time as UTC text."""
    if is_time:
        time = result.getTimestamp(name)
        if time is None:
            return None
        second, _, rest = (
            time.toInstant().toString().removesuffix("Z").replace("T", " ").partition(".")
        )
        return f"{second}.{rest:<03}"
    value = result.getObject(name)
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return value if value is None else str(result.getString(name))


if __name__ == "__main__":
    main()

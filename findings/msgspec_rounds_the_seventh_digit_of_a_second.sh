#!/usr/bin/env bash
# msgspec rounds the seventh digit of a second: 24:00 becomes 00:00, and .NET's last moment an error.
#
# What a good engineer expects: a JSON text of a time with more digits than Python's datetime holds
# is cut to microseconds, as datetime.fromisoformat(), pydantic, ciso8601 and dateutil do it, so
# that "23:59:59.9999999" stays within its second, its day and its year.
#
# What happens: msgspec rounds to the nearest microsecond, and the carry goes all the way up. A
# datetime of the last 0.5 µs of a year is in the next year, for one reader of the same file. A
# datetime.time has nowhere to carry to: the last moment of the day becomes its first, 24 hours off.
# And "9999-12-31T23:59:59.9999999", which is what .NET's serializers write for DateTime.MaxValue
# ("never expires"), would be in the year 10000: msgspec says that it is no RFC 3339 date.
#
# Whom it hurts: those who read JSON of .NET (7 digits), Go or Java (9), where the last moment of a
# day is a common value: end = start of the next day minus one tick. Days and months are then
# counted in the wrong one, and only by the programs that use msgspec.
#
# What helps: declare the field as str and hand it to datetime.fromisoformat() (Python 3.11+), or
# have the writer send 6 digits.
#
# Seen with: msgspec 0.19.0 and 0.23.0; pydantic 2.14.4. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydantic==2.14.4

cat > "$folder/read.py" <<'PYTHON'
import sys
from datetime import datetime, time

import msgspec
from pydantic import TypeAdapter

YEAR_END = "2025-12-31T23:59:59.9999999Z"
DOTNET_MAX = "9999-12-31T23:59:59.9999999"
DAY_END = "23:59:59.9999999"


def with_msgspec(text, type_):
    try:
        return msgspec.json.decode(f'"{text}"'.encode(), type=type_).isoformat()
    except msgspec.ValidationError as error:
        return f"error: {error}"


def with_pydantic(text, type_):
    return TypeAdapter(type_).validate_json(f'"{text}"').isoformat()


def with_str_field(text, type_):
    return type_.fromisoformat(msgspec.json.decode(f'"{text}"'.encode(), type=str)).isoformat()


read = {"msgspec": with_msgspec, "pydantic": with_pydantic, "str": with_str_field}[sys.argv[1]]
print(read(YEAR_END, datetime), read(DOTNET_MAX, datetime), read(DAY_END, time), sep=" | ")
PYTHON

read_with() { "$folder/venv/bin/python" "$folder/read.py" "$1"; }
expect() {
  printf '%-24s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

cut="2025-12-31T23:59:59.999999+00:00 | 9999-12-31T23:59:59.999999 | 23:59:59.999999"
for version in 0.19.0 0.23.0; do
  "$folder/venv/bin/pip" install --quiet "msgspec==$version"
  expect "msgspec $version" "$(read_with msgspec)" \
    "2026-01-01T00:00:00+00:00 | error: Invalid RFC3339 encoded datetime | 00:00:00"
  expect "pydantic" "$(read_with pydantic)" "$cut"
  expect "str, fromisoformat()" "$(read_with str)" "$cut"
done

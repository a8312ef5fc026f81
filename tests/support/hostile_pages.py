"""Pages of `mirror report` whose texts of upstream are hostile."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.reports import execute, failed_run, sync_hourly
from tests.support.upstream import request

LONG = "1234567890" * 10_000
"""100,000 characters without a place to break the line."""

TEXTS = {
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "</svg><script>alert(2)</script>": "</svg><script>alert(2)</script>",
    '"onload="alert(3)" x="': '"onload="alert(3)" x="',
    "</title></style><b>bold": "</title></style><b>bold",
    "{{ 7*7 }}{% raw %}": "{{ 7*7 }}{% raw %}",
    "&lt;&#60;<!-- ]]>": "&lt;&#60;<!-- ]]>",
    "\u202egnp.exe\u202c \u2066a\u2069": r"\u202egnp.exe\u202c \u2066a\u2069",
    "zero\u200b\u2060\ufeff\xadwidth": r"zero\u200b\u2060\ufeff\xadwidth",
    "\x1b[31mred\x1b[0m \x9b2J \x7f": r"\x1b[31mred\x1b[0m \x9b2J \x7f",
    "nul\0 \x01\x08\t\r\n end": r"nul� \x01\x08\t\r\n end",
    "half \ud83d of a pair": "half � of a pair",
    "no character: \ufffe\uffff": r"no character: \ufffe\uffff",
    "\U0001f600" * 40: "\U0001f600" * 40,
    "\u6f22" * 40: "\u6f22" * 40,
    "OPEN INVOICES; AMOUNTS ARE DUE NOW": "OPEN INVOICES; AMOUNTS ARE DUE NOW",
}
"""Texts of upstream, and how a reader must see them."""

_UNSTORABLE = dict.fromkeys((0, 0xD83D), "\ufffd")
"""Characters that no database stores, and their replacement."""

TEXTS_OF = {"one": list(TEXTS)[::2], "other": list(TEXTS)[1::2]}
"""Texts by environment: a page shows only ten reasons."""


def hostile_lists(name: str, texts: list[str]) -> list[list[dict[str, Any]]]:
    """Two lists with each text in every field of an open and of a rejected request.

    In the second list it is also the status of the open one.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    pending, unknown, rejected = [], [], []
    for place, text in enumerate([*texts, LONG]):
        short = text[:255]
        entry = request(place, id=f"{name} {place} open", phone_number=short, requested_at=now)
        pending.append(entry | {"reason": text})
        unknown.append(entry | {"reason": text, "status": short})
        rejected.append(
            entry
            | {"id": f"{name} {place} rejected", "status": "rejected"}
            | {"rejection_reason": text, "resolved_at": now}
        )
    return [[*pending, *rejected], [*unknown, *rejected]]


def sync_hostile(url: str, name: str) -> None:
    """Give an environment its texts in every field."""
    texts = TEXTS_OF[name]
    sync_hourly(url, *hostile_lists(name, texts), environment=name)
    execute(url, failed_run(name, " ".join([*texts, LONG]).translate(_UNSTORABLE)))

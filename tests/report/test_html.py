"""The page of `mirror report` in a browser, which sees what people see of it.

Here it looks at one page once; in stress/test_report_in_browser.py at all of them, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.browser import Shown, chromium, shown
from tests.support.reports import change, failed_run, fill, page
from tests.support.upstream import request

READABLE = 4.5
"""The least contrast that WCAG 2.1 (AA) asks of texts."""

LONG = "1234567890" * 10_000
"""100,000 characters, and nowhere to break them."""

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
"""Texts of upstream, and what is to be read of each."""

UNSTORABLE = dict.fromkeys((0, 0xD83D), "\ufffd")
"""What no database keeps, and what is kept of it."""

PARTS = {"one": list(TEXTS)[::2], "other": list(TEXTS)[1::2]}
"""Texts by the environment that has them: a page shows ten reasons, and there are more texts."""

SECTIONS = [f"section:has(> #{name})" for name in ("open", "changes", "numbers")]

FOREIGN = """[...document.querySelectorAll("*")].filter(one =>
  ["SCRIPT", "B"].includes(one.tagName) && !one.closest("li") ||
  ["TITLE", "STYLE"].includes(one.tagName) && one.parentNode !== document.head ||
  [...one.attributes].some(given => given.name.startsWith("on"))
).map(one => one.outerHTML)"""
"""Elements that no page has by itself."""


def hostile_lists(name: str, texts: list[str]) -> list[list[dict[str, Any]]]:
    """Two lists that have each text wherever there is room for one.

    Of each there is an open request and one that was rejected, for a number of that text. In the
    second list, the text is the status of the open one as well.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    waiting, known, rejected = [], [], []
    for place, text in enumerate([*texts, LONG]):
        short = text[:255]
        entry = request(place, id=f"{name} {place} waiting", phone_number=short, requested_at=now)
        waiting.append(entry | {"reason": text})
        known.append(entry | {"reason": text, "status": short})
        rejected.append(
            entry
            | {"id": f"{name} {place} rejected", "status": "rejected"}
            | {"rejection_reason": text, "resolved_at": now}
        )
    return [[*waiting, *rejected], [*known, *rejected]]


def fill_hostile(url: str, name: str) -> None:
    """Let an environment have its texts wherever there is room for one."""
    texts = PARTS[name]
    fill(url, *hostile_lists(name, texts), environment=name)
    change(url, failed_run(name, " ".join([*texts, LONG]).translate(UNSTORABLE)))


def expect_texts(seen: Shown, name: str) -> None:
    """Expect that all texts of an environment can be read in its page, and do nothing there."""
    assert seen.tab.evaluate(FOREIGN) == []
    for place in ("header", "#chart-reasons table", *SECTIONS):
        said = seen.read(place)
        assert [one for one in PARTS[name] if TEXTS[one] not in said] == [], place
    for place in SECTIONS:
        assert f"{LONG[:40]}… (215 more characters)" in seen.read(place)
    for place in ("#chart-reasons table", SECTIONS[0], SECTIONS[2]):
        assert f"{LONG[:300]}… (99,700 more characters)" in seen.read(place)


def test_hostile_texts(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """Texts of upstream can all be read, what cannot be seen is written out, and they do nothing.

    They run nothing, ask for nothing, make no element and burst no layout, wide or narrow. Each
    chart is there once, and the table behind it can be opened.
    """
    url, file = make_ready_database("sqlite"), tmp_path / "page.html"
    fill_hostile(url, "one")
    page(url, "--environment", "one", into=file)
    with chromium() as browser, shown(browser, file) as seen:
        for width in (360, 1280):
            seen.look(width)
            assert (width, seen.cut_off) == (width, [])
            assert seen.tab.locator(".chart >> visible=true").count() == 4
        assert {pair: one for pair, one in seen.contrasts.items() if one < READABLE} == {}
        for one in seen.tab.locator("summary").all():
            one.click()
        assert seen.tab.locator("details table >> visible=true").count() == 4
        for width in (360, 1280):
            seen.look(width)
            assert (width, seen.cut_off) == (width, [])
        expect_texts(seen, "one")
        assert seen.noted == []

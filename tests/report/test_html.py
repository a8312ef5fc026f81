"""A page of `mirror report` in a browser; stress/test_report_in_browser.py has all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.browser import Tab, chromium, open_tab
from tests.support.reports import execute, failed_run, render_page, sync_hourly
from tests.support.upstream import request

MIN_TEXT_CONTRAST = 4.5
"""Of texts, by WCAG 2.1 (AA)."""

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

REASONS, *SECTIONS = [
    f"section:has(> #{name})" for name in ("reasons", "open-requests", "changes", "numbers")
]

FIND_INJECTED = """[...document.querySelectorAll("*")].filter(element =>
  ["SCRIPT", "B"].includes(element.tagName) && !element.closest("li") ||
  ["TITLE", "STYLE"].includes(element.tagName) && element.parentNode !== document.head ||
  element.tagName === "title" && !element.parentNode.matches("svg[role=img]") ||
  [...element.attributes].some(attribute => attribute.name.startsWith("on"))
).map(element => element.outerHTML)"""
"""Finds elements that the template does not have."""


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


def check_texts(tab: Tab, name: str) -> None:
    """Check that all texts of an environment can be read in its page, and are inert."""
    assert tab.evaluate(FIND_INJECTED) == []
    for selector in ("section.attention", REASONS, *SECTIONS):
        shown = tab.text(selector)
        assert [text for text in TEXTS_OF[name] if TEXTS[text] not in shown] == [], selector
    for selector in SECTIONS:
        assert f"{LONG[:40]}… (215 more characters)" in tab.text(selector)
    for selector in (REASONS, SECTIONS[0], SECTIONS[2]):
        assert f"{LONG[:300]}… (99,700 more characters)" in tab.text(selector)


def test_hostile_texts(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """Texts of upstream are readable and inert, and break no layout, wide or narrow."""
    url, file = make_ready_database("sqlite"), tmp_path / "page.html"
    sync_hostile(url, "one")
    render_page(url, "--environment", "one", into=file)
    with chromium() as browser, open_tab(browser, file) as tab:
        for width in (360, 1280):
            tab.emulate(width)
            assert (width, tab.cut_off()) == (width, [])
            assert tab.visible(".chart").count() == 3
        contrasts = tab.contrasts().items()
        assert {pair: value for pair, value in contrasts if value < MIN_TEXT_CONTRAST} == {}
        tab.open_details()
        assert tab.visible("details table").count() == 3
        for width in (360, 1280):
            tab.emulate(width)
            assert (width, tab.cut_off()) == (width, [])
        check_texts(tab, "one")
        assert tab.complaints == []

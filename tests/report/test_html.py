"""Hostile texts in a page of `mirror report`; a browser reads it in the stress tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.hostile_pages import LONG, TEXTS, TEXTS_OF, sync_hostile
from tests.support.reports import Element, render_page

SECTIONS = ("reasons", "open-requests", "changes", "numbers")


def test_hostile_texts(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """Texts of upstream are readable and inert: they add no element and no attribute.

    stress/test_report_in_browser.py::test_hostile_texts_everywhere has all of them, in a browser.
    """
    url = make_ready_database("sqlite")
    sync_hostile(url, "one")
    page = render_page(url, "--environment", "one", into=tmp_path / "page.html")
    assert [element for element in page.root.find_all() if is_injected(element)] == []
    assert len(list(page.root.find_all("style"))) == 1
    attention = page.root.find("section", class_="attention")
    for section in (attention, *map(page.section, SECTIONS)):
        assert [text for text in TEXTS_OF["one"] if TEXTS[text] not in section.text] == []
    for name in SECTIONS[1:]:
        assert f"{LONG[:40]}… (215 more characters)" in page.section(name).text
    for name in (*SECTIONS[:2], SECTIONS[3]):
        assert f"{LONG[:300]}… (99,700 more characters)" in page.section(name).text


def is_injected(element: Element) -> bool:
    """Whether an element is none of the template's."""
    return (
        element.tag == "script"
        or (element.tag == "b" and element.text.startswith("bold"))
        or any(name.startswith("on") for name in element.attributes)
    )

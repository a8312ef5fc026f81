"""The catalogue of messages, and pages in each of its languages."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from string import Formatter

import pytest

from mirror.report import html
from mirror.report.formatting import Language
from mirror.report.messages import LANGUAGES, catalogue, message
from tests.support import ROOT
from tests.support.example_report import DATA, empty, example
from tests.support.reports import Page

FOLDER = ROOT / "mirror" / "report"
WORD = re.compile(r"[^\W\d_]{2,}")
DATE_PARTS = {"day", "dd", "month", "mm", "year"}
SAME = {
    "mirror",
    "sync",
    "doctor",
    "quarantine",
    "requests",
    "missing",
    "status",
    "pt",
    "br",
    "utc",
}
"""Words that are the same in each language: names of commands and options."""


def placeholders(text: str) -> set[str]:
    """The names that a message has in braces."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_each_message_is_there_in_each_language() -> None:
    """All have the same number of forms, the same placeholders and the same elements.

    A singular need not name the number, and a date is written in other parts.
    """
    for key, entry in catalogue().items():
        assert set(entry) == set(LANGUAGES), key
        forms = [[text] if isinstance(text, str) else text for text in entry.values()]
        assert {len(texts) for texts in forms} in ({1}, {2}), key
        for texts in zip(*forms, strict=True):
            assert all(texts), key
            elements = [re.findall(r"<.*?>[^<]*</.*?>", text) for text in texts]
            assert elements[1:] == elements[:-1], key
            names = [placeholders(text) - {"n", *DATE_PARTS} for text in texts]
            assert names[1:] == names[:-1], key
        assert len({"n" in placeholders(texts[-1]) for texts in forms}) == 1, key


def test_each_message_is_used() -> None:
    """No message is left over."""
    sources = [(FOLDER / "page.html").read_text("utf-8")]
    sources += [path.read_text("utf-8") for path in FOLDER.glob("*.py")]
    names = set(re.findall(r"""["']([a-z_]+)["']""", " ".join(sources)))
    families = ("word_", "changed_", "count_", "change_", "unit_", "outcomes_", "line_")
    unused = {key for key in catalogue() if key not in names and not key.startswith(families)}
    assert unused == set()


def test_the_template_has_no_words() -> None:
    """Each word of the page is in the catalogue."""
    template = (FOLDER / "page.html").read_text("utf-8")
    template = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", "", template, flags=re.DOTALL)
    assert WORD.findall(re.sub(r"<[^>]*>", "", template)) == []


def words(page: Page) -> set[str]:
    """The words that a reader sees or hears, in small letters, without those of upstream."""
    texts = [page.root.text]
    for element in page.root.find_all():
        if element.tag != "meta":
            texts += [
                element.attributes.get(name) or "" for name in ("aria-label", "title", "data-label")
            ]
    text = " ".join(texts)
    for data in DATA:
        text = text.replace(data, " ")
    return {word.lower() for word in WORD.findall(text)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_has_no_word_of_another_language(language: str) -> None:
    """Whatever the page has, its words are those of its language."""
    own = {
        word.lower()
        for entry in catalogue().values()
        for word in WORD.findall(str(entry[language]))
    }
    reports = [
        example(),
        example(30),
        example(1_000, is_current=False, environment="acme"),
        replace(example(), first_pull=None, figures_before=None),
        empty(),
    ]
    for report in reports:
        page = Page(html.render(report, Language(language)))
        assert page.root.find("html").attributes["lang"] == Language(language).text("tag")
        assert words(page) - own - SAME == set()


def test_what_is_left_out_or_runs_is_said() -> None:
    """Limits, the time that a comparison or a usual age is about, and the span of the data."""
    report = example()
    again, environments = report.attention.rejected_again, list(report.environments)
    newest = environments[1].complete_at
    assert newest is not None
    environments[1] = replace(environments[1], complete_at=newest + timedelta(minutes=2))
    usual = report.attention.overdue
    assert usual is not None
    oldest = report.figures.at - timedelta(hours=usual.hours + 9)
    row = replace(usual.requests.rows[0], requested_at=oldest)
    bins = zip(report.ages, (0, 5, 0), strict=True)
    ages = [replace(part, requests=count) for part, count in bins]
    attention = replace(
        report.attention,
        rejected_again=replace(again, total=82),
        overdue=replace(usual, requests=replace(usual.requests, rows=[row])),
    )
    report = replace(report, attention=attention, environments=environments, ages=ages)
    page = Page(html.render(report, Language("en")))
    assert "as of 2026-11-28 11:40 to 11:42 UTC" in page.header.text
    texts = page.section("attention").text
    assert "(2 times) and 81 more numbers" in texts
    assert "Of all 700 reviews up to 30 Nov 2026, nine of ten took less than 9.5 days." in texts
    assert re.search(r"The oldest: [^,]*, 9\.8 days\.", texts), texts
    assert "Missing from the list" not in page.section("changes").text
    assert texts.index("vanished from the list") > texts.index("undocumented status")
    assert "The period so far is compared with the 84 whole days" in page.section("figures").text
    assert page.section("ages").rows() == [["1 to 2 days", "5", "100 %"]]
    assert "Most on a day" in page.chart("open").text
    assert max(page.chart("open").column(2)) == max(point.open for point in report.open_over_time)
    figures, overdue = replace(report.figures, missing=3), report.attention.overdue
    assert overdue is not None
    everything = replace(overdue, requests=replace(overdue.requests, total=report.open.total))
    attention = replace(attention, overdue=everything)
    report = replace(report, attention=attention, figures=figures)
    page = Page(html.render(report, Language("pt")))
    assert "Ausentes da lista no fim: 3 ao todo" in page.section("changes").text
    assert "Todas as 1.236 solicitações em aberto há mais" in page.section("attention").text
    assert "1 cancelada." in page.chart("outcomes").text


def test_singular_and_plural() -> None:
    """One is singular in English; none and one are in Portuguese, as Unicode's CLDR has it."""
    numbers = (0, 1, 2)
    forms = {code: [message(code, "events", n) for n in numbers] for code in LANGUAGES}
    assert forms["en"] == ["{n} events", "{n} event", "{n} events"]
    assert forms["pt"] == ["{n} evento", "{n} evento", "{n} eventos"]
    assert Language("pt").text("events", 1_234) == "1.234 eventos"


def test_values_are_escaped() -> None:
    """A value is text, whatever is in it; a message is HTML."""
    shown = Language("en").html("rejected_times", 2, number="<b>{n}\u202e", reason="&")
    assert str(shown) == r"&lt;b&gt;{n}\u202e: &amp; (2 times)"

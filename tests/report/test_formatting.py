"""Numbers, days and times, as people of each language write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from mirror.report.formatting import Language
from mirror.report.period import Period

EN, PT = Language("en"), Language("pt")
DAY = date(2026, 12, 31)


@pytest.mark.parametrize(
    ("method", "arguments", "english", "portuguese"),
    [
        ("count", (1_234_567,), "1,234,567", "1.234.567"),
        ("count", (None,), "\N{EN DASH}", "\N{EN DASH}"),
        ("decimal", (1_234.56,), "1,234.6", "1.234,6"),
        ("percent", (12.4,), "12 %", "12%"),
        ("percent", (0.2,), "<1 %", "<1%"),
        ("percent", (0,), "0 %", "0%"),
        ("rates", ((62.5, 62.5),), "62.5 %", "62,5%"),
        ("rates", ((62.5, 70.0),), "62.5\N{EN DASH}70.0 %", "62,5\N{EN DASH}70,0%"),
        ("day", (DAY,), "31 Dec 2026", "31/12/2026"),
        ("short_day", (DAY,), "31 Dec", "31/12"),
        (
            "stamp",
            (datetime(2026, 2, 1, 9, 5, tzinfo=UTC),),
            "2026-02-01 09:05",
            "01/02/2026 09:05",
        ),
        (
            "days",
            (Period(date(2026, 8, 31), DAY),),
            "31 Aug to 30 Dec 2026",
            "31/08/2026 a 30/12/2026",
        ),
        (
            "days",
            (Period(date(2025, 8, 31), DAY),),
            "31 Aug 2025 to 30 Dec 2026",
            "31/08/2025 a 30/12/2026",
        ),
        ("days", (Period(date(2026, 12, 30), DAY),), "30 Dec 2026", "30/12/2026"),
        ("bucket", (Period(date(2026, 2, 1), DAY), "month"), "Feb 2026", "fev 2026"),
        ("bucket", (Period(date(2026, 1, 1), DAY), "year"), "2026", "2026"),
        ("duration", (0.5,), "30 min", "30 min"),
        ("duration", (0.999,), "1 h", "1 h"),
        ("duration", (5.25,), "5.2 h", "5,2 h"),
        ("duration", (23.96,), "1 day", "1 dia"),
        ("duration", (36,), "1.5 days", "1,5 dias"),
        ("duration", (24 * 1_234,), "1,234 days", "1.234 dias"),
        ("duration", (-1,), "0 min", "0 min"),
        ("duration", (None,), "\N{EN DASH}", "\N{EN DASH}"),
        ("age", (timedelta(hours=23.4),), "23 h", "23 h"),
        ("age", (timedelta(hours=23.9),), "23 h", "23 h"),
        ("age", (timedelta(hours=47.9),), "1 day", "1 dia"),
        ("age", (timedelta(days=38),), "38 days", "38 dias"),
        ("age", (timedelta(days=-1),), "0 h", "0 h"),
        ("since", (14 * 60,), "14 min", "14 min"),
        ("since", (3 * 86_400,), "3 days", "3 dias"),
        ("since", (-5,), "in the future", "no futuro"),
        ("since", (None,), "never", "nunca"),
        ("word", ("pending",), "pending", "pendente"),
        ("word", ("on_hold",), "on_hold", "on_hold"),
        (
            "shortened",
            ("x" * 12, 10),
            "xxxxxxxxxx… (2 more characters)",
            "xxxxxxxxxx… (mais 2 caracteres)",
        ),
        ("names", (["a", "b", "c", "d", "e"],), "a, b, c, d and 1 more", "a, b, c, d e mais 1"),
    ],
)
def test_formats(method: str, arguments: tuple[object, ...], english: str, portuguese: str) -> None:
    """The same value is written as each language has it, whatever the locale."""
    assert getattr(EN, method)(*arguments) == english
    assert getattr(PT, method)(*arguments) == portuguese

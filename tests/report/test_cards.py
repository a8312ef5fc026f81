"""The large figures: their comparison with the period before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mirror.report.cards import Card, cards
from mirror.report.formatting import Language
from mirror.report.model import Counts, Hours, KeyFigures, Undated
from tests.support.example_report import BEFORE, FIGURES, NOW, empty, example


def card(name: str, *, language: str = "en", **changes: Any) -> Card:
    """A figure of the example with other values."""
    return next(card for card in cards(example(**changes), Language(language)) if card.name == name)


def shown(name: str, **changes: Any) -> tuple[str, ...]:
    """Its value, its change, the value before and the trend; the last three only if compared."""
    made = card(name, **changes)
    compared = made.comparison
    return (made.value, *((compared.change, compared.before, compared.trend) if compared else ()))


def test_each_figure_has_one_comparison() -> None:
    """In percent or in its unit, with better or worse in words."""
    assert shown("open") == ("1,236", "+12 %, worse", "before: 1,104", "worse")
    assert shown("oldest") == ("38 days", "3 days longer, worse", "before: 35 days", "worse")
    assert shown("median") == ("4.1 days", "1.2 days shorter, better", "before: 5.3 days", "better")
    assert shown("approval") == ("62.5 %", "+2.5 points, better", "before: 60.0 %", "better")
    assert shown("approval", language="pt")[:2] == ("62,5%", "+2,5 pontos, melhor")


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [
        (5, 0, "+5, worse"),
        (0, 5, "\N{MINUS SIGN}100 %, better"),
        (1001, 1000, "+0.1 %, worse"),
        (7, 7, "no change"),
    ],
)
def test_changes_of_a_count(now: int, before: int, change: str) -> None:
    """A percentage, or the number itself where nothing was before."""
    changes = {
        "figures": replace(FIGURES, open=now),
        "figures_before": replace(BEFORE, open=before),
    }
    assert shown("open", **changes)[1] == change


def test_small_changes_are_none() -> None:
    """A difference that rounds to nothing is no change."""
    oldest = FIGURES.oldest_open
    assert oldest is not None
    before = replace(
        FIGURES, oldest_open=oldest - timedelta(minutes=20), hours=Hours(9, 97.605, 120.0)
    )
    for name in ("open", "oldest", "median", "approval"):
        assert shown(name, figures_before=before)[1::2] == ("no change", "same")


def test_times_of_a_card_have_one_unit() -> None:
    """That of the value; their difference is that of what is shown."""
    for hours, before, expected in (
        (88.8, 79.2, ("3.7 days", "0.4 days longer, worse", "before: 3.3 days")),
        (48.0, 12.0, ("2 days", "1.5 days longer, worse", "before: 0.5 days")),
        (20.0, 79.2, ("20 h", "59.2 h shorter, better", "before: 79.2 h")),
    ):
        changes = {
            "figures": replace(FIGURES, hours=Hours(9, hours, 120.0)),
            "figures_before": replace(FIGURES, hours=Hours(9, before, 120.0)),
        }
        assert shown("median", **changes)[:3] == expected


def test_nothing_is_compared_with_what_is_not_known() -> None:
    """Neither with a time before the first complete pull, nor a range, nor nothing."""
    assert [card.comparison for card in cards(empty(), Language("en"))] == [None] * 4
    late = replace(example().environments[0].first_pull, at=NOW - timedelta(days=100))  # type: ignore[type-var]
    names = ("open", "oldest", "median", "approval")
    assert [len(shown(name, first_pull=late)) for name in names] == [4, 4, 1, 1]
    assert [len(shown(name, figures_before=None)) for name in names] == [1, 1, 1, 1]
    undated = Undated(0, Counts(0, 100, 0, 0))
    uncertain: KeyFigures = replace(FIGURES, undated=undated)
    assert shown("approval", figures=uncertain) == ("62.5\N{EN DASH}66.7 %",)
    note = card("approval", figures=uncertain).note
    assert note == "500 approved, 300 rejected; a range, as 100 more may belong to these days"

"""Phone numbers in E.164 form."""

from __future__ import annotations

import pytest

import mirror as package
from mirror.errors import UsageError

NUMBER = "+15551234567"
BRAZILIAN = "+5511987654321"


@pytest.mark.parametrize(
    ("number", "region", "expected"),
    [
        ("+15551234567", None, NUMBER),
        ("+1 (555) 123-4567", None, NUMBER),
        ("(+1) 555 123 4567", None, NUMBER),
        ("15551234567", None, NUMBER),
        ("1-555-123-4567", None, NUMBER),
        ("+1.555.123.4567", None, NUMBER),
        ("  +15551234567\n", None, NUMBER),
        ("tel:+1-555-123-4567", None, NUMBER),
        ("001 555 123 4567", None, NUMBER),
        ("001 555 123 4567", "BR", NUMBER),
        ("+1 555 123 4567", "BR", NUMBER),
        ("555 123 4567", "US", NUMBER),
        ("1 555 123 4567", "US", NUMBER),
        ("(11) 98765-4321", "BR", BRAZILIAN),
        ("011 98765-4321", "br", BRAZILIAN),
        ("+55 (11) 98765-4321", None, BRAZILIAN),
        ("+49 (0) 30 123456", None, "+4930123456"),
    ],
)
def test_notations_of_numbers(number: str, region: str | None, expected: str) -> None:
    """Common notations are normalized to E.164."""
    assert package.normalize_number(number, region) == expected


INVALID = ["", " ", "+", "00", "0", "12", "hello", "+1 call me", "\0", "+999 123 4567"]


@pytest.mark.parametrize("region", [None, "US"])
@pytest.mark.parametrize("number", [*INVALID, "1" * 40, "x" * 500])
def test_invalid_numbers(number: str, region: str | None) -> None:
    """An invalid number is an error whose hint says how to write one."""
    with pytest.raises(UsageError, match="is not a phone number; write it with its country code"):
        package.normalize_number(number, region)


@pytest.mark.parametrize("region", ["XX", "Brazil", "55", "b", "001"])
def test_unknown_regions(region: str) -> None:
    """An unknown region is an error, even if the number does not need one."""
    with pytest.raises(UsageError, match="is not a region"):
        package.normalize_number(NUMBER, region)


def test_a_national_number_needs_its_region() -> None:
    """A national number is not mistaken for one of another country."""
    with pytest.raises(UsageError, match="--region"):
        package.normalize_number("(011) 98765-4321")

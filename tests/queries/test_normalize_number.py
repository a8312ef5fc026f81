"""Phone numbers in E.164 form."""

from __future__ import annotations

import itertools
import random

import phonenumbers
import pytest

import mirror as package
from mirror.errors import UsageError
from mirror.numbers.reading import read, to_e164

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
        # The source of a web page, a URL, and cells of spreadsheets
        ("&#43;1&nbsp;555&nbsp;123&#8209;4567", None, NUMBER),
        ("tel:%2B1%20555%20123%204567", None, NUMBER),
        ("15,551,234,567", None, NUMBER),
        ("15551234567.00", None, NUMBER),
        ("5,511,987,654,321.0", None, BRAZILIAN),
        # Other separators
        ("+1\N{DOT OPERATOR}555\N{DOT OPERATOR}123\N{DOT OPERATOR}4567", None, NUMBER),
        ("+55 11\N{DIVISION SLASH}98765\N{FRACTION SLASH}4321", None, BRAZILIAN),
        ("044 668 18\N{RIGHT SINGLE QUOTATION MARK}00", "CH", "+41446681800"),
        ("(0 xx 11) 98765-4321", "BR", BRAZILIAN),
        ("0-xx-11 98765-4321", "BR", BRAZILIAN),
        # More digits than any number of the country has
        ("+1 212 555 0123/24", None, "+12125550123"),
        ("+1 212 555 0123 24h", None, "+12125550123"),
        ("(11) 98765-4321 [2]", "BR", BRAZILIAN),
        # Carriers that the library does not know
        ("0061-010-1-212-555-0123", "JP", "+12125550123"),
        ("01017 1 212 555 0123", "ID", "+12125550123"),
        ("(800) FLOWERS", "US", "+18003569377"),
        ("131 2345 6789", "CN", "+8613123456789"),
        # A valid reading counts before one that is merely of a possible length
        ("00 971 50 123 4567", "HK", "+971501234567"),
        ("00 55 11 96123-4567", "MX", "+5511961234567"),
    ],
)
def test_notations_of_numbers(number: str, region: str | None, expected: str) -> None:
    """Common notations are normalized to E.164."""
    assert package.normalize_number(number, region) == expected


CUT = ["+1 212 555 O123", "1+212 555 0123", "1 + 212 555 0123", "+1 212 OO5 5512"]
"""Slips of the keyboard, and a plus between groups that is none before a country code."""

INVALID = [*CUT, "", " ", "+", "00", "0", "12", "hello", "+1 call me", "\0", "+999 123 4567"]


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


@pytest.mark.parametrize(
    ("stored", "e164"),
    [
        ("15550100199", "+15550100199"),
        ("1 (555) 010-0199", "+15550100199"),
        ("55 11 95555-0123", "+5511955550123"),
        ("00 1 555 010 0199", "+15550100199"),
        ("+999 555 0123", "+9995550123"),
        ("+39 (0) 6 6985 5012", "+390669855012"),
        # Numbers of China, India, Nepal, Colombia and Argentina
        ("131 2345 6789", None),
        ("1800 123 4567", None),
        ("1660-01-01234", None),
        ("1-800-1234567", None),
        ("351 15 234-5678", None),
        ("+999 555 0123 x45", "+9995550123"),
        ("+1 212 555 O123", None),
        # Words
        ("1-800-FLOWERS", "+18003569377"),
        ("1 800 GO FEDEX", "+18004633339"),
        ("1800FLOWERS", "+18003569377"),
        ("91 Park Avenue", None),
        ("91ParkAvenue", None),
        ("1 new message", None),
        ("1NewMessage", None),
        # Prefixes of Colombia, Singapore, Korea, Australia and Brazil
        ("009 1 212 555 0123", None),
        ("001 65 6123 4567", None),
        ("002 55 11 95555 0123", None),
        ("0011 55 11 95555 0123", None),
        ("00 15 1 212 555 0123", None),
        # Two numbers of Italy
        ("+39 (0) 312 345 6789", None),
    ],
)
def test_the_form_of_stored_numbers(stored: str, e164: str | None) -> None:
    """A stored number has an E.164 form only if its text tells its country."""
    assert to_e164(stored) == e164


def example_numbers() -> list[phonenumbers.PhoneNumber]:
    """An example of each kind of number of each region."""
    kinds = phonenumbers.PhoneNumberType.values()
    found = [
        phonenumbers.example_number_for_type(region, kind)
        for region, kind in itertools.product(sorted(phonenumbers.SUPPORTED_REGIONS), kinds)
    ]
    return [number for number in found if number and len(str(number.national_number)) > 5]


def test_no_country_is_invented_for_any_region() -> None:
    """A number as its country writes it is never another country's, whatever its separators."""
    styles = phonenumbers.PhoneNumberFormat
    for number in example_numbers():
        e164 = phonenumbers.format_number(number, styles.E164)
        national = phonenumbers.format_number(number, styles.NATIONAL)
        international = phonenumbers.format_number(number, styles.INTERNATIONAL)
        assert to_e164(f"{international} ") == e164
        assert read(f"00 {international[1:]}").numbers[:1] == [e164], international
        for text in (national, national.replace(" ", "-"), international[1:]):
            if not text.isdigit():
                assert to_e164(text) in (e164, None), text
                assert read(text).numbers[:1] in ([e164], []), text
        code = str(number.country_code)
        assert e164 in read(f"+{code} (0) {e164.removeprefix('+' + code)}").numbers


def test_valid_readings_come_first_in_any_region() -> None:
    """A reading that is merely of a possible length follows those that are valid."""
    chance = random.Random(18)  # noqa: S311 (no cryptography)
    regions = sorted(phonenumbers.SUPPORTED_REGIONS)
    for number in chance.sample(example_numbers(), 300):
        style = phonenumbers.PhoneNumberFormat.INTERNATIONAL
        digits = phonenumbers.format_number(number, style)[1:]
        readings = read(f"00 {digits}", chance.choice(regions)).readings
        ranks = [reading.rank for reading in readings if reading.is_number]
        assert ranks == sorted(ranks)
        assert ranks[0] == 0

"""Phone numbers as people write them: what each way of typing finds among the stored ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

import mirror as package
from mirror.db.engine import create_engine, write_transaction
from mirror.db.models import release_requests
from mirror.errors import UsageError
from mirror.numbers.reading import read
from mirror.queries.lookup import NumberMatch, find_number
from tests.support.databases import DATABASES
from tests.support.hostile import TEXTS
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.upstream import request


def wide(text: str) -> str:
    """The text in full-width characters."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


STORED = [
    # North America
    "+12125550123",
    "+15550100123",
    "+18003569377",
    "+17575550123",
    # Numbers that others' national numbers look like
    "+2125550123",
    "+34955550123",
    "+11955550123",
    "+9795550123",
    "+12135550123",
    "+255119555501",
    # Brazil
    "+5511955550123",
    "+5534955550123",
    "+5511955550166",
    "+5540040123",
    "+555540040123",
    "+551140040123",
    "+5508005550123",
    # Germany, among them numbers that begin with the country's own digits
    "+4915228817386",
    "+494915228817386",
    "+4930231250123",
    "+49030231250199",
    # Others
    "+442079460123",
    "+441632960123",
    "+61491570156",
    "+33199000123",
    "+390669855012",
    "+393123456789",
    "+3903123456789",
    "+3780549886377",
    "+378549886377",
    "+24762889",
    "+247062889",
    "+13123456789",
    "+18001234567",
    "+351152345678",
    "+82255550123",
    "+81355550123",
    "+74955550123",
    "+2290190011234",
    "+22990011234",
    "+912125550123",
    # Mexico and Argentina, in both forms
    "+5215512345678",
    "+525512345678",
    "+525555550123",
    "+5215555550199",
    "+5491123456789",
    "+541123456789",
    # Outside every plan
    "+9995550123",
    "+3790669855012",
    "+12345",
    "911",
    # Written otherwise
    "15550100199",
    "tel:+1-555-010-0177",
    "+1 (555) 010-0166",
    wide("0015550100155"),
    "5511955550144",
    "34955550144",
    "(11) 3333-4444",
    "212 555 0144",
    "131 2345 6788",
    "1800 123 4566",
    "the office",
    *TEXTS.values(),
]

BARE = "does not tell its country"
NO_NUMBER = "is not a phone number"
MX = ["+525512345678", "+5215512345678"]

TYPED: list[tuple[str, str | None, list[str] | str]] = [
    # As it stands, with the usual separators
    ("+12125550123", None, ["+12125550123"]),
    ("+1 212 555 0123", None, ["+12125550123"]),
    ("+1 (212) 555-0123", None, ["+12125550123"]),
    ("(+1) 212 555 0123", None, ["+12125550123"]),
    ("+1.212.555.0123", None, ["+12125550123"]),
    ("+1-212/555_0123", None, ["+12125550123"]),
    ("[+1] 212 555 0123", None, ["+12125550123"]),
    ("+ 1 212 555 0123", None, ["+12125550123"]),
    ("++1 212 555 0123", None, ["+12125550123"]),
    ("+1 212 555 0123", "BR", ["+12125550123"]),
    ("+44 (0)20 7946 0123", None, ["+442079460123"]),
    ("+44 (0) 20 7946 0123", "DE", ["+442079460123"]),
    ("+49 (0)30 231250123", None, ["+4930231250123"]),
    ("+49 030 231250199", None, ["+49030231250199"]),
    ("+39 06 6985 5012", None, ["+390669855012"]),
    ("+34 (0) 955 550 123", None, ["+34955550123"]),
    ("+55 (11) 95555-0123", None, ["+5511955550123"]),
    ("+55 (011) 95555-0123", None, ["+5511955550123"]),
    ("+55 0 15 11 95555-0123", None, ["+5511955550123"]),
    ("+7 (8) 495 555-01-23", None, ["+74955550123"]),
    # A zero in brackets, which some countries dial from abroad too
    ("+39 (0) 312 345 6789", None, ["+393123456789", "+3903123456789"]),
    ("0039 [0] 312 345 6789", None, ["+393123456789", "+3903123456789"]),
    ("011 39 (0)312 345 6789", "US", ["+393123456789", "+3903123456789"]),
    ("39 ( 0 ) 312 345 6789", None, ["+393123456789", "+3903123456789"]),
    ("+39 (0) 6 6985 5012", None, ["+390669855012"]),
    ("+378 (0) 549 886377", None, ["+3780549886377", "+378549886377"]),
    ("+247 (0) 62889", None, ["+24762889", "+247062889"]),
    ("44 (0) 20 7946 0123", None, ["+442079460123"]),
    ("+1 (0) 555 010 0123", None, ["+15550100123"]),
    # Stored word for word
    ("+9995550123", None, ["+9995550123"]),
    ("+999 555 0123", None, ["+9995550123"]),
    ("+3790669855012", None, ["+3790669855012"]),
    ("+379 06 6985 5012", None, ["+3790669855012"]),
    ("+12345", None, ["+12345"]),
    (" +12345\n", None, ["+12345"]),
    ("+1 23 45", None, ["+12345"]),
    ("911", None, ["911"]),
    ("911", "US", ["911"]),
    ("(11) 3333-4444", None, ["(11) 3333-4444"]),
    ("212 555 0144", None, ["212 555 0144"]),
    ("the office", None, ["the office"]),
    ("the\u200e office\u202c", None, ["the office"]),
    ("", None, NO_NUMBER),
    ("34955550144", None, ["34955550144"]),
    ("15550100199", None, ["15550100199"]),
    # Characters of mails and web pages
    ("+1\u202f212\u2009555\u00a00123", None, ["+12125550123"]),
    ("+1\u3000212\u2003555\u205f0123", None, ["+12125550123"]),
    ("\u202a+1 212\u2011555\u20110123\u202c", None, ["+12125550123"]),
    ("\u200e+1 212 555 0123\u200f", None, ["+12125550123"]),
    ("\u2066+1\u2069 212\u200b555\ufeff0123", None, ["+12125550123"]),
    ("+1\u00ad212\u00ad555\u00ad0123", None, ["+12125550123"]),
    ("+1 212\n555\r\n0123", None, ["+12125550123"]),
    ("+1\t212\u2028555\u20290123\x85", None, ["+12125550123"]),
    ("+1 212\u2013555\u20140123", None, ["+12125550123"]),
    ("+1 212\u2212555\u30fc0123", None, ["+12125550123"]),
    (wide("+1(212)555-0123"), None, ["+12125550123"]),
    (wide("0012125550123"), None, ["+12125550123"]),
    (
        "\u0660\u0660\u0661\u0662\u0661\u0662\u0665\u0665\u0665\u0660\u0661\u0662\u0663",
        None,
        ["+12125550123"],
    ),
    ("1\ufe0f\u20e3 212 555 0123", None, ["+12125550123"]),
    ("\u260e\ufe0f +1 212 555 0123", None, ["+12125550123"]),
    ("+1 212 · 555 • 0123", None, ["+12125550123"]),
    # Links and labels
    ("tel:+1-212-555-0123", None, ["+12125550123"]),
    ("TEL:+1-212-555-0123", None, ["+12125550123"]),
    ("tel:+1-212-555-0123;ext=45", None, ["+12125550123"]),
    ("tel:+1-212-555-0123;isub=1;ext=45", None, ["+12125550123"]),
    ("tel:555-0123;phone-context=+1-212", None, ["+12125550123"]),
    ("tel:555-0123;ext=4;phone-context=+1212", None, ["+12125550123"]),
    ("tel:911;phone-context=example.com", None, NO_NUMBER),
    ("tel:020-7946-0123", "GB", ["+442079460123"]),
    ("tel:%2B12125550123", None, ["+12125550123"]),
    ("callto:+442079460123", None, ["+442079460123"]),
    ("sip:+442079460123@example.com", None, ["+442079460123"]),
    ("https://wa.me/5511955550123", None, ["+5511955550123"]),
    ("<+1 212 555 0123>", None, ["+12125550123"]),
    ("'+12125550123", None, ["+12125550123"]),
    ('="+12125550123"', None, ["+12125550123"]),
    ("12125550123.0", None, ["+12125550123"]),
    ("Tel.: +1 212 555 0123", None, ["+12125550123"]),
    ("Line 2: +1 212 555 0123", None, ["+12125550123"]),
    # Words and extensions behind
    ("+1 212 555 0123 (mobile)", None, ["+12125550123"]),
    ("+1 (212) 555-0123 mobile", None, ["+12125550123"]),
    ("+1 212 555 0123, New York", None, ["+12125550123"]),
    ("+55 11 95555-0123 ramal 45", None, ["+5511955550123"]),
    ("(11) 95555-0123 (ramal 45)", "BR", ["+5511955550123"]),
    ("+1 212 555 0123 (9am to 5pm)", None, ["+12125550123"]),
    ("+1 212 555 0123 (24 h)", None, ["+12125550123"]),
    ("+1 212 555 0123 x45", None, ["+12125550123"]),
    ("+1 212 555 0123x45", None, ["+12125550123"]),
    ("+1 212 555 0123 ext. 5", None, ["+12125550123"]),
    ("+1 212 555 0123 #45", None, ["+12125550123"]),
    ("+12125550123,,45#", None, ["+12125550123"]),
    ("+1 212 555 0123 / +1 212 555 0199", None, ["+12125550123"]),
    # Prefixes without a region
    ("00 1 212 555 0123", None, ["+12125550123"]),
    ("(001) 212 555 0123", None, ["+12125550123"]),
    ("[001] 212 555 0123", None, ["+12125550123"]),
    ("00 (1) 212 555 0123", None, ["+12125550123"]),
    ("+001 212 555 0123", None, ["+12125550123"]),
    ("0044 (0) 20 7946 0123", None, ["+442079460123"]),
    ("00 55 11 95555 0123", None, ["+5511955550123"]),
    ("00 52 1 55 1234 5678", None, MX),
    ("00 999 555 0123", None, ["+9995550123"]),
    ("011 55 11 95555 0123", None, ["+5511955550123"]),
    ("011 44 20 7946 0123", None, ["+442079460123"]),
    ("011 1 212 555 0123", "US", ["+12125550123"]),
    ("011 98765-4321", None, BARE),
    ("0011 55 11 95555 0123", None, BARE),
    ("009 1 212 555 0123", None, BARE),
    ("001 65 6123 4567", None, BARE),
    ("002 55 11 95555 0123", None, BARE),
    ("005511 95555-0123", None, ["+5511955550123"]),
    ("001212 555 0123", None, ["+12125550123"]),
    # Prefixes and carrier codes of regions
    ("0011 55 11 95555 0123", "AU", ["+5511955550123"]),
    ("0014 1 212 555 0123", "AU", ["+12125550123"]),
    ("00 1 212 555 0123", "AU", ["+12125550123"]),
    ("002 55 11 95555 0123", "KR", ["+5511955550123"]),
    ("00700 1 212 555 0123", "KR", ["+12125550123"]),
    ("00 15 1 212 555 0123", "BR", ["+12125550123"]),
    ("0021 1 212 555 0123", "BR", ["+12125550123"]),
    ("00 1 212 555 0123", "BR", ["+12125550123"]),
    ("011 44 20 7946 0123", "US", ["+442079460123"]),
    ("011 44 20 7946 0123", "DE", ["+442079460123"]),
    ("8~10 1 212 555 0123", "RU", ["+12125550123"]),
    ("010 1 212 555 0123", "JP", ["+12125550123"]),
    ("001 1 212 555 0123", "SG", ["+12125550123"]),
    ("009 1 212 555 0123", "CO", ["+12125550123", "+912125550123"]),
    ("0 15 11 95555-0123", "BR", ["+5511955550123"]),
    ("(0xx11) 95555-0123", "BR", ["+5511955550123"]),
    ("(0XX11) 95555-0123", None, BARE),
    ("0**11 95555-0123", "BR", ["+5511955550123"]),
    ("00 1 212 555 0123", "US", ["+12125550123"]),
    ("442079460123", "US", ["+442079460123"]),
    ("34955550123", "US", ["+34955550123"]),
    ("8 10 1 212 555 0123", None, BARE),
    ("119 1 212 555 0123", None, BARE),
    ("119 1 212 555 0123", "CU", ["+12125550123"]),
    ("082 2 5555 0123", "KR", ["+82255550123"]),
    # National numbers with their region
    ("(212) 555-0123", "US", ["+12125550123"]),
    ("1 (212) 555-0123", "us", ["+12125550123"]),
    ("2125550123", "US", ["+12125550123"]),
    ("(34) 95555-0123", "BR", ["+5534955550123"]),
    ("34 95555-0123", "BR", ["+5534955550123"]),
    ("(34) 95555-0123", "ES", ["+34955550123"]),
    ("2125550123", "MA", ["+2125550123"]),
    ("(11) 95555-0123", "BR", ["+5511955550123"]),
    ("020 7946 0123", "GB", ["+442079460123"]),
    ("0491 570 156", "AU", ["+61491570156"]),
    ("01 99 00 01 23", "FR", ["+33199000123"]),
    ("06 6985 5012", "IT", ["+390669855012"]),
    ("02-5555-0123", "KR", ["+82255550123"]),
    ("8 (495) 555-01-23", "RU", ["+74955550123"]),
    ("5540040123", "BR", ["+555540040123", "+5540040123"]),
    ("4915228817386", "DE", ["+494915228817386", "+4915228817386"]),
    ("01522 8817386", "DE", ["+4915228817386"]),
    ("15550100123", "BR", ["+15550100123"]),
    ("01 90 01 12 34", "BJ", ["+2290190011234"]),
    # Without a region: with the country code, or a hint
    ("12125550123", None, ["+12125550123"]),
    ("1-212-555-0123", None, ["+12125550123"]),
    ("1 (212) 555-0123", None, ["+12125550123"]),
    ("(1) 212 555 0123", None, ["+12125550123"]),
    ("1.212.555.0123", None, ["+12125550123"]),
    ("1(212)555-0123", None, ["+12125550123"]),
    ("131 2345 6789", None, BARE),
    ("131-2345-6789", None, BARE),
    ("tel:131-2345-6789", None, BARE),
    ("131 2345 6789", "CN", []),
    ("131 2345 6789", "GB", []),
    ("13123456789", None, ["+13123456789"]),
    ("131 2345 6788", None, ["131 2345 6788"]),
    ("+13123456788", None, []),
    ("138 0013 8000", None, BARE),
    ("1800 123 4567", None, BARE),
    ("1 800 1234567", None, BARE),
    ("1800 123 4566", None, ["1800 123 4566"]),
    ("1860 345 1234", None, BARE),
    ("1660-01-01234", None, BARE),
    ("1212 555 0123", None, BARE),
    ("1 55 1234 5678", None, BARE),
    ("351 15 234-5678", None, BARE),
    ("353 15 242-1234", None, BARE),
    ("5511 95555-0123", None, BARE),
    ("44 20 7946 0123", None, ["+442079460123"]),
    ("5511955550123", None, ["+5511955550123"]),
    ("55 11 95555-0123", None, ["+5511955550123"]),
    ("442079460123", None, ["+442079460123"]),
    ("441632960123", None, ["+441632960123"]),
    ("(212) 555-0123", None, BARE),
    ("212-555-0123", None, BARE),
    ("212 555 0123", None, BARE),
    ("2125550123", None, BARE),
    ("(34) 95555-0123", None, BARE),
    ("34 95555-0123", None, BARE),
    ("34955550123", None, BARE),
    ("(11) 95555-0123", None, BARE),
    ("11955550123", None, BARE),
    ("(979) 555-0123", None, BARE),
    ("(12) 13555-0123", None, BARE),
    ("5540040123", None, BARE),
    ("020 7946 0123", None, BARE),
    ("0491 570 156", None, BARE),
    # Plans that changed
    ("+52 1 55 1234 5678", None, MX),
    ("+52 55 1234 5678", None, MX),
    ("+52 1 55 5555 0123", None, ["+525555550123"]),
    ("+52 55 5555 0199", None, ["+5215555550199"]),
    ("55 1234 5678", "MX", MX),
    ("044 55 1234 5678", "MX", MX),
    ("01 55 1234 5678", "MX", MX),
    ("1 55 1234 5678", "MX", MX),
    ("+54 9 11 2345-6789", None, ["+5491123456789"]),
    ("+54 11 2345-6789", None, ["+541123456789"]),
    ("011 15 2345-6789", "AR", ["+5491123456789"]),
    ("+229 01 90 01 12 34", None, ["+2290190011234"]),
    ("+229 90 01 12 34", None, ["+22990011234"]),
    # What upstream writes otherwise
    ("+15550100199", None, ["15550100199"]),
    ("+1 (555) 010-0199", None, ["15550100199"]),
    ("+15550100177", None, ["tel:+1-555-010-0177"]),
    ("tel:+1-555-010-0177", None, ["tel:+1-555-010-0177"]),
    ("+15550100166", None, ["+1 (555) 010-0166"]),
    ("+15550100155", None, [wide("0015550100155")]),
    ("+5511955550144", None, ["5511955550144"]),
    ("+34 955 55 01 44", None, ["34955550144"]),
    # Letters
    ("1-800-FLOWERS", None, ["+18003569377"]),
    ("+1 800 flowers", None, ["+18003569377"]),
    ("1 800 FLOWERS", "US", ["+18003569377"]),
    ("1-800-FLO-WERS", None, ["+18003569377"]),
    ("1 (800) FL OWERS", None, ["+18003569377"]),
    ("1800FLOWERS", None, ["+18003569377"]),
    ("1800 FLOWERS", None, NO_NUMBER),
    # No such number
    ("+15550100111", None, []),
    ("(21) 95555-0123", "BR", []),
    ("hello", None, NO_NUMBER),
    ("+1 call me", None, NO_NUMBER),
    ("+", None, NO_NUMBER),
    ("12", "US", NO_NUMBER),
    ("+999 123 4567", None, NO_NUMBER),
    ("+12125550123662453", None, "17 digits 12125550123662453"),
    ("+55 11 95555-0123 0123", None, "17 digits"),
    ("%", None, NO_NUMBER),
    ("+1212555012_", None, []),
]
"""What is typed, with which region, and what it finds or which error it is."""


@pytest.fixture(scope="module")
def fillings(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Mirror]]:
    """A mirror with the stored numbers, one of each kind of database."""
    with mirrors_by_kind(request, _fill) as get:
        yield get


def _fill(mirror: Mirror) -> Mirror:
    records = [request(place, phone_number=text) for place, text in enumerate(STORED)]
    mirror.sync([json.dumps(record).encode() for record in records])
    return mirror


@pytest.fixture(params=DATABASES)
def filled(request: pytest.FixtureRequest, fillings: Callable[[str], Mirror]) -> Mirror:
    """A mirror with the stored numbers; read only."""
    return fillings(request.param)


def found_by(connection: Connection, typed: str, region: str | None) -> list[str] | str:
    """The numbers that a text finds, or the error."""
    try:
        return sorted(match.phone_number for match in find_number(connection, typed, region))
    except UsageError as error:
        return str(error)


def test_what_each_way_of_typing_finds(filled: Mirror) -> None:
    """Each way to write a number finds that number, or is an error that says what is missing."""
    with package.connect(filled.url) as connection:
        for typed, region, expected in TYPED:
            found = found_by(connection, typed, region)
            if isinstance(expected, str):
                assert expected in found, (typed, region)
            else:
                assert found == sorted(expected), (typed, region)


def test_what_is_stored_is_found_as_it_is(filled: Mirror) -> None:
    """Each stored text is found by itself, with any region and white space around it."""
    with package.connect(filled.url) as connection:
        stored = {row.phone_number for row in package.release_requests(connection)}
        assert len(stored) == len(set(STORED))
        for text in stored | set(STORED):
            around = text if text != text.strip() else f" {text}\n"
            for typed, region in ((text, None), (around, "BR")):
                match, *_ = find_number(connection, typed, region)
                assert match == NumberMatch(storable(text), ""), (typed, region)


def test_both_readings_of_a_zero_in_brackets_are_told_apart(filled: Mirror) -> None:
    """What is found says whether it was read with the zero or without it."""
    with package.connect(filled.url) as connection:
        assert find_number(connection, "+39 (0) 312 345 6789") == [
            NumberMatch("+3903123456789", "with its (0)"),
            NumberMatch("+393123456789", "without its (0)"),
        ]
        assert find_number(connection, "0039 (0) 6 6985 5012") == [
            NumberMatch("+390669855012", "00 read as +, with its (0)")
        ]


def test_the_helpers_return_all_that_is_found(filled: Mirror) -> None:
    """History and requests hold each number that is found, told apart by their text."""
    with package.connect(filled.url) as connection:
        for typed, region, expected in (
            ("5540040123", "BR", ["+5540040123", "+555540040123"]),
            ("+1 (555) 010-0199", None, ["15550100199"]),
            ("+15550100111", None, []),
        ):
            rows = package.release_requests(connection, number=typed, region=region)
            assert sorted(row.phone_number for row in rows) == expected
            events = package.phone_number_history(connection, typed, region=region)
            assert sorted(event.phone_number for event in events) == expected


def storable(text: str) -> str:
    """The text as databases store it."""
    return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


texts = st.text(max_size=255) | st.text("+0123456789 ()-%_'\\\0\u200e\uff10", max_size=30)


@given(texts, st.sampled_from([None, "BR", "US", "DE", "MX"]))
@settings(max_examples=100)
def test_any_text_is_looked_for_as_it_is(text: str, region: str | None) -> None:
    """Whatever is typed is looked for as it is, first; reading it never fails."""
    typed = read(text, region)
    assert typed.readings[0].text == storable(text)
    assert (typed.error is None) == bool(typed.numbers)
    assert len({reading.text for reading in typed.readings}) == len(typed.readings)
    assert all(number == storable(number) for number in typed.numbers)


@pytest.mark.parametrize("kind", DATABASES)
def test_any_stored_text_is_found(kind: str, make_ready_database: Callable[[str], str]) -> None:
    """Every text that a database can hold is found by itself."""
    engine = create_engine(make_ready_database(kind))

    @given(st.lists(texts.map(storable), min_size=1, max_size=10, unique=True))
    @settings(max_examples=10, deadline=None)
    def check(stored: list[str]) -> None:
        with write_transaction(engine, "test") as connection:
            connection.execute(release_requests.delete())
            connection.execute(release_requests.insert(), rows_of(stored))
            for text in stored:
                assert text in [match.phone_number for match in find_number(connection, text)]

    check()


def rows_of(numbers: list[str]) -> list[dict[str, object]]:
    """A row for each phone number."""
    time = datetime(2024, 1, 1, tzinfo=UTC)
    times = dict.fromkeys(("requested_at", "first_seen_at", "valid_from"), time)
    constant = {"environment": "default", "status": "pending", "sync_run_id": 1, **times}
    return [constant | {"id": str(n), "phone_number": text} for n, text in enumerate(numbers)]


def test_the_normalized_column_follows_the_number(mirror: Mirror) -> None:
    """It is written with the row, makes no version by itself, and goes when the number changes."""

    def forms(table: str = "release_requests") -> list[tuple[object, ...]]:
        return mirror.rows(f"SELECT phone_number, phone_number_e164 FROM {table} ORDER BY id")

    odd = ["15550100199", "tel:+1-555-010-0177", "(11) 3333-4444", "+15550100123"]
    records = [request(number, phone_number=text) for number, text in enumerate(odd)]
    mirror.sync(records)
    normalized = ["+15550100199", "+15550100177", None, None]
    assert forms() == list(zip(odd, normalized, strict=True))
    with write_transaction(mirror.engine, "default") as connection:
        connection.execute(release_requests.update().values(phone_number_e164=None, digest=None))
    assert mirror.sync([{**records[0], "extra": 1}, *records[1:]]).counts.updated == 0
    assert forms() == list(zip(odd, normalized, strict=True))
    changed = [
        records[0] | {"phone_number": "+15550100199"},
        records[1] | {"status": "approved"},
        records[2] | {"phone_number": "+55 (11) 3333-4444"},
        records[3] | {"phone_number": "1 (555) 010-0123"},
    ]
    mirror.sync(changed)
    assert forms() == [
        ("+15550100199", None),
        ("tel:+1-555-010-0177", "+15550100177"),
        ("+55 (11) 3333-4444", "+551133334444"),
        ("1 (555) 010-0123", "+15550100123"),
    ]
    assert forms("release_request_past_versions") == list(zip(odd, normalized, strict=True))
    before = mirror.now - timedelta(minutes=30)
    then = mirror.query(package.release_requests, number="+1 555 010 0199", as_of=before)
    assert [row.phone_number for row in then] == ["15550100199"]


@pytest.mark.parametrize(("region", "meant"), [("UK", "GB"), ("uk", "GB"), ("EL", "GR")])
def test_a_region_that_is_often_meant(region: str, meant: str) -> None:
    """A code that many take for a country's is an error that names the right one."""
    with pytest.raises(UsageError, match=f"'{region}' is not a region; its code is {meant}"):
        package.normalize_number("020 7946 0123", region)

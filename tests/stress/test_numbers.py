"""Phone numbers of all countries in hundreds of ways of typing, and what each command finds."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import phonenumbers
import pytest

import mirror as package
from mirror.numbers.reading import read
from mirror.queries.lookup import find_number
from tests.queries.test_normalize_number import example_numbers
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import request

STYLES = phonenumbers.PhoneNumberFormat

SEPARATORS = [
    " ", "-", ".", "/", "_", "~", "\t", "\n", "\r\n", "  ", ". ", " - ", " / ",
    *map(chr, (0xA0, 0xAD, 0xB7, 0x5BE, 0x2002, 0x2007, 0x2009, 0x200B, 0x2010, 0x2011, 0x2012)),
    *map(chr, (0x2013, 0x2014, 0x2015, 0x2022, 0x2027, 0x202F, 0x2044, 0x2060, 0x2212, 0x2215)),
    *map(chr, (0x2219, 0x22C5, 0x3000, 0x30FB, 0xFEFF, 0xFF0D)),
]  # fmt: skip
"""What stands between the groups of a number."""

AROUND = [
    "\u202a{}\u202c", "\u200e{}", "\u2066{}\u2069", "\ufeff{}", '"{}"', "'{}'", "'{}", "<{}>",
    "[{}]", "({})", "{}.", "{},", "{};", "{}\n", "*{}*", "`{}`", '="{}"', "Tel.: {}", "Tél. : {}",
    "M: {}", "\u260e {}", "\U0001f4de{}", "n° {}", "tel:{}", "TEL:{}", "callto:{}", "sms:{}",
    "sip:{}@example.com", "https://wa.me/{}", "call {} after 5pm", "John: {}", "home {} office",
    "{} (mobile)", "{} mobile", "{} ramal 45", "{} x45", "{}x45", "{} ext. 45", "{};ext=45",
    "{} доб. 45", "{}#45", "{},,45#", "{} anexo 45", "{} (9am to 5pm)", "{} - John", "{} (BR)",
]  # fmt: skip
"""What stands around a number."""


def written(number: phonenumbers.PhoneNumber, style: int) -> str:
    """A number in a style."""
    return phonenumbers.format_number(number, style)


def test_hundreds_of_ways_of_typing() -> None:
    """The number that is meant is always the first, with its country code and with its region."""
    chance = random.Random(18)  # noqa: S311 (no cryptography)
    regions = sorted(phonenumbers.SUPPORTED_REGIONS)
    for number in chance.sample(example_numbers(), 200):
        e164, abroad, at_home = (
            written(number, style) for style in (STYLES.E164, STYLES.INTERNATIONAL, STYLES.NATIONAL)
        )
        home = phonenumbers.region_code_for_number(number)
        ways = [(around.format(abroad), around.format(at_home)) for around in AROUND]
        ways += [
            (re.sub("[ -]", between, abroad), re.sub("[ -]", between, at_home))
            for between in SEPARATORS
        ]
        for with_code, without_code in ways:
            for region in (None, home, chance.choice(regions)):
                assert read(with_code, region).numbers[:1] == [e164], (with_code, region)
            if home in regions:
                assert e164 in read(without_code, home).numbers, (without_code, home)
            # Without separators it may be 1 and ten digits (docs/sql.md).
            is_apart = len(re.findall("[0-9]+", at_home)) > 1 and without_code.isprintable()
            if is_apart:
                assert read(without_code).numbers[:1] in ([], [e164]), without_code


ODD = [
    "12125550123", "1 (212) 555-0199", "tel:+1-212-555-0177", "+9995550123", "+12345", "anonymous",
    "(11) 3333-4444", "+52 1 55 1234 5678", "+5540040123", "+555540040123", "1-800-FLOWERS",
    "+", "*100#", "+39 (0) 312 345 6789", "+3903123456780", "00 44 20 7946 0155", "12125550137.0",
    "\u202a+12125550188\u202c", "+1212555O123", "+33123456789;ext=5", "+12125550123",
]  # fmt: skip
"""Numbers as an API may send them."""

ASKED = [
    ("+1 (212) 555-0123", None), ("(212) 555-0123", None), ("(212) 555-0123", "US"),
    ("1-212-555-0199", None), ("+12125550177", "BR"), ("5540040123", "BR"), ("+49 30 123456", None),
    ("55 1234 5678", "MX"), ("+39 312 345 6789", None), ("+1 212 555 0123/24", None),
    ("+1 212 555 0188 24h", None), ("+44 20 7946 0155", None), ("+1 212 555 O123", None),
    ("020 7946 0123", "UK"), ("+1 212 555 0123 662453", None), ("", None), ("0", "US"),
]  # fmt: skip


def numbers_of(ran: Ran) -> list[str]:
    """The phone numbers in the output of a command."""
    return sorted({row["phone_number"] for row in json.loads(ran.out)})


def test_all_commands_find_the_same(mirror: Mirror) -> None:
    """History, requests, a question, an erasure and Python read a number alike, or refuse alike."""
    sample = random.Random(18).sample(example_numbers(), 20)  # noqa: S311 (no cryptography)
    stored = sorted({*ODD, *(written(number, STYLES.E164) for number in sample)})
    mirror.sync([request(place, phone_number=text) for place, text in enumerate(stored)])
    asked: list[tuple[str, str | None]] = [*ASKED, *((text, None) for text in ODD)]
    for number in sample:
        home = phonenumbers.region_code_for_number(number)
        asked += [(written(number, STYLES.INTERNATIONAL), None)]
        asked += [(written(number, STYLES.NATIONAL), region) for region in (None, home)]
    for typed, region in asked:
        options = ["--database", mirror.url, *(["--region", region] if region else [])]
        rows = [*options, "--format", "json"]
        history = run_mirror("history", *rows, "--", typed)
        requests = run_mirror("requests", *rows, f"--number={typed}")
        query = run_mirror("query", "history", *rows, "--param", f"number={typed}")
        erasure = run_mirror("db", "erase-number", "--dry-run", *options, "--", typed)
        arguments: Any = (typed, region)
        with package.connect(mirror.url) as connection:
            if history.code:
                with pytest.raises(package.MirrorError) as refusal:
                    find_number(connection, typed, region)
                assert history.err == f"mirror: {refusal.value}\n", arguments
                assert requests == query == erasure == history, arguments
                continue
            matches = find_number(connection, typed, region)
        found = sorted(match.phone_number for match in matches)
        assert numbers_of(history) == numbers_of(requests) == found, arguments
        assert (requests.code, requests.err) == (0, history.err), arguments
        assert (query.code, bool(json.loads(query.out))) == (0, bool(found)), arguments
        assert history.err in query.err or found, arguments
        assert all(other in query.err for other in found[1:] if len(found) > 2), arguments
        if any(map(str.isdigit, read(*arguments).left_out)) and typed not in found:
            assert (erasure.code, "name the number alone" in erasure.err) == (2, True), arguments
        elif erasure.code:
            assert "may mean" in erasure.err, arguments
            assert len(found) > 1, arguments
        else:
            shown = [text for text in found if text.isprintable()]  # others are escaped
            assert all(f"stored as {text}" in erasure.err for text in shown), arguments

"""Phone numbers as people write them: every usual way to read one, and its E.164 form.

A text is cleaned (NFKC, no format characters), cut where words begin, and read in each usual way.
Without `+`, an international prefix or a region it is read with its country code only if no country
writes a number of its own like that: 12 to 15 digits, or 1 and the ten digits of North America. If
it has separators, they must set the country code apart, as nobody does in a national number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mirror.arguments import check_text, check_type
from mirror.errors import UsageError
from mirror.numbers.groups import digits_of, sets_code_apart, splits_code
from mirror.numbers.text import clean, decode, split

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
"""The form, with at least as many digits as the shortest numbers in use."""

_ALL_E164 = re.compile(r"(?:\+[1-9][0-9]{6,14}+\0)*+")
_MAX_DIGITS = 15

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that no database can store; the mirror stores U+FFFD in their place."""

_AREA_CODE = re.compile(r"[(\[] *(?!1 *[)\]])[0-9]+ *[)\]]")
# No area code of North America has a 9 in its middle: 1X 9… is a mobile number of Brazil.
_NORTH_AMERICAN = re.compile(r"1[2-9][0-8][0-9]{8}")
_WITH_COUNTRY_CODE = re.compile(r"[1-9][0-9]{11,14}")
_VANITY = re.compile(r"\+?\(?[0-9](?:[0-9 ().\-]*[A-Za-z]){3}[0-9A-Za-z ().\-]*")
"""A number with at least three letters: a single one is a slip, such as O for 0."""
_TRUNK_ZERO = re.compile(r"[(\[] *0 *[)\]]")

_MEXICAN = re.compile(r"\+52(1?)([2-9][0-9]{9})")
_PREFIXES = {
    "ID": (re.compile(r"00[17]|010(?:17|33)"), "008"),  # carriers for calls abroad
    "JP": (re.compile(r"00[0-9]{1,4}?010"), "010"),  # a carrier, and the prefix for calls abroad
    "MX": (re.compile(r"(?:0?1|04[45])(?=[0-9]{10}$)"), ""),  # until 2019
}
"""What is or was dialled in a region and the library does not know, and what is meant."""

_WITH_CODE = "read with its country code"
_AS_TYPED = "digits as typed"
_VALID, _POSSIBLE, _IMPOSSIBLE, _TOO_SHORT = range(4)
_OFTEN_MEANT = {"UK": "GB", "EL": "GR"}
_HINT = (
    "write it with its country code, such as +15551234567, or give the country of a national "
    "number with --region"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read what was typed.

    Attributes:
        text: the text to look for.
        words: how it was read; empty if as it stands.
        is_number: it is an E.164 number that the numbering plans explain.
        rank: how well they do: 0 valid, 1 of a possible length, 2 neither, 3 too short.
    """

    text: str
    words: str = ""
    is_number: bool = False
    rank: int = _IMPOSSIBLE


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed for a phone number.

    Attributes:
        readings: the ways to read it, the likeliest first; each text once.
        error: why none of them is a number, or None.
        left_out: what stood beside the number and was not read, such as an extension.
    """

    readings: tuple[Reading, ...]
    error: UsageError | None
    left_out: str = ""

    @property
    def numbers(self) -> list[str]:
        """The numbers that it may be, in E.164 form."""
        return [reading.text for reading in self.readings if reading.is_number]


def normalize_number(number: str, region: str | None = None) -> str:
    """Return a phone number in E.164 form, such as `+15551234567`.

    Args:
        number: in any common notation. If there are several ways to read it, the likeliest counts.
        region: ISO 3166 country code, such as "BR", for numbers without a calling code.

    Raises:
        UsageError: it cannot be a phone number, its country is not known, or the region does not
            exist.
    """
    typed = read(number, region)
    if typed.error:
        raise typed.error
    return typed.numbers[0]


def other_notations(stored: Sequence[str]) -> dict[str, str]:
    """Return the E.164 forms of those stored numbers that are written otherwise."""
    # Nearly always there are none: then this takes 25 ns for each number.
    if _ALL_E164.fullmatch("\0".join([*stored, ""])):
        return {}
    forms = {number: to_e164(number) for number in set(stored)}
    return {number: e164 for number, e164 in forms.items() if e164}


def to_e164(stored: str) -> str | None:
    """Return the E.164 form of a stored number that is written otherwise.

    None if it is in that form already, if it does not tell its country, or if two valid numbers are
    written like that.
    """
    if _E164.fullmatch(stored):
        return None
    if _NORTH_AMERICAN.fullmatch(stored):  # as `read` does, a thousand times as fast
        return f"+{stored}"
    typed = read(stored)
    if sum(reading.rank == _VALID for reading in typed.readings) > 1:
        return None
    # Digits after a plus are E.164 even outside the plans; those after 00 may begin with a carrier.
    literals = (r.text for r in typed.readings if r.words.startswith(_AS_TYPED))
    return next((text for text in (*typed.numbers, *literals) if _E164.fullmatch(text)), None)


def read(number: str, region: str | None = None) -> Typed:
    """Find the usual ways to read a phone number.

    Raises:
        UsageError: the region does not exist.
    """
    check_type("number", number, str)
    check_text(region=region)
    if region is not None:
        region = _check_region(region)
    text = clean(decode(number))
    storable = _UNSTORABLE.sub("\ufffd", number)
    found = {typed: Reading(typed) for typed in (storable, storable.strip(), text)}
    body, left_out = split(text)
    numbers = _read_body(body, region)
    if numbers and all(reading.rank > _POSSIBLE for reading in numbers):
        start, rest = _read_start(body, region)
        if start:
            numbers, left_out = start, f"{rest} {left_out}".strip()
        elif re.search("[0-9]", left_out) and any(r.rank == _TOO_SHORT for r in numbers):
            numbers = []  # it was cut within: +1 212 555 O123
    how = f"without {left_out!r}" if left_out else ""
    if not any(reading.is_number for reading in numbers) and _VANITY.fullmatch(text):
        vanity = [r for r in _read_body(text.upper(), region) if r.rank == _VALID]
        if vanity:
            numbers, how = vanity, "letters read as digits"
    for reading in (*numbers, *_renamed(numbers), *_without_plus(numbers)):
        known = found.get(reading.text)
        if known is None or (reading.is_number and not known.is_number):
            words = ", ".join(filter(None, (reading.words, how)))
            found[reading.text] = replace(reading, words=words)
    readings = tuple(found.values())
    is_one = any(reading.is_number for reading in readings)
    return Typed(readings, None if is_one else _error(number, body, region), left_out)


def _check_region(region: str) -> str:
    """Return the code of a region, in upper case."""
    import phonenumbers

    code = region.upper()
    if code in phonenumbers.SUPPORTED_REGIONS:
        return code
    meant = _OFTEN_MEANT.get(code)
    raise UsageError(
        f"{region!r} is not a region",
        hint=f"its code is {meant}" if meant else "use a two-letter country code such as BR",
    )


def _read_body(body: str, region: str | None) -> list[Reading]:
    """Read a number of digits, separators and capital letters; the likeliest reading is first."""
    digits = digits_of(body)
    if body.startswith("+"):
        return _read_international(body, "00", "")
    prefixed = [
        reading for prefix in ("00", "011") for reading in _read_prefixed(body, prefix, region)
    ]
    if region is None:
        return prefixed or _read_bare(body, digits)
    own = _read_in_region(digits, region)
    if not own or own[0].rank != _VALID:
        own += _read_bare(body, digits)
    if all(reading.rank > _POSSIBLE for reading in own) and sets_code_apart(body):
        own += [r for r in _parse(f"+{digits}", _WITH_CODE) if r.rank == _VALID]
    readings = own + prefixed
    if any(reading.rank <= _POSSIBLE for reading in readings):
        readings = [reading for reading in readings if reading.rank <= _POSSIBLE]
    return _by_rank(readings + _read_with_own_code(digits, region))


def _read_start(body: str, region: str | None) -> tuple[list[Reading], str]:
    """Read as many of the first groups as make a valid number; return the other ones too.

    So 24 in +1 212 555 0123/24 is left out. More digits than any number has may be several numbers.
    """
    if len(digits_of(body).lstrip("0")) > _MAX_DIGITS:
        return [], ""
    for gap in reversed(list(re.finditer(r"(?<=[0-9])[^0-9]+(?=[0-9])", body))):
        valid = [r for r in _read_body(body[: gap.start()], region) if r.rank == _VALID]
        if valid:
            return valid, body[gap.end() :].strip(" )]")
    return [], ""


def _by_rank(readings: list[Reading]) -> list[Reading]:
    return sorted(readings, key=lambda reading: reading.rank)


def _read_international(body: str, prefix: str, words: str) -> list[Reading]:
    """Read a number with its country code, after a prefix if there is one.

    It is what the library makes of it, and the digits as they stand. A bracketed (0) is a trunk
    prefix in most countries, and part of the number in Italy and some others.
    """
    digits = digits_of(body).removeprefix(prefix)
    kept = list(_parse(f"+{digits}", words))
    literal = Reading(f"+{digits}", words or _AS_TYPED)
    short = digits_of(_TRUNK_ZERO.sub("", body)).removeprefix(prefix)
    if short == digits:
        return [*kept, literal]
    dropped = [r for r in _parse(f"+{short}", words) if r.rank <= _POSSIBLE and r not in kept]
    without = _say(Reading(f"+{short}", words), "without its (0)")
    if dropped and kept and kept[0].rank <= _POSSIBLE:
        kept = [_say(reading, "with its (0)") for reading in kept]
        dropped = [_say(reading, "without its (0)") for reading in dropped]
    return [*_by_rank(kept + dropped), literal, without]


def _say(reading: Reading, words: str) -> Reading:
    return replace(reading, words=", ".join(filter(None, (reading.words, words))))


def _read_prefixed(body: str, prefix: str, region: str | None) -> list[Reading]:
    """Read a prefix as a plus. 011 is also an area code, before at most ten digits."""
    digits = digits_of(body)
    rest = digits.removeprefix(prefix)
    if rest == digits or rest.startswith("0") or (prefix == "011" and len(rest) < 11):
        return []
    if region is None and splits_code(body, prefix):
        return []
    readings = _read_international(body, prefix, f"{prefix} read as +")
    # The library drops a trunk prefix, even one that makes a number of what is none.
    return [
        reading
        for reading in readings
        if reading.rank <= _POSSIBLE or reading.text == f"+{rest}" or not reading.is_number
    ]


def _read_bare(body: str, digits: str) -> list[Reading]:
    """Read digits with their country code if no country writes a number of its own like that."""
    if _AREA_CODE.match(body) or not sets_code_apart(body):
        return []
    if not (_NORTH_AMERICAN.fullmatch(digits) or _WITH_COUNTRY_CODE.fullmatch(digits)):
        return []
    readings = _read_international(body, "", _WITH_CODE)
    literals = {reading.text for reading in readings if not reading.is_number}
    # The library drops a trunk prefix, even one that makes a number of what is none.
    return [r for r in readings if r.rank <= _POSSIBLE and r.text in literals]


def _read_in_region(digits: str, region: str) -> list[Reading]:
    """Read digits as they are dialled in a region."""
    if region in _PREFIXES:
        prefix, meant = _PREFIXES[region]
        if match := prefix.match(digits):
            digits = meant + digits[match.end() :]
    return list(_parse(digits, "", region))


def _read_with_own_code(digits: str, region: str) -> list[Reading]:
    """Read digits that begin with the country code of the region."""
    import phonenumbers

    code = str(phonenumbers.country_code_for_region(region))
    if not digits.startswith(code):
        return []
    words = f"read with {code} as its country code"
    return [*_parse(f"+{digits}", words), Reading(f"+{digits}", words)]


def _parse(text: str, words: str, region: str | None = None) -> Iterator[Reading]:
    """Yield what the library makes of a number, if anything."""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(text, region, keep_raw_input=True)
    except phonenumbers.NumberParseException:
        return
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    # Not only valid numbers: upstream may hold some outside every numbering plan.
    if not _E164.fullmatch(e164):
        return
    if region is not None:
        source = parsed.country_code_source
        words = f"read as a number of {region}"
        if source == phonenumbers.CountryCodeSource.FROM_NUMBER_WITH_IDD:
            words = f"read with an international prefix of {region}"
    rank = _VALID if phonenumbers.is_valid_number(parsed) else _rank_by_length(parsed)
    yield Reading(e164, words, is_number=True, rank=rank)


def _rank_by_length(parsed: PhoneNumber) -> int:
    from phonenumbers import ValidationResult, is_possible_number_with_reason

    ranks = {ValidationResult.IS_POSSIBLE: _POSSIBLE, ValidationResult.TOO_SHORT: _TOO_SHORT}
    return ranks.get(is_possible_number_with_reason(parsed), _IMPOSSIBLE)


def _renamed(readings: list[Reading]) -> Iterator[Reading]:
    """Yield the other form of Mexican numbers, whose mobiles had a 1 before them until 2019."""
    for reading in readings:
        if reading.is_number and (match := _MEXICAN.fullmatch(reading.text)):
            one, national = match.groups()
            words = "without the 1 of Mexican mobiles" if one else "with the 1 of Mexican mobiles"
            yield Reading(f"+52{'' if one else '1'}{national}", words, is_number=True)


def _without_plus(readings: list[Reading]) -> Iterator[Reading]:
    """Yield the digits of valid numbers, which may be stored without their plus."""
    for reading in readings:
        if reading.rank == _VALID:
            yield Reading(reading.text[1:], "without its +")


def _error(number: str, body: str, region: str | None) -> UsageError:
    """Say why a text cannot be read as a phone number."""
    digits = digits_of(body)
    significant = digits.lstrip("0")
    if len(significant) > _MAX_DIGITS:
        return UsageError(
            f"{number!r}, read as the {len(digits)} digits {digits}, is not a phone number",
            hint=_HINT,
        )
    if region is not None or body.startswith("+") or not _E164.fullmatch(f"+{significant}"):
        return UsageError(f"{number!r} is not a phone number", hint=_HINT)
    example = "+15551234567" if digits.startswith("0") else f"+{digits} if that is what it means"
    return UsageError(
        f"{number!r} does not tell its country",
        hint=f"give it with --region, or write the number with its country code, such as {example}",
    )

"""The guard refuses a list that is implausible, until somebody accepts it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mirror.db.runs import Outcome
from mirror.errors import GuardRefused
from mirror.queries import helpers
from mirror.sync.guard import without_notation
from mirror.sync.run import Result
from tests.support.mirrors import Mirror
from tests.support.upstream import request, requests


def unreadable(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    """Requests with a field that cannot be read."""
    return requests(*numbers, **(fields or {"requested_at": "yesterday"}))


def refusal(result: Result) -> str:
    """The message of a refused sync."""
    assert result.outcome is Outcome.REFUSED
    assert isinstance(result.failure, GuardRefused)
    return str(result.failure)


@pytest.mark.parametrize(
    ("known", "missing", "invalid", "refused"),
    [
        (20, 0, 5, False),
        (20, 0, 6, True),
        (20, 3, 3, True),
        (20, 2, 3, False),
        (100, 4, 6, False),
        (100, 4, 7, True),
        (4, 0, 4, True),
        (4, 1, 3, True),
        (4, 0, 3, False),
        (2, 0, 2, True),
        (1, 0, 1, False),
    ],
)
def test_unreadable_requests_count_like_missing_ones(
    sqlite_mirror: Mirror, known: int, missing: int, invalid: int, refused: bool
) -> None:
    """More than a tenth and more than five are too many, and so are all, together."""
    mirror = sqlite_mirror
    mirror.sync(requests(*range(known)))
    before = mirror.state()
    left = range(known - missing)
    listed = [*unreadable(*left[:invalid]), *requests(*left[invalid:])]
    result = mirror.sync(listed)
    assert result.outcome is (Outcome.REFUSED if refused else Outcome.APPLIED)
    assert not refused or mirror.state() == before


def test_an_accepted_list_stays_accepted(mirror: Mirror) -> None:
    """What was in quarantine at the last applied pull does not count again; what is new counts."""
    mirror.sync(requests(*range(30)))
    before = mirror.state()
    bad = [*unreadable(*range(12)), *unreadable(12, 13, phone_number=5)]
    message = refusal(mirror.sync([*bad, *requests(*range(14, 28))]))
    assert message.startswith(
        "2 of the 30 requests known in 'default' are no longer in the list, and 14 can no longer "
        "be read (most often: `requested_at` is not a time). Nothing was applied; if the list is "
        "right, run again with --environment default --accept-missing: missing requests"
    )
    assert mirror.state() == before
    accepted = mirror.sync(accept_missing=True)
    assert (accepted.counts.missing, accepted.counts.newly_quarantined) == (2, 14)
    assert mirror.sync().outcome is Outcome.UNCHANGED
    # For other reasons and with other content they are still the same requests.
    worse = unreadable(*range(14), status=5)
    assert mirror.sync([*worse, *requests(*range(14, 28))]).outcome is Outcome.APPLIED
    assert (
        mirror.sync([*worse, *unreadable(*range(14, 19)), *requests(*range(19, 28))]).failure
        is None
    )
    assert mirror.sync(requests(*range(28))).counts.quarantined == 0
    assert "14 of the 28" in refusal(mirror.sync([*bad, *requests(*range(14, 28))]))


def test_contradicting_entries_are_unreadable_too(mirror: Mirror) -> None:
    """A list that contradicts itself about many requests is refused, whatever is known of them."""
    mirror.sync(requests(*range(20)))
    twice = [*requests(*range(20)), *requests(*range(6), reason="Other")]
    message = refusal(mirror.sync(twice))
    assert (
        "6 of the 20 requests known in 'default' can no longer be read (the list has 2" in message
    )
    assert mirror.sync(twice, accept_missing=True).counts.quarantined == 12


def test_a_list_in_which_nothing_can_be_read(sqlite_mirror: Mirror) -> None:
    """It is refused like an empty one, however few requests are known; new ones do not help."""
    sqlite_mirror.sync(requests(1, 2, 3))
    nothing = ["junk", {"ID": "request-1"}, {"ID": "request-2"}]
    message = refusal(sqlite_mirror.sync(nothing))
    assert "3 of the 3 requests known" in message
    assert "3 entries have no usable id (most often: `id` is missing)" in message
    refusal(sqlite_mirror.sync([*unreadable(1, 2, 3), request(4)]))
    refusal(sqlite_mirror.sync([*unreadable(1), request(4)]))
    assert sqlite_mirror.sync(requests(4)).counts.missing == 3


def test_a_list_that_was_never_readable_is_no_loss(sqlite_mirror: Mirror) -> None:
    """Where nothing is known, nothing can be lost, and entries of new requests do not count."""
    assert sqlite_mirror.sync(unreadable(*range(20))).counts.quarantined == 20
    assert sqlite_mirror.sync([*requests(1, 2), *unreadable(*range(3, 30))]).counts.inserted == 2


UUID = "a3bb189e-8bf9-3888-9912-ace4e6543002"

REWRITTEN: dict[str, tuple[str, Any]] = {
    "a number": ("123", 123),
    "a number with a point": ("123", 123.0),
    "a large number": ("9007199254740993", 9007199254740993),
    "a number that had zeros": ("00123", 123),
    "an even larger one": ("1" * 30, int("1" * 30)),
    "zero": ("0", 0),
    "upper case": ("req-ab", "REQ-AB"),
    "lower case": ("Req-AB", "req-ab"),
    "case of other scripts": ("straße", "STRASSE"),
    "spaces": ("req-ab", " req-ab"),
    "no spaces": ("req-ab\n", "req-ab"),
    "another space": ("req-ab", "req-ab\N{NO-BREAK SPACE}"),
    "an invisible character": ("req-ab", "\N{ZERO WIDTH NO-BREAK SPACE}req-ab"),
    "another Unicode form": (
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
        "cafe\N{COMBINING ACUTE ACCENT}",
    ),
    "full width": ("req-1", "req-\N{FULLWIDTH DIGIT ONE}"),
    "zeros": ("123", "000123"),
    "no hyphens": (UUID, UUID.replace("-", "").upper()),
    "braces": (UUID, f"{{{UUID}}}"),
    "too long": ("req-ab", f"req-ab{' ' * 250}"),
}


@pytest.mark.parametrize(("old", "new"), REWRITTEN.values(), ids=REWRITTEN)
def test_notations_of_an_id(old: str, new: Any) -> None:
    """Ids that differ only in their notation are recognized."""
    assert without_notation(old) == without_notation(new)


@pytest.mark.parametrize("case", ["a number", "a number with a point", "upper case", "too long"])
def test_an_id_in_another_notation_is_refused(sqlite_mirror: Mirror, case: str) -> None:
    """One such id is enough, of however many; the message shows both notations."""
    mirror, others, (old, new) = sqlite_mirror, requests(*range(20)), REWRITTEN[case]
    mirror.sync([request(id=old), *others])
    before = mirror.state()
    message = refusal(mirror.sync([request(id=new), *others]))
    assert mirror.state() == before
    assert f"({new!a} is there in place of {old!a})" in message
    assert message.startswith("ids are in another notation")
    assert "1 of the 21 requests known in 'default' are no longer in the list" in message
    accepted = mirror.sync(accept_missing=True)
    usable = isinstance(new, str) and len(new) <= 255
    assert (accepted.counts.missing, accepted.counts.inserted) == (1, usable)
    assert accepted.counts.quarantined == (not usable)
    assert mirror.sync([*others, request(id=new)]).outcome is Outcome.APPLIED
    # The way back is a change of notation as well; what was quarantined was no request.
    back = mirror.sync([request(id=old), *others])
    assert back.outcome is (Outcome.REFUSED if usable else Outcome.APPLIED)


def test_all_ids_in_another_notation(mirror: Mirror) -> None:
    """Four of four are refused, as numbers or in capitals, and whatever else is wrong with them."""
    mirror.sync([request(number, id=f"{number}a") for number in range(4)])
    shouted = [request(number, id=f"{number}A") for number in range(4)]
    message = refusal(mirror.sync(shouted))
    assert "4 of the 4" in message
    assert re.search(r"'(\d)A' is there in place of '\1a'", message)
    assert "in place of" in refusal(mirror.sync([shouted[0] | {"status": 5}, *shouted[1:]]))
    result = mirror.sync(shouted, accept_missing=True)
    assert (result.counts.inserted, result.counts.missing) == (4, 4)


OTHER_IDS = [("12", "120"), ("1.5", "15"), ("a-b", "ab"), ("a", "b"), ("0", "")]


@pytest.mark.parametrize(("old", "new"), OTHER_IDS)
def test_other_ids(old: str, new: str) -> None:
    """Ids that differ in more than their notation are different."""
    assert without_notation(old) != without_notation(new)


@pytest.mark.parametrize(("known", "listed"), [("aA", "A"), ("a", "aA"), ("ab", "bc")])
def test_only_a_new_id_beside_a_missing_one_is_suspicious(
    sqlite_mirror: Mirror, known: str, listed: str
) -> None:
    """An id that was there before, or stands beside the other notation, is another request."""
    sqlite_mirror.sync([request(id=request_id) for request_id in known])
    assert sqlite_mirror.sync([request(id=request_id) for request_id in listed]).failure is None


def test_a_dry_run_is_refused_alike(mirror: Mirror) -> None:
    """A dry run has the guard of a sync, and changes nothing if it is overridden."""
    mirror.sync(requests(1, 2))
    before = mirror.state()
    assert "2 of the 2" in refusal(mirror.sync(unreadable(1, 2), dry_run=True))
    assert mirror.sync(dry_run=True, accept_missing=True).counts.quarantined == 2
    assert mirror.state() == before
    assert mirror.query(helpers.quarantine) == []

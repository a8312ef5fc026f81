"""A life of a mirror in which everything happens once; `test_lives.py` has random ones."""

from __future__ import annotations

from collections.abc import Callable

from mirror.db.runs import Counts, Outcome
from tests.support.checked_mirror import life_test
from tests.support.lives import TROUBLES, Life
from tests.support.mirrors import Mirror
from tests.support.upstream_generator import (
    ANOTHER_READING,
    EDITS,
    FAILURES,
    GARBLED,
    JUNK,
    NOTATIONS,
    PAGINGS,
    REASONS,
    TIMES,
    UNKNOWN,
    Style,
)


def test_a_full_life(mirror: Mirror, record_property: Callable[[str, object], None]) -> None:
    """In a life in which everything happens once, the mirror equals its model after each sync."""
    with life_test(mirror) as test:
        _live(Life(test))
    assert set(test.outcomes) == set(Outcome) - {Outcome.RUNNING, Outcome.ABANDONED}
    assert all(test.counts[name] for name in Counts.__struct_fields__)
    record_property("figures", test.figures())


def _live(life: Life) -> None:
    life.start(how_many=58)  # with two more later: of 60, the guard allows exactly 6 missing
    for event in (
        _correct,
        _meet_troubles,
        _garble,
        _garble_much,
        _lose_and_find,
        _rewrite_ids,
        _write,
        _lose_nearly_all,
    ):
        event(life)
        life.versions_meet()
        life.nothing_is_lost()
        life.rename_environment()
    life.forget_environment()
    life.edit(who=[0], fields={"reason": "after everything was forgotten"})
    life.teardown()


def _correct(life: Life) -> None:
    """Edit each field in each way, of another request each time, in two syncs."""
    for number, fields in enumerate(EDITS):
        if number in {0, len(EDITS) // 2}:
            life.skip_syncs(days=len(EDITS) // 2)
        life.edit(who=[number], fields=fields)
    life.skip_syncs(days=len(UNKNOWN))
    for number, value in enumerate(UNKNOWN):
        life.edit_unknown_field(who=[number], value=value)
    life.upgrade_upstream(value="Example")
    life.resolve(who=[1, 2], status="rejected", when=TIMES[4], why=REASONS[2])
    life.reopen(who=[1, 3])
    life.submit(how_many=1, fields={"status": "approved", "resolved_at": TIMES[0]})
    life.submit(how_many=1, fields={"status": "cancelled"})


def _meet_troubles(life: Life) -> None:
    """Meet every trouble on a day with changes, and with a clock that jumps."""
    for number, trouble in enumerate((*TROUBLES, *list(FAILURES)[::3])):
        life.meet_trouble(what=trouble)
        life.set_clock(by=(-300.5, -1, 24)[number % 3])
        life.skip_syncs(days=number % 2)
        life.edit(who=[number], fields={"reason": trouble})


def _garble(life: Life) -> None:
    """Garble requests in each way, repeat some in each way, and list junk."""
    for number, how in enumerate(GARBLED):
        if number % 6 == 0:  # of 60, the guard allows exactly 6 that become unreadable
            life.skip_syncs(days=5)
        life.garble(who=[number], how=how)
    life.repair(all_of_them=False)
    life.repair(all_of_them=True)
    life.garble(who=[0], how=GARBLED[0])
    for number, other in enumerate(ANOTHER_READING):
        if number % 3 == 0:
            life.skip_syncs(days=5)
        life.repeat(who=number + 1, others=[other], days=6)
        life.repeat(who=number + 20, others=[{}, other], days=6)
    for junk in (JUNK, JUNK[:3], (), JUNK):
        life.spill(junk=list(junk))


def _garble_much(life: Life) -> None:
    """More requests become unreadable than the guard allows, until a person accepts it."""
    life.upstream.malformed_ids |= {number: {"status": 7} for number in range(30, 35)}
    life.vanish(who=[40, 41])
    life.accept_missing()
    life.garble(who=[35], how={"status": 7})
    life.come_back(all_of_them=True)
    life.repair(all_of_them=True)


def _rewrite_ids(life: Life) -> None:
    """Ids change their notation; what is not accepted changes nothing."""
    for number, how in enumerate(NOTATIONS):
        life.rewrite_ids(who=[10 + number], how=how, accepted=number % 2 == 0)
    life.edit(who=[10], fields={"reason": "under another id"})
    life.upstream.malformed_ids.clear()
    life.accept_missing()


def _lose_and_find(life: Life) -> None:
    """Remove and return requests, changed or not, up to the limit of the guard and beyond."""
    life.vanish(who=[1, 2, 3])
    life.edit(who=[1], fields={"reason": "changed while it was away"})
    life.come_back(all_of_them=False)
    life.come_back(all_of_them=True)
    life.lose_much(more=0, accepted=False, dry_run=True)
    life.lose_much(more=1, accepted=False, dry_run=False)
    life.lose_much(more=20, accepted=True, dry_run=False)
    life.lose_much(more=0, accepted=False, dry_run=False)
    life.lose_much(more=1, accepted=False, dry_run=False)
    life.come_back(all_of_them=True)


def _write(life: Life) -> None:
    """Write the list in other styles and in pages; then change only the last page."""
    life.write_differently(order=1, style=Style(nulls=True, backwards=True))
    life.write_differently(order=0, style=Style(spaced=True, escaped=True))
    for number, paging in enumerate(PAGINGS):
        life.respond_differently(paging=paging, etag=True)
        life.spill(junk=["0"])
        if number:
            life.spill(junk=["1"])


def _lose_nearly_all(life: Life) -> None:
    """Lose all requests but three, and accept that; an empty list is refused all the same."""
    life.upstream.junk = []
    life.vanish(who=list(life.upstream.records)[3:])
    life.accept_missing()
    life.lose_much(more=0, accepted=False, dry_run=False)

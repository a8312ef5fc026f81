"""Lives of a mirror: an upstream that changes day after day, and a sync each night.

A life is a state machine of Hypothesis. Its upstream creates, resolves, edits, loses and garbles
requests, fails, loses half of its list and recovers. A real mirror syncs from it over real HTTP
into a real database, and must equal its model. In the end the state of every day is read back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from mirror.db.runs import Outcome
from tests.support.checked_mirror import NEIGHBOUR, CheckedMirror, LifeTest
from tests.support.list_parser import Fields
from tests.support.oracle import ListResponse, Paging
from tests.support.upstream import request
from tests.support.upstream_generator import (
    ANOTHER_READING,
    EDITS,
    FAILURES,
    GARBLED,
    JUNK,
    NOTATIONS,
    NUMBERS,
    PAGINGS,
    REASONS,
    STATUSES,
    TIMES,
    UNKNOWN,
    Style,
    UpstreamGenerator,
)

TROUBLES = (
    "a dry run",
    "a dry run, accepting",
    "tokens mixed up",
    "tokens mixed up, accepting",
    "a slow run is overtaken",
    "the last list again",
)
"""Other events that change nothing in the mirror."""


class Life(RuleBasedStateMachine):
    """A life of a mirror, from its first sync on."""

    requests: Bundle[int] = Bundle("requests")
    some = st.lists(requests, min_size=1, max_size=5)
    has_requests = precondition(lambda self: bool(self.upstream.records))

    def __init__(self, test: LifeTest) -> None:
        super().__init__()
        self.mirror = CheckedMirror(test)
        self.upstream = UpstreamGenerator(self.mirror.environment)
        self.days_without_sync = 0
        self.troubles: list[str] = []

    # Changes upstream

    @initialize(target=requests, how_many=st.integers(0, 80))
    def start(self, how_many: int) -> MultipleResults[int]:
        """A life begins with some requests, and a first sync."""
        made = [self.upstream.make({"status": STATUSES[place % 4]}) for place in range(how_many)]
        self.mirror.sync(self.upstream.response())
        return multiple(*made)

    @rule(
        target=requests,
        how_many=st.integers(1, 3),
        fields=st.fixed_dictionaries(
            {
                "phone_number": st.sampled_from(NUMBERS),
                "reason": st.sampled_from(REASONS),
                "status": st.sampled_from(STATUSES),
                "requested_at": st.sampled_from(TIMES),
                "resolved_at": st.sampled_from((None, *TIMES)),
            }
        ),
    )
    def submit(self, how_many: int, fields: Fields) -> MultipleResults[int]:
        """New requests, perhaps resolved before the next sync."""
        made = [self.upstream.make(fields) for _ in range(how_many)]
        self._end_day()
        return multiple(*made)

    @has_requests
    @rule(
        who=some,
        status=st.sampled_from(STATUSES[1:]),
        when=st.sampled_from((None, *TIMES)),
        why=st.sampled_from(REASONS),
    )
    def resolve(self, who: list[int], status: str, when: str | None, why: str | None) -> None:
        """Requests leave pending, with or without a time."""
        why = why if status == "rejected" else None
        self._change(who, {"status": status, "resolved_at": when, "rejection_reason": why})

    @has_requests
    @rule(who=some)
    def reopen(self, who: list[int]) -> None:
        """Requests become pending again."""
        self._change(who, {"status": "pending", "resolved_at": None, "rejection_reason": None})

    @has_requests
    @rule(who=some, fields=st.sampled_from(EDITS))
    def edit(self, who: list[int], fields: Fields) -> None:
        """A known field changes, or only its notation."""
        self._change(who, fields)

    @has_requests
    @rule(who=some, value=st.sampled_from(UNKNOWN))
    def edit_unknown_field(self, who: list[int], value: object) -> None:
        """Requests get an unknown field, or another value of it."""
        self._change(who, {"carrier": value})

    @rule(value=st.sampled_from(UNKNOWN))
    def upgrade_upstream(self, value: object) -> None:
        """A release of upstream gives a new field to all requests."""
        self._change(list(self.upstream.records), {"tags": value})

    @has_requests
    @rule(who=st.lists(requests, min_size=1, max_size=2))
    def vanish(self, who: list[int]) -> None:
        """Requests leave the list."""
        self.upstream.away.update(who)
        self._end_day()

    @precondition(lambda self: bool(self.upstream.away))
    @rule(all_of_them=st.booleans())
    def come_back(self, all_of_them: bool) -> None:
        """Requests return to the list."""
        back = sorted(self.upstream.away)[: None if all_of_them else 1]
        self.upstream.away.difference_update(back)
        self._end_day()

    @has_requests
    @rule(who=st.lists(requests, min_size=1, max_size=3), how=st.sampled_from(GARBLED))
    def garble(self, who: list[int], how: Fields) -> None:
        """Requests become invalid, or even lose their ids."""
        self.upstream.malformed_ids |= dict.fromkeys(who, how)
        self._end_day()

    @precondition(lambda self: bool(self.upstream.malformed_ids))
    @rule(all_of_them=st.booleans())
    def repair(self, all_of_them: bool) -> None:
        """Requests become valid again."""
        for number in sorted(self.upstream.malformed_ids)[: None if all_of_them else 1]:
            del self.upstream.malformed_ids[number]
        self._end_day()

    @has_requests
    @rule(
        who=requests,
        others=st.lists(st.sampled_from(ANOTHER_READING), min_size=1, max_size=2),
        days=st.integers(1, 3),
    )
    def repeat(self, who: int, others: list[Fields], days: int) -> None:
        """For some days a request is listed more than once, perhaps with contradictions."""
        self.upstream.twins[who] = (days, others)
        self._end_day()

    @rule(junk=st.lists(st.sampled_from(JUNK), max_size=3))
    def spill(self, junk: list[str]) -> None:
        """The list contains entries that are no requests, or no longer does."""
        self.upstream.junk = junk
        self._end_day()

    @rule(order=st.integers(0, 9), style=st.builds(Style, *[st.booleans()] * 4))
    def write_differently(self, order: int, style: Style) -> None:
        """The list has another order and another JSON style, and the same content."""
        self.upstream.order, self.upstream.style = order, style
        self._end_day()

    @rule(by=st.sampled_from((-300.5, -1, -1e-6, 1e-6, 24)))
    def set_clock(self, by: float) -> None:
        """The clock of the mirror's machine jumps by some hours."""
        self.mirror.now += timedelta(hours=by)

    @rule(paging=st.sampled_from(PAGINGS), etag=st.booleans())
    def respond_differently(self, paging: Paging, etag: bool) -> None:
        """From now on the list comes whole or in pages, with an ETag or without."""
        self.upstream.paging, self.mirror.etag = paging, etag

    @rule(days=st.integers(1, 3))
    def skip_syncs(self, days: int) -> None:
        """Some days pass without a sync."""
        self.days_without_sync = days

    # Syncs

    @rule(what=st.sampled_from(TROUBLES) | st.sampled_from(list(FAILURES)))
    def meet_trouble(self, what: str) -> None:
        """Before the next sync something happens that changes nothing in the mirror."""
        self.troubles.append(what)

    @precondition(lambda self: self.mirror.model.outcome(self.upstream.response()) == "refused")
    @rule()
    def accept_missing(self) -> None:
        """A person accepts that requests are missing."""
        self.mirror.sync(self.upstream.response(), accept_missing=True)

    @has_requests
    @rule(more=st.sampled_from((-1, 0, 1, 20)), accepted=st.booleans(), dry_run=st.booleans())
    def lose_much(self, more: int, accepted: bool, dry_run: bool) -> None:
        """As much as the guard allows is gone, or more, until a person accepts or it returns."""
        away = set(self.upstream.away)
        self.upstream.lose(max(5, (len(self.upstream.records) - len(away)) // 10) + more)
        result = self.mirror.sync(self.upstream.response(), dry_run=dry_run)
        if result.outcome is Outcome.REFUSED and accepted:
            self.mirror.sync(self.upstream.response(), accept_missing=True)
        elif result.outcome is not Outcome.APPLIED:
            self.upstream.away = away

    @has_requests
    @rule(
        who=st.lists(requests, min_size=1, max_size=3),
        how=st.sampled_from(NOTATIONS),
        accepted=st.booleans(),
    )
    def rewrite_ids(self, who: list[int], how: Callable[[str], str], accepted: bool) -> None:
        """Ids come in another notation, until a person accepts it or they are as before."""
        before = dict(self.upstream.malformed_ids)
        for number in who:
            self.upstream.malformed_ids[number] = {"id": how(self.upstream.records[number]["id"])}
        result = self.mirror.sync(self.upstream.response())
        if result.outcome is Outcome.REFUSED and accepted:
            self.mirror.sync(self.upstream.response(), accept_missing=True)
        elif result.outcome is Outcome.REFUSED:
            self.upstream.malformed_ids = before

    # The environment

    @rule()
    def rename_environment(self) -> None:
        """The environment gets another name; then the last list is still nothing new."""
        self.mirror.rename()
        self._meet("the last list again")

    @rule()
    def forget_environment(self) -> None:
        """Everything on record is forgotten; the next sync begins anew."""
        self.mirror.forget()
        self.mirror.sync(self.upstream.response())

    # Checks

    @invariant()
    def versions_meet(self) -> None:
        """Versions count up and meet without gaps."""
        self.mirror.check_versions_meet()

    @invariant()
    def nothing_is_lost(self) -> None:
        """Rows that were once there stay."""
        self.mirror.check_nothing_is_lost()

    def teardown(self) -> None:
        """In the end the list and the mirror are whole again, and every day is read back."""
        if self.mirror.broken:
            return
        self.upstream.paging = None
        self.mirror.sync(self.upstream.response(), accept_missing=True)
        self.upstream.recover()
        self.mirror.sync(self.upstream.response(), accept_missing=True)
        model = self.mirror.model
        with self.mirror.checking():
            assert model.memory.states.keys() - model.memory.gone() == {
                str(fields["id"]) for fields in self.upstream.records.values()
            }
            assert all(record.resolved_at for record in model.quarantine.values())
        self.mirror.check_days()
        self.mirror.finish()

    def _change(self, who: list[int], fields: Fields) -> None:
        self.upstream.change(who, fields)
        self._end_day()

    def _end_day(self) -> None:
        """Sync, unless days without a sync are left."""
        if self.days_without_sync:
            self.days_without_sync -= 1
        else:
            while self.troubles:
                self._meet(self.troubles.pop())
            self.mirror.sync(self.upstream.response())
        self.upstream.end_day()

    def _meet(self, trouble: str) -> None:
        """Sync in a way that changes nothing in the mirror."""
        response = self.upstream.response()
        accept = trouble.endswith("accepting")
        if trouble in FAILURES:
            self.mirror.sync_in_vain(FAILURES[trouble](response.texts), Outcome.FAILED)
        elif trouble.startswith("tokens mixed up"):
            mixed = ListResponse((*response.texts, Style().write(request(id=NEIGHBOUR))))
            self.mirror.sync_in_vain(mixed, Outcome.REFUSED, accept_missing=accept)
        elif trouble.startswith("a dry run"):
            self.mirror.sync(response, dry_run=True, accept_missing=accept)
        elif trouble == "the last list again":
            result = self.mirror.sync(self.mirror.model.response or response)
            assert result.outcome is Outcome.UNCHANGED
        else:
            self.mirror.sync_overtaken(response)

"""Lives of a mirror that Hypothesis makes up: few that are always the same, or many new ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.stateful import run_state_machine_as_test

from tests.support.lives import Life, figures, town
from tests.support.mirrors import Mirror


@pytest.fixture(autouse=True)
def _no_folder_left(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What Hypothesis writes down does not end up in the checkout."""
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


def _settings(in_full: bool) -> settings:
    """Few lives that are always the same, or many new ones."""
    return settings(
        max_examples=400 if in_full else 12,
        stateful_step_count=50 if in_full else 16,
        derandomize=not in_full,
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.generate, Phase.shrink),
    )


@pytest.mark.long
def test_lives(
    mirror: Mirror, in_full: bool, record_property: Callable[[str, object], None]
) -> None:
    """Whatever upstream does, the mirror knows what plain Python knows, today and as of any day."""
    chosen = _settings(in_full)
    with town(mirror) as here:
        run_state_machine_as_test(lambda: Life(here), settings=chosen)  # type: ignore[arg-type]
    assert here.lives >= chosen.max_examples
    record_property("figures", figures(here))

"""Take screenshots of pages of `mirror report`, to look at after a change of their design.

    python tests/report/screens.py FOLDER

FOLDER gets the page of each mirror in both languages, its images on a desktop and on a phone, in
the light and in the dark, and what a printer gets (PDF). It takes some minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from mirror.config.settings import ApiSettings, Secret
from mirror.db import migrate
from mirror.db.engine import create_engine
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.sandbox.simulation import Simulation
from mirror.sync.run import sync
from tests.support.browser import chromium
from tests.support.reports import render_page, sync_days, sync_half_a_year

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_EIGHT = ("acme", "bluebird-clinics", "customer-7", "default", "north", "prod", "resale", "staging")
_WIDTHS = (1280, 360)
_DAYS = 200


def _simulate(url: str) -> None:
    """Fill a mirror as three sandboxes would, each synced on 200 days; the last sync of one fails.

    docs/report.png is the upper part of this page.
    """
    engine, end = create_engine(url), datetime.now(UTC).replace(microsecond=0)
    for seed, (name, per_day) in enumerate({"voice-eu": 3, "voice-us": 5, "support": 1}.items()):
        start = end - timedelta(days=_DAYS, minutes=20)
        upstream = Simulation(20 * per_day, seed, start, new_per_day=per_day)
        with Sandbox(upstream, SandboxConfig()).running() as sandbox:
            api = ApiSettings(sandbox.base_url, Secret(sandbox.config.token))
            for day in range(_DAYS + 1):
                if day == _DAYS and seed == 1:
                    oldest = min(upstream.requests.values(), key=lambda each: each.requested_at)
                    upstream.hidden_ids.add(oldest.id)
                if day == _DAYS and name == "support":
                    sandbox.set_fault("unauthorized")
                sync(engine, api, name, now=lambda: upstream.now)  # noqa: B023
                if day < _DAYS:
                    sandbox.advance(1)


MIRRORS: Mapping[str, Callable[[str], None]] = {
    "team": _simulate,
    "half-a-year": sync_half_a_year,
    "large": lambda url: sync_days(
        url, _EIGHT, requests=100_000, syncs=(150, 110, 95, 50, 20, 5, 0.1), failed=["customer-7"]
    ),
    "first-week": lambda url: sync_days(
        url, ("acme", "prod"), requests=300, syncs=(4, 3, 2, 1, 0.1)
    ),
    "one-environment": lambda url: sync_days(
        url, ("prod",), requests=120, syncs=(190, 150, 100, 50, 20, 5, 1, 0.1)
    ),
    "empty": lambda _: None,
}


def _take(browser: Browser, page: Path) -> None:
    tab = browser.new_page()
    tab.goto(page.absolute().as_uri())
    for width in _WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            tab.screenshot(path=page.with_name(f"{page.stem}-{width}-{scheme}.png"), full_page=True)
    tab.pdf(path=page.with_suffix(".pdf"), prefer_css_page_size=True)
    tab.close()


def main(folder: Path) -> None:
    """Fill the mirrors, render their pages and take the screenshots."""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name, fill in MIRRORS.items():
            url = f"sqlite:///{(folder / f'{name}.db').absolute()}"
            if not (folder / f"{name}.db").exists():
                migrate.upgrade(create_engine(url, create=True))
                fill(url)
            for language in ("en", "pt"):
                page = folder / f"{name}-{language}.html"
                render_page(url, "--lang", language, into=page)
                _take(browser, page)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

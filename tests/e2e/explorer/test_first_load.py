"""The bytes of the first load of the explorer, and of later ones."""

import pytest
from playwright.sync_api import Browser

from tests.e2e.explorer.pages import Explorer, opened

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180)]

FIRST_LOAD_BYTES = 100_000


def test_the_first_load_is_small(explored: str, browser: Browser) -> None:
    with opened(browser, explored) as explorer:
        explorer.open("/studies?PatientName=listed")
        explorer.page.locator(".grid-row strong").first.wait_for()
        sizes: list[int] = explorer.page.evaluate(
            "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
            ".filter(entry => !entry.name.includes('/v2/')).map(entry => entry.transferSize)"
        )
        assert len(sizes) > 30
        assert 50_000 < sum(sizes) < FIRST_LOAD_BYTES  # with the heads of responses


def test_a_later_load_takes_no_files_from_the_archive(explorer: Explorer) -> None:
    explorer.open("/studies")
    explorer.page.locator(".grid-row strong").first.wait_for()
    explorer.page.goto("about:blank")
    explorer.open("/studies")
    explorer.page.locator(".grid-row strong").first.wait_for()
    kept = explorer.page.evaluate(
        "performance.getEntriesByType('resource').filter(entry => /[.](js|css)$/.test(entry.name))"
        ".map(entry => entry.transferSize)"
    )
    assert len(kept) > 10
    assert set(kept) == {0}

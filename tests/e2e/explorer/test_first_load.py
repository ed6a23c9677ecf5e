"""The bytes of the first load of the explorer, and of later ones."""

import re

import pytest
from playwright.sync_api import Browser, Route, expect

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


def test_the_head_is_painted_before_the_modules_are_loaded(explored: str, browser: Browser) -> None:
    with opened(browser, explored) as explorer:
        held: list[Route] = []
        explorer.page.route("**/*.js", lambda route: held.append(route))
        explorer.page.goto(explored, wait_until="commit")
        expect(explorer.page.get_by_text("dicomstore", exact=True)).to_be_visible()
        while not explorer.page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
            explorer.page.evaluate("() => new Promise(requestAnimationFrame)")
        assert explorer.page.get_by_role("navigation").count() == 0
        assert held
        explorer.page.unroute_all(behavior="ignoreErrors")  # which lets the held requests pass
        explorer.page.locator(".grid-row strong").first.wait_for()
        assert explorer.page.get_by_text("dicomstore", exact=True).count() == 1


def test_the_list_waits_only_for_what_it_needs(explored: str, browser: Browser) -> None:
    """Settings are loaded with the page, and the list does not wait for the query tags."""
    with opened(browser, explored) as explorer:
        held: list[Route] = []
        explorer.page.route("**/extendedquerytags*", lambda route: held.append(route))
        explorer.open("/studies")
        explorer.page.locator(".grid-row strong").first.wait_for()
        for route in held:
            route.continue_()
        asked = explorer.page.evaluate(
            "performance.getEntriesByType('resource').filter(entry => entry.name.endsWith('settings.json')).length"
        )
        assert (len(held), asked) == (1, 1)


def test_rows_do_not_wait_for_the_number_of_matches(explored: str, browser: Browser) -> None:
    with opened(browser, explored) as explorer:
        held: list[Route] = []
        explorer.page.route("**/studies?*totalcount=true*", lambda route: held.append(route))
        explorer.open("/studies?PatientName=many")
        explorer.page.locator(".grid-row strong").first.wait_for()
        expect(explorer.page.get_by_text("More than 100 studies found")).to_be_visible()
        (counting,) = held
        counting.continue_()
        expect(explorer.page.get_by_text("More than")).to_have_count(0)
        expect(explorer.page.get_by_text(re.compile(r"^\d+ studies found"))).to_be_visible()

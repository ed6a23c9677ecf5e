"""The path of somebody who tries the archive: start, open, upload, look, share, delete, restore."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.explorer.pages import Explorer, opened
from tests.e2e.studies import phantom_study
from tests.e2e.viewer import running_up

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180)]


@pytest.fixture
def newcomer(browser: Browser, tmp_path: Path) -> Iterator[Explorer]:
    """A page of an archive that has just been started, and is empty."""
    with running_up(tmp_path) as address, opened(browser, address) as page:
        yield page


def test_a_newcomer_uploads_looks_shares_deletes_and_restores(newcomer: Explorer, tmp_path: Path) -> None:
    page = newcomer.page
    folder = tmp_path / "CD"
    folder.mkdir()
    for number, file in enumerate(phantom_study()):
        (folder / f"IMG{number}").write_bytes(file)
    page.add_init_script("delete window.showDirectoryPicker")  # its dialog belongs to the browser
    page.goto(newcomer.url)
    expect(page.get_by_text("There are no studies yet.")).to_be_visible()

    page.get_by_role("navigation").get_by_role("link", name="Upload").click()
    page.locator("input[data-chosen=folder]").set_input_files(folder)
    expect(page.get_by_role("heading", name="Finished", exact=True)).to_be_visible()
    page.get_by_role("link", name="Show the studies").click()

    row = page.get_by_role("row").filter(has_text="Phantom of a head")
    row.locator("strong").click()
    page.wait_for_url(re.compile(r"#/study/[\d.]+"))
    picture = page.locator("img.frame")
    expect(picture).to_be_visible()
    study = page.url.partition("?")[0]

    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Create the link").click()
    address = page.get_by_role("dialog").locator("input[readonly]").input_value()
    assert httpx.get(address, trust_env=False, follow_redirects=True).status_code == 200
    page.keyboard.press("Escape")

    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    page.get_by_role("navigation").get_by_role("link", name="Deleted").click()
    page.get_by_role("button", name="Restore").click()
    page.get_by_role("button", name="Open the study").click()
    expect(picture).to_be_visible()
    assert page.url.partition("?")[0] == study

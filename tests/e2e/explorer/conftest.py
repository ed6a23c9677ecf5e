"""One archive with studies of many kinds, and one browser, for all tests of the explorer."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.explorer.pages import Explorer, used, window
from tests.e2e.explorer.studies import all_files, many_files
from tests.e2e.viewer import BROWSER, running_up

JSON = "application/dicom+json"

SETTINGS = {
    "study_quiet_seconds": "1",
    "explorer_viewers": "Weasis=weasis://%24dicom%3Ars+--url+%22{dicomweb}%22, Own=https://viewer.example/?study={study}",
    "webhook_http": "true",
    "webhook_networks": "127.0.0.0/8",
    "webhook_retry_hours": "0",  # an event that is refused once is a dead letter
}


@pytest.fixture(scope="session")
def explored_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the archive, which may also export there."""
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="session")
def explored(explored_folder: Path) -> Iterator[str]:
    """The address of an archive with all studies of `tests.e2e.explorer.studies`."""
    folder = explored_folder
    with running_up(folder, export_folders=str(folder), **SETTINGS) as address:
        store_together(address, many_files())
        for file in all_files():
            store(address, file)
        yield address


@pytest.fixture(scope="session")
def explored_core(explored: str, explored_folder: Path) -> str:
    """The address of the core of the archive."""
    found = re.search(r"gRPC +(\S+)", (explored_folder / "welcome").read_text())
    assert found is not None
    return found[1]


def store(address: str, file: bytes) -> None:
    """Store one instance."""
    headers = {"Content-Type": "application/dicom", "Accept": JSON}
    answer = httpx.post(f"{address}/v2/studies", content=file, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code in (200, 202), answer.text


def store_together(address: str, files: list[bytes]) -> None:
    """Store instances with one request."""
    body = b"".join(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=cut', "Accept": JSON}
    answer = httpx.post(
        f"{address}/v2/studies", content=body + b"--cut--", headers=headers, trust_env=False, timeout=60
    )
    assert answer.status_code in (200, 202), answer.text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ends with the module: while it runs, no test in the same process can have an event loop of its own."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def wide_window(browser: Browser) -> Iterator[Page]:
    with window(browser) as page:
        yield page


@pytest.fixture(scope="module")
def narrow_window(browser: Browser) -> Iterator[Page]:
    with window(browser, width=360, height=740, appearance="dark") as page:
        yield page


@pytest.fixture
def explorer(explored: str, wide_window: Page) -> Iterator[Explorer]:
    """A page; any error in it fails the test."""
    with used(wide_window, explored) as page:
        yield page


@pytest.fixture
def narrow(explored: str, narrow_window: Page) -> Iterator[Explorer]:
    """A page of a telephone, in the dark."""
    with used(narrow_window, explored) as page:
        yield page

"""The stream of changes with a browser's EventSource and with curl (docs/api.md, Stream of changes)."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from tests.data import part10
from tests.e2e.archive import Archive

ELSEWHERE = "http://localhost:5999/"
"""A page of another origin on this machine, which the archive permits by default."""

FOLLOW = """url => {
    window.seen = [];
    const source = new EventSource(url);
    for (const action of ["Create", "Delete"])
        source.addEventListener(action, event => window.seen.push(
            [event.type, event.lastEventId, JSON.parse(event.data).sopInstanceUid]));
}"""


@pytest.fixture
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        # The page below has no address of its own, which would permit it to call this machine.
        features = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", features])
        page = browser.new_page()
        page.route(ELSEWHERE, lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
        page.goto(ELSEWHERE)
        yield page
        browser.close()


def store(archive: Archive, sop_instance_uid: str) -> None:
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    file = part10(StudyInstanceUID="1.2", SOPInstanceUID=sop_instance_uid)
    assert httpx.post(f"{archive.http}/v2/studies", content=file, headers=headers).status_code == 200


@pytest.mark.clients("chromium")
def test_an_event_source_receives_each_change_once_although_the_core_is_killed(page: Page, archive: Archive) -> None:
    store(archive, "1.2.1")
    page.evaluate(FOLLOW, f"{archive.http}/v2/changefeed/stream?includeMetadata=false")
    page.wait_for_function("window.seen.length == 1")
    store(archive, "1.2.2")
    page.wait_for_function("window.seen.length == 2")
    with page.expect_response("**/changefeed/stream*"):  # the first attempt to reconnect
        archive.kill_core()
    archive.start_core()
    while httpx.delete(f"{archive.http}/v2/studies/1.2").status_code == 503:  # until the facade has connected again
        time.sleep(0.1)
    page.wait_for_function("window.seen.length == 4")
    seen = page.evaluate("window.seen")
    assert [each[0] for each in seen] == ["Create", "Create", "Delete", "Delete"]
    assert [each[2] for each in seen[:2]] == ["1.2.1", "1.2.2"]
    sequences = [int(each[1]) for each in seen]
    assert sequences == sorted(set(sequences))


@pytest.mark.clients("curl")
def test_curl_shows_changes_when_they_are_committed(archive: Archive) -> None:
    url = f"{archive.http}/v2/changefeed/latest"
    latest = httpx.get(url)
    last = latest.json()["sequence"] if latest.status_code == 200 else 0
    command = ["curl", "-sN", f"{archive.http}/v2/changefeed/stream?lastEventId={last}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        assert [curl.stdout.readline() for _ in range(4)] == ["retry: 2000\n", "\n", ": heartbeat\n", "\n"]
        store(archive, "1.2.9")
        assert curl.stdout.readline().startswith("id: ")
        assert curl.stdout.readline() == "event: Create\n"
        assert json.loads(curl.stdout.readline().removeprefix("data: "))["sopInstanceUid"] == "1.2.9"
        curl.terminate()

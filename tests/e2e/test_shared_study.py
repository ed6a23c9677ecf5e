"""Share links in a real browser, with authentication on: a recipient needs no account and sends no header."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Request

from tests.data import UID_ROOT, part10
from tests.e2e.studies import DOCUMENT_STUDY, PHANTOM_STUDY, document_study, phantom_study
from tests.e2e.viewer import START_S, Watched, archive_with_viewer, chromium, is_an_image, watched_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

UPLOADED = f"{UID_ROOT}.74"


@pytest.fixture(scope="module")
def owner(module_path: Path) -> Iterator[httpx.Client]:
    """A client with the token of the operator, of an archive that requires authentication and has two studies."""
    with archive_with_viewer(module_path, auth_required="true") as address:
        credential = {"Authorization": f"Bearer {(module_path / 'data/operator.token').read_text().strip()}"}
        with httpx.Client(base_url=address, headers=credential, trust_env=False, timeout=START_S) as client:
            for file in (*phantom_study(), document_study()):
                answer = client.post(
                    "/v2/studies",
                    content=file,
                    headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
                )
                assert answer.status_code in (200, 202), answer.text
            yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def recipient(browser: Browser, owner: httpx.Client) -> Iterator[Watched]:
    """A page without any credentials; any error in it fails the test."""
    with watched_page(browser, str(owner.base_url).rstrip("/")) as watched:
        yield watched


def shared(owner: httpx.Client, path: str) -> str:
    """Share a resource; return the path of the link."""
    answer = owner.post(path)
    assert answer.status_code == 201, answer.text
    link: dict[str, Any] = answer.json()
    return httpx.URL(link["url"]).path


def test_a_shared_study_opens_in_the_viewer(recipient: Watched, owner: httpx.Client) -> None:
    requests: list[Request] = []
    recipient.page.on("request", lambda request: requests.append(request))
    path = shared(owner, f"/v2/studies/{PHANTOM_STUDY}/$share")
    recipient.open(path)
    recipient.paints(is_an_image)
    later = [request.url for request in requests if not request.url.endswith(path)]
    token = path.rpartition("/")[2]
    assert len([url for url in later if "/shared/" in url]) > 3
    assert [url for url in later if ("/v2/" in url and "/shared/" not in url) or token in url] == []
    assert "dicomstore" not in recipient.page.evaluate("document.cookie")
    assert all(request.headers.get("authorization") is None for request in requests)
    assert all("share/" not in request.headers.get("referer", "") for request in requests)


def test_a_shared_document_is_displayed(recipient: Watched, owner: httpx.Client) -> None:
    with recipient.page.expect_response(lambda answer: "/shared/" in answer.url and "/rendered" in answer.url) as found:
        recipient.open(shared(owner, f"/v2/studies/{DOCUMENT_STUDY}/$share"))
    assert found.value.status == 200
    assert found.value.headers["content-type"] == "application/pdf"


def test_the_study_list_of_a_recipient_has_only_the_shared_study(recipient: Watched, owner: httpx.Client) -> None:
    recipient.open(shared(owner, f"/v2/studies/{DOCUMENT_STUDY}/$share"))
    recipient.page.wait_for_load_state("networkidle")
    base = recipient.page.evaluate("window.config.dataSources[0].configuration.qidoRoot")
    found = recipient.page.evaluate("async (base) => (await fetch(`${base}/studies`)).json()", base)
    assert [study["0020000D"]["Value"] for study in found] == [[DOCUMENT_STUDY]]


def test_a_recipient_of_an_upload_link_stores_files(recipient: Watched, owner: httpx.Client, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.dcm" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(part10(StudyInstanceUID=UPLOADED, frames=[bytes([number]) * 64]))
    (tmp_path / "text.txt").write_text("not DICOM")
    recipient.open(shared(owner, "/v2/$share-upload"))
    recipient.page.locator("input[data-chosen=files]").set_input_files([*files, tmp_path / "text.txt"])
    recipient.page.get_by_role("heading", name="Finished").wait_for()
    assert recipient.page.locator(".badges .badge").all_inner_texts() == ["3 stored", "1 not DICOM"]
    found = owner.get(f"/v2/studies/{UPLOADED}/instances", headers={"Accept": "application/dicom+json"})
    assert len(found.json()) == 3

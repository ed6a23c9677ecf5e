"""Users with accounts in a real browser: login and logout, data partitions, and only what their roles permit."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.data import UID_ROOT, part10
from tests.e2e.explorer.pages import Explorer, opened
from tests.e2e.viewer import running_up
from tests.login_provider import AUDIENCE, Provider, identity_provider

pytestmark = [
    pytest.mark.clients("chromium"),
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),  # of the identity provider
]

STUDY = f"{UID_ROOT}.82"
ROLES = {"radiologist": {"actions": ["read", "write"], "partitions": ["radiology"]}}
ADMINISTRATION = [
    "Status",
    "Operations",
    "Transfers",
    "Storage",
    "Share links",
    "Holds",
    "Query tags",
    "Webhooks",
    "Access",
    "Audit trail",
]


@dataclass
class Guarded:
    """An archive with two data partitions that requires authentication, and its identity provider."""

    url: str
    provider: Provider


@pytest.fixture(scope="module")
def guarded(module_path: Path) -> Iterator[Guarded]:
    with (
        identity_provider() as provider,
        running_up(
            module_path,
            partitions="true",
            roles=json.dumps(ROLES),
            auth_issuer=provider.url,
            auth_audience=AUDIENCE,
            auth_client_id="facade",
            auth_client_secret="secret",
        ) as address,
    ):
        operator = f"Bearer {(module_path / 'data/operator.token').read_text().strip()}"
        with httpx.Client(base_url=address, headers={"Authorization": operator}, trust_env=False) as client:
            for number, partition in enumerate(("radiology", "cardiology"), 1):
                content = part10(StudyInstanceUID=f"{STUDY}.{number}", PatientName=f"Guarded^{partition.title()}")
                answer = client.post(
                    f"/v2/partitions/{partition}/studies",
                    content=content,
                    headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
                )
                assert answer.status_code == 200, answer.text
            hold = f"/v2/partitions/radiology/studies/{STUDY}.1/hold"
            assert client.put(hold, json={"reason": "trial 7"}).status_code == 200
        yield Guarded(address, provider)


def log_in(page: Page) -> None:
    page.locator("input[name=sub]").fill("alice")
    page.get_by_role("button", name="Authorize").click()


@contextmanager
def logged_in(guarded: Guarded, browser: Browser, role: str, fragment: str) -> Iterator[Explorer]:
    """Open a page as a user with a role; it leads to the login and back."""
    guarded.provider.role = role
    with opened(browser, guarded.url) as explorer:
        explorer.page.goto(f"{guarded.url}/#{fragment}")
        log_in(explorer.page)
        explorer.page.wait_for_url(re.compile(re.escape(guarded.url)))
        explorer.page.locator("nav a").first.wait_for()
        explorer.wrong.clear()  # the request that led to the login, and the page of the identity provider
        yield explorer


def entries(explorer: Explorer) -> list[str]:
    return explorer.page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts()


def test_the_login_leads_back_to_the_page_and_the_logout_ends_the_session(guarded: Guarded, browser: Browser) -> None:
    fragment = "/partitions/radiology/studies?PatientName=guarded"
    with logged_in(guarded, browser, "globalAdmin", fragment) as explorer:
        page = explorer.page
        assert page.url == f"{guarded.url}/#{fragment}"
        expect(page.locator(".grid-row strong")).to_have_text(["Guarded, Radiology"])
        page.get_by_role("link", name="Log out").click()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_load_state()
        answer = page.request.get(f"{guarded.url}/v2/me")
        assert answer.status == 401
        explorer.wrong.clear()  # the page of the identity provider


def test_an_administrator_is_offered_everything(guarded: Guarded, browser: Browser) -> None:
    with logged_in(guarded, browser, "globalAdmin", f"/partitions/radiology/study/{STUDY}.1") as explorer:
        assert entries(explorer) == ["Studies", "Upload", "Worklist", "Deleted", *ADMINISTRATION]
        explorer.page.get_by_role("button", name="Share").wait_for()
        explorer.page.get_by_role("button", name="More actions").click()
        names = explorer.page.get_by_role("menuitem").all_inner_texts()
        assert names == ["Label", "Update", "Send", "Export", "Put on hold", "Delete"]


def test_a_reader_is_offered_only_what_readers_may_do(guarded: Guarded, browser: Browser) -> None:
    with logged_in(guarded, browser, "globalReader", "/partitions/radiology/studies") as explorer:
        page = explorer.page
        hidden = {"Share links", "Webhooks", "Audit trail"}
        assert entries(explorer) == [
            "Studies",
            "Worklist",
            "Deleted",
            *(each for each in ADMINISTRATION if each not in hidden),
        ]
        page.locator(".grid-row input").check()
        expect(page.locator(".list-actions button")).to_have_text(["Download", ""])  # and the end of the selection
        page.locator(".grid-row strong").click()
        page.get_by_role("link", name="Download").wait_for()
        for name in ("Share", "More actions"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        page.get_by_role("tab", name="Versions").click()
        page.get_by_role("row").nth(1).wait_for()
        for path, shown, offered in (
            ("holds", "trial 7", []),
            ("deleted", "Nothing has been deleted.", ["Reload"]),
            ("querytags", "There are no query tags.", []),
            ("worklist", "There are no workitems.", ["Reload"]),
            ("access", "globalReader", []),
            ("status", "You may not read the metrics of this archive.", ["Reload"]),
        ):
            page.goto(f"{guarded.url}/#/partitions/radiology/{path}")
            expect(page.locator("main")).to_contain_text(shown)
            assert page.locator("main button").all_inner_texts() == offered, path
        page.goto(f"{guarded.url}/#/partitions/radiology/webhooks")
        expect(page.locator("main")).to_contain_text("You may not open this page.")
        assert explorer.violations() == []


def test_a_user_without_permission_to_read_begins_with_another_page(guarded: Guarded, browser: Browser) -> None:
    with logged_in(guarded, browser, "auditor", "/partitions/radiology/audit") as explorer:
        assert entries(explorer) == ["Status", "Access", "Audit trail"]
        explorer.page.get_by_role("link", name="dicomstore, start").click()
        expect(explorer.page.get_by_role("heading", level=1)).to_have_text("Status")


def test_partitions_are_switched_and_keep_their_page(guarded: Guarded, browser: Browser) -> None:
    with logged_in(guarded, browser, "globalAdmin", "/partitions/radiology/studies") as explorer:
        page = explorer.page
        expect(page.locator(".grid-row strong")).to_have_text(["Guarded, Radiology"])
        page.get_by_label("Data partition").select_option("cardiology")
        expect(page.locator(".grid-row strong")).to_have_text(["Guarded, Cardiology"])
        expect(page).to_have_url(re.compile("#/partitions/cardiology/studies$"))
        page.get_by_role("link", name="Holds").click()
        expect(page.get_by_text("Nothing is on hold.")).to_be_visible()
        page.get_by_label("Data partition").select_option("radiology")
        expect(page).to_have_url(re.compile("#/partitions/radiology/holds$"))
        expect(page.get_by_role("row").filter(has_text="trial 7")).to_be_visible()


def test_a_role_of_one_partition_permits_its_actions_there(guarded: Guarded, browser: Browser) -> None:
    with logged_in(guarded, browser, "radiologist", "/") as explorer:
        page = explorer.page
        expect(page.get_by_label("Data partition").get_by_role("option")).to_have_text(["radiology"])
        expect(page.locator(".grid-row strong")).to_have_text(["Guarded, Radiology"])
        assert "Upload" in entries(explorer)
        page.locator(".grid-row input").check()
        expect(page.locator(".list-actions button")).to_have_text(["Download", "Label", "Update", ""])

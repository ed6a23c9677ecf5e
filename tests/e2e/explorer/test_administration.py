"""The pages for operating the archive, in a real browser."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.data import UID_ROOT, part10
from tests.e2e.archive import ROOT
from tests.e2e.explorer.conftest import store
from tests.e2e.explorer.pages import Explorer, opened, used
from tests.e2e.viewer import running_up
from tests.programs import run
from tests.worklist import TRANSACTION, data_set, workitem

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180)]

PAGES = {
    "worklist": "Worklist",
    "worklist/rules": "Worklist rules",
    "deleted": "Deleted",
    "status": "Status",
    "operations": "Operations",
    "transfers": "Transfers",
    "storage": "Storage",
    "shares": "Share links",
    "holds": "Holds",
    "querytags": "Query tags",
    "webhooks": "Webhooks",
    "access": "Access",
    "audit": "Audit trail",
}
STUDY = f"{UID_ROOT}.81"
WORKITEMS = [
    ("Detect nodules", "Berger^Anna", "HIGH"),
    ("Measure lesions", "Okafor^Chidi", "MEDIUM"),
    ("Compare with the previous study", "Lindqvist^Maja", "LOW"),
]
"""Label, patient, priority. The first one is in progress."""
LUNG_CAD = {"00741204": {"vr": "LO", "Value": ["Lung CAD"]}}


@pytest.fixture(scope="module")
def operated(module_path: Path, explored: str) -> str:
    """The address of the archive, with an object for each page."""
    with httpx.Client(base_url=f"{explored}/v2", trust_env=False, timeout=60) as client:
        for number in (1, 2):
            name = f"Operated^{number}"
            store(explored, part10(StudyInstanceUID=f"{STUDY}.{number}", PatientName=name, Modality="PT"))
        for path, body in (
            ("/webhooks", {"url": "https://receiver.example/dicom", "label": "Router"}),
            ("/extendedquerytags", [{"path": "StationName", "level": "series"}]),
            ("/workitemrules", {"label": "Lung CAD", "query": "ModalitiesInStudy=PT", "template": LUNG_CAD}),
            (f"/studies/{STUDY}.1/$share", {"label": "for a colleague"}),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code in (201, 202), path
            while answer.status_code == 202:  # an operation, of which one runs at a time
                time.sleep(0.05)
                answer = client.get(answer.headers["location"])
        for number, (label, patient, priority) in enumerate(WORKITEMS, 1):
            values = {"ProcedureStepLabel": label, "PatientName": patient, "ScheduledProcedureStepPriority": priority}
            answer = client.post(f"/workitems?{STUDY}.9.{number}", json=[workitem(**values)])
            assert answer.status_code == 201, answer.text
        begun = [data_set(TransactionUID=TRANSACTION, ProcedureStepState="IN PROGRESS")]
        assert client.put(f"/workitems/{STUDY}.9.1/state", json=begun).status_code == 200
        transfer = {"type": "send", "remote": "PACS", "resources": [f"{STUDY}.1"]}
        assert client.post("/transfers", json=transfer).status_code == 202
        assert client.put(f"/studies/{STUDY}.1/hold", json={"reason": "complaint 12"}).status_code == 200
        assert client.delete(f"/studies/{STUDY}.2?reason=wrong patient").status_code == 204
    return explored


@pytest.fixture
def page_of(operated: str, wide_window: Page) -> Iterator[Explorer]:
    with used(wide_window, operated) as page:
        yield page


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_accessible_wide_and_narrow_light_and_dark(page_of: Explorer, path: str) -> None:
    page_of.open(f"/{path}")
    expect(page_of.page.get_by_role("heading", name=PAGES[path], exact=True, level=1)).to_be_visible()
    page_of.page.wait_for_load_state("networkidle")
    assert page_of.violations(is_other_tested=True) == []
    if path == "status":  # its picture is that of a test that stores
        expect(page_of.page.locator("path.line-0[d^=M]").first).to_be_attached()
    else:
        page_of.keep(path.replace("/", "-"))
    page_of.page.set_viewport_size({"width": 360, "height": 740})
    page_of.page.emulate_media(color_scheme="dark")
    assert page_of.violations(is_other_tested=True) == []
    assert page_of.page.evaluate("document.documentElement.scrollWidth") <= 360


def row_of(page: Explorer, text: str) -> Locator:
    return page.page.get_by_role("row").filter(has_text=text)


def confirmed(page: Explorer, name: str) -> None:
    page.page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def test_a_deleted_study_is_restored(page_of: Explorer) -> None:
    page_of.open(f"/deleted?StudyInstanceUID={STUDY}.2")
    row = row_of(page_of, f"{STUDY}.2")
    expect(row).to_contain_text("wrong patient")
    row.get_by_role("button", name="Restore").click()
    expect(page_of.page.get_by_text("1 instance is restored.")).to_be_visible()
    expect(row).to_have_count(0)
    found = httpx.get(f"{page_of.url}/v2/studies?StudyInstanceUID={STUDY}.2", trust_env=False)
    assert found.status_code == 200


def test_a_hold_is_released(page_of: Explorer) -> None:
    page_of.open("/holds")
    row_of(page_of, "complaint 12").get_by_role("button", name="Release").click()
    confirmed(page_of, "Release")
    expect(page_of.page.get_by_text("Nothing is on hold.")).to_be_visible()


def test_an_upload_link_is_created_and_revoked(page_of: Explorer) -> None:
    page_of.open("/shares")
    page_of.page.get_by_role("button", name="New upload link").click()
    dialog = page_of.page.get_by_role("dialog")
    dialog.get_by_label("Label").fill("Referring practice")
    assert page_of.violations_of_dialog() == []
    dialog.get_by_role("button", name="Create the link").click()
    url = dialog.get_by_label("Link", exact=True).input_value()
    assert "Upload images" in httpx.get(url, trust_env=False).text
    assert page_of.violations() == []
    dialog.get_by_role("button", name="Done").click()
    row_of(page_of, "Referring practice").get_by_role("button", name="Revoke").click()
    confirmed(page_of, "Revoke")
    expect(row_of(page_of, "Referring practice")).to_have_count(0)
    assert httpx.get(url, trust_env=False).status_code == 401


def test_a_query_tag_is_added_and_removed(page_of: Explorer) -> None:
    page_of.open("/querytags")
    page_of.page.get_by_role("button", name="Add a query tag").click()
    dialog = page_of.page.get_by_role("dialog")
    dialog.get_by_label("Attribute").fill("(0018,1000)")
    dialog.get_by_label("Level").select_option("series")
    assert page_of.violations_of_dialog() == []
    page_of.page.keyboard.press("Enter")
    row = row_of(page_of, "(0018,1000)")
    expect(row).to_contain_text("searchable")
    page_of.open("/operations")
    expect(row_of(page_of, "Indexing for query tags").first).to_contain_text("succeeded")
    row_of(page_of, "Indexing for query tags").first.get_by_role("button", name="Details").click()
    expect(page_of.page.get_by_role("dialog")).to_contain_text("succeeded")
    assert page_of.violations() == []
    page_of.open("/querytags")
    row.get_by_role("button", name="Remove").click()
    confirmed(page_of, "Remove")
    expect(row).to_have_count(0)


def test_a_webhook_is_added_disabled_and_removed(page_of: Explorer) -> None:
    page_of.open("/webhooks")
    page_of.page.get_by_role("button", name="Add a webhook").click()
    dialog = page_of.page.get_by_role("dialog")
    dialog.get_by_label("URL").fill("https://second.example/")
    assert page_of.violations_of_dialog() == []
    dialog.get_by_role("button", name="Save").click()
    assert len(dialog.get_by_label("Secret for checking signatures").input_value()) > 20
    assert page_of.violations_of_dialog() == []
    dialog.get_by_role("button", name="Done").click()
    row = row_of(page_of, "second.example")
    row.get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("disabled")
    row.get_by_role("button", name="Remove").click()
    confirmed(page_of, "Remove")
    expect(row).to_have_count(0)


def test_a_workitem_is_created_and_cancelled(page_of: Explorer) -> None:
    page_of.open("/worklist")
    page_of.page.get_by_role("button", name="New workitem").click()
    dialog = page_of.page.get_by_role("dialog")
    dialog.get_by_label("Label").fill("Second reading")
    dialog.get_by_label("Patient", exact=True).fill("Doe^Jane")
    dialog.get_by_role("button", name="New workitem").click()
    row = row_of(page_of, "Second reading")
    expect(row).to_contain_text("Doe, Jane")
    expect(row).to_contain_text("scheduled")
    row.get_by_role("button", name="Request the cancellation").click()
    confirmed(page_of, "Request the cancellation")
    expect(row).to_contain_text("cancelled")
    row.get_by_role("button", name="Details").click()
    expect(page_of.page.get_by_role("dialog").get_by_role("region")).to_contain_text('"Second reading"')
    assert page_of.violations_of_dialog() == []


def test_a_rule_is_created_and_removed(page_of: Explorer) -> None:
    page_of.open("/worklist/rules")
    page_of.page.get_by_role("button", name="New rule").click()
    dialog = page_of.page.get_by_role("dialog")
    dialog.get_by_label("Label").fill("Reading of MR")
    dialog.get_by_label("Query").fill("ModalitiesInStudy=MR")
    dialog.get_by_label("Template").fill("no JSON")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_have_text("The template is not valid JSON.")
    assert page_of.violations_of_dialog() == []
    dialog.get_by_label("Template").fill(json.dumps({"00741204": {"vr": "LO", "Value": ["Read"]}}))
    dialog.get_by_role("button", name="Save").click()
    row = row_of(page_of, "Reading of MR")
    row.get_by_role("button", name="Remove").click()
    confirmed(page_of, "Remove")
    expect(row).to_have_count(0)


def test_the_audit_trail_is_filtered(page_of: Explorer) -> None:
    page_of.open("/audit")
    page_of.page.get_by_label("Action").select_option(label="delete")
    page_of.page.get_by_label("Study Instance UID").fill(f"{STUDY}.2")
    expect(page_of.page).to_have_url(re.compile(f"action=delete.*StudyInstanceUID={STUDY}.2"))
    row = row_of(page_of, f"{STUDY}.2").filter(has_text="success").last
    row.get_by_role("button", name="Details").click()
    expect(page_of.page.get_by_role("dialog").get_by_role("region")).to_contain_text("wrong patient")
    assert page_of.violations_of_dialog() == []


def test_live_plots_show_what_is_stored(page_of: Explorer) -> None:
    page_of.open("/status")
    plot = page_of.page.get_by_role("figure", name=re.compile("Stored instances"))
    expect(plot.locator("path.line-0").last).to_have_attribute("d", re.compile("^M"))
    for number in range(5):
        store(page_of.url, part10(StudyInstanceUID=f"{STUDY}.3", SOPInstanceUID=f"{STUDY}.3.{number}"))
    expect(plot.get_by_role("listitem").locator("strong")).not_to_have_text("0/s")
    expect(page_of.page.get_by_text("Free disk space")).to_be_visible()
    expect(page_of.page.get_by_role("status").first).to_have_text("works")
    page_of.keep("status")


def test_an_administrator_creates_and_revokes_a_token(browser: Browser, tmp_path: Path) -> None:
    with running_up(tmp_path, auth_required="true") as address, opened(browser, address) as page:
        core = re.search(r"gRPC +(\S+)", (tmp_path / "welcome").read_text())
        assert core is not None
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}", "DICOMSTORE_DATA": str(tmp_path / "data")}
        ran = run("cli", "login", "--core", core[1], "--url", address, environment=environment, folder=tmp_path)
        page.page.goto(ran.stdout.decode().strip())
        page.page.get_by_role("button", name="Open the archive").click()
        page.page.get_by_role("link", name="Access", exact=True).click()
        expect(page.page.get_by_role("region", name="Your access")).to_contain_text("required")
        page.page.get_by_role("button", name="New token").click()
        dialog = page.page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("gateway")
        dialog.get_by_label("writer", exact=True).check()
        assert page.violations() == []
        dialog.get_by_role("button", name="Create the token").click()
        token = dialog.get_by_label("Token", exact=True).input_value()
        assert page.violations_of_dialog() == []
        stored = httpx.post(
            f"{address}/v2/studies",
            content=part10(),
            headers={"Content-Type": "application/dicom", "Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        assert stored.status_code == 200
        dialog.get_by_role("button", name="Done").click()
        row_of(page, "gateway").get_by_role("button", name="Revoke").click()
        confirmed(page, "Revoke")
        expect(row_of(page, "gateway")).to_have_count(0)
        refused = httpx.get(f"{address}/v2/studies", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        assert refused.status_code == 401

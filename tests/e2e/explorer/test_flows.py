"""Flows over several pages in a real browser: export, viewers, query tags, transfers, operations, holds, webhooks."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import numpy as np
import pytest
from dicomstore.v1 import transfer_service_pb2 as pb
from dicomstore.v1 import transfer_service_pb2_grpc
from playwright.sync_api import Locator, expect
from pydicom import dcmread

from tests.data import UID_ROOT, part10
from tests.e2e.explorer.conftest import store
from tests.e2e.explorer.pages import Explorer, pixels_of
from tests.e2e.explorer.studies import LIST_ROOT
from tests.e2e.studies import PHANTOM_STUDY

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180)]

STUDY = f"{UID_ROOT}.83"


def row_of(explorer: Explorer, text: str) -> Locator:
    return explorer.page.get_by_role("row").filter(has_text=text)


def in_dialog(explorer: Explorer, button: str) -> None:
    explorer.page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()


def selected(explorer: Explorer, number: int, action: str) -> None:
    """Select a listed study and choose an action."""
    explorer.open(f"/studies?PatientID=L{number:02}")
    explorer.page.get_by_label(f"Select Listed, Person {number:02}").check()
    explorer.page.get_by_role("button", name=action, exact=True).click()


def test_studies_are_exported_into_a_folder(explorer: Explorer, explored_folder: Path) -> None:
    selected(explorer, 9, "Export")
    target = explored_folder / "exported"
    explorer.page.get_by_label("Path").fill(str(target))
    explorer.page.get_by_label("Write a DICOMDIR, as on a CD").check()
    assert explorer.violations() == []
    in_dialog(explorer, "Start the export")
    expect(explorer.page.get_by_text("The export has started.")).to_be_visible()
    explorer.open("/operations")
    row = row_of(explorer, "Export").first
    expect(row).to_contain_text("succeeded")
    assert len([path for path in target.rglob("*") if path.name == "DICOMDIR"]) == 1
    row.get_by_role("button", name="Details").click()
    expect(explorer.page.get_by_role("dialog")).to_contain_text("succeeded")


def test_a_refused_destination_is_explained_in_the_dialog(explorer: Explorer) -> None:
    selected(explorer, 9, "Export")
    explorer.page.get_by_label("Path").fill("/etc")
    in_dialog(explorer, "Start the export")
    expect(explorer.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("folder")
    assert explorer.violations_of_dialog() == []
    explorer.wrong.clear()  # the browser reports the refusal


def test_a_study_is_opened_in_configured_viewers(explorer: Explorer, explored: str) -> None:
    explorer.open(f"/study/{LIST_ROOT}.9")
    explorer.page.get_by_role("button", name="Open in …").click()
    addresses = [item.get_attribute("href") for item in explorer.page.get_by_role("menuitem").all()]
    dicomweb = quote(f"{explored}/v2", safe="")
    assert addresses == [
        f"weasis://%24dicom%3Ars+--url+%22{dicomweb}%22",
        f"https://viewer.example/?study={LIST_ROOT}.9",
    ]
    assert explorer.violations() == []


def query_tag(client: httpx.Client, **tag: str) -> None:
    """Add a query tag, and wait until it can be used; one is added at a time."""
    while (answer := client.post("/extendedquerytags", json=[tag])).status_code == 409:
        client.get(answer.headers["location"])
        time.sleep(0.05)
    assert answer.status_code == 202, answer.text
    while answer.status_code == 202:
        time.sleep(0.05)
        answer = client.get(answer.headers["location"])


def test_query_tags_are_filters_and_columns_with_names(explorer: Explorer, explored: str) -> None:
    with httpx.Client(base_url=f"{explored}/v2", trust_env=False, timeout=60) as client:
        query_tag(client, path="AdmittingDiagnosesDescription", level="study")
        query_tag(client, path="00091005", vr="LO", privateCreator="ACME", level="study")
    for number, finding in enumerate(("Headache", "Fracture"), 1):
        store(explored, tagged(number, finding))
    page = explorer.page
    explorer.open("/studies?PatientID=TAG*")
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("Admitting Diagnoses Description").fill("head*")
    expect(page.locator(".grid-row strong")).to_have_text(["Tagged, Headache"])
    expect(page.get_by_role("button", name="Remove the filter Admitting Diagnoses Description")).to_be_visible()
    page.get_by_role("button", name="Remove the filter Admitting Diagnoses Description").click()
    page.get_by_label("ACME (0009,xx05)").fill("acme 2")
    expect(page.locator(".grid-row strong")).to_have_text(["Tagged, Fracture"])
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("checkbox", name="Admitting Diagnoses Description").check()
    page.get_by_role("checkbox", name="ACME (0009,xx05)").check()
    page.get_by_role("button", name="Done").click()
    row = page.locator(".grid-row")
    expect(row).to_contain_text("Fracture")
    expect(row).to_contain_text("acme 2")
    expect(page.get_by_role("columnheader", name="ACME (0009,xx05)")).to_be_visible()


def tagged(number: int, finding: str) -> bytes:
    """Return a study with a private attribute of the creator ACME, in another block than that of the query tag."""
    file = part10(
        StudyInstanceUID=f"{STUDY}.{number}",
        PatientID=f"TAG{number}",
        PatientName=f"Tagged^{finding}",
        AdmittingDiagnosesDescription=finding,
    )
    return with_private(file, 0x0009, "ACME", 0x05, f"acme {number}")


def with_private(file: bytes, group: int, creator: str, element: int, value: str) -> bytes:
    dataset = dcmread(BytesIO(file))
    dataset.add_new((group, 0x0011), "LO", creator)
    dataset.add_new((group, 0x1100 + element), "LO", value)
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def test_dragging_with_the_right_button_changes_the_window(explorer: Explorer) -> None:
    explorer.open(f"/study/{PHANTOM_STUDY}")
    page = explorer.page
    stage = page.locator(".stage")
    expect(page.locator("img.frame[data-index='0']")).to_be_visible()
    before = pixels_of(stage)
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down(button="right")
    with page.expect_response(lambda answer: "window=" in answer.url):
        page.mouse.move(box["x"] + 500, box["y"] + 260, steps=5)
    page.mouse.up(button="right")
    expect(page.locator(".stage-text")).to_contain_text("Window 100 / 320")
    expect(page.get_by_label("Window").locator("option:checked")).to_have_text("Custom: 100 / 320")
    expect(page.locator("img.frame")).to_be_visible()
    assert np.abs(pixels_of(stage).astype(int) - before).mean() > 2


def fail_all(core: str) -> None:
    """Be a gateway that fails at all waiting transfers, for good."""
    with grpc.insecure_channel(core) as channel:
        stub: Any = transfer_service_pb2_grpc.TransferServiceStub(channel)
        for claimed in stub.ClaimTransfers(pb.ClaimTransfersRequest(max_transfers=9)).transfers:
            outcome = pb.TransferOutcome(problem="UNKNOWN_REMOTE", permanent=True)
            progress = pb.TransferProgress(total=3, completed=1, failed=2)
            stub.ReportTransfer(
                pb.ReportTransferRequest(
                    id=claimed.transfer.id, lease=claimed.lease, progress=progress, outcome=outcome
                )
            )


def test_a_failed_transfer_is_tried_again_and_cancelled(explorer: Explorer, explored_core: str) -> None:
    selected(explorer, 10, "Send")
    explorer.page.get_by_label("Remote").fill("WORKSTATION")
    assert explorer.violations() == []
    in_dialog(explorer, "Send")
    explorer.page.get_by_role("button", name="Transfers", exact=True).click()  # in the message
    row = row_of(explorer, "WORKSTATION")
    expect(row).to_contain_text("waiting")
    fail_all(explored_core)
    expect(row).to_contain_text("UNKNOWN_REMOTE")
    expect(row).to_contain_text("1 of 3 (2 failed)")
    explorer.page.get_by_label("State").select_option(label="failed")
    row.get_by_role("button", name="Details").click()
    expect(explorer.page.get_by_role("dialog").get_by_role("region")).to_contain_text(f"{LIST_ROOT}.10")
    assert explorer.violations() == []
    explorer.page.keyboard.press("Escape")
    row.get_by_role("button", name="Try again").click()
    expect(row).to_have_count(0)
    explorer.page.get_by_label("State").select_option(label="All")
    expect(row).to_contain_text("waiting")
    row.get_by_role("button", name="Cancel the transfer").click()
    in_dialog(explorer, "Cancel the transfer")
    expect(row).to_contain_text("cancelled")


class SlowBucket(BaseHTTPRequestHandler):
    """A bucket that accepts the check of the archive, and answers to nothing else before the end of the test."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "results" in self.path:
            self.server.until.wait(60)  # type: ignore[attr-defined]
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def do_GET(self) -> None:
        self._answer(404)

    do_HEAD = do_GET

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"1"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Receiver(BaseHTTPRequestHandler):
    """Refuses events until told otherwise."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204 if self.server.until.is_set() else 500)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[str, threading.Event]]:
    """Run a server on this machine; yield its address and the event that changes its answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.until = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.until  # type: ignore[attr-defined]
        finally:
            server.until.set()  # type: ignore[attr-defined]
            server.shutdown()
            thread.join()


def test_a_running_operation_is_cancelled(explorer: Explorer) -> None:
    with serving(SlowBucket) as (address, _):
        selected(explorer, 11, "Export")
        page = explorer.page
        page.get_by_label("Destination").select_option(label="S3 bucket")
        for name, value in (
            ("Bucket", "research"),
            ("Endpoint (optional)", address),
            ("Access key ID", "key"),
            ("Secret access key", "secret"),
        ):
            page.get_by_label(name).fill(value)
        in_dialog(explorer, "Start the export")
        expect(page.get_by_text("The export has started.")).to_be_visible()
        explorer.open("/operations?status=running")
        row = row_of(explorer, "Export").first
        row.get_by_role("button", name="Cancel the operation").click()
        assert explorer.violations() == []
        in_dialog(explorer, "Cancel the operation")
    page.get_by_label("State").select_option(label="All")
    expect(row_of(explorer, "Export").first).to_contain_text("cancelled")


def test_a_study_on_hold_cannot_be_deleted_until_the_hold_is_released(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open(f"/study/{LIST_ROOT}.12")
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Put on hold").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("legal case 31")
    assert explorer.violations() == []
    in_dialog(explorer, "Put on hold")
    expect(page.get_by_text("The study is on hold.")).to_be_visible()
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Delete").click()
    in_dialog(explorer, "Delete")
    expect(page.get_by_text("1 was not changed:")).to_contain_text("hold")
    explorer.wrong.clear()  # the browser reports the refusal
    page.get_by_role("button", name="Holds", exact=True).click()  # in the message
    row = row_of(explorer, "legal case 31")
    row.get_by_role("button", name="Release").click()
    in_dialog(explorer, "Release")
    expect(row).to_have_count(0)


def test_dead_letters_of_a_webhook_are_sent_again(explorer: Explorer, explored: str) -> None:
    page = explorer.page
    with serving(Receiver) as (address, accepts):
        explorer.open("/webhooks")
        page.get_by_role("button", name="Add a webhook").click()
        page.get_by_label("URL").fill(f"{address}/events")
        page.get_by_label("Label").fill("Dispatcher")
        in_dialog(explorer, "Save")
        in_dialog(explorer, "Done")
        store(explored, part10(StudyInstanceUID=f"{STUDY}.9"))
        row = row_of(explorer, "Dispatcher")
        letters = row.get_by_role("button", name=re.compile(r"^[1-9]\d*$"))
        expect(letters).to_be_visible()
        expect(row).to_contain_text("failed attempt")
        letters.click()
        letter = page.get_by_role("dialog").get_by_role("row").filter(has_text="StudyStable")
        expect(letter).to_contain_text("STATUS_500")
        assert explorer.violations() == []
        accepts.set()
        in_dialog(explorer, "Send all again")
        expect(page.get_by_role("dialog").get_by_text("There is nothing here.")).to_be_visible()
        page.keyboard.press("Escape")
        expect(row).to_contain_text("works")
        row.get_by_role("button", name="Remove").click()
        in_dialog(explorer, "Remove")
        expect(row).to_have_count(0)


def test_the_worklist_is_filtered_and_a_workitem_in_progress_is_not_cancelled_at_once(
    explorer: Explorer, explored: str
) -> None:
    page = explorer.page
    explorer.open("/worklist")
    for label, priority in (("Flow first", "high"), ("Flow second", "low")):
        page.get_by_role("button", name="New workitem").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Label").fill(label)
        dialog.get_by_label("Priority").select_option(label=priority)
        assert explorer.violations() == []
        in_dialog(explorer, "New workitem")
        expect(row_of(explorer, label)).to_contain_text(priority)
    page.get_by_label("Label").fill("flow first")
    expect(row_of(explorer, "Flow second")).to_have_count(0)
    row = row_of(explorer, "Flow first")
    found = httpx.get(f"{explored}/v2/workitems?ProcedureStepLabel=Flow first", trust_env=False).json()
    state = {
        "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]},
        "00081195": {"vr": "UI", "Value": [f"{STUDY}.7"]},
    }
    begun = httpx.put(
        f"{explored}/v2/workitems/{found[0]['00080018']['Value'][0]}/state",
        json=[state],
        headers={"Content-Type": "application/dicom+json"},
        trust_env=False,
    )
    assert begun.status_code == 200, begun.text
    page.get_by_label("State").select_option(label="in progress")
    expect(row).to_contain_text("in progress")
    row.get_by_role("button", name="Request the cancellation").click()
    in_dialog(explorer, "Request the cancellation")
    expect(page.get_by_text(re.compile("The cancellation is requested|performer"))).to_be_visible()
    expect(row).to_contain_text("in progress")
    explorer.wrong.clear()


def test_a_rule_is_changed_and_disabled(explorer: Explorer, explored: str) -> None:
    rule = {
        "label": "Reading of flows",
        "query": "ModalitiesInStudy=NM",
        "template": {"00741204": {"vr": "LO", "Value": ["Read"]}},
    }
    assert httpx.post(f"{explored}/v2/workitemrules", json=rule, trust_env=False).status_code == 201
    page = explorer.page
    explorer.open("/worklist")
    page.get_by_role("link", name="Worklist rules").click()
    row = row_of(explorer, "Reading of flows")
    expect(row).to_contain_text("works")
    row.get_by_role("button", name="Change the rule").click()
    page.get_by_role("dialog").get_by_label("Query").fill("ModalitiesInStudy=PT")
    assert explorer.violations() == []
    in_dialog(explorer, "Save")
    expect(row).to_contain_text("ModalitiesInStudy=PT")
    row.get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("disabled")

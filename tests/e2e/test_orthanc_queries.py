"""Orthanc as a modality and PACS: it stores over the DIMSE gateway, queries, retrieves, and reads the worklist."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread

from dimse.config import Settings
from dimse.core import Core
from tests.data import SECONDARY_CAPTURE, new_uid, part10
from tests.e2e.test_dcmtk_queries import CORPUS, SENT
from tests.integration.dimse.archive import eventually
from tests.integration.dimse.gateways import running_core, running_gateway
from tests.integration.dimse.peers import store
from tests.integration.dimse.test_store import instances, retrieved
from tests.integration.dimse.test_worklist import Workitems
from tests.ports import free_port

pytestmark = pytest.mark.clients("Orthanc")


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "core") as core:
        yield core


@pytest.fixture(scope="module")
def orthanc(module_path: Path, core: str) -> Iterator[httpx.Client]:
    """Run a gateway and Orthanc, which know each other; yield a client of Orthanc."""
    http, dicom, files = free_port(), free_port(), module_path / "orthanc"
    files.mkdir()
    remotes = {"ORTHANC": {"host": "127.0.0.1", "port": dicom}}
    with running_gateway(core, remotes=remotes) as gateway:
        store(core, *CORPUS)
        workitems = Workitems(core)
        workitems.schedule("31", station="ORTHANC")
        workitems.channel.close()
        settings = {
            "StorageDirectory": str(files),
            "IndexDirectory": str(files),
            "HttpPort": http,
            "DicomPort": dicom,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "DicomModalities": {"archive": ["DICOMSTORE", "127.0.0.1", gateway.port]},
        }
        configuration = files / "orthanc.json"
        configuration.write_text(json.dumps(settings))
        with open(files / "log", "wb") as log:
            process = subprocess.Popen(
                [str(shutil.which("Orthanc")), str(configuration)],
                env=os.environ | {"TCP_NODELAY": "1"},
                stdout=log,
                stderr=log,
            )
        transport = httpx.HTTPTransport(retries=8)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{http}", transport=transport, timeout=60) as client:
                yield client
        finally:
            process.terminate()
            process.wait()


def post(orthanc: httpx.Client, path: str, content: Any) -> Any:
    response = orthanc.post(path, json=content)
    assert response.status_code == 200, response.text
    return response.json()


def test_orthanc_verifies_the_connection(orthanc: httpx.Client) -> None:
    assert post(orthanc, "/modalities/archive/echo", {}) == {}


def test_orthanc_stores_as_a_modality_and_requests_storage_commitment(orthanc: httpx.Client, core: str) -> None:
    """The result arrives on an association of the archive."""
    uid = new_uid()
    file = part10(SOPInstanceUID=uid, PatientID="P9", frames=[bytes(range(64))], Rows=8, Columns=8)
    orthanc_id = orthanc.post("/instances", content=file).json()["ID"]
    sent = post(orthanc, "/modalities/archive/store", {"Resources": [orthanc_id], "Synchronous": True})
    assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (1, 0)
    stubs = Core(Settings(core=core))
    [resource] = instances(stubs, uid)
    assert dcmread(BytesIO(retrieved(stubs, resource))) == dcmread(BytesIO(file))
    stubs.close()
    request = {"DicomInstances": [[SECONDARY_CAPTURE, uid]]}
    transaction = post(orthanc, "/modalities/archive/storage-commitment", request)["ID"]

    def status() -> str:
        return str(orthanc.get(f"/storage-commitment/{transaction}").json()["Status"])

    eventually(lambda: status() != "Pending")
    assert status() == "Success"


@pytest.mark.parametrize("level", ["Patient", "Study", "Series", "Instance"])
def test_orthanc_queries_at_all_levels_and_retrieves_what_it_finds(orthanc: httpx.Client, level: str) -> None:
    """It sends C-FIND, and C-MOVE with itself as destination."""
    wanted = next(one for one in SENT.values() if one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2")
    keys = {
        "PatientID": wanted.PatientID,
        "StudyInstanceUID": wanted.StudyInstanceUID,
        "SeriesInstanceUID": wanted.SeriesInstanceUID,
        "SOPInstanceUID": wanted.SOPInstanceUID,
    }
    used = list(keys)[: ["Patient", "Study", "Series", "Instance"].index(level) + 1]
    query = {"Level": level, "Query": {keyword: keys[keyword] for keyword in used}}
    found = post(orthanc, "/modalities/archive/query", query)["ID"]
    answers = orthanc.get(f"/queries/{found}/answers").json()
    assert len(answers) == 1
    before = {one["ID"] for one in orthanc.get("/patients", params={"expand": ""}).json()}
    for patient in before:
        orthanc.delete(f"/patients/{patient}")
    post(orthanc, f"/queries/{found}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    [instance] = orthanc.get("/instances", params={"expand": ""}).json()
    assert instance["MainDicomTags"]["SOPInstanceUID"] == wanted.SOPInstanceUID


def test_orthanc_asks_for_the_worklist(orthanc: httpx.Client) -> None:
    step = {"ScheduledStationAETitle": "ORTHANC", "ScheduledProcedureStepID": "", "Modality": "CT"}
    query = {"PatientID": "", "PatientName": "", "ScheduledProcedureStepSequence": [step]}
    [item] = post(orthanc, "/modalities/archive/find-worklist", query)
    assert item["PatientID"] == "P31"
    assert item["PatientName"] == "Müller^Jörg"
    assert item["ScheduledProcedureStepSequence"][0]["ScheduledProcedureStepID"] == "S31"

"""Third-party programs against a running archive. Each test is skipped if its tool is missing.

Their requests are in `test_client_requests.py`, too, which runs everywhere.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.data import JPEG_BASELINE, new_uid
from tests.e2e.archive import ROOT, Archive
from tests.e2e.conftest import ORTHANC_PLUGIN
from tests.malformed import image, jpeg_image, uids_of
from tests.ports import free_port

CLIENTS = Path(__file__).parent / "clients"
JSON = "application/dicom+json"

EXPECTED = {
    "store": JSON,
    "store-again": JSON,
    "store-in-chunks": JSON,
    "search": JSON,
    "metadata": JSON,
    "instance": "multipart/related",
    "frame": "multipart/related",
    "bulk-data": "application/octet-stream",
    "rendered": "image/jpeg",
    "thumbnail": "image/jpeg",
    "changes": "application/json",
}


def run(*command: str) -> list[str]:
    """Return the lines that a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(["go", "run", str(CLIENTS / "client.go")], id="go", marks=pytest.mark.clients("go")),
        pytest.param(["java", str(CLIENTS / "Client.java")], id="java", marks=pytest.mark.clients("java")),
    ],
)
def test_a_client_that_names_no_media_type_is_served(
    archive: Archive, tmp_path: Path, program: list[str], version: str
) -> None:
    body = image()
    study, series, instance = uids_of(body)
    file = tmp_path / "one.dcm"
    file.write_bytes(body)
    path = f"/studies/{study}/series/{series}/instances/{instance}"
    lines = [line.split() for line in run(*program, f"{archive.http}/{version}", str(file), path)]
    assert {name: (status, media_type) for name, status, media_type, _ in lines} == {
        name: ("200", media_type) for name, media_type in EXPECTED.items()
    }
    sizes = {name: int(size) for name, _, _, size in lines}
    assert sizes["instance"] > len(body)
    assert sizes["bulk-data"] == 64


@pytest.mark.clients("node")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_dicomweb_client_under_node_stores_finds_and_retrieves(archive: Archive, tmp_path: Path, version: str) -> None:
    body = image()
    uids = uids_of(body)
    file = tmp_path / "one.dcm"
    file.write_bytes(body)
    lines = run(
        "node", str(CLIENTS / "client.js"), str(ROOT / ".clients"), f"{archive.http}/{version}", str(file), *uids
    )
    found = dict(line.split(" ", 1) for line in lines)
    shown = {name: int(found.pop(name)) for name in ("rendered", "thumbnail")}
    assert all(size > 100 for size in shown.values())
    assert found == {
        "store": "string",
        "store-again": "string",
        "search": "object",
        "metadata": "object",
        "instance": str(len(body)),
        "study": str(len(body)),
        "frame": "64",
        "bulk-data": "64",
        "single-bulk-data": "64",
    }


@pytest.fixture
def orthanc(archive: Archive, tmp_path: Path) -> Iterator[httpx.Client]:
    """Debian's Orthanc with its DICOMweb plugin, which knows the archive as server `archive`."""
    port = free_port()
    settings = {
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "Plugins": [str(ORTHANC_PLUGIN)],
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomWeb": {"Enable": True, "Servers": {"archive": [f"{archive.http}/v2/"]}},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with open(tmp_path / "orthanc.log", "wb") as log:
        process = subprocess.Popen(["Orthanc", str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            deadline = time.monotonic() + 60
            while not _serves(client):
                assert process.poll() is None, (tmp_path / "orthanc.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=20)


def _serves(client: httpx.Client) -> bool:
    try:
        return client.get("/system").status_code == 200
    except httpx.TransportError:
        return False


def _sent(orthanc: httpx.Client, **request: Any) -> Any:
    """Have Orthanc send something and return the result."""
    response = orthanc.post("/dicom-web/servers/archive/stow", json={"Synchronous": True, **request})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.clients("orthanc")
def test_orthanc_stores_a_study_twice_and_retrieves_it(archive: Archive, orthanc: httpx.Client) -> None:
    study = new_uid()
    bodies = [
        build({0x0020000D: ("UI", study.encode() + bytes(len(study) % 2))})
        for build in (image, lambda changes: jpeg_image([50], changes=changes))
    ]
    stored = [orthanc.post("/instances", content=body).json() for body in bodies]
    resources = [item["ParentStudy"] for item in stored]
    assert resources[0] == resources[1]

    for _ in range(2):
        _sent(orthanc, Resources=resources[:1])

    found = httpx.get(f"{archive.http}/v2/studies/{study}/instances", headers={"Accept": JSON})
    assert len(found.json()) == 2
    syntaxes = {match["00083002"]["Value"][0] for match in found.json()} if "00083002" in found.json()[0] else set()
    assert syntaxes <= {JPEG_BASELINE, "1.2.840.10008.1.2.1"}
    assert orthanc.delete(f"/studies/{resources[0]}").status_code == 200
    retrieved = orthanc.post(
        "/dicom-web/servers/archive/retrieve", json={"Resources": [{"Study": study}], "Synchronous": True}
    )
    assert retrieved.status_code == 200, retrieved.text
    assert len(orthanc.get(f"/studies/{resources[0]}/instances").json()) == 2

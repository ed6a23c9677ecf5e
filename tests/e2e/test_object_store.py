"""An archive whose blobs and records are in a bucket, with its index in PostgreSQL, on machines without data of their
own."""

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.conftest import PostgresDatabases
from tests.data import new_uid, part10
from tests.e2e.archive import Archive
from tests.e2e.test_damaged_index import becomes

SECRET = 32 * "s"
FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "examples_overlay.dcm", "rtplan.dcm", "waveform_ecg.dcm")
DICOM = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


@pytest.fixture
def machines(tmp_path: Path, bucket_url: str, postgres_url: str) -> Iterator[Callable[..., Archive]]:
    """Returns a new machine with an empty data directory."""
    started: list[Archive] = []

    def machine(database: str = postgres_url) -> Archive:
        data = tmp_path / f"machine-{len(started)}"
        settings = {"blobs": bucket_url, "database": database, "secret_key": SECRET}
        started.append(Archive(data, **settings))
        return started[-1]

    yield machine
    for archive in started:
        archive.stop()
    shown = started[0].run("server", "config").stdout + "".join(archive.logs() for archive in started)
    for secret in (SECRET, "testtest"):  # the latter is the key of the bucket
        assert secret not in shown


def study_of(body: bytes) -> str:
    return str(dcmread(BytesIO(body), stop_before_pixels=True).StudyInstanceUID)


def stored(http: httpx.Client, body: bytes) -> str:
    answer = http.post("/v2/studies", content=body, headers={"Content-Type": "application/dicom"})
    assert answer.status_code in (200, 202), answer.text  # 202: with warnings
    return study_of(body)


def holds(http: httpx.Client, study: str, body: bytes) -> None:
    answer = http.get(f"/v2/studies/{study}", headers=DICOM)
    assert answer.status_code == 200, answer.text
    assert body in answer.content


def checks(archive: Archive) -> dict[str, Any]:
    found = json.loads(archive.run("server", "check", "--deep", check=False).stdout)["checks"]
    return {entry["name"]: (entry["status"], entry["detail"]) for entry in found}


def works(http: httpx.Client, bodies: dict[str, bytes]) -> None:
    for study, body in bodies.items():
        holds(http, study, body)


@pytest.mark.timeout(400)
def test_an_archive_without_local_data_survives_kills_and_the_loss_of_its_index(
    machines: Callable[..., Archive], postgres_databases: PostgresDatabases
) -> None:
    archive = machines()
    archive.start_core()
    archive.start_facade()
    with httpx.Client(base_url=archive.http, timeout=60) as http:
        bodies = {}
        for name in FILES:
            body = Path(str(get_testdata_file(name))).read_bytes()
            bodies[stored(http, body)] = body
        large = part10(StudyInstanceUID=new_uid(), Rows=4000, Columns=3000, frames=[bytes(range(250)) * 48_000])
        bodies[stored(http, large)] = large
        works(http, bodies)
        assert len(http.get("/v2/studies").json()) == len(bodies)

        deleted, undone = list(bodies)[:2]
        for study in (deleted, undone):
            assert http.delete(f"/v2/studies/{study}").status_code == 204
            assert http.get(f"/v2/studies/{study}", headers=DICOM).status_code == 404
        archive.run("cli", "undelete", undone)
        holds(http, undone, bodies[undone])
        del bodies[deleted]
        works(http, bodies)

        other = machines()
        other.start_core()
        other.start_facade()
        with httpx.Client(base_url=other.http, timeout=60) as elsewhere:
            works(elsewhere, bodies)
            body = part10()
            bodies[stored(elsewhere, body)] = body
        works(http, bodies)

        archive.kill_core()
        archive.start_core()
        becomes(http, "Healthy")
        works(http, bodies)
        found = checks(archive)
        assert {status for status, _ in found.values()} == {"ok"}, found
        audited = archive.run("cli", "audit", "--study", deleted, "--form", "json").stdout
        assert {"store", "delete"} <= {json.loads(line)["subtype"] for line in audited.splitlines()}, audited

    archive.stop()
    other.stop()

    lost = machines(postgres_databases.url(postgres_databases.create()))
    ran = lost.run("server", "recover", check=False)
    assert f"{len(bodies)} instances added" in ran.stdout, (ran.stdout, ran.stderr[-3000:])
    assert "instances deleted, as recorded in the journal" in ran.stdout
    lost.start_core()
    lost.start_facade()
    with httpx.Client(base_url=lost.http, timeout=60) as http:
        works(http, bodies)
        assert http.get(f"/v2/studies/{deleted}", headers=DICOM).status_code == 404
    found = checks(lost)
    assert found["agreement"][0] == found["history"][0] == "ok", found
    assert "are intact" in lost.run("server", "verify-audit").stdout

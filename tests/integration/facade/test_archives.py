"""Studies, series and instances as ZIP archives."""

import asyncio
import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, part10
from tests.integration.facade.serving import stored, stow

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}.1"
STUDY_URL = f"/v2/studies/{STUDY}"
SERIES_URL = f"{STUDY_URL}/series/{SERIES}"


def archive_of(response: httpx.Response) -> zipfile.ZipFile:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    return archive


@pytest.mark.parametrize("path", [STUDY_URL, SERIES_URL, f"{SERIES_URL}/instances/1.2.3"])
async def test_instances_are_retrieved_as_a_zip_archive(web: httpx.AsyncClient, path: str) -> None:
    file = part10(SOPInstanceUID="1.2.3", transfer_syntax=IMPLICIT_LITTLE)
    await stored(web, file)
    by_header = await web.get(path, headers={"Accept": "application/zip"})
    by_parameter = await web.get(f"{path}?accept=application/zip", headers={"Accept": "text/html,*/*;q=0.8"})

    assert by_header.content == by_parameter.content
    archive = archive_of(by_header)
    assert archive.namelist() == [f"{STUDY}/{SERIES}/1.2.3.dcm"]
    assert archive.read(archive.namelist()[0]) == file
    name = path.rpartition("/")[2]
    assert by_header.headers["content-disposition"] == f'attachment; filename="{name}.zip"'


async def test_a_zip_archive_has_the_requested_transfer_syntax(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=IMPLICIT_LITTLE))
    accept = f"application/zip; transfer-syntax={EXPLICIT_LITTLE}"
    archive = archive_of(await web.get(STUDY_URL, headers={"Accept": accept}))

    assert EXPLICIT_LITTLE.encode() in archive.read(archive.namelist()[0])[:500]


async def test_a_zip_archive_of_many_instances_is_complete(web: httpx.AsyncClient, tmp_path: Path) -> None:
    uids = [f"1.2.3.{number}" for number in range(500)]
    files = {uid: part10(SOPInstanceUID=uid, InstanceNumber=number) for number, uid in enumerate(uids)}
    assert (await stow(web, *files.values())).status_code in (200, 202)
    response = await web.get(STUDY_URL, headers={"Accept": "application/zip"})
    archive = archive_of(response)

    assert {name: archive.read(name) for name in archive.namelist()} == {
        f"{STUDY}/{SERIES}/{uid}.dcm": file for uid, file in files.items()
    }
    if unzip := shutil.which("unzip"):
        (tmp_path / "study.zip").write_bytes(response.content)
        command = [unzip, "-tq", tmp_path / "study.zip"]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)


async def test_a_zip_archive_of_an_unknown_study_is_404(web: httpx.AsyncClient) -> None:
    assert (await web.get(STUDY_URL, headers={"Accept": "application/zip"})).status_code == 404

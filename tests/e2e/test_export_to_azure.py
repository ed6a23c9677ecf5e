"""Exports to Azure Blob Storage, with Azurite."""

import base64
import hmac
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import obstore
import pytest
from obstore.store import AzureStore

from server.bootstrap.serving import running
from server.config import Settings
from tests.core import settings_for
from tests.data import UID_ROOT, part10
from tests.integration.facade.serving import serving, stored
from tests.object_store import ObjectStore, running_azurite
from tests.operations import perform

pytestmark = pytest.mark.clients("azurite")

ACCOUNT = "devstoreaccount1"
STUDY = f"{UID_ROOT}.1"
UIDS = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1"}


@pytest.fixture(scope="module")
def azurite() -> Iterator[ObjectStore]:
    with running_azurite() as server:
        yield server


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Settings]]:
    settings = settings_for(tmp_path)
    async with running(settings) as core, serving(core.address) as web:
        yield web, settings


def signature(server: ObjectStore, container: str, permissions: str = "cw") -> str:
    """Return a shared access signature for a container, by default without permission to read and list."""
    version, expiry, protocol = "2020-12-06", "2099-01-01T00:00:00Z", "https,http"
    resource = f"/blob/{ACCOUNT}/{container}"
    text = "\n".join([permissions, "", expiry, resource, "", "", protocol, version, "c", *[""] * 7])
    key = base64.b64decode(server.environment["AZURE_STORAGE_ACCOUNT_KEY"])
    sig = base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()
    fields = {"sp": permissions, "se": expiry, "spr": protocol, "sv": version, "sr": "c", "sig": sig}
    return urlencode(fields, quote_via=quote)


def files(server: ObjectStore, container: str) -> dict[str, bytes]:
    """Return what is in a container."""
    config: Any = {
        "account_name": ACCOUNT,
        "account_key": server.environment["AZURE_STORAGE_ACCOUNT_KEY"],
        "endpoint": f"{server.endpoint}/{ACCOUNT}",
    }
    store = AzureStore(container, config=config, client_options={"allow_http": True})
    found = [str(entry["path"]) for page in obstore.list(store) for entry in page]
    return {path: bytes(obstore.get(store, path).bytes()) for path in found}


@pytest.mark.parametrize("form", ["signed URI", "connection string", "emulator key"])
async def test_a_study_is_exported(
    archive: tuple[httpx.AsyncClient, Settings], azurite: ObjectStore, form: str
) -> None:
    web, settings = archive
    small = part10(SOPInstanceUID=f"{STUDY}.1.1", frames=[b"ab" * 500], **UIDS)
    large = part10(SOPInstanceUID=f"{STUDY}.1.2", frames=[bytes(range(256)) * 200] * 400, **UIDS)
    await stored(web, small, large)
    container = azurite.bucket().split("/")[2]
    url, sas = f"{azurite.endpoint}/{ACCOUNT}", signature(azurite, container)
    key = azurite.environment["AZURE_STORAGE_ACCOUNT_KEY"]
    destinations = {
        "signed URI": {"blobContainerUri": f"{url}/{container}?{sas}"},
        "connection string": {
            "connectionString": f"BlobEndpoint={url};SharedAccessSignature={sas}",
            "blobContainerName": container,
        },
        "emulator key": {
            "connectionString": f"AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={url};",
            "blobContainerName": container,
        },
    }
    body = {
        "source": {"type": "identifiers", "settings": {"values": [STUDY]}},
        "destination": {"type": "azureblob", "settings": destinations[form]},
    }
    started = await web.post("/v1/export", json=body)
    assert started.status_code == 202, started.text
    await perform(settings)
    done = (await web.get(started.json()["href"])).json()
    operation = done["operationId"]
    assert (done["status"], done["results"]["exported"], done["results"]["skipped"]) == ("completed", 2, 0)
    assert done["results"]["errorHref"] == f"{url}/{container}/{operation}/errors.log"
    found = files(azurite, container)
    assert found.pop(f"{operation}/manifest.jsonl").count(b"\n") == 2
    assert found == {
        f"{operation}/errors.log": b"",
        f"{operation}/results/{STUDY}/{STUDY}.1/{STUDY}.1.1.dcm": small,
        f"{operation}/results/{STUDY}/{STUDY}.1/{STUDY}.1.2.dcm": large,
    }


async def test_a_container_that_does_not_exist_or_refuses_access_is_an_error_at_the_start(
    archive: tuple[httpx.AsyncClient, Settings], azurite: ObjectStore
) -> None:
    web, _ = archive
    container = azurite.bucket().split("/")[2]
    url = f"{azurite.endpoint}/{ACCOUNT}"
    answers = []
    for name, sas in (("missing", signature(azurite, "missing")), (container, signature(azurite, container, "r"))):
        settings = {"blobContainerUri": f"{url}/{name}?{sas}"}
        body = {"source": {"type": "partition"}, "destination": {"type": "azureBlob", "settings": settings}}
        answer = await web.post("/v2/export", json=body)
        answers.append((answer.status_code, answer.text))
    assert answers == [
        (400, "The container or bucket of the destination does not exist."),
        (400, "The destination refuses access with these credentials."),
    ]

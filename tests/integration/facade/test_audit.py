"""What the audit trail says about requests of DICOMweb."""

from pathlib import Path

import httpx
import pytest

from server.bootstrap.serving import running
from tests.audit import audited
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import serving

HEADER = "X-MS-AZUREDICOM-AUDIT-"


async def test_a_request_is_recorded_with_client_method_uri_and_custom_headers(
    web: httpx.AsyncClient, tmp_path: Path
) -> None:
    await web.post("/v2/studies", content=part10(), headers={"Content-Type": "application/dicom"})
    found = await web.get(
        "/v2/studies?PatientName=M%C3%BCller", headers={f"{HEADER}Ward": "3 é".encode(), "X-Request-Id": b"mine"}
    )
    assert found.status_code in (200, 204)
    [record] = await audited(tmp_path, kind="executed", request="mine")
    assert (record["client"], record["method"]) == ("127.0.0.1", "GET")
    assert record["uri"] == f"{web.base_url}/v2/studies?PatientName=M%C3%BCller".replace("//v2", "/v2")
    assert record["headers"] == {f"{HEADER}Ward".lower(): "3 %C3%A9"}
    assert record["search"]["keys"] == [["PatientName", "Müller"]]
    [upload] = await audited(tmp_path, kind="executed", subtype="store")
    assert (upload["method"], upload["code"], upload["items"]) == ("POST", "OK", 1)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({f"{HEADER}{number}": "x" for number in range(10)}, 204),
        ({f"{HEADER}{number}": "x" for number in range(11)}, 400),
        ({f"{HEADER}A": "x" * 2048}, 204),
        ({f"{HEADER}A": "x" * 2049}, 400),
        ({f"{HEADER}A-Bin": "x"}, 400),
        ({f"{HEADER}A!": "x"}, 400),
        ({"traceparent": "00\t01"}, 204),
    ],
    ids=["ten", "eleven", "2048 characters", "2049 characters", "binary metadata", "other name", "trace context"],
)
async def test_custom_headers_that_cannot_be_recorded_are_refused(
    web: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await web.get("/v2/studies", headers=headers)).status_code == status


async def test_the_client_behind_a_trusted_proxy_is_recorded(web: httpx.AsyncClient, tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9, 127.0.0.1", "X-Request-Id": "proxied"}
    await web.get("/v2/studies", headers=forwarded)
    [record] = await audited(tmp_path, kind="executed", request="proxied")
    assert record["client"] == "203.0.113.9"


async def test_a_proxy_that_is_not_trusted_cannot_state_another_client(tmp_path: Path) -> None:
    async with (
        running(settings_for(tmp_path, trusted_facades="127.0.0.1")) as core,
        serving(core.address, trusted_proxies="192.0.2.1") as web,
    ):
        await web.get("/v2/studies", headers={"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "forged"})
    [record] = await audited(tmp_path, kind="executed", request="forged")
    assert record["client"] == "127.0.0.1"


async def test_tokens_in_a_uri_are_not_recorded(web: httpx.AsyncClient, tmp_path: Path) -> None:
    await web.get("/share/dcms_secret/v2/studies?access_token=secret", headers={"X-Request-Id": "shared"})
    [record] = await audited(tmp_path, kind="executed", request="shared")
    assert record["uri"].endswith("/v2/studies?access_token=***")
    await web.get("/%73hare/dcms_secret", headers={"X-Request-Id": "encoded"})
    [record] = await audited(tmp_path, kind="executed", request="encoded")
    assert record["uri"].endswith("/share/***")
    text = b"".join(path.read_bytes() for path in (tmp_path / "audit").rglob("*.log"))
    assert b"secret" not in text

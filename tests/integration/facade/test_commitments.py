"""Storage commitment over a real core (PS3.18 chapter 13; docs/api.md, Storage commitment)."""

import asyncio
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from server.bootstrap.serving import running
from server.domain.lifecycle import commitments
from tests.core import settings_for
from tests.data import SECONDARY_CAPTURE, part10
from tests.integration.facade.serving import JSON, STOW, multipart, serving, stored

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
TRANSACTION = "/v2/commitment-requests/1.1.99999.20220901"
SEND = {"Content-Type": "application/dicom+json", **JSON}


def reference(instance: str, sop_class: str = SECONDARY_CAPTURE) -> dict[str, Any]:
    return {"00081150": {"vr": "UI", "Value": [sop_class]}, "00081155": {"vr": "UI", "Value": [instance]}}


def module(*items: dict[str, Any]) -> dict[str, Any]:
    return {"00081199": {"vr": "SQ", "Value": list(items)}}


def failed(instance: str, reason: int, sop_class: str = SECONDARY_CAPTURE) -> dict[str, Any]:
    return {**reference(instance, sop_class), "00081197": {"vr": "US", "Value": [reason]}}


FILES = [part10(StudyInstanceUID="1.2", SeriesInstanceUID=f"1.2.{n}", SOPInstanceUID=f"1.2.3.{n}") for n in (1, 2)]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_stored_instances_are_committed_and_others_are_not(web: httpx.AsyncClient, version: str) -> None:
    await stored(web, *FILES)
    path = f"/{version}/commitment-requests/2.25.1"
    body = module(reference("1.2.3.1"), reference("9.9"), reference("1.2.3.2", CT_IMAGE))
    answer = await web.post(path, json=body, headers=SEND)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert answer.json() == {
        "00081198": {"vr": "SQ", "Value": [failed("9.9", 0x0112), failed("1.2.3.2", 0x0119, CT_IMAGE)]},
        **module(reference("1.2.3.1")),
    }
    again = await web.get(path, headers=JSON)
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_the_order_and_an_array_do_not_matter_and_only_present_sequences_are_returned(
    web: httpx.AsyncClient,
) -> None:
    await stored(web, *FILES)
    answer = await web.post(TRANSACTION, json=[module(reference("1.2.3.2"), reference("1.2.3.1"))], headers=SEND)
    assert answer.json() == module(reference("1.2.3.2"), reference("1.2.3.1"))


def by_study(*instances: tuple[str, str], failure: int = 0) -> list[dict[str, Any]]:
    """Return items of a Referenced Study Sequence, one series for each instance."""
    reason = {"00081197": {"vr": "US", "Value": [failure]}} if failure else {}
    series = [
        {
            "00081112": {
                "vr": "SQ",
                "Value": [
                    {
                        "0008114A": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [instance]}, **reason}]},
                        "00081150": {"vr": "UI", "Value": [SECONDARY_CAPTURE]},
                    }
                ],
            },
            "0020000E": {"vr": "UI", "Value": [uid]},
        }
        for uid, instance in instances
    ]
    return [{"00081115": {"vr": "SQ", "Value": series}, "0020000D": {"vr": "UI", "Value": ["1.2"]}}]


async def test_instances_are_referenced_by_study_and_series(web: httpx.AsyncClient) -> None:
    await stored(web, *FILES)
    body = {"00081110": {"vr": "SQ", "Value": by_study(("1.2.1", "1.2.3.1"), ("1.2.1", "1.2.3.2"))}}
    answer = await web.post(TRANSACTION, json=body, headers=SEND)
    assert answer.json() == {
        "00081110": {"vr": "SQ", "Value": by_study(("1.2.1", "1.2.3.1"))},
        "0008119B": {"vr": "SQ", "Value": by_study(("1.2.1", "1.2.3.2"), failure=0x0112)},
    }


XML = """<?xml version="1.0" encoding="UTF-8"?>
<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"><DicomAttribute tag="00081199" vr="SQ">
<Item number="1"><DicomAttribute tag="00081150" vr="UI"><Value number="1">{sop_class}</Value></DicomAttribute>
<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3.1</Value></DicomAttribute></Item>
</DicomAttribute></NativeDicomModel>"""


OPENING = '<NativeDicomModel><DicomAttribute tag="00081199" vr="SQ">'


async def test_requests_and_results_may_be_xml(web: httpx.AsyncClient) -> None:
    await stored(web, *FILES)
    headers = {"Content-Type": "application/dicom+xml", "Accept": "application/dicom+xml"}
    answer = await web.post(TRANSACTION, content=XML.format(sop_class=SECONDARY_CAPTURE), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+xml")
    values = [value.text for value in ElementTree.fromstring(answer.text).iter() if value.tag.endswith("Value")]
    assert values == [SECONDARY_CAPTURE, "1.2.3.1"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((b"{}", 400), (b"{", 400), (b"[]", 400), (b"[{},{}]", 400), (b"1", 400), (b'{"00081199": 1}', 400)),
        *((b'{"00081199": {"vr": "SQ"}}', 400), (b'{"00081199": {"vr": "SQ", "Value": [1]}}', 400)),
        *((b'{"00081199": {"vr": "SQ", "Value": [{}]}}', 400),),
        (b'{"00081110": {"vr": "SQ", "Value": [{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]}}', 400),
        (b'{"00081199": {"vr": "SQ", "Value": [{"00081150": {"Value": ["x"]}, "00081155": {"Value": ["1"]}}]}}', 400),
    ],
)
async def test_a_malformed_request_is_refused_and_its_transaction_is_free(
    web: httpx.AsyncClient, body: bytes, status: int
) -> None:
    assert (await web.post(TRANSACTION, content=body, headers=SEND)).status_code == status
    assert (await web.get(TRANSACTION, headers=JSON)).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        *("<", "<a/>", "<NativeDicomModel/>", "<NativeDicomModel><Item/></NativeDicomModel>"),
        '<!DOCTYPE a [<!ENTITY b "1.2">]><NativeDicomModel/>',
        f"{OPENING}<DicomAttribute><Item/></DicomAttribute></DicomAttribute></NativeDicomModel>",
        f"{OPENING}<Value>1<Value>2</Value></Value></DicomAttribute></NativeDicomModel>",
        "<NativeDicomModel>" + "<Item>" * 100,
    ],
)
async def test_malformed_xml_is_refused(web: httpx.AsyncClient, body: str) -> None:
    headers = {"Content-Type": "application/dicom+xml", **JSON}
    assert (await web.post(TRANSACTION, content=body, headers=headers)).status_code == 400


async def test_other_media_types_and_identifiers_are_refused(web: httpx.AsyncClient) -> None:
    body = module(reference("1.2"))
    assert (await web.post(TRANSACTION, json=body, headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await web.post(TRANSACTION, json=body, headers=SEND | {"Accept": "image/png"})).status_code == 406
    assert (await web.post("/v2/commitment-requests/x", json=body, headers=SEND)).status_code == 400
    assert (await web.put(TRANSACTION, json=body, headers=SEND)).status_code == 405


async def test_a_transaction_uid_is_used_once_in_a_partition(partitioned_web: httpx.AsyncClient) -> None:
    for partition in ("a", "b"):
        base = f"/v2/partitions/{partition}"
        await partitioned_web.post(f"{base}/studies", content=multipart(FILES[0]), headers=STOW)
        body = module(reference("1.2.3.1"))
        statuses = [
            (await partitioned_web.post(f"{base}/commitment-requests/2.25.1", json=body, headers=SEND)).status_code
            for _ in range(2)
        ]
        assert statuses == [200, 409]
    assert (await partitioned_web.get("/v2/commitment-requests/2.25.1", headers=JSON)).status_code == 400


@pytest.mark.parametrize("damage", ["changed", "missing"])
async def test_damaged_bytes_are_not_committed(tmp_path: Path, damage: str) -> None:
    """The index knows nothing of the damage before the request."""
    large = part10(SOPInstanceUID="1.2.3.3", frames=[bytes(1_500_000)], Rows=15_000, Columns=100)
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        await stored(web, large)
        blob = max(
            (path for path in (tmp_path / "blobs").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
        )
        if damage == "missing":
            blob.unlink()
        else:
            content = bytearray(blob.read_bytes())
            content[1_000_000] ^= 1
            blob.write_bytes(content)
        answer = await web.post(TRANSACTION, json=module(reference("1.2.3.3")), headers=SEND)
    assert answer.json() == {"00081198": {"vr": "SQ", "Value": [failed("1.2.3.3", 0x0110)]}}


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_large_request_is_verified_afterwards_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    monkeypatch.setattr(commitments, "MAX_IMMEDIATE_BYTES", 0)
    if restarted:  # the first process ends before it verifies anything
        monkeypatch.setattr(commitments.Commitments, "run", _never)
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        await stored(web, *FILES)
        body = module(reference("1.2.3.1"), reference("9.9"))
        accepted = await web.post(TRANSACTION, json=body, headers=SEND)
        assert (accepted.status_code, accepted.content, accepted.headers["retry-after"]) == (202, b"", "10")
        assert (await web.post(TRANSACTION, json=body, headers=SEND)).status_code == 409
        if not restarted:
            await _check_result(web)
    if restarted:
        monkeypatch.undo()
        async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
            await _check_result(web)


async def _never(*_: Any) -> None:
    return


async def _check_result(web: httpx.AsyncClient) -> None:
    while (answer := await web.get(TRANSACTION, headers=JSON)).status_code == 202:
        assert answer.headers["retry-after"]
        await asyncio.sleep(0.02)
    expected = {"00081198": {"vr": "SQ", "Value": [failed("9.9", 0x0112)]}, **module(reference("1.2.3.1"))}
    assert (answer.status_code, answer.json()) == (200, expected)


async def test_results_expire(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, commitment_days=1e-9)) as core, serving(core.address) as web:
        await stored(web, *FILES)
        for _ in range(2):  # the transaction UID may be used again
            answer = await web.post(TRANSACTION, json=module(reference("1.2.3.1")), headers=SEND)
            assert answer.status_code == 200
            assert (await web.get(TRANSACTION, headers=JSON)).status_code == 404


async def test_deleted_instances_are_not_committed(web: httpx.AsyncClient) -> None:
    await stored(web, *FILES)
    await web.delete("/v2/studies/1.2/series/1.2.1")
    answer = await web.post(TRANSACTION, json=module(reference("1.2.3.1"), reference("1.2.3.2")), headers=SEND)
    assert answer.json() == {
        "00081198": {"vr": "SQ", "Value": [failed("1.2.3.1", 0x0112)]},
        **module(reference("1.2.3.2")),
    }

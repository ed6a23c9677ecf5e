"""Pages linked by the Link header, and totals (PS3.18 section 8.3.4.4, RFC 8288)."""

from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, next_of, serving, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


async def walked(web: httpx.AsyncClient, path: str, tag: str, *others: bytes) -> list[str]:
    """Return the UIDs of all pages, while after each page something else is stored."""
    found, url, waiting = [], path, list(others)
    while url:
        response = await web.get(url, headers=JSON)
        assert response.status_code == 200, response.text
        found += [match[tag]["Value"][0] for match in response.json()]
        url = next_of(response) or ""
        if waiting:
            await stored(web, waiting.pop())
    return found


async def test_pages_neither_repeat_nor_miss_a_match_while_others_are_stored_and_deleted(
    web: httpx.AsyncClient,
) -> None:
    uids = [f"1.9.{number}" for number in range(23)]
    await stored(web, *(part10(StudyInstanceUID=uid, PatientName="Doe^A") for uid in uids))
    newer = [part10(StudyInstanceUID=f"1.10.{number}", PatientName="Doe^B") for number in range(8)]

    first = await web.get("/v2/studies?PatientName=doe*&limit=4", headers=JSON)
    await web.delete("/v2/studies/1.9.22")  # was on the first page
    rest = await walked(web, next_of(first) or "", "0020000D", *newer)

    assert [*(match["0020000D"]["Value"][0] for match in first.json()), *rest] == uids[::-1]


async def test_a_link_keeps_the_query_and_drops_the_offset(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10(StudyInstanceUID=f"1.9.{number}", StudyDescription="Knee & hip") for number in range(5)))

    query = "StudyDescription=Knee%20%26%20h*&limit=2&offset=1&includefield=00081030%2CStudyTime"
    first = await web.get(f"/v2/studies?{query}", headers=JSON)
    url = httpx.URL(next_of(first) or "")
    second = await web.get(url, headers=JSON)

    assert url.query.decode().startswith("StudyDescription=Knee%20%26%20h*&limit=2&includefield=00081030%2CStudyTime&")
    assert [match["0020000D"]["Value"] for match in second.json()] == [["1.9.1"], ["1.9.0"]]
    assert next_of(second) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/series?limit=1", "/v2/series"),
        ("/v1/instances?limit=1", "/v1/instances"),
        ("/v2/studies/1.9/series?limit=1", "/v2/studies/1.9/series"),
        ("/v2/studies/1.9/instances/?limit=1", "/v2/studies/1.9/instances"),
        ("/v2/studies/1.9/series/1.9.1/instances?limit=1", "/v2/studies/1.9/series/1.9.1/instances"),
    ],
)
async def test_every_search_has_a_next_page(web: httpx.AsyncClient, path: str, expected: str) -> None:
    await stored(
        web,
        part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1"),
        part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1"),
        part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.2"),
    )
    url = httpx.URL(next_of(await web.get(path, headers=JSON)) or "")

    assert str(url).startswith(f"{web.base_url}{expected}?limit=1&pagetoken=")
    assert (await web.get(url, headers=JSON)).status_code == 200


async def test_a_link_has_the_host_seen_by_the_client(tmp_path: Path) -> None:
    async with (
        running(settings_for(tmp_path, partitions=True)) as core,
        serving(core.address, public_url="https://pacs.example/dicom") as web,
    ):
        base = "/v2/partitions/north"
        await stored(web, *(part10(StudyInstanceUID=f"1.9.{number}") for number in range(2)), base=base)
        link = next_of(await web.get(f"{base}/studies?limit=1", headers=JSON))

        assert (link or "").startswith("https://pacs.example/dicom/v2/partitions/north/studies?limit=1&pagetoken=")


async def test_a_link_too_long_for_proxies_is_omitted(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10(StudyInstanceUID=f"1.9.{number}") for number in range(2)))
    uids = ",".join(f"1.9.{number}" for number in range(1000))

    response = await web.get(f"/v2/studies?limit=1&StudyInstanceUID={uids}", headers=JSON)

    assert len(response.json()) == 1
    assert "link" not in response.headers
    assert "additional results" in response.headers["warning"]


@pytest.mark.parametrize("token", ["x", "AAAAAAAAAAAAAAAAAAAAAA"])
async def test_a_page_token_of_another_search_is_refused(web: httpx.AsyncClient, token: str) -> None:
    assert (await web.get(f"/v2/studies?pagetoken={token}", headers=JSON)).status_code == 400


@pytest.mark.parametrize(
    ("path", "total"),
    [
        ("/v2/studies?totalcount=true&limit=1", 3),
        ("/v2/studies?totalcount=true&PatientName=*do*&limit=1", 2),
        ("/v2/studies?totalcount=true&PatientName=nobody", 0),
        ("/v2/studies?totalcount=true&ModalitiesInStudy=MR", 1),
        ("/v2/series?totalcount=true&limit=2", 4),
        ("/v2/series?totalcount=true&PatientName=doe*", 3),
        ("/v2/instances?totalcount=true&limit=1&offset=3", 5),
        ("/v2/instances?totalcount=true&Modality=CT", 4),
        ("/v2/instances?totalcount=true&PatientName=doe*", 4),
        ("/v2/studies/1.9/series?totalcount=true", 2),
        ("/v2/studies/1.9/instances?totalcount=true", 3),
        ("/v2/studies/1.9/instances?totalcount=true&Modality=MR", 1),
        ("/v2/studies/1.9/series/1.9.1/instances?totalcount=true&limit=1", 2),
    ],
)
async def test_the_total_number_of_matches_is_returned_on_request(
    web: httpx.AsyncClient, path: str, total: int
) -> None:
    doe, roe = {"PatientName": "Doe^Jane", "Modality": "CT"}, {"PatientName": "Roe^Richard", "Modality": "CT"}
    await stored(
        web,
        part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", **doe),
        part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", **doe),
        part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.2", PatientName="Doe^Jane", Modality="MR"),
        part10(StudyInstanceUID="1.8", SeriesInstanceUID="1.8.1", **doe),
        part10(StudyInstanceUID="1.7", SeriesInstanceUID="1.7.1", **roe),
    )
    response = await web.get(path, headers=JSON)

    assert response.headers["x-total-count"] == str(total)
    assert "x-total-count" not in (await web.get(path.replace("totalcount=true", ""), headers=JSON)).headers


async def test_the_number_of_remaining_matches_is_given_if_known(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", Modality="CT") for _ in range(9)))

    async def warning(path: str) -> str | None:
        found: str | None = (await web.get(path, headers=JSON)).headers.get("warning")
        return found

    form = '299 dicomstore "There are {} that can be requested."'
    path = "/v2/studies/1.9/series/1.9.1/instances"
    assert await warning(f"{path}?limit=2&offset=3") == form.format("4 additional results")
    assert await warning(f"{path}?limit=2&InstanceNumber=") == form.format("7 additional results")
    assert await warning("/v2/instances?Modality=CT&limit=2") == form.format("additional results")
    assert await warning("/v2/instances?Modality=CT&limit=2&totalcount=true") == form.format("7 additional results")
    assert await warning(f"{path}?limit=9") is None

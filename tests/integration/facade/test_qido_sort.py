"""Sorted searches, and their pages."""

import httpx
import pytest
import pytest_asyncio

from tests.data import part10
from tests.integration.facade.serving import JSON, next_of, stored

NAMES = {"1.1": "Doe^Jane", "1.2": "Alvarez^Ana", "1.3": "", "1.4": "doe^jane", "1.5": "Ng^Li"}
DATES = {"1.1": "20240102", "1.2": "20240101", "1.3": "20240103", "1.4": "20240102", "1.5": ""}
NG = {"StudyInstanceUID": "1.5", "PatientID": "P", "PatientName": "Ng^Li", "StudyDate": ""}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(web_on_each_database: httpx.AsyncClient) -> httpx.AsyncClient:
    """A facade with five studies; the last one has three series, one of them with three instances."""
    for study, name in NAMES.items():
        given = {"PatientName": name, "StudyDate": DATES[study], "PatientID": "P", "StudyInstanceUID": study}
        file = part10(**given, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.1", SeriesNumber="")
        await stored(web_on_each_database, file)
    for number, instance in (("10", "1.5.1.2"), ("9", "1.5.1.3")):
        file = part10(**NG, SeriesInstanceUID="1.5.1", SOPInstanceUID=instance, InstanceNumber=number, SeriesNumber="")
        await stored(web_on_each_database, file)
    for number in ("10", "9"):
        series = f"1.5.{number}"
        file = part10(**NG, SeriesInstanceUID=series, SOPInstanceUID=f"{series}.1", SeriesNumber=number)
        await stored(web_on_each_database, file)
    return web_on_each_database


async def uids(web: httpx.AsyncClient, url: str, tag: str = "0020000D") -> list[str]:
    """Return the UIDs of the matches on all pages."""
    found: list[str] = []
    following: str | None = url
    while following:
        page = await web.get(following, headers=JSON)
        assert page.status_code == 200, page.text
        assert "ignored" not in page.headers.get("warning", "")
        found += [match[tag]["Value"][0] for match in page.json()]
        following = next_of(page)
    return found


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("PatientName", "2 1 4 5 3"),
        ("-PatientName", "5 4 1 2 3"),
        ("00100010,-StudyDate", "2 4 1 5 3"),
        ("-StudyDate,PatientName,stored", "3 1 4 2 5"),
        ("StudyDate", "2 1 4 3 5"),
        ("-NumberOfStudyRelatedInstances,+PatientID,stored", "5 1 2 3 4"),
        ("stored", "1 2 3 4 5"),
        ("-stored", "5 4 3 2 1"),
        ("", "5 4 3 2 1"),
    ],
)
async def test_studies_are_sorted_on_all_pages(web: httpx.AsyncClient, limit: int, sort: str, expected: str) -> None:
    found = await uids(web, f"/v2/studies?sort={sort}&limit={limit}")
    assert found == [f"1.{number}" for number in expected.split()]
    assert await uids(web, f"/v2/studies?sort={sort}&limit={limit}&PatientID=P") == found


async def test_conditions_apply_to_sorted_searches(web: httpx.AsyncClient) -> None:
    assert await uids(web, "/v2/studies?sort=-PatientName&PatientName=*doe*&limit=1") == ["1.4", "1.1"]
    assert await uids(web, "/v2/studies?sort=PatientName&StudyDate=20240102-20240103") == ["1.1", "1.4", "1.3"]
    assert await uids(web, "/v2/studies?sort=PatientName&offset=3&limit=1") == ["1.5", "1.3"]


async def test_series_and_instances_of_a_study_are_sorted(web: httpx.AsyncClient) -> None:
    series = await uids(web, "/v2/studies/1.5/series?sort=SeriesNumber&limit=1", "0020000E")
    assert series == ["1.5.9", "1.5.10", "1.5.1"]
    instances = await uids(web, "/v2/studies/1.5/series/1.5.1/instances?sort=InstanceNumber&limit=2", "00080018")
    assert instances[-2:] == ["1.5.1.3", "1.5.1.2"] or instances[:2] == ["1.5.1.3", "1.5.1.2"]


@pytest.mark.parametrize(
    "url",
    [
        "/v2/studies?sort=Modality",
        "/v2/studies?sort=PatientName,-PatientName",
        "/v2/studies?sort=StudyDate,StudyTime,PatientName,PatientID,StudyID",
        "/v2/studies?sort=PatientName&PriorRecordKey=AAAA",
        "/v2/series?sort=SeriesNumber",
    ],
)
async def test_an_order_that_is_not_possible_is_refused(web: httpx.AsyncClient, url: str) -> None:
    assert (await web.get(url, headers=JSON)).status_code == 400


async def test_a_page_token_belongs_to_its_order_and_does_not_show_values(web: httpx.AsyncClient) -> None:
    page = await web.get("/v2/studies?sort=PatientName&limit=1&offset=1", headers=JSON)
    following = next_of(page) or ""
    assert "doe" not in following
    for other in ("sort=-PatientName", "limit=1"):
        assert (await web.get(following.replace("sort=PatientName", other), headers=JSON)).status_code == 400

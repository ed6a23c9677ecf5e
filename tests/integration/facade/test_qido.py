"""QIDO-RS over a real core (PS3.18 section 10.6; docs/api.md, Searching)."""

import httpx
import pytest
import pytest_asyncio

from tests.data import part10
from tests.integration.facade.serving import JSON, stored

CT = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "Modality": "CT", "PatientName": "Doe^Jane"}
MR = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1", "Modality": "MR", "PatientName": "Roe^Richard"}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(shared_web: httpx.AsyncClient) -> httpx.AsyncClient:
    await stored(
        shared_web,
        part10(SOPInstanceUID="1.1.1.1", StudyDate="20200101", InstanceNumber="1", **CT),
        part10(SOPInstanceUID="1.1.1.2", StudyDate="20200101", InstanceNumber="2", **CT),
        part10(SOPInstanceUID="1.2.1.1", StudyDate="20240615", InstanceNumber="3", **MR),
    )
    return shared_web


async def uids(web: httpx.AsyncClient, path: str, tag: str) -> list[str]:
    response = await web.get(path, headers=JSON)
    assert response.status_code in (200, 204), response.text
    return [match[tag]["Value"][0] for match in response.json()] if response.status_code == 200 else []


@pytest.mark.parametrize(
    ("path", "tag", "expected"),
    [
        ("/v2/studies", "0020000D", ["1.2", "1.1"]),
        ("/v2/series", "0020000E", ["1.2.1", "1.1.1"]),
        ("/v2/instances", "00080018", ["1.2.1.1", "1.1.1.2", "1.1.1.1"]),
        ("/v1/studies/1.1/series", "0020000E", ["1.1.1"]),
        ("/v1/studies/1.1/instances", "00080018", ["1.1.1.2", "1.1.1.1"]),
        ("/v1/studies/1.1/series/1.1.1/instances", "00080018", ["1.1.1.2", "1.1.1.1"]),
        ("/v2/studies/1.9/series", "0020000E", []),
    ],
)
async def test_all_six_resources_are_searched_newest_first(
    archive: httpx.AsyncClient, path: str, tag: str, expected: list[str]
) -> None:
    assert await uids(archive, path, tag) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("PatientName=*doe*", ["1.1"]),
        ("00100010=Roe%5ERichard", ["1.2"]),
        ("PatientName=jane&fuzzymatching=true", ["1.1"]),
        ("StudyDate=20200101-20211231", ["1.1"]),
        ("StudyInstanceUID=1.1%5C1.2", ["1.2", "1.1"]),
        ("StudyInstanceUID=1.1,1.2", ["1.2", "1.1"]),
        ("StudyInstanceUID=1.1&StudyInstanceUID=1.2", ["1.2", "1.1"]),
        ("ModalitiesInStudy=MR", ["1.2"]),
        ("PatientName=nobody", []),
        ("PatientName=", ["1.2", "1.1"]),
        ("limit=1", ["1.2"]),
        ("limit=1&offset=1", ["1.1"]),
        ("offset=2", []),
        ("limit=25&offset=0&includefield=00081030%2C00080060&StudyDate=19521125-20210507", ["1.1"]),
    ],
)
async def test_studies_are_found(archive: httpx.AsyncClient, query: str, expected: list[str]) -> None:
    assert await uids(archive, f"/v2/studies?{query}", "0020000D") == expected


async def test_no_match_is_no_content(archive: httpx.AsyncClient) -> None:
    response = await archive.get("/v2/studies?PatientID=none", headers=JSON)

    assert (response.status_code, response.content) == (204, b"")


async def test_v1_and_v2_return_their_default_attributes(archive: httpx.AsyncClient) -> None:
    (v1,) = (await archive.get("/v1/studies?StudyInstanceUID=1.1", headers=JSON)).json()
    (v2,) = (await archive.get("/v2/studies?StudyInstanceUID=1.1", headers=JSON)).json()

    expected = {
        "00080020", "00080056", "00080061", "00081190", "00100010", "00100020", "0020000D", "00201206",
        "00201208",
    }  # fmt: skip
    assert expected <= set(v1)
    assert expected <= set(v2)
    assert v2["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert (v2["00080061"]["Value"], v2["00201206"]["Value"], v2["00201208"]["Value"]) == (["CT"], [1], [2])


async def test_more_attributes_are_returned_on_request(archive: httpx.AsyncClient) -> None:
    fields = "includefield=InstanceNumber,AvailableTransferSyntaxUID&includefield=00201208"
    (match,) = (await archive.get(f"/v2/instances?{fields}&SOPInstanceUID=1.1.1.2", headers=JSON)).json()

    assert match["00200013"]["Value"] == [2]
    assert match["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/studies?StudyInstanceUID=1.1", "/v2/studies/1.1"),
        ("/v1/studies/1.1/series", "/v1/studies/1.1/series/1.1.1"),
        ("/v2/instances?SOPInstanceUID=1.1.1.1", "/v2/studies/1.1/series/1.1.1/instances/1.1.1.1"),
    ],
)
async def test_a_match_has_its_retrieve_url(archive: httpx.AsyncClient, path: str, expected: str) -> None:
    (match,) = (await archive.get(path, headers=JSON)).json()

    assert match["00081190"] == {"vr": "UR", "Value": [f"{archive.base_url}{expected}"]}
    assert list(match) == sorted(match)


async def test_unknown_parameters_are_ignored_and_reported(archive: httpx.AsyncClient) -> None:
    response = await archive.get("/v2/studies?nonsense=1&PatientID=P1&includefield=NoSuchField", headers=JSON)

    assert response.status_code == 200
    assert response.headers["warning"] == '299 dicomstore "These parameters were ignored: nonsense, NoSuchField."'


async def test_an_error_text_repeats_only_valid_parameter_names(archive: httpx.AsyncClient) -> None:
    response = await archive.get("/v2/studies?a%0D%0AX-Evil:%201=1", headers=JSON)

    assert response.status_code == 200
    assert "x-evil" not in response.headers
    assert response.headers["warning"] == '299 dicomstore "These parameters were ignored: ?."'


@pytest.mark.parametrize("query", ["nonsense=1", "includefield=NoSuchField", "PatientID=&", "Modality=CT"])
async def test_a_strict_client_gets_errors_instead_of_leniency(archive: httpx.AsyncClient, query: str) -> None:
    strict = await archive.get(f"/v2/studies?{query}", headers=JSON | {"Prefer": "handling=strict"})
    lenient = await archive.get(f"/v2/studies?{query}", headers=JSON)

    assert (strict.status_code, lenient.status_code) == (400, 200)


async def test_more_matches_are_reported_by_a_warning(archive: httpx.AsyncClient) -> None:
    some = await archive.get("/v2/instances?limit=2", headers=JSON)
    rest = await archive.get("/v2/instances?limit=2&offset=2", headers=JSON)

    assert some.headers["warning"] == '299 dicomstore "There are additional results that can be requested."'
    studies = await archive.get("/v2/studies?limit=1", headers=JSON)
    assert studies.headers["warning"] == '299 dicomstore "There are 1 additional results that can be requested."'
    assert "warning" not in rest.headers


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-5", "limit=x", "offset=-1", "fuzzymatching=x",
     "PatientID=%20", "PatientID=%00", "PatientName=+%00",
     "StudyDate=%20", "StudyInstanceUID=%00", "ModalitiesInStudy=%20%5C",
     "StudyDate=yesterday", "StudyDate=20210101-20200101"],
)  # fmt: skip
async def test_invalid_queries_are_refused(archive: httpx.AsyncClient, query: str) -> None:
    assert (await archive.get(f"/v2/studies?{query}", headers=JSON)).status_code == 400


async def test_an_invalid_url_is_refused(archive: httpx.AsyncClient) -> None:
    assert (await archive.get("/v2/studies/x/series", headers=JSON)).status_code == 400


@pytest.mark.parametrize("accept", ["nonsense", "application/dicom", "text/html"])
async def test_the_response_must_be_acceptable(archive: httpx.AsyncClient, accept: str) -> None:
    assert (await archive.get("/v2/studies", headers={"Accept": accept})).status_code == 406


async def test_an_older_viewer_with_two_accept_values_in_one_header_is_served(archive: httpx.AsyncClient) -> None:
    accept = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*"
    response = await archive.get("/v2/studies", headers={"Accept": accept})

    assert (response.status_code, response.headers["content-type"]) == (200, "application/dicom+json")

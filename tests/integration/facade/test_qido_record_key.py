"""Record Key and Prior Record Key, the standard's way to page (PS3.4 section C.6.4)."""

from base64 import b64decode
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, next_of, serving, stored, stow

RESOURCES = [
    ("studies", "0020000D"),
    ("series", "0020000E"),
    ("instances", "00080018"),
    ("studies/1.9/series", "0020000E"),
    ("studies/1.9/instances", "00080018"),
    ("studies/1.9/series/1.9.1/instances", "00080018"),
]


async def found(web: httpx.AsyncClient, path: str) -> list[dict[str, dict[str, object]]]:
    response = await web.get(path, headers=JSON)
    assert response.status_code in (200, 204), response.text
    return list(response.json()) if response.content else []


def key_of(match: dict[str, dict[str, object]]) -> str:
    assert match["0008041B"]["vr"] == "OB"
    return str(match["0008041B"]["InlineBinary"])


@pytest.mark.parametrize(("resource", "tag"), RESOURCES)
async def test_every_search_continues_after_a_record_key(web: httpx.AsyncClient, resource: str, tag: str) -> None:
    for number in range(9):
        await stored(web, part10(StudyInstanceUID=f"1.9.{number}", SeriesInstanceUID=f"1.9.{number}.1"))
        await stored(web, part10(StudyInstanceUID="1.9", SeriesInstanceUID=f"1.9.{number}.2"))
        await stored(web, part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1"))
    for version in ("v1", "v2"):
        everything = await found(web, f"/{version}/{resource}?limit=200")
        assert len(everything) >= 9
        assert not any("0008041B" in match for match in everything)

        walked, prior = [], ""
        while page := await found(
            web, f"/{version}/{resource}?limit=2&offset=0&PriorRecordKey={quote(prior, safe='')}"
        ):
            walked += page
            prior = key_of(page[-1])

        assert [match[tag] for match in walked] == [match[tag] for match in everything]
        keys = [b64decode(key_of(match)) for match in walked]
        assert keys == sorted(set(keys))


async def test_a_record_key_is_the_same_at_every_resource_of_its_level_and_for_every_query(
    web: httpx.AsyncClient,
) -> None:
    await stored(web, part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", Modality="CT"))

    (everywhere,) = await found(web, "/v2/series?includefield=RecordKey")
    (within,) = await found(web, "/v1/studies/1.9/series?Modality=CT&includefield=StudyDate,0008041b")
    (study,) = await found(web, "/v1/studies?includefield=0008041B")

    assert key_of(everywhere) == key_of(within) != key_of(study)


async def test_a_record_key_is_valid_for_other_filters_and_after_deletion_of_its_match(web: httpx.AsyncClient) -> None:
    for number in range(6):
        await stored(web, part10(StudyInstanceUID=f"1.9.{number}", PatientName="Doe^A" if number % 2 else "Roe^B"))
    keys = [key_of(match) for match in await found(web, "/v2/studies?includefield=RecordKey")]
    await web.delete("/v2/studies/1.9.3")

    async def behind(key: str, query: str) -> list[object]:
        page = await found(web, f"/v2/studies?{query}&PriorRecordKey={quote(key, safe='')}")
        return [match["0020000D"]["Value"] for match in page]

    assert await behind(keys[2], "limit=10") == [["1.9.2"], ["1.9.1"], ["1.9.0"]]
    assert await behind(keys[2], "PatientName=roe*") == [["1.9.2"], ["1.9.0"]]
    assert await behind(keys[2], "PatientName=roe*&offset=1") == [["1.9.0"]]
    assert await behind(keys[5], "limit=10") == []


async def test_a_response_of_several_pages_starts_after_a_record_key(web: httpx.AsyncClient) -> None:
    await stow(web, *(part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1") for _ in range(450)))
    everything = await found(web, "/v2/instances?limit=1000&includefield=RecordKey")

    key = quote(key_of(everything[4]), safe="")
    rest = await found(web, f"/v2/instances?limit=430&PriorRecordKey={key}")

    assert [key_of(match) for match in rest] == [key_of(match) for match in everything[5:435]]


async def test_the_link_of_a_page_after_a_record_key_continues_from_that_page(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10(StudyInstanceUID=f"1.9.{number}") for number in range(8)))
    keys = [key_of(match) for match in await found(web, "/v2/studies?includefield=RecordKey")]

    walked = []
    url: str | None = f"/v2/studies?limit=2&PriorRecordKey={quote(keys[1], safe='')}"
    while url:
        page = await web.get(url, headers=JSON)
        assert "additional results" in page.headers.get("warning", "additional results")
        walked += [key_of(match) for match in page.json()]
        url = next_of(page)

    assert walked == keys[2:]


async def test_a_page_token_of_a_query_without_that_record_key_is_refused(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10(StudyInstanceUID=f"1.9.{number}") for number in range(3)))
    first = await web.get("/v2/studies?limit=1&includefield=RecordKey", headers=JSON)
    key = quote(key_of(first.json()[0]), safe="")

    both = await web.get(f"{next_of(first)}&PriorRecordKey={key}", headers=JSON)

    assert both.status_code == 400
    assert "page token" in both.text


@pytest.mark.parametrize("key", ["A", "AAAA", "A" * 16, "*", "f////////////////w=="])
async def test_an_invalid_record_key_is_refused_by_name(web: httpx.AsyncClient, key: str) -> None:
    for resource, _ in RESOURCES:
        response = await web.get(f"/v2/{resource}?PriorRecordKey={quote(key, safe='')}", headers=JSON)
        assert response.status_code == 400
        assert "PriorRecordKey" in response.text


async def test_a_record_key_of_another_level_or_partition_is_refused(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, partitions=True)) as core, serving(core.address) as web:
        north, south = "/v2/partitions/north", "/v2/partitions/south"
        for base in (north, south):
            await stored(web, part10(StudyInstanceUID="1.9"), base=base)
        (study,) = await found(web, f"{north}/studies?includefield=RecordKey")
        key = quote(key_of(study), safe="")

        assert await found(web, f"{north}/studies?PriorRecordKey={key}") == []
        for path in (f"{north}/series", f"{south}/studies"):
            response = await web.get(f"{path}?PriorRecordKey={key}", headers=JSON)
            assert response.status_code == 400
            assert "PriorRecordKey" in response.text

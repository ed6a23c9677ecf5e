"""Search responses of more than one page of the core (PS3.18 section 8.3.4.4)."""

import httpx

from tests.data import part10
from tests.integration.facade.serving import JSON, stored_together


async def test_a_limit_beyond_one_page_is_streamed_page_by_page(web: httpx.AsyncClient) -> None:
    await stored_together(web, *(part10(StudyInstanceUID="1.7") for _ in range(450)))
    for limit, offset, expected in [(430, 0, 430), (100_000, 0, 450), (1000, 300, 150), (201, 400, 50)]:
        answer = await web.get(f"/v2/instances?limit={limit}&offset={offset}", headers=JSON)
        found = [match["00080018"]["Value"][0] for match in answer.json()]
        assert len(found) == len(set(found)) == expected


async def test_without_a_limit_all_contents_of_a_series_or_study_are_returned(web: httpx.AsyncClient) -> None:
    await stored_together(web, *(part10(StudyInstanceUID="1.7", SeriesInstanceUID="1.7.1") for _ in range(250)))
    for path in ("/v2/studies/1.7/series/1.7.1/instances", "/v1/studies/1.7/instances"):
        answer = await web.get(path, headers=JSON)
        assert len({match["00080018"]["Value"][0] for match in answer.json()}) == 250
        assert "warning" not in answer.headers
        strict = await web.get(path, headers=JSON | {"Prefer": "handling=strict"})
        assert len(strict.json()) == 100
        assert "additional results" in strict.headers["warning"]
    everywhere = await web.get("/v2/instances", headers=JSON)
    assert len(everywhere.json()) == 100
    assert "additional results" in everywhere.headers["warning"]


async def test_a_response_of_several_pages_has_total_and_remaining_on_request(web: httpx.AsyncClient) -> None:
    await stored_together(web, *(part10(StudyInstanceUID="1.7") for _ in range(250)))

    answer = await web.get("/v2/instances?limit=230&offset=5&totalcount=true", headers=JSON)

    assert len(answer.json()) == 230
    assert answer.headers["x-total-count"] == "250"
    assert answer.headers["warning"] == '299 dicomstore "There are 15 additional results that can be requested."'
    assert "warning" not in (await web.get("/v2/instances?limit=230", headers=JSON)).headers
    rest = await web.get("/v2/studies/1.7/instances?limit=230", headers=JSON)
    assert rest.headers["warning"] == '299 dicomstore "There are 20 additional results that can be requested."'
    assert "link" not in rest.headers

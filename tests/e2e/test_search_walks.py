"""Pages of a search while another process stores and deletes: no match is missed or repeated.

Two cores, each a process of its own, share an index and its blobs. One has a facade, which is asked page by page. The
other stores and deletes continuously, and no page is asked for before it has done both since the page before.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest

from tests.core import CoreClient, Ref
from tests.data import new_uid, part10
from tests.e2e.archive import Archive, running_archive
from tests.integration.facade.serving import JSON, next_of

STUDIES = 150
"""Studies stored before the walks that stay, each beside one that does not."""

PAGE = 29

PAUSE_S = 0.02
"""Of the writer, which would take the time of the processors from the searches."""

WITHIN = "1.9.1"
"""A study with many series and instances, of which half stay."""

SEARCHES = {
    "/v2/studies?": "0020000D",
    "/v2/series?": "0020000E",
    "/v2/instances?": "00080018",
    "/v2/studies?PatientName=*jane*": "0020000D",
    "/v1/series?PatientName=doe*": "0020000E",
    f"/v1/studies/{WITHIN}/series?": "0020000E",
    f"/v1/studies/{WITHIN}/instances?Modality=OT": "00080018",
}
"""The tag of the matches' UID by search."""


def study_files(study: str) -> list[bytes]:
    series = [f"{study}.1", f"{study}.1", f"{study}.2"]
    return [part10(StudyInstanceUID=study, SeriesInstanceUID=uid, PatientName="Doe^Jane") for uid in series]


def reference(uids: Any, depth: int) -> Ref:
    """Return the study, the series or the instance that `uids` names."""
    return Ref(
        study_instance_uid=uids.study_instance_uid,
        series_instance_uid=uids.series_instance_uid if depth > 1 else "",
        sop_instance_uid=uids.sop_instance_uid if depth > 2 else "",
    )


class Writer:
    """Stores and deletes through a core and counts acknowledgements."""

    def __init__(self, core: CoreClient, passing: list[Ref]) -> None:
        self._core = core
        self._passing = passing
        self._counted = asyncio.Condition()
        self._counts = {"stored": 0, "deleted": 0}

    async def write(self) -> None:
        """Store a study, a series and an instance, and delete any three things that do not stay, for ever."""
        chance = random.Random(5)
        while True:
            study = new_uid()
            stored = await self._core.stored(
                part10(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", PatientName="Doe^Jane"),
                part10(StudyInstanceUID=WITHIN, SeriesInstanceUID=f"{WITHIN}.{study}", PatientName="Doe^Jane"),
                part10(StudyInstanceUID=WITHIN, SeriesInstanceUID=f"{WITHIN}.1", PatientName="Doe^Jane"),
            )
            self._passing += [reference(one.id, depth) for depth, one in enumerate(stored, 1)]
            await self._count("stored", len(stored))
            for _ in stored:
                gone = self._passing.pop(chance.randrange(len(self._passing)))
                await self._count("deleted", await self._core.delete(gone))
            await asyncio.sleep(PAUSE_S)

    async def written(self) -> None:
        """Return when something was stored and something deleted since this was called."""
        before = dict(self._counts)
        async with self._counted:
            await self._counted.wait_for(lambda: all(self._counts[what] > count for what, count in before.items()))

    async def _count(self, what: str, number: int) -> None:
        async with self._counted:
            self._counts[what] += number
            self._counted.notify_all()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def archives(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Archive, Archive]]:
    """One that is asked, and a core beside it on the same data and database."""
    database = {} if request.param == "sqlite" else {"database": request.getfixturevalue("postgres_url")}
    with running_archive(tmp_path / "data", **database) as asked:
        other = Archive(tmp_path / "data", **database)
        try:
            other.start_core()
            yield asked, other
        finally:
            other.stop()


@asynccontextmanager
async def writing(core: CoreClient, passing: list[Ref]) -> AsyncIterator[Writer]:
    """Write until the context is left; errors of the writer are raised then."""
    writer = Writer(core, passing)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(writer.write())
        yield writer
        task.cancel()


async def prepared(core: CoreClient) -> list[Ref]:
    """Store permanent and, between them, temporary instances; return the temporary ones."""
    passing = []
    for number in range(STUDIES):
        series = f"{WITHIN}.{number % 5 + 1}"
        stored = await core.stored(
            *study_files(new_uid()),
            *study_files(new_uid()),
            part10(StudyInstanceUID=WITHIN, SeriesInstanceUID=series),
            part10(StudyInstanceUID=WITHIN, SeriesInstanceUID=series),
            part10(StudyInstanceUID=WITHIN, SeriesInstanceUID=f"{WITHIN}.0.{number}"),
        )
        passing += [reference(stored[3].id, 1), reference(stored[7].id, 3)]
        passing += [reference(stored[8].id, 2)] if number % 2 else []
    return passing


Walk = Callable[[httpx.AsyncClient, str, Writer], AsyncIterator[list[dict[str, Any]]]]


async def by_links(web: httpx.AsyncClient, search: str, writer: Writer) -> AsyncIterator[list[dict[str, Any]]]:
    url: str | None = f"{search}&limit={PAGE}"
    while url:
        page = await web.get(url, headers=JSON)
        assert page.status_code == 200, page.text
        yield page.json()
        await writer.written()
        url = next_of(page)


async def by_record_keys(web: httpx.AsyncClient, search: str, writer: Writer) -> AsyncIterator[list[dict[str, Any]]]:
    prior = ""
    while True:
        page = await web.get(f"{search}&limit={PAGE}&PriorRecordKey={quote(prior, safe='')}", headers=JSON)
        if page.status_code == 204:
            return
        assert page.status_code == 200, page.text
        yield page.json()
        prior = page.json()[-1]["0008041B"]["InlineBinary"]
        await writer.written()


async def listed(web: httpx.AsyncClient, search: str, tag: str) -> list[str]:
    answer = await web.get(f"{search}&limit=100000", headers=JSON)
    return [match[tag]["Value"][0] for match in answer.json()]


async def check_pages(web: httpx.AsyncClient, core: CoreClient, passing: list[Ref], walk: Walk) -> None:
    """Walk through the pages of each search beside the writer; compare with the matches before and after."""
    deleted = 0
    for search, tag in SEARCHES.items():
        before = await listed(web, search, tag)
        found: list[str] = []
        pages = 0
        async with writing(core, passing) as writer:
            async for page in walk(web, search, writer):
                pages += 1
                found += [match[tag]["Value"][0] for match in page]
        after = set(await listed(web, search, tag))

        stayed = [uid for uid in before if uid in after]
        assert pages > 4
        assert len(stayed) > 4 * PAGE
        deleted += len(before) - len(stayed)
        assert after - set(before)
        assert len(found) == len(set(found)), search
        assert [uid for uid in found if uid in set(stayed)] == stayed, search
    assert deleted  # by the searches together: in one of them the writer may delete nothing that it found


@pytest.mark.timeout(300)
async def test_pages_miss_and_repeat_no_match_while_another_process_stores_and_deletes(
    archives: tuple[Archive, Archive],
) -> None:
    asked, other = archives
    async with (
        grpc.aio.insecure_channel(other.core_address) as channel,
        httpx.AsyncClient(base_url=asked.http, timeout=30) as web,
    ):
        core = CoreClient(channel, other.data, other.core_address)
        passing = await prepared(core)
        for walk in (by_links, by_record_keys):  # in one archive: preparing it takes longer than a walk
            await check_pages(web, core, passing, walk)

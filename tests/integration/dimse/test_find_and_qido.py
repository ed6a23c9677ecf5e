"""C-FIND and QIDO-RS find the same: any query, at any level, of a generated corpus."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.association import Association

from tests.data import part10
from tests.integration.dimse.gateways import running_core, running_gateway
from tests.integration.dimse.peers import STUDY_ROOT, associated, found, keys, store
from tests.integration.facade.serving import JSON, serving

MODEL = STUDY_ROOT["find"]
NAMES = ["Doe^Jane", "Doe^John^^Dr", "Müller^Jörg", "Yamada^Tarou=山田^太郎=やまだ^たろう", ""]
STUDY_VALUES = {
    "PatientName": NAMES,
    "PatientID": ["P1", "p1", "P*2", ""],
    "StudyDate": ["20200101", "20200615", "20210101", ""],
    "StudyTime": ["080000", "120000.5", "235959", ""],
    "AccessionNumber": ["A1", "A,2", ""],
    "StudyDescription": ["Head", "HEAD with contrast", ""],
}
SERIES_VALUES = {"Modality": ["CT", "MR", "SR", ""], "SeriesNumber": ["1", "2", ""], "SeriesDescription": ["Thin", ""]}
REQUESTS = ["R1", "R2", ""]
PATTERNS = ["*", "?oe*", "*e*", "m?ller*", "=山田*", "A?", "h*", "p?"]
RANGES = {"StudyDate": ["20200101-", "-20200615", "20200102-20201231"], "StudyTime": ["08-12", "-0800", "12-"]}
LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
PATHS = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}


def corpus() -> Iterator[bytes]:
    """Yield 48 instances of 12 studies, in which the values occur in all positions."""
    for number in range(48):
        study, series = number % 12, number % 24
        values: dict[str, Any] = {keyword: some[study % len(some)] for keyword, some in STUDY_VALUES.items()}
        values |= {keyword: some[(series + study) % len(some)] for keyword, some in SERIES_VALUES.items()}
        if request := REQUESTS[series % len(REQUESTS)]:
            values["RequestAttributesSequence"] = [keys(RequestedProcedureID=request)]
        yield part10(
            SpecificCharacterSet="ISO_IR 192",
            StudyInstanceUID=f"2.25.{study + 1}",
            SeriesInstanceUID=f"2.25.{study + 1}.{series + 1}",
            SOPInstanceUID=f"2.25.{study + 1}.{series + 1}.{number + 1}",
            InstanceNumber=str(number % 5 + 1),
            **values,
        )


@contextmanager
def running_facade(core: str) -> Iterator[str]:
    """Run a facade in a thread; yield its address."""
    loop = asyncio.new_event_loop()
    started, stop, address = threading.Event(), asyncio.Event(), [""]

    async def serve() -> None:
        async with serving(core) as client:
            address[0] = str(client.base_url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def clients(module_path: Path) -> Iterator[tuple[Association, httpx.Client]]:
    """A DIMSE and a DICOMweb client of one archive."""
    with (
        running_core(module_path / "core") as core,
        running_gateway(core) as gateway,
        running_facade(core) as facade,
        httpx.Client(base_url=facade, headers=JSON) as web,
    ):
        store(core, *corpus())
        with associated(gateway.port, MODEL) as association:
            yield association, web


def values_of(keyword: str) -> st.SearchStrategy[str]:
    stored = [value for value in (STUDY_VALUES | SERIES_VALUES).get(keyword, []) if value]
    if keyword in RANGES:
        return st.sampled_from([*stored, *RANGES[keyword]])
    if keyword == "SeriesNumber":
        return st.sampled_from(stored)
    return st.sampled_from([*stored, *(value.upper() for value in stored), *PATTERNS])


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """Return a level, and keys with values: keywords, or the path of a member of a sequence."""
    level = draw(st.sampled_from(list(LEVELS)))
    searchable = [*STUDY_VALUES, *(SERIES_VALUES if level != "STUDY" else ())]
    chosen = draw(st.lists(st.sampled_from(searchable), unique=True, max_size=3))
    asked = {keyword: draw(values_of(keyword)) for keyword in chosen}
    if level != "STUDY" and draw(st.booleans()):
        asked["RequestAttributesSequence.RequestedProcedureID"] = draw(st.sampled_from(["R1", "r*", "R9"]))
    if draw(st.integers(0, 3)) == 0:
        uids = draw(st.lists(st.integers(1, 13), unique=True, min_size=1, max_size=4))
        asked["StudyInstanceUID"] = ",".join(f"2.25.{number}" for number in uids)
    return level, asked


@given(queries())
@settings(max_examples=40, deadline=None)
def test_c_find_and_qido_find_the_same(
    clients: tuple[Association, httpx.Client], query: tuple[str, dict[str, str]]
) -> None:
    association, web = clients
    level, asked = query
    identifier = keys(SpecificCharacterSet="ISO_IR 192", QueryRetrieveLevel=level, **{LEVELS[level]: ""})
    for name, value in asked.items():
        sequence, dot, keyword = name.partition(".")
        content = {sequence: {keyword: value}} if dot else {name: value.split(",") if name.endswith("UID") else value}
        identifier.update(keys(**content))
    matches, statuses = found(association, MODEL, identifier)
    assert statuses[-1] == 0
    response = web.get(f"/v2/{PATHS[level]}", params=asked | {"limit": "200"})
    assert response.status_code in (200, 204), response.text
    tag = identifier.data_element(LEVELS[level]).tag.json_key  # type: ignore[union-attr]
    expected = [one[tag]["Value"][0] for one in response.json()] if response.content else []
    assert [match[LEVELS[level]].value for match in matches] == expected

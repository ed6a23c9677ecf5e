"""The core on PostgreSQL: one pass through what test_store, test_retrieve and the others check on SQLite."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dicomstore.v1 import extended_query_tag_service_pb2 as tags
from dicomstore.v1 import extended_query_tag_service_pb2_grpc, operation_service_pb2, operation_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as search
from sqlalchemy import make_url

from server.adapters.sql.engine import open_database
from server.dicom.matching.query_tags import extract
from tests.core import CoreClient, Ref, ref_of
from tests.data import new_uid, part10
from tests.integration.conftest import a_core
from tests.operations import index_all

pytestmark = pytest.mark.postgres


async def studies_of(core: CoreClient, name: str) -> list[str]:
    request = search.SearchRequest(
        level=search.QUERY_LEVEL_STUDY, terms=[search.Term(attribute="PatientName", values=[name])]
    )
    answer = await core.search_stub.Search(request)
    return [match.resource.study_instance_uid for match in answer.matches]


async def test_an_instance_is_stored_found_retrieved_and_deleted(postgres_url: str, tmp_path: Path) -> None:
    study = new_uid()
    body = part10(StudyInstanceUID=study, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192")
    async with a_core(tmp_path, database=postgres_url) as core:
        [stored] = await core.stored(body)
        assert await studies_of(core, "muller*") == [study]
        assert [data for _, data in await core.retrieve(ref_of(stored))] == [body]
        assert await core.delete(ref_of(stored)) == 1
        assert await studies_of(core, "muller*") == []
        assert [change.action for change in await core.changes()] == [1, 3]


async def test_several_cores_on_one_database_and_one_blob_store(postgres_url: str, tmp_path: Path) -> None:
    study = new_uid()
    bodies = [part10(StudyInstanceUID=study) for _ in range(60)]
    async with a_core(tmp_path, database=postgres_url) as one, a_core(tmp_path, database=postgres_url) as other:
        outcomes = await asyncio.gather(*(core.store(*bodies) for core in (one, other, one, other)))
        assert all(outcome.HasField("stored") for of_call in outcomes for outcome in of_call)
        new = [outcome for of_call in outcomes for outcome in of_call if not outcome.stored.identical]
        assert len(new) == len(bodies)
        for core in (one, other):
            found = await core.retrieve(Ref(study_instance_uid=study))
            assert sorted(data for _, data in found) == sorted(bodies)
        sequences = [change.sequence for change in await one.changes()]
        assert sequences == list(range(1, len(bodies) + 1))


async def test_an_attribute_becomes_searchable(postgres_url: str, tmp_path: Path) -> None:
    async with a_core(tmp_path, database=postgres_url) as core:
        await core.stored(part10(StationName="A"), part10(StationName="B"))
        stub: Any = extended_query_tag_service_pb2_grpc.ExtendedQueryTagServiceStub(core.channel)
        new = tags.NewExtendedQueryTag(path="StationName", level=tags.TAG_LEVEL_INSTANCE)
        started = (await stub.AddExtendedQueryTags(tags.AddExtendedQueryTagsRequest(tags=[new]))).operation
        assert started.total == 2
        database = open_database(postgres_url, extract=extract)
        await index_all(database, started.id, datetime.now(UTC), most=1)
        await database.close()
        operations: Any = operation_service_pb2_grpc.OperationServiceStub(core.channel)
        ended = await operations.GetOperation(operation_service_pb2.GetOperationRequest(id=started.id))
        assert (ended.operation.done, ended.operation.percent_complete) == (2, 100)
        request = search.SearchRequest(
            level=search.QUERY_LEVEL_INSTANCE, terms=[search.Term(attribute="StationName", values=["b"])]
        )
        assert len((await core.search_stub.Search(request)).matches) == 1


@pytest.fixture
def limited_url(postgres_url: str) -> Iterator[str]:
    """URL of a database, for a role limited to four connections."""
    owner = make_url(postgres_url).set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 4")
        connection.execute(b"GRANT %b TO limited" % (make_url(postgres_url).username or "postgres").encode())
        yield make_url(postgres_url).set(username="limited").render_as_string(False)
        connection.execute("DROP ROLE limited")


async def test_a_core_works_with_fewer_connections_than_its_pool_size(
    postgres_url: str, limited_url: str, tmp_path: Path
) -> None:
    study = new_uid()
    async with a_core(tmp_path, database=postgres_url) as core:
        await core.stored(part10(StudyInstanceUID=study, PatientName="Few"))
    async with a_core(tmp_path, database=limited_url) as core:
        await core.stored(part10(StudyInstanceUID=study, PatientName="Few"))
        found = await asyncio.gather(*(studies_of(core, "few") for _ in range(40)))
    assert found == [[study]] * 40

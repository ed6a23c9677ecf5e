"""`dicomstore operations`, against a real core."""

from datetime import UTC, datetime
from typing import Any

from dicomstore.v1 import extended_query_tag_service_pb2 as pb
from dicomstore.v1 import extended_query_tag_service_pb2_grpc

from server.adapters.sql.engine import open_database
from server.dicom.matching.query_tags import extract
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.operations import index_all


async def started(archive: CoreClient, keyword: str = "StationName") -> str:
    """Add a tag and return the operation."""
    stub: Any = extended_query_tag_service_pb2_grpc.ExtendedQueryTagServiceStub(archive.channel)
    tag = pb.NewExtendedQueryTag(path=keyword, level=pb.TAG_LEVEL_SERIES)
    answer = await stub.AddExtendedQueryTags(pb.AddExtendedQueryTagsRequest(tags=[tag]))
    return str(answer.operation.id)


async def run_operation(archive: CoreClient, operation_id: str) -> None:
    """Run the steps of a worker."""
    database = open_database(settings_for(archive.data).database_url, extract=extract)
    await index_all(database, operation_id, datetime.now(UTC), most=1)
    await database.close()


async def test_operations_are_listed_newest_first(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(), part10())
    first = await started(archive)
    await run_operation(archive, first)
    second = await started(archive, "ProtocolName")
    ran = await dicomstore("operations", "--json")
    assert [(one["id"], one["type"], one["state"]) for one in ran.lines] == [
        (second, "reindex", "not started"),
        (first, "reindex", "succeeded"),
    ]
    done = ran.lines[1]
    assert (done["done"], done["total"], done["percent_complete"]) == (2, 2, 100)
    assert done["request"] == {"tags": ["00081010"]}


async def test_the_table_shows_the_progress(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(), part10())
    operation = await started(archive)
    ran = await dicomstore("operations", operation)
    assert ran.exit_code == 0
    assert operation in ran.stdout
    assert "0 of 2 (0 %)" in ran.stdout


async def test_no_operations_are_not_a_failure(dicomstore: Any) -> None:
    ran = await dicomstore("operations")
    assert (ran.exit_code, ran.stdout) == (0, "")


async def test_follow_ends_with_the_operation(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(), part10())
    operation = await started(archive)
    process = await dicomstore.start("operations", operation, "--follow", "--json")
    await run_operation(archive, operation)
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert b'"state": "succeeded"' in output
    assert output.count(b"\n") == 1


async def test_cancel_stops_an_operation_and_following_a_cancelled_one_is_a_failure(
    archive: CoreClient, dicomstore: Any
) -> None:
    operation = await started(archive)
    ran = await dicomstore("operations", operation, "--cancel", "--json")
    assert (ran.exit_code, ran.lines[0]["state"]) == (0, "canceled")
    followed = await dicomstore("operations", operation, "--follow", "--json")
    assert (followed.exit_code, followed.lines[0]["state"]) == (1, "canceled")


async def test_an_unknown_operation_is_reported(dicomstore: Any) -> None:
    ran = await dicomstore("operations", "0" * 32)
    assert ran.exit_code == 1
    assert "There is no such operation." in ran.stderr


async def test_follow_and_cancel_need_an_operation(dicomstore: Any) -> None:
    for option in ("--follow", "--cancel"):
        ran = await dicomstore("operations", option)
        assert ran.exit_code == 2
        assert "need the ID of an operation" in ran.stderr

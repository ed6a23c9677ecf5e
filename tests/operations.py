"""Operations in tests: starting those that index by tags, and doing what a worker does."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta

from server.adapters.sql.engine import Database
from server.bootstrap.working import components_with_blobs
from server.config import Settings
from server.domain.access import Access
from server.domain.operations.reindex import reindex
from server.domain.operations.types import OperationType, OperationTypes
from server.domain.operations.work import Work
from server.domain.partition_names import PartitionNames
from server.domain.query_tags import ExtendedQueryTags, addition
from server.domain.read_only import ReadOnlyState
from server.model.call import EVERYBODY, Call
from server.model.errors import NotFound
from server.model.operation import Operation, OperationState, OperationUpdate
from server.model.search.query_tag import NewTag
from server.opening import prepare_when_there


async def add_tags(
    database: Database, tags: Sequence[NewTag], operation_id: str, now: datetime, *, request_id: str = ""
) -> Operation:
    """Add tags with an operation of a given id."""
    type_ = reindex(database.tags)
    return await database.tags.add(request_id, lambda state: addition(type_, tags, state, operation_id, now))


def query_tags(database: Database, now: datetime) -> ExtendedQueryTags:
    """Return the query tags as clients use them."""
    names = PartitionNames(database.partitions, enabled=False, now=lambda: now)
    return ExtendedQueryTags(
        access=Access(names, ReadOnlyState()), tags=database.tags, reindex=reindex(database.tags), now=lambda: now
    )


async def delete_tag(database: Database, tag: str, now: datetime) -> bool:
    """Delete a tag with its values, as a client does; return whether there was one."""
    try:
        await query_tags(database, now).delete(Call("test", EVERYBODY), tag)
    except NotFound:
        return False
    return True


async def index_some(database: Database, operation_id: str, most: int, now: datetime) -> bool:
    """Index at most so many instances for an operation; return whether there are more."""
    type_ = reindex(database.tags, most)
    return await work_of(database, now, type_).run_step(type_, 0, operation_id)


async def index_all(database: Database, operation_id: str, now: datetime, *, most: int = 2) -> None:
    """Do all of an operation, so many instances at a time."""
    while await index_some(database, operation_id, most, now):
        pass


def work_of(database: Database, now: datetime, *types: OperationType) -> Work:
    """Return the work on operations of some types."""
    registry = OperationTypes.of(types)
    return Work(record=database.operations, types=registry, now=lambda: now, retention=timedelta(days=7))


async def end(database: Database, operation_id: str, state: OperationState, now: datetime, error: str = "") -> None:
    """End an operation as it is."""
    await database.operations.update(
        operation_id, lambda operation: OperationUpdate(replace(operation, state=state, error=error, updated=now))
    )


async def perform(settings: Settings, most_steps: int | None = None) -> None:
    """Do what a worker with access to the blobs does, or only some calls of steps."""
    async with AsyncExitStack() as stack:
        prepared = await prepare_when_there(settings)
        components = await components_with_blobs(settings, prepared, (), stack)
        left = most_steps
        for operation in await components.work.unfinished():
            type_ = components.operation_types.by_name[operation.type]
            for number in range(len(type_.steps)):
                while left != 0 and await components.work.run_step(type_, number, operation.id):
                    left = None if left is None else left - 1
            await components.work.clean_up(type_, operation.id)

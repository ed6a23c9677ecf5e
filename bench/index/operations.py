"""Adding extended query tags to an index, and re-indexing as a worker does."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from server.adapters.sql.engine import Database
from server.domain.operations.reindex import reindex
from server.domain.operations.types import OperationTypes
from server.domain.operations.work import Work
from server.domain.query_tags import addition
from server.model.operation import Operation
from server.model.search.query_tag import NewTag


async def add_tags(database: Database, tags: Sequence[NewTag]) -> Operation:
    """Add tags and start their re-index operation."""
    type_, now = reindex(database.tags), datetime.now(UTC)
    return await database.tags.add("", lambda state: addition(type_, tags, state, "a" * 32, now))


async def index_some(database: Database, operation_id: str, most: int) -> bool:
    """Index at most `most` instances; return whether there are more."""
    type_ = reindex(database.tags, most)
    types, keep = OperationTypes.of([type_]), timedelta(days=7)
    work = Work(record=database.operations, types=types, now=lambda: datetime.now(UTC), retention=keep)
    return await work.run_step(type_, 0, operation_id)

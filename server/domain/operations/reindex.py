"""Operation type `reindex`: indexes stored instances by extended query tags that were added after they were stored.

Items are instances, newest first. An existing value is not replaced, because it is from a newer instance; so the
newest instance with a value determines that of its study and series, as for stores. The query tags become READY with
the last instances.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from server.domain.operations import lifecycle
from server.domain.operations.types import OperationType, Progress, Step
from server.model.access import Action
from server.model.operation import Operation
from server.model.search.query_tag import TagStatus
from server.ports.tags import Tags

NAME = "reindex"
STEP_INSTANCES = 500
"""Most instances that one call of the step indexes."""


def reindex(tags: Tags, most_instances: int = STEP_INSTANCES) -> OperationType:
    """Return the operation type. Adding query tags creates its operations (`started`)."""

    async def index(operation: Operation) -> Progress:
        batch = await tags.read(operation.id, operation.cursor, most_instances)
        return Progress(
            cursor=batch.next_position,
            done=batch.count,
            failed=batch.faulty,
            is_last=batch.is_last,
            store=partial(tags.index, batch, status=TagStatus.READY if batch.is_last else TagStatus.ADDING),
        )

    return OperationType(
        name=NAME,
        request_message="ReindexRequest",
        steps=(Step("index", index),),
        is_exclusive=True,
        start_action=Action.MANAGE_EXTENDED_QUERY_TAGS,
    )


def started(
    type_: OperationType,
    operation_id: str,
    tags: Sequence[str],
    unfinished: Sequence[Operation],
    *,
    instances: int,
    position: str,
    now: datetime,
    trace: str = "",
) -> Operation:
    """Return a new operation that indexes by query tags.

    Args:
        tags: eight hex digits each.
        trace: see `Operation`.
        instances, position: number of instances to index, and start position; see `TagsState`.

    Raises:
        WrongState: OPERATION_RUNNING.
    """
    operation = lifecycle.started(type_, operation_id, {"tags": list(tags)}, unfinished, now, trace)
    return replace(operation, total=instances, cursor=position)

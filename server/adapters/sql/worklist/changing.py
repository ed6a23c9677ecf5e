"""What every change of a workitem begins and ends with: a lock, and a record in the journal."""

from collections.abc import Collection

from sqlalchemy import Connection

from server.adapters.sql.core import counters
from server.adapters.sql.core.counters import Counters
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.model.ids import PartitionName, Uid
from server.model.worklist.workitem import Workitem
from server.ports.journal import WorkitemChange


def lock(connection: Connection, partition_key: int, uid: Uid) -> Counters:
    """Wait for other changes of a workitem. Must come before other locks on workitems and studies."""
    return lock_all(connection, [(partition_key, uid)])


def lock_all(connection: Connection, workitems: Collection[tuple[int, Uid]]) -> Counters:
    """Wait for other changes of workitems, given by the keys of their partitions and their UIDs; see `lock`."""
    shards = {shard_of(connection, partition_key, uid) for partition_key, uid in workitems}
    return counters.lock_later(connection, shards, versions=len(workitems))()


def record(
    connection: Connection, last: Counters, partition: PartitionName, uid: Uid, workitem: Workitem | None
) -> None:
    """Record a change in the journal, and with a version, so that an index without it is recognised as older."""
    record_all(connection, last, [(partition, uid, workitem)])


def record_all(
    connection: Connection, last: Counters, changed: Collection[tuple[PartitionName, Uid, Workitem | None]]
) -> None:
    """Record changes as `record`; None stands for a workitem that was removed."""
    progress = progress_of(connection.info)
    for partition, uid, workitem in changed:
        version = last.next_version()
        if progress is not None:
            progress.journal.workitem_changed(WorkitemChange(version, partition, uid, workitem))
    last.save()

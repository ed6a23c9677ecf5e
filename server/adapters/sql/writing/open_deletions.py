"""Deletions of many instances that are not completed, and instances that are stored in their scope meanwhile.

Should the index be lost, the journal must tell the deleted blobs of a study or series from those stored after the
deletion (see `server.ports.journal`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.tables import deletions
from server.model.ids import PartitionName
from server.model.instance import NewInstance

_PENDING = Prepared(
    select(deletions.c.key, deletions.c.partition_key, deletions.c.study_uid, deletions.c.series_uid).where(
        deletions.c.is_pending == 1
    )
)


def pending(connection: Connection) -> list[Any]:
    """Return the deletions whose instances have not all been moved: key, partition_key, study_uid, series_uid."""
    return _PENDING.rows(connection, {})


def pending_later(connection: Connection) -> Callable[[], Sequence[Any]]:
    """Return a function that returns `pending`, or nothing if the index has no journal; see `Prepared.later`."""
    return _PENDING.later(connection, {}) if progress_of(connection.info) else tuple


def note_stored(
    connection: Connection,
    rows: Sequence[Any],
    partition_keys: Mapping[PartitionName, int],
    new: Iterable[NewInstance],
) -> None:
    """Write instances of this transaction that are in the scope of a pending deletion to the journal."""
    progress = progress_of(connection.info)
    if progress is None or not rows:
        return
    some = list(new)
    for row in rows:
        locators = [
            instance.locator
            for instance in some
            if partition_keys[instance.id.partition] == row.partition_key
            and instance.id.study == row.study_uid
            and row.series_uid in (None, instance.id.series)
        ]
        if locators:
            progress.journal.stored_later(row.key, locators)

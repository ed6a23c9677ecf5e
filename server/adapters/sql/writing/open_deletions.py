"""Deletions of many instances that are not completed, and instances that are stored in their scope meanwhile.

Should the index be lost, the journal must tell the deleted blobs of a study or series from those stored after the
deletion (see `server.ports.journal`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, text

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.tables.deletions import deletions
from server.model.ids import PartitionName
from server.model.instance import NewInstance
from server.model.search.query_tag import TagStatus

_PENDING = Prepared(
    select(deletions.c.key, deletions.c.partition_key, deletions.c.study_uid, deletions.c.series_uid).where(
        deletions.c.is_pending == 1
    )
)


def pending(connection: Connection) -> list[Any]:
    """Return the deletions whose instances have not all been moved: key, partition_key, study_uid, series_uid."""
    return _PENDING.rows(connection, {})


class ActiveTag(NamedTuple):
    """A row of `extended_query_tags`, see `tag_values.active`."""

    key: int
    tag: str
    keyword: str
    vr: str
    private_creator: str
    operation_id: str
    level: int
    status: int
    query_status: int
    last_error: int
    error_count: int


class PendingDeletion(NamedTuple):
    """A row of `pending`."""

    key: int
    partition_key: int
    study_uid: str
    series_uid: str | None


# One statement, because both mostly have no rows: each statement costs a twentieth of a store in PostgreSQL.
_TAGS_AND_PENDING = Prepared(
    text(
        f"SELECT 0, {', '.join(ActiveTag._fields)} FROM extended_query_tags WHERE status <> {int(TagStatus.DELETING)} "  # noqa: S608 - constants
        "UNION ALL SELECT 1, key, study_uid, series_uid, '', '', '', partition_key, 0, 0, 0, 0 FROM deletions "
        "WHERE is_pending = 1"
    )
)


def tags_and_pending_later(
    connection: Connection,
) -> Callable[[], tuple[Sequence[ActiveTag], Sequence[PendingDeletion]]]:
    """Return a function that returns the rows of `tag_values.active` and of `pending`; see `Prepared.tuples_later`."""
    found = _TAGS_AND_PENDING.tuples_later(connection, {})

    def both() -> tuple[Sequence[ActiveTag], Sequence[PendingDeletion]]:
        rows = found()
        tags = sorted(ActiveTag(*row[1:]) for row in rows if not row[0])
        return tags, [PendingDeletion(row[1], row[7], row[2], row[3]) for row in rows if row[0]]

    return both


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

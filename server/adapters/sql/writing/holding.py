"""The check that a resource is not on hold, for the transactions that delete, erase, expire or change instances."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, or_, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.tables.lifecycle import holds
from server.model.errors import Reason, WrongState
from server.model.ids import Address, InstanceId

_SERIES: BindParameter[str] = bindparam("of_series")
_INSTANCE: BindParameter[str] = bindparam("of_instance")
_HELD = Prepared(
    select(holds.c.series_uid, holds.c.sop_uid, holds.c.name, holds.c.reason)
    .where(
        holds.c.partition_key == bindparam("of_partition"),
        holds.c.study_uid == bindparam("of_study"),
        or_(_SERIES == "", holds.c.series_uid.in_(("", _SERIES))),
        or_(_INSTANCE == "", holds.c.sop_uid.in_(("", _INSTANCE))),
    )
    .order_by(holds.c.key)
    .limit(1)
)

_OF_INSTANCES = Prepared(
    select(holds.c.study_uid, holds.c.series_uid, holds.c.sop_uid, holds.c.name, holds.c.reason)
    .where(
        holds.c.partition_key == bindparam("of_partition"),
        holds.c.study_uid.in_(bindparam("study_uids", expanding=True)),
        holds.c.sop_uid.in_(bindparam("sop_uids", expanding=True)),
    )
    .order_by(holds.c.key)
)


def require_not_held(connection: Connection, partition_key: int, resource: Address) -> None:
    """Check that there is no hold on a study, series or instance, on a part of it, or on what contains it.

    To be called after the shard of the study is locked, so that no hold is set before the end of the transaction.

    Raises:
        WrongState: ON_HOLD; the text has the reason of the hold.
    """
    where = {
        "of_partition": partition_key,
        "of_study": resource.study,
        "of_series": resource.series or "",
        "of_instance": resource.instance or "",
    }
    row = _HELD.row(connection, where)
    if row is not None:
        raise on_hold(resource, row.series_uid, row.sop_uid, row.name, row.reason)


def holds_later(connection: Connection, partition_key: int, ids: Collection[InstanceId]) -> Callable[[], Sequence[Any]]:
    """Return a function that returns the holds for `hold_on`; see `Prepared.later`."""
    where = {
        "of_partition": partition_key,
        "study_uids": {id_.study for id_ in ids},
        "sop_uids": {"", *(id_.instance for id_ in ids)},
    }
    return _OF_INSTANCES.later(connection, where)


def hold_on(instance: InstanceId, rows: Sequence[Any]) -> WrongState | None:
    """Return the error if there is a hold on an instance, or on its series or study."""
    for row in rows:
        if (
            row.study_uid == instance.study
            and row.series_uid in ("", instance.series)
            and row.sop_uid in ("", instance.instance)
        ):
            return on_hold(instance.address, row.series_uid, row.sop_uid, row.name, row.reason)
    return None


def on_hold(resource: Address, series: str, instance: str, name: str, reason: str) -> WrongState:
    """Return the error for a hold on the study of a resource, or on a series or instance of it.

    The reason is the text of an administrator. It is for the client only, not for logs.
    """
    if instance:
        held = f"Instance {instance}"
    elif series:
        held = f"Series {series}"
    else:
        held = f"Study {resource.study}"
    named = f" ({name})" if name else ""
    return WrongState(Reason.ON_HOLD, f"{held} is on hold{named}: {reason}", hold=name, hold_reason=reason)

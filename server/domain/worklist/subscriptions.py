"""Subscriptions of application entities to workitems (PS3.18 sections 11.10 to 11.12)."""

from collections.abc import Callable, Sequence
from datetime import datetime

import orjson

from server.dicom.worklist import reports
from server.domain.access import Access
from server.domain.worklist.filters import WorkitemFilter, conditions_of, filter_matches
from server.model.access import Action
from server.model.call import Call
from server.model.errors import InvalidRequest, Reason
from server.model.ids import Address, PartitionName, Uid
from server.model.worklist.event import Event
from server.model.worklist.subscription import (
    FILTERED_WORKLIST,
    WORKLIST,
    Subscriber,
    WorklistSubscription,
    parse_ae_title,
)
from server.model.worklist.workitem import workitem_not_found
from server.ports.worklist.subscriptions import SubscriptionRecord


class Subscriptions:
    """Manages subscriptions.

    Args:
        now: the time of events.
        changed: called after changes, which may have written events.
        subscribed: called with partition and AE title of a subscriber, which may be new.
    """

    def __init__(
        self,
        *,
        access: Access,
        record: SubscriptionRecord,
        now: Callable[[], datetime],
        changed: Callable[[], None],
        subscribed: Callable[[PartitionName, str], None],
    ) -> None:
        self._access = access
        self._record = record
        self._now = now
        self._changed = changed
        self._subscribed = subscribed

    async def subscribe(
        self,
        call: Call,
        partition: PartitionName,
        uid: Uid,
        ae_title: str,
        *,
        has_lock: bool,
        filter_: WorkitemFilter,
    ) -> Sequence[str]:
        """Subscribe an application entity to a workitem or, with a well-known UID, to the worklist.

        Returns:
            Ignored attributes of the filter.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_QUERY, UNSUPPORTED_ATTRIBUTE (when strict).
            NotFound: WORKITEM_NOT_FOUND.
            Exhausted: TOO_MANY_SUBSCRIPTIONS.
            and as `Access.permit`.
        """
        ae_title = parse_ae_title(ae_title)
        call.audit.note(workitem=uid, subscriber=ae_title, deletion_lock=has_lock)
        partition = await self._permitted(call, partition)
        if filter_.terms and uid != FILTERED_WORKLIST:
            message = "Only a subscription to the filtered worklist has a filter."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="terms")
        ignored: dict[str, None] = {}
        if uid in (WORKLIST, FILTERED_WORKLIST):
            stored = filter_.stored(ignored)
            worklist = WorklistSubscription(has_lock, stored, conditions_of(stored))
            await self._record.subscribe_to_worklist(partition, ae_title, self._now(), worklist)
        elif not await self._record.subscribe(
            partition, uid, ae_title, self._now(), has_lock=has_lock, report=_present_state
        ):
            raise workitem_not_found()
        self._changed()
        self._subscribed(partition, ae_title)
        return list(ignored)

    async def unsubscribe(self, call: Call, partition: PartitionName, uid: Uid, ae_title: str) -> bool:
        """End the subscription to a workitem or, with a well-known UID, all subscriptions; return False if there was
        none.

        Raises:
            InvalidRequest: INVALID_FIELD.
            NotFound: WORKITEM_NOT_FOUND.
            and as `Access.permit`.
        """
        ae_title = parse_ae_title(ae_title)
        call.audit.note(workitem=uid, subscriber=ae_title)
        partition = await self._permitted(call, partition)
        if uid in (WORKLIST, FILTERED_WORKLIST):
            return await self._record.unsubscribe_from_all(partition, ae_title)
        was_changed = await self._record.unsubscribe(partition, uid, ae_title, filter_matches)
        if was_changed is None:
            raise workitem_not_found()
        return was_changed

    async def suspend(self, call: Call, partition: PartitionName, ae_title: str) -> bool:
        """End the subscription to future workitems; return False if there was none.

        Raises:
            InvalidRequest: INVALID_FIELD.
            and as `Access.permit`.
        """
        ae_title = parse_ae_title(ae_title)
        call.audit.note(subscriber=ae_title)
        return await self._record.suspend(await self._permitted(call, partition), ae_title)

    async def list(self, call: Call, partition: PartitionName, after_ae_title: str, limit: int) -> Sequence[Subscriber]:
        """Return a page of subscribers by AE title. Raises: as `Access.permit`."""
        partition = await self._permitted(call, partition, Action.ADMINISTER)
        found = await self._record.list(partition, after_ae_title, limit)
        call.audit.items = len(found)
        return found

    async def _permitted(self, call: Call, partition: PartitionName, action: Action = Action.WRITE) -> PartitionName:
        return (await self._access.permit(call, action, Address(partition), by_share_link=False)).partition


def _present_state(data_set: str) -> Event:
    return reports.state_report(orjson.loads(data_set))

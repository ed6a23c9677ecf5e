"""Creating and changing workitems (PS3.18 sections 11.4 to 11.8)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from server.dicom.elements.keywords import tags_of
from server.dicom.worklist import reports
from server.dicom.worklist.data_set import MAX_BYTES, DataSet, invalid, parse, serialise
from server.dicom.worklist.rules import check_cancellation, check_new, check_update, missing_in_final_state
from server.dicom.worklist.search_keys import search_values
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.worklist.reporting import report_new, reporter
from server.model.access import Action
from server.model.call import Call
from server.model.errors import AlreadyExists, Reason
from server.model.ids import Address, PartitionName, Uid, parse_uid
from server.model.worklist.subscription import FILTERED_WORKLIST, WORKLIST, parse_ae_title
from server.model.worklist.workitem import (
    Workitem,
    WorkitemState,
    check_cancelable,
    check_updatable,
    lock_of,
    must_change,
    state_conflict,
    workitem_not_found,
)
from server.ports.worklist.workitems import Change, Reporter, WorkitemRecord

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""Unified Procedure Step - Push SOP Class, that of every workitem (PS3.4 section CC.3.1)."""

WORKLIST_LABEL = "worklist"
"""Worklist Label of workitems for which the client states none."""

_LARGE = 32 << 10
"""Size of a data set in JSON from which it is parsed in a thread."""

_SOP_CLASS_UID, _SOP_INSTANCE_UID, _TRANSACTION_UID = "00080016", "00080018", "00081195"
_WORKLIST_LABEL, _STATE, _MODIFIED = "00741202", "00741000", "00404010"
_PROGRESS, _CANCELLED, _REASON, _REASON_CODE = "00741002", "00404052", "00741238", "0074100E"
_COMMUNICATIONS, _CONTACT_URI, _CONTACT_NAME = "00741008", "0074100A", "0074100C"
_OF_CANCELLATION = tags_of("ReasonForCancellation ProcedureStepDiscontinuationReasonCodeSequence")
_OF_CONTACT = tags_of("ContactURI ContactDisplayName")
_DISCONTINUED: DataSet = {
    "00080100": {"vr": "SH", "Value": ["110513"]},
    "00080102": {"vr": "SH", "Value": ["DCM"]},
    "00080104": {"vr": "LO", "Value": ["Discontinued for unspecified reason"]},
}
"""Procedure Step Discontinuation Reason of a request without one (PS3.16 CID 9300)."""


class Workitems:
    """Creates, returns and changes workitems.

    now: the clock of modification times.
    """

    def __init__(
        self,
        *,
        access: Access,
        partitions: PartitionNames,
        record: WorkitemRecord,
        now: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called after changes, which may have written events."""
        self._access = access
        self._partitions = partitions
        self._record = record
        self._now = now
        self._changed = changed

    async def create(
        self,
        call: Call,
        partition: PartitionName,
        uid: Uid | None,
        dicom_json: bytes,
        *,
        create_partition: bool = False,
    ) -> Uid:
        """Create a workitem, and return its UID.

        Args:
            uid: None: that of the data set.
            create_partition: create the partition if it does not exist.

        Raises:
            InvalidRequest: INVALID_WORKITEM; INVALID_UID.
            AlreadyExists: WORKITEM_ALREADY_EXISTS.
            and as `Access.permit`.
        """
        if uid is not None:
            call.audit.note(workitem=uid)
        partition = await self._permitted(call, Action.WRITE, partition, may_be_new=create_partition)
        data_set = await _parsed(dicom_json)
        uid = _uid_of(data_set, uid)
        call.audit.note(workitem=uid)
        new = new_workitem(uid, data_set, self._now())
        if create_partition:
            await self._partitions.create_missing(partition)
        if not await self._record.add(partition, new, report_new):
            message = "The partition has a workitem with this UID."
            raise AlreadyExists(Reason.WORKITEM_ALREADY_EXISTS, message, status="0111")
        self._changed()
        return uid

    async def get(self, call: Call, partition: PartitionName, uid: Uid) -> bytes:
        """Return the data set of a workitem in DICOM JSON.

        Raises:
            NotFound: WORKITEM_NOT_FOUND.
            and as `Access.permit`.
        """
        call.audit.note(workitem=uid)
        partition = await self._permitted(call, Action.READ, partition)
        return _existing(await self._record.get(partition, uid)).data_set.encode()

    async def update(
        self, call: Call, partition: PartitionName, uid: Uid, transaction_uid: str, dicom_json: bytes
    ) -> None:
        """Replace attributes of a workitem.

        Args:
            transaction_uid: that of a workitem in state IN PROGRESS; empty for one in state SCHEDULED.

        Raises:
            InvalidRequest: INVALID_WORKITEM.
            NotFound: WORKITEM_NOT_FOUND.
            WrongState: WORKITEM_STATE_CONFLICT.
            and as `Access.permit`.
        """
        call.audit.note(workitem=uid)
        partition = await self._permitted(call, Action.WRITE, partition)
        new = await _parsed(dicom_json)
        check_update(new)
        now = self._now()

        def change(workitem: Workitem) -> Workitem:
            check_updatable(workitem, transaction_uid)
            return _with(replace(workitem, modified=now), orjson.loads(workitem.data_set) | new)

        await self._change(partition, uid, change, reporter(now, reports.updated))

    async def change_state(
        self, call: Call, partition: PartitionName, uid: Uid, transaction_uid: Uid, state: WorkitemState
    ) -> bool:
        """Change the state of a workitem; return False if it was in this final state already.

        Raises:
            NotFound: WORKITEM_NOT_FOUND.
            WrongState: WORKITEM_STATE_CONFLICT.
            and as `Access.permit`.
        """
        call.audit.note(workitem=uid, state=state.value)
        partition = await self._permitted(call, Action.WRITE, partition)
        now, was_changed = self._now(), False

        def change(workitem: Workitem) -> Workitem:
            nonlocal was_changed
            was_changed = must_change(workitem, state, transaction_uid)
            if not was_changed:
                return workitem
            data_set = orjson.loads(workitem.data_set)
            if state is WorkitemState.CANCELED:
                _complete_cancellation(data_set, now)
            if state is not WorkitemState.IN_PROGRESS and (missing := missing_in_final_state(data_set, state)):
                shown = ", ".join(missing)
                raise state_conflict("C304", f"The workitem lacks attributes that '{state}' requires: {shown}.")
            lock = lock_of(transaction_uid)
            return _with(replace(workitem, state=state, lock=lock, modified=now), data_set)

        await self._change(partition, uid, change, reporter(now, reports.updated))
        return was_changed

    async def request_cancellation(
        self, call: Call, partition: PartitionName, uid: Uid, dicom_json: bytes, requesting_ae: str = ""
    ) -> None:
        """Cancel a workitem in state SCHEDULED, and record time and reason; report the request to its subscribers.

        Args:
            requesting_ae: AE title of the requester; empty if it is unknown.

        Raises:
            InvalidRequest: INVALID_WORKITEM; INVALID_FIELD.
            NotFound: WORKITEM_NOT_FOUND.
            WrongState: WORKITEM_NOT_CANCELABLE.
            and as `Access.permit`.
        """
        call.audit.note(workitem=uid)
        partition = await self._permitted(call, Action.WRITE, partition)
        requester = parse_ae_title(requesting_ae, "requesting_ae") if requesting_ae else ""
        reasons = await _parsed(dicom_json) if dicom_json else {}
        progress = _progress_of(reasons)
        check_cancellation(progress)
        requested = reports.cancel_requested(requester, reasons)
        now = self._now()

        def change(workitem: Workitem) -> Workitem:
            check_cancelable(workitem)
            if workitem.state is WorkitemState.IN_PROGRESS:
                return workitem
            data_set = orjson.loads(workitem.data_set)
            default = {_REASON_CODE: {"vr": "SQ", "Value": [_DISCONTINUED]}}
            data_set[_PROGRESS] = {"vr": "SQ", "Value": [default | progress]}
            _complete_cancellation(data_set, now)
            return _with(replace(workitem, state=WorkitemState.CANCELED, modified=now), data_set)

        report = reporter(
            now,
            lambda before, after: (requested, *(reports.canceled(before, after) if after is not before else ())),
            must_have_subscribers=lambda workitem: workitem.state is WorkitemState.IN_PROGRESS,
        )
        await self._change(partition, uid, change, report)

    async def _change(self, partition: PartitionName, uid: Uid, change: Change, report: Reporter) -> None:
        _existing(await self._record.change(partition, uid, change, report))
        self._changed()

    async def _permitted(
        self, call: Call, action: Action, partition: PartitionName, *, may_be_new: bool = False
    ) -> PartitionName:
        permitted = await self._access.permit(
            call, action, Address(partition), partition_may_be_new=may_be_new, by_share_link=False
        )
        return permitted.partition


def new_workitem(uid: Uid, data_set: DataSet, now: datetime) -> Workitem:
    """Return a new workitem.

    Args:
        uid: its UID.
        data_set: as a client provides it.
        now: time of its creation.

    Raises:
        InvalidRequest: INVALID_WORKITEM.
    """
    check_new(data_set)
    provided = {tag: element for tag, element in data_set.items() if tag != _TRANSACTION_UID}
    provided[_SOP_CLASS_UID] = _element("UI", UPS_PUSH)
    provided[_SOP_INSTANCE_UID] = _element("UI", uid)
    if not provided.get(_WORKLIST_LABEL, {}).get("Value"):
        provided[_WORKLIST_LABEL] = _element("LO", WORKLIST_LABEL)
    return _with(Workitem(uid, WorkitemState.SCHEDULED, "", "", (), now), provided)


async def _parsed(dicom_json: bytes) -> DataSet:
    """Return the data set of a client; a large one takes up to 0.1 s, which is too long for the event loop."""
    return await asyncio.to_thread(parse, dicom_json) if len(dicom_json) > _LARGE else parse(dicom_json)


def _existing(workitem: Workitem | None) -> Workitem:
    if workitem is None:
        raise workitem_not_found()
    return workitem


def _uid_of(data_set: DataSet, uid: Uid | None) -> Uid:
    """Return the UID of a new workitem. Raises: InvalidRequest."""
    stated = data_set.get(_SOP_INSTANCE_UID, {}).get("Value", [])
    if uid is None and len(stated) != 1:
        raise invalid("SOPInstanceUID", "It is required, or the UID of the workitem in the request.")
    found = uid or parse_uid(str(stated[0]), "SOPInstanceUID")
    if stated and stated != [found]:
        raise invalid("SOPInstanceUID", "It differs from the UID of the workitem in the request.")
    if found in (WORKLIST, FILTERED_WORKLIST):  # a subscription to such a workitem would be one to the worklist
        raise invalid("SOPInstanceUID", "This is the UID of the worklist.")
    return found


def _with(workitem: Workitem, data_set: dict[str, Any]) -> Workitem:
    """Return a workitem with a data set, in which the server sets state and time of modification."""
    data_set[_STATE] = _element("CS", workitem.state.value)
    data_set[_MODIFIED] = _element("DT", date_time(workitem.modified))
    text = serialise(data_set)
    if len(text) > MAX_BYTES:
        raise invalid("", f"The data set has more than {MAX_BYTES} bytes.")
    return replace(workitem, data_set=text, values=search_values(data_set))


def _progress_of(reasons: DataSet) -> DataSet:
    """Return what a request for cancellation states for Procedure Step Progress Information Sequence."""
    progress = {tag: element for tag, element in reasons.items() if tag in _OF_CANCELLATION and len(element) > 1}
    contact = {tag: element for tag, element in reasons.items() if tag in _OF_CONTACT and len(element) > 1}
    if _CONTACT_URI in contact:
        progress[_COMMUNICATIONS] = {"vr": "SQ", "Value": [contact]}
    return progress


def _complete_cancellation(data_set: dict[str, Any], now: datetime) -> None:
    """Set the time of the cancellation if it has none (remark in PS3.4 Table CC.2.5-3)."""
    for item in data_set.get(_PROGRESS, {}).get("Value", [])[:1]:
        if not item.get(_CANCELLED, {}).get("Value"):
            item[_CANCELLED] = _element("DT", date_time(now))
            data_set[_PROGRESS]["Value"][0] = dict(sorted(item.items()))


def date_time(time: datetime) -> str:
    """Return a time in UTC as a value of VR DT."""
    return f"{time:%Y%m%d%H%M%S.%f}+0000"


def _element(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}

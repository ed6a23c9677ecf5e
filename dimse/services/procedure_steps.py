"""Modality Performed Procedure Step: N-CREATE and N-SET (PS3.4 section F.7)."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import orjson
from dicomstore.v1.workitem_service_pb2 import (
    WORKITEM_STATE_CANCELED,
    WORKITEM_STATE_COMPLETED,
    WORKITEM_STATE_IN_PROGRESS,
    ChangeWorkitemStateRequest,
    CreateWorkitemRequest,
    SearchWorkitemsRequest,
    UpdateWorkitemRequest,
    WorkitemState,
    WorkitemTerm,
)
from pydicom.uid import generate_uid

from dimse.associations.association import Association, Request
from dimse.associations.commands import CommandField
from dimse.core import Core, call_metadata
from dimse.data_sets.reading import DataSet, Unreadable, read
from dimse.data_sets.writing import TRANSFER_SYNTAXES
from dimse.services import statuses
from dimse.services.failures import invalid_attribute, of_core
from dimse.worklist.elements import value
from dimse.worklist.performed_steps import (
    INVALID_VALUE,
    MPPS,
    REFERENCE,
    InvalidStep,
    ScheduledStep,
    Status,
    check_new,
    kept_attribute,
    scheduled_steps,
    status_of,
    transaction_uid,
    unscheduled_workitem,
    update_of,
)
from dimse.worklist.scheduled_steps import step_of

NO_LONGER_UPDATABLE = 0xA710
"""Error ID of an N-SET for a step in a final state (PS3.4 section F.7.2.2.2)."""

RESOURCE_LIMITATION = 0x0213

_FINAL = {Status.COMPLETED: WORKITEM_STATE_COMPLETED, Status.DISCONTINUED: WORKITEM_STATE_CANCELED}
_PAGE_SIZE = 50

_log = logging.getLogger("dimse")


class _Refused(Exception):
    """A final status, and further elements of the response."""

    def __init__(self, status: int, **elements: Any) -> None:
        super().__init__(status)
        self.status, self.elements = status, elements


class ProcedureSteps:
    """Lets modalities report what they perform: the workitems of the steps change with it."""

    commands = (CommandField.N_CREATE, CommandField.N_SET)

    def __init__(self, core: Core) -> None:
        self._core = core

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return those of the Modality Performed Procedure Step SOP Class."""
        return TRANSFER_SYNTAXES if abstract_syntax == MPPS else ()

    def serve(self, request: Request) -> None:
        """Change the workitems, and respond."""
        command = request.command
        is_new = command.field == CommandField.N_CREATE
        uid = command.sop_instance_uid or (generate_uid(prefix=None) if is_new else "")
        workitems = _Workitems(self._core, request, "N-CREATE" if is_new else "N-SET")
        try:
            step = read(request.data_set(), request.context.transfer_syntax)
            if is_new:
                _create(workitems, uid, step)
            else:
                _set(workitems, uid, step)
        except Unreadable as error:
            request.respond(statuses.PROCESSING_FAILURE, error_comment=str(error))
        except InvalidStep as error:
            request.respond(error.status, error_comment=str(error), attribute_identifiers=(int(error.tag, 16),))
        except _Refused as refused:
            request.respond(refused.status, **refused.elements)
        except grpc.RpcError as error:
            failure = of_core(error, RESOURCE_LIMITATION, statuses.PROCESSING_FAILURE)
            status = failure.status
            if status == statuses.DATA_SET_DOES_NOT_MATCH_SOP_CLASS:
                status = INVALID_VALUE
            request.respond(status, **failure.elements)
        else:
            not_kept = tuple(int(one, 16) for one in sorted(workitems.refused))
            elements: dict[str, Any] = {"attribute_identifiers": not_kept} if not_kept else {}
            status = statuses.ATTRIBUTE_LIST_ERROR if not_kept else statuses.SUCCESS
            request.respond(status, affected_sop_instance_uid=uid, affected_sop_class_uid=MPPS, **elements)

    def association_ended(self, association: Association) -> None:
        """Nothing is kept."""


def _create(workitems: "_Workitems", uid: str, step: DataSet) -> None:
    """Claim the scheduled steps to which a new step refers; without one, create a workitem for it."""
    check_new(step)
    if workitems.referring_to(uid):
        raise _Refused(statuses.DUPLICATE_SOP_INSTANCE)
    claimed = False
    for scheduled in scheduled_steps(step):
        for workitem in workitems.of(scheduled):
            claimed |= workitems.claim(workitem, uid, step)
    if not claimed:
        workitem = workitems.create(uid, unscheduled_workitem(step))
        if not workitems.claim(workitem, uid, step):
            raise _Refused(statuses.DUPLICATE_SOP_INSTANCE)


def _set(workitems: "_Workitems", uid: str, step: DataSet) -> None:
    """Change the workitems of a step."""
    found = workitems.referring_to(uid)
    if not found:
        raise _Refused(statuses.NO_SUCH_SOP_INSTANCE)
    status = status_of(step)
    unfinished = [workitem for workitem in found if value(workitem, "ProcedureStepState") == Status.IN_PROGRESS]
    if not unfinished:
        comment = "The performed procedure step may no longer be updated"
        raise _Refused(statuses.PROCESSING_FAILURE, error_id=NO_LONGER_UPDATABLE, error_comment=comment)
    for workitem in unfinished:
        workitems.update(workitem, uid, step, status)
        if status in _FINAL:
            workitems.change_state(workitem, uid, _FINAL[status])


class _Workitems:
    """The workitems of the partition of a peer.

    refused: tags of attributes that are not kept, because the core refuses their values.
    """

    def __init__(self, core: Core, request: Request, operation: str) -> None:
        self.refused: set[str] = set()
        self._stub = core.workitems
        self._partition = request.peer.partition
        self._options = {"metadata": call_metadata(request.peer, operation), "timeout": core.call_seconds}

    def referring_to(self, uid: str) -> list[DataSet]:
        """Return the workitems that a performed step has changed."""
        return list(self._found(f"{REFERENCE}.ReferencedSOPInstanceUID", uid))

    def of(self, scheduled: ScheduledStep) -> list[DataSet]:
        """Return the workitems of a scheduled step."""
        keys = (
            ("ReferencedRequestSequence.StudyInstanceUID", scheduled.study),
            ("StudyInstanceUID", scheduled.study),
            ("ReferencedRequestSequence.AccessionNumber", scheduled.accession_number),
        )
        for key, wanted in keys:
            found = [one for one in self._found(key, wanted) if _step_id(one) == scheduled.step_id] if wanted else []
            if found:
                return found
        return []

    def create(self, uid: str, workitem: DataSet) -> DataSet:
        """Create a workitem, unless it exists, and return it."""
        try:
            self._stub.CreateWorkitem(
                CreateWorkitemRequest(partition=self._partition, workitem_uid=uid, dicom_json=orjson.dumps(workitem)),
                **self._options,
            )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        return workitem | {"00080018": {"vr": "UI", "Value": [uid]}}

    def claim(self, workitem: DataSet, uid: str, step: DataSet) -> bool:
        """Change a workitem to IN PROGRESS, and record the performed step; False if it has another performer.

        Repeated after an interruption, it completes the claim.
        """
        try:
            self.change_state(workitem, uid, WORKITEM_STATE_IN_PROGRESS)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
        try:
            self.update(workitem, uid, step, Status.IN_PROGRESS)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return False
        return True

    def update(self, workitem: DataSet, uid: str, step: DataSet, status: Status | None) -> None:
        """Record what was performed; attributes that are only kept and have invalid values are left out."""
        while update := update_of(workitem, step, uid, status, self.refused):
            request = UpdateWorkitemRequest(
                partition=self._partition,
                workitem_uid=value(workitem, "SOPInstanceUID"),
                transaction_uid=transaction_uid(uid),
                dicom_json=orjson.dumps(update),
            )
            try:
                self._stub.UpdateWorkitem(request, **self._options)
                return
            except grpc.RpcError as error:
                invalid = kept_attribute(invalid_attribute(error), step)
                if not invalid or invalid in self.refused:
                    raise
                self.refused.add(invalid)

    def change_state(self, workitem: DataSet, uid: str, state: WorkitemState) -> None:
        """Change the state of a workitem."""
        self._stub.ChangeWorkitemState(
            ChangeWorkitemStateRequest(
                partition=self._partition,
                workitem_uid=value(workitem, "SOPInstanceUID"),
                transaction_uid=transaction_uid(uid),
                state=state,
            ),
            **self._options,
        )

    def _found(self, attribute: str, wanted: str) -> Iterator[DataSet]:
        request = SearchWorkitemsRequest(
            partition=self._partition,
            terms=[WorkitemTerm(attribute=attribute, values=[wanted])],
            include_all=True,
            page_size=_PAGE_SIZE,
            strict=True,
        )
        while True:
            page = self._stub.SearchWorkitems(request, **self._options)
            for match in page.matches:
                yield orjson.loads(match.dicom_json)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _step_id(workitem: DataSet) -> str:
    step = step_of(workitem)
    return value(step, "ScheduledProcedureStepSequence", "ScheduledProcedureStepID") if step else ""

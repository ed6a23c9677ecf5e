"""C-STORE sub-operations of a C-MOVE or C-GET, and their counts (PS3.4 sections C.4.2 and C.4.3)."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from dicomstore.v1.retrieve_service_pb2 import RetrieveInstancesRequest

from common.telemetry.catalogue import DIMSE_BYTES, DIMSE_INSTANCES, DIMSE_SUBOPERATIONS
from dimse.associations.association import Association, Context
from dimse.associations.commands import Command, CommandField
from dimse.associations.errors import AssociationLost, ProtocolError
from dimse.retrieval.instances import Failed, Instance, instances_of
from dimse.retrieval.selection import Form, Selection, Series
from dimse.retrieval.transfer_syntaxes import in_order

_PENDING_SECONDS = 0.25
"""Time between two pending responses."""

_WARNINGS = (0xB000, 0xB006, 0xB007, 0x0107, 0x0116)
"""Statuses of C-STORE responses with which the instance is stored (PS3.4 Table B.2-1, PS3.7 Annex C)."""

_SENT, _SENT_BYTES = DIMSE_INSTANCES.of("sent"), DIMSE_BYTES.of("sent")


class TransferFailed(Exception):
    """The association of the sub-operations is over."""


Retrieve = Callable[[RetrieveInstancesRequest], Any]
"""Starts a call of RetrieveInstances: an iterator of serialised responses with `cancel`."""


@dataclass(slots=True)
class Counts:
    """Numbers of sub-operations, and the SOP Instance UIDs of those that failed.

    service: what they are a part of, for the metrics.
    last_failure: status of the last response that is a failure; 0 if there was none.
    """

    service: str
    remaining: int
    completed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    last_failure: int = 0

    @property
    def failed(self) -> int:
        """Number of failed sub-operations."""
        return len(self.failed_uids)

    def complete(self) -> None:
        """Count a successful sub-operation."""
        self.remaining -= 1
        self.completed += 1
        DIMSE_SUBOPERATIONS.of(self.service, "completed").value += 1

    def complete_with_warning(self) -> None:
        """Count a sub-operation that succeeded with a warning."""
        self.remaining -= 1
        self.warning += 1
        DIMSE_SUBOPERATIONS.of(self.service, "warning").value += 1

    def fail(self, uid: str) -> None:
        """Count a failed sub-operation."""
        self.remaining -= 1
        self.failed_uids.append(uid)
        DIMSE_SUBOPERATIONS.of(self.service, "failed").value += 1

    def of_response(self, *, is_final: bool) -> dict[str, Any]:
        """Return the elements of a response; a final one other than that of a cancellation has no remaining."""
        counts: dict[str, Any] = {
            "completed_suboperations": self.completed,
            "failed_suboperations": self.failed,
            "warning_suboperations": self.warning,
        }
        return counts if is_final else counts | {"remaining_suboperations": self.remaining}


@dataclass(frozen=True, slots=True)
class Origin:
    """The C-MOVE that causes the sub-operations (Move Originator); None in both for a C-GET."""

    ae_title: str | None = None
    message_id: int | None = None


class SubOperations:
    """Sends the instances of a selection on one association."""

    def __init__(
        self, association: Association, contexts: Mapping[str, Mapping[str, Context]], origin: Origin, priority: int
    ) -> None:
        """Prepare the transfer.

        Args:
            association: that on which the instances are sent.
            contexts: those of it on which they may be sent: for each SOP class by transfer syntax.
        """
        self._association = association
        self._contexts = contexts
        self._origin = origin
        self._priority = priority

    def run(
        self,
        selection: Selection,
        partition: str,
        retrieve: Retrieve,
        counts: Counts,
        *,
        is_cancelled: Callable[[], bool],
        report: Callable[[], None],
    ) -> bool:
        """Send all instances; return False if the operation was cancelled.

        Args:
            selection: instances are removed when their sub-operation has ended.
            counts: updated with each sub-operation.
            is_cancelled: called before each sub-operation.
            report: sends a pending response; called after sub-operations, at intervals.

        Raises:
            TransferFailed: the association is over; the sub-operation in progress and all others have not ended.
            and as `is_cancelled` and `report`.
        """
        reported = time.monotonic()
        with closing(self._instances(selection, partition, retrieve)) as instances:
            for series, uid, instance in instances:
                if is_cancelled():
                    return False
                self._send(uid, instance, counts)
                del selection.instances[series][uid]
                if counts.remaining and time.monotonic() - reported >= _PENDING_SECONDS:
                    report()
                    reported = time.monotonic()
        return True

    def _send(self, uid: str, instance: Instance | None, counts: Counts) -> None:
        context = self._context_of(instance) if instance is not None else None
        data_set = instance.data_set() if instance is not None else None
        if instance is None or context is None or data_set is None:
            counts.fail(uid)
            return
        command = Command(
            CommandField.C_STORE,
            affected_sop_class_uid=instance.sop_class,
            affected_sop_instance_uid=uid,
            priority=self._priority,
            move_originator_ae_title=self._origin.ae_title,
            move_originator_message_id=self._origin.message_id,
        )
        try:
            status = self._association.perform(context, command, data_set).status
            self._association.discard_data_set()
        except (AssociationLost, ProtocolError) as error:
            raise TransferFailed(str(error)) from error
        _SENT.value += 1
        _SENT_BYTES.value += instance.size_bytes
        if status == 0:
            counts.complete()
        elif status in _WARNINGS:
            counts.complete_with_warning()
        else:
            counts.last_failure = status or 0
            counts.fail(uid)

    def _context_of(self, instance: Instance) -> Context | None:
        return self._contexts.get(instance.sop_class, {}).get(instance.transfer_syntax)

    def _instances(
        self, selection: Selection, partition: str, retrieve: Retrieve
    ) -> Generator[tuple[Series, str, Instance | None]]:
        """Yield each selected instance with its series and UID, None instead of one that cannot be sent."""
        started = self._calls(selection, partition, retrieve)
        current = following = next(started, None)
        try:
            while following is not None:
                current, following = following, next(started, None)  # the core reads ahead while this one is sent
                yield from _of_call(*current)
        finally:
            for one in (current, following):
                if one is not None and one[2] is not None:
                    one[2].cancel()

    def _calls(
        self, selection: Selection, partition: str, retrieve: Retrieve
    ) -> Iterator[tuple[Series, Sequence[str], Any]]:
        """Start a call for each series, or for each instance, if it is only a part of the series or has other forms.

        Yields the series, the UIDs of the instances, and the call; None without an accepted transfer syntax.
        """
        for series in list(selection.instances):
            forms = selection.instances[series]
            is_whole = selection.whole_series and len({self._acceptable(form) for form in set(forms.values())}) == 1
            for uids in [tuple(forms)] if is_whole else [(uid,) for uid in forms]:
                acceptable = self._acceptable(forms[uids[0]])  # not sent yet, thus not removed
                if not acceptable:
                    yield series, uids, None
                    continue
                request = RetrieveInstancesRequest(
                    acceptable_transfer_syntax_uids=acceptable, acceptable_qualities=[1.0] * len(acceptable)
                )
                request.resource.partition = partition
                request.resource.study_instance_uid, request.resource.series_instance_uid = series
                if not is_whole:
                    request.resource.sop_instance_uid = uids[0]
                yield series, uids, retrieve(request)

    def _acceptable(self, form: Form) -> tuple[str, ...]:
        """Return the transfer syntaxes for an instance, in order of preference.

        Those of equal quality need no re-encoding if the stored one is among them.
        """
        return in_order(self._contexts.get(form.sop_class, {}))


def _of_call(series: Series, uids: Sequence[str], call: Any) -> Iterator[tuple[Series, str, Instance | None]]:
    """Yield the instances of a call; those that it does not send, also because it fails, come last, as None."""
    missing = dict.fromkeys(uids)
    received = instances_of(iter(call), frozenset(uids)) if call is not None else iter(())
    with suppress(grpc.RpcError, OSError):
        for found in received:
            if found.uid in missing and (isinstance(found, Failed) or (found.study, found.series) == series):
                del missing[found.uid]
                yield series, found.uid, None if isinstance(found, Failed) else found
    for uid in missing:
        yield series, uid, None

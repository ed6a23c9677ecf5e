"""Operations as clients use them: starting, listing, waiting, cancelling."""

import asyncio
import re
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from common.telemetry.tracing import current
from server.domain.access import Access
from server.domain.limits import page_size as size_of
from server.domain.operations import lifecycle
from server.domain.operations.backlog import Backlog, backlog_of
from server.domain.operations.types import OperationType, OperationTypes, Prepared
from server.domain.search import page_token
from server.model.access import Action
from server.model.call import Call
from server.model.errors import InvalidRequest, NotFound, Reason, Unavailable
from server.model.ids import Address, PartitionName
from server.model.operation import Json, Operation, OperationError, OperationState
from server.ports.operations import Operations as Record
from server.ports.tags import Tags

MAX_WAIT_SECONDS = 60
MAX_REQUEST_ID_LENGTH = 64

_ID = re.compile(r"[0-9a-fA-F]{32}")
_POLL_SECONDS = 0.5
_RESPONSE_SECONDS = 1.0
"""Time that a response may take to reach its client."""


class Operations:
    """Starts, lists and cancels operations of all types.

    Operations belong to the archive as a whole: they count, and their errors name, instances of every partition. For
    a principal with access to some partitions only, there are only the operations that concern one of these.

    Args:
        worker_runs: returns False if the worker is known to fail repeatedly.
        on_start: called after an operation has been created, to start a worker.
    """

    def __init__(
        self,
        *,
        access: Access,
        record: Record,
        types: OperationTypes,
        tags: Tags,
        now: Callable[[], datetime],
        worker_runs: Callable[[], bool] = lambda: True,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.types = types
        self._access = access
        self._record = record
        self._tags = tags
        self._now = now
        self._worker_runs = worker_runs
        self._on_start = on_start

    async def start(self, call: Call, message: str, request: Json, request_id: str = "") -> Operation:
        """Start an operation.

        Args:
            message: name of the request message, which determines the type.
            request: the request message as JSON.
            request_id: see `checked_request_id`.

        Raises:
            InvalidRequest: INVALID_FIELD, and as `OperationType.check` and `prepare`.
            WrongState: OPERATION_RUNNING.
        """
        type_ = self.types.with_request(message)
        call.audit.note(operation_type=message, operation_request={} if type_ is None else type_.audited(request))
        if type_ is not None and type_.partition is not None:
            partition = await self._permitted(call, type_, request)
            request = {**request, "partition": partition, "author": call.principal.id}
        else:
            await self._access.permit_archive(call, _start_action(type_))
        checked_request_id(request_id)
        if type_ is None or type_.check is None:
            text = f"No operation type can be started with {message}." if message else "request is required."
            raise InvalidRequest(Reason.INVALID_FIELD, text, field="request")
        checked, operation_id = Prepared(type_.check(request)), uuid.uuid4().hex
        if type_.prepare is not None:
            checked = await type_.prepare(operation_id, checked.request)
        now, span = self._now(), current()
        trace = span.traceparent if span else ""

        def decide(unfinished: Sequence[Operation]) -> Operation:
            started = lifecycle.started(type_, operation_id, checked.request, unfinished, now, trace)
            return replace(started, secret=checked.secret)

        operation = await self._record.start(request_id, decide)
        call.audit.note(operation=operation.id)
        self._on_start()
        return operation

    async def _permitted(
        self, call: Call, type_: OperationType, request: Json, *, is_stored: bool = False
    ) -> PartitionName:
        """Permit an operation that concerns a partition; return its resolved name. Raises: as `Access.permit`."""
        assert type_.partition is not None, "the caller has checked it"
        address = Address(type_.partition(request))
        permitted = await self._access.permit(
            call,
            type_.start_action,
            address,
            partition_may_be_new=is_stored or type_.may_create_partition(request),
            by_share_link=False,
            is_resolved=is_stored,
        )
        return permitted.partition

    async def get(self, call: Call, text: str) -> Operation:
        """Return an operation. Raises InvalidRequest (INVALID_OPERATION_ID), NotFound (OPERATION_NOT_FOUND)."""
        call.audit.note(operation=text)
        return await self._get(text, self._access.permit_partitions(call, Action.READ))

    async def _get(self, text: str, partitions: Collection[PartitionName] | None) -> Operation:
        """Return an operation that exists for principals with access to some partitions; None means all."""
        operation = _found(await self._record.get(_id_in(text)))
        if partitions is not None:
            type_ = self.types.get(operation.type)
            if type_ is None or type_.partition is None or type_.partition(operation.request) not in partitions:
                raise _missing()
        return operation

    async def list(
        self,
        call: Call,
        *,
        page_size: int,
        token: str,
        types: Collection[str] = (),
        states: Collection[OperationState] = (),
    ) -> tuple[Sequence[Operation], str]:
        """Return a page of operations, newest first, and the token of the next page, empty for the last one.

        Args:
            types, states: filters; empty means all.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        shows, size = self._access.permit_partitions(call, Action.READ) is None, size_of(page_size)
        query = f"operations {sorted(set(types))} {sorted(set(states))}".encode()
        before = page_token.read(token, query) if token else None
        if not shows:
            return (), ""
        found = await self._record.list(types=types, states=states, before=before, limit=size + 1)
        following = page_token.make(found[size - 1][0], query) if len(found) > size else ""
        return [operation for _, operation in found[:size]], following

    async def errors(
        self, call: Call, text: str, *, page_size: int, token: str
    ) -> tuple[Sequence[OperationError], str]:
        """Return a page of the failed items of an operation, oldest first, and the token of the next page.

        Raises:
            InvalidRequest: INVALID_OPERATION_ID, INVALID_FIELD, INVALID_PAGE_TOKEN.
            NotFound: OPERATION_NOT_FOUND.
        """
        call.audit.note(operation=text)
        partitions, size = self._access.permit_partitions(call, Action.READ), size_of(page_size)
        operation = await self._get(text, partitions)
        query = f"errors of operation {operation.id}".encode()
        after = page_token.read(token, query) if token else 0
        found = await self._record.errors(operation.id, after=after, limit=size + 1)
        following = page_token.make(found[size - 1][0], query) if len(found) > size else ""
        return [error for _, error in found[:size]], following

    async def wait(self, call: Call, text: str, seconds: int) -> Operation:
        """Return an operation when it is final, or after `seconds`; 0 means the maximum.

        Returns before the deadline of the call.

        Raises:
            InvalidRequest: INVALID_OPERATION_ID, INVALID_FIELD.
            NotFound: OPERATION_NOT_FOUND.
        """
        call.audit.note(operation=text)
        partitions = self._access.permit_partitions(call, Action.READ)
        if not 0 <= seconds <= MAX_WAIT_SECONDS:
            message = f"timeout_seconds must be between 0 and {MAX_WAIT_SECONDS}."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="timeout_seconds")
        clock = asyncio.get_running_loop().time
        end = clock() + (seconds or MAX_WAIT_SECONDS)
        if call.deadline is not None:
            end = min(end, call.deadline - _RESPONSE_SECONDS)
        while True:
            operation = await self._get(text, partitions)
            left = end - clock()
            if operation.state.is_final or left <= 0:
                return operation
            await asyncio.sleep(min(left, _POLL_SECONDS))  # another process runs it

    async def cancel(self, call: Call, text: str) -> Operation:
        """Stop an operation before its next step; a final one does not change. Raises: as `get`.

        Requires the action that starting it requires; for an unknown id that of `get`, so that the error is the same.
        """
        call.audit.note(operation=text)
        known = await self._record.get(text.lower()) if _ID.fullmatch(text) else None
        type_ = None if known is None else self.types.get(known.type)
        if known is None:
            self._access.permit_partitions(call, Action.READ)
        elif type_ is not None and type_.partition is not None:
            await self._permitted(call, type_, known.request, is_stored=True)
        else:
            await self._access.permit_archive(call, _start_action(type_))
        now = self._now()
        return _found(
            await self._record.update(
                _id_in(text),
                lambda operation: lifecycle.cancelled(self.types.get(operation.type), operation, now),
            )
        )

    async def backlog(self) -> Backlog:
        """Return the unfinished operations and their problems."""
        return await backlog_of(self._record, self._tags, self._now(), worker_runs=self._worker_runs())

    async def check(self) -> None:
        """Check that unfinished operations make progress.

        Raises:
            Unavailable: OPERATIONS_STUCK, an operation makes no progress, or query tags have no operation any more.
        """
        if problem := (await self.backlog()).problem:
            raise Unavailable(Reason.OPERATIONS_STUCK, f"{problem[0].upper()}{problem[1:]}.")


def checked_request_id(request_id: str) -> str:
    """Return the request id of a client. Raises InvalidRequest (INVALID_FIELD) if it is too long."""
    if len(request_id) > MAX_REQUEST_ID_LENGTH:
        message = f"A request_id has at most {MAX_REQUEST_ID_LENGTH} characters."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="request_id")
    return request_id


def _id_in(text: str) -> str:
    if not _ID.fullmatch(text):
        raise InvalidRequest(Reason.INVALID_OPERATION_ID, "An operation's id is 32 hex digits.", field="id")
    return text.lower()


def _start_action(type_: OperationType | None) -> Action:
    """Return the action that starting and cancelling operations of a type requires."""
    return type_.start_action if type_ else Action.ADMINISTER


def _found(operation: Operation | None) -> Operation:
    if operation is None:
        raise _missing()
    return operation


def _missing() -> NotFound:
    return NotFound(Reason.OPERATION_NOT_FOUND, "There is no such operation.")

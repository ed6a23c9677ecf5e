"""OperationService, and operations as messages.

Requests and results of operations are packed as the messages that their type names.
"""

from collections.abc import Sequence
from typing import cast

from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import operation_service_pb2_grpc, operation_types_pb2
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.any_pb2 import Any as PackedMessage
from google.protobuf.message import DecodeError, Message

from server.domain.operations.service import Operations
from server.domain.operations.types import OperationTypes
from server.model.errors import InvalidRequest, Reason
from server.model.operation import Json, Operation, OperationError, OperationState
from server.rpc import convert
from server.rpc.interceptors.call_context import Context

_PACKAGE = operation_types_pb2.DESCRIPTOR.package


class OperationServicer(operation_service_pb2_grpc.OperationServiceServicer):
    """Implements OperationService with `Operations`."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._messages = OperationMessages(operations.types)

    async def StartOperation(self, request: pb.StartOperationRequest, context: Context) -> pb.StartOperationResponse:
        """See the contract."""
        operation = await self._operations.start(context.call, *_request_of(request.request), request.request_id)
        return pb.StartOperationResponse(operation=self._messages.operation(operation))

    async def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.GetOperationResponse:
        """See the contract."""
        operation = await self._operations.get(context.call, request.id)
        return pb.GetOperationResponse(operation=self._messages.operation(operation))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        """See the contract."""
        page, token = await self._operations.list(
            context.call,
            page_size=request.page_size,
            token=request.page_token,
            types=request.types,
            states=_states(request.states),
        )
        return pb.ListOperationsResponse(operations=map(self._messages.operation, page), next_page_token=token)

    async def ListOperationErrors(
        self, request: pb.ListOperationErrorsRequest, context: Context
    ) -> pb.ListOperationErrorsResponse:
        """See the contract."""
        page, token = await self._operations.errors(
            context.call, request.id, page_size=request.page_size, token=request.page_token
        )
        return pb.ListOperationErrorsResponse(errors=map(_operation_error, page), next_page_token=token)

    async def WaitOperation(self, request: pb.WaitOperationRequest, context: Context) -> pb.WaitOperationResponse:
        """See the contract."""
        operation = await self._operations.wait(context.call, request.id, request.timeout_seconds)
        return pb.WaitOperationResponse(operation=self._messages.operation(operation))

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Context) -> pb.CancelOperationResponse:
        """See the contract."""
        operation = await self._operations.cancel(context.call, request.id)
        return pb.CancelOperationResponse(operation=self._messages.operation(operation))


class OperationMessages:
    """Converts operations of registered types."""

    def __init__(self, types: OperationTypes) -> None:
        self._types = types

    def operation(self, value: Operation) -> pb.Operation:
        """Return an operation. A succeeded one is 100 % complete, even if instances were deleted during it."""
        part = 100 * value.done // value.total if value.total else 0
        message = pb.Operation(
            id=value.id,
            type=value.type,
            state=cast(pb.OperationState, int(value.state)),
            created=convert.timestamp(value.created),
            updated=convert.timestamp(value.updated),
            percent_complete=100 if value.state is OperationState.SUCCEEDED else min(part, 99),
            done=value.done,
            failed=value.failed,
            total=value.total,
            error=value.error,
        )
        if type_ := self._types.get(value.type):
            message.internal = type_.is_internal
            message.request.CopyFrom(_packed(type_.request_message, value.request))
            if type_.result_message and value.result:
                message.result.CopyFrom(_packed(type_.result_message, value.result))
        return message


def _request_of(packed: PackedMessage) -> tuple[str, Json]:
    """Return the name of a packed request message and the message as JSON; an empty name without a message.

    Raises:
        InvalidRequest: INVALID_FIELD, it is not a known message of this package, or is malformed.
    """
    full_name = packed.TypeName()
    package, _, name = full_name.rpartition(".")
    if not full_name:
        return "", {}
    try:
        if package != _PACKAGE:
            raise KeyError(full_name)
        message = _class(name)()
        message.ParseFromString(packed.value)
    except (KeyError, DecodeError) as error:
        text = "The type of the request message is unknown to this server."
        raise InvalidRequest(Reason.INVALID_FIELD, text, field="request") from error
    return name, json_format.MessageToDict(message, preserving_proto_field_name=True)


def _states(values: Sequence[pb.OperationState]) -> list[OperationState]:
    """Return the states to list. Raises InvalidRequest (INVALID_FIELD) for an unknown one."""
    try:
        return [OperationState(value) for value in values]
    except ValueError as error:
        raise InvalidRequest(Reason.INVALID_FIELD, "There is no such state.", field="states") from error


def _operation_error(value: OperationError) -> pb.OperationError:
    """Return an error of an item."""
    return pb.OperationError(
        time=convert.timestamp(value.time),
        reason=convert.reason(value.reason),
        message=value.message,
        address=None if value.address is None else convert.address_message(value.address),
        item=value.item,
    )


def _packed(name: str, json: Json) -> PackedMessage:
    packed = PackedMessage()
    packed.Pack(json_format.ParseDict(dict(json), _class(name)(), ignore_unknown_fields=True))
    return packed


def _class(name: str) -> type[Message]:
    """Return the class of a message of the contract. Raises KeyError."""
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"{_PACKAGE}.{name}"))

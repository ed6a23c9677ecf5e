"""Operation types, as entries in a registry.

An entry defines a type completely: its name, the messages of its request and result, its steps and their progress, the
effect of cancelling, and its schedule. The engine makes each type a durable workflow and each step a
durable step (`server.jobs`); `OperationService` starts, lists and cancels operations of every type. A new type is a
module with such an entry, a line that registers it (`operation_types` of the components in `server.bootstrap`), its
messages in `operation_types.proto`, and its tests.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from server.model.access import Action
from server.model.ids import PartitionName
from server.model.operation import Json, Operation, OperationError, Update

Store = Callable[[str, Update], Awaitable[Operation | None]]
"""Stores an update of the operation with an id, as `server.ports.operations.Operations.update` does."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The result of one call of a step.

    cursor: where the next call continues.
    done, failed: number of items finished by this call, and number of failed ones among them.
    total: total number of items, if this call determined it.
    errors: of items that failed.
    result: replaces the operation's result, if given.
    is_last: True if the step is finished.
    resumes: pauses the operation until this time.
    store: stores the effect of the call and its progress in one transaction. Without it, the effect has already been
        stored, and repeating the call with the same cursor must have no further effect.
    """

    cursor: str = ""
    done: int = 0
    failed: int = 0
    total: int | None = None
    errors: Sequence[OperationError] = ()
    result: Json | None = None
    is_last: bool = False
    resumes: datetime | None = None
    store: Store | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an operation. The engine calls it until it is finished.

    run: performs a part of the step, from `Operation.cursor` on, in a few seconds at most. After Unavailable and
        Exhausted the engine retries; any other DicomStoreError fails the operation with its message.
    """

    name: str
    run: Callable[[Operation], Awaitable[Progress]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request to record: without credentials, and these encrypted."""

    request: Json
    secret: str = ""


@dataclass(frozen=True, slots=True)
class OperationType:
    """An entry of the registry.

    name: as `Operation.type` and the DICOMweb resource `/operations` show it.
    request_message, result_message: names of messages in package `dicomstore.v1`; the result message is empty for a
        type without a result.
    steps: run in order.
    check: validates a request of `StartOperation` and returns the request to record; raises InvalidRequest. None if
        another service starts these operations.
    prepare: called after `check` with the id of the new operation and the checked request; what it returns is recorded.
        Raises like `check`, and Unavailable. Nothing is recorded if the operation exists already, so it must have no
        effect that matters then.
    clean_up: removes partial results of an operation that is cancelled after its start; repeating it must have no
        further effect. None: partial results remain.
    is_exclusive: only one operation can be unfinished at a time.
    is_internal: not shown to DICOMweb clients.
    partition: returns the partition that a request concerns; None: operations concern the whole archive. The recorded
        request has it as `partition`, and the id of the principal as `author`.
    may_create_partition: returns whether the partition of a request need not exist, because `prepare` creates it.
    audited: returns the part of a request that the audit trail may have, which is no patient data.
    start_action: what starting and cancelling an operation requires, as `start_action` of the request message says.
    every: interval of a recurring operation, which has an empty request; None: it does not recur.
    """

    name: str
    request_message: str
    steps: tuple[Step, ...]
    result_message: str = ""
    check: Callable[[Json], Json] | None = None
    prepare: Callable[[str, Json], Awaitable[Prepared]] | None = None
    clean_up: Callable[[Operation], Awaitable[None]] | None = None
    is_exclusive: bool = False
    is_internal: bool = False
    every: timedelta | None = None
    start_action: Action = Action.ADMINISTER
    partition: Callable[[Json], PartitionName] | None = None
    may_create_partition: Callable[[Json], bool] = lambda _: False
    audited: Callable[[Json], Json] = lambda request: request


@dataclass(frozen=True, slots=True)
class OperationTypes:
    """The registry."""

    by_name: Mapping[str, OperationType] = field(default_factory=dict)

    @classmethod
    def of(cls, types: Iterable[OperationType]) -> "OperationTypes":
        """Return a registry of types, whose names and request messages must be unique."""
        by_name: dict[str, OperationType] = {}
        messages: set[str] = set()
        for type_ in types:
            if type_.name in by_name or type_.request_message in messages:
                raise ValueError(f"The operation type {type_.name} is registered twice.")
            by_name[type_.name] = type_
            messages.add(type_.request_message)
        return cls(by_name)

    def __iter__(self) -> Iterator[OperationType]:
        return iter(self.by_name.values())

    def get(self, name: str) -> OperationType | None:
        """Return the type with this name; None if it is unknown."""
        return self.by_name.get(name)

    def with_request(self, message: str) -> OperationType | None:
        """Return the type with this request message; None if there is none."""
        return next((type_ for type_ in self if type_.request_message == message), None)

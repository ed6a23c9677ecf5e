"""Operation types: what an operation does, as an entry in a registry.

An entry says everything about a type: its name, the messages of its request and result, its steps with their progress,
what cancelling it does, and when it runs by itself. The engine makes each type a durable workflow and each step a
durable step (`server.jobs`); `OperationService` starts, lists and cancels operations of every type. A new type is a
module with such an entry, a line that registers it (`operation_types` of the components in `server.bootstrap`), its
messages in `operation_types.proto`, and its tests.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from server.model.operation import Json, Operation, OperationError, Update

Store = Callable[[str, Update], Awaitable[Operation | None]]
"""Stores an update of the operation with an id, as `server.ports.operations.Operations.update` does."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one call of a step has done.

    cursor: where the next call continues.
    done, failed: items finished by this call, and those among them that failed.
    total: items in all, if this call found out.
    errors: of items that failed.
    result: replaces the operation's result, if given.
    is_last: the step is finished.
    store: stores the effect of the call together with its progress, in one transaction. Without it the effect has
        been stored already, and the call must have no further effect when it is repeated with the same cursor.
    """

    cursor: str = ""
    done: int = 0
    failed: int = 0
    total: int | None = None
    errors: Sequence[OperationError] = ()
    result: Json | None = None
    is_last: bool = False
    store: Store | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an operation, which is called until it is finished.

    run: does a part of the step that takes a few seconds at most, from `Operation.cursor` on. Unavailable and Exhausted
        make the engine try again; any other DicomStoreError fails the operation with its message.
    """

    name: str
    run: Callable[[Operation], Awaitable[Progress]]


@dataclass(frozen=True, slots=True)
class OperationType:
    """An entry of the registry.

    name: as `Operation.type` and the DICOMweb resource `/operations` show it.
    request_message, result_message: names of messages in package `dicomstore.v1`; no result message: it has no result.
    steps: are done in order.
    check: checks a request of `StartOperation` and returns what is recorded; raises InvalidRequest. None: such
        operations are started by another service.
    clean_up: undoes what an unfinished operation leaves that must not stay, when it is cancelled after it has begun;
        must have no further effect when it is repeated. None: what it has done stays.
    is_exclusive: while one is not final, no other can be started.
    is_internal: not shown to DICOMweb clients.
    every: time between the starts of a recurring operation, which has an empty request; None: it does not recur.
    """

    name: str
    request_message: str
    steps: tuple[Step, ...]
    result_message: str = ""
    check: Callable[[Json], Json] | None = None
    clean_up: Callable[[Operation], Awaitable[None]] | None = None
    is_exclusive: bool = False
    is_internal: bool = False
    every: timedelta | None = None


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
        """Return the type of a name; None if this program does not know it."""
        return self.by_name.get(name)

    def with_request(self, message: str) -> OperationType | None:
        """Return the type whose requests are messages of a name; None if there is none."""
        return next((type_ for type_ in self if type_.request_message == message), None)

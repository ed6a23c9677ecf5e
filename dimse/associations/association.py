"""One association: requests and responses in both directions, and its end (PS3.7, PS3.8).

An association is used by one thread, which reads from the connection when it needs something. A data set is not
collected: the service reads it in pieces while it arrives. Requests are served one after the other: the asynchronous
operations window is not negotiated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from common.telemetry.catalogue import DIMSE_ASSOCIATIONS
from dimse.associations import pdus
from dimse.associations.commands import Command, CommandField
from dimse.associations.connection import Connection
from dimse.associations.errors import AssociationLost, ProtocolError
from dimse.associations.messages import Bytes, MessageReader, MessageWriter
from dimse.associations.pdus import AbortSource, Roles
from dimse.associations.peers import Peer

_MAX_DATA_SET_BYTES = 4 << 20
"""Largest data set that is read as a whole: identifiers and the information of N services, not instances."""

_MAX_DEPTH = 3
_RELEASE_RP_BYTES = 10

ACCEPTOR, REQUESTOR = "acceptor", "requestor"
"""Roles of the gateway in an association."""


class Context(NamedTuple):
    """An accepted presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an association.

    max_pdu_bytes: largest PDU that is accepted.
    idle_seconds: time without a request.
    silent_seconds: time for which the peer may be silent within a message, or before a response.
    end_seconds: time for release and abort.
    """

    max_pdu_bytes: int
    idle_seconds: float
    silent_seconds: float
    end_seconds: float


@dataclass(slots=True)
class Request:
    """A request of the peer. Its data set, if any, is read from `association`.

    status: of the last response; None before.
    """

    association: "Association"
    context: Context
    command: Command
    status: int | None = None
    _encoded: dict[tuple[int, bool], bytes] = field(default_factory=dict)

    @property
    def peer(self) -> Peer:
        """The peer."""
        return self.association.peer

    def data_set(self, most_bytes: int = _MAX_DATA_SET_BYTES) -> bytes:
        """Return the data set, encoded; empty if there is none. Raises ProtocolError if it is larger."""
        return self.association.data_set(most_bytes)

    def respond(self, status: int, data_set: bytes | None = None, *, is_held: bool = False, **elements: Any) -> None:
        """Send a response.

        Args:
            is_held: it may wait for the next response, so that both are sent at once.
            elements: of `Command`, beyond those that `Command.response` sets.
        """
        has_data_set = data_set is not None
        encoded = None if elements else self._encoded.get((status, has_data_set))
        if encoded is None:
            response = self.command.response(status, has_data_set=has_data_set, **elements)
            encoded = response.encode()
            if not elements:
                self._encoded[status, has_data_set] = encoded
        self.association.send_encoded(
            self.context, encoded, [data_set] if data_set is not None else None, is_held=is_held
        )
        self.status = status

    def is_cancelled(self) -> bool:
        """Return whether the peer has sent C-CANCEL for this request; does not wait."""
        return self.association.is_cancelled(self.command.message_id)


class Association:
    """An established association.

    peer: the application entity at the other end.
    contexts: accepted presentation contexts by their id.
    roles: negotiated roles of the requestor by SOP class; without one it is SCU only (PS3.7 section D.3.3.4).
    extended: negotiated Service Class Application Information by SOP class (PS3.7 section D.3.3.5).
    limits: its limits.
    serve: called for requests that arrive while this side waits for a response; see `perform`.
    requests: number of requests received.
    is_release_requested: the peer has released the association while this side waited for a response; see `receive`.
    """

    def __init__(
        self,
        connection: Connection,
        peer: Peer,
        contexts: Mapping[int, Context],
        limits: Limits,
        peer_max_pdu: int,
        *,
        role: str = ACCEPTOR,
        roles: Mapping[str, Roles] = MappingProxyType({}),
        extended: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Take over a connection after the negotiation.

        Args:
            peer_max_pdu: largest PDU that the peer accepts; 0 means no limit.
            role: of this side, for the metrics: `ACCEPTOR` or `REQUESTOR`.
        """
        self.peer = peer
        self.contexts = contexts
        self.roles = roles
        self.extended = extended
        self.serve: Callable[[Request], None] | None = None
        self.requests = 0
        self._is_serving = False
        self._is_stopping = False
        self._connection = connection
        self.limits = limits
        self._reader = MessageReader(connection, limits.max_pdu_bytes, limits.silent_seconds)
        self._writer = MessageWriter(connection, peer_max_pdu)
        self._cancelled: set[int] = set()
        self._message_id = 0
        self._depth = 0
        self._is_over = False
        self.is_release_requested = False
        self._open = DIMSE_ASSOCIATIONS.of(role)
        self._open.value += 1
        self._is_closed = False

    # -----------------------------------------------------------------------------------------------------------------
    # Receiving

    def receive(self) -> Request | None:
        """Return the next request, or None when the peer has released the association.

        The rest of the previous data set is discarded.

        Raises:
            AssociationLost, ProtocolError: the association is over.
        """
        while True:
            if self._is_stopping:
                raise AssociationLost("the gateway stops")
            message = None if self.is_release_requested else self._message(self.limits.idle_seconds)
            if message is None:
                self._connection.send(pdus.RELEASE_RP)
                self._is_over = True
                self._connection.wait_for_close(self.limits.end_seconds)
                return None
            context, command = message
            if command.field == CommandField.C_CANCEL:
                continue  # the request has been answered already
            if command.is_response:
                raise ProtocolError("a response without a request")
            self.requests += 1
            self._cancelled.clear()  # message ids may be used again
            return Request(self, context, command)

    def read_data_set(self, target: memoryview) -> int:
        """Read a part of the data set: fill `target`, or less at its end; return the number of bytes, 0 after the end.

        Raises:
            AssociationLost, ProtocolError: the association is over.
        """
        return self._reader.read_data_set(target)

    @property
    def has_more_data(self) -> bool:
        """Whether the data set of the last message has not been read completely."""
        return self._reader.has_more_data

    def data_set(self, most_bytes: int = _MAX_DATA_SET_BYTES) -> bytes:
        """Return the rest of the data set. Raises ProtocolError if it is larger than `most_bytes`."""
        return self._reader.data_set(most_bytes)

    def discard_data_set(self) -> None:
        """Read the rest of the data set and forget it."""
        self._reader.discard_data_set()

    def is_silent(self, seconds: float) -> bool:
        """Wait until the peer sends something, at most some seconds; return whether it has sent nothing."""
        return self._reader.is_silent(seconds)

    def is_cancelled(self, message_id: int | None) -> bool:
        """Return whether the peer has sent C-CANCEL for a request; does not wait."""
        while not self._reader.is_silent(0):
            message = self._message(self.limits.silent_seconds)
            if message is None or message[1].field != CommandField.C_CANCEL:
                raise ProtocolError("a message during an operation")
            self._note_cancel(message[1])
        return message_id in self._cancelled

    def _message(self, seconds: float) -> tuple[Context, Command] | None:
        """Return the next command with its context, or None for a release request."""
        message = self._reader.next(seconds)
        if message is None:
            return None
        context_id, command = message
        context = self.contexts.get(context_id)
        if context is None:
            raise ProtocolError("a message on a presentation context that was not accepted")
        return context, command

    def _note_cancel(self, command: Command) -> None:
        if command.message_id_being_responded_to is not None and len(self._cancelled) < 100:
            self._cancelled.add(command.message_id_being_responded_to)

    # -----------------------------------------------------------------------------------------------------------------
    # Sending

    def send(self, context: Context, command: Command, data_set: Iterable[Bytes] | None = None) -> None:
        """Send a message.

        Args:
            data_set: its encoded parts, in order; None for none.

        Raises:
            AssociationLost: the peer does not accept it.
        """
        command.has_data_set = data_set is not None
        self.send_encoded(context, command.encode(), data_set)

    def send_encoded(
        self, context: Context, command: bytes, data_set: Iterable[Bytes] | None = None, *, is_held: bool = False
    ) -> None:
        """Send a message whose command set is encoded; `is_held` if it may wait for the next one. As `send`."""
        self._connection.set_timeout(self.limits.silent_seconds)
        self._writer.write(context.context_id, command, data_set, is_held=is_held)

    def send_held(self) -> None:
        """Send the messages that wait for another one. As `send`."""
        self._writer.send_held()

    def perform(self, context: Context, command: Command, data_set: Iterable[Bytes] | None = None) -> Command:
        """Send a request and return its final response, whose data set, if any, is then read from the association.

        Requests of the peer that arrive before are served. C-CANCEL requests are noted.

        Raises:
            AssociationLost, ProtocolError: the association is over.
        """
        responses = self.perform_all(context, command, data_set)
        for response in responses:
            if response.status is None or response.status & 0xFF00 != 0xFF00:
                return response
        raise ProtocolError("no final response")

    def perform_all(
        self, context: Context, command: Command, data_set: Iterable[Bytes] | None = None
    ) -> Iterator[Command]:
        """Send a request and yield its responses; the last one has another status than pending. As `perform`."""
        self._message_id = self._message_id % 0xFFFF + 1
        command.message_id = self._message_id
        self.send(context, command, data_set)
        while True:
            message = self._message(self.limits.silent_seconds)
            if message is None:
                self.is_release_requested = True
                raise AssociationLost("the peer has released the association during an operation")
            received_on, received = message
            if received.field == CommandField.C_CANCEL:
                self._note_cancel(received)
            elif not received.is_response:
                self._serve_nested(Request(self, received_on, received))
            elif received.message_id_being_responded_to != command.message_id:
                raise ProtocolError("a response without a request")
            else:
                yield received
                if received.status is None or received.status & 0xFF00 != 0xFF00:
                    return

    def serve_request(self, request: Request) -> None:
        """Serve a request. Raises: as `receive`."""
        assert self.serve is not None
        self._is_serving = True
        try:
            self.serve(request)
        finally:
            self._is_serving = False

    def _serve_nested(self, request: Request) -> None:
        if self.serve is None or self._depth >= _MAX_DEPTH:
            raise ProtocolError("a request during an operation")
        self._depth += 1
        try:
            self.serve(request)
        finally:
            self._depth -= 1

    def context_for(self, abstract_syntax: str, *transfer_syntaxes: str) -> Context | None:
        """Return an accepted context for a SOP class with the first of these transfer syntaxes that has one.

        Without transfer syntaxes, any context of the SOP class.
        """
        found = [context for context in self.contexts.values() if context.abstract_syntax == abstract_syntax]
        if not transfer_syntaxes:
            return found[0] if found else None
        by_syntax = {context.transfer_syntax: context for context in found}
        return next((by_syntax[syntax] for syntax in transfer_syntaxes if syntax in by_syntax), None)

    # -----------------------------------------------------------------------------------------------------------------
    # The end

    def release(self) -> None:
        """Release the association as its requestor, and close the connection."""
        with suppress(AssociationLost, ProtocolError):
            if not self._is_over:
                self._is_over = True
                self._connection.set_timeout(self.limits.end_seconds)
                self._connection.send(pdus.RELEASE_RQ)
                self._connection.read(_RELEASE_RP_BYTES)
        self._close()

    def abort(self, source: AbortSource = AbortSource.SERVICE_USER) -> None:
        """Abort the association, unless it is over, and close the connection."""
        if not (self._is_over or self._reader.is_aborted):
            self._is_over = True
            self._connection.set_timeout(self.limits.end_seconds)
            with suppress(AssociationLost):
                self._connection.send(pdus.abort(source))
        self._close()

    def _close(self) -> None:
        self._connection.close()
        if not self._is_closed:
            self._is_closed = True
            self._open.value -= 1

    def close(self) -> None:
        """Close the connection; aborts the association if it is not over."""
        self.abort()

    def stop(self) -> None:
        """End the association from another thread: at once if no request is served, otherwise after its response."""
        self._is_stopping = True
        if not self._is_serving:
            with suppress(AssociationLost):
                self._connection.send(pdus.abort(AbortSource.SERVICE_USER))
            self._is_over = True
            self.interrupt()

    def interrupt(self) -> None:
        """Let the thread that uses the association fail at once."""
        self._connection.interrupt()

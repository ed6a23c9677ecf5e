"""Messages of an association as PDUs (PS3.7 section 6.3.1, PS3.8 section 9.3.5).

A command set is read as a whole. A data set is not: it is read in pieces while it arrives.
"""

import struct
from collections.abc import Iterable, Iterator

from dimse.associations import commands
from dimse.associations.commands import Command
from dimse.associations.connection import Connection
from dimse.associations.errors import AssociationLost, ProtocolError
from dimse.associations.pdus import PduType

_PDU = struct.Struct(">BBL")
_PDV = struct.Struct(">LBB")
_P_DATA = struct.Struct(">BBLLBB")
_MAX_COMMAND_BYTES = 64 << 10
_MAX_SENT_PDU_BYTES = 256 << 10
_MIN_SENT_PDU_BYTES = 128
_SENT_AT_ONCE_BYTES = 1 << 20
_HELD_BYTES = 32 << 10
_COMMAND, _LAST = 1, 2
"""Bits of the message control header (PS3.8 Annex E.2)."""

Bytes = bytes | bytearray | memoryview


class MessageReader:
    """Reads the messages of a peer.

    Args:
        max_pdu_bytes: largest PDU that is accepted.
        silent_seconds: time for which the peer may be silent within a message.
    """

    def __init__(self, connection: Connection, max_pdu_bytes: int, silent_seconds: float) -> None:
        self._connection = connection
        self._max_pdu_bytes = max_pdu_bytes
        self._silent_seconds = silent_seconds
        self._pdu_rest = 0
        self._fragment_rest = 0
        self._data_set_context = 0
        """Id of the context of the data set that is being received; 0 for none."""
        self._is_last_fragment = False
        self.is_aborted = False
        """Whether the peer has aborted the association."""

    def next(self, seconds: float) -> tuple[int, Command] | None:
        """Return the next command with the id of its context, or None for a release request.

        The rest of the previous data set is discarded.

        Args:
            seconds: time within which it must begin.

        Raises:
            AssociationLost, ProtocolError: the association is over.
        """
        self.discard_data_set()
        self._connection.set_timeout(seconds)
        parts: list[bytes] = []
        size, context_id, is_last = 0, 0, False
        while not is_last:
            if not self._pdu_rest:
                kind, length = self._pdu_header()
                self._connection.set_timeout(self._silent_seconds)
                if kind == PduType.RELEASE_RQ and not parts:
                    self._connection.read(length)
                    return None
                self._require_data(kind, length)
            this_id, flags, length = self._fragment_header()
            if not flags & _COMMAND or (parts and this_id != context_id):
                raise ProtocolError("a fragment of another message")
            context_id, is_last = this_id, bool(flags & _LAST)
            size += length
            if size > _MAX_COMMAND_BYTES:
                raise ProtocolError("the command set is too large")
            parts.append(self._connection.read(length))
        command = commands.decode(b"".join(parts))
        if command.has_data_set:
            self._data_set_context, self._is_last_fragment, self._fragment_rest = context_id, False, 0
        return context_id, command

    def read_data_set(self, target: memoryview) -> int:
        """Read a part of the data set: fill `target`, or less at its end; return the number of bytes, 0 after the end.

        Raises:
            AssociationLost, ProtocolError: the association is over.
        """
        filled, most = 0, len(target)
        while filled < most and self._data_set_context:
            if not self._fragment_rest:
                self._begin_data_fragment()
                continue
            count = min(most - filled, self._fragment_rest)
            self._connection.read_into(target[filled : filled + count])
            self._fragment_rest -= count
            filled += count
            if not self._fragment_rest and self._is_last_fragment:
                self._data_set_context = 0
        return filled

    @property
    def has_more_data(self) -> bool:
        """Whether the data set of the last message has not been read completely."""
        return bool(self._data_set_context)

    def data_set(self, most_bytes: int) -> bytes:
        """Return the rest of the data set. Raises ProtocolError if it is larger than `most_bytes`."""
        parts, size = [], 0
        buffer = memoryview(bytearray(min(most_bytes, 64 << 10)))
        while count := self.read_data_set(buffer):
            size += count
            if size > most_bytes:
                raise ProtocolError("the data set is too large for this service")
            parts.append(bytes(buffer[:count]))
        return b"".join(parts)

    def discard_data_set(self) -> None:
        """Read the rest of the data set and forget it."""
        if self._data_set_context:
            buffer = memoryview(bytearray(64 << 10))
            while self.read_data_set(buffer):
                pass

    def is_silent(self, seconds: float) -> bool:
        """Wait until the peer sends something, at most some seconds; return whether it has sent nothing."""
        return not (self._pdu_rest or self._connection.has_data(seconds))

    def _begin_data_fragment(self) -> None:
        if self._is_last_fragment:  # an empty one
            self._data_set_context = 0
            return
        while not self._pdu_rest:
            self._require_data(*self._pdu_header())
        context_id, flags, length = self._fragment_header()
        if flags & _COMMAND or context_id != self._data_set_context:
            raise ProtocolError("a fragment of another message")
        self._fragment_rest, self._is_last_fragment = length, bool(flags & _LAST)

    def _pdu_header(self) -> tuple[int, int]:
        kind, _, length = _PDU.unpack(self._connection.read(6))
        if length > self._max_pdu_bytes:
            raise ProtocolError("the PDU is too large")
        return kind, length

    def _require_data(self, kind: int, length: int) -> None:
        if kind == PduType.ABORT:
            self.is_aborted = True
            raise AssociationLost("the peer has aborted the association")
        if kind != PduType.P_DATA or length < 6:
            raise ProtocolError("an unexpected PDU")
        self._pdu_rest = length

    def _fragment_header(self) -> tuple[int, int, int]:
        if self._pdu_rest < 6:
            raise ProtocolError("the PDU is malformed")
        length, context_id, flags = _PDV.unpack(self._connection.read(6))
        if length < 2 or length + 4 > self._pdu_rest:
            raise ProtocolError("the PDU is malformed")
        self._pdu_rest -= length + 4
        return context_id, flags, length - 2


class MessageWriter:
    """Writes messages to a peer.

    Args:
        peer_max_pdu: largest PDU that it accepts; 0 means no limit.
    """

    def __init__(self, connection: Connection, peer_max_pdu: int) -> None:
        self._connection = connection
        most = min(peer_max_pdu or _MAX_SENT_PDU_BYTES, _MAX_SENT_PDU_BYTES)
        self._fragment_bytes = max(most, _MIN_SENT_PDU_BYTES) - 6  # the PDU length includes the header of the PDV
        self._waiting: list[Bytes] = []
        self._waiting_bytes = 0

    def write(self, context_id: int, command: bytes, data_set: Iterable[Bytes] | None, *, is_held: bool) -> None:
        """Send a message.

        Args:
            command: the encoded command set.
            is_held: it may wait for the next message, so that both are sent at once.

        Raises:
            AssociationLost: the peer does not accept it.
        """
        # PDUs may be small, with DCMTK 16 KiB by default: several are sent at once.
        self._add(context_id, _COMMAND | _LAST, command)
        if data_set is not None:
            previous: Bytes | None = None
            for fragment in _fragments(data_set, self._fragment_bytes):
                if previous is not None:
                    self._add(context_id, 0, previous)
                if self._waiting_bytes >= _SENT_AT_ONCE_BYTES:
                    self.send_held()
                previous = fragment
            self._add(context_id, _LAST, b"" if previous is None else previous)
        if not is_held or self._waiting_bytes >= _HELD_BYTES:
            self.send_held()

    def send_held(self) -> None:
        """Send what waits. Raises: as `write`."""
        if self._waiting:
            parts, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._connection.send_parts(parts)

    def _add(self, context_id: int, flags: int, data: Bytes) -> None:
        """Add a P-DATA-TF PDU with one fragment to those that are sent next."""
        size = len(data)
        self._waiting += (_P_DATA.pack(PduType.P_DATA, 0, size + 6, size + 2, context_id, flags), data)
        self._waiting_bytes += size


def _fragments(parts: Iterable[Bytes], most_bytes: int) -> Iterator[Bytes]:
    """Yield the parts of a data set as fragments of at most `most_bytes`; small parts are not joined."""
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), most_bytes):
            yield view[start : start + most_bytes]

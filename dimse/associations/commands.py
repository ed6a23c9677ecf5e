"""Command sets of DIMSE messages (PS3.7 section 6.3 and Annex E): implicit VR little endian, group 0000."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from dimse.associations.errors import ProtocolError

_NO_DATA_SET = 0x0101
_RESPONSE = 0x8000


class CommandField(IntEnum):
    """Command Field (0000,0100) of requests; a response has the highest bit set as well."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


@dataclass(slots=True)
class Command:
    """The elements of a command set; None for those that are absent.

    field: Command Field (0000,0100).
    has_data_set: a data set follows (Command Data Set Type).
    offending_elements, attribute_identifiers: tags as numbers (Offending Element, Attribute Identifier List).
    All others have the name of their attribute in PS3.7 Annex E.
    """

    field: int
    has_data_set: bool = False
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    requested_sop_class_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    priority: int | None = None
    status: int | None = None
    move_destination: str | None = None
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None
    attribute_identifiers: tuple[int, ...] | None = None
    remaining_suboperations: int | None = None
    completed_suboperations: int | None = None
    failed_suboperations: int | None = None
    warning_suboperations: int | None = None
    offending_elements: tuple[int, ...] | None = None
    error_comment: str | None = None
    error_id: int | None = None

    @property
    def is_response(self) -> bool:
        """Whether this is a response."""
        return bool(self.field & _RESPONSE)

    @property
    def sop_class_uid(self) -> str:
        """Affected or Requested SOP Class UID; empty if the command has none."""
        return self.affected_sop_class_uid or self.requested_sop_class_uid or ""

    @property
    def sop_instance_uid(self) -> str:
        """Affected or Requested SOP Instance UID; empty if the command has none."""
        return self.affected_sop_instance_uid or self.requested_sop_instance_uid or ""

    def response(self, status: int, **elements: Any) -> "Command":
        """Return the response to this request: its identifiers, a status, and further elements."""
        values: dict[str, Any] = {
            "message_id_being_responded_to": self.message_id,
            "affected_sop_class_uid": self.sop_class_uid or None,
            "affected_sop_instance_uid": self.sop_instance_uid or None,
            "status": status,
        }
        return Command(self.field | _RESPONSE, **(values | elements))

    def encode(self) -> bytes:
        """Return the encoded command set with its group length."""
        values = {
            0x0100: _US.pack(self.field),
            0x0800: _US.pack(0x0000 if self.has_data_set else _NO_DATA_SET),
        }
        for number, (name, kind) in _ELEMENTS.items():
            value = getattr(self, name)
            if value is not None:
                values[number] = kind.encode(value)
        body = b"".join(_element(number, values[number]) for number in sorted(values))
        return _element(0x0000, struct.pack("<I", len(body))) + body


def decode(data: bytes) -> Command:
    """Return a command set. Raises ProtocolError if it is malformed."""
    values: dict[str, Any] = {}
    field = data_set_type = None
    position, end = 0, len(data)
    try:
        while position < end:
            group, number, length = _HEADER.unpack_from(data, position)
            position += 8
            if group or length > end - position:
                raise ProtocolError("the command set is malformed")
            value = data[position : position + length]
            position += length
            if number == 0x0100:
                (field,) = _US.unpack(value)
            elif number == 0x0800:
                (data_set_type,) = _US.unpack(value)
            elif (known := _ELEMENTS.get(number)) and value:
                values[known[0]] = known[1].decode(value)
    except (struct.error, UnicodeDecodeError):
        raise ProtocolError("the command set is malformed") from None
    if field is None or data_set_type is None:
        raise ProtocolError("the command set has no command field or data set type")
    return Command(field, data_set_type != _NO_DATA_SET, **values)


@dataclass(frozen=True, slots=True)
class _Kind:
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


_HEADER = struct.Struct("<HHI")
_US = struct.Struct("<H")


def _padded(text: str, pad: bytes) -> bytes:
    data = text.encode("ascii", "replace")
    return data + pad if len(data) % 2 else data


def _tags(data: bytes) -> tuple[int, ...]:
    numbers = struct.unpack(f"<{len(data) // 2}H", data)
    return tuple(group << 16 | element for group, element in zip(numbers[::2], numbers[1::2], strict=True))


def _encoded_tags(tags: tuple[int, ...]) -> bytes:
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)


def _tags_or_error(data: bytes) -> tuple[int, ...]:
    if len(data) % 4:
        raise ProtocolError("the command set is malformed")
    return _tags(data)


_UID = _Kind(lambda uid: _padded(uid, b"\0"), lambda data: data.decode("ascii").strip("\0 "))
_TEXT = _Kind(lambda text: _padded(text, b" "), lambda data: data.decode("latin-1").strip("\0 "))
_NUMBER = _Kind(_US.pack, lambda data: int(_US.unpack(data)[0]))
_TAGS = _Kind(_encoded_tags, _tags_or_error)

_ELEMENTS: Mapping[int, tuple[str, _Kind]] = {
    0x0002: ("affected_sop_class_uid", _UID),
    0x0003: ("requested_sop_class_uid", _UID),
    0x0110: ("message_id", _NUMBER),
    0x0120: ("message_id_being_responded_to", _NUMBER),
    0x0600: ("move_destination", _TEXT),
    0x0700: ("priority", _NUMBER),
    0x0900: ("status", _NUMBER),
    0x0901: ("offending_elements", _TAGS),
    0x0902: ("error_comment", _TEXT),
    0x0903: ("error_id", _NUMBER),
    0x1000: ("affected_sop_instance_uid", _UID),
    0x1001: ("requested_sop_instance_uid", _UID),
    0x1002: ("event_type_id", _NUMBER),
    0x1005: ("attribute_identifiers", _TAGS),
    0x1008: ("action_type_id", _NUMBER),
    0x1020: ("remaining_suboperations", _NUMBER),
    0x1021: ("completed_suboperations", _NUMBER),
    0x1022: ("failed_suboperations", _NUMBER),
    0x1023: ("warning_suboperations", _NUMBER),
    0x1030: ("move_originator_ae_title", _TEXT),
    0x1031: ("move_originator_message_id", _NUMBER),
}


def _element(number: int, value: bytes) -> bytes:
    return _HEADER.pack(0, number, len(value)) + value

"""Reading and writing serialised messages without copies of their bytes (https://protobuf.dev/programming-guides/encoding/).

The classes of protobuf copy each field of bytes when a message is read, and again when the field is. For instances that
takes longer than anything else.
"""

from collections.abc import Iterator

Field = tuple[int, int | memoryview]
"""Number of a field, and its value: a number, or the bytes of a field with a length or a fixed size."""

_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in their order. Raises ValueError if it is malformed."""
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == _DELIMITED:
            size, position = _varint(message, position)
        elif kind in (_FIXED_32, _FIXED_64):
            size = 4 if kind == _FIXED_32 else 8
        else:
            raise ValueError("unknown wire type")
        if size > end - position:
            raise ValueError("the message ends too early")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number and the position after it."""
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number is malformed")


def varint(value: int) -> bytes:
    """Return a number that is not negative in its encoding."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)

"""Streaming of ZIP archives: instances as files in folders by study and series.

Members are not compressed, because compression hardly reduces pixel data and would dominate the cost. The output is not
seekable, so sizes and checksums follow the data; 64-bit sizes are used where 32 bits might not suffice. Names contain
UIDs only. The entries of the central directory stay in memory, less than a kilobyte for each instance.
"""

import zipfile
from typing import Any

from dicomstore.v1.retrieve_service_pb2 import Omission

from facade.errors import reason_name
from facade.response.objects import Buffer

ERRORS_NAME = "errors.txt"

_LARGE_BYTES = 1 << 31


class _Sink:
    """An unseekable output file; `take` returns and removes the written data."""

    def __init__(self) -> None:
        self._pieces: list[Buffer] = []

    def write(self, data: Buffer, /) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take(self) -> Buffer:
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Archive:
    """Envelope that writes instances to a ZIP archive. Its last member, `errors.txt`, lists omitted instances."""

    def __init__(self, omission: Omission) -> None:
        self._omission = omission
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_STORED)
        self._member: Any = None

    def begin(self, head: Any) -> Buffer:
        """End the previous member and start that of an instance."""
        self._end_member()
        name = f"{head.id.study_instance_uid}/{head.id.series_instance_uid}/{head.id.sop_instance_uid}.dcm"
        is_small = head.HasField("size_bytes") and head.size_bytes < _LARGE_BYTES
        self._member = self._zip.open(_member(name), "w", force_zip64=not is_small)
        return self._sink.take()

    def data(self, data: Buffer) -> Buffer:
        """Add a chunk of the instance to the member and return the output."""
        self._member.write(data)
        return self._sink.take()

    def end(self) -> Buffer:
        """Return the list of omitted instances, if there are any, and the central directory."""
        self._end_member()
        errors = self._omission.errors
        if errors:
            lines = [f"{each.instance.sop_instance_uid} {reason_name(each.reason)}\r\n" for each in errors]
            if (more := self._omission.count - len(errors)) > 0:
                lines.append(f"and {more} more\r\n")
            self._zip.writestr(_member(ERRORS_NAME), "".join(lines))
        self._zip.close()
        return self._sink.take()

    def _end_member(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None


def _member(name: str) -> zipfile.ZipInfo:
    """Return a member without a timestamp, so that the same instances give the same bytes."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o644 << 16
    return member

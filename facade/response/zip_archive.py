"""application/zip as it streams by: instances as files, in folders by study and series.

Members are stored, not deflated: pixels hardly get smaller, and it would cost far more than all the rest. Nothing is
sought in, so sizes and checksums follow the bytes; sizes of 64 bits are used where 32 might not do. Names hold UIDs
only. In memory is what the directory at the end needs, below a kilobyte for each instance.
"""

import zipfile
from typing import Any

from dicomstore.v1.retrieve_service_pb2 import Omission

from facade.errors import reason_name
from facade.response.objects import Buffer

ERRORS_NAME = "errors.txt"

_LARGE_BYTES = 1 << 31


class _Sink:
    """A file that can't be sought in; what is written is taken away again."""

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
    """Puts instances in a ZIP archive. Those that are left out are listed in its last member, `errors.txt`."""

    def __init__(self, omission: Omission) -> None:
        self._omission = omission
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_STORED)
        self._member: Any = None

    def begin(self, head: Any) -> Buffer:
        """End the member before and begin that of an instance."""
        self._end_member()
        name = f"{head.id.study_instance_uid}/{head.id.series_instance_uid}/{head.id.sop_instance_uid}.dcm"
        is_small = head.HasField("size_bytes") and head.size_bytes < _LARGE_BYTES
        self._member = self._zip.open(_member(name), "w", force_zip64=not is_small)
        return self._sink.take()

    def data(self, data: Buffer) -> Buffer:
        """Return a run of bytes of the instance, with its checksum taken."""
        self._member.write(data)
        return self._sink.take()

    def end(self) -> Buffer:
        """Return the list of failures, if there are any, and the directory."""
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
    """Return a member without a time: the same instances give the same bytes."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o644 << 16
    return member

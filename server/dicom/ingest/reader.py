"""Reads a Part 10 file from a stream: all that is needed to check, describe and index the instance.

Nothing but the header is held, and bytes are looked at once. Bulk values and pixel data are passed over; where they lie
is remembered.
"""

from server.dicom.elements.element_headers import table_of
from server.dicom.elements.transfer_syntax import TransferSyntax, transfer_syntax
from server.dicom.ingest import validate
from server.dicom.ingest.describe import Description, describe
from server.dicom.part10 import file_meta
from server.dicom.part10.deflate import Inflater
from server.dicom.part10.file_meta import FileMeta
from server.dicom.part10.json_scanner import Scanner
from server.dicom.part10.parser import unreadable
from server.model.buffer import Buffer
from server.model.errors import Exhausted, Reason
from server.model.instance import ValidationMode

__all__ = ["Description", "InstanceReader"]


_LOOK_BYTES = 8 << 10


class InstanceReader:
    """Takes a file in pieces of any size.

    Args:
        mode: how values are checked.
        max_header_bytes: of everything but bulk values; also bounds the memory held, up to a small factor.
    """

    def __init__(self, mode: ValidationMode, max_header_bytes: int) -> None:
        self._mode = mode
        self._max_header_bytes = max_header_bytes
        self._end = 0
        self._meta_end = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._needed = file_meta.PREFIX_END
        self._syntax: TransferSyntax | None = None
        self._scanner: Scanner | None = None
        self._inflater: Inflater | None = None

    @property
    def header_bytes(self) -> int:
        """How many bytes were fed that count against `max_header_bytes`; memory held grows with them."""
        return self._held_bytes + (self._scanner.header_bytes if self._scanner is not None else 0)

    def is_cut_off_at(self, size_bytes: int) -> bool:
        """Say, after HEADER_TOO_LARGE, whether a file of that size lacks the end of the element that was too large.

        The length of that element is then a false one, or the file is cut off. Always False for deflated data sets.
        """
        awaited_end = self._meta_end if self._scanner is None else self._scanner.awaited_end
        return self._inflater is None and size_bytes < awaited_end

    def feed(self, data: Buffer) -> None:
        """Take the next bytes. Of a view only those are copied that have to be looked at.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, as soon as it is certain.
            Exhausted: HEADER_TOO_LARGE; INSTANCE_TOO_LARGE for what inflates beyond bounds.
        """
        if isinstance(data, bytes):
            self._feed(data)
            return
        position = 0
        while position < len(data):
            position += self._pass_over(len(data) - position)
            if position < len(data):
                self._feed(bytes(data[position : position + _LOOK_BYTES]))
                position += _LOOK_BYTES

    def _pass_over(self, most_bytes: int) -> int:
        """Return how many of the next bytes are not looked at; they count as fed."""
        if self._scanner is None or self._inflater is not None or self._held:
            return 0
        passed = max(0, min(most_bytes, self._scanner.at - self._end))
        self._end += passed
        return passed

    def _feed(self, data: bytes) -> None:
        if self._inflater is not None:
            for piece in self._inflater.inflate(data):
                self._scan(self._scanner_of(), piece)
        elif self._scanner is not None:
            self._scan(self._scanner, data)
        else:
            self._hold(data)
            if self._held_bytes >= self._needed:
                self._begin(self._released(), is_whole=False)

    def finish(self) -> Description:
        """Return what was read, after the last byte was fed.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, the file is empty, cut off or not DICOM.
            Exhausted: HEADER_TOO_LARGE; INSTANCE_TOO_LARGE for what inflates beyond bounds.
        """
        if self._scanner is None:
            self._begin(self._released(), is_whole=True)
        scanner, syntax = self._scanner_of(), self._syntax
        if self._inflater is not None:
            self._inflater.finish()
            if self._inflater.has_trailing_bytes:
                scanner.add_trailing_bytes()
        assert syntax is not None
        return describe(scanner, scanner.finish(self._end, self._released()), syntax.uid, self._mode)

    def _begin(self, data: bytes, *, is_whole: bool) -> None:
        """Read the meta information, if it is there, and start on the data set."""
        if not file_meta.has_prefix(data):
            raise unreadable("The file has no DICM prefix after the 128-byte preamble.")
        found = file_meta.read_meta(data, is_whole=is_whole)
        if isinstance(found, FileMeta):
            self._begin_data_set(data, found)
        elif found > self._max_header_bytes:
            self._meta_end = found
            raise Exhausted(Reason.HEADER_TOO_LARGE, "The file meta information exceeds the size limit.")
        elif is_whole:
            raise unreadable("The file ends within its file meta information.")
        else:
            # At least twice as much each time, so that beginning again stays cheap.
            self._needed = max(found, min(2 * len(data), self._max_header_bytes))
            self._hold(data)

    def _begin_data_set(self, data: bytes, found: FileMeta) -> None:
        uid = found.transfer_syntax_uid or file_meta.guessed_transfer_syntax(data[found.end : found.end + 8])
        self._syntax = syntax = transfer_syntax(uid)
        watched = validate.INDEXED_NUMBERS if self._mode is not ValidationMode.LENIENT else frozenset[int]()
        self._scanner = Scanner(
            found.end,
            explicit=table_of(is_implicit=False, is_big_endian=syntax.is_big_endian, watched=watched),
            implicit=table_of(is_implicit=True, is_big_endian=syntax.is_big_endian, watched=watched),
            is_implicit=syntax.is_implicit,
            marks=syntax.marks,
            max_header_bytes=self._max_header_bytes,
        )
        self._end = found.end
        if syntax.is_deflated:
            self._inflater = Inflater()
            for piece in self._inflater.inflate(data[found.end :]):
                self._scan(self._scanner, piece)
        else:
            self._scan_from(self._scanner, data, 0)

    def _scan(self, scanner: Scanner, data: bytes) -> None:
        """Take bytes of the data set that follow those before."""
        base = self._end
        self._end += len(data)
        if self._held:
            self._hold(data)
            if self._held_bytes >= scanner.needed:
                self._scan_from(scanner, self._released(), scanner.at)
        elif scanner.at < self._end:
            self._scan_from(scanner, data, base)

    def _scan_from(self, scanner: Scanner, data: bytes, base: int) -> None:
        """Let the scanner at bytes that begin at `base` of the file, and hold those it could not take yet."""
        self._end = base + len(data)
        scanner.feed(data, base)
        if scanner.at < self._end:
            self._hold(data[scanner.at - base :])

    def _scanner_of(self) -> Scanner:
        assert self._scanner is not None
        return self._scanner

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._held_bytes += len(data)

    def _released(self) -> bytes:
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held, self._held_bytes = [], 0
        return data

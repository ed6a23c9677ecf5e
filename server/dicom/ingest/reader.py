"""Reads a Part 10 file from a stream: everything needed to validate, describe and index the instance.

Only the header is held in memory, and each byte is examined once. Bulk values and pixel data are skipped; their
positions are recorded.

The bytes are processed in windows whose boundaries depend on the content of the file only, so the result does not
depend on how the client divides the file.
"""

from collections.abc import Iterator
from itertools import chain

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

__all__ = ["WINDOW_BYTES", "Description", "InstanceReader"]


WINDOW_BYTES = (8 << 10, 64 << 10)
"""Size of the smallest window, and of the largest, where nothing is skipped. Fewer bytes than the smallest are not
skipped."""

_INFLATED_AT_ONCE = 1 << 20
"""Number of bytes of an inflated data set that are processed in one step, to the next piece of it."""


class InstanceReader:
    """Reads a file fed in pieces of any size.

    Args:
        mode: of validation.
        max_header_bytes: limit of everything except bulk values; also limits the memory used, up to a small factor.
        window_bytes: see `WINDOW_BYTES`; errors are found when a window is complete.
    """

    def __init__(
        self, mode: ValidationMode, max_header_bytes: int, window_bytes: tuple[int, int] = WINDOW_BYTES
    ) -> None:
        self._mode = mode
        self._max_header_bytes = max_header_bytes
        self._min_window_bytes, self._max_window_bytes = window_bytes
        self._window_bytes = self._min_window_bytes
        self._window = b""
        self._is_skipping = False
        self._end = 0
        self._meta_end = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._needed = file_meta.PREFIX_END
        self._syntax: TransferSyntax | None = None
        self._scanner: Scanner | None = None
        self._inflater: Inflater | None = None
        self._inflated: Iterator[bytes] | None = None

    @property
    def header_bytes(self) -> int:
        """Number of fed bytes that count against `max_header_bytes`; memory use is proportional to it."""
        return self._held_bytes + (self._scanner.header_bytes if self._scanner is not None else 0)

    def is_cut_off_at(self, size_bytes: int) -> bool:
        """Say, after HEADER_TOO_LARGE, whether a file of this size ends within the element that was too large.

        In that case the element's length is wrong, or the file is truncated. Always False for deflated data sets.
        """
        awaited_end = self._meta_end if self._scanner is None else self._scanner.awaited_end
        return self._inflater is None and size_bytes < awaited_end

    def feed(self, data: Buffer) -> None:
        """Process the next bytes. Only those that need examination are copied.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, as soon as it is certain.
            Exhausted: HEADER_TOO_LARGE; INSTANCE_TOO_LARGE if the inflated size exceeds its limit.
        """
        self.feed_some(data)
        while self.is_behind:
            self.proceed()

    def feed_some(self, data: Buffer) -> None:
        """Like `feed`, but in short steps: call `proceed` while `is_behind`, and keep `data` until then.

        A deflated data set may be a thousand times larger than its file.
        """
        position, size = 0, len(data)
        while position < size and self._inflater is None:
            if self._is_skipping:
                position += self._skip(size - position)
                if position == size:
                    break
                self._is_skipping = False
            window, position = self._next_window(data, position)
            if window:
                self._feed(window)
                gap_bytes = self._scanner.at - self._end if self._scanner is not None else 0
                self._is_skipping = gap_bytes >= self._min_window_bytes
                self._window_bytes = self._min_window_bytes if self._is_skipping else self._larger_window()
        if position < size:
            self._add_inflated(self._inflate_windows(data[position:]))

    def end_some(self) -> None:
        """Process the last bytes, in short steps as `feed_some`; then only `finish` may be called."""
        window, self._window = self._window, b""
        if window:
            self._feed(window)

    @property
    def is_behind(self) -> bool:
        """Whether fed bytes are not processed yet."""
        return self._inflated is not None

    def proceed(self) -> None:
        """Process the next fed bytes; raises as `feed`."""
        assert self._inflated is not None
        left_bytes = _INFLATED_AT_ONCE
        while left_bytes > 0:
            piece = next(self._inflated, None)
            if piece is None:
                self._inflated = None
                return
            self._scan(self._scanner_of(), piece)
            left_bytes -= len(piece)

    def _next_window(self, data: Buffer, position: int) -> tuple[bytes, int]:
        """Add bytes from `position` on to the current window; return it, empty if it is incomplete, and its end."""
        end = position + self._window_bytes - len(self._window)
        window = self._window + bytes(data[position:end])
        if end > len(data):
            self._window = window
            return b"", len(data)
        self._window = b""
        return window, end

    def _larger_window(self) -> int:
        return min(2 * self._window_bytes, self._max_window_bytes)

    def _inflate_windows(self, data: Buffer) -> Iterator[bytes]:
        assert self._inflater is not None
        position = 0
        while position < len(data):
            window, position = self._next_window(data, position)
            if window:
                self._window_bytes = self._larger_window()
                yield from self._inflater.inflate(window)

    def _inflate(self, window: bytes) -> None:
        assert self._inflater is not None
        self._add_inflated(self._inflater.inflate(window))

    def _add_inflated(self, inflated: Iterator[bytes]) -> None:
        self._inflated = inflated if self._inflated is None else chain(self._inflated, inflated)

    def _skip(self, most_bytes: int) -> int:
        """Return the number of next bytes that are skipped unexamined; they count as fed."""
        passed = min(most_bytes, self._scanner_of().at - self._end)
        self._end += passed
        return passed

    def _feed(self, data: bytes) -> None:
        if self._inflater is not None:
            self._inflate(data)
        elif self._scanner is not None:
            self._scan(self._scanner, data)
        else:
            self._hold(data)
            if self._held_bytes >= self._needed:
                self._begin(self._released(), is_whole=False)

    def finish(self) -> Description:
        """Return the description after the last byte was fed.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, the file is empty, truncated or not DICOM.
            Exhausted: HEADER_TOO_LARGE; INSTANCE_TOO_LARGE if the inflated size exceeds its limit.
        """
        self.end_some()
        if self._scanner is None:
            self._begin(self._released(), is_whole=True)
        scanner, syntax = self._scanner_of(), self._syntax
        if self._inflater is not None:
            while self.is_behind:
                self.proceed()
            self._inflater.finish()
            if self._inflater.has_trailing_bytes:
                scanner.add_trailing_bytes()
        assert syntax is not None
        return describe(scanner, scanner.finish(self._end, self._released()), syntax.uid, self._mode)

    def _begin(self, data: bytes, *, is_whole: bool) -> None:
        """Read the meta information, if present, and start on the data set."""
        if not file_meta.has_prefix(data):
            raise unreadable("The file has no DICM prefix after the 128-byte preamble.")
        found = file_meta.read_meta(data, is_whole=is_whole)
        # Until all of it is read, the header of the next element is needed, too.
        needed, more = (found.end, 0) if isinstance(found, FileMeta) else (found, file_meta.NEXT_HEADER_BYTES)
        if needed > self._max_header_bytes + more:
            self._meta_end = needed
            raise Exhausted(Reason.HEADER_TOO_LARGE, "The file meta information exceeds the size limit.")
        if isinstance(found, FileMeta):
            self._begin_data_set(data, found)
        elif is_whole:
            raise unreadable("The file ends within its file meta information.")
        else:
            # At least twice as many bytes each time, so that restarts remain cheap.
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
            self._inflate(data[found.end :])
        else:
            self._scan_from(self._scanner, data, 0)

    def _scan(self, scanner: Scanner, data: bytes) -> None:
        """Process bytes of the data set that follow the previous ones."""
        base = self._end
        self._end += len(data)
        if self._held:
            self._hold(data)
            if self._held_bytes >= scanner.needed:
                self._scan_from(scanner, self._released(), scanner.at)
        elif scanner.at < self._end:
            self._scan_from(scanner, data, base)

    def _scan_from(self, scanner: Scanner, data: bytes, base: int) -> None:
        """Feed the scanner bytes that start at `base` in the file, and keep the unprocessed ones."""
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

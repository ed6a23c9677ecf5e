"""The deflated transfer syntax (PS3.5 section A.5)."""

import zlib
from collections.abc import Iterator

from server.model.buffer import Buffer
from server.model.errors import Exhausted, InvalidRequest, Reason

MAX_INFLATED_BYTES = 1 << 32
_STEP_BYTES = 1 << 18


class Inflater:
    """Inflates a data set in pieces of bounded size.

    Attributes:
        has_trailing_bytes: bytes other than zeros follow the end of the stream.
    """

    def __init__(self) -> None:
        self.has_trailing_bytes = False
        self._stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._left = MAX_INFLATED_BYTES

    def inflate(self, data: Buffer) -> Iterator[bytes]:
        """Yield the inflated bytes of `data`; bytes after the end of the stream are padding.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, not a deflated stream.
            Exhausted: INSTANCE_TOO_LARGE, the result exceeds `MAX_INFLATED_BYTES`.
        """
        if self._stream.eof:
            self._check_trailing(data)
            return
        is_more_pending = False  # zlib may have read all of its input before it can return all of its output
        while (data or is_more_pending) and not self._stream.eof:
            try:
                piece = self._stream.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise _not_deflated() from error
            data = self._stream.unconsumed_tail
            is_more_pending = len(piece) == _STEP_BYTES
            self._left -= len(piece)
            if self._left < 0:
                raise Exhausted(Reason.INSTANCE_TOO_LARGE, "The inflated data set exceeds the size limit.")
            if piece:
                yield piece
        self._check_trailing(self._stream.unused_data)

    def _check_trailing(self, trailing: Buffer) -> None:
        self.has_trailing_bytes = self.has_trailing_bytes or bool(bytes(trailing).strip(b"\0"))

    def finish(self) -> None:
        """Check that the stream is complete.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE.
        """
        if not self._stream.eof:
            raise _not_deflated()


def _not_deflated() -> InvalidRequest:
    return InvalidRequest(Reason.UNREADABLE_INSTANCE, "The deflated data set is incomplete or damaged.")

"""Part 10 files in another uncompressed transfer syntax, as streams."""

from collections.abc import AsyncIterator
from struct import pack

from server.dicom import meta, syntax
from server.dicom.deflate import Inflater
from server.dicom.elements import table_of
from server.dicom.meta import FileMeta
from server.dicom.recode import Recoder
from server.dicom.walk import unreadable

_SOURCES = frozenset({syntax.IMPLICIT_LITTLE, syntax.EXPLICIT_LITTLE, syntax.DEFLATED, syntax.EXPLICIT_BIG})
_TARGETS = frozenset({syntax.IMPLICIT_LITTLE, syntax.EXPLICIT_LITTLE})
_PREAMBLE = bytes(128) + b"DICM"


def can_reencode(source_uid: str, target_uid: str) -> bool:
    """Say whether `reencode` leads from one transfer syntax to the other."""
    return source_uid in _SOURCES and target_uid in _TARGETS


async def reencode(chunks: AsyncIterator[bytes], source_uid: str, target_uid: str) -> AsyncIterator[bytes]:
    """Yield the file `chunks` is, in the transfer syntax `target_uid`.

    Values stay as they are but for their byte order; sequences get undefined lengths. Holds a chunk and at most
    some 64 KiB more.

    Raises:
        InvalidRequest: UNREADABLE_INSTANCE, the file is not what it was when it was stored.
    """
    assert can_reencode(source_uid, target_uid), f"{source_uid} can't become {target_uid}"
    source = syntax.transfer_syntax(source_uid)
    recoder: Recoder | None = None
    end = 0
    held = b""
    async for piece in inflate(chunks) if source.is_deflated else chunks:
        end += len(piece)
        held += piece
        if recoder is None:
            found = meta.read_meta(held, is_whole=False)
            if not isinstance(found, FileMeta):
                continue
            yield _new_meta(held[: found.end], target_uid)
            recoder = Recoder(
                found.end,
                explicit=table_of(is_implicit=False, is_big_endian=source.is_big_endian),
                implicit=table_of(is_implicit=True, is_big_endian=source.is_big_endian),
                is_implicit=source.is_implicit,
                to_implicit=target_uid == syntax.IMPLICIT_LITTLE,
            )
            held = held[found.end :]
        elif len(held) < recoder.needed:
            continue
        recoder.feed(held, end - len(held))
        held = held[len(held) - (end - recoder.at) :] if recoder.at < end else b""
        if written := recoder.taken():
            yield written
    if recoder is None:
        raise unreadable("The file ends in its meta information.")
    recoder.finish(end)


async def inflate(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a deflated file with its data set inflated; preamble and meta information stay as they are.

    Offsets of `PixelLayout` and `BulkElement` of a deflated instance count in this form.

    Raises:
        InvalidRequest: UNREADABLE_INSTANCE, not a whole deflated stream.
    """
    held = b""
    inflater: Inflater | None = None
    async for chunk in chunks:
        if inflater is None:
            held += chunk
            found = meta.read_meta(held, is_whole=False)
            if not isinstance(found, FileMeta):
                continue
            yield held[: found.end]
            inflater, chunk = Inflater(), held[found.end :]
        for piece in inflater.inflate(chunk):
            yield piece
    if inflater is None:
        raise unreadable("The file ends in its meta information.")
    inflater.finish()


def _new_meta(old: bytes, target_uid: str) -> bytes:
    """Return preamble and meta information with another transfer syntax."""
    uid = target_uid.encode() + b"\0" * (len(target_uid) % 2)
    written = {0x0010: (b"UI", uid)} | {
        number: (vr, value) for number, vr, value in meta.meta_elements(old) if number not in (0x0000, 0x0010)
    }
    body = b"".join(meta.meta_element(number, *written[number]) for number in sorted(written))
    return _PREAMBLE + meta.meta_element(0x0000, b"UL", pack("<I", len(body))) + body

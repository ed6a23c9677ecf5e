"""WADO-RS: the value of one attribute that metadata refers to (PS3.18 section 10.4.1.1.5), or a range of it."""

import re
from collections.abc import AsyncGenerator
from typing import Any

from dicomstore.v1.resources_pb2 import ByteRange
from dicomstore.v1.retrieve_service_pb2 import BulkDataHead, RetrieveBulkDataRequest
from starlette.requests import Request
from starlette.responses import Response

from facade.accept import negotiate, parse_accept
from facade.addresses import instance_of, resource_of
from facade.catalogue import OCTET_STREAM, Resource
from facade.channel import Core
from facade.errors import CoreFailure, Refusal
from facade.multipart import MultipartWriter
from facade.observe import call_metadata
from facade.query import wishes_of
from facade.streaming import StreamedResponse

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


async def bulk_data(request: Request) -> Response:
    """GET …/bulkdata/{path}: as one body, or with multipart/related as one part."""
    resource = resource_of(request)
    # This resource is ours alone, and links to it are followed by plain downloads: no wish is any wish.
    offers = negotiate(Resource.BULK_DATA, wishes_of(request) or parse_accept("*/*"))
    if not offers:
        raise Refusal(406, f"Only {OCTET_STREAM} can be returned, with or without multipart/related.")
    wanted = RetrieveBulkDataRequest(instance=instance_of(resource), path=request.path_params["path"])
    if offers[0].multipart:
        return await _multipart(request, wanted)
    byte_range = await _byte_range(request, wanted)
    try:
        first, stream = await _start(request, wanted, byte_range)
    except CoreFailure as failure:
        if failure.reason != "RANGE_NOT_SATISFIABLE" or failure.metadata.get("size_bytes") != "0":
            raise
        # Empty, or of unknown size: a range has no meaning, and may then be ignored (RFC 9110 section 14.2).
        byte_range = None
        first, stream = await _start(request, wanted)
    head: BulkDataHead = first.head
    headers = {"Content-Type": _labelled(head)}
    if not head.HasField("size_bytes"):
        return _streamed(request, _data(first, stream), headers, stream, 200)
    headers |= {"Content-Length": str(head.size_bytes), "Accept-Ranges": "bytes"}
    if byte_range is None:
        return _streamed(request, _data(first, stream), headers, stream, 200)
    offset, length = head.range.offset_bytes, head.range.length_bytes if head.HasField("range") else head.size_bytes
    headers["Content-Length"] = str(length)
    headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{head.size_bytes}"
    return _streamed(request, _data(first, stream), headers, stream, 206)


async def _multipart(request: Request, wanted: RetrieveBulkDataRequest) -> Response:
    first, stream = await _start(request, wanted)
    writer = MultipartWriter()

    async def framed() -> AsyncGenerator[bytes, None]:
        yield writer.begin(_labelled(first.head))
        async for data in _data(first, stream):
            yield data
        yield writer.end()

    return _streamed(request, framed(), {"Content-Type": writer.content_type(OCTET_STREAM)}, stream, 200)


def _streamed(
    request: Request,
    chunks: AsyncGenerator[bytes, None],
    headers: dict[str, str],
    source: AsyncGenerator[Any, None],
    status: int,
) -> Response:
    core: Core = request.app.state.core
    return StreamedResponse(chunks, headers, source=source, status_code=status, idle_seconds=core.idle_seconds)


async def _start(
    request: Request, wanted: RetrieveBulkDataRequest, byte_range: ByteRange | None = None
) -> tuple[Any, AsyncGenerator[Any, None]]:
    """Begin to retrieve; return the first message, which has the head, and the stream of the others."""
    core: Core = request.app.state.core
    wanted = RetrieveBulkDataRequest(instance=wanted.instance, path=wanted.path, range=byte_range)
    stream = core.messages(core.retrieve.RetrieveBulkData(wanted, metadata=call_metadata(request)))
    first = await anext(stream, None)
    if first is None:
        raise CoreFailure("INTERNAL", "", "the stream has no head")
    return first, stream


async def _data(first: Any, stream: AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    if first.data:
        yield first.data
    async for message in stream:
        if message.data:
            yield message.data


async def _byte_range(request: Request, wanted: RetrieveBulkDataRequest) -> ByteRange | None:
    """Return the one range that the request asks for; anything else means the whole (RFC 9110 section 14.2)."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or "if-range" in request.headers:
        return None
    first, last = match[1], match[2]
    if not first:
        if not last:
            return None
        answer, stream = await _start(request, wanted)  # "the last n bytes" needs the size
        await stream.aclose()
        size: int = answer.head.size_bytes
        if not size:
            return None
        if not int(last):
            raise CoreFailure("RANGE_NOT_SATISFIABLE", "", "", {"size_bytes": str(size)})
        return ByteRange(offset_bytes=max(0, size - int(last)))
    if last and int(last) < int(first):
        return None
    return ByteRange(offset_bytes=int(first), length_bytes=int(last) - int(first) + 1 if last else 0)


def _labelled(head: BulkDataHead) -> str:
    if not head.transfer_syntax_uid:
        return OCTET_STREAM
    return f"{OCTET_STREAM}; transfer-syntax={head.transfer_syntax_uid}"

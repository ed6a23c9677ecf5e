"""WADO-URI: one object selected by query parameters (PS3.18 chapter 9), `GET {base}/wado?requestType=WADO&studyUID=…`.

It maps its parameters to the requests of `wado` and `rendered`. Only `contentType` determines the media type; `Accept`
is ignored, because a browser that follows a link accepts anything. Names of parameters match in any case; unknown ones
are ignored, or refused with `Prefer: handling=strict`.
"""

import json
from collections.abc import Sequence

from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.retrieve_service_pb2 import RetrieveMetadataRequest, RetrieveRenderedRequest, Viewport
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.endpoints.rendered import alone
from facade.endpoints.wado import instances_retrieval
from facade.errors import CoreFailure, Refusal, shown
from facade.request.accept import ANY, MediaRange, negotiate, parse_accept
from facade.request.addresses import parse_uid, partition_of
from facade.request.catalogue import DICOM, Resource
from facade.request.query import Parameter, first, integer, invalid, parameters_of, prefers_strict, require_utf8
from facade.request.rendering import ANNOTATIONS, chosen, parse_window
from facade.request.search_query import shown_names
from facade.response.retrieval import answer
from facade.serving.observe import call_metadata

_UIDS = ("studyUID", "seriesUID", "objectUID")
_KNOWN = frozenset(
    name.lower()
    for name in (
        *("requestType", *_UIDS, "contentType", "charset", "anonymize", "presentationUID", "transferSyntax"),
        *("frameNumber", "frame", "imageQuality", "windowCenter", "windowWidth", "annotation", "columns", "rows"),
        "region",
    )
)
"""Parameters of PS3.18 chapter 9, and `frame`, which some clients send instead of `frameNumber`."""

_MAX_FRAMES = 2**31 - 1
_MAX_SIDE = 32767

_RENDERED = ("image/", "video/", "text/", "model/", "application/pdf", ANY)


async def retrieve(request: Request) -> Response:
    """GET /wado: an instance as `application/dicom`, or rendered.

    Raises:
        Refusal: 400, a parameter is missing or malformed; 406, it is not supported.
    """
    require_utf8(request)
    parameters = parameters_of(request)
    if prefers_strict(request) and (unknown := [each.name for each in parameters if each.key not in _KNOWN]):
        raise Refusal(400, f"The query has parameters that are not supported: {shown_names(unknown)}.")
    request_type = first(parameters, "requestType") or ""
    if request_type.upper() != "WADO":
        raise invalid("requestType", f"The value {shown(request_type)} is not WADO.")
    resource = _resource(request, parameters)
    _refuse_unsupported(parameters)
    media_ranges = [
        media_range
        for media_range in parse_accept(first(parameters, "contentType") or ANY)
        if not media_range.is_multipart
    ]
    if media_ranges and media_ranges[0].name == DICOM:
        return await _instance(request, resource, parameters)
    names = [media_range.name for media_range in media_ranges if media_range.name.startswith(_RENDERED)]
    if not names:
        raise Refusal(406, "Possible for contentType are application/dicom and the media types of rendered resources.")
    wanted = await _rendering(request, resource, parameters)
    wanted.acceptable_media_types.extend(name for name in names if name != ANY)
    return await alone(request, wanted, media_ranges)


def _resource(request: Request, parameters: Sequence[Parameter]) -> Address:
    uids = [first(parameters, name) for name in _UIDS]
    for name, uid in zip(_UIDS, uids, strict=True):
        if not uid:
            raise invalid(name, "The parameter is required.")
    study, series, instance = (parse_uid(uid or "", name) for name, uid in zip(_UIDS, uids, strict=True))
    return Address(
        partition=partition_of(request),
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
    )


def _refuse_unsupported(parameters: Sequence[Parameter]) -> None:
    """Refuse parameters that must not be ignored: a request for a de-identified object must not return the original."""
    if (anonymize := first(parameters, "anonymize")) is not None:
        if anonymize.lower() != "yes":
            raise invalid("anonymize", f"The value {shown(anonymize)} is not yes.")
        raise Refusal(406, "De-identification is not supported (anonymize=yes).")
    if first(parameters, "presentationUID") is not None:
        raise Refusal(406, "Rendering with a presentation state is not supported (presentationUID).")


async def _instance(request: Request, resource: Address, parameters: Sequence[Parameter]) -> Response:
    syntax = (first(parameters, "transferSyntax") or "").strip()
    media_range = MediaRange(DICOM, {"transfer-syntax": syntax} if syntax else {})
    offers = negotiate(Resource.INSTANCE, [media_range])
    if not offers:
        raise invalid("transferSyntax", "The value must be the UID of a transfer syntax, or * for the stored one.")
    return await answer(instances_retrieval(request, resource, offers))


async def _rendering(request: Request, resource: Address, parameters: Sequence[Parameter]) -> RetrieveRenderedRequest:
    wanted = RetrieveRenderedRequest(resource=resource, quality=integer(parameters, "imageQuality", 0, 1, 100))
    for name in ("frameNumber", "frame"):
        if first(parameters, name) is not None:
            wanted.frames[:] = [integer(parameters, name, 1, 1, _MAX_FRAMES)]
            break
    center, width = first(parameters, "windowCenter"), first(parameters, "windowWidth")
    if (center is None) != (width is None):
        raise invalid("windowCenter" if center is None else "windowWidth", "Both or none must be given.")
    if center is not None:
        wanted.window.CopyFrom(parse_window(f"{center},{width}"))
    wanted.annotations.extend(chosen(parameters, "annotation", ANNOTATIONS))
    columns = integer(parameters, "columns", 0, 1, _MAX_SIDE)
    rows = integer(parameters, "rows", 0, 1, _MAX_SIDE)
    region = first(parameters, "region")
    if columns or rows or region is not None:
        wanted.viewport.CopyFrom(Viewport(width=columns, height=rows))
    if region is not None:
        await _show_only(request, wanted, _parse_region(region))
    return wanted


def _parse_region(text: str) -> tuple[float, float, float, float]:
    """Return left, upper, right and lower edge as fractions of the image (PS3.18 section 9)."""
    try:
        left, upper, right, lower = map(float, text.split(","))
    except ValueError:
        raise invalid("region", "The value must be four numbers.") from None
    if not (0 <= left < right <= 1 and 0 <= upper < lower <= 1):
        raise invalid("region", "The numbers must be left, upper, right and lower edge, from 0.0 to 1.0.")
    return left, upper, right, lower


async def _show_only(
    request: Request, wanted: RetrieveRenderedRequest, region: tuple[float, float, float, float]
) -> None:
    """Set the source region of the viewport. It is in pixels, so Rows and Columns are retrieved first."""
    core: Core = request.app.state.core
    core_request = RetrieveMetadataRequest(resource=wanted.resource, include_fields=["Rows", "Columns"])
    stream = core.messages(core.retrieve.RetrieveMetadata(core_request, metadata=call_metadata(request)))
    items = [item async for message in stream for item in message.items]
    if not items:
        raise CoreFailure("INTERNAL", "", "the stream has no data set")
    data_set = json.loads(items[0].dicom_json)
    try:
        rows, columns = (int(data_set[tag]["Value"][0]) for tag in ("00280010", "00280011"))
    except (KeyError, IndexError, TypeError, ValueError):
        raise CoreFailure("NO_PIXEL_DATA", "", "") from None
    left, upper, right, lower = region
    viewport = wanted.viewport
    viewport.source_x, viewport.source_y = left * columns, upper * rows
    viewport.source_width, viewport.source_height = (right - left) * columns, (lower - upper) * rows
    if not viewport.width and not viewport.height:
        viewport.width = max(round(viewport.source_width), 1)

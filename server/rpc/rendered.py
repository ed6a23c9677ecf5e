"""RetrieveRendered: conversion between messages and domain values."""

from collections.abc import Mapping
from typing import TypeVar

from dicomstore.v1 import retrieve_service_pb2 as pb

from server.domain.render.request import Annotation, OpenRendered, RenderedRequest, RequestedWindow
from server.model.errors import InvalidRequest, Reason
from server.model.rendering import IccProfile, Viewport, WindowFunction
from server.rpc import convert

_FUNCTIONS: Mapping[int, WindowFunction | None] = {
    pb.WINDOW_FUNCTION_UNSPECIFIED: None,
    pb.WINDOW_FUNCTION_LINEAR: WindowFunction.LINEAR,
    pb.WINDOW_FUNCTION_LINEAR_EXACT: WindowFunction.LINEAR_EXACT,
    pb.WINDOW_FUNCTION_SIGMOID: WindowFunction.SIGMOID,
}
_ANNOTATIONS: Mapping[int, Annotation] = {
    pb.ANNOTATION_PATIENT: Annotation.PATIENT,
    pb.ANNOTATION_TECHNIQUE: Annotation.TECHNIQUE,
}
_PROFILES: Mapping[int, IccProfile] = {
    pb.ICC_PROFILE_UNSPECIFIED: IccProfile.IF_PRESENT,
    pb.ICC_PROFILE_NO: IccProfile.NO,
    pb.ICC_PROFILE_YES: IccProfile.YES,
    pb.ICC_PROFILE_SRGB: IccProfile.SRGB,
    pb.ICC_PROFILE_ADOBE_RGB: IccProfile.ADOBE_RGB,
    pb.ICC_PROFILE_ROMM_RGB: IccProfile.ROMM_RGB,
}

Known = TypeVar("Known")


def rendered_request(request: pb.RetrieveRenderedRequest) -> RenderedRequest:
    """Return a request as a domain value.

    Raises:
        InvalidRequest: INVALID_FIELD, a value of an enum that this server does not know.
    """
    return RenderedRequest(
        frames=tuple(request.frames),
        media_types=tuple(name.strip().lower() for name in request.acceptable_media_types),
        window=_window(request.window) if request.HasField("window") else None,
        viewport=_viewport(request.viewport) if request.HasField("viewport") else None,
        quality=request.quality,
        annotations=frozenset(_known(_ANNOTATIONS, value, "annotations") for value in request.annotations),
        icc_profile=_known(_PROFILES, request.icc_profile, "icc_profile"),
        thumbnail=request.thumbnail,
        offset=request.range.offset_bytes,
        length=request.range.length_bytes or None,
        version=convert.version(request.version),
    )


def rendered_head(item: OpenRendered) -> pb.RenderedHead:
    """Return the head of an item."""
    head = pb.RenderedHead(
        id=convert.instance_id(item.stored.id),
        frame=item.frame,
        version=item.stored.version,
        media_type=item.media_type,
        size_bytes=item.size_bytes,
    )
    if item.length is not None and item.length != item.size_bytes:
        head.range.offset_bytes = item.offset
        head.range.length_bytes = item.length
    return head


def _window(window: pb.Window) -> RequestedWindow:
    return RequestedWindow(window.center, window.width, _known(_FUNCTIONS, window.function, "window.function"))


def _viewport(viewport: pb.Viewport) -> Viewport:
    return Viewport(
        width=viewport.width,
        height=viewport.height,
        source_x=viewport.source_x,
        source_y=viewport.source_y,
        source_width=viewport.source_width,
        source_height=viewport.source_height,
    )


def _known(values: Mapping[int, Known], value: int, field: str) -> Known:
    if value not in values:
        raise InvalidRequest(Reason.INVALID_FIELD, f"{field}: unknown value {value}.", field=field)
    return values[value]

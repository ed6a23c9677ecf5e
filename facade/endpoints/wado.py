"""WADO-RS: retrieval of studies, series, instances and frames (PS3.18 section 10.4)."""

import re
from collections.abc import AsyncGenerator
from typing import Any

from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.retrieve_service_pb2 import RetrieveFramesRequest, RetrieveInstancesRequest
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.accept import Offer, negotiate
from facade.request.addresses import resource_of, urls_of, version_of
from facade.request.catalogue import Resource
from facade.request.query import accepted_media_ranges
from facade.response.retrieval import Retrieval, answer
from facade.serving.observe import call_metadata

_NUMBER = re.compile("[0-9]+")
_MAX_FRAME_DIGITS = 9
"""Number of Frames is a 32-bit integer, so larger frame numbers do not exist."""


async def instances(request: Request) -> Response:
    """GET a study, a series or an instance."""
    resource = resource_of(request)
    kind = Resource.INSTANCE if resource.sop_instance_uid else Resource.STUDY
    return await answer(instances_retrieval(request, resource, _offers(request, kind)))


def instances_retrieval(request: Request, resource: Address, offers: list[Offer]) -> Retrieval:
    """Return the retrieval request for a study, a series or an instance in one of the offered forms."""
    core: Core = request.app.state.core
    urls = urls_of(request)

    def ask(fields: dict[str, Any]) -> AsyncGenerator[Any, None]:
        wanted = RetrieveInstancesRequest(resource=resource, version=version_of(request), **fields)
        return core.messages(core.retrieve.RetrieveInstances(wanted, metadata=call_metadata(request)))

    def locate(head: Any) -> str:
        return urls.instance(head.id.study_instance_uid, head.id.series_instance_uid, head.id.sop_instance_uid)

    count = 1 if resource.sop_instance_uid else None
    name = resource.sop_instance_uid or resource.series_instance_uid or resource.study_instance_uid
    return Retrieval(request, offers, count, ask, locate, name)


async def frames(request: Request) -> Response:
    """GET …/frames/{list}: frames in the requested order."""
    resource = resource_of(request)
    numbers = parse_frames(request.path_params["frames"])
    offers = _offers(request, Resource.FRAMES)
    if len(numbers) > 1:
        offers = [offer for offer in offers if offer.multipart]
        if not offers:
            raise Refusal(400, "Only one frame can be returned without multipart/related.")
    core: Core = request.app.state.core
    url = urls_of(request).instance(
        resource.study_instance_uid, resource.series_instance_uid, resource.sop_instance_uid
    )

    def ask(fields: dict[str, Any]) -> AsyncGenerator[Any, None]:
        wanted = RetrieveFramesRequest(instance=resource, frames=numbers, version=version_of(request), **fields)
        return core.messages(core.retrieve.RetrieveFrames(wanted, metadata=call_metadata(request)))

    def locate(head: Any) -> str:
        return f"{url}/frames/{head.frame}"

    return await answer(Retrieval(request, offers, len(numbers), ask, locate, resource.sop_instance_uid, "frame"))


def parse_frames(text: str) -> list[int]:
    """Return the numbers of a frame list.

    Raises:
        Refusal: 400, the list is empty or has an entry that is not a positive number; 404, a number is too large.
    """
    entries = text.split(",")
    if not all(_NUMBER.fullmatch(entry) for entry in entries):
        raise Refusal(400, "The frame list must be numbers greater than 0, separated by commas.")
    significant = [entry.lstrip("0") for entry in entries]
    if not all(significant):
        raise Refusal(400, "Frame numbers begin at 1.")
    if max(map(len, significant)) > _MAX_FRAME_DIGITS:
        raise Refusal(404, "The specified frame does not exist.")
    return [int(entry) for entry in significant]


def _offers(request: Request, kind: Resource) -> list[Offer]:
    if offers := negotiate(kind, accepted_media_ranges(request)):
        return offers
    raise Refusal(406, f"None of the media types in the Accept header is available. {_SERVED[kind]}")


_SERVED = {
    Resource.STUDY: 'Possible are multipart/related; type="application/dicom" and application/zip, '
    "with an optional transfer-syntax; images are at /rendered and /thumbnail.",
    Resource.INSTANCE: 'Possible are application/dicom, multipart/related; type="application/dicom" and '
    "application/zip, with an optional transfer-syntax; images are at /rendered and /thumbnail.",
    Resource.FRAMES: 'Possible are multipart/related; type="application/octet-stream" and the media types of '
    "PS3.18 Table 8.7.3-5, with an optional transfer-syntax; one frame also without multipart/related.",
}

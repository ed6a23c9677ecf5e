"""Deletion of studies, series and instances (docs/api.md, Deleting)."""

from dicomstore.v1.delete_service_pb2 import DeleteInstancesRequest, DeleteInstancesResponse
from dicomstore.v1.resources_pb2 import Address
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure
from facade.request.addresses import resource_of
from facade.request.query import first, invalid, parameters_of
from facade.request.reason import reason_of
from facade.serving.observe import call_metadata


async def delete(request: Request) -> Response:
    """DELETE a study, a series or an instance: 204, or 404 if it does not exist."""
    resource = resource_of(request)
    parameters = parameters_of(request)
    erase = first(parameters, "erase")
    if erase not in (None, "now"):
        raise invalid("erase", "The only value is 'now'.")
    reason = reason_of(request, parameters)
    wanted = DeleteInstancesRequest(resource=resource, reason=reason, erase_now=erase is not None)
    core: Core = request.app.state.core
    answer: DeleteInstancesResponse = await core.call(core.delete.DeleteInstances, wanted, call_metadata(request))
    if answer.deleted_instances or answer.erased_instances:
        return Response(status_code=204)
    raise not_found(resource, "nothing was deleted")


def not_found(resource: Address, message: str) -> CoreFailure:
    """Return the error for a study, series or instance that does not exist."""
    kind = "INSTANCE" if resource.sop_instance_uid else "SERIES" if resource.series_instance_uid else "STUDY"
    return CoreFailure(f"{kind}_NOT_FOUND", "", message)

"""Deletion of studies, series and instances (docs/api.md, Deleting)."""

from dicomstore.v1.delete_service_pb2 import DeleteInstancesRequest, DeleteInstancesResponse
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure
from facade.request.addresses import resource_of
from facade.serving.observe import call_metadata


async def delete(request: Request) -> Response:
    """DELETE a study, a series or an instance: 204, or 404 if it does not exist."""
    resource = resource_of(request)
    core: Core = request.app.state.core
    answer: DeleteInstancesResponse = await core.call(
        core.delete.DeleteInstances, DeleteInstancesRequest(resource=resource), call_metadata(request)
    )
    if answer.deleted_instances:
        return Response(status_code=204)
    kind = "INSTANCE" if resource.sop_instance_uid else "SERIES" if resource.series_instance_uid else "STUDY"
    raise CoreFailure(f"{kind}_NOT_FOUND", "", "nothing was deleted")

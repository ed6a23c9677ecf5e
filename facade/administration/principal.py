"""The caller: who it is, and what it may do (docs/security.md)."""

from typing import Any

from dicomstore.v1.access_options_pb2 import Action
from dicomstore.v1.access_service_pb2 import GetPrincipalRequest, GetPrincipalResponse, PrincipalGrant
from starlette.requests import Request
from starlette.responses import Response

from facade.administration.lists import json_response
from facade.channel import Core
from facade.serving.observe import call_metadata

_ACTIONS = {
    Action.ACTION_READ: "read",
    Action.ACTION_WRITE: "write",
    Action.ACTION_DELETE: "delete",
    Action.ACTION_MANAGE_EXTENDED_QUERY_TAGS: "manageExtendedQueryTags",
    Action.ACTION_EXPORT: "export",
    Action.ACTION_AUDIT: "audit",
    Action.ACTION_ADMINISTER: "administer",
    Action.ACTION_MONITOR: "monitor",
}
"""The names of actions in configuration and for people; actions of newer cores are left out."""


async def principal(request: Request) -> Response:
    """GET /me: the name, the roles and the permissions of the client."""
    core: Core = request.app.state.core
    metadata = call_metadata(request)
    found: GetPrincipalResponse = await core.call(core.access.GetPrincipal, GetPrincipalRequest(), metadata)
    features = (await core.get_capabilities(metadata)).features
    return json_response(
        {
            "id": found.id,
            "name": found.name,
            "roles": list(found.roles),
            "grants": list(map(_grant, found.grants)),
            "authenticationRequired": found.authentication_required,
            "partitionsEnabled": features.partitions,
            "knownRoles": list(found.known_roles),
        }
    )


def _grant(grant: PrincipalGrant) -> dict[str, Any]:
    scope = {
        "partitionName": grant.scope.partition,
        "studyInstanceUid": grant.scope.study_instance_uid,
        "seriesInstanceUid": grant.scope.series_instance_uid,
        "sopInstanceUid": grant.scope.sop_instance_uid,
    }
    actions = [_ACTIONS[action] for action in grant.actions if action in _ACTIONS]
    return {"actions": actions, **{name: value for name, value in scope.items() if value}}

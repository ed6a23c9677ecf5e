"""AccessService."""

from typing import cast

from dicomstore.v1 import access_service_pb2 as pb
from dicomstore.v1 import access_service_pb2_grpc
from dicomstore.v1.access_options_pb2 import Action as ActionMessage

from server.domain.access import Access
from server.model.access import Action, Grant
from server.model.call import EVERYBODY
from server.model.errors import InvalidRequest, Reason
from server.model.ids import ARCHIVE
from server.model.security.roles import Roles
from server.rpc import convert
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.declared_actions import ACTIONS


class AccessServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Implements AccessService with `Access`."""

    def __init__(self, access: Access, roles: Roles) -> None:
        self._access = access
        self._roles = roles

    async def CheckAccess(self, request: pb.CheckAccessRequest, context: Context) -> pb.CheckAccessResponse:
        """See the contract."""
        action = ACTIONS.get(request.action)
        if action is None:
            raise InvalidRequest(Reason.INVALID_FIELD, "action must be one with a name.", field="action")
        self._access.permit_anywhere(context.call, action)
        return pb.CheckAccessResponse()

    async def GetPrincipal(self, request: pb.GetPrincipalRequest, context: Context) -> pb.GetPrincipalResponse:
        """See the contract."""
        principal = context.call.principal
        may_administer = bool(principal.grants_of(Action.ADMINISTER))
        is_required = principal is not EVERYBODY
        return pb.GetPrincipalResponse(
            id=principal.id if is_required else "",
            name=principal.display_name,
            roles=sorted(principal.roles),
            grants=map(_grant, principal.grants),
            authentication_required=is_required,
            known_roles=self._roles.names if may_administer else (),
        )


def _grant(grant: Grant) -> pb.PrincipalGrant:
    actions = [cast(ActionMessage, value) for value, action in ACTIONS.items() if action in grant.actions]
    scope = None if grant.scope == ARCHIVE else convert.address_message(grant.scope)
    return pb.PrincipalGrant(actions=actions, scope=scope)

"""C-ECHO: verification of the connection (PS3.4 Annex A)."""

import time
from collections.abc import Sequence

from dimse.associations.association import Association, Request
from dimse.associations.commands import Command, CommandField
from dimse.associations.errors import AssociationLost, CannotConnect, ProtocolError
from dimse.associations.negotiation import UNCOMPRESSED
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings
from dimse.services import statuses

VERIFICATION = "1.2.840.10008.1.1"


class Echo:
    """The verification service; it does not call the core."""

    commands = (CommandField.C_ECHO,)

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return those of the Verification SOP Class."""
        return UNCOMPRESSED if abstract_syntax == VERIFICATION else ()

    def serve(self, request: Request) -> None:
        """Respond with success."""
        request.respond(statuses.SUCCESS)

    def association_ended(self, association: Association) -> None:
        """Do nothing."""


def verify(requestor: Requestor, remote: RemoteSettings) -> float:
    """Verify the connection to a remote; return the seconds from the connection to the response.

    Raises:
        CannotConnect: there is no association, or the remote does not respond with success.
    """
    began = time.monotonic()
    association = requestor.open(remote, [(VERIFICATION, UNCOMPRESSED)])
    try:
        [context] = association.contexts.values()
        response = association.perform(context, Command(CommandField.C_ECHO, affected_sop_class_uid=VERIFICATION))
        seconds = time.monotonic() - began
        association.release()
    except (AssociationLost, ProtocolError) as error:
        problem = "TIMEOUT" if "timeout" in str(error) else "ASSOCIATION_LOST"
        raise CannotConnect(f"the remote does not respond to C-ECHO: {error}", problem) from None
    finally:
        association.close()
    if response.status != statuses.SUCCESS:
        status = f"{response.status or 0:04X}"
        raise CannotConnect(f"the remote responds to C-ECHO with status {status}", f"STATUS_{status}")
    return seconds

"""C-ECHO: verification of the connection (PS3.4 Annex A)."""

from collections.abc import Sequence

from dimse.associations.association import Association, Request
from dimse.associations.commands import CommandField
from dimse.associations.negotiation import UNCOMPRESSED
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

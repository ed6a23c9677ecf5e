"""What a DIMSE service is for the gateway."""

from collections.abc import Collection, Sequence
from typing import Protocol

from dimse.associations.association import Association, Request
from dimse.associations.commands import CommandField


class Service(Protocol):
    """One DIMSE service, for any number of associations at the same time, each in its own thread."""

    @property
    def commands(self) -> Collection[CommandField]:
        """The requests that it serves."""

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str] | frozenset[str]:
        """Return the transfer syntaxes in which it accepts a SOP class; none if it does not serve the class."""

    def serve(self, request: Request) -> None:
        """Serve a request: read its data set, if any, and respond.

        An exception other than AssociationLost and ProtocolError is logged, and the peer gets status 0110H
        (processing failure).
        """

    def association_ended(self, association: Association) -> None:
        """Release what it keeps for an association that is over."""

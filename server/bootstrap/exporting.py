"""Exports: their construction, and the addresses to which this archive may export."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.addresses import is_loopback
from common.key_file import key_in
from server.adapters.network.addresses import EVERYWHERE, PermittedAddresses
from server.bootstrap.components import now
from server.config import Settings
from server.domain.operations.exporting.export import Export
from server.domain.operations.exporting.places import ExportPolicy
from server.domain.operations.exporting.sources import Sources
from server.domain.operations.secrets import OperationSecrets
from server.domain.retrieve.frame_transcoder import ENCODABLE

if TYPE_CHECKING:
    from server.bootstrap.archive_components import ArchiveComponents
    from server.ports.lifecycle.exports import Destinations

OPERATION_KEY_FILE = "operation.key"
"""The file in the data directory with the key that encrypts credentials of operations, unless the settings have one."""


def export_of(components: "ArchiveComponents") -> Export:
    """Return the operation type with its components."""
    settings, database = components.settings, components.database

    async def destinations() -> "Destinations":
        # Local import: it would delay the start, and an archive without exports does not need it.
        from server.adapters.destinations.opening import ExportDestinations

        return ExportDestinations(await permitted_addresses(components), settings.export_paths)

    return Export(
        files=database.exported_files,
        record=database.operations,
        index=database.instances,
        sources=Sources(database.instances, components.search),
        opener=components.retrieve_instances,
        destinations=destinations,
        secrets=OperationSecrets(lambda: _operation_keys(settings)),
        policy=ExportPolicy(
            has_sas=settings.export_sas,
            has_anonymous=settings.export_public,
            has_http=settings.export_http,
            folders=settings.export_paths,
        ),
        now=now,
        transfer_syntaxes=ENCODABLE,
        is_enabled=settings.export,
    )


async def permitted_addresses(components: "ArchiveComponents") -> PermittedAddresses:
    """Return the addresses to which this archive may export.

    All, if only programs of this machine can reach it: then it is open to them, and its facade listens on no other
    address either. An archive with authentication may be reachable through a proxy on this machine.
    """
    settings = components.settings
    is_local = is_loopback(settings.grpc) and not settings.insecure_without_authentication
    if is_local and not await components.authentication.is_on():
        return EVERYWHERE
    return PermittedAddresses(settings.export_exceptions, only_public=True)


def _operation_keys(settings: Settings) -> Sequence[str]:
    return settings.operation_keys or [key_in(settings.data / OPERATION_KEY_FILE)]

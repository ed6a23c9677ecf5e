"""Opening destinations."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from urllib.parse import urlsplit

from server.adapters.destinations.folder import FolderTarget
from server.adapters.destinations.gate import Authority, Gate
from server.adapters.destinations.google_tokens import TOKEN_HOST
from server.adapters.destinations.objects import ObjectTarget
from server.adapters.destinations.writing import ThreadedDestination
from server.adapters.network.addresses import PermittedAddresses
from server.model.lifecycle.export import Credentials, Folder, GcsBucket, Place, S3Bucket

_GCS_HOST = "storage.googleapis.com"


class ExportDestinations:
    """`server.ports.lifecycle.exports.Destinations`.

    Args:
        addresses: to which connections are permitted.
        folders: below which files may be written.
    """

    def __init__(self, addresses: PermittedAddresses, folders: Sequence[str]) -> None:
        self._addresses = addresses
        self._folders = folders

    @asynccontextmanager
    async def open(self, place: Place, credentials: Credentials) -> AsyncIterator[ThreadedDestination]:
        """See the port."""
        if isinstance(place, Folder):
            with closing(ThreadedDestination(FolderTarget(place.path, self._folders))) as destination:
                yield destination
            return
        async with Gate(self._addresses, _authorities(place)) as gate:
            target = await asyncio.to_thread(ObjectTarget, place, credentials, gate.port, lambda: gate.refused)
            with closing(ThreadedDestination(target)) as destination:
                yield destination


def _authorities(place: Place) -> frozenset[Authority]:
    if isinstance(place, GcsBucket):
        return frozenset({(_GCS_HOST, 443), (TOKEN_HOST, 443)})
    assert not isinstance(place, Folder), "it has no host"
    url = urlsplit(place.service_url if isinstance(place, S3Bucket) else place.endpoint)
    return frozenset({((url.hostname or "").lower(), url.port or (443 if url.scheme == "https" else 80))})

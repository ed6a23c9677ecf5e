"""Connections to permitted addresses."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence

import httpcore

from server.adapters.network.addresses import Address, PermittedAddresses


class AddressRefused(Exception):
    """The host has no address to which webhooks may connect."""


class HostNotFound(Exception):
    """The name of the host cannot be resolved."""


class PermittedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to permitted addresses only."""

    def __init__(self, addresses: PermittedAddresses) -> None:
        self._addresses = addresses
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the base class
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address of a host that accepts the connection.

        Raises:
            HostNotFound
            AddressRefused
            httpcore.ConnectError, httpcore.ConnectTimeout
        """
        permitted = [address for address in await _resolved(host, port) if self._addresses.permits(address)]
        if not permitted:
            raise AddressRefused
        failure: Exception = AddressRefused()
        for address in permitted:
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """See the base class."""
        await asyncio.sleep(seconds)


async def _resolved(host: str, port: int) -> Sequence[Address]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HostNotFound from error
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))

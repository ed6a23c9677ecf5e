"""A client of event channels."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect


class Channel:
    """An event channel that is open."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def report(self) -> dict[str, Any]:
        """Return the next event report."""
        report: dict[str, Any] = json.loads(await self.connection.recv())
        return report

    async def reports(self, count: int) -> list[str]:
        """Return the next reports as "1.2.3 1 SCHEDULED": UID of the workitem, event type, and state, if there is."""
        return [summary(await self.report()) for _ in range(count)]

    async def closed(self) -> tuple[int, str]:
        """Wait for the end of the connection; return code and reason with which the server closed it."""
        await self.connection.wait_closed()
        return self.connection.close_code or 0, self.connection.close_reason or ""


def summary(report: dict[str, Any]) -> str:
    """Return the UID of the workitem, the event type, and the state of a report."""
    values = (report.get(tag, {}).get("Value", [""])[0] for tag in ("00001000", "00001002", "00741000"))
    return " ".join(map(str, values)).rstrip()


@asynccontextmanager
async def opened(
    web: httpx.AsyncClient, ae_title: str, base: str = "/v2", headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Channel]:
    """Open the event channel of a subscriber."""
    url = f"ws{str(web.base_url).removeprefix('http').rstrip('/')}{base}/subscribers/{ae_title}"
    async with connect(url, additional_headers=headers, compression=None, proxy=None, **options) as connection:
        yield Channel(connection)

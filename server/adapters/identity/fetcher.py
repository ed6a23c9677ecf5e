"""Fetching documents without blocking the event loop, within a time limit however slowly a server responds."""

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from server.adapters.identity.documents import FETCH_SECONDS, DocumentError, fetch

_MAX_THREADS = 4


class Fetcher:
    """Fetches documents in threads, which do not delay the end of the process.

    A socket's time limit is one of a single read, so a server that sends a byte now and then can occupy a thread for
    hours. Such threads are left alone, and their number is limited.
    """

    def __init__(self, seconds: float = FETCH_SECONDS) -> None:
        self._seconds = seconds
        self._threads = 0

    async def __call__(self, url: str) -> Mapping[str, Any]:
        """Return the JSON object at a URL. Raises: DocumentError."""
        if self._threads >= _MAX_THREADS:
            raise DocumentError(f"{url} was not fetched, because earlier responses have not ended")
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Mapping[str, Any]] = loop.create_future()

        def work() -> None:
            try:
                document, error = fetch(url), None
            except DocumentError as caught:
                document, error = {}, caught
            except Exception as caught:  # noqa: BLE001 - the next attempt may succeed
                document, error = {}, DocumentError(f"{url} cannot be fetched: {type(caught).__name__}")
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(self._ended, result, document, error)

        self._threads += 1
        threading.Thread(target=work, name="identity-provider", daemon=True).start()
        try:
            async with asyncio.timeout(self._seconds):
                return await result
        except TimeoutError:
            raise DocumentError(f"{url} cannot be fetched: no response within {self._seconds:g} s") from None

    def _ended(
        self, result: asyncio.Future[Mapping[str, Any]], document: Mapping[str, Any], error: DocumentError | None
    ) -> None:
        self._threads -= 1
        if result.done():  # nobody waits any more
            return
        if error is None:
            result.set_result(document)
        else:
            result.set_exception(error)

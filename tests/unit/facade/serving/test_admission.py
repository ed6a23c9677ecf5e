"""The limit of concurrent requests (facade/serving/admission.py)."""

import asyncio
from typing import Any

import pytest

from facade.serving.admission import Admission
from facade.serving.client_certificate import CERTIFICATE_NAMES
from facade.sessions.middleware import credential_of


class Requests:
    """Requests that last until they are released."""

    def __init__(self, most: int) -> None:
        self.admitted = 0
        self.refused: list[int] = []
        self.released = asyncio.Event()
        self._admission = Admission(self._serve, most, credential_of)
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, count: int, token: str = "", cookie: str = "", certificate: str = "") -> None:
        """Begin requests with a credential."""
        headers = [(b"authorization", token.encode())] if token else []
        headers += [(b"cookie", cookie.encode())] if cookie else []
        scope = {"type": "http", "path": "/v2/studies", "method": "GET", "headers": headers}
        scope[CERTIFICATE_NAMES] = [certificate] if certificate else None
        for _ in range(count):
            self._tasks.add(asyncio.create_task(self._admission(scope, self._receive, self._send)))
        await asyncio.sleep(0)

    async def end(self) -> None:
        self.released.set()
        await asyncio.gather(*self._tasks)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.admitted += 1
        await self.released.wait()

    async def _receive(self) -> Any:
        raise AssertionError("the body is not read")

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.refused.append(message["status"])


@pytest.mark.parametrize(
    "credential",
    [
        {"token": "Bearer greedy"},
        {"cookie": "theme=dark; dicomstore-session=greedy"},
        {"cookie": "__Host-dicomstore-session=greedy"},
        {"certificate": "dns:greedy.example"},
    ],
)
async def test_a_client_leaves_requests_to_others(credential: dict[str, str]) -> None:
    requests = Requests(10)
    await requests.begin(20, **credential)
    assert (requests.admitted, set(requests.refused)) == (8, {429})
    await requests.begin(1, "Bearer other")
    await requests.begin(1)
    assert requests.admitted == 10
    await requests.begin(1, "Bearer third")
    assert requests.refused[-1] == 503
    await requests.end()


async def test_requests_without_a_credential_share_no_limit() -> None:
    requests = Requests(10)
    await requests.begin(12)
    assert (requests.admitted, requests.refused) == (10, [503, 503])
    await requests.end()

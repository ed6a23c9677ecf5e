"""Clients that store, delete, read and search continuously, and check each response."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.torture.ledger import Instance, Ledger, State, Violation

CLIENTS = 4
MAX_INSTANCES = 80
JSON = {"Accept": "application/dicom+json"}
ONE = {"Accept": 'application/dicom; transfer-syntax="*"'}
_BOUNDARY = "torture"


class Traffic:
    """The clients, and the failures that they may currently meet."""

    def __init__(self, url: str, ledger: Ledger, rng: random.Random, pause_seconds: float) -> None:
        """`pause_seconds` is the time between two requests of a client."""
        self._pause_seconds = pause_seconds
        self._ledger = ledger
        self._rng = rng
        self._open = asyncio.Event()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._http = httpx.AsyncClient(base_url=url, timeout=90)
        self.is_disturbed = False
        """A fault is going on: connections may break and requests may be refused with 503 or 507."""
        self.requests = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.TaskGroup]:
        """Run the clients; a violation found by one ends the context."""
        async with self._http, asyncio.TaskGroup() as group:
            clients = [group.create_task(self._client()) for _ in range(CLIENTS)]
            try:
                yield group
            finally:
                for client in clients:
                    client.cancel()

    def resume(self) -> None:
        """Resume the clients."""
        self._open.set()

    async def pause(self) -> None:
        """Pause the clients and wait until their current requests have ended."""
        self._open.clear()
        await self._idle.wait()

    async def _client(self) -> None:
        operations = (self._store, self._read, self._delete, self._search, self._frame, self._abandon)
        while True:
            await self._open.wait()
            self._busy += 1
            self._idle.clear()
            try:
                is_full = len(self._ledger.instances) >= MAX_INSTANCES
                weights = (5 if is_full else 40, 25, 40 if is_full else 12, 8, 8, 0 if is_full else 2)
                await self._rng.choices(operations, weights)[0]()
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()
            await asyncio.sleep(self._pause_seconds)

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """Send a request; None if a fault in effect refused or broke it."""
        self.requests += 1
        was_disturbed = self.is_disturbed
        try:
            response = await self._http.request(method, path, **request)
        except httpx.TransportError as error:
            if not (was_disturbed or self.is_disturbed):
                raise Violation(f"{method} {path}: {error!r} without a fault") from error
            await asyncio.sleep(0.05)  # the server may be down; without a wait the client would spin
            return None
        if response.status_code in (503, 507) and (was_disturbed or self.is_disturbed):
            await asyncio.sleep(0.05)
            return None
        return response

    async def _store(self) -> None:
        again = self._ledger.pick(State.MAY_BE_STORED)
        chosen = [again] if again else [self._ledger.new() for _ in range(self._rng.choice((1, 1, 3)))]
        await self.store(chosen)

    async def store(self, instances: list[Instance]) -> None:
        """Store instances in one request and note which of them were acknowledged."""
        for instance in instances:
            instance.is_in_use = True
        try:
            bodies = [await asyncio.to_thread(instance.body) for instance in instances]
            response = await self.send("POST", "/v2/studies", content=_multipart(bodies), headers=_HEADERS)
            if response is None:
                return
            answer = response.json() if response.content else {}
            stored = {item["00081155"]["Value"][0] for item in answer.get("00081199", {}).get("Value", [])}
            failed = [item["00081197"]["Value"][0] for item in answer.get("00081198", {}).get("Value", [])]
            for instance in instances:
                if instance.uid in stored:
                    self._ledger.was_stored(instance)
            is_clear = response.status_code in (200, 202) and not failed
            if not is_clear and not (self.is_disturbed and response.status_code in (202, 409) and set(failed) == {272}):
                raise Violation(f"a STOW was answered {response.status_code}: {response.text[:500]}")
        finally:
            for instance in instances:
                instance.is_in_use = False

    async def _read(self) -> None:
        if instance := self._ledger.pick(State.STORED):
            response = await self.send("GET", instance.path, headers=ONE)
            if response is not None and instance.state is State.STORED and not instance.is_damaged:
                await expect_bytes(instance, response)

    async def _frame(self) -> None:
        if instance := self._ledger.pick(State.STORED):
            resource = self._rng.choice(("/frames/1", "/rendered", "/metadata"))
            response = await self.send("GET", instance.path + resource, headers={"Accept": "*/*"})
            if response is not None and instance.state is State.STORED and not instance.is_damaged:
                if response.status_code != 200:
                    raise Violation(f"{instance.path}{resource} is {response.status_code}: {response.text[:500]}")
                if (
                    resource == "/frames/1"
                    and random.Random(instance.number).randbytes(instance.size) not in response.content
                ):
                    raise Violation(f"{instance.path}{resource} has other bytes")

    async def _delete(self) -> None:
        instance = self._ledger.pick(State.MAY_BE_DELETED) or self._ledger.pick(State.STORED)
        if instance is not None and not instance.is_damaged:
            await self.delete(instance)

    async def delete(self, instance: Instance) -> None:
        """Delete an instance. It may be missing if an earlier request may have deleted it."""
        was_stored = instance.state is State.STORED
        instance.state, instance.is_in_use = State.MAY_BE_DELETED, True
        try:
            response = await self.send("DELETE", instance.path)
            if response is not None and response.status_code == 404 and was_stored:
                raise Violation(f"{instance.path} was acknowledged and is gone")
            if response is not None and response.status_code not in (204, 404):
                raise Violation(f"DELETE {instance.path} is {response.status_code}: {response.text[:500]}")
            if response is not None:
                self._ledger.was_deleted(instance)
        finally:
            instance.is_in_use = False

    async def _search(self) -> None:
        path = self._rng.choice(("/v2/studies?limit=20", "/v2/instances?limit=50", "/v2/series?PatientID=P1&limit=10"))
        response = await self.send("GET", path, headers=JSON)
        if response is not None and response.status_code not in (200, 204):
            raise Violation(f"{path} is {response.status_code}: {response.text[:500]}")

    async def _abandon(self) -> None:
        """Abort an upload in the middle."""
        instance = self._ledger.new()
        instance.is_in_use = True
        body = _multipart([await asyncio.to_thread(instance.body)])

        async def half() -> AsyncIterator[bytes]:
            yield body[: len(body) // 2]
            raise httpx.WriteError("the client is gone")

        try:
            await self._http.post("/v2/studies", content=half(), headers=_HEADERS)
        except httpx.TransportError:
            pass
        finally:
            instance.is_in_use = False


async def expect_bytes(instance: Instance, response: httpx.Response) -> None:
    """Compare a response with the stored bytes."""
    if response.status_code != 200:
        raise Violation(f"{instance.path} was acknowledged and is {response.status_code}: {response.text[:500]}")
    if response.content != await asyncio.to_thread(instance.body):
        raise Violation(f"{instance.path} has other bytes than were stored")


_HEADERS = JSON | {"Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'}


def _multipart(bodies: list[bytes]) -> bytes:
    parts = [b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % (_BOUNDARY.encode(), body) for body in bodies]
    return b"".join(parts) + b"--%b--\r\n" % _BOUNDARY.encode()

"""The number of copies of payload bytes in a node (docs/performance.md, "Byte path").

A copy has another address than what it was made of. So it is enough to compare where bytes were read with where they
are when they leave: the tests fail if anything in between copies them once more. All buffers are held, so that no
address is used again.
"""

import os
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest

from facade.app import create_app
from facade.config import Settings
from facade.serving.connections import Connection
from node.calls import LocalChannel, LocalServer
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import JPEG_BASELINE, new_uid, part10
from tests.integration.facade.serving import serving_application, stow

LARGE_BYTES = 64 << 10
"""Runs of fewer bytes may be copied once more, so as not to keep a larger buffer alive."""

STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
OCTETS = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


class Buffers:
    """The buffers that pass a point of the way."""

    def __init__(self) -> None:
        self._held: list[Any] = []
        self._extents: list[tuple[int, int]] = []

    def note(self, buffers: Sequence[bytes | memoryview]) -> None:
        for buffer in buffers:
            if len(buffer) >= LARGE_BYTES:
                self._held.append(buffer)
                start = numpy.frombuffer(buffer, dtype="u1").__array_interface__["data"][0]
                self._extents.append((start, start + len(buffer)))

    @property
    def size(self) -> int:
        return sum(end - start for start, end in self._extents)

    def lie_within(self, others: "Buffers") -> bool:
        return all(
            any(first <= start and end <= last for first, last in others._extents) for start, end in self._extents
        )


class RecordingTransport:
    """A transport that records the sent buffers."""

    def __init__(self, transport: Any, sent: Buffers) -> None:
        self._transport = transport
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._sent.note([data])
        self._transport.write(data)

    def writelines(self, buffers: Sequence[bytes | memoryview]) -> None:
        self._sent.note(buffers)
        self._transport.writelines(buffers)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_for(tmp_path)) as core:
        local = LocalServer(core.interceptors)
        core.register(local)
        async with serving_application(create_app(Settings(), LocalChannel(local))) as client:
            yield client


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Buffers:
    """Records buffers read from disk: on the event loop into a buffer, by a thread as bytes."""
    found, preadv, pread = Buffers(), os.preadv, os.pread

    def noting_preadv(fd: int, buffers: Sequence[memoryview], *rest: int) -> int:
        found.note(buffers)
        return preadv(fd, buffers, *rest)

    def noting_pread(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        found.note([data])
        return data

    monkeypatch.setattr(os, "preadv", noting_preadv)
    monkeypatch.setattr(os, "pread", noting_pread)
    return found


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Buffers:
    """Records buffers passed to the transport."""
    found, connection_made = Buffers(), Connection.connection_made

    def recorded(self: Connection, transport: Any) -> None:
        connection_made(self, RecordingTransport(transport, found))

    monkeypatch.setattr(Connection, "connection_made", recorded)
    return found


@pytest.mark.parametrize(
    ("size", "syntax", "path", "headers", "least_bytes"),
    [
        (600_000, "", "", STORED, 600_000),
        (600_000, "", "", {"Accept": "application/dicom; transfer-syntax=*"}, 600_000),
        (600_000, "", "study", STORED, 1_200_000),
        (3_000_000, "", "", STORED, 3_000_000),
        (3_000_000, "", "/frames/1", OCTETS, 3_000_000),
        (600_000, "", "/bulkdata/7FE00010", {}, 600_000),
        (300_000, JPEG_BASELINE, "/frames/1", OCTETS, 300_000),
    ],
)
async def test_sent_buffers_are_the_read_buffers_without_a_copy(
    sent: Buffers,
    read: Buffers,
    node: httpx.AsyncClient,
    size: int,
    syntax: str,
    path: str,
    headers: dict[str, str],
    least_bytes: int,
) -> None:
    study, instance = new_uid(), new_uid()
    pixels = random.randbytes(size)
    form = {"transfer_syntax": syntax, "fragments": [[pixels]]} if syntax else {"PixelData": pixels, **_one_frame(size)}
    for uid in (instance, new_uid()):
        body = part10(StudyInstanceUID=study, SeriesInstanceUID="1.2.3", SOPInstanceUID=uid, **form)
        assert (await stow(node, body)).status_code == 200
    before = sent.size

    url = f"/v2/studies/{study}"
    if path != "study":
        url += f"/series/1.2.3/instances/{instance}{path}"
    response = await node.get(url, headers=headers)

    assert response.status_code == 200
    assert pixels in response.content
    assert sent.size - before >= least_bytes - LARGE_BYTES  # the rest of the last block may be copied as a small chunk
    assert sent.lie_within(read)


def _one_frame(size: int) -> dict[str, Any]:
    return {"Rows": size // 1000, "Columns": 1000, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


@pytest.mark.parametrize("size", [700_000, 3_000_000])
async def test_written_buffers_are_slices_of_the_received_buffers(
    monkeypatch: pytest.MonkeyPatch, node: httpx.AsyncClient, size: int
) -> None:
    """Each byte is copied by the transport, which reads into a buffer of its own, and by the parser, and not again."""
    parsed, written = Buffers(), Buffers()
    on_body, pwritev = Connection.on_body, os.pwritev

    def noting_on_body(self: Connection, body: bytes) -> None:
        parsed.note([body])
        on_body(self, body)

    def noting_pwritev(fd: int, buffers: Sequence[bytes | memoryview], *rest: int) -> int:
        written.note(buffers)
        return pwritev(fd, buffers, *rest)

    monkeypatch.setattr(Connection, "on_body", noting_on_body)
    monkeypatch.setattr(os, "pwritev", noting_pwritev)

    body = part10(PixelData=random.randbytes(size), **_one_frame(size))
    assert (await stow(node, body)).status_code == 200

    assert written.size >= size // 2
    assert written.lie_within(parsed)

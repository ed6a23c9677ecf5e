"""Memory is bounded while large data is streamed. The full-size figures are in docs/performance.md."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.data import new_uid, part10
from tests.e2e.archive import Archive, running_archive

LIMIT_BYTES = 200 << 20
WITH_A_BUCKET = 160 << 20
"""What a core may use besides if its blobs are in a bucket: what is read ahead or not yet cached, and requests."""

FRAME = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with running_archive(tmp_path / "data") as archive:
        yield archive


@pytest.fixture
def limit(request: pytest.FixtureRequest) -> int:
    return LIMIT_BYTES + (WITH_A_BUCKET if request.config.getoption("--stores") == "s3" else 0)


def peaks(archive: Archive) -> list[int]:
    """Return the peak resident set of core and facade, in bytes."""
    found = []
    for process in (archive.core, archive.facade):
        assert process is not None
        [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        found.append(int(kilobytes) << 10)
    return found


def large_instance(frames: int) -> tuple[bytes, int]:
    """Return the head of an instance with `frames` times `FRAME` as pixel data, and its size."""
    small = part10(frames=[FRAME], Rows=1024, Columns=1024, NumberOfFrames=frames)
    end = len(small) - len(FRAME)
    head = small[: end - 4] + (frames * len(FRAME)).to_bytes(4, "little")
    return head, len(head) + frames * len(FRAME)


@pytest.mark.timeout(300)
async def test_a_large_instance_is_stored_and_retrieved_in_bounded_memory(archive: Archive, limit: int) -> None:
    frames = 400
    head, size = large_instance(frames)

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(frames):
            yield FRAME

    async with httpx.AsyncClient(timeout=120) as http:
        stored = await http.post(
            f"{archive.http}/v2/studies",
            content=body(),
            headers={"Content-Type": "application/dicom", "Accept": "*/*"},
        )
        assert stored.status_code == 200, stored.text
        [item] = stored.json()["00081199"]["Value"]
        received, tail = 0, b""
        url = item["00081190"]["Value"][0]
        async with http.stream("GET", url, headers={"Accept": "application/dicom; transfer-syntax=*"}) as answer:
            async for piece in answer.aiter_raw():
                if not received:
                    assert piece.startswith(head[: len(piece)])
                received += len(piece)
                tail = (tail + piece)[-len(FRAME) :]
    assert received == size
    assert tail == FRAME
    assert max(peaks(archive)) < limit


@pytest.mark.timeout(300)
async def test_a_study_of_many_instances_is_stored_and_retrieved_in_bounded_memory(
    archive: Archive, limit: int
) -> None:
    study, count = new_uid(), 500
    one = part10(StudyInstanceUID=study, frames=[FRAME[: 500 << 10]], Rows=500, Columns=1024)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"--b\r\nContent-Type: application/dicom\r\n\r\n"
            yield part10(StudyInstanceUID=study, frames=[FRAME[: 500 << 10]], Rows=500, Columns=1024)
            yield b"\r\n"
        yield b"--b--\r\n"

    async with httpx.AsyncClient(timeout=120) as http:
        stored = await http.post(
            f"{archive.http}/v2/studies",
            content=body(),
            headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b', "Accept": "*/*"},
        )
        assert stored.status_code == 200, stored.text
        assert len(stored.json()["00081199"]["Value"]) == count
        received = 0
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        async with http.stream("GET", f"{archive.http}/v2/studies/{study}", headers={"Accept": accept}) as answer:
            async for piece in answer.aiter_raw():
                received += len(piece)
    assert received > count * len(one)
    assert max(peaks(archive)) < limit

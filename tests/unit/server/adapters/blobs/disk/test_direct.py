"""Large ranges are written past the page cache, with the same result everywhere."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.adapters.blobs.disk.direct import LEAST_BYTES, PAGE_BYTES, buffer_for, write_past_cache


@pytest.fixture(params=["disk", "memory"])
def file(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return a file on the disk of the working directory, and one in memory, where O_DIRECT may not exist."""
    with tempfile.TemporaryDirectory(dir=Path.cwd() if request.param == "disk" else None) as folder:
        fd = os.open(Path(folder) / "file", os.O_RDWR | os.O_CREAT)
        yield fd
        os.close(fd)


@pytest.mark.parametrize("length", [0, 1, LEAST_BYTES - 1, LEAST_BYTES, LEAST_BYTES + 1, 3 * LEAST_BYTES + 777])
@pytest.mark.parametrize("offset", [0, 1, PAGE_BYTES - 1, PAGE_BYTES, 5 * LEAST_BYTES + 13])
@pytest.mark.parametrize("is_suitable", [True, False])
def test_a_range_is_written_wherever_it_begins_and_ends(file: int, offset: int, length: int, is_suitable: bool) -> None:
    around = os.urandom(offset + length + 100)
    os.pwrite(file, around, 0)
    data = buffer_for(offset + (not is_suitable), length)
    data[:] = (b"0123456789abc" * (length // 13 + 1))[:length]
    write_past_cache(file, data, offset)
    assert os.pread(file, 2 * len(around), 0) == around[:offset] + data.tobytes() + around[offset + length :]


def test_neighbours_that_share_a_page_keep_their_bytes(file: int) -> None:
    sizes = [LEAST_BYTES + 1000, LEAST_BYTES + 2000, LEAST_BYTES + 5000]
    parts, at = [], 0
    for number, size in enumerate(sizes):
        data = buffer_for(at, size)
        data[:] = bytes([number + 1]) * size
        parts.append((at, data))
        at += size
    for offset, data in (parts[1], parts[0], parts[2]):
        write_past_cache(file, data, offset)
    assert os.pread(file, at + 1, 0) == b"".join(data.tobytes() for _, data in parts)


def test_large_ranges_are_not_in_the_page_cache_unless_the_filesystem_is_in_memory(file: int) -> None:
    write_past_cache(file, buffer_for(0, LEAST_BYTES), 0)
    assert _is_in_page_cache(file) is _is_in_memory(file)
    write_past_cache(file, buffer_for(0, PAGE_BYTES), 0)
    assert _is_in_page_cache(file)


def _is_in_page_cache(fd: int) -> bool:
    try:
        return os.preadv(fd, [bytearray(PAGE_BYTES)], 0, os.RWF_NOWAIT) == PAGE_BYTES
    except BlockingIOError:
        return False
    except OSError:  # a filesystem in memory does not support the question
        return True


def _is_in_memory(fd: int) -> bool:
    """Return whether the system has dropped nothing of a file that is on a disk."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return _is_in_page_cache(fd)

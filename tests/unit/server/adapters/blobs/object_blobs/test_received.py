"""Parts that were received are read from memory until they are cached and read."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.adapters.blobs.object_blobs.cache import PartCache, Range
from server.adapters.blobs.object_blobs.received import Part, ReceivedParts
from server.model.buffer import Buffer

SIZE = 5000
KEYS = [Range("0" * 32, number * SIZE, SIZE) for number in range(4)]


def parts_of(*keys: Range) -> list[Part]:
    return [Part(key, memoryview(str(key.offset + 1).encode() * SIZE)[:SIZE]) for key in keys]


@pytest.fixture
def cache(tmp_path: Path) -> PartCache:
    return PartCache(tmp_path / "cache", 1 << 20)


def test_parts_are_written_and_dropped_when_they_were_read(cache: PartCache) -> None:
    received = ReceivedParts(cache, 10 * SIZE)
    one, two = parts_of(*KEYS[:2])
    received.add([one, two], 2 * SIZE)
    assert received.get(one.key) == one
    received.was_read(one.key)
    received.close()
    assert received.get(one.key) == one, "memory is freed when all parts of the buffer were read"
    received.was_read(two.key)
    assert received.get(one.key) is None
    assert received.get(two.key) is None
    assert [cache.read(part.key) for part in (one, two)] == [one.data, two.data]


def test_written_parts_make_room_for_others(cache: PartCache) -> None:
    received = ReceivedParts(cache, 2 * SIZE)
    parts = parts_of(*KEYS)
    received.add(parts[:1], SIZE)
    received.add(parts[1:2], SIZE)
    received.close()
    received.add(parts[2:3], SIZE)
    assert [received.get(part.key) for part in parts[:3]] == [None, parts[1], parts[2]]


class _BusyDisk(PartCache):
    """Writes nothing before `is_free`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 1 << 20)
        self.is_busy, self.is_free = threading.Event(), threading.Event()

    def write(self, name: str, parts: Sequence[tuple[int, Buffer]]) -> None:
        self.is_busy.set()
        self.is_free.wait()
        super().write(name, parts)


def test_parts_that_were_read_make_room_although_they_are_not_written(tmp_path: Path) -> None:
    cache = _BusyDisk(tmp_path)
    received = ReceivedParts(cache, 3 * SIZE)
    parts = parts_of(*KEYS)
    for part in parts[:3]:
        received.add([part], SIZE)
    cache.is_busy.wait()
    received.was_read(KEYS[0])
    received.was_read(KEYS[1])
    received.add(parts[3:], SIZE)
    assert [received.get(part.key) for part in parts] == [parts[0], None, parts[2], parts[3]]
    cache.is_free.set()
    received.close()
    assert [cache.read(part.key) == part.data for part in parts] == [True, False, True, True]


def test_parts_that_are_written_make_room_for_those_that_are_arriving(cache: PartCache) -> None:
    received = ReceivedParts(cache, 3 * SIZE)
    parts = parts_of(*KEYS)
    received.add(parts[:1], SIZE)
    received.add(parts[1:2], SIZE)
    received.close()
    with received.arriving(SIZE):
        assert [received.get(part.key) for part in parts[:2]] == parts[:2]
        with received.arriving(SIZE):
            assert [received.get(part.key) for part in parts[:2]] == [None, parts[1]]
    received.add(parts[2:3], SIZE)
    received.add(parts[3:], SIZE)
    assert [received.get(part.key) for part in parts[1:]] == parts[1:], "what has arrived is no more counted"


def test_without_memory_parts_are_written_at_once(cache: PartCache) -> None:
    received = ReceivedParts(cache, SIZE)
    (part,) = parts_of(KEYS[0])
    received.add([part], SIZE + 1)
    assert received.get(part.key) is None
    assert cache.read(part.key) == part.data
    received.close()


def test_removed_parts_are_neither_read_nor_cached(cache: PartCache) -> None:
    received = ReceivedParts(cache, 10 * SIZE)
    parts = parts_of(*KEYS)
    received.add(parts, 4 * SIZE)
    received.remove(KEYS[1:3])
    cache.remove(KEYS[1:3])
    assert [received.get(key) for key in KEYS] == [parts[0], None, None, parts[3]]
    received.close()
    assert not any(cache.has(key) for key in KEYS[1:3])  # the others may be lost with the file, if it had no others yet


def test_nothing_is_kept_for_a_disabled_cache(tmp_path: Path) -> None:
    received = ReceivedParts(PartCache(tmp_path, 0), 10 * SIZE)
    received.add(parts_of(KEYS[0]), SIZE)
    assert received.get(KEYS[0]) is None
    received.close()


def test_unread_parts_are_dropped_and_memory_is_released_when_no_more_arrive(cache: PartCache) -> None:
    is_released = threading.Event()
    answers = iter([False, True])

    def release() -> bool:
        assert [received.get(key) for key in KEYS] == [None] * 4
        if next(answers):
            is_released.set()
        return is_released.is_set()

    received = ReceivedParts(cache, 10 * SIZE, release, idle_seconds=0.01)
    parts = parts_of(*KEYS)
    received.add(parts, 4 * SIZE)
    assert is_released.wait(60)
    assert [cache.read(part.key) for part in parts] == [part.data for part in parts]
    received.close()

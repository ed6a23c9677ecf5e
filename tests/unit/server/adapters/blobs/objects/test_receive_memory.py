"""Memory for received ranges is used again when no view of it is left."""

import ctypes
import re
import threading
from pathlib import Path

from server.adapters.blobs.disk.direct import PAGE_BYTES
from server.adapters.blobs.objects.receive_memory import ReceiveMemory

MIB = 1 << 20


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_the_address_is_suitable_for_the_offset() -> None:
    memory = ReceiveMemory(4 * MIB)
    for offset, length in ((0, 1), (5, 300_000), (PAGE_BYTES - 1, 2 * MIB), (PAGE_BYTES, 5 * MIB)):
        view = memory.buffer_for(offset, length)
        assert len(view) == length
        assert address(view) % PAGE_BYTES == offset % PAGE_BYTES


def test_memory_is_used_again_when_the_last_view_of_it_has_ended() -> None:
    memory = ReceiveMemory(4 * MIB)
    first = memory.buffer_for(0, MIB)
    second = memory.buffer_for(0, MIB)
    at = address(first)
    first[:] = b"1" * MIB
    part = first[100:200].toreadonly()
    del first
    third = memory.buffer_for(0, MIB)
    third[:] = b"3" * MIB
    assert part == b"1" * 100, "a view keeps its memory"
    assert not memory.release()
    del part
    assert address(memory.buffer_for(0, MIB)) == at
    del second, third
    assert memory.release()


def test_free_ranges_are_joined() -> None:
    memory = ReceiveMemory(4 * MIB)
    some = [memory.buffer_for(0, MIB - PAGE_BYTES) for _ in range(4)]
    at = address(some[0])
    for number in (1, 3, 0, 2):
        some[number] = memoryview(b"")
    assert address(memory.buffer_for(0, 4 * MIB - PAGE_BYTES)) == at


def test_what_does_not_fit_is_allocated_elsewhere() -> None:
    memory = ReceiveMemory(2 * MIB)
    within = memory.buffer_for(0, MIB)
    for length in (MIB, 3 * MIB):
        view = memory.buffer_for(7, length)
        assert len(view) == length
        assert not 0 <= address(view) - address(within) < 2 * MIB
        view[:] = b"x" * length


def test_released_memory_is_returned_to_the_system_and_can_be_used_again() -> None:
    memory = ReceiveMemory(64 * MIB)
    view = memory.buffer_for(0, 50 * MIB)
    view[:] = b"x" * len(view)
    used = _resident_bytes()
    del view
    assert memory.release()
    assert used - _resident_bytes() > 40 * MIB
    view = memory.buffer_for(0, 50 * MIB)
    view[-1] = 7
    assert view[-1] == 7


def test_threads_never_get_the_same_memory() -> None:
    memory = ReceiveMemory(8 * MIB)
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(200):
            view = memory.buffer_for(turn, 300_000 + number)
            view[:8] = view[-8:] = bytes([number]) * 8
            if bytes(view[:8]) + bytes(view[-8:]) != bytes([number]) * 16:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert memory.release()


def _resident_bytes() -> int:
    [kilobytes] = re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024

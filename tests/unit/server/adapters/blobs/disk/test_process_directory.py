"""Directories of processes that use a store at the same time."""

import os
import threading
from pathlib import Path

from server.adapters.blobs.disk.process_directory import ProcessDirectory


def test_a_process_leaves_while_another_one_examines_its_directory(tmp_path: Path) -> None:
    parent = tmp_path / "ingest"
    other = ProcessDirectory(parent)
    other.enter()
    has_ended = threading.Event()

    def examine() -> None:
        while not has_ended.is_set():
            for directory in other.others():
                if (lock := other.take_over(directory)) is not None:
                    os.close(lock)

    examining = threading.Thread(target=examine)
    examining.start()
    try:
        for _ in range(300):
            one = ProcessDirectory(parent)
            one.enter()
            one.leave(nothing_left=True)
    finally:
        has_ended.set()
        examining.join()
    assert other.others() == []


def test_the_directory_of_an_ended_process_is_taken_over_and_removed(tmp_path: Path) -> None:
    one, other = ProcessDirectory(tmp_path / "ingest"), ProcessDirectory(tmp_path / "ingest")
    one.enter()
    other.enter()
    assert other.take_over(one.path) is None, "its process is running"
    one.leave(nothing_left=False)
    lock = other.take_over(one.path)
    assert lock is not None
    other.remove(one.path)
    os.close(lock)
    assert other.others() == []

"""`python -m bench.parts.slice_steps`: CPU time of the steps of storing a CT slice that no server can omit.

Each step is repeated in one process without other work; the figure is the median of several rounds.
"""

import os
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from crc32c import crc32c

_SLICE_BYTES = 525_000
_READ_BYTES = 256_000
"""Most bytes that uvloop reads at once."""

_BLOCK_BYTES = 64 << 10
_DELIMITER = b"\r\n--boundary-of-22-bytes"
_ROW_BYTES = 4_000
"""DICOM JSON of a slice."""

_Step = Callable[[], object]


def measure(repeat: int = typer.Option(300, help="Repetitions in a round."), rounds: int = typer.Option(5)) -> None:
    """Measure each step and print a table."""
    folder = os.environ.get("BENCH_DIR")
    with tempfile.TemporaryDirectory(prefix="dicomstore-bench-", dir=folder) as data, _steps(Path(data)) as steps:
        for name, step in steps.items():
            cpu_ms = statistics.median(_cpu_ms(step, repeat) for _ in range(rounds))
            typer.echo(f"{name:60} {cpu_ms:6.3f} ms")


def _cpu_ms(step: _Step, repeat: int) -> float:
    """Return the CPU time of this thread for a step, and that of the kernel on its behalf."""
    step()
    began = time.thread_time()
    for _ in range(repeat):
        step()
    return (time.thread_time() - began) * 1000 / repeat


@contextmanager
def _steps(folder: Path) -> Iterator[dict[str, _Step]]:
    content = memoryview(os.urandom(_SLICE_BYTES))
    data = content.tobytes()
    fd = os.open(folder / "segment", os.O_WRONLY | os.O_CREAT)
    position = 0

    def append() -> None:
        nonlocal position
        position += os.pwrite(fd, content, position)

    def append_durably() -> None:
        append()
        os.fdatasync(fd)

    index = sqlite3.connect(folder / "index.db", isolation_level=None)
    index.execute("PRAGMA journal_mode = wal")
    index.execute("PRAGMA synchronous = full")
    index.execute("CREATE TABLE instances (version INTEGER PRIMARY KEY, uid TEXT UNIQUE, json BLOB)")

    def commit() -> None:
        index.execute("BEGIN IMMEDIATE")
        row = (f"1.2.840.{time.monotonic_ns()}", data[:_ROW_BYTES])
        index.execute("INSERT INTO instances (uid, json) VALUES (?, ?)", row)
        index.execute("COMMIT")

    with _received(data) as receive:
        yield {
            "receive from a socket": receive,
            "find the end of the part": lambda: data.find(_DELIMITER),
            "CRC-32C of each block": lambda: [
                crc32c(content[start : start + _BLOCK_BYTES]) for start in range(0, _SLICE_BYTES, _BLOCK_BYTES)
            ],
            "write to the page cache": append,
            "write to the page cache and sync": append_durably,
            "transaction of SQLite with one row, synced": commit,
        }
    index.close()
    os.close(fd)


@contextmanager
def _received(data: bytes) -> Iterator[_Step]:
    """Yield a function that receives a slice, which a thread sends as soon as the previous one was received."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as sender:
        receiver, _ = listener.accept()
        may_send = threading.Semaphore(0)
        is_ending = threading.Event()

        def send() -> None:
            while may_send.acquire() and not is_ending.is_set():
                sender.sendall(data)

        def receive() -> None:
            may_send.release()
            left = len(data)
            while left:
                left -= len(receiver.recv(min(left, _READ_BYTES)))

        thread = threading.Thread(target=send)
        thread.start()
        try:
            with receiver:
                yield receive
        finally:
            is_ending.set()
            may_send.release()
            thread.join()


if __name__ == "__main__":
    typer.run(measure)

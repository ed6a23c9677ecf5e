"""The program of a worker process: runs jobs from a socket, one at a time, until the socket is closed.

    python -P -m server.adapters.workers.process DESCRIPTOR PERFORM MEMORY_BYTES

PERFORM is the dotted name of a function that takes a job and returns bytes. Memory in addition to that after the
imports is limited. The process ends with its parent process in all cases.

Protocol, with numbers as little-endian uint64: a job is the number of its parts, the size of each, and the parts: a
pickle (protocol 5) and its buffers. A response is a kind (`READY` and so on), a size, and the data: the result, or JSON
for `REFUSED`. The core never unpickles data from a worker, because workers process untrusted pixel data.
"""

import ctypes
import importlib
import json
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import BinaryIO

from server.memory import return_frames
from server.model.errors import DicomStoreError

READY, OK, REFUSED, FAILED, OUT_OF_MEMORY = range(5)
"""Kinds of responses. `READY` is sent once, before the first job; `FAILED` has the traceback of an unexpected
exception."""

NUMBER = Struct("<Q")
ANSWER_HEAD = Struct("<QQ")

_PR_SET_PDEATHSIG = 1

_OOM_SCORE = 500
"""Added to the OOM score of the process, half of the maximum: the kernel kills a worker before a node.

A killed worker costs one job, which is repeated (see proc_pid_oom_score_adj(5)).
"""


def main(descriptor: int, perform: str, memory_bytes: int) -> None:
    """Run jobs until the socket is closed."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C reaches all processes of a terminal; the core decides when a worker ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _offer_to_oom_killer()
    return_frames()
    module, _, name = perform.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    limit = _data_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as jobs:
        connection.sendall(ANSWER_HEAD.pack(READY, 0))
        while head := jobs.read(NUMBER.size):
            kind, answer = _answer(function, jobs, NUMBER.unpack(head)[0])
            connection.sendall(ANSWER_HEAD.pack(kind, len(answer)))
            connection.sendall(answer)


def _answer(function: Callable[[object], bytes], jobs: BinaryIO, count: int) -> tuple[int, bytes]:
    """Run the next job, of `count` parts."""
    sizes = [NUMBER.unpack(jobs.read(NUMBER.size))[0] for _ in range(count)]
    try:
        pickled, *buffers = [jobs.read(size) for size in sizes]
        return OK, function(pickle.loads(pickled, buffers=buffers))  # noqa: S301 - from the parent process
    except DicomStoreError as error:
        told = {
            "type": type(error).__name__,
            "reason": error.reason.value,
            "message": error.message,
            "metadata": error.metadata,
        }
        return REFUSED, json.dumps(told).encode()
    except MemoryError:
        return OUT_OF_MEMORY, b""
    except Exception as error:  # noqa: BLE001 - the top of the process: whatever a codec raises ends its job alone
        # Location and type of the exception; its message might contain values of the data set.
        return FAILED, f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}".encode()


def _offer_to_oom_killer() -> None:
    path = "/proc/self/oom_score_adj"
    with suppress(OSError), open(path, "r+", encoding="ascii") as file:
        score = int(file.read())
        file.seek(0)
        file.write(str(min(score + _OOM_SCORE, 1000)))


def _data_bytes() -> int:
    """Return the current memory counted by RLIMIT_DATA."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

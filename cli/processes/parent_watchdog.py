"""Ends a program when its parent process ends.

`python -m cli.processes.parent_watchdog PARENT_PID PROGRAM ARGUMENT...`

Sets the parent-death signal of this process, then becomes the program. `-m MODULE ARGUMENT...` is a Python module,
which runs in this interpreter, because starting another would take longer. The kernel then sends SIGTERM to the program
when its parent ends, even if the parent was killed, and the program stops cleanly.

This is a separate program because code between fork and exec (`preexec_fn`) is unsafe in a process with threads, and
gRPC uses threads. The signal is bound to the thread that started the process: start it from the main thread. Only Linux
supports it; on other systems the programs continue after their parent was killed.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program, or exit if the parent has already ended."""
    parent, *command = sys.argv[1:]
    tie_to(int(parent))
    if command[0] == "-m":
        sys.argv[1:] = command[2:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        return
    os.execv(command[0], command)  # noqa: S606 - the command comes from the supervisor, not from input


def tie_to(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when `parent` ends."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the signal was set
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Notifications to the service manager: the protocol of systemd's `NOTIFY_SOCKET` (sd_notify(3))."""

import contextlib
import os
import socket

_VARIABLE = "NOTIFY_SOCKET"


def notify(state: str, *, may_be_lost: bool = False) -> None:
    """Send `READY=1` or another state to the service manager, if there is one.

    Args:
        may_be_lost: do not wait if the service manager has not read earlier messages yet.
    """
    address = os.environ.get(_VARIABLE)
    if not address:
        return
    if address.startswith("@"):  # systemd's notation for an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end, contextlib.suppress(OSError):
        end.setblocking(not may_be_lost)
        end.connect(address)
        end.sendall(state.encode())

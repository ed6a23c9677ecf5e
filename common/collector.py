"""Garbage collection during imports, which create no garbage: otherwise it takes a fifth of the time of a start.

Programs import this module first, which disables the collector, and enable it after their imports.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

gc.disable()


def enable() -> None:
    """Enable the collector. It never examines the objects that exist now, which are permanent."""
    gc.freeze()
    gc.enable()


@contextmanager
def paused() -> Iterator[None]:
    """Disable the collector for the imports of a command."""
    gc.disable()
    try:
        yield
    finally:
        enable()

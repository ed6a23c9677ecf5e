"""Delays each call of an object store by BENCH_STORE_DELAY_MS.

Python imports this module when it starts, if its directory is in PYTHONPATH. A proxy would need processor time for each
byte, which the programs that are measured do not get then.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

VARIABLE = "BENCH_STORE_DELAY_MS"

_T = TypeVar("_T")


def _delay(seconds: float) -> None:
    from server.adapters.blobs.objects.client import ObjectClient

    run = ObjectClient.run

    def delayed(client: ObjectClient, operation: str, work: Callable[[], _T], *, sent_bytes: int = 0) -> _T:
        time.sleep(seconds)
        return run(client, operation, work, sent_bytes=sent_bytes)

    ObjectClient.run = delayed  # type: ignore[method-assign, assignment]


if VARIABLE in os.environ:
    _delay(float(os.environ[VARIABLE]) / 1000)

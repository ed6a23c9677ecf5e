"""`python -m bench.telemetry_node`: a node with metrics and traces, or without, as a signal says.

So both are measured in the same process, as by `switched_node`. SIGUSR1 switches both on, SIGUSR2 off; both export the
spans that are waiting, so that it is counted where it belongs.
"""

import server.import_hygiene  # noqa: F401 - before anything imports pydicom

# isort: split

import asyncio
import signal
import threading
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from opentelemetry.sdk.trace.export import BatchSpanProcessor

from common.telemetry import otlp, tracing
from facade.serving import observe
from node.__main__ import main
from server.adapters.sql.core.transactions import Transactions
from server.bootstrap import grpc_server
from server.config import Settings
from server.domain.audit.recorder import AuditRecorder
from server.rpc.interceptors import access_log
from server.rpc.interceptors.authentication import Authenticator
from server.rpc.interceptors.surround import Surround

_interceptors = grpc_server.interceptors
_count, _measured, _add = observe._count, Transactions._measured, access_log._Figures.add
_processors: list[BatchSpanProcessor] = []


class _Processor(BatchSpanProcessor):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _processors.append(self)


async def _unmeasured(_self: object, _kind: str, _work: object, running: Awaitable[Any]) -> Any:
    return await running


def _nothing(*_: object) -> None:
    """Do nothing."""


class _Switched(Surround):
    def __init__(self, on: Surround, off: Surround) -> None:
        super().__init__()
        self._on, self._off = on, off
        self._chosen = on
        self._recorder = tracing._recorder
        loop = asyncio.get_running_loop()
        for number, is_on in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
            loop.add_signal_handler(number, self._choose, is_on)

    def _choose(self, is_on: bool) -> None:
        self._chosen = self._on if is_on else self._off
        tracing._recorder = self._recorder if is_on else None
        vars(observe)["_count"] = _count if is_on else _nothing
        setattr(access_log._Figures, "add", _add if is_on else _nothing)  # noqa: B010 - for the type checker
        setattr(Transactions, "_measured", _measured if is_on else _unmeasured)  # noqa: B010 - as above
        for processor in _processors:
            threading.Thread(target=processor.force_flush).start()

    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[Any] | None:
        """See `Surround`."""
        return self._chosen.around(method, context)


def _switched(settings: Settings, authenticator: Authenticator, recorder: AuditRecorder | None) -> Sequence[Surround]:
    assert tracing.is_on(), "OTEL_EXPORTER_OTLP_ENDPOINT is not set"
    [on] = _interceptors(settings, authenticator, recorder)
    recording, tracing._recorder = tracing._recorder, None
    [off] = _interceptors(settings, authenticator, recorder)
    tracing._recorder = recording
    return [_Switched(on, off)]


if __name__ == "__main__":
    vars(otlp)["BatchSpanProcessor"] = _Processor
    grpc_server.interceptors = _switched
    main()

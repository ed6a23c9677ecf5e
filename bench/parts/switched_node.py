"""`python -m bench.parts.switched_node`: a node that records calls in the audit trail, or not, as a signal says.

So both are measured in the same process: two processes differ by a few percent without any cause. SIGUSR1 begins to
record, SIGUSR2 stops; both write what is pending, so that it is counted where it belongs.
"""

import server.import_hygiene  # noqa: F401 - before anything imports pydicom

# isort: split

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from node.__main__ import main
from server.bootstrap import grpc_server
from server.config import Settings
from server.domain.audit.recorder import AuditRecorder
from server.rpc.interceptors.authentication import Authenticator
from server.rpc.interceptors.surround import Surround

_interceptors = grpc_server.interceptors


class _Switched(Surround):
    def __init__(self, recorder: AuditRecorder, recording: Surround, others: Surround) -> None:
        super().__init__()
        self._recorder = recorder
        self._choices = {signal.SIGUSR1: recording, signal.SIGUSR2: others}
        self._chosen = recording
        for number in self._choices:
            asyncio.get_running_loop().add_signal_handler(number, self._choose, number)

    def _choose(self, number: signal.Signals) -> None:
        self._chosen = self._choices[number]
        self._recorder.log.expedite()

    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[Any] | None:
        """See `Surround`."""
        return self._chosen.around(method, context)


def _switched(settings: Settings, authenticator: Authenticator, recorder: AuditRecorder | None) -> Sequence[Surround]:
    assert recorder is not None, "setting `audit` is off"
    [recording] = _interceptors(settings, authenticator, recorder)
    [others] = _interceptors(settings, authenticator, None)
    return [_Switched(recorder, recording, others)]


if __name__ == "__main__":
    grpc_server.interceptors = _switched
    main()

"""The metrics, the span and the log line of a request of a peer."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from common.telemetry import tracing
from common.telemetry.catalogue import DIMSE_REQUESTS, DIMSE_SECONDS
from common.telemetry.metrics import OTHER
from dimse.associations.association import Request
from dimse.associations.commands import CommandField
from dimse.services.statuses import StatusClass, class_of

_NAMES: Mapping[int, str] = MappingProxyType({int(one): one.name.replace("_", "-", 1) for one in CommandField})
_LOST = "lost"
"""Instead of a class of status: the association ended before the final response."""

_log = logging.getLogger("dimse.access")


@contextmanager
def observed(request: Request) -> Iterator[None]:
    """Measure a request until the context is left; calls of the core within it are part of its trace.

    A request of a remote during a transfer is part of the trace of the transfer.
    """
    service = _NAMES.get(request.command.field, OTHER)
    with tracing.begun(service, {}, tracing.SERVER) as span:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            found = StatusClass.PENDING if request.status is None else class_of(request.status)
            result = _LOST if found is StatusClass.PENDING else found.value
            DIMSE_REQUESTS.of(service, result).value += 1
            DIMSE_SECONDS.of(service).observe(seconds)
            is_failure = found in (StatusClass.PENDING, StatusClass.FAILURE)
            status = result if result == _LOST else f"{request.status:04X}"
            if isinstance(span, tracing.Span):
                span.attributes |= {"rpc.system": "dimse", "rpc.method": service, "dicomstore.dimse.status": status}
                if is_failure:
                    span.fault = status
            _log.log(
                logging.INFO if is_failure else logging.DEBUG,
                "address=%s calling=%s called=%s service=%s status=%s ms=%.1f",
                request.peer.address,
                request.peer.ae_title,
                request.peer.called_ae_title,
                service,
                status,
                seconds * 1000,
            )

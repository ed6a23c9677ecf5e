"""The reason that a client gives for a change (docs/api.md, Deleting)."""

from collections.abc import Sequence

from starlette.requests import Request

from facade.request.query import Parameter, first


def reason_of(request: Request, parameters: Sequence[Parameter]) -> str:
    """Return the parameter `reason`, else the header, which is UTF-8 or else Latin-1; "" without either."""
    reason = first(parameters, "reason")
    if reason is not None:
        return reason
    raw = request.headers.get("x-dicomstore-reason", "").encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")

"""What a client says about a change: its reason, and the duplicates policy (docs/api.md, Deleting, Duplicates)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from dicomstore.v1.resources_pb2 import DuplicatePolicy
from starlette.requests import Request

from facade.errors import Refusal
from facade.request.query import Parameter, first

POLICIES: Mapping[str, DuplicatePolicy] = MappingProxyType(
    {
        "reject": DuplicatePolicy.DUPLICATE_POLICY_REJECT,
        "new-version": DuplicatePolicy.DUPLICATE_POLICY_NEW_VERSION,
    }
)
"""By name."""


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


def duplicates_of(request: Request) -> DuplicatePolicy:
    """Return the policy of the header `X-Dicomstore-Duplicates`; PUT always makes new versions.

    Raises:
        Refusal: 400, the header has another value, or contradicts PUT.
    """
    text = request.headers.get("x-dicomstore-duplicates", "").strip().lower()
    if text and text not in POLICIES:
        raise Refusal(400, f"The header X-Dicomstore-Duplicates must be one of: {', '.join(POLICIES)}.")
    if request.method == "PUT":
        if text == "reject":
            raise Refusal(400, "PUT replaces instances; use POST with X-Dicomstore-Duplicates: reject.")
        return POLICIES["new-version"]
    return POLICIES[text] if text else DuplicatePolicy.DUPLICATE_POLICY_UNSPECIFIED

"""Partial responses, which omit objects (206 without ranges; PS3.18 Table 10.4.3-1)."""

from collections.abc import Mapping

from dicomstore.v1.retrieve_service_pb2 import Omission

from facade.errors import reason_name

PARTIAL_CONTENT = 206


def partial_headers(omission: Omission, noun: str = "instance") -> Mapping[str, str]:
    """Return the headers of a partial response; empty if nothing is omitted.

    A partial response must not be cached: it is not the resource, and damage may be repaired.

    Args:
        omission: the omitted objects known before the first byte.
        noun: noun for an object, in the singular.
    """
    if not omission.count:
        return {}
    reasons = ", ".join(dict.fromkeys(reason_name(error.reason) for error in omission.errors))
    counted = f"1 {noun} is" if omission.count == 1 else f"{omission.count} {noun}s are"
    return {"Cache-Control": "no-store", "Warning": f'299 dicomstore "{counted} missing or incomplete: {reasons}"'}


def status_of(omission: Omission) -> int:
    """Return 206 if objects are omitted, otherwise 200."""
    return PARTIAL_CONTENT if omission.count else 200

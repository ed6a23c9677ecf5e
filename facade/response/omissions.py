"""Responses that leave something out (206 without ranges; PS3.18 Table 10.4.3-1)."""

from collections.abc import Mapping

from dicomstore.v1.retrieve_service_pb2 import Omission

from facade.errors import reason_name

PARTIAL_CONTENT = 206


def partial_headers(omission: Omission, noun: str = "instance") -> Mapping[str, str]:
    """Return what a response says about its omissions; nothing if it has none.

    Such a response must not be kept: it is not the resource, and damage may be repaired.

    Args:
        omission: known before the first byte.
        noun: what is counted, in the singular.
    """
    if not omission.count:
        return {}
    reasons = ", ".join(dict.fromkeys(reason_name(error.reason) for error in omission.errors))
    counted = f"1 {noun} is" if omission.count == 1 else f"{omission.count} {noun}s are"
    return {"Cache-Control": "no-store", "Warning": f'299 dicomstore "{counted} missing or incomplete: {reasons}"'}


def status_of(omission: Omission) -> int:
    """Return the status of a whole response, or of one that leaves something out."""
    return PARTIAL_CONTENT if omission.count else 200

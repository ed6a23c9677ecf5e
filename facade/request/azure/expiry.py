"""The expiry of stored studies, in headers of Azure's DICOM service (docs/api.md, Expiry)."""

from collections.abc import Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from starlette.datastructures import Headers

from facade.errors import Refusal

_TIME = "msdicom-expiry-time-milliseconds"
_ONLY: Mapping[str, str] = {"msdicom-expiry-option": "RelativeToNow", "msdicom-expiry-level": "Study"}
_MAX_DIGITS = 14


def expiry_of(headers: Headers) -> Duration | None:
    """Return the time after which the stored studies expire; None without such headers.

    Raises:
        Refusal: 400, the time is missing or not a positive number, or an option has an unsupported value.
    """
    given = headers.get(_TIME)
    for name, only in _ONLY.items():
        value = headers.get(name)
        if value is None:
            continue
        if given is None:
            raise Refusal(400, f"The header {_TIME} is required with {name}.")
        if value.strip().lower() != only.lower():
            raise Refusal(400, f"The only value of the header {name} is {only}.")
    if given is None:
        return None
    digits = given.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS and int(digits)):
        raise Refusal(400, f"The header {_TIME} must be a positive number of milliseconds.")
    duration = Duration()
    duration.FromTimedelta(timedelta(milliseconds=int(digits)))
    return duration

"""External metadata in the headers of requests, as in Azure's DICOM service; version 2 only."""

from dicomstore.v1.store_service_pb2 import ExternalAttribute
from starlette.requests import Request

from facade.errors import Refusal
from facade.versions import ApiVersion

_PREFIX = "msdicom-meta-"


def external_attributes(request: Request) -> list[ExternalAttribute]:
    """Return the attributes in headers `msdicom-meta-{VR}-{tag}`; the core checks them.

    Raises:
        Refusal: 400, a header has another form.
    """
    if not _is_supported(request):
        return []
    found = []
    for name, value in request.headers.items():
        if name.startswith(_PREFIX):
            vr, dash, tag = name.removeprefix(_PREFIX).partition("-")
            if not dash:
                raise Refusal(400, f"Headers for external metadata have the form {_PREFIX}{{VR}}-{{TagPath}}.")
            found.append(ExternalAttribute(tag=tag.upper(), vr=vr.upper(), value=_text(value)))
    return found


def requests_external_metadata(request: Request) -> bool:
    """Return whether a request is for data sets with external metadata: `msdicom-request-meta: true`."""
    return _is_supported(request) and request.headers.get("msdicom-request-meta", "").strip().lower() == "true"


def _is_supported(request: Request) -> bool:
    version: ApiVersion = request.path_params["version"]
    return version.has_external_metadata


def _text(value: str) -> str:
    """Return the value of a header, which is UTF-8 or else Latin-1."""
    raw = value.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return value

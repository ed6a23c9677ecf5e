"""Imports: files of a folder, or objects of a bucket, that are stored or adopted (docs/api.md, Import)."""

from typing import Any
from urllib.parse import quote

from dicomstore.v1.operation_service_pb2 import StartOperationRequest, StartOperationResponse
from dicomstore.v1.operation_types_pb2 import ImportRequest
from dicomstore.v1.resources_pb2 import DuplicatePolicy
from dicomstore.v1.store_service_pb2 import ValidationMode
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.endpoints.operations import started
from facade.errors import Refusal
from facade.request.addresses import partition_of
from facade.request.json_body import invalid_choice, json_body
from facade.request.query import parameters_of
from facade.request.reason import POLICIES, reason_of
from facade.serving.observe import call_metadata

_SCHEMES = {"s3": ("s3", "bucket"), "azureblob": ("az", "blobContainerName"), "gcs": ("gs", "bucket")}
_TYPES = ["folder", "s3", "azureBlob", "gcs"]
_MODES = {
    "lenient": ValidationMode.VALIDATION_MODE_LENIENT,
    "indexed-strict": ValidationMode.VALIDATION_MODE_INDEXED_STRICT,
    "strict": ValidationMode.VALIDATION_MODE_STRICT,
}
_OPTIONS = {
    "inPlace": bool,
    "deleteSource": bool,
    "continuous": bool,
    "intervalSeconds": int,
    "settleSeconds": int,
    "validation": str,
    "duplicates": str,
}


async def start_import(request: Request) -> Response:
    """POST /import: start an operation that stores or adopts files; 202 with its id and URL."""
    start = StartOperationRequest()
    start.request.Pack(_wanted(request, await json_body(request)))
    core: Core = request.app.state.core
    answer: StartOperationResponse = await core.call(core.operations.StartOperation, start, call_metadata(request))
    return started(request, answer.operation.id)


def _wanted(request: Request, body: Any) -> ImportRequest:
    fields = _fields(body, {"source": dict, "errors": dict, "options": dict}, "$")
    if "source" not in fields:
        raise Refusal(400, "The required field 'Source' is missing.")
    options = _fields(fields.get("options", {}), _OPTIONS, "options")
    partition = partition_of(request)
    return ImportRequest(
        source=_url(fields["source"], "source"),
        errors=_url(fields["errors"], "errors") if "errors" in fields else "",
        partition=partition,
        create_partition=bool(partition),
        validation=_choice(options, "validation", _MODES, ValidationMode.VALIDATION_MODE_UNSPECIFIED),
        duplicates=_choice(options, "duplicates", POLICIES, DuplicatePolicy.DUPLICATE_POLICY_UNSPECIFIED),
        in_place=options.get("inPlace", False),
        delete_source=options.get("deleteSource", False),
        continuous=options.get("continuous", False),
        interval_seconds=options.get("intervalSeconds", 0),
        settle_seconds=options.get("settleSeconds", 0),
        reason=reason_of(request, parameters_of(request)),
    )


def _url(body: Any, where: str) -> str:
    """Return the URL of a folder, or of a prefix of a bucket."""
    fields = _fields(body, {"type": str, "settings": dict}, where)
    kind = fields.get("type", "")
    settings = fields.get("settings", {})
    if kind.lower() == "folder":
        path: str = _fields(settings, {"path": str}, f"{where}.settings").get("path", "")
        if not path.startswith("/"):
            raise _invalid(f"{where}.settings.path", "It must be an absolute path.")
        return path
    if kind.lower() not in _SCHEMES:
        raise invalid_choice(f"{where}.type", kind, _TYPES)
    scheme, name = _SCHEMES[kind.lower()]
    found = _fields(settings, {name: str, "prefix": str}, f"{where}.settings")
    if not found.get(name):
        raise _invalid(f"{where}.settings.{name}", "It is required.")
    return f"{scheme}://{quote(found[name])}/{quote(found.get('prefix', ''))}".rstrip("/")


def _choice(options: dict[str, Any], name: str, choices: Any, default: Any) -> Any:
    if name not in options:
        return default
    if options[name].lower() not in choices:
        raise invalid_choice(f"options.{name}", options[name], list(choices))
    return choices[options[name].lower()]


def _fields(value: Any, names: dict[str, type], where: str) -> dict[str, Any]:
    """Return the fields of an object; names match in any case, null means absent."""
    if not isinstance(value, dict):
        raise _invalid(where, "It must be an object.")
    known = {name.lower(): name for name in names}
    fields: dict[str, Any] = {}
    for written, content in value.items():
        name = known.get(written.lower())
        if name is None:
            raise _invalid(where, f"Only {', '.join(names)} are allowed.")
        if content is None:
            continue
        if type(content) is not names[name]:
            raise _invalid(name if where == "$" else f"{where}.{name}", f"It must be {_KINDS[names[name]]}.")
        # The core knows the limits of numbers; its message takes 32 bits.
        fields[name] = min(max(content, -1), _MAX_NUMBER) if type(content) is int else content
    return fields


_MAX_NUMBER = (1 << 31) - 1
_KINDS = {dict: "an object", str: "a string", bool: "true or false", int: "a whole number"}


def _invalid(where: str, why: str) -> Refusal:
    return Refusal(400, f"The field '{where}' in request body is invalid: {why}")

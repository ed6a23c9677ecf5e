"""Exports: copies of instances in a container, bucket or folder (docs/api.md, Export)."""

from collections.abc import Mapping
from typing import Any

import orjson
from dicomstore.v1.operation_service_pb2 import StartOperationRequest, StartOperationResponse
from dicomstore.v1.operation_types_pb2 import (
    AzureBlobDestination,
    ExportQuery,
    ExportRequest,
    FolderDestination,
    GcsDestination,
    S3Destination,
)
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.search_service_pb2 import Term
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.endpoints.operations import started
from facade.errors import Refusal
from facade.request.addresses import parse_uid, partition_of
from facade.request.json_body import invalid_choice, json_body
from facade.request.query import boolean, parameters_in
from facade.request.search_query import parse_search
from facade.serving.observe import call_metadata
from facade.versions import INSTANCE, SERIES, STUDY

_SOURCES = ["identifiers", "partition", "query"]
_LEVELS = {"studies": STUDY, "series": SERIES, "instances": INSTANCE}
_UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
_NAMES = ("Study Instance UID", "Series Instance UID", "SOP Instance UID")
_OPTIONS = {"transferSyntax": str, "manifest": bool, "dicomdir": bool}
_AZURE = {"blobContainerUri": str, "connectionString": str, "blobContainerName": str, "useManagedIdentity": bool}
_S3 = {
    **dict.fromkeys(("bucket", "prefix", "endpoint", "region", "accessKeyId", "secretAccessKey", "sessionToken"), str),
    "virtualHostedStyle": bool,
}
_GCS = {"bucket": str, "prefix": str, "serviceAccountKey": (str, dict)}
_DESTINATIONS = ["azureBlob", "s3", "gcs", "folder"]


async def export(request: Request) -> Response:
    """POST /export: start an operation that copies instances to a destination; 202 with its id and URL."""
    wanted = _wanted(partition_of(request), await json_body(request))
    start = StartOperationRequest()
    start.request.Pack(wanted)
    core: Core = request.app.state.core
    answer: StartOperationResponse = await core.call(core.operations.StartOperation, start, call_metadata(request))
    return started(request, answer.operation.id)


def _wanted(partition: str, body: Any) -> ExportRequest:
    fields = _fields(body, {"source": dict, "destination": dict, "options": dict}, "$")
    options = _fields(fields.get("options", {}), _OPTIONS, "options")
    wanted = ExportRequest(
        partition=partition,
        transfer_syntax_uid=options.get("transferSyntax", ""),
        without_manifest=not options.get("manifest", True),
        dicomdir=options.get("dicomdir", False),
    )
    for name in ("source", "destination"):
        if name not in fields:
            raise Refusal(400, f"The required field '{name.capitalize()}' is missing.")
    _add_source(wanted, fields["source"])
    _add_destination(wanted, fields["destination"])
    return wanted


def _add_source(wanted: ExportRequest, body: Any) -> None:
    kind, settings = _kind(body, _SOURCES, "source")
    if kind == "query":
        wanted.query.CopyFrom(_query(_fields(settings, {"level": str, "parameters": str}, "source.settings")))
        return
    values = _fields(settings, {"values": list}, "source.settings", may_be_null=False)
    if kind == "partition" or "values" not in values:
        wanted.everything = True
        return
    if not values["values"]:
        raise _invalid("source.settings.values", "At least one identifier is required.")
    wanted.sources.extend(_address(wanted.partition, value) for value in values["values"])


def _query(settings: Mapping[str, Any]) -> ExportQuery:
    level = settings.get("level", "studies")
    if level.lower() not in _LEVELS:
        raise invalid_choice("source.settings.level", level, list(_LEVELS))
    parameters = parameters_in(settings.get("parameters", "").removeprefix("?"))
    query = parse_search(parameters, strict=False)
    terms = [Term(attribute=name, values=values) for name, values in query.terms.items()]
    fuzzy = boolean(parameters, "fuzzymatching", False)
    return ExportQuery(level=_LEVELS[level.lower()], terms=terms, fuzzy_matching=fuzzy)


def _address(partition: str, value: Any) -> Address:
    parts = value.strip("/").split("/") if isinstance(value, str) else []
    if not 1 <= len(parts) <= len(_UIDS):
        raise _invalid("source.settings.values", "An identifier is STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE.")
    uids = {field: parse_uid(part, name) for field, name, part in zip(_UIDS, _NAMES, parts, strict=False)}
    return Address(partition=partition, **uids)


def _add_destination(wanted: ExportRequest, body: Any) -> None:
    kind, settings = _kind(body, _DESTINATIONS, "destination")
    where = "destination.settings"
    match kind:
        case "azureBlob":
            fields = _fields(settings, _AZURE, where)
            wanted.azure_blob.CopyFrom(
                AzureBlobDestination(
                    container_uri=fields.get("blobContainerUri", ""),
                    connection_string=fields.get("connectionString", ""),
                    container_name=fields.get("blobContainerName", ""),
                    use_managed_identity=fields.get("useManagedIdentity", False),
                )
            )
        case "s3":
            fields = _fields(settings, _S3, where)
            wanted.s3.CopyFrom(
                S3Destination(
                    bucket=fields.get("bucket", ""),
                    prefix=fields.get("prefix", ""),
                    endpoint=fields.get("endpoint", ""),
                    region=fields.get("region", ""),
                    virtual_hosted_style=fields.get("virtualHostedStyle", False),
                    access_key_id=fields.get("accessKeyId", ""),
                    secret_access_key=fields.get("secretAccessKey", ""),
                    session_token=fields.get("sessionToken", ""),
                )
            )
        case "gcs":
            fields = _fields(settings, _GCS, where)
            key = fields.get("serviceAccountKey", "")
            wanted.gcs.CopyFrom(
                GcsDestination(
                    bucket=fields.get("bucket", ""),
                    prefix=fields.get("prefix", ""),
                    service_account_key=key if isinstance(key, str) else orjson.dumps(key).decode(),
                )
            )
        case _:
            wanted.folder.CopyFrom(FolderDestination(path=_fields(settings, {"path": str}, where).get("path", "")))


def _kind(body: Any, kinds: list[str], where: str) -> tuple[str, Any]:
    """Return type and settings of a source or destination."""
    fields = _fields(body, {"type": str, "settings": dict}, where)
    known = {kind.lower(): kind for kind in kinds}
    kind = known.get(fields.get("type", "").lower())
    if kind is None:
        raise invalid_choice(f"{where}.type", fields.get("type", ""), kinds)
    return kind, fields.get("settings", {})


def _fields(body: Any, types: Mapping[str, Any], where: str, *, may_be_null: bool = True) -> dict[str, Any]:
    """Return the fields of an object; names match in any case. Error texts contain no values."""
    if not isinstance(body, dict):
        raise _invalid(where, "It must be an object.")
    names = {name.lower(): name for name in types}
    fields = {}
    for written, value in body.items():
        name = names.get(written.lower())
        if name is None:
            raise _invalid(where, f"Only {', '.join(types)} are allowed.")
        if value is None and may_be_null:
            continue
        if not isinstance(value, types[name]):
            raise _invalid(f"{where}.{name}", "Its value has the wrong type.")
        fields[name] = value
    return fields


def _invalid(where: str, why: str) -> Refusal:
    return Refusal(400, f"The field '{where}' in request body is invalid: {why}")

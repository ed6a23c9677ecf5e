"""Records as the audit entries of Azure's DICOM service: *Executing* without a status, *Executed* with one."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from common.peers import ip_address_of

_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 409,
    "OUT_OF_RANGE": 416,
    "CANCELLED": 499,
    "RESOURCE_EXHAUSTED": 503,
    "UNAVAILABLE": 503,
}
_STATUS_OF_REASON = {
    "NOT_ACCEPTABLE_TRANSFER_SYNTAX": 406,
    "NOT_ACCEPTABLE_MEDIA_TYPE": 406,
    "NOT_RENDERABLE": 406,
    "PARTITIONS_DISABLED": 400,
    "PARTITION_REQUIRED": 400,
    "TAG_QUERY_DISABLED": 400,
    "RATE_LIMITED": 429,
    "QUOTA_EXCEEDED": 429,
    "STORAGE_FULL": 507,
    "INSTANCE_TOO_LARGE": 413,
}
_STATUS_OF_SUCCESS = {
    "delete": 204,
    "remove-extended-query-tag": 204,
    "add-extended-query-tag": 202,
    "export": 202,
    "update-study": 202,
}


class AzureEntries:
    """Converts records.

    Args:
        authority, audience: of the tokens, from the settings.
    """

    def __init__(self, authority: str = "", audience: str = "") -> None:
        self._authority = authority
        self._audience = audience

    def of(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the entries of a record: none for work that no client has requested."""
        if "rpc" not in record or record["kind"] not in ("executing", "executed"):
            return
        if record["kind"] == "executing":
            yield self._entry("Executing", record["time"], record)
            return
        if not record.get("begun"):  # otherwise there is a record for it
            yield self._entry("Executing", _began(record), record)
        yield self._entry("Executed", record["time"], record) | {"StatusCode": status_code(record)}

    def _entry(self, kind: str, time: str, record: Mapping[str, Any]) -> dict[str, Any]:
        claims = dict(record.get("claims", {}))
        claims.setdefault("sub", record["principal"])
        if roles := record.get("roles"):
            claims["roles"] = roles
        return {
            "ActionType": kind,
            "EventType": "AuditEvent",
            "Time": time,
            "Audience": self._audience,
            "Authority": self._authority,
            "RequestUri": record.get("uri") or f"grpc://{record['rpc']}",
            "Action": record["subtype"],
            "CorrelationId": record["request"],
            "CallerIpAddress": ip_address_of(record.get("client") or record["peer"]),
            "Claims": claims,
            "CustomHeaders": {name.upper(): value for name, value in record.get("headers", {}).items()},
        }


def status_code(record: Mapping[str, Any]) -> int:
    """Return the HTTP status that corresponds to the outcome of a call."""
    code = record["code"]
    if code == "OK":
        if record.get("failed"):
            return 202 if record["items"] else 409
        return _STATUS_OF_SUCCESS.get(record["subtype"], 200)
    return _STATUS_OF_REASON.get(record.get("reason", "")) or _STATUS.get(code, 500)


def _began(record: Mapping[str, Any]) -> str:
    end = datetime.fromisoformat(record["time"])
    began = end - timedelta(milliseconds=record.get("ms", 0))
    return began.isoformat(timespec="microseconds").replace("+00:00", "Z")

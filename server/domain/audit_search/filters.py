"""Conditions of a search in the audit trail."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from common.peers import ip_address_of


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions that a record must meet; empty ones do not count. See `AuditFilter` of the contract.

    start, end: times as in records.
    """

    start: str = ""
    end: str = ""
    principal: str = ""
    partition: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    action: str = ""
    outcome: str = ""
    request: str = ""
    client: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """The conditions that are set."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name))}


class Matcher:
    """Decides about records.

    Args:
        partitions: only records of these partitions match; None means all records.
    """

    def __init__(self, wanted: AuditFilter, partitions: Collection[str] | None = None) -> None:
        self._wanted = wanted
        self._partitions = partitions
        texts = (wanted.principal, wanted.partition, wanted.study, wanted.series, wanted.instance, wanted.request)
        self._texts = [orjson.dumps(text)[1:-1] for text in (*texts, wanted.client) if text]

    def matches(self, data: bytes) -> Mapping[str, Any] | None:
        """Return the record if it matches; None otherwise."""
        if not all(text in data for text in self._texts):  # most records are decided without parsing them
            return None
        record: Mapping[str, Any] = orjson.loads(data)
        wanted = self._wanted
        if self._partitions is not None and record.get("partition") not in self._partitions:
            return None
        for name, value in (
            ("principal", wanted.principal),
            ("partition", wanted.partition),
            ("request", wanted.request),
        ):
            if value and record.get(name) != value:
                return None
        if wanted.client and wanted.client != ip_address_of(record.get("client") or record.get("peer", "")):
            return None
        if wanted.action and wanted.action not in (record.get("action"), record.get("subtype")):
            return None
        if wanted.outcome and not _has_outcome(record, wanted.outcome):
            return None
        if (wanted.study or wanted.series or wanted.instance) and not self._is_at(record):
            return None
        return record

    def _is_at(self, record: Mapping[str, Any]) -> bool:
        wanted = (self._wanted.study, self._wanted.series, self._wanted.instance)
        own = (record.get("study", ""), record.get("series", ""), record.get("instance", ""))
        return any(
            all(not uid or uid == found for uid, found in zip(wanted, address[:3], strict=True))
            for address in (own, *record.get("instances", ()), *record.get("erased", ()))
        )


def _has_outcome(record: Mapping[str, Any], wanted: str) -> bool:
    code = record.get("code")
    if wanted == "success":
        return code == "OK"
    if wanted == "failure":
        return code not in (None, "OK")
    reasons = [instance[4] for instance in record.get("instances", ())]
    return wanted in (code, record.get("reason"), *reasons)

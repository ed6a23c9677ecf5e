"""Export of the audit trail by syslog (RFC 5424), as PS3.15 section A.6 describes it for DICOM audit messages.

The files of the trail are the queue: nothing is lost or held in memory while the server cannot be reached. The position
is saved after the server's host has acknowledged the messages, so each record is sent at least once. One process of
those that share a storage exports.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from server.domain.audit_search.dicom_messages import DicomMessages
from server.model.audit.trail import StoredRecord
from server.model.errors import DicomStoreError
from server.ports.audit import AuditTail, AuditTrail, SyslogConnection, SyslogServer

POSITION = "syslog"
"""Name of the saved position."""

_BATCH = 100
_POLL_SECONDS = 0.5
_TURN_SECONDS = 10.0
_PAUSES_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)

_PRIORITY = 10 * 8 + 5  # facility 10, security and authorisation; severity 5, notice (PS3.15 A.6)
_DICOM = "DICOM+RFC3881"
_JSON = "DICOMSTORE"
_MAX_SEQUENCE = 2**31 - 1
_BOM = b"\xef\xbb\xbf"

_log = logging.getLogger("dicomstore.audit")


class SyslogExport:
    """Sends all records, from the saved position on."""

    def __init__(self, trail: AuditTrail, server: SyslogServer, messages: DicomMessages) -> None:
        self._trail = trail
        self._server = server
        self._messages = messages
        self._host = socket.gethostname()[:255] or "-"

    async def run(self) -> None:
        """Export until cancelled. Failures are logged, and repeated after a pause."""
        failures = 0
        while True:
            try:
                async with self._trail.exclusive(POSITION) as is_first:
                    if is_first:
                        async with self._server.connect() as connection:
                            if failures:
                                _log.info("connected to the syslog server again")
                            failures = 0
                            await self._export(connection)
            except (OSError, DicomStoreError) as error:  # TimeoutError is an OSError
                if not failures:
                    _log.warning("cannot send the audit trail to the syslog server error=%s", error)
                failures += 1
                await asyncio.sleep(_PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS)) - 1])
            else:
                await asyncio.sleep(_TURN_SECONDS)  # another process exports

    async def _export(self, connection: SyslogConnection) -> None:
        tail = await asyncio.to_thread(self._open)
        while True:
            records = await asyncio.to_thread(tail.poll, _BATCH)
            if not records:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            positions = tail.positions
            await connection.send(await asyncio.to_thread(self._texts, records))
            await asyncio.to_thread(self._trail.save_position, POSITION, positions)

    def _open(self) -> AuditTail:
        return self._trail.tail(self._trail.load_position(POSITION) or {})

    def _texts(self, records: Sequence[StoredRecord]) -> list[bytes]:
        return [syslog_message(record, self._host, self._messages) for record in records]


def syslog_message(record: StoredRecord, host: str, messages: DicomMessages) -> bytes:
    """Return a record as a message of RFC 5424.

    The message is a DICOM audit message, or, for a record that PS3.15 has no message for, the record as JSON. PROCID
    and `sequenceId` identify the record, so that a receiver recognises one that it got twice.
    """
    values: Mapping[str, Any] = orjson.loads(record.data)
    xml = messages.of(values)
    sequence = (record.number - 1) % _MAX_SEQUENCE + 1
    header = (
        f"<{_PRIORITY}>1 {record.time} {host} dicomstore {record.writer} {_JSON if xml is None else _DICOM} "
        f'[meta sequenceId="{sequence}"] '
    )
    return header.encode("ascii", "replace") + _BOM + (record.data if xml is None else xml)

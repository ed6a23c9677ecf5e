"""Export of the audit trail by syslog over TLS (RFC 5424, 5425)."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.domain.audit_search import syslog_export
from server.domain.audit_search.dicom_messages import DicomMessages
from server.model.audit.trail import StoredRecord
from server.opening import StartError
from tests.audit import audit_records, audited, until
from tests.certificates import Authority
from tests.data import part10
from tests.integration.conftest import a_core
from tests.unit.server.domain.audit_search.audit_schema import check

MESSAGE = re.compile(
    rb"<85>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) dicomstore ([0-9a-f]{32}) (\S+) "
    rb'\[meta sequenceId="(\d+)"\] \xef\xbb\xbf(.*)',
    re.DOTALL,
)


class SyslogServer:
    """Receives messages; it can be stopped and started at the same port, and read nothing."""

    def __init__(self, authority: Authority) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
        pair = authority.server("syslog")
        self._context.load_cert_chain(pair.certificate, pair.key)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.messages: list[bytes] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._receive, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def records(self) -> set[tuple[str, int]]:
        """The received records, by process and number."""
        found = [MESSAGE.fullmatch(message) for message in self.messages]
        return {(match[3].decode(), int(match[5])) for match in found if match}

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                length = int(await reader.readuntil(b" "))
                self.messages.append(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
        finally:
            self._writers.discard(writer)


@asynccontextmanager
async def syslog_server(folder: Path) -> AsyncIterator[tuple[SyslogServer, dict[str, Any]]]:
    """Run a server; yield it and the settings of a core that sends to it."""
    authority = Authority(folder)
    client = authority.issue("core", "core.example")
    server = SyslogServer(authority)
    await server.start()
    settings = {
        "audit_syslog": f"tls://localhost:{server.port}",
        "audit_syslog_ca": str(authority.certificate),
        "audit_syslog_certificate": str(client.certificate),
        "audit_syslog_key": str(client.key),
    }
    try:
        yield server, settings
    finally:
        await server.stop()


def written(data: Path) -> int:
    return len(audit_records(data))


async def test_all_records_are_sent_and_after_an_outage_the_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog_export, "_PAUSES_SECONDS", (0.05,))
    data = tmp_path / "data"
    async with syslog_server(tmp_path) as (server, settings):
        async with a_core(data, **settings) as core:
            await core.stored(part10(SOPInstanceUID="1.1"))
            await audited(data, kind="executed", subtype="store")
            await until(lambda: len(server.records) == written(data))
            await server.stop()
            await core.stored(part10(SOPInstanceUID="1.2"))
            await server.start()
            await core.stored(part10(SOPInstanceUID="1.3"))
            await audited(data, 3, kind="executed", subtype="store")
            await until(lambda: len(server.records) == written(data))
        received = len(server.messages)
        async with a_core(data, **settings):  # continues after the last position, also of ended processes
            await until(lambda: len(server.records) == written(data))
        assert len(server.messages) - received < received
    matches = [MESSAGE.fullmatch(message) for message in server.messages]
    assert all(matches)
    xml = [match[6] for match in matches if match and match[4] == b"DICOM+RFC3881"]
    events = {code.get("originalText") for text in xml for code in check(text).iterfind("EventIdentification/EventID")}
    assert {"Application Activity", "DICOM Instances Transferred"} <= events
    assert any(match and match[4] == b"DICOMSTORE" and b'"checkpoint"' in match[6] for match in matches)


async def test_two_processes_export_each_record_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with syslog_server(tmp_path) as (server, settings):
        async with a_core(data, **settings) as first, a_core(data, **settings) as second:
            await first.stored(part10(SOPInstanceUID="1.1"))
            await second.stored(part10(SOPInstanceUID="1.2"))
            await audited(data, 2, kind="executed", subtype="store")
            await until(lambda: len(server.records) == written(data))
        assert len(server.messages) == len(server.records)


@pytest.mark.parametrize(
    "wrong", [{"audit_syslog": "udp://localhost"}, {"audit_syslog": "tls://h", "audit_syslog_ca": "/none"}]
)
async def test_wrong_settings_are_refused_at_the_start(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(StartError, match="audit_syslog"):
        async with a_core(tmp_path, **wrong):
            pass


def test_a_message_names_process_and_number_of_its_record() -> None:
    record = StoredRecord("2026-01-31T10:00:00.000000Z", "f" * 32, 2**31, b'{"n":1,"kind":"checkpoint"}')
    match = MESSAGE.fullmatch(syslog_export.syslog_message(record, "host", DicomMessages()))
    assert match
    assert [match[number].decode() for number in range(2, 7)] == [
        "host",
        "f" * 32,
        "DICOMSTORE",
        "1",
        '{"n":1,"kind":"checkpoint"}',
    ]

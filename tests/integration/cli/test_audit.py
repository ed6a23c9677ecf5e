"""`dicomstore audit`."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
import typer

from cli.commands.audit import Form, default_limit, time_of
from tests.audit import audited
from tests.integration.cli.conftest import Archive, CommandLine

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def test_the_audit_trail_can_be_searched_and_verified(archive: Archive, dicomstore: CommandLine) -> None:
    assert (await dicomstore("search", "PatientID=12345")).exit_code == 0
    await audited(archive.data, kind="executed", subtype="query")
    table = await dicomstore("audit", "--since", "1h", "--action", "query")
    assert table.exit_code == 0
    assert "PatientID=12345" in table.stdout
    of_client = await dicomstore("audit", "--action", "query", "--client", "127.0.0.1")
    assert " 127.0.0.1 " in of_client.stdout
    lines = (await dicomstore("audit", "--action", "query", "--form", "json")).stdout.splitlines()
    assert json.loads(lines[0])["search"]["keys"] == [["PatientID", "12345"]]
    assert "<AuditMessage>" in (await dicomstore("audit", "--action", "query", "--form", "dicom")).stdout
    entries = (await dicomstore("audit", "--action", "query", "--form", "azure")).stdout.splitlines()
    assert [json.loads(line)["ActionType"] for line in entries] == ["Executing", "Executed"]
    limited = await dicomstore("audit", "--action", "query", "--form", "azure", "--limit", "1")
    assert limited.stdout.splitlines() == entries
    followed = await dicomstore("audit", "--follow", "--since", "1h")
    assert followed.exit_code == 2
    assert "--since" in followed.stderr

    verified = await dicomstore("audit", "verify", "--json")
    found = json.loads(verified.stdout)
    assert (verified.exit_code, found["is_intact"]) == (0, True)
    offline = await dicomstore(
        "audit", "verify", "--offline", "--data", archive.data, "--checkpoint", found["checkpoint"]
    )
    assert offline.exit_code == 0
    assert "are intact" in offline.stdout
    missing = await dicomstore("audit", "verify", "--checkpoint", "1:00")
    assert missing.exit_code == 1
    assert "checkpoints missing" in missing.stdout


async def test_a_limit_of_new_records_includes_both_entries_of_a_record(
    archive: Archive, dicomstore: CommandLine
) -> None:
    following = asyncio.create_task(
        dicomstore("audit", "--follow", "--form", "azure", "--limit", "1", "--action", "query")
    )
    async with asyncio.timeout(60):
        while not following.done():
            await dicomstore("search", "PatientID=12345")
    ran = await following
    assert ran.exit_code == 0
    assert [json.loads(line)["ActionType"] for line in ran.stdout.splitlines()] == ["Executing", "Executed"]


def test_only_tables_have_a_limit_by_default() -> None:
    assert {form: default_limit(form) for form in Form} == {
        Form.table: 1000,
        Form.json: 0,
        Form.azure: 0,
        Form.dicom: 0,
    }


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90m", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2d", datetime(2026, 1, 29, 12, tzinfo=UTC)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T08:00+01:00", datetime(2026, 1, 1, 7, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_period_before_now_or_iso_8601(text: str, time: datetime) -> None:
    assert time_of(text, NOW) == time


def test_another_time_is_refused() -> None:
    with pytest.raises(typer.BadParameter):
        time_of("yesterday", NOW)

"""`dicomstore doctor` and `dicomstore config`, against a real core."""

import asyncio
import json
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.adapters.blobs.archive_records.scrub_file import ScrubFile
from server.adapters.sql.engine import open_database
from server.bootstrap.components import Supervisor
from server.bootstrap.serving import running
from server.dicom.matching.query_tags import new_tag
from server.model.events.study_event import StudyChanges, StudyEvent, StudyEventKind
from server.model.events.webhook import Event, EventPosition, EventType, Handled, Health, Webhook, WebhookFilter
from server.model.ids import DEFAULT_PARTITION, Address, Uid, parse_address
from server.model.lifecycle.transfer import Send, Transfer, TransferOutcome
from server.model.operation import OperationState
from server.model.search.query import Level
from server.model.storage.scrub import ScrubPosition
from server.model.worklist.workitem_rule import RuleDefinition, RuleFailure, StudyQuery, WorkitemRule
from server.ports.events.webhooks import LEASE, Attempt, NewEvents
from tests.contract.index.samples import NOON
from tests.core import Ref, settings_for
from tests.data import UID_ROOT, part10
from tests.operations import add_tags, end


@pytest.fixture
def environment(archive: Any) -> dict[str, str]:
    """Settings that the core in this process has."""
    return {
        "DICOMSTORE_DATA": str(archive.data),
        "DICOMSTORE_WARN_FREE_BYTES": "0",
        "DICOMSTORE_GRPC": archive.address,
        "DICOMSTORE_HTTP": "127.0.0.1:0",
    }


async def test_query_tags_without_an_operation_are_reported(
    archive: Any, dicomstore: Any, environment: dict[str, str]
) -> None:
    database = open_database(settings_for(archive.data).database_url)
    await add_tags(database, [new_tag("StationName", "", "", Level.SERIES)], "a" * 32, datetime.now(UTC))
    assert check(await dicomstore("doctor", "--json", env=environment), "operations")["detail"] == "1 unfinished"
    await end(database, "a" * 32, OperationState.CANCELED, datetime.now(UTC))
    await database.close()
    found = check(await dicomstore("doctor", "--json", env=environment), "operations")
    assert found["status"] == "warning"
    assert found["detail"] == "extended query tags 00081010 have no re-index operation: it failed or was cancelled"
    assert "delete and add again" in found["hint"]


WRITES = health_pb2.HealthCheckRequest(service="writes")
SERVING = health_pb2.HealthCheckResponse.SERVING

LARGE = [bytes(2**15)] * 32
"""Pixel data of an instance that has a file of its own."""


def check(ran: Any, name: str) -> dict[str, str]:
    [found] = [check for check in json.loads(ran.stdout)["checks"] if check["name"] == name]
    return found


async def test_dead_letters_and_failing_webhooks_are_reported(
    archive: Any, dicomstore: Any, environment: dict[str, str]
) -> None:
    database = open_database(settings_for(archive.data).database_url)
    webhook = Webhook("0" * 16, "https://receiver.example/", ("whsec_",), "", WebhookFilter(), False, "anonymous", NOON)
    await database.webhooks.add(webhook, 1)
    await archive.stored(part10())
    ran = await dicomstore("doctor", "--json", env=environment)
    assert check(ran, "webhooks")["status"] == "ok"
    event = Event(EventPosition(1), "1", EventType.IMAGE_CREATED, NOON, 1, Address(DEFAULT_PARTITION, Uid("1.2")))
    found = NewEvents([event], Handled(0, 0), Handled(1, 0), frozenset())
    lease = await database.leases.take(LEASE, "", None)
    health = Health(1, "STATUS_500")
    assert await database.deliveries.handled(
        lease.holder, webhook.id, found, {event.position: Attempt(NOON, "STATUS_500")}, health, NOON
    )
    await database.close()
    ran = await dicomstore("doctor", "--json", env=environment)
    assert check(ran, "webhooks")["status"] == "warning"
    assert "1 webhook, 0 failing, 0 waiting events, 1 dead letter" in check(ran, "webhooks")["detail"]
    assert f"{webhook.id}: STATUS_500" in check(ran, "webhooks")["detail"]
    assert "dicomstore webhooks retry" in check(ran, "webhooks")["hint"]


async def test_failing_rules_for_workitems_are_reported(
    archive: Any, dicomstore: Any, environment: dict[str, str]
) -> None:
    database = open_database(settings_for(archive.data).database_url)
    definition = RuleDefinition("", StudyQuery({}), frozenset(), "{}")
    await database.workitem_rules.add(WorkitemRule("0" * 16, definition, True, "anonymous", NOON), 1)
    await archive.stored(part10())
    ran = await dicomstore("doctor", "--json", env=environment)
    assert check(ran, "workitem rules")["detail"] == "1 rule, 0 failing, 0 waiting events"
    event = StudyEvent(7, StudyEventKind.STABLE, NOON, 1, 1, DEFAULT_PARTITION, Uid("1.2"), 1, StudyChanges(1))
    failure = RuleFailure("TAG_QUERY_DISABLED", NOON, NOON)
    await database.workitem_rules.failed("0" * 16, event, failure, is_new=True)
    await database.close()
    ran = await dicomstore("doctor", "--json", env=environment)
    assert check(ran, "workitem rules")["status"] == "warning"
    assert f"{'0' * 16}: TAG_QUERY_DISABLED, 1 waiting" in check(ran, "workitem rules")["detail"]


async def test_failed_transfers_are_reported(archive: Any, dicomstore: Any, environment: dict[str, str]) -> None:
    await archive.stored(part10())
    database = open_database(settings_for(archive.data).database_url)
    send = Send((parse_address(DEFAULT_PARTITION, "1.2"),))
    transfer = Transfer("0" * 32, DEFAULT_PARTITION, "PACS", send, "anonymous", NOON, NOON, NOON)
    await database.transfers.add(transfer, "", 1, NOON)
    ran = await dicomstore("doctor", "--json", env=environment)
    assert check(ran, "transfers")["detail"] == "0 dead letters, 1 unfinished"
    outcome = TransferOutcome("CONNECTION_REFUSED", is_permanent=True)
    await database.transfers.change(transfer.id, lambda one: one.attempted(outcome, NOON, 1))
    await database.close()
    ran = await dicomstore("doctor", "--json", env=environment)
    assert check(ran, "transfers")["status"] == "warning"
    assert "PACS: CONNECTION_REFUSED, 1 transfer" in check(ran, "transfers")["detail"]
    assert "--retry" in check(ran, "transfers")["hint"]


async def test_a_healthy_archive_passes(archive: Any, dicomstore: Any, environment: dict[str, str]) -> None:
    await archive.stored(part10(), part10())
    ran = await dicomstore("doctor", "--deep", "--json", env=environment)
    assert ran.exit_code == 0, ran.stdout
    assert check(ran, "core")["status"] == "ok"
    assert check(ran, "database")["status"] == "ok"
    assert "2 instances, 0 without bytes, 0 damaged" in check(ran, "agreement")["detail"]


async def test_the_table_has_a_hint_for_each_problem(dicomstore: Any, environment: dict[str, str]) -> None:
    ran = await dicomstore("doctor", env=environment)
    assert "not running" in ran.stdout
    assert "hint: start it with `dicomstore up`" in ran.stdout


async def test_a_lost_blob_is_found(archive: Any, dicomstore: Any, environment: dict[str, str]) -> None:
    body = part10(SOPInstanceUID="1.2.3", frames=LARGE)
    await archive.stored(body)
    archive.blob_of(body).unlink()
    ran = await dicomstore("doctor", "--json", env=environment)
    assert ran.exit_code == 1
    assert check(ran, "agreement")["status"] == "failed"
    assert "1.2.3" in check(ran, "agreement")["detail"]
    assert check(ran, "agreement")["hint"]


async def test_a_damaged_blob_is_found_by_a_deep_check(
    archive: Any, dicomstore: Any, environment: dict[str, str]
) -> None:
    body = part10(SOPInstanceUID="1.2.3", frames=LARGE)
    await archive.stored(body)
    with archive.blob_of(body).open("r+b") as file:
        file.seek(len(body) - 1)
        file.write(b"\xff")
    assert (await dicomstore("doctor", env=environment)).exit_code == 0
    ran = await dicomstore("doctor", "--deep", "--json", env=environment)
    assert ran.exit_code == 1
    assert "1 damaged" in check(ran, "agreement")["detail"]
    await archive.delete(Ref(study_instance_uid=f"{UID_ROOT}.1"))
    ran = await dicomstore("doctor", "--deep", "--json", env=environment)
    assert ran.exit_code == 0
    found = check(ran, "history")
    expected = "0 earlier versions, 1 version of deleted instances, 0 without bytes, 1 damaged\ndamaged: 1.2.3 version "
    assert (found["status"], found["detail"].startswith(expected)) == ("warning", True), found


async def test_known_damage_is_reported(archive: Any, dicomstore: Any, environment: dict[str, str]) -> None:
    body = part10(SOPInstanceUID="1.2.3", frames=LARGE)
    await archive.stored(body)
    assert check(await dicomstore("doctor", "--json", env=environment), "scrub")["status"] == "ok"
    with archive.blob_of(body).open("r+b") as file:
        file.seek(len(body) - 1)
        file.write(b"\xff")
    await archive.retrieve(Ref(study_instance_uid=f"{UID_ROOT}.1"), "*")
    found = check(await dicomstore("doctor", "--json", env=environment), "scrub")
    assert found["status"] == "warning"
    assert found["detail"].endswith("1 instance known to be damaged")
    found = check(await dicomstore("doctor", "--json", env=environment | {"DICOMSTORE_SCRUB_DAYS": "0"}), "scrub")
    assert found["detail"] == "switched off, 1 instance known to be damaged"


async def test_a_late_scrub_is_reported(tmp_path: Path, dicomstore: Any) -> None:
    async with running(settings_for(tmp_path, scrub_days=0)):
        pass
    record = ScrubFile(tmp_path)
    await record.save(ScrubPosition(datetime(2020, 1, 1, tzinfo=UTC), 7, datetime(2019, 12, 1, tzinfo=UTC)))
    record.close()
    ports = {"DICOMSTORE_GRPC": "127.0.0.1:0", "DICOMSTORE_HTTP": "127.0.0.1:0"}
    found = check(await dicomstore("doctor", "--json", env={"DICOMSTORE_DATA": str(tmp_path)} | ports), "scrub")
    assert found["status"] == "warning"
    assert found["detail"] == "last complete 2019-12-01, 0 instances known to be damaged"


async def test_the_disk_of_the_blobs_is_checked_where_the_setting_puts_them(tmp_path: Path, dicomstore: Any) -> None:
    data, blobs = tmp_path / "index", tmp_path / "other disk"
    async with running(settings_for(data, blobs=blobs.as_uri())):
        pass
    places = {"DICOMSTORE_DATA": str(data), "DICOMSTORE_BLOBS": blobs.as_uri()}
    ports = {"DICOMSTORE_GRPC": "127.0.0.1:0", "DICOMSTORE_HTTP": "127.0.0.1:0"}
    ran = await dicomstore("doctor", "--json", env=places | ports | {"DICOMSTORE_WARN_FREE_BYTES": "0"})
    assert check(ran, "disk")["detail"].endswith(f"free at {data}")
    assert check(ran, "disk of blobs")["detail"].endswith(f"free at {blobs}")
    assert check(ran, "archive")["status"] == "ok"
    assert check(ran, "agreement")["status"] == "ok"


async def test_a_core_that_refuses_uploads_is_found(archive: Any, dicomstore: Any, environment: dict[str, str]) -> None:
    body = part10(frames=LARGE * 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))  # of this process, in which the core runs
    try:
        [outcome] = await archive.store(body)
        assert outcome.failed.message == "The blob store is full."
        health = health_pb2_grpc.HealthStub(archive.channel)
        async with asyncio.timeout(20):
            async for seen in health.Watch(WRITES):
                if seen.status != SERVING:
                    break
        ran = await dicomstore("doctor", "--json", env=environment)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ran.exit_code == 1
    assert check(ran, "core")["status"] == "failed"
    assert "cannot store" in check(ran, "core")["detail"]


async def test_a_core_without_a_worker_for_operations_is_a_warning(tmp_path: Path, dicomstore: Any) -> None:
    async with running(settings_for(tmp_path), supervisor=Supervisor(worker_runs=lambda: False)) as core:
        environment = {"DICOMSTORE_DATA": str(tmp_path), "DICOMSTORE_GRPC": core.address}
        ran = await dicomstore("doctor", "--json", env=environment | {"DICOMSTORE_HTTP": "127.0.0.1:0"})
    found = check(ran, "operations")
    assert (ran.exit_code, found["status"]) == (0, "warning")
    assert found["detail"] == "0 unfinished, and the operations worker is not running"


async def test_little_free_space_is_a_warning(dicomstore: Any, environment: dict[str, str]) -> None:
    ran = await dicomstore("doctor", "--json", env=environment | {"DICOMSTORE_WARN_FREE_BYTES": str(1 << 60)})
    assert check(ran, "disk")["status"] == "warning"
    ran = await dicomstore("doctor", "--json", env=environment | {"DICOMSTORE_WARN_FREE_BYTES": "0"})
    assert check(ran, "disk")["status"] == "ok"


async def test_another_program_on_a_port_is_found(dicomstore: Any, environment: dict[str, str], relay: Any) -> None:
    ran = await dicomstore("doctor", "--json", "--http", relay.address, env=environment)
    assert ran.exit_code == 1
    assert check(ran, "facade")["status"] == "failed"


async def test_unreadable_settings_are_reported(dicomstore: Any, environment: dict[str, str]) -> None:
    ran = await dicomstore("doctor", "--json", env=environment | {"DICOMSTORE_WORKERS": "many"})
    assert ran.exit_code == 1
    assert "workers" in check(ran, "settings")["detail"]


async def test_config_shows_values_origins_and_variables_of_all_programs(
    dicomstore: Any, environment: dict[str, str]
) -> None:
    (dicomstore.folder / "dicomstore.toml").write_text("[facade]\nworkers = 3\n")
    ran = await dicomstore("config", "--json", env=environment)
    settings = json.loads(ran.stdout)
    assert settings["server"]["data"]["origin"] == "DICOMSTORE_DATA"
    assert settings["facade"]["workers"] == {
        "value": 3,
        "variable": "DICOMSTORE_WORKERS",
        "origin": "dicomstore.toml",
    }
    assert settings["cli"]["core"]["value"] == dicomstore.core


async def test_config_shows_no_password(dicomstore: Any) -> None:
    secret = {"DICOMSTORE_DATABASE": "postgresql+psycopg://user:hide@this@host/name"}
    for arguments in (["config"], ["config", "--json"]):
        ran = await dicomstore(*arguments, env=secret)
        assert "user:***@host" in ran.stdout
        assert "hide@" not in ran.stdout + ran.stderr
        assert "this@" not in ran.stdout + ran.stderr


UNREACHABLE = {"DICOMSTORE_DATABASE": "postgresql+psycopg://user:secret@127.0.0.1:1/name"}


async def test_doctor_and_migrate_report_why_the_database_cannot_be_used(
    dicomstore: Any, environment: dict[str, str]
) -> None:
    cause = 'connection to server at "127.0.0.1", port 1 failed: Connection refused'
    examined = await dicomstore("doctor", "--json", env=environment | UNREACHABLE)
    migrated = await dicomstore("migrate", env=environment | UNREACHABLE)
    assert cause in check(examined, "database")["detail"]
    assert (migrated.exit_code, cause in migrated.stderr) == (1, True)
    assert "secret" not in examined.stdout + examined.stderr + migrated.stdout + migrated.stderr


async def test_an_invalid_database_is_refused_in_one_line(dicomstore: Any) -> None:
    ran = await dicomstore("server", env={"DICOMSTORE_DATABASE": "mysql://user:secret@host/name"})
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1), ran.stderr
    assert "must be sqlite:///" in ran.stderr
    assert "secret" not in ran.stderr

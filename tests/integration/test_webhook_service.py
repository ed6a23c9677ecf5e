"""WebhookService as specified in the contract, and webhooks of a running core."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import webhook_service_pb2 as pb
from dicomstore.v1 import webhook_service_pb2_grpc

from server.domain.events import webhooks
from tests.audit import audit_records, audited
from tests.core import CoreClient, reason_of
from tests.data import new_uid, part10
from tests.integration.conftest import a_core
from tests.receiver import receiving

URL = "https://receiver.example/events?key=secret"


def stub_of(core: CoreClient) -> Any:
    return webhook_service_pb2_grpc.WebhookServiceStub(core.channel)


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def test_a_webhook_is_created_changed_and_removed(core: CoreClient) -> None:
    stub = stub_of(core)
    created = await stub.CreateWebhook(pb.CreateWebhookRequest(url=URL, label="AI", types=["dicomstore.StudyStable"]))
    assert created.secret.startswith("whsec_")
    webhook = created.webhook
    assert (webhook.url, webhook.label, list(webhook.types), webhook.enabled) == (
        URL,
        "AI",
        ["dicomstore.StudyStable"],
        True,
    )
    assert (await stub.GetWebhook(pb.GetWebhookRequest(id=webhook.id))).webhook == webhook
    updated = await stub.UpdateWebhook(
        pb.UpdateWebhookRequest(id=webhook.id, types=pb.TextList(), enabled=False, rotate_secret=True)
    )
    assert updated.secret not in ("", created.secret)
    [record] = await audited(core.data, kind="executed", rpc="WebhookService/CreateWebhook")
    assert (record["host"], record["types"]) == ("receiver.example", ["dicomstore.StudyStable"])
    [record] = await audited(core.data, kind="executed", rpc="WebhookService/UpdateWebhook")
    assert (record["enabled"], record["types"], record["secret_changed"]) == (False, [], True)
    assert not any("key=secret" in str(record) or "whsec_" in str(record) for record in audit_records(core.data))
    assert (updated.webhook.url, list(updated.webhook.types), updated.webhook.enabled) == (URL, [], False)
    other = await stub.CreateWebhook(pb.CreateWebhookRequest(url=URL, secret=created.secret))
    assert other.secret == created.secret
    listed = (await stub.ListWebhooks(pb.ListWebhooksRequest())).webhooks
    assert list(listed) == [updated.webhook, other.webhook]
    await stub.DeleteWebhook(pb.DeleteWebhookRequest(id=webhook.id))
    for gone in (
        stub.GetWebhook(pb.GetWebhookRequest(id=webhook.id)),
        stub.UpdateWebhook(pb.UpdateWebhookRequest(id=webhook.id)),
        stub.DeleteWebhook(pb.DeleteWebhookRequest(id=webhook.id)),
        stub.ListDeadLetters(pb.ListDeadLettersRequest(webhook_id=webhook.id)),
        stub.RetryDeadLetters(pb.RetryDeadLettersRequest(webhook_id=webhook.id)),
        stub.DeleteDeadLetters(pb.DeleteDeadLettersRequest(webhook_id=webhook.id)),
    ):
        assert await refused(gone) == "WEBHOOK_NOT_FOUND"


@pytest.mark.parametrize(
    "fields",
    [
        {"url": ""},
        {"url": "receiver.example"},
        {"url": "http://receiver.example/"},
        {"url": "ftp://receiver.example/"},
        {"url": "https://user:password@receiver.example/"},
        {"url": "https://receiver.example/#fragment"},
        {"url": "https://receiver.example:port/"},
        {"url": "https:///path"},
        {"url": "https://receiver.example/a b"},
        {"url": "https://127.0.0.1/"},
        {"url": "https://[::1]/"},
        {"url": "https://169.254.169.254/latest/meta-data/"},
        {"url": f"https://receiver.example/{'a' * 2048}"},
        {"types": ["StudyStable"]},
        {"label": "a\nb"},
        {"secret": "whsec_short"},
        {"secret": "whsec_" + "A" * 31},
        {"partitions": ["a b"]},
    ],
)
async def test_invalid_webhooks_are_refused(core: CoreClient, fields: Any) -> None:
    request = pb.CreateWebhookRequest(**{"url": URL, **fields})
    assert await refused(stub_of(core).CreateWebhook(request)) in ("INVALID_FIELD", "INVALID_PARTITION_NAME")


async def test_invalid_changes_and_ids_are_refused(core: CoreClient) -> None:
    stub = stub_of(core)
    webhook = (await stub.CreateWebhook(pb.CreateWebhookRequest(url=URL))).webhook
    for call in (
        stub.UpdateWebhook(pb.UpdateWebhookRequest(id=webhook.id, url="http://receiver.example/")),
        stub.UpdateWebhook(pb.UpdateWebhookRequest(id=webhook.id, secret="whsec_" + "A" * 32)),
        stub.ListDeadLetters(pb.ListDeadLettersRequest(webhook_id=webhook.id, after_id="1")),
        stub.RetryDeadLetters(pb.RetryDeadLettersRequest(webhook_id=webhook.id, ids=["x"])),
        stub.DeleteDeadLetters(pb.DeleteDeadLettersRequest(webhook_id=webhook.id, ids=["1.0"] * 1001)),
    ):
        assert await refused(call) == "INVALID_FIELD"
    partitions = pb.UpdateWebhookRequest(id=webhook.id, partitions=pb.TextList(values=["ward"]))
    assert await refused(stub.UpdateWebhook(partitions)) == "PARTITIONS_DISABLED"


async def test_the_number_of_webhooks_is_limited(core: CoreClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 1)
    stub = stub_of(core)
    await stub.CreateWebhook(pb.CreateWebhookRequest(url=URL))
    assert await refused(stub.CreateWebhook(pb.CreateWebhookRequest(url=URL))) == "TOO_MANY_WEBHOOKS"


async def test_a_running_core_delivers_and_its_dead_letters_are_listed_and_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        receiving() as receiver,
        a_core(
            tmp_path,
            webhook_networks="127.0.0.1",
            webhook_http=True,
            webhook_retry_hours=0,
            study_quiet_seconds=1,
            event_host="archive.example",
        ) as core,
    ):
        stub = stub_of(core)
        created = await stub.CreateWebhook(pb.CreateWebhookRequest(url=f"{receiver.url}?key=confidential"))
        webhook_id = created.webhook.id
        study = new_uid()
        await core.stored(part10(StudyInstanceUID=study))
        await receiver.until(lambda: len(receiver.accepted) == 2)
        assert [event["type"] for event in receiver.accepted] == [
            "Microsoft.HealthcareApis.DicomImageCreated",
            "dicomstore.StudyStable",
        ]
        assert all(event["subject"].startswith(f"archive.example/v1/studies/{study}") for event in receiver.accepted)
        receiver.answer = lambda request: 418
        await core.stored(part10(StudyInstanceUID=study))
        await receiver.until(lambda: len(receiver.requests) == 4)
        letters: list[Any] = []
        while len(letters) < 2:
            request = pb.ListDeadLettersRequest(webhook_id=webhook_id)
            letters = list((await stub.ListDeadLetters(request)).dead_letters)
            await asyncio.sleep(0.02)
        assert [letter.type.rpartition(".")[2] for letter in letters] == ["DicomImageCreated", "StudyStable"]
        assert {letter.problem for letter in letters} == {"STATUS_418"}
        [second] = (
            await stub.ListDeadLetters(pb.ListDeadLettersRequest(webhook_id=webhook_id, after_id=letters[0].id))
        ).dead_letters
        assert second == letters[1]
        found = (await stub.GetWebhook(pb.GetWebhookRequest(id=webhook_id))).webhook
        assert (found.failures, found.problem, found.dead_letters, found.waiting) == (2, "STATUS_418", 2, 0)
        receiver.answer = lambda request: 200
        chosen = pb.RetryDeadLettersRequest(webhook_id=webhook_id, ids=[letters[0].id])
        assert (await stub.RetryDeadLetters(chosen)).retried == 1
        await receiver.until(lambda: len(receiver.accepted) == 3)
        assert receiver.accepted[-1]["id"] == letters[0].event_id
        assert (await stub.DeleteDeadLetters(pb.DeleteDeadLettersRequest(webhook_id=webhook_id))).deleted == 1
    for hidden in (created.secret, "confidential", receiver.url):
        assert hidden not in caplog.text

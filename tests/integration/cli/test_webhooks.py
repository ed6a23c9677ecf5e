"""`dicomstore webhooks` and `dicomstore events`, against a real core."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.core import CoreClient
from tests.data import part10
from tests.integration.cli.conftest import CommandLine
from tests.integration.conftest import a_core
from tests.receiver import receiving


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[CoreClient]:
    """A core in which studies are quiet soon, and that sends events to this machine."""
    settings: dict[str, Any] = {"webhook_http": True, "webhook_networks": "127.0.0.1", "webhook_retry_hours": 0}
    async with a_core(tmp_path / "data", study_quiet_seconds=1, **settings) as core:
        yield core


async def test_webhooks_are_created_listed_changed_and_removed(dicomstore: Any, tmp_path: Path) -> None:
    assert (await dicomstore("webhooks", "list")).stdout == ""
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    url = "https://receiver.example/"
    made = await dicomstore("webhooks", "create", url, "--type", "studystable", "--secret-file", tmp_path / "secret")
    assert made.stdout == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"
    [webhook] = json.loads((await dicomstore("webhooks", "list", "--json")).stdout)["webhooks"]
    assert webhook["types"] == ["dicomstore.StudyStable"]
    changed = await dicomstore("webhooks", "update", webhook["id"], "--disable", "--all-types", "--rotate-secret")
    assert changed.stdout.startswith("whsec_")
    assert "disabled" in (await dicomstore("webhooks", "list")).stdout
    assert (await dicomstore("webhooks", "delete", webhook["id"])).exit_code == 0
    assert (await dicomstore("webhooks", "delete", webhook["id"])).exit_code == 1
    assert (await dicomstore("webhooks", "create", "http://receiver.example/")).exit_code == 2
    assert (await dicomstore("webhooks", "retry", webhook["id"])).exit_code == 2


async def test_events_are_shown_and_dead_letters_are_retried(quick: CoreClient, tmp_path: Path) -> None:
    dicomstore = CommandLine(quick.address, tmp_path)
    async with receiving() as receiver:
        made = await dicomstore("webhooks", "create", receiver.url, "--label", "router", "--json")
        webhook = json.loads(made.stdout)["id"]
        receiver.answer = lambda request: 500
        await quick.stored(part10(StudyInstanceUID="1.2"))
        process = await dicomstore.start("events", "--follow", "--json")
        event = json.loads(await process.stdout.readline())
        assert (event["kind"], event["study_instance_uid"], event["instances"]) == ("stable", "1.2", 1)
        process.terminate()
        await process.wait()
        await receiver.until(lambda: len(receiver.requests) == 2)
        letters: list[Any] = []
        while len(letters) < 2:
            letters = json.loads((await dicomstore("webhooks", "dead", webhook, "--json")).stdout)["dead_letters"]
            await asyncio.sleep(0.05)
        assert "STATUS_500" in (await dicomstore("webhooks", "dead", webhook)).stdout
        receiver.answer = lambda request: 200
        ran = await dicomstore("webhooks", "retry", webhook, letters[0]["id"])
        assert "1 dead letter will be sent again" in ran.stderr
        await receiver.until(lambda: len(receiver.accepted) == 1)
        assert "1 dead letter removed" in (await dicomstore("webhooks", "discard", webhook, "--all")).stderr
    assert "stable" in (await dicomstore("events")).stdout

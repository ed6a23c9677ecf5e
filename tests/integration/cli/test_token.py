"""`dicomstore token`, and the token that commands send."""

import json
import shutil
from datetime import UTC, datetime

import pytest
import typer

from cli.commands.token import time_of
from tests.integration.cli.conftest import Archive, CommandLine


async def test_a_token_is_printed_once_and_may_be_used_until_it_is_revoked(
    archive: Archive, dicomstore: CommandLine
) -> None:
    created = await dicomstore("token", "create", "--name", "gateway", "--role", "globalAdmin", "--expires", "30d")
    assert created.exit_code == 0
    secret = created.stdout.strip()
    assert secret.startswith("dcmt_")

    refused = await dicomstore("search")
    assert refused.exit_code == 1
    assert "UNAUTHENTICATED" in refused.stderr
    assert (await dicomstore("search", env={"DICOMSTORE_TOKEN": secret})).exit_code == 0

    listed = await dicomstore("token", "list", "--json", env={"DICOMSTORE_TOKEN": secret})
    [token] = json.loads(listed.stdout)["tokens"]
    assert (token["name"], token["roles"], token["creator"]) == ("gateway", ["globalAdmin"], "anonymous")
    assert secret not in listed.stdout

    assert (await dicomstore("token", "revoke", token["id"], env={"DICOMSTORE_TOKEN": secret})).exit_code == 0
    revoked = await dicomstore("search", env={"DICOMSTORE_TOKEN": secret})
    assert "The token was revoked." in revoked.stderr
    assert secret not in revoked.stderr


async def test_the_operator_of_the_machine_needs_no_token_and_other_tokens_take_precedence(
    archive: Archive, dicomstore: CommandLine
) -> None:
    reader = (
        await dicomstore("token", "create", "--name", "n", "--role", "globalReader", "--expires", "2999-01-01")
    ).stdout.strip()
    files = {name: dicomstore.folder / name for name in ("reader", "wrong", "none")}
    files["reader"].write_text(f"{reader}\n")
    files["wrong"].write_text("dcmt_wrong\n")
    operator = {"DICOMSTORE_DATA": str(archive.data)}

    async def listed(*options: object, **variables: str) -> str:
        ran = await dicomstore(*options, "token", "list", "--all", env={**operator, **variables})
        return ran.stderr if ran.exit_code else "OK"

    assert await listed() == "OK"
    assert "PERMISSION_DENIED" in await listed(DICOMSTORE_TOKEN=reader)
    assert "PERMISSION_DENIED" in await listed(DICOMSTORE_TOKEN_FILE=str(files["reader"]))
    assert "set only one" in await listed(DICOMSTORE_TOKEN="dcmt_wrong", DICOMSTORE_TOKEN_FILE=str(files["reader"]))
    assert "UNAUTHENTICATED" in await listed("--token-file", files["wrong"], DICOMSTORE_TOKEN=reader)
    assert "none" in await listed("--token-file", files["none"])
    shutil.copy(archive.data / "operator.token", dicomstore.folder / "copy")
    assert await listed("--token-file", dicomstore.folder / "copy", DICOMSTORE_TOKEN=reader) == "OK"


async def test_the_token_is_not_part_of_the_printed_settings(dicomstore: CommandLine) -> None:
    ran = await dicomstore("config", "--json", env={"DICOMSTORE_TOKEN": "dcmt_planted"})
    assert ran.exit_code == 0
    assert "dcmt_planted" not in ran.stdout + ran.stderr


NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("30m", datetime(2026, 3, 1, 13, 0, tzinfo=UTC)),
        ("12h", datetime(2026, 3, 2, 0, 30, tzinfo=UTC)),
        ("30d", datetime(2026, 3, 31, 12, 30, tzinfo=UTC)),
        ("2w", datetime(2026, 3, 15, 12, 30, tzinfo=UTC)),
        ("1y", datetime(2027, 3, 1, 12, 30, tzinfo=UTC)),
        ("2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_expiry_is_a_period_or_the_end_of_a_day(text: str, time: datetime) -> None:
    assert time_of(text, NOW) == time


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1s", "99999y", "2026-02-30", "tomorrow"])
def test_other_forms_of_expiry_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        time_of(text, NOW)

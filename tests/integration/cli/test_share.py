"""`dicomstore share`."""

import json
import re

import pytest

from tests.data import part10
from tests.integration.cli.conftest import Archive, CommandLine

STUDY, SERIES = "1.2.3", "1.2.3.4"


@pytest.fixture
async def study(archive: Archive) -> str:
    await archive.stored(part10(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES))
    return STUDY


async def test_the_url_of_a_link_is_printed_once(study: str, dicomstore: CommandLine) -> None:
    created = await dicomstore("share", "create", study, SERIES, "--expires", "12h", "--label", "for a colleague")
    assert created.exit_code == 0, created.stderr
    assert re.fullmatch(r"http://127\.0\.0\.1:8080/share/dcms_[\w-]{56}\n", created.stdout)
    assert "on this machine only" in created.stderr
    listed = await dicomstore("share", "list")
    assert "for a colleague" in listed.stdout
    assert f"series {SERIES}" in listed.stdout
    assert "dcms_" not in listed.stdout
    [link] = json.loads((await dicomstore("share", "list", "--json")).stdout)["links"]
    assert (await dicomstore("share", "revoke", link["id"])).exit_code == 0
    assert "no valid share links" in (await dicomstore("share", "list")).stderr
    again = await dicomstore("share", "revoke", link["id"])
    assert again.exit_code == 1
    assert "SHARE_LINK_NOT_FOUND" in again.stderr


async def test_the_url_begins_with_the_public_url_or_the_given_one(study: str, dicomstore: CommandLine) -> None:
    public = {"DICOMSTORE_PUBLIC_URL": "https://pacs.example/dicom/"}
    created = await dicomstore("share", "create", study, env=public)
    assert created.stdout.startswith("https://pacs.example/dicom/share/dcms_")
    assert "on this machine only" not in created.stderr
    for_uploads = await dicomstore(
        "share", "create", "--upload", "--url", "https://other.example", "--json", env=public
    )
    link = json.loads(for_uploads.stdout)
    assert link["url"].startswith("https://other.example/share/dcms_")
    assert link["dicomweb_url"] == f"{link['url']}/v2"
    assert link["purpose"] == "SHARE_PURPOSE_UPLOAD"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [([], 2), (["--upload", STUDY], 2), ([STUDY, "--expires", "31d"], 2), ([STUDY, "--url", "pacs"], 2), (["9"], 1)],
)
async def test_an_invalid_link_is_not_created(
    study: str, dicomstore: CommandLine, arguments: list[str], exit_code: int
) -> None:
    refused = await dicomstore("share", "create", *arguments)
    assert (refused.exit_code, refused.stdout) == (exit_code, "")

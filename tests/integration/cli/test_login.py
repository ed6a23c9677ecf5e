"""`dicomstore login`."""

import re

from tests.integration.cli.conftest import Archive, CommandLine


async def test_the_operator_gets_a_url_that_opens_a_session(archive: Archive, dicomstore: CommandLine) -> None:
    operator = {"DICOMSTORE_DATA": str(archive.data)}
    refused = await dicomstore("login", env=operator)
    assert refused.exit_code == 1
    assert "AUTHENTICATION_OFF" in refused.stderr
    await dicomstore("token", "create", "--name", "n", "--role", "globalReader", "--expires", "1d", env=operator)
    ran = await dicomstore("login", "--url", "https://pacs.example/", env=operator)
    assert ran.exit_code == 0, ran.stderr
    assert re.fullmatch(r"https://pacs\.example/login/link/dcml_[\w-]{43}\n", ran.stdout)
    assert "dcml_" not in ran.stderr
    assert (await dicomstore("login", "--role", "nobody", env=operator)).exit_code != 0

"""`dicomstore partition`, against a real core."""

from typing import Any

import pytest


@pytest.mark.usefixtures("archive")
async def test_partitions_cannot_be_deleted_without_confirmation_or_while_disabled(dicomstore: Any) -> None:
    asked = await dicomstore("partition", "delete", "ward")
    assert "use --yes" in asked.stderr
    refused = await dicomstore("partition", "delete", "ward", "--yes", "--reason", "moved")
    assert refused.exit_code != 0
    assert "disabled" in refused.stderr
    assert (await dicomstore("partition", "list")).exit_code != 0

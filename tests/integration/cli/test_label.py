"""`dicomstore label`, and searches by labels, against a real core."""

import json
from typing import Any

import pytest

from tests.core import CoreClient
from tests.data import part10


@pytest.fixture
async def stored(archive: CoreClient) -> None:
    await archive.stored(part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"))


@pytest.mark.usefixtures("stored")
async def test_labels_are_set_shown_found_and_removed(dicomstore: Any) -> None:
    assert "no labels" in (await dicomstore("label", "1.2")).stderr
    await dicomstore("label", "1.2", "--set", "project=lung", "--set", "empty=")
    shown = await dicomstore("label", "1.2")
    assert "project" in shown.stdout
    assert "lung" in shown.stdout
    assert "1.2" in (await dicomstore("search", "label.project=l*")).stdout
    assert "0 matches" in (await dicomstore("search", "label.project=heart")).stderr
    left = await dicomstore("label", "1.2", "--remove", "project", "--json")
    assert json.loads(left.stdout) == {"empty": ""}
    replaced = await dicomstore("label", "1.2", "1.2.1", "--replace", "--set", "a=1=2", "--json")
    assert json.loads(replaced.stdout) == {"a": "1=2"}


@pytest.mark.usefixtures("stored")
async def test_an_argument_that_is_no_label_is_refused(dicomstore: Any) -> None:
    assert "NAME=VALUE" in (await dicomstore("label", "1.2", "--set", "project")).stderr
    refused = await dicomstore("label", "1.2", "--set", "pro ject=1")
    assert refused.exit_code == 2
    assert "name of a label" in refused.stderr
    assert (await dicomstore("label", "1.3")).exit_code == 1

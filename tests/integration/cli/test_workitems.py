"""`dicomstore workitems`, against a real core."""

import asyncio
import json
import os
import pty
from pathlib import Path
from typing import Any

from cli.commands.worklist.workitems import new_data_set
from server.bootstrap.serving import running
from server.dicom.worklist.requirements import REQUIREMENTS
from tests.core import settings_for

LABEL = "ProcedureStepLabel=Detect nodules"
CODE = {"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "Detection"}


def sequence(**values: str) -> dict[str, Any]:
    return {"vr": "SQ", "Value": [{keyword: {"Value": [value]} for keyword, value in values.items()}]}


PERFORMED = {
    "PerformedStationNameCodeSequence": sequence(**CODE),
    "PerformedProcedureStepStartDateTime": {"Value": ["20260301120000"]},
    "PerformedWorkitemCodeSequence": sequence(**CODE),
    "PerformedProcedureStepEndDateTime": {"Value": ["20260301120100"]},
    "OutputInformationSequence": {"vr": "SQ"},
}
RESULTS = {"UnifiedProcedureStepPerformedProcedureSequence": {"Value": [PERFORMED]}}


async def test_a_workitem_is_created_claimed_updated_and_completed(dicomstore: Any, tmp_path: Path) -> None:
    created = await dicomstore("workitems", "create", "--set", LABEL, "--set", "PatientID=P-1", "--uid", "2.25.1")
    assert (created.stdout, created.exit_code) == ("2.25.1\n", 0)
    claimed = await dicomstore("workitems", "claim", "2.25.1")
    transaction = claimed.stdout.strip()
    assert transaction.startswith("2.25.")
    again = await dicomstore("workitems", "claim", "2.25.1")
    assert (again.exit_code, again.stdout) == (1, "")
    update = ("workitems", "update", "2.25.1", "--set", "WorklistLabel=AI")
    assert (await dicomstore(*update)).exit_code == 1
    assert (await dicomstore(*update, "--transaction", transaction)).exit_code == 0
    complete = ("workitems", "complete", "2.25.1", "--transaction", transaction)
    refused = await dicomstore(*complete)
    assert refused.exit_code == 1
    assert "PerformedStationNameCodeSequence" in refused.stderr
    results = tmp_path / "results.json"
    results.write_text(json.dumps(RESULTS))
    assert (await dicomstore(*complete, results)).exit_code == 0
    shown = json.loads((await dicomstore("workitems", "show", "2.25.1")).stdout)
    values = [shown[tag]["Value"] for tag in ("00741000", "00741200", "00741202", "00404041", "00100020")]
    assert values == [["COMPLETED"], ["MEDIUM"], ["AI"], ["READY"], ["P-1"]]


async def test_a_new_partition_is_created_on_request(dicomstore: Any, tmp_path: Path) -> None:
    async with running(settings_for(tmp_path / "other", partitions=True)) as core:
        dicomstore.core = core.address
        create = ("workitems", "create", "--set", LABEL, "--partition", "new-ward")
        refused = await dicomstore(*create)
        assert refused.exit_code == 1
        assert "PARTITION_NOT_FOUND" in refused.stderr
        created = await dicomstore(*create, "--create-partition")
        assert created.exit_code == 0
        shown = await dicomstore("workitems", "show", created.stdout.strip(), "--partition", "new-ward")
        assert shown.exit_code == 0


async def test_workitems_are_listed_by_state_and_search_keys(dicomstore: Any, tmp_path: Path) -> None:
    file = tmp_path / "workitem.json"
    file.write_text(json.dumps([{"00100020": {"vr": "LO", "Value": ["P-2"]}}]))
    first = (await dicomstore("workitems", "create", file, "--set", "ProcedureStepLabel=Read")).stdout.strip()
    second = (await dicomstore("workitems", "create", file, "--set", "ProcedureStepLabel=Detect")).stdout.strip()
    await dicomstore("workitems", "claim", second)
    listed = await dicomstore("workitems", "list", "PatientID=P-2", "--json")
    assert [one["00080018"]["Value"] for one in listed.lines] == [[second], [first]]
    scheduled = await dicomstore("workitems", "list", "PatientID=P-2", "--state", "scheduled")
    assert first in scheduled.stdout
    assert second not in scheduled.stdout
    assert "1 workitem" in scheduled.stderr
    assert "there are more" in (await dicomstore("workitems", "list", "--limit", "1")).stderr
    assert (await dicomstore("workitems", "list", "Patient=1")).exit_code == 2
    assert (await dicomstore("workitems", "list", "studies")).exit_code == 2


async def test_workitems_are_canceled_by_request_or_by_their_owner(dicomstore: Any) -> None:
    for uid in ("2.25.3", "2.25.4"):
        await dicomstore("workitems", "create", "--set", LABEL, "--uid", uid)
    assert (await dicomstore("workitems", "cancel", "2.25.3", "--reason", "no longer needed")).exit_code == 0
    transaction = (await dicomstore("workitems", "claim", "2.25.4")).stdout.strip()
    assert (await dicomstore("workitems", "cancel", "2.25.4")).exit_code == 1
    cancel = ("workitems", "cancel", "2.25.4", "--transaction", transaction, "--reason", "no longer needed")
    assert (await dicomstore(*cancel)).exit_code == 0
    for uid in ("2.25.3", "2.25.4"):
        shown = json.loads((await dicomstore("workitems", "show", uid)).stdout)
        [progress] = shown["00741002"]["Value"]
        assert (shown["00741000"]["Value"], progress["00741238"]["Value"]) == (["CANCELED"], ["no longer needed"])


async def test_malformed_commands_are_refused(dicomstore: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("[")
    (tmp_path / "list.json").write_text("[1]")
    for arguments in (
        ("create", tmp_path / "broken.json"),
        ("create", tmp_path / "list.json"),
        ("create", "--set", "ProcedureStepLabel"),
        ("list", "--state", "unknown"),
        ("complete", "2.25.1"),
    ):
        assert (await dicomstore("workitems", *arguments)).exit_code == 2
    missing = await dicomstore("workitems", "show", "2.25.99")
    assert (missing.exit_code, "WORKITEM_NOT_FOUND" in missing.stderr) == (1, True)


async def test_rules_are_created_listed_changed_and_removed(dicomstore: Any, tmp_path: Path) -> None:
    rules = ("workitems", "rules")
    assert (await dicomstore(*rules, "list")).stdout == ""
    created = await dicomstore(*rules, "create", "ModalitiesInStudy=CT", "--set", LABEL, "--label", "Lung CAD")
    rule = created.stdout.strip()
    shown = json.loads((await dicomstore(*rules, "show", rule)).stdout)
    assert shown["template"] == {"00741204": {"vr": "LO", "Value": ["Detect nodules"]}}
    assert "ModalitiesInStudy=CT" in (await dicomstore(*rules, "list")).stdout
    file = tmp_path / "template.json"
    file.write_text(json.dumps({"00741204": {"vr": "LO", "Value": ["Read"]}}))
    changed = await dicomstore(*rules, "update", rule, "--all-studies", "--template", file, "--disable", "--label", "")
    assert changed.exit_code == 0
    [listed] = json.loads((await dicomstore(*rules, "list", "--json")).stdout)["rules"]
    assert (listed["query"], listed["template"]["00741204"]["Value"]) == ({}, ["Read"])
    assert "disabled" in (await dicomstore(*rules, "list")).stdout
    assert (await dicomstore(*rules, "update", rule, "--enable", "--disable")).exit_code == 2
    assert (await dicomstore(*rules, "create", "PatientComments=x", "--set", LABEL)).exit_code == 2
    assert (await dicomstore(*rules, "delete", rule)).exit_code == 0
    assert (await dicomstore(*rules, "delete", rule)).exit_code == 1


def test_a_new_workitem_has_every_attribute_that_may_be_empty() -> None:
    required = {one.path[0] for one in REQUIREMENTS if one.depth == 0 and one.create == "2/2"}
    assert required <= new_data_set({}, "").keys()


async def test_changes_are_shown_as_they_happen(dicomstore: Any) -> None:
    process = await dicomstore.start("workitems", "watch", "ProcedureStepLabel=Detect nodules", "--json")
    assert await process.stderr.readline() == b"watching\n"
    await dicomstore("workitems", "create", "--set", "ProcedureStepLabel=Read")
    await dicomstore("workitems", "create", "--set", LABEL)
    first = json.loads(await process.stdout.readline())
    assert first["workitem"]["00741204"]["Value"] == ["Detect nodules"]
    await dicomstore("workitems", "claim", first["workitem_uid"])
    events = [first]
    while events[-1]["workitem"]["00741000"]["Value"] != ["IN PROGRESS"]:
        events.append(json.loads(await process.stdout.readline()))
    assert (events[-1]["type"], events[-1]["workitem_uid"]) == ("state-report", first["workitem_uid"])
    assert [event["position"] for event in events] == sorted({event["position"] for event in events})
    process.terminate()
    await process.wait()


async def test_a_terminal_shows_a_table_that_is_kept_up_to_date(dicomstore: Any) -> None:
    await dicomstore("workitems", "create", "--set", LABEL, "--uid", "2.25.8")
    terminal, stdout = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "150", "LINES": "20"}
    process = await dicomstore.start_with(stdout, "workitems", "watch", env=environment)
    await _shown(terminal, b"SCHEDULED")
    await dicomstore("workitems", "claim", "2.25.8")
    await _shown(terminal, b"IN PROGRESS")
    process.terminate()
    await process.wait()
    os.close(terminal)
    os.close(stdout)


async def _shown(terminal: int, words: bytes) -> None:
    """Read from a terminal until it shows some words."""
    text = b""
    while words not in text:
        text += await asyncio.to_thread(os.read, terminal, 65_536)

"""Outcomes of files: cli/upload/results.py and the meter of cli/upload/progress.py."""

import os
from pathlib import Path

import pytest
from dicomstore.v1 import errors_pb2, resources_pb2
from dicomstore.v1 import store_service_pb2 as pb
from rich.text import Text

from cli.causes import KEPT_CAUSES, KEPT_NAMES
from cli.upload.progress import Meter
from cli.upload.results import Result, Status, Tally, reason_name, result_of

FILE = Path("folder/file.dcm")


def failure(number: int = 0) -> Result:
    return Result(Path(f"file{number}"), Status.FAILED, 10, reason="UNREADABLE_INSTANCE", message="Cut off.")


def shown(tally: Tally) -> list[str]:
    return [Text.from_markup(line).plain for line in tally.causes.lines()]


def test_a_stored_outcome_names_the_instance_and_its_findings() -> None:
    finding = resources_pb2.AttributeFinding(tag="00100030", keyword="PatientBirthDate", vr="DA", message="no date")
    identity = resources_pb2.Address(study_instance_uid="1", series_instance_uid="2", sop_instance_uid="3")
    result = result_of(FILE, 5, pb.StoreOutcome(item=1, stored=pb.StoredInstance(id=identity, findings=[finding])))
    assert (result.status, result.study, result.series, result.instance) == (Status.STORED, "1", "2", "3")
    assert result.findings == ("PatientBirthDate: no date",)


def test_a_finding_in_a_sequence_has_its_path() -> None:
    finding = resources_pb2.AttributeFinding(
        tag="00080050", path="00400275/1/00080050", keyword="AccessionNumber", message="too long"
    )
    result = result_of(FILE, 5, pb.StoreOutcome(item=1, stored=pb.StoredInstance(findings=[finding])))
    assert result.findings == ("AccessionNumber (00400275/1/00080050): too long",)


def test_an_identical_duplicate_is_already_there_and_a_different_one_failed() -> None:
    exists = errors_pb2.ERROR_REASON_INSTANCE_ALREADY_EXISTS
    same = pb.StoreOutcome(failed=resources_pb2.ItemError(reason=exists, identical=True))
    accepted = pb.StoreOutcome(stored=pb.StoredInstance(identical=True))
    other = pb.StoreOutcome(failed=resources_pb2.ItemError(reason=exists, message="Stored with other bytes."))
    assert result_of(FILE, 5, same).status is Status.IDENTICAL
    assert result_of(FILE, 5, accepted).status is Status.IDENTICAL
    assert result_of(FILE, 5, other) == Result(
        FILE, Status.FAILED, 5, reason="INSTANCE_ALREADY_EXISTS", message="Stored with other bytes."
    )


def test_a_reason_newer_than_this_program_keeps_its_number() -> None:
    assert reason_name(98765) == "REASON_98765"


def test_json_of_a_result_has_no_empty_fields() -> None:
    assert Result(FILE, Status.SKIPPED, 5).to_json() == {"path": str(FILE), "status": "skipped", "size_bytes": 5}


def test_the_summary_counts_each_outcome_and_only_stored_bytes() -> None:
    tally = Tally()
    for result in (
        Result(FILE, Status.STORED, 3_000_000, findings=("x",)),
        Result(FILE, Status.IDENTICAL, 1),
        Result(FILE, Status.SKIPPED, 1),
        Result(FILE, Status.SKIPPED, 1),
        failure(),
    ):
        tally.ended(result)
    assert tally.summary(2.0) == (
        "1 file stored (3.0 MB in 2 s, 1.5 MB/s), 1 already there, 2 skipped (not DICOM instances), "
        "1 with invalid attributes, 1 failed"
    )


def test_failures_are_grouped_by_cause_the_most_frequent_first() -> None:
    tally = Tally()
    invalid = Result(
        Path("b"), Status.FAILED, reason="INVALID_INSTANCE", message="It is invalid.", findings=("A: x.", "B: y.")
    )
    for result in (failure(1), invalid, failure(2), Result(FILE, Status.STORED, 1)):
        tally.ended(result)
    assert shown(tally) == [
        "2 files failed (UNREADABLE_INSTANCE):",
        "  Cut off.",
        "    file1",
        "    file2",
        "1 file failed (INVALID_INSTANCE):",
        "  A: x.",
        "  B: y.",
        "    b",
    ]
    assert tally.causes.are_complete


def test_nothing_is_printed_without_failures() -> None:
    tally = Tally()
    tally.ended(Result(FILE, Status.STORED, 1))
    assert shown(tally) == []


def test_a_bounded_number_of_names_and_causes_is_kept_and_the_rest_counted() -> None:
    tally = Tally()
    for number in range(KEPT_NAMES + 5):
        tally.ended(failure(number))
    assert shown(tally)[-1] == "    … and 5 more"
    assert not tally.causes.are_complete
    for number in range(KEPT_CAUSES + 5):
        tally.ended(Result(FILE, Status.FAILED, reason="R", message=str(number)))
    assert shown(tally)[-1] == "6 files failed for other reasons"
    assert tally.causes.count == KEPT_NAMES + 5 + KEPT_CAUSES + 5


def test_file_names_are_relative_to_the_working_directory_or_the_only_folder(tmp_path: Path) -> None:
    assert Tally().name_of(Path("folder/file").absolute()) == "folder/file"
    assert Tally().name_of(tmp_path / "file") == str(tmp_path / "file")
    assert Tally(base=tmp_path).name_of(tmp_path / "folder" / "file") == "folder/file"


@pytest.mark.parametrize(
    ("name", "text"),
    [("[bold]x", "[bold]x"), ("a\nb\x1b[2J", "a\\nb\\x1b[2J"), (os.fsdecode(b"M\xfcller"), "M\\xfcller")],
)
def test_any_file_name_is_one_line_of_text(name: str, text: str) -> None:
    tally = Tally()
    tally.ended(Result(Path(name), Status.FAILED))
    assert shown(tally)[-1] == f"    {text}"
    assert Result(Path(name), Status.STORED).to_json()["path"] == text


def test_the_meter_estimates_the_remaining_time_from_the_average_rate() -> None:
    meter = Meter(Tally(), total_files=10, total_bytes=1000_000, is_total_known=True)
    meter.sent(250_000)
    meter.ended(Result(FILE, Status.STORED, 250_000))
    assert meter.line(10.0) == "1 of 10 files, 250.0 kB of 1.0 MB, 25.0 kB/s, about 30 s left"


@pytest.mark.parametrize("sent_bytes", [0, 1000_000])
def test_the_meter_has_no_estimate_before_the_start_and_after_the_end(sent_bytes: int) -> None:
    meter = Meter(Tally(), total_files=1, total_bytes=1000_000, is_total_known=True)
    meter.sent(sent_bytes)
    assert "left" not in meter.line(1.0)


def test_bytes_to_be_sent_again_are_subtracted_from_the_meter() -> None:
    meter = Meter(Tally())
    meter.sent(500)
    meter.sent(-200)
    assert meter.done_bytes == 300

"""`dicomstore get`, against a real core."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.core import CoreClient
from tests.data import part10

MPEG2 = "1.2.840.10008.1.2.4.100"
"""Nothing can be re-encoded to this."""


def written(folder: Path) -> dict[str, bytes]:
    """Return everything below a folder, hidden or not."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
async def bodies(archive: CoreClient) -> dict[str, bytes]:
    """A study of two series, one of them with a large instance, by the paths they are written to."""
    made = {
        f"1.2/{series}/{instance}.dcm": part10(
            StudyInstanceUID="1.2", SeriesInstanceUID=series, SOPInstanceUID=instance, frames=frames
        )
        for series, instance, frames in (
            ("1.2.1", "1.2.1.1", [b"\1\2"]),
            ("1.2.1", "1.2.1.2", [b"\3\4"]),
            ("1.2.2", "1.2.2.1", [random.Random(number).randbytes(2**15) for number in range(96)]),
        )
    }
    for body in made.values():  # one after the other: this is the order in which they are sent back
        await archive.stored(body)
    return made


async def test_a_study_is_written_byte_for_byte(dicomstore: Any, bodies: dict[str, bytes]) -> None:
    ran = await dicomstore("get", "1.2", "--output", "out")
    assert ran.exit_code == 0
    assert written(dicomstore.folder / "out") == bodies
    assert "3 instances fetched" in ran.stderr


async def test_a_series_and_an_instance_are_written_alone(dicomstore: Any, bodies: dict[str, bytes]) -> None:
    await dicomstore("get", "1.2", "1.2.1", "-o", "series")
    assert set(written(dicomstore.folder / "series")) == {"1.2/1.2.1/1.2.1.1.dcm", "1.2/1.2.1/1.2.1.2.dcm"}
    await dicomstore("get", "1.2", "1.2.1", "1.2.1.2", "-o", "instance")
    assert set(written(dicomstore.folder / "instance")) == {"1.2/1.2.1/1.2.1.2.dcm"}


async def test_a_file_of_the_same_name_is_replaced(dicomstore: Any, bodies: dict[str, bytes]) -> None:
    for path in bodies:
        old = dicomstore.folder / "out" / path
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_bytes(b"old")
    await dicomstore("get", "1.2", "-o", "out")
    assert written(dicomstore.folder / "out") == bodies


async def test_an_unknown_resource_is_reported_and_nothing_is_written(dicomstore: Any) -> None:
    ran = await dicomstore("get", "1.99", "-o", "out")
    assert ran.exit_code == 1
    assert "STUDY_NOT_FOUND" in ran.stderr
    assert not (dicomstore.folder / "out").exists()


async def test_an_instance_without_bytes_does_not_affect_others(
    archive: Any, dicomstore: Any, bodies: dict[str, bytes]
) -> None:
    lost = "1.2/1.2.2/1.2.2.1.dcm"
    archive.blob_of(bodies[lost]).unlink()
    ran = await dicomstore("get", "1.2", "-o", "out")
    assert ran.exit_code == 1
    assert "1.2.2.1" in ran.stderr
    assert "BLOB_MISSING" in ran.stderr
    assert written(dicomstore.folder / "out") == {path: body for path, body in bodies.items() if path != lost}


async def test_a_truncated_large_instance_leaves_no_file(
    archive: Any, dicomstore: Any, bodies: dict[str, bytes]
) -> None:
    cut = "1.2/1.2.2/1.2.2.1.dcm"
    os.truncate(archive.blob_of(bodies[cut]), 2 * 2**20)
    ran = await dicomstore("get", "1.2", "-o", "out")
    assert ran.exit_code == 1
    assert written(dicomstore.folder / "out") == {path: body for path, body in bodies.items() if path != cut}


async def test_a_broken_connection_leaves_only_complete_files(
    dicomstore: Any, relay: Any, bodies: dict[str, bytes]
) -> None:
    relay.break_after_answer_bytes = 2 * 2**20
    ran = await dicomstore("get", "1.2", "-o", "out")
    assert ran.exit_code == 2
    assert written(dicomstore.folder / "out").items() <= bodies.items()
    assert "1.2/1.2.2/1.2.2.1.dcm" not in written(dicomstore.folder / "out")


async def test_an_unavailable_transfer_syntax_is_refused(dicomstore: Any, bodies: dict[str, bytes]) -> None:
    ran = await dicomstore("get", "1.2", "1.2.1", "1.2.1.1", "-o", "out", "--transfer-syntax", MPEG2)
    assert ran.exit_code == 1
    assert "NOT_ACCEPTABLE_TRANSFER_SYNTAX" in ran.stderr
    assert written(dicomstore.folder) == {}


async def test_the_stored_form_is_used_if_it_is_accepted_and_nothing_else_is_possible(
    dicomstore: Any, bodies: dict[str, bytes]
) -> None:
    preferred = ("--transfer-syntax", MPEG2, "--transfer-syntax", "*")
    assert (await dicomstore("get", "1.2", "-o", "out", *preferred)).exit_code == 0
    assert written(dicomstore.folder / "out") == bodies


async def test_an_unwritable_folder_is_reported_in_one_line(dicomstore: Any, bodies: dict[str, bytes]) -> None:
    (dicomstore.folder / "out").write_text("a file")
    ran = await dicomstore("get", "1.2", "-o", "out")
    assert ran.exit_code == 1
    assert "can't write below out" in ran.stderr


async def test_metadata_is_one_json_array(dicomstore: Any, bodies: dict[str, bytes]) -> None:
    ran = await dicomstore("get", "1.2", "--metadata")
    assert {item["00080018"]["Value"][0] for item in json.loads(ran.stdout)} == {"1.2.1.1", "1.2.1.2", "1.2.2.1"}
    assert ran.exit_code == 0


async def test_a_readable_layout_names_folders_by_patient_study_and_series(
    archive: CoreClient, dicomstore: Any
) -> None:
    of_study = {"StudyInstanceUID": "1.7", "PatientID": "P/7", "PatientName": "Doe^Jane", "StudyDate": "20240229"}
    large = [bytes(2**15)] * 96
    for number, frames in ((3, [b"a"]), (3, large), (4, [b"b"])):
        uid = f"1.7.{number}.{len(frames)}"
        await archive.stored(
            part10(**of_study, SeriesInstanceUID=uid, SeriesNumber=number, SOPInstanceUID=uid, frames=frames)
        )
    ran = await dicomstore("get", "1.7", "-o", "out", "--layout", "readable")
    assert ran.exit_code == 0
    found = sorted(path.split("/") for path in written(dicomstore.folder / "out"))
    assert sorted((patient, study.split()[0], series.split()[0], file) for patient, study, series, file in found) == [
        ("P_7 Doe Jane", "20240229", "3", "1.7.3.1.dcm"),
        ("P_7 Doe Jane", "20240229", "3", "1.7.3.96.dcm"),
        ("P_7 Doe Jane", "20240229", "4", "1.7.4.1.dcm"),
    ]
    assert len({series for _, _, series, _ in found}) == 3
    again = await dicomstore("get", "1.7", "-o", "out", "--layout", "readable")
    assert (again.exit_code, len(written(dicomstore.folder / "out"))) == (0, 3)

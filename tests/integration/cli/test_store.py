"""`dicomstore store`, against a real core."""

import csv
import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import store_service_pb2 as pb

from cli.connection import Target
from cli.errors import NOT_EXECUTED, Failure
from cli.upload import streams
from cli.upload.files import PIECE_BYTES
from cli.upload.progress import Meter
from cli.upload.results import Status, Tally
from server.bootstrap.serving import running
from tests.core import CoreClient, Ref, settings_for
from tests.data import UID_ROOT, part10

Files = Callable[..., list[Path]]
STUDY = Ref(study_instance_uid=f"{UID_ROOT}.1")


async def stored_bodies(archive: CoreClient) -> list[bytes]:
    return sorted(body for _, body in await archive.retrieve(STUDY))


def large(size_bytes: int, **attributes: Any) -> bytes:
    """A file of about this size, never smaller."""
    frame_bytes = 2**15
    return part10(
        frames=[random.Random(number).randbytes(frame_bytes) for number in range(-(-size_bytes // frame_bytes))],
        **attributes,
    )


async def test_all_files_below_a_folder_are_stored(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    bodies = [part10() for _ in range(7)]
    files(*bodies[:4], folder="in/a")
    files(*bodies[4:], folder="in/a/b/c")
    ran = await dicomstore("store", "in")
    assert ran.exit_code == 0
    assert "7 files stored" in ran.stderr
    assert await stored_bodies(archive) == sorted(bodies)


async def test_large_and_small_files_are_stored_byte_for_byte(
    archive: CoreClient, dicomstore: Any, files: Files
) -> None:
    bodies = [part10(), large(PIECE_BYTES), large(3 * PIECE_BYTES), part10(), large(PIECE_BYTES // 2)]
    files(*bodies)
    assert (await dicomstore("store", "files", "--streams", "2")).exit_code == 0
    assert await stored_bodies(archive) == sorted(bodies)


async def test_more_files_than_may_be_unanswered_are_stored(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    files(*(part10() for _ in range(streams.UNANSWERED_FILES + 100)))
    ran = await dicomstore("store", "files", "--streams", "1")
    assert (ran.exit_code, len(await stored_bodies(archive))) == (0, streams.UNANSWERED_FILES + 100)


async def test_storing_again_changes_nothing_and_succeeds(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    files(part10(), part10())
    await dicomstore("store", "files")
    ran = await dicomstore("store", "files")
    assert ran.exit_code == 0
    assert "0 files stored" in ran.stderr
    assert "2 already there" in ran.stderr
    assert len(await archive.changes()) == 2


async def test_different_bytes_with_stored_uids_fail(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    files(part10(SOPInstanceUID="1.5", PatientID="A"))
    await dicomstore("store", "files")
    [path] = files(part10(SOPInstanceUID="1.5", PatientID="B"))
    ran = await dicomstore("store", "files")
    assert ran.exit_code == 1
    assert "INSTANCE_ALREADY_EXISTS" in ran.stderr
    assert path.name in ran.stderr


async def test_files_that_are_not_dicom_are_skipped_in_a_folder(
    archive: CoreClient, dicomstore: Any, files: Files
) -> None:
    [first, *_] = files(part10(), b"text", b"", bytes(2 * PIECE_BYTES))
    first.with_name("DICOMDIR").write_bytes(part10())
    ran = await dicomstore("store", "files")
    assert ran.exit_code == 0
    assert "1 file stored" in ran.stderr
    assert "4 skipped" in ran.stderr


async def test_a_named_file_that_is_not_dicom_fails(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    good, bad = files(part10(), b"text")
    ran = await dicomstore("store", good, bad)
    assert ran.exit_code == 1
    assert "UNREADABLE_INSTANCE" in ran.stderr
    assert bad.name in ran.stderr
    assert "1 file stored" in ran.stderr


async def test_an_invalid_file_does_not_affect_others(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    body = part10()
    files(part10(), body[:-20], part10(StudyInstanceUID=None), part10())
    ran = await dicomstore("store", "files")
    assert ran.exit_code == 1
    assert "2 files stored" in ran.stderr
    assert "2 failed" in ran.stderr


async def test_other_content_is_refused_or_becomes_a_new_version_with_its_reason(
    archive: CoreClient, dicomstore: Any, files: Files
) -> None:
    [stored] = await archive.stored(part10(SOPInstanceUID="1.7", PatientName="old"))
    files(part10(SOPInstanceUID="1.7", PatientName="new"))
    ran = await dicomstore("store", "files", "--json", "--duplicates", "reject")
    assert [line["reason"] for line in ran.lines] == ["INSTANCE_ALREADY_EXISTS"]
    ran = await dicomstore("store", "files", "--json", "--duplicates", "new-version", "--reason", "wrong name")
    assert [line["status"] for line in ran.lines] == ["replaced"]
    assert "1 file stored" in ran.stderr
    assert "1 of these as new versions" in ran.stderr
    uids = (stored.id.study_instance_uid, stored.id.series_instance_uid, "1.7")
    history = await dicomstore("versions", "list", *uids, "--json")
    assert [line.get("reason", "") for line in history.lines] == ["", "wrong name"]


async def test_json_has_one_line_for_each_file(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    good, other, cut = files(part10(SOPInstanceUID="1.7"), b"text", part10()[:-20])
    ran = await dicomstore("store", "files", "--json")
    by_path = {line["path"]: line for line in ran.lines}
    assert len(ran.lines) == 3
    assert by_path[f"files/{good.name}"]["status"] == "stored"
    assert by_path[f"files/{good.name}"]["sop_instance_uid"] == "1.7"
    assert by_path[f"files/{other.name}"]["status"] == "skipped"
    assert by_path[f"files/{cut.name}"]["reason"] == "UNREADABLE_INSTANCE"


async def test_refused_files_are_grouped_by_cause_and_named_below_the_working_directory(
    archive: CoreClient, dicomstore: Any, files: Files
) -> None:
    paths = files(*(part10(StudyInstanceUID=None) for _ in range(5)), b"text", part10())
    ran = await dicomstore("store", paths[0].parent, paths[5])
    lines = ran.stderr.splitlines()
    assert lines[0] == "5 files failed (INVALID_INSTANCE):"
    assert lines[1].startswith("  StudyInstanceUID: ")
    assert lines[2].startswith("    files/000")
    assert lines[5] == "    … and 2 more"
    assert "1 file failed (UNREADABLE_INSTANCE):" in lines
    assert any(line.startswith("hint: --verbose") for line in lines)
    assert "; " not in ran.stderr


@pytest.mark.parametrize("name", ["report.jsonl", "report.csv"])
async def test_a_report_has_a_line_for_each_file(archive: CoreClient, dicomstore: Any, files: Files, name: str) -> None:
    files(part10(SOPInstanceUID="1.7"), b"text", part10()[:-20], part10(PatientID="a" * 100))
    ran = await dicomstore("store", "files", "--report", name)
    text = (dicomstore.folder / name).read_text()
    lines = (
        list(csv.DictReader(text.splitlines())) if name.endswith("csv") else list(map(json.loads, text.splitlines()))
    )
    assert ran.exit_code == 1
    by_path = {line["path"]: line for line in lines}
    assert by_path["files/0000.dcm"]["sop_instance_uid"] == "1.7"
    assert [by_path[f"files/{number:04}.dcm"]["status"] for number in range(3)] == ["stored", "skipped", "failed"]
    assert by_path["files/0002.dcm"]["reason"] == "UNREADABLE_INSTANCE"


async def test_an_unwritable_report_fails_before_anything_is_sent(
    archive: CoreClient, dicomstore: Any, files: Files
) -> None:
    files(part10())
    ran = await dicomstore("store", "files", "--report", "no/such/folder")
    assert (ran.exit_code, await archive.changes()) == (2, [])
    assert "can't write the report no/such/folder: No such file or directory" in ran.stderr


async def test_verbose_reports_each_file(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    body = part10()
    files(body, part10()[:-20], b"text")
    await archive.stored(body)
    ran = await dicomstore("store", "files", "--verbose")
    assert ran.stdout == ""
    for start, end in (
        ("already there  files/0000.dcm", ""),
        ("failed         files/0001.dcm: ", " (UNREADABLE_INSTANCE)"),
        ("skipped        files/0002.dcm", ""),
    ):
        assert [line for line in ran.stderr.splitlines() if line.startswith(start) and line.endswith(end)]


async def test_strict_refuses_what_is_otherwise_stored_with_a_finding(
    archive: CoreClient, dicomstore: Any, files: Files
) -> None:
    files(part10(StudyDate="not a date"))
    strict = await dicomstore("store", "files", "--strict")
    assert strict.exit_code == 1
    assert "StudyDate" in strict.stderr
    lenient = await dicomstore("store", "files")
    assert lenient.exit_code == 0
    assert "1 with invalid attributes" in lenient.stderr


async def test_quiet_prints_only_failures(archive: CoreClient, dicomstore: Any, files: Files) -> None:
    good, bad = files(part10(), b"text")
    assert await dicomstore("store", "-q", good) == type(await dicomstore("--version"))(0, "", "")
    assert "UNREADABLE_INSTANCE" in (await dicomstore("-q", "store", bad)).stderr


async def test_a_partition_on_a_core_without_them_is_refused_with_its_reason(dicomstore: Any, files: Files) -> None:
    files(part10())
    ran = await dicomstore("store", "files", "--partition", "a", "--create-partition")
    assert ran.exit_code == 1
    assert "PARTITIONS_DISABLED" in ran.stderr


@pytest.mark.parametrize("after_bytes", [0, 20_000, 200_000, 3_000_000])
async def test_a_broken_connection_loses_and_duplicates_no_file(
    archive: CoreClient, dicomstore: Any, relay: Any, files: Files, after_bytes: int
) -> None:
    bodies = [*(part10() for _ in range(300)), large(2 * PIECE_BYTES), large(PIECE_BYTES + 5, SeriesInstanceUID="1.9")]
    files(*bodies)
    relay.break_after_bytes = after_bytes + 2_000  # the greeting must pass
    ran = await dicomstore("store", "files", "--json")
    assert (ran.exit_code, relay.break_after_bytes) == (0, None)
    assert relay.connections == 2
    assert Counter(line["path"] for line in ran.lines).most_common(1)[0][1] == 1
    assert await stored_bodies(archive) == sorted(bodies)
    assert len(await archive.changes(page_size=200)) == 200


async def test_files_with_lost_responses_are_reported_as_already_there(
    archive: CoreClient, dicomstore: Any, relay: Any, files: Files
) -> None:
    files(*(part10() for _ in range(200)))
    relay.break_after_answer_bytes = 5_000
    ran = await dicomstore("store", "files", "--streams", "1", "--json")
    assert ran.exit_code == 0
    assert {line["status"] for line in ran.lines} <= {"stored", "identical"}
    assert len(ran.lines) == 200


async def test_an_upload_fails_if_the_core_stays_unreachable(
    archive: Any, relay: Any, files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files(*(part10() for _ in range(500)))
    monkeypatch.setattr(streams, "RECONNECT_S", 0.2)
    tally = Tally()

    class ClosesTheRelay(Meter):
        def ended(self, result: Any) -> None:
            super().ended(result)
            relay._server.close()
            relay.break_now()

    target = Target(relay.address, "", quiet=True)
    async with target.channel() as channel:
        with pytest.raises(Failure, match="lost the connection to the core") as raised:
            await streams.upload(
                target, channel, [tmp_path / "work"], header=pb.StoreHeader(), streams=2, listener=ClosesTheRelay(tally)
            )
    assert raised.value.exit_code == NOT_EXECUTED
    assert 0 < tally.counts[Status.STORED] < 500


async def test_ctrl_c_ends_an_upload_with_a_summary_of_what_was_stored(dicomstore: Any, files: Files) -> None:
    files(*(part10() for _ in range(1000)))
    process = await dicomstore.start("store", "files", "--streams", "1", "--json")
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130
    assert "stored" in errors.decode().splitlines()[-1]
    assert "Traceback" not in errors.decode()


async def test_a_partition_is_created_on_request(dicomstore: Any, files: Files, tmp_path: Path) -> None:
    files(part10(SOPInstanceUID="1.5"))
    async with running(settings_for(tmp_path / "other", partitions=True)) as core:
        dicomstore.core = core.address
        assert "PARTITION_NOT_FOUND" in (await dicomstore("store", "files", "--partition", "a")).stderr
        assert (await dicomstore("store", "files", "--partition", "a", "--create-partition")).exit_code == 0
        assert len((await dicomstore("--partition", "a", "search", "--json")).lines) == 1
        assert (await dicomstore("search", "--json", "--partition", "Microsoft.Default")).lines == []
        assert [change["partition"] for change in (await dicomstore("changes", "--json")).lines] == ["a"]


async def test_an_unreachable_core_is_reported_before_any_file_is_read(dicomstore: Any, files: Files) -> None:
    files(part10())
    ran = await dicomstore("--core", "127.0.0.1:1", "store", "files")
    assert ran.exit_code == 2
    assert "no core answers at 127.0.0.1:1" in ran.stderr


async def test_another_program_on_the_port_is_reported(dicomstore: Any, files: Files) -> None:
    files(part10())
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ran = await dicomstore("--core", f"127.0.0.1:{port}", "store", "files")
    await server.stop(0)
    assert ran.exit_code == 2
    assert "not a dicomstore core" in ran.stderr

"""Streaming of ZIP archives."""

import io
import zipfile

from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.resources_pb2 import Address, ItemError
from dicomstore.v1.retrieve_service_pb2 import InstanceHead, Omission

from facade.response.zip_archive import Archive


def head(number: int, size_bytes: int | None = None) -> InstanceHead:
    uids = Address(study_instance_uid="1", series_instance_uid="1.2", sop_instance_uid=f"1.2.{number}")
    return InstanceHead(id=uids, size_bytes=size_bytes)


def opened(*pieces: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(b"".join(pieces)))
    assert archive.testzip() is None
    return archive


def test_instances_are_files_in_folders_of_their_study_and_series() -> None:
    writer = Archive(Omission())
    pieces = [writer.begin(head(1, 6)), writer.data(b"abc"), writer.data(b"def"), writer.begin(head(2)), writer.end()]
    archive = opened(*pieces)

    assert archive.namelist() == ["1/1.2/1.2.1.dcm", "1/1.2/1.2.2.dcm"]
    assert [archive.read(name) for name in archive.namelist()] == [b"abcdef", b""]
    assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_bytes_are_passed_on_immediately() -> None:
    writer = Archive(Omission())
    writer.begin(head(1))

    for piece in (b"a" * 1000, b"b" * 100_000):
        assert writer.data(piece) is piece


def test_omitted_instances_are_listed_at_the_end() -> None:
    failed = ItemError(instance=Address(sop_instance_uid="1.2.2"), reason=ErrorReason.ERROR_REASON_BLOB_MISSING)
    writer = Archive(Omission(count=3, errors=[failed]))
    pieces = [writer.begin(head(1)), writer.data(b"abc")]
    archive = opened(*pieces, writer.end())

    assert archive.namelist() == ["1/1.2/1.2.1.dcm", "errors.txt"]
    assert archive.read("errors.txt") == b"1.2.2 BLOB_MISSING\r\nand 2 more\r\n"


def test_the_same_instances_give_the_same_bytes() -> None:
    def made() -> bytes:
        writer = Archive(Omission())
        return writer.begin(head(1, 3)) + writer.data(b"abc") + writer.end()

    assert made() == made()


def test_large_or_unknown_sizes_have_64_bits() -> None:
    def lead(size_bytes: int | None) -> bytes:
        return Archive(Omission()).begin(head(1, size_bytes))

    zip64 = b"\x01\x00\x10\x00"
    assert zip64 not in lead(1 << 20)
    assert zip64 in lead(None)
    assert zip64 in lead(5 << 30)

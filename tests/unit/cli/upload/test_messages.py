"""Files as messages of StoreInstances: cli/upload/messages.py."""

from pathlib import Path

import pytest
from crc32c import crc32c as crc32c_of
from dicomstore.v1 import store_service_pb2 as pb

from cli.upload.files import PIECE_BYTES, LocalFile
from cli.upload.messages import CHANGED, Content, NotDicom, Unsendable, pieces, read_all, whole

PREAMBLE = b"\0" * 128 + b"DICM"


def local(path: Path, data: bytes, *, named: bool = False) -> LocalFile:
    path.write_bytes(data)
    return LocalFile(path, len(data), named)


async def all_pieces(file: LocalFile) -> list[pb.InstancePiece]:
    return [piece async for piece in pieces(7, file)]


def test_a_small_file_is_one_piece_with_size_and_checksum() -> None:
    piece = whole(3, Content(b"abc", crc32c_of(b"abc")))
    assert (piece.item, piece.data, piece.last, piece.aborted) == (3, b"abc", True, False)
    assert (piece.declared_size_bytes, piece.crc32c) == (3, crc32c_of(b"abc"))


def test_small_files_are_read_in_order_and_fail_one_by_one(tmp_path: Path) -> None:
    first = local(tmp_path / "first", PREAMBLE + b"1")
    gone = LocalFile(tmp_path / "gone", 200)
    last = local(tmp_path / "last", PREAMBLE + b"2")
    contents = read_all([first, gone, last])
    assert isinstance(contents[1], Unsendable)
    assert [content.data for content in contents if isinstance(content, Content)] == [PREAMBLE + b"1", PREAMBLE + b"2"]


def test_a_found_file_that_is_not_dicom_is_skipped_and_a_named_one_is_read(tmp_path: Path) -> None:
    found, named = local(tmp_path / "found", b"text"), local(tmp_path / "named", b"text", named=True)
    first, second = read_all([found, named])
    assert isinstance(first, NotDicom)
    assert isinstance(second, Content)
    assert second.data == b"text"


def test_a_found_dicomdir_is_skipped(tmp_path: Path) -> None:
    assert isinstance(read_all([local(tmp_path / "DICOMDIR", PREAMBLE)])[0], NotDicom)


def test_an_empty_named_file_is_sent(tmp_path: Path) -> None:
    [content] = read_all([local(tmp_path / "empty", b"", named=True)])
    assert isinstance(content, Content)
    assert content.data == b""


@pytest.mark.parametrize("known_size", [len(PREAMBLE), len(PREAMBLE) + 2])
def test_a_small_file_that_grew_or_shrank_since_it_was_found_is_not_sent(tmp_path: Path, known_size: int) -> None:
    local(tmp_path / "file", PREAMBLE + b"1")
    [content] = read_all([LocalFile(tmp_path / "file", known_size)])
    assert isinstance(content, Unsendable)
    assert str(content) == CHANGED


@pytest.mark.parametrize("size_bytes", [PIECE_BYTES + 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 17])
async def test_a_large_file_is_sent_in_pieces(tmp_path: Path, size_bytes: int) -> None:
    data = PREAMBLE + bytes(size_bytes - len(PREAMBLE))
    sent = await all_pieces(local(tmp_path / "large", data))
    assert b"".join(piece.data for piece in sent) == data
    assert max(len(piece.data) for piece in sent) == PIECE_BYTES
    assert [piece.last for piece in sent] == [False] * (len(sent) - 1) + [True]
    assert {piece.item for piece in sent} == {7}


async def test_a_large_file_declares_its_size_first_and_its_checksum_last(tmp_path: Path) -> None:
    data = PREAMBLE + b"y" * 2 * PIECE_BYTES
    sent = await all_pieces(local(tmp_path / "large", data))
    assert [piece.HasField("declared_size_bytes") for piece in sent] == [True, False, False]
    assert [piece.HasField("crc32c") for piece in sent] == [False, False, True]
    assert sent[0].declared_size_bytes == len(data)
    assert sent[-1].crc32c == crc32c_of(data)


async def test_a_large_found_file_that_is_not_dicom_is_skipped_before_the_first_piece(tmp_path: Path) -> None:
    with pytest.raises(NotDicom):
        await anext(pieces(1, local(tmp_path / "video", bytes(2 * PIECE_BYTES))))


@pytest.mark.parametrize("known_size", [PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES])
async def test_a_large_file_that_grew_or_shrank_never_gets_a_last_piece(tmp_path: Path, known_size: int) -> None:
    local(tmp_path / "large", PREAMBLE + bytes(2 * PIECE_BYTES))
    sent = []
    with pytest.raises(Unsendable, match=CHANGED):  # noqa: PT012 - the pieces before the failure count
        async for piece in pieces(1, LocalFile(tmp_path / "large", known_size)):
            sent.append(piece)  # noqa: PERF401 - as above
    assert not any(piece.last for piece in sent)


async def test_a_missing_large_file_cannot_be_sent(tmp_path: Path) -> None:
    with pytest.raises(Unsendable, match="No such file"):
        await anext(pieces(1, LocalFile(tmp_path / "gone", 2 * PIECE_BYTES)))

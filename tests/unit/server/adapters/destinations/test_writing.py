"""Writing files of exports (server/adapters/destinations/writing.py, folder.py)."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from server.adapters.destinations.folder import FolderTarget
from server.adapters.destinations.writing import PART_BYTES, ThreadedDestination
from server.model.buffer import Buffer
from server.ports.lifecycle.exports import DestinationError


def destination(root: Path) -> ThreadedDestination:
    return ThreadedDestination(FolderTarget(str(root / "a" / "b"), [str(root)]))


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def pieces(*content: bytes) -> AsyncIterator[Buffer]:
    for piece in content:
        yield piece


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, 2 * PART_BYTES + 5])
async def test_a_file_has_all_bytes_and_their_checksum(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    with closing(destination(tmp_path)) as folder:
        written = await folder.write(
            "op/results/x.dcm", pieces(*[content[at : at + 99_999] for at in range(0, size, 99_999)])
        )
    assert (tmp_path / "a/b/op/results/x.dcm").read_bytes() == content
    assert (written.size_bytes, written.sha256) == (size, hashlib.sha256(content).digest())


async def test_a_file_that_is_written_again_is_replaced(tmp_path: Path) -> None:
    with closing(destination(tmp_path)) as folder:
        for content in (b"first, longer", b"second"):
            await folder.write("op/x.dcm", pieces(content))
    assert (tmp_path / "a/b/op/x.dcm").read_bytes() == b"second"


@pytest.mark.parametrize("size", [10, 2 * PART_BYTES])
@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_nothing_remains_of_an_interrupted_file(tmp_path: Path, size: int, is_cancelled: bool) -> None:
    blocked = asyncio.Event()

    async def interrupted() -> AsyncIterator[Buffer]:
        yield bytes(size)
        blocked.set()
        if not is_cancelled:
            raise ValueError
        await asyncio.Event().wait()

    with closing(destination(tmp_path)) as folder:
        writing = asyncio.create_task(folder.write("op/x.dcm", interrupted()))
        await blocked.wait()
        if is_cancelled:
            writing.cancel()
        with pytest.raises((ValueError, asyncio.CancelledError)):
            await writing
        assert files(tmp_path) == []
        await folder.write("op/y.dcm", pieces(b"y"))
        (tmp_path / "a/b/op/.partial/left over").write_bytes(b"of a killed worker")
        await folder.clean_up("op")
    assert sorted(path.name for path in (tmp_path / "a/b/op").iterdir()) == ["y.dcm"]


async def test_links_and_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    target = FolderTarget(str(tmp_path / "root" / "link" / "inner"), [str(tmp_path / "root")])
    with closing(ThreadedDestination(target)) as folder, pytest.raises(DestinationError) as refused:
        await folder.write("op/x.dcm", pieces(b"x"))
    assert not refused.value.may_pass
    assert list((tmp_path / "elsewhere").iterdir()) == []
    with pytest.raises(DestinationError):
        FolderTarget(str(tmp_path / "elsewhere"), [str(tmp_path / "root")])


async def test_a_missing_folder_below_a_permitted_one_is_created_and_a_permitted_one_is_not(tmp_path: Path) -> None:
    with closing(destination(tmp_path)) as folder:
        await folder.write("op/x.dcm", pieces(b"x"))
    assert (tmp_path / "a" / "b" / "op" / "x.dcm").read_bytes() == b"x"
    with closing(destination(tmp_path / "missing")) as folder, pytest.raises(DestinationError):
        await folder.write("op/x.dcm", pieces(b"x"))
    assert not (tmp_path / "missing").exists()

"""The audit trail as files: durability, tampering, torn tails, rotation, retention."""

import asyncio
import errno
import fcntl
import itertools
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.adapters.blobs.audit_trail import chain, checkpoints, group_commit, keys, log_writer
from server.adapters.blobs.audit_trail.checkpoints import CheckpointList
from server.adapters.blobs.audit_trail.file_place import FilePlace
from server.adapters.blobs.audit_trail.log_lines import digest_of, formatted, log_files
from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.model.audit.trail import AuditTrailSettings, FindingKind
from server.model.errors import Exhausted, Reason
from server.ports.audit import WrongAuditKey


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _one_record_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests change lines, which could have several records."""
    monkeypatch.setattr(chain, "MAX_GROUP_BYTES", 1)


def trail_settings(root: Path, **others: Any) -> AuditTrailSettings:
    return AuditTrailSettings(key_file=root.parent / "key.pem", **others)


def record(number: int) -> bytes:
    return json.dumps({"kind": "executed", "request": number}).encode()


async def write(root: Path, count: int, **settings: Any) -> None:
    """Write records, each in a commit of its own."""
    async with FileAuditTrail(root).open(trail_settings(root, **settings)) as log:
        for number in range(count):
            await log.append_durably(record(number))


async def write_at_once(root: Path, count: int) -> Path:
    """Write a file with one record about the file and `count` others."""
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        for number in range(count):
            log.append(record(number))
    return files(root)[-1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread or process changes the files
            await asyncio.sleep(0.01)


def requests(root: Path) -> list[int]:
    found = [json.loads(stored.data) for stored in FileAuditTrail(root).records()]
    return [values["request"] for values in found if values["kind"] == "executed"]


def findings(root: Path, **options: str) -> list[FindingKind]:
    return [finding.kind for finding in FileAuditTrail(root).verify(**options).findings]


def files(root: Path) -> list[Path]:
    return sorted(itertools.chain.from_iterable(map(log_files, (root / "audit" / "writers").iterdir())))


def changed_lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


async def test_records_are_read_in_order_and_verified(root: Path) -> None:
    await write_at_once(root, 5)
    found = FileAuditTrail(root).verify()
    assert requests(root) == [0, 1, 2, 3, 4]
    assert (found.is_intact, found.findings, found.writers, found.records) == (True, (), 1, 6)


async def test_a_durable_record_is_in_the_file_when_its_append_returns(root: Path) -> None:
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        for number in range(3):
            await log.append_durably(record(number))
            assert requests(root) == list(range(number + 1))
        log.append(record(3))
    assert requests(root) == [0, 1, 2, 3]


async def test_records_that_wait_at_the_same_time_share_one_sync(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = []
    fdatasync = os.fdatasync
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        await log.append_durably(record(0))
        monkeypatch.setattr(os, "fdatasync", lambda fd: (syncs.append(fd), fdatasync(fd))[1])
        await asyncio.gather(*(log.append_durably(record(number)) for number in range(1, 200)))
    assert requests(root) == list(range(200))
    assert len(syncs) <= 3


async def test_records_of_several_processes_are_merged_by_time(root: Path) -> None:
    trail = FileAuditTrail(root)
    async with trail.open(trail_settings(root)) as first, trail.open(trail_settings(root)) as second:
        for number in range(10):
            await (first, second)[number % 2].append_durably(record(number))
    assert requests(root) == list(range(10))
    middle = [stored.time for stored in trail.records() if b'"request":' in stored.data][5]
    assert [json.loads(stored.data).get("request") for stored in trail.records(start=middle)][:2] == [5, 6]
    assert len([stored for stored in trail.records(end=middle) if b'"executed"' in stored.data]) == 5


def _replace(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b'"request": 1', b'"request": 7'), *lines[3:]]


def _swap(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


TAMPERING = {
    "change a record": (_replace, FindingKind.RECORD_CHANGED),
    "remove a record": (lambda lines: lines[:2] + lines[3:], FindingKind.RECORD_CHANGED),
    "exchange two records": (_swap, FindingKind.RECORD_CHANGED),
    "insert a record": (lambda lines: [*lines[:2], lines[1], *lines[2:]], FindingKind.RECORD_CHANGED),
    "cut off the last record": (lambda lines: lines[:-1], FindingKind.RECORDS_MISSING),
    "cut off a part of the last record": (lambda lines: [*lines[:-1], lines[-1][:-5]], FindingKind.RECORDS_MISSING),
    "empty the file": (lambda lines: [], FindingKind.RECORDS_MISSING),
    "append bytes": (lambda lines: [*lines, b"{}"], FindingKind.RECORD_CHANGED),
    "overwrite the last record with zeros": (
        lambda lines: [*lines[:-1], bytes(len(lines[-1]))],
        FindingKind.RECORDS_MISSING,
    ),
    "overwrite all with zeros": (lambda lines: [bytes(len(line)) for line in lines], FindingKind.RECORDS_MISSING),
    "overwrite a part with zeros": (
        lambda lines: [*lines[:2], lines[2][:80] + bytes(20) + lines[2][100:], *lines[3:]],
        FindingKind.RECORD_CHANGED,
    ),
    "overwrite with zeros": (lambda lines: [*lines[:-2], bytes(len(lines[-2])), lines[-1]], FindingKind.RECORD_CHANGED),
}


@pytest.mark.parametrize("change", TAMPERING)
async def test_a_change_of_sealed_records_is_found(root: Path, change: str) -> None:
    path = await write_at_once(root, 5)
    apply, expected = TAMPERING[change]
    changed_lines(path, apply)
    assert findings(root) == [expected]
    await write(root, 1)  # a later process does not accept it
    assert expected in findings(root)


async def test_a_forged_chain_is_found(root: Path) -> None:
    """The digests need no key, so an intruder can compute them; the checkpoints have the right one."""
    path = await write_at_once(root, 3)
    previous, forged = bytes(32), b""
    for line in path.read_bytes().splitlines():
        data = line[65:].replace(b'"request": 1', b'"request": 7')
        previous = digest_of(previous, data)
        forged += formatted(previous, data)
    path.write_bytes(forged)
    assert findings(root) == [FindingKind.RECORD_CHANGED]


async def test_a_change_of_one_record_of_a_line_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = await write_at_once(root, 5)
    [line] = [line for line in path.read_bytes().splitlines() if b'"request": 3' in line]
    assert line.count(b'"request"') == 5
    assert requests(root) == list(range(5))
    assert FileAuditTrail(root).verify().records == 6
    original = path.read_bytes()
    for old, new in ((b'"request": 3', b'"request": 7'), (b"\t", b"  "), (line[65:67], b"9 ")):
        path.write_bytes(original.replace(old, new, 1))
        assert findings(root) == [FindingKind.RECORD_CHANGED]


async def test_a_forged_line_beyond_the_sealed_record_is_found(root: Path) -> None:
    """Its digest is not the sealed one, and no line ends with the sealed record."""
    path = await write_at_once(root, 3)
    first, *others = path.read_bytes().splitlines()
    texts = [line[65:].partition(b" ")[2] for line in others]
    text = b"2 " + b"\t".join([*texts, texts[-1]])
    path.write_bytes(first + b"\n" + formatted(digest_of(bytes.fromhex(first[:64].decode()), text), text))
    assert findings(root) == [FindingKind.RECORD_CHANGED, FindingKind.RECORD_CHANGED]


async def test_a_trail_of_an_earlier_version_is_read_verified_and_continued(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(chain.Chain, "_line", _numbered_record)
        await write_at_once(root, 3)
    [path] = files(root)
    assert [line[65:71] for line in path.read_bytes().splitlines()] == [b'{"n":%d' % number for number in range(1, 5)]
    await write(root, 1)
    found = FileAuditTrail(root).verify()
    assert (requests(root), found.is_intact, found.records) == ([0, 1, 2, 0], True, 6)
    changed_lines(path, _replace)
    assert findings(root) == [FindingKind.RECORD_CHANGED]


def _numbered_record(self: chain.Chain, texts: list[bytes], _total: int) -> bytes:
    [text] = texts
    self.number += 1
    data = b'{"n":%d,%b' % (self.number, text[1:])
    self.digest = digest_of(self.digest, data)
    return formatted(self.digest, data)


async def test_missing_files_are_found(root: Path) -> None:
    await write(root, 6, file_bytes=1)
    first, second, *_ = files(root)
    second.unlink()
    assert findings(root) == [FindingKind.FILE_MISSING]
    first.unlink()
    assert findings(root) == [FindingKind.FILE_MISSING]
    for path in files(root):
        path.unlink()
    assert findings(root) == [FindingKind.FILE_MISSING]
    shutil.rmtree(next((root / "audit" / "writers").iterdir()))
    assert findings(root) == [FindingKind.WRITER_MISSING]


async def test_an_unknown_writer_or_file_is_found(root: Path) -> None:
    await write(root, 2)
    [path] = files(root)
    shutil.copytree(path.parent, path.parent.with_name("f" * 32))
    (path.parent / "copy").write_bytes(b"")
    assert sorted(findings(root)) == [FindingKind.UNKNOWN_FILE, FindingKind.UNKNOWN_FILE]


def _checkpoints(root: Path) -> Path:
    return root / "audit" / "checkpoints" / "000001.list"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines[:1] + lines[2:], FindingKind.CHECKPOINT_CHANGED),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], FindingKind.CHECKPOINT_CHANGED),
        (lambda lines: [*lines[:-1], lines[-1].replace(b'"n":', b'"n":1')], FindingKind.SIGNATURE_INVALID),
        (lambda lines: lines[1:], FindingKind.CHECKPOINT_CHANGED),
    ],
    ids=["remove", "exchange", "change", "remove the first"],
)
async def test_a_changed_list_of_checkpoints_is_found(
    root: Path, change: Callable[[list[bytes]], list[bytes]], expected: FindingKind
) -> None:
    await write(root, 2)
    await write(root, 2)
    changed_lines(_checkpoints(root), change)
    assert findings(root)[0] == expected


async def test_checkpoints_cut_off_are_found_by_what_records_mention(root: Path) -> None:
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        await log.append_durably(record(0))
        await _sealed(root)
        await log.append_durably(record(1))  # mentions the checkpoint
    changed_lines(_checkpoints(root), lambda lines: lines[:2])
    assert FindingKind.CHECKPOINTS_MISSING in findings(root)
    _checkpoints(root).unlink()
    assert FindingKind.CHECKPOINTS_MISSING in findings(root)


async def test_a_removed_trail_is_found(root: Path) -> None:
    await write(root, 3)
    shutil.rmtree(root)
    assert findings(root) == [FindingKind.CHECKPOINTS_MISSING]


async def test_a_consistent_removal_is_found_with_an_earlier_checkpoint(root: Path) -> None:
    await write(root, 2)
    backup = root.with_name("backup")
    shutil.copytree(root, backup)
    await write(root, 2)
    noted = FileAuditTrail(root).verify().checkpoint
    assert findings(root, checkpoint=noted) == []
    assert findings(backup, checkpoint=noted) == [FindingKind.CHECKPOINTS_MISSING]


async def test_a_replaced_key_is_found(root: Path) -> None:
    await write(root, 2)
    key_file = root.parent / "key.pem"
    public = FileAuditTrail(root).public_key()
    key_file.rename(key_file.with_name("old.pem"))
    with pytest.raises(WrongAuditKey, match="replace-key"):
        await write(root, 1)
    shutil.copytree(root, root.with_name("copy"))
    FileAuditTrail(root).replace_key(key_file.with_name("old.pem"), trail_settings(root))
    await write(root, 1)
    assert findings(root, trusted_key=public) == []
    intruded = root.with_name("copy")
    FileAuditTrail(intruded).replace_key(Path("/nonexistent"), trail_settings(root))
    await write(intruded, 1)
    assert findings(intruded, trusted_key=public) == [FindingKind.KEY_REPLACED]
    forged = root.with_name("forged")
    await write(forged, 2)
    assert findings(forged, trusted_key=public) == [FindingKind.KEY_REPLACED]


def test_the_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    keys.load_or_create(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


async def _sealed(root: Path) -> None:
    """Wait until the first checkpoint is made, which happens after the first commit."""
    checkpoints = CheckpointList(root / "audit" / "checkpoints")
    await until(lambda: any(state.n for state in checkpoints.state().writers.values()))


@pytest.fixture
def killed(root: Path) -> Callable[[int], Path]:
    """Returns a function that writes records in a process and kills it; it returns the file."""

    def run(count: int) -> Path:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(_write_and_die(root, count))
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
        return files(root)[-1]

    return run


async def _write_and_die(root: Path, count: int) -> None:
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        for number in range(count):
            await log.append_durably(record(number))
            if number == 0:
                await _sealed(root)  # the later ones are not
        os.kill(os.getpid(), 9)


def used(path: Path) -> int:
    """The size of a file without the unused space at its end."""
    return len(path.read_bytes().rstrip(b"\0"))


def tear(path: Path, data: bytes) -> None:
    """Write into the unused space after the last record."""
    end = used(path)
    with path.open("rb+") as file:
        file.seek(end)
        file.write(data)


async def test_records_do_not_change_the_size_of_the_file(root: Path) -> None:
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        await log.append_durably(record(0))
        [path] = files(root)
        size = path.stat().st_size
        for number in range(1, 10):
            await log.append_durably(record(number))
        assert (path.stat().st_size, used(path) < size) == (size, True)
        assert requests(root) == list(range(10))
        assert findings(root) == []
        for number in range(10, 15):  # these do not fit
            await log.append_durably(json.dumps({"kind": "executed", "request": number, "x": "x" * 60_000}).encode())
        assert path.stat().st_size == 2 * size
    assert path.stat().st_size == used(path)  # the end of the writer cuts the rest off
    assert requests(root) == list(range(15))
    assert findings(root) == []


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_after_a_kill_unused_space_is_no_finding_and_is_cut_off(
    root: Path, killed: Callable[[int], Path]
) -> None:
    path = await asyncio.to_thread(killed, 5)
    assert path.stat().st_size > used(path)
    assert findings(root) == [FindingKind.NOT_SEALED]
    await write(root, 1)
    assert path.stat().st_size == used(path)
    assert findings(root) == []
    path.write_bytes(path.read_bytes() + bytes(3_000_000))  # a power failure undoes the cut, because it is not synced
    assert requests(root) == [0, 1, 2, 3, 4, 0]
    assert findings(root) == []
    changed_lines(path, lambda lines: [*lines[:-2], bytes(len(lines[-2]) + len(lines[-1]))])
    assert findings(root) == [FindingKind.RECORDS_MISSING]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    "torn",
    [bytes(100) + b"after zeros\n", b"0123 {to" + bytes(100) + b"rn}\n", b"0123 {torn" + bytes(2_000_000) + b"}\n"],
    ids=["beginning", "middle", "far"],
)
async def test_a_write_of_which_a_power_failure_left_parts_is_a_torn_tail(
    root: Path, killed: Callable[[int], Path], torn: bytes
) -> None:
    path = await asyncio.to_thread(killed, 3)
    tear(path, torn)
    assert set(findings(root)) == {FindingKind.TORN_TAIL, FindingKind.NOT_SEALED}
    assert requests(root) == [0, 1, 2]
    await write(root, 1)
    assert findings(root) == [FindingKind.TORN_TAIL]
    tear(path, b"more")
    assert findings(root) == [FindingKind.RECORD_CHANGED]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_file_with_unused_space_and_a_torn_tail_is_removed_after_the_retention_time(
    root: Path, killed: Callable[[int], Path]
) -> None:
    path = await asyncio.to_thread(killed, 3)
    tear(path, b"0123 {torn" + bytes(100) + b"}\n")
    async with FileAuditTrail(root).open(trail_settings(root, retention=timedelta(0))):
        await until(lambda: not path.exists())
    assert findings(root) == []


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_after_a_kill_a_torn_tail_is_told_from_tampering(root: Path, killed: Callable[[int], Path]) -> None:
    path = await asyncio.to_thread(killed, 5)
    assert requests(root) == [0, 1, 2, 3, 4]  # all that was acknowledged
    tear(path, b"0123 {torn")
    assert set(findings(root)) == {FindingKind.TORN_TAIL, FindingKind.NOT_SEALED}
    await write(root, 1)  # seals it
    assert findings(root) == [FindingKind.TORN_TAIL]
    assert FileAuditTrail(root).verify().is_intact
    changed_lines(path, lambda lines: [*lines[:-2], lines[-1]])
    assert FindingKind.RECORDS_MISSING in findings(root)


async def test_a_writer_that_begins_is_not_taken_over_by_another_process(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = FilePlace(root)
    lock, taken_over = fcntl.flock, []

    def lock_late(fd: int, operation: int) -> None:
        if not operation & fcntl.LOCK_NB:
            for writer in place.writers():
                with place.taken_over(writer) as is_taken_over:
                    taken_over.append(is_taken_over)
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    await write(root, 1)
    assert taken_over
    assert not any(taken_over)


async def test_files_end_by_size_and_the_chain_continues(root: Path) -> None:
    await write(root, 20, file_bytes=800)
    assert len(files(root)) > 3
    assert requests(root) == list(range(20))
    assert findings(root) == []


async def test_the_retention_removes_old_files_and_the_rest_can_be_verified(root: Path) -> None:
    await write(root, 20, file_bytes=800)
    await write(root, 5)
    before = len(files(root))
    async with FileAuditTrail(root).open(trail_settings(root, retention=timedelta(0))) as log:
        await until(lambda: len(files(root)) < before)
        await log.append_durably(record(100))
    assert requests(root) == [100]
    subtypes = [json.loads(stored.data).get("subtype") for stored in FileAuditTrail(root).records()]
    assert subtypes.count("remove-audit-records") == 2
    assert findings(root) == []


async def test_the_list_of_checkpoints_continues_in_new_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_FILE_BYTES", 500)
    monkeypatch.setattr(checkpoints, "_KEPT_FILES", 2)
    for _ in range(6):
        await write(root, 2)
    assert len(list(_checkpoints(root).parent.glob("*.list"))) == 2
    assert requests(root) == [0, 1] * 6
    assert findings(root) == []
    min(_checkpoints(root).parent.glob("*.list")).unlink()
    assert findings(root) == [FindingKind.CHECKPOINTS_MISSING]


class _Disk:
    """Lets writes of the audit trail fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error = 0
        self.partial = False
        self.fits = 0  # writes up to this position succeed, whatever `error` is
        self._pwrite = os.pwrite
        monkeypatch.setattr(log_writer.os, "pwrite", self.write)
        monkeypatch.setattr(log_writer.os, "fdatasync", self.sync)
        self.sync_error = 0

    def write(self, fd: int, data: Any, offset: int) -> int:
        if self.error and (not self.fits or offset + len(data) > self.fits):
            if self.partial and len(data) > 10:
                return self._pwrite(fd, data[:10], offset)
            raise OSError(self.error, os.strerror(self.error))
        return self._pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))


async def test_a_full_disk_refuses_what_is_waited_for_and_counts_the_rest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk(monkeypatch)
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        await log.append_durably(record(0))
        await _sealed(root)
        disk.error, disk.partial = errno.ENOSPC, True
        log.append(record(1))
        with pytest.raises(Exhausted) as refused:
            await log.append_durably(record(2))
        assert refused.value.reason is Reason.STORAGE_FULL
        assert log.failure is not None
        disk.error = 0
        await log.append_durably(record(3))
        assert log.failure is None
    assert requests(root) == [0, 3]
    [lost] = [json.loads(stored.data) for stored in FileAuditTrail(root).records() if b'"lost"' in stored.data]
    assert lost["records"] == 1
    found = FileAuditTrail(root).verify()
    assert found.is_intact
    assert [finding.kind for finding in found.findings] == [FindingKind.RECORDS_LOST]


async def test_without_space_for_unused_space_records_are_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk(monkeypatch)
    disk.error, disk.fits = errno.ENOSPC, 100_000
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        for number in range(5):
            await log.append_durably(record(number))
        [path] = files(root)
        assert path.stat().st_size == used(path)
        disk.error = 0
        await log.append_durably(record(5))
        assert path.stat().st_size > used(path)
    assert requests(root) == list(range(6))
    assert findings(root) == []


async def test_after_a_failed_sync_another_file_is_begun(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk(monkeypatch)
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        await log.append_durably(record(0))
        disk.sync_error = errno.EIO
        with pytest.raises(Exception, match="cannot be written"):
            await log.append_durably(record(1))
        disk.sync_error = 0
        await log.append_durably(record(2))
    assert [number for number in requests(root) if number != 1] == [0, 2]
    assert len(files(root)) == 2
    assert findings(root) == []


async def test_appending_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_PENDING_BYTES", 1000)
    async with FileAuditTrail(root).open(trail_settings(root)) as log:
        for number in range(100):
            if log.is_backlogged:
                await log.room()
            log.append(record(number))
    assert requests(root) == list(range(100))


async def test_a_tail_returns_each_record_once_and_resumes(root: Path) -> None:
    trail = FileAuditTrail(root)
    tail = trail.tail({})
    seen: list[int] = []

    def poll(limit: int = 3) -> int:
        found = [json.loads(stored.data) for stored in tail.poll(limit)]
        seen.extend(values["request"] for values in found if values["kind"] == "executed")
        return len(found)

    async with trail.open(trail_settings(root, file_bytes=1000)) as log:
        for number in range(12):
            await log.append_durably(record(number))
            if number % 4 == 0:
                while poll():
                    pass
        tail = trail.tail(tail.positions)
        later = trail.tail(None)
        await log.append_durably(record(12))
        assert [json.loads(stored.data).get("request") for stored in later.poll(10)][-1] == 12
    await write(root, 2)
    while poll():
        pass
    assert sorted(seen) == sorted([*range(13), 0, 1])
    assert [number for number in seen if number > 1] == list(range(2, 13))
    trail.save_position("syslog", tail.positions)
    assert trail.load_position("syslog") == tail.positions
    assert trail.load_position("other") is None
    assert trail.tail(trail.load_position("syslog")).poll(10) == []

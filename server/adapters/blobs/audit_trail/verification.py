"""Verification of the audit trail: of the list of checkpoints, then of the records of each writer. Blocks.

Records after the last checkpoint of a writer are chained but not sealed. The end of a file of a process that was killed
may be incomplete; that is a torn tail, not tampering, if the checkpoints do not count it.
"""

from dataclasses import dataclass, field

import orjson

from server.adapters.blobs.audit_trail import keys
from server.adapters.blobs.audit_trail.list_state import (
    KEY_REPLACED,
    ListState,
    WriterState,
    checked_entries,
    list_number,
)
from server.adapters.blobs.audit_trail.log_lines import START, Fault, LogFile, Scan, first_number, scan, used_bytes
from server.adapters.blobs.audit_trail.place import Checkpoints, Place
from server.model.audit.trail import Finding, FindingKind, Verification, WriterId

_ATTEMPTS = 3
_MAX_FINDINGS = 1000


@dataclass(slots=True)
class _Result:
    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    writers: int = 0
    highest_checkpoint: int = 0  # that a record mentions

    def add(self, kind: FindingKind, place: str, message: str) -> None:
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(kind, place, message))


def verify(place: Place, *, trusted_key: str = "", checkpoint: str = "") -> Verification:
    """Verify the audit trail; processes may write to it.

    Args:
        trusted_key: public key in base64 that the list must be signed with, or whose owner signed a later key.
        checkpoint: "number:digest" of an earlier verification that the list must contain.

    Raises: OSError.
    """
    for attempt in range(_ATTEMPTS):
        before = place.checkpoints().state().k
        result, state = _verified(place.snapshot(), trusted_key, checkpoint)
        is_intact = not any(finding.kind.is_tampering for finding in result.findings)
        # Files that the retention removed meanwhile look as if they were missing.
        if is_intact or attempt + 1 == _ATTEMPTS or place.checkpoints().state().k == before:
            break
    return Verification(
        writers=result.writers,
        records=result.records,
        checkpoint=state.described,
        key=keys.fingerprint(state.keys[-1]) if state.keys else "",
        findings=tuple(result.findings),
    )


def _verified(place: Place, trusted_key: str, checkpoint: str) -> tuple[_Result, ListState]:
    result = _Result()
    state = _verify_list(place.checkpoints(), trusted_key, checkpoint, result)
    for name in sorted(state.writers):
        if not state.writers[name].is_removed:
            _WriterCheck(place, name, state.writers[name], result).run()
    if not any(finding.kind is FindingKind.CHECKPOINT_CHANGED for finding in result.findings):
        _find_unknown(place, place.checkpoints().state(), result)
    if result.highest_checkpoint > place.checkpoints().state().k:
        result.add(
            FindingKind.CHECKPOINTS_MISSING,
            "checkpoints",
            f"Records mention checkpoint {result.highest_checkpoint}; the list ends with {state.k}.",
        )
    return result, state


# The list of checkpoints


def _verify_list(checkpoints: Checkpoints, trusted_key: str, checkpoint: str, result: _Result) -> ListState:
    files = checkpoints.files()
    state, known = ListState(), set[str]()
    has_checkpoint = not checkpoint
    for path, entry, after in checked_entries(files):
        state = after
        known.update(state.keys)
        has_checkpoint = has_checkpoint or state.described == checkpoint
        if entry.problem == KEY_REPLACED:
            result.add(
                FindingKind.KEY_REPLACED,
                path.name,
                f"From entry {state.k} on, another key signs, which the key before has not signed: "
                f"{keys.fingerprint(state.keys[-1])}.",
            )
        elif entry.problem:
            kind = FindingKind.SIGNATURE_INVALID if "signature" in entry.problem else FindingKind.CHECKPOINT_CHANGED
            result.add(kind, path.name, f"Entry {entry.values.get('k', state.k + 1)}: {entry.problem}.")
    numbers = [list_number(path) for path in files]
    if numbers and (numbers[0] > state.first_file or numbers != list(range(numbers[0], numbers[-1] + 1))):
        result.add(FindingKind.CHECKPOINTS_MISSING, files[0].name, "Files of the list of checkpoints are missing.")
    if not numbers:  # the first start of an archive creates it
        result.add(FindingKind.CHECKPOINTS_MISSING, "checkpoints", "There is no list of checkpoints.")
    if numbers and trusted_key and trusted_key not in known:
        result.add(FindingKind.KEY_REPLACED, "checkpoints", "No checkpoint is signed with the given key.")
    if not has_checkpoint:
        result.add(FindingKind.CHECKPOINTS_MISSING, "checkpoints", f"Checkpoint {checkpoint} is not in the list.")
    return state


# Records


class _WriterCheck:
    """The check of the files of one writer against the list of checkpoints."""

    def __init__(self, place: Place, writer: WriterId, expected: WriterState, result: _Result) -> None:
        self._place = place
        self._name = writer
        self._expected = expected
        self._result = result
        self._is_running = not expected.has_ended and not place.has_ended(writer)

    def run(self) -> None:
        expected = self._expected
        files = [path for path in self._place.files(self._name) if first_number(path) > expected.removed_n]
        if not files:
            if expected.n > expected.removed_n:
                is_known = self._place.has_files(self._name)
                kind = FindingKind.FILE_MISSING if is_known else FindingKind.WRITER_MISSING
                self._result.add(kind, self._name, _gap(expected.removed_n + 1, expected.n))
            return
        self._result.writers += 1
        last: Scan | None = Scan(expected.removed_n, bytes.fromhex(expected.removed_digest) or START)
        for path in files:
            first = first_number(path)
            if last is not None and first != last.number + 1:
                self._result.add(
                    FindingKind.FILE_MISSING, f"{self._name}/{path.name}", _gap(last.number + 1, first - 1)
                )
                last = None
            state = self._check_file(path, last)
            if state.fault is not None and path != files[-1]:
                self._report(state, path)
                last = None
            else:
                last = state
        assert last is not None
        self._check_end(last, files[-1])

    def _check_file(self, path: LogFile, before: Scan | None) -> Scan:
        state = Scan(0, START)
        for state in scan(path, before):
            if state.fault is not None or not state.end:
                continue
            self._result.records += len(state.records)
            for record in state.records:
                _note_marks(record.data, f"{self._name}/{path.name}", self._result)
            if state.contradicts(self._expected.n, self._expected.digest):
                message = f"Record {self._expected.n} or one before it is not the sealed one."
                self._result.add(FindingKind.RECORD_CHANGED, f"{self._name}/{path.name}", message)
        return state

    def _check_end(self, state: Scan, path: LogFile) -> None:
        expected, place = self._expected, f"{self._name}/{path.name}"
        if state.number < expected.n:
            if state.fault in (None, Fault.INCOMPLETE):
                self._result.add(FindingKind.RECORDS_MISSING, place, _gap(state.number + 1, expected.n))
            else:
                self._report(state, path)
            return
        rest = used_bytes(path) - state.end
        is_torn = state.fault in (Fault.INCOMPLETE, Fault.UNWRITTEN)
        if is_torn and (not expected.has_ended or rest == expected.torn_bytes):
            if not self._is_running:  # otherwise it is being written
                message = f"Incomplete after record {state.number}: the process was killed."
                self._result.add(FindingKind.TORN_TAIL, place, message)
        elif state.fault is not None:
            self._report(state, path)
        if state.number > expected.n and expected.has_ended:
            message = f"Records were added after the last one, {expected.n}."
            self._result.add(FindingKind.RECORD_CHANGED, place, message)
        elif state.number > expected.n and not self._is_running:
            message = f"Records {expected.n + 1} to {state.number} are not sealed; the next start does it."
            self._result.add(FindingKind.NOT_SEALED, place, message)

    def _report(self, state: Scan, path: LogFile) -> None:
        assert state.fault is not None
        kind = FindingKind.RECORDS_MISSING if state.fault is Fault.GAP else FindingKind.RECORD_CHANGED
        self._result.add(kind, f"{self._name}/{path.name}", f"After record {state.number}: {state.fault.value}.")


def _note_marks(record: bytes, place: str, result: _Result) -> None:
    """Note the checkpoint or the loss that a record mentions."""
    beginning = record[:80]
    if b',"kind":"checkpoint"' in beginning:
        number = orjson.loads(record)["checkpoint"].partition(":")[0]
        result.highest_checkpoint = max(result.highest_checkpoint, int(number))
    elif b',"kind":"lost"' in beginning:
        result.add(FindingKind.RECORDS_LOST, place, "Reads are not recorded: the trail could not be written.")


def _find_unknown(place: Place, state: ListState, result: _Result) -> None:
    for writer in place.writers():
        if writer not in state.writers:
            result.add(FindingKind.UNKNOWN_FILE, writer, "No checkpoint mentions this writer.")
            continue
        for name in place.other_names(writer):
            result.add(FindingKind.UNKNOWN_FILE, f"{writer}/{name}", "The audit trail has no such file.")


def _gap(first: int, last: int) -> str:
    return f"Record {first} is missing." if first == last else f"Records {first} to {last} are missing."

"""The list of checkpoints of all writers: signed entries, chained by hash. All functions block.

    checkpoints/.lock           held while a process appends
    checkpoints/<number>.list   entries, one a line: `<signature> <entry>`, the entry a JSON object

Each entry has its number `k`, a time, the SHA-256 of the entry before (`previous`), and the fingerprint of the key that
signed it. The kinds are:

    key          a new signing key with its public key, and the signature of that by the key before, if known
    opened       a process begins to write
    checkpoint   the number and digest of the last record of a writer at this time
    closed       the same; it was the last one
    taken over   the same, for a process that ended without closing; with the number of bytes after that record
    removed      the records of a writer up to this one were removed after the retention time
    continued    first entry of every file but the first one: the state before it, and the first file that is kept

The last entry about a writer covers all earlier records, because these are chained; so old files of the list can be
removed, and `continued` proves that this was intended.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from server.adapters.blobs.audit_trail.keys import SigningKey, is_signed
from server.adapters.blobs.disk.file_lock import locked
from server.adapters.blobs.disk.threads import sync_directory

SUFFIX = ".list"
_FILE_BYTES = 4 << 20
_KEPT_FILES = 16
_FIRST = "0" * 64
KEY_REPLACED = "key replaced"


@dataclass(slots=True)
class WriterState:
    """What the list says about a writer.

    n, digest: its last record in a checkpoint.
    removed_n, removed_digest: its last removed record.
    has_ended: it writes no more records.
    torn_bytes: bytes after the last record of a process that ended without closing.
    """

    n: int = 0
    digest: str = ""
    removed_n: int = 0
    removed_digest: str = ""
    has_ended: bool = False
    torn_bytes: int = 0

    @property
    def is_removed(self) -> bool:
        """True if all its records were removed."""
        return self.has_ended and self.removed_n >= self.n


@dataclass(slots=True)
class ListState:
    """The state after some entries. `keys` are public keys in base64, in order; the last one signs."""

    k: int = 0
    previous: str = _FIRST
    keys: list[str] = field(default_factory=list)
    writers: dict[str, WriterState] = field(default_factory=dict)
    first_file: int = 1

    def apply(self, entry: Mapping[str, Any], data: bytes) -> None:
        """Add an entry and its bytes. Raises: KeyError, TypeError for an entry of unknown form."""
        self.k, self.previous = entry["k"], hashlib.sha256(data).hexdigest()
        match entry["event"]:
            case "key":
                self.keys.append(entry["public"])
            case "opened":
                self.writers[entry["writer"]] = WriterState()
            case "checkpoint":
                self._sealed(entry)
            case "closed":
                self._sealed(entry).has_ended = True
            case "taken over":
                writer = self._sealed(entry)
                writer.has_ended, writer.torn_bytes = True, entry["torn_bytes"]
            case "removed":
                writer = self._writer(entry)
                writer.removed_n, writer.removed_digest = entry["n"], entry["digest"]
            case "continued":
                self.keys, self.first_file = list(entry["keys"]), entry["first_file"]
                self.writers = {name: WriterState(**facts) for name, facts in entry["writers"].items()}
            case event:
                raise KeyError(event)

    def _sealed(self, entry: Mapping[str, Any]) -> WriterState:
        writer = self._writer(entry)
        writer.n, writer.digest = entry["n"], entry["digest"]
        return writer

    def _writer(self, entry: Mapping[str, Any]) -> WriterState:
        return self.writers.setdefault(entry["writer"], WriterState())  # a changed list may not have opened it

    @property
    def described(self) -> str:
        """The last entry as "number:digest"."""
        return f"{self.k}:{self.previous}" if self.k else ""


class Entry:
    """An entry as it was read; `problem` is "" if number, chain, signature and form are right."""

    __slots__ = ("data", "problem", "values")

    def __init__(self, line: bytes) -> None:
        signature, _, data = line.rstrip(b"\n").partition(b" ")
        self.data = data
        self.problem = ""
        self.values: dict[str, Any] = {}
        try:
            self.values = orjson.loads(data)
            is_form_right = isinstance(self.values["k"], int) and isinstance(self.values["event"], str)
        except (ValueError, KeyError, TypeError):
            is_form_right = False
        if not is_form_right:
            self.problem = "malformed"
        self.values["signature"] = signature.decode("ascii", "replace")


class CheckpointList:
    """The list below a directory.

    Args:
        key: signs the entries; None only reads.
    """

    def __init__(self, directory: Path, key: SigningKey | None = None) -> None:
        self._directory = directory
        self._key = key
        self._state = ListState()
        self._path: Path | None = None
        self._position = 0

    def append(self, *entries: Mapping[str, Any]) -> ListState:
        """Append entries durably; return the state, which the next call changes.

        Raises:
            OSError
            ForeignKey: the list is signed with another key.
        """
        assert self._key is not None, "only a list with a key can be appended to"
        self._directory.mkdir(parents=True, exist_ok=True)
        with locked(self._directory / ".lock"):
            state = self._refresh()
            if not state.keys:
                self._write([self._introduction("")])
            elif state.keys[-1] != self._key.public:
                raise ForeignKey(state.keys[-1])
            if self._position > _FILE_BYTES:
                self._continue()
            self._write(entries)
            return state

    def replace_key(self, old: SigningKey | None) -> None:
        """Introduce the key of this object, signed by the key before if that is still known. Raises: OSError."""
        assert self._key is not None
        with locked(self._directory / ".lock"):
            state = self._refresh()
            if state.keys and state.keys[-1] != self._key.public:
                is_known = old is not None and old.public == state.keys[-1]
                self._write([self._introduction(old.sign(self._key.public.encode()) if old and is_known else "")])

    def state(self) -> ListState:
        """Return the state, without checking signatures. Raises: OSError."""
        if not self._directory.exists():
            return self._state
        with locked(self._directory / ".lock"):
            return self._refresh()

    def files(self) -> list[Path]:
        """Return the files in order."""
        try:
            found = [path for path in self._directory.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal()]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda path: int(path.stem))

    def _introduction(self, endorsement: str) -> Mapping[str, Any]:
        assert self._key is not None
        return {"event": "key", "public": self._key.public, "endorsement": endorsement}

    def _refresh(self) -> ListState:
        """Read what other processes have appended. An incomplete last line was never acknowledged; it is cut off."""
        files = self.files()
        if self._path is not None and files and files[-1] != self._path:
            self._path = None
        if self._path is None:
            if not files:
                return self._state
            self._path, self._position, self._state = files[-1], 0, ListState()
        with open(self._path, "rb+") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(self._position)
                    break
                entry = Entry(line)
                self._position += len(line)
                if not entry.problem:
                    self._state.apply(entry.values, entry.data)
        return self._state

    def _write(self, entries: Iterable[Mapping[str, Any]]) -> None:
        assert self._key is not None
        if self._path is None:
            self._path = self._directory / f"{1:06d}{SUFFIX}"
        text = b""
        for entry in entries:
            values = {
                "k": self._state.k + 1,
                "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                **entry,
                "previous": self._state.previous,
                "key": self._key.fingerprint,
            }
            data = orjson.dumps(values)
            text += self._key.sign(data).encode() + b" " + data + b"\n"
            self._state.apply(values, data)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(fd).st_size == 0:
                sync_directory(self._directory)
            left = memoryview(text)
            position = self._position
            while left:
                written = os.pwrite(fd, left, position)
                left, position = left[written:], position + written
            os.fsync(fd)
        except OSError:
            self._path = None  # read again what the file has
            raise
        finally:
            os.close(fd)
        self._position = position

    def _continue(self) -> None:
        """Begin the next file with the state, and remove the oldest ones."""
        assert self._path is not None
        number = int(self._path.stem) + 1
        for name in [name for name, writer in self._state.writers.items() if writer.is_removed]:
            del self._state.writers[name]
        first_file = max(1, number - _KEPT_FILES + 1)
        self._path, self._position = self._path.with_name(f"{number:06d}{SUFFIX}"), 0
        self._write(
            [
                {
                    "event": "continued",
                    "first_file": first_file,
                    "keys": self._state.keys,
                    "writers": {name: asdict(writer) for name, writer in self._state.writers.items()},
                }
            ]
        )
        for path in self.files():
            if int(path.stem) < first_file:
                path.unlink(missing_ok=True)


class ForeignKey(Exception):
    """The list is signed with another key; `public` is that key."""

    def __init__(self, public: str) -> None:
        super().__init__("The list of checkpoints is signed with another key.")
        self.public = public


def checked_entries(files: list[Path]) -> Iterator[tuple[Path, Entry, ListState]]:
    """Yield each entry with the state after it; `Entry.problem` says what is wrong with one.

    Ends at a problem, except a key that the one before has not signed. Raises: OSError.
    """
    state = ListState()
    is_first = True
    for path in files:
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written, or never acknowledged
                entry = Entry(line)
                entry.problem = entry.problem or _problem(entry, state, is_first=is_first)
                if entry.problem in ("", KEY_REPLACED):
                    try:
                        state.apply(entry.values, entry.data)
                    except (KeyError, TypeError):
                        entry.problem = "malformed"
                yield path, entry, state
                if entry.problem not in ("", KEY_REPLACED):
                    return
                is_first = False


def _problem(entry: Entry, state: ListState, *, is_first: bool) -> str:
    values = entry.values
    keys = state.keys
    if values["event"] == "key":
        public, endorsement = str(values.get("public")), str(values.get("endorsement"))
        if keys and not is_signed(keys[-1], public.encode(), endorsement):
            return KEY_REPLACED
        keys = [public]
    elif is_first and values["event"] == "continued":
        keys = values.get("keys", [])
    elif is_first:
        return "out of order"
    if not keys or not is_signed(keys[-1], entry.data, values["signature"]):
        return "signature invalid"
    is_next = values["k"] == state.k + 1 and values.get("previous") == state.previous
    return "" if is_next or is_first else "out of order"

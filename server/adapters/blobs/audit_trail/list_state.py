"""The list of checkpoints of all writers: signed entries, chained by hash.

A line is `<signature> <entry>`, the entry a JSON object. Each entry has its number `k`, a time, the SHA-256 of the
entry before (`previous`), and the fingerprint of the key that signed it. The kinds are:

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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from server.adapters.blobs.audit_trail.keys import SigningKey, is_signed
from server.adapters.blobs.audit_trail.log_lines import LogFile

_READ_BYTES = 1 << 20
SUFFIX = ".list"
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

    def apply_lines(self, text: bytes) -> None:
        """Add the entries of lines that have the right form."""
        for line in text.splitlines(keepends=True):
            entry = Entry(line)
            if not entry.problem:
                self.apply(entry.values, entry.data)

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


def list_name(number: int) -> str:
    """Return the name of a file of the list."""
    return f"{number:06d}{SUFFIX}"


def list_number(file: LogFile) -> int:
    """Return the number of a file of the list."""
    return int(file.name.removesuffix(SUFFIX))


def signed_lines(state: ListState, key: SigningKey, entries: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the lines of entries that follow a state, which is not changed."""
    text, k, previous = b"", state.k, state.previous
    for entry in entries:
        k += 1
        values = {
            "k": k,
            "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            **entry,
            "previous": previous,
            "key": key.fingerprint,
        }
        data = orjson.dumps(values)
        previous = hashlib.sha256(data).hexdigest()
        text += key.sign(data).encode() + b" " + data + b"\n"
    return text


def introduction(key: SigningKey, old: SigningKey | None = None) -> Mapping[str, Any]:
    """Return the entry for a new key; `old` is the key before, if it is known."""
    public = key.public
    return {"event": "key", "public": public, "endorsement": old.sign(public.encode()) if old else ""}


def continuation(state: ListState, first_file: int) -> Mapping[str, Any]:
    """Return the first entry of another file. It forgets writers whose records were removed."""
    writers = {name: asdict(writer) for name, writer in state.writers.items() if not writer.is_removed}
    return {"event": "continued", "first_file": first_file, "keys": state.keys, "writers": writers}


class ForeignKey(Exception):
    """The list is signed with another key; `public` is that key."""

    def __init__(self, public: str) -> None:
        super().__init__("The list of checkpoints is signed with another key.")
        self.public = public


def checked_entries(files: Iterable[LogFile]) -> Iterator[tuple[LogFile, Entry, ListState]]:
    """Yield each entry with the state after it; `Entry.problem` says what is wrong with one.

    Ends at a problem, except a key that the one before has not signed. Raises: OSError.
    """
    state = ListState()
    is_first = True
    for path in files:
        with path.open("rb", _READ_BYTES) as file:
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

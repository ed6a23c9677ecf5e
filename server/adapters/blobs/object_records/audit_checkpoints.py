"""The list of checkpoints on an object store; see `audit_trail.list_state` for its entries. All functions block.

    audit/checkpoints/<k>.list                     entries that were appended at once, from number k on
    audit/checkpoints/<first>-<last>-<part>.list   the same entries as the objects that it replaces

Number k of the next entry is the name of the object that is created, so that one process at a time appends; another one
reads it and tries again with the next number. Therefore objects are joined only when they are older than the longest
time between reading the list and appending to it. The part has the role of the number of a file: it begins with an
entry of kind `continued`, and only the newest parts are kept.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, BinaryIO, Literal, NamedTuple

from server.adapters.blobs.audit_trail.keys import SigningKey
from server.adapters.blobs.audit_trail.list_state import (
    Entry,
    ForeignKey,
    ListState,
    continuation,
    introduction,
    list_name,
    signed_lines,
)
from server.adapters.blobs.objects.client import Exists, NotFound, ObjectClient
from server.model.errors import DicomStoreError, Reason, Unavailable

_PART_BYTES = 4 << 20
_KEPT_PARTS = 16
_JOINED_OBJECTS = 100
_JOINED_AGE = timedelta(minutes=10)
_KNOWN_SECONDS = 300.0
"""For this time only, entries after the last known one are not among the joined ones."""

_ATTEMPTS = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SINGLE = re.compile(r"(\d{19})\.list")
_JOINED = re.compile(r"(\d{19})-(\d{19})-(\d{6})\.list")


class _Listed(NamedTuple):
    """An object; `last` and `part` are 0 if its name does not say them."""

    first: int
    last: int
    part: int
    name: str
    modified: datetime = _EPOCH


class _Gap(Exception):
    """Entries were joined that this process has not read."""


class ListPart:
    """LogFile: a part of the list."""

    def __init__(self, client: ObjectClient, number: int, names: Sequence[str]) -> None:
        self._client = client
        self._names = names
        self.name = list_name(number)

    def open(self, mode: Literal["rb"], buffering: int) -> BinaryIO:
        """See the protocol."""
        try:
            return BytesIO(b"".join([self._client.get(name)[0] for name in self._names]))
        except NotFound as error:
            raise FileNotFoundError(self.name) from error


class ObjectCheckpoints:
    """Checkpoints (see `audit_trail.place`).

    Args:
        key: signs the entries; None only reads.
    """

    def __init__(self, client: ObjectClient, prefix: str, key: SigningKey | None = None) -> None:
        self._client = client
        self._prefix = prefix
        self._key = key
        self._known_at = 0.0
        self._forget()

    def append(self, *entries: Mapping[str, Any]) -> ListState:
        """See the protocol."""
        key = self._required_key()
        state = self.state()
        if not state.keys:
            self._append(lambda state: [] if state.keys else [introduction(key)])
        if self._part_bytes > _PART_BYTES:
            self._continue()
        self._append(lambda _: entries)
        if len(self._singles) >= _JOINED_OBJECTS and not len(self._singles) % 10:
            with suppress(DicomStoreError, Exists, NotFound):
                self._join()
        return self._state

    def replace_key(self, old: SigningKey | None) -> None:
        """See the protocol."""
        key = self._required_key()

        def entries(state: ListState) -> Sequence[Mapping[str, Any]]:
            if not state.keys or state.keys[-1] == key.public:
                return []
            is_known = old is not None and old.public == state.keys[-1]
            return [introduction(key, old if is_known else None)]

        self.state()
        self._append(entries, replaces_key=True)

    def state(self) -> ListState:
        """See the protocol."""
        if time.monotonic() - self._known_at > _KNOWN_SECONDS:
            self._forget()
        gaps = 0
        for _ in range(_ATTEMPTS):
            began = time.monotonic()
            try:
                self._refresh(
                    accepts_gaps=gaps > 1
                )  # entries that are missing for good are a finding of a verification
            except NotFound:  # joined meanwhile
                self._forget()
            except _Gap:
                gaps += 1
                self._forget()
            else:
                self._known_at = began
                return self._state
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The list of checkpoints changes all the time.")

    def files(self) -> list[ListPart]:
        """See the protocol."""
        self.state()
        known = {one.name: part for one, _, part in self._singles}
        parts: dict[int, list[str]] = {}
        for one in self._listed():
            parts.setdefault(one.part or known.get(one.name, self._part), []).append(one.name)
        return [ListPart(self._client, number, names) for number, names in sorted(parts.items())]

    def _required_key(self) -> SigningKey:
        assert self._key is not None, "only a list with a key can be appended to"
        return self._key

    def _forget(self) -> None:
        self._state = ListState()
        self._known_at = float("-inf")
        self._part = 0  # of the last entry
        self._part_bytes = 0
        self._singles: list[tuple[_Listed, bytes, int]] = []  # with content and part

    def _append(
        self, entries_after: Callable[[ListState], Sequence[Mapping[str, Any]]], *, replaces_key: bool = False
    ) -> None:
        """Append the entries, none or more, for the present state. Raises: ForeignKey, as the client."""
        key = self._required_key()
        for _ in range(_ATTEMPTS):
            state = self._state
            if state.keys and state.keys[-1] != key.public and not replaces_key:
                raise ForeignKey(state.keys[-1])
            entries = entries_after(state)
            if not entries:
                return
            first = state.k + 1
            name = f"{self._prefix}{first:019d}.list"
            text = signed_lines(state, key, entries)
            try:
                self._client.create(name, text)
            except Exists:  # another process was faster
                self.state()
                continue
            self._add(_Listed(first, 0, 0, name), text)
            return
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The list of checkpoints could not be appended to.")

    def _refresh(self, *, accepts_gaps: bool) -> None:
        """Read what other processes have appended. Raises: NotFound, _Gap, if objects were joined meanwhile."""
        found = self._listed(f"{self._prefix}{self._state.k:019d}.list" if self._state.k else None)
        newest = max((one.part for one in found), default=0)
        for one in found:
            is_earlier_part = one.part and one.part < newest
            if max(one.last, one.first) > self._state.k and not is_earlier_part:
                if self._state.k and one.first > self._state.k + 1 and not accepts_gaps:
                    raise _Gap
                self._add(one, self._client.get(one.name)[0])

    def _add(self, listed: _Listed, text: bytes) -> None:
        if listed.part and not self._part:
            self._part = listed.part
        for line in text.splitlines(keepends=True):
            entry = Entry(line)
            if entry.problem or entry.values["k"] <= self._state.k:
                continue
            if not self._part:
                self._part = 1
            elif entry.values["event"] == "continued" and self._state.k:
                self._part, self._part_bytes = self._part + 1, 0
            self._state.apply(entry.values, entry.data)
        self._part_bytes += len(text)
        if not listed.part:
            self._singles.append((listed, text, self._part))

    def _continue(self) -> None:
        """Begin the next part with the state, and remove the oldest ones."""
        part = self._part
        first_part = max(1, part + 1 - _KEPT_PARTS + 1)
        self._append(lambda state: [continuation(state, first_part)] if self._part == part else [])
        with suppress(DicomStoreError):
            self._client.delete([one.name for one in self._listed() if 0 < one.part < first_part])

    def _join(self) -> None:
        """Replace old single objects by one for each part."""
        times = {one.name: one.modified for one in self._listed()}
        oldest = (
            max(times.values()) - _JOINED_AGE
        )  # by the clock of the service, which has stored the last one just now
        old = [single for single in self._singles if times.get(single[0].name, oldest) < oldest]
        if len(old) < _JOINED_OBJECTS:
            return
        for part in sorted({part for _, _, part in old}):
            members = [(one, text) for one, text, of in old if of == part]
            content = b"".join([text for _, text in members])
            first = members[0][0].first
            last = Entry(content.splitlines(keepends=True)[-1]).values["k"]
            self._client.create(f"{self._prefix}{first:019d}-{last:019d}-{part:06d}.list", content)
            self._client.delete([one.name for one, _ in members])
        self._singles = self._singles[len(old) :]

    def _listed(self, after: str | None = None) -> list[_Listed]:
        """Return the objects in order, without those whose entries are in another one."""
        found = []
        for listed in self._client.names(self._prefix, after=after):
            name = listed.name.removeprefix(self._prefix)
            if match := _SINGLE.fullmatch(name):
                found.append(_Listed(int(match[1]), 0, 0, listed.name, listed.last_modified))
            elif match := _JOINED.fullmatch(name):
                first, last, part = map(int, match.groups())
                found.append(_Listed(first, last, part, listed.name, listed.last_modified))
        kept, end = list[_Listed](), 0
        for one in sorted(found, key=lambda one: (one.first, -one.last)):
            if one.first > end:
                kept.append(one)
                end = max(end, one.last)
        return kept

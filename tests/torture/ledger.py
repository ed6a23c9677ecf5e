"""Instances that the clients of a run have stored and deleted, according to the acknowledgements."""

import random
from dataclasses import dataclass
from enum import Enum

from tests.data import part10

ROOT_UID = "1.2.826.0.1.3680043.8.498.77"
_SIZES = (100, 8_000, 120_000, 1_500_000)
"""Bytes of pixel data: records of a segment, and files of their own (above 1 MiB)."""
_SHARES = (4, 4, 3, 1)


class Violation(AssertionError):
    """The archive broke a guarantee."""


class State(Enum):
    """The known state of an instance. A request without a clear response leaves it unknown."""

    MAY_BE_STORED = "may be stored"
    STORED = "stored"
    MAY_BE_DELETED = "may be deleted"


@dataclass(slots=True, eq=False)
class Instance:
    """One instance; its bytes are computed from its number, so that they need not be held in memory."""

    number: int
    study: str
    size: int
    state: State = State.MAY_BE_STORED
    is_in_use: bool = False
    """A client is storing or deleting it."""
    is_damaged: bool = False
    last_change: str = ""
    """`create` or `delete`: the last change that the consumer of the feed has seen."""

    @property
    def uid(self) -> str:
        """SOP Instance UID."""
        return f"{self.study}.1.{self.number}"

    @property
    def path(self) -> str:
        """Its resource below `/v2`."""
        return f"/v2/studies/{self.study}/series/{self.study}.1/instances/{self.uid}"

    def pixels(self) -> bytes:
        """Return the bytes of its frame."""
        return random.Random(self.number).randbytes(self.size)

    def body(self) -> bytes:
        """Return its Part 10 bytes."""
        return part10(
            StudyInstanceUID=self.study,
            SeriesInstanceUID=f"{self.study}.1",
            SOPInstanceUID=self.uid,
            PatientID="P1",
            Rows=self.size // 100,
            Columns=100,
            frames=[self.pixels()],
        )


class Ledger:
    """All instances that exist or may exist. Deleted ones are forgotten: nothing else may be found."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._issued = 0
        self.instances: dict[str, Instance] = {}
        self.expected_changes: set[tuple[str, str]] = set()
        """(UID, `create` or `delete`) that was acknowledged and that the consumer of the change feed has not seen."""
        self.acknowledged = {"stores": 0, "deletes": 0}

    def new(self) -> Instance:
        """Return a new instance; about eight share a study."""
        self._issued += 1
        instance = Instance(self._issued, f"{ROOT_UID}.{self._issued // 8 + 1}", self._rng.choices(_SIZES, _SHARES)[0])
        self.instances[instance.uid] = instance
        return instance

    def pick(self, *states: State) -> Instance | None:
        """Return a random instance in one of these states that no client uses."""
        found = [one for one in self.instances.values() if one.state in states and not one.is_in_use]
        return self._rng.choice(found) if found else None

    def was_stored(self, instance: Instance) -> None:
        """Record an acknowledgement by the archive."""
        if instance.state is State.MAY_BE_STORED:
            self._expect(instance, "create")
            self.acknowledged["stores"] += 1
        instance.state = State.STORED

    def was_deleted(self, instance: Instance) -> None:
        """Record an acknowledgement by the archive."""
        self._expect(instance, "delete")
        self.acknowledged["deletes"] += 1
        del self.instances[instance.uid]

    def was_seen(self, uid: str, change: str) -> None:
        """Record an entry that the consumer of the change feed has read."""
        self.expected_changes.discard((uid, change))
        if instance := self.instances.get(uid):
            instance.last_change = change

    def _expect(self, instance: Instance, change: str) -> None:
        if instance.last_change != change:  # already seen if only the response was lost
            self.expected_changes.add((instance.uid, change))

    @property
    def stored(self) -> list[Instance]:
        """Return the instances that the archive must contain."""
        return [one for one in self.instances.values() if one.state is State.STORED]

"""Random changes of all kinds, compared with a plain model: stores, replacements, updates, reverts, deletes, restores,
erasures, holds, expiries and labels.

`DICOMSTORE_MODEL_SEEDS` and `DICOMSTORE_MODEL_STEPS` make the test longer.
"""

import itertools
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from server.adapters.sql.engine import Database, open_database
from server.model.change import ChangeState, ChangeWindow
from server.model.errors import Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, Address
from server.model.instance import Added, AlreadyStored, NewInstance, OnHold
from server.model.lifecycle.expiry import Expiry
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.update import Applied, ChangedFile, Content
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.operation import Operation, OperationState, OperationUpdate
from tests.contract.index.samples import NOON, identity, sample, series_ref, study_ref
from tests.contract.index.sequenced import sequence

SEEDS = int(os.environ.get("DICOMSTORE_MODEL_SEEDS", "2"))
STEPS = int(os.environ.get("DICOMSTORE_MODEL_STEPS", "120"))
RETENTION = timedelta(hours=5)
NUMBERS = (1, 2)
ID = "0" * 32

Place = tuple[int, ...]
"""Numbers of a study, and of a series and an instance in it."""

_keys = itertools.count(1)


def address_of(place: Place) -> Address:
    return (study_ref, series_ref, lambda *numbers: identity(*numbers).address)[len(place) - 1](*place)


def overlaps(one: Place, other: Place) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


@dataclass(eq=False)
class Group:
    """A study or series; another one with the same UID may have been deleted, or be stored later."""

    key: int = field(default_factory=lambda: next(_keys))
    labels: dict[str, str] = field(default_factory=dict)
    expires: datetime | None = None


@dataclass(eq=False)
class Instance:
    """An instance, stored or deleted. order: ascends with each change."""

    place: Place
    study: Group
    series: Group
    contents: list[str]
    order: int
    labels: dict[str, str] = field(default_factory=dict)
    erase_after: datetime = NOON
    is_being_erased: bool = False


class Model:
    """An index in memory, without anything that makes one fast or durable."""

    def __init__(self) -> None:
        self.live: dict[Place, Instance] = {}
        self.groups: dict[Place, Group] = {}
        self.trash: list[Instance] = []
        self.gone: dict[Place, set[Group]] = {}
        self.holds: set[Place] = set()
        self.staged: dict[Instance, tuple[int, str]] = {}  # order of the instance and new content
        self.unused: set[str] = set()  # contents to be erased that no instance has

    def within(self, place: Place) -> list[Instance]:
        return [one for one in self.live.values() if overlaps(one.place, place)]

    def is_held(self, place: Place) -> bool:
        return any(overlaps(hold, place) for hold in self.holds)

    def labels_of(self, place: Place) -> dict[str, str] | None:
        if len(place) == 3:
            return self.live[place].labels if place in self.live else None
        return self.groups[place].labels if place in self.groups else None

    def store(self, place: Place, locator: str) -> None:
        study = self.groups.setdefault(place[:1], Group())
        series = self.groups.setdefault(place[:2], Group())
        self.live[place] = Instance(place, study, series, [locator], next(_keys))

    def delete(self, place: Place, erase_after: datetime) -> int:
        found = self.within(place)
        for one in found:
            del self.live[one.place]
            one.erase_after = erase_after
            self.trash.append(one)
        for of in {one.place[:depth] for one in found for depth in (1, 2)}:
            if not self.within(of):
                group = self.groups.pop(of)
                group.expires = None
                self.gone.setdefault(of, set()).add(group)
        return len(found)

    def undelete(self, place: Place, not_erased_at: datetime) -> int:
        count = 0
        candidates = [one for one in self.trash if overlaps(one.place, place) and len(one.place) >= len(place)]
        last = {one.place: one for one in sorted(self.trash, key=lambda one: one.order)}
        for one in sorted(candidates, key=lambda one: one.order):
            if one.erase_after <= not_erased_at or one.place in self.live or last[one.place] is not one:
                continue
            if one.place[:1] not in self.groups:
                self.groups[one.place[:1]] = max(self.gone[one.place[:1]], key=lambda group: group.key)
            self.groups.setdefault(one.place[:2], one.series)
            one.study, one.series = self.groups[one.place[:1]], self.groups[one.place[:2]]
            one.order = next(_keys)
            self.live[one.place] = one
            count += 1
        self.trash = [one for one in self.trash if self.live.get(one.place) is not one]
        self.forget_groups()
        return count

    def due(self, now: datetime) -> list[Instance]:
        return [
            one
            for one in self.trash
            if one.is_being_erased or (one.erase_after <= now and not self.protects(one.place))
        ]

    def exists(self, place: Place) -> bool:
        """Return whether there are instances, or deleted ones whose erasure has not begun."""
        retained = (one for one in self.trash if not one.is_being_erased)
        return any(overlaps(place, one.place) for one in (*self.live.values(), *retained))

    def change(self, instance: Instance, content: str) -> None:
        instance.contents.append(content)
        instance.order = next(_keys)

    def unstage(self, instances: Iterable[Instance]) -> None:
        self.unused |= {self.staged.pop(one)[1] for one in instances}

    def protects(self, place: Place) -> bool:
        """Return whether a hold includes a deleted instance."""
        return any(overlaps(hold, place) and len(hold) <= len(place) for hold in self.holds)

    def erase(self, contents: set[str]) -> None:
        self.trash = [one for one in self.trash if not contents.issuperset(one.contents)]
        self.unused -= contents
        self.forget_groups()

    def forget_groups(self) -> None:
        needed = {group for one in self.trash for group in (one.study, one.series)}
        self.gone = {place: groups & needed for place, groups in self.gone.items()}


class Run:
    """One run: each action is done with the index and with the model, and must have the same result."""

    def __init__(self, url: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.url = url
        self.database: Database = open_database(url)
        self.model = Model()
        self.now = NOON
        self.log: list[str] = []
        self.erasing: set[str] = set()

    async def start(self) -> None:
        running = Operation(ID, "update", OperationState.RUNNING, NOON, NOON)
        await self.database.operations.start("", lambda _: running)

    def a_place(self, *depths: int) -> Place:
        return tuple(self.chance.choice(NUMBERS) for _ in range(self.chance.choice(depths)))

    async def step(self) -> None:
        self.now += timedelta(minutes=self.chance.randrange(90))
        actions = (
            *(self.store, self.store, self.store, self.replace, self.delete, self.undelete, self.undelete),
            *(self.erase_now, self.begin_erasure, self.end_erasure, self.hold, self.release, self.expire),
            *(self.stage, self.stage, self.apply, self.apply, self.discard, self.revert),
            *(self.label, self.label, self.set_expiry, self.restart),
        )
        action = self.chance.choice(actions)
        self.log.append(action.__name__)
        await action()
        await self.compare()

    async def store(self, *, may_replace: bool = False) -> None:
        place = self.a_place(3)
        new = replace(sample(*place), may_replace=may_replace)
        [outcome] = await self.database.instances.add([new], self.now)
        existing = self.model.live.get(place)
        if existing is None:
            assert isinstance(outcome, Added), self.log
            self.model.store(place, new.locator)
        elif not may_replace:
            assert isinstance(outcome, AlreadyStored), self.log
        elif self.model.protects(place):
            assert isinstance(outcome, OnHold), self.log
        else:
            assert isinstance(outcome, Added), self.log
            self.model.change(existing, new.locator)

    async def replace(self) -> None:
        await self.store(may_replace=True)

    async def revert(self) -> None:
        place = self.a_place(3)
        new = sample(*place, provenance=Provenance("a", "", VersionOrigin.REVERTED))
        existing = self.model.live.get(place)
        if existing is not None and self.model.protects(place):
            with pytest.raises(WrongState):
                await self.database.instances.add_version(new, self.now)
            return
        outcome = await self.database.instances.add_version(new, self.now)
        assert isinstance(outcome, Added) == (existing is not None), self.log
        if existing is not None:
            self.model.change(existing, new.locator)

    async def stage(self) -> None:
        """Stage updates of a study, a series or an instance; of one study at a time, as the operation does."""
        place, staged = self.a_place(1, 2, 3), self.model.staged
        if any(one.place[:1] != place[:1] for one in staged):
            await self.discard()
        found = await self.database.updates.contents(address_of(place), 0, 100)
        instances = {address_of(one.place): one for one in self.model.within(place)}
        assert {one.stored.id.address: one.stored.locator for one in found} == {
            address: one.contents[-1] for address, one in instances.items()
        }, self.log
        files = [(one.stored, ChangedFile(f"updated-{next(_keys)}", 1000, 5, [], False)) for one in found]
        assert await self.database.updates.stage(ID, files, OperationUpdate)
        for stored, file in files:
            instance = instances[stored.id.address]
            self.model.unstage({instance} & staged.keys())
            staged[instance] = (instance.order, file.locator)

    async def apply(self) -> None:
        model, staged = self.model, self.model.staged
        if not staged:
            return
        study = next(iter(staged)).place[:1]
        gone = [one for one in staged if model.live.get(one.place) is not one]
        stale = [one for one in staged if one not in gone and one.order != staged[one][0]]
        current = [one for one in staged if one not in gone and one not in stale]

        def described(content: Content, file: ChangedFile) -> NewInstance:
            new = sample(id=content.stored.id, provenance=Provenance("a", "", VersionOrigin.UPDATED))
            return replace(new, locator=file.locator)

        applying = self.database.updates.apply(
            ID,
            address_of(study),
            described,
            self.now,
            lambda operation, _: OperationUpdate(operation),
            OperationUpdate,
        )
        if not stale and any(model.protects(one.place) for one in current):
            with pytest.raises(WrongState):
                await applying
            return
        assert await applying == (Applied(has_stale=True) if stale else Applied(len(current))), self.log
        model.unstage([*gone, *stale])
        if not stale:
            for one in current:
                model.change(one, staged.pop(one)[1])

    async def discard(self) -> None:
        await self.database.updates.discard(ID, self.now)
        self.model.unstage(list(self.model.staged))

    async def delete(self) -> None:
        place, erase_after = self.a_place(1, 2, 3), self.now + RETENTION
        if self.model.is_held(place):
            if self.model.within(place):
                with pytest.raises(WrongState) as caught:
                    await self.database.instances.delete(address_of(place), self.now, erase_after)
                assert caught.value.reason is Reason.ON_HOLD
            return
        count = await self.database.instances.delete(address_of(place), self.now, erase_after)
        assert count == self.model.delete(place, erase_after), self.log

    async def undelete(self) -> None:
        place = self.a_place(1, 2, 3)
        count = await self.database.instances.undelete(address_of(place), self.now, self.now)
        assert count == self.model.undelete(place, self.now), self.log

    async def erase_now(self) -> None:
        place = self.a_place(1, 2, 3)
        if self.model.is_held(place):
            return
        count = await self.database.instances.erase_now(address_of(place), self.now)
        found = [one for one in self.model.trash if overlaps(one.place, place) and one.erase_after > self.now]
        for one in found:
            one.erase_after = self.now
        assert count == len(found), self.log

    async def begin_erasure(self) -> None:
        due = self.model.due(self.now)
        self.erasing = set(await self.database.instances.begin_erasure(self.now, 1000))
        expected = {locator for one in due for locator in one.contents} | self.model.unused
        assert self.erasing == expected, self.log
        for one in due:
            one.is_being_erased = True

    async def end_erasure(self) -> None:
        await self.database.instances.erased(sorted(self.erasing))
        self.model.erase(self.erasing)
        self.erasing = set()

    async def hold(self) -> None:
        place = self.a_place(1, 2, 3)
        is_set = await self.database.holds.set(Hold(address_of(place), "", "why", "a", self.now))
        assert is_set == self.model.exists(place), self.log
        if is_set:
            self.model.holds.add(place)

    async def release(self) -> None:
        if self.model.holds:
            place = self.chance.choice(sorted(self.model.holds))
            assert await self.database.holds.release(address_of(place), ""), self.log
            self.model.holds.remove(place)

    async def set_expiry(self) -> None:
        place = self.a_place(1)
        expires = self.now + timedelta(hours=self.chance.randrange(4))
        is_set = await self.database.expiries.set(address_of(place), Expiry(expires, "a", self.now), self.now)
        assert is_set == (place in self.model.groups), self.log
        if is_set:
            self.model.groups[place].expires = expires

    async def expire(self) -> None:
        due = await self.database.expiries.due(self.now, 9)
        assert set(due) == {address_of(place) for place in self.expired()}, self.log
        for place in self.expired():
            erase_after = self.now + RETENTION
            count = await self.database.expiries.expire(
                address_of(place), self.now, self.now, erase_after, author="a", reason=""
            )
            assert count == self.model.delete(place, erase_after) > 0, self.log

    def expired(self) -> list[Place]:
        return [
            place
            for place, group in self.model.groups.items()
            if group.expires is not None and group.expires <= self.now and not self.model.is_held(place)
        ]

    async def label(self) -> None:
        place = self.a_place(1, 2, 3)
        name, value = self.chance.choice("ab"), self.chance.choice(("", "1", "2"))
        labels = self.model.labels_of(place)
        found = await self.database.labels.change(address_of(place), lambda now: {**now, name: value}, self.now)
        if labels is not None:
            labels[name] = value
        assert found == labels, self.log

    async def restart(self) -> None:
        await self.database.close()
        self.database = open_database(self.url)

    async def compare(self) -> None:
        """Compare all instances and labels, and the history of one instance."""
        found = {
            (one.id.study, one.id.series, one.id.instance): one.locator
            for one in await self.database.instances.find(Address(DEFAULT_PARTITION))
        }
        expected = {
            (address.study, address.series, address.instance): one.contents[-1]
            for place, one in self.model.live.items()
            for address in [address_of(place)]
        }
        assert found == expected, self.log
        places = [*every_place()]
        labels = await self.database.labels.of(DEFAULT_PARTITION, [address_of(place) for place in places])
        assert labels == {
            address_of(place): of_place for place in places if (of_place := self.model.labels_of(place))
        }, self.log
        if self.model.live:
            one = self.chance.choice([*self.model.live.values()])
            history = await self.database.instances.history(address_of(one.place))
            assert sorted(version.locator for version in history) == sorted(one.contents), self.log

    async def finish(self) -> None:
        """Compare the change feed, and erase everything that was deleted."""
        await sequence(self.database.changes)
        entries = await self.database.changes.list(ChangeWindow(limit=10_000))
        assert [entry.sequence for entry in entries] == sorted({entry.sequence for entry in entries})
        current = [entry.instance.address for entry in entries if entry.state is ChangeState.CURRENT]
        assert sorted(map(repr, current)) == sorted(repr(address_of(place)) for place in self.model.live), self.log
        while self.model.holds:
            await self.release()
        self.now += RETENTION
        await self.discard()
        await self.begin_erasure()
        await self.end_erasure()
        assert not self.model.trash
        assert not self.model.unused
        await self.compare()


def every_place() -> Iterator[Place]:
    for depth in (1, 2, 3):
        yield from itertools.product(NUMBERS, repeat=depth)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_index_and_a_plain_model_have_the_same_contents_after_each_change(url: str, seed: int) -> None:
    run = Run(url, seed)
    try:
        await run.start()
        for _ in range(STEPS):
            await run.step()
        await run.finish()
    finally:
        await run.database.close()

"""Process kills and index loss lose no acknowledged instance, change or label, and never bring a deleted one back.

Random sequences of stores, updates, reverts, deletes, restores, labels, kills, backups and restores of the index,
wrong, lost and damaged indexes, and recoveries, some of which are killed. `DICOMSTORE_MODEL_SEEDS` and
`DICOMSTORE_MODEL_STEPS` make the test longer.
"""

import os
import random
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.archive_process import Event, in_a_process, recover, work

SEEDS = int(os.environ.get("DICOMSTORE_MODEL_SEEDS", "2"))
STEPS = int(os.environ.get("DICOMSTORE_MODEL_STEPS", "12"))


class Model:
    """An archive, and the instances that it must, may and must not contain."""

    def __init__(self, root: Path, seed: int, database: str = "") -> None:
        self.chance = random.Random(seed)
        self.data = root / "data"
        self.backups = root / "backups"
        self.backups.mkdir()
        self.checksums: dict[str, set[int]] = {}  # by instance: of the last acknowledged content, and of later ones
        self.restoring: set[str] = set()  # requested, not acknowledged
        self.database = database
        self.stored: set[str] = set()  # acknowledged
        self.deleted: set[str] = set()  # acknowledged
        self.deleting: set[str] = set()  # requested, not acknowledged
        self.labels: dict[str, set[str | None]] = {}  # the last acknowledged one, and later ones
        self.clock_offset = timedelta(0)
        self.right_index: Path | None = None  # the right index, while another one replaces it
        self.log: list[str] = []

    # Faults

    def run(self) -> None:
        self.started(kill_after_s=None)

    def run_and_kill(self) -> None:
        self.started(kill_after_s=self.chance.uniform(0.02, 0.25))

    def time_passes(self) -> None:
        self.clock_offset += timedelta(hours=self.chance.choice((1, 12, 200)))

    def back_up(self) -> None:
        if (self.data / "index.db").exists():
            backup = self.backups / f"{len(list(self.backups.iterdir()))}.db"
            with sqlite3.connect(self.data / "index.db") as live, sqlite3.connect(backup) as copy:
                live.backup(copy)
            live.close()
            copy.close()

    def restore(self) -> None:
        backups = sorted(self.backups.glob("*.db"))
        if backups:
            self.move_index_away()
            shutil.copy(self.chance.choice(backups), self.data / "index.db")
            self.wrong_index()

    def lose(self) -> None:
        self.move_index_away()
        match self.chance.randrange(3):
            case 0:
                (self.data / "index.db").touch()
            case 1:
                (self.data / "index.db").write_bytes(b"no database" * 1000)
        self.wrong_index()

    def use_foreign_index(self) -> None:
        other = self.data.parent / "other"
        in_a_process(work, other, self.chance.random(), timedelta(0), None)
        self.move_index_away()
        shutil.copy(other / "index.db", self.data / "index.db")
        self.wrong_index(is_foreign=True)

    def damage_log(self) -> None:
        log = self.data / "index.db-wal"
        if log.exists() and log.stat().st_size > 5000:
            damaged = bytearray(log.read_bytes())
            damaged[self.chance.randrange(32, len(damaged))] ^= 0xFF
            log.write_bytes(damaged)
            self.started(kill_after_s=None)

    # Repairs

    def move_index_away(self) -> None:
        self.right_index = self.data.parent / "right_index"
        shutil.rmtree(self.right_index, ignore_errors=True)
        self.right_index.mkdir()
        for path in self.data.glob("index.db*"):
            path.rename(self.right_index / path.name)

    def wrong_index(self, *, is_foreign: bool = False) -> None:
        """Start on the wrong index, which must change nothing; then restore the right index, or recover."""
        assert self.right_index is not None
        if self.chance.random() < 0.7:
            self.started(kill_after_s=None)
        if is_foreign or self.chance.random() < 0.5:
            for path in self.data.glob("index.db*"):
                path.unlink()
            for path in self.right_index.iterdir():
                path.rename(self.data / path.name)
            self.started(kill_after_s=None)
        else:
            self.recover()

    def recover(self) -> None:
        if (self.data / "index.db").exists() and (self.data / "index.db").read_bytes().startswith(b"no database"):
            (self.data / "index.db").unlink()
        kill_after_s: float | None = self.chance.choice((None, self.chance.uniform(0.02, 0.4)))
        events = in_a_process(recover, self.data, kill_after_s)
        self.log.append(f"recover {kill_after_s} {events}")
        if not events:
            events = in_a_process(recover, self.data, None)
            self.log.append(f"recover {events}")
        assert events[-1][0] == "recovered"
        assert self.started(kill_after_s=None)[0][0] == "contents"

    # Checks

    def started(self, *, kill_after_s: float | None) -> list[Event]:
        """Run one process; compare the contents it reports and its changes with the model."""
        unanswered = sorted(self.checksums.keys() - self.stored - self.deleted)
        seed = self.chance.random()
        events = in_a_process(work, self.data, seed, self.clock_offset, kill_after_s, unanswered, self.database)
        self.log.append(f"work {kill_after_s} {[kind for kind, _ in events]}")
        is_read_only = False
        for kind, detail in events:
            match kind:
                case "refused" | "read-only":
                    is_read_only = True
                    self.log.append(detail)
                case "contents" if not is_read_only:
                    self.compare(detail)
                case "labels" if not is_read_only:
                    self.compare_labels(detail)
                case "labelling":
                    self.labels.setdefault(detail[0], {None}).add(detail[1])
                case "labelled":
                    self.labels[detail[0]] = {detail[1]}
                case "storing" | "changing":
                    self.checksums.setdefault(detail[0], set()).add(detail[1])
                case "changed":
                    self.checksums[detail[0]] = {detail[1]}
                case "restoring":
                    self.restoring.add(detail)
                case "stored":
                    self.stored.add(detail)
                    for gone in (self.restoring, self.deleted, self.deleting):
                        gone.discard(detail)
                case "deleting":
                    self.deleting.add(detail)
                case "deleted":
                    self.deleted.add(detail)
        if is_read_only and self.chance.random() < 0.5 and self.right_index is None:
            self.recover()
        return events

    def compare(self, contents: dict[str, int | None]) -> None:
        must = self.stored - self.deleting
        assert must <= contents.keys(), (must - contents.keys(), self.log)
        self.deleted -= self.restoring & contents.keys()
        self.restoring.clear()
        assert not self.deleted & contents.keys(), (self.deleted & contents.keys(), self.log)
        for uid, checksum in contents.items():
            assert checksum in self.checksums[uid], (uid, self.log)
        # A delete without acknowledgement happened or did not; either result is final.
        self.deleted |= self.deleting - contents.keys()
        self.stored |= contents.keys()
        self.deleting &= self.deleted

    def compare_labels(self, labels: dict[str, str]) -> None:
        for uid in self.stored - self.deleted - self.deleting:
            assert labels.get(uid) in self.labels.get(uid, {None}), (uid, labels.get(uid), self.labels, self.log)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back(tmp_path: Path, seed: int) -> None:
    model = Model(tmp_path, seed)
    model.run()
    for _ in range(STEPS):
        action = model.chance.choice(
            (
                model.run,
                model.run_and_kill,
                model.run_and_kill,
                model.time_passes,
                model.back_up,
                model.restore,
                model.lose,
                model.use_foreign_index,
                model.damage_log,
            )
        )
        model.log.append(action.__name__)
        model.right_index = None
        action()
    model.right_index = None
    if model.started(kill_after_s=None)[0][0] != "contents":
        model.recover()


@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_lost_in_postgresql(tmp_path: Path, postgres_url: str) -> None:
    model = Model(tmp_path, 0, postgres_url)
    model.run()
    for _ in range(STEPS):
        action = model.chance.choice((model.run, model.run_and_kill, model.run_and_kill, model.time_passes))
        model.log.append(action.__name__)
        action()
    assert model.started(kill_after_s=None)[0][0] == "contents"

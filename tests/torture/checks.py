"""Checks after each event, with the clients paused."""

import asyncio
import hashlib
import re
from array import array

import grpc
import httpx
from dicomstore.v1 import change_feed_service_pb2 as pb

from tests.core import CoreClient
from tests.torture.installation import Installation
from tests.torture.ledger import Instance, Ledger, Violation
from tests.torture.traffic import JSON, ONE

_ACTIONS = {pb.CHANGE_ACTION_CREATE: "create", pb.CHANGE_ACTION_DELETE: "delete"}
_PAGE = 200
_AGAIN = 2000
"""Entries of the change feed that are read a second time by each check."""


class Consumer:
    """Follows the change feed as a client does: from the last sequence that it has seen."""

    def __init__(self, installation: Installation, ledger: Ledger) -> None:
        self._installation = installation
        self._ledger = ledger
        self._last = 0
        self._seen = array("q")

    async def catch_up(self) -> None:
        """Read to the end. Every acknowledged change must appear, and none below a sequence number already read."""
        async with grpc.aio.insecure_channel(self._installation.core) as channel:
            client = CoreClient(channel, self._installation.data)
            again = self._seen[-_AGAIN:]
            if again:
                found = [entry.sequence for entry in await _entries(client, again[0] - 1, again[-1])]
                if found != list(again):
                    raise Violation(f"the change feed has changed between {again[0]} and {again[-1]}")
            for entry in await _entries(client, self._last):
                if entry.sequence <= self._last:
                    raise Violation(f"sequence {entry.sequence} comes after {self._last}")
                self._last = entry.sequence
                self._seen.append(entry.sequence)
                self._ledger.was_seen(entry.instance.sop_instance_uid, _ACTIONS[entry.action])
        if self._ledger.expected_changes:
            missing = sorted(self._ledger.expected_changes)[:5]
            raise Violation(f"the change feed lacks {len(self._ledger.expected_changes)} entries: {missing}")

    def begins_anew(self) -> None:
        """Expect only that sequence numbers increase: index and feed have been rebuilt."""
        self._seen = array("q")


async def _entries(client: CoreClient, after: int, up_to: int | None = None) -> list[pb.ChangeEntry]:
    found: list[pb.ChangeEntry] = []
    while page := await client.changes(after_sequence=after, page_size=_PAGE):
        found += [entry for entry in page if up_to is None or entry.sequence <= up_to]
        after = page[-1].sequence
        if up_to is not None and after >= up_to:
            break
    return found


async def check_holdings(installation: Installation, ledger: Ledger) -> int:
    """Compare the whole archive with the ledger, byte for byte; return the number of instances compared."""
    compared = 0
    async with httpx.AsyncClient(base_url=installation.url, timeout=90) as http:
        found = await _found(http)
        for instance in ledger.stored:
            if instance.uid not in found:
                raise Violation(f"{instance.path} was acknowledged and is not found")
        if unknown := found - set(ledger.instances):
            raise Violation(f"{sorted(unknown)[:5]} were deleted, or never stored, and are found")
        studies: dict[str, list[Instance]] = {}
        for uid in found:
            studies.setdefault(ledger.instances[uid].study, []).append(ledger.instances[uid])
        for study, instances in studies.items():
            compared += await _compare_study(http, study, instances)
    return compared


async def _compare_study(http: httpx.AsyncClient, study: str, instances: list[Instance]) -> int:
    metadata = await http.get(f"/v2/studies/{study}/metadata", headers=JSON)
    if metadata.status_code != 200 or len(metadata.json()) != len(instances):
        raise Violation(f"metadata of {study} is {metadata.status_code} or incomplete: {metadata.text[:300]}")
    damaged = [instance for instance in instances if instance.is_damaged]
    for instance in damaged:
        for path in (instance.path, f"{instance.path}/frames/1"):
            if (status := (await http.get(path, headers={"Accept": "*/*"})).status_code) != 500:
                raise Violation(f"{path} is damaged, and is answered {status}")
    answer = await http.get(
        f"/v2/studies/{study}", headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    )
    if answer.status_code != (200 if not damaged else 500 if len(damaged) == len(instances) else 206):
        raise Violation(f"{study} with {len(damaged)} of {len(instances)} damaged is {answer.status_code}")
    if answer.status_code == 500:
        return 0
    boundary = re.search(r'boundary="?([^";]+)', answer.headers["Content-Type"])
    assert boundary is not None
    got = {hashlib.sha256(part).digest() for part in _parts(answer.content, boundary[1].encode())}
    intact = [instance for instance in instances if not instance.is_damaged]
    bodies = await asyncio.to_thread(lambda: {hashlib.sha256(one.body()).digest() for one in intact})
    if got != bodies:
        raise Violation(
            f"{study}: {len(got - bodies)} parts differ from the stored ones, {len(bodies - got)} are missing"
        )
    return len(intact)


def _parts(body: bytes, boundary: bytes) -> list[bytes]:
    pieces = body.split(b"--" + boundary)[1:-1]
    return [piece.partition(b"\r\n\r\n")[2][:-2] for piece in pieces]


async def _found(http: httpx.AsyncClient) -> set[str]:
    found: set[str] = set()
    url: str | None = "/v2/instances?limit=200"
    while url:
        answer = await http.get(url, headers=JSON)
        if answer.status_code not in (200, 204):
            raise Violation(f"a search is {answer.status_code}: {answer.text[:300]}")
        found |= {item["00080018"]["Value"][0] for item in (answer.json() if answer.content else [])}
        url = answer.links.get("next", {}).get("url")
    return found


async def check_read_only(installation: Installation, known: list[Instance]) -> None:
    """Check an archive with an older index: its instances can be read, and every change is refused."""
    async with httpx.AsyncClient(base_url=installation.url, timeout=90) as http:
        for instance in known[:10]:
            answer = await http.get(instance.path, headers=ONE)
            if answer.status_code != 200 or answer.content != instance.body():
                raise Violation(f"{instance.path} is {answer.status_code} in a read-only archive, or has other bytes")
        new = Instance(0, "1.2.826.0.1.3680043.8.498.78.1", 100)
        headers = JSON | {"Content-Type": "application/dicom"}
        refused = [(await http.post("/v2/studies", content=new.body(), headers=headers)).status_code]
        refused += [(await http.delete(instance.path)).status_code for instance in known[:1]]
        if set(refused) != {503}:
            raise Violation(f"a read-only archive answers changes with {refused}")

"""The drills of docs/operations.md for disasters of an archive on PostgreSQL and a bucket, as written there."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from server.adapters.blobs.objects.client import ObjectClient
from tests.conftest import PostgresDatabases
from tests.data import part10
from tests.e2e.archive import Archive
from tests.e2e.test_damaged_index import PART10, becomes, becomes_unavailable, store
from tests.e2e.test_drills import drill, run
from tests.faulty_proxy import Fault, FaultyProxy, running_proxy
from tests.object_store import ObjectStore

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

DICOM = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
STUDY = "1.2.3"


class Site:
    """The machines of an archive, its database and its buckets."""

    def __init__(self, directory: Path, databases: PostgresDatabases, buckets: ObjectStore, proxy: FaultyProxy) -> None:
        self._directory = directory
        self._databases = databases
        self._buckets = buckets
        self._archives: list[Archive] = []
        self.proxy = proxy
        self.settings = {"blobs": buckets.bucket(), "database": self.new_database(), "secret_key": "s" * 32}

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        return self._databases.url(self._databases.create())

    def new_bucket(self) -> str:
        """Return the URL of an empty bucket."""
        return self._buckets.bucket()

    def machine(self, **changed: str) -> Archive:
        """Return a machine with an empty data directory, and other settings."""
        settings = self.settings | changed
        self._archives.append(Archive(self._directory / f"machine-{len(self._archives)}", **settings))
        return self._archives[-1]

    def started(self, **changed: str) -> Archive:
        """Return a machine whose node serves."""
        machine = self.machine(**changed)
        machine.start_core()
        machine.start_facade()
        return machine

    def stop(self) -> None:
        """Stop all machines."""
        for archive in self._archives:
            archive.stop()


@pytest.fixture
def site(
    tmp_path: Path, postgres_databases: PostgresDatabases, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    with running_proxy(object_store.endpoint) as proxy:
        for name, value in {**object_store.environment, "AWS_ENDPOINT_URL": proxy.endpoint}.items():
            monkeypatch.setenv(name, value)
        site = Site(tmp_path, postgres_databases, object_store, proxy)
        yield site
        site.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "instance.dcm"
    path.write_bytes(part10(StudyInstanceUID=STUDY))
    return path


def retrieval(http: httpx.Client, study: str) -> int:
    return http.get(f"/v2/studies/{study}", headers=DICOM).status_code


def fails(commands: str) -> str:
    """Return commands of which the last one, `doctor`, is to fail."""
    others, _, last = commands.strip().rpartition("\n")
    return f"{others}\nif {last}; then exit 1; fi\n"


def replicate(source: str, target: str) -> None:
    """Copy the objects of a bucket to another one, except leases: `recover` would wait for their end."""
    here, there = ObjectClient(source), ObjectClient(target)
    for listed in here.names():
        if not listed.name.startswith("processes/"):
            there.create(listed.name, here.get(listed.name)[0])


def test_an_unreachable_bucket_is_503_searches_continue_and_the_archive_recovers_with_it(site: Site) -> None:
    [commands] = drill("When the bucket cannot be reached")
    archive = site.started()
    with httpx.Client(base_url=archive.http, timeout=60) as http:
        cached, other = store(http), store(http)
        assert retrieval(http, cached) == 200
        site.proxy.kinds, site.proxy.rate = (Fault.CUT_BEFORE,), 1.0
        becomes_unavailable(http)
        parts = {part["name"]: part["status"] for part in http.get("/health/check").json()["details"]}
        assert (parts["blobs"], parts["index"]) == ("Unhealthy", "Healthy")
        assert len(http.get("/v2/studies").json()) == 2
        assert http.get(f"/v2/studies/{other}/metadata", headers={"Accept": "*/*"}).status_code == 200
        assert retrieval(http, cached) == 200
        assert retrieval(http, other) == 503
        refused = http.post("/v2/studies", content=part10(), headers=PART10)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        assert http.delete(f"/v2/studies/{cached}").status_code == 503
        assert "no response" in run(archive, fails(commands))
        site.proxy.rate = 0.0
        becomes(http, "Healthy")
        assert retrieval(http, other) == retrieval(http, cached) == 200
        store(http)


def test_another_node_serves_at_once_and_a_lost_database_is_rebuilt_from_the_bucket(site: Site) -> None:
    [check] = drill("When a node is lost")
    [rebuild] = drill("When PostgreSQL is lost")
    archive = site.started()
    with httpx.Client(base_url=archive.http, timeout=60) as http:
        study = store(http)
    archive.stop()
    node = site.started()
    run(node, check)
    with httpx.Client(base_url=node.http, timeout=60) as http:
        assert retrieval(http, study) == 200
    node.stop()
    assert "1 instances added" in run(site.machine(database=site.new_database()), rebuild)


def test_a_replica_replaces_a_lost_bucket_and_without_one_the_metadata_remains(site: Site, file: Path) -> None:
    from_replica, store_again = drill("When the bucket is lost")
    archive = site.started()
    replica, empty = site.new_bucket(), site.new_bucket()
    with httpx.Client(base_url=archive.http, timeout=60) as http:
        store(http)
        replicate(site.settings["blobs"], replica)
        assert http.post("/v2/studies", content=file.read_bytes(), headers=PART10).status_code == 200
    archive.stop()
    ObjectClient(empty).create("archive.json", ObjectClient(site.settings["blobs"]).get("archive.json")[0])

    found = run(site.machine(blobs=replica), fails(from_replica))
    assert "2 instances, 1 without bytes" in found, found

    without_bytes = site.started(blobs=empty)
    with httpx.Client(base_url=without_bytes.http, timeout=60) as http:
        assert len(http.get("/v2/studies").json()) == 2
        assert http.get(f"/v2/studies/{STUDY}/metadata", headers={"Accept": "*/*"}).status_code == 200
        assert retrieval(http, STUDY) == 500
        run(without_bytes, store_again, STUDY=STUDY, FILES=file)
        assert retrieval(http, STUDY) == 200


def test_a_bucket_and_the_database_of_another_archive_are_refused_and_named(site: Site) -> None:
    configuration, doctor = drill("When a node has the wrong bucket or database")[0].strip().splitlines()
    begin(site.machine())
    other = site.new_database()
    begin(site.machine(blobs=site.new_bucket(), database=other))
    wrong = site.machine(database=other)
    assert "belongs to another archive" in wrong.refusal()
    assert site.settings["blobs"] in run(wrong, configuration)
    assert "belongs to another archive" in run(wrong, fails(doctor))
    assert "whose bytes are not in" in site.machine(blobs=site.new_bucket()).refusal()


def test_a_wrong_clock_and_lost_keys_are_reported_and_accepted(site: Site) -> None:
    [accept] = drill("When the clock is wrong")
    [replace] = drill("When the keys are lost")
    archive = site.machine()
    begin(archive)
    url = make_url(site.settings["database"]).set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(url, autocommit=True) as connection:  # the system clock is years ahead of the recorded time
        connection.execute("INSERT INTO clock (key, time) VALUES (1, 0) ON CONFLICT (key) DO UPDATE SET time = 0")
    assert clock_of(archive) == "warning"
    run(archive, accept)
    assert clock_of(archive) == "ok"

    without = site.machine(secret_key="t" * 32)
    assert "replace-key" in without.refusal()
    run(without, replace)
    begin(without)
    assert "key replaced" in without.run("server", "verify-audit", check=False).stdout


def begin(archive: Archive) -> None:
    """Start and stop the core of an archive."""
    archive.start_core()
    archive.stop()


def clock_of(archive: Archive) -> str:
    checks = json.loads(archive.run("server", "check", check=False).stdout)["checks"]
    return str(next(entry["status"] for entry in checks if entry["name"] == "clock"))

"""Settings → adapters → domain → servicers → server: the one place where the parts meet, in the order they start.

They stop in the opposite order: nothing new is taken, calls in flight finish, then blobs and database are let go.
"""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from server.adapters.blobs.packed import PackedBlobs
from server.adapters.blobs.scrub_file import ScrubFile
from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.adapters.sqlite_spool import SqliteSpool
from server.adapters.workers.pool import WorkerPool
from server.config import Settings
from server.dicom.matching.query_tags import extract
from server.domain.change_feed import ChangeFeed
from server.domain.damage import DamageRecord
from server.domain.delete import Delete
from server.domain.flow.ingest_budget import Room
from server.domain.flow.response_budget import Pace
from server.domain.limits import MAX_MESSAGE_BYTES
from server.domain.operations import Backlog, Operations, Work
from server.domain.partitions import PartitionGate
from server.domain.render.documents import Texts
from server.domain.render.image_info import Images
from server.domain.render.images import Pictures
from server.domain.render.rendered import RetrieveRendered
from server.domain.render.thumbnails import Thumbnails
from server.domain.retrieve.all_bulk_data import RetrieveAllBulkData
from server.domain.retrieve.blob_reader import Reading
from server.domain.retrieve.bulk_data import RetrieveBulkData
from server.domain.retrieve.encapsulated_value import FragmentReader
from server.domain.retrieve.frame_cache import FrameCache
from server.domain.retrieve.frame_transcoder import Transcoder
from server.domain.retrieve.frames import RetrieveFrames
from server.domain.retrieve.instance_transcoder import InstanceTranscoder
from server.domain.retrieve.instances import RetrieveInstances
from server.domain.retrieve.metadata import RetrieveMetadata
from server.domain.retrieve.pixel_descriptions import Descriptions
from server.domain.retrieve.stored_frames import PixelReader
from server.domain.search.query_tags import ExtendedQueryTags
from server.domain.search.search import Search
from server.domain.store.commit import Committer
from server.domain.store.receive import Store
from server.domain.store.writability import Writing
from server.domain.upkeep.audit import Audit
from server.domain.upkeep.garbage import Housekeeping
from server.domain.upkeep.recovery import Recovered, Recovery
from server.domain.upkeep.scrub import Scrub
from server.domain.upkeep.steady_clock import SteadyClock, clock_problem
from server.model.receipt import Receipt
from server.model.scrub import ScrubPosition
from server.opening import StartError, prepare_when_there, recovering
from server.ports.workers import Workers
from server.rpc.capabilities import CapabilitiesServicer
from server.rpc.change_feed import ChangeFeedServicer
from server.rpc.delete import DeleteServicer
from server.rpc.extended_query_tags import ExtendedQueryTagServicer
from server.rpc.health import Health
from server.rpc.observe import Boundary
from server.rpc.operations import OperationServicer
from server.rpc.partition import PartitionServicer
from server.rpc.retrieve import RetrieveServicer
from server.rpc.search import SearchServicer
from server.rpc.services import SERVICES, Services
from server.rpc.store import StoreServicer

if TYPE_CHECKING:
    from server.jobs.engine import Engine

_OPTIONS = (
    # A peer that has vanished without a word is found out within 80 s, and its calls end.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Peers that ping more often than this are cut off after two warnings.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
    # A connection without calls is closed in the end; its peer makes another when it needs one. The age of one is not
    # bounded, because an upload may take as long as it likes.
    ("grpc.max_connection_idle_ms", 600_000),
    # gRPC takes in this much of each stream before anybody reads it. Left to itself it takes in a megabyte and more of
    # each, and no `Room` would bound that. A message that is being read has as much of a window as it needs.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 << 10),
    # What the contract allows in a message, and room for what stands around the bytes.
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES + (1 << 20)),
)

_CALLS_BESIDES = 20
"""Calls of health and reflection on one connection, beside those of our services."""

_WORK_NICENESS = 10
"""How far long work stands back from whoever waits for an answer."""

_PERFORM = "server.dicom.worker_jobs.perform"
"""What worker processes do with a job. Only they import it."""

_WORKER_FRAMES = 8
"""A worker may need the memory of so many frames of the largest size."""

_WORKER_BYTES = 256 << 20
"""What it may need besides, to import codecs among others."""

_log = logging.getLogger("dicomstore")


@dataclass(frozen=True, slots=True)
class Core:
    """A running core.

    address: where it listens, with the real port.
    room: the memory for instances on their way to disk.
    interceptors: stand around every call.
    register: adds its services to a server, which is `grpc.aio.Server` or like it; the core's own has them already.
    """

    address: str
    room: Room
    interceptors: Sequence[Boundary]
    register: Callable[[Any], None]


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Return the seconds since the system started, including those in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@asynccontextmanager
async def running(settings: Settings, *, worker_runs: Callable[[], bool] = lambda: True) -> AsyncIterator[Core]:
    """Run the core until the context is left.

    Args:
        worker_runs: says whether the process runs that works on operations, if that is known.

    Raises:
        StartError: see the message.
        DicomStoreError: database or data directory can't be used.
    """
    prepared = await prepare_when_there(settings)
    access = prepared.access
    async with AsyncExitStack() as stack:
        marks = prepared.marks
        assert marks is not None, "this process uses blobs"
        stack.push_async_callback(asyncio.to_thread, marks.leave)
        stack.push_async_callback(asyncio.to_thread, prepared.journal.close)
        database = engine.open_database(
            settings.database_url,
            settings.search_seconds,
            extract,
            permit=access.require_writable,
            progress=Progress(prepared.mark, marks.note, access.restrict, prepared.journal),
        )
        stack.push_async_callback(database.close)
        blobs = await stack.enter_async_context(PackedBlobs(settings.data))
        await _require_partitions_if_used(settings, database)

        gate = PartitionGate(database.partitions, enabled=settings.partitions, now=now)
        feed = ChangeFeed(database.changes)
        clock = SteadyClock(database.clock, now, elapsed, timedelta(hours=settings.clock_jump_hours))
        await clock.start()
        committer = Committer(blobs, database.instances, now, feed.ring, clock.now)
        retention = timedelta(hours=settings.retention_hours)
        housekeeping = Housekeeping(
            blobs=blobs,
            index=database.instances,
            committer=committer,
            clock=clock,
            retention=retention,
            quarantine=timedelta(hours=settings.quarantine_hours),
            access=access,
        )
        if recovered := await housekeeping.recover():
            _log.info("recovered what an unfinished run left count=%d", recovered)
        operations = Operations(record=database.operations, tags=database.tags, now=now, worker_runs=worker_runs)
        writing = Writing(blobs, database.instances, settings.warn_free_bytes)
        needed = {"index": database.instances.check, "blobs": blobs.check}
        others = {"writes": writing.check, "operations": operations.check, "changes": access.check}
        watch = Health(SERVICES, needed, others, writing.noticed)

        tags = ExtendedQueryTags(tags=database.tags, now=now)
        damage = DamageRecord(database.instances)
        store = Store(
            blobs=blobs,
            committer=committer,
            writing=writing,
            gate=gate,
            access=access,
            receipt=lambda partition: Receipt(partition, clock.now(), marks.latest.version),
            max_instance_bytes=settings.max_instance_bytes,
            max_header_bytes=settings.max_header_bytes,
            damage=damage,
            accepts_identical=settings.identical_instances == "accept",
        )
        delete = Delete(
            index=database.instances,
            gate=gate,
            access=access,
            now=now,
            deadline_now=clock.now,
            retention=retention,
            on_change=feed.ring,
        )
        room = Room(settings.max_ingest_bytes, settings.ingest_wait_seconds)
        pace = Pace(settings.max_answer_bytes)
        reading = Reading(blobs, pace, damage)
        workers: Workers = await stack.enter_async_context(
            WorkerPool(
                _PERFORM,
                count=settings.pixel_worker_count,
                job_seconds=settings.pixel_seconds,
                memory_bytes=_WORKER_BYTES + _WORKER_FRAMES * settings.max_frame_bytes,
            )
        )
        fragments = FragmentReader(reading)
        pixels = PixelReader(reading, database.instances)
        transcoder = Transcoder(
            workers=workers,
            descriptions=Descriptions(database.instances),
            cache=FrameCache(settings.frame_cache_bytes),
            damage=damage,
            max_frame_bytes=settings.max_frame_bytes,
        )
        frames = RetrieveFrames(
            reading=reading, pixels=pixels, transcoder=transcoder, index=database.instances, gate=gate
        )
        bulk_data = RetrieveBulkData(reading=reading, fragments=fragments, index=database.instances, gate=gate)
        images = Images(reading=reading, index=database.instances)
        pictures = Pictures(images=images, workers=workers, damage=damage, max_frame_bytes=settings.max_frame_bytes)
        services = Services(
            store=StoreServicer(store, MAX_MESSAGE_BYTES, room),
            retrieve=RetrieveServicer(
                instances=RetrieveInstances(
                    reading=reading,
                    transcoder=InstanceTranscoder(reading=reading, pixels=pixels, transcoder=transcoder, damage=damage),
                    index=database.instances,
                    gate=gate,
                ),
                frames=frames,
                bulk_data=bulk_data,
                all_bulk_data=RetrieveAllBulkData(
                    values=bulk_data, frames=frames, reading=reading, index=database.instances, gate=gate
                ),
                metadata=RetrieveMetadata(reading=reading, index=database.instances, gate=gate),
                rendered=RetrieveRendered(
                    reading=reading,
                    index=database.instances,
                    gate=gate,
                    pixels=pixels,
                    images=images,
                    pictures=pictures,
                    texts=Texts(reading=reading, index=database.instances, images=images, bulk_data=bulk_data),
                    thumbnails=Thumbnails(
                        index=database.instances,
                        pixels=pixels,
                        images=images,
                        pictures=pictures,
                        workers=workers,
                        cache=FrameCache(settings.thumbnail_cache_bytes),
                    ),
                ),
                pace=pace,
            ),
            search=SearchServicer(Search(database.instances, gate, database.tags)),
            delete=DeleteServicer(delete),
            change_feed=ChangeFeedServicer(feed),
            tags=ExtendedQueryTagServicer(tags),
            operations=OperationServicer(operations),
            partition=PartitionServicer(gate),
            capabilities=CapabilitiesServicer(settings),
            health=watch.servicer,
        )
        interceptors = [Boundary(settings.max_calls, settings.max_watches)]
        server = grpc.aio.server(interceptors=interceptors, options=_options(settings))
        services.register(server)
        if settings.reflection:
            reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)

        address = _bind(server, settings.grpc)
        await server.start()
        await watch.check()
        scrub_file = ScrubFile(settings.data)
        stack.callback(scrub_file.close)
        scrub = Scrub(
            blobs=blobs,
            index=database.instances,
            damage=damage,
            record=scrub_file,
            now=clock.now,
            latest=lambda: marks.latest.version,
            period=timedelta(days=settings.scrub_days),
            access=access,
        )
        chores = [
            asyncio.create_task(housekeeping.run(settings.erase_interval_seconds)),
            asyncio.create_task(scrub.run()),
            asyncio.create_task(watch.run()),
        ]
        try:
            yield Core(address, room, interceptors, services.register)
        finally:
            await watch.leave()
            feed.close()
            await server.stop(settings.shutdown_seconds)
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)


@asynccontextmanager
async def working(settings: Settings, stale_seconds: float | None = None) -> AsyncIterator["Engine | None"]:
    """Work on operations until the context is left; what made no progress for so long is taken over.

    None if the archive is read-only: then there is nothing to do until it is started again.

    Raises: as `running`.
    """
    from server.jobs import engine as jobs  # not above: processes that serve do without the engine's memory

    prepared = await prepare_when_there(settings, only_index=True)
    if prepared.access.cause:
        yield None
        return
    async with AsyncExitStack() as stack:
        database = engine.open_database(
            settings.database_url, settings.search_seconds, extract, reading_niceness=_WORK_NICENESS
        )
        stack.push_async_callback(database.close)
        await ExtendedQueryTags(tags=database.tags, now=now).finish_deletions()
        work = Work(
            record=database.operations, tags=database.tags, now=now, keep=timedelta(days=settings.operation_days)
        )
        # Whoever restarts on this machine with this data is the one that was killed.
        name = f"{socket.gethostname()}:{settings.data.absolute()}"
        yield await stack.enter_async_context(
            jobs.engine(
                work,
                database_url=settings.operations_url,
                executor=name,
                stale_seconds=jobs.STALE_SECONDS if stale_seconds is None else stale_seconds,
            )
        )


async def backlog(settings: Settings) -> Backlog:
    """Return how much there is to do for workers. Raises: DicomStoreError, as the index does."""
    async with AsyncExitStack() as stack:
        database = engine.open_database(settings.database_url, settings.search_seconds)
        stack.push_async_callback(database.close)
        return await Operations(record=database.operations, tags=database.tags, now=now).backlog()


async def check_clock(settings: Settings) -> str:
    """Say how the system's clock contradicts the recorded time; "" if it does not. Raises: DicomStoreError."""
    async with AsyncExitStack() as stack:
        database = engine.open_database(settings.database_url, settings.search_seconds)
        stack.push_async_callback(database.close)
        return clock_problem(await database.clock.latest(), now(), timedelta(hours=settings.clock_jump_hours))


async def accept_clock(settings: Settings) -> datetime:
    """Record the system's time, unless a later one is recorded; return what is recorded then.

    Raises: DicomStoreError.
    """
    async with AsyncExitStack() as stack:
        database = engine.open_database(settings.database_url, settings.search_seconds)
        stack.push_async_callback(database.close)
        return await database.clock.advance(now())


async def recover(settings: Settings, *, with_quarantined: bool = False) -> Recovered:
    """Rebuild the index from the blobs, or complete it; see `Recovery`. Blocks the event loop now and then.

    Raises:
        StartError: see the message.
        DicomStoreError: database or data directory can't be used.
    """
    async with AsyncExitStack() as stack:
        prepared = stack.enter_context(recovering(settings))
        marks = prepared.marks
        assert marks is not None, "a recovery uses blobs"
        database = engine.open_database(
            settings.database_url,
            settings.search_seconds,
            extract,
            progress=Progress(prepared.mark, marks.note, prepared.access.restrict, prepared.journal),
        )
        stack.push_async_callback(database.close)
        clock = SteadyClock(database.clock, now, elapsed, timedelta(hours=settings.clock_jump_hours))
        await clock.start()
        blobs = await stack.enter_async_context(PackedBlobs(settings.data))
        spool = stack.enter_context(SqliteSpool(settings.data / "recovery.tmp"))
        return await Recovery(
            blobs=blobs,
            index=database.instances,
            partitions=database.partitions,
            spool=spool,
            retired=prepared.journal.entries(),
            now=clock.now,
            retention=timedelta(hours=settings.retention_hours),
            max_header_bytes=settings.max_header_bytes,
            with_quarantined=with_quarantined,
        ).run()


@asynccontextmanager
async def auditing(settings: Settings) -> AsyncIterator[Audit]:
    """Open index and blobs for an audit, beside a running core or alone."""
    async with AsyncExitStack() as stack:
        database = engine.open_database(settings.database_url, settings.search_seconds)
        stack.push_async_callback(database.close)
        blobs = await stack.enter_async_context(PackedBlobs(settings.data))
        yield Audit(blobs=blobs, index=database.instances, changes=database.changes)


async def scrub_position(settings: Settings) -> ScrubPosition | None:
    """Return how far the scrub has come; None if it has not begun. Raises: Unavailable."""
    with closing(ScrubFile(settings.data)) as record:
        return await record.load()


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        *_OPTIONS,
        # Two cores on one port by accident would share its calls and both seem to work.
        ("grpc.so_reuseport", int(settings.share_ports)),
        # Calls beyond this wait at the client, so it is more than what `Boundary` lets in: that refuses and says so.
        ("grpc.max_concurrent_streams", 2 * (settings.max_calls + settings.max_watches) + _CALLS_BESIDES),
    ]


async def _require_partitions_if_used(settings: Settings, database: engine.Database) -> None:
    if not settings.partitions and len(await database.partitions.list()) > 1:
        raise StartError("The store has data partitions, which can't be switched off: set DICOMSTORE_PARTITIONS=true.")


def _bind(server: grpc.aio.Server, address: str) -> str:
    """Listen on HOST:PORT and return it with the real port. Port 0 takes any free one."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"Can't listen on {address}: is it in use?") from error
    return f"{address.rpartition(':')[0]}:{port}"

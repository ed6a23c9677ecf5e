"""The entry point that serves calls.

Components start in the order of the functions below and stop in reverse order: no new calls are accepted, running calls
finish, then blobs and database are closed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from common.addresses import exposure, exposure_warnings, is_loopback
from common.telemetry.metrics import provided
from common.tls import TlsError, TlsFiles
from common.tls_settings import listener_files
from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.bootstrap import grpc_server
from server.bootstrap.archive_components import ArchiveComponents
from server.bootstrap.auditing import emptied, recording
from server.bootstrap.authentication import authenticator_of
from server.bootstrap.components import NO_SUPERVISOR, Supervisor
from server.bootstrap.monitoring import metrics_of, monitored
from server.config import Settings
from server.dicom.matching.query_tags import extract
from server.domain.flow.ingest_budget import IngestBudget
from server.domain.lease import Work
from server.domain.limits import MAX_MESSAGE_BYTES
from server.domain.monitoring.metrics import Metrics
from server.domain.operations.types import OperationType
from server.opening import StartError, prepare_when_there
from server.rpc.capabilities import CapabilitiesServicer
from server.rpc.change_feed import ChangeFeedServicer
from server.rpc.delete import DeleteServicer
from server.rpc.events.study_events import StudyEventServicer
from server.rpc.events.webhooks import WebhookServicer
from server.rpc.extended_query_tags import ExtendedQueryTagServicer
from server.rpc.interceptors.authentication import Authenticator
from server.rpc.interceptors.revocation import NotRevoked
from server.rpc.interceptors.surround import Surround
from server.rpc.lifecycle.commitments import CommitmentServicer
from server.rpc.lifecycle.labels import LabelServicer
from server.rpc.lifecycle.service import LifecycleServicer
from server.rpc.lifecycle.transfers import TransferServicer
from server.rpc.lifecycle.versions import VersionServicer
from server.rpc.monitoring.health import Health
from server.rpc.monitoring.metrics import MetricsServicer
from server.rpc.operations import OperationMessages, OperationServicer
from server.rpc.partition import PartitionServicer
from server.rpc.retrieve import RetrieveServicer
from server.rpc.search import SearchServicer
from server.rpc.security.access import AccessServicer
from server.rpc.security.audit import AuditServicer
from server.rpc.security.logins import LoginServicer
from server.rpc.security.share_links import ShareServicer
from server.rpc.security.tokens import TokenServicer
from server.rpc.services import SERVICES, Services
from server.rpc.store import StoreServicer
from server.rpc.worklist.events import WorkitemEventServicer
from server.rpc.worklist.workitem_rules import WorkitemRuleServicer
from server.rpc.worklist.workitems import WorkitemServicer

_log = logging.getLogger("dicomstore")


@dataclass(frozen=True, slots=True)
class Core:
    """A running core.

    address: of the listener, with the actual port.
    client_certificates_address: of the listener for clients with certificates, or empty.
    authenticator: verifies the credentials of calls.
    ingest_budget: the memory for received data that is not on disk yet.
    interceptors: applied to every call.
    register: adds the services to a `grpc.aio.Server` or a compatible object; the core's own server has them already.
    """

    address: str
    client_certificates_address: str
    authenticator: Authenticator
    ingest_budget: IngestBudget
    interceptors: Sequence[Surround]
    register: Callable[[Any], None]


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    kind: str = "core",
    supervisor: Supervisor = NO_SUPERVISOR,
    more_operation_types: Sequence[OperationType] = (),
) -> AsyncIterator[Core]:
    """Run the core until the context is left.

    Args:
        kind: of this process, see `common.telemetry.neighbours`.
        supervisor: the program that runs the operations worker, if this process knows it.
        more_operation_types: in addition to the built-in ones.

    Raises:
        StartError: see the message.
        DicomStoreError: the database or the data directory is unusable.
    """
    async with (
        _opened(settings, supervisor, more_operation_types) as components,
        monitored(components, kind) as neighbours,
    ):
        watch = _health(components)
        tls = _tls(settings)
        authenticator = await authenticator_of(components)
        if tls is not None:
            authenticator = NotRevoked(authenticator, tls)
        services = _services(components, watch, authenticator, metrics_of(components, neighbours))
        interceptors = grpc_server.interceptors(settings, authenticator, components.recorder)
        server = grpc.aio.server(interceptors=interceptors, options=grpc_server.options(settings))
        services.register(server)
        if settings.reflection:
            reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        address, client_address = await _listen(server, settings, tls, authenticator)
        await server.start()
        await watch.check()
        chores = [
            asyncio.create_task(components.housekeeping.run_own(settings.erase_interval_seconds)),
            asyncio.create_task(watch.run()),
            asyncio.create_task(components.operation_watch.run()),
            asyncio.create_task(components.sequencer.run()),
            asyncio.create_task(components.background_lease.run(*_background_work(components))),
            asyncio.create_task(components.token_verifier.run()),
            asyncio.create_task(components.acknowledgements.run()),
        ]
        if components.syslog_export is not None:
            chores.append(asyncio.create_task(components.syslog_export.run()))
        if components.recorder is not None:
            components.recorder.event("core", "application-start", address=address)
            chores.append(asyncio.create_task(components.recorder.run()))
        if components.outbox is not None:
            chores.append(asyncio.create_task(components.outbox.run(components.database.outbox)))
        if tls:
            chores.append(asyncio.create_task(tls.watch()))
        try:
            with provided(watch.samples):
                yield Core(
                    address, client_address, authenticator, components.ingest_budget, interceptors, services.register
                )
        finally:
            await watch.leave()
            components.feed.close()
            components.study_events.close()
            components.audit_search.close()
            components.event_hub.close()
            components.transfers.close()
            await server.stop(settings.shutdown_seconds)
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await components.token_verifier.record()
            await components.acknowledgements.write()
            if components.recorder is not None:
                components.recorder.event("core", "application-stop")


def _background_work(components: ArchiveComponents) -> Sequence[Work]:
    """Return the work that one process of the archive does at a time."""
    interval_seconds = components.settings.erase_interval_seconds
    return (
        lambda: components.housekeeping.run(interval_seconds),
        components.scrub.run,
        components.commitments.run,
        components.partition_deletion.run,
        components.expiry_worker.run,
        components.rule_engine.run,
        lambda: _events(components),
    )


async def _events(components: ArchiveComponents) -> None:
    """Create the events of studies, and deliver events to webhooks, until cancelled."""
    async with await asyncio.to_thread(components.event_sender) as sender:
        await asyncio.gather(components.study_event_source.run(), components.delivery(sender).run())


@asynccontextmanager
async def _opened(
    settings: Settings, supervisor: Supervisor, more_operation_types: Sequence[OperationType]
) -> AsyncIterator[ArchiveComponents]:
    """Open index and blobs, and clean up after an interrupted run."""
    prepared = await prepare_when_there(settings)
    async with AsyncExitStack() as stack:
        read_only, storage = prepared.read_only, prepared.storage
        stack.push_async_callback(asyncio.to_thread, storage.close)
        recorder = await stack.enter_async_context(recording(settings, storage, uses_outbox=True))
        database = engine.open_database(
            settings.database_url,
            settings.search_seconds,
            extract,
            permit=read_only.require_writable,
            progress=Progress(prepared.mark, storage.marks.record, read_only.restrict, storage.journal),
            listen_url=settings.database_listen.get_secret_value(),
            replica_url=settings.database_replica.get_secret_value(),
            replica_wait_seconds=settings.replica_wait_seconds,
        )
        stack.push_async_callback(database.close)
        await database.connect()
        if recorder is not None and recorder.outbox is not None:
            await stack.enter_async_context(emptied(recorder.outbox, database.outbox))
        blobs = await stack.enter_async_context(storage.blobs())
        await _require_partitions_if_used(settings, database)
        components = ArchiveComponents(
            settings=settings,
            database=database,
            supervisor=supervisor,
            more_operation_types=more_operation_types,
            storage=storage,
            blobs=blobs,
            read_only=read_only,
            recorder=recorder,
            requires_authentication=prepared.requires_authentication,
        )
        _require_syslog_settings(components)
        await components.clock.start()
        if recovered := await components.housekeeping.recover():
            _log.info("cleaned up unfinished uploads of an interrupted run count=%d", recovered)
        await stack.enter_async_context(components.workers)
        if components.issuers is not None:
            await stack.enter_async_context(components.issuers)
        yield components


def _require_syslog_settings(components: ArchiveComponents) -> None:
    try:
        _ = components.syslog_export
    except ValueError as error:
        raise StartError(f"Settings: {error}") from error


async def _require_partitions_if_used(settings: Settings, database: engine.Database) -> None:
    if not settings.partitions and len(await database.partitions.list()) > 1:
        raise StartError(
            "The store contains data partitions, so they cannot be disabled: set DICOMSTORE_PARTITIONS=true."
        )


async def check_exposure(address: str, settings: Settings, authenticator: Authenticator, *, has_tls: bool) -> None:
    """Check an address on which to listen: only one of this machine is permitted if authentication is off.

    The log has warnings for an address that other machines can reach without authentication or encryption.

    Raises:
        StartError: it is not permitted, and the settings do not accept it nevertheless.
    """
    if is_loopback(address):
        return
    is_open = await authenticator.is_open()
    if is_open and not settings.insecure_without_authentication:
        raise StartError(exposure(address))
    for warning in exposure_warnings(address, is_open=is_open, has_tls=has_tls):
        _log.warning("%s", warning)


def _tls(settings: Settings) -> TlsFiles | None:
    try:
        return listener_files(settings)
    except TlsError as error:
        raise StartError(f"TLS: {error}") from error


async def _listen(
    server: grpc.aio.Server, settings: Settings, tls: TlsFiles | None, authenticator: Authenticator
) -> tuple[str, str]:
    """Listen on the address of the core and the one for clients with certificates; return both."""
    await check_exposure(settings.grpc, settings, authenticator, has_tls=tls is not None)
    credentials = grpc_server.credentials(tls, client_required=settings.tls_client_required) if tls else None
    address = grpc_server.bind(server, settings.grpc, credentials)
    if not tls or not settings.grpc_client_certificates:
        return address, ""
    await check_exposure(settings.grpc_client_certificates, settings, authenticator, has_tls=True)
    required = grpc_server.credentials(tls, client_required=True)
    return address, grpc_server.bind(server, settings.grpc_client_certificates, required)


def _health(components: ArchiveComponents) -> Health:
    needed = {"index": components.database.instances.check, "blobs": components.blobs.check}
    others = {
        "writes": components.writing.check,
        "operations": components.operations.check,
        "changes": components.read_only.check,
        "authentication": components.check_issuers,
    }
    return Health(SERVICES, needed, others, components.writing.noticed)


def _services(components: ArchiveComponents, watch: Health, authenticator: Authenticator, metrics: Metrics) -> Services:
    return Services(
        store=StoreServicer(components.store, components.ingest_budget, MAX_MESSAGE_BYTES),
        retrieve=RetrieveServicer(
            instances=components.retrieve_instances,
            frames=components.retrieve_frames,
            bulk_data=components.retrieve_bulk_data,
            all_bulk_data=components.retrieve_all_bulk_data,
            metadata=components.retrieve_metadata,
            rendered=components.retrieve_rendered,
            budget=components.response_budget,
        ),
        search=SearchServicer(components.search),
        delete=DeleteServicer(components.delete),
        versions=VersionServicer(components.versions),
        lifecycle=LifecycleServicer(components.trash, components.holds, components.expiry),
        labels=LabelServicer(components.labels),
        commitments=CommitmentServicer(components.commitments),
        transfers=TransferServicer(components.transfers),
        workitems=WorkitemServicer(components.workitems, components.workitem_searches),
        workitem_rules=WorkitemRuleServicer(components.workitem_rules),
        workitem_events=WorkitemEventServicer(components.subscriptions, components.event_streams),
        change_feed=ChangeFeedServicer(components.feed, components.consumers),
        study_events=StudyEventServicer(components.study_events),
        webhooks=WebhookServicer(components.webhooks),
        tags=ExtendedQueryTagServicer(components.tags, OperationMessages(components.operation_types)),
        operations=OperationServicer(components.operations),
        partition=PartitionServicer(components.partitions),
        tokens=TokenServicer(components.tokens),
        share_links=ShareServicer(components.share_links),
        logins=LoginServicer(components.logins),
        capabilities=CapabilitiesServicer(components.settings, authenticator),
        access=AccessServicer(components.access, components.roles),
        audit=AuditServicer(components.audit_search),
        metrics=MetricsServicer(metrics),
        health=watch.servicer,
    )

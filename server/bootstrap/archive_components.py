"""The parts of the core that need index and blobs."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from common.tls import TlsPaths
from server.adapters.sources.sources import PermittedSources
from server.adapters.syslog import TlsSyslogServer
from server.adapters.workers.pool import WorkerPool
from server.bootstrap.components import IndexComponents, now
from server.bootstrap.exporting import export_of
from server.domain.audit_search.azure_entries import AzureEntries
from server.domain.audit_search.dicom_messages import DicomMessages
from server.domain.audit_search.search import AuditForms, AuditSearch
from server.domain.audit_search.syslog_export import SyslogExport
from server.domain.damage import DamageRecord
from server.domain.flow.ingest_budget import IngestBudget
from server.domain.flow.response_budget import ResponseBudget
from server.domain.imports.operation import Import
from server.domain.imports.request import canonical
from server.domain.lifecycle.commitments import Commitments, Verifier
from server.domain.lifecycle.delete import Delete
from server.domain.lifecycle.expiry import Expiry, ExpiryWorker
from server.domain.lifecycle.holds import Holds
from server.domain.lifecycle.labels import LabelService
from server.domain.lifecycle.partition_deletion import PartitionDeletion
from server.domain.lifecycle.transfers import Transfers
from server.domain.lifecycle.trash import Trash
from server.domain.lifecycle.versions import Versions
from server.domain.operations.exporting.export import Export
from server.domain.operations.move import Move
from server.domain.operations.rewriting import Rewriting
from server.domain.operations.types import OperationType
from server.domain.operations.update import Update
from server.domain.render.documents import DocumentRenderer
from server.domain.render.image_info import ImageInfoReader
from server.domain.render.images import ImageRenderer
from server.domain.render.rendered import RetrieveRendered
from server.domain.render.thumbnails import Thumbnails
from server.domain.retrieve.all_bulk_data import RetrieveAllBulkData
from server.domain.retrieve.blob_reader import BlobReader
from server.domain.retrieve.bulk_data import RetrieveBulkData
from server.domain.retrieve.encapsulated_value import FragmentReader
from server.domain.retrieve.frame_transcoder import Transcoder
from server.domain.retrieve.frames import RetrieveFrames
from server.domain.retrieve.instance_transcoder import InstanceTranscoder
from server.domain.retrieve.instances import RetrieveInstances
from server.domain.retrieve.metadata import RetrieveMetadata
from server.domain.retrieve.pixel_descriptions import PixelDescriptionReader
from server.domain.retrieve.stored_frames import PixelReader
from server.domain.store.commit import Committer
from server.domain.store.quota import Quotas
from server.domain.store.receive import Store
from server.domain.store.writability import Writing
from server.domain.upkeep.audit import Audit
from server.domain.upkeep.garbage import Housekeeping
from server.domain.upkeep.scrub import Scrub
from server.domain.worklist.event_hub import EventHub
from server.domain.worklist.event_streams import Acknowledgements, EventStreams
from server.domain.worklist.retention import WorklistRetention
from server.domain.worklist.rule_engine import RuleEngine
from server.domain.worklist.rule_workitems import RuleWorkitems
from server.domain.worklist.search import WorkitemSearches
from server.domain.worklist.subscriptions import Subscriptions
from server.domain.worklist.workitem_rules import WorkitemRules
from server.domain.worklist.workitems import Workitems
from server.model.ids import PartitionName
from server.model.receipt import Receipt
from server.ports.blobs import BlobStore
from server.ports.index import Sequenced
from server.ports.storage import Storage

if TYPE_CHECKING:
    from server.adapters.webhooks.sender import HttpSender

_PERFORM = "server.dicom.worker_jobs.perform"
"""The function that pixel workers call for a job. Only pixel workers import it."""

_WORKER_FRAMES = 8
"""A pixel worker may need the memory of this many frames of the largest size."""

_WORKER_BYTES = 256 << 20
"""Memory that a pixel worker may need in addition, for imports of codecs and others."""


@dataclass(frozen=True, kw_only=True)
class ArchiveComponents(IndexComponents):
    """The components, and what they are constructed from.

    storage: closed by the entry point.
    blobs: of the storage; opened and closed by the entry point, like `workers`.
    """

    storage: Storage
    blobs: BlobStore

    async def remember_tokens(self) -> None:
        """See `IndexComponents`."""
        await asyncio.to_thread(self.storage.identity.require_authentication)

    @cached_property
    def retention(self) -> timedelta:
        """Time between the deletion of an instance and the erasure of its bytes."""
        return timedelta(hours=self.settings.retention_hours)

    @cached_property
    def damage(self) -> DamageRecord:
        """The record of damaged instances."""
        return DamageRecord(self.database.instances)

    @cached_property
    def audit(self) -> Audit:
        """The comparison of index, blobs and change feed."""
        return Audit(blobs=self.blobs, index=self.database.instances, changes=self.database.changes)

    @cached_property
    def audit_forms(self) -> AuditForms:
        """The forms of audit records on export."""
        settings = self.settings
        azure = AzureEntries(" ".join(settings.auth_issuers), " ".join(settings.auth_audiences))
        return AuditForms(azure, DicomMessages())

    @cached_property
    def syslog_export(self) -> SyslogExport | None:
        """The export of the audit trail by syslog; None if it is not configured. Raises: ValueError."""
        settings = self.settings
        if not settings.audit_syslog:
            return None
        paths = TlsPaths(settings.audit_syslog_certificate, settings.audit_syslog_key, settings.audit_syslog_ca)
        return SyslogExport(self.storage.audit, TlsSyslogServer(settings.audit_syslog, paths), DicomMessages())

    @cached_property
    def audit_search(self) -> AuditSearch:
        """Reading the audit trail."""
        return AuditSearch(self.access, self.storage.audit, self.audit_forms)

    @cached_property
    def committer(self) -> Committer:
        """The commit of stored instances."""
        index, stored = self.database.instances, self.sequencer.stored
        return Committer(self.blobs, index, now, stored, self.clock.now, self.outbox)

    @cached_property
    def housekeeping(self) -> Housekeeping:
        """Recovery after a crash, and erasure of deleted blobs."""
        return Housekeeping(
            blobs=self.blobs,
            index=self.database.instances,
            moves=self.database.blob_moves,
            committer=self.committer,
            clock=self.clock,
            retention=self.retention,
            quarantine=self.settings.quarantine_period,
            read_only=self.read_only,
            work=self.record_work,
            others=[self.worklist_retention.remove],
        )

    def look_for_work(self) -> None:
        """See `IndexComponents`."""
        self.housekeeping.start_soon()

    @cached_property
    def scrub(self) -> Scrub:
        """The periodic check of all stored bytes within `scrub_days`."""
        return Scrub(
            blobs=self.blobs,
            index=self.database.instances,
            damage=self.damage,
            record=self.storage.scrub,
            now=self.clock.now,
            latest=lambda: self.storage.marks.latest.version,
            period=timedelta(days=self.settings.scrub_days),
            read_only=self.read_only,
        )

    @cached_property
    def writing(self) -> Writing:
        """The check that instances can be stored."""
        return Writing(self.blobs, self.database.instances, self.settings.warn_free_bytes)

    @cached_property
    def update(self) -> Update:
        """Updates of stored instances."""
        return Update(
            updates=self.database.updates,
            index=self.database.instances,
            blobs=self.blobs,
            new_blobs=self.committer,
            rewriting=Rewriting(self.blobs, self.new_receipt),
            operations=self.database.operations,
            now=now,
            on_change=self._number_changes,
            max_targets=self.settings.update_max_targets,
            modifying_system=self.settings.update_system_name if self.settings.update_original_attributes else "",
        )

    @cached_property
    def imports(self) -> Import:
        """Imports."""
        settings = self.settings
        permitted = [canonical(one, "import_sources") for one in settings.permitted_sources]
        folders = [Path(unquote(urlsplit(url).path)) for url in permitted if url.startswith("file:")]
        stores = [settings.blobs_url, *settings.further_blobs_urls]
        return Import(
            files=self.database.imported_files,
            sources=PermittedSources(
                folders,
                list(settings.adopted_folders.values()),
                [settings.data.absolute(), *self.storage.directories, *settings.further_directories],
            ),
            store=self.store,
            blobs=self.blobs,
            budget=lambda: self.ingest_budget,
            partitions=self.partition_names,
            recorder=self.recorder,
            permitted=permitted,
            own=[canonical(one, "blobs") for one in stores if not one.startswith(("file:", "memory:"))],
            adopted=settings.adopted_folders,
            has_partitions=settings.partitions,
            now=now,
            on_change=self._number_changes,
        )

    @cached_property
    def move(self) -> Move:
        """Moves of blobs to another store."""
        return Move(
            moves=self.database.blob_moves,
            blobs=self.blobs,
            new_blobs=self.committer,
            record=self.database.operations,
            stores=self.storage.identity.read,
            gather_records=self.storage.gather_records,
            url=self.settings.blobs_url,
            now=self.clock.now,
            retention=self.retention,
        )

    async def _number_changes(self) -> None:
        while await self.database.changes.sequence() is Sequenced.MAY_HAVE_MORE:
            pass

    @property
    def own_operation_types(self) -> Sequence[OperationType]:
        """See `IndexComponents`."""
        return [*super().own_operation_types, self.imports.type, self.update.type, self.export.type, self.move.type]

    @cached_property
    def export(self) -> Export:
        """Exports."""
        return export_of(self)

    @cached_property
    def quotas(self) -> Quotas:
        """The limits of the stored bytes of partitions."""
        return Quotas(self.database.partitions, self.settings.partition_quotas)

    def new_receipt(self, partition: PartitionName) -> Receipt:
        """Return a receipt with the current time for an instance in a partition."""
        return Receipt(partition, self.clock.now(), self.storage.marks.latest.version)

    @cached_property
    def store(self) -> Store:
        """Storing."""
        return Store(
            blobs=self.blobs,
            committer=self.committer,
            writing=self.writing,
            access=self.access,
            partitions=self.partition_names,
            receipt=self.new_receipt,
            max_instance_bytes=self.settings.max_instance_bytes,
            max_header_bytes=self.settings.max_header_bytes,
            damage=self.damage,
            quotas=self.quotas,
            policies=self.duplicate_policies,
            accepts_identical=self.settings.identical_instances == "accept",
            labels=self.database.labels,
            now=self.clock.now,
        )

    @cached_property
    def delete(self) -> Delete:
        """Deleting."""
        return Delete(
            index=self.database.instances,
            access=self.access,
            now=now,
            deadline_now=self.clock.now,
            retention=self.retention,
            on_change=self.sequencer.deleted,
            on_erasable=self.background_lease.wake,
            outbox=self.outbox,
        )

    @cached_property
    def versions(self) -> Versions:
        """Listing, comparing and reverting versions."""
        return Versions(
            index=self.database.instances,
            blobs=self.blobs,
            committer=self.committer,
            bulk_data=self.retrieve_bulk_data,
            access=self.access,
            quotas=self.quotas,
            receipt=self.new_receipt,
            max_header_bytes=self.settings.max_header_bytes,
        )

    @cached_property
    def trash(self) -> Trash:
        """Listing and restoring deleted instances."""
        return Trash(
            index=self.database.instances,
            access=self.access,
            now=now,
            deadline_now=self.clock.now,
            on_restored=self.sequencer.stored,
        )

    @cached_property
    def holds(self) -> Holds:
        """Setting, releasing and listing holds."""
        return Holds(
            holds=self.database.holds,
            index=self.database.instances,
            access=self.access,
            now=now,
            on_released=self.background_lease.wake,
        )

    def event_sender(self) -> "HttpSender":
        """Return the sender of events, to be entered before use; blocks for a moment."""
        # Local import: it would delay the start, and an archive without webhooks does not need it.
        from server.adapters.webhooks.messages import EventOrigin
        from server.adapters.webhooks.sender import HttpSender

        settings = self.settings
        host = settings.event_host or socket.gethostname()
        origin = EventOrigin(f"urn:dicomstore:{self.storage.identity.read().id}", host, settings.partitions)
        return HttpSender(
            self.webhook_addresses, origin, seconds=settings.webhook_seconds, authorities=settings.webhook_ca
        )

    @cached_property
    def commitments(self) -> Commitments:
        """Storage commitment."""
        return Commitments(
            access=self.access,
            record=self.database.commitments,
            verifier=Verifier(index=self.database.instances, blobs=self.blobs, damage=self.damage),
            now=self.clock.now,
            retention=timedelta(days=self.settings.commitment_days),
            read_only=self.read_only,
        )

    @cached_property
    def transfers(self) -> Transfers:
        """Transfers between the archive and other systems."""
        return Transfers(
            access=self.access,
            record=self.database.transfers,
            now=self.clock.now,
            retention=timedelta(days=self.settings.transfer_days),
            max_attempts=self.settings.transfer_attempts,
        )

    @cached_property
    def workitems(self) -> Workitems:
        """Workitems."""
        return Workitems(
            access=self.access,
            partitions=self.partition_names,
            record=self.database.workitems,
            now=self.clock.now,
            changed=self.sequencer.stored,
        )

    @cached_property
    def workitem_searches(self) -> WorkitemSearches:
        """Searches for workitems."""
        return WorkitemSearches(access=self.access, record=self.database.workitems)

    @cached_property
    def workitem_rules(self) -> WorkitemRules:
        """Rules for workitems, from the administrator's view."""
        return WorkitemRules(
            access=self.access,
            record=self.database.workitem_rules,
            partitions=self.partition_names,
            search=self.search,
            now=now,
            changed=self.events_changed,
        )

    @cached_property
    def rule_engine(self) -> RuleEngine:
        """Applying rules for workitems."""
        return RuleEngine(
            record=self.database.workitem_rules,
            workitems=RuleWorkitems(self.search, self.database.instances),
            now=self.clock.now,
            read_only=self.read_only,
            changed=self.events_changed,
            created=self.sequencer.stored,
            work=self.record_work,
        )

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """Subscriptions to workitems."""
        return Subscriptions(
            access=self.access,
            record=self.database.subscriptions,
            now=self.clock.now,
            changed=self.sequencer.stored,
            subscribed=self.event_hub.subscribed,
        )

    @cached_property
    def event_hub(self) -> EventHub:
        """The distribution of new events of workitems."""
        hub = EventHub(self.database.workitem_events)
        self.sequencer.subscribe(hub.notify)
        return hub

    @cached_property
    def acknowledgements(self) -> Acknowledgements:
        """What subscribers have acknowledged."""
        return Acknowledgements(self.database.subscriptions, self.clock.now)

    @cached_property
    def event_streams(self) -> EventStreams:
        """The events of workitems that clients receive."""
        return EventStreams(
            access=self.access,
            subscriptions=self.database.subscriptions,
            workitems=self.database.workitems,
            log=self.database.workitem_events,
            hub=self.event_hub,
            acknowledgements=self.acknowledgements,
        )

    @cached_property
    def worklist_retention(self) -> WorklistRetention:
        """Removing workitems and their events after their retention times."""
        days = self.settings.workitem_days
        return WorklistRetention(
            record=self.database.workitems,
            log=self.database.workitem_events,
            workitems=timedelta(days=days) if days else None,
            events=timedelta(days=self.settings.workitem_event_days),
            now=self.clock.now,
            work=self.record_work,
        )

    @cached_property
    def labels(self) -> LabelService:
        """Labels."""
        return LabelService(
            access=self.access, index=self.database.instances, record=self.database.labels, now=self.clock.now
        )

    @cached_property
    def partition_deletion(self) -> PartitionDeletion:
        """Deleting the studies of deleted partitions."""
        return PartitionDeletion(
            partitions=self.database.partitions,
            now=now,
            deadline_now=self.clock.now,
            retention=self.retention,
            read_only=self.read_only,
            on_change=self.sequencer.deleted,
        )

    @cached_property
    def expiry(self) -> Expiry:
        """Setting when studies expire."""
        return Expiry(
            expiries=self.database.expiries,
            index=self.database.instances,
            access=self.access,
            deadline_now=self.clock.now,
        )

    @cached_property
    def expiry_worker(self) -> ExpiryWorker:
        """Deleting expired studies."""
        return ExpiryWorker(
            expiries=self.database.expiries,
            now=now,
            deadline_now=self.clock.now,
            retention=self.retention,
            read_only=self.read_only,
            on_change=self.sequencer.deleted,
            work=self.record_work,
        )

    @cached_property
    def ingest_budget(self) -> IngestBudget:
        """The memory for instances on their way to disk."""
        settings = self.settings
        return IngestBudget(settings.max_ingest_bytes, settings.ingest_wait_seconds, settings.max_bytes_per_principal)

    @cached_property
    def response_budget(self) -> ResponseBudget:
        """The memory for responses."""
        return ResponseBudget(self.settings.max_response_bytes)

    @cached_property
    def blob_reader(self) -> BlobReader:
        """Reading blobs."""
        return BlobReader(self.blobs, self.response_budget, self.damage)

    @cached_property
    def workers(self) -> WorkerPool:
        """The pixel workers."""
        return WorkerPool(
            _PERFORM,
            count=self.settings.pixel_worker_count,
            job_seconds=self.settings.pixel_seconds,
            memory_bytes=_WORKER_BYTES + _WORKER_FRAMES * self.settings.max_frame_bytes,
        )

    @cached_property
    def pixels(self) -> PixelReader:
        """Reading stored frames."""
        return PixelReader(self.blob_reader, self.database.instances)

    @cached_property
    def transcoder(self) -> Transcoder:
        """Transcoding frames."""
        return Transcoder(
            workers=self.workers,
            descriptions=PixelDescriptionReader(self.database.instances),
            cache_bytes=self.settings.frame_cache_bytes,
            damage=self.damage,
            max_frame_bytes=self.settings.max_frame_bytes,
        )

    @cached_property
    def image_info(self) -> ImageInfoReader:
        """Reading the image properties needed for rendering."""
        return ImageInfoReader(blob_reader=self.blob_reader, index=self.database.instances)

    @cached_property
    def renderer(self) -> ImageRenderer:
        """Rendering images."""
        return ImageRenderer(
            image_info=self.image_info,
            workers=self.workers,
            damage=self.damage,
            max_frame_bytes=self.settings.max_frame_bytes,
        )

    @cached_property
    def retrieve_instances(self) -> RetrieveInstances:
        """Retrieving instances."""
        return RetrieveInstances(
            blob_reader=self.blob_reader,
            transcoder=InstanceTranscoder(
                blob_reader=self.blob_reader, pixels=self.pixels, transcoder=self.transcoder, damage=self.damage
            ),
            index=self.database.instances,
            access=self.access,
        )

    @cached_property
    def retrieve_frames(self) -> RetrieveFrames:
        """Retrieving frames."""
        return RetrieveFrames(
            blob_reader=self.blob_reader,
            pixels=self.pixels,
            transcoder=self.transcoder,
            index=self.database.instances,
            access=self.access,
        )

    @cached_property
    def retrieve_bulk_data(self) -> RetrieveBulkData:
        """Retrieving one bulk data value."""
        return RetrieveBulkData(
            blob_reader=self.blob_reader,
            fragments=FragmentReader(self.blob_reader),
            index=self.database.instances,
            access=self.access,
        )

    @cached_property
    def retrieve_all_bulk_data(self) -> RetrieveAllBulkData:
        """Retrieving all bulk data of a resource."""
        return RetrieveAllBulkData(
            values=self.retrieve_bulk_data,
            frames=self.retrieve_frames,
            blob_reader=self.blob_reader,
            index=self.database.instances,
            access=self.access,
        )

    @cached_property
    def retrieve_metadata(self) -> RetrieveMetadata:
        """Retrieving metadata."""
        return RetrieveMetadata(
            blob_reader=self.blob_reader,
            index=self.database.instances,
            access=self.access,
            labels=self.database.labels,
        )

    @cached_property
    def retrieve_rendered(self) -> RetrieveRendered:
        """Retrieving rendered resources."""
        index = self.database.instances
        return RetrieveRendered(
            blob_reader=self.blob_reader,
            index=index,
            access=self.access,
            pixels=self.pixels,
            image_info=self.image_info,
            renderer=self.renderer,
            documents=DocumentRenderer(
                blob_reader=self.blob_reader, index=index, image_info=self.image_info, bulk_data=self.retrieve_bulk_data
            ),
            thumbnails=Thumbnails(
                index=index,
                pixels=self.pixels,
                image_info=self.image_info,
                renderer=self.renderer,
                workers=self.workers,
                cache_bytes=self.settings.thumbnail_cache_bytes,
            ),
        )

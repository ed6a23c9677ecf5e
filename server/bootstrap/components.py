"""The parts of the core that need only the index; `archive_components` has those that need blobs as well.

Each is constructed once for a process, when it is first used.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from common.key_file import key_in
from server.adapters.identity.issuers import OidcIssuers
from server.adapters.network.addresses import PermittedAddresses
from server.adapters.sql.engine import Database
from server.config import Settings
from server.domain.access import Access
from server.domain.audit.outbox import Outbox
from server.domain.audit.recorder import AuditRecorder, RecordWork, unrecorded
from server.domain.change_feed import ChangeFeed
from server.domain.consumers import Consumers
from server.domain.events.delivery import Delivery
from server.domain.events.study_events import StudyEvents, StudyEventSource
from server.domain.events.webhooks import Webhooks
from server.domain.lease import Lease
from server.domain.operations.reindex import reindex
from server.domain.operations.service import Operations
from server.domain.operations.types import OperationType, OperationTypes
from server.domain.operations.watch import OperationWatch
from server.domain.operations.work import Work
from server.domain.partition_names import PartitionNames
from server.domain.partitions import DuplicatePolicies, Partitions
from server.domain.query_tags import ExtendedQueryTags
from server.domain.read_only import ReadOnlyState
from server.domain.search.search import Search
from server.domain.security.credentials import AuthenticationState
from server.domain.security.logins import Logins
from server.domain.security.share_links import ShareLinks, ShareLinkVerifier
from server.domain.security.share_tokens import ShareTokens
from server.domain.security.token_verifier import TokenVerifier
from server.domain.security.tokens import Tokens
from server.domain.sequencer import Sequencer
from server.domain.signal import Signal
from server.domain.upkeep.steady_clock import SteadyClock
from server.model.partition import DuplicatePolicy
from server.model.security.roles import Roles
from server.ports.events.webhooks import LEASE, Sender

SHARE_KEY_FILE = "share.key"
"""The file in the data directory with the key that signs share links, unless the settings have one."""

_log = logging.getLogger("dicomstore")

_REMOVED_FILES = 5000
"""Most entries of ended exports that one transaction removes."""


@dataclass(frozen=True, slots=True)
class Supervisor:
    """The program that runs the operations worker and the gateway. Without one, a service manager does.

    worker_runs: whether the worker runs, or is stopped only because it is not needed.
    need_worker: reports that there are unfinished operations; called repeatedly while there are.
    gateways: number of processes of the DIMSE gateway that it runs.
    """

    worker_runs: Callable[[], bool] = lambda: True
    need_worker: Callable[[], None] = lambda: None
    gateways: int = 0


NO_SUPERVISOR = Supervisor()


def issuers_of(settings: Settings) -> OidcIssuers | None:
    """Return the identity providers of the settings; None if there is none."""
    if not settings.auth_issuers:
        return None
    return OidcIssuers(
        settings.auth_issuers, audiences=settings.auth_audiences, skew_seconds=settings.auth_clock_skew_seconds
    )


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Return the seconds since the system started, including suspended time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _share_keys(settings: Settings) -> Sequence[str]:
    """Return the keys of the settings, or that of the data directory.

    If this cannot be used, as on a full disk, links are valid until this process ends.
    """
    if keys := settings.share_keys:
        return keys
    try:
        return [key_in(settings.data / SHARE_KEY_FILE)]
    except (OSError, ValueError) as error:
        _log.warning("share links end with this process, because their key cannot be used cause=%s", error)
        return [secrets.token_urlsafe()]


@dataclass(frozen=True, kw_only=True)
class IndexComponents:
    """The components, and what they are constructed from.

    supervisor: the program that runs the operations worker, if this process knows it.
    more_operation_types: in addition to the built-in ones.
    recorder: of the audit trail; None if it is disabled.
    requires_authentication: recorded beside the blobs, see `BlobsIdentity`.
    """

    settings: Settings
    database: Database
    read_only: ReadOnlyState = field(default_factory=ReadOnlyState)
    supervisor: Supervisor = NO_SUPERVISOR
    more_operation_types: Sequence[OperationType] = ()
    recorder: AuditRecorder | None = None
    requires_authentication: bool = False

    @property
    def record_work(self) -> RecordWork:
        """Records work that no client has requested in the audit trail."""
        return self.recorder.work if self.recorder is not None else unrecorded

    @property
    def outbox(self) -> Outbox | None:
        """The outbox of the audit trail, if this process stores instances."""
        return self.recorder.outbox if self.recorder is not None else None

    @cached_property
    def clock(self) -> SteadyClock:
        """The clock for deletion deadlines. To be started before use."""
        jump = timedelta(hours=self.settings.clock_jump_hours)
        return SteadyClock(self.database.clock, now, elapsed, jump)

    @cached_property
    def partition_names(self) -> PartitionNames:
        """The check of partition names."""
        return PartitionNames(self.database.partitions, enabled=self.settings.partitions, now=now)

    @cached_property
    def access(self) -> Access:
        """The decision on every operation."""
        return Access(self.partition_names, self.read_only)

    @cached_property
    def roles(self) -> Roles:
        """The roles of this archive."""
        return self.settings.role_table

    @cached_property
    def authentication(self) -> AuthenticationState:
        """Whether authentication is on."""
        return AuthenticationState(
            is_required=self.settings.requires_authentication or self.requires_authentication,
            is_disabled=self.settings.insecure_without_authentication,
            tokens_exist=self.database.archive_tokens.exist,
            remember=self.remember_tokens,
        )

    async def remember_tokens(self) -> None:
        """Record beside the blobs that there are archive tokens; without blobs, do nothing."""

    @cached_property
    def token_verifier(self) -> TokenVerifier:
        """The verification of archive tokens."""
        return TokenVerifier(tokens=self.database.archive_tokens, roles=self.roles, now=now)

    @cached_property
    def issuers(self) -> OidcIssuers | None:
        """The identity providers; None if there is none. To be entered before use."""
        return issuers_of(self.settings)

    async def check_issuers(self) -> None:
        """Raise Unavailable (IDENTITY_PROVIDER_UNAVAILABLE) if the keys of an issuer could not be fetched."""
        if self.issuers is not None:
            await self.issuers.check()

    @cached_property
    def tokens(self) -> Tokens:
        """Archive tokens, from the administrator's view."""
        return Tokens(
            access=self.access,
            record=self.database.archive_tokens,
            roles=self.roles,
            partitions=self.partition_names,
            verifier=self.token_verifier,
            state=self.authentication,
            now=now,
        )

    @cached_property
    def partitions(self) -> Partitions:
        """The list of partitions."""
        return Partitions(
            access=self.access,
            names=self.partition_names,
            partitions=self.database.partitions,
            policies=self.duplicate_policies,
            now=now,
        )

    @cached_property
    def duplicate_policies(self) -> DuplicatePolicies:
        """The duplicates policies of the partitions."""
        default = DuplicatePolicy[self.settings.duplicates.upper().replace("-", "_")]
        return DuplicatePolicies(self.database.partitions, default)

    @cached_property
    def logins(self) -> Logins:
        """Login links."""
        return Logins(
            access=self.access,
            links=self.database.login_links,
            tokens=self.database.archive_tokens,
            roles=self.roles,
            verifier=self.token_verifier,
            state=self.authentication,
            now=now,
        )

    @cached_property
    def archive_keys(self) -> Sequence[str]:
        """The keys that all processes of the archive have; the first one signs and encrypts."""
        return _share_keys(self.settings)

    @cached_property
    def share_tokens(self) -> ShareTokens:
        """The signatures of share links."""
        return ShareTokens(self.archive_keys)

    @cached_property
    def share_link_verifier(self) -> ShareLinkVerifier:
        """The verification of share links."""
        return ShareLinkVerifier(record=self.database.share_links, tokens=self.share_tokens, now=now)

    @cached_property
    def share_links(self) -> ShareLinks:
        """Share links."""
        return ShareLinks(
            access=self.access,
            index=self.database.instances,
            record=self.database.share_links,
            tokens=self.share_tokens,
            verifier=self.share_link_verifier,
            max_lifetime=timedelta(days=self.settings.share_max_days),
            now=now,
        )

    @cached_property
    def feed(self) -> ChangeFeed:
        """The change feed."""
        return ChangeFeed(self.access, self.database.changes, self.sequencer, self.consumers)

    @cached_property
    def consumers(self) -> Consumers:
        """Consumers of the change feed."""
        return Consumers(self.access, self.database.consumers, now)

    @cached_property
    def sequencer(self) -> Sequencer:
        """The sequencer of the change feed."""
        return Sequencer(self.database.changes)

    @cached_property
    def background_lease(self) -> Lease:
        """The lease of the process that does the background work of the archive."""
        return Lease(self.database.leases, LEASE, self.process_id, woken=self.look_for_work)

    def look_for_work(self) -> None:
        """Let the background work of this process look for work that is due at once."""

    @cached_property
    def process_id(self) -> str:
        """A random id of this process."""
        return secrets.token_hex(16)

    @cached_property
    def study_event_source(self) -> StudyEventSource:
        """The creation of the events of studies."""
        return StudyEventSource(
            record=self.database.study_events,
            sequencer=self.sequencer,
            quiet=timedelta(seconds=self.settings.study_quiet_seconds),
            now=now,
            read_only=self.read_only,
            processed=self.events_changed.notify,
        )

    @cached_property
    def study_events(self) -> StudyEvents:
        """The events of studies."""
        return StudyEvents(self.access, self.database.study_events, self.events_changed)

    @cached_property
    def events_changed(self) -> Signal:
        """Announces new events and changes of webhooks in this process."""
        return Signal()

    @cached_property
    def webhook_addresses(self) -> PermittedAddresses:
        """The addresses to which events may be sent."""
        return PermittedAddresses(self.settings.webhook_exceptions)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Webhooks, from the administrator's view."""
        return Webhooks(
            access=self.access,
            record=self.database.webhooks,
            partitions=self.partition_names,
            now=now,
            permits_http=self.settings.webhook_http,
            permits_host=self.webhook_addresses.permits_host,
            changed=self.events_changed,
        )

    def delivery(self, sender: Sender) -> Delivery:
        """Return the delivery of events to webhooks."""
        return Delivery(
            webhooks=self.database.webhooks,
            deliveries=self.database.deliveries,
            sender=sender,
            holder=self.process_id,
            now=now,
            retry=timedelta(hours=self.settings.webhook_retry_hours),
            read_only=self.read_only,
            changed=self.events_changed,
        )

    @cached_property
    def search(self) -> Search:
        """Searches."""
        database = self.database
        return Search(database.instances, self.access, database.tags, database.labels, self.archive_keys)

    @cached_property
    def reindex(self) -> OperationType:
        """The operation type started by adding tags."""
        return reindex(self.database.tags)

    @property
    def own_operation_types(self) -> Sequence[OperationType]:
        """The built-in operation types that this process can run."""
        return [self.reindex]

    @cached_property
    def operation_types(self) -> OperationTypes:
        """The registry of operation types."""
        return OperationTypes.of([*self.own_operation_types, *self.more_operation_types])

    @cached_property
    def tags(self) -> ExtendedQueryTags:
        """The extended query tags."""
        return ExtendedQueryTags(
            access=self.access,
            tags=self.database.tags,
            reindex=self.reindex,
            now=now,
            on_start=self.operation_watch.started,
        )

    @cached_property
    def operations(self) -> Operations:
        """Operations, from the client's view."""
        return Operations(
            access=self.access,
            record=self.database.operations,
            types=self.operation_types,
            tags=self.database.tags,
            now=now,
            worker_runs=self.supervisor.worker_runs,
            on_start=self.operation_watch.started,
        )

    @cached_property
    def operation_watch(self) -> OperationWatch:
        """The report of unfinished operations."""
        return OperationWatch(
            record=self.database.operations,
            types=self.operation_types,
            now=now,
            retention=self._operation_retention,
            read_only=self.read_only,
            report=self.supervisor.need_worker,
            upkeep=self._upkeep,
        )

    async def _upkeep(self) -> None:
        await self.tags.finish_deletions()
        await self.database.updates.discard_abandoned(now())
        while await self.database.exported_files.remove_abandoned(_REMOVED_FILES):
            pass
        dead_before = now() - timedelta(days=self.settings.dead_letter_days)
        if count := await self.database.webhooks.forget_dead(dead_before):
            _log.warning("removed old dead letters of webhooks count=%d", count)

    @cached_property
    def work(self) -> Work:
        """Operations, from the worker's view."""
        return Work(
            record=self.database.operations,
            types=self.operation_types,
            now=now,
            retention=self._operation_retention,
            audit=self.recorder,
        )

    @property
    def _operation_retention(self) -> timedelta:
        return timedelta(days=self.settings.operation_days)

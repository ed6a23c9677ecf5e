"""Forward rules: a transfer for each study that is stable and matches (docs/dimse.md).

Each gateway process applies all rules. The position among the events of studies is that of a consumer that the core
keeps, and the request id of a transfer follows from rule and event: so there is one transfer for each, whatever process
is killed when.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from dicomstore.v1.change_feed_service_pb2 import GetConsumerRequest, SetConsumerPositionRequest
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_STUDY, SearchRequest, Term
from dicomstore.v1.study_event_service_pb2 import (
    STUDY_EVENT_KIND_STABLE,
    ListStudyEventsRequest,
    StudyEvent,
    WatchStudyEventsRequest,
)
from dicomstore.v1.transfer_service_pb2 import CreateTransferRequest, Notification, Send

from dimse.associations.errors import described
from dimse.config import ForwardSettings, Settings, search_terms
from dimse.core import Core
from dimse.local_channel import Metadata
from dimse.services.failures import reason_of

_PAGE = 200
_PAUSE_SECONDS = 10.0
_CHECK_SECONDS = 5.0
_NO_STUDY = "2.25.0"
_INVALID = ("INVALID_QUERY", "INVALID_FIELD", "INVALID_UID", "UNSUPPORTED_ATTRIBUTE")
"""Reasons with which the core refuses a query."""

_log = logging.getLogger("dimse.transfers")


class InvalidRule(Exception):
    """The core refuses the query of a rule; the text names the setting."""


class Rule:
    """A forward rule, or the notification of a remote.

    name: also that of the consumer, after "dimse-forward.".
    notifies: the remote is notified instead of getting the instances.
    """

    def __init__(self, name: str, settings: ForwardSettings, *, notifies: bool = False) -> None:
        self.name = name
        self.remote = settings.remote
        self.partitions = settings.partitions
        self.notifies = notifies
        terms, options = search_terms(settings.query)
        self._template = SearchRequest(
            level=QUERY_LEVEL_STUDY,
            terms=[Term(attribute=name, values=[value]) for name, value in terms],
            fuzzy_matching=options.get("fuzzymatching", False),
            empty_value_matching=options.get("emptyvaluematching", False),
            page_size=1,
            strict=True,
        )

    def search(self, partition: str, study: str) -> SearchRequest:
        """Return the search for a study, which has a match if the study matches."""
        request = SearchRequest()
        request.CopyFrom(self._template)
        request.scope.partition = partition
        request.terms.append(Term(attribute="StudyInstanceUID", values=[study]))
        return request

    def transfer(self, partition: str, event: StudyEvent) -> CreateTransferRequest:
        """Return the transfer for an event, with a request id that no other one has."""
        request = CreateTransferRequest(
            partition=partition, remote=self.remote, request_id=f"forward/{self.name}/{event.id}", rule=self.name
        )
        if self.notifies:
            request.notification.CopyFrom(Notification(study=event.study))
        else:
            request.send.CopyFrom(Send(resources=[event.study]))
        return request


def rules_of(settings: Settings) -> list[Rule]:
    """Return all rules of the settings."""
    rules = [Rule(name, one) for name, one in settings.forward.items()]
    for name, remote in settings.remotes.items():
        if remote.notify_availability:
            partition = remote.partition or settings.dimse_partition
            of_remote = ForwardSettings(remote=name, partitions=(partition,) if partition else ())
            rules.append(Rule(f"notify.{name}", of_remote, notifies=True))
    return rules


class Forwarding:
    """Applies rules, each in a thread of its own, until `stop`.

    Args:
        metadata: returns the metadata of a call with the credentials of the gateway.
        partition_in_requests: returns the name of a partition as requests state it.
    """

    def __init__(
        self,
        core: Core,
        metadata: Callable[[], Metadata],
        rules: Iterable[Rule],
        partition_in_requests: Callable[[str], str],
    ) -> None:
        self._rules = tuple(rules)
        self._core = core
        self._metadata = metadata
        self._partition_in_requests = partition_in_requests
        self._stopped = threading.Event()
        self._calls: set[Any] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(rule,), name=f"forward-{rule.name}", daemon=True)
            for rule in self._rules
        ]

    def check(self, partition: str) -> None:
        """Let the core check the queries, if it is reachable.

        Args:
            partition: a partition for those of rules that apply to all.

        Raises:
            InvalidRule: a query has keys or values that are not supported.
        """
        for rule in self._rules:
            search = rule.search(next(iter(rule.partitions), partition), _NO_STUDY)
            try:
                self._core.search.Search(search, metadata=self._metadata(), timeout=_CHECK_SECONDS)
            except grpc.RpcError as error:
                if reason_of(error) in _INVALID:
                    raise InvalidRule(f"forward.{rule.name}.query: {error.details()}") from None

    def start(self) -> None:
        """Begin to apply the rules."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Apply no more."""
        self._stopped.set()
        for call in list(self._calls):
            call.cancel()
        for thread in self._threads:
            thread.join(_PAUSE_SECONDS)

    def _run(self, rule: Rule) -> None:
        failed = False
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self._apply(rule)
            except grpc.RpcError as error:
                problem = error.code().name
            except Exception as error:  # noqa: BLE001 - other rules are not affected
                problem = described(error)
            else:
                problem = "the stream of events has ended"
            if self._stopped.is_set():
                return
            if not failed or time.monotonic() - began > _PAUSE_SECONDS:
                _log.warning("rule=%s event=delayed reason=%s", rule.name, problem)
            failed = True
            self._stopped.wait(_PAUSE_SECONDS)

    def _apply(self, rule: Rule) -> None:
        """Apply a rule to all events after its position, and to new ones, until the stream ends."""
        position = self._position(rule)
        request = WatchStudyEventsRequest(after_number=position)
        call = self._core.study_events.WatchStudyEvents(request, metadata=self._metadata())
        self._calls.add(call)
        try:
            if self._stopped.is_set():
                return
            for response in call:
                for event in response.events:
                    self._apply_to(rule, event)
                if response.events:
                    number = response.events[-1].number
                    self._move(rule, position, number)
                    position = number
        finally:
            call.cancel()
            self._calls.discard(call)

    def _apply_to(self, rule: Rule, event: StudyEvent) -> None:
        partition = event.study.partition
        if event.kind != STUDY_EVENT_KIND_STABLE or (rule.partitions and partition not in rule.partitions):
            return
        partition = self._partition_in_requests(partition)
        seconds = self._core.call_seconds
        search = rule.search(partition, event.study.study_instance_uid)
        if self._core.search.Search(search, metadata=self._metadata(), timeout=seconds).matches:
            transfer = rule.transfer(partition, event)
            self._core.transfers.CreateTransfer(transfer, metadata=self._metadata(), timeout=seconds)

    def _position(self, rule: Rule) -> int:
        """Return the number of the last event to which a rule was applied; a new rule begins after the latest one."""
        seconds = self._core.call_seconds
        try:
            answer = self._core.change_feed.GetConsumer(
                GetConsumerRequest(name=_consumer(rule)), metadata=self._metadata(), timeout=seconds
            )
            return int(answer.consumer.sequence)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        number = 0
        while True:
            page = self._core.study_events.ListStudyEvents(
                ListStudyEventsRequest(after_number=number, page_size=_PAGE), metadata=self._metadata(), timeout=seconds
            )
            if not page.events:
                break
            number = page.events[-1].number
        self._move(rule, 0, number)
        return number

    def _move(self, rule: Rule, position: int, to: int) -> None:
        """Record a position, unless another process has recorded a different one."""
        request = SetConsumerPositionRequest(name=_consumer(rule), sequence=to, expected_sequence=position)
        try:
            self._core.change_feed.SetConsumerPosition(
                request, metadata=self._metadata(), timeout=self._core.call_seconds
            )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise


def _consumer(rule: Rule) -> str:
    return f"dimse-forward.{rule.name}"

"""Metrics and traces of the gateway (docs/observability.md)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dicomstore.v1 import transfer_service_pb2 as pb

from common.telemetry.metrics import Distribution, snapshot
from common.telemetry.tracing import Span, recorded, sampler_of
from dimse.associations.association import Association
from dimse.associations.commands import Command, CommandField
from dimse.associations.errors import CannotConnect
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, UID_ROOT, part10
from tests.integration.dimse.archive import archive_at, eventually
from tests.integration.dimse.clients import associated, data_set_of, send
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.remotes import running_remote

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY = f"{UID_ROOT}.71"
FILES = {
    f"{STUDY}.1.{number}": part10(
        StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", SOPInstanceUID=f"{STUDY}.1.{number}"
    )
    for number in (1, 2, 3)
}


@pytest.fixture(scope="module")
def spans() -> Iterator[list[Span]]:
    """All spans of gateway and core, which are in this process."""
    found: list[Span] = []
    with recorded(found.append, sampler_of({"OTEL_TRACES_SAMPLER": "parentbased_always_on"})):
        yield found


@pytest.fixture(scope="module")
def core(module_path: Path, spans: list[Span]) -> Iterator[str]:
    with running_core(module_path / "core") as core:
        yield core


@pytest.fixture(scope="module")
def gateway(core: str) -> Iterator[RunningGateway]:
    with running_gateway(core, transfers=0) as running:
        yield running


Values = dict[tuple[str, ...], float]


def values() -> Values:
    """Return the figures of the gateway: values, and numbers of observations, by name and labels."""
    return {
        (name.removeprefix("dicomstore_dimse_"), *labels): sum(value.counts)
        if isinstance(value, Distribution)
        else value
        for name, found in snapshot().items()
        for labels, value in found
        if name.startswith("dicomstore_dimse_")
    }


@contextmanager
def counted(expected: Values) -> Iterator[None]:
    """State by how much figures change."""
    before = values()

    def changes() -> Values:
        now = values()
        return {key: now.get(key, 0) - before.get(key, 0) for key in expected}

    yield
    # The requestor gets a response a moment before it is counted.
    eventually(lambda: changes() == expected)


def stored(association: Association, instance: str) -> int | None:
    syntax, data_set = data_set_of(FILES[instance])
    return send(association, SECONDARY_CAPTURE, instance, syntax, data_set).status


def test_instances_that_are_received_are_counted(gateway: RunningGateway) -> None:
    expected: Values = {
        ("association_requests_total", "acceptor", "ACCEPTED"): 1,
        ("associations", "acceptor"): 0,
        ("requests_total", "C-STORE", "success"): 3,
        ("request_duration_seconds", "C-STORE"): 3,
        ("instances_total", "received"): 3,
    }
    before = values().get(("instance_bytes_total", "received"), 0)
    with counted(expected), associated(gateway.port, (SECONDARY_CAPTURE, EXPLICIT_LITTLE)) as association:
        assert {stored(association, instance) for instance in FILES} == {0}
        assert values()["associations", "acceptor"] >= 1
    received = values()["instance_bytes_total", "received"] - before
    assert sum(len(data_set_of(file)[1]) for file in FILES.values()) < received < sum(map(len, FILES.values())) * 2


def test_a_status_is_counted_by_its_class(gateway: RunningGateway) -> None:
    expected: Values = {("requests_total", "C-STORE", "failure"): 1, ("instances_total", "received"): 0}
    with counted(expected), associated(gateway.port, (SECONDARY_CAPTURE, EXPLICIT_LITTLE)) as association:
        answer = send(association, SECONDARY_CAPTURE, "1.2.3", EXPLICIT_LITTLE, data_set_of(FILES[f"{STUDY}.1.1"])[1])
        assert answer.status == 0xA900


def test_a_rejected_association_is_counted_by_its_problem(gateway: RunningGateway) -> None:
    rejected: Values = {
        ("association_requests_total", "acceptor", "CALLED_AE_REJECTED"): 1,
        ("association_requests_total", "requestor", "CALLED_AE_REJECTED"): 1,
    }
    other = associated(gateway.port, (SECONDARY_CAPTURE, EXPLICIT_LITTLE), called="OTHER")
    with counted(rejected), pytest.raises(CannotConnect):
        other.__enter__()


def test_a_store_is_one_trace_from_the_gateway_to_the_index(gateway: RunningGateway, spans: list[Span]) -> None:
    del spans[:]
    with associated(gateway.port, (SECONDARY_CAPTURE, EXPLICIT_LITTLE)) as association:
        for instance in FILES:
            stored(association, instance)
    eventually(lambda: [span.name for span in spans].count("StoreService/StoreInstances") == len(FILES))
    requests = {span.span_id: span for span in spans if span.name == "C-STORE"}
    calls = [span for span in spans if span.name == "StoreService/StoreInstances"]
    assert {call.parent_id for call in calls} == set(requests), "each request has a call of its own"
    assert len({span.trace_id for span in requests.values()}) == len(FILES)
    assert all(call.trace_id == requests[call.parent_id].trace_id for call in calls)
    assert {span.kind for span in requests.values()} == {"server"}
    attributes = [span.attributes for span in requests.values()]
    assert attributes == [{"rpc.system": "dimse", "rpc.method": "C-STORE", "dicomstore.dimse.status": "0000"}] * 3
    traces = {call.trace_id for call in calls}
    assert {"blob commit", "index read"} & {span.name for span in spans if span.trace_id in traces}


def test_requests_that_are_not_sampled_share_a_call(gateway: RunningGateway) -> None:
    found: list[Span] = []
    never = recorded(found.append, sampler_of({"OTEL_TRACES_SAMPLER": "always_off"}))
    with never, associated(gateway.port, (SECONDARY_CAPTURE, EXPLICIT_LITTLE)) as association:
        assert {stored(association, instance) for instance in FILES} == {0}
    assert found == []


def test_a_query_and_a_retrieval_are_traces(
    gateway: RunningGateway, spans: list[Span], caplog: pytest.LogCaptureFixture
) -> None:
    del spans[:]
    unknown = Command(CommandField.C_FIND, affected_sop_class_uid=FIND, priority=0)
    with caplog.at_level(logging.INFO, "dimse.access"):
        with associated(gateway.port, (FIND, EXPLICIT_LITTLE)) as association:
            context = association.context_for(FIND)
            assert context is not None
            assert association.perform(context, unknown, [b""]).status == 0xA900
        eventually(lambda: any(span.name == "C-FIND" for span in spans))
    [request] = [span for span in spans if span.name == "C-FIND"]
    assert request.fault == "A900"
    [record] = [record for record in caplog.records if record.name == "dimse.access"]
    assert "calling=TESTER called=DICOMSTORE service=C-FIND status=A900" in record.getMessage()


def test_a_transfer_is_one_trace_and_is_counted(core: str, spans: list[Span]) -> None:
    del spans[:]
    expected: Values = {
        ("transfer_attempts_total", "send", "succeeded"): 1,
        ("transfer_attempt_duration_seconds", "send"): 1,
        ("suboperations_total", "send", "completed"): 3,
        ("instances_total", "sent"): 3,
        ("association_requests_total", "requestor", "ACCEPTED"): 1,
        ("associations", "requestor"): 0,
    }
    with archive_at(core) as archive, running_remote() as remote, counted(expected):  # noqa: SIM117
        with running_gateway(core, remotes={"PACS": remote.settings()}):
            assert archive.after_attempt(archive.sends(STUDY)).state == pb.TRANSFER_STATE_SUCCEEDED
    [transfer] = [span for span in spans if span.name == "transfer send"]
    [created] = [span for span in spans if span.name == "TransferService/CreateTransfer"]
    assert (transfer.trace_id, transfer.parent_id) == (created.trace_id, created.span_id)
    parts = {span.name for span in spans if span.parent_id == transfer.span_id}
    assert {"associate", "SearchService/Search", "RetrieveService/RetrieveInstances"} <= parts

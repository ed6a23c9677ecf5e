"""Peers that are silent, slow or gone, limits, and the end of the gateway."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dimse.associations.commands import Command, CommandField
from dimse.associations.errors import AssociationLost, CannotConnect
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, new_uid, part10
from tests.integration.dimse.clients import associated, data_set_of, send, store
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.test_store import instances

CONTEXT = (SECONDARY_CAPTURE, EXPLICIT_LITTLE)


def store_request(instance: str) -> Command:
    return Command(
        CommandField.C_STORE, affected_sop_class_uid=SECONDARY_CAPTURE, affected_sop_instance_uid=instance, priority=0
    )


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "core") as address:
        yield address


@pytest.fixture(scope="module")
def impatient(core: str) -> Iterator[RunningGateway]:
    """A gateway with short timeouts."""
    with running_gateway(core, association_seconds=0.5, association_idle_seconds=0.5, dimse_seconds=0.5) as running:
        yield running


def test_a_connection_without_association_request_is_closed(impatient: RunningGateway) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port)) as connection:
        connection.settimeout(20)
        for _ in range(4):  # slowly, byte by byte
            connection.sendall(b"\1")
            time.sleep(0.1)
        assert connection.recv(100) == b""


def test_an_idle_association_is_aborted(impatient: RunningGateway) -> None:
    with associated(impatient.port, CONTEXT) as association, pytest.raises(AssociationLost, match="aborted"):
        association.receive()


def test_an_association_that_is_silent_within_an_instance_is_aborted_and_nothing_is_stored(
    impatient: RunningGateway,
) -> None:
    uid = new_uid()
    _, data_set = data_set_of(part10(SOPInstanceUID=uid, frames=[bytes(4_000_000)], Rows=2000, Columns=2000))
    gone = threading.Event()

    def parts() -> Iterator[bytes]:
        yield data_set[:3_000_000]
        gone.wait(20)
        yield data_set[3_000_000:]

    with associated(impatient.port, CONTEXT) as association:
        threading.Timer(2, gone.set).start()
        [context] = association.contexts.values()
        request = store_request(uid)
        with pytest.raises(AssociationLost):
            association.perform(context, request, parts())
    assert instances(impatient.gateway.core, uid) == []


def test_more_associations_than_permitted_are_rejected_until_one_ends(core: str) -> None:
    with running_gateway(core, max_associations=3, max_associations_per_address=2) as running:
        with (
            associated(running.port, CONTEXT),
            associated(running.port, CONTEXT),
            pytest.raises(CannotConnect, match=r"source 3|limit"),
            associated(running.port, CONTEXT),
        ):
            pass
        end = time.monotonic() + 10
        while True:
            try:
                with associated(running.port, CONTEXT):
                    return
            except CannotConnect:
                assert time.monotonic() < end


def test_a_lost_association_loses_only_the_instance_that_was_not_acknowledged(core: str) -> None:
    first, second = new_uid(), new_uid()
    with running_gateway(core) as running:
        _, data_set = data_set_of(part10(SOPInstanceUID=first))
        _, other = data_set_of(part10(SOPInstanceUID=second, frames=[bytes(3_000_000)], Rows=1500, Columns=2000))

        def broken(association: object) -> Iterator[bytes]:
            yield other[:2_500_000]
            association.interrupt()  # type: ignore[attr-defined]
            yield other[2_500_000:]

        with associated(running.port, CONTEXT) as association:
            assert send(association, *CONTEXT[:1], first, EXPLICIT_LITTLE, data_set).status == 0
            [context] = association.contexts.values()
            request = store_request(second)
            with pytest.raises(AssociationLost):
                association.perform(context, request, broken(association))
        assert store(running.port, part10(SOPInstanceUID=new_uid()), SECONDARY_CAPTURE, "1.2").status == 0xA900
        assert len(instances(running.gateway.core, first)) == 1
        assert instances(running.gateway.core, second) == []


def test_a_stopping_gateway_finishes_the_request_in_progress_and_aborts_idle_associations(core: str) -> None:
    uid = new_uid()
    # Larger than the buffers of sockets, so that the gateway has begun with the request when the first part is sent.
    _, data_set = data_set_of(part10(SOPInstanceUID=uid, frames=[bytes(25_000_000)], Rows=5000, Columns=5000))
    with running_gateway(core) as running:

        def stopping() -> Iterator[bytes]:
            yield data_set[:20_000_000]
            running.gateway.stop()
            with pytest.raises(AssociationLost):  # is aborted when the gateway has begun to stop
                idle.receive()
            yield data_set[500_000:]

        with associated(running.port, CONTEXT) as busy, associated(running.port, CONTEXT) as idle:
            [context] = busy.contexts.values()
            request = Command(
                CommandField.C_STORE,
                affected_sop_class_uid=SECONDARY_CAPTURE,
                affected_sop_instance_uid=uid,
                priority=0,
            )
            assert busy.perform(context, request, stopping()).status == 0
            with pytest.raises(AssociationLost):
                busy.receive()
    with running_gateway(core) as running:
        assert len(instances(running.gateway.core, uid)) == 1


def test_malformed_pdus_of_one_peer_do_not_affect_others(impatient: RunningGateway) -> None:
    uid = new_uid()
    file = part10(SOPInstanceUID=uid)
    with associated(impatient.port, CONTEXT) as association:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\1\0\xff\xff\xff\xff", b"\1\0\0\0\0\4abcd", b"\4\0\0\0\0\4abcd"):
            with socket.create_connection(("127.0.0.1", impatient.port)) as connection:
                connection.settimeout(20)
                connection.sendall(data)
                assert connection.recv(100)[:1] in (b"\7", b"")
        syntax, data_set = data_set_of(file)
        assert send(association, SECONDARY_CAPTURE, uid, syntax, data_set).status == 0

"""Whatever a peer sends ends its association at most (dimse/associations)."""

import socket
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.settings import SecretText
from dimse.associations import commands, pdus
from dimse.associations.association import Association, Context, Limits
from dimse.associations.commands import Command, CommandField
from dimse.associations.connection import Connection
from dimse.associations.errors import AssociationLost, ProtocolError
from dimse.associations.pdus import AssociationRequest, ProposedContext, Roles
from dimse.associations.peers import Peer

LIMITS = Limits(max_pdu_bytes=1 << 16, idle_seconds=1, silent_seconds=1, end_seconds=1)
PEER = Peer("PEER", "ARCHIVE", "127.0.0.1", "", SecretText(""))
CT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2"


def fragment(data: bytes, flags: int, context: int = 1) -> bytes:
    return struct.pack(">BBLLBB", 4, 0, len(data) + 6, len(data) + 2, context, flags) + data


def store_request(data_set: bytes = b"data") -> bytes:
    command = Command(CommandField.C_STORE, True, 1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2")
    return fragment(command.encode(), 3) + fragment(data_set, 2)


def received(data: bytes) -> list[bytes]:
    """Return the data sets of the requests in what a peer sends before it closes the connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        connection = Connection(ours)
        association = Association(connection, PEER, {1: Context(1, CT, IMPLICIT)}, LIMITS, 0)
        found = []
        with suppress(AssociationLost, ProtocolError):
            while (request := association.receive()) is not None:
                found.append(request.data_set())
        return found


def test_a_message_is_received_however_it_is_divided_into_fragments_and_pdus() -> None:
    command = Command(CommandField.C_STORE, True, 1, affected_sop_class_uid=CT).encode()
    head, tail = command[:10], command[10:]
    first, second = struct.pack(">LBB", len(head) + 2, 1, 1) + head, struct.pack(">LBB", len(tail) + 2, 1, 3) + tail
    third = struct.pack(">LBB", 4, 1, 0) + b"ab"
    one_pdu = struct.pack(">BBL", 4, 0, len(first + second + third)) + first + second + third
    assert received(one_pdu + fragment(b"", 0) + fragment(b"cd", 0) + fragment(b"", 2) + store_request()) == [
        b"abcd",
        b"data",
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\x04\0" + struct.pack(">L", 1 << 30),  # larger than the negotiated size
        b"\x04\0" + struct.pack(">L", 3) + b"abc",  # no room for a fragment
        b"\x04\0" + struct.pack(">LLBB", 6, 100, 1, 3),  # a fragment longer than its PDU
        b"\x04\0" + struct.pack(">LLBB", 6, 1, 1, 3),  # a fragment without its header
        fragment(b"abc", 3),  # no command set
        fragment(Command(CommandField.C_STORE).encode(), 3, context=3),  # a context that was not accepted
        fragment(Command(CommandField.C_STORE).encode(), 2),  # a data set first
        fragment(Command(0x8001, status=0).encode(), 3),  # a response without a request
        fragment(bytes(1 << 15), 1) * 3,  # an endless command set
        b"\x09\0\0\0\0\x04\0\0\0\0",  # an unknown PDU
        b"\x01\0\0\0\0\x04\0\0\0\0",  # another association request
    ],
)
def test_a_violation_of_the_protocol_ends_the_association(data: bytes) -> None:
    assert received(store_request() + data + store_request()) == [b"data"]


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 20))
def test_damaged_messages_raise_nothing_unexpected(noise: bytes, position: int, cut: int) -> None:
    data = store_request() * 2
    received(data[:position] + noise + data[position + cut :])


@given(st.binary(max_size=200))
def test_damaged_command_sets_raise_nothing_unexpected(data: bytes) -> None:
    with suppress(ProtocolError):
        commands.decode(data)


@given(st.binary(min_size=1, max_size=40), st.integers(6, 400), st.integers(0, 40))
def test_damaged_association_requests_raise_nothing_unexpected(noise: bytes, position: int, cut: int) -> None:
    contexts = tuple(ProposedContext(number, CT, (IMPLICIT,)) for number in (1, 3, 5))
    data = pdus.encode_request(AssociationRequest("CALLED", "CALLING", contexts, 16384, {CT: Roles(True, True)}, {}))
    for decode in (pdus.decode_request, pdus.decode_acceptance):
        with suppress(ProtocolError):
            decode(data[:position] + noise + data[position + cut :])


@given(
    st.builds(
        Command,
        st.sampled_from(list(CommandField)),
        has_data_set=st.booleans(),
        message_id=st.integers(0, 65535),
        affected_sop_instance_uid=st.sampled_from(["1.2", "1.2.3", "2.25." + "9" * 59]),
        move_destination=st.sampled_from(["A", "WS 1", "SIXTEEN LETTERS."]),
        status=st.integers(0, 65535),
        offending_elements=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5).map(tuple),
        failed_suboperations=st.integers(0, 65535),
    )
)
def test_a_command_set_is_decoded_as_it_was_encoded(command: Command) -> None:
    assert commands.decode(command.encode()) == command

"""Serialization of pieces (server/rpc/pieces.py)."""

import pytest
from dicomstore.v1 import retrieve_service_pb2 as pb
from dicomstore.v1.resources_pb2 import ItemError

from server.rpc.pieces import Piece, Pieces

HEAD = pb.InstanceHead(version=7, size_bytes=5)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1 << 20])
def test_pieces_are_serialized_as_the_message_of_the_contract(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    pieces = Pieces()
    pieces.omission = pb.Omission(count=2)
    pieces.add(Piece(HEAD, memoryview(data)))
    pieces.add(Piece(failed=ItemError(message="away")))
    pieces.add(Piece(data=b"rest"))
    pieces.pieces[-1].last = True

    message = pb.RetrieveInstancesResponse.FromString(pieces.serialized(pb.RetrieveInstancesResponse))

    assert message == pb.RetrieveInstancesResponse(
        omission=pb.Omission(count=2),
        pieces=[
            pb.RetrievedPiece(head=HEAD, data=data),
            pb.RetrievedPiece(failed=ItemError(message="away")),
            pb.RetrievedPiece(data=b"rest", last=True),
        ],
    )


def test_a_value_is_serialized_as_the_message_of_the_contract() -> None:
    head = pb.BulkDataHead(vr="OB")
    message = pb.RetrieveBulkDataResponse.FromString(Piece(head, b"value").serialized(pb.RetrieveBulkDataResponse))
    assert message == pb.RetrieveBulkDataResponse(head=head, data=b"value")
